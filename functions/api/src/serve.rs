//! Serving one area of the API as a function: who asks, what, the answer, and a line about it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use switchboard_domain::Name;
use switchboard_shell::Telemetry;
use switchboard_shell::gateway::{Event, Reply, parts};
use switchboard_shell::parameters::{Cached, Values};

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
}

impl Answer {
    /// 200 with a body.
    pub fn ok(body: impl Serialize) -> Result<Self, Problem> {
        Self::with(200, body)
    }

    /// Another status with a body.
    pub fn with(status: u16, body: impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_value(body);
        Ok(Self { status, body: body.map_err(|_| Problem::ours("the answer cannot be written"))? })
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
        let caller = caller(access, &event.payload).await?;
        who.clone_from(&caller.name);
        let parts = parts(&event.payload)
            .ok_or_else(|| Problem::invalid("body", "says that it is Base64 and is not"))?;
        area.answer(&Asked::new(parts, id, Timestamp::now())?, &caller).await
    }
    .await;
    let (reply, problem) = match result {
        Ok(answer) => (Reply::new(answer.status, answer.body), "none"),
        Err(problem) => {
            let kind = problem.kind;
            (problem.into_reply(), kind)
        }
    };
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
