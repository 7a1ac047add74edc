//! What DynamoDB charges for: request units, and the bytes that stay.
//!
//! Source: "Read/write capacity mode: on-demand" and "Item sizes and formats" of its developer guide.
//! Where it leaves two readings, the dearer one is taken.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::index::INDEXES;

/// What a write unit writes and a read unit reads, bytes.
const WRITE: usize = 1_024;
const READ: usize = 4_096;
/// What an item, or an entry of an index, takes in the bill beside its own bytes.
const OVERHEAD: f64 = 100.0;
/// Each action of a transaction is prepared and committed.
const TRANSACTION: f64 = 2.0;

/// What is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Units {
    /// Read request units.
    pub reads: f64,
    /// Write request units, those of the indexes among them.
    pub writes: f64,
    /// By how much the table and its indexes have grown, bytes.
    pub stored: f64,
}

impl Add for Units {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let (reads, writes) = (self.reads + other.reads, self.writes + other.writes);
        Self { reads, writes, stored: self.stored + other.stored }
    }
}

impl AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Units {
    /// So many times as much.
    pub fn times(self, factor: f64) -> Self {
        let (reads, writes) = (self.reads * factor, self.writes * factor);
        Self { reads, writes, stored: self.stored * factor }
    }

    /// A write that happens: the larger of what was and what is, and what changes in the indexes.
    pub fn written(old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut all = Self { stored: grown(old, new), ..Self::refused(old, new) };
        for index in &INDEXES {
            let held = |item: Option<&Value>| item.and_then(|item| index.held(item));
            let (was, is) = (held(old), held(new));
            let writes = match (&was, &is) {
                (was, is) if was == is => 0.0,
                // An entry whose place is another is deleted there and put here.
                (Some(was), Some(is)) if index.entry(was) != index.entry(is) => {
                    Self::refused(None, Some(was)).writes + Self::refused(None, Some(is)).writes
                }
                (was, is) => Self::refused(was.as_ref(), is.as_ref()).writes,
            };
            all.writes += writes;
            all.stored += grown(was.as_ref(), is.as_ref());
        }
        all
    }

    /// A write that its condition forbids costs what it would have cost in the table.
    pub fn refused(old: Option<&Value>, new: Option<&Value>) -> Self {
        let bytes = old.map_or(0, size).max(new.map_or(0, size));
        Self { writes: bytes.div_ceil(WRITE).max(1) as f64, ..Self::default() }
    }

    /// The same in a transaction.
    pub fn in_transaction(self) -> Self {
        Self { writes: self.writes * TRANSACTION, ..self }
    }

    /// What was read, by the answer. A query is charged for all it found together.
    pub fn read(request: &Value, answer: &Value) -> Self {
        let units = |bytes: usize, is_consistent: bool| {
            let units = bytes.div_ceil(READ).max(1) as f64;
            if is_consistent { units } else { units / 2.0 }
        };
        let is_consistent = |request: &Value| request["ConsistentRead"] == true;
        let mut reads = 0.0;
        if let Some(items) = answer["Items"].as_array() {
            reads += units(items.iter().map(size).sum(), is_consistent(request));
        }
        if request.get("Key").is_some() {
            reads += units(size(&answer["Item"]), is_consistent(request));
        }
        for (table, wanted) in request["RequestItems"].as_object().into_iter().flatten() {
            let found = answer["Responses"][table].as_array();
            let found = found.map(Vec::as_slice).unwrap_or_default();
            let asked = wanted["Keys"].as_array().map_or(0, Vec::len);
            reads += found.iter().map(|item| units(size(item), is_consistent(wanted))).sum::<f64>();
            reads += asked.saturating_sub(found.len()) as f64 * units(0, is_consistent(wanted));
        }
        Self { reads, ..Self::default() }
    }
}

/// By how much the bill's bytes grow with an item, or an entry of an index.
fn grown(old: Option<&Value>, new: Option<&Value>) -> f64 {
    let billed = |item: Option<&Value>| item.map_or(0.0, |item| size(item) as f64 + OVERHEAD);
    billed(new) - billed(old)
}

/// An item's bytes: names and values.
pub fn size(item: &Value) -> usize {
    item.as_object().map_or(0, |item| attributes(item, 0))
}

fn attributes(map: &Map<String, Value>, each: usize) -> usize {
    map.iter().map(|(name, value)| name.len() + value_size(value) + each).sum()
}

fn value_size(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    let text = |value: &Value| value.as_str().map_or(0, str::len);
    let list = || value.as_array().map(Vec::as_slice).unwrap_or_default();
    match kind.as_str() {
        "S" => text(value),
        // Two digits a byte, and one for the exponent.
        "N" => {
            value.as_str().map_or(0, |n| n.bytes().filter(u8::is_ascii_digit).count()).div_ceil(2)
                + 1
        }
        "B" => text(value) / 4 * 3,
        "M" => 3 + value.as_object().map_or(0, |map| attributes(map, 1)),
        "L" => 3 + list().iter().map(|value| value_size(value) + 1).sum::<usize>(),
        "SS" | "NS" => list().iter().map(text).sum(),
        "BS" => list().iter().map(|value| text(value) / 4 * 3).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An item of so many bytes.
    fn item(bytes: usize, due: Option<i64>) -> Value {
        let mut item = json!({"pk": {"S": "p"}, "sk": {"S": "s"}, "x": {"S": ""}});
        if let Some(at) = due {
            item["due_shard"] = json!({"S": "01"});
            item["due_at"] = json!({"N": at.to_string()});
        }
        let rest = bytes - size(&item);
        item["x"]["S"] = "y".repeat(rest).into();
        assert_eq!(size(&item), bytes);
        item
    }

    #[test]
    fn an_items_size_is_that_of_its_names_and_values() {
        for (item, bytes) in [
            (json!({"pk": {"S": "abc"}}), 2 + 3),
            (json!({"n": {"N": "12345"}}), 1 + 4),
            (json!({"b": {"B": "AAAA"}}), 1 + 3),
            (json!({"t": {"BOOL": true}, "z": {"NULL": true}}), 2 + 2),
            (json!({"m": {"M": {"a": {"S": "bc"}}}}), 1 + 3 + 1 + 1 + 2),
            (json!({"l": {"L": [{"S": "ab"}, {"S": "c"}]}}), 1 + 3 + 3 + 2),
            (json!({"s": {"SS": ["é", "b"]}}), 1 + 3),
        ] {
            assert_eq!(size(&item), bytes, "{item}");
        }
    }

    #[test]
    fn a_write_is_charged_by_the_larger_item_and_the_index_by_what_changes_in_it() {
        let writes = |old: Option<&Value>, new: &Value| Units::written(old, Some(new)).writes;
        let (small, large) = (item(1_024, None), item(1_025, None));
        assert_eq!((writes(None, &small), writes(None, &large)), (1.0, 2.0));
        assert_eq!(writes(Some(&large), &small), 2.0);
        let (due, later) = (item(500, Some(1)), item(500, Some(2)));
        assert_eq!(writes(None, &due), 2.0);
        assert_eq!(writes(Some(&due), &due), 1.0);
        assert_eq!(writes(Some(&due), &later), 3.0);
        assert_eq!(writes(Some(&due), &small), 2.0);
        assert_eq!(Units::refused(Some(&due), Some(&large)).writes, 2.0);
        assert_eq!(Units::written(None, Some(&due)).in_transaction().writes, 4.0);
        assert_eq!(Units::written(None, Some(&small)).stored, 1_124.0);
        assert_eq!(Units::written(Some(&large), Some(&small)).stored, -1.0);
    }

    #[test]
    fn an_index_that_holds_a_line_is_charged_whenever_the_line_changes() {
        let listed = |day: &str, line: &str, other: &str| {
            let mut item = item(500, None);
            item["day_shard"] = json!({"S": day});
            item["began"] = json!({"S": "t"});
            item["line"] = json!({"S": line});
            item["other"] = json!({"S": other});
            item
        };
        let writes = |old: Option<&Value>, new: Option<&Value>| Units::written(old, new).writes;
        let one = listed("d", "l", "o");
        let long = listed("d", &"l".repeat(1_100), "o");
        assert_eq!(writes(None, Some(&one)), 2.0);
        assert_eq!(writes(Some(&one), Some(&listed("d", "l", "p"))), 1.0);
        assert_eq!(writes(Some(&one), Some(&listed("d", "m", "o"))), 2.0);
        assert_eq!(writes(Some(&one), Some(&listed("e", "l", "o"))), 3.0);
        assert_eq!(writes(None, Some(&long)), 4.0);
        assert_eq!(writes(Some(&one), None), 2.0);
        // pk p, sk s, day_shard d, began t, line l: these bytes stand twice.
        let bytes = 2 + 1 + 2 + 1 + 9 + 1 + 5 + 1 + 4 + 1;
        assert_eq!(
            Units::written(None, Some(&one)).stored,
            (size(&one) + 100 + bytes + 100) as f64
        );
        assert_eq!(
            Units::written(Some(&one), None).stored,
            -((size(&one) + 100 + bytes + 100) as f64)
        );
        let mut of_contact = one.clone();
        of_contact["contact"] = json!({"S": "c"});
        assert_eq!(writes(Some(&one), Some(&of_contact)), 2.0);
    }

    #[test]
    fn a_deletion_is_charged_as_what_is_deleted() {
        assert_eq!(Units::written(Some(&item(1_025, Some(1))), None).writes, 3.0);
        assert_eq!(Units::written(None, None), Units { writes: 1.0, ..Units::default() });
    }

    #[test]
    fn a_read_is_charged_by_four_kilobytes_and_half_where_it_may_be_late() {
        let reads = |request: Value, answer: Value| Units::read(&request, &answer).reads;
        let large = item(4_097, None);
        let key = json!({"Key": {}});
        assert_eq!(reads(key.clone(), json!({"Item": large})), 1.0);
        assert_eq!(reads(key.clone(), json!({})), 0.5);
        assert_eq!(reads(json!({"Key": {}, "ConsistentRead": true}), json!({"Item": large})), 2.0);
        let three = vec![item(2_000, None); 3];
        assert_eq!(reads(json!({}), json!({"Items": three})), 1.0);
        assert_eq!(reads(json!({}), json!({"Items": []})), 0.5);
        let batch = json!({"RequestItems": {"t": {"Keys": [1, 2, 3]}}});
        assert_eq!(reads(batch, json!({"Responses": {"t": [large, item(9, None)]}})), 2.0);
        assert_eq!(reads(json!({"Item": {}}), json!({"Item": large})), 0.0);
    }
}
