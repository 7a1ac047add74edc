//! One dial request of the button, from its key to an answer: nobody is dialled twice.
//!
//! 1. The key is reserved, by a put on condition that nobody has it.
//! 2. What does not dial is done: the rate is counted, a login made. If that fails, the key is
//!    given free.
//! 3. `dialling` is written, on condition of the version that was reserved. Whoever cannot write
//!    it does not dial.
//! 4. The provider is asked, once; a second time only after it answered that it does not know us.
//! 5. How it went is written. If we are gone by then, the dial request stays `dialling`, and is unknown
//!    when its lease is over.

use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use switchboard_domain::dial_request::{DialFault, DialRequest, DialState, Status};
use switchboard_domain::{Digest, Secret};
use switchboard_providers::dial::{Dial, Placing, Site, Trouble};
use switchboard_store::Store;
use switchboard_store::dial_requests::{DialRequests, PutDialRequest, RateCounter};

use super::shown::in_progress;
use super::{Configured, Staff, Telephony, Wanted, Wire, is_theirs};
use crate::access::Caller;
use crate::asked::Asked;
use crate::problem::Problem;

impl<P: DialRequests, S: Store, F: Staff, C: Configured, W: Wire> Telephony<P, S, F, C, W> {
    /// The dial request of this key, dialled if it never was. What is returned is over.
    pub(super) async fn dial_request(
        &self,
        asked: &Asked,
        caller: &Caller,
        key: &str,
        wanted: Wanted,
    ) -> Result<DialRequest, Problem> {
        let (id, request) = (DialRequest::id_of(&caller.name, key), wanted.digest()?);
        let mut version = 0;
        if let Some(stored) = self.dial_requests.dial_request(&id).await? {
            match status(&stored, &request, asked.now, caller)? {
                Status::Over(state) => return Ok(DialRequest { state, ..stored }),
                Status::InProgress(left) => return Err(in_progress(&stored, left.as_secs())),
                Status::Free => version = stored.version,
            }
        }

        let known = self.sources.get().await?;
        let (provider, source) = wanted.source()?;
        let missing = || Problem::not_found("source, or it places no calls");
        let (dial, site) = known.site(provider, &source).ok_or_else(missing)?;
        let order = wanted.order(caller, &self.staff, dial, &site).await?;
        let dial_request =
            DialRequest { version, ..DialRequest::new(id, request, &asked.id, order, asked.now) };

        let dial_request = match self.dial_requests.put_dial_request(&dial_request).await? {
            PutDialRequest::Stored(version) => DialRequest { version, ..dial_request },
            PutDialRequest::Conflict(None) => return Err(in_progress(&dial_request, 1)),
            PutDialRequest::Conflict(Some(stored)) => {
                return match status(&stored, &dial_request.request, asked.now, caller)? {
                    Status::Over(state) => Ok(DialRequest { state, ..*stored }),
                    Status::InProgress(left) => Err(in_progress(&stored, left.as_secs())),
                    Status::Free => Err(in_progress(&stored, 1)),
                };
            }
        };
        let token = match self.ready(&dial_request, dial, &site, asked.now).await {
            Ok(token) => token,
            Err(problem) => {
                // If this fails, the key is free when its lease is over.
                let _ =
                    self.dial_requests.put_dial_request(&dial_request.released(asked.now)).await;
                self.count("not_dialled", &dial_request);
                return Err(problem);
            }
        };
        let dialling = dial_request.with(DialState::Dialling, asked.now);
        let dial_request = match self.dial_requests.put_dial_request(&dialling).await? {
            PutDialRequest::Stored(version) => DialRequest { version, ..dialling },
            PutDialRequest::Conflict(_) => return Err(in_progress(&dial_request, 1)),
        };
        let placing = self.dial(dial, &site, token, &dial_request, asked.now).await;
        Ok(self.over(dial_request, placing, asked).await)
    }

    /// All that is done before dialling and may fail: the rate is counted, a login made.
    async fn ready(
        &self,
        dial_request: &DialRequest,
        dial: &dyn Dial,
        site: &Site<'_>,
        now: Timestamp,
    ) -> Result<Option<Secret>, Problem> {
        let order = &dial_request.order;
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
            let tally = RateCounter {
                who: who.clone(),
                stretch: format!("{stretch} {number}"),
                expires_at,
            };
            if !self.dial_requests.count(&tally, most).await? {
                let left = end.duration_since(now).as_secs().max(1);
                let detail = format!(
                    "the agent's limit of {most} calls per {stretch} is used up; no call was placed: \
                     retry with the same key after Retry-After"
                );
                let title = "Rate limit exceeded";
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
        dial_request: &DialRequest,
        now: Timestamp,
    ) -> Placing {
        let placing = self.line.place(dial, site, token.as_ref(), dial_request).await;
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
            let request = dial.place(site, token, dial_request).ok()?;
            request.headers().get(AUTHORIZATION).cloned()
        };
        if authorization(site, token.as_ref()) == authorization(&again, new.as_ref()) {
            return unknown_to_it();
        }
        match self.line.place(dial, &again, new.as_ref(), dial_request).await {
            Placing::NotAuthenticated => unknown_to_it(),
            placing => placing,
        }
    }

    /// Writes how it went.
    async fn over(
        &self,
        dial_request: DialRequest,
        placing: Placing,
        asked: &Asked,
    ) -> DialRequest {
        let (state, counted) = match placing {
            Placing::Placed { call_id, ref_id } => {
                (DialState::Placed { call_id, ref_id }, "placed")
            }
            Placing::Refused { fault, why } => (DialState::Refused { fault, why }, "refused"),
            Placing::Unknown { why } => (DialState::Unknown { why }, "unknown"),
            Placing::NotAuthenticated => {
                let why = "the provider does not know us".to_owned();
                (DialState::Refused { fault: DialFault::Configuration, why }, "refused")
            }
        };
        let over = dial_request.with(state, asked.now);
        match self.dial_requests.put_dial_request(&over).await {
            Ok(PutDialRequest::Stored(_)) => {}
            // Whoever sends the key again is told that nobody knows. That is safe, and a pity.
            Ok(PutDialRequest::Conflict(_)) => self.unwritten(&over, "it was changed meanwhile"),
            Err(error) => self.unwritten(&over, &error.to_string()),
        }
        self.count(counted, &over);
        over
    }

    fn unwritten(&self, dial_request: &DialRequest, problem: &str) {
        let fields: [(&str, &dyn std::fmt::Display); 2] =
            [("press", &dial_request.id), ("problem", &problem)];
        self.telemetry.error("how a press went could not be written", &fields);
    }

    fn count(&self, what: &str, dial_request: &DialRequest) {
        let name = format!("presses_{what}");
        let provider = dial_request.order.provider.as_str();
        self.telemetry.count(&[(&name, 1)], &[("provider", provider)]);
    }
}

/// What is to be made of a stored dial request for a request that uses its key.
fn status(
    stored: &DialRequest,
    request: &Digest,
    now: Timestamp,
    caller: &Caller,
) -> Result<Status, Problem> {
    if stored.request != *request || !is_theirs(stored, caller) {
        let title = "Idempotency key reused";
        let detail =
            "the Idempotency-Key was used for another request: send a new key for each call";
        return Err(Problem::new(422, "key-reused", title, detail));
    }
    Ok(stored.status(now))
}

/// 502 or 503: the login at the provider failed, so no call was placed.
pub(super) fn no_login(trouble: &Trouble) -> Problem {
    let detail = format!("the login at the provider failed: {}; no call was placed", trouble.why);
    let title = "Provider login failed";
    match trouble.fault {
        DialFault::Provider => {
            Problem::new(503, "provider-unavailable", title, &detail).with("retryable", json!(true))
        }
        _ => Problem::new(502, "provider-configuration", title, &detail),
    }
}
