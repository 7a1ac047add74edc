//! The line to providers: one exchange at a time, with a token where they want one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use switchboard_domain::Secret;
use switchboard_domain::dial_request::{DialFault, DialRequest};
use switchboard_http::{Client, Limits, SendError};
use switchboard_providers::dial::{Built, Dial, Ending, Live, Login, Placing, Site, Trouble};

/// A login is answered within this.
const LOGIN: Limits = Limits { timeout: Duration::from_secs(4), largest: 64 * 1024 };
/// Everything else within this: twice that and two logins fit into the function's time.
const ORDER: Limits = Limits { timeout: Duration::from_secs(8), largest: 1024 * 1024 };
/// A token is not used in its last minute.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// What carries requests to providers.
pub trait Wire: Send + Sync {
    /// Sends a request and reads the whole answer.
    fn send(
        &self,
        request: Request<Vec<u8>>,
        limits: Limits,
    ) -> impl Future<Output = Result<Response<Vec<u8>>, SendError>> + Send;
}

impl Wire for Client {
    async fn send(
        &self,
        request: Request<Vec<u8>>,
        limits: Limits,
    ) -> Result<Response<Vec<u8>>, SendError> {
        Client::send(self, request, limits).await
    }
}

/// Tokens of logins live as long as the environment.
pub struct Line<W> {
    wire: W,
    tokens: Mutex<BTreeMap<String, (Secret, Timestamp)>>,
}

impl<W: Wire> Line<W> {
    /// Over a wire.
    pub fn new(wire: W) -> Self {
        Self { wire, tokens: Mutex::default() }
    }

    fn tokens(&self) -> MutexGuard<'_, BTreeMap<String, (Secret, Timestamp)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What opens the provider now. `None`: what is configured opens by itself.
    pub async fn token(
        &self,
        dial: &dyn Dial,
        site: &Site<'_>,
        now: Timestamp,
    ) -> Result<Option<Secret>, Trouble> {
        let Some(request) = dial.login(site) else { return Ok(None) };
        let place = place(dial, site);
        if let Some((token, until)) = self.tokens().get(&place)
            && now < *until
        {
            return Ok(Some(token.clone()));
        }
        let answer = self.exchange(request, LOGIN).await.map_err(|(_, trouble)| trouble)?;
        let Login { token, lasts } = dial.read_login(&answer)?;
        let lasts = SignedDuration::from_secs(i64::from(lasts.0)) - MARGIN;
        let until = now.checked_add(lasts).unwrap_or(now);
        self.tokens().insert(place, (token.clone(), until));
        Ok(Some(token))
    }

    /// Forgets a token that did not open.
    pub fn forget(&self, dial: &dyn Dial, site: &Site<'_>) {
        self.tokens().remove(&place(dial, site));
    }

    /// Has a call placed: one request, and no more.
    pub async fn place(
        &self,
        dial: &dyn Dial,
        site: &Site<'_>,
        token: Option<&Secret>,
        dial_request: &DialRequest,
    ) -> Placing {
        match self.exchange(dial.place(site, token, dial_request), ORDER).await {
            Ok(answer) => dial.read_placing(&answer),
            Err((true, Trouble { fault, why, .. })) => Placing::Refused { fault, why },
            Err((false, Trouble { why, .. })) => Placing::Unknown { why },
        }
    }

    /// Has a call ended.
    pub async fn hang_up(
        &self,
        dial: &dyn Dial,
        site: &Site<'_>,
        token: Option<&Secret>,
        call_id: &str,
    ) -> Ending {
        match self.exchange(dial.hang_up(site, token, call_id), ORDER).await {
            Ok(answer) => dial.read_ending(&answer),
            Err((_, trouble)) => Ending::Trouble(trouble),
        }
    }

    /// The calls that are going on.
    pub async fn live(
        &self,
        dial: &dyn Dial,
        site: &Site<'_>,
        token: Option<&Secret>,
        dial_request: &DialRequest,
    ) -> Result<Vec<Live>, Trouble> {
        let answer = self.exchange(dial.live(site, token, Some(dial_request)), ORDER).await;
        dial.read_live(&answer.map_err(|(_, trouble)| trouble)?)
    }

    /// One exchange. An error comes with whether the provider certainly got nothing.
    async fn exchange(
        &self,
        request: Built,
        limits: Limits,
    ) -> Result<Response<Vec<u8>>, (bool, Trouble)> {
        let request = request.map_err(|_| failed(SendError::NotBuilt))?;
        self.wire.send(request, limits).await.map_err(failed)
    }
}

/// What it means that no answer came, and whether the provider certainly got nothing.
fn failed(error: SendError) -> (bool, Trouble) {
    let (got_nothing, fault) = match error {
        SendError::NotConnected | SendError::NotResolved | SendError::NotSecure => {
            (true, DialFault::Provider)
        }
        SendError::PrivateAddress | SendError::NotBuilt => (true, DialFault::Configuration),
        SendError::TimedOut | SendError::BrokeOff | SendError::TooLarge => {
            (false, DialFault::Provider)
        }
    };
    let why = format!("the provider: {error}");
    (got_nothing, Trouble { is_authentication: false, fault, why })
}

fn place(dial: &dyn Dial, site: &Site<'_>) -> String {
    format!("{}/{}", dial.name(), site.name)
}
