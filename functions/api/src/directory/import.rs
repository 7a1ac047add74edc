//! Some hundred rows in one request. More are for the command line.

use serde_json::{Value, json};
use switchboard_domain::directory::{ContactKind, EntryFault, EntryKind, Origin};
use switchboard_people::import::{Defaults, Format, Row, entry_kind, is_country, rows};
use switchboard_store::{Upserted, Upserts};

use super::{DirectoryArea, problem_of};
use crate::problem::Problem;
use crate::request::Request;
use crate::serve::{Response, ok};

/// As many rows as one request may have: they must be done before API Gateway gives up.
const MOST_ROWS: usize = 500;

impl DirectoryArea {
    pub(super) async fn import(&self, request: &Request) -> Result<Response, Problem> {
        request.only(&["kind", "country", "dry_run"])?;
        let dry_run = match request.parameter("dry_run") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Problem::invalid("dry_run", "is neither true nor false")),
        };
        let kind = request.parameter("kind").map(entry_kind).transpose().map_err(problem_of)?;
        let country = request.parameter("country");
        if country.is_some_and(|country| !is_country(country)) {
            return Err(Problem::invalid("country", "must be two capital letters, as AU"));
        }
        let defaults = Defaults {
            kind: kind.unwrap_or(EntryKind::Contact(ContactKind::Client)),
            country: country.map(str::to_owned),
        };
        let format = Format::of(request.bytes());
        let rows = rows(request.bytes(), format, &defaults)
            .map_err(|error| Problem::invalid("body", &format!("cannot be read: {}", error.0)))?;
        let rows: Vec<Row> = rows.take(MOST_ROWS + 1).collect();
        if rows.len() > MOST_ROWS {
            let detail =
                "a request may have at most 500 rows: send several, or use the command line";
            return Err(Problem::new(413, "too-large", "Payload too large", detail));
        }
        let drafts: Vec<_> = rows.iter().filter_map(|row| row.draft.clone().ok()).collect();
        let mut upserts = Upserts::new(&self.directory, Origin::Import, dry_run);
        let mut done = upserts.put(&drafts, request.now).await?.into_iter();
        let mut counts = [("created", 0), ("changed", 0), ("unchanged", 0), ("rejected", 0)];
        let mut results = Vec::with_capacity(rows.len());
        for Row { line, draft } in rows {
            let became = match draft {
                Ok(_) => done.next(),
                Err(fault) => Some(Upserted::Rejected(fault)),
            };
            let Some(became) = became else { continue };
            let row = result(line, became);
            for (word, count) in &mut counts {
                *count += u32::from(row["result"] == *word);
            }
            results.push(row);
        }
        let [created, changed, unchanged, rejected] = counts.map(|(_, count)| count);
        ok(json!({
            "dry_run": dry_run, "created": created, "changed": changed, "unchanged": unchanged,
            "rejected": rejected, "rows": results,
        }))
    }
}

fn result(line: u64, became: Upserted) -> Value {
    let (word, id) = match became {
        Upserted::Created(id) => ("created", id),
        Upserted::Changed(id) => ("changed", id),
        Upserted::Unchanged(id) => ("unchanged", id),
        Upserted::Rejected(EntryFault { field, problem, .. }) => {
            return json!({ "line": line, "result": "rejected", "field": field, "problem": problem });
        }
    };
    json!({ "line": line, "result": word, "id": id })
}
