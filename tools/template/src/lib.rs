//! `template.yaml` as CloudFormation deploys it, for tests and measurements that need the template's numbers.
//!
//! Expands what the template uses of `AWS::LanguageExtensions`: `Fn::ForEach`, and in its loops `Ref`, `Fn::Sub` and
//! `Fn::FindInMap`. Short forms become long ones (`!Ref A` is `{"Ref": "A"}`). Parameters stay references. That the
//! deployed template is the same is not proved here, but by the deployment and by `infra/check/template_diff.py`.

use std::collections::BTreeMap;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value, json};

/// The values of the loops' identifiers.
type Bindings = BTreeMap<String, String>;

/// Reads the template of a checkout.
///
/// # Errors
///
/// The file cannot be read, is no YAML, or has a loop that cannot be expanded.
pub fn read(root: &Path) -> Result<Value, String> {
    let path = root.join("template.yaml");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    expand(&text)
}

/// Expands a template.
///
/// # Errors
///
/// The text is no YAML, or has a loop that cannot be expanded.
pub fn expand(text: &str) -> Result<Value, String> {
    let mut parser = Parser::new_from_str(text);
    let template = loop {
        let event = next(&mut parser)?;
        if matches!(event, Event::MappingStart(..)) {
            break node(event, &mut parser)?;
        }
    };
    let expander = Expander { mappings: &template["Mappings"] };
    expander.value(&template, &Bindings::new())
}

fn next<'a>(parser: &mut Parser<'a, StrInput<'a>>) -> Result<Event<'a>, String> {
    let (event, _) =
        parser.next().ok_or("the template is empty")?.map_err(|error| error.to_string())?;
    Ok(event)
}

/// The value that begins with an event.
fn node<'a>(event: Event<'a>, parser: &mut Parser<'a, StrInput<'a>>) -> Result<Value, String> {
    let (value, tag) = match event {
        Event::Scalar(text, ScalarStyle::Plain, _, tag) => (plain(&text), tag),
        Event::Scalar(text, _, _, tag) => (json!(text), tag),
        Event::SequenceStart(_, tag) => {
            let mut items = Vec::new();
            loop {
                match next(parser)? {
                    Event::SequenceEnd => break (Value::Array(items), tag),
                    event => items.push(node(event, parser)?),
                }
            }
        }
        Event::MappingStart(_, tag) => {
            let mut members = Map::new();
            loop {
                match next(parser)? {
                    Event::MappingEnd => break (Value::Object(members), tag),
                    Event::Scalar(key, ..) => {
                        let value = next(parser)?;
                        members.insert(key.into_owned(), node(value, parser)?);
                    }
                    event => return Err(format!("{event:?} is no key of a mapping")),
                }
            }
        }
        event => return Err(format!("{event:?} is not supported")),
    };
    Ok(match tag.as_deref().map(|tag| tag.suffix.as_str()) {
        Some(function @ ("Ref" | "Condition")) => json!({ function: value }),
        Some(function) => json!({ format!("Fn::{function}"): value }),
        None => value,
    })
}

/// A scalar without quotes: a number, a boolean, nothing or a text.
fn plain(text: &str) -> Value {
    match text {
        "true" | "false" => json!(text == "true"),
        "" | "null" | "~" => Value::Null,
        _ => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
    }
}

struct Expander<'a> {
    mappings: &'a Value,
}

impl Expander<'_> {
    fn value(&self, node: &Value, bound: &Bindings) -> Result<Value, String> {
        match node {
            Value::Array(items) => items.iter().map(|item| self.value(item, bound)).collect(),
            Value::Object(members) => self.object(members, bound),
            _ => Ok(node.clone()),
        }
    }

    fn object(&self, members: &Map<String, Value>, bound: &Bindings) -> Result<Value, String> {
        if let (1, Some((function, argument))) = (members.len(), members.iter().next()) {
            match (function.as_str(), argument) {
                ("Ref", Value::String(name)) => {
                    return Ok(bound
                        .get(name)
                        .map_or_else(|| json!({ "Ref": name }), |value| json!(value)));
                }
                ("Ref", _) => return Ok(json!({ "Ref": self.value(argument, bound)? })),
                ("Fn::Sub", _) => return self.substitution(argument, bound),
                ("Fn::FindInMap", _) => return self.find_in_map(&self.value(argument, bound)?),
                _ => {}
            }
        }
        let mut expanded = Map::new();
        self.members(members, bound, &mut expanded)?;
        Ok(Value::Object(expanded))
    }

    /// Adds the members of an object, and those that its loops produce.
    fn members(
        &self,
        members: &Map<String, Value>,
        bound: &Bindings,
        into: &mut Map<String, Value>,
    ) -> Result<(), String> {
        for (key, value) in members {
            if !key.starts_with("Fn::ForEach::") {
                into.insert(filled(key, bound), self.value(value, bound)?);
                continue;
            }
            let malformed = || format!("{key} is not [identifier, collection, members]");
            let [identifier, collection, fragment] =
                value.as_array().map(Vec::as_slice).ok_or_else(malformed)?
            else {
                return Err(malformed());
            };
            let identifier = identifier.as_str().ok_or_else(malformed)?;
            let collection = self.value(collection, bound)?;
            let fragment = fragment.as_object().ok_or_else(malformed)?;
            for item in collection.as_array().ok_or_else(malformed)? {
                let mut bound = bound.clone();
                bound
                    .insert(identifier.to_owned(), item.as_str().ok_or_else(malformed)?.to_owned());
                self.members(fragment, &bound, into)?;
            }
        }
        Ok(())
    }

    /// Fills in what is known; a text with nothing left to fill in is a plain string.
    fn substitution(&self, argument: &Value, bound: &Bindings) -> Result<Value, String> {
        let argument = self.value(argument, bound)?;
        let (text, variables) = match &argument {
            Value::Array(pair) => (pair.first(), pair.get(1)),
            text => (Some(text), None),
        };
        let text =
            text.and_then(Value::as_str).ok_or_else(|| format!("{argument} is no Fn::Sub"))?;
        let mut known = bound.clone();
        for (name, value) in variables.and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            known.insert(name.clone(), value);
        }
        let text = filled(text, &known);
        Ok(if text.contains("${") { json!({ "Fn::Sub": text }) } else { json!(text) })
    }

    fn find_in_map(&self, argument: &Value) -> Result<Value, String> {
        let found = ["/0", "/1", "/2"]
            .iter()
            .try_fold(self.mappings, |map, key| map.get(argument.pointer(key)?.as_str()?));
        let found = found.or_else(|| argument.pointer("/3/DefaultValue"));
        found.cloned().ok_or_else(|| format!("Mappings have no {argument}"))
    }
}

/// A text with `${Identifier}` and `&{Identifier}` replaced, the latter by the value's letters and digits.
fn filled(text: &str, bound: &Bindings) -> String {
    bound.iter().fold(text.to_owned(), |text, (name, value)| {
        let letters: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
        text.replace(&format!("${{{name}}}"), value).replace(&format!("&{{{name}}}"), &letters)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPS: &str = "
Mappings:
  Queues:
    Enrich: { Name: enrich, Receives: 24, Routes: [GET /a, 'POST /b/{id}'] }
    Pull: { Name: pull, Routes: [GET /c] }
Resources:
  Plain: { Type: Queue, Url: !GetAtt Table.Arn }
  Fn::ForEach::Queues:
    - Queue
    - [Enrich, Pull]
    - ${Queue}Queue:
        Name: !Sub ['${AWS::StackName}-${Name}', { Name: !FindInMap [Queues, !Ref Queue, Name] }]
        Receives: !FindInMap [Queues, !Ref Queue, Receives, { DefaultValue: 6 }]
        Dead: !GetAtt [!Sub '${Queue}DeadLetters', Arn]
      Fn::ForEach::Routes:
        - Route
        - !FindInMap [Queues, !Ref Queue, Routes]
        - ${Queue}Route&{Route}: { Key: !Ref Route, Function: { Ref: !Sub '${Queue}Function' }, Stage: !Ref Stage }
";

    #[test]
    fn loops_are_expanded() {
        let resources = &expand(LOOPS).unwrap()["Resources"];
        assert_eq!(
            *resources,
            json!({
                "Plain": { "Type": "Queue", "Url": { "Fn::GetAtt": "Table.Arn" } },
                "EnrichQueue": {
                    "Name": { "Fn::Sub": "${AWS::StackName}-enrich" },
                    "Receives": 24,
                    "Dead": { "Fn::GetAtt": ["EnrichDeadLetters", "Arn"] },
                },
                "EnrichRouteGETa": { "Key": "GET /a", "Function": { "Ref": "EnrichFunction" }, "Stage": { "Ref": "Stage" } },
                "EnrichRoutePOSTbid": { "Key": "POST /b/{id}", "Function": { "Ref": "EnrichFunction" }, "Stage": { "Ref": "Stage" } },
                "PullQueue": {
                    "Name": { "Fn::Sub": "${AWS::StackName}-pull" },
                    "Receives": 6,
                    "Dead": { "Fn::GetAtt": ["PullDeadLetters", "Arn"] },
                },
                "PullRouteGETc": { "Key": "GET /c", "Function": { "Ref": "PullFunction" }, "Stage": { "Ref": "Stage" } },
            })
        );
    }

    #[test]
    fn a_value_that_no_mapping_has_is_an_error() {
        let error = expand(&LOOPS.replace("Name: pull, ", "")).unwrap_err();
        assert!(error.contains("Pull") && error.contains("Name"), "{error}");
    }

    #[test]
    fn no_loop_of_the_own_template_is_left() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let template = read(&root).unwrap();
        assert!(!template["Resources"].to_string().contains("Fn::ForEach"));
        assert_eq!(template["Resources"]["EnrichQueue"]["Type"], "AWS::SQS::Queue");
    }
}
