//! Serving one area of the API as a function: who asks, what, the answer, and a line about it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use switchboard_domain::Name;
use switchboard_flow::Telemetry;
use switchboard_flow::Values;
use switchboard_shell::gateway::{Event, Reply, parts};
use switchboard_shell::parameters::Cached;

use crate::access::{Access, Caller, Token};
use crate::asked::Asked;
use crate::problem::Problem;

/// The folder of tokens, beside `sources` and `destinations`.
pub const TOKENS: &str = "api";

/// What is answered when all is well.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// Headers beside the usual ones.
    pub headers: BTreeMap<&'static str, String>,
}

impl Answer {
    /// 200 with a body.
    pub fn ok(body: impl Serialize) -> Result<Self, Problem> {
        Self::with(200, body)
    }

    /// Another status with a body.
    pub fn with(status: u16, body: impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_value(body);
        let body = body.map_err(|_| Problem::ours("the response cannot be serialized"))?;
        Ok(Self { status, body, headers: BTreeMap::new() })
    }

    /// With a header.
    pub fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.insert(name, value);
        self
    }
}

/// An area of the API: plain requests to answers. It asks for the rights that each needs.
pub trait Area: Send + Sync {
    /// Answers one request.
    fn answer(
        &self,
        asked: &Asked,
        caller: &Caller,
    ) -> impl Future<Output = Result<Answer, Problem>> + Send;

    /// Answers a request that proves by itself that it may be answered, as a signed link does. It is
    /// asked only where nobody says who they are. `None`: this is no such request.
    fn vouched(
        &self,
        _asked: &Asked,
    ) -> impl Future<Output = Option<Result<Answer, Problem>>> + Send {
        async { None }
    }
}

/// The tokens among the parameters. One that cannot be read opens nothing, and the log says so.
pub fn access(values: &Values, telemetry: &Telemetry) -> Access {
    let mut tokens = BTreeMap::new();
    for (path, json) in values {
        let Some(name) = path.strip_prefix(TOKENS).and_then(|rest| rest.strip_prefix('/')) else {
            continue;
        };
        let read = Name::new("token", name).map_err(|error| error.to_string()).and_then(|name| {
            let token = Token::parse(json).map_err(|error| error.to_string())?;
            Ok((name, token))
        });
        match read {
            Ok((name, token)) => drop(tokens.insert(name, token)),
            Err(problem) => telemetry
                .error("a token is not used", &[("parameter", path), ("problem", &problem)]),
        }
    }
    Access::new(tokens)
}

/// Answers requests until the environment ends.
pub async fn serve<A: Area>(
    area: A,
    access: Cached<Access>,
    telemetry: Telemetry,
) -> Result<(), Error> {
    let (area, access, telemetry) = (Arc::new(area), &access, &telemetry);
    access.get().await?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Event>| {
        let area = area.clone();
        async move {
            let reply = reply(&*area, access, telemetry, &event).await;
            Ok::<Value, Error>(reply.into_event())
        }
    }))
    .await
}

async fn reply<A: Area>(
    area: &A,
    access: &Cached<Access>,
    telemetry: &Telemetry,
    event: &LambdaEvent<Event>,
) -> Reply {
    let id = &event.context.request_id;
    let route = event.payload.route_key.as_deref().unwrap_or("unknown");
    let mut who = "nobody".to_owned();
    let result = async {
        if let Some(asked) = anonymous(event)
            && let Some(result) = area.vouched(&asked).await
        {
            return result;
        }
        let caller = caller(access, &event.payload).await?;
        who.clone_from(&caller.name);
        let parts = parts(&event.payload)
            .ok_or_else(|| Problem::invalid("body", "is declared as Base64 and is not"))?;
        area.answer(&Asked::new(parts, id, Timestamp::now())?, &caller).await
    }
    .await;
    let (reply, problem) = match result {
        Ok(answer) => {
            let mut reply = Reply::new(answer.status, answer.body);
            reply.headers = answer.headers;
            (reply, "none")
        }
        Err(problem) => {
            let kind = problem.kind;
            (problem.into_reply(), kind)
        }
    };
    let mut reply = reply;
    // What is answered may be personal, and is another a moment later.
    reply.headers.insert("cache-control", "no-store".into());
    // The id that the log line below is found by.
    reply.headers.insert("x-request-id", id.clone());
    let status = reply.status;
    let fields: [(&str, &dyn std::fmt::Display); 5] = [
        ("request_id", id),
        ("route", &route),
        ("caller", &who),
        ("status", &status),
        ("problem", &problem),
    ];
    telemetry.info("asked", &fields);
    reply
}

/// The request of somebody who does not say who they are.
fn anonymous(event: &LambdaEvent<Event>) -> Option<Asked> {
    let says_who =
        event.payload.claims().is_some() || event.payload.header("authorization").is_some();
    let parts = parts(&event.payload).filter(|_| !says_who)?;
    Asked::new(parts, &event.context.request_id, Timestamp::now()).ok()
}

/// Who asks. A JWT was checked by API Gateway before we were asked; a token that opens nothing may
/// be newer than what we know.
async fn caller(access: &Cached<Access>, event: &Event) -> Result<Caller, Problem> {
    if let Some(claims) = event.claims() {
        let claim = |name: &str| claims.get(name).and_then(Value::as_str);
        let subject = claim("sub").unwrap_or("unnamed");
        let scopes = claim("scope").unwrap_or_default();
        return Ok(Caller::of_jwt(subject, scopes, claim("switchboard_employee")));
    }
    let sent = event.header("authorization");
    let unreadable = |_| Problem::ours("the configuration cannot be read");
    match access.get().await.map_err(unreadable)?.caller(sent) {
        Err(_) if sent.is_some() => access.get_again().await.map_err(unreadable)?.caller(sent),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ssm::config::{BehaviorVersion, Credentials, Region};
    use serde_json::json;
    use switchboard_shell::parameters::Parameters;

    use super::*;
    use crate::access::Right;

    /// Answers with what the caller may do.
    struct Mirror;

    impl Area for Mirror {
        async fn answer(&self, _asked: &Asked, caller: &Caller) -> Result<Answer, Problem> {
            caller.needs(Right::Read)?;
            Answer::ok(json!({ "name": caller.name, "employee": caller.employee }))
        }
    }

    fn event(context: Value) -> LambdaEvent<Event> {
        let event = json!({
            "version": "2.0", "routeKey": "GET /calls", "rawPath": "/calls", "rawQueryString": "",
            "headers": {"authorization": "Bearer x"}, "isBase64Encoded": false,
            "requestContext": context,
        });
        let mut lambda = lambda_runtime::Context::default();
        lambda.request_id = "request-1".into();
        LambdaEvent::new(serde_json::from_value(event).unwrap(), lambda)
    }

    /// As API Gateway hands on what it has checked.
    fn with_claims(claims: Value) -> LambdaEvent<Event> {
        event(json!({
            "http": {"method": "GET", "path": "/calls"},
            "authorizer": {"jwt": {"claims": claims, "scopes": null}},
        }))
    }

    /// Tokens that cannot be read: whoever is let in was let in without them.
    fn no_tokens() -> Cached<Access> {
        let config = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("fake", "fake", None, None, "test"))
            .http_client(switchboard_shell::aws::http_client())
            .retry_config(aws_sdk_ssm::config::retry::RetryConfig::disabled())
            .endpoint_url("http://127.0.0.1:1")
            .build();
        let parameters = Parameters::new(aws_sdk_ssm::Client::from_conf(config));
        let log = Telemetry::memory("test");
        Cached::new(parameters, "/test".into(), vec![TOKENS.into()], log, |_| Access::default())
    }

    #[tokio::test]
    async fn the_claims_of_a_checked_jwt_are_the_callers_rights() {
        let telemetry = Telemetry::memory("test");
        let tokens = no_tokens();
        let claims = json!({
            "sub": "kim", "scope": "openid switchboard/read", "switchboard_employee": "e1",
        });
        let answered = reply(&Mirror, &tokens, &telemetry, &with_claims(claims)).await;
        assert_eq!(answered.status, 200);
        assert_eq!(answered.body, json!({ "name": "kim", "employee": "e1" }));
        assert_eq!(answered.headers["cache-control"], "no-store");
        assert_eq!(answered.headers["x-request-id"], "request-1");
        let line = telemetry.lines().pop().unwrap();
        assert!(line.contains("request-1") && line.contains("kim"), "{line}");

        let few = with_claims(json!({ "sub": "kim", "scope": "switchboard/dial" }));
        let refused = reply(&Mirror, &tokens, &telemetry, &few).await;
        assert_eq!((refused.status, &refused.body["right"]), (403, &json!("read")));
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        let none = with_claims(json!({ "sub": "kim" }));
        assert_eq!(reply(&Mirror, &tokens, &telemetry, &none).await.status, 403);
    }

    /// Lets everybody in who does not say who they are.
    struct Open;

    impl Area for Open {
        async fn answer(&self, _asked: &Asked, _caller: &Caller) -> Result<Answer, Problem> {
            Answer::ok(json!("with a caller"))
        }

        async fn vouched(&self, asked: &Asked) -> Option<Result<Answer, Problem>> {
            asked.parameter("signature")?;
            Some(Answer::with(302, json!({})).map(|answer| answer.header("location", "x".into())))
        }
    }

    #[tokio::test]
    async fn only_who_does_not_say_who_they_are_is_let_in_by_what_the_request_proves() {
        let telemetry = Telemetry::memory("test");
        let ask = async |authorization: Option<&str>, query: &str| {
            let mut headers = json!({});
            if let Some(authorization) = authorization {
                headers["authorization"] = json!(authorization);
            }
            let event = json!({
                "version": "2.0", "routeKey": "GET /calls", "rawPath": "/calls",
                "rawQueryString": query, "headers": headers, "isBase64Encoded": false,
                "requestContext": {"http": {"method": "GET", "path": "/calls"}},
            });
            let event = serde_json::from_value(event).unwrap();
            let event = LambdaEvent::new(event, lambda_runtime::Context::default());
            reply(&Open, &no_tokens(), &telemetry, &event).await
        };
        let led = ask(None, "signature=x").await;
        assert_eq!((led.status, led.headers["location"].as_str()), (302, "x"));
        assert_eq!(led.headers["cache-control"], "no-store");
        // The tokens cannot be read here, so whoever is asked for one is answered 503.
        assert_eq!(ask(None, "").await.status, 503);
        assert_eq!(ask(Some("Bearer x"), "signature=x").await.status, 503);
    }

    #[tokio::test]
    async fn without_a_jwt_tokens_decide_and_while_they_cannot_be_read_nobody_is_let_in() {
        let telemetry = Telemetry::memory("test");
        let plain = event(json!({"http": {"method": "GET", "path": "/calls"}}));
        let refused = reply(&Mirror, &no_tokens(), &telemetry, &plain).await;
        assert_eq!(refused.status, 503);
    }
}
