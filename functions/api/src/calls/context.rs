//! `PUT …/context`: sets a call's context, before or after any webhook.

use serde_json::json;
use switchboard_domain::context::Given;
use switchboard_domain::{CallKey, CallRecord, Context, Legs, Policy, Seconds, Work};
use switchboard_queue::{Job, Send};
use switchboard_store::Put;
use tracing::info;

use super::{Calls, TwilioSources, named};
use crate::{Caller, Problem, Request, Response, Right, ok};

/// How often a write is tried against other writers of the same call.
const ROUNDS: usize = 60;
/// This function does not know the call's source, so it enriches legs too: `enrich`, which knows the
/// source, decides whether a leg is delivered.
const POLICY: Policy = Policy { settle: Seconds(0), legs: Legs::Each, starts: false };

impl<N: TwilioSources> Calls<N> {
    /// Gives a call a context, be it stored or not.
    pub(super) async fn context(
        &self,
        key: &CallKey,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        caller.needs(Right::Context)?;
        request.only(&[])?;
        let context: Context = request.json()?;
        let context =
            context.checked().map_err(|(field, problem)| Problem::invalid(field, problem))?;
        let mut stored = self.store.call(key).await?;
        for _ in 0..ROUNDS {
            let update = match context.given_to(stored.as_ref(), request.now) {
                Given::New(update) => *update,
                Given::Unchanged => return answer(key, stored.as_ref(), caller),
                Given::TooMany => {
                    return Err(Problem::conflict(
                        "the call's context was changed 20 times: no further change is accepted",
                    ));
                }
            };
            let record = match stored.take() {
                Some(record) if record.is_full() => {
                    return Err(Problem::conflict(
                        "the call has too many updates: no further one is accepted",
                    ));
                }
                Some(mut record) => {
                    record.absorb(update, POLICY, request.now);
                    record
                }
                None => CallRecord::first(key.clone(), update, POLICY, request.now),
            };
            match self.store.put_call(&record).await? {
                Put::Stored(_) => {
                    let correlation_id = key.correlation_id();
                    info!(caller = caller.name, call = %key, %correlation_id, "context set");
                    let job = |at| Send::at(Job::Enrich { call: key.clone() }, at, request.now);
                    let due = record.owed.get(&Work::Enrich).copied().and_then(job);
                    self.queue(due.as_slice()).await;
                    return answer(key, Some(&record), caller);
                }
                Put::Conflict(other) => stored = Some(*other),
            }
        }
        Err(Problem::ours("other writers keep changing the call"))
    }
}

/// The call's whole context, of which another request may have set a part.
fn answer(
    key: &CallKey,
    record: Option<&CallRecord>,
    caller: &Caller,
) -> Result<Response, Problem> {
    let context = record.map(Context::of).unwrap_or_default();
    let context = json!({
        "campaign": context.campaign,
        "contact_id": context.contact_id,
        "lead_id": context.lead_id,
        "conversation_id": context.conversation_id,
        "contact_name": caller.show_known(context.contact_name.as_ref()),
    });
    ok(named(key, [json!({ "context": context })]))
}
