//! Access tokens: fetched by one worker for all, kept in the Parameter Store, fetched anew when they end
//! or are no longer taken.
//!
//! A refresh token may be good for one use, and another comes in its place. So nobody asks for a token
//! without the lease on it; whoever has the lease sees what the last holder wrote; that what comes can be
//! kept is tried before anything is asked for; and what came is kept before it is used.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Telemetry;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use switchboard_crm::oauth::{Granted, NoToken, OAuth};
use switchboard_crm::{Client, Tokens};
use switchboard_domain::{Digest, Name, Secret};
use switchboard_store::{Lease, Store, fresh_id};
use tokio::time::Instant;

/// A token endpoint answers within this, or counts as away.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Longer than fetching and keeping take: a holder whose time is over is gone.
const LEASE: SignedDuration = SignedDuration::from_secs(40);
/// Where none was to be had, nobody asks again sooner.
const REST: SignedDuration = SignedDuration::from_secs(30);
/// How often it is tried to keep what came.
const TRIES: usize = 3;

/// Where tokens are kept: texts by destination, each with a version that rises with every write.
pub trait TokenStore: Send + Sync {
    /// Reads one.
    fn read(
        &self,
        destination: &Name,
    ) -> impl Future<Output = Result<Option<(String, u64)>, String>> + Send;

    /// Writes one; gives its version.
    fn write(
        &self,
        destination: &Name,
        text: &str,
    ) -> impl Future<Output = Result<u64, String>> + Send;
}

/// How long is waited for a token that somebody else fetches.
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
pub struct TokenCache<V> {
    client: Client,
    leases: Store,
    token_store: V,
    telemetry: Telemetry,
    patience: Patience,
    known: Arc<Mutex<BTreeMap<Name, Known>>>,
}

/// A token as this process knows it.
#[derive(Clone)]
struct Known {
    /// Of which configuration.
    of: Digest,
    granted: Granted,
    version: u64,
    /// It could not be kept: this process alone has it.
    is_unkept: bool,
}

/// A token as it is kept. Before the first one there is none in it.
#[derive(Default, Deserialize)]
struct Kept {
    of: Option<Digest>,
    #[serde(default)]
    access_token: Option<Secret>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    refresh_token: Option<Secret>,
}

impl Kept {
    fn of(known: &Known) -> Self {
        let Granted { access_token, expires_at, refresh_token } = known.granted.clone();
        let access_token = Some(access_token).filter(|token| !token.is_empty());
        Self { of: Some(known.of.clone()), access_token, expires_at, refresh_token }
    }
}

impl<V: TokenStore> TokenCache<V> {
    /// Over leases and a vault.
    pub fn new(client: Client, leases: Store, token_store: V, telemetry: Telemetry) -> Self {
        let known = Arc::default();
        Self { client, leases, token_store, telemetry, patience: Patience::default(), known }
    }

    /// With another patience: for tests.
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The tokens of one destination.
    pub fn of<'a, C: Fn() -> Timestamp + Sync>(
        &'a self,
        destination: &'a Name,
        clock: &'a C,
    ) -> TokensOf<'a, V, C> {
        TokensOf { keeper: self, destination, clock }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Name, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tokens of one destination.
pub struct TokensOf<'a, V, C> {
    keeper: &'a TokenCache<V>,
    destination: &'a Name,
    clock: &'a C,
}

impl<V: TokenStore, C: Fn() -> Timestamp + Sync> Tokens for TokensOf<'_, V, C> {
    async fn access(&self, oauth: &OAuth, refused: Option<&Secret>) -> Result<Secret, NoToken> {
        let of = oauth.digest();
        let is_good = |known: &Known| {
            known.of == of
                && Some(&known.granted.access_token) != refused
                && known.granted.is_fresh((self.clock)())
        };
        let in_memory = self.keeper.known().get(self.destination).cloned();
        if let Some(known) = in_memory.filter(is_good) {
            if known.is_unkept {
                self.keep(known.clone()).await;
            }
            return Ok(known.granted.access_token);
        }
        let holder = fresh_id().map_err(|error| NoToken::Unkept(error.to_string()))?;
        let patient_until = Instant::now() + self.keeper.patience.most;
        loop {
            let kept = self.read(&of).await?;
            if let Some(known) = kept.as_ref().filter(|known| is_good(known)) {
                return Ok(self.remember(known));
            }
            let now = (self.clock)();
            let until = now.checked_add(LEASE).unwrap_or(now);
            let lease = format!("token#{}", self.destination);
            let taken = self.keeper.leases.acquire(&lease, holder.as_str(), now, until).await;
            let held_until = match taken.map_err(|error| NoToken::Unkept(error.to_string()))? {
                Lease::Acquired(mark) => {
                    return self.fetch(oauth, &of, mark, &lease, holder.as_str(), &is_good).await;
                }
                Lease::Rests(until) => return Err(NoToken::Resting { not_before: until }),
                Lease::Held(until) => until,
            };
            // While another is fetched, the old one serves as long as it lives.
            let old = kept
                .filter(|known| refused.is_none() && known.of == of && known.granted.is_alive(now));
            if let Some(known) = old {
                return Ok(known.granted.access_token);
            }
            if Instant::now() >= patient_until {
                return Err(NoToken::Busy { not_before: Some(held_until) });
            }
            tokio::time::sleep(self.keeper.patience.pause).await;
        }
    }
}

impl<V: TokenStore, C: Fn() -> Timestamp + Sync> TokensOf<'_, V, C> {
    /// With the lease: fetches one, keeps it, and gives the lease back.
    async fn fetch(
        &self,
        oauth: &OAuth,
        of: &Digest,
        mark: u64,
        lease: &str,
        holder: &str,
        is_good: &impl Fn(&Known) -> bool,
    ) -> Result<Secret, NoToken> {
        let kept = self.read_after(of, mark).await?;
        let version = kept.as_ref().map_or(0, |known| known.version);
        if let Some(known) = kept.as_ref().filter(|known| is_good(known)) {
            // Somebody fetched it between our look and our lease.
            self.give_back(lease, holder, version, None).await;
            return Ok(self.remember(known));
        }
        // What cannot be kept must not be asked for: a refresh token may be good for one use. What is
        // there stays as it is meanwhile: others may yet go on with it.
        let before = match kept.filter(|known| known.of == *of) {
            Some(known) => Kept::of(&known),
            None => Kept { of: Some(of.clone()), ..Kept::default() },
        };
        let version = match self.write(&before).await {
            Ok(version) => version,
            Err(problem) => {
                self.give_back(lease, holder, mark, self.resting()).await;
                return Err(NoToken::Unkept(problem));
            }
        };
        let newer = before.refresh_token.as_ref();
        let fetched = self.keeper.client.grant(oauth, newer, (self.clock)(), TIMEOUT).await;
        let granted = match fetched {
            Ok(granted) => granted,
            Err(error) => {
                self.keeper.telemetry.warn(
                    "no access token was granted",
                    &[("destination", self.destination), ("problem", &error)],
                );
                self.give_back(lease, holder, version, self.resting()).await;
                return Err(error);
            }
        };
        let refresh_token = granted.refresh_token.or(before.refresh_token);
        let granted = Granted { refresh_token, ..granted };
        let token = granted.access_token.clone();
        let known = Known { of: of.clone(), granted, version, is_unkept: true };
        match self.keep(known).await {
            Some(version) => self.give_back(lease, holder, version, None).await,
            // The lease runs out by itself: until then nobody asks with a refresh token that is spent.
            None => self.keeper.telemetry.error(
                "a new token could not be kept; this worker goes on with it and tries again",
                &[("destination", self.destination)],
            ),
        }
        Ok(token)
    }

    /// What is kept, at least as new as the last holder of the lease left it.
    async fn read_after(&self, of: &Digest, mark: u64) -> Result<Option<Known>, NoToken> {
        for _ in 0..TRIES {
            let kept = self.read(of).await?;
            if kept.as_ref().map_or(0, |known| known.version) >= mark {
                return Ok(kept);
            }
            tokio::time::sleep(self.keeper.patience.pause).await;
        }
        Err(NoToken::Unkept("what was written does not show yet".to_owned()))
    }

    /// What is kept. One of another configuration, or that cannot be read, has its version alone.
    async fn read(&self, of: &Digest) -> Result<Option<Known>, NoToken> {
        let kept = self.keeper.token_store.read(self.destination).await.map_err(NoToken::Unkept)?;
        let Some((text, version)) = kept else { return Ok(None) };
        let kept: Kept = serde_json::from_str(&text).unwrap_or_default();
        let is_ours = kept.of.as_ref() == Some(of);
        let nothing = || Secret::new("");
        Ok(Some(Known {
            of: kept.of.unwrap_or_else(|| Digest::of(&[b"nothing"])),
            granted: Granted {
                access_token: kept.access_token.clone().unwrap_or_else(nothing),
                expires_at: match kept.access_token {
                    Some(_) => kept.expires_at,
                    None => Some(Timestamp::UNIX_EPOCH),
                },
                refresh_token: kept.refresh_token.filter(|_| is_ours),
            },
            version,
            is_unkept: false,
        }))
    }

    /// Keeps what came, and remembers it either way. `None`: it could not be kept.
    async fn keep(&self, mut known: Known) -> Option<u64> {
        let kept = Kept::of(&known);
        for _ in 0..TRIES {
            if let Ok(version) = self.write(&kept).await {
                (known.version, known.is_unkept) = (version, false);
                break;
            }
        }
        self.remember(&known);
        (!known.is_unkept).then_some(known.version)
    }

    async fn write(&self, kept: &Kept) -> Result<u64, String> {
        let text = |secret: &Option<Secret>| secret.as_ref().map(|one| one.expose().to_owned());
        let json = json!({
            "of": kept.of,
            "access_token": text(&kept.access_token),
            "expires_at": kept.expires_at,
            "refresh_token": text(&kept.refresh_token),
        });
        self.keeper.token_store.write(self.destination, &json.to_string()).await
    }

    fn remember(&self, known: &Known) -> Secret {
        self.keeper.known().insert(self.destination.clone(), known.clone());
        known.granted.access_token.clone()
    }

    async fn give_back(&self, lease: &str, holder: &str, mark: u64, rests: Option<Timestamp>) {
        // It runs out by itself.
        let _ = self.keeper.leases.release(lease, holder, mark, rests).await;
    }

    fn resting(&self) -> Option<Timestamp> {
        (self.clock)().checked_add(REST).ok()
    }
}
