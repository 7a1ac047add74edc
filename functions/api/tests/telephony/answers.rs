//! The table of outcomes in docs/telephony.md, line by line.

use futures_util::future::join_all;
use serde_json::{Value, json};
use switchboard_api::{Caller, Right};
use switchboard_domain::{Facts, Legs, Order, Policy, Seconds, State, Update};

use crate::provider::How;
use crate::world::{AGENT, CUSTOMER, OURS, World, at, dialler, order, outcome, values};

const CALLS: (&str, &str) = ("POST", "/telephony/calls");

#[tokio::test]
async fn without_right_key_or_order_nobody_is_dialled() {
    let world = World::new().await;
    let order = order("twilio");
    let reader = Caller::new("reader", [Right::Read, Right::Personal, Right::Directory]);
    for path in ["/telephony/calls", "/telephony/hangup", "/api/v1/smartflo/click-to-call"] {
        let asked = world.ask(&reader, ("POST", path), Some("1"), &order, 0).await;
        assert_eq!(outcome(&asked), (403, "forbidden"), "{path}");
    }
    for key in [None, Some(""), Some(" "), Some("é"), Some(&"k".repeat(256) as &str)] {
        let asked = world.ask(&dialler(), CALLS, key, &order, 0).await;
        assert_eq!(outcome(&asked), (400, "invalid-request"), "{key:?}");
    }
    for (field, value) in [
        ("to", Value::Null),
        ("to", json!(7)),
        ("surprise", json!(1)),
        ("source", Value::Null),
        ("source", json!("twilio/a b")),
        ("agent", json!("")),
        ("agent", json!("a\nb")),
        ("context", json!({"campaign": ""})),
        ("context", json!({"campaign": "a\u{0}b"})),
        ("context", json!({"lead_id": "x".repeat(257)})),
        ("context", json!({"lead": "x"})),
    ] {
        let mut order = order.clone();
        order[field] = value.clone();
        let asked = world.dial_request("1", &order, 0).await;
        assert_eq!(outcome(&asked), (400, "invalid-request"), "{field} {value}");
        assert!(!asked.unwrap_err().detail.contains("4915"));
    }
    for source in ["smartflo/absent", "onecom", "smartflo/mute", "absent/x"] {
        let mut order = order.clone();
        order["source"] = source.into();
        assert_eq!(
            outcome(&world.dial_request("1", &order, 0).await),
            (404, "not-found"),
            "{source}"
        );
    }
    assert_eq!(world.provider.asked(), Vec::<String>::new());
    // Nothing of all this used the key up.
    assert_eq!(outcome(&world.dial_request("1", &order, 0).await), (201, "done"));
}

#[tokio::test]
async fn only_ordinary_numbers_of_allowed_countries_are_dialled() {
    let world = World::new().await;
    for (field, value) in [
        ("to", "+441632960001"),
        ("to", "+919876543210"),
        ("to", "000"),
        ("to", "+61000"),
        ("to", "1900 123 456"),
        ("to", OURS),
        ("to", "0491 570 110"),
        ("to", AGENT),
        ("agent", "+919876543210"),
        ("agent", "0605"),
        ("caller_id", "+61491570158"),
    ] {
        let mut order = order("twilio");
        order[field] = value.into();
        let asked = world.dial_request("1", &order, 0).await;
        assert_eq!(outcome(&asked), (422, "not-dialled"), "{field} {value}");
        assert!(!asked.unwrap_err().detail.contains(value));
    }
    assert_eq!(world.provider.asked(), Vec::<String>::new());
    // What Smartflo calls an agent is no number that is dialled.
    let mut order = order("smartflo");
    order["agent"] = "0605".into();
    assert_eq!(outcome(&world.dial_request("1", &order, 0).await), (201, "done"));
}

#[tokio::test]
async fn a_key_dials_once_and_its_answer_is_repeated() {
    for source in ["twilio", "smartflo/login"] {
        let world = World::new().await;
        let mut order = order(source);
        order["context"] = json!({"lead_id": "L-1", "campaign": "spring"});
        let first = world.dial_request("1", &order, 0).await.unwrap();
        assert_eq!(first.status, 201);
        assert_eq!(first.body["state"], "placed");
        assert_eq!(first.body["context"], order["context"]);
        assert!(!first.body.to_string().contains("491570"), "{}", first.body);
        for second in [0, 1, 31, 80_000] {
            assert_eq!(world.dial_request("1", &order, second).await.unwrap(), first);
        }
        let id = first.body["press_id"].as_str().unwrap();
        let path = format!("/telephony/calls/{id}");
        let shown = world.ask(&dialler(), ("GET", &path), None, &Value::Null, 5).await.unwrap();
        assert_eq!((shown.status, &shown.body), (200, &first.body));
        order["to"] = "+61491570158".into();
        assert_eq!(outcome(&world.dial_request("1", &order, 2).await), (422, "key-reused"));
        assert_eq!(world.provider.dialled().len(), 1);
        // Another key, and another caller's same key, are other dial requests.
        world.dial_request("2", &order, 2).await.unwrap();
        let other = Caller::new("erp", [Right::Dial, Right::Personal]);
        let answer = world.ask(&other, CALLS, Some("1"), &order, 2).await.unwrap();
        assert_eq!(answer.body["to"], "+61491570158");
        assert_eq!(world.provider.dialled().len(), 3);
    }
}

#[tokio::test]
async fn of_twenty_parallel_presses_one_dials() {
    let world = World::new().await;
    let order = order("twilio");
    let answers = join_all((0..20).map(|_| world.dial_request("1", &order, 0))).await;
    assert_eq!(world.provider.dialled().len(), 1);
    let placed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert!(!placed.is_empty() && placed.iter().all(|answer| *answer == placed[0]));
    for problem in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!((problem.status, problem.kind), (409, "in-progress"));
        let reply = problem.clone().into_response();
        assert!(["1", "2"].contains(&reply.headers["retry-after"].as_str()));
    }
}

#[tokio::test]
async fn what_a_provider_answers_decides_and_is_remembered() {
    for (how, status, kind, dials) in [
        (How::Answers(400, r#"{"code": 21211}"#), 422, "provider-refused", 0),
        (How::Answers(422, ""), 422, "provider-refused", 0),
        (How::Answers(403, ""), 502, "provider-configuration", 0),
        (How::Answers(429, ""), 502, "provider-unavailable", 0),
        (How::DialsAndCloses, 409, "unknown-result", 1),
        (How::DialsAndAnswers(500, ""), 409, "unknown-result", 1),
        (How::DialsAndAnswers(504, ""), 409, "unknown-result", 1),
        (How::DialsAndAnswers(200, "<html>"), 409, "unknown-result", 1),
        (How::DialsAndAnswers(302, ""), 409, "unknown-result", 1),
        (How::DialsAndAnswers(408, ""), 409, "unknown-result", 1),
    ] {
        for source in ["twilio", "smartflo/login"] {
            let world = World::new().await;
            world.provider.will([how]);
            let order = order(source);
            let first = world.dial_request("1", &order, 0).await;
            assert_eq!(outcome(&first), (status, kind), "{source} {how:?}");
            for second in [0, 40, 80_000] {
                assert_eq!(
                    world.dial_request("1", &order, second).await,
                    first,
                    "{source} {how:?}"
                );
            }
            assert_eq!(world.provider.dialled().len(), dials, "{source} {how:?}");
            let counted = if dials == 1 { "presses_unknown" } else { "presses_refused" };
            assert!(world.said(counted) && !world.said("491570"), "{source} {how:?}");
            // A new key is a new dial request.
            assert_eq!(outcome(&world.dial_request("2", &order, 0).await), (201, "done"));
        }
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_has_dialled_nobody() {
    let world = World::new().await;
    // A released port has no listener.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    world.settings.set(&values(&base));
    let first = world.dial_request("1", &order("twilio"), 0).await;
    assert_eq!(outcome(&first), (502, "provider-unavailable"));
    assert_eq!(first.unwrap_err().more["state"], "refused");
    // Where a login comes first, the key is not even used up.
    assert_eq!(outcome(&world.dial_request("2", &order("smartflo/login"), 0).await).0, 503);
    world.settings.set(&values(&world.provider.base));
    assert_eq!(
        outcome(&world.dial_request("1", &order("twilio"), 0).await),
        (502, "provider-unavailable")
    );
    assert_eq!(outcome(&world.dial_request("2", &order("smartflo/login"), 0).await), (201, "done"));
    assert_eq!(world.provider.dialled().len(), 1);
}

#[tokio::test]
async fn a_token_is_kept_and_renewed_when_it_opens_no_more() {
    let world = World::new().await;
    let order = order("smartflo/login");
    let logins = || world.provider.asked().iter().filter(|line| line.contains("login")).count();
    world.dial_request("1", &order, 0).await.unwrap();
    world.dial_request("2", &order, 3_000).await.unwrap();
    assert_eq!(logins(), 1);
    // Its hour is over, but for a minute.
    world.dial_request("3", &order, 3_541).await.unwrap();
    assert_eq!(logins(), 2);
    world.provider.forgets_tokens();
    world.dial_request("4", &order, 3_542).await.unwrap();
    assert_eq!((logins(), world.provider.dialled().len()), (3, 4));
}

#[tokio::test]
async fn credentials_that_do_not_open_are_tried_once_and_new_ones_at_once() {
    let world = World::new().await;
    let mut wrong = values(&world.provider.base);
    wrong.get_mut("sources/twilio/twilio").unwrap()["dial"]["auth_token"] = "fake-wrong".into();
    world.settings.set(&wrong);
    let first = world.dial_request("1", &order("twilio"), 0).await;
    assert_eq!(outcome(&first), (502, "provider-configuration"));
    assert_eq!(world.provider.asked().len(), 1);
    // A second 401, after a new login, is the last.
    world.provider.will([How::Answers(401, ""), How::Answers(401, "")]);
    let second = world.dial_request("2", &order("smartflo/login"), 0).await;
    assert_eq!(outcome(&second), (502, "provider-configuration"));
    let orders = world.provider.asked();
    let orders = orders.iter().filter(|line| line.contains("click_to_call"));
    assert_eq!((orders.count(), world.provider.dialled().len()), (2, 0));
}

#[tokio::test]
async fn an_agent_presses_so_often_and_no_more() {
    let world = World::new().await;
    let order = order("smartflo");
    let dial_request =
        async |key: &str, second| outcome(&world.dial_request(key, &order, second).await);
    assert_eq!(dial_request("1", 0).await, (201, "done"));
    assert_eq!(dial_request("2", 59).await, (201, "done"));
    let refused = world.dial_request("3", &order, 50).await.unwrap_err();
    assert_eq!((refused.status, refused.kind), (429, "too-many-calls"));
    assert_eq!(refused.into_response().headers["retry-after"], "10");
    // A repeated key is no dial request.
    assert_eq!(dial_request("1", 59).await, (201, "done"));
    // In the next minute the same key is free, and then the day is full.
    assert_eq!(dial_request("3", 60).await, (201, "done"));
    assert_eq!(dial_request("4", 120).await, (429, "too-many-calls"));
    let mut another = order.clone();
    another["agent"] = "0605".into();
    assert_eq!(outcome(&world.dial_request("5", &another, 120).await), (201, "done"));
    assert_eq!(dial_request("4", 86_400).await, (201, "done"));
    assert_eq!(world.provider.dialled().len(), 5);
}

#[tokio::test]
async fn a_call_is_ended_by_its_press_its_key_or_not_at_all() {
    let world = World::new().await;
    let end = async |path: &str, body: Value| {
        outcome(&world.ask(&dialler(), ("POST", path), None, &body, 40).await)
    };
    let place = async |key: &str, source: &str| {
        let answer = world.dial_request(key, &order(source), 0).await.unwrap();
        answer.body["press_id"].as_str().unwrap().to_owned()
    };
    let twilio = place("1", "twilio").await;
    assert_eq!(end(&format!("/telephony/calls/{twilio}/hangup"), Value::Null).await, (200, "done"));
    assert_eq!(end("/telephony/hangup", json!({"call": twilio})).await, (200, "done"));
    assert_eq!(end("/telephony/hangup", json!({"call": "twilio/twilio/CA7"})).await, (200, "done"));
    let calls = "POST /2010-04-01/Accounts/ACfake/Calls";
    let expected = ["CA1", "CA1", "CA7"].map(|sid| format!("{calls}/{sid}.json Status=completed"));
    assert_eq!(world.provider.ended(), expected);

    let smartflo = place("2", "smartflo/login").await;
    let path = format!("/telephony/calls/{smartflo}/hangup");
    let live = |call_id: &str, customer: &str| json!({"call_id": call_id, "direction": 2, "customer_number": customer});
    for (shown, expected) in [
        (json!([]), (409, "not-live")),
        (json!([live("1.1", "0491570158")]), (409, "not-live")),
        (json!([live("1.1", CUSTOMER), live("1.2", "0491570157")]), (409, "not-live")),
        (json!("nonsense"), (502, "not-ended")),
        (json!([live("1.1", "0491570158"), live("1.2", "0491570157")]), (200, "done")),
    ] {
        world.provider.shows(&shown);
        assert_eq!(end(&path, Value::Null).await, expected, "{shown}");
    }
    assert_eq!(world.provider.ended().len(), 4);
    assert!(world.provider.ended()[3].ends_with(r#"{"call_id":"1.2"}"#));
    // With a token that opens no more, it is ended all the same.
    world.provider.forgets_tokens();
    assert_eq!(end(&path, Value::Null).await, (200, "done"));

    for (call, expected) in [
        ("nonsense", (400, "invalid-request")),
        ("twilio/twilio/..", (404, "not-found")),
        ("smartflo/login/69d75426f0a9f", (404, "not-found")),
        ("onecom/onecom/1", (404, "not-found")),
        (&"0".repeat(32), (400, "invalid-request")),
    ] {
        assert_eq!(end("/telephony/hangup", json!({"call": call})).await, expected, "{call}");
    }
    world.provider.will([How::Answers(422, "")]);
    let refused = world.dial_request("3", &order("twilio"), 0).await.unwrap_err();
    let id = refused.more["press_id"].as_str().unwrap();
    let path = format!("/telephony/calls/{id}/hangup");
    assert_eq!(end(&path, Value::Null).await, (409, "not-live"));
}

#[tokio::test]
async fn a_call_is_ended_by_the_id_that_its_webhook_came_under() {
    let world = World::new().await;
    let store = |call_id: &'static str, other: Option<&str>, state| {
        let extra = other.map(|id| ("call_id".to_owned(), switchboard_domain::Personal::new(id)));
        let facts =
            Facts { state: Some(state), extra: extra.into_iter().collect(), ..Facts::default() };
        let update = Update::new("status", Order::Unordered, at(0), facts, b"raw".to_vec());
        let policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };
        let key = format!("smartflo/login/{call_id}").parse().unwrap();
        switchboard_domain::CallRecord::first(key, update, policy, at(0))
    };
    for record in [
        store("69d75426f0a9f", Some("h11.08-1775719461.7"), State::InProgress),
        store("69d7542600000", Some("1775719461.8"), State::Ended),
    ] {
        world.area.0.store.put_call(&record).await.unwrap();
    }
    let path = ("POST", "/api/v1/smartflo/hangup");
    for (call_id, expected) in [
        ("69d75426f0a9f", (200, "done")),
        ("smartflo/login/69d75426f0a9f", (200, "done")),
        ("69d7542600000", (409, "not-live")),
        ("1775719461.9", (200, "done")),
    ] {
        let body = json!({"call_id": call_id, "source": "login"});
        let answer = world.ask(&dialler(), path, None, &body, 0).await;
        assert_eq!(outcome(&answer), expected, "{call_id}");
    }
    let ended = ["1775719461.7", "1775719461.7", "1775719461.9"];
    let ended = ended.map(|id| format!(r#"POST /v1/call/hangup {{"call_id":"{id}"}}"#));
    assert_eq!(world.provider.ended(), ended);
}

#[tokio::test]
async fn smartflos_own_path_takes_what_front_ends_send() {
    let world = World::new().await;
    let path = ("POST", "/api/v1/smartflo/click-to-call");
    for (n, (name, value, identifier)) in [
        ("ref_id", json!("lead-1"), Some("lead-1")),
        ("custom_identifier", json!("lead-2"), Some("lead-2")),
        ("ref_id", json!(""), None),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = json!({"agent_number": "0605", "destination_number": "0491570157",
            "source": "login", "async": "1", "get_call_id": 1, "caller_id": ""});
        body[name] = value;
        let key = n.to_string();
        let answer = world.ask(&dialler(), path, Some(&key), &body, 0).await.unwrap();
        assert_eq!((answer.status, &answer.body["success"]), (200, &json!(true)));
        let id = answer.body["data"]["press_id"].as_str().unwrap();
        assert_eq!(answer.body["data"]["call_id"], id);
        assert_eq!(answer.body["call_id"], id);
        assert_eq!(answer.body["ref_id"], format!("R{}", n + 1));
        let sent: Value = serde_json::from_str(&world.provider.dialled()[n]).unwrap();
        let expected = json!({"agent_number": "0605", "destination_number": CUSTOMER, "async": 1,
            "custom_identifier": identifier.unwrap_or(id)});
        assert_eq!(sent, expected);
        let again = world.ask(&dialler(), path, Some(&key), &body, 9).await.unwrap();
        assert_eq!(again, answer);
    }
    assert_eq!(outcome(&world.ask(&dialler(), path, None, &json!({}), 0).await).0, 400);
    assert_eq!(world.provider.dialled().len(), 3);
}
