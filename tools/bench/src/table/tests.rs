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
    let (status, answer) = table.answer("PutItem", put("a", 1, "begins_with(pk, :version)"));
    assert_eq!(status, 400);
    assert!(answer["__type"].as_str().unwrap().ends_with("#ValidationException"));
    assert_eq!(table.answer("UpdateItem", json!({})).0, 400);
    let key = json!({"pk": {"S": "a"}, "sk": {"S": "call"}});
    let update = json!({"Key": key, "UpdateExpression": "SET n = n + :one"});
    assert_eq!(table.answer("UpdateItem", update).0, 400);
    let returning = json!({"Key": key, "UpdateExpression": "REMOVE n", "ReturnValues": "ALL_NEW"});
    assert_eq!(table.answer("UpdateItem", returning).0, 400);
    let unknown = json!({"TransactItems": [{"Get": {"Key": key}}]});
    assert_eq!(table.answer("TransactWriteItems", unknown).0, 400);
    let twice = json!({"TransactItems": [{"Put": put("a", 1, NEW)}, {"Put": put("a", 1, NEW)}]});
    assert_eq!(table.answer("TransactWriteItems", twice).0, 400);
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

fn get(table: &mut Table, pk: &str, sk: &str) -> Value {
    let asked = json!({"Key": {"pk": {"S": pk}, "sk": {"S": sk}}});
    table.answer("GetItem", asked).1["Item"].clone()
}

#[test]
fn an_update_makes_counts_and_is_refused_at_its_condition() {
    let mut table = Table::default();
    let count = json!({
        "TableName": "calls", "Key": {"pk": {"S": "r"}, "sk": {"S": "minute"}},
        "UpdateExpression": "ADD #count :one SET expires_at = :expires_at",
        "ConditionExpression": "attribute_not_exists(#count) OR #count < :most",
        "ExpressionAttributeNames": {"#count": "count"},
        "ExpressionAttributeValues": {":one": {"N": "1"}, ":most": {"N": "2"}, ":expires_at": {"N": "9"}},
    });
    let statuses = [(); 3].map(|()| table.answer("UpdateItem", count.clone()).0);
    assert_eq!(statuses, [200, 200, 400]);
    let stored = get(&mut table, "r", "minute");
    assert_eq!((&stored["count"], &stored["expires_at"]), (&json!({"N": "2"}), &json!({"N": "9"})));
    assert_eq!(table.units.writes, 3.0);
}

#[test]
fn a_deletion_takes_an_item_out_of_its_indexes() {
    let mut table = Table::default();
    table.put(owing("03", 7));
    let stored = table.units;
    let delete = json!({"Key": {"pk": {"S": "call#x#main#7"}, "sk": {"S": "call"}}});
    assert_eq!(table.answer("DeleteItem", delete.clone()).0, 200);
    assert_eq!((table.len(), table.due()), (0, 0));
    assert!(table.units.stored < stored.stored);
    assert_eq!(table.answer("DeleteItem", delete).0, 200);
}

/// A contact's creation as the directory writes it, alone with its number.
fn creation(id: &str) -> Value {
    json!({"TransactItems": [
        {"Put": {
            "Item": {
                "pk": {"S": format!("contact#{id}")}, "sk": {"S": "entry"}, "version": {"N": "1"},
                "list": {"S": "contact"}, "place": {"S": id},
            },
            "ConditionExpression": NEW,
        }},
        {"Update": {
            "Key": {"pk": {"S": "number#+61491570156"}, "sk": {"S": "holders"}},
            "UpdateExpression": "ADD #set :this",
            "ConditionExpression": "attribute_not_exists(#set)",
            "ExpressionAttributeNames": {"#set": "contacts"},
            "ExpressionAttributeValues": {":this": {"SS": [id]}},
        }},
    ]})
}

#[test]
fn a_contact_is_made_once_and_goes_with_what_it_is_found_by() {
    let mut table = Table::default();
    assert_eq!(table.answer("TransactWriteItems", creation("a")).0, 200);
    // Two writes in the table and one in the index, twice each.
    assert_eq!(table.units.writes, 6.0);
    let holders = get(&mut table, "number#+61491570156", "holders");
    assert_eq!(holders["contacts"], json!({"SS": ["a"]}));
    let (status, answer) = table.answer("TransactWriteItems", creation("b"));
    let codes: Vec<_> =
        answer["CancellationReasons"].as_array().unwrap().iter().map(|r| &r["Code"]).collect();
    assert_eq!((status, table.len()), (400, 2));
    assert_eq!(codes, ["None", "ConditionalCheckFailed"]);

    let deletion = |condition: &str| {
        json!({"TransactItems": [
            {"Delete": {
                "Key": {"pk": {"S": "contact#a"}, "sk": {"S": "entry"}},
                "ConditionExpression": "version = :version",
                "ExpressionAttributeValues": {":version": {"N": "1"}},
            }},
            {"Delete": {
                "Key": {"pk": {"S": "number#+61491570156"}, "sk": {"S": "holders"}},
                "ConditionExpression": condition,
                "ExpressionAttributeValues": {":this": {"SS": ["a"]}},
            }},
            {"ConditionCheck": {
                "Key": {"pk": {"S": "call"}, "sk": {"S": "call"}},
                "ConditionExpression": NEW,
            }},
        ]})
    };
    assert_eq!(table.answer("TransactWriteItems", deletion("attribute_exists(own)")).0, 400);
    assert_eq!(table.len(), 2);
    let alone =
        "contacts = :this AND attribute_not_exists(employees) AND attribute_not_exists(own)";
    assert_eq!(table.answer("TransactWriteItems", deletion(alone)).0, 200);
    assert_eq!((table.len(), table.indexes.iter().all(BTreeSet::is_empty)), (0, true));
}

fn begun(n: u32, at: &str) -> Value {
    let mut item = item(&format!("call#x#main#{n}"), "call", n);
    item["day_shard"] = json!({"S": "2026-02-20#1"});
    item["contact"] = json!({"S": "c"});
    item["began"] = json!({"S": at});
    item["line"] = json!({"M": {"n": {"N": n.to_string()}}});
    item
}

/// The pages of a query to the end: a path's values of all items.
fn pages(table: &mut Table, mut asked: Value, name: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let (status, answer) = table.answer("Query", asked.clone());
        assert_eq!(status, 200, "{answer}");
        let items = answer["Items"].as_array().unwrap();
        pages.push(items.iter().map(|item| item[name]["S"].as_str().unwrap().to_owned()).collect());
        let Some(next) = answer.get("LastEvaluatedKey") else { return pages };
        asked["ExclusiveStartKey"] = next.clone();
    }
}

#[test]
fn calls_are_listed_by_day_and_by_contact_the_newest_first() {
    let mut table = Table::default();
    for (n, at) in [(1, "08"), (2, "10"), (3, "09"), (4, "11"), (5, "07"), (6, "12")] {
        table.put(begun(n, at));
    }
    let mut other = begun(7, "10");
    other["day_shard"] = json!({"S": "2026-02-20#2"});
    other["contact"] = json!({"S": "d"});
    table.put(other);
    for (index, name, value) in [("day", "day_shard", "2026-02-20#1"), ("contact", "contact", "c")]
    {
        let asked = json!({
            "IndexName": index, "ScanIndexForward": false, "Limit": 3,
            "KeyConditionExpression": format!("{name} = :value AND began BETWEEN :since AND :before"),
            "ExpressionAttributeValues": {
                ":value": {"S": value}, ":since": {"S": "08"}, ":before": {"S": "11"},
            },
        });
        let found = pages(&mut table, asked.clone(), "began");
        assert_eq!(found, [vec!["11", "10", "09"], vec!["08"]], "{index}");
        let first = &table.answer("Query", asked).1["Items"][0];
        assert_eq!(first["line"], json!({"M": {"n": {"N": "4"}}}));
        assert_eq!(first.get("version"), None);
    }
}

#[test]
fn the_directorys_lists_are_read_by_prefix_both_ways_and_hold_keys_alone() {
    let mut table = Table::default();
    for (n, place) in ["won#a", "new#c", "new#b", "new#d"].iter().enumerate() {
        let mut item = item(&format!("contact#{n}"), "lead", 1);
        item["list"] = json!({"S": "lead"});
        item["place"] = json!({"S": place});
        table.put(item);
    }
    let mut asked = json!({
        "IndexName": "lists", "ScanIndexForward": true, "Limit": 2,
        "KeyConditionExpression": "#list = :list AND begins_with(place, :prefix)",
        "ExpressionAttributeNames": {"#list": "list"},
        "ExpressionAttributeValues": {":list": {"S": "lead"}, ":prefix": {"S": "new#"}},
    });
    let found = pages(&mut table, asked.clone(), "place");
    assert_eq!(found, [vec!["new#b", "new#c"], vec!["new#d"]]);
    assert_eq!(table.answer("Query", asked.clone()).1["Items"][0].get("version"), None);
    asked["KeyConditionExpression"] = "#list = :list".into();
    asked["ScanIndexForward"] = false.into();
    let found = pages(&mut table, asked.clone(), "place");
    assert_eq!(found, [vec!["won#a", "new#d"], vec!["new#c", "new#b"], vec![]]);
    asked["ExclusiveStartKey"] = json!({"pk": {"S": "contact#1"}});
    assert_eq!(table.answer("Query", asked).0, 400);
}

#[test]
fn sort_keys_are_compared_and_what_is_not_known_is_an_error() {
    let mut table = Table::default();
    for sk in ["1", "2", "3", "slot#x"] {
        table.put(item("syncs", sk, 1));
    }
    let asked = |condition: &str| {
        json!({
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": {
                ":pk": {"S": "syncs"}, ":slots": {"S": "slot#"}, ":two": {"S": "2"}, ":three": {"S": "3"},
            },
        })
    };
    for (condition, sks) in [
        ("pk = :pk AND sk < :slots", vec!["1", "2", "3"]),
        ("pk = :pk AND sk >= :two", vec!["2", "3", "slot#x"]),
        ("pk = :pk AND sk BETWEEN :two AND :three", vec!["2", "3"]),
        ("pk = :pk", vec!["1", "2", "3", "slot#x"]),
    ] {
        assert_eq!(pages(&mut table, asked(condition), "sk"), [sks], "{condition}");
    }
    let mut filtered = asked("pk = :pk");
    filtered["FilterExpression"] = "sk = :two".into();
    let mut elsewhere = asked("pk = :pk");
    elsewhere["IndexName"] = "nowhere".into();
    let wrong =
        ["pk > :pk", "sk = :pk", "pk = :pk AND pk < :two", "pk = :pk AND sk <> :two", "pk = :no"];
    for query in wrong.map(asked).into_iter().chain([filtered, elsewhere]) {
        assert_eq!(table.answer("Query", query.clone()).0, 400, "{query}");
    }
}
