//! Hanging up: by the dial request, or by the call.
//!
//! Ending a call twice does no harm, so that nothing is reserved here.

use jiff::Timestamp;
use switchboard_domain::dial_request::{DialRequest, DialState, Status};
use switchboard_domain::{CallKey, Digest, Personal, State};
use switchboard_people::number;
use switchboard_providers::dial::{Account, Client, DialError, Dialer, Ending, Live};

use super::{Caller, Configured, Dial, NO_SOURCE, NotDone, dial_request_id, order};

/// A call that is being ended.
pub struct HungUp {
    /// The dial request that named it.
    pub dial_request: Option<Digest>,
    /// Its key, where it is known.
    pub call: Option<CallKey>,
}

impl<C: Configured> Dial<C> {
    /// Ends the call of a dial request.
    pub async fn hang_up(&self, request: &DialRequest, now: Timestamp) -> Result<HungUp, NotDone> {
        let known_id = match request.status(now) {
            Status::InProgress(left) => {
                return Err(NotDone::InProgress(request.id.clone(), left.as_secs()));
            }
            Status::Free => return Err(NotDone::NotLive("it was never placed")),
            Status::Over(DialState::Refused { .. }) => {
                return Err(NotDone::NotLive("the provider refused it"));
            }
            Status::Over(DialState::Placed { call_id, .. }) => call_id,
            Status::Over(_) => None,
        };
        let order = &request.order;
        let known = self.sources.get().await?;
        let found = known.account(order.provider.as_str(), &order.source);
        let (dialer, account) = found.ok_or(NO_SOURCE)?;
        let call_id = match known_id {
            Some(id) => id,
            None => self.live_of(dialer, &account, request, now).await?,
        };
        self.end(dialer, &account, &call_id, now).await?;
        Ok(HungUp { dial_request: Some(request.id.clone()), call: request.call() })
    }

    /// Ends a call by whatever names it: a dial request, a call key, or, where a source is meant, the
    /// provider's own id.
    pub async fn hang_up_any(
        &self,
        text: &str,
        source: Option<&str>,
        caller: &Caller<'_>,
    ) -> Result<HungUp, NotDone> {
        let text = text.trim();
        if let Some(id) = dial_request_id(text)
            && let Some(request) = self.store.dial_request(&id).await?
        {
            return match caller.may_see(&request) {
                true => self.hang_up(&request, caller.now).await,
                false => Err(NotDone::Unknown("dial request")),
            };
        }
        const INVALID: NotDone =
            NotDone::Invalid("call", "is neither the id of a dial request nor a call");
        let key: CallKey = match (text.parse(), source) {
            (Ok(key), _) => key,
            (Err(_), None) => return Err(INVALID),
            (Err(_), Some(source)) => {
                let (provider, name) = order::named(source)?;
                format!("{provider}/{name}/{text}").parse().map_err(|_| INVALID)?
            }
        };
        if caller.employee.is_some() {
            return Err(NotDone::NotTheirCall);
        }
        let known = self.sources.get().await?;
        let found = known.account(key.provider.as_str(), &key.source);
        let (dialer, account) = found.ok_or(NO_SOURCE)?;
        let stored = self.store.call(&key).await?;
        let call = stored.as_ref().map(|record| &record.call);
        if call.is_some_and(|call| call.facts.state == Some(State::Ended)) {
            return Err(NotDone::NotLive("it has ended"));
        }
        // Webhooks are keyed by one id, and calls are ended by another, which they hold beside it.
        let beside = call.and_then(|call| call.facts.extra.get("call_id"));
        let call_id = beside.map_or(key.call_id(), Personal::expose);
        if !dialer.can_end(call_id) {
            return Err(NotDone::Unknown("call, or its id cannot end it: send the press_id"));
        }
        self.end(dialer, &account, call_id, caller.now).await?;
        Ok(HungUp { dial_request: None, call: Some(key) })
    }

    /// The id of a dial request's call among those that are going on.
    async fn live_of(
        &self,
        dialer: &dyn Dialer,
        account: &Account<'_>,
        request: &DialRequest,
        now: Timestamp,
    ) -> Result<String, NotDone> {
        let mut found = dialer.live(&self.client(dialer, account, now).await?, request).await;
        if found.as_ref().is_err_and(|error| error.is_authentication) {
            self.logins.forget(&account.place());
            found = dialer.live(&self.client(dialer, account, now).await?, request).await;
        }
        let live = found.map_err(NotDone::NotEnded)?;
        let country = account.source.country.as_deref();
        let same = |one: &Personal, other: &Personal| {
            let other = number::e164(other.expose(), country);
            other.is_some() && number::e164(one.expose(), country) == other
        };
        let order = &request.order;
        let is_of = |call: &&Live| {
            call.customer.as_ref().or(call.agent.as_ref()).is_some()
                && call.customer.as_ref().is_none_or(|customer| same(customer, &order.to))
                && call.agent.as_ref().is_none_or(|agent| same(agent, &order.agent))
        };
        let mut ours = live.iter().filter(is_of);
        let problem = match (ours.next(), ours.next()) {
            (Some(call), None) => return Ok(call.call_id.clone()),
            (None, _) => "the provider lists no such call: it has ended or not begun",
            // Better no call than the wrong one.
            (Some(_), Some(_)) => "the provider lists several calls that match",
        };
        Err(NotDone::NotLive(problem))
    }

    async fn end(
        &self,
        dialer: &dyn Dialer,
        account: &Account<'_>,
        call_id: &str,
        now: Timestamp,
    ) -> Result<(), NotDone> {
        let mut ending = dialer.hang_up(&self.client(dialer, account, now).await?, call_id).await;
        if ending == Ending::NotAuthenticated {
            self.logins.forget(&account.place());
            ending = dialer.hang_up(&self.client(dialer, account, now).await?, call_id).await;
        }
        match ending {
            Ending::Done => Ok(()),
            Ending::NotLive => Err(NotDone::NotLive("the provider knows no such call")),
            Ending::NotAuthenticated => Err(NotDone::NotEnded(DialError::of(401))),
            Ending::Failed(error) => Err(NotDone::NotEnded(error)),
        }
    }

    async fn client<'a>(
        &'a self,
        dialer: &dyn Dialer,
        account: &Account<'a>,
        now: Timestamp,
    ) -> Result<Client<'a>, NotDone> {
        let http = &*self.http;
        let authorization = dialer.authorize(http, &self.logins, account, now).await;
        let authorization = authorization.map_err(NotDone::Login)?;
        Ok(Client { http, account: *account, authorization })
    }
}
