//! A webhook request as it arrived, before its sender is known.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use jiff::Timestamp;
use switchboard_domain::Order;

/// The query parameter that names the job which pulled a record, where no webhook brought it.
pub const PULLED: &str = "pull";
/// The query parameter with the secret, for systems that can set no header. It is never stored or logged.
pub const SECRET: &str = "secret";

/// The names and values of a form as they were sent: `+` is a space, nothing is trimmed, nothing is left
/// out.
pub type Form = Vec<(String, String)>;

/// A webhook request as it arrived. Its body is for signature checks alone until
/// [`crate::authenticate`] has turned it into an [`crate::Authenticated`].
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
    /// The body decoded as a form, once it was needed.
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
        let is_secret =
            |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| name == SECRET);
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

    /// The place of this message among the call's others. A pulled record ranks behind the webhook's
    /// message of the same state: it adds to the call and overrides nothing.
    pub fn order(&self, stated: Order) -> Order {
        if self.query_parameter(PULLED).is_some() { Order::Unordered } else { stated }
    }

    /// How many bytes the body has.
    pub fn body_len(&self) -> usize {
        self.body.len()
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
