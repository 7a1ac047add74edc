//! OneCom: the call detail records of a MiRTA PBX.
//!
//! Installations differ, so the address, its parameters, the format and the dates can be configured.
//! The default is MiRTA's `proxyapi.php`: `reqtype=INFO`, `info=CDRS`, a day at a time, as CSV.

use async_trait::async_trait;
use http::header::{AUTHORIZATION, HeaderName};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use switchboard_domain::sync::Step;
use switchboard_domain::{ConfigError, time};

use super::settings::{self, Format, Settings};
use super::webhook::{HOME, OneCom, PATH};
use crate::ids;
use crate::provider::Provider;
use crate::pull::{Page, Problem, Pull, Session, last_second, not_set_up, page_number};
use crate::rest::{self, query};
use crate::source::Source;

/// The usual parameters. In braces: what is filled in.
const PARAMETERS: [(&str, &str); 7] = [
    ("key", "{key}"),
    ("reqtype", "INFO"),
    ("info", "CDRS"),
    ("tenant", "{tenant}"),
    ("format", "{format}"),
    ("start", "{start}"),
    ("end", "{end}"),
];
/// What a line of names must have, for what follows to be records.
const IDS: [&str; 3] = ["linkedid", "uniqueid", "call_id"];
/// Under which names a list of records stands in an object.
const LISTS: [&str; 4] = ["data", "results", "records", "cdrs"];

/// The call detail records of a tenant.
pub struct OneComPull;

#[async_trait]
impl Pull for OneComPull {
    fn provider(&self) -> &'static dyn Provider {
        &OneCom
    }

    fn check(&self, source: &Source) -> Result<(), ConfigError> {
        let settings = settings(source)?;
        if settings.url.is_none() {
            let problem = "is required: the address of proxyapi.php, without parameters";
            return Err(ConfigError::new("pull.url", problem));
        }
        let parameters = parameters(settings);
        let uses = |what: &str| parameters.iter().any(|(_, value)| value.contains(what));
        if settings.token.is_none() && (uses("{key}") || settings.header.is_some()) {
            return Err(ConfigError::new("pull.token", "is required: the tenant's API key"));
        }
        if settings.tenant.is_none() && uses("{tenant}") {
            return Err(ConfigError::new("pull.tenant", "is required: the tenant's code"));
        }
        if !uses("{start}") {
            return Err(ConfigError::new(
                "pull.parameters",
                "has no {start}: all calls would come",
            ));
        }
        if let Some(header) = &settings.header
            && header.parse::<HeaderName>().is_err()
        {
            return Err(ConfigError::new("pull.header", "is no name of a header"));
        }
        Ok(())
    }

    fn zone(&self, source: &Source) -> TimeZone {
        source.zone().or_else(|| time::zone(HOME)).unwrap_or(TimeZone::UTC)
    }

    /// A day at a time: the interface has no pages of its own.
    fn steps(&self, source: &Source, from: Timestamp, to: Timestamp) -> Vec<Step> {
        let zone = self.zone(source);
        let mut day = zone.to_datetime(from).date();
        let mut steps = Vec::new();
        while let Ok(begins) = day.to_zoned(zone.clone()) {
            let Ok(tomorrow) = day.tomorrow() else { break };
            let Ok(ends) = tomorrow.to_zoned(zone.clone()) else { break };
            if begins.timestamp() >= to {
                break;
            }
            steps.push(Step::first("cdrs", begins.timestamp(), ends.timestamp()));
            day = tomorrow;
        }
        steps
    }

    async fn page(&self, session: &Session<'_>, step: &Step) -> Result<Page, Problem> {
        let settings = settings(session.source)?;
        let url = address(settings, &self.zone(session.source), step)?;
        let header = settings.header.as_deref().and_then(|header| header.parse().ok());
        let header = match header {
            Some(name) => {
                let token = settings.token.as_ref().map_or("", |token| token.expose());
                let is_bearer = name == AUTHORIZATION && !token.contains(' ');
                let value = if is_bearer { format!("Bearer {token}") } else { token.to_owned() };
                Some((name, rest::sensitive(&value)?))
            }
            None => None,
        };
        let response = session.get(&url, header).await?;

        let text = session.body(&response)?;
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let records = match settings.format {
            Format::Csv => from_csv(text)?,
            Format::Json => from_json(text)?,
        };
        let has_pages = parameters(settings).iter().any(|(_, value)| value.contains("{page}"));
        let mut page = Page::default();
        if has_pages && !records.is_empty() {
            page.next.push(step.at((page_number(step) + 1).to_string()));
        }
        page.records = records.iter().map(|record| session.webhook(PATH, record)).collect();
        Ok(page)
    }
}

fn settings(source: &Source) -> Result<&settings::Pull, ConfigError> {
    source.own::<Settings>().and_then(|settings| settings.pull.as_ref()).ok_or_else(not_set_up)
}

/// The address of a step, with its parameters.
fn address(settings: &settings::Pull, zone: &TimeZone, step: &Step) -> Result<String, ConfigError> {
    let format = settings.date_format.as_deref().unwrap_or("%Y-%m-%d");
    let date = |at| {
        jiff::fmt::strtime::format(format, zone.to_datetime(at))
            .map_err(|_| ConfigError::new("pull.date_format", "cannot write a date"))
    };
    let filled = [
        ("{key}", settings.token.as_ref().map_or("", |token| token.expose()).to_owned()),
        ("{tenant}", settings.tenant.clone().unwrap_or_default()),
        ("{format}", if settings.format == Format::Csv { "csv" } else { "json" }.to_owned()),
        ("{start}", date(step.from)?),
        ("{end}", date(last_second(step.to))?),
        // For an interface that takes the end for the first day that is not wanted.
        ("{after}", date(step.to)?),
        ("{page}", step.at.clone().unwrap_or_else(|| "1".to_owned())),
    ];
    let parameters = parameters(settings);
    let pairs = parameters.iter().map(|(name, value)| {
        let fill = |text: String, (what, with): &(&str, String)| text.replace(what, with);
        (name.as_str(), filled.iter().fold(value.clone(), fill))
    });
    Ok(format!("{}?{}", settings.url.as_deref().unwrap_or_default(), query(pairs)))
}

/// The usual parameters, with those of the source in their place and after them.
fn parameters(settings: &settings::Pull) -> Vec<(String, String)> {
    let own = &settings.parameters;
    let usual = PARAMETERS.iter().filter(|(name, value)| {
        // A key that goes by a header goes by no address.
        let is_elsewhere = *value == "{key}" && settings.header.is_some();
        !is_elsewhere && !own.contains_key(*name)
    });
    let usual = usual.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let own = own.iter().filter(|(_, value)| !value.is_empty());
    usual.chain(own.map(|(name, value)| (name.clone(), value.clone()))).collect()
}

/// The records of a table, each as an object of texts.
fn from_csv(text: &[u8]) -> Result<Vec<Value>, Problem> {
    if text.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let names = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let delimiter = [b',', b';', b'\t', b'|'];
    let often = |one: &u8| names.iter().filter(|b| *b == one).count();
    let delimiter = delimiter.into_iter().rev().max_by_key(often).unwrap_or(b',');
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text);
    let unreadable = |_| Problem::unreadable("it is no table");
    let names: Vec<String> = reader
        .byte_headers()
        .map_err(unreadable)?
        .iter()
        .map(|name| String::from_utf8_lossy(name).trim().to_owned())
        .collect();
    let plain = |name: &String| name.to_ascii_lowercase();
    if !names.iter().map(plain).any(|name| IDS.contains(&name.as_str())) {
        // Errors come with status 200.
        return Err(Problem::unreadable("its first line names no id of a call"));
    }
    let mut records = Vec::new();
    for row in reader.into_byte_records() {
        let row = row.map_err(unreadable)?;
        let fields = names.iter().zip(row.iter()).map(|(name, value)| {
            (name.clone(), Value::String(String::from_utf8_lossy(value).into_owned()))
        });
        records.push(Value::Object(fields.collect::<Map<_, _>>()));
    }
    Ok(records)
}

fn from_json(text: &[u8]) -> Result<Vec<Value>, Problem> {
    if text.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let value: Value = ids::read(text).map_err(|_| Problem::unreadable("it is not JSON"))?;
    let list = match value {
        Value::Array(records) => Some(records),
        Value::Object(mut fields) => {
            let list = LISTS.iter().find_map(|name| fields.remove(*name));
            list.and_then(|list| match list {
                Value::Array(records) => Some(records),
                _ => None,
            })
        }
        _ => None,
    };
    list.ok_or_else(|| Problem::unreadable("it holds no list of records"))
}
