//! One dial request, from its key to the response: no call is placed twice.
//!
//! 1. The key is reserved, by a put on condition that it does not exist.
//! 2. The rate is counted, and a login made. If either fails, the key is released.
//! 3. `dialling` is written, on condition of the reserved version. A request that cannot write it places
//!    no call.
//! 4. The request is sent to the provider once; a second time only after a 401.
//! 5. The result is written. If the process dies before, the dial request stays `dialling`, and is
//!    unknown when its lease expires.

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use switchboard_domain::dial_request::{DialFault, DialRequest, DialState, Status};
use switchboard_domain::{Digest, later};
use switchboard_flow::metrics;
use switchboard_providers::dial::{Account, Client, DialError, Dialer, Placing};
use switchboard_store::{PutDialRequest, RateCounter};
use tracing::error;

use super::shown::in_progress;
use super::{Configured, Telephony, Wanted, is_theirs};
use crate::access::Caller;
use crate::problem::Problem;
use crate::request::Request;

impl<C: Configured> Telephony<C> {
    /// The dial request of this key, dialled if it never was. What is returned is over.
    pub(super) async fn dial_request(
        &self,
        request: &Request,
        caller: &Caller,
        key: &str,
        wanted: Wanted,
    ) -> Result<DialRequest, Problem> {
        let (id, fingerprint) = (DialRequest::id_of(&caller.name, key), wanted.digest()?);
        let mut version = 0;
        if let Some(stored) = self.store.dial_request(&id).await? {
            match status(&stored, &fingerprint, request.now, caller)? {
                Status::Over(state) => return Ok(DialRequest { state, ..stored }),
                Status::InProgress(left) => return Err(in_progress(&stored, left.as_secs())),
                Status::Free => version = stored.version,
            }
        }

        let known = self.sources.get().await?;
        let (provider, source) = wanted.source()?;
        let missing = || Problem::not_found("source, or it places no calls");
        let (dialer, account) = known.account(provider, &source).ok_or_else(missing)?;
        let order = wanted.order(caller, &self.directory, dialer, &account).await?;
        let dial_request = DialRequest {
            version,
            ..DialRequest::new(id, fingerprint, &request.id, order, request.now)
        };

        let dial_request = match self.store.put_dial_request(&dial_request).await? {
            PutDialRequest::Stored(version) => DialRequest { version, ..dial_request },
            PutDialRequest::Conflict(None) => return Err(in_progress(&dial_request, 1)),
            PutDialRequest::Conflict(Some(stored)) => {
                return match status(&stored, &dial_request.request, request.now, caller)? {
                    Status::Over(state) => Ok(DialRequest { state, ..*stored }),
                    Status::InProgress(left) => Err(in_progress(&stored, left.as_secs())),
                    Status::Free => Err(in_progress(&stored, 1)),
                };
            }
        };
        let authorization = match self.ready(&dial_request, dialer, &account, request.now).await {
            Ok(token) => token,
            Err(problem) => {
                // If this fails, the key is free when its lease is over.
                let _ = self.store.put_dial_request(&dial_request.released(request.now)).await;
                self.count("not_dialled", &dial_request);
                return Err(problem);
            }
        };
        let dialling = dial_request.with(DialState::Dialling, request.now);
        let dial_request = match self.store.put_dial_request(&dialling).await? {
            PutDialRequest::Stored(version) => DialRequest { version, ..dialling },
            PutDialRequest::Conflict(_) => return Err(in_progress(&dial_request, 1)),
        };
        let placing = self.dial(dialer, &account, authorization, &dial_request, request.now).await;
        Ok(self.over(dial_request, placing, request).await)
    }

    /// All that is done before dialling and may fail: the rate is counted, a login made.
    async fn ready(
        &self,
        dial_request: &DialRequest,
        dialer: &dyn Dialer,
        account: &Account<'_>,
        now: Timestamp,
    ) -> Result<HeaderValue, Problem> {
        let order = &dial_request.order;
        let who = match &order.employee {
            Some(employee) => format!("employee {employee}"),
            None => format!("agent {}", order.agent.expose()),
        };
        let place = format!("{}/{}", order.provider, order.source);
        let who = Digest::of(&[b"presses", place.as_bytes(), who.as_bytes()]);
        let limits =
            [("minute", 60, account.dialing.per_minute), ("day", 86_400, account.dialing.per_day)];
        for (window, length, most) in limits {
            let number = now.as_second().div_euclid(length);
            let end = Timestamp::from_second((number + 1).saturating_mul(length)).unwrap_or(now);
            // Kept a while longer, for clocks that differ.
            let expires_at = later(end, SignedDuration::from_hours(24));
            let tally =
                RateCounter { who: who.clone(), window: format!("{window} {number}"), expires_at };
            if !self.store.count(&tally, most).await? {
                let left = end.duration_since(now).as_secs().max(1);
                let detail = format!(
                    "the agent's limit of {most} calls per {window} is used up; no call was placed: \
                     retry with the same key after Retry-After"
                );
                let title = "Rate limit exceeded";
                return Err(Problem::new(429, "too-many-calls", title, &detail)
                    .with("retry_after", json!(left)));
            }
        }
        dialer
            .authorize(&*self.http, &self.logins, account, now)
            .await
            .map_err(|error| no_login(&error))
    }

    /// Dials: once, and once more only after the provider answered that it does not know us.
    async fn dial(
        &self,
        dialer: &dyn Dialer,
        account: &Account<'_>,
        authorization: HeaderValue,
        dial_request: &DialRequest,
        now: Timestamp,
    ) -> Placing {
        let http = &*self.http;
        let client = Client { http, account: *account, authorization };
        let placing = dialer.place(&client, dial_request).await;
        if placing != Placing::NotAuthenticated {
            return placing;
        }
        let refused = |fault, why: &str| Placing::Refused { fault, why: why.to_owned() };
        let not_accepted = || {
            let why = "the provider does not accept the configured credentials";
            refused(DialFault::Configuration, why)
        };
        self.logins.forget(&account.place());
        let Ok(sources) = self.sources.get_again().await else { return not_accepted() };
        let name = dialer.provider().name();
        let Some((dialer, account)) = sources.account(name, account.name) else {
            return not_accepted();
        };
        let renewed = match dialer.authorize(http, &self.logins, &account, now).await {
            Ok(authorization) => Client { http, account, authorization },
            Err(error) => return refused(error.fault, &error.why),
        };
        if renewed.authorization == client.authorization {
            return not_accepted();
        }
        match dialer.place(&renewed, dial_request).await {
            Placing::NotAuthenticated => not_accepted(),
            placing => placing,
        }
    }

    /// Writes how it went.
    async fn over(
        &self,
        dial_request: DialRequest,
        placing: Placing,
        request: &Request,
    ) -> DialRequest {
        let (state, counted) = match placing {
            Placing::Placed { call_id, ref_id } => {
                (DialState::Placed { call_id, ref_id }, "placed")
            }
            Placing::Refused { fault, why } => (DialState::Refused { fault, why }, "refused"),
            Placing::Unknown { why } => (DialState::Unknown { why }, "unknown"),
            Placing::NotAuthenticated => {
                let why = "the provider refused the credentials".to_owned();
                (DialState::Refused { fault: DialFault::Configuration, why }, "refused")
            }
        };
        let over = dial_request.with(state, request.now);
        match self.store.put_dial_request(&over).await {
            Ok(PutDialRequest::Stored(_)) => {}
            // A request that repeats the key gets `unknown-result`, which is safe.
            Ok(PutDialRequest::Conflict(_)) => self.unwritten(&over, "it was changed meanwhile"),
            Err(error) => self.unwritten(&over, &error.to_string()),
        }
        self.count(counted, &over);
        over
    }

    fn unwritten(&self, dial_request: &DialRequest, problem: &str) {
        error!(press = %dial_request.id, problem, "result of a dial request could not be stored");
    }

    fn count(&self, what: &str, dial_request: &DialRequest) {
        let name = format!("presses_{what}");
        let provider = dial_request.order.provider.as_str();
        metrics::count(&[(&name, 1)], &[("provider", provider)]);
    }
}

/// What is to be made of a stored dial request for a request that uses its key.
fn status(
    stored: &DialRequest,
    fingerprint: &Digest,
    now: Timestamp,
    caller: &Caller,
) -> Result<Status, Problem> {
    if stored.request != *fingerprint || !is_theirs(stored, caller) {
        let title = "Idempotency key reused";
        let detail =
            "the Idempotency-Key was used for another request: send a new key for each call";
        return Err(Problem::new(422, "key-reused", title, detail));
    }
    Ok(stored.status(now))
}

/// 502 or 503: the login at the provider failed, so no call was placed.
pub(super) fn no_login(trouble: &DialError) -> Problem {
    let detail = format!("the login at the provider failed: {}; no call was placed", trouble.why);
    let title = "Provider login failed";
    match trouble.fault {
        DialFault::Provider => {
            Problem::new(503, "provider-unavailable", title, &detail).with("retryable", json!(true))
        }
        _ => Problem::new(502, "provider-configuration", title, &detail),
    }
}
