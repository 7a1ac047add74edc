//! A stand-in for Smartflo's and Twilio's REST interfaces that counts who was dialled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How an order is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It dials and says so.
    Yes,
    /// It dials, and closes the connection.
    DialsAndCloses,
    /// It dials, and answers this.
    DialsAndAnswers(u16, &'static str),
    /// It does not dial, and answers this.
    Answers(u16, &'static str),
}

#[derive(Default)]
struct Seen {
    script: VecDeque<How>,
    asked: Vec<String>,
    dialled: Vec<String>,
    ended: Vec<String>,
    logins: usize,
    live: String,
}

/// The stand-in.
#[derive(Clone)]
pub struct Provider {
    pub base: String,
    seen: Arc<Mutex<Seen>>,
}

impl Provider {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self { base, seen: Arc::default() };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        provider
    }

    /// How the next orders are answered; after them, with yes.
    pub fn will(&self, script: impl IntoIterator<Item = How>) {
        self.seen.lock().unwrap().script.extend(script);
    }

    /// The calls that it shows as going on.
    pub fn shows(&self, live: &serde_json::Value) {
        self.seen.lock().unwrap().live = live.to_string();
    }

    /// Every token that was given out opens no more.
    pub fn forgets_tokens(&self) {
        self.seen.lock().unwrap().logins += 100;
    }

    pub fn dialled(&self) -> Vec<String> {
        self.seen.lock().unwrap().dialled.clone()
    }

    pub fn ended(&self) -> Vec<String> {
        self.seen.lock().unwrap().ended.clone()
    }

    pub fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().asked.clone()
    }

    async fn serve(self, mut stream: TcpStream) {
        let Some((head, body)) = read(&mut stream).await else { return };
        let Some((status, answer)) = self.answer(&head, &body) else { return };
        let length = answer.len();
        let text = format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{answer}"
        );
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    fn answer(&self, head: &str, body: &str) -> Option<(u16, String)> {
        let mut seen = self.seen.lock().unwrap();
        let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
        seen.asked.push(line.clone());
        if line == "POST /v1/auth/login" {
            seen.logins += 1;
            let login = json!({"access_token": format!("fake-{}", seen.logins)});
            return Some((200, login.to_string()));
        }
        let lower = head.to_lowercase();
        let tokens = [
            format!("authorization: bearer fake-{}\r\n", seen.logins),
            "authorization: bearer fake-static\r\n".to_owned(),
            // Base64 of ACfake:fake-auth-token, in lower case.
            "authorization: basic qunmywtlomzha2utyxv0ac10b2tlbg==\r\n".to_owned(),
        ];
        if !tokens.iter().any(|token| lower.contains(token)) {
            return Some((401, r#"{"success": false, "code": 20003}"#.to_owned()));
        }
        if line.starts_with("GET ") {
            return Some((200, seen.live.clone()));
        }
        if line.ends_with("/hangup") || !line.ends_with("/Calls.json") && line.contains("/Calls/") {
            seen.ended.push(format!("{line} {body}"));
            return Some((200, r#"{"success": true}"#.to_owned()));
        }
        let how = seen.script.pop_front().unwrap_or(How::Yes);
        if !matches!(how, How::Answers(..)) {
            seen.dialled.push(body.to_owned());
        }
        let number = seen.dialled.len();
        match how {
            How::Yes => {
                let yes = json!({"success": true, "ref_id": format!("R{number}"), "sid": format!("CA{number}")});
                Some((200, yes.to_string()))
            }
            How::DialsAndCloses => None,
            How::DialsAndAnswers(status, body) | How::Answers(status, body) => {
                Some((status, body.to_owned()))
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned)
            });
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some((format!("{head}\r\n"), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
