//! One press of the button, from its key to an answer: nobody is dialled twice.
//!
//! 1. The key is reserved, by a put on condition that nobody has it.
//! 2. What does not dial is done: the rate is counted, a login made. If that fails, the key is
//!    given free.
//! 3. `dialling` is written, on condition of the version that was reserved. Whoever cannot write
//!    it does not dial.
//! 4. The provider is asked, once; a second time only after it answered that it does not know us.
//! 5. How it went is written. If we are gone by then, the press stays `dialling`, and is unknown
//!    when its lease is over.

use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use switchboard_domain::press::{DialFault, Press, PressState, Standing};
use switchboard_domain::{Digest, Secret};
use switchboard_providers::dial::{Dial, Placing, Site, Trouble};
use switchboard_store::Store;
use switchboard_store::presses::{Presses, PutPress, Tally};

use super::shown::in_progress;
use super::{Configured, Staff, Telephony, Wanted, Wire, is_theirs};
use crate::access::Caller;
use crate::asked::Asked;
use crate::problem::Problem;

impl<P: Presses, S: Store, F: Staff, C: Configured, W: Wire> Telephony<P, S, F, C, W> {
    /// The press of this key, dialled if it never was. What is returned is over.
    pub(super) async fn press(
        &self,
        asked: &Asked,
        caller: &Caller,
        key: &str,
        wanted: Wanted,
    ) -> Result<Press, Problem> {
        let (id, request) = (Press::id_of(&caller.name, key), wanted.digest()?);
        let mut version = 0;
        if let Some(stored) = self.presses.press(&id).await? {
            match standing(&stored, &request, asked.now, caller)? {
                Standing::Over(state) => return Ok(Press { state, ..stored }),
                Standing::InProgress(left) => return Err(in_progress(&stored, left.as_secs())),
                Standing::Free => version = stored.version,
            }
        }

        let known = self.sources.get().await?;
        let (provider, source) = wanted.source()?;
        let missing = || Problem::not_found("source that places calls");
        let (dial, site) = known.site(provider, &source).ok_or_else(missing)?;
        let order = wanted.order(caller, &self.staff, dial, &site).await?;
        let press = Press { version, ..Press::new(id, request, &asked.id, order, asked.now) };

        let press = match self.presses.put_press(&press).await? {
            PutPress::Stored(version) => Press { version, ..press },
            PutPress::Conflict(None) => return Err(in_progress(&press, 1)),
            PutPress::Conflict(Some(stored)) => {
                return match standing(&stored, &press.request, asked.now, caller)? {
                    Standing::Over(state) => Ok(Press { state, ..*stored }),
                    Standing::InProgress(left) => Err(in_progress(&stored, left.as_secs())),
                    Standing::Free => Err(in_progress(&stored, 1)),
                };
            }
        };
        let token = match self.ready(&press, dial, &site, asked.now).await {
            Ok(token) => token,
            Err(problem) => {
                // If this fails, the key is free when its lease is over.
                let _ = self.presses.put_press(&press.released(asked.now)).await;
                self.count("not_dialled", &press);
                return Err(problem);
            }
        };
        let dialling = press.with(PressState::Dialling, asked.now);
        let press = match self.presses.put_press(&dialling).await? {
            PutPress::Stored(version) => Press { version, ..dialling },
            PutPress::Conflict(_) => return Err(in_progress(&press, 1)),
        };
        let placing = self.dial(dial, &site, token, &press, asked.now).await;
        Ok(self.over(press, placing, asked).await)
    }

    /// All that is done before dialling and may fail: the rate is counted, a login made.
    async fn ready(
        &self,
        press: &Press,
        dial: &dyn Dial,
        site: &Site<'_>,
        now: Timestamp,
    ) -> Result<Option<Secret>, Problem> {
        let order = &press.order;
        let who = match &order.employee {
            Some(employee) => format!("employee {employee}"),
            None => format!("agent {}", order.agent.expose()),
        };
        let place = format!("{}/{}", order.provider, order.source);
        let who = Digest::of(&[b"presses", place.as_bytes(), who.as_bytes()]);
        let limits =
            [("minute", 60, site.dialing.per_minute), ("day", 86_400, site.dialing.per_day)];
        for (stretch, length, most) in limits {
            let number = now.as_second().div_euclid(length);
            let end = Timestamp::from_second((number + 1).saturating_mul(length)).unwrap_or(now);
            // Kept a while longer, for clocks that differ.
            let expires_at = end.checked_add(SignedDuration::from_hours(24)).unwrap_or(end);
            let tally =
                Tally { who: who.clone(), stretch: format!("{stretch} {number}"), expires_at };
            if !self.presses.count(&tally, most).await? {
                let left = end.duration_since(now).as_secs().max(1);
                let detail = format!(
                    "this agent has placed {most} calls within this {stretch}; nobody was dialled, \
                     and the key may be used again"
                );
                let title = "Too many calls";
                return Err(Problem::new(429, "too-many-calls", title, &detail)
                    .with("retry_after", json!(left)));
            }
        }
        self.line.token(dial, site, now).await.map_err(|trouble| no_login(&trouble))
    }

    /// Dials: once, and once more only after the provider answered that it does not know us.
    async fn dial(
        &self,
        dial: &dyn Dial,
        site: &Site<'_>,
        token: Option<Secret>,
        press: &Press,
        now: Timestamp,
    ) -> Placing {
        let placing = self.line.place(dial, site, token.as_ref(), press).await;
        if placing != Placing::NotAuthenticated {
            return placing;
        }
        let refused = |fault, why: &str| Placing::Refused { fault, why: why.to_owned() };
        let unknown_to_it = "the provider does not take the configured credentials";
        let unknown_to_it = || refused(DialFault::Configuration, unknown_to_it);
        self.line.forget(dial, site);
        let Ok(known) = self.sources.get_again().await else { return unknown_to_it() };
        let Some((dial, again)) = known.site(dial.name(), site.name) else {
            return unknown_to_it();
        };
        let new = match self.line.token(dial, &again, now).await {
            Ok(new) => new,
            Err(trouble) => return refused(trouble.fault, &trouble.why),
        };
        let authorization = |site, token: Option<&Secret>| {
            let request = dial.place(site, token, press).ok()?;
            request.headers().get(AUTHORIZATION).cloned()
        };
        if authorization(site, token.as_ref()) == authorization(&again, new.as_ref()) {
            return unknown_to_it();
        }
        match self.line.place(dial, &again, new.as_ref(), press).await {
            Placing::NotAuthenticated => unknown_to_it(),
            placing => placing,
        }
    }

    /// Writes how it went.
    async fn over(&self, press: Press, placing: Placing, asked: &Asked) -> Press {
        let (state, counted) = match placing {
            Placing::Placed { call_id, ref_id } => {
                (PressState::Placed { call_id, ref_id }, "placed")
            }
            Placing::Refused { fault, why } => (PressState::Refused { fault, why }, "refused"),
            Placing::Unknown { why } => (PressState::Unknown { why }, "unknown"),
            Placing::NotAuthenticated => {
                let why = "the provider does not know us".to_owned();
                (PressState::Refused { fault: DialFault::Configuration, why }, "refused")
            }
        };
        let over = press.with(state, asked.now);
        match self.presses.put_press(&over).await {
            Ok(PutPress::Stored(_)) => {}
            // Whoever sends the key again is told that nobody knows. That is safe, and a pity.
            Ok(PutPress::Conflict(_)) => self.unwritten(&over, "it was changed meanwhile"),
            Err(error) => self.unwritten(&over, &error.to_string()),
        }
        self.count(counted, &over);
        over
    }

    fn unwritten(&self, press: &Press, problem: &str) {
        let fields: [(&str, &dyn std::fmt::Display); 2] =
            [("press", &press.id), ("problem", &problem)];
        self.telemetry.error("how a press went could not be written", &fields);
    }

    fn count(&self, what: &str, press: &Press) {
        let name = format!("presses_{what}");
        let provider = press.order.provider.as_str();
        self.telemetry.count(&[(&name, 1)], &[("provider", provider)]);
    }
}

/// What is to be made of a stored press for a request that uses its key.
fn standing(
    stored: &Press,
    request: &Digest,
    now: Timestamp,
    caller: &Caller,
) -> Result<Standing, Problem> {
    if stored.request != *request || !is_theirs(stored, caller) {
        let title = "This key was used for another call";
        let detail = "a key stands for one press of the button: use a new one for another call";
        return Err(Problem::new(422, "key-reused", title, detail));
    }
    Ok(stored.standing(now))
}

/// 502 or 503: the login failed, so nobody was dialled.
pub(super) fn no_login(trouble: &Trouble) -> Problem {
    let detail = format!("the login failed: {}; nobody was dialled", trouble.why);
    let title = "The provider does not let us in";
    match trouble.fault {
        DialFault::Provider => {
            Problem::new(503, "provider-unavailable", title, &detail).with("retryable", json!(true))
        }
        _ => Problem::new(502, "provider-configuration", title, &detail),
    }
}
