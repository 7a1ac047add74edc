//! One dial request, from its key to its result: no call is placed twice.
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
use switchboard_domain::dial_request::{DialFault, DialRequest, DialState, Status};
use switchboard_domain::{Digest, later};
use switchboard_providers::dial::{Account, Client, Dialer, Placing};
use switchboard_store::{PutDialRequest, RateCounter};
use tracing::error;

use super::{Caller, Configured, Dial, NO_SOURCE, NotDone, Wanted};
use crate::metrics;

impl<C: Configured> Dial<C> {
    /// The dial request of this key, dialled if it never was. What is returned is over.
    pub async fn place(
        &self,
        caller: &Caller<'_>,
        key: &str,
        wanted: Wanted,
    ) -> Result<DialRequest, NotDone> {
        let now = caller.now;
        let (id, fingerprint) = (DialRequest::id_of(caller.name, key), wanted.digest());
        let mut version = 0;
        if let Some(stored) = self.store.dial_request(&id).await? {
            version = stored.version;
            if let Some(over) = settled(stored, &fingerprint, caller)? {
                return Ok(over);
            }
        }

        let known = self.sources.get().await?;
        let (provider, source) = wanted.source()?;
        let (dialer, account) = known.account(provider, &source).ok_or(NO_SOURCE)?;
        let order = wanted.order(caller, &self.directory, dialer, &account).await?;
        let request = DialRequest {
            version,
            ..DialRequest::new(id, fingerprint, caller.request, order, now)
        };
        let in_progress = |request: &DialRequest| NotDone::InProgress(request.id.clone(), 1);

        let request = match self.store.put_dial_request(&request).await? {
            PutDialRequest::Stored(version) => DialRequest { version, ..request },
            PutDialRequest::Conflict(None) => return Err(in_progress(&request)),
            PutDialRequest::Conflict(Some(stored)) => {
                return settled(*stored, &request.request, caller)?
                    .ok_or_else(|| in_progress(&request));
            }
        };
        let authorization = match self.ready(&request, dialer, &account, now).await {
            Ok(authorization) => authorization,
            Err(problem) => {
                // If this fails, the key is free when its lease is over.
                let _ = self.store.put_dial_request(&request.released(now)).await;
                count("not_dialled", &request);
                return Err(problem);
            }
        };
        let dialling = request.with(DialState::Dialling, now);
        let request = match self.store.put_dial_request(&dialling).await? {
            PutDialRequest::Stored(version) => DialRequest { version, ..dialling },
            PutDialRequest::Conflict(_) => return Err(in_progress(&request)),
        };
        let client = Client { http: &*self.http, account, authorization };
        let placing = self.dial(dialer, &client, &request, now).await;
        Ok(self.conclude(request, placing, now).await)
    }

    /// All that is done before dialling and may fail: the rate is counted, a login made.
    async fn ready(
        &self,
        request: &DialRequest,
        dialer: &dyn Dialer,
        account: &Account<'_>,
        now: Timestamp,
    ) -> Result<HeaderValue, NotDone> {
        let order = &request.order;
        let agent = match &order.employee {
            Some(employee) => format!("employee {employee}"),
            None => format!("agent {}", order.agent.expose()),
        };
        let place = format!("{}/{}", order.provider, order.source);
        let who = Digest::of(&[b"presses", place.as_bytes(), agent.as_bytes()]);
        let limits =
            [("minute", 60, account.dialing.per_minute), ("day", 86_400, account.dialing.per_day)];
        for (window, length, most) in limits {
            let number = now.as_second().div_euclid(length);
            let end = Timestamp::from_second((number + 1).saturating_mul(length)).unwrap_or(now);
            // Kept a while longer, for clocks that differ.
            let expires_at = later(end, SignedDuration::from_hours(24));
            let counter =
                RateCounter { who: who.clone(), window: format!("{window} {number}"), expires_at };
            if !self.store.count(&counter, most).await? {
                let left = end.duration_since(now).as_secs().max(1);
                return Err(NotDone::RateLimited { most, window, left });
            }
        }
        let login = dialer.authorize(&*self.http, &self.logins, account, now).await;
        login.map_err(NotDone::Login)
    }

    /// Dials: once, and once more only after the provider answered that it does not know us.
    async fn dial(
        &self,
        dialer: &dyn Dialer,
        client: &Client<'_>,
        request: &DialRequest,
        now: Timestamp,
    ) -> Placing {
        let placing = dialer.place(client, request).await;
        if placing != Placing::NotAuthenticated {
            return placing;
        }
        let account = client.account;
        self.logins.forget(&account.place());
        let Ok(sources) = self.sources.get_again().await else { return placing };
        let name = dialer.provider().name();
        let Some((dialer, account)) = sources.account(name, account.name) else { return placing };
        match dialer.authorize(client.http, &self.logins, &account, now).await {
            Err(error) => Placing::Refused { fault: error.fault, why: error.why },
            Ok(authorization) if authorization == client.authorization => placing,
            Ok(authorization) => {
                dialer.place(&Client { http: client.http, account, authorization }, request).await
            }
        }
    }

    /// Stores the result.
    async fn conclude(
        &self,
        request: DialRequest,
        placing: Placing,
        now: Timestamp,
    ) -> DialRequest {
        let (state, counted) = match placing {
            Placing::Placed { call_id, ref_id } => {
                (DialState::Placed { call_id, ref_id }, "placed")
            }
            Placing::Refused { fault, why } => (DialState::Refused { fault, why }, "refused"),
            Placing::Unknown { why } => (DialState::Unknown { why }, "unknown"),
            Placing::NotAuthenticated => {
                let why = "the provider does not accept the configured credentials".to_owned();
                (DialState::Refused { fault: DialFault::Configuration, why }, "refused")
            }
        };
        let over = request.with(state, now);
        let problem = match self.store.put_dial_request(&over).await {
            Ok(PutDialRequest::Stored(_)) => None,
            Ok(PutDialRequest::Conflict(_)) => Some("it was changed meanwhile".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            // A request that repeats the key gets `unknown-result`, which is safe.
            error!(press = %over.id, problem, "result of a dial request could not be stored");
        }
        count(counted, &over);
        over
    }
}

/// A stored dial request for a request that uses its key: with its result, if it has one; `None` if no
/// number was dialled and it may be claimed.
fn settled(
    stored: DialRequest,
    fingerprint: &Digest,
    caller: &Caller<'_>,
) -> Result<Option<DialRequest>, NotDone> {
    if stored.request != *fingerprint || !caller.may_see(&stored) {
        return Err(NotDone::KeyReused);
    }
    match stored.status(caller.now) {
        Status::Over(state) => Ok(Some(DialRequest { state, ..stored })),
        Status::InProgress(left) => Err(NotDone::InProgress(stored.id, left.as_secs())),
        Status::Free => Ok(None),
    }
}

fn count(what: &str, request: &DialRequest) {
    let provider = request.order.provider.as_str();
    metrics::count(&[(&format!("presses_{what}"), 1)], &[("provider", provider)]);
}
