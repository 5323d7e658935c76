//! Sends to Slack: by an incoming webhook, which can only post, or as a bot, which edits what it has posted.
//!
//! Not here: what a message says (`message`), when it is sent and tried again (`dispatcher`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use slack_morphism::errors::SlackClientError;
use slack_morphism::prelude::{
    SlackApiChatPostMessageRequest, SlackApiChatUpdateRequest, SlackChannelId, SlackMessageContent, SlackTs,
};
use slack_morphism::{
    ClientResult, SlackApiToken, SlackApiTokenValue, SlackClient, SlackClientApiCallContext,
    SlackClientHttpApiUri, SlackClientHttpConnector as _,
};
use tracer_core::incident::{Incident, Transition};
use tracer_core::notify::{Delivery, Notifier, NotifyError, Posted, Receipt};

use super::connector::Connector;
use super::error::{is_gone, meaning};
use super::message::{line, message};
use crate::http::{Http, SetupError, address};
use crate::links::Links;

/// How long a call to Slack may take: longer than a Slack that answers after half a minute, so that an answer
/// which is only slow does not make a message come twice.
pub const SLACK_TIMEOUT: Duration = Duration::from_secs(40);

/// An incoming webhook: posts one message for each delivery.
pub struct SlackWebhook {
    client: SlackClient<Connector>,
    url: Url,
    links: Arc<Links>,
}

/// A bot in a channel: has one message for each incident, which it edits, and tells its history in the thread.
pub struct SlackBot {
    client: SlackClient<Connector>,
    token: SlackApiToken,
    channel: SlackChannelId,
    links: Arc<Links>,
}

impl fmt::Debug for SlackWebhook {
    /// Leaves out the address, which is the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackWebhook").finish_non_exhaustive()
    }
}

impl fmt::Debug for SlackBot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackBot").field("channel", &self.channel.0).finish_non_exhaustive()
    }
}

impl SlackWebhook {
    /// Returns a channel that posts to the webhook at an address. A call takes no longer than `timeout`
    /// ([`SLACK_TIMEOUT`]).
    ///
    /// # Errors
    /// [`SetupError::Address`] if it is no address.
    pub fn new(http: &Http, url: &str, links: Arc<Links>, timeout: Duration) -> Result<Self, SetupError> {
        let url = address(url)?;
        let connector = Connector { http: http.clone(), api: String::new(), timeout };
        Ok(Self { client: SlackClient::new(connector), url, links })
    }
}

#[async_trait]
impl Notifier for SlackWebhook {
    async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, NotifyError> {
        /// slack-morphism's request has no place for what keeps links from being unfolded.
        #[derive(Serialize)]
        struct Request {
            #[serde(flatten)]
            content: SlackMessageContent,
            unfurl_links: bool,
            unfurl_media: bool,
            link_names: bool,
            parse: &'static str,
        }
        #[derive(Deserialize)]
        struct Taken {}
        let content = news(delivery, &self.links);
        let request =
            Request { content, unfurl_links: false, unfurl_media: false, link_names: false, parse: "none" };
        let span = tracing::Span::none();
        let context = SlackClientApiCallContext {
            rate_control_params: None,
            token: None,
            tracing_span: &span,
            is_sensitive_url: true,
        };
        let connector = &self.client.http_api.connector;
        let taken: ClientResult<Taken> = connector.http_post_uri(self.url.clone(), &request, context).await;
        taken.map_err(meaning)?;
        Ok(Receipt::default())
    }
}

/// Where a message is: what the outbox keeps of it, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    channel: SlackChannelId,
    ts: SlackTs,
}

impl Place {
    fn parse(reference: &str) -> Option<Self> {
        serde_json::from_str(reference).ok()
    }

    fn to_reference(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

impl SlackBot {
    /// Returns a channel that posts as the bot of this token to the channel of this id or name. A call takes no
    /// longer than `timeout` ([`SLACK_TIMEOUT`]). The methods of the API are at `api`, Slack's own if none.
    ///
    /// # Errors
    /// [`SetupError`] if the token cannot be sent, or `api` is no address.
    pub fn new(
        http: &Http,
        token: &str,
        channel: &str,
        links: Arc<Links>,
        timeout: Duration,
        api: Option<&str>,
    ) -> Result<Self, SetupError> {
        let token = token.trim();
        if token.is_empty() || !token.is_ascii() || HeaderValue::from_str(token).is_err() {
            return Err(SetupError::Secret);
        }
        let api = address(api.unwrap_or(SlackClientHttpApiUri::SLACK_API_URI_STR))?;
        let api = api.as_str().trim_end_matches('/').to_owned();
        let connector = Connector { http: http.clone(), api, timeout };
        Ok(Self {
            client: SlackClient::new(connector),
            token: SlackApiToken::new(SlackApiTokenValue(token.to_owned())),
            channel: SlackChannelId(channel.trim().to_owned()),
            links,
        })
    }

    /// Posts a message, or into a thread.
    async fn post(&self, content: SlackMessageContent, thread: Option<&Place>) -> ClientResult<Place> {
        let channel = thread.map_or(&self.channel, |place| &place.channel);
        let request = SlackApiChatPostMessageRequest::new(channel.clone(), content)
            .opt_thread_ts(thread.map(|place| place.ts.clone()))
            .with_link_names(false)
            .with_parse("none".to_owned())
            .with_unfurl_links(false)
            .with_unfurl_media(false);
        // Not through `chat_post_message`, which must understand all of the message as Slack repeats it: if it
        // once could not, the message would be posted again and again.
        self.client
            .open_session(&self.token)
            .http_session_api
            .http_post("chat.postMessage", &request, None)
            .await
    }

    async fn update(&self, place: &Place, content: SlackMessageContent) -> ClientResult<()> {
        #[derive(Deserialize)]
        struct Updated {}
        let request = SlackApiChatUpdateRequest::new(place.channel.clone(), content, place.ts.clone())
            .with_link_names(false)
            .with_parse("none".to_owned());
        let session = self.client.open_session(&self.token);
        let Updated {} = session.http_session_api.http_post("chat.update", &request, None).await?;
        Ok(())
    }

    /// Makes a message show its incidents as they are.
    async fn show(&self, place: &Place, posted: &Posted) -> ClientResult<()> {
        let incidents: Vec<&Incident> = posted.incidents.iter().collect();
        self.update(place, message(&incidents, None, &self.links)).await
    }

    async fn try_deliver(&self, delivery: &Delivery) -> ClientResult<Place> {
        let posted = delivery.posted.as_ref().filter(|posted| !posted.incidents.is_empty());
        let found = posted.and_then(|posted| Some((Place::parse(&posted.reference)?, posted)));
        let Some((place, posted)) = found else {
            return self.post(news(delivery, &self.links), None).await;
        };
        match self.show(&place, posted).await {
            Ok(()) => {}
            Err(error) if is_gone(&error) => return self.post(news(delivery, &self.links), None).await,
            Err(error) => return Err(error),
        }
        // Last, because an edit can be made twice, and a line would be there twice.
        for notification in delivery.notifications.iter().filter(|one| one.loud) {
            self.post(line(notification, posted.incidents.len() > 1), Some(&place)).await?;
        }
        Ok(place)
    }
}

#[async_trait]
impl Notifier for SlackBot {
    async fn deliver(&self, delivery: &Delivery) -> Result<Receipt, NotifyError> {
        let place = self.try_deliver(delivery).await.map_err(meaning)?;
        Ok(Receipt { reference: Some(place.to_reference()), note: None })
    }

    fn edits(&self) -> bool {
        true
    }

    async fn edit(&self, posted: &Posted) -> Result<(), NotifyError> {
        let Some(place) = Place::parse(&posted.reference) else {
            return Err(NotifyError::Permanent { reason: "the message is not known".to_owned() });
        };
        self.show(&place, posted).await.map_err(|error: SlackClientError| meaning(error))
    }
}

/// Returns a new message for a delivery: the incidents as they were when it happened.
fn news(delivery: &Delivery, links: &Links) -> SlackMessageContent {
    let incidents: Vec<&Incident> = delivery.notifications.iter().map(|one| &one.incident).collect();
    let transition: Option<Transition> = delivery.notifications.first().map(|one| one.transition);
    message(&incidents, transition, links)
}

#[cfg(test)]
mod tests;
