//! Changing requests: bytes, JSON, forms, headers, queries, and the words that parsers look for.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::Value;

use crate::input::Input;
use crate::words::{HEADERS, METHODS, PARAMETERS, SENDERS, TOKENS};

/// Stands for a token that is not JSON, until the text is written.
const RAW: &str = "\u{1}raw\u{1}";

/// What mutations are made of.
pub struct Mutator {
    tokens: Vec<String>,
    names: Vec<String>,
    paths: Vec<String>,
}

impl Mutator {
    /// A mutator that knows the names and values of these requests, and these paths.
    pub fn of<'a>(inputs: impl Iterator<Item = &'a Input>, paths: Vec<String>) -> Self {
        let mut names = BTreeSet::new();
        let mut values = BTreeSet::new();
        for input in inputs {
            match serde_json::from_slice(&input.body) {
                Ok(value) => words(&value, &mut names, &mut values),
                Err(_) => {
                    for (name, value) in form_urlencoded::parse(&input.body) {
                        names.insert(name.into_owned());
                        values.insert(value.into_owned());
                    }
                }
            }
        }
        let short = |text: &String| (1..=64).contains(&text.len());
        let tokens = TOKENS.iter().map(|token| (*token).to_owned());
        let tokens = tokens.chain(values.into_iter().filter(short)).collect();
        Self { tokens, names: names.into_iter().filter(short).collect(), paths }
    }

    /// A changed copy of a request. `other` is one to take parts from.
    pub fn mutate(&self, rng: &mut Rng, input: &Input, other: &Input, body_only: bool) -> Input {
        let mut input = input.clone();
        for _ in 0..rng.usize(1..=4) {
            match rng.u8(0..if body_only { 13 } else { 22 }) {
                0..=3 => self.bytes(rng, &mut input.body, &other.body),
                4..=10 => self.fields(rng, &mut input),
                11 => input.body = splice(rng, &input.body, &other.body),
                12 => self.rewrite(rng, &mut input),
                13..=15 => self.headers(rng, &mut input, other),
                16..=18 => self.query(rng, &mut input),
                19 => input.method = pick(rng, METHODS).unwrap_or("POST").to_owned(),
                20 => {
                    let path = rng.choice(&self.paths).cloned().unwrap_or_default();
                    let path = if rng.bool() { path } else { self.text(rng, input.path()) };
                    let query = input.query().to_owned();
                    input.target = path;
                    input.set_query(&query);
                }
                _ => {
                    let sender = pick(rng, SENDERS).filter(|_| rng.u8(0..4) > 0);
                    input.sender = sender.and_then(|sender| sender.parse().ok());
                    let delays = [
                        0,
                        1,
                        -1,
                        300,
                        301,
                        -301,
                        1_799,
                        1_801,
                        -1_801,
                        86_400,
                        i64::MIN,
                        i64::MAX,
                    ];
                    input.delay = rng.choice(delays).unwrap_or(0);
                }
            }
        }
        input.tidy();
        input
    }

    fn token(&self, rng: &mut Rng) -> String {
        match rng.u16(0..200) {
            0 => "9".repeat(rng.usize(1..40)),
            1 => "x".repeat(
                [63, 64, 65, 256, 257, 513, 2_048, 2_049, 16_385, 70_000][rng.usize(0..10)],
            ),
            2 => "7".repeat([63, 64, 65, 256, 257, 513, 2_049, 70_000][rng.usize(0..8)]),
            3 => "[".repeat([100, 127, 128, 129, 5_000][rng.usize(0..5)]),
            4 => "{\"a\":".repeat([100, 127, 128, 129, 5_000][rng.usize(0..5)]),
            5 => format!("{}1{}", "[".repeat(120), "]".repeat(120)),
            6 => "<a>".repeat([10, 100, 1_000, 20_000][rng.usize(0..4)]),
            7..=40 => self.name(rng),
            _ => rng.choice(&self.tokens).cloned().unwrap_or_default(),
        }
    }

    fn name(&self, rng: &mut Rng) -> String {
        let name = rng.choice(&self.names).cloned().unwrap_or_default();
        match rng.u8(0..12) {
            0 => name.to_ascii_uppercase(),
            1 => format!("${name}"),
            2 => format!("{name} "),
            3 => format!("[{name}]"),
            _ => name,
        }
    }

    /// Text changed as bytes are, and made text again.
    fn text(&self, rng: &mut Rng, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.bytes(rng, &mut bytes, b"");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn bytes(&self, rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = rng.usize(0..=bytes.len());
        let most = 1 << rng.u8(0..7);
        let end = (at + rng.usize(1..=most)).min(bytes.len());
        match rng.u8(0..9) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.u8(0..8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = b"\0\"{}[]:,&=%+0a \x7f\xff\n"[rng.usize(0..18)];
                }
            }
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => bytes.truncate(at),
            5 => bytes.insert(at, rng.u8(..)),
            6 => {
                let from = rng.usize(0..=other.len());
                let to = (from + rng.usize(1..64)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            7 => drop(bytes.splice(at..end, self.token(rng).into_bytes())),
            _ => drop(bytes.splice(at..at, self.token(rng).into_bytes())),
        }
    }

    /// One field of a JSON body or of a form.
    fn fields(&self, rng: &mut Rng, input: &mut Input) {
        match serde_json::from_slice::<Value>(&input.body) {
            Ok(mut value) => {
                let mut raw = Vec::new();
                self.json(rng, &mut value, &mut raw);
                let mut text = value.to_string();
                for token in raw {
                    let mark = Value::String(RAW.to_owned()).to_string();
                    text = text.replacen(&mark, &token, 1);
                }
                input.body = text.into_bytes();
            }
            Err(_) => input.body = self.pairs(rng, &input.body),
        }
    }

    fn json(&self, rng: &mut Rng, value: &mut Value, raw: &mut Vec<String>) {
        let donor = nth(value, &mut rng.usize(0..count(value))).cloned().unwrap_or_default();
        let Some(node) = nth(value, &mut rng.usize(0..count(value))) else { return };
        match (rng.u8(0..10), node) {
            (0..=2, Value::Object(fields)) => {
                let key = rng.choice(fields.keys()).cloned().unwrap_or_default();
                match rng.u8(0..4) {
                    0 => drop(fields.remove(&key)),
                    1 => {
                        let value = fields.remove(&key).unwrap_or_default();
                        fields.insert(self.name(rng), value);
                    }
                    2 => drop(fields.insert(self.name(rng), Value::String(self.token(rng)))),
                    _ => drop(fields.insert(key, Value::String(self.token(rng)))),
                }
            }
            (0..=2, Value::Array(items)) => {
                let at = rng.usize(0..=items.len());
                match rng.u8(0..3) {
                    0 => items.insert(at, donor),
                    1 if at < items.len() => drop(items.remove(at)),
                    _ => items.extend(items.clone().into_iter().take(8)),
                }
            }
            (3..=4, node) => *node = Value::String(self.token(rng)),
            (5, node) => {
                raw.push(self.token(rng));
                *node = Value::String(RAW.to_owned());
            }
            (6, node) => *node = donor,
            (7, node) => {
                *node = match rng.u8(0..4) {
                    0 => Value::Array(vec![node.take(), donor]),
                    1 => serde_json::json!({ "data": node.take() }),
                    2 => Value::String(node.to_string()),
                    _ => serde_json::json!({ self.name(rng): node.take() }),
                }
            }
            (8, Value::String(text)) if rng.bool() => *text = self.text(rng, text),
            (8, node @ Value::String(_)) => {
                // A number that was written as text.
                let number = node.as_str().and_then(|text| serde_json::from_str(text).ok());
                *node = number.filter(Value::is_number).unwrap_or_default();
            }
            (_, node) => {
                *node = match rng.u8(0..8) {
                    0 => Value::Null,
                    1 => Value::Bool(rng.bool()),
                    2 => rng.i64(-2..100_000).into(),
                    3 => rng.u64(..).into(),
                    4 => rng.f64().into(),
                    5 => Value::Array(Vec::new()),
                    6 => serde_json::json!({}),
                    _ => Value::String(String::new()),
                }
            }
        }
    }

    fn pairs(&self, rng: &mut Rng, body: &[u8]) -> Vec<u8> {
        let mut pairs: Vec<Vec<u8>> = body.split(|b| *b == b'&').map(<[u8]>::to_vec).collect();
        let at = rng.usize(0..pairs.len());
        let encode =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        match rng.u8(0..7) {
            0 => drop(pairs.remove(at)),
            1 => pairs.push(pairs[at].clone()),
            2 => rng.shuffle(&mut pairs),
            3 => {
                pairs.push(format!("{}={}", encode(&self.name(rng)), self.token(rng)).into_bytes())
            }
            4 => {
                let pair = String::from_utf8_lossy(&pairs[at]).into_owned();
                let value = pair.split_once('=').map_or("", |(_, value)| value);
                pairs[at] = format!("{}={value}", encode(&self.name(rng))).into_bytes();
            }
            _ => {
                let pair = String::from_utf8_lossy(&pairs[at]).into_owned();
                let name = pair.split('=').next().unwrap_or_default();
                let token = self.token(rng);
                let token = if rng.bool() { encode(&token) } else { token };
                pairs[at] = format!("{name}={token}").into_bytes();
            }
        }
        pairs.join(&b'&')
    }

    /// The same fields in the other format, or many times over.
    fn rewrite(&self, rng: &mut Rng, input: &mut Input) {
        let json: Option<Value> = serde_json::from_slice(&input.body).ok();
        match (json, rng.u8(0..4)) {
            (Some(Value::Object(fields)), 0..=1) => {
                let text =
                    |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(fields.iter().map(|(name, value)| (name, text(value))));
                input.body = form.finish().into_bytes();
                if rng.bool() {
                    input.set_header("Content-Type", "application/x-www-form-urlencoded");
                }
            }
            (Some(value), 2) => {
                let copies = rng.usize(1..20);
                input.body = Value::Array(vec![value; copies]).to_string().into_bytes();
            }
            (None, 0..=1) => {
                let fields = form_urlencoded::parse(&input.body).into_owned();
                let fields = fields.map(|(name, value)| (name, Value::String(value)));
                input.body = Value::Object(fields.collect()).to_string().into_bytes();
                if rng.bool() {
                    input.set_header("Content-Type", "application/json");
                }
            }
            (_, 3) if input.body.len() < 2_000 => {
                // As a template's query: the fields of a GET.
                let text = String::from_utf8_lossy(&input.body).into_owned();
                input.set_query(&text);
                input.body.clear();
                input.method = "GET".to_owned();
            }
            _ => input.body.clear(),
        }
    }

    fn headers(&self, rng: &mut Rng, input: &mut Input, other: &Input) {
        let at = rng.usize(0..input.headers.len().max(1));
        match (rng.u8(0..9), input.headers.get_mut(at)) {
            (0, Some(_)) => drop(input.headers.remove(at)),
            (1, Some((name, _))) => *name = name.to_ascii_uppercase(),
            (2, Some((_, value))) => drop(value.pop()),
            (3, Some((_, value))) => {
                value.push(*rng.choice(&['a', '0', '=', ' ', ',']).unwrap_or(&' '))
            }
            (4, Some((_, value))) => {
                let flip = |c: char| {
                    if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
                };
                *value = value.chars().map(flip).collect();
            }
            (5, Some((_, value))) => *value = self.text(rng, &value.clone()),
            (6, Some((_, value))) => {
                // To another header of those that are read.
                let (value, name) = (value.clone(), HEADERS[rng.usize(0..HEADERS.len())].0);
                let bearer = if name == "Authorization" { "Bearer " } else { "" };
                input.set_header(name, &format!("{bearer}{value}"));
            }
            (7, _) => input.headers.extend(rng.choice(&other.headers).cloned()),
            _ => {
                let (name, values) = HEADERS[rng.usize(0..HEADERS.len())];
                let value = pick(rng, values).unwrap_or_default();
                input.headers.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn query(&self, rng: &mut Rng, input: &mut Input) {
        let query = input.query().to_owned();
        let query = match rng.u8(0..4) {
            0 => self.text(rng, &query),
            1 => String::from_utf8_lossy(&self.pairs(rng, query.as_bytes())).into_owned(),
            _ => {
                let name = pick(rng, PARAMETERS).unwrap_or_default();
                let secret = input
                    .headers
                    .iter()
                    .find(|(name, _)| name.to_ascii_lowercase().ends_with("secret"));
                let value = match secret {
                    Some((_, secret)) if name.ends_with("cret") && rng.bool() => secret.clone(),
                    _ => self.token(rng),
                };
                let mark = if query.is_empty() { "" } else { "&" };
                format!("{query}{mark}{name}={value}")
            }
        };
        input.set_query(&query);
    }
}

fn pick(rng: &mut Rng, texts: &[&'static str]) -> Option<&'static str> {
    rng.choice(texts).copied()
}

fn splice(rng: &mut Rng, one: &[u8], other: &[u8]) -> Vec<u8> {
    let (head, tail) = (rng.usize(0..=one.len()), rng.usize(0..=other.len()));
    [&one[..head], &other[tail..]].concat()
}

/// The names of fields, and the values of those that hold text or a number.
fn words(value: &Value, names: &mut BTreeSet<String>, values: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            names.insert(name.clone());
            words(value, names, values);
        }),
        Value::Array(items) => items.iter().for_each(|item| words(item, names, values)),
        Value::String(text) => drop(values.insert(text.clone())),
        Value::Number(number) => drop(values.insert(number.to_string())),
        Value::Bool(_) | Value::Null => {}
    }
}

fn count(value: &Value) -> usize {
    let inner: usize = match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    };
    1 + inner
}

/// The node of a number, counted as [`count`] does.
fn nth<'a>(value: &'a mut Value, n: &mut usize) -> Option<&'a mut Value> {
    if *n == 0 {
        return Some(value);
    }
    *n -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, n)),
        Value::Object(fields) => fields.values_mut().find_map(|field| nth(field, n)),
        _ => None,
    }
}
