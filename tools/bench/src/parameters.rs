//! A Parameter Store in memory.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::aws::{Answer, error};

/// As many parameters as one answer holds.
const PAGE: usize = 10;

/// Parameters by their full names.
#[derive(Clone, Debug, Default)]
pub struct Parameters(pub BTreeMap<String, String>);

impl Parameters {
    /// Answers an operation of SSM.
    pub fn answer(&self, operation: &str, request: &Value) -> Answer {
        match operation {
            "GetParametersByPath" => self.by_path(request),
            _ => error("UnknownOperationException", operation),
        }
    }

    fn by_path(&self, request: &Value) -> Answer {
        let path = request["Path"].as_str().unwrap_or_default().trim_end_matches('/');
        let start: usize =
            request["NextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
        let is_recursive = request["Recursive"].as_bool().unwrap_or(false);
        let under = |name: &str| {
            let rest = name.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(|rest| is_recursive || !rest.contains('/'))
        };
        let found: Vec<_> = self.0.iter().filter(|(name, _)| under(name)).collect();
        let page: Vec<Value> = found
            .iter()
            .skip(start)
            .take(PAGE)
            .map(|(name, value)| {
                json!({
                    "Name": name, "Type": "SecureString", "Value": value, "Version": 1,
                    "LastModifiedDate": 1_771_579_800.0, "DataType": "text",
                    "ARN": format!("arn:aws:ssm:eu-central-1:123456789012:parameter{name}"),
                })
            })
            .collect();
        let next = start + page.len();
        let mut answer = json!({ "Parameters": page });
        if next < found.len() {
            answer["NextToken"] = next.to_string().into();
        }
        (200, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_gives_what_is_under_it_in_pages() {
        let names = (0..12).map(|n| (format!("/stage/sources/x/{n:02}"), n.to_string()));
        let mut parameters = Parameters(names.collect());
        parameters.0.insert("/stage/sources/xy/other".into(), "no".into());
        let mut asked = json!({"Path": "/stage/sources/x", "Recursive": true});
        let (status, first) = parameters.answer("GetParametersByPath", &asked);
        assert_eq!((status, first["Parameters"].as_array().unwrap().len()), (200, 10));
        asked["NextToken"] = first["NextToken"].clone();
        let (_, second) = parameters.answer("GetParametersByPath", &asked);
        assert_eq!(second["Parameters"].as_array().unwrap().len(), 2);
        assert_eq!(second.get("NextToken"), None);
        let asked = json!({"Path": "/stage/sources"});
        let (_, flat) = parameters.answer("GetParametersByPath", &asked);
        assert!(flat["Parameters"].as_array().unwrap().is_empty());
    }
}
