//! Fuzzing of every parser and authenticator, on stable Rust: proptest changes samples, and of each
//! request `target.rs` says what must hold.
//!
//! `cargo test` gives each target some hundred requests. `make fuzz MINUTES=10` gives each that long; by
//! hand, with `FUZZ_SECONDS=600`, `FUZZ_CASES=5000` and `FUZZ_PROVIDER=twilio` (one target). A request that
//! breaks a rule is made small and kept in `corpus/<target>/crash-*.http`: it fails every run until the
//! code is mended. What else is in the corpus once came to something new. A process that dies (a stack
//! that is too deep) reports nothing: with `FUZZ_TRACE=1` each request is written to
//! `trace-<target>.http` in the folder for temporary files before it is tried.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, reason = "a run reports")]

#[path = "../common/mod.rs"]
mod common;
mod input;
mod leak;
mod mutate;
mod oracle;
mod target;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use input::Input;
use mutate::{Words, inputs};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use target::{Fault, Target};

/// How many requests a plain run gives to each target: half are the same in every run.
const CASES: u32 = 750;
/// Nothing a request holds may take longer.
const LONGEST: Duration = Duration::from_secs(5);

fn corpus(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(&target.name)
}

/// The kept requests, in the order of their names.
fn kept(target: &Target) -> Vec<Input> {
    let Ok(entries) = std::fs::read_dir(corpus(target)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &PathBuf| {
        let input = Input::read(&std::fs::read(file).unwrap());
        input.unwrap_or_else(|| panic!("{} is not a request", file.display()))
    };
    files.iter().map(read).collect()
}

/// Tries one request.
fn attempt(target: &Target, input: &Input) -> Result<(), Fault> {
    if std::env::var_os("FUZZ_TRACE").is_some() {
        let trace = std::env::temp_dir().join(format!("trace-{}.http", target.name));
        std::fs::write(trace, input.write()).unwrap();
    }
    let began = Instant::now();
    target.run(input)?;
    let took = began.elapsed();
    if took > LONGEST { Err(format!("it takes {took:?}")) } else { Ok(()) }
}

/// Keeps a request that breaks a rule.
fn keep(target: &Target, input: &Input, fault: &str) -> Fault {
    let digest = switchboard_domain::Digest::of(&[&input.write()]);
    let file = corpus(target).join(format!("crash-{}.http", &digest.as_str()[..16]));
    std::fs::create_dir_all(corpus(target)).unwrap();
    std::fs::write(&file, input.write()).unwrap();
    let text = String::from_utf8_lossy(&input.write()).escape_debug().to_string();
    format!("{}: {fault}\nkept as {}\nas text: {text}", target.name, file.display())
}

/// Fuzzes one target, for so many requests or for so long.
fn fuzz(target: &Target, words: &Words, cases: u32, time: Option<Duration>) -> Result<(), Fault> {
    let began = Instant::now();
    let pool: Vec<Input> = target.samples.iter().cloned().chain(kept(target)).collect();
    for input in &pool {
        attempt(target, input).map_err(|fault| keep(target, input, &fault))?;
    }
    let strategy = inputs(pool, words, target.paths(), target.is_body_only());
    let config = Config { cases: cases / 2, failure_persistence: None, ..Config::default() };
    let run = |mut runner: TestRunner| {
        let check = |input: Input| attempt(target, &input).map_err(TestCaseError::fail);
        runner.run(&strategy, check).map_err(|error| match error {
            TestError::Fail(fault, input) => keep(target, &input, fault.message()),
            TestError::Abort(why) => why.message().to_owned(),
        })
    };
    let same = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    run(TestRunner::new_with_rng(config.clone(), same))?;
    let mut requests = config.cases;
    loop {
        run(TestRunner::new(config.clone()))?;
        requests += config.cases;
        if time.is_none_or(|time| began.elapsed() >= time) {
            break;
        }
    }
    println!("{:<13} {requests:>9} requests in {:?}", target.name, began.elapsed());
    Ok(())
}

/// Fuzzes every target, as many at a time as there are processors.
fn fuzz_all(targets: &[Target], cases: u32, time: Option<Duration>) -> Vec<Fault> {
    let words = Words::of(targets.iter().flat_map(|target| &target.samples));
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    let work = || {
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(fault) = fuzz(target, &words, cases, time) {
                faults.lock().unwrap().push(fault);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(targets.len());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    faults.into_inner().unwrap()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

#[test]
fn nothing_that_is_sent_breaks_a_rule() {
    let mut targets = Target::all();
    let only = std::env::var("FUZZ_PROVIDER").unwrap_or_default();
    targets.retain(|target| only.is_empty() || target.name == only);
    assert!(!targets.is_empty(), "no target is called {only}");
    let cases = number("FUZZ_CASES").map_or(CASES, |cases| u32::try_from(cases).unwrap());
    let faults = fuzz_all(&targets, cases, number("FUZZ_SECONDS").map(Duration::from_secs));
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn every_target_lets_its_own_samples_in() {
    for target in Target::all().iter().filter(|target| !target.is_body_only()) {
        assert!(!target.samples.is_empty(), "{} has no samples", target.name);
        for sample in &target.samples {
            target.run(sample).unwrap();
            assert!(target.lets_in(sample), "{}: {}", target.name, sample.target);
        }
    }
}
