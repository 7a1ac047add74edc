//! A request, taken apart.

use std::collections::BTreeMap;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use switchboard_shell::gateway::Parts;

use crate::problem::Problem;

/// What was asked.
pub struct Asked {
    /// In capitals.
    pub method: String,
    /// The path's segments, decoded.
    pub path: Vec<String>,
    /// The query, decoded; the last where a name is repeated.
    pub query: BTreeMap<String, String>,
    /// The path as it came.
    raw_path: String,
    /// Headers, names in lower case.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    /// When.
    pub now: Timestamp,
    /// API Gateway's id of the request, for log lines.
    pub id: String,
}

impl Asked {
    /// Takes a request apart. `Err`: its path is not UTF-8.
    pub fn new(parts: Parts<'_>, id: &str, now: Timestamp) -> Result<Self, Problem> {
        let decode = |segment: &str| percent_decode_str(segment).decode_utf8().map(String::from);
        let path: Result<Vec<String>, _> =
            parts.path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect();
        let path = path.map_err(|_| Problem::invalid("path", "is not UTF-8"))?;
        let query = form_urlencoded::parse(parts.query.as_bytes()).into_owned().collect();
        Ok(Self {
            method: parts.method.to_ascii_uppercase(),
            path,
            query,
            raw_path: parts.path.to_owned(),
            headers: parts
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: parts.body,
            now,
            id: id.to_owned(),
        })
    }

    /// Method and path, to be matched: `("GET", ["calls", provider, source, id])`.
    pub fn route(&self) -> (&str, Vec<&str>) {
        (&self.method, self.path.iter().map(String::as_str).collect())
    }

    /// All of the path behind its first segments, decoded, with the slashes that are in it: API
    /// Gateway decodes a path before it hands it on, so an id with slashes comes as several segments.
    pub fn rest(&self, segments: usize) -> Option<String> {
        let rest = self.raw_path.trim_start_matches('/').splitn(segments + 1, '/').nth(segments)?;
        percent_decode_str(rest).decode_utf8().ok().map(String::from)
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// One parameter of the query that is not empty.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Refuses parameters that nobody asked for: a misspelled filter must not list everything.
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.query.keys().find(|name| !known.contains(&name.as_str())) {
            // The name is the caller's own and may hold anything: it is not repeated.
            Some(_) => {
                let problem =
                    format!("holds an unknown parameter; known are: {}", known.join(", "));
                Err(Problem::invalid("query", &problem))
            }
            None => Ok(()),
        }
    }

    /// The body's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body, as JSON. A fault is told by its place and never by the value.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let mut reader = serde_json::Deserializer::from_slice(&self.body);
        let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let inner = error.inner();
            let place = format!("line {}, column {}", inner.line(), inner.column());
            match inner.classify() {
                serde_json::error::Category::Data => {
                    let path = error.path().to_string();
                    let is_plain =
                        path.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-[]".contains(&b));
                    let field =
                        if is_plain && path.len() <= 64 && path != "." { &path } else { "body" };
                    let problem = format!("is missing, unknown or of a wrong type ({place})");
                    Problem::invalid(field, &problem)
                }
                _ => Problem::invalid("body", &format!("is not valid JSON ({place})")),
            }
        })?;
        reader.end().map_err(|_| Problem::invalid("body", "goes on after its JSON value"))?;
        Ok(read)
    }
}
