//! SQS and Lambda, as far as they matter here: batches, concurrency, visibility, receive counts.
//! The numbers are the template's.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use futures_util::future::{Either, join_all, select};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use switchboard_flow::JobError;
use switchboard_queue::{Job, Queue, QueueError, Send, Waiting};

use crate::time::{Clock, Time};

/// What the worker loop leaves of an invocation's time.
const MARGIN: i64 = 2;

/// A number of the template, of a resource's properties or of an object in them.
pub fn template(resource: &str, name: &str) -> i64 {
    static TEMPLATE: LazyLock<Value> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        switchboard_template::read(&root).unwrap()
    });
    let properties = &TEMPLATE["Resources"][resource]["Properties"];
    let nested = properties.as_object().unwrap().values().find_map(|value| value.get(name));
    properties.get(name).or(nested).and_then(Value::as_i64).unwrap()
}

/// A message, and how often it was received.
#[derive(Clone)]
struct Message {
    job: Job,
    received: i64,
}

#[derive(Default)]
struct Messages {
    /// By the millisecond from which on it can be received, then in order of sending.
    waiting: BTreeMap<(i64, u64), Message>,
    sent: u64,
    /// Whether there is something to look at, and who looks.
    has_changes: bool,
    poller: Option<Waker>,
}

impl Messages {
    fn add(&mut self, from: Timestamp, message: Message) {
        self.sent += 1;
        self.waiting.insert((from.as_millisecond(), self.sent), message);
        self.look();
    }

    fn look(&mut self) {
        self.has_changes = true;
        if let Some(poller) = self.poller.take() {
            poller.wake();
        }
    }
}

/// Both queues, as workers send to them.
#[derive(Clone)]
pub struct Sqs {
    clock: Clock,
    enrich: Arc<Mutex<Messages>>,
    deliver: Arc<Mutex<Messages>>,
}

impl Sqs {
    pub fn new(clock: Clock) -> Self {
        Self { clock, enrich: Arc::default(), deliver: Arc::default() }
    }

    fn of(&self, job: &Job) -> &Arc<Mutex<Messages>> {
        match job {
            Job::Enrich { .. } | Job::Analyze { .. } | Job::Recordings { .. } => &self.enrich,
            Job::Deliver { .. } | Job::Pull { .. } => &self.deliver,
        }
    }
}

#[async_trait]
impl Queue for Sqs {
    async fn send(&self, jobs: &[Send]) -> Result<(), QueueError> {
        for send in jobs {
            assert!(send.delay <= 900);
            let from = self.clock.now() + SignedDuration::from_secs(send.delay.into());
            let message = Message { job: send.job.clone(), received: 0 };
            self.of(&send.job).lock().unwrap().add(from, message);
        }
        Ok(())
    }

    async fn waiting(&self) -> Result<Waiting, QueueError> {
        let now = self.clock.now().as_millisecond();
        let visible = |queue: &Mutex<Messages>| {
            queue.lock().unwrap().waiting.range(..=(now, u64::MAX)).count() as u64
        };
        let (enrich, deliver) = (visible(&self.enrich), visible(&self.deliver));
        Ok(Waiting { enrich, deliver, ..Waiting::default() })
    }
}

/// What one environment does with one job.
pub type Work = Rc<dyn Fn(usize, Job) -> Pin<Box<dyn Future<Output = Result<(), JobError>>>>>;

/// The event source of one queue.
pub struct Source {
    pub queue: &'static str,
    pub function: &'static str,
    pub jobs: &'static str,
    pub work: Work,
    /// So many receives are throttled: the function does not run, and the message comes again.
    pub throttled: usize,
}

/// What became of messages that were given up.
pub type DeadLetters = Arc<Mutex<Vec<Job>>>;

/// Hands out a queue's messages for ever.
pub fn serve(time: &Time, sqs: &Sqs, source: Source, dead: DeadLetters) {
    let messages = match source.queue {
        "EnrichQueue" => sqs.enrich.clone(),
        _ => sqs.deliver.clone(),
    };
    let concurrency = template(source.jobs, "MaximumConcurrency") as usize;
    let batch = template(source.jobs, "BatchSize") as usize;
    let visibility = SignedDuration::from_secs(template(source.queue, "VisibilityTimeout"));
    let most = template(source.queue, "maxReceiveCount");
    let timeout = SignedDuration::from_secs(template(source.function, "Timeout") - MARGIN);
    let free: Rc<RefCell<BTreeSet<usize>>> = Rc::new(RefCell::new((0..concurrency).collect()));
    let (own, clock) = (time.clone(), time.clock());
    let mut throttled = source.throttled;
    time.spawn(async move {
        loop {
            // As often as a poller asks; with nothing to be had, time passes until there is.
            let now = clock.now();
            loop {
                let Some(environment) = free.borrow().first().copied() else { break };
                let taken: Vec<Message> = {
                    let mut messages = messages.lock().unwrap();
                    let visible = messages.waiting.range(..=(now.as_millisecond(), u64::MAX));
                    let keys: Vec<(i64, u64)> = visible.take(batch).map(|(key, _)| *key).collect();
                    keys.iter().filter_map(|key| messages.waiting.remove(key)).collect()
                };
                let mut running = Vec::new();
                for mut message in taken {
                    message.received += 1;
                    if message.received > most {
                        dead.lock().unwrap().push(message.job);
                    } else if throttled > 0 {
                        throttled -= 1;
                        messages.lock().unwrap().add(now + visibility, message);
                    } else {
                        running.push(message);
                    }
                }
                if running.is_empty() {
                    break;
                }
                free.borrow_mut().remove(&environment);
                let (free, messages, work) = (free.clone(), messages.clone(), source.work.clone());
                let clock = clock.clone();
                own.spawn(async move {
                    let one = |message: Message| {
                        let job = work(environment, message.job.clone());
                        let limit = Box::pin(clock.sleep(timeout));
                        async move {
                            match select(job, limit).await {
                                Either::Left((Ok(()), _)) => None,
                                _ => Some(message),
                            }
                        }
                    };
                    for message in
                        join_all(running.into_iter().map(one)).await.into_iter().flatten()
                    {
                        messages.lock().unwrap().add(now + visibility, message);
                    }
                    free.borrow_mut().insert(environment);
                    messages.lock().unwrap().look();
                });
            }
            // Until something is sent, becomes visible, or an environment is free again.
            let next = messages.lock().unwrap().waiting.keys().map(|(at, _)| *at).next();
            let wait = match next.map(|at| at - clock.now().as_millisecond()) {
                Some(wait) if wait > 0 => SignedDuration::from_millis(wait),
                _ => SignedDuration::from_hours(1),
            };
            let fingerprint = poll_fn(|context| {
                let mut messages = messages.lock().unwrap();
                messages.poller = Some(context.waker().clone());
                if std::mem::take(&mut messages.has_changes) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            select(pin!(clock.sleep(wait)), fingerprint).await;
        }
    });
}
