//! Tokens that are bound to an employee, and agents that the directory knows.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchboard_api::{Caller, Problem, Response, Right};
use switchboard_domain::directory::{Employee, Extension, Origin};
use switchboard_domain::{Name, Personal};
use switchboard_store::Directory;

use crate::world::{AGENT, CUSTOMER, World, at, dialler, order, outcome};

fn name(text: &str) -> Name {
    Name::new("name", text).unwrap()
}

fn employee(id: &str, number: &str, extension: &str) -> Employee {
    let extension = Extension { source: None, number: Personal::new(extension) };
    Employee {
        id: name(id),
        name: None,
        numbers: BTreeSet::from([Personal::new(number)]),
        extensions: BTreeSet::from([extension]),
        emails: BTreeSet::new(),
        external_ids: BTreeSet::new(),
        origin: Origin::Api,
        updated_at: at(0),
        version: 0,
    }
}

async fn world() -> World {
    let directory = Directory::in_memory();
    for employee in [
        employee("kim", AGENT, "7"),
        employee("lee", "+61491570158", "8"),
        employee("max", "+61491570159", "8"),
    ] {
        directory.put_employee(&employee).await.unwrap();
    }
    directory.set_own_number(&Personal::new("+61491570110"), true).await.unwrap();
    World::with(directory).await
}

fn bound_to(employee: &str) -> Caller {
    let mut caller = Caller::new("a-token", [Right::Dial]);
    caller.employee = Some(employee.into());
    caller
}

fn kim() -> Caller {
    bound_to("kim")
}

async fn ask(
    world: &World,
    caller: &Caller,
    route: (&str, &str),
    key: Option<&str>,
    body: Value,
) -> Result<Response, Problem> {
    world.ask(caller, route, key, &body, 0).await
}

const CALLS: (&str, &str) = ("POST", "/telephony/calls");

#[tokio::test]
async fn an_agent_is_found_by_id_extension_or_number_and_counts_as_one() {
    let world = world().await;
    for (n, (agent, rung)) in
        [("kim", "7"), ("7", "7"), (AGENT, "7"), ("0491570156", "7"), ("99", "99")]
            .into_iter()
            .enumerate()
    {
        let mut order = order("smartflo/login");
        order["agent"] = agent.into();
        let answer = world.dial_request(&n.to_string(), &order, 0).await.unwrap();
        let employee = if agent == "99" { Value::Null } else { json!("kim") };
        assert_eq!(answer.body["employee"], employee, "{agent}");
        let sent: Value = serde_json::from_str(&world.provider.dialled()[n]).unwrap();
        assert_eq!(sent["agent_number"], rung, "{agent}");
    }
    // Under whatever name, they are one agent and have one rate.
    let mut kims = Vec::new();
    for agent in ["kim", "7", AGENT] {
        let mut order = order("smartflo");
        order["agent"] = agent.into();
        kims.push(outcome(&world.dial_request(&format!("rate {agent}"), &order, 0).await).0);
    }
    assert_eq!(kims, [201, 201, 429]);
    let mut shared = order("smartflo/login");
    shared["agent"] = "8".into();
    assert_eq!(outcome(&world.dial_request("shared", &shared, 0).await), (422, "not-dialled"));
    let mut own = order("smartflo/login");
    own["to"] = "+61491570110".into();
    assert_eq!(outcome(&world.dial_request("own", &own, 0).await), (422, "not-dialled"));
    // Twilio rings their phone.
    let mut order = order("twilio");
    order["agent"] = "kim".into();
    world.dial_request("phone", &order, 0).await.unwrap();
    assert!(world.provider.dialled().last().unwrap().starts_with("To=%2B61491570156&"));
}

#[tokio::test]
async fn a_bound_token_dials_and_ends_for_its_own_employee_alone() {
    let world = world().await;
    for agent in ["lee", "8", "99", "+61491570158", ""] {
        let order = json!({"source": "twilio", "agent": agent, "to": CUSTOMER});
        let status = outcome(&ask(&world, &kim(), CALLS, Some("1"), order).await).0;
        let expected = match agent {
            "8" => 422,
            "" => 400,
            _ => 403,
        };
        assert_eq!(status, expected, "{agent}");
    }
    let stranger = bound_to("unknown");
    let order = json!({"source": "twilio", "to": CUSTOMER});
    let refused = ask(&world, &stranger, CALLS, Some("1"), order.clone()).await;
    assert_eq!(outcome(&refused), (403, "not-your-agent"));
    assert_eq!(world.provider.asked(), Vec::<String>::new());

    // Without an agent it is themselves.
    let own = ask(&world, &kim(), CALLS, Some("1"), order).await.unwrap();
    assert_eq!(own.body["employee"], "kim");
    let lees = json!({"source": "twilio", "agent": "lee", "to": CUSTOMER});
    let lees = ask(&world, &dialler(), CALLS, Some("1"), lees).await.unwrap();
    let path = |dial_request: &Value, end: &str| {
        format!("/telephony/calls/{}{end}", dial_request["press_id"].as_str().unwrap())
    };
    for (dial_request, status) in [(&own.body, 200), (&lees.body, 404)] {
        let (show, end) = (path(dial_request, ""), path(dial_request, "/hangup"));
        let shown = ask(&world, &kim(), ("GET", &show), None, Value::Null).await;
        assert_eq!(outcome(&shown).0, status);
        let ended = ask(&world, &kim(), ("POST", &end), None, Value::Null).await;
        assert_eq!(outcome(&ended).0, status);
        let any = json!({"call": dial_request["press_id"]});
        let ended = ask(&world, &kim(), ("POST", "/telephony/hangup"), None, any).await;
        assert_eq!(outcome(&ended).0, status);
    }
    let by_key = json!({"call": own.body["call"]});
    let ended = ask(&world, &kim(), ("POST", "/telephony/hangup"), None, by_key).await;
    assert_eq!(outcome(&ended), (403, "not-your-call"));
    assert_eq!(world.provider.ended().len(), 2);
}
