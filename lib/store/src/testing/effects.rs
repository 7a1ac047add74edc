//! Everything that changes something outside, counted, and faults at chosen ones.

use std::future::{Future, pending, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::task::yield_now;

/// What happens to the chosen effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It takes place, and then the process is gone.
    Crash,
    /// The process is gone before it takes place.
    CrashBefore,
    /// It takes place, and the response to it is lost.
    AnswerLost,
    /// It does not take place, and the response says so.
    Refused,
    /// The other side rejects it, where the effect has a response for that; else as [`Fault::Refused`].
    Rejected,
}

/// Which effect is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The n-th of all, from 1.
    Nth(usize),
    /// The next one of a kind.
    Next(&'static str),
}

#[derive(Default)]
struct State {
    log: Vec<&'static str>,
    reads: Vec<&'static str>,
    armed: Vec<(Which, Fault)>,
    hit: Option<&'static str>,
    reads_are_effects: bool,
    crashed: bool,
    waker: Option<Waker>,
}

/// The effects so far, and the ones that are to go wrong. Clones share them.
#[derive(Clone, Default)]
pub struct Effects(Arc<Mutex<State>>);

impl Effects {
    /// With the reads of tables as effects too.
    pub fn with_reads() -> Self {
        let effects = Self::default();
        effects.lock().reads_are_effects = true;
        effects
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses what goes wrong, once.
    pub fn arm(&self, which: Which, fault: Fault) {
        self.arm_all([(which, fault)]);
    }

    /// Chooses several, each of which goes wrong once.
    pub fn arm_all(&self, faults: impl IntoIterator<Item = (Which, Fault)>) {
        self.lock().armed = faults.into_iter().collect();
    }

    /// Nothing goes wrong any more.
    pub fn disarm(&self) {
        self.lock().armed.clear();
    }

    /// The kind of the effect that went wrong last, if one did.
    pub fn hit(&self) -> Option<&'static str> {
        self.lock().hit
    }

    /// The kinds of all effects so far.
    pub fn log(&self) -> Vec<&'static str> {
        self.lock().log.clone()
    }

    /// The kinds of all reads of tables so far.
    pub fn reads(&self) -> Vec<&'static str> {
        self.lock().reads.clone()
    }

    /// Whether the process was gone since this was called last.
    pub fn took_crash(&self) -> bool {
        std::mem::take(&mut self.lock().crashed)
    }

    /// Resolves when the process is to be gone.
    pub async fn crashed(&self) {
        poll_fn(|context| {
            let mut state = self.lock();
            if std::mem::take(&mut state.crashed) {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn crash<T>(&self) -> T {
        {
            let mut state = self.lock();
            state.crashed = true;
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
        pending().await
    }

    fn next(&self, what: &'static str) -> Option<Fault> {
        let mut state = self.lock();
        state.log.push(what);
        let n = state.log.len();
        let is_it = |(which, _): &(Which, Fault)| match which {
            Which::Nth(nth) => *nth == n,
            Which::Next(kind) => *kind == what,
        };
        let place = state.armed.iter().position(is_it)?;
        let (_, fault) = state.armed.remove(place);
        state.hit = Some(what);
        Some(fault)
    }

    /// Does something that changes something outside, or has a fault instead: `failed` is its response
    /// then. Others get their turn before and after.
    pub async fn act<T>(
        &self,
        what: &'static str,
        act: impl Future<Output = T>,
        failed: impl FnOnce(Fault) -> T,
    ) -> T {
        yield_now().await;
        let result = match self.next(what) {
            None => act.await,
            Some(fault @ (Fault::Refused | Fault::Rejected)) => return failed(fault),
            Some(Fault::CrashBefore) => self.crash().await,
            Some(Fault::Crash) => {
                act.await;
                self.crash().await
            }
            Some(Fault::AnswerLost) => {
                act.await;
                return failed(Fault::AnswerLost);
            }
        };
        yield_now().await;
        result
    }

    /// Reads: an effect only where reads are effects.
    pub(super) async fn read<T>(
        &self,
        what: &'static str,
        read: impl Future<Output = T>,
        failed: impl FnOnce(Fault) -> T,
    ) -> T {
        let is_effect = {
            let mut state = self.lock();
            state.reads.push(what);
            state.reads_are_effects
        };
        if is_effect {
            return self.act(what, read, failed).await;
        }
        yield_now().await;
        read.await
    }
}
