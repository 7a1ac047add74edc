//! The ids of calls and of what belongs to them: what is none, and all the digits of those that are.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// Text with something in it: not blank, and not a template variable that was never filled in.
pub fn present(text: &str) -> Option<&str> {
    let text = text.trim();
    let unfilled = (text.starts_with("{{") && text.ends_with("}}"))
        || (text.starts_with("${") && text.ends_with('}'));
    (!text.is_empty() && !unfilled).then_some(text)
}

/// An id: not what a template or a program leaves where there is none. Taken for an id, that would make
/// different calls one.
pub fn id(text: &str) -> Option<&str> {
    let text = present(text)?;
    let word = text.trim_matches(|c: char| !c.is_alphanumeric());
    let is_none = NO_ID.iter().any(|none| word.eq_ignore_ascii_case(none)) || text == "-1";
    // Not `0`, `-`, `0.0` or the UUID that is all zeros.
    let is_filled = text.chars().any(|c| c.is_alphanumeric() && c != '0');
    (is_filled && !is_none && !is_variable(text, word)).then_some(text)
}

/// Words for no id, in lower case.
const NO_ID: [&str; 12] = [
    "undefined",
    "null",
    "none",
    "nil",
    "nan",
    "n/a",
    "na",
    "unknown",
    "empty",
    "false",
    "true",
    "not set",
];

/// Whether a text is the name of a variable with the signs of a template around it: `$uuid`,
/// `[CallID]`, `%{CALLID}`, `<call_id>`, `{call_id}`, `@@id@@`, `#{id}`, `__ID__`. An id in brackets
/// (a UUID in `{}`, SIP's in `<>`) has digits or an address.
fn is_variable(text: &str, name: &str) -> bool {
    let begins = text.starts_with(|c| "$%@:#{[(<*!&~|\\".contains(c));
    let is_name = name.chars().all(|c| c.is_alphanumeric() || "_-.:| /%()'\"=?$".contains(c))
        && name.contains(char::is_alphabetic)
        && name.chars().filter(char::is_ascii_digit).count() < 4;
    is_name && (begins || (text.starts_with("__") && text.ends_with("__")))
}

/// Any JSON, its ids with all of their digits: as a number `1708416000.10` would be `1708416000.1`,
/// which is another call.
pub fn read(text: &[u8]) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::from_slice(text)?;
    if has_fraction_as_id(&value) {
        keep_digits(&mut value, serde_json::from_slice(text)?);
    }
    Ok(value)
}

/// A number of more than 64 bits is a fraction as well.
fn is_fraction_as_id(name: &str, value: &Value) -> bool {
    let lower = name.trim().to_ascii_lowercase();
    value.is_f64() && lower.ends_with("id")
}

fn has_fraction_as_id(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| is_fraction_as_id(name, value) || has_fraction_as_id(value)),
        Value::Array(items) => items.iter().any(has_fraction_as_id),
        _ => false,
    }
}

fn keep_digits(value: &mut Value, written: &RawValue) {
    let text = written.get();
    match value {
        Value::Object(fields) => {
            let written: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).unwrap_or_default();
            for (name, value) in fields {
                let Some(written) = written.get(name) else { continue };
                if is_fraction_as_id(name, value) {
                    *value = Value::String(written.get().to_owned());
                } else if has_fraction_as_id(value) {
                    keep_digits(value, written);
                }
            }
        }
        Value::Array(items) => {
            let written: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            for (item, written) in items.iter_mut().zip(written) {
                keep_digits(item, written);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_leaves_is_no_id() {
        for text in [
            "undefined",
            "null",
            "None",
            "NaN",
            "(null)",
            "N/A",
            "-",
            "0",
            "[object Object]",
            "$uuid",
            "[CallID]",
            "%{CALLID}",
            "<call_id>",
            "{call_id}",
            "nil",
            "NULL",
            "%CALLID%",
            "@@id@@",
            "#{id}",
            "{{id}}",
            "${id}",
            "{{{id}}}",
            "[[id]]",
            "$(CALLID)",
            "%(call_id)s",
            "%s",
            ":id",
            "<%= call.id %>",
            "<?php echo $id ?>",
            "{% id %}",
            "*|ID|*",
            "__CALLID__",
            "#N/A",
            "\\N",
            "<undefined>",
            "'null'",
            "\"\"",
            "--",
            "0.0",
            "-1",
            "",
            "00000000-0000-0000-0000-000000000000",
            "%7Bcall_id%7D",
        ] {
            assert_eq!(id(text), None, "{text}");
        }
        for text in [
            "1",
            "CA00000000000000000000000000000001",
            "1708416000.10",
            "pbx-1708416000.1",
            "0-1",
            "{3F2504E0-4F89-11D3-9A0C-0305E82C3301}",
            "<a84b4c76e66710@host.example>",
            "call-1",
            "#12",
            "<abcdef@host.example>",
            "none-1",
            "conv_null",
            "nanette",
            "_a_",
        ] {
            assert_eq!(id(text), Some(text));
        }
    }

    #[test]
    fn an_id_keeps_its_digits() {
        let body = br#"{"uniqueid": 1708416000.10, "data": [{"callId": 12345678901234567890123,
            "cost": 1.50}, {"call_id": 1.0e3, "id": 7, "\u0069d ": 2.50}]}"#;
        let value = read(body).unwrap();
        assert_eq!(value["uniqueid"], "1708416000.10");
        assert_eq!(value["data"][0]["callId"], "12345678901234567890123");
        assert_eq!(value["data"][0]["cost"], 1.5);
        assert_eq!(
            value["data"][1],
            serde_json::json!({"call_id": "1.0e3", "id": 7, "id ": "2.50"})
        );
    }
}
