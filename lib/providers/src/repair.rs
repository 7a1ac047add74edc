//! JSON that one character keeps from being JSON, mended so that it shows.

/// U+FFFD, as JSON writes it.
const UNKNOWN: &str = "\\ufffd";

/// A body as text, with what may not stand in JSON mended: in a string, the end of a line and other
/// control characters are escaped, half of a surrogate pair and bytes that are not UTF-8 become U+FFFD,
/// and a backslash before nothing that it escapes is a backslash. Between strings, blanks that JSON does
/// not know are spaces.
pub fn mended(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.as_ref();
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        if in_string && c == '\\' {
            let (escape, length) = escape(rest);
            out.push_str(&escape);
            rest = rest.get(length..).unwrap_or_default();
            continue;
        }
        in_string ^= c == '"';
        match c {
            '\n' if in_string => out.push_str("\\n"),
            '\r' if in_string => out.push_str("\\r"),
            '\t' if in_string => out.push_str("\\t"),
            c if in_string && c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            '\n' | '\r' => out.push(c),
            c if !in_string && is_blank(c) => out.push(' '),
            c => out.push(c),
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    out
}

/// What takes the place of the escape that a text begins with, and how long that is.
fn escape(text: &str) -> (String, usize) {
    let whole = |length: usize| (text.get(..length).unwrap_or_default().to_owned(), length);
    match text.as_bytes().get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => whole(2),
        Some(b'u') => match (unit(text), text.get(6..).and_then(unit)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => whole(12),
            (Some(0xd800..0xe000), _) => (UNKNOWN.to_owned(), 6),
            (Some(_), _) => whole(6),
            (None, _) => ("\\\\".to_owned(), 1),
        },
        _ => ("\\\\".to_owned(), 1),
    }
}

/// The code unit of an escape `\uXXXX`.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// Blanks of other texts than JSON: no-break spaces, marks of no width, zeros at the end of a buffer.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || ('\u{200b}'..='\u{200f}').contains(&c)
        || "\u{2060}\u{feff}".contains(c)
}

/// Why a text is not JSON, where that can be said of the place at which it stops being JSON.
pub fn reason(text: &[u8], at: usize) -> Option<&'static str> {
    let stop = *text.get(at)?;
    let before = text.get(..at)?.trim_ascii_end();
    if matches!(stop, b'}' | b']') && before.ends_with(b",") {
        return Some("has a comma before the end of a list or object: leave it out");
    }
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || b"-+".contains(b);
    let start = text.get(..at)?.iter().rposition(|b| !is_word(b)).map_or(0, |last| last + 1);
    let end = text.get(at..)?.iter().position(|b| !is_word(b)).map_or(text.len(), |n| at + n);
    let word = text.get(start..end)?;
    let known: [(&str, &'static str); 6] = [
        ("nan", "has NaN, which JSON does not know: send null, or leave the field out"),
        ("infinity", "has Infinity, which JSON does not know: send null, or leave the field out"),
        ("undefined", "has undefined, which JSON does not know: send null, or leave the field out"),
        ("none", "has None, which JSON does not know: send null, or leave the field out"),
        ("true", "has True, which JSON writes true"),
        ("false", "has False, which JSON writes false"),
    ];
    let word = word.strip_prefix(b"-").unwrap_or(word);
    let is = |(name, _): &&(&str, &str)| word.eq_ignore_ascii_case(name.as_bytes());
    known
        .iter()
        .find(is)
        .map(|(_, reason)| *reason)
        .or_else(|| (stop == b'\'').then_some("has ' where JSON has \""))
}

/// Whether the bytes are text of two or four bytes a character, by its mark or by its zeros.
pub fn is_wide(body: &[u8]) -> bool {
    match body {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 0, 0xfe, 0xff, ..] => true,
        [a, b, c, d, ..] => (*a == 0) != (*b == 0) && (*c == 0 || *d == 0),
        _ => false,
    }
}
