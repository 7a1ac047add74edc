//! Authenticated messages that could not be parsed: listed and shown without their values.

use std::fmt::Write as _;

use clap::Subcommand;
use switchboard_domain::Name;
use switchboard_flow::replay::short_id;
use switchboard_providers::ALL;
use switchboard_store::{Between, Quarantined, Store};

use crate::{Answer, Failure, Range, Table, mask};

/// Commands for the quarantine.
#[derive(Subcommand)]
pub enum Quarantine {
    /// List messages that could not be parsed, newest first.
    List {
        /// The provider whose webhook received it, as intake; default: any.
        #[arg(value_parser = crate::provider_name)]
        provider: Option<Name>,
        #[command(flatten)]
        range: Range,
        /// The largest number of lines.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        table: Table,
    },
    /// Show one: its path, its error, and its body with every value masked.
    Show {
        /// The provider whose webhook received it.
        #[arg(value_parser = crate::provider_name)]
        provider: Name,
        /// Its id from the list, or the beginning of it.
        id: String,
        /// Print only the received bytes. They contain personal data.
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        table: Table,
    },
}

impl Quarantine {
    /// The table of the command.
    pub fn table(&self) -> &Table {
        let (Self::List { table, .. } | Self::Show { table, .. }) = self;
        table
    }

    /// Runs the command.
    pub async fn run(self, store: &Store) -> Result<Answer, Failure> {
        match self {
            Self::List { provider, range, limit, .. } => {
                list(store, provider, &range.between(), limit).await
            }
            Self::Show { provider, id, raw, .. } => show(store, &provider, &id, raw).await,
        }
    }
}

/// Bodies of one provider, newest first, at most `limit`.
pub async fn find(
    store: &Store,
    provider: &Name,
    between: &Between,
    limit: usize,
) -> Result<Vec<Quarantined>, Failure> {
    let (mut found, mut page) = (Vec::new(), None);
    while found.len() < limit {
        let read = store.quarantined(provider, between, page).await?;
        found.extend(read.items);
        page = read.next;
        if page.is_none() {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Every arrival of the one body whose id begins with `id`, newest first.
pub async fn find_one(
    store: &Store,
    provider: &Name,
    between: &Between,
    id: &str,
) -> Result<Vec<Quarantined>, Failure> {
    let wanted = id.to_ascii_lowercase();
    let mut found = find(store, provider, between, usize::MAX).await?;
    found.retain(|one| one.digest.as_str().starts_with(&wanted));
    let Some(first) = found.first() else {
        return Err(Failure::Wrong(format!("the quarantine of {provider} has no such id")));
    };
    if wanted.is_empty() || found.iter().any(|one| one.digest != first.digest) {
        return Err(Failure::Wrong("several ids begin with it: give more digits".to_owned()));
    }
    Ok(found)
}

/// A line for each, without personal data.
pub async fn list(
    store: &Store,
    provider: Option<Name>,
    between: &Between,
    limit: usize,
) -> Result<Answer, Failure> {
    let known = || ALL.iter().filter_map(|known| Name::new("provider", known.name()).ok());
    let providers: Vec<Name> = provider.map_or_else(|| known().collect(), |one| vec![one]);
    let mut found = Vec::new();
    for provider in &providers {
        found.extend(find(store, provider, between, limit).await?);
    }
    found.sort_by_key(|one| std::cmp::Reverse(one.received_at));
    found.truncate(limit);
    if found.is_empty() {
        return Ok(Answer::Text("the quarantine is empty".to_owned()));
    }
    let wide = |text: fn(&Quarantined) -> &str| {
        found.iter().map(|one| text(one).len()).max().unwrap_or_default()
    };
    let (provider, source) = (wide(|one| one.provider.as_str()), wide(|one| &one.source));
    let line = |one: &Quarantined| {
        format!(
            "{:.3}  {}  {:provider$}  {:source$}  {:>9}  {}",
            one.received_at,
            short_id(one),
            one.provider.as_str(),
            one.source,
            format!("{} B", one.length),
            mask::printable(&one.problem),
        )
    };
    Ok(Answer::Text(found.iter().map(line).collect::<Vec<_>>().join("\n")))
}

/// One body: masked, or as received.
pub async fn show(store: &Store, provider: &Name, id: &str, raw: bool) -> Result<Answer, Failure> {
    let arrivals = find_one(store, provider, &Between::default(), id).await?;
    let Some(one) = arrivals.first() else { return Ok(Answer::Text(String::new())) };
    let body = store.quarantined_body(one).await?;
    if raw {
        return Ok(Answer::Bytes(body));
    }
    let mut shown = String::new();
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(shown, "{name:<12} {text}");
    };
    line("id", one.digest.as_str());
    line("provider", one.provider.as_str());
    line("source", &one.source);
    line("received", &one.received_at.to_string());
    for earlier in arrivals.iter().skip(1) {
        line("  and", &earlier.received_at.to_string());
    }
    line("target", &mask::target(&one.target));
    line("content type", &mask::printable(&one.content_type));
    line("problem", &mask::printable(&one.problem));
    line("size", &format!("{} bytes; below, every value is masked", one.length));
    let _ = write!(shown, "\n{}", mask::body(&body, &one.content_type));
    Ok(Answer::Text(shown))
}

#[cfg(test)]
mod tests {
    use switchboard_store::{Between, Store};

    use super::*;
    use crate::replay::testing::{HOLE, at, keep, text};

    #[tokio::test]
    async fn the_list_is_newest_first_and_what_is_shown_is_masked() {
        let store = Store::in_memory();
        keep(&store, "intake", at(1), HOLE).await;
        keep(&store, "twilio", at(2), "CallStatus=completed&To=%2B61491570156").await;
        keep(&store, "intake", at(3), HOLE).await;
        let listed = text(list(&store, None, &Between::default(), 20).await);
        let places: Vec<&str> =
            listed.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
        assert_eq!(places, ["intake", "twilio", "intake"], "{listed}");
        assert!(listed.contains("durationSec: is not followed by a JSON value"), "{listed}");
        let provider = Name::new("provider", "intake").unwrap();
        let between = Between { since: Some(at(2)), until: None };
        let later = text(list(&store, Some(provider.clone()), &between, 20).await);
        assert_eq!(later.lines().count(), 1);
        let newest = text(list(&store, None, &Between::default(), 2).await);
        assert_eq!(newest.lines().collect::<Vec<_>>(), &listed.lines().collect::<Vec<_>>()[..2]);

        let id = listed.split_whitespace().nth(1).unwrap();
        let shown = text(show(&store, &provider, id, false).await);
        for expected in [
            "target       /api/crm/intake/calls?source=xxxxxxxx-xxxx",
            "\"durationSec\":,",
            "  and",
        ] {
            assert!(shown.contains(expected), "{expected} is not in:\n{shown}");
        }
        for kept in ["9991234", "Kim", "1708416000"] {
            assert!(!format!("{shown}{listed}").contains(kept), "{kept} is in:\n{shown}");
        }
        let Ok(Answer::Bytes(raw)) = show(&store, &provider, id, true).await else { panic!() };
        assert_eq!(raw, HOLE.as_bytes());
        for wrong in ["", "ffff", "zz"] {
            assert!(show(&store, &provider, wrong, false).await.is_err(), "{wrong}");
        }
    }
}
