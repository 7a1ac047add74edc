//! What can be seen in a template without running it: the names that it uses after `|` and `is`, and
//! the values that it compares with.

/// What was seen, each with its line, beginning at 1.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Names of filters.
    pub filters: Vec<(usize, String)>,
    /// Names of tests.
    pub tests: Vec<(usize, String)>,
    /// Texts between quotation marks.
    pub texts: Vec<String>,
    /// Whole numbers.
    pub numbers: Vec<u32>,
}

/// Looks through a template.
pub fn scan(source: &str) -> Seen {
    let mut seen = Seen::default();
    let mut rest = source;
    let mut line = 1;
    while let Some(begin) =
        rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min()
    {
        line += newlines(&rest[..begin]);
        let end = match &rest[begin..begin + 2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let inner = &rest[begin + 2..];
        if end == "#}" {
            let length = inner.find(end).unwrap_or(inner.len());
            line += newlines(&inner[..length]);
            rest = inner.get(length + 2..).unwrap_or_default();
            continue;
        }
        rest = code(inner, end, &mut line, &mut seen);
    }
    seen
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// What a word means by what stands before it.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Nothing,
    Bar,
    Is,
}

/// Looks through one expression or statement. What follows it is returned.
fn code<'a>(text: &'a str, end: &str, line: &mut usize, seen: &mut Seen) -> &'a str {
    let mut rest = text;
    let mut before = Before::Nothing;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(end) {
            return after;
        }
        let length = match first {
            '"' | '\'' => {
                let (text, length) = quoted(&rest[1..], first);
                seen.texts.push(text);
                1 + length
            }
            _ if first.is_ascii_digit() => {
                let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                seen.numbers.extend(rest[..digits].parse::<u32>());
                digits
            }
            _ if first.is_alphabetic() || first == '_' => {
                let is_in_word = |c: char| c.is_alphanumeric() || c == '_';
                let length = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
                let word = &rest[..length];
                let found = || (*line, word.to_owned());
                let ahead = &text[..text.len() - rest.len()];
                let is_tag = end == "%}" && !ahead.contains(char::is_alphanumeric);
                before = match (before, word) {
                    (Before::Is, "not") => Before::Is,
                    (Before::Is, _) => {
                        seen.tests.push(found());
                        Before::Nothing
                    }
                    (Before::Bar, _) => {
                        seen.filters.push(found());
                        Before::Nothing
                    }
                    (Before::Nothing, "is") => Before::Is,
                    (Before::Nothing, "filter") if is_tag => Before::Bar,
                    (Before::Nothing, _) => Before::Nothing,
                };
                rest = &rest[length..];
                continue;
            }
            _ => first.len_utf8(),
        };
        *line += newlines(&rest[..length]);
        if !first.is_whitespace() {
            before = if first == '|' { Before::Bar } else { Before::Nothing };
        }
        rest = &rest[length..];
    }
    rest
}

/// A text up to its closing mark, and how long it is with it.
fn quoted(rest: &str, mark: char) -> (String, usize) {
    let mut text = String::new();
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => {
                text.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            _ if c == mark => return (text, at + c.len_utf8()),
            _ => text.push(c),
        }
    }
    (text, rest.len())
}
