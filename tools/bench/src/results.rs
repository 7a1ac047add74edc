//! The results of a run: kept as JSON, written into the page and the picture.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::bench::Bench;
use crate::measure::{Figures, Plan};
use crate::{picture, report, text};

/// All figures of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// When it ended.
    pub taken_at: String,
    /// On what machine.
    pub machine: Machine,
    /// How much was measured.
    pub plan: Plan,
    /// How late AWS answered, milliseconds.
    pub delay_ms: u64,
    /// The hook that the peers are compared with.
    pub main: String,
    /// One for each program.
    pub figures: Vec<Figures>,
    /// What was not measured, and why.
    pub not_measured: Vec<String>,
}

/// Where it was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many of its threads there are.
    pub threads: usize,
    /// The kernel's version.
    pub kernel: String,
    /// The processor's architecture.
    pub architecture: String,
    /// How CPU shares were granted.
    pub limiter: String,
}

impl Machine {
    fn here(limiter: &str) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: cpu.map_or("unknown processor", |(_, name)| name).to_owned(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            limiter: limiter.to_owned(),
        }
    }
}

impl Results {
    /// Of a run that has just ended.
    pub fn new(
        plan: Plan,
        delay_ms: u64,
        bench: &Bench,
        main: &str,
        figures: Vec<Figures>,
        not_measured: Vec<String>,
    ) -> Self {
        Self {
            taken_at: now(),
            machine: Machine::here(bench.limiter.name()),
            plan,
            delay_ms,
            main: main.to_owned(),
            figures,
            not_measured,
        }
    }

    /// The figures of a program.
    pub fn of(&self, name: &str) -> Option<&Figures> {
        self.figures.iter().find(|figures| figures.name == name)
    }

    /// Keeps it under `target/bench`; says where.
    pub fn save(&self, root: &Path) -> Result<PathBuf, Failure> {
        save(root, &self.taken_at, self)
    }

    /// Writes the page's figures and the picture.
    pub fn write(&self, root: &Path) -> Result<(), Failure> {
        fs::write(root.join("docs/performance.svg"), picture::draw(self)?)?;
        write_page(root, "run", &report::markdown(self))
    }
}

/// The time, to the second.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A name for the results of another command than `run`.
pub fn name(command: &str) -> String {
    format!("{}-{command}", now())
}

/// Keeps something as JSON under `target/bench/<name>.json`.
pub fn save(root: &Path, name: &str, value: &impl Serialize) -> Result<PathBuf, Failure> {
    let folder = root.join("target/bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}.json", name.replace(':', "")));
    fs::write(&path, serde_json::to_string_pretty(value)? + "\n")?;
    Ok(path)
}

/// Writes the figures of `name` into the page.
pub fn write_page(root: &Path, name: &str, figures: &str) -> Result<(), Failure> {
    let path = root.join("docs/performance.md");
    let page = fs::read_to_string(&path)?;
    fs::write(&path, text::between(&page, name, figures)?)?;
    Ok(())
}
