//! Tokens in memory, as the Parameter Store keeps them: a text with a version that rises.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use switchboard_domain::Name;
use switchboard_flow::tokens::TokenStore;
use tokio::task::yield_now;

/// What goes wrong with the next writes.
#[derive(Default)]
struct State {
    texts: BTreeMap<Name, (String, u64)>,
    writes: usize,
    /// The n-th write and those after it fail, so many.
    failing: Option<(usize, usize)>,
    /// The n-th write takes place never, and its writer stands still.
    hanging: Option<usize>,
    hangs: bool,
    /// So many reads show what was there before the last write.
    lagging: usize,
    before: BTreeMap<Name, (String, u64)>,
}

/// Clones share it.
#[derive(Clone, Default)]
pub struct MemoryTokenStore(Arc<Mutex<State>>);

impl MemoryTokenStore {
    /// What is kept for a destination.
    pub fn text(&self, destination: &str) -> String {
        let name = Name::new("destination", destination).unwrap();
        self.0.lock().unwrap().texts.get(&name).map_or(String::new(), |(text, _)| text.clone())
    }

    /// An operator deletes what is kept.
    pub fn delete(&self, destination: &str) {
        let name = Name::new("destination", destination).unwrap();
        self.0.lock().unwrap().texts.remove(&name);
    }

    /// From the n-th write on, counted from now and from 1, so many fail.
    pub fn fail(&self, nth: usize, many: usize) {
        let mut state = self.0.lock().unwrap();
        state.failing = Some((state.writes + nth, many));
    }

    /// The next reads show what was there before the last write.
    pub fn lag(&self, reads: usize) {
        self.0.lock().unwrap().lagging = reads;
    }

    /// Whether a writer stands still.
    pub fn hangs(&self) -> bool {
        self.0.lock().unwrap().hangs
    }

    /// At the n-th write, counted from now and from 1, its writer is gone.
    pub fn hang(&self, nth: usize) {
        let mut state = self.0.lock().unwrap();
        state.hanging = Some(state.writes + nth);
    }
}

#[async_trait]
impl TokenStore for MemoryTokenStore {
    async fn read(&self, destination: &Name) -> Result<Option<(String, u64)>, String> {
        yield_now().await;
        let mut state = self.0.lock().unwrap();
        if state.lagging > 0 {
            state.lagging -= 1;
            return Ok(state.before.get(destination).cloned());
        }
        Ok(state.texts.get(destination).cloned())
    }

    async fn write(&self, destination: &Name, text: &str) -> Result<u64, String> {
        yield_now().await;
        let hangs = {
            let mut state = self.0.lock().unwrap();
            state.writes += 1;
            let n = state.writes;
            if state.failing.is_some_and(|(first, many)| (first..first + many).contains(&n)) {
                return Err("the write failed".to_owned());
            }
            state.hangs |= state.hanging == Some(n);
            state.hanging == Some(n)
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        let mut state = self.0.lock().unwrap();
        state.before = state.texts.clone();
        let version = state.texts.get(destination).map_or(0, |(_, version)| *version) + 1;
        state.texts.insert(destination.clone(), (text.to_owned(), version));
        Ok(version)
    }
}
