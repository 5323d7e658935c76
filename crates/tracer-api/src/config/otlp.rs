//! `[otlp]`: how OpenTelemetry comes in, and when a trace is whole.

use std::time::Duration;

use serde::Deserialize;

use super::{Fault, values};

/// How OpenTelemetry comes in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// Port of OTLP over HTTP, beside the main listener; 0 for none.
    pub http_port: u16,
    /// Port of OTLP over gRPC; 0 for none.
    pub grpc_port: u16,
    /// How long spans are waited for after a root has ended.
    #[serde(deserialize_with = "values::duration")]
    pub grace: Duration,
    /// Silence after which a trace without a root is closed.
    #[serde(deserialize_with = "values::duration")]
    pub silence: Duration,
}

impl OtlpSettings {
    /// Checks the values; `listen` is the main listener's port.
    ///
    /// # Errors
    /// The key at fault within its section, and what is expected of it.
    pub(super) fn check(&self, listen: u16) -> Result<(), Fault> {
        let fault = |key: &str, reason: &str| Err((key.to_owned(), reason.to_owned()));
        if self.grpc_port != 0 && (self.grpc_port == listen || self.grpc_port == self.http_port) {
            return fault("grpc_port", "must be a port of its own, or 0");
        }
        if !(Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&self.grace) {
            return fault("grace", "must lie between 100ms and 1h");
        }
        if !(Duration::from_secs(10)..=Duration::from_secs(30 * 86_400)).contains(&self.silence) {
            return fault("silence", "must lie between 10s and 30d");
        }
        Ok(())
    }
}
