//! HTTP servers on the loopback: a CRM that answers from a script, and an ElevenLabs stand-in.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::effects::Effects;

/// The time that everybody goes by.
#[derive(Clone)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    pub fn at(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.as_millisecond())))
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }

    pub fn set(&self, to: Timestamp) {
        self.0.store(to.as_millisecond(), Ordering::SeqCst);
    }

    pub fn pass(&self, time: SignedDuration) {
        self.set(self.now().checked_add(time).unwrap());
    }
}

/// A request as a server got it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Virtual time.
    pub at: Timestamp,
    /// Real time.
    pub when: Instant,
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What a server answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16, Vec<(&'static str, String)>, String),
    /// Less than it says it is.
    Cut(u16, String),
    /// Nothing, ever.
    Hang,
    /// Nothing, and the connection is closed.
    Close,
    /// These bytes, head and body.
    Bytes(Vec<u8>),
}

pub fn status(status: u16) -> Answer {
    Answer::Status(status, Vec::new(), String::new())
}

pub fn with(code: u16, header: &'static str, value: impl Into<String>) -> Answer {
    Answer::Status(code, vec![(header, value.into())], String::new())
}

/// Serves for as long as the test runs; gives the base of its address.
pub async fn serve<F, W>(clock: Clock, handler: F) -> String
where
    F: Fn(Received) -> W + Clone + Send + 'static,
    W: Future<Output = Answer> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (handler, clock) = (handler.clone(), clock.clone());
            tokio::spawn(async move {
                let Some(received) = read(&mut stream, &clock).await else { return };
                let text: Vec<u8> = match handler(received).await {
                    Answer::Bytes(bytes) => bytes,
                    Answer::Close => return,
                    Answer::Hang => std::future::pending().await,
                    Answer::Cut(status, body) => format!(
                        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len() + 100,
                    )
                    .into_bytes(),
                    Answer::Status(status, headers, body) => {
                        let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
                        for (name, value) in headers {
                            text.push_str(&format!("{name}: {value}\r\n"));
                        }
                        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
                        text.into_bytes()
                    }
                };
                let _ = stream.write_all(&text).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    base
}

async fn read(stream: &mut TcpStream, clock: &Clock) -> Option<Received> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).ok()?;
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = bytes[head + 4..].to_vec();
    Some(Received { at: clock.now(), when: Instant::now(), method, target, headers, body })
}

#[derive(Default)]
struct CrmState {
    received: Vec<Received>,
    script: VecDeque<Answer>,
    always: Option<Answer>,
}

/// A CRM. Taking a request is an effect.
#[derive(Clone)]
pub struct Crm {
    base: String,
    state: Arc<Mutex<CrmState>>,
}

impl Crm {
    pub async fn start(clock: &Clock, effects: &Effects) -> Self {
        let state: Arc<Mutex<CrmState>> = Arc::default();
        let (inner, effects) = (state.clone(), effects.clone());
        let base = serve(clock.clone(), move |received| {
            let (state, effects) = (inner.clone(), effects.clone());
            async move {
                let take = async {
                    let mut state = state.lock().unwrap();
                    state.received.push(received);
                    let usual = state.always.clone().unwrap_or_else(|| status(200));
                    Ok(state.script.pop_front().unwrap_or(usual))
                };
                effects.act("crm", take, |_| Err(())).await.unwrap_or(Answer::Close)
            }
        })
        .await;
        Self { base, state }
    }

    /// Where calls are posted to.
    pub fn url(&self) -> String {
        format!("{}/calls", self.base)
    }

    /// What it answers next, one after the other; then it takes everything.
    pub fn answers(&self, script: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().script.extend(script);
    }

    /// What it answers from now on.
    pub fn always(&self, answer: Answer) {
        self.state.lock().unwrap().always = Some(answer);
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// What it holds, if it de-duplicates by key: the key and the first body of each entry.
    /// Everything that must hold of any request is checked on the way.
    pub fn entries(&self) -> BTreeMap<String, Vec<u8>> {
        let mut entries = BTreeMap::new();
        for request in self.received() {
            let key = request.header("idempotency-key").to_owned();
            assert!(key.starts_with("msg_") && key == request.header("webhook-id"), "{key}");
            assert!(request.header("webhook-signature").starts_with("v1,"));
            assert_eq!(request.header("webhook-timestamp"), request.at.as_second().to_string());
            assert_eq!(request.header("x-correlation-id").len(), 32);
            assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/calls"));
            let first = entries.entry(key).or_insert_with(|| request.body.clone());
            assert_eq!(*first, request.body, "one key, two bodies");
        }
        entries
    }
}

/// What a CRM can recognise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An idempotency key.
    Key,
    /// An id of ours under which an entry is put.
    Upsert,
    /// An id of ours by which an entry is found.
    Search,
    /// Nothing.
    None,
}

/// A CRM that files calls as its kind does. Filing one is an effect.
#[derive(Clone)]
pub struct Filing {
    base: String,
    filed: Arc<Mutex<Vec<String>>>,
}

impl Filing {
    pub async fn start(kind: Kind, clock: &Clock, effects: &Effects) -> Self {
        let filed: Arc<Mutex<Vec<String>>> = Arc::default();
        let (inner, effects) = (filed.clone(), effects.clone());
        let base = serve(clock.clone(), move |received| {
            let (filed, effects) = (inner.clone(), effects.clone());
            async move {
                let (method, target) = (received.method.as_str(), received.target.clone());
                let key = received.header("idempotency-key").to_owned();
                if method == "GET" {
                    let id = target.strip_prefix("/calls?id=").unwrap_or_default();
                    let found = filed.lock().unwrap().iter().any(|filed| filed == id);
                    let body = if found { r#"["1"]"# } else { "[]" };
                    return Answer::Status(200, Vec::new(), body.into());
                }
                let id = target.strip_prefix("/calls/").unwrap_or(&key).to_owned();
                let file = async {
                    let mut filed = filed.lock().unwrap();
                    let is_known = filed.contains(&id);
                    match (kind, method) {
                        (Kind::Key, "POST") | (Kind::Upsert, "PUT") if is_known => {}
                        (Kind::Upsert, "POST") => return Ok(status(405)),
                        _ => filed.push(id),
                    }
                    Ok(status(200))
                };
                effects.act("crm", file, |_| Err(())).await.unwrap_or(Answer::Close)
            }
        })
        .await;
        Self { base, filed }
    }

    pub fn url(&self) -> String {
        format!("{}/calls", self.base)
    }

    /// How many entries it has.
    pub fn entries(&self) -> usize {
        self.filed.lock().unwrap().len()
    }
}

/// A conversation that the stand-in knows.
#[derive(Clone, Debug)]
pub struct Talk {
    pub id: &'static str,
    /// The call that it was held on. `None`: not known yet.
    pub call_sid: Option<&'static str>,
    /// When it is `done` (or whatever `end` says); before, it is `processing`.
    pub ready_at: Timestamp,
    pub end: &'static str,
    pub summary: &'static str,
}

impl Talk {
    /// A conversation on a call, which is done by then.
    pub fn on(call_sid: &'static str, ready_at: Timestamp) -> Self {
        let (id, summary) = ("conv_1", "A fake summary.");
        Self { id, call_sid: Some(call_sid), ready_at, end: "done", summary }
    }
}

/// 2026-02-20T09:00:09Z: within the minutes of every call of these tests.
const TALK_START: i64 = 1_771_578_009;

#[derive(Default)]
struct ElevenLabsState {
    received: Vec<Received>,
    talks: Vec<Talk>,
    trouble: VecDeque<Answer>,
}

/// The stand-in for ElevenLabs.
#[derive(Clone)]
pub struct ElevenLabs {
    pub base: String,
    state: Arc<Mutex<ElevenLabsState>>,
}

impl ElevenLabs {
    pub async fn start(clock: &Clock) -> Self {
        let state: Arc<Mutex<ElevenLabsState>> = Arc::default();
        let inner = state.clone();
        let base = serve(clock.clone(), move |received| {
            let state = inner.clone();
            async move {
                let mut state = state.lock().unwrap();
                let (at, target) = (received.at, received.target.clone());
                let known = received.header("xi-api-key") == "fake-elevenlabs-api-key";
                state.received.push(received);
                if let Some(trouble) = state.trouble.pop_front() {
                    return trouble;
                }
                if !known {
                    return status(401);
                }
                match answer(&state.talks, &target, at) {
                    Some(body) => Answer::Status(200, Vec::new(), body.to_string()),
                    None => status(404),
                }
            }
        })
        .await;
        Self { base, state }
    }

    /// Adds a conversation.
    pub fn holds(&self, talk: Talk) {
        self.state.lock().unwrap().talks.push(talk);
    }

    /// What it answers next instead of what it was asked for.
    pub fn troubles(&self, script: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().trouble.extend(script);
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }
}

fn answer(talks: &[Talk], target: &str, at: Timestamp) -> Option<Value> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let rest = path.strip_prefix("/v1/convai/conversations")?;
    if let Some(id) = rest.strip_prefix('/') {
        return Some(conversation(talks.iter().find(|talk| talk.id == id)?, at));
    }
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let bound = |name: &str| query[name].parse::<i64>().unwrap();
    let inside = (bound("call_start_after_unix")..=bound("call_start_before_unix"))
        .contains(&TALK_START)
        && query.get("agent_id").is_none_or(|agent| agent == "agent_sample");
    // Two to a page, whatever was asked for.
    let from = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let page: Vec<Value> = talks
        .iter()
        .skip(from)
        .take(2)
        .filter(|_| inside)
        .map(|talk| json!({"conversation_id": talk.id, "status": progress(talk, at)}))
        .collect();
    let more = inside && from + 2 < talks.len();
    Some(json!({
        "conversations": page,
        "has_more": more,
        "next_cursor": more.then(|| (from + 2).to_string()),
    }))
}

fn progress(talk: &Talk, at: Timestamp) -> &'static str {
    if at >= talk.ready_at { talk.end } else { "processing" }
}

fn conversation(talk: &Talk, at: Timestamp) -> Value {
    let ready = at >= talk.ready_at;
    let done = ready && talk.end == "done";
    json!({
        "agent_id": "agent_sample",
        "conversation_id": talk.id,
        "status": progress(talk, at),
        "transcript": [{"role": "agent", "message": "Fake-Transcript-Line."}],
        "metadata": {
            "start_time_unix_secs": TALK_START,
            "call_duration_secs": 60,
            "phone_call": talk.call_sid.map(|sid| json!({"type": "twilio", "call_sid": sid})),
        },
        "analysis": done.then(|| json!({"transcript_summary": talk.summary})),
    })
}
