//! Items as releases before this one stored them: each must be read, and written again under the
//! same names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use switchboard_domain::analysis::Analysis;
use switchboard_domain::dial_request::DialRequest;
use switchboard_domain::directory::{Activity, Contact, Employee};
use switchboard_domain::sync::{Gap, Job};
use switchboard_domain::{CallRecord, Delivery, Gate};

/// Reads an item and writes it again. Nothing may be lost, renamed or added.
fn survives<T: DeserializeOwned + Serialize>(item: &Value) {
    let read: T = serde_json::from_value(item.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&read).unwrap(), item);
}

fn digest(n: u8) -> String {
    format!("{n:032x}")
}

fn update() -> Value {
    json!({
        "digest": digest(1),
        "kind": "status",
        "order": { "at": "2026-02-20T09:00:00Z" },
        "received_at": "2026-02-20T09:00:01Z",
        "target": "/call-status-callback?source=main",
        "facts": {
            "state": "ended",
            "disposition": "answered",
            "answered_by": "human",
            "direction": "outbound",
            "from": { "kind": "e164", "raw": "+61491570156" },
            "to": { "kind": "number", "raw": "0491 570 157" },
            "recordings": { "RE1": {
                "url": "https://pbx.example/1", "path": "/var/1.wav", "duration": 49, "status": "completed",
            } },
            "flags": ["start_estimated"],
            "extra": { "ref_id": "r1" },
            "transcript": { "stored": { "digest": digest(2), "bytes": 9000 } },
            "talk": 49,
            "auto_analyze": true,
        },
        "raw": { "inline": [67, 97, 108, 108] },
    })
}

#[test]
fn a_call_is_read_and_written_under_the_same_names() {
    survives::<CallRecord>(&json!({
        "key": "twilio/main/CA1",
        "version": 4,
        "updates": { digest(1): update() },
        "call": {
            "outcome": "answered",
            "state": "ended",
            "contact": { "kind": "extension", "raw": "101" },
            "summary": "Kim wants an offer",
            "started_at": "2026-02-20T08:59:00Z",
            "parent": "CA0",
        },
        "owed": { "enrich": "2026-02-20T09:00:10Z", "announce": "2026-02-20T09:00:10Z",
            "analyze": "2026-02-20T09:00:10Z", "recordings": "2026-02-20T09:00:10Z" },
        "people": {
            "contact": { "kind": "e164", "e164": "+61491570157", "entry": "c1", "name": "Kim",
                "external_ids": ["L1"], "matched_by": "external_id" },
            "employee": { "kind": "extension", "unmatched": "own_number" },
        },
        "timelines": ["c1"],
        "lookup": { "state": "no_conversation", "attempts": 3, "since": "2026-02-20T09:00:02Z",
            "conversation": "conv_1" },
        "analysis": { "state": "waiting", "digest": digest(3), "tasks": 2, "reason": "timed out",
            "basis": digest(4), "since": "2026-02-20T09:00:02Z", "attempts": 1, "runs": 1,
            "tokens": { "input": 10, "output": 2 } },
        "copies": { "RE1": { "state": "copied", "of": digest(5), "link": "https://links.example/1",
            "failures": 1, "problem": "answered 404", "object": { "key": "recordings/1", "bytes": 3,
                "media_type": "audio/mpeg", "sha256": "ab", "at": "2026-02-20T09:01:00Z" } } },
        "deliveries": ["crm#call.completed", "crm#task.created"],
        "replayed_at": "2026-02-21T09:00:00Z",
    }));
    // Members that hold nothing are not written.
    survives::<CallRecord>(&json!({
        "key": "twilio/main/CA1", "version": 0, "updates": {}, "call": {}, "people": {},
    }));
}

#[test]
fn a_delivery_is_read_and_written_under_the_same_names() {
    survives::<Delivery>(&json!({
        "key": "twilio/main/CA1",
        "id": "crm#call.completed",
        "state": "pending",
        "due_at": "2026-02-20T09:00:10Z",
        "planned_at": "2026-02-20T09:00:00Z",
        "parked": "shut",
        "slot": "2026-02-20T09:00:10Z",
        "version": 3,
        "failures": 1,
        "attempts": [{ "at": "2026-02-20T09:00:05Z", "took_ms": 20, "status": 503,
            "result": "refused: 503" }],
        "frozen": { "news": digest(1), "body": { "stored": { "digest": digest(2), "bytes": 5000 } } },
        "nonce": "n1",
        "remote": { "call": "00T1", "contact": "0031" },
    }));
    survives::<Delivery>(&json!({
        "key": "twilio/main/CA1", "id": "crm#task.created",
        "state": "unwanted", "version": 1, "failures": 0,
    }));
}

#[test]
fn a_gate_is_read_and_written_under_the_same_names() {
    let at = "2026-02-20T09:00:00Z";
    for (mode, breaker) in [
        (json!({ "is": "running" }), json!({ "is": "closed" })),
        (
            json!({ "is": "draining", "since": at }),
            json!({ "is": "open", "why": "asked", "until": at, "strikes": 2 }),
        ),
        (
            json!({ "is": "stopped" }),
            json!({ "is": "probing", "why": "configuration", "until": at, "strikes": 0 }),
        ),
    ] {
        survives::<Gate>(&json!({
            "destination": "crm", "version": 1, "mode": mode, "breaker": breaker,
            "changed_at": at, "release_at": at,
        }));
    }
    survives::<Gate>(&json!({
        "destination": "crm", "version": 1, "mode": { "is": "paused" },
        "breaker": { "is": "closed" }, "changed_at": at,
    }));
}

#[test]
fn a_job_and_its_gaps_are_read_and_written_under_the_same_names() {
    let counts = json!({
        "pages": 1, "seen": 3, "new": 1, "duplicates": 1, "rejected": 1, "unfinished": 0,
    });
    survives::<Job>(&json!({
        "id": "20270115T080140Z-00000000", "version": 2, "kind": "reconcile", "provider": "twilio",
        "source": "main", "from": "2026-02-20T00:00:00Z", "to": "2026-02-21T00:00:00Z",
        "progress": "running",
        "steps": [{ "of": "calls", "from": "2026-02-20T00:00:00Z", "to": "2026-02-21T00:00:00Z",
            "at": "2", "agent": "a1" }],
        "counts": counts, "missing": { "2026-02-20": 3 }, "started_at": "2026-02-21T09:00:00Z",
        "finished_at": "2026-02-21T09:10:00Z", "problem": "answered 429", "failures": 1, "claims": 1,
        "not_before": "2026-02-21T09:05:00Z",
    }));
    survives::<Gap>(&json!({
        "provider": "twilio", "source": "main", "day": "2026-02-20", "job": "j1", "missing": 3,
    }));
}

#[test]
fn a_dial_request_is_read_and_written_under_the_same_names() {
    let at = "2026-02-20T09:00:00Z";
    for state in [
        json!({ "is": "reserved" }),
        json!({ "is": "dialling" }),
        json!({ "is": "placed", "call_id": "CA1", "ref_id": "r1" }),
        json!({ "is": "placed" }),
        json!({ "is": "refused", "fault": "configuration", "why": "the account is closed" }),
        json!({ "is": "unknown", "why": "timed out" }),
    ] {
        survives::<DialRequest>(&json!({
            "id": digest(1), "request": digest(2), "attempt": "a1",
            "order": { "provider": "twilio", "source": "main", "agent": "101", "employee": "e1",
                "to": "+61491570157", "caller_id": "+61491570156",
                "context": { "campaign": "Spring", "contact_id": "c1", "lead_id": "l1",
                    "conversation_id": "conv_1" } },
            "state": state, "pressed_at": at, "until": at, "version": 1,
        }));
    }
}

#[test]
fn the_directory_and_an_analysis_are_read_and_written_under_the_same_names() {
    let at = "2026-02-20T09:00:00Z";
    survives::<Contact>(&json!({
        "id": "c1", "kind": "lead", "name": "Kim", "numbers": ["+61491570156"],
        "emails": ["kim@example.com"], "external_ids": ["L1"], "status": "new",
        "last_contacted_at": at, "known_as": { "crm": "0031" },
        "origin": { "call": "twilio/main/CA1" }, "updated_at": at, "version": 2,
    }));
    survives::<Employee>(&json!({
        "id": "e1", "extensions": [{ "number": "101" }, { "source": "pbx", "number": "102" }],
        "origin": "import", "updated_at": at, "version": 1,
    }));
    survives::<Activity>(&json!({
        "contact": "c1", "call": "twilio/main/CA1", "at": at, "direction": "inbound",
        "outcome": "no_answer", "talk": 0, "recording": "https://pbx.example/1", "employee": "e1",
    }));
    survives::<Analysis>(&json!({
        "summary": "Kim wants an offer", "outcome": "follow_up", "sentiment": "mixed",
        "scorecard": [{ "criterion": "greeting", "asked": "Says who calls.", "score": 4, "scale": 5,
            "confidence": 90, "evidence": [{ "turn": 1, "quote": "Hello" }] },
            { "criterion": "script", "asked": "Asks.", "scale": 5, "confidence": 0, "evidence": [] }],
        "tasks": [{ "title": "Call Kim", "due": "2026-02-21", "owner": "employee" },
            { "title": "Send it" }],
        "turns": { "total": 2, "shown": 2 }, "model": "m", "tokens": { "input": 1, "output": 2 },
        "basis": digest(1), "made_at": at,
    }));
}
