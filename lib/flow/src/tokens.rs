//! Access tokens: fetched by one worker for all, kept in a store, fetched anew when they end or are no
//! longer accepted.
//!
//! A refresh token may be valid for one use, and another comes in its place. So a worker requests a token
//! only with the lease on it; the holder of the lease sees what the last holder wrote; that the store can
//! be written is tried before anything is requested; and what was granted is stored before it is used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use switchboard_crm::oauth::{Granted, OAuth};
use switchboard_crm::{Clock, NoToken, Tokens};
use switchboard_domain::{Digest, Name, Secret, later};
use switchboard_http::Http;
use switchboard_http::layers::Deadline;
use switchboard_store::{Lease, Store, fresh_id};
use tokio::time::Instant;
use tracing::{error, warn};

/// A token endpoint answers within this, or counts as away.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Longer than fetching and storing take: a holder whose time is over is gone.
const LEASE: SignedDuration = SignedDuration::from_secs(40);
/// After a failure no worker requests a token sooner.
const REST: SignedDuration = SignedDuration::from_secs(30);
/// How often a granted token is written until the store takes it.
const TRIES: usize = 3;

/// Where tokens are kept: texts by destination, each with a version that rises with every write.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Reads one, with its version.
    async fn read(&self, destination: &Name) -> Result<Option<(String, u64)>, String>;

    /// Writes one; gives its version.
    async fn write(&self, destination: &Name, text: &str) -> Result<u64, String>;
}

/// How long a worker waits for a token that another fetches.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two looks.
    pub pause: Duration,
    /// In all.
    pub most: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: Duration::from_millis(150), most: Duration::from_secs(6) }
    }
}

/// The tokens of all destinations. Clones share what they know.
#[derive(Clone)]
pub struct TokenCache {
    http: Arc<dyn Http>,
    leases: Store,
    store: Arc<dyn TokenStore>,
    /// How long it waits for others.
    pub patience: Patience,
    cached: Arc<Mutex<BTreeMap<Name, Cached>>>,
}

/// A token as this process has it.
#[derive(Clone)]
struct Cached {
    /// Of which configuration.
    of: Digest,
    granted: Granted,
    /// It could not be stored: this process alone has it.
    is_unstored: bool,
}

/// What the store has for the present configuration.
struct Entry {
    token: Token,
    /// Of the last write, 0 if there was none.
    version: u64,
}

enum Token {
    /// None yet, but perhaps a refresh token that came in place of the configured one.
    None {
        refresh_token: Option<Secret>,
    },
    Granted(Granted),
}

impl Token {
    fn refresh_token(&self) -> Option<&Secret> {
        match self {
            Self::None { refresh_token } => refresh_token.as_ref(),
            Self::Granted(granted) => granted.refresh_token.as_ref(),
        }
    }

    /// The token, if it is valid in this way.
    fn valid(&self, is_valid: impl Fn(&Granted) -> bool) -> Option<&Granted> {
        match self {
            Self::Granted(granted) if is_valid(granted) => Some(granted),
            _ => None,
        }
    }

    /// As it is stored.
    fn json(&self, of: &Digest) -> String {
        let text = |secret: &Secret| secret.expose().to_owned();
        let granted = self.valid(|_| true);
        json!({
            "of": of,
            "access_token": granted.map(|granted| text(&granted.access_token)),
            "expires_at": granted.and_then(|granted| granted.expires_at),
            "refresh_token": self.refresh_token().map(text),
        })
        .to_string()
    }

    /// Out of what is stored. What is of another configuration, or cannot be read, is none.
    fn read(json: &str, of: &Digest) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Stored {
            of: Option<Digest>,
            access_token: Option<Secret>,
            expires_at: Option<Timestamp>,
            refresh_token: Option<Secret>,
        }
        let stored: Stored = serde_json::from_str(json).unwrap_or_default();
        match stored {
            Stored { of: Some(one), .. } if one != *of => Self::None { refresh_token: None },
            Stored { access_token: Some(access_token), expires_at, refresh_token, .. } => {
                Self::Granted(Granted { access_token, expires_at, refresh_token })
            }
            Stored { refresh_token, .. } => Self::None { refresh_token },
        }
    }
}

impl TokenCache {
    /// Over leases and a store; token endpoints are reached through `http`.
    pub fn new(http: Arc<dyn Http>, leases: Store, store: Arc<dyn TokenStore>) -> Self {
        let cached = Arc::default();
        Self { http, leases, store, patience: Patience::default(), cached }
    }

    /// The tokens of one destination.
    pub fn of<'a>(&'a self, destination: &'a Name, clock: Clock<'a>) -> TokensOf<'a> {
        TokensOf { cache: self, destination, clock }
    }

    fn cached(&self) -> MutexGuard<'_, BTreeMap<Name, Cached>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tokens of one destination.
pub struct TokensOf<'a> {
    cache: &'a TokenCache,
    destination: &'a Name,
    clock: Clock<'a>,
}

#[async_trait]
impl Tokens for TokensOf<'_> {
    async fn access(&self, oauth: &OAuth, refused: Option<&Secret>) -> Result<Secret, NoToken> {
        let of = oauth.digest();
        let is_valid = |granted: &Granted| {
            Some(&granted.access_token) != refused && granted.is_fresh((self.clock)())
        };
        let cached = self.cache.cached().get(self.destination).cloned();
        if let Some(cached) = cached.filter(|one| one.of == of && is_valid(&one.granted)) {
            let token = cached.granted.access_token.clone();
            if cached.is_unstored {
                self.keep(&of, cached.granted).await;
            }
            return Ok(token);
        }
        let holder = fresh_id().map_err(|error| NoToken::Unkept(error.to_string()))?;
        let patient_until = Instant::now() + self.cache.patience.most;
        loop {
            let Entry { token, .. } = self.read(&of).await?;
            if let Some(granted) = token.valid(is_valid) {
                return Ok(self.remember(&of, granted.clone(), false));
            }
            let now = (self.clock)();
            let until = later(now, LEASE);
            let lease = format!("token#{}", self.destination);
            let taken = self.cache.leases.acquire(&lease, holder.as_str(), now, until).await;
            let held_until = match taken.map_err(|error| NoToken::Unkept(error.to_string()))? {
                Lease::Acquired(mark) => {
                    let held = Held { mark, lease: &lease, holder: holder.as_str() };
                    return self.fetch(oauth, &of, held, &is_valid).await;
                }
                Lease::Rests(until) => return Err(NoToken::Resting { not_before: until }),
                Lease::Held(until) => until,
            };
            // While another is fetched, the old one serves as long as it lives.
            let old = token.valid(|granted| refused.is_none() && granted.is_alive(now));
            if let Some(granted) = old {
                return Ok(granted.access_token.clone());
            }
            if Instant::now() >= patient_until {
                return Err(NoToken::Busy { not_before: Some(held_until) });
            }
            tokio::time::sleep(self.cache.patience.pause).await;
        }
    }
}

/// The lease that this worker holds, and the version that its last holder left.
struct Held<'a> {
    mark: u64,
    lease: &'a str,
    holder: &'a str,
}

impl TokensOf<'_> {
    /// With the lease: fetches a token, stores it, and gives the lease back.
    async fn fetch(
        &self,
        oauth: &OAuth,
        of: &Digest,
        held: Held<'_>,
        is_valid: &(dyn Fn(&Granted) -> bool + Sync),
    ) -> Result<Secret, NoToken> {
        let Entry { token: before, version } = self.read_after(of, &held).await?;
        if let Some(granted) = before.valid(is_valid) {
            // Another worker fetched it between our look and our lease.
            self.give_back(&held, version, None).await;
            return Ok(self.remember(of, granted.clone(), false));
        }
        // What cannot be stored must not be requested: a refresh token may be valid for one use. What is
        // there stays as it is meanwhile: other workers may yet go on with it.
        let version = match self.write(of, &before).await {
            Ok(version) => version,
            Err(problem) => {
                self.give_back(&held, held.mark, self.resting()).await;
                return Err(NoToken::Unkept(problem));
            }
        };
        let endpoint = Deadline::new(&*self.cache.http, TIMEOUT);
        let granted = oauth.grant(&endpoint, before.refresh_token(), (self.clock)()).await;
        let mut granted = match granted {
            Ok(granted) => granted,
            Err(error) => {
                warn!(
                    destination = %self.destination, problem = %error,
                    "access token request failed"
                );
                self.give_back(&held, version, self.resting()).await;
                return Err(error);
            }
        };
        granted.refresh_token = granted.refresh_token.or(before.refresh_token().cloned());
        let token = granted.access_token.clone();
        match self.keep(of, granted).await {
            Some(version) => self.give_back(&held, version, None).await,
            // The lease ends by itself: until then no worker uses a refresh token that is spent.
            None => error!(
                destination = %self.destination,
                "access token could not be stored; this worker uses it and retries the write"
            ),
        }
        Ok(token)
    }

    /// What is stored, at least as new as the last holder of the lease left it. An operator may have deleted
    /// it: then nothing is stored, and what is written anew counts its versions from 1 again.
    async fn read_after(&self, of: &Digest, held: &Held<'_>) -> Result<Entry, NoToken> {
        let mut entry = self.read(of).await?;
        for _ in 1..TRIES {
            if entry.version >= held.mark {
                return Ok(entry);
            }
            tokio::time::sleep(self.cache.patience.pause).await;
            entry = self.read(of).await?;
        }
        if entry.version >= held.mark || entry.version == 0 {
            return Ok(entry);
        }
        // What does not show by the end of the rest was deleted: the next holder goes on with what there is.
        self.give_back(held, entry.version, self.resting()).await;
        Err(NoToken::Unkept("what was written does not show yet".to_owned()))
    }

    async fn read(&self, of: &Digest) -> Result<Entry, NoToken> {
        let stored = self.cache.store.read(self.destination).await.map_err(NoToken::Unkept)?;
        Ok(match stored {
            Some((json, version)) => Entry { token: Token::read(&json, of), version },
            None => Entry { token: Token::None { refresh_token: None }, version: 0 },
        })
    }

    /// Stores what was granted and gives the version. `None`: this process alone has it.
    async fn keep(&self, of: &Digest, granted: Granted) -> Option<u64> {
        let token = Token::Granted(granted.clone());
        let mut version = None;
        for _ in 0..TRIES {
            version = self.write(of, &token).await.ok();
            if version.is_some() {
                break;
            }
        }
        self.remember(of, granted, version.is_none());
        version
    }

    async fn write(&self, of: &Digest, token: &Token) -> Result<u64, String> {
        self.cache.store.write(self.destination, &token.json(of)).await
    }

    fn remember(&self, of: &Digest, granted: Granted, is_unstored: bool) -> Secret {
        let token = granted.access_token.clone();
        let cached = Cached { of: of.clone(), granted, is_unstored };
        self.cache.cached().insert(self.destination.clone(), cached);
        token
    }

    async fn give_back(&self, held: &Held<'_>, mark: u64, rests: Option<Timestamp>) {
        // A lease that is not given back ends by itself.
        let _ = self.cache.leases.release(held.lease, held.holder, mark, rests).await;
    }

    fn resting(&self) -> Option<Timestamp> {
        Some(later((self.clock)(), REST))
    }
}
