//! What the template deploys: the time and memory of each function, alarms, how long things are kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::Failure;

/// A function's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Seconds.
    pub timeout: u32,
    /// MB.
    pub memory: u32,
}

/// Reads a function's limits from `template.yaml`: its own, or those of all functions.
pub fn grant(root: &Path, name: &str) -> Result<Grant, Failure> {
    let template = fs::read_to_string(root.join("template.yaml"))?;
    let missing = |what: &str| Failure::new(format!("template.yaml: no {what} of {name}"));
    let code = format!("CodeUri: target/lambda/{name}/");
    let own = sections(&template).into_iter().find(|section| section.contains(&code));
    let own = own.ok_or_else(|| missing("function"))?;
    let all = template.split("\nResources:").next().unwrap_or_default();
    let value = |key: &str| number(own, key).or_else(|| number(all, key));
    Ok(Grant {
        timeout: value("Timeout").ok_or_else(|| missing("Timeout"))?,
        memory: value("MemorySize").ok_or_else(|| missing("MemorySize"))?,
    })
}

/// What a month is charged for whatever comes.
#[derive(Clone, Debug, Default)]
pub struct Deployed {
    /// Limits by function.
    pub grants: BTreeMap<String, Grant>,
    /// How many alarms there are.
    pub alarms: f64,
    /// How long a call is kept.
    pub retention_days: f64,
    /// How long a log line is kept.
    pub log_retention_days: f64,
}

impl Deployed {
    /// Reads it from `template.yaml`, with the parameters' defaults.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        let template = fs::read_to_string(root.join("template.yaml"))?;
        let days = |name: &str| {
            let head = format!("  {name}:\n");
            let own = sections(&template).into_iter().find(|section| section.starts_with(&head));
            let days = own.and_then(|own| number(own, "Default")).map(f64::from);
            days.ok_or_else(|| Failure::new(format!("template.yaml: no default of {name}")))
        };
        let names = crate::programs::binaries(root)?.into_iter();
        // A binary that is not in the template yet has no limits; whoever asks for them is told.
        let grants = names.filter_map(|name| Some((name.clone(), grant(root, &name).ok()?)));
        Ok(Self {
            grants: grants.collect(),
            // One with a condition is of a part that is off unless somebody switches it on.
            alarms: template.matches("Type: AWS::CloudWatch::Alarm\n    Properties:\n").count()
                as f64,
            retention_days: days("RetentionDays")?,
            log_retention_days: days("LogRetentionDays")?,
        })
    }

    /// A function's limits.
    pub fn grant(&self, name: &str) -> Result<Grant, Failure> {
        let missing = || Failure::new(format!("template.yaml: no limits of {name}"));
        self.grants.get(name).copied().ok_or_else(missing)
    }
}

/// The template's parts that begin with a name two spaces in.
fn sections(template: &str) -> Vec<&str> {
    let is_name = |line: &str| {
        line.strip_prefix("  ").is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic()))
    };
    let (mut starts, mut at) = (vec![0], 0);
    for line in template.split_inclusive('\n') {
        if is_name(line) {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(template.len());
    starts.windows(2).filter_map(|pair| template.get(*pair.first()?..*pair.last()?)).collect()
}

fn number(text: &str, key: &str) -> Option<u32> {
    let value = |line: &str| line.trim().strip_prefix(key)?.strip_prefix(':')?.trim().parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_the_functions_own_or_those_of_all() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = fs::read_to_string(root.join("template.yaml")).unwrap();
        let all = number(text.split("\nResources:").next().unwrap(), "MemorySize").unwrap();
        for name in crate::programs::binaries(&root).unwrap() {
            let granted = grant(&root, &name).unwrap_or_else(|failure| panic!("{failure}"));
            assert!((1..=900).contains(&granted.timeout), "{name}");
            assert!(granted.memory >= 128 && all >= 128, "{name}");
        }
        assert!(grant(&root, "no-such-function").is_err());
    }

    #[test]
    fn what_is_deployed_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let deployed = Deployed::read(&root).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(deployed.grants.len(), crate::programs::binaries(&root).unwrap().len());
        assert!(deployed.alarms >= 1.0 && deployed.grant("no-such-function").is_err());
        assert!(deployed.retention_days > deployed.log_retention_days);
        assert!(deployed.log_retention_days >= 1.0);
    }
}
