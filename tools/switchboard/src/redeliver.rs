//! Redelivering: one delivery, or what a destination did not receive of a range of time.

use clap::Args;
use jiff::Timestamp;
use switchboard_domain::{CallKey, DeliveryId, Event, Name};
use switchboard_flow::Configuration;
use switchboard_flow::redeliver::range::{Counts, RedeliverRange};
use switchboard_flow::redeliver::{Again, redeliver};
use switchboard_store::Store;

use crate::parameter::Stage;
use crate::replay::Report;
use crate::{Failure, Range, Table, destination::destination_name};

/// Arguments of the command.
#[derive(Args)]
pub struct Redeliver {
    /// One call: provider/source/call id.
    #[arg(required_unless_present = "to", requires = "delivery", conflicts_with = "to")]
    key: Option<CallKey>,
    /// Its delivery, as crm#call.completed. One that a filter or a late configuration kept back is created.
    delivery: Option<DeliveryId>,
    /// In place of one call, every call.completed that this destination did not receive and its filter lets
    /// pass: those that failed, and those that were kept back.
    #[arg(long, value_parser = destination_name, requires = "since")]
    to: Option<Name>,
    #[command(flatten)]
    range: Range,
    /// With --to: report what would be delivered, and write nothing.
    #[arg(long, requires = "to")]
    dry_run: bool,
    /// The retention of written items, days: the stack's parameter RetentionDays.
    #[arg(long, env = "RETENTION_DAYS", default_value_t = crate::RETENTION_DAYS)]
    pub retention_days: u32,
    #[command(flatten)]
    pub table: Table,
}

impl Redeliver {
    /// Runs the command, and returns its summary. The sweep sends what is due within a minute.
    pub async fn run(
        &self,
        stored: impl Fn(&Table, u32) -> Store,
        stage: &Stage,
        report: &mut Report<'_>,
    ) -> Result<String, Failure> {
        let now = Timestamp::now();
        let store = &stored(&self.table, self.retention_days);
        match (&self.key, &self.delivery, &self.to) {
            (Some(key), Some(id), _) => {
                let path = format!("destinations/{}", id.destination);
                one(store, key, id, now, async || stage.find(&path).await).await
            }
            (_, _, Some(to)) => {
                let configuration = stage.configuration().await?;
                self.many(store, &configuration, to, now, report).await
            }
            _ => Err(Failure::Wrong("name a call and a delivery, or --to and --since".to_owned())),
        }
    }

    async fn many(
        &self,
        store: &Store,
        configuration: &Configuration,
        to: &Name,
        now: Timestamp,
        report: &mut Report<'_>,
    ) -> Result<String, Failure> {
        let destination = match configuration.destinations.get(to) {
            Some(Some(destination)) => destination,
            Some(None) => return Err(Failure::Wrong(format!("destinations/{to} is invalid"))),
            None => return Err(Failure::Wrong(format!("destinations/{to} is not configured"))),
        };
        // A dry run takes the very way of the run, and keeps what it writes to itself.
        let store = &if self.dry_run { store.dry_run() } else { store.clone() };
        let id = DeliveryId { destination: to.clone(), event: Event::Completed };
        let counts = Counts::default();
        let progress = &mut *report;
        let mut run =
            RedeliverRange { store, configuration, id, destination, now, progress, counts };
        let done = run.run(&self.range.between()).await;
        let Counts { read, due, delivered, pending, excluded, undelivered } = run.counts;
        report.bar.finish_and_clear();
        done?;
        let mut text = format!("{read} read: {due} due, {delivered} delivered already");
        for (count, what) in [
            (pending, "pending"),
            (excluded, "excluded by the filter"),
            (undelivered, "in progress, not planned or legs"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text.push_str(if self.dry_run { ". Nothing was written" } else { "" });
        Ok(text)
    }
}

/// Makes a delivery due again. One that was never planned is created, if its destination is configured.
async fn one(
    store: &Store,
    key: &CallKey,
    id: &DeliveryId,
    now: Timestamp,
    is_configured: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Result<String, Failure> {
    let nonce = now.to_string();
    let mut again = redeliver(store, key, id, false, &nonce, now).await?;
    if again == Again::Unknown && id.event == Event::Completed && store.call(key).await?.is_some() {
        is_configured().await?;
        again = redeliver(store, key, id, true, &nonce, now).await?;
    }
    let problem = match again {
        Again::Due(_) => return Ok(format!("{id} is due; the sweep sends it within a minute")),
        Again::Unknown => format!("{key} has no delivery {id}"),
        Again::Busy => {
            format!("a worker is sending {id} now, so it stays as it is: retry in a minute")
        }
        Again::TooEarly => {
            format!("{key} has not ended, or its deliveries are not planned yet: retry later")
        }
    };
    Err(Failure::Wrong(problem))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use indicatif::ProgressBar;
    use switchboard_domain::{Delivery, DeliveryState};

    use super::*;
    use crate::replay::testing::{WHOLE, at, configured, post};
    use crate::{Arguments, Command};

    const CALL: &str = "asterisk/asterisk-main/1708416000.1";
    const INTAKE: &str = "/api/crm/intake/calls?source=asterisk-main";

    fn parsed(arguments: &str) -> Result<Redeliver, clap::Error> {
        let line = format!("switchboard redeliver {arguments} --table calls");
        match Arguments::try_parse_from(line.split_whitespace())?.command {
            Command::Redeliver(redeliver) => Ok(redeliver),
            _ => panic!(),
        }
    }

    /// A call whose deliveries were planned before any destination was configured.
    async fn planned() -> Store {
        let store = Store::in_memory();
        post(&store, INTAKE, at(1), WHOLE).await;
        let mut record = store.call(&CALL.parse().unwrap()).await.unwrap().unwrap();
        record.owed.clear();
        store.put_call(&record).await.unwrap();
        store
    }

    async fn deliveries(store: &Store) -> Vec<Delivery> {
        store.deliveries(&CALL.parse().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn one_that_was_kept_back_is_created_where_its_destination_is_configured() {
        let (store, key) = (planned().await, CALL.parse().unwrap());
        let id: DeliveryId = "crm#call.completed".parse().unwrap();
        let wrong = || Err(Failure::Wrong("destinations/crm is not configured".to_owned()));
        let refused = one(&store, &key, &id, at(60), async || wrong()).await;
        assert!(refused.unwrap_err().to_string().contains("not configured"));
        let updated = "crm#call.updated".parse().unwrap();
        assert!(one(&store, &key, &updated, at(60), async || Ok(())).await.is_err());
        assert_eq!(deliveries(&store).await, []);
        let said = one(&store, &key, &id, at(60), async || Ok(())).await.unwrap();
        assert!(said.starts_with("crm#call.completed is due"), "{said}");
        let [created] = &deliveries(&store).await[..] else { panic!() };
        assert_eq!((created.due_at, created.nonce.is_some()), (Some(at(60)), true));
        assert!(store.calls()[0].deliveries.contains(&id));
        // It is stored now, whatever is configured.
        one(&store, &key, &id, at(61), async || wrong()).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_destination_did_not_receive_of_a_time_is_due_once() {
        let store = planned().await;
        let mut configuration = configured();
        let json = |filter: &str| {
            format!(
                r#"{{"format": "canonical", "url": "https://crm.example.com/calls", "filter": {filter},
                    "signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}}"#
            )
        };
        configuration.add("destinations/crm", &json("{}"), false).unwrap();
        let busy = json(r#"{"outcomes": ["busy"]}"#);
        configuration.add("destinations/erp", &busy, false).unwrap();
        let run = async |arguments: &str| {
            let mut say = |_: &str| {};
            let mut report = Report { say: &mut say, bar: ProgressBar::hidden() };
            let command = parsed(arguments).unwrap();
            let to = command.to.clone().unwrap();
            command.many(&store, &configuration, &to, at(60), &mut report).await.unwrap()
        };
        let range = "--since 2026-02-20 --until 2026-02-21";
        for (arguments, said) in [
            (
                format!("--to crm {range} --dry-run"),
                "1 read: 1 due, 0 delivered already. Nothing was written",
            ),
            (
                format!("--to erp {range}"),
                "1 read: 0 due, 0 delivered already, 1 excluded by the filter",
            ),
            ("--to crm --since 2026-02-21".to_owned(), "0 read: 0 due, 0 delivered already"),
            (format!("--to crm {range}"), "1 read: 1 due, 0 delivered already"),
            (format!("--to crm {range}"), "1 read: 0 due, 0 delivered already, 1 pending"),
        ] {
            assert_eq!(run(&arguments).await, said, "{arguments}");
        }
        let [mut delivery] = deliveries(&store).await.try_into().unwrap();
        for (state, said) in [
            (DeliveryState::Delivered, "1 read: 0 due, 1 delivered already"),
            (DeliveryState::Failed, "1 read: 1 due, 0 delivered already"),
        ] {
            delivery.state = state;
            store.put_delivery(&delivery, None).await.unwrap();
            delivery.version += 1;
            assert_eq!(run(&format!("--to crm {range}")).await, said);
        }
    }

    #[test]
    fn a_call_and_a_range_are_two_ways() {
        for good in ["asterisk/a/1 crm#call.completed", "--to crm --since 2026-02-20"] {
            assert!(parsed(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "asterisk/a/1",
            "--to crm",
            "asterisk/a/1 crm#call.completed --to crm --since 2026-02-20",
            "asterisk/a/1 crm#call.completed --dry-run",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
