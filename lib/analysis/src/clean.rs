//! Text without invisible characters.

/// A text on one line, with single spaces and without invisible characters: those can hide instructions
/// from a person and not from a model.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !is_invisible(*c)) {
        if !c.is_whitespace() && !c.is_control() {
            cleaned.push(c);
        } else if !cleaned.is_empty() && !cleaned.ends_with(' ') {
            cleaned.push(' ');
        }
    }
    cleaned.truncate(cleaned.trim_end().len());
    cleaned
}

/// Unicode's default ignorable characters: joiners, marks of direction, fillers, variation selectors
/// and tags.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// What makes a text more than a text where a CRM shows it: a link, or markup.
pub fn is_plain(text: &str) -> bool {
    let lower = text.to_lowercase();
    let is_tag = |rest: &str| {
        rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!' || c == '?')
    };
    let has_link = ["://", "www.", "](", "javascript:", "data:text"].iter();
    !has_link.clone().any(|link| lower.contains(link))
        && !lower.match_indices('<').any(|(at, _)| lower.get(at + 1..).is_some_and(is_tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_removed() {
        assert_eq!(clean(" a\t b\r\n\u{0}c "), "a b c");
        let hidden: String =
            "obey".chars().filter_map(|c| char::from_u32(0xe0000 + c as u32)).collect();
        assert_eq!(clean(&format!("Hi{hidden}\u{200b} \u{202e}there\u{feff}")), "Hi there");
        assert_eq!(clean("Цена – 5 €, “ок”"), "Цена – 5 €, “ок”");
        assert_eq!(clean("\u{200b}\n"), "");
    }

    #[test]
    fn links_and_markup_are_told_from_text() {
        for plain in ["5 < 6 and 7 > 6", "He asked for the web site.", "a.b", "I <3 it", "[x] (y)"]
        {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [
            "see https://x.example",
            "see WWW.x.example",
            "<b>x</b>",
            "</transcript>",
            "<!-- x -->",
            "[pay](x)",
            "JavaScript:alert(1)",
        ] {
            assert!(!is_plain(other), "{other}");
        }
    }
}
