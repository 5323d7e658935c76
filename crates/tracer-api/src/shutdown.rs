//! Turns SIGTERM and SIGINT into one token that everything which runs listens to.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was told twice: 128 + SIGINT.
const TOLD_TWICE: i32 = 130;

/// Returns a token that the first SIGTERM or SIGINT cancels; the second one ends the process at once.
///
/// Must be called within a runtime.
///
/// # Errors
/// The operating system's, if the signals cannot be listened to.
pub fn on_signal() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let told = token.clone();
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(event = "shutdown", signal = name, "shutting down; a second signal ends at once");
        told.cancel();
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(TOLD_TWICE);
    });
    Ok(token)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
