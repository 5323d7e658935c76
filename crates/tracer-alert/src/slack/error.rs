//! What Slack's answers mean for a delivery.
//!
//! | answer | meaning |
//! |---|---|
//! | no answer, 429, 5xx, 408, 425, what is neither JSON nor `ok` | again, after `Retry-After` if there is one |
//! | `ok: false` with a code of [`PASSING`] | again |
//! | `ok: false` with any other code; other 3xx and 4xx | never |
//!
//! The codes are those of <https://docs.slack.dev/reference/methods/chat.postMessage#errors>,
//! <https://docs.slack.dev/reference/methods/chat.update#errors> and
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors>.

use slack_morphism::errors::SlackClientError;
use tracer_core::notify::NotifyError;
use tracer_core::time::Micros;

use crate::http::one_line;

/// Codes of trouble on Slack's side, which passes.
const PASSING: [&str; 7] = [
    "fatal_error",
    "internal_error",
    "message_limit_exceeded",
    "request_timeout",
    "rollup_error",
    "service_unavailable",
    "team_added_to_org",
];
/// Codes which say that a message cannot be edited, but another one posted.
const GONE: [&str; 3] = ["message_not_found", "cant_update_message", "edit_window_closed"];
/// Most bytes of a code that are shown.
const CODE_BYTES: usize = 80;

/// Returns whether a message cannot be edited any more.
pub(super) fn is_gone(error: &SlackClientError) -> bool {
    matches!(error, SlackClientError::ApiError(error) if GONE.contains(&error.code.as_str()))
}

/// Returns what an error means.
pub(super) fn meaning(error: SlackClientError) -> NotifyError {
    match error {
        SlackClientError::ApiError(error) => of_code(&error.code),
        SlackClientError::RateLimitError(error) => {
            let code = error.code.as_deref().unwrap_or("too many requests");
            again(format!("Slack answered {}", one_line(code, CODE_BYTES)), error.retry_after, None)
        }
        SlackClientError::HttpError(error) => {
            NotifyError::Permanent { reason: format!("Slack answered {}", error.status_code) }
        }
        SlackClientError::HttpProtocolError(error) => match error.cause.map(|cause| cause.downcast()) {
            // What the connection said of itself.
            Some(Ok(error)) => *error,
            Some(Err(cause)) => again("Slack cannot be called".to_owned(), None, Some(cause)),
            None => again("Slack cannot be called".to_owned(), None, None),
        },
        SlackClientError::ProtocolError(error) => {
            again("Slack answered nothing that can be read".to_owned(), None, Some(error.json_error.into()))
        }
        error @ (SlackClientError::EndOfStream(_)
        | SlackClientError::SystemError(_)
        | SlackClientError::SocketModeProtocolError(_)) => {
            again("Slack cannot be called".to_owned(), None, Some(Box::new(error)))
        }
    }
}

fn of_code(code: &str) -> NotifyError {
    let shown = match one_line(code, CODE_BYTES) {
        empty if empty.is_empty() => "an error without a name".to_owned(),
        shown => shown,
    };
    let reason = format!("Slack answered {shown}");
    if PASSING.contains(&code) {
        return again(reason, None, None);
    }
    let advice = match code {
        "not_in_channel" | "channel_not_found" => ": invite the app to the channel, and check its name",
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
            ": the token is not valid any more"
        }
        "missing_scope" => ": the app needs the scope chat:write",
        "no_service" | "no_team" | "no_active_hooks" | "invalid_token" => {
            ": the webhook is not valid any more"
        }
        _ => "",
    };
    NotifyError::Permanent { reason: format!("{reason}{advice}") }
}

fn again(
    reason: String,
    retry_after: Option<std::time::Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> NotifyError {
    let retry_after = retry_after.map(|wait| Micros::from_secs(wait.as_secs()));
    NotifyError::Transient { reason, retry_after, source }
}
