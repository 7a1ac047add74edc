//! The results of a run: kept as JSON for `cost.py`, and written as tables into `docs/performance.md`.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use switchboard_testkit::Failure;

use crate::measure::{Figures, WARM};
use crate::programs::MAIN;

const PAGE: &str = "docs/performance.md";
const MARKS: [&str; 2] = ["<!-- figures: run -->", "<!-- end -->"];

/// All figures of a run.
#[derive(Serialize)]
pub struct Results {
    /// When it ended.
    pub taken_at: String,
    /// The processor's name and number of threads, and the kernel.
    pub machine: String,
    /// The processor's architecture.
    pub architecture: String,
    /// Turns of each program.
    pub rounds: u64,
    /// The figures of each program, the main hook first.
    pub figures: Vec<Figures>,
    /// What was not measured, and why.
    pub missing: Vec<String>,
}

type Measure = (&'static str, fn(&Figures) -> f64);

/// What is compared with the peers.
const MEASURES: [Measure; 5] = [
    ("exec to first response", |f| f.cold_ms),
    ("warm p50", |f| f.p50_us),
    ("warm p99", |f| f.p99_us),
    ("CPU per call", |f| f.cpu_us),
    ("peak memory", |f| f.peak_bytes as f64),
];

impl Results {
    /// The results of a run on this machine that has just ended.
    pub fn new(rounds: u64, figures: Vec<Figures>, missing: Vec<String>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cpu = cpu.map_or("unknown processor", |(_, name)| name);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = read("/proc/sys/kernel/osrelease");
        let machine = format!("{cpu}, {threads} threads, Linux {}", kernel.trim());
        let taken_at = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let architecture = std::env::consts::ARCH.to_owned();
        Self { taken_at, machine, architecture, rounds, figures, missing }
    }

    /// Keeps them in `target/bench`. Returns the file.
    pub fn save(&self, root: &Path) -> Result<PathBuf, Failure> {
        let path = root.join(format!("target/bench/{}.json", self.taken_at.replace(':', "")));
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }

    /// Writes the tables into the page.
    pub fn write(&self, root: &Path) -> Result<(), Failure> {
        let path = root.join(PAGE);
        fs::write(&path, between(&fs::read_to_string(&path)?, &self.markdown())?)?;
        Ok(())
    }

    /// The tables.
    pub fn markdown(&self) -> String {
        let Self { taken_at, machine, architecture, rounds, .. } = self;
        let setting = format!(
            "{taken_at}, {machine} ({architecture}). {rounds} turns of each program; {} warm invocations each.",
            rounds * WARM,
        );
        let missing: String =
            self.missing.iter().map(|line| format!("- not measured: {line}\n")).collect();
        let (times, ratios) = (self.times(), self.ratios());
        [&setting, &times, &ratios, &missing].map(String::as_str).join("\n\n")
    }

    fn times(&self) -> String {
        let head = [
            "program",
            "zip MB",
            "start to first poll, ms",
            "cold, ms",
            "warm p50, µs",
            "warm p99, µs",
            "CPU per call, µs",
            "peak MiB",
            "requests: start / new / duplicate / rejected",
        ];
        let row = |f: &Figures| {
            let (zip, peak) = (f.zip_bytes as f64 / 1e6, f.peak_bytes as f64 / 1_048_576.0);
            let figures =
                [zip, f.init_ms, f.cold_ms, f.p50_us, f.p99_us, f.cpu_us, peak].map(figure);
            std::iter::once(f.title.clone()).chain(figures).chain([requests(f)]).collect()
        };
        table(&head, self.figures.iter().map(row).collect())
    }

    /// How many times as much each peer takes as the main hook; less than one is less.
    fn ratios(&self) -> String {
        let Some(main) = self.figures.iter().find(|f| f.name == MAIN) else { return String::new() };
        let peers: Vec<&Figures> = self.figures.iter().filter(|f| f.is_peer).collect();
        let mut head = vec!["how many times the Twilio hook's"];
        head.extend(peers.iter().map(|peer| peer.title.as_str()));
        let row = |(name, measure): &(&str, fn(&Figures) -> f64)| {
            let ratios = peers.iter().map(|peer| figure(measure(peer) / measure(main)));
            std::iter::once((*name).to_owned()).chain(ratios).collect()
        };
        table(&head, MEASURES.iter().map(row).collect())
    }
}

/// Requests of each kind of invocation, as `3 / 2 / 1 / 0`.
fn requests(figures: &Figures) -> String {
    let kinds = ["start", "new", "duplicate", "rejected"];
    let kinds = kinds.iter().filter_map(|kind| figures.kinds.get(*kind));
    let counts = kinds.map(|kind| number(kind.requests.values().fold(0.0, |sum, one| sum + one)));
    counts.collect::<Vec<_>>().join(" / ")
}

/// A count: whole where it is.
pub fn number(count: f64) -> String {
    if count.fract() == 0.0 { format!("{count:.0}") } else { figure(count) }
}

/// A table in Markdown. The first column is aligned left, the others right.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let rule = (0..head.len()).map(|n| if n == 0 { "---" } else { "---:" }.to_owned()).collect();
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    [head, rule].into_iter().chain(rows).map(line).collect::<Vec<_>>().join("\n")
}

/// A figure with three digits, as many as it is worth.
pub fn figure(value: f64) -> String {
    match value {
        v if !v.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// A page with what is between its marks replaced.
fn between(page: &str, text: &str) -> Result<String, Failure> {
    let [start, end] = MARKS;
    let parts = page.split_once(start).and_then(|(a, rest)| Some((a, rest.split_once(end)?.1)));
    let (before, after) = parts.ok_or("the page has no place for the figures")?;
    Ok(format!("{before}{start}\n\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Kind;

    #[test]
    fn only_the_text_between_the_marks_is_replaced() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        let new = between(&page, "new").unwrap();
        assert!(new.contains("<!-- figures: run -->\n\nnew\n\n<!-- end -->"));
        assert_eq!(between(&new, "new").unwrap(), new);
        assert_eq!(page.split(MARKS[1]).last(), new.split(MARKS[1]).last());
        assert!(between("no marks", "new").is_err());
    }

    #[test]
    fn figures_have_three_digits() {
        let shown = [0.0, 0.0123, 0.123, 1.234, 12.34, 99.99, 123.4, 1_034_567.8].map(figure);
        assert_eq!(shown, ["0", "0.012", "0.12", "1.23", "12.3", "100", "123", "1034568"]);
        assert_eq!(figure(f64::NAN), "–");
    }

    #[test]
    fn peers_are_compared_with_the_hook_and_requests_are_listed() {
        let hook =
            Figures { name: MAIN.into(), title: "hook".into(), cpu_us: 4.0, ..Figures::default() };
        let mut peer =
            Figures { title: "a peer".into(), is_peer: true, cpu_us: 6.0, ..hook.clone() };
        peer.name = "peer".into();
        for (kind, count) in [("start", 3.0), ("new", 0.5)] {
            let requests = [("sqs SendMessage".to_owned(), count)].into();
            peer.kinds.insert(kind.into(), Kind { requests, ..Kind::default() });
        }
        let results = Results::new(1, vec![hook, peer], vec!["x: gone".into()]);
        let page = results.markdown();
        assert!(page.contains("| CPU per call | 1.50 |"), "{page}");
        assert!(page.contains(" | 3 / 0.50 |"), "{page}");
        assert!(page.ends_with("- not measured: x: gone\n"));
    }
}
