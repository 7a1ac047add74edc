//! What is fuzzed, and what must hold of each request that it is given.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;
use switchboard_domain::{Body, CallKey, Secret, Update, fold};
use switchboard_providers::{
    ALL, Authenticated, Content, Provider, Reject, Source, Sources, authenticate, cdr, elevenlabs,
    provider_at,
};

use crate::common;
use crate::input::Input;
use crate::leak::leaked;
use crate::oracle::{self, Known};

/// The statuses of the sender's faults.
const STATUSES: [u16; 4] = [400, 401, 403, 413];
/// What the texts of an update may take together, and each, without its bytes and its transcript,
/// which have blobs of their own: a call's item holds 400 KB. Bytes.
const MOST_TEXT: usize = 72 * 1024;
const LONGEST_TEXT: usize = 16 * 1024;

/// One parser or authenticator.
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: String,
    /// What it begins with.
    pub samples: Vec<Input>,
    what: What,
}

enum What {
    Provider(Box<Webhook>),
    Conversation,
    Page,
    Source,
    Words,
}

/// A provider with its sources, as its samples have them.
struct Webhook {
    provider: &'static dyn Provider,
    /// As configured, and the same sources with networks: asked when a sender is given.
    open: Sources,
    fenced: Sources,
    /// Sources whose secrets are almost the right ones.
    wrong: Sources,
    known: Known,
}

/// What must hold of a request, and does not.
pub type Fault = String;

impl Target {
    /// Everything that reads what senders send.
    pub fn all() -> Vec<Self> {
        let folder = common::events().join("elevenlabs/conversations");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        let bodies = files.iter().map(|file| common::read(file).into_bytes());
        let page = br#"{"conversations":[{"conversation_id":"conv_1","status":"done"}],"has_more":true,"next_cursor":"a"}"#;
        let words =
            ["00:04:32", "\"Ann\" <101>", "2026-04-09 12:54:21", "NO ANSWER", "1775719461.3"];
        let configured = ALL.iter().flat_map(|provider| common::files(*provider, ".json"));
        let configured = configured.filter(|file| file.to_str().unwrap().contains("/source."));
        let plain = |name: &str, what, bodies: Vec<Vec<u8>>| Self {
            name: name.to_owned(),
            samples: bodies.into_iter().map(Input::of_body).collect(),
            what,
        };
        let mut targets: Vec<Self> = ALL.iter().map(|provider| Self::webhook(*provider)).collect();
        targets.push(plain("conversation", What::Conversation, bodies.collect()));
        targets.push(plain("page", What::Page, vec![page.to_vec()]));
        let configured = configured.map(|file| common::read(&file).into_bytes()).collect();
        targets.push(plain("source", What::Source, configured));
        targets.push(plain("words", What::Words, words.map(|w| w.as_bytes().to_vec()).to_vec()));
        targets
    }

    fn webhook(provider: &'static dyn Provider) -> Self {
        let files = common::files(provider, ".http");
        let samples: Vec<Input> =
            files.iter().flat_map(|file| Input::of_sample(&common::read(file))).collect();
        let open = common::sources(provider);
        let mut fenced = open.clone();
        let mut wrong = open.clone();
        for source in fenced.values_mut() {
            source.allowed_networks = vec!["203.0.113.0/24".parse().unwrap()];
            if !provider.is_signed() {
                source.trusted_networks = vec!["198.51.100.0/24".parse().unwrap()];
            }
        }
        for source in wrong.values_mut() {
            source.secrets = source
                .secrets
                .iter()
                .flat_map(|right| {
                    let text = right.secret.expose();
                    let last = text.char_indices().last().map_or(0, |(at, _)| at);
                    let near =
                        [format!("{text}x"), text[..last].to_owned(), text.to_ascii_uppercase()];
                    near.map(|near| {
                        let mut wrong = right.clone();
                        wrong.secret = Secret::new(near);
                        wrong
                    })
                })
                .collect();
        }
        let mut known = Known::default();
        for sample in &samples {
            let sent = authenticate(provider, &sample.request(), &open).is_ok();
            let again = oracle::grant(provider, sample, &open);
            for input in again.iter().chain(sent.then_some(sample)).filter(|_| provider.is_signed())
            {
                open.values().for_each(|source| known.add(provider, input, source));
            }
        }
        let webhook = Webhook { provider, open, fenced, wrong, known };
        Self { name: provider.name().to_owned(), samples, what: What::Provider(Box::new(webhook)) }
    }

    /// Whether only the body matters.
    pub fn is_body_only(&self) -> bool {
        !matches!(self.what, What::Provider(_))
    }

    /// The paths of its webhook.
    pub fn paths(&self) -> Vec<String> {
        let What::Provider(webhook) = &self.what else { return Vec::new() };
        webhook.provider.routes().iter().map(|(_, path)| (*path).to_owned()).collect()
    }

    /// Whether it lets a request in as it is.
    pub fn lets_in(&self, input: &Input) -> bool {
        let What::Provider(webhook) = &self.what else { return false };
        authenticate(webhook.provider, &input.request(), &webhook.open).is_ok()
    }

    /// Gives it a request. `Err` is what does not hold.
    pub fn run(&self, input: &Input) -> Result<(), Fault> {
        let run = || match &self.what {
            What::Provider(webhook) => webhook.run(input),
            What::Conversation => conversation(input),
            What::Page => page(input),
            What::Source => source(input),
            What::Words => {
                words(input);
                Ok(())
            }
        };
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            Err(format!("it panics: {text}"))
        })
    }
}

impl Webhook {
    fn run(&self, input: &Input) -> Result<(), Fault> {
        let provider = self.provider;
        let request = input.request();
        let _ = provider_at(&request.path);
        let _ = provider.public(&request);

        // A request that carries one of the wrong secrets by chance may be let in by it.
        let by_chance = oracle::may_open(provider, input, &self.wrong, &Known::default());
        if authenticate(provider, &request, &self.wrong).is_ok() && !by_chance {
            return Err("a secret that is almost right opens it".into());
        }
        let sources = if input.sender.is_some() { &self.fenced } else { &self.open };
        match authenticate(provider, &request, sources) {
            Ok(message) => {
                if !oracle::may_open(provider, input, sources, &self.known) {
                    return Err("it is let in, with nothing that opens it".into());
                }
                self.parse(input, &message)?;
            }
            Err(why) => {
                rejected(&why, input)?;
                // As if the provider had sent this itself.
                let Some(granted) = oracle::grant(provider, input, sources) else {
                    return Ok(());
                };
                let request = granted.request();
                match authenticate(provider, &request, sources) {
                    Ok(message) => self.parse(&granted, &message)?,
                    Err(why) => return Err(format!("the right secret is refused: {why:?}")),
                }
            }
        }
        Ok(())
    }

    fn parse(&self, input: &Input, message: &Authenticated<'_>) -> Result<(), Fault> {
        let parsed = self.provider.parse(message);
        if parsed != self.provider.parse(message) {
            return Err("read twice, it says two things".into());
        }
        let records = match parsed {
            Err(why) => return rejected(&why, input),
            Ok(Content::Other(_)) => {
                return Ok(());
            }
            Ok(Content::Calls(records)) => records,
        };
        let mut calls: BTreeMap<CallKey, Vec<Update>> = BTreeMap::new();
        for record in records {
            match record {
                Err(unread) => {
                    rejected(&unread.why, input)?;
                    self.keeps_no_secret("", &unread.raw)?;
                }
                Ok(record) => {
                    for key in std::iter::once(&record.key).chain(&record.near) {
                        if key.to_string().parse().as_ref() != Ok(key) {
                            return Err("a key does not survive being written".into());
                        }
                    }
                    if record.near.len() > 256 {
                        return Err(format!("it may be under {} other keys", record.near.len()));
                    }
                    let Body::Inline(raw) = &record.update.raw else {
                        return Err("an update whose bytes are elsewhere".into());
                    };
                    self.keeps_no_secret(record.update.target.expose(), raw)?;
                    update(&record.update)?;
                    calls.entry(record.key).or_default().push(record.update);
                }
            }
        }
        for updates in calls.values() {
            let call = fold(updates);
            let written =
                serde_json::to_string(&call).map_err(|e| format!("a call is not written: {e}"))?;
            if serde_json::from_str(&written).ok().as_ref() != Some(&call) {
                return Err("a call is not read as it was written".into());
            }
        }
        Ok(())
    }

    /// A secret that stands in the query, or in the field of the body that is read for it, is not
    /// kept with what is stored.
    fn keeps_no_secret(&self, target: &str, raw: &[u8]) -> Result<(), Fault> {
        if self.provider.is_signed() {
            return Ok(());
        }
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let query = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "secret");
        let mut kept: Vec<String> = query.map(|(_, secret)| secret.trim().to_owned()).collect();
        // Of a list a record that is only a text is kept as such, whatever it looks like.
        if self.provider.name() == "fmc" && !raw.starts_with(b"\"") {
            kept.extend(oracle::tokens(raw));
        }
        let mut secrets = self.open.values().flat_map(|source| &source.secrets);
        match secrets.any(|credential| kept.iter().any(|kept| kept == credential.secret.expose())) {
            true => Err("the secret is kept with what is stored".into()),
            false => Ok(()),
        }
    }
}

/// What must hold of a refusal.
fn rejected(why: &Reject, input: &Input) -> Result<(), Fault> {
    let text = why.to_string();
    if !STATUSES.contains(&why.status()) {
        return Err(format!("{} is no status of a sender's fault", why.status()));
    }
    if let Some(value) = leaked(&text, input) {
        return Err(format!("an error shows a value of {} characters: {text}", value.len()));
    }
    Ok(())
}

/// What must hold of an update.
fn update(update: &Update) -> Result<(), Fault> {
    let value = serde_json::to_value(update)
        .map_err(|error| format!("an update is not written: {error}"))?;
    let facts = value.get("facts").cloned().unwrap_or_default();
    let texts: Vec<(usize, usize)> = facts
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "transcript")
        .map(|(_, value)| size(value))
        .collect();
    let all: usize = texts.iter().map(|(all, _)| all).sum();
    let longest = texts.iter().map(|(_, longest)| *longest).max().unwrap_or_default();
    if all > MOST_TEXT || longest > LONGEST_TEXT || update.kind.len() > 256 {
        return Err(format!("an update has too much text: {all} bytes, {longest} in one"));
    }
    let read: Update =
        serde_json::from_value(value).map_err(|error| format!("an update is not read: {error}"))?;
    match read == *update {
        true => Ok(()),
        false => Err("an update is not read as it was written".into()),
    }
}

/// The bytes of all texts in a value, and of the longest.
fn size(value: &Value) -> (usize, usize) {
    let add = |(all, longest): (usize, usize), (this, one): (usize, usize)| {
        (all + this, longest.max(one))
    };
    match value {
        Value::String(text) => (text.len(), text.len()),
        Value::Array(items) => items.iter().map(size).fold((0, 0), add),
        Value::Object(fields) => {
            let names = fields.keys().map(|name| (name.len(), name.len()));
            names.chain(fields.values().map(size)).fold((0, 0), add)
        }
        _ => (8, 0),
    }
}

fn conversation(input: &Input) -> Result<(), Fault> {
    let read = elevenlabs::conversation(&input.body, input.received_at());
    if read != elevenlabs::conversation(&input.body, input.received_at()) {
        return Err("read twice, it says two things".into());
    }
    match read {
        Err(why) => rejected(&why, input),
        Ok(conversation) => {
            fold([&conversation.update]);
            update(&conversation.update)
        }
    }
}

fn page(input: &Input) -> Result<(), Fault> {
    match elevenlabs::page(&input.body) {
        Err(why) => rejected(&why, input),
        Ok(_) => Ok(()),
    }
}

/// The configuration is ours, but its errors are shown to operators, and a secret may be misplaced.
fn source(input: &Input) -> Result<(), Fault> {
    let text = String::from_utf8_lossy(&input.body);
    for provider in std::iter::once(None).chain(ALL.iter().map(|provider| Some(*provider))) {
        match Source::parse(&text, provider) {
            Ok(source) if source.secrets.iter().any(|one| one.secret.is_empty()) => {
                return Err("a source with an empty secret".into());
            }
            Ok(_) => {}
            Err(problem) => {
                let problem = problem.to_string();
                if let Some(value) = leaked(&problem, input) {
                    let length = value.len();
                    return Err(format!(
                        "an error shows a value of {length} characters: {problem}"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The readers that call detail records share.
fn words(input: &Input) {
    let text = String::from_utf8_lossy(&input.body);
    let zone = switchboard_domain::time::zone("Asia/Jerusalem");
    let _ = (cdr::disposition(&text), cdr::duration(&text), cdr::epoch(&text));
    let _ = cdr::caller_id(&text);
    for zone in [None, zone.as_ref()] {
        let Some(reading) = cdr::time(&text, zone) else { continue };
        for lasted in [0, 59, 86_400, u32::MAX].map(switchboard_domain::Seconds) {
            let (before, after) =
                (cdr::before(reading.at, lasted), switchboard_domain::later(reading.at, lasted));
            assert!(before <= reading.at && reading.at <= after);
        }
    }
}
