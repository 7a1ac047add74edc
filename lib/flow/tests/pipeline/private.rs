//! The canary: every sample through everything, and nothing personal or secret in any line.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::samples::{names, sample, text};
use crate::servers::{Answer, Talk, status};
use crate::world::{START, World, minutes, twilio_source};

/// What may be in no line: every text under these fields, anywhere.
const PRIVATE: [&str; 12] = [
    "raw",
    "e164",
    "contact_name",
    "summary",
    "transcript",
    "inline",
    "url",
    "path",
    "script_context",
    "secrets",
    "api_key",
    "signing_secrets",
];

fn canaries(value: &Value, inside: bool, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if inside && text.chars().count() >= 6 => {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| canaries(item, inside, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                canaries(value, inside || PRIVATE.contains(&name.as_str()), found);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn no_line_holds_anything_personal_or_secret_of_any_sample() {
    let mut world = World::new();
    let token = "fake-bearer-token-canary";
    let crm = world
        .crm(
            "crm",
            "canonical",
            json!({"auth": {"type": "bearer", "token": token}, "timeout_seconds": 1,
                "filter": {"events": ["call.completed", "call.updated"]}}),
        )
        .await;
    let flat = world.crm("flat", "conversation-ai", json!({})).await;
    // Errors have words, too.
    crm.answers([status(500), Answer::Close, status(422), Answer::Hang, status(301)]);
    let elevenlabs = world.elevenlabs().await;
    elevenlabs.troubles([status(401), status(500), Answer::Close]);
    let ready_at = START.parse().unwrap();
    for (id, call_sid, summary) in [
        ("conv_1", "CA00000000000000000000000000000001", "The fake customer asked for a price."),
        ("conv_sample_by_id", "CA0000000000000000000000000000000d", "A fake renewal was agreed."),
    ] {
        elevenlabs.holds(Talk { id, summary, ..Talk::on(call_sid, ready_at) });
    }
    let asterisk: Value =
        serde_json::from_str(&text("intake", "source.asterisk-main.json")).unwrap();
    world.configure("sources/intake/asterisk-main", asterisk);
    let conversations = json!({"conversations": {"source": "elevenlabs", "grace_seconds": 1}});
    world.configure("sources/twilio/twilio", twilio_source(conversations));

    let mut sent = 0;
    for provider in ["twilio", "intake"] {
        for name in names(provider) {
            for webhook in sample(provider, &name) {
                let reply = world.post(&webhook).await.unwrap();
                let expected = if name == "hole-in-the-template" { 400 } else { 200 };
                assert_eq!(reply.status, expected, "{name}: {}", reply.body);
                sent += 1;
                let wrong = webhook
                    .header("X-Twilio-Signature", Some("d3Jvbmc="))
                    .header("X-Crm-Intake-Secret", Some("fake-wrong-secret-canary"));
                assert_eq!(world.post(&wrong).await.unwrap().status, 403);
                world.pass(minutes(2)).await;
            }
        }
    }
    world.settle(minutes(60 * 24 * 10)).await;
    assert!(!world.owes().await);
    assert!(sent >= 20 && crm.entries().len() >= 15 && flat.entries().len() >= 15);

    let mut found = BTreeSet::new();
    for call in world.store.calls() {
        canaries(&serde_json::to_value(&call.call).unwrap(), false, &mut found);
        canaries(&serde_json::to_value(&call.people).unwrap(), false, &mut found);
    }
    for body in crm.entries().values().chain(flat.entries().values()) {
        let mut body: Value = serde_json::from_slice(body).unwrap();
        let data = body.get_mut("data").map(Value::take).unwrap_or(body);
        canaries(&json!({"summary": data["summary"], "raw": data["to"]}), false, &mut found);
    }
    let in_play = found.len();
    assert!(in_play >= 20, "{found:?}");
    let manual = [
        token,
        "fake-",
        "whsec_",
        "MfKQ9r8G",
        "+61491570156",
        "61255501234",
        "79991234567",
        "9991112233",
        "Иван",
        "Alex",
        "PAT EXAMPLE",
        "Spring",
        "price",
        "renewal",
        "Полный",
        "Скрипт",
        "Fake-Transcript",
        "pbx.example",
        "api.twilio.com",
        "/var/spool",
        "%2B61",
        "d3Jvbmc",
    ];
    found.extend(manual.map(str::to_owned));

    let lines = world.log.lines();
    assert!(lines.len() > 100);
    for line in &lines {
        for canary in &found {
            assert!(!line.contains(canary.as_str()), "{canary} in {line}");
        }
    }
    // The test can fail: the CRM got what the log must not hold.
    let received: String =
        crm.received().iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect();
    for canary in ["+61491570156", "Иван", "Полный", "pbx.example", "The fake customer asked"]
    {
        assert!(received.contains(canary), "{canary}");
    }
}
