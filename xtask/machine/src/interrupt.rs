//! Ctrl-C and SIGTERM: what runs gives up at its next step, so that everything started is stopped and
//! removed on the way out.
//!
//! Not here: the stopping itself, which is each value's own `Drop`.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Begins to listen for signals. A second one ends the process at once.
///
/// # Errors
/// When the runtime that listens cannot be made.
pub fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime to listen for signals")?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => (),
                    _ = terminate.recv() => (),
                }
                if ASKED.swap(true, Ordering::SeqCst) {
                    std::process::exit(130);
                }
            }
        });
    });
    Ok(())
}

/// Fails once a signal has come.
///
/// # Errors
/// That the run was interrupted.
pub fn check() -> Result<()> {
    ensure!(!ASKED.load(Ordering::SeqCst), "interrupted");
    Ok(())
}
