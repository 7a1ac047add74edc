//! Any JSON endpoint, by a template: the operator writes the body, with access to all that the format
//! `canonical` holds. What can go wrong with a template is found when it is configured.

mod document;
mod engine;
mod samples;
mod scan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method};
use minijinja::{Error, ErrorKind};
use serde_json::Value as Json;
use switchboard_domain::ConfigError;
use switchboard_domain::delivery::Remote;
use switchboard_http::Http;

use crate::fields::Fields;
use crate::format::{Capabilities, Clock, Endpoint, Format, RenderContext};
use crate::outcome::Outcome;
use crate::{canonical, webhook};

/// The longest template, bytes: a parameter holds no more than that.
const LONGEST: usize = 8 * 1024;
const TEMPLATE: &str = "settings.template";
const METHODS: &str = "must be POST, PUT or PATCH";
const CONTENT_TYPE: &str =
    "must be application/json, or application/ and a name that ends in +json";

/// What the format is and can.
pub static CAPABILITIES: Capabilities = Capabilities::webhook("template", |endpoint, settings| {
    let settings = Settings::read(settings)?;
    settings.check()?;
    Ok(Arc::new(Template { endpoint, settings }))
});

/// What an operator says of the body.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    template: String,
    method: Method,
    content_type: HeaderValue,
}

impl Settings {
    fn read(settings: Json) -> Result<Self, ConfigError> {
        let mut fields = Fields::of("settings", "settings.", settings)?;
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
        let content_type =
            fields.checked("content_type", CONTENT_TYPE, |text: &String| is_json(text))?;
        let content_type = content_type.unwrap_or_else(|| "application/json".to_owned());
        let content_type = HeaderValue::try_from(content_type)
            .map_err(|_| fields.fault("content_type", CONTENT_TYPE))?;
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

/// The body of a call, or nothing where the template makes no JSON of it after all: then the attempt says
/// so and nothing is sent.
fn make(template: &str, document: &Json) -> Option<Vec<u8>> {
    let view = document::view(&samples::full()?, document);
    let body = engine::render(template, view).ok()?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok().then_some(body)
}

/// A webhook whose body is made by a template.
struct Template {
    endpoint: Endpoint,
    settings: Settings,
}

#[async_trait]
impl Format for Template {
    fn render(&self, context: &RenderContext<'_>) -> Vec<u8> {
        make(&self.settings.template, &canonical::document(context)).unwrap_or_default()
    }

    async fn deliver(
        &self,
        http: &dyn Http,
        payload: &[u8],
        _: &mut Remote,
        clock: Clock<'_>,
    ) -> Result<Outcome, Outcome> {
        if payload.is_empty() {
            let words = "the template rendered no JSON for this call: correct it and redeliver";
            return Err(Outcome::refused(None, words));
        }
        let Settings { method, content_type, .. } = &self.settings;
        let (method, content_type) = (method.clone(), content_type.clone());
        webhook::send(http, method, &self.endpoint.url, content_type, payload, clock).await
    }
}
