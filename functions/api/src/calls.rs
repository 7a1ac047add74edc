//! Calls: lists, one call in full, its transcript, its redelivery, its context.

mod context;
mod cursor;
pub mod destinations;
mod details;
mod list;
pub mod recordings;
mod redeliver;
pub mod start;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_domain::{CallKey, CallRecord, Name};
use switchboard_flow::follow_ups::queue_due;
use switchboard_queue::{Job, Queue};
use switchboard_shell::parameters::{Cached, ParameterError};
use switchboard_store::Store;

use crate::{Area, Caller, Problem, Request, Response};

/// The area and what it acts on.
pub struct Calls<N> {
    /// Where calls are.
    pub store: Store,
    /// Where jobs are queued.
    pub queue: Arc<dyn Queue>,
    /// Which sources may hold a call of which only Twilio's id is known.
    pub sources: N,
    /// Which destinations there are, and which calls they take.
    pub destinations: Box<dyn destinations::KnowsDestinations>,
    /// Where copies of recordings are, if this stack makes any.
    pub recordings: Option<recordings::Kept>,
}

/// Who knows the sources of Twilio.
pub trait TwilioSources: Send + Sync {
    /// Their names.
    fn names(&self) -> impl Future<Output = Result<Arc<Vec<Name>>, ParameterError>> + Send;
}

impl TwilioSources for Cached<Vec<Name>> {
    async fn names(&self) -> Result<Arc<Vec<Name>>, ParameterError> {
        self.get().await
    }
}

impl<N: TwilioSources> Area for Calls<N> {
    /// A link to a recording: its signature says that it may be opened.
    fn is_signed(&self, request: &Request) -> bool {
        request.parameter("signature").is_some()
    }

    async fn respond(&self, request: &Request, caller: &Caller) -> Result<Response, Problem> {
        match request.route() {
            ("GET", path) if path == ["calls"] => self.list(request, caller).await,
            ("POST", path) if path == ["api", "test-crm-webhook"] => {
                self.test_webhook(request, caller).await
            }
            (method, path) if path.len() > 3 && path.starts_with(&["calls"]) => {
                self.about_one(method, request, caller).await
            }
            _ => Err(caller.unknown_path()),
        }
    }
}

/// Between a call's id and that of one of its recordings.
const RECORDINGS: &str = "/recordings/";

/// The call that a path names, its id decoded.
fn call_key(request: &Request, id: &str) -> Result<CallKey, Problem> {
    let part = |name, at: usize| {
        Name::new(name, request.path.get(at).map_or("", String::as_str)).map_err(wrong_key)
    };
    CallKey::new(part("provider", 1)?, part("source", 2)?, id).map_err(wrong_key)
}

impl<N: TwilioSources> Calls<N> {
    /// What is asked about one call. Its id may hold slashes; what is wanted of it stands behind.
    async fn about_one(
        &self,
        method: &str,
        request: &Request,
        caller: &Caller,
    ) -> Result<Response, Problem> {
        let rest = request.rest(3).ok_or_else(|| Problem::invalid("path", "is not UTF-8"))?;
        let key = |id: &str| call_key(request, id);
        if let ("GET", Some((id, recording))) = (method, rest.rsplit_once(RECORDINGS)) {
            return self.recording(&key(id)?, recording, request, caller).await;
        }
        match (method, rest.rsplit_once('/')) {
            ("GET", Some((id, "transcript"))) => self.transcript(&key(id)?, request, caller).await,
            ("GET", _) => self.details(&key(&rest)?, request, caller).await,
            ("POST", Some((id, "redeliver"))) => self.redeliver(&key(id)?, request, caller).await,
            ("PUT", Some((id, "context"))) => self.context(&key(id)?, request, caller).await,
            _ => Err(caller.unknown_path()),
        }
    }

    async fn stored(&self, key: &CallKey) -> Result<CallRecord, Problem> {
        self.store.call(key).await?.ok_or_else(|| Problem::not_found("call"))
    }

    /// Queues jobs for what is stored as due. If that fails, the sweep does it within a minute.
    async fn queue(&self, jobs: &[switchboard_queue::Send]) {
        queue_due(&*self.queue, jobs).await;
    }
}

fn wrong_key(error: switchboard_domain::KeyError) -> Problem {
    Problem::invalid(error.part, error.problem)
}

/// A call's name in responses, and further members.
fn named(key: &CallKey, members: impl IntoIterator<Item = Value>) -> Value {
    let name = json!({ "provider": key.provider, "source": key.source, "call_id": key.call_id() });
    let members = std::iter::once(name).chain(members);
    members.filter_map(|part| part.as_object().cloned()).flatten().collect()
}

/// The job of a delivery that is due now.
fn job(delivery: &switchboard_domain::Delivery) -> switchboard_queue::Send {
    let (call, delivery) = (delivery.key.clone(), delivery.id.clone());
    switchboard_queue::Send { job: Job::Deliver { call, delivery }, delay: 0 }
}
