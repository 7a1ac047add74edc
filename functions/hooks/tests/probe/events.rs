//! Events as API Gateway may send them for odd requests. Each gets a response; none fails its invocation.

use serde_json::{Value, json};

/// What each changes in an event, by what is odd about it.
pub fn odd_events() -> Vec<(&'static str, Value)> {
    let query = |query: &str| json!({"rawQueryString": query});
    let path = |path: Value| json!({"rawPath": path});
    let header = |name: &str, value: &str| json!({"headers": {name: value}});
    let method = |method: &str| json!({"requestContext": {"http": {"method": method}}});
    vec![
        ("a raw space in the query", query("a=b c")),
        ("characters in the query that a URL escapes", query("a={|\"^<>}`\\")),
        ("a query over 64 KB", query(&format!("a={}", "x".repeat(70_000)))),
        ("a host that IDNA refuses", header("host", "xn--a.example")),
        ("a host that is none", header("host", "a b/?#@[")),
        ("a port above 65535", header("host", "api.example.com:70000")),
        ("a fragment in the path", path(json!("/calls#x"))),
        ("dots in the path", path(json!("/calls/../../etc"))),
        ("a path that is not UTF-8", path(json!("/calls/%ff"))),
        ("a raw space in the path", path(json!("/calls/a b"))),
        ("no path", path(Value::Null)),
        ("a header that is not ASCII", header("x-note", "caf\u{e9}")),
        ("a header with a line break", header("x-note", "a\r\nb")),
        ("a header without a name", header("", "a")),
        ("a method of its own", method("BREW")),
        ("a method that is none", method("G ET")),
        ("no context", json!({"requestContext": {}})),
        (
            "a body that is not the Base64 it is declared as",
            json!({"body": "x!", "isBase64Encoded": true}),
        ),
    ]
}

/// An event with such a change.
pub fn with(mut event: Value, change: &Value) -> Value {
    merge(&mut event, change);
    event
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) if !change.is_empty() => {
            for (name, value) in change {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}
