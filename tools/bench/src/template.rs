//! What the template deploys: the time and memory of each function, alarms, how long things are kept.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

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
    grant_in(&template(root)?, name)
}

fn template(root: &Path) -> Result<Value, Failure> {
    switchboard_template::read(root).map_err(Failure::new)
}

fn grant_in(template: &Value, name: &str) -> Result<Grant, Failure> {
    let missing = |what: &str| Failure::new(format!("template.yaml: no {what} of {name}"));
    let code = format!("target/lambda/{name}/");
    let function = resources(template).find(|one| one["Properties"]["CodeUri"] == code.as_str());
    let function = function.ok_or_else(|| missing("function"))?;
    let value = |key: &str| {
        let of_all = || number(&template["Globals"]["Function"][key]);
        number(&function["Properties"][key]).or_else(of_all).ok_or_else(|| missing(key))
    };
    Ok(Grant { timeout: value("Timeout")?, memory: value("MemorySize")? })
}

fn resources(template: &Value) -> impl Iterator<Item = &Value> {
    template["Resources"].as_object().into_iter().flat_map(|resources| resources.values())
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
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
        let template = template(root)?;
        let days = |name: &str| {
            let days = number(&template["Parameters"][name]["Default"]).map(f64::from);
            days.ok_or_else(|| Failure::new(format!("template.yaml: no default of {name}")))
        };
        let names = crate::programs::binaries(root)?.into_iter();
        // A binary that the template does not deploy yet has no limits: `Deployed::grant` is an error.
        let grants =
            names.filter_map(|name| Some((name.clone(), grant_in(&template, &name).ok()?)));
        // An alarm with a condition is not deployed by default.
        let is_alarm = |one: &&Value| {
            one["Type"] == "AWS::CloudWatch::Alarm" && one.get("Condition").is_none()
        };
        Ok(Self {
            grants: grants.collect(),
            alarms: resources(&template).filter(is_alarm).count() as f64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_the_functions_own_or_those_of_all() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let all = number(&template(&root).unwrap_or_else(|failure| panic!("{failure}"))["Globals"]["Function"]["MemorySize"]).unwrap();
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
