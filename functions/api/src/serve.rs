//! Serving one area of the API as a function: the caller, the request, the response, and a log line.

use std::future::Future;

use jiff::Timestamp;
use lambda_http::{Error, LambdaEvent, lambda_runtime, service_fn};
use serde::Serialize;
use switchboard_flow::{Values, config};
use switchboard_shell::environment::invocation;
use switchboard_shell::gateway::{Event, HttpRequest};
use switchboard_shell::parameters::Cached;
use tracing::{Instrument as _, info};

use crate::access::{Access, Caller, Token};
use crate::problem::Problem;
use crate::request::Request;

pub use switchboard_shell::gateway::Response;

/// The folder of tokens, beside `sources` and `destinations`.
pub const TOKENS: &str = "api";

/// 200 with a body.
pub fn ok(body: impl Serialize) -> Result<Response, Problem> {
    with_status(200, body)
}

/// Another status with a body.
pub fn with_status(status: u16, body: impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_value(body);
    body.map(|body| Response::new(status, body))
        .map_err(|_| Problem::ours("the response cannot be serialized"))
}

/// An area of the API: requests to responses. It checks the right that each request needs.
pub trait Area: Send + Sync {
    /// The response to one request.
    fn respond(
        &self,
        request: &Request,
        caller: &Caller,
    ) -> impl Future<Output = Result<Response, Problem>> + Send;

    /// Whether a request carries a signature of its own, as a link does: then it needs no token, and
    /// [`Area::respond`] checks the signature of an anonymous caller.
    fn is_signed(&self, _request: &Request) -> bool {
        false
    }
}

/// The tokens among the parameters.
pub fn access(values: &Values) -> Access {
    Access(config::read(values, TOKENS, Token::read).into_iter().collect())
}

/// Serves requests until the environment ends.
pub async fn serve<A: Area>(area: A, access: Cached<Access>) -> Result<(), Error> {
    let (area, access) = (&area, &access);
    access.get().await?;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Event>| {
        let span = invocation(&event.context);
        let request_id = event.context.request_id;
        let response = async move {
            let response = respond(area, access, &request_id, event.payload.into()).await;
            Ok::<_, Error>(response.into_event())
        };
        response.instrument(span)
    }))
    .await
}

/// The response to a request, and the log line about it.
async fn respond<A: Area>(
    area: &A,
    access: &Cached<Access>,
    id: &str,
    http: HttpRequest,
) -> Response {
    let route = http.route.clone();
    let mut name = "unknown".to_owned();
    let result = async {
        let credentials = Credentials::of(&http);
        let request = Request::new(http, id, Timestamp::now());
        let caller = match (credentials, &request) {
            (Credentials::None, Ok(request)) if area.is_signed(request) => Caller::anonymous(),
            (credentials, _) => credentials.caller(access).await?,
        };
        name.clone_from(&caller.name);
        area.respond(&request?, &caller).await
    }
    .await;
    let (mut response, problem) = match result {
        Ok(response) => (response, "none"),
        Err(problem) => {
            let kind = problem.kind;
            (problem.into_response(), kind)
        }
    };
    // A body may be personal, and is another a moment later.
    response.headers.insert("cache-control", "no-store".into());
    // The id that the log line below is found by.
    response.headers.insert("x-request-id", id.to_owned());
    info!(route, caller = name, status = response.status, problem, "API request");
    response
}

/// What a caller proves who they are with.
enum Credentials {
    None,
    /// The header `Authorization`.
    Header(String),
    /// A JWT that API Gateway has checked.
    Jwt(Caller),
}

impl Credentials {
    fn of(http: &HttpRequest) -> Self {
        if let Some(claims) = &http.claims {
            let claim = |name: &str| claims.get(name).map(String::as_str);
            let (subject, scopes) = (claim("sub").unwrap_or("unnamed"), claim("scope"));
            let employee = claim("switchboard_employee");
            return Self::Jwt(Caller::of_jwt(subject, scopes.unwrap_or_default(), employee));
        }
        http.headers.get("authorization").cloned().map_or(Self::None, Self::Header)
    }

    /// The caller. A token that is not known may be newer than what was read.
    async fn caller(self, access: &Cached<Access>) -> Result<Caller, Problem> {
        let header = match self {
            Self::Jwt(caller) => return Ok(caller),
            Self::Header(header) => Some(header),
            Self::None => None,
        };
        let unreadable = |_| Problem::ours("the configuration cannot be read");
        match access.get().await.map_err(unreadable)?.caller(header.as_deref()) {
            Err(_) if header.is_some() => {
                access.get_again().await.map_err(unreadable)?.caller(header.as_deref())
            }
            result => result,
        }
    }
}

#[cfg(test)]
#[path = "../../hooks/tests/probe/events.rs"]
mod probe;

#[cfg(test)]
mod tests {
    use aws_sdk_ssm::config::{BehaviorVersion, Credentials, Region};
    use serde_json::{Value, json};
    use switchboard_shell::parameters::Parameters;

    use super::*;
    use crate::access::Right;

    /// Responds with what the caller may do.
    struct Mirror;

    impl Area for Mirror {
        async fn respond(&self, _request: &Request, caller: &Caller) -> Result<Response, Problem> {
            caller.needs(Right::Read)?;
            ok(json!({ "name": caller.name, "employee": caller.employee }))
        }
    }

    fn event(context: Value) -> HttpRequest {
        let event = json!({
            "version": "2.0", "routeKey": "GET /calls", "rawPath": "/calls", "rawQueryString": "",
            "headers": {"authorization": "Bearer x"}, "isBase64Encoded": false,
            "requestContext": context,
        });
        serde_json::from_value::<Event>(event).unwrap().into()
    }

    /// As API Gateway hands on what it has checked.
    fn with_claims(claims: Value) -> HttpRequest {
        event(json!({
            "http": {"method": "GET", "path": "/calls"},
            "authorizer": {"jwt": {"claims": claims, "scopes": null}},
        }))
    }

    /// Tokens that cannot be read: a caller that is let in needed none.
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
        Cached::new(parameters, "/test".into(), vec![TOKENS.into()], |_| Access::default())
    }

    #[tokio::test]
    async fn the_claims_of_a_checked_jwt_are_the_callers_rights() {
        let log = switchboard_flow::telemetry::capture();
        let tokens = no_tokens();
        let claims = json!({
            "sub": "kim", "scope": "openid switchboard/read", "switchboard_employee": "e1",
        });
        let answered = respond(&Mirror, &tokens, "request-1", with_claims(claims)).await;
        assert_eq!(answered.status, 200);
        assert_eq!(answered.body, json!({ "name": "kim", "employee": "e1" }));
        assert_eq!(answered.headers["cache-control"], "no-store");
        assert_eq!(answered.headers["x-request-id"], "request-1");
        let line = log.lines().pop().unwrap();
        assert!(line.contains("API request") && line.contains("kim"), "{line}");

        let few = with_claims(json!({ "sub": "kim", "scope": "switchboard/dial" }));
        let refused = respond(&Mirror, &tokens, "request-1", few).await;
        assert_eq!((refused.status, &refused.body["right"]), (403, &json!("read")));
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        let none = with_claims(json!({ "sub": "kim" }));
        assert_eq!(respond(&Mirror, &tokens, "request-1", none).await.status, 403);
    }

    /// Redirects signed requests.
    struct Open;

    impl Area for Open {
        async fn respond(&self, _request: &Request, caller: &Caller) -> Result<Response, Problem> {
            match caller.is_anonymous {
                false => ok(json!("with a caller")),
                true => with_status(302, json!({})).map(|one| one.header("location", "x".into())),
            }
        }

        fn is_signed(&self, request: &Request) -> bool {
            request.parameter("signature").is_some()
        }
    }

    #[tokio::test]
    async fn a_signature_lets_in_only_without_other_credentials() {
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
            let event: Event = serde_json::from_value(event).unwrap();
            respond(&Open, &no_tokens(), "request-1", event.into()).await
        };
        let led = ask(None, "signature=x").await;
        assert_eq!((led.status, led.headers["location"].as_str()), (302, "x"));
        assert_eq!(led.headers["cache-control"], "no-store");
        // The tokens cannot be read here, so a request that needs one gets 503.
        assert_eq!(ask(None, "").await.status, 503);
        assert_eq!(ask(Some("Bearer x"), "signature=x").await.status, 503);
    }

    #[tokio::test]
    async fn without_a_jwt_tokens_decide_and_while_they_cannot_be_read_none_is_let_in() {
        let plain = event(json!({"http": {"method": "GET", "path": "/calls"}}));
        let refused = respond(&Mirror, &no_tokens(), "request-1", plain).await;
        assert_eq!(refused.status, 503);
    }

    #[tokio::test]
    async fn every_odd_request_gets_a_response() {
        let claims = json!({"sub": "kim", "scope": "switchboard/read"});
        let plain = json!({
            "version": "2.0", "rawPath": "/calls", "rawQueryString": "", "headers": {},
            "requestContext": {"http": {"method": "GET"}, "authorizer": {"jwt": {"claims": claims}}},
        });
        for (what, change) in probe::odd_events() {
            let event = probe::with(plain.clone(), &change).to_string();
            let event: Event = serde_json::from_str(&event).unwrap();
            let status = respond(&Mirror, &no_tokens(), "request-1", event.into()).await.status;
            // Without its context there are no claims, and here no token can be read.
            let expected = [200, 400, if what == "no context" { 503 } else { 401 }];
            assert!(expected.contains(&status), "{what}: {status}");
        }
    }
}
