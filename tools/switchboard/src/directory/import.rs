//! Import of a file into the directory, which can be stopped at any moment and run again.

use std::path::{Path, PathBuf};

use indicatif::ProgressStyle;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use switchboard_domain::Digest;
use switchboard_domain::directory::{EntryFault, Origin};
use switchboard_flow::replay::Progress as _;
use switchboard_people::import::{Defaults, Format, Row, rows};
use switchboard_store::{Directory, Upserted, Upserts};

use crate::Failure;
use crate::replay::Report;

/// The number of rows between two writes of the progress file.
const CHUNK: usize = 1_000;

/// The arguments of an import.
pub struct Import {
    /// The file.
    pub file: PathBuf,
    /// The defaults of rows.
    pub defaults: Defaults,
    /// Write nothing.
    pub dry_run: bool,
    /// Start over.
    pub restart: bool,
    /// The table of the directory.
    pub table: String,
}

/// The progress of an import, stored beside its file until it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// The digest of the file and the arguments.
    input: String,
    rows: u64,
    created: u64,
    changed: u64,
    unchanged: u64,
    rejected: u64,
}

impl Import {
    /// Reads the file and writes its entries, from the row at which an earlier import stopped.
    pub async fn run(
        self,
        directory: &Directory,
        report: &mut Report<'_>,
    ) -> Result<String, Failure> {
        let path = self.file.display().to_string();
        let text = std::fs::read(&self.file).map_err(|error| Failure::unreadable(&path, &error))?;
        let wrong = |problem: String| Failure::Wrong(format!("{path}: {problem}"));
        let all = rows(&text, Format::of(&text), &self.defaults).map_err(|error| wrong(error.0))?;
        let mut notes = self.file.clone().into_os_string();
        notes.push(".progress");
        let notes = PathBuf::from(notes);
        let mut progress = self.begin(&text, &notes)?;
        if progress.rows > 0 {
            (report.say)(&format!("resuming after row {}", progress.rows));
        }
        let style = "{elapsed_precise} {wide_bar} line {pos} of {len}  {msg}  {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            report.bar.set_style(style);
        }
        report.bar.set_length(text.iter().filter(|byte| **byte == b'\n').count() as u64 + 1);

        let mut upserts = Upserts::new(directory, Origin::Import, self.dry_run);
        let skipped = usize::try_from(progress.rows).unwrap_or(usize::MAX);
        let mut left = all.skip(skipped).peekable();
        while left.peek().is_some() {
            let chunk: Vec<Row> = left.by_ref().take(CHUNK).collect();
            let stopped = |error| {
                let rows = progress.rows;
                wrong(format!("stopped after row {rows}: {error}; run it again to resume there"))
            };
            let done = chunk_done(&mut upserts, &chunk, progress.clone(), report).await;
            progress = done.map_err(|error| stopped(error.to_string()))?;
            if !self.dry_run {
                note(&notes, &progress)?;
            }
            report.bar.set_position(chunk.last().map_or(0, |row| row.line));
            report
                .bar
                .set_message(format!("{} rows, {} rejected", progress.rows, progress.rejected));
        }
        report.bar.finish_and_clear();
        if !self.dry_run {
            // What is done is done; that its note is still there would be seen the next time.
            let _ = std::fs::remove_file(&notes);
        }
        let Progress { rows, created, changed, unchanged, rejected, .. } = progress;
        let end = if self.dry_run { " Nothing was written." } else { "" };
        Ok(format!(
            "{rows} rows: {created} created, {changed} changed, {unchanged} unchanged, {rejected} rejected.{end}"
        ))
    }

    /// The row to begin at. Progress of another file with the same name is an error: its rows may be
    /// different ones now.
    fn begin(&self, text: &[u8], notes: &Path) -> Result<Progress, Failure> {
        let country = self.defaults.country.as_deref().unwrap_or_default();
        let kind = format!("{:?}", self.defaults.kind);
        let how = [text, kind.as_bytes(), country.as_bytes(), self.table.as_bytes()];
        let fresh = Progress { input: Digest::of(&how).to_string(), ..Progress::default() };
        if self.dry_run || self.restart {
            return Ok(fresh);
        }
        let written = match std::fs::read(notes) {
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(fresh),
            Err(error) => {
                return Err(Failure::unreadable(notes.display(), &error));
            }
        };
        let known: Option<Progress> = serde_json::from_slice(&written).ok();
        known.filter(|known| known.input == fresh.input).ok_or_else(|| {
            Failure::Wrong(format!(
                "{}: the file, --kind, --country or the table has changed since the import was stopped; \
                 add --restart to start over: rows already written are found again",
                notes.display()
            ))
        })
    }
}

async fn chunk_done(
    upserts: &mut Upserts,
    chunk: &[Row],
    mut progress: Progress,
    report: &mut Report<'_>,
) -> Result<Progress, Failure> {
    let mut drafts = Vec::with_capacity(chunk.len());
    let mut faults: Vec<(u64, EntryFault)> = Vec::new();
    let mut lines = Vec::with_capacity(chunk.len());
    for row in chunk {
        match &row.draft {
            Ok(draft) => {
                drafts.push(draft.clone());
                lines.push(row.line);
            }
            Err(fault) => faults.push((row.line, fault.clone())),
        }
    }
    for (line, done) in lines.into_iter().zip(upserts.put(&drafts, Timestamp::now()).await?) {
        match done {
            Upserted::Created(_) => progress.created += 1,
            Upserted::Changed(_) => progress.changed += 1,
            Upserted::Unchanged(_) => progress.unchanged += 1,
            Upserted::Rejected(fault) => faults.push((line, fault)),
        }
    }
    faults.sort();
    for (line, fault) in &faults {
        report.line(&format!("line {line}: {fault}"));
    }
    progress.rows += chunk.len() as u64;
    progress.rejected += faults.len() as u64;
    Ok(progress)
}

/// Writes the progress file atomically.
fn note(path: &Path, progress: &Progress) -> Result<(), Failure> {
    let unwritable = |error: std::io::Error| {
        let path = path.display();
        Failure::Wrong(format!(
            "{path} cannot be written: {error}; without it the import cannot be resumed"
        ))
    };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let text = serde_json::to_vec(progress).map_err(|error| unwritable(error.into()))?;
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(unwritable)
}
