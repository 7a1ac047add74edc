//! Pausing, draining and resuming destinations, and their status.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use switchboard_domain::gate::{Breaker, Change, Mode, Why};
use switchboard_domain::key::DUE_SHARDS;
use switchboard_domain::{Deferred, Gate, KeyError, Name};
use switchboard_store::{Overdue, PutIf, Store};

use crate::{Failure, Table};

/// The number of attempts to write a change against concurrent workers.
const ROUNDS: usize = 20;
/// The largest number of waiting deliveries that is counted.
const MOST_COUNTED: usize = 10_000;

/// Commands for destinations.
#[derive(Subcommand)]
pub enum Destination {
    /// Show a destination's status and its waiting deliveries.
    Status {
        /// The destination's name; default: every destination with a stored state.
        #[arg(value_parser = destination_name)]
        name: Option<Name>,
        #[command(flatten)]
        table: Table,
    },
    /// Pause a destination: due deliveries wait, and nothing is lost.
    Pause(One),
    /// Drain a destination: deliveries planned until now are sent, later ones wait until it is resumed.
    Drain(One),
    /// Resume a destination: waiting and new deliveries are sent. Also after a 410, or to probe at once.
    Resume(One),
}

/// One destination.
#[derive(Args)]
pub struct One {
    /// The destination's name.
    #[arg(value_parser = destination_name)]
    name: Name,
    #[command(flatten)]
    table: Table,
}

/// A destination's name, as an argument.
pub fn destination_name(text: &str) -> Result<Name, KeyError> {
    Name::new("destination", text)
}

impl Destination {
    /// The destination of the command, if it has one, and the table of its gate.
    pub fn about(&self) -> (Option<&Name>, &Table) {
        match self {
            Self::Status { name, table } => (name.as_ref(), table),
            Self::Pause(one) | Self::Drain(one) | Self::Resume(one) => {
                (Some(&one.name), &one.table)
            }
        }
    }

    /// Whether the command changes the destination.
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::Status { .. })
    }

    /// Runs the command.
    pub async fn run(&self, store: &Store, now: Timestamp) -> Result<String, Failure> {
        let (name, change, done) = match self {
            Self::Status { name, .. } => return status(store, name.as_ref(), now).await,
            Self::Pause(one) => (&one.name, Change::Pause, "is paused"),
            Self::Drain(one) => (&one.name, Change::Drain, "is drained"),
            Self::Resume(one) => (&one.name, Change::Resume, "is resumed"),
        };
        for _ in 0..ROUNDS {
            let stored = store.gate(name).await?;
            let gate = stored.unwrap_or_else(|| Gate::new(name.clone()));
            let Some(next) = gate.after(&change, now) else {
                return Ok(format!("{name} is already {}", stand(&gate)));
            };
            if let PutIf::Stored(_) = store.put_gate(&next).await? {
                return Ok(format!("{name} {done}; workers apply it within ten seconds"));
            }
        }
        Err(Failure::Aws(format!("workers keep changing the state of {name}: retry")))
    }
}

async fn status(store: &Store, name: Option<&Name>, now: Timestamp) -> Result<String, Failure> {
    let gates = match name {
        Some(name) => {
            let stored = store.gate(name).await?;
            vec![stored.unwrap_or_else(|| Gate::new(name.clone()))]
        }
        None => store.gates().await?,
    };
    if gates.is_empty() {
        return Ok("no destination has a stored state: all are running".to_owned());
    }
    let mut text = String::new();
    for gate in &gates {
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        line("destination", gate.destination.to_string());
        line("state", stand(gate));
        line("breaker", breaker(gate, now));
        if gate.version > 0 {
            line("since", gate.changed_at.to_string());
        }
        for (name, among) in [("waiting", Deferred::Shut), ("held back", Deferred::New)] {
            let most = Timestamp::MAX;
            let deferred = store.deferred(&gate.destination, among, most, MOST_COUNTED).await?;
            let more = if deferred.len() >= MOST_COUNTED { " or more" } else { "" };
            let oldest = deferred.first().map(|due| format!(", the oldest due {}", due.due_at));
            line(name, format!("{}{more}{}", deferred.len(), oldest.unwrap_or_default()));
        }
    }
    if let Some(name) = name {
        let count = scheduled(store, name).await?;
        let _ = writeln!(text, "{:<12} {count}", "scheduled");
    }
    Ok(text.trim_end().to_owned())
}

/// The number of deliveries that wait for their own time: retries, and those queued by a rate limit.
async fn scheduled(store: &Store, name: &Name) -> Result<usize, Failure> {
    let mut count = 0;
    for shard in 0..DUE_SHARDS {
        let mut page = None;
        loop {
            let due = store.due(shard, Timestamp::MAX, page).await?;
            let is_its = |what: &Overdue| matches!(what, Overdue::Delivery(_, id) if id.destination == *name);
            count += due.items.iter().filter(|due| is_its(&due.what)).count();
            page = due.next;
            if page.is_none() {
                break;
            }
        }
    }
    Ok(count)
}

fn stand(gate: &Gate) -> String {
    match gate.mode {
        Mode::Running => "running".to_owned(),
        Mode::Paused => "paused".to_owned(),
        Mode::Draining { since } => format!("draining deliveries planned before {since}"),
        Mode::Stopped => "stopped: it responded 410 (gone); resume it when it is back".to_owned(),
    }
}

fn breaker(gate: &Gate, now: Timestamp) -> String {
    let (why, strikes) = match gate.breaker {
        Breaker::Closed => return "closed".to_owned(),
        Breaker::Open { why, strikes, .. } | Breaker::Probing { why, strikes, .. } => {
            (why, strikes)
        }
    };
    let why = match why {
        Why::Failing => "its requests fail",
        Why::Asked => "it sent Retry-After",
        Why::Configuration => "its configuration pauses it or is invalid",
        Why::Resumed => "it responded 410, and was resumed",
    };
    let how = match gate.breaker {
        Breaker::Probing { .. } => "half-open, a probe is in progress".to_owned(),
        Breaker::Open { until, .. } if until > now => format!("open until {until}"),
        _ => "half-open, the next delivery is a probe".to_owned(),
    };
    format!("{how}: {why}; {strikes} probes failed in a row")
}

#[cfg(test)]
mod tests {
    use switchboard_domain::{CallKey, CallRecord, Delivery, Facts, Order, Update};
    use switchboard_domain::{Legs, Policy, Seconds};
    use switchboard_store::Store;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_771_577_000 + second).unwrap()
    }

    fn name() -> Name {
        Name::new("destination", "crm").unwrap()
    }

    fn table() -> Table {
        Table { name: "calls".to_owned() }
    }

    fn one() -> One {
        One { name: name(), table: table() }
    }

    async fn store() -> Store {
        let store = Store::in_memory();
        for (n, deferred) in
            [Some(Deferred::Shut), Some(Deferred::New), None].into_iter().enumerate()
        {
            let key: CallKey = format!("test/test/{n}").parse().unwrap();
            let update = Update::new("x", Order::Unordered, at(0), Facts::default(), vec![]);
            let policy = Policy { settle: Seconds(0), legs: Legs::Parent, starts: false };
            let record = CallRecord::first(key.clone(), update, policy, at(0));
            let id = "crm#call.completed".parse().unwrap();
            let mut delivery = Delivery::planned(key.clone(), id, at(n as i64));
            delivery.deferred = deferred;
            let other = "other#call.completed".parse().unwrap();
            let planned = [delivery, Delivery::planned(key, other, at(0))];
            store.put_call_and_deliveries(&record, &planned, &[]).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn each_word_of_the_operator_takes_effect_and_says_so() {
        let store = store().await;
        let said = async |what: Destination| what.run(&store, at(100)).await.unwrap();
        let status = || Destination::Status { name: Some(name()), table: table() };
        let text = said(status()).await;
        for line in [
            "state        running",
            "breaker      closed",
            "waiting      1, the oldest due 2026-02-20T08:43:20Z",
            "held back    1, the oldest due",
            "scheduled    1",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
        let all = || Destination::Status { name: None, table: table() };
        assert!(said(all()).await.contains("no destination has a stored state"));
        let pause = || Destination::Pause(one());
        assert!(said(pause()).await.starts_with("crm is paused;"));
        assert_eq!(said(pause()).await, "crm is already paused");
        assert!(said(status()).await.contains("state        paused"));
        let drain = Destination::Drain(one());
        assert!(said(drain).await.starts_with("crm is drained;"));
        assert!(
            said(all()).await.contains("draining deliveries planned before 2026-02-20T08:45:00Z")
        );
        let resume = || Destination::Resume(one());
        assert!(said(resume()).await.starts_with("crm is resumed;"));
        assert_eq!(said(resume()).await, "crm is already running");
        assert_eq!(store.gate(&name()).await.unwrap().unwrap().mode, Mode::Running);
    }

    #[test]
    fn every_state_of_a_breaker_is_told() {
        let gone = Gate::new(name()).after(&Change::Gone, at(0)).unwrap();
        assert!(stand(&gone).contains("410"));
        let mut gate = Gate::new(name()).after(&Change::Tripped, at(0)).unwrap();
        assert_eq!(
            breaker(&gate, at(1)),
            "open until 2026-02-20T08:43:50Z: its requests fail; 0 probes failed in a row"
        );
        assert!(breaker(&gate, at(31)).starts_with("half-open, the next delivery is a probe"));
        gate = gate.after(&Change::ProbeTaken { until: at(61) }, at(31)).unwrap();
        assert!(breaker(&gate, at(32)).starts_with("half-open, a probe is in progress"));
        gate = gate.after(&Change::ProbeFailed { not_before: Some(at(9_000)) }, at(33)).unwrap();
        assert!(breaker(&gate, at(40)).ends_with("it sent Retry-After; 1 probes failed in a row"));
    }
}
