//! Placing and ending calls: click-to-call in one shape for all providers, and Smartflo's own
//! paths as a front end knows them.

mod shown;
mod start;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use switchboard_domain::Personal;
use switchboard_domain::dial_request::{Context, DialRequest};
use switchboard_flow::dial::{
    self, Configured, Dial, HungUp, NotDone, Sources, Wanted, dial_request_id,
};
use switchboard_shell::parameters::Cached;

use crate::access::{Caller, Right};
use crate::problem::Problem;
use crate::request::Request;
use crate::serve::{Area, Response, ok, with_status};

use shown::{over, shown};
pub use start::start;

/// The longest key of a dial request, characters.
const LONGEST_KEY: usize = 255;

/// The area: what places and ends calls.
pub struct Telephony<C>(pub Dial<C>);

/// The sources as the Parameter Store has them.
struct Known(Cached<Sources>);

impl Configured for Known {
    async fn get(&self) -> Result<Arc<Sources>, NotDone> {
        self.0.get().await.map_err(|_| NotDone::Configuration)
    }

    async fn get_again(&self) -> Result<Arc<Sources>, NotDone> {
        self.0.get_again().await.map_err(|_| NotDone::Configuration)
    }
}

/// The body of Smartflo's click-to-call. Members that are not named here, as `async`, say nothing.
#[derive(Deserialize)]
struct SmartfloOrder {
    agent_number: Option<Personal>,
    destination_number: Personal,
    caller_id: Option<Personal>,
    custom_identifier: Option<String>,
    ref_id: Option<String>,
    source: Option<String>,
}

/// The body of Smartflo's hang-up.
#[derive(Deserialize)]
struct SmartfloEnding {
    call_id: String,
    source: Option<String>,
}

/// The body of a hang-up.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnyEnding {
    call: String,
}

impl<C: Configured> Area for Telephony<C> {
    async fn respond(&self, request: &Request, caller: &Caller) -> Result<Response, Problem> {
        caller.needs(Right::Dial)?;
        request.only(&[])?;
        let by = dial::Caller {
            name: &caller.name,
            employee: caller.employee.as_deref(),
            request: &request.id,
            now: request.now,
        };
        let (method, path) = request.route();
        match (method, path.as_slice()) {
            ("POST", ["telephony", "calls"]) => {
                let placed = self.0.place(&by, key(request)?, request.json()?).await?;
                with_status(201, over(&placed, caller)?)
            }
            ("GET", ["telephony", "calls", id]) => {
                let dial_request = self.dial_request(id, &by).await?;
                ok(shown(&dial_request, &dial_request.status(request.now), caller))
            }
            ("POST", ["telephony", "calls", id, "hangup"]) => {
                let dial_request = self.dial_request(id, &by).await?;
                ok(hung_up(&self.0.hang_up(&dial_request, request.now).await?))
            }
            ("POST", ["telephony", "hangup"]) => {
                let AnyEnding { call } = request.json()?;
                ok(hung_up(&self.0.hang_up_any(&call, None, &by).await?))
            }
            ("POST", ["api", "v1", "smartflo", "click-to-call"]) => {
                let (key, order) = (key(request)?, request.json::<SmartfloOrder>()?);
                let placed = self.0.place(&by, key, order.into()).await?;
                ok(as_smartflo(&placed, caller)?)
            }
            ("POST", ["api", "v1", "smartflo", "hangup"]) => {
                let SmartfloEnding { call_id, source } = request.json()?;
                let ended = self.0.hang_up_any(&call_id, Some(&smartflo(source)), &by).await?;
                ok(json!({
                    "success": true,
                    "message": "the call is being ended",
                    "data": hung_up(&ended),
                }))
            }
            _ => Err(Problem::not_found("path")),
        }
    }
}

impl<C: Configured> Telephony<C> {
    /// A dial request by its id, if this caller may know of it.
    async fn dial_request(&self, id: &str, by: &dial::Caller<'_>) -> Result<DialRequest, Problem> {
        let missing = || Problem::not_found("dial request");
        let id = dial_request_id(id).ok_or_else(missing)?;
        let stored = self.0.store.dial_request(&id).await?;
        stored.filter(|stored| by.may_see(stored)).ok_or_else(missing)
    }
}

fn hung_up(ended: &HungUp) -> Value {
    json!({"hung_up": true, "press_id": ended.dial_request, "call": ended.call})
}

/// The caller's key of a dial request.
fn key(request: &Request) -> Result<&str, Problem> {
    let key = request.header("idempotency-key").unwrap_or_default();
    let is_good =
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b));
    let problem = "is required: 1 to 255 ASCII characters, new for each call";
    if is_good { Ok(key) } else { Err(Problem::invalid("Idempotency-Key", problem)) }
}

fn smartflo(source: Option<String>) -> String {
    let source = source.unwrap_or_else(|| "smartflo".to_owned());
    if source.contains('/') { source } else { format!("smartflo/{source}") }
}

impl From<SmartfloOrder> for Wanted {
    /// What front ends send as `ref_id` is the lead's id: Smartflo's own name for that is
    /// `custom_identifier`, and its `ref_id` is another.
    fn from(order: SmartfloOrder) -> Self {
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let lead_id = given(order.custom_identifier).or_else(|| given(order.ref_id));
        Self {
            source: smartflo(order.source),
            agent: order.agent_number,
            to: order.destination_number,
            caller_id: order.caller_id.filter(|one| !one.expose().trim().is_empty()),
            context: Context { lead_id, ..Context::default() },
        }
    }
}

/// As Smartflo answers, and with a `call_id` that the hang-up takes: Smartflo's own is not known yet.
fn as_smartflo(dial_request: &DialRequest, caller: &Caller) -> Result<Value, Problem> {
    let mut data = over(dial_request, caller)?;
    data["call_id"] = dial_request.id.as_str().into();
    Ok(json!({
        "success": true,
        "message": "the call is being placed",
        "ref_id": data["ref_id"],
        "call_id": dial_request.id,
        "data": data,
    }))
}
