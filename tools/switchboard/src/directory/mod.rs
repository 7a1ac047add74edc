//! Commands for the directory.

mod import;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use switchboard_domain::directory::{
    Contact, ContactKind, Entry, EntryKind, Extension, Handle, Holder, Origin,
};
use switchboard_domain::{Name, Personal};
use switchboard_people::import::is_country;
use switchboard_people::number::e164;
use switchboard_store::{Directory as Store, PutIf};

use crate::replay::Report;
use crate::{Answer, Failure};

/// The number of entries per read.
const PAGE: u16 = 100;

/// Commands for the directory.
#[derive(Subcommand)]
pub enum Directory {
    /// Import a CSV or JSON file into the directory. Run a stopped import again to resume it.
    Import {
        /// CSV with a header, a JSON array, or a JSON object on each line.
        file: PathBuf,
        /// The kind of rows that do not state one.
        #[arg(long)]
        kind: Kind,
        /// The country of national numbers in rows that do not state one: two capital letters, as AU.
        #[arg(long, value_parser = country)]
        country: Option<String>,
        /// Report what would be written, and write nothing.
        #[arg(long)]
        dry_run: bool,
        /// Start over instead of resuming a stopped import.
        #[arg(long)]
        restart: bool,
        #[command(flatten)]
        table: Table,
    },
    /// List entries, ordered by id.
    List {
        /// The kind. Contacts are clients and leads.
        #[arg(long, default_value = "contact")]
        kind: Kind,
        /// Only leads with this status.
        #[arg(long)]
        status: Option<String>,
        /// The largest number of entries.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        table: Table,
    },
    /// Show every entry with an id, number, email or external id.
    Show {
        /// An id, a number in international form, an email address or an external id.
        what: PersonalArgument,
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        table: Table,
    },
    /// Delete an entry, its handles and its timeline.
    Delete {
        /// The entry's id.
        #[arg(value_parser = entry_id)]
        id: Name,
        /// The kind, if a contact and an employee have the same id.
        #[arg(long)]
        kind: Option<Kind>,
        #[command(flatten)]
        table: Table,
    },
    /// Our own numbers, which never become contacts.
    #[command(subcommand)]
    Own(Own),
}

/// Commands for our own numbers.
#[derive(Subcommand)]
pub enum Own {
    /// Add a number to our own numbers.
    Add(OwnNumber),
    /// Remove a number from our own numbers.
    Remove(OwnNumber),
}

/// One of our own numbers.
#[derive(Args)]
pub struct OwnNumber {
    /// The number in international form, or national with --country.
    number: PersonalArgument,
    /// The country of a national number.
    #[arg(long, value_parser = country)]
    country: Option<String>,
    #[command(flatten)]
    table: Table,
}

/// The table of the directory.
#[derive(Args)]
pub struct Table {
    /// The table of contacts and employees: the stack's output DirectoryTableName.
    #[arg(long = "directory-table", env = "DIRECTORY_TABLE", value_name = "TABLE")]
    name: String,
}

/// Masking of personal values.
#[derive(Args)]
pub struct Shown {
    /// Show personal values unmasked.
    #[arg(long)]
    personal: bool,
}

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A customer; in lists, leads as well.
    Contact,
    /// A potential customer.
    Lead,
    /// A person on our side.
    Employee,
}

/// A personal value on the command line, without `Display`.
#[derive(Clone, Debug)]
pub struct PersonalArgument(Personal);

impl From<&str> for PersonalArgument {
    fn from(text: &str) -> Self {
        Self(Personal::new(text.trim()))
    }
}

impl From<Kind> for EntryKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Contact => Self::Contact(ContactKind::Client),
            Kind::Lead => Self::Contact(ContactKind::Lead),
            Kind::Employee => Self::Employee,
        }
    }
}

fn country(text: &str) -> Result<String, &'static str> {
    is_country(text).then(|| text.to_owned()).ok_or("must be two capital letters, as AU")
}

fn entry_id(text: &str) -> Result<Name, switchboard_domain::KeyError> {
    Name::new("id", text)
}

impl Directory {
    /// The table of the command.
    pub fn table(&self) -> &str {
        match self {
            Self::Import { table, .. }
            | Self::List { table, .. }
            | Self::Show { table, .. }
            | Self::Delete { table, .. }
            | Self::Own(Own::Add(OwnNumber { table, .. }) | Own::Remove(OwnNumber { table, .. })) => {
                &table.name
            }
        }
    }

    /// Runs the command.
    pub async fn run(self, directory: &Store, report: &mut Report<'_>) -> Result<Answer, Failure> {
        let text = match self {
            Self::Import { file, kind, country, dry_run, restart, table } => {
                let import = import::Import {
                    file,
                    defaults: switchboard_people::import::Defaults { kind: kind.into(), country },
                    dry_run,
                    restart,
                    table: table.name,
                };
                import.run(directory, report).await?
            }
            Self::List { kind, status, limit, shown, .. } => {
                list(directory, kind, status.as_deref(), limit, shown.personal).await?
            }
            Self::Show { what, shown, .. } => show(directory, &what.0, shown.personal).await?,
            Self::Delete { id, kind, .. } => delete(directory, &id, kind).await?,
            Self::Own(Own::Add(one)) => own(directory, &one, true).await?,
            Self::Own(Own::Remove(one)) => own(directory, &one, false).await?,
        };
        Ok(Answer::Text(text))
    }
}

async fn list(
    directory: &Store,
    kind: Kind,
    status: Option<&str>,
    limit: usize,
    personal: bool,
) -> Result<String, Failure> {
    if status.is_some() && kind != Kind::Lead {
        return Err(Failure::Wrong("--status is for leads: add --kind lead".to_owned()));
    }
    let (mut entries, mut page) = (Vec::new(), None);
    while entries.len() < limit {
        let size = PAGE.min(u16::try_from(limit - entries.len()).unwrap_or(PAGE));
        let read = match kind {
            Kind::Contact => directory.contacts(page, size).await?.map(Entry::Contact),
            Kind::Lead => directory.leads(status, page, size).await?.map(Entry::Contact),
            Kind::Employee => directory.employees(page, size).await?.map(Entry::Employee),
        };
        entries.extend(read.items);
        page = read.next;
        if page.is_none() {
            break;
        }
    }
    if entries.is_empty() {
        return Ok("no entries".to_owned());
    }
    let wide = entries.iter().map(|entry| entry.id().as_str().len()).max().unwrap_or_default();
    let line = |entry: &Entry| {
        let (word, name, numbers, status) = match entry {
            Entry::Contact(one) => (word(one), &one.name, &one.numbers, one.status.as_deref()),
            Entry::Employee(one) => ("employee", &one.name, &one.numbers, None),
        };
        let name = name.as_ref().map_or("–".to_owned(), |name| shown(name, personal));
        let numbers: Vec<String> = numbers.iter().map(|number| shown(number, personal)).collect();
        let status = status.unwrap_or_default();
        let text = format!(
            "{:wide$}  {word:8}  {status:10}  {name}  {}",
            entry.id().as_str(),
            numbers.join(" ")
        );
        text.trim_end().to_owned()
    };
    Ok(entries.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Every entry with a handle or id.
async fn show(directory: &Store, what: &Personal, personal: bool) -> Result<String, Failure> {
    let mut asked = BTreeSet::new();
    if let Ok(id) = Name::new("id", what.expose()) {
        asked.extend([Holder::Contact(id.clone()), Holder::Employee(id)]);
    }
    let mut handles = BTreeSet::from([
        Handle::External(what.clone()),
        Handle::Email(Personal::new(what.expose().to_lowercase())),
        Handle::Extension(Extension { source: None, number: what.clone() }),
    ]);
    handles.extend(e164(what.expose(), None).map(|number| Handle::Number(Personal::new(number))));
    asked.extend(directory.holders(&handles).await?.into_values().flatten());
    let is_own = asked.remove(&Holder::Own);
    let entries = directory.entries(&asked).await?;
    let mut stories: Vec<String> = entries.values().map(|entry| story(entry, personal)).collect();
    if is_own {
        stories.push("it is one of our own numbers".to_owned());
    }
    if stories.is_empty() {
        let problem = "no entry has that id, number, email or external id";
        return Err(Failure::Wrong(problem.to_owned()));
    }
    Ok(stories.join("\n\n"))
}

fn story(entry: &Entry, personal: bool) -> String {
    let mut story = String::new();
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(story, "{name:<12} {text}");
    };
    line("id", entry.id().as_str());
    let (name, values, origin, updated_at) = match entry {
        Entry::Contact(contact) => {
            line("kind", word(contact));
            line("status", contact.status.as_deref().unwrap_or("–"));
            let at = contact.last_contacted_at.map_or("–".to_owned(), |at| at.to_string());
            line("contacted", &at);
            let values = [&contact.numbers, &contact.emails, &contact.external_ids];
            (&contact.name, values, &contact.origin, contact.updated_at)
        }
        Entry::Employee(employee) => {
            line("kind", "employee");
            for extension in &employee.extensions {
                let source = extension.source.as_ref().map_or("any source", Name::as_str);
                line("extension", &format!("{} of {source}", shown(&extension.number, personal)));
            }
            let values = [&employee.numbers, &employee.emails, &employee.external_ids];
            (&employee.name, values, &employee.origin, employee.updated_at)
        }
    };
    line("name", &name.as_ref().map_or("–".to_owned(), |name| shown(name, personal)));
    for (what, values) in ["number", "email", "external id"].into_iter().zip(values) {
        for value in values {
            line(what, &shown(value, personal));
        }
    }
    let origin = match origin {
        Origin::Call(key) => format!("call {key}"),
        other => format!("{other:?}").to_lowercase(),
    };
    line("origin", &origin);
    line("written", &format!("{updated_at}, version {}", entry.version()));
    story.trim_end().to_owned()
}

async fn delete(directory: &Store, id: &Name, kind: Option<Kind>) -> Result<String, Failure> {
    let contact = match kind {
        Some(Kind::Employee) => None,
        _ => directory.contact(id).await?,
    };
    let employee = match kind {
        Some(Kind::Contact | Kind::Lead) => None,
        _ => directory.employee(id).await?,
    };
    let put = match (contact, employee) {
        (Some(contact), None) => directory.delete_contact(id, contact.version).await?,
        (None, Some(employee)) => directory.delete_employee(id, employee.version).await?,
        (Some(_), Some(_)) => {
            let problem = "a contact and an employee have that id: choose one with --kind";
            return Err(Failure::Wrong(problem.to_owned()));
        }
        // An earlier deletion may have left a timeline.
        (None, None) => {
            directory.delete_contact(id, 0).await?;
            return Err(Failure::Wrong(format!("no entry has the id {id}")));
        }
    };
    match put {
        PutIf::Stored(_) => Ok(format!("{id} is deleted")),
        PutIf::Conflict => Err(Failure::Wrong(format!("other requests keep changing {id}: retry"))),
    }
}

async fn own(directory: &Store, one: &OwnNumber, own: bool) -> Result<String, Failure> {
    let number = e164(one.number.0.expose(), one.country.as_deref()).map(Personal::new);
    let number = number.ok_or_else(|| {
        let problem =
            "the number is invalid: write it with + and the country code, or add --country";
        Failure::Wrong(problem.to_owned())
    })?;
    directory.set_own_number(&number, own).await?;
    let is = if own { "is one of our own" } else { "is not one of our own" };
    Ok(format!("{} {is}", number.masked()))
}

fn word(contact: &Contact) -> &'static str {
    match contact.kind {
        ContactKind::Client => "client",
        ContactKind::Lead => "lead",
    }
}

fn shown(value: &Personal, personal: bool) -> String {
    let plain = |c: char| if c.is_control() { '?' } else { c };
    if personal { value.expose().chars().map(plain).collect() } else { value.masked() }
}
