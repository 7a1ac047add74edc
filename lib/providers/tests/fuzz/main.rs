//! Fuzzing of every parser and authenticator, on stable Rust: samples are changed at random, and of
//! each result `target.rs` says what must hold.
//!
//! `cargo test` gives each target some thousand requests. `make fuzz MINUTES=10` gives each that long;
//! by hand, with `FUZZ_SECONDS=600`, `FUZZ_PROVIDER=twilio` (one target) and `FUZZ_SEED=1`. What came to
//! something new is then kept in `corpus/<target>/`, a request that breaks a rule always, as
//! `crash-*.http`: it fails every run until the code is mended. A process that dies (a stack that is
//! too deep) says nothing: with `FUZZ_TRACE=1` each request is written to `trace-<target>.http` in the
//! folder for temporary files before it is tried.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a run reports")]

#[path = "../common/mod.rs"]
mod common;
mod input;
mod leak;
mod mutate;
mod oracle;
mod target;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use input::Input;
use mutate::Mutator;
use target::{Outcome, Target};

/// The seed that every plain run has, besides two that it draws.
const SEED: u64 = 20_260_220;
/// How many requests a plain run gives to each target and seed.
const ITERATIONS: u64 = 250;
/// How many files a target's folder may have, and how long one may be, bytes.
const MOST_FILES: usize = 120;
const LONGEST_FILE: usize = 4 * 1024;
/// Nothing a request holds may take longer.
const LONGEST: Duration = Duration::from_secs(5);

/// How long to go on.
#[derive(Clone, Copy)]
enum Budget {
    Iterations(u64),
    Time(Duration),
}

/// What a run did.
#[derive(Default)]
struct Report {
    executions: u64,
    took: Duration,
    slowest: Duration,
    begun_with: usize,
    new: usize,
    kept: usize,
    outcomes: BTreeMap<String, u64>,
}

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

/// A name that the same request always gets.
fn digest(input: &Input) -> String {
    switchboard_domain::Digest::of(&[&input.write()]).as_str()[..16].to_owned()
}

fn fingerprint(outcome: &Outcome) -> u64 {
    let mut hasher = DefaultHasher::new();
    outcome.hash(&mut hasher);
    hasher.finish()
}

struct Run<'a> {
    target: &'a Target,
    seed: u64,
    trace: Option<PathBuf>,
    report: Report,
    /// Every outcome, and every word of one.
    seen: BTreeSet<u64>,
    words: BTreeSet<String>,
}

/// What is new about a request: the words that no outcome had before.
struct IngestedChange(Vec<String>);

impl Run<'_> {
    /// Tries one request. A fault ends the run, once it was made small and kept.
    fn attempt(&mut self, input: &Input) -> Result<Option<IngestedChange>, String> {
        if let Some(trace) = &self.trace {
            std::fs::write(trace, input.write()).unwrap();
        }
        let began = Instant::now();
        let result = self.target.run(input);
        let took = began.elapsed();
        self.report.executions += 1;
        self.report.slowest = self.report.slowest.max(took);
        let result = if took > LONGEST { Err(format!("it takes {took:?}")) } else { result };
        match result {
            Ok(outcome) => {
                for word in &outcome {
                    *self.report.outcomes.entry(word.clone()).or_default() += 1;
                }
                if !self.seen.insert(fingerprint(&outcome)) {
                    return Ok(None);
                }
                let is_new = |word: &String| self.words.insert(word.clone());
                Ok(Some(IngestedChange(outcome.into_iter().filter(is_new).collect())))
            }
            Err(fault) => Err(self.keep_fault(input, &fault)),
        }
    }

    fn keep_fault(&self, input: &Input, fault: &str) -> String {
        let class = |fault: &str| fault.split([':', ',']).next().unwrap_or_default().to_owned();
        let same =
            |smaller: &Input| self.target.run(smaller).is_err_and(|f| class(&f) == class(fault));
        let small = input.shrunk(same);
        let file = corpus(self.target).join(format!("crash-{}.http", digest(&small)));
        std::fs::create_dir_all(corpus(self.target)).unwrap();
        std::fs::write(&file, small.write()).unwrap();
        let hex: String = small.write().iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{}, seed {}, request {}: {fault}\nkept as {}\nas text: {}\nas hex: {hex}",
            self.target.name,
            self.seed,
            self.report.executions,
            file.display(),
            String::from_utf8_lossy(&small.write()).escape_debug(),
        )
    }
}

/// Fuzzes one target. `keep` writes what is new into the corpus.
fn fuzz(
    target: &Target,
    mutator: &Mutator,
    seed: u64,
    budget: Budget,
    keep: bool,
) -> Result<Report, String> {
    let began = Instant::now();
    let trace = std::env::var_os("FUZZ_TRACE")
        .map(|_| std::env::temp_dir().join(format!("trace-{}.http", target.name)));
    let mut run = Run {
        target,
        seed,
        trace,
        report: Report::default(),
        seen: BTreeSet::new(),
        words: BTreeSet::new(),
    };
    let mut pool: Vec<Input> = target.samples.iter().cloned().chain(kept(target)).collect();
    run.report.begun_with = pool.len();
    for input in pool.clone() {
        run.attempt(&input)?;
    }
    let mut files = std::fs::read_dir(corpus(target)).map_or(0, Iterator::count);
    let mut rng = Rng::with_seed(seed);
    loop {
        let is_over = match budget {
            Budget::Iterations(most) => {
                run.report.executions >= most + run.report.begun_with as u64
            }
            Budget::Time(most) => began.elapsed() >= most,
        };
        if is_over {
            break;
        }
        // Half of the time what was there at first, lest it drift away from what is understood.
        let among = if rng.bool() { run.report.begun_with } else { pool.len() };
        let input = &pool[rng.usize(0..among)];
        let other = &pool[rng.usize(0..pool.len())];
        let input = mutator.mutate(&mut rng, input, other, target.is_body_only());
        let Some(IngestedChange(words)) = run.attempt(&input)? else { continue };
        run.report.new += 1;
        if keep && !words.is_empty() && files < MOST_FILES {
            let has_all = |outcome: Outcome| words.iter().all(|word| outcome.contains(word));
            let small = input.shrunk(|smaller| target.run(smaller).is_ok_and(has_all));
            if small.write().len() <= LONGEST_FILE {
                let file = corpus(target).join(format!("{}.http", digest(&small)));
                std::fs::create_dir_all(corpus(target)).unwrap();
                std::fs::write(file, small.write()).unwrap();
                files += 1;
                run.report.kept += 1;
            }
        }
        if pool.len() < 4_000 && input.body.len() <= 16 * 1024 {
            pool.push(input);
        }
    }
    run.report.took = began.elapsed();
    Ok(run.report)
}

fn show(target: &Target, seed: u64, report: &Report) {
    println!(
        "{:<13} seed {seed:<20} {:>9} requests, {:>7.0}/s, slowest {:>6.1} ms, corpus {} and {} new ({} kept)",
        target.name,
        report.executions,
        report.executions as f64 / report.took.as_secs_f64(),
        report.slowest.as_secs_f64() * 1e3,
        report.begun_with,
        report.new,
        report.kept,
    );
}

/// Runs every target with every seed, as many at a time as there are processors.
fn run_all(targets: &[Target], seeds: &[u64], budget: Budget, keep: bool) -> Vec<String> {
    let every = targets.iter().flat_map(|target| seeds.iter().map(move |seed| (target, *seed)));
    let jobs: Vec<(&Target, u64)> = every.collect();
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(Vec::new());
    let samples: Vec<&Input> = targets.iter().flat_map(|target| &target.samples).collect();
    let work = || {
        while let Some((target, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
            let mutator = Mutator::of(samples.iter().copied(), target.paths());
            match fuzz(target, &mutator, seed, budget, keep) {
                Ok(report) => {
                    show(target, seed, &report);
                    if keep {
                        for (outcome, count) in &report.outcomes {
                            println!("    {count:>9}  {outcome}");
                        }
                    }
                }
                Err(fault) => faults.lock().unwrap().push(fault),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
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
    let drawn = || Rng::new().u64(..);
    let seconds = number("FUZZ_SECONDS");
    let seeds = match (number("FUZZ_SEED"), seconds) {
        (Some(seed), _) => vec![seed],
        (None, Some(_)) => vec![drawn()],
        (None, None) => vec![SEED, drawn(), drawn()],
    };
    let budget = match seconds {
        Some(seconds) => Budget::Time(Duration::from_secs(seconds)),
        None => Budget::Iterations(number("FUZZ_ITERATIONS").unwrap_or(ITERATIONS)),
    };
    let faults = run_all(&targets, &seeds, budget, seconds.is_some());
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn every_target_lets_its_own_samples_in() {
    for target in Target::all().iter().filter(|target| !target.is_body_only()) {
        assert!(!target.samples.is_empty(), "{} has no samples", target.name);
        for sample in &target.samples {
            let outcome = target.run(sample).unwrap();
            assert!(outcome.contains("let in"), "{}: {}", target.name, sample.target);
        }
    }
}
