//! The measuring stand: the stand-ins, and one program at a time that runs against them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::Failure;
use crate::aws::{Account, Aws, Delays};
use crate::certificate;
use crate::crm::Crm;
use crate::feed::{self, Feed};
use crate::limit::Limiter;
use crate::process::Process;
use crate::programs::{Addresses, Found, Program, environment};
use crate::runtime_api::{Invocation, RuntimeApi};
use crate::sample::Sample;
use crate::say;
use crate::server::{Counts, Shared, lock};

/// A program that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// The stand.
pub struct Bench {
    /// The repository.
    pub root: PathBuf,
    /// Where the tool keeps its files.
    pub folder: PathBuf,
    /// Counts and connections of all stand-ins.
    pub shared: Arc<Shared>,
    /// DynamoDB, SQS and SSM.
    pub aws: Aws,
    /// The CRM.
    pub crm: Crm,
    /// How CPU is limited here.
    pub limiter: Limiter,
    /// Put before each command, to watch it: `valgrind` and its options.
    pub under: Vec<String>,
    runtime_api: RuntimeApi,
    addresses: Addresses,
}

/// A program that has started and asks for its first event.
pub struct Running {
    /// The process.
    pub process: Process,
    /// From exec to the first question for an event.
    pub init: Duration,
    /// What it asked of AWS until then.
    pub asked: Counts,
    /// Whether it takes webhooks: those always find what they are about, or make it.
    is_hook: bool,
}

impl Bench {
    /// Starts the stand-ins. `folder` gets the authority's certificate.
    pub async fn start(root: PathBuf, folder: &Path, delay: Duration) -> Result<Self, Failure> {
        let shared: Arc<Shared> = Arc::default();
        let tls = certificate::make()?;
        std::fs::create_dir_all(folder)?;
        let folder = std::fs::canonicalize(folder)?;
        let authority = folder.join("authority.pem");
        std::fs::write(&authority, &tls.authority)?;
        let aws = Aws::start(&tls, &shared, Delays::all(delay)).await?;
        let crm = Crm::start(&shared).await?;
        let runtime_api = RuntimeApi::start().await?;
        let addresses = Addresses {
            runtime_api: runtime_api.port,
            dynamodb: aws.dynamodb,
            sqs: aws.sqs,
            ssm: aws.ssm,
            authority,
        };
        let limiter = Limiter::detect();
        let under = Vec::new();
        Ok(Self { root, folder, shared, aws, crm, limiter, under, runtime_api, addresses })
    }

    /// Starts a program on an account, and waits until it asks for an event.
    pub async fn run(
        &mut self,
        program: &Program,
        account: Account,
        stage: &str,
        memory_mb: u32,
    ) -> Result<Running, Failure> {
        *lock(&self.aws.account) = account;
        self.aws.take_units();
        self.runtime_api.reset();
        self.shared.take_counts();
        let environment = environment(program, &self.addresses, memory_mb, stage);
        let command: Vec<String> = self.under.iter().chain(&program.command).cloned().collect();
        let process = Process::start(&command, &program.folder, &environment)?;
        match self.runtime_api.asked(PATIENCE).await {
            Ok(at) => {
                let init = at.duration_since(process.started_at);
                let is_hook = program.is_peer || feed::provider(&program.name).is_some();
                Ok(Running { process, init, asked: self.shared.take_counts(), is_hook })
            }
            Err(failure) => Err(failure.of(&program.name, &process.last_words())),
        }
    }

    /// Hands out one event, and waits for the answer.
    pub async fn invoke(
        &mut self,
        running: &Running,
        event: Vec<u8>,
    ) -> Result<Invocation, Failure> {
        self.runtime_api
            .invoke(event, PATIENCE)
            .await
            .map_err(|failure| failure.of("the program", &running.process.last_words()))
    }

    /// As [`Bench::invoke`], where anything but work well done is an error.
    pub async fn done(&mut self, running: &Running, event: Vec<u8>) -> Result<Invocation, Failure> {
        let invocation = self.invoke(running, event.clone()).await?;
        let answer = &invocation.answer;
        if feed::is_done(answer) || !running.is_hook && feed::is_not_there(&event, answer) {
            return Ok(invocation);
        }
        let failure = Failure::new(format!("it answered {answer}"));
        Err(failure.of("the program", &running.process.last_words()))
    }

    /// Where each program's events come from. The workers' come from the main hook: it is given
    /// `most` calls, `enrich` what the hook has queued, `deliver` what `enrich` has; and where the main
    /// hook's calls make no work for a worker, from the other hooks in turn. A program that nothing can
    /// be given to is left out, and said.
    pub async fn feeds(
        &mut self,
        found: &Found,
        most: u64,
    ) -> Result<(BTreeMap<String, Feed>, Vec<String>), Failure> {
        let (mut feeds, mut without) = (BTreeMap::new(), Vec::new());
        let mut workers = Vec::new();
        for program in &found.programs {
            let name = if program.is_peer { &found.main } else { &program.name };
            if let Some(provider) = feed::provider(name) {
                match Sample::of(&self.root, provider) {
                    Ok(sample) => {
                        feeds.insert(program.name.clone(), Feed::Hook(Box::new(sample)));
                    }
                    Err(why) => without.push(format!("{name}: {why}")),
                }
            } else if let Some(queue) = feed::queue(&self.root, name) {
                workers.push((program, queue));
            } else if let Some(event) = feed::sample_event(&self.root, name) {
                let event = event.to_string().into_bytes();
                feeds.insert(program.name.clone(), Feed::Plain(event));
            } else {
                without.push(format!("{name}: nothing in events/{name} to give it"));
            }
        }
        let is_hook =
            |program: &&Program| !program.is_peer && feed::provider(&program.name).is_some();
        let mut hooks: Vec<&Program> = found.programs.iter().filter(is_hook).collect();
        hooks.sort_by_key(|program| program.name != found.main);
        // What is only made ready need not wait for the network.
        let delays = std::mem::take(&mut *lock(&self.aws.delays));
        for hook in hooks {
            if workers.iter().all(|(program, _)| feeds.contains_key(&program.name)) {
                break;
            }
            if let Err(why) = self.feed_workers(hook, &workers, &mut feeds, most).await {
                without.push(format!("the workers are fed no further by {}: {why}", hook.name));
            }
        }
        *lock(&self.aws.delays) = delays;
        for (program, queue) in workers {
            if feeds.contains_key(&program.name) {
                continue;
            }
            // Nobody queued anything: a sample may point to a call that is not there.
            match feed::sample_event(&self.root, &program.name) {
                Some(event) => {
                    say(&format!(
                        "{}: nobody queued anything in {queue}, its sample is taken",
                        program.name
                    ));
                    let event = event.to_string().into_bytes();
                    feeds.insert(program.name.clone(), Feed::Plain(event));
                }
                None => {
                    without.push(format!("{}: nobody queued anything in {queue}", program.name))
                }
            }
        }
        Ok((feeds, without))
    }

    /// Gives a hook calls, and each worker what was queued for it by those before it: once, so that
    /// those who queue for each other come to an end.
    async fn feed_workers(
        &mut self,
        hook: &Program,
        workers: &[(&Program, String)],
        feeds: &mut BTreeMap<String, Feed>,
        most: u64,
    ) -> Result<(), Failure> {
        let Some(feed) = feeds.get(&hook.name) else { return Ok(()) };
        let parameters = feed::parameters(&self.root, self.crm.port, true)?;
        let mut account = Account { parameters, ..Account::default() };
        account = self.work(hook, feed, account, most).await?;
        let mut left = workers.to_vec();
        while let Some(at) = left.iter().position(|(_, q)| account.queues.0.contains_key(q)) {
            let (program, queue) = left.swap_remove(at);
            let messages = account.queues.0.remove(&queue).unwrap_or_default();
            let feed = Feed::Jobs { account: Box::new(account.clone()), messages };
            account = self.work(program, &feed, account, most).await?;
            feeds.entry(program.name.clone()).or_insert(feed);
        }
        Ok(())
    }

    /// Lets a program do its work without measuring it; gives the account as it is afterwards.
    async fn work(
        &mut self,
        program: &Program,
        feed: &Feed,
        account: Account,
        most: u64,
    ) -> Result<Account, Failure> {
        let running = self.run(program, account, "local", crate::limit::WHOLE_CPU_MB).await?;
        for n in 0..most.min(feed.len()) {
            let Some(event) = feed.event(n) else { break };
            self.done(&running, event).await?;
        }
        running.process.end().await;
        Ok(lock(&self.aws.account).clone())
    }
}
