//! The events that each program is given, and the account that it runs on.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use switchboard_testkit::Failure;
use switchboard_testkit::aws::Account;
use switchboard_testkit::function::{Running, Stand};
use switchboard_testkit::runtime_api::Invocation;
use switchboard_testkit::samples::{
    Parameters, job_event, parameters, provider, queue, sample_event,
};
use switchboard_testkit::webhook::Sample;

use crate::programs::{MAIN, Program};

/// Where the events of each program come from.
pub type Feeds = BTreeMap<String, Feed>;

/// Where a program's events come from.
pub enum Feed {
    /// Webhooks, each about a new call, on an account with these parameters and without calls.
    Hook(Box<Sample>, Parameters),
    /// The jobs that wait in this queue of the account.
    Jobs(Account, String),
    /// The same event each time, on an account like a hook's. One that reads may find nothing.
    Event(Value, Parameters),
}

impl Feed {
    /// The event of the n-th invocation after a start.
    pub fn event(&self, n: u64) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Hook(sample, _) => Ok(sample.new_call(n)),
            Self::Event(event, _) => Ok(event.to_string().into_bytes()),
            Self::Jobs(account, queue) => {
                Ok(job_event(&account.receive(queue).ok_or("no job is left in the queue")?))
            }
        }
    }

    /// Starts a program on the account of the feed.
    pub async fn start(
        &self,
        stand: &mut Stand,
        program: &Program,
        under: &[String],
    ) -> Result<Running, Failure> {
        let account = match self {
            Self::Jobs(account, _) => account.clone(),
            Self::Hook(_, parameters) | Self::Event(_, parameters) => {
                Account::new(parameters.clone())?
            }
        };
        stand.run(&program.function, account, matches!(self, Self::Jobs(..)), under).await
    }

    /// Whether 404 is a success.
    pub fn may_find_nothing(&self) -> bool {
        matches!(self, Self::Event(event, _) if event["requestContext"]["http"]["method"] == "GET")
    }

    /// Hands out the n-th event; anything but success is an error.
    pub async fn invoke(
        &self,
        stand: &mut Stand,
        running: &Running,
        n: u64,
    ) -> Result<Invocation, Failure> {
        let accepts = |status| status / 100 == 2 || self.may_find_nothing() && status == 404;
        stand.expect(running, self.event(n)?, accepts).await
    }
}

/// The feed of each program, and a line for each that has none. A hook gets its provider's sample. A worker gets
/// `most` jobs or more, made by the main hook's calls and the workers before it; if these make none, by the calls
/// of the first other hook that do. Every other function gets its first sample.
pub async fn feeds(
    stand: &mut Stand,
    root: &Path,
    programs: &[Program],
    most: u64,
) -> Result<(Feeds, Vec<String>), Failure> {
    let [plain, makes_jobs] =
        [false, true].map(|makes_jobs| parameters(root, stand.crm.port, makes_jobs));
    let (plain, makes_jobs) = (plain?, makes_jobs?);
    let (mut feeds, mut missing, mut workers) = (Feeds::new(), Vec::new(), Vec::new());
    for program in programs {
        let name = if program.is_peer { MAIN } else { program.name() };
        let feed = match (provider(name), sample_event(root, name)) {
            (Some(provider), _) => {
                Sample::of(root, provider).map(|sample| Feed::Hook(Box::new(sample), plain.clone()))
            }
            (None, None) => Err(format!("no event in events/{name}").into()),
            (None, Some(event)) => {
                workers.extend(queue(&event).map(|queue| (program, queue)));
                Ok(Feed::Event(event, plain.clone()))
            }
        };
        match feed {
            Ok(feed) => drop(feeds.insert(program.name().to_owned(), feed)),
            Err(error) => missing.push(format!("{}: {error}", program.name())),
        }
    }
    for hook in programs.iter().filter(|program| !program.is_peer) {
        let is_fed = |program: &Program| matches!(feeds.get(program.name()), Some(Feed::Jobs(..)));
        if workers.iter().all(|(program, _)| is_fed(program)) {
            break;
        }
        let Some(Feed::Hook(sample, _)) = feeds.get(hook.name()) else { continue };
        let events = (0..4 * most).map(|n| sample.new_call(n)).collect();
        let account = Account::new(makes_jobs.clone())?;
        work(stand, hook, &account, events).await?;
        let mut left = workers.clone();
        while let Some(at) = left.iter().position(|(_, queue)| account.waiting(queue) > 0) {
            let (program, queue) = left.swap_remove(at);
            // One half of the jobs makes jobs for other workers; the other half is measured.
            let half = 0..account.waiting(&queue) / 2;
            let jobs = half.filter_map(|_| Some(job_event(&account.receive(&queue)?)));
            work(stand, program, &account, jobs.collect()).await?;
            if !matches!(feeds.get(program.name()), Some(Feed::Jobs(..))) {
                feeds.insert(program.name().to_owned(), Feed::Jobs(account.clone(), queue));
            }
        }
    }
    Ok((feeds, missing))
}

/// Lets a program handle events on an account, without measuring.
async fn work(
    stand: &mut Stand,
    program: &Program,
    account: &Account,
    events: Vec<Vec<u8>>,
) -> Result<(), Failure> {
    let running = stand.run(&program.function, account.clone(), true, &[]).await?;
    for event in events {
        stand.expect(&running, event, |status| status / 100 == 2).await?;
    }
    running.process.kill().await;
    Ok(())
}
