//! What the template grants a function: its time and its memory.

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
}
