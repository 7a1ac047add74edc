//! Every signature vector in `events/vectors/`, each with the rule that refuses it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;
use switchboard_domain::{Name, Secret};
use switchboard_providers::twilio::Twilio;
use switchboard_providers::{Credential, Reject, Request, Source, Sources, authenticate};

#[derive(Deserialize)]
struct Vectors {
    token: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    url: String,
    content_type: String,
    body: String,
    signature: String,
    accept: bool,
    refusal: Option<String>,
}

#[test]
fn twilios_signatures() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/vectors/twilio-signature.json");
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(vectors.cases.len() > 20);
    for case in &vectors.cases {
        let path_at = case.url.match_indices('/').nth(2).unwrap().0;
        let (base, target) = case.url.split_at(path_at);
        let source = Source {
            secrets: vec![
                Credential { secret: Secret::new("another"), account: None },
                Credential { secret: Secret::new(&vectors.token), account: None },
            ],
            public_url: Some(base.to_owned()),
            ..Source::default()
        };
        let sources = Sources::from([(Name::new("source", "twilio").unwrap(), source)]);
        let request = Request::new("POST", target, Timestamp::UNIX_EPOCH)
            .header("Content-Type", &case.content_type)
            .header("X-Twilio-Signature", &case.signature)
            .body(case.body.clone().into_bytes());
        let refused = match authenticate(&Twilio, &request, &sources) {
            Ok(_) => None,
            Err(Reject::Forbidden(refusal)) => Some(refusal.as_str().to_owned()),
            Err(other) => panic!("{}: {other}", case.name),
        };
        assert_eq!(refused, case.refusal, "{}", case.name);
        assert_eq!(refused.is_none(), case.accept, "{}", case.name);
    }
}
