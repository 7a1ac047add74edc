//! How a source wants its transcripts analysed: its `analyze`.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::config::ConfigError;
use crate::key::Name;
use crate::time::Seconds;

/// How long a call's first delivery waits for its analysis, where a source says nothing else.
pub const DEFAULT_WAIT: Seconds = Seconds(60);
/// A call is delivered within the hour, whatever a model does. Seconds.
const LONGEST_WAIT: u32 = 3_600;
/// So many criteria are asked for: each has to be answered with evidence.
pub const MOST_CRITERIA: usize = 12;
/// Of a criterion's description, bytes.
pub const LONGEST_DESCRIPTION: usize = 500;
const LARGEST_SCALE: u32 = 100;
/// The best score where a criterion says nothing else.
pub const DEFAULT_SCALE: u32 = 5;

/// How a source wants its transcripts analysed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether its transcripts are analysed where a call's context does not decide.
    #[serde(default = "yes")]
    pub on: bool,
    /// The criteria that each conversation is scored by.
    #[serde(default)]
    pub criteria: Vec<Criterion>,
    /// How long a call's first delivery waits for its analysis once the transcript is known.
    #[serde(default = "default_wait", rename = "wait_seconds")]
    pub wait: Seconds,
    /// Whether tasks are made where a call's context does not decide.
    #[serde(default = "yes")]
    pub create_tasks: bool,
}

/// One criterion that a conversation is scored by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// The name of its score.
    pub name: Name,
    /// What the conversation must show.
    pub description: String,
    /// The best score; the worst is 0.
    #[serde(default = "default_scale")]
    pub scale: u32,
}

fn yes() -> bool {
    true
}

fn default_wait() -> Seconds {
    DEFAULT_WAIT
}

fn default_scale() -> u32 {
    DEFAULT_SCALE
}

impl Default for Settings {
    fn default() -> Self {
        Self { on: true, criteria: Vec::new(), wait: DEFAULT_WAIT, create_tasks: true }
    }
}

impl Settings {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.wait.0 > LONGEST_WAIT {
            return Err(ConfigError::new("analyze.wait_seconds", "must be 3600 at most"));
        }
        if self.criteria.len() > MOST_CRITERIA {
            return Err(ConfigError::new("analyze.criteria", "must be 12 at most"));
        }
        let mut names = BTreeSet::new();
        for (n, criterion) in self.criteria.iter().enumerate() {
            let fault = |field: &str, problem: &str| {
                Err(ConfigError::new(format!("analyze.criteria[{n}].{field}"), problem))
            };
            let name = criterion.name.as_str();
            if !names.insert(name) {
                return fault("name", "is that of another criterion");
            }
            if name == "script" || name.starts_with("script_") {
                return fault("name", "is reserved for a call's script");
            }
            let description = criterion.description.trim();
            if description.is_empty() || description.len() > LONGEST_DESCRIPTION {
                return fault("description", "must be a text of 1 to 500 bytes");
            }
            if !(1..=LARGEST_SCALE).contains(&criterion.scale) {
                return fault("scale", "must be a whole number, 1 to 100");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_refused_with_its_field() {
        let read = |json: &str| serde_json::from_str::<Settings>(json).unwrap();
        assert_eq!(read("{}"), Settings::default());
        let full = r#"{"on": false, "wait_seconds": 5, "create_tasks": false, "criteria":
            [{"name": "greeting", "description": "Says who calls.", "scale": 3}]}"#;
        assert_eq!(read(full).check(), Ok(()));
        let one = |name: &str, description: &str, scale: u32| {
            format!(r#"{{"name": "{name}", "description": "{description}", "scale": {scale}}}"#)
        };
        let long = "x".repeat(501);
        for (criteria, field) in [
            (vec![one("a", "x", 1), one("a", "y", 1)], "analyze.criteria[1].name"),
            (vec![one("script", "x", 1)], "analyze.criteria[0].name"),
            (vec![one("script_3", "x", 1)], "analyze.criteria[0].name"),
            (vec![one("a", " ", 1)], "analyze.criteria[0].description"),
            (vec![one("a", &long, 1)], "analyze.criteria[0].description"),
            (vec![one("a", "x", 0)], "analyze.criteria[0].scale"),
            (vec![one("a", "x", 101)], "analyze.criteria[0].scale"),
            ((0..13).map(|n| one(&format!("c{n}"), "x", 1)).collect(), "analyze.criteria"),
        ] {
            let settings = read(&format!(r#"{{"criteria": [{}]}}"#, criteria.join(",")));
            assert_eq!(settings.check().unwrap_err().field, field);
        }
        let late = read(r#"{"wait_seconds": 3601}"#).check().unwrap_err();
        assert_eq!(late.field, "analyze.wait_seconds");
        for json in [r#"{"onn": true}"#, r#"{"criteria": [{"name": "a b", "description": "x"}]}"#] {
            assert!(serde_json::from_str::<Settings>(json).is_err(), "{json}");
        }
    }
}
