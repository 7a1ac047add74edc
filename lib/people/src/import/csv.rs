//! Rows under a header.

use csv::{ByteRecord, ReaderBuilder};
use switchboard_domain::Personal;
use switchboard_domain::directory::{Draft, EntryFault};

use super::row::{Defaults, Row, Unreadable, Written};

/// The columns, by the names that their header may have.
const COLUMNS: [(&str, Column); 16] = [
    ("id", Column::Id),
    ("kind", Column::Kind),
    ("name", Column::Name),
    ("full_name", Column::Name),
    ("number", Column::Number),
    ("numbers", Column::Number),
    ("phone", Column::Number),
    ("extension", Column::Extension),
    ("extensions", Column::Extension),
    ("email", Column::Email),
    ("emails", Column::Email),
    ("external_id", Column::ExternalId),
    ("ref_id", Column::ExternalId),
    ("custom_identifier", Column::ExternalId),
    ("status", Column::Status),
    ("country", Column::Country),
];

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Id,
    Kind,
    Name,
    Number,
    Extension,
    Email,
    ExternalId,
    Status,
    Country,
}

impl Column {
    /// Whether a field may hold several, with `|`, `;` or `,` between them. An external id may have
    /// any of these in it: of them, each has a column.
    fn is_list(self) -> bool {
        matches!(self, Self::Number | Self::Extension | Self::Email)
    }

    fn may_repeat(self) -> bool {
        self.is_list() || self == Self::ExternalId
    }
}

pub(super) fn rows<'a>(
    text: &'a [u8],
    defaults: &'a Defaults,
) -> Result<Box<dyn Iterator<Item = Row> + 'a>, Unreadable> {
    let unreadable = || Unreadable("its header cannot be read".to_owned());
    let first = text.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let first = first.ok_or_else(|| Unreadable("it is empty".to_owned()))?;
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter(first)).flexible(true).from_reader(text);
    let columns = columns(reader.byte_headers().map_err(|_| unreadable())?)?;
    Ok(Box::new(reader.into_byte_records().filter_map(move |record| {
        let Ok(record) = record else {
            let draft = Err(EntryFault::new("row", "cannot be read"));
            return Some(Row { line: 0, draft });
        };
        if record.iter().all(|field| field.trim_ascii().is_empty()) {
            return None;
        }
        let line = begins(text, &record);
        Some(Row { line, draft: draft(&record, &columns, defaults) })
    })))
}

/// As the header is written: the one of `,`, `;` and tab that it has most of.
fn delimiter(header: &[u8]) -> u8 {
    let count = |byte: &u8| header.iter().filter(|one| *one == byte).count();
    b",;\t".iter().copied().rev().max_by_key(count).unwrap_or(b',')
}

fn columns(header: &ByteRecord) -> Result<Vec<Column>, Unreadable> {
    let mut columns = Vec::with_capacity(header.len());
    for (n, name) in header.iter().enumerate() {
        let name = String::from_utf8_lossy(name).trim().to_lowercase().replace([' ', '-'], "_");
        let found = COLUMNS.iter().find(|(known, _)| *known == name);
        let Some((_, column)) = found else {
            // It may be a row in place of a header: it is not repeated.
            let known: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
            let problem = format!("column {} has none of the names {}", n + 1, known.join(", "));
            return Err(Unreadable(problem));
        };
        if columns.contains(column) && !column.may_repeat() {
            return Err(Unreadable(format!("column {} is there twice", n + 1)));
        }
        columns.push(*column);
    }
    Ok(columns)
}

/// On which line a record begins. The reader's own place is where the last one ended, before lines
/// that are empty.
fn begins(text: &[u8], record: &ByteRecord) -> u64 {
    let Some(place) = record.position() else { return 0 };
    let from = usize::try_from(place.byte()).unwrap_or_default();
    let rest = text.get(from..).unwrap_or_default();
    let skipped = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    place.line() + skipped.filter(|byte| **byte == b'\n').count() as u64
}

fn draft(
    record: &ByteRecord,
    columns: &[Column],
    defaults: &Defaults,
) -> Result<Draft, EntryFault> {
    if record.len() != columns.len() {
        let problem = format!("has {} fields where the header has {}", record.len(), columns.len());
        return Err(EntryFault::new("row", problem));
    }
    let mut written = Written::default();
    for (column, field) in columns.iter().zip(record) {
        let field = std::str::from_utf8(field);
        let field = field.map_err(|_| EntryFault::new("row", "is not UTF-8"))?;
        let one = || Some(field.to_owned());
        let mut parts = Vec::new();
        if column.is_list() {
            parts.extend(field.split(['|', ';', ',']).map(Personal::new));
        } else {
            parts.push(Personal::new(field));
        }
        match column {
            Column::Id => written.id = one(),
            Column::Kind => written.kind = one(),
            Column::Name => written.name = Some(Personal::new(field)),
            Column::Number => written.numbers.0.extend(parts),
            Column::Extension => written.extensions.0.extend(parts),
            Column::Email => written.emails.0.extend(parts),
            Column::ExternalId => written.external_ids.0.extend(parts),
            Column::Status => written.status = one(),
            Column::Country => written.country = one(),
        }
    }
    written.draft(defaults)
}
