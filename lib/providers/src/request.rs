//! A request before and after it was authenticated.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use jiff::Timestamp;
use switchboard_domain::{Name, Order};

use crate::reject::{Refusal, Reject};
use crate::source::Source;
use crate::{Provider, Sources, secret};

/// The parameter that says by which job a record was pulled, where no webhook brought it.
pub const PULLED: &str = "pull";

/// The names and values of a form as they were sent: `+` is a space, nothing is trimmed, nothing is left
/// out.
pub type Form = Vec<(String, String)>;

/// A webhook request as it arrived. Its body is for signature checks alone until
/// [`authenticate`] has turned it into an [`Authenticated`].
#[derive(Clone)]
pub struct Request {
    /// In capitals.
    pub method: String,
    /// With its leading slash, without a stage prefix.
    pub path: String,
    /// The query exactly as it was sent, without the question mark.
    pub query: String,
    /// Names in lower case.
    headers: BTreeMap<String, String>,
    /// The bytes as the sender sent them.
    body: Vec<u8>,
    /// What they say as a form, once somebody asked.
    form: OnceLock<Form>,
    /// Who sent it, as the gateway saw.
    pub sender: Option<IpAddr>,
    /// When it arrived.
    pub received_at: Timestamp,
}

impl Request {
    /// A request to `path` (which may hold a query after `?`).
    pub fn new(method: &str, path_and_query: &str, received_at: Timestamp) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Self {
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: BTreeMap::new(),
            body: Vec::new(),
            form: OnceLock::new(),
            sender: None,
            received_at,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_ascii_lowercase(), value.to_owned());
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self.form = OnceLock::new();
        self
    }

    /// Sets who sent it.
    pub fn sender(mut self, sender: Option<IpAddr>) -> Self {
        self.sender = sender;
        self
    }

    /// The path and, if there is one, the query.
    pub fn target(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        format!("{}{mark}{}", self.path, self.query)
    }

    /// The target as it may be kept: without the parameter that holds a secret.
    pub fn kept_target(&self) -> String {
        // Decoded as where it is read: the name may be written with escapes.
        let is_secret = |pair: &&str| {
            form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| name == secret::PARAMETER)
        };
        let kept: Vec<&str> = self.query.split('&').filter(|pair| !is_secret(pair)).collect();
        let query = kept.join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}{mark}{query}", self.path)
    }

    /// A header's value, by its name in lower case.
    pub fn get_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The media type of the body, in lower case, without parameters.
    pub fn media_type(&self) -> String {
        let value = self.get_header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Whether the body was sent as a form.
    pub fn is_form(&self) -> bool {
        self.media_type() == "application/x-www-form-urlencoded"
    }

    /// One parameter of the query, decoded and trimmed; the first with something in it where it is
    /// repeated.
    pub fn query_parameter(&self, name: &str) -> Option<String> {
        self.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.trim().to_owned())
    }

    /// Every parameter of the query that says something, decoded; of a repeated one the first.
    pub fn query_parameters(&self) -> BTreeMap<Cow<'_, str>, Cow<'_, str>> {
        let mut parameters = BTreeMap::new();
        for (name, value) in self.query_pairs() {
            parameters.entry(name).or_insert(value);
        }
        parameters
    }

    fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query.as_bytes()).filter(|(_, value)| !value.trim().is_empty())
    }

    /// The bytes that a signature covers. For authenticators only.
    pub(crate) fn signed_bytes(&self) -> &[u8] {
        &self.body
    }

    /// The names and values of a form that a signature covers: decoded once, however many secrets are
    /// tried, and not again when the body is parsed. For authenticators only.
    pub(crate) fn signed_form(&self) -> &Form {
        let decode = || form_urlencoded::parse(&self.body).into_owned().collect();
        self.form.get_or_init(decode)
    }

    /// The place of what this says among a call's other messages. What was pulled stands before
    /// what a webhook told of the same state, so that it adds to that and overrides none of it.
    pub fn order(&self, told: Order) -> Order {
        if self.query_parameter(PULLED).is_some() { Order::Unordered } else { told }
    }

    /// How many bytes the body has.
    pub fn body_len(&self) -> usize {
        self.body.len()
    }
}

/// A request whose sender is known. Only [`authenticate`] makes one.
pub struct Authenticated<'a> {
    request: &'a Request,
    sources: &'a Sources,
    default: &'static str,
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
    Ok(Authenticated { request, sources, default, grants })
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
    /// A message that was authenticated when it came, to be read once more: from the quarantine, or
    /// from the updates of a call. `source` is the one that it was taken for.
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
        Self { request, sources, default, grants: grants.into_iter().collect() }
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
        &self.request.body
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
                find(self.default).or(only).ok_or(Reject::Forbidden(if fitting.is_empty() {
                    Refusal::OtherSource
                } else {
                    Refusal::Ambiguous
                }))?;
            return Ok((grant.name.clone(), grant.source));
        };
        let name = Name::new("source", named)?;
        let stand_in = || find(self.default).filter(|_| !is_configured(self.sources, named));
        let grant = find(named).or_else(stand_in).ok_or(Reject::Forbidden(Refusal::OtherSource))?;
        Ok((name, grant.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_query_is_not_kept_however_its_name_is_written() {
        for (target, kept) in [
            ("/a?source=b&secret=fake", "/a?source=b"),
            ("/a?s%65cret=fake&source=b", "/a?source=b"),
            ("/a?secret=fake", "/a"),
            ("/a?secret", "/a"),
            ("/a?secrets=1", "/a?secrets=1"),
            ("/a", "/a"),
        ] {
            let request = Request::new("POST", target, Timestamp::UNIX_EPOCH);
            assert_eq!(request.kept_target(), kept);
        }
    }
}
