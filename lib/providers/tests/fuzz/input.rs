//! A request as the fuzzer holds it, and the file that it is kept as.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use switchboard_providers::Request;

use crate::common::RECEIVED_AT;

/// A request, all of which may be changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    pub method: String,
    pub target: String,
    /// Of a repeated name the last counts, as in [`Request::header`].
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub sender: Option<IpAddr>,
    /// How long after the samples it arrives, seconds.
    pub delay: i64,
}

impl Input {
    /// A body alone, for what reads no request.
    pub fn of_body(body: Vec<u8>) -> Self {
        let (method, target) = ("POST".to_owned(), "/".to_owned());
        Self { method, target, headers: Vec::new(), body, sender: None, delay: 0 }
    }

    /// The requests of a sample.
    pub fn of_sample(text: &str) -> Vec<Self> {
        let one = |part: &str| {
            let mut input = Self::read(part.trim_start_matches('\n').as_bytes())?;
            input.body = part.split_once("\n\n")?.1.trim_matches('\n').as_bytes().to_vec();
            Some(input)
        };
        text.split("\n###\n").filter_map(one).collect()
    }

    /// Reads a file of the corpus: as a sample, but the body is every byte to the end, and
    /// `:sender` and `:delay` may stand among the headers.
    pub fn read(file: &[u8]) -> Option<Self> {
        let end = file.windows(2).position(|two| two == b"\n\n")?;
        let head = std::str::from_utf8(file.get(..end)?).ok()?;
        let mut lines = head.split('\n');
        let first = lines.next()?;
        let (method, target) = first.strip_suffix(" HTTP/1.1").unwrap_or(first).split_once(' ')?;
        let mut input = Self::of_body(file.get(end + 2..)?.to_vec());
        (input.method, input.target) = (method.to_owned(), target.to_owned());
        for line in lines {
            match line
                .get(1..)?
                .split_once(": ")
                .map(|(name, value)| (&line[..=name.len()], value))?
            {
                (":sender", sender) => input.sender = sender.parse().ok(),
                (":delay", delay) => input.delay = delay.parse().ok()?,
                (name, value) => input.headers.push((name.to_owned(), value.to_owned())),
            }
        }
        Some(input)
    }

    /// The file that [`Input::read`] reads.
    pub fn write(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\n");
        }
        if let Some(sender) = self.sender {
            head += &format!(":sender: {sender}\n");
        }
        if self.delay != 0 {
            head += &format!(":delay: {}\n", self.delay);
        }
        let mut file = (head + "\n").into_bytes();
        file.extend_from_slice(&self.body);
        file
    }

    /// When it arrives.
    pub fn received_at(&self) -> Timestamp {
        let at: Timestamp = RECEIVED_AT.parse().unwrap();
        at.checked_add(SignedDuration::from_secs(self.delay)).unwrap_or(at)
    }

    /// The request that it is.
    pub fn request(&self) -> Request {
        let request = Request::new(&self.method, &self.target, self.received_at())
            .sender(self.sender)
            .body(self.body.clone());
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    /// A header's value, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |(this, _): &&(String, String)| this.eq_ignore_ascii_case(name);
        self.headers.iter().rev().find(is_it).map(|(_, value)| value.as_str())
    }

    /// Sets a header, in the place of those of the same name.
    pub fn set_header(&mut self, name: &str, value: &str) {
        self.remove_header(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a header out.
    pub fn remove_header(&mut self, name: &str) {
        self.headers.retain(|(this, _)| !this.eq_ignore_ascii_case(name));
    }

    /// The target before its question mark.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The target after its question mark.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The query, decoded.
    pub fn parameters(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.query().as_bytes()).into_owned().collect()
    }

    /// Puts another query in.
    pub fn set_query(&mut self, query: &str) {
        let mark = if query.is_empty() { "" } else { "?" };
        self.target = format!("{}{mark}{query}", self.path());
    }

    /// Whether it says that its body is a form.
    pub fn is_form(&self) -> bool {
        let value = self.header("content-type").unwrap_or_default();
        let media = value.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }

    /// What an HTTP server would never hand on is taken out.
    pub fn tidy(&mut self) {
        let line = |text: &mut String| text.retain(|c| c != '\n' && c != '\r');
        self.method.retain(|c| c.is_ascii_graphic());
        line(&mut self.target);
        if !self.target.starts_with('/') {
            self.target.insert(0, '/');
        }
        self.target = self.target.replace(' ', "+");
        self.target.truncate(self.target.floor_char_boundary(8_000));
        for (name, value) in &mut self.headers {
            name.retain(|c| c.is_ascii_graphic() && c != ':');
            line(value);
            value.truncate(value.floor_char_boundary(8_000));
        }
        self.headers.retain(|(name, _)| !name.is_empty());
        self.headers.truncate(24);
        self.body.truncate(200_000);
    }
}
