//! Placing and ending calls: click-to-call in one shape for all providers, and Smartflo's own
//! paths as a front end knows them.

mod dialing;
mod ending;
mod shown;
mod sources;
mod start;
mod wanted;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use switchboard_domain::dial_request::{Context, DialRequest};
use switchboard_domain::{Digest, Personal};
use switchboard_http::Http;
use switchboard_providers::rest::Logins;
use switchboard_store::{Directory, Store};

use crate::access::{Caller, Right};
use crate::problem::Problem;
use crate::request::Request;
use crate::serve::{Area, Response, ok, with_status};

pub use shown::{over, shown};
pub use sources::{Configured, Sources};
pub use start::start;
pub use wanted::Wanted;

/// The longest key of a dial request, characters.
const LONGEST_KEY: usize = 255;

/// The area: what it acts on.
pub struct Telephony<C> {
    /// Dial requests, and calls: the id that ends one is found there.
    pub store: Store,
    /// The employees.
    pub directory: Directory,
    /// The sources that may place calls.
    pub sources: C,
    /// What reaches their providers.
    pub http: Arc<dyn Http>,
    /// The logins of this process.
    pub logins: Logins,
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
        let (method, path) = request.route();
        match (method, path.as_slice()) {
            ("POST", ["telephony", "calls"]) => {
                let key = key(request)?;
                let dial_request = self.dial_request(request, caller, key, request.json()?).await?;
                with_status(201, over(&dial_request, caller)?)
            }
            ("GET", ["telephony", "calls", id]) => {
                let dial_request = self.pressed(id, caller).await?;
                ok(shown(&dial_request, &dial_request.status(request.now), caller))
            }
            ("POST", ["telephony", "calls", id, "hangup"]) => {
                let dial_request = self.pressed(id, caller).await?;
                ok(self.end_dial_request(&dial_request, request.now).await?)
            }
            ("POST", ["telephony", "hangup"]) => {
                let AnyEnding { call } = request.json()?;
                ok(self.end_any(&call, None, caller, request.now).await?)
            }
            ("POST", ["api", "v1", "smartflo", "click-to-call"]) => {
                let key = key(request)?;
                let dial_request = self.dial_request(
                    request,
                    caller,
                    key,
                    request.json::<SmartfloOrder>()?.into(),
                );
                ok(as_smartflo(&dial_request.await?, caller)?)
            }
            ("POST", ["api", "v1", "smartflo", "hangup"]) => {
                let SmartfloEnding { call_id, source } = request.json()?;
                let source = smartflo(source);
                let ended = self.end_any(&call_id, Some(&source), caller, request.now).await?;
                let mut body = json!({"success": true, "message": "the call is being ended"});
                body["data"] = ended;
                ok(body)
            }
            _ => Err(Problem::not_found("path")),
        }
    }
}

impl<C: Configured> Telephony<C> {
    /// A dial request by its id, if this caller may know of it.
    async fn pressed(&self, id: &str, caller: &Caller) -> Result<DialRequest, Problem> {
        let missing = || Problem::not_found("dial request");
        let dial_request =
            self.store.dial_request(&dial_request_id(id).ok_or_else(missing)?).await?;
        dial_request.filter(|dial_request| is_theirs(dial_request, caller)).ok_or_else(missing)
    }
}

/// Whether a caller may know of a dial request, and end it: one that is bound to an employee, theirs alone.
fn is_theirs(dial_request: &DialRequest, caller: &Caller) -> bool {
    let employee = dial_request.order.employee.as_ref().map(switchboard_domain::Name::as_str);
    caller.employee.is_none() || caller.employee.as_deref() == employee
}

/// The id of a dial request, as we write them.
fn dial_request_id(text: &str) -> Option<Digest> {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let read = || serde_json::from_value(Value::from(text)).ok();
    (text.len() == 32 && text.bytes().all(is_hex)).then(read).flatten()
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
