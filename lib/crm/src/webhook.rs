//! Webhooks: one request with the whole payload, whose status is the outcome.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method};
use serde_json::{Map, Value};
use switchboard_domain::ConfigError;
use switchboard_domain::delivery::Remote;
use switchboard_http::{Http, Limits, Request};
use url::Url;

use crate::format::{Clock, Endpoint, Format, RenderContext};
use crate::outcome::Outcome;

/// A webhook without settings, which POSTs what this function renders.
struct Webhook {
    url: Url,
    render: fn(&RenderContext<'_>) -> Vec<u8>,
}

/// A webhook that has no settings.
pub fn without_settings(
    endpoint: Endpoint,
    settings: &Value,
    render: fn(&RenderContext<'_>) -> Vec<u8>,
) -> Result<Arc<dyn Format>, ConfigError> {
    match settings.as_object().is_some_and(Map::is_empty) {
        true => Ok(Arc::new(Webhook { url: endpoint.url, render })),
        false => Err(ConfigError::new("settings", "must be left out: this format has none")),
    }
}

#[async_trait]
impl Format for Webhook {
    fn render(&self, context: &RenderContext<'_>) -> Vec<u8> {
        (self.render)(context)
    }

    async fn deliver(
        &self,
        http: &dyn Http,
        payload: &[u8],
        _: &mut Remote,
        clock: Clock<'_>,
    ) -> Result<Outcome, Outcome> {
        let json = HeaderValue::from_static("application/json");
        send(http, Method::POST, &self.url, json, payload, clock).await
    }
}

/// Sends the one request of a webhook.
pub async fn send(
    http: &dyn Http,
    method: Method,
    url: &Url,
    content_type: HeaderValue,
    payload: &[u8],
    clock: Clock<'_>,
) -> Result<Outcome, Outcome> {
    let mut request = Request::new(method, url.clone()).with_body(content_type, payload.to_vec());
    request.limits.largest = Limits::STATUS_ONLY;
    Ok(Outcome::of(&http.send(request).await?, clock()))
}
