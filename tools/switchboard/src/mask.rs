//! Masking of a body for operators: its structure and field names stay, its values do not.
//!
//! Letters become `x` and digits `0`, and all other characters stay, so that a missing value, a missing
//! quote or a date in the wrong order is visible. The body could not be parsed, so masking works on
//! tokens and treats every token that is not clearly a name as a value.

use regex_lite::{Captures, Regex};

/// The longest masked value, characters.
const LONGEST_VALUE: usize = 120;
/// The longest masked text without a known structure, characters.
const LONGEST_TEXT: usize = 400;
const LONGEST_NAME: usize = 64;

/// JSON: a name after `{` or `,` and before `:`; a string; a word; punctuation or white space.
const JSON: &str = r#"(?s)([{,]\s*)"([^"\\]*)"(\s*:)|"(?:[^"\\]|\\.)*"?|[^\s"{}\[\]:,]+|."#;
/// XML: a tag, or text.
const XML: &str = r"(?s)<[^>]*>?|[^<]+";
/// A tag: its element; a name, `=` and a value; the rest.
const TAG: &str = r#"(?s)^([</?]+)([^\s/>?]*)|(\s*)([^=]+)=("[^"]*"|'[^']*'|\S*)|[^=]+|."#;

/// A masked body, by its apparent format.
pub fn body(bytes: &[u8], content_type: &str) -> String {
    let text = String::from_utf8_lossy(bytes);
    let is_form = content_type.to_ascii_lowercase().contains("form-urlencoded");
    match text.trim_start().chars().next() {
        None => "(empty)".to_owned(),
        Some('{' | '[') => tokens(&text, JSON, json),
        Some('<') => tokens(&text, XML, xml),
        _ if is_form || has_pairs(&text) => {
            text.trim().split('&').map(pair).collect::<Vec<_>>().join("\n&")
        }
        _ => text_up_to(LONGEST_TEXT, &text),
    }
}

/// A masked path and query: the names of the parameters stay.
pub fn target(target: &str) -> String {
    match target.split_once('?') {
        Some((path, query)) => {
            let pairs: Vec<String> = query.split('&').map(pair).collect();
            format!("{}?{}", printable(path), pairs.join("&"))
        }
        None => printable(target),
    }
}

/// Text without control characters, which a terminal would execute.
pub fn printable(text: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_graphic() || *c == ' ';
    text.chars().map(|c| if is_plain(&c) { c } else { '?' }).collect()
}

/// A value.
fn value(text: &str) -> String {
    text_up_to(LONGEST_VALUE, text)
}

fn text_up_to(limit: usize, text: &str) -> String {
    let count = text.chars().count();
    let shown: String = text.chars().take(limit).map(character).collect();
    if count > limit { format!("{shown}…({count} characters)") } else { shown }
}

fn character(c: char) -> char {
    match c {
        c if c.is_numeric() => '0',
        c if c.is_uppercase() => 'X',
        c if c.is_alphabetic() => 'x',
        '\n' | '\t' | ' ' => c,
        c if c.is_ascii_graphic() => c,
        _ => '?',
    }
}

/// Whether a token in the place of a name is a name, and not a number or a person used as a key.
fn is_name(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || "_$@".contains(c));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.$@:[]".contains(c);
    let digits = |run: &str| run.len() >= 5 && run.bytes().all(|b| b.is_ascii_digit());
    let has_number = text.split(|c: char| !c.is_ascii_digit()).any(digits);
    begins && text.len() <= LONGEST_NAME && text.chars().all(is_plain) && !has_number
}

fn name(text: &str) -> String {
    if is_name(text) { text.to_owned() } else { value(text) }
}

/// A text with each token replaced by what `shown` makes of it. The patterns match any character.
fn tokens(text: &str, pattern: &str, shown: fn(&Captures<'_>) -> String) -> String {
    Regex::new(pattern).map_or_else(|_| value(text), |regex| regex.replace_all(text, shown).into())
}

fn json(token: &Captures<'_>) -> String {
    if let (Some(before), Some(inner), Some(after)) = (token.get(1), token.get(2), token.get(3)) {
        let spaces = |text: &str| text.chars().map(character).collect::<String>();
        let (before, after) = (spaces(before.as_str()), spaces(after.as_str()));
        return format!("{before}\"{}\"{after}", name(inner.as_str()));
    }
    match &token[0] {
        word @ ("true" | "false" | "null") => word.to_owned(),
        other => value(other),
    }
}

fn xml(token: &Captures<'_>) -> String {
    match token[0].starts_with('<') && !token[0].starts_with("<!") {
        true => tokens(&token[0], TAG, tag),
        false => value(&token[0]),
    }
}

fn tag(token: &Captures<'_>) -> String {
    if let (Some(open), Some(element)) = (token.get(1), token.get(2)) {
        return format!("{}{}", open.as_str(), name(element.as_str()));
    }
    match (token.get(3), token.get(4), token.get(5)) {
        (Some(blanks), Some(attribute), Some(text)) => {
            let blanks = " ".repeat(blanks.as_str().chars().count());
            format!("{blanks}{}={}", name(attribute.as_str()), value(text.as_str()))
        }
        _ => value(&token[0]),
    }
}

/// One pair, its value decoded, so that `%2B` does not look like a number.
fn pair(pair: &str) -> String {
    let Some((before, _)) = pair.split_once('=') else { return value(pair) };
    let decoded = form_urlencoded::parse(pair.as_bytes()).next();
    let decoded = decoded.map(|(_, value)| value.into_owned()).unwrap_or_default();
    format!("{}={}", name(before), value(&decoded).replace('\n', " "))
}

fn has_pairs(text: &str) -> bool {
    let has_name = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| is_name(name.trim()));
    text.split('&').all(has_name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(text: &str) -> String {
        body(text.as_bytes(), "")
    }

    #[test]
    fn the_shape_of_a_body_shows_and_its_values_do_not() {
        for (sent, shown) in [
            // What an empty variable leaves behind.
            (
                r#"{"provider":"asterisk","clientPhone":"+79991234567","durationSec":,"a":true}"#,
                r#"{"provider":"xxxxxxxx","clientPhone":"+00000000000","durationSec":,"a":true}"#,
            ),
            (r#"[{"a": 12.5, "b": null}, -3]"#, r#"[{"a": 00.0, "b": null}, -0]"#),
            (r#"{"name":"Kim "The Boss" Lee"}"#, r#"{"name":"Xxx "Xxx Xxxx" Xxx"}"#),
            (r#"{"a": ${CDR(billsec)} }"#, r#"{"a": ${XXX(xxxxxxx)} }"#),
            (r#"{"a": "Kim": 1}"#, r#"{"a": "Xxx": 0}"#),
            (r#"{"a": "Kim"#, r#"{"a": "Xxx"#),
            // A name in its place that is a number or a person.
            (
                r#"{"+61491570156": 1, "61491570156": 2}"#,
                r#"{"+00000000000": 0, "00000000000": 0}"#,
            ),
            (
                r#"{"Kim Example": 1, "a_61491570156": 2}"#,
                r#"{"Xxx Xxxxxxx": 0, "x_00000000000": 0}"#,
            ),
            ("CallSid=CA12&To=%2B6149&Name=", "CallSid=XX00\n&To=+0000\n&Name="),
            (
                "<?xml version=\"1.0\"?>\n<Call id=\"12\" who='Kim Lee'><To>+6149</To><Empty/></Call>",
                "<?xml version=\"0.0\"?>\n<Call id=\"00\" who='Xxx Xxx'><To>+0000</To><Empty/></Call>",
            ),
            (r#"{"4917": 1, "": 2}"#, r#"{"0000": 0, "": 0}"#),
            ("<a><![CDATA[Kim]]></a>", "<a><![XXXXX[Xxx]]></a>"),
            ("Hello Kim, +61", "Xxxxx Xxx, +00"),
            ("", "(empty)"),
            ("\u{1b}[31mred\u{7}", "?[00xxxx?"),
        ] {
            assert_eq!(masked(sent), shown);
        }
        let form = body(b"CallSid=CA12&Kim", "application/x-www-form-urlencoded; charset=utf-8");
        assert_eq!(form, "CallSid=XX00\n&Xxx");
        assert_eq!(masked(&"é".repeat(500)), format!("{}…(500 characters)", "x".repeat(400)));
        assert_eq!(
            target("/callback?contact_name=Kim+Lee&+6149=1&x"),
            "/callback?contact_name=Xxx Xxx&+0000=0&x"
        );
    }

    /// Runs of three or more letters and digits that a value and what is shown have in common.
    fn survivors(value: &str, shown: &str) -> Vec<String> {
        let chars: Vec<char> = value.chars().collect();
        let runs = chars.windows(3).filter(|run| run.iter().all(|c| c.is_alphanumeric()));
        let runs = runs.map(|run| run.iter().collect::<String>());
        runs.filter(|run| shown.contains(run.as_str())).collect()
    }

    /// Values of all that a value may be made of, but for the characters that masks are made of;
    /// the names below are of letters that no value has.
    fn any_value() -> impl Strategy<Value = String> {
        "[A-WYZa-fh-km-wz1-9éИ名 \"\\\\{}\\[\\]:,=&<>/'?+%\n\u{1b}-]{0,40}"
    }

    proptest! {
        #[test]
        fn no_value_survives_and_every_name_does(
            values in prop::collection::vec(any_value(), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let named = || values.iter().enumerate().map(|(n, value)| (format!("gl{n}"), value));
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            let json: Vec<String> =
                named().map(|(name, value)| format!("\"{name}\": {}", quoted(value))).collect();
            let json = format!("{{{}}}", json.join(", "));
            let form = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(named()).finish();
            let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
            let xml: String =
                named().map(|(name, value)| format!("<{name}>{}</{name}>", escaped(value))).collect();
            for sent in [&json, &form, &xml] {
                let shown = masked(sent);
                for (name, value) in named() {
                    prop_assert!(shown.contains(&name), "{name} is not in {shown}");
                    prop_assert_eq!(survivors(value, &shown), Vec::<String>::new(), "{}", shown);
                }
            }
            // Cut off anywhere, or with quotes that are not escaped, no more is shown.
            let broken: String = named()
                .map(|(name, value)| format!("\"{name}\": \"{value}\", ")).collect();
            for sent in [&json, &format!("{{{broken}}}"), &xml, &form] {
                let cut = cut.index(sent.len() + 1);
                let shown = body(sent.as_bytes().get(..cut).unwrap(), "");
                for value in values.iter().filter(|value| !value.contains([',', '{', '<', '&', '='])) {
                    prop_assert_eq!(survivors(value, &shown), Vec::<String>::new(), "{}", shown);
                }
            }
        }

        #[test]
        fn any_bytes_can_be_shown(bytes in any::<Vec<u8>>(), first in "[{<a=\"]{0,3}") {
            let shown = body(&[first.as_bytes(), &bytes].concat(), "");
            prop_assert!(shown.chars().all(|c| c == '…' || c == '\n' || c == '\t' || !c.is_control()));
        }
    }
}
