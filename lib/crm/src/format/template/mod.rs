//! Any JSON endpoint, by a template: the operator writes the body, with access to all that the format
//! `canonical` tells. What can go wrong with a template is found when it is configured.

mod document;
mod engine;
mod samples;
mod scan;
#[cfg(test)]
mod tests;

use http::Method;
use minijinja::{Error, ErrorKind};
use serde_json::Value as Json;
use switchboard_domain::{ConfigError, Event, VariantArray as _};

use super::{
    Kind, RenderContext, WEBHOOK_AUTHS, WEBHOOK_CANNOT, WEBHOOK_DEDUPLICATIONS, canonical,
};
use crate::destination::Destination;
use crate::exchange::{Answer, Ask, Exchange, Over, Single, Step, Told};
use crate::fields::Fields;

/// The longest template, bytes: a parameter holds no more than that.
const LONGEST: usize = 8 * 1024;
const TEMPLATE: &str = "settings.template";
const METHODS: &str = "must be POST, PUT or PATCH";
const CONTENT_TYPE: &str =
    "must be application/json, or application/ and a name that ends in +json";

/// What the format is and can.
pub const KIND: Kind = Kind {
    name: "template",
    events: Event::VARIANTS,
    tells_transcript: true,
    tells_analysis: true,
    deduplications: WEBHOOK_DEDUPLICATIONS,
    cannot: WEBHOOK_CANNOT,
    is_api: false,
    host: None,
    has_contacts: false,
    auths: WEBHOOK_AUTHS,
    token: None,
    check: |settings| Settings::read(settings).and_then(|settings| settings.check()),
    render,
    begin,
};

/// What an operator says of the body.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    template: String,
    method: Method,
    content_type: String,
}

impl Settings {
    fn read(settings: &Json) -> Result<Self, ConfigError> {
        let mut fields = Fields::of("settings", "settings.", settings.clone())?;
        let template: String = fields.required("template", "must be a text: the template")?;
        if template.trim().is_empty() || template.len() > LONGEST {
            return Err(fields.fault("template", "must not be empty, nor longer than 8192 bytes"));
        }
        let method: Option<String> = fields.optional("method", METHODS)?;
        let method = match method.as_deref() {
            None | Some("POST") => Method::POST,
            Some("PUT") => Method::PUT,
            Some("PATCH") => Method::PATCH,
            Some(_) => return Err(fields.fault("method", METHODS)),
        };
        let content_type: Option<String> = fields.optional("content_type", CONTENT_TYPE)?;
        let content_type = content_type.unwrap_or_else(|| "application/json".to_owned());
        if !is_json(&content_type) {
            return Err(fields.fault("content_type", CONTENT_TYPE));
        }
        fields.end()?;
        Ok(Self { template, method, content_type })
    }

    /// Finds what would go wrong with it at a delivery.
    fn check(&self) -> Result<(), ConfigError> {
        let fault = |problem: String| Err(ConfigError::new(TEMPLATE, problem));
        let environment = engine::environment();
        let template = match environment.template_from_str(&self.template) {
            Ok(template) => template,
            Err(error) => return fault(worded(&error)),
        };
        let Some(shape) = samples::full() else { return fault("cannot be tried".to_owned()) };
        let mut paths: Vec<String> = template.undeclared_variables(true).into_iter().collect();
        paths.sort();
        for path in paths {
            if let Some(problem) = document::fault(&shape, &path) {
                return fault(format!("line {}: {problem}", line_of(&self.template, &path)));
            }
        }
        let seen = scan::scan(&self.template);
        for (what, used, known) in
            [("filter", &seen.filters, &engine::FILTERS[..]), ("test", &seen.tests, &engine::TESTS)]
        {
            if let Some((line, name)) = used.iter().find(|(_, name)| !known.contains(&&**name)) {
                let near = document::nearest(name, known.iter().copied()).unwrap_or_default();
                let problem =
                    format!("line {line}: there is no {what} {name}: the nearest is {near}");
                return fault(problem);
            }
        }
        let samples = samples::samples(&seen);
        if samples.is_empty() {
            return fault("cannot be tried".to_owned());
        }
        for (words, sample) in samples {
            let rendered = engine::render(&self.template, document::view(&shape, &sample));
            let body = match rendered {
                Ok(body) => body,
                Err(error) => return fault(format!("{}, for a call {words}", worded(&error))),
            };
            if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&body) {
                let (line, column) = (error.line(), error.column());
                return fault(format!(
                    "makes no JSON of a call {words}: see line {line}, column {column} of what it \
                     makes. A value brings its own quotation marks: write {{{{ data.source }}}}, \
                     not \"{{{{ data.source }}}}\""
                ));
            }
        }
        Ok(())
    }
}

fn is_json(content_type: &str) -> bool {
    let Some(name) = content_type.strip_prefix("application/") else { return false };
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b".+-_".contains(&b);
    (name == "json" || name.ends_with("+json")) && name.len() <= 64 && name.bytes().all(is_token)
}

/// An error of the engine, with its line. It may quote the template, and of values only a sample's.
fn worded(error: &Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let detail = match error.kind() {
        ErrorKind::OutOfFuel => "runs for too long".to_owned(),
        ErrorKind::WriteFailure => "makes a body larger than 4 MiB".to_owned(),
        _ => detail,
    };
    match error.line() {
        Some(line) => format!("line {line}: {detail}"),
        None => detail,
    }
}

/// Where a path stands in a template.
fn line_of(template: &str, path: &str) -> usize {
    let last = path.rsplit('.').next().unwrap_or(path);
    let line = |text: &str| template.lines().position(|line| line.contains(text));
    line(path).or_else(|| line(last)).unwrap_or_default() + 1
}

/// The body of a call, or nothing, where the template makes no JSON of it after all: then the attempt
/// says so and nothing is sent.
fn render(destination: &Destination, context: &RenderContext<'_>) -> Vec<u8> {
    let document = canonical::document(context);
    make(&destination.settings, &document).unwrap_or_default()
}

fn make(settings: &Json, document: &Json) -> Option<Vec<u8>> {
    let settings = Settings::read(settings).ok()?;
    let view = document::view(&samples::full()?, document);
    let body = engine::render(&settings.template, view).ok()?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok().then_some(body)
}

fn begin(destination: &Destination, told: &Told<'_>) -> Box<dyn Exchange> {
    match Settings::read(&destination.settings) {
        Ok(settings) if !told.body.is_empty() => Box::new(Single::of(Ask {
            method: settings.method,
            url: destination.url.clone(),
            body: told.body.to_vec(),
            content_type: settings.content_type,
        })),
        _ => Box::new(Unmade),
    }
}

/// Nothing to send.
struct Unmade;

impl Exchange for Unmade {
    fn next(&mut self, _: Option<&Answer>, _: jiff::Timestamp) -> Step {
        Step::Over(Over {
            verdict: switchboard_domain::delivery::Verdict::Refused,
            status: None,
            result: "the template made no JSON of this call: mend it and redeliver".to_owned(),
            remote: switchboard_domain::delivery::Remote::default(),
        })
    }
}
