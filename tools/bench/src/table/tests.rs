use super::*;

const NEW: &str = "attribute_not_exists(pk)";

fn item(pk: &str, sk: &str, version: u32) -> Value {
    json!({"pk": {"S": pk}, "sk": {"S": sk}, "version": {"N": version.to_string()}})
}

fn put(pk: &str, version: u32, condition: &str) -> Value {
    json!({
        "TableName": "calls", "Item": item(pk, "call", version), "ConditionExpression": condition,
        "ExpressionAttributeValues": {":version": {"N": (version - 1).to_string()}},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    })
}

fn owing(shard: &str, n: i64) -> Value {
    let mut item = item(&format!("call#x#main#{n}"), "call", 1);
    item["due_shard"] = json!({"S": shard});
    item["due_at"] = json!({"N": n.to_string()});
    item["owed"] = json!({"M": {}});
    item
}

#[test]
fn a_put_that_is_not_the_first_brings_the_first_back() {
    let mut table = Table::default();
    assert_eq!(table.answer("PutItem", put("a", 1, NEW)), (200, json!({})));
    let (status, refused) = table.answer("PutItem", put("a", 9, NEW));
    assert_eq!((status, &refused["Item"]), (400, &item("a", "call", 1)));
    assert!(refused["__type"].as_str().unwrap().ends_with("#ConditionalCheckFailedException"));
    let (status, _) = table.answer("PutItem", put("a", 2, "version = :version"));
    assert_eq!(status, 200);
    let (status, _) = table.answer("PutItem", put("a", 2, "version = :version"));
    assert_eq!(status, 400);
    let asked = json!({"Key": {"pk": {"S": "a"}, "sk": {"S": "call"}}});
    assert_eq!(table.answer("GetItem", asked).1["Item"], item("a", "call", 2));
}

#[test]
fn what_the_stand_in_cannot_judge_is_an_error_and_not_a_yes() {
    let mut table = Table::default();
    let (status, answer) = table.answer("PutItem", put("a", 1, "size(pk) > :version"));
    assert_eq!(status, 400);
    assert!(answer["__type"].as_str().unwrap().ends_with("#ValidationException"));
    assert_eq!(table.answer("UpdateItem", json!({})).0, 400);
    assert_eq!(table.len(), 0);
}

#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    let mut table = Table::default();
    let two = |first: u32| {
        json!({"TransactItems": [
            {"Put": put("b", first, "version = :version")},
            {"Put": put(&format!("c{first}"), 1, NEW)},
        ]})
    };
    let (status, answer) = table.answer("TransactWriteItems", two(2));
    assert_eq!(status, 400);
    let codes: Vec<_> =
        answer["CancellationReasons"].as_array().unwrap().iter().map(|r| &r["Code"]).collect();
    assert_eq!(codes, ["ConditionalCheckFailed", "None"]);
    assert_eq!(table.len(), 0);
    table.put(item("b", "call", 1));
    assert_eq!(table.answer("TransactWriteItems", two(2)).0, 200);
    assert_eq!(table.len(), 2);
}

#[test]
fn due_work_comes_in_pages_and_goes_when_it_is_taken_up() {
    let mut table = Table::default();
    for n in 0..25 {
        table.put(owing("03", n));
    }
    table.put(owing("04", 99));
    let mut asked = json!({
        "IndexName": "due",
        "KeyConditionExpression": "due_shard = :shard AND due_at <= :until",
        "ExpressionAttributeValues": {":shard": {"S": "03"}, ":until": {"N": "21"}},
        "Limit": 10,
    });
    let mut seen = Vec::new();
    loop {
        let (_, answer) = table.answer("Query", asked.clone());
        seen.extend(answer["Items"].as_array().unwrap().iter().cloned());
        let Some(next) = answer.get("LastEvaluatedKey") else { break };
        asked["ExclusiveStartKey"] = next.clone();
    }
    assert_eq!(seen.len(), 22);
    table.taken_up(r#"{"job":"enrich","call":"x/main/7"}"#);
    assert_eq!(table.due(), 25);
    table.owe_nothing();
    assert_eq!((table.due(), table.len()), (0, 26));
    let asked = json!({"Key": {"pk": {"S": "call#x#main#7"}, "sk": {"S": "call"}}});
    assert_eq!(table.answer("GetItem", asked).1["Item"].get("owed"), None);
}

#[test]
fn a_partition_is_read_in_order_and_by_prefix() {
    let mut table = Table::default();
    for sk in ["delivery#b", "call", "delivery#a"] {
        table.put(item("p", sk, 1));
    }
    table.put(item("q", "delivery#c", 1));
    let asked = json!({
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
        "ExpressionAttributeValues": {":pk": {"S": "p"}, ":prefix": {"S": "delivery#"}},
    });
    let (_, answer) = table.answer("Query", asked);
    let sks: Vec<_> =
        answer["Items"].as_array().unwrap().iter().map(|item| &item["sk"]["S"]).collect();
    assert_eq!(sks, ["delivery#a", "delivery#b"]);
}
