//! A request to the API, decoded once.

use std::collections::BTreeMap;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde::de::value::{BorrowedStrDeserializer, Error as ValueError};
use switchboard_shell::gateway::HttpRequest;

use crate::problem::Problem;

/// A page of a list has so many entries unless the request says otherwise.
const DEFAULT_PAGE: u16 = 50;
/// The most entries of a page.
pub const LARGEST_PAGE: u16 = 100;

/// A request to the API.
pub struct Request {
    /// The path's segments, decoded.
    pub path: Vec<String>,
    /// The query, decoded; the last where a name is repeated.
    pub query: BTreeMap<String, String>,
    /// When it came.
    pub now: Timestamp,
    /// Lambda's id of it: what log lines and dial requests name it by.
    pub id: String,
    http: HttpRequest,
    body: Vec<u8>,
}

impl Request {
    /// Decodes a request. `Err`: its path is not UTF-8, or its body is not the Base64 that it is
    /// declared as.
    pub fn new(mut http: HttpRequest, id: &str, now: Timestamp) -> Result<Self, Problem> {
        let body = http.body.take();
        let body =
            body.ok_or_else(|| Problem::invalid("body", "is declared as Base64 and is not"))?;
        let decode = |segment: &str| percent_decode_str(segment).decode_utf8().map(String::from);
        let path: Result<Vec<String>, _> =
            http.path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect();
        let path = path.map_err(|_| Problem::invalid("path", "is not UTF-8"))?;
        let query = form_urlencoded::parse(http.query.as_bytes()).into_owned().collect();
        Ok(Self { path, query, now, id: id.to_owned(), http, body })
    }

    /// Method and path, to be matched: `("GET", ["calls", provider, source, id])`.
    pub fn route(&self) -> (&str, Vec<&str>) {
        (&self.http.method, self.path.iter().map(String::as_str).collect())
    }

    /// All of the path behind its first segments, decoded, with the slashes that are in it: API
    /// Gateway decodes a path before it hands it on, so an id with slashes comes as several segments.
    pub fn rest(&self, segments: usize) -> Option<String> {
        let rest =
            self.http.path.trim_start_matches('/').splitn(segments + 1, '/').nth(segments)?;
        percent_decode_str(rest).decode_utf8().ok().map(String::from)
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.http.headers.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// A parameter of the query that is not empty.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// A parameter that is one of some words; `known` says which.
    pub fn word<T: DeserializeOwned>(&self, name: &str, known: &str) -> Result<Option<T>, Problem> {
        let read = |word| T::deserialize(BorrowedStrDeserializer::<ValueError>::new(word));
        self.parameter(name).map(read).transpose().map_err(|_| Problem::invalid(name, known))
    }

    /// The parameter `limit`: how many entries of a list a page has at most.
    pub fn limit(&self) -> Result<u16, Problem> {
        let Some(text) = self.parameter("limit") else { return Ok(DEFAULT_PAGE) };
        let limit = text.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit));
        limit.ok_or_else(|| Problem::invalid("limit", "must be a number from 1 to 100"))
    }

    /// Refuses parameters that are not known: a misspelled filter must not list everything.
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

    /// The body, as JSON. An error names the place and never the value.
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
