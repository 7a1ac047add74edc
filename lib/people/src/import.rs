//! People in CSV or JSON to drafts for the directory: row by row, and the problem of a row by its
//! line, without its values.

use serde_json::value::RawValue;
use switchboard_domain::directory::{Draft, EntryFault};

mod csv;
mod row;

pub use row::{
    Defaults, Row, Several, Unreadable, Written, emails, entry_kind, extensions, external_ids,
    is_country, numbers,
};

/// How rows are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Columns under a header.
    Csv,
    /// An array of objects, or an object on each line.
    Json,
}

impl Format {
    /// What a text looks like: JSON begins with a bracket.
    pub fn of(text: &[u8]) -> Self {
        match text.trim_ascii_start().first() {
            Some(b'[' | b'{') => Self::Json,
            _ => Self::Csv,
        }
    }
}

/// The rows of a text, read one by one. `Err`: its header, or its JSON as a whole, cannot be read.
pub fn rows<'a>(
    text: &'a [u8],
    format: Format,
    defaults: &'a Defaults,
) -> Result<Box<dyn Iterator<Item = Row> + 'a>, Unreadable> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    match format {
        Format::Csv => csv::rows(text, defaults),
        Format::Json if text.trim_ascii_start().starts_with(b"[") => array(text, defaults),
        Format::Json => Ok(Box::new(lines(text, defaults))),
    }
}

fn array<'a>(
    text: &'a [u8],
    defaults: &'a Defaults,
) -> Result<Box<dyn Iterator<Item = Row> + 'a>, Unreadable> {
    let items: Vec<&RawValue> = serde_json::from_slice(text).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Unreadable(format!("it is not a JSON array ({place})"))
    })?;
    let (mut line, mut counted) = (1, 0);
    Ok(Box::new(items.into_iter().map(move |item| {
        // Where the item lies in the text.
        let begins = (item.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        line += newlines(text.get(counted..begins).unwrap_or_default());
        counted = begins;
        Row { line, draft: object(item.get().as_bytes(), line, defaults) }
    })))
}

fn lines<'a>(text: &'a [u8], defaults: &'a Defaults) -> impl Iterator<Item = Row> + 'a {
    let filled = |(_, line): &(u64, &[u8])| !line.trim_ascii().is_empty();
    (1..)
        .zip(text.split(|byte| *byte == b'\n'))
        .filter(filled)
        .map(|(line, object_text)| Row { line, draft: object(object_text, line, defaults) })
}

fn newlines(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

fn object(text: &[u8], line: u64, defaults: &Defaults) -> Result<Draft, EntryFault> {
    let written: Written = serde_json::from_slice(text).map_err(|error| {
        let place = line + (error.line() as u64).saturating_sub(1);
        let problem = match error.classify() {
            serde_json::error::Category::Data => {
                "is not an object of id, kind, name, numbers, extensions, emails, external_ids, status and country, as text or lists of text"
            }
            _ => "is not a JSON object",
        };
        EntryFault::new("row", format!("{problem} (line {place}, column {})", error.column()))
    })?;
    written.draft(defaults)
}

#[cfg(test)]
mod tests;
