//! Hanging up: by the dial request, or by the call.
//!
//! Ending a call twice does no harm, so that nothing is reserved here.

use jiff::Timestamp;
use serde_json::{Value, json};
use switchboard_domain::dial_request::{DialRequest, DialState, Status};
use switchboard_domain::{CallKey, Personal, State};
use switchboard_people::number;
use switchboard_providers::dial::{Account, Client, DialError, Dialer, Ending, Live};

use super::dialing::no_login;
use super::shown::in_progress;
use super::{Configured, Telephony, dial_request_id, is_theirs, wanted};
use crate::access::Caller;
use crate::problem::Problem;

impl<C: Configured> Telephony<C> {
    /// Ends the call of a dial request.
    pub(super) async fn end_dial_request(
        &self,
        dial_request: &DialRequest,
        now: Timestamp,
    ) -> Result<Value, Problem> {
        let known_id = match dial_request.status(now) {
            Status::InProgress(left) => return Err(in_progress(dial_request, left.as_secs())),
            Status::Free => return Err(not_live("it was never placed")),
            Status::Over(DialState::Refused { .. }) => {
                return Err(not_live("the provider refused it"));
            }
            Status::Over(DialState::Placed { call_id, .. }) => call_id,
            Status::Over(_) => None,
        };
        let order = &dial_request.order;
        let known = self.sources.get().await?;
        let missing = || Problem::not_found("source, or it places no calls");
        let found = known.account(order.provider.as_str(), &order.source);
        let (dialer, account) = found.ok_or_else(missing)?;
        let call_id = match known_id {
            Some(id) => id,
            None => self.live_of(dialer, &account, dial_request, now).await?,
        };
        self.end(dialer, &account, &call_id, now).await?;
        Ok(json!({"hung_up": true, "press_id": dial_request.id, "call": dial_request.call()}))
    }

    /// Ends a call by whatever names it: a dial request, a call key, or, where a source is meant, the
    /// provider's own id.
    pub(super) async fn end_any(
        &self,
        text: &str,
        source: Option<&str>,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Value, Problem> {
        let text = text.trim();
        if let Some(id) = dial_request_id(text)
            && let Some(dial_request) = self.store.dial_request(&id).await?
        {
            if !is_theirs(&dial_request, caller) {
                return Err(Problem::not_found("dial request"));
            }
            return self.end_dial_request(&dial_request, now).await;
        }
        let invalid =
            |_| Problem::invalid("call", "is neither the id of a dial request nor a call");
        let key: CallKey = match text.parse() {
            Ok(key) => key,
            Err(error) => {
                let (provider, name) = wanted::named(source.ok_or_else(|| invalid(error))?)?;
                format!("{provider}/{name}/{text}").parse().map_err(invalid)?
            }
        };
        if caller.employee.is_some() {
            let detail =
                "this token ends only the calls that it placed: send the dial request's press_id";
            return Err(Problem::new(403, "not-your-call", "Forbidden", detail));
        }
        let known = self.sources.get().await?;
        let missing = || Problem::not_found("source, or it places no calls");
        let (dialer, account) =
            known.account(key.provider.as_str(), &key.source).ok_or_else(missing)?;
        let stored = self.store.call(&key).await?;
        let call = stored.as_ref().map(|record| &record.call);
        if call.is_some_and(|call| call.facts.state == Some(State::Ended)) {
            return Err(not_live("it has ended"));
        }
        // Webhooks are keyed by one id, and calls are ended by another, which they hold beside it.
        let beside = call.and_then(|call| call.facts.extra.get("call_id"));
        let call_id = beside.map_or(key.call_id(), Personal::expose);
        if !dialer.can_end(call_id) {
            return Err(Problem::not_found("call, or its id cannot end it: send the press_id"));
        }
        self.end(dialer, &account, call_id, now).await?;
        Ok(json!({"hung_up": true, "press_id": null, "call": key}))
    }

    /// The id of a dial request's call among those that are going on.
    async fn live_of(
        &self,
        dialer: &dyn Dialer,
        account: &Account<'_>,
        dial_request: &DialRequest,
        now: Timestamp,
    ) -> Result<String, Problem> {
        let client = self.client(dialer, account, now).await?;
        let mut found = dialer.live(&client, dial_request).await;
        if found.as_ref().is_err_and(|error| error.is_authentication) {
            self.logins.forget(&account.place());
            let client = self.client(dialer, account, now).await?;
            found = dialer.live(&client, dial_request).await;
        }
        let live = found.map_err(|error| not_ended(&error))?;
        let order = &dial_request.order;
        let country = account.source.country.as_deref();
        let same = |one: &Personal, other: &Personal| {
            let other = number::e164(other.expose(), country);
            other.is_some() && number::e164(one.expose(), country) == other
        };
        let is_of = |call: &&Live| {
            call.customer.as_ref().or(call.agent.as_ref()).is_some()
                && call.customer.as_ref().is_none_or(|customer| same(customer, &order.to))
                && call.agent.as_ref().is_none_or(|agent| same(agent, &order.agent))
        };
        let mut ours = live.iter().filter(is_of);
        match (ours.next(), ours.next()) {
            (Some(call), None) => Ok(call.call_id.clone()),
            (None, _) => {
                Err(not_live("the provider lists no such call: it has ended or not begun"))
            }
            // Better no call than the wrong one.
            (Some(_), Some(_)) => Err(not_live("the provider lists several calls that match")),
        }
    }

    async fn end(
        &self,
        dialer: &dyn Dialer,
        account: &Account<'_>,
        call_id: &str,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let client = self.client(dialer, account, now).await?;
        let mut ending = dialer.hang_up(&client, call_id).await;
        if ending == Ending::NotAuthenticated {
            self.logins.forget(&account.place());
            let client = self.client(dialer, account, now).await?;
            ending = dialer.hang_up(&client, call_id).await;
        }
        match ending {
            Ending::Done => Ok(()),
            Ending::NotLive => Err(not_live("the provider knows no such call")),
            Ending::NotAuthenticated => Err(not_ended(&DialError::of(401))),
            Ending::Failed(error) => Err(not_ended(&error)),
        }
    }

    async fn client<'a>(
        &'a self,
        dialer: &dyn Dialer,
        account: &Account<'a>,
        now: Timestamp,
    ) -> Result<Client<'a>, Problem> {
        let http = &*self.http;
        let authorization = dialer.authorize(http, &self.logins, account, now).await;
        let authorization = authorization.map_err(|error| no_login(&error))?;
        Ok(Client { http, account: *account, authorization })
    }
}

/// 409: the call is not in progress.
fn not_live(why: &str) -> Problem {
    let detail = format!("the call is not in progress: {why}");
    Problem::new(409, "not-live", "Call not in progress", &detail)
}

/// 502: the provider did not confirm that it ended the call.
fn not_ended(trouble: &DialError) -> Problem {
    let detail = format!("{}; retrying the hang-up is safe", trouble.why);
    Problem::new(502, "not-ended", "Hang-up not confirmed", &detail).with("retryable", json!(true))
}
