use serde_json::{Value, json};
use switchboard_domain::{Facts, Name, Text};

use crate::testing::{request, sources};
use crate::{ALL, Authenticated, Content, Provider, Reject};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A message of each provider, and how the name in it is kept.
fn message(provider: &dyn Provider, name: &str) -> Value {
    let phone = "+61491570156";
    match provider.name() {
        "intake" => json!({
            "provider": "pbx", "externalCallId": "1", "clientPhone": phone, "clientName": name,
        }),
        "asterisk" => json!({
            "uniqueid": "1.1", "src": phone, "dst": "101", "channel": "PJSIP/trunk-1",
            "dstchannel": "PJSIP/101-2", "clid": format!("\"{name}\" <{phone}>"),
        }),
        "onecom" => json!({
            "uniqueid": "1.1", "src": phone, "dst": "101", "direction": "inbound",
            "clid": format!("\"{name}\" <{phone}>"),
        }),
        "fmc" => json!({"call_id": "1", "client_number": phone, "client_name": name}),
        "smartflo" => json!({
            "uuid": "1", "caller_id_number": phone, "answered_agent_name": name,
        }),
        "threecx" => json!({
            "startTime": "2026-02-20T09:00:00Z", "number": phone, "agent": "101",
            "callType": "Inbound", "name": name,
        }),
        "twilio" => json!({
            "CallSid": "CA1", "From": phone, "Direction": "inbound", "CallerName": name,
        }),
        "elevenlabs" => json!({
            "type": "post_call_transcription",
            "data": {
                "conversation_id": "conv_1", "transcript": [{"role": "agent", "message": "hello"}],
                "conversation_initiation_client_data": {"dynamic_variables": {"name": name}},
            },
        }),
        other => panic!("{other} has no message here"),
    }
}

fn facts(provider: &dyn Provider, media: &str, body: &[u8]) -> Result<Facts, Reject> {
    let name = Name::new("source", provider.name()).unwrap();
    let sources =
        sources(provider, &[name.as_str()], json!({"public_url": "https://calls.example.com"}));
    let request = request(provider.routes()[0].1, media, body);
    match provider.parse(&Authenticated::kept(provider, &request, &sources, &name))? {
        Content::Calls(mut records) => {
            records.remove(0).map(|record| record.update.facts).map_err(|unread| unread.why)
        }
        Content::Other(answer) => panic!("{answer}"),
    }
}

/// The fields of a message as PHP names them.
fn pairs(value: &Value, name: &str, into: &mut Vec<(String, String)>) {
    let mut each = |part: &str, value| {
        let name = if name.is_empty() { part.to_owned() } else { format!("{name}[{part}]") };
        pairs(value, &name, into);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(part, value)| each(part, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| each(&n.to_string(), value));
        }
        Value::String(text) => into.push((name.to_owned(), text.clone())),
        other => into.push((name.to_owned(), other.to_string())),
    }
}

fn encoded(pairs: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn multipart(pairs: &[(String, String)]) -> String {
    let part = |(name, value): &(String, String)| {
        format!("--b1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    pairs.iter().map(part).collect::<String>() + "--b1--\r\n"
}

#[test]
fn the_body_says_what_it_is_at_every_hook() {
    for provider in ALL {
        let sent = message(*provider, "Kim Example");
        let text = sent.to_string();
        let expected = facts(*provider, JSON, text.as_bytes()).unwrap();
        let (mut flat, mut nested) = (Vec::new(), Vec::new());
        pairs(&sent, "", &mut flat);
        pairs(&sent, "call", &mut nested);
        let field = vec![("data".to_owned(), text.clone())];
        let beside = [field.clone(), vec![("secret".to_owned(), "fake".to_owned())]].concat();
        let parts = "multipart/form-data; boundary=b1";
        for (what, media, body) in [
            ("a byte order mark", JSON, format!("\u{feff}{text}")),
            ("JSON as a form", FORM, text.clone()),
            ("JSON as multipart", parts, text.clone()),
            ("JSON as text", "text/plain", text.clone()),
            ("JSON in JSON", JSON, Value::String(text.clone()).to_string()),
            ("JSON encoded", FORM, encoded(&[(text.clone(), String::new())])),
            ("a form", FORM, encoded(&flat)),
            ("a form as JSON", JSON, encoded(&flat)),
            ("multipart", parts, multipart(&flat)),
            ("multipart as JSON", JSON, multipart(&flat)),
            ("multipart, \\n", parts, multipart(&flat).replace("\r\n", "\n")),
            ("JSON in a field", FORM, encoded(&field)),
            ("JSON in a field as it is", "", format!("data={text}")),
            ("JSON in a field beside a secret", FORM, encoded(&beside)),
            ("JSON in a part", parts, multipart(&field)),
            ("PHP's array", FORM, encoded(&nested)),
            ("PHP's array in parts", parts, multipart(&nested)),
        ] {
            let mut read = facts(*provider, media, body.as_bytes());
            let _ = read.as_mut().map(|facts| facts.extra.remove("secret"));
            assert_eq!(read.as_ref(), Ok(&expected), "{}: {what}", provider.name());
        }
    }
}

#[test]
fn a_list_of_records_comes_in_a_form_too() {
    let provider = crate::provider("intake").unwrap();
    let record = message(provider, "Kim");
    let expected = facts(provider, JSON, record.to_string().as_bytes()).unwrap();
    let list = json!([record.clone(), record]);
    let (mut bare, mut named) = (Vec::new(), Vec::new());
    pairs(&list, "", &mut bare);
    pairs(&list, "calls", &mut named);
    let bodies = [encoded(&bare), encoded(&named), format!("calls={list}"), multipart(&named)];
    for body in bodies {
        assert_eq!(facts(provider, FORM, body.as_bytes()).as_ref(), Ok(&expected), "{body}");
    }
}

#[test]
fn one_character_keeps_no_body_out() {
    let provider = crate::provider("intake").unwrap();
    let with = |text: &[u8]| {
        let head = br#"{"provider":"pbx","externalCallId":"1","transcriptRaw":""#;
        [head, text, br#""}"#].concat()
    };
    for (text, read) in [
        (&b"one\ntwo"[..], "one\ntwo"),
        (b"one\r\ntwo\tthree", "one\r\ntwo\tthree"),
        (b"a\x00b\x1fc", "a\u{0}b\u{1f}c"),
        (br"cut \ud83d", "cut \u{fffd}"),
        (br"\ude00 first", "\u{fffd} first"),
        (br"\ud83d\ud83d\ude00 \u00e9", "\u{fffd}\u{1f600} \u{e9}"),
        (br"\ud83d\u0041", "\u{fffd}A"),
        (b"caf\xe9", "caf\u{fffd}"),
        (br"C:\calls\x", "C:\\calls\\x"),
        (br#"\"quoted\" \\ud83d"#, "\"quoted\" \\ud83d"),
    ] {
        let facts = facts(provider, JSON, &with(text)).unwrap();
        let Some(Text::Inline(transcript)) = facts.transcript else { panic!("{read}") };
        assert_eq!(transcript.expose(), read);
    }
    let blanks = "{\u{a0}\"provider\":\"pbx\",\u{200b}\n\"externalCallId\":\"1\"}\u{0}\u{0}";
    assert!(facts(provider, JSON, blanks.as_bytes()).is_ok());
}

#[test]
fn what_is_not_json_says_why() {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let body = r#"{"provider":"pbx"}"#;
    for (body, why) in [
        (br#"{"a":NaN}"#.to_vec(), "NaN"),
        (br#"{"a":nan,"b":1}"#.to_vec(), "NaN"),
        (br#"{"a":-Infinity}"#.to_vec(), "Infinity"),
        (br#"{"a":undefined}"#.to_vec(), "undefined"),
        (br#"{"a":None}"#.to_vec(), "None"),
        (br#"{"a":1,}"#.to_vec(), "comma"),
        (b"[{\"a\":\"one\ntwo\"},\n]".to_vec(), "comma"),
        (b"{'a':1}".to_vec(), "has '"),
        (wide(body), "UTF-16"),
        (wide(&format!("\u{feff}{body}")), "UTF-16"),
        (b"data={\"a\":1,}".to_vec(), "comma"),
        (b"--b1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n".to_vec(), "boundary"),
    ] {
        for provider in ALL {
            let reject = facts(*provider, "", &body).unwrap_err();
            assert_eq!(reject.status(), 400);
            assert!(reject.to_string().contains(why), "{}: {reject}, not {why}", provider.name());
        }
    }
}

#[test]
fn names_are_one_line_at_every_hook() {
    for provider in ALL {
        for (name, kept) in [
            ("Ann\tBell", "Ann Bell"),
            ("Ann\nBell", "Ann Bell"),
            ("Ann \r\n Bell", "Ann Bell"),
            ("An\u{7f}n Bell", "Ann Bell"),
            ("Ann\u{85}Bell\u{9f}", "Ann Bell"),
            ("A\u{0}nn\u{2028}Bell", "Ann Bell"),
        ] {
            let body = message(*provider, name).to_string();
            let facts = facts(*provider, JSON, body.as_bytes()).unwrap();
            let of_agent = facts.extra.get("agent_name");
            let read = facts.contact_name.as_ref().or(of_agent).map(|name| name.expose());
            assert_eq!(read, Some(kept), "{}: {name:?}", provider.name());
        }
        let body = message(*provider, &"n".repeat(2_040)).to_string();
        let facts = facts(*provider, JSON, body.as_bytes()).unwrap();
        let length = facts.contact_name.map_or(0, |name| name.expose().len());
        assert!(length <= 2_000, "{}: {length}", provider.name());
    }
}
