//! Functions as processes, against stand-ins on loopback for what they talk to: the Lambda Runtime API, AWS, a CRM
//! and a model; and sample webhooks for them, as new calls.

use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub mod aws;
pub mod crm;
pub mod function;
pub mod http;
pub mod process;
pub mod runtime_api;
pub mod samples;
mod signature;
pub mod stand_in;
pub mod webhook;

/// An error of any kind, as text for the person who runs the tool.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Locks a mutex even if a thread has panicked while it held the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
