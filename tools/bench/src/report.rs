//! What a run says: tables of times, of requests, and of ratios to the peers.

use std::collections::BTreeMap;

use crate::measure::Figures;
use crate::results::Results;
use crate::text::{Table, figure};

/// A measure: its name and how it is read.
type Measure = (&'static str, fn(&Figures) -> f64);

/// What is compared with the peers: how many times more of it a peer takes.
pub const MEASURES: [Measure; 8] = [
    ("exec to first answer", |f| f.cold_ms),
    ("exec to first answer at the share", |f| f.share_cold_ms),
    ("first call", |f| f.first_ms),
    ("first call at the share", |f| f.share_first_ms),
    ("warm p50", |f| f.warm_p50_us),
    ("warm p99", |f| f.warm_p99_us),
    ("CPU per call", |f| f.cpu_us),
    ("peak memory", |f| f.peak_bytes as f64),
];

const MIB: f64 = 1_048_576.0;

fn times(results: &Results) -> Table {
    let mut table = Table::new(&[
        "program",
        "zip MB",
        "start to first poll, ms",
        "first call, ms",
        "cold, ms",
        "warm p50 / p99, µs",
        "CPU per call, µs",
        "peak MiB",
        "first / warm at share, ms",
        "cold at share, ms",
        "after idle, ms",
    ]);
    for f in &results.figures {
        table.rows.push(vec![
            f.title.clone(),
            figure(f.zip_bytes as f64 / 1e6),
            figure(f.init_ms),
            figure(f.first_ms),
            figure(f.cold_ms),
            format!("{} / {}", figure(f.warm_p50_us), figure(f.warm_p99_us)),
            figure(f.cpu_us),
            figure(f.peak_bytes as f64 / MIB),
            format!("{} / {}", figure(f.share_first_ms), figure(f.share_warm_ms)),
            figure(f.share_cold_ms),
            figure(f.after_idle_ms),
        ]);
    }
    table
}

fn requests(results: &Results) -> Table {
    let kinds = ["start", "new", "duplicate", "rejected"];
    let mut table = Table::new(&[
        "program",
        "asked at start",
        "new",
        "duplicate that owes nothing",
        "rejected",
        "bytes sent",
        "connections at start / in all",
    ]);
    for f in &results.figures {
        let mut row = vec![f.title.clone()];
        row.extend(kinds.map(|kind| f.requests.get(kind).map_or("–".to_owned(), asked)));
        row.push(figure(f.bytes_sent));
        row.push(format!("{} / {}", f.connections_at_start, f.connections));
        table.rows.push(row);
    }
    table
}

/// `2: dynamodb PutItem, sqs SendMessage`.
fn asked(requests: &BTreeMap<String, f64>) -> String {
    let total = requests.values().fold(0.0, |all, one| all + one);
    let each = requests.iter().map(|(name, count)| match *count {
        1.0 => name.clone(),
        count => format!("{} {name}", number(count)),
    });
    match requests.is_empty() {
        true => "0".to_owned(),
        false => format!("{}: {}", number(total), each.collect::<Vec<_>>().join(", ")),
    }
}

/// A count per invocation: whole where it is.
fn number(count: f64) -> String {
    if count.fract() == 0.0 { format!("{count:.0}") } else { figure(count) }
}

/// How many times as much each peer takes as the main hook; below one, it takes less.
fn ratios(results: &Results) -> Option<Table> {
    let main = results.of(&results.main)?;
    let peers: Vec<&Figures> = results.figures.iter().filter(|f| f.is_peer).collect();
    if peers.is_empty() {
        return None;
    }
    let mut head = vec![format!("how many times the {} hook's", main.title)];
    head.extend(peers.iter().map(|peer| peer.title.clone()));
    let mut table = Table { head, rows: Vec::new() };
    for (name, measure) in MEASURES {
        let mut row = vec![name.to_owned()];
        row.extend(peers.iter().map(|peer| figure(measure(peer) / measure(main))));
        table.rows.push(row);
    }
    Some(table)
}

/// How many times as long as a warm call the first one takes.
fn first_calls(results: &Results) -> Table {
    let mut table = Table::new(&["first call / warm call", "full CPU", "at the share"]);
    for f in &results.figures {
        table.rows.push(vec![
            f.title.clone(),
            figure(f.first_ms * 1e3 / f.warm_p50_us),
            figure(f.share_first_ms / f.share_warm_ms),
        ]);
    }
    table
}

/// On what and how it was measured.
fn setting(results: &Results) -> String {
    let (machine, plan) = (&results.machine, &results.plan);
    format!(
        "{}, {}, {} threads, Linux {} ({}). {} turns of each program, medians; {} warm \
         invocations each; AWS answers after {} ms. The share is that of {} MB, {:.1} % of a CPU, \
         granted after a start at full CPU by {}.",
        results.taken_at,
        machine.cpu,
        machine.threads,
        machine.kernel,
        machine.architecture,
        plan.rounds,
        plan.rounds * plan.warm,
        results.delay_ms,
        plan.memory_mb,
        crate::limit::share(plan.memory_mb) * 100.0,
        machine.limiter,
    )
}

fn not_measured(results: &Results) -> String {
    let lines = results.not_measured.iter().map(|line| format!("- not measured: {line}\n"));
    lines.collect()
}

fn tables(results: &Results) -> Vec<Table> {
    let mut tables = vec![times(results)];
    tables.extend(ratios(results));
    tables.extend([first_calls(results), requests(results)]);
    tables
}

/// For a terminal.
pub fn plain(results: &Results) -> String {
    let tables: Vec<String> = tables(results).iter().map(Table::plain).collect();
    format!("{}\n\n{}\n{}", setting(results), tables.join("\n"), not_measured(results))
}

/// For the page.
pub fn markdown(results: &Results) -> String {
    let tables: Vec<String> = tables(results).iter().map(Table::markdown).collect();
    let first_line = |line: &str| line.lines().next().unwrap_or_default().to_owned() + "\n";
    let missing: String = not_measured(results)
        .lines()
        .filter(|line| line.starts_with("- "))
        .map(first_line)
        .collect();
    format!("{}\n\n{}\n{missing}", setting(results), tables.join("\n"))
}
