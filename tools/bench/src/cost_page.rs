//! What a month costs, in tables: for `docs/cost.md` and for a terminal.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::assumptions;
use crate::cost::{Model, cold_share, kind};
use crate::prices;
use crate::results::Results;
use crate::text::{self, Table, figure};

/// The page.
pub const PAGE: &str = "docs/cost.md";

/// The newest results of `bench run`: the names are times.
pub fn newest(root: &Path) -> Result<PathBuf, Failure> {
    let is_run = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with("Z.json")
    };
    let folder = fs::read_dir(root.join("target/bench")).into_iter().flatten().flatten();
    let newest = folder.map(|entry| entry.path()).filter(is_run).max();
    newest.ok_or_else(|| Failure::new("nothing was measured: run `make bench`"))
}

/// Reads results.
pub fn read(path: &Path) -> Result<Results, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(serde_json::from_str(&text)?)
}

/// What is said: tables under a line each.
pub struct Said {
    parts: Vec<(String, Option<Table>)>,
}

impl Said {
    /// For a terminal.
    pub fn plain(&self) -> String {
        self.join(Table::plain)
    }

    /// For the page, with the assumptions and the prices that it was computed from.
    pub fn markdown(&self, root: &Path) -> Result<String, Failure> {
        let mut text = self.join(Table::markdown);
        for (title, file) in [("Assumed", assumptions::FILE), ("Prices", prices::FILE)] {
            let lines = fs::read_to_string(root.join(file))?;
            text += &format!("\n### {title} (`{file}`)\n\n```toml\n{}\n```\n", lines.trim());
        }
        Ok(text)
    }

    fn join(&self, show: impl Fn(&Table) -> String) -> String {
        let part = |(line, table): &(String, Option<Table>)| match table {
            Some(table) => format!("{line}\n\n{}", show(table)),
            None => format!("{line}\n"),
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join("\n")
    }

    /// Writes it into the page.
    pub fn write(&self, root: &Path) -> Result<(), Failure> {
        let path = root.join(PAGE);
        let page = fs::read_to_string(&path)?;
        fs::write(&path, text::between(&page, "cost", &self.markdown(root)?)?)?;
        Ok(())
    }
}

/// Computes all of it.
pub fn say(model: &Model<'_>) -> Result<Said, Failure> {
    let (results, prices) = (model.results, model.prices);
    let setting = format!(
        "Measured {}, {}, {}. Prices of {}, {}, without free tiers. Dollars.",
        results.taken_at,
        results.machine.cpu,
        results.machine.architecture,
        prices.region,
        prices.looked_up,
    );
    let break_even = match model.break_even()? {
        Some(calls) => format!(
            "Servers cost less from {} calls a month on. Not counted: who keeps them running, patched \
             and watched.",
            figure((calls / 1e3).round() * 1e3)
        ),
        None => "At no number of calls do servers cost less.".to_owned(),
    };
    Ok(Said {
        parts: vec![
            (setting, None),
            ("### A million calls".to_owned(), Some(totals(model)?)),
            (break_even, None),
            ("### Where it goes, of a million calls".to_owned(), Some(services(model)?)),
            (
                "### The hook alone: Lambda, for a million new webhooks".to_owned(),
                Some(hooks(model)?),
            ),
            ("### What it is computed from".to_owned(), Some(measured(model)?)),
        ],
    })
}

/// Dollars, to the cent where that says something.
fn dollars(value: f64) -> String {
    if (0.1..1_000.0).contains(&value) { format!("{value:.2}") } else { figure(value) }
}

fn volumes(model: &Model<'_>) -> Vec<f64> {
    model.assumed.calls.iter().map(|calls| *calls as f64).collect()
}

fn totals(model: &Model<'_>) -> Result<Table, Failure> {
    let mut table = Table::new(&[
        "calls a month",
        "functions, a month",
        "functions, a million calls",
        "servers, a month",
        "servers, a million calls",
        "how many servers",
        "hooks that start cold, %",
        "if every hook did, a million calls",
    ]);
    for calls in volumes(model) {
        let millions = calls / 1e6;
        let functions = model.functions(calls)?.total();
        let (servers, count) = model.always_on(calls)?;
        let hook = model.billed(&model.results.main)?;
        let webhooks = model.webhooks(calls);
        let warm = kind(hook, "new")?.ms;
        let cold = cold_share(webhooks, warm / 1e3, &model.assumed.traffic);
        let gb_second = model.prices.gb_second(&model.results.machine.architecture);
        let dearer = (1.0 - cold) * webhooks * (hook.cold_ms - warm) / 1e3
            * gb_second
            * f64::from(hook.memory_mb)
            / 1_024.0;
        table.rows.push(vec![
            figure(calls),
            dollars(functions),
            dollars(functions / millions),
            dollars(servers.total()),
            dollars(servers.total() / millions),
            figure(count),
            figure(cold * 100.0),
            dollars((functions + dearer) / millions),
        ]);
    }
    Ok(table)
}

fn services(model: &Model<'_>) -> Result<Table, Failure> {
    let volumes = volumes(model);
    let mut head = vec!["service".to_owned()];
    for calls in &volumes {
        head.extend([format!("at {}", figure(*calls)), "%".to_owned()]);
    }
    let bills = volumes.iter().map(|calls| model.functions(*calls));
    let bills = bills.collect::<Result<Vec<_>, _>>()?;
    let mut table = Table { head, rows: Vec::new() };
    let names =
        bills.first().map(|bill| bill.0.iter().map(|(name, _)| *name)).into_iter().flatten();
    for (n, name) in names.enumerate() {
        let mut row = vec![name.to_owned()];
        for (bill, calls) in bills.iter().zip(&volumes) {
            let this = bill.0.get(n).map_or(0.0, |(_, dollars)| *dollars);
            row.push(dollars(this / calls * 1e6));
            row.push(format!("{:.0}", this / bill.total() * 100.0));
        }
        table.rows.push(row);
    }
    let mut all = vec!["all".to_owned()];
    for (bill, calls) in bills.iter().zip(&volumes) {
        all.extend([dollars(bill.total() / calls * 1e6), "100".to_owned()]);
    }
    table.rows.push(all);
    Ok(table)
}

/// The main hook and its peers at every size; beside it how many times what is deployed it costs.
fn hooks(model: &Model<'_>) -> Result<Table, Failure> {
    let volumes = volumes(model);
    let mut head: Vec<String> =
        ["program", "MB", "warm, ms billed", "cold, ms billed"].map(str::to_owned).into();
    for calls in &volumes {
        head.extend([format!("at {} calls a month", figure(*calls)), "times".to_owned()]);
    }
    let mut table = Table { head, rows: Vec::new() };
    let deployed = model.billed(&model.results.main)?;
    for figures in &model.results.figures {
        if !figures.is_peer && figures.name != model.results.main {
            continue;
        }
        for billed in &figures.billed {
            let is_deployed = !figures.is_peer && billed.memory_mb == deployed.memory_mb;
            let mark = if is_deployed { " (as deployed)" } else { "" };
            let mut row = vec![
                format!("{}{mark}", figures.title),
                billed.memory_mb.to_string(),
                figure(kind(billed, "new")?.ms),
                figure(billed.cold_ms),
            ];
            for calls in &volumes {
                let webhooks = model.webhooks(*calls);
                let this = model.hook(billed, webhooks)?.0;
                let ours = model.hook(deployed, webhooks)?.0;
                row.extend([dollars(this / webhooks * 1e6), figure(this / ours)]);
            }
            table.rows.push(row);
        }
    }
    Ok(table)
}

fn measured(model: &Model<'_>) -> Result<Table, Failure> {
    let mut table = Table::new(&[
        "invocation",
        "MB",
        "ms billed",
        "write units",
        "read units",
        "SQS requests",
        "bytes more in the table",
        "bytes logged",
        "bytes to the CRM",
    ]);
    for name in [model.results.main.as_str(), "enrich", "deliver", "sweep"] {
        let billed = model.billed(name)?;
        let mut row = |what: String, ms: String, taken: &crate::billed::Taken| {
            table.rows.push(vec![
                what,
                billed.memory_mb.to_string(),
                ms,
                figure(taken.units.writes),
                figure(taken.units.reads),
                figure(taken.asked("sqs ")),
                figure(taken.units.stored.max(0.0)),
                figure(taken.log_bytes),
                figure(taken.crm_bytes),
            ]);
        };
        for (kind, invoked) in &billed.kinds {
            row(format!("{name}, {kind}"), figure(invoked.ms), &invoked.taken);
        }
        row(format!("{name}, what a start adds"), figure(billed.cold_ms), &billed.start);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_its_place_for_the_figures() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        assert!(text::between(&page, "cost", "new").unwrap().contains("\n\nnew\n\n"));
        assert_eq!(page.matches("<!-- figures: ").count(), 1);
        assert_eq!(page.matches("<!-- end -->").count(), 1);
    }

    #[test]
    fn the_newest_run_is_found_among_other_results() {
        let root = std::env::temp_dir().join(format!("bench-cost-{}", std::process::id()));
        let folder = root.join("target/bench");
        assert!(newest(&root).is_err());
        fs::create_dir_all(&folder).unwrap();
        for name in ["2026-01-02T030405Z", "2026-01-03T030405Z", "2026-01-04T030405Z-throughput"] {
            fs::write(folder.join(format!("{name}.json")), "{}").unwrap();
        }
        fs::write(folder.join("authority.pem"), "").unwrap();
        assert!(newest(&root).unwrap().ends_with("2026-01-03T030405Z.json"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn dollars_are_exact_to_the_cent() {
        assert_eq!(
            [0.0123, 1.234, 123.456, 12_345.6].map(dollars),
            ["0.012", "1.23", "123.46", "12,346"]
        );
    }
}
