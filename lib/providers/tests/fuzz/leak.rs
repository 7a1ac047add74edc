//! Whether an error shows a value of the request that it is about.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::input::Input;

/// A value that an error shows: six or more letters and digits, a digit among them. Names of fields
/// may be shown.
pub fn leaked(error: &str, input: &Input) -> Option<String> {
    if runs(error).is_empty() {
        return None;
    }
    let mut names = BTreeSet::new();
    let mut values = BTreeSet::new();
    match serde_json::from_slice::<Value>(&input.body) {
        Ok(value) => of_json(&value, &mut names, &mut values),
        Err(_) if input.body.contains(&b'"') => {
            of_broken_json(&input.body, &mut names, &mut values)
        }
        Err(_) => of_form(&input.body, &mut names, &mut values),
    }
    of_form(input.query().as_bytes(), &mut names, &mut values);
    values
        .into_iter()
        .find(|value| error.contains(value) && !names.iter().any(|name| name.contains(value)))
}

/// The runs of letters and digits in a text that may identify a person.
fn runs(text: &str) -> Vec<String> {
    let telling = |run: &&str| run.len() >= 6 && run.bytes().any(|b| b.is_ascii_digit());
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(telling).map(str::to_owned).collect()
}

fn of_json(value: &Value, names: &mut BTreeSet<String>, values: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            names.insert(name.clone());
            of_json(value, names, values);
        }),
        Value::Array(items) => items.iter().for_each(|item| of_json(item, names, values)),
        Value::String(text) => values.extend(runs(text)),
        other => values.extend(runs(&other.to_string())),
    }
}

/// Of text that is almost JSON, a string is a name if a brace or a comma stands before it. All else
/// is a value.
fn of_broken_json(body: &[u8], names: &mut BTreeSet<String>, values: &mut BTreeSet<String>) {
    let text = String::from_utf8_lossy(body);
    let mut before = "";
    for part in text.split('"') {
        if before.trim_end().ends_with(['{', ',']) {
            names.insert(part.to_owned());
        } else {
            values.extend(runs(part));
        }
        before = part;
    }
}

fn of_form(form: &[u8], names: &mut BTreeSet<String>, values: &mut BTreeSet<String>) {
    for pair in form.split(|b| *b == b'&') {
        for (name, value) in form_urlencoded::parse(pair) {
            values.extend(runs(&value));
            if pair.contains(&b'=') {
                names.insert(name.into_owned());
            } else {
                values.extend(runs(&name));
            }
        }
    }
}
