//! Time that passes when no task has anything to do: an executor whose clock is a number.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Inner {
    now: i64,
    /// Who is to be woken at which millisecond, in the order in which they asked.
    timers: BTreeMap<(i64, u64), Waker>,
    asked: u64,
}

/// A clock, and what happens by it. Clones share it.
#[derive(Clone, Default)]
pub struct Time {
    inner: Arc<Mutex<Inner>>,
    spawned: std::rc::Rc<std::cell::RefCell<Vec<Task>>>,
}

/// Whether a task was woken while all were polled.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The clock alone, which goes anywhere.
#[derive(Clone)]
pub struct Clock(Arc<Mutex<Inner>>);

impl Clock {
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.lock().unwrap().now).unwrap()
    }

    /// Lets time pass.
    pub fn sleep(&self, time: SignedDuration) -> impl Future<Output = ()> + Send + use<> {
        let inner = self.0.clone();
        let until = inner.lock().unwrap().now + time.as_millis() as i64;
        poll_fn(move |context: &mut Context<'_>| {
            let mut inner = inner.lock().unwrap();
            if inner.now >= until {
                return Poll::Ready(());
            }
            inner.asked += 1;
            let asked = inner.asked;
            inner.timers.insert((until, asked), context.waker().clone());
            Poll::Pending
        })
    }
}

impl Time {
    pub fn at(start: Timestamp) -> Self {
        let time = Self::default();
        time.inner.lock().unwrap().now = start.as_millisecond();
        time
    }

    pub fn clock(&self) -> Clock {
        Clock(self.inner.clone())
    }

    /// Something that happens beside all else.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.spawned.borrow_mut().push(Box::pin(task));
    }

    /// Lets everything happen until the main task is done.
    pub fn run(&self, main: impl Future<Output = ()>) {
        let mut main = pin!(main);
        let mut tasks: FuturesUnordered<Task> = FuturesUnordered::new();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            woken.0.store(false, Ordering::SeqCst);
            if main.as_mut().poll(&mut context).is_ready() {
                return;
            }
            while let Poll::Ready(Some(())) = tasks.poll_next_unpin(&mut context) {}
            let new = std::mem::take(&mut *self.spawned.borrow_mut());
            let is_quiet = new.is_empty() && !woken.0.load(Ordering::SeqCst);
            tasks.extend(new);
            if is_quiet {
                let wakers = {
                    let mut inner = self.inner.lock().unwrap();
                    let next = inner.timers.keys().next().copied();
                    let (at, _) = next.unwrap_or_else(|| panic!("nothing will ever happen"));
                    inner.now = at;
                    let later = inner.timers.split_off(&(at, u64::MAX));
                    std::mem::replace(&mut inner.timers, later)
                };
                wakers.into_values().for_each(Waker::wake);
            }
        }
    }
}
