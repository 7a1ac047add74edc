//! How a model is asked over HTTP, and what each of its faults comes to.

use serde_json::json;
use switchboard_domain::AnalysisState;

use crate::models::Says;
use crate::samples::{Webhook, asterisk};
use crate::servers::{Answer, status, with};
use crate::world::{World, minutes};

fn call() -> Webhook {
    let more = json!({
        "startedAt": "2026-02-20T09:00:00Z", "transcriptRaw": "Agent: Hello.", "autoAnalyze": true,
    });
    asterisk("ast-1", more)
}

/// A call that is to be analysed, by a model that answers so.
async fn asked(api: &str, answers: Vec<Answer>) -> (World, usize) {
    let mut world = World::new();
    let model = world.model(api).await;
    model.says(answers.into_iter().map(Says::Http));
    world.settled(&call(), minutes(600)).await;
    assert!(!world.owes().await);
    let count = model.received().len();
    (world, count)
}

fn html() -> Answer {
    let page = "<html><body>Sign in to the Wi-Fi</body></html>";
    Answer::Status(200, vec![("content-type", "text/html".into())], page.into())
}

fn json_of_another_kind() -> Answer {
    Answer::Status(200, vec![("content-type", "application/json".into())], "{\"ok\":true}".into())
}

#[tokio::test]
async fn trouble_is_asked_again_and_then_there_is_an_analysis() {
    for api in ["bedrock", "openai"] {
        for answer in [
            status(429),
            with(429, "retry-after", "7"),
            with(503, "retry-after", "a while"),
            status(500),
            status(502),
            status(529),
            status(408),
            status(401),
            status(403),
            status(404),
            status(301),
            html(),
            json_of_another_kind(),
            Answer::Cut(200, "{\"choices\": [".into()),
            Answer::Status(200, vec![], "{\"output\": {".into()),
            Answer::Status(200, vec![], "x".repeat(2 * 1024 * 1024)),
            Answer::Close,
            Answer::Hang,
        ] {
            let (world, asks) = asked(api, vec![answer.clone()]).await;
            let mark = world.call().analysis.unwrap();
            assert_eq!((mark.state, asks), (AnalysisState::Done, 2), "{api}: {answer:?}");
            assert_eq!((mark.reason, mark.attempts, mark.tokens.input), (None, 2, 700));
        }
    }
}

#[tokio::test]
async fn a_request_that_is_refused_for_its_content_is_not_sent_again() {
    for api in ["bedrock", "openai"] {
        for code in [400, 413, 422] {
            let (world, asks) = asked(api, vec![status(code)]).await;
            let mark = world.call().analysis.unwrap();
            assert_eq!((mark.state, asks), (AnalysisState::Failed, 1), "{api}: {code}");
            let reason = mark.reason.unwrap();
            assert!(reason.contains(&format!("refused the request ({code})")), "{reason}");
        }
    }
}

#[tokio::test]
async fn the_reason_names_the_fault_and_who_is_to_mend_it() {
    for (answer, expected) in [
        (
            status(401),
            "the model refused the credentials (401): check its key, or the right to use it",
        ),
        (status(404), "the model is not there (404): check its id and address"),
        (status(429), "the model throttles (429)"),
        (status(504), "the model took too long (504)"),
        (status(302), "the model's address leads elsewhere (302): check it"),
        (html(), "the model's answer is no JSON, or was cut off"),
        (json_of_another_kind(), "the model's answer is no chat completion"),
        (Answer::Close, "the model did not answer: broke off"),
        (Answer::Hang, "the model did not answer: timed out"),
    ] {
        let (world, asks) = asked("openai", vec![answer; 7]).await;
        let mark = world.call().analysis.unwrap();
        assert_eq!((mark.state, asks), (AnalysisState::Failed, 7));
        assert_eq!(mark.reason.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn bedrock_is_asked_at_its_path_with_a_signature_and_a_tool() {
    let mut world = World::new();
    let model = world.model("bedrock").await;
    world.settled(&call(), minutes(10)).await;
    let request = model.received().remove(0);
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("POST", "/model/fake.model-v1%3A0/converse")
    );
    let signed = request.header("authorization");
    assert!(signed.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"));
    assert_eq!(request.header("x-amz-date"), "20260220T093000Z");
    assert_eq!(request.header("content-type"), "application/json");
    let tool = request.json()["toolConfig"]["tools"][0]["toolSpec"].clone();
    assert_eq!(tool["inputSchema"]["json"]["additionalProperties"], false);
}

#[tokio::test]
async fn a_model_at_a_private_address_is_not_asked_but_on_ones_own_machine() {
    let json = r#"{"api": "openai", "model": "x", "base_url": "http://127.0.0.1:9/v1"}"#;
    assert!(switchboard_analysis::Model::parse(json, true).is_ok());
    let error = switchboard_analysis::Model::parse(json, false).unwrap_err();
    assert_eq!(error.field, "base_url");
}
