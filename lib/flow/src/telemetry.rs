//! Log lines: `tracing` events as one flat JSON object per line of standard output.
//!
//! The fields of the spans around an event are fields of its line: call, correlation id and request id
//! are said once, by the span. A field's value must be `Display`; personal data and secrets are not, so
//! that the compiler keeps them out.

use std::cell::RefCell;
use std::fmt::{self, Debug, Display};
use std::io::{self, Write as _};

use jiff::Timestamp;
use serde_json::Value;
use switchboard_queue::Job;
pub use tracing::Level;
use tracing::field::{Field as TracingField, Visit};
use tracing::{Event, Span, Subscriber, error_span};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, Layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

use crate::metrics::{self, Emitter};

/// Logs and metrics of a function go to standard output, which Lambda hands to CloudWatch. Events below
/// `level` are dropped, and so is all that other crates log.
pub fn start(function: &'static str, stage: String, level: Level) {
    // A closed pipe is no reason to fail a call.
    install(function, stage, level, |line| drop(io::stdout().write_all(line)));
}

fn install(function: &'static str, stage: String, level: Level, write: fn(&[u8])) {
    metrics::start(Emitter { function, stage, write });
    let lines = Layer::default()
        .fmt_fields(Members)
        .event_format(Flat { function })
        .with_writer(move || Output(write));
    let ours = Targets::new().with_target("switchboard", level);
    // A second subscriber is refused: the first stays.
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(ours).with(lines),
    );
}

/// The span of a job that came with an SQS message. It is at the highest level, so that its fields are
/// logged at any.
pub fn job_span(job: Option<&Job>, message_id: &str) -> Span {
    match job.and_then(Job::call) {
        Some(call) => {
            let correlation_id = call.correlation_id();
            error_span!("job", message_id, %call, %correlation_id)
        }
        None => error_span!("job", message_id),
    }
}

/// An event whose level is known only when it happens.
#[cfg(feature = "workers")]
macro_rules! log_at {
    ($level:expr, $($event:tt)+) => {
        match $level {
            $crate::telemetry::Level::ERROR => tracing::error!($($event)+),
            $crate::telemetry::Level::WARN => tracing::warn!($($event)+),
            _ => tracing::info!($($event)+),
        }
    };
}
#[cfg(feature = "workers")]
pub(crate) use log_at;

struct Output(fn(&[u8]));

impl io::Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event as one flat object: time, level, function, the spans' fields from the outermost on, its own
/// fields. (The JSON format of `tracing-subscriber` nests the spans, and sorts each one's fields.)
struct Flat {
    function: &'static str,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, Members> for Flat {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Members>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (time, level) = (Timestamp::now(), event.metadata().level());
        write!(line, r#"{{"time":"{time}","level":"{level}","function":"{}""#, self.function)?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<Members>>() {
                line.write_str(fields)?;
            }
        }
        Members.format_fields(line.by_ref(), event)?;
        line.write_str("}\n")
    }
}

/// Fields as members of a JSON object, each behind a comma.
struct Members;

impl<'a> FormatFields<'a> for Members {
    fn format_fields<R: RecordFields>(&self, line: Writer<'a>, fields: R) -> fmt::Result {
        let mut member = Member { line, result: Ok(()) };
        fields.record(&mut member);
        member.result
    }
}

struct Member<'a> {
    line: Writer<'a>,
    result: fmt::Result,
}

impl Member<'_> {
    fn write(&mut self, field: &TracingField, value: impl Display) {
        if self.result.is_ok() {
            self.result = write!(self.line, r#","{}":{value}"#, field.name());
        }
    }
}

impl Visit for Member<'_> {
    fn record_u64(&mut self, field: &TracingField, value: u64) {
        self.write(field, value);
    }

    fn record_i64(&mut self, field: &TracingField, value: i64) {
        self.write(field, value);
    }

    fn record_bool(&mut self, field: &TracingField, value: bool) {
        self.write(field, value);
    }

    fn record_str(&mut self, field: &TracingField, value: &str) {
        self.write(field, Value::from(value));
    }

    fn record_debug(&mut self, field: &TracingField, value: &dyn Debug) {
        self.write(field, Value::from(format!("{value:?}")));
    }
}

thread_local! {
    static CAPTURED: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Keeps what this thread logs and measures from now on, for tests that read it. Lines of other threads
/// are dropped unless they capture theirs.
pub fn capture() -> Captured {
    install("test", "test".into(), Level::DEBUG, |line| {
        CAPTURED.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push(String::from_utf8_lossy(line).trim_end().to_owned());
            }
        });
    });
    let from = CAPTURED.with_borrow_mut(|lines| lines.get_or_insert_default().len());
    Captured { from }
}

/// The lines since a call of [`capture`].
#[derive(Clone)]
pub struct Captured {
    from: usize,
}

impl Captured {
    /// The lines so far, without their line breaks.
    pub fn lines(&self) -> Vec<String> {
        CAPTURED.with_borrow(|lines| lines.iter().flatten().skip(self.from).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracing::info;

    use super::*;

    #[test]
    fn a_line_is_flat_and_carries_what_its_spans_say() {
        let log = capture();
        error_span!("invocation", request_id = "r1").in_scope(|| {
            let job = Job::Enrich { call: "twilio/twilio/CA1".parse().unwrap() };
            job_span(Some(&job), "m1")
                .in_scope(|| info!(attempt = 3, why = %"a \"quoted\" word", "did it"));
        });
        let line: Value = serde_json::from_str(&log.lines()[0]).unwrap();
        assert_eq!(
            ["level", "function", "message", "request_id", "call", "attempt", "why"]
                .map(|name| line[name].clone()),
            ["INFO", "test", "did it", "r1", "twilio/twilio/CA1"]
                .map(Value::from)
                .into_iter()
                .chain([json!(3), json!("a \"quoted\" word")])
                .collect::<Vec<_>>()[..]
        );
        assert!(line["time"].as_str().unwrap().parse::<Timestamp>().is_ok());
        assert_eq!(line["correlation_id"].as_str().unwrap().len(), 32);
    }

    #[test]
    fn what_other_crates_log_is_dropped() {
        let log = capture();
        tracing::error!(target: "aws_sdk_dynamodb", "+61491570156");
        assert_eq!(log.lines(), Vec::<String>::new());
    }
}
