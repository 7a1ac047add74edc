//! What holds of every format that has an API.

use proptest::prelude::*;
use serde_json::{Value, json};
use switchboard_domain::delivery::Remote;
use switchboard_http::Response;

use super::{
    Attempt, CANARIES, PRIVATE_KEY, SECRET, Scripted, configured, deliver, destination, example,
    marked, rendered, response,
};
use crate::destination::{Destination, MOST_REQUESTS};
use crate::format::Capabilities;
use crate::registry;

fn apis() -> impl Iterator<Item = &'static Capabilities> {
    registry::FORMATS.iter().copied().filter(|format| format.is_api)
}

#[test]
fn a_payload_that_cannot_be_read_is_refused_and_not_sent() {
    for format in apis() {
        for payload in [&b""[..], b"{}", b"\xff", b"{\"call\":{}}"] {
            let (destination, remote) = (destination(format.name), Remote::default());
            let attempt = deliver(&destination, payload, &remote, &mut Scripted::default());
            assert_eq!(attempt.result(), "the payload cannot be read: redeliver it");
            assert_eq!(attempt.requests.len(), 0, "{}", format.name);
        }
    }
}

#[test]
fn the_configuration_on_the_page_of_each_format_is_good() {
    let key = serde_json::to_string(PRIVATE_KEY).unwrap();
    for format in registry::FORMATS {
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/destinations");
        let page = std::fs::read_to_string(format!("{pages}/{}.md", format.name)).unwrap();
        let json = example(&page, "Configuration").replace("whsec_…", SECRET);
        let json = json.replace("\"-----BEGIN PRIVATE KEY-----…\"", &key).replace('…', "x");
        let destination = Destination::parse(&json, false).unwrap();
        assert_eq!(destination.capabilities.name, format.name);
    }
}

/// A destination of any API, in any of the ways that it can be configured.
fn any_api() -> impl Strategy<Value = Destination> {
    let ways = apis().flat_map(|format| {
        let words = format.deduplications.iter().map(Into::<&str>::into);
        words.map(|word| (format.name, word))
    });
    let contacts = prop::sample::select(vec!["none", "find", "find_or_create"]);
    (prop::sample::select(ways.collect::<Vec<_>>()), contacts).prop_map(
        |((format, deduplication), contacts)| {
            let has_contacts = registry::find(format).is_some_and(|found| found.has_contacts);
            let contacts = if has_contacts { contacts } else { "none" };
            let settings = if format == "zoho" { json!({"key_field": "K"}) } else { json!({}) };
            let changes = json!({
                "deduplication": deduplication, "contacts": contacts, "settings": settings,
            });
            configured(format, changes)
        },
    )
}

/// Any response: such as each of the CRMs has, and such as none should have.
fn any_response() -> impl Strategy<Value = Response> {
    let marked = "fakeCANARY Canary +61491570156 0491570156";
    let salesforce = |code: &str, field: &str| json!([{"errorCode": code, "message": marked, "fields": [field]}]);
    let zoho = |code: &str, details: Value| json!({"data": [{"code": code, "details": details}]});
    let bodies = vec![
        Value::Null,
        json!({}),
        json!([]),
        json!(marked),
        json!({"id": "7", "results": [{"id": "8", "properties": {"phone": "+61491570156"}}]}),
        json!({"total": 0, "results": []}),
        json!({"results": [{"id": "8"}], "errors": [{"category": marked, "message": marked}]}),
        json!({"category": "VALIDATION_ERROR", "message": marked}),
        json!({"category": marked, "message": marked, "policyName": marked}),
        json!({"category": "OBJECT_NOT_FOUND", "message": marked}),
        json!({"id": "00T1", "success": true, "records": [{"Id": "00T2"}]}),
        json!({"searchRecords": [{"attributes": {"type": "Contact"}, "Id": "0031", "Phone": "+61491570156"}]}),
        json!({"searchRecords": [], "records": []}),
        salesforce("INVALID_FIELD_FOR_INSERT_UPDATE", "TaskSubtype"),
        salesforce("INVALID_CROSS_REFERENCE_KEY", "WhoId"),
        salesforce("ENTITY_IS_DELETED", "WhoId"),
        salesforce("NOT_FOUND", "fakeCANARY"),
        salesforce(marked, marked),
        json!({"data": {"id": "Canary"}}),
        json!({"data": {"id": {}}}),
        json!({"data": {"items": []}}),
        json!({"data": {"items": [{"item": {"id": 1, "phones": ["+61491570156"]}}]}}),
        json!({"error": "person_id Canary"}),
        json!({"error": {"Canary": 1}}),
        json!({"data": []}),
        json!({"data": [{"id": "Canary"}]}),
        json!({"data": [{"id": "5", "Phone": "+61491570156"}]}),
        zoho("SUCCESS", json!({"id": "7"})),
        zoho("INVALID_DATA", json!({"api_name": "id"})),
        zoho("INVALID_DATA", json!({"api_name": "Who_Id"})),
        zoho("DUPLICATE_DATA", json!({"api_name": "K", "id": "7"})),
        json!({"code": "Canary said", "message": "Canary"}),
    ];
    let statuses = vec![
        200_u16, 201, 202, 204, 207, 300, 302, 400, 401, 402, 403, 404, 409, 410, 423, 429, 500,
        503,
    ];
    (prop::sample::select(statuses), prop::sample::select(bodies))
        .prop_map(|(status, body)| response(status, body))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn the_laws_hold_whatever_the_responses_are(
        destination in any_api(),
        responses in prop::collection::vec(any_response(), 0..14),
        is_known in any::<bool>(),
    ) {
        let known = Remote { call: is_known.then(|| "7".into()), contact: None };
        obeys_the_laws(&destination, &known, &responses);
    }
}

fn obeys_the_laws(destination: &Destination, remote: &Remote, responses: &[Response]) {
    let payload = rendered(destination, &marked());
    assert_eq!(payload, rendered(destination, &marked()));
    let run = || deliver(destination, &payload, remote, &mut Scripted::of(responses.to_vec()));
    let (one, two) = (run(), run());
    let sent = |attempt: &Attempt| -> Vec<(String, Vec<u8>)> {
        let bodies = attempt.requests.iter().map(|request| request.body.clone());
        attempt.lines().into_iter().zip(bodies).collect()
    };
    // Given the same responses, every attempt sends the same.
    assert_eq!(sent(&one), sent(&two));
    assert_eq!((&one.outcome, &one.remote), (&two.outcome, &two.remote));
    assert!(one.requests.len() <= MOST_REQUESTS);
    for canary in CANARIES {
        assert!(!one.result().contains(canary), "{}", one.result());
    }
    for request in &one.requests {
        assert_eq!(request.url.host_str(), Some(destination.host()));
    }
}
