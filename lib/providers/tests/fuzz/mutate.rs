//! How requests are changed: bytes, JSON, forms, headers, queries, and the words that parsers look for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use crate::input::Input;
use crate::words::{BYTES, DELAYS, HEADERS, METHODS, PARAMETERS, SENDERS, TOKENS};

/// Stands for a token that is not JSON, until the text is written.
const RAW: &str = "\u{1}raw\u{1}";

/// One change of a request.
#[derive(Clone, Debug)]
enum Edit {
    /// Of the body: a few bytes from a place on replaced.
    Bytes(Index, usize, Vec<u8>),
    /// Of the body: the rest from a place on replaced by the end of another's.
    Splice(Index, Index),
    /// A field of JSON or of a form.
    Field(Index, Change),
    /// The fields in the other format, or as the query of a GET.
    Rewrite(Rewrite),
    /// A header set, or taken out.
    Header(String, Option<String>),
    /// A header moved to another name.
    MoveHeader(Index, String),
    /// A header's value changed at a place.
    HeaderText(Index, Index, String),
    /// A query parameter added; `None`: with the value of a header, which may be the secret.
    Query(String, Option<String>),
    /// The query's bytes replaced at a place.
    QueryText(Index, String),
    Method(String),
    Path(String),
    Sender(Option<IpAddr>),
    Delay(i64),
}

#[derive(Clone, Debug)]
enum Change {
    Value(Value),
    Raw(String),
    Rename(String),
    Add(String, String),
    Remove,
    /// The field again, in a list or in an object of this name.
    Wrap(Option<String>),
}

#[derive(Clone, Debug)]
enum Rewrite {
    Format(bool),
    Copies(usize),
    Query,
    Empty,
}

/// Samples with some changes. The names and values of all samples are known to them.
pub fn inputs(
    pool: Vec<Input>,
    words: &Words,
    paths: Vec<String>,
    body_only: bool,
) -> impl Strategy<Value = Input> + use<> {
    let edit = edit(words, paths, body_only);
    (any::<Index>(), any::<Index>(), vec(edit, 1..5)).prop_map(move |(one, other, edits)| {
        let (mut input, other) = (one.get(&pool).clone(), other.get(&pool));
        for edit in edits {
            edit.apply(&mut input, other);
        }
        input.tidy();
        input
    })
}

/// The names and values that samples have.
#[derive(Default)]
pub struct Words {
    names: BTreeSet<String>,
    values: BTreeSet<String>,
}

impl Words {
    /// Of samples.
    pub fn of<'a>(inputs: impl Iterator<Item = &'a Input>) -> Self {
        let mut words = Self::default();
        for input in inputs {
            match serde_json::from_slice(&input.body) {
                Ok(value) => words.take(&value),
                Err(_) => {
                    for (name, value) in form_urlencoded::parse(&input.body).into_owned() {
                        words.names.insert(name);
                        words.values.insert(value);
                    }
                }
            }
        }
        let is_short = |text: &String| (1..=64).contains(&text.len());
        words.names.retain(is_short);
        words.values.retain(is_short);
        words
    }

    fn take(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                self.names.insert(name.clone());
                self.take(value);
            }),
            Value::Array(items) => items.iter().for_each(|item| self.take(item)),
            Value::String(text) => drop(self.values.insert(text.clone())),
            Value::Number(number) => drop(self.values.insert(number.to_string())),
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn name(&self) -> BoxedStrategy<String> {
        let names: Vec<String> = self.names.iter().cloned().chain(["name".to_owned()]).collect();
        (select(names), 0..12_u8)
            .prop_map(|(name, form)| match form {
                0 => name.to_ascii_uppercase(),
                1 => format!("${name}"),
                2 => format!("{name} "),
                3 => format!("[{name}]"),
                _ => name,
            })
            .boxed()
    }

    fn token(&self) -> BoxedStrategy<String> {
        let tokens = TOKENS.iter().map(|token| (*token).to_owned());
        let tokens: Vec<String> = tokens.chain(self.values.iter().cloned()).collect();
        let parts = select(vec!["9", "x", "7", "[", "{\"a\":", "<a>"]);
        let lengths =
            vec![1, 39, 63, 64, 65, 127, 128, 256, 257, 513, 2_048, 2_049, 5_000, 16_385, 70_000];
        prop_oneof![
            160 => select(tokens),
            35 => self.name(),
            5 => (parts, select(lengths)).prop_map(|(part, times)| part.repeat(times)),
        ]
        .boxed()
    }
}

fn edit(words: &Words, paths: Vec<String>, body_only: bool) -> BoxedStrategy<Edit> {
    let (token, name, at) = (words.token(), words.name(), any::<Index>);
    let bytes = prop_oneof![
        token.clone().prop_map(String::into_bytes),
        vec(prop_oneof![select(BYTES.to_vec()), any::<u8>()], 0..4),
    ];
    let value = prop_oneof![
        4 => token.clone().prop_map(Value::String),
        1 => select(vec![json!(null), json!(true), json!([]), json!({}), json!(""), json!(-2)]),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ];
    let change = prop_oneof![
        4 => value.prop_map(Change::Value),
        1 => token.clone().prop_map(Change::Raw),
        1 => name.clone().prop_map(Change::Rename),
        2 => (name.clone(), token.clone()).prop_map(|(name, token)| Change::Add(name, token)),
        1 => Just(Change::Remove),
        1 => proptest::option::of(prop_oneof![name, Just("data".to_owned())]).prop_map(Change::Wrap),
    ];
    let rewrite = prop_oneof![
        any::<bool>().prop_map(Rewrite::Format),
        (1..20_usize).prop_map(Rewrite::Copies),
        Just(Rewrite::Query),
        Just(Rewrite::Empty),
    ];
    let body = prop_oneof![
        4 => (at(), 0..64_usize, bytes).prop_map(|(at, cut, put)| Edit::Bytes(at, cut, put)),
        7 => (at(), change).prop_map(|(at, change)| Edit::Field(at, change)),
        1 => (at(), at()).prop_map(|(head, tail)| Edit::Splice(head, tail)),
        1 => rewrite.prop_map(Edit::Rewrite),
    ];
    if body_only {
        return body.boxed();
    }
    prop_oneof![13 => body, 9 => around(token, paths)].boxed()
}

/// What is changed around the body.
fn around(token: BoxedStrategy<String>, paths: Vec<String>) -> BoxedStrategy<Edit> {
    let at = any::<Index>;
    let texts = |list: &[&'static str]| select(list.to_vec()).prop_map(str::to_owned);
    let header = select(HEADERS.to_vec()).prop_flat_map(|(name, values)| {
        let value = proptest::option::weighted(0.8, select(values.to_vec()));
        value.prop_map(move |value| Edit::Header(name.to_owned(), value.map(str::to_owned)))
    });
    let moved = (at(), select(HEADERS.to_vec()));
    let changed = (at(), at(), prop_oneof![token.clone(), texts(&["", "a", "0", " ", ","])]);
    let query = (texts(PARAMETERS), proptest::option::weighted(0.7, token.clone()));
    let path = prop_oneof![select(paths), token.clone()];
    let sender = proptest::option::of(select(SENDERS.to_vec()));
    prop_oneof![
        2 => header,
        1 => moved.prop_map(|(at, (name, _))| Edit::MoveHeader(at, name.to_owned())),
        1 => changed.prop_map(|(header, at, text)| Edit::HeaderText(header, at, text)),
        2 => query.prop_map(|(name, value)| Edit::Query(name, value)),
        1 => (at(), token).prop_map(|(at, text)| Edit::QueryText(at, text)),
        1 => texts(METHODS).prop_map(Edit::Method),
        1 => path.prop_map(Edit::Path),
        1 => sender.prop_map(|sender| Edit::Sender(sender.and_then(|text| text.parse().ok()))),
        1 => select(DELAYS.to_vec()).prop_map(Edit::Delay),
    ]
    .boxed()
}

impl Edit {
    fn apply(self, input: &mut Input, other: &Input) {
        match self {
            Self::Bytes(at, cut, put) => {
                let at = at.index(input.body.len() + 1);
                let end = (at + cut).min(input.body.len());
                input.body.splice(at..end, put);
            }
            Self::Splice(head, tail) => {
                input.body.truncate(head.index(input.body.len() + 1));
                input.body.extend(&other.body[tail.index(other.body.len() + 1)..]);
            }
            Self::Field(at, change) => match serde_json::from_slice(&input.body) {
                Ok(value) => input.body = in_json(value, at, change).into_bytes(),
                Err(_) => input.body = in_form(&input.body, at, &change),
            },
            Self::Rewrite(rewrite) => rewrite.apply(input),
            Self::Header(name, Some(value)) => input.headers.push((name, value)),
            Self::Header(name, None) => input.remove_header(&name),
            Self::MoveHeader(at, name) => {
                let Some((_, value)) = nth_header(input, at).cloned() else { return };
                let bearer = if name == "Authorization" { "Bearer " } else { "" };
                input.set_header(&name, &format!("{bearer}{value}"));
            }
            Self::HeaderText(header, at, text) => {
                let Some((_, value)) = nth_header(input, header) else { return };
                let at = value.floor_char_boundary(at.index(value.len() + 1));
                value.replace_range(at.., &text);
            }
            Self::Query(name, value) => {
                let is_secret =
                    |(name, _): &&(String, String)| name.to_lowercase().ends_with("secret");
                let secret = input.headers.iter().find(is_secret).map(|(_, value)| value.clone());
                let value = value.or(secret).unwrap_or_default();
                let mark = if input.query().is_empty() { "" } else { "&" };
                input.set_query(&format!("{}{mark}{name}={value}", input.query()));
            }
            Self::QueryText(at, text) => {
                let mut query = input.query().to_owned();
                query.insert_str(query.floor_char_boundary(at.index(query.len() + 1)), &text);
                input.set_query(&query);
            }
            Self::Method(method) => input.method = method,
            Self::Path(path) => {
                let query = input.query().to_owned();
                input.target = path;
                input.set_query(&query);
            }
            Self::Sender(sender) => input.sender = sender,
            Self::Delay(delay) => input.delay = delay,
        }
    }
}

fn nth_header(input: &mut Input, at: Index) -> Option<&mut (String, String)> {
    let count = input.headers.len();
    (count > 0).then(|| &mut input.headers[at.index(count)])
}

impl Rewrite {
    fn apply(self, input: &mut Input) {
        let json: Option<Value> = serde_json::from_slice(&input.body).ok();
        match (self, json) {
            (Self::Format(says_so), Some(Value::Object(fields))) => {
                let text =
                    |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let mut form = form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(fields.iter().map(|(name, value)| (name, text(value))));
                input.body = form.finish().into_bytes();
                if says_so {
                    input.set_header("Content-Type", "application/x-www-form-urlencoded");
                }
            }
            (Self::Format(says_so), None) => {
                let fields = form_urlencoded::parse(&input.body).into_owned();
                let fields = fields.map(|(name, value)| (name, Value::String(value)));
                input.body = Value::Object(fields.collect()).to_string().into_bytes();
                if says_so {
                    input.set_header("Content-Type", "application/json");
                }
            }
            (Self::Copies(copies), Some(value)) => {
                input.body = Value::Array(vec![value; copies]).to_string().into_bytes();
            }
            (Self::Query, _) if input.body.len() < 2_000 => {
                let text = String::from_utf8_lossy(&input.body).into_owned();
                input.set_query(&text);
                input.body.clear();
                input.method = "GET".to_owned();
            }
            _ => input.body.clear(),
        }
    }
}

fn in_json(mut value: Value, at: Index, change: Change) -> String {
    let mut n = at.index(count(&value));
    let Some(node) = nth(&mut value, &mut n) else { return value.to_string() };
    let mut raw = None;
    match (change, node) {
        (Change::Value(new), node) => *node = new,
        (Change::Raw(token), node) => {
            raw = Some(token);
            *node = Value::String(RAW.to_owned());
        }
        (Change::Add(name, token), Value::Object(fields)) => {
            fields.insert(name, Value::String(token));
        }
        (change @ (Change::Rename(_) | Change::Remove), Value::Object(fields)) => {
            let name = fields.keys().nth(at.index(fields.len().max(1))).cloned();
            let value = name.and_then(|name| fields.remove(&name));
            if let (Change::Rename(name), Some(value)) = (change, value) {
                fields.insert(name, value);
            }
        }
        (Change::Remove, Value::Array(items)) => drop(items.pop()),
        (Change::Wrap(Some(name)), node) => *node = json!({ name: node.take() }),
        (Change::Wrap(None), node) => *node = json!([node.clone(), node.take()]),
        (_, node) => *node = Value::String(node.to_string()),
    }
    let text = value.to_string();
    match raw {
        Some(token) => text.replacen(&Value::String(RAW.to_owned()).to_string(), &token, 1),
        None => text,
    }
}

fn in_form(body: &[u8], at: Index, change: &Change) -> Vec<u8> {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let mut pairs: Vec<Vec<u8>> = body.split(|b| *b == b'&').map(<[u8]>::to_vec).collect();
    let at = at.index(pairs.len());
    let pair = String::from_utf8_lossy(&pairs[at]).into_owned();
    let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
    let changed = match change {
        Change::Value(Value::String(token)) => format!("{name}={}", encode(token)),
        Change::Value(other) => format!("{name}={other}"),
        Change::Raw(token) => format!("{name}={token}"),
        Change::Rename(other) => format!("{}={value}", encode(other)),
        Change::Add(other, token) => format!("{pair}&{}={token}", encode(other)),
        Change::Wrap(_) => format!("{pair}&{pair}"),
        Change::Remove => {
            pairs.remove(at);
            return pairs.join(&b'&');
        }
    };
    pairs[at] = changed.into_bytes();
    pairs.join(&b'&')
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
