//! A dial request as callers are shown it, and why a call was not placed or ended. A result depends on
//! what is stored and on nothing else, so that a repeated key gets the same answer.

use serde_json::{Value, json};
use switchboard_domain::Digest;
use switchboard_domain::dial_request::{DialFault, DialRequest, DialState, Status};
use switchboard_flow::dial::NotDone;
use switchboard_providers::dial::DialError;

use crate::access::Caller;
use crate::problem::Problem;

/// A dial request, and how far it has come.
pub fn shown(dial_request: &DialRequest, status: &Status, caller: &Caller) -> Value {
    let order = &dial_request.order;
    let mut body = json!({
        "press_id": dial_request.id,
        "state": word(dial_request, status),
        "source": format!("{}/{}", order.provider, order.source),
        "agent": caller.show(&order.agent),
        "employee": order.employee,
        "to": caller.show(&order.to),
        "caller_id": caller.show_known(order.caller_id.as_ref()),
        "context": order.context,
        "pressed_at": dial_request.pressed_at,
        "call": dial_request.call(),
        "ref_id": null,
    });
    match status {
        Status::Over(DialState::Placed { ref_id, .. }) => body["ref_id"] = json!(ref_id),
        Status::Over(DialState::Refused { why, .. } | DialState::Unknown { why }) => {
            body["why"] = json!(why);
        }
        _ => {}
    }
    body
}

fn word(dial_request: &DialRequest, status: &Status) -> &'static str {
    match status {
        Status::Over(DialState::Placed { .. }) => "placed",
        Status::Over(DialState::Refused { .. }) => "refused",
        Status::Over(_) => "unknown",
        Status::InProgress(_) if dial_request.state == DialState::Dialling => "dialling",
        Status::InProgress(_) | Status::Free => "reserved",
    }
}

/// The response to a dial request with a result.
pub fn over(dial_request: &DialRequest, caller: &Caller) -> Result<Value, Problem> {
    let about = |problem: Problem, state: &str| {
        problem.with("press_id", json!(dial_request.id)).with("state", json!(state))
    };
    match &dial_request.state {
        DialState::Placed { .. } => {
            Ok(shown(dial_request, &Status::Over(dial_request.state.clone()), caller))
        }
        DialState::Refused { fault, why } => {
            let title = "Call not placed";
            let (status, kind, advice) = match fault {
                DialFault::Request => (
                    422,
                    "provider-refused",
                    "check the agent, the number and the caller id, then retry with a new key",
                ),
                DialFault::Configuration => (
                    502,
                    "provider-configuration",
                    "correct the source's configuration, then retry with a new key",
                ),
                DialFault::Provider => (502, "provider-unavailable", "retry later with a new key"),
            };
            let detail = format!("{why}; no call was placed: {advice}");
            Err(about(Problem::new(status, kind, title, &detail), "refused"))
        }
        DialState::Unknown { why } => {
            let title = "Call result unknown";
            let detail = format!(
                "{why}; the provider may have placed the call, and this key never places another: \
                 check the agent's phone or the provider's live calls, or hang up by press_id"
            );
            Err(about(Problem::new(409, "unknown-result", title, &detail), "unknown"))
        }
        DialState::Reserved | DialState::Dialling => Err(in_progress(&dial_request.id, 1)),
    }
}

/// 409: another request with this key is in progress, usually for a second or two.
fn in_progress(id: &Digest, seconds: i64) -> Problem {
    let detail = "retry with the same Idempotency-Key to get the result";
    Problem::new(409, "in-progress", "Request in progress", detail)
        .with("press_id", json!(id))
        .with("retry_after", json!(seconds.clamp(1, 2)))
}

impl From<NotDone> for Problem {
    fn from(why: NotDone) -> Self {
        match why {
            NotDone::Store(error) => error.into(),
            NotDone::Configuration => Self::ours("the configuration cannot be read"),
            NotDone::Invalid(field, problem) => Self::invalid(field, problem),
            NotDone::Unknown(what) => Self::not_found(what),
            NotDone::NotAllowed(field, problem) => {
                let detail = format!("{field} {problem}");
                Self::new(422, "not-dialled", "Call not allowed", &detail)
                    .with("errors", json!([{ "field": field, "problem": problem }]))
            }
            NotDone::NotTheirAgent => {
                let detail = "this token places calls for its own employee only";
                Self::new(403, "not-your-agent", "Forbidden", detail)
            }
            NotDone::NotTheirCall => {
                let detail = "this token ends only the calls that it placed: send the dial request's press_id";
                Self::new(403, "not-your-call", "Forbidden", detail)
            }
            NotDone::KeyReused => {
                let detail = "the Idempotency-Key was used for another request: send a new key for each call";
                Self::new(422, "key-reused", "Idempotency key reused", detail)
            }
            NotDone::InProgress(id, seconds) => in_progress(&id, seconds),
            NotDone::RateLimited { most, window, left } => {
                let detail = format!(
                    "the agent's limit of {most} calls per {window} is used up; no call was placed: \
                     retry with the same key after Retry-After"
                );
                Self::new(429, "too-many-calls", "Rate limit exceeded", &detail)
                    .with("retry_after", json!(left))
            }
            NotDone::Login(DialError { fault, why, .. }) => {
                let detail = format!("the login at the provider failed: {why}; no call was placed");
                let title = "Provider login failed";
                match fault {
                    DialFault::Provider => Self::new(503, "provider-unavailable", title, &detail)
                        .with("retryable", json!(true)),
                    _ => Self::new(502, "provider-configuration", title, &detail),
                }
            }
            NotDone::NotLive(why) => {
                let detail = format!("the call is not in progress: {why}");
                Self::new(409, "not-live", "Call not in progress", &detail)
            }
            NotDone::NotEnded(error) => {
                let detail = format!("{}; retrying the hang-up is safe", error.why);
                Self::new(502, "not-ended", "Hang-up not confirmed", &detail)
                    .with("retryable", json!(true))
            }
        }
    }
}
