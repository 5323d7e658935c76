//! Sends an export, and says what became of it; tries again where the specification says that this may help.

use std::fmt;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::grpc::Grpc;
use super::http::Http;
use crate::config::{ExportSettings, Protocol};

/// The pause after the first failure, and the longest one; what a receiver asks for counts more.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(120);
/// How long an export is tried. A receiver that is away for longer than it takes to restart loses what ended first.
const TRIED_FOR: Duration = Duration::from_secs(300);

/// What a receiver said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Receipt {
    /// Spans that it refused.
    pub(super) rejected: u64,
    /// What it had to say of them.
    pub(super) message: String,
}

impl Receipt {
    /// Reads an answer.
    pub(super) fn of(response: ExportTraceServiceResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self { rejected: u64::try_from(partial.rejected_spans).unwrap_or(0), message: partial.error_message }
    }
}

/// Why an export was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may be, the next time.
    Again {
        /// Why not now; holds no address.
        reason: String,
        /// How long the receiver asks to be left alone.
        after: Option<Duration>,
    },
    /// It never will be.
    Never {
        /// Why; holds no address.
        reason: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Again { reason, .. } | Self::Never { reason }) = self;
        f.write_str(reason)
    }
}

/// Where exports go.
#[derive(Debug)]
pub(super) enum Sender {
    /// By HTTP.
    Http(Box<Http>),
    /// By gRPC.
    Grpc(Box<Grpc>),
}

impl Sender {
    /// Returns what sends to where the settings say; none if they say nowhere.
    ///
    /// # Errors
    /// If the certificate cannot be read, or TLS cannot be set up.
    pub(super) fn new(settings: &ExportSettings) -> anyhow::Result<Option<Self>> {
        let target = settings.target().map_err(|(key, reason)| anyhow::anyhow!("export.{key} {reason}"))?;
        let Some(target) = target else { return Ok(None) };
        Ok(Some(match settings.protocol {
            Protocol::Grpc => Self::Grpc(Box::new(Grpc::new(&target, settings)?)),
            Protocol::HttpProtobuf | Protocol::HttpJson => Self::Http(Box::new(Http::new(target, settings)?)),
        }))
    }

    /// Sends once.
    pub(super) async fn send(&self, request: &ExportTraceServiceRequest) -> Result<Receipt, Refusal> {
        match self {
            Self::Http(http) => http.send(request).await,
            Self::Grpc(grpc) => grpc.send(request).await,
        }
    }

    /// Sends until it is taken or refused for good, or was tried for long enough; once `stopping`, only once more.
    pub(super) async fn deliver(
        &self,
        request: &ExportTraceServiceRequest,
        stopping: &CancellationToken,
    ) -> Result<Receipt, Refusal> {
        let begun = Instant::now();
        let mut failures = 0;
        loop {
            let is_last = stopping.is_cancelled();
            let refusal = match self.send(request).await {
                Ok(receipt) => return Ok(receipt),
                Err(refusal) => refusal,
            };
            let Refusal::Again { after, .. } = &refusal else { return Err(refusal) };
            failures += 1;
            let pause = pause(failures, *after, rand::random());
            if is_last || begun.elapsed() + pause > TRIED_FOR {
                return Err(refusal);
            }
            if failures == 1 {
                tracing::warn!(event = "export", reason = %refusal, "an export was not taken, and is tried again");
            }
            // Whoever stops the service does not wait for a pause.
            let _stopped = stopping.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }
}

/// Returns how long to pause after so many failures in a row; `chance` is from 0 to 1.
fn pause(failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
    if let Some(asked) = asked {
        return asked.min(LONGEST_ASKED);
    }
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
    // Equal jitter: what failed together does not come back together.
    doubled.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute_and_what_is_asked_for_counts_more() {
        let secs = |failures, chance| pause(failures, None, chance).as_secs_f64();
        assert_eq!((1..8).map(|n| secs(n, 1.0)).collect::<Vec<_>>(), [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_eq!((secs(1, 0.0), secs(u32::MAX, 0.0)), (0.5, 15.0));
        let asked = |secs| pause(3, Some(Duration::from_secs(secs)), 0.5).as_secs();
        assert_eq!((asked(0), asked(7), asked(100_000)), (0, 7, 120));
    }
}
