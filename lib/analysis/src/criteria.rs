//! The criteria that a conversation is scored by: those of its source, and the script of the call.

use switchboard_domain::Personal;
use switchboard_domain::analysis::Criterion;
use switchboard_domain::analysis::settings::DEFAULT_SCALE;

use crate::clean::clean;

/// A script's points beyond these are not asked for one by one.
const MOST_POINTS: usize = 12;
/// Of one point, characters.
const LONGEST_POINT: usize = 300;

/// One criterion of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedScore {
    /// The name of its score.
    pub name: String,
    /// What the conversation must show.
    pub description: Personal,
    /// The best score; the worst is 0.
    pub scale: u32,
}

/// The configured criteria, then the script's: each of its points where it is a list, else the script as
/// a whole.
pub fn of(configured: &[Criterion], script: Option<&Personal>) -> Vec<RequestedScore> {
    let criterion = |name: String, description: String, scale| RequestedScore {
        name,
        description: Personal::new(description),
        scale,
    };
    let mut all: Vec<RequestedScore> = configured
        .iter()
        .map(|one| criterion(one.name.to_string(), clean(&one.description), one.scale))
        .collect();
    let Some(script) = script.map(Personal::expose).filter(|script| !clean(script).is_empty())
    else {
        return all;
    };
    let points: Vec<String> = script.lines().filter_map(point).take(MOST_POINTS).collect();
    if points.len() < 2 {
        all.push(criterion(
            "script".into(),
            "The employee kept to the script.".into(),
            DEFAULT_SCALE,
        ));
        return all;
    }
    let name = |n| format!("script_{}", n + 1);
    let points = points.into_iter().enumerate();
    all.extend(points.map(|(n, point)| criterion(name(n), point, DEFAULT_SCALE)));
    all
}

/// The text of a line that is a point of a list: `- …`, `* …`, `• …`, `1. …`, `2) …`.
fn point(line: &str) -> Option<String> {
    let line = line.trim();
    let digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let text = match digits.len() < line.len() {
        true => digits.strip_prefix(['.', ')'])?,
        false => line.strip_prefix(['-', '*', '•', '–', '—'])?,
    };
    let text: String = clean(text).chars().take(LONGEST_POINT).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(script: Option<&str>) -> Vec<(String, String)> {
        let configured: Criterion =
            serde_json::from_str(r#"{"name": "greeting", "description": "Says who  calls."}"#)
                .unwrap();
        let script = script.map(Personal::new);
        of(&[configured], script.as_ref())
            .into_iter()
            .map(|criterion| (criterion.name, criterion.description.expose().to_owned()))
            .collect()
    }

    #[test]
    fn a_list_is_asked_for_point_by_point_and_a_text_as_a_whole() {
        let greeting = ("greeting".to_owned(), "Says who calls.".to_owned());
        assert_eq!(names(None), std::slice::from_ref(&greeting));
        assert_eq!(names(Some(" \n")), std::slice::from_ref(&greeting));
        let whole = ("script".to_owned(), "The employee kept to the script.".to_owned());
        assert_eq!(names(Some("Скрипт реактивации")), [greeting.clone(), whole.clone()]);
        assert_eq!(names(Some("Be kind.\n- say hello")), [greeting.clone(), whole]);
        let point = |n: u32, text: &str| (format!("script_{n}"), text.to_owned());
        assert_eq!(
            names(Some("Script:\n1. Say hello\n2) Ask why\n- Thank\n-\n")),
            [greeting, point(1, "Say hello"), point(2, "Ask why"), point(3, "Thank")]
        );
        let long = (0..40).map(|n| format!("- {n}{}\n", "x".repeat(400))).collect::<String>();
        let many = names(Some(&long));
        assert_eq!(many.len(), 1 + MOST_POINTS);
        assert!(many[1..].iter().all(|(_, text)| text.chars().count() == LONGEST_POINT));
    }
}
