//! A provider's webhook, and a request whose sender is known.
//!
//! A body cannot be parsed before it was authenticated: [`Provider::parse`] takes an
//! [`Authenticated`], which only [`authenticate`] makes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use switchboard_domain::{CallKey, ConfigError, Name, Seconds, Update};

use crate::reject::{Refusal, Reject};
use crate::request::{Form, Request};
use crate::secret;
use crate::settings::ProviderSettings;
use crate::source::{Credential, Source};

/// The sources of one provider, by name.
pub type Sources = BTreeMap<Name, Source>;

/// A method and the path of a webhook, as they stand in the template.
pub type Route = (&'static str, &'static str);

/// A kind of phone or voice-AI system.
pub trait Provider: Sync {
    /// The provider's name: in call keys, paths of parameters, metrics.
    fn name(&self) -> &'static str;

    /// Where it posts.
    fn routes(&self) -> &'static [Route];

    /// How long after a call's end its last messages still trickle in, where the source does not say.
    fn settle(&self) -> Seconds {
        Seconds(0)
    }

    /// The HTTP status of the response to an accepted message.
    fn accepted(&self) -> u16 {
        200
    }

    /// Reads the members of a source's JSON that are this provider's own: [`ProviderSettings::read`] of its typed
    /// settings, if it has any.
    fn settings(&self, _json: &str) -> Result<ProviderSettings, ConfigError> {
        Ok(ProviderSettings::default())
    }

    /// Checks what a source of this provider needs beyond what every source needs.
    fn check(&self, _source: &Source) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Whether its messages are signed. Then nothing but a signature opens a source: no network is
    /// trusted in its place.
    fn is_signed(&self) -> bool {
        false
    }

    /// Whether systems of this kind may also post to the generic intake under their own name. Of
    /// one that may, the intake's secret opens the calls.
    fn speaks_intake(&self) -> bool {
        false
    }

    /// The header of the secret or signature, as the provider's set-up page names it.
    fn secret_header(&self) -> &'static str {
        "X-Webhook-Secret"
    }

    /// Whether a signature or secret came at all. Checked before any source is looked at, so that
    /// the response to a request without one reveals nothing about which sources exist.
    fn presents_credential(&self, request: &Request) -> Result<(), Reject> {
        let expected = self.secret_header();
        let is_there = if self.is_signed() {
            let sent = request.get_header(&expected.to_ascii_lowercase());
            sent.is_some_and(|sent| !sent.is_empty())
        } else {
            secret::presented(request).is_some()
        };
        if is_there { Ok(()) } else { Err(Reject::Unauthenticated { expected }) }
    }

    /// Checks that the sender knows `credential`, in constant time.
    fn authenticate(
        &self,
        request: &Request,
        _source: &Source,
        credential: &Credential,
    ) -> Result<(), Refusal> {
        let sent = secret::presented(request).unwrap_or_default();
        if secret::is(&sent, &credential.secret) { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    /// The response to a request that anyone may make: that the webhook is there, how to set it
    /// up. It is made before authentication and knows no configuration.
    fn public(&self, _request: &Request) -> Option<Value> {
        None
    }

    /// Parses the body. `Err`: it is not even a list of records.
    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject>;
}

/// What an authenticated body holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Messages about calls: one result per record.
    Calls(Vec<Parsed>),
    /// Something else that was understood, as a test or a ping: the response, and nothing is stored.
    Other(Value),
}

/// One record of a body: an update of a call, or why it is none.
pub type Parsed = Result<Record, Unread>;

/// An update and the call that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The call.
    pub key: CallKey,
    /// Other keys that the same call may be stored under, the likeliest first. For providers
    /// that give no id, whose key is derived from times that may differ by a second.
    pub near: Vec<CallKey>,
    /// What the message says about it.
    pub update: Update,
}

/// A record that was not understood, and its bytes for the quarantine.
#[derive(Clone, PartialEq, Eq)]
pub struct Unread {
    /// Why.
    pub why: Reject,
    /// The record alone, not its neighbours.
    pub raw: Vec<u8>,
}

impl std::fmt::Debug for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unread({}, {} bytes)", self.why, self.raw.len())
    }
}

/// A request whose sender is known. Only [`authenticate`] makes one.
pub struct Authenticated<'a> {
    request: &'a Request,
    sources: &'a Sources,
    provider: &'static str,
    grants: Vec<Grant<'a>>,
}

/// A source that the sender's secret opens, and for which account.
#[derive(Clone, Copy)]
pub struct Grant<'a> {
    /// The source's name.
    pub name: &'a Name,
    /// Its configuration.
    pub source: &'a Source,
    /// The only account that the secret speaks for, if it is bound to one.
    pub account: Option<&'a str>,
}

/// Checks who sent a request.
///
/// `?source=` names the source; without it every source of the provider is tried, and the secret
/// tells. A named source that is not configured is answered as a wrong secret is. A source may
/// trust the sender's network instead of a secret, where its provider does not sign.
pub fn authenticate<'a>(
    provider: &dyn Provider,
    request: &'a Request,
    sources: &'a Sources,
) -> Result<Authenticated<'a>, Reject> {
    let is_trusted = |source: &Source| !provider.is_signed() && source.trusts(request.sender);
    if !sources.values().any(is_trusted) {
        provider.presents_credential(request)?;
    }
    let default = provider.name();
    let named = request.query_parameter("source");
    // The provider's default source stands in for a named one that is not configured by itself.
    let named = named.map(|name| if is_configured(sources, &name) { name } else { default.into() });

    let (mut grants, mut trusted) = (Vec::new(), Vec::new());
    let mut refused = Refusal::UnknownSource;
    for (name, source) in sources {
        if named.as_deref().is_some_and(|named| named != name.as_str()) {
            continue;
        }
        if is_trusted(source) {
            trusted.push(Grant { name, source, account: None });
        }
        match check(provider, request, source) {
            Ok(accounts) => {
                grants.extend(accounts.into_iter().map(|account| Grant { name, source, account }));
            }
            Err(why) => refused = refused.max(why),
        }
    }
    // A secret says more than the address that it came from.
    if grants.is_empty() {
        grants = trusted;
    }
    if grants.is_empty() {
        return Err(Reject::Forbidden(refused));
    }
    Ok(Authenticated { request, sources, provider: default, grants })
}

/// The accounts that the sender's secret speaks for at a source (`None`: any). Every secret is
/// tried, so that how long it takes does not tell which one is right.
fn check<'a>(
    provider: &dyn Provider,
    request: &Request,
    source: &'a Source,
) -> Result<Vec<Option<&'a str>>, Refusal> {
    let allowed = &source.allowed_networks;
    let inside = |sender: &IpAddr| allowed.iter().any(|network| network.contains(sender));
    if !allowed.is_empty() && !request.sender.as_ref().is_some_and(inside) {
        return Err(Refusal::Network);
    }
    let mut opened = Vec::new();
    let mut refused = Refusal::NoSecret;
    for credential in source.secrets.iter().filter(|credential| !credential.secret.is_empty()) {
        match provider.authenticate(request, source, credential) {
            Ok(()) => opened.push(credential.account.as_deref()),
            Err(why) => refused = refused.max(why),
        }
    }
    if opened.is_empty() { Err(refused) } else { Ok(opened) }
}

fn is_configured(sources: &Sources, name: &str) -> bool {
    sources.keys().any(|configured| configured.as_str() == name)
}

impl<'a> Authenticated<'a> {
    /// A message that was authenticated when it came, to be parsed again: from the quarantine, from
    /// the updates of a call, or pulled. `source` is the source that it was accepted for.
    pub fn kept(
        provider: &dyn Provider,
        request: &'a Request,
        sources: &'a Sources,
        source: &'a Name,
    ) -> Self {
        let default = provider.name();
        let stand_in = || sources.iter().find(|(name, _)| name.as_str() == default);
        let found = sources.get_key_value(source).or_else(stand_in);
        let grants = found.map(|(name, source)| Grant { name, source, account: None });
        Self { request, sources, provider: default, grants: grants.into_iter().collect() }
    }

    /// The same message, opened by the secret of a further source.
    pub fn opened_by(mut self, source: &Name) -> Self {
        let found = self.sources.get_key_value(source);
        let is_new = self.grants.iter().all(|grant| grant.name != source);
        let found = found.filter(|_| is_new);
        self.grants.extend(found.map(|(name, source)| Grant { name, source, account: None }));
        self
    }

    /// The body. It may be parsed now.
    pub fn body(&self) -> &'a [u8] {
        self.request.signed_bytes()
    }

    /// The body's names and values, where it was sent as a form.
    pub fn form(&self) -> &'a Form {
        self.request.signed_form()
    }

    /// Everything else about the request.
    pub fn request(&self) -> &'a Request {
        self.request
    }

    /// The names of the sources that the sender's secret opens.
    pub fn opened(&self) -> Vec<&'a Name> {
        let mut names: Vec<&Name> = self.grants.iter().map(|grant| grant.name).collect();
        names.dedup();
        names
    }

    /// The source that a record belongs to: the one that `?source=` or the body names, else the
    /// one that the secret opens. `account` is the account that the body speaks of.
    ///
    /// A source that is configured by name is opened by its own secrets alone. One that is not
    /// is opened by those of the default source, which has the provider's name, so that one
    /// secret can serve an endpoint that several systems post to.
    pub fn source(
        &self,
        in_body: Option<&str>,
        account: Option<&str>,
    ) -> Result<(Name, &'a Source), Reject> {
        let fitting: Vec<&Grant<'a>> = self
            .grants
            .iter()
            .filter(|grant| grant.account.is_none() || grant.account == account)
            .collect();
        let find = |name: &str| fitting.iter().find(|grant| grant.name.as_str() == name);
        let query = self.request.query_parameter("source");
        let Some(named) = query.as_deref().or(in_body) else {
            let only = fitting.first().filter(|first| fitting.iter().all(|g| g.name == first.name));
            let grant =
                find(self.provider).or(only).ok_or(Reject::Forbidden(if fitting.is_empty() {
                    Refusal::OtherSource
                } else {
                    Refusal::Ambiguous
                }))?;
            return Ok((grant.name.clone(), grant.source));
        };
        let name = Name::new("source", named)?;
        let stand_in = || find(self.provider).filter(|_| !is_configured(self.sources, named));
        let grant = find(named).or_else(stand_in).ok_or(Reject::Forbidden(Refusal::OtherSource))?;
        Ok((name, grant.source))
    }

    /// The key of the call that a record is about, and its source: [`Authenticated::source`] and the
    /// provider's id of the call.
    pub fn call(
        &self,
        in_body: Option<&str>,
        account: Option<&str>,
        call_id: &str,
    ) -> Result<(CallKey, &'a Source), Reject> {
        let (name, source) = self.source(in_body, account)?;
        Ok((CallKey::new(Name::new("provider", self.provider)?, name, call_id)?, source))
    }
}
