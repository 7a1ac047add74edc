//! Which contact of a CRM a call is attached to: the one it is known to be, or the one that has the
//! customer's number, or one that is created. Of several with the number it is none: a wrong one would
//! be worse.

use std::collections::BTreeSet;

use jiff::Timestamp;
use switchboard_domain::delivery::Verdict;

use crate::destination::Contacts;
use crate::exchange::{Answer, Ask, Whom};
use crate::phone;

/// How a CRM is asked for its contacts.
pub trait Book: Send {
    /// The n-th search for a number, from 0. `None`: there is no further one. `creates` says that a
    /// contact is created if nothing is found.
    fn search(&self, e164: &str, n: usize, creates: bool) -> Option<Ask>;

    /// Who was found by a search that succeeded. `None`: the answer cannot be understood.
    fn found(&self, answer: &Answer) -> Option<Vec<Match>>;

    /// The request that creates a contact.
    fn create(&self, e164: &str, name: Option<&str>) -> Ask;

    /// The id of the contact that was created. `None`: the answer cannot be understood.
    fn created(&self, answer: &Answer) -> Option<String>;

    /// What an answer means, and the same in a few words.
    fn judge(&self, answer: &Answer, now: Timestamp) -> (Verdict, String);
}

/// A contact that a search brought.
pub struct Match {
    /// What the CRM calls it.
    pub id: String,
    /// Its numbers as they are written there.
    pub numbers: Vec<String>,
    /// Of several kinds the lowest is taken: a customer before a lead.
    pub rank: u8,
}

/// What is next on the way to a contact.
pub enum Turn {
    /// Send this, and come back with the answer.
    Ask(Ask),
    /// It is known whom to attach to, or that it is nobody.
    Settled,
    /// It cannot be found out now: the attempt ends, to be made again.
    Later(Verdict, u16, String),
}

/// The way to a contact.
pub struct Attaching {
    wants: Contacts,
    whom: Whom,
    contact: Option<String>,
    state: State,
    looked_again: bool,
    outcome: String,
}

enum State {
    Begun,
    Searching(usize),
    Creating,
    Settled,
}

impl Attaching {
    /// Begins, with what the contact is known to be.
    pub fn new(wants: Contacts, whom: Whom, known: Option<&String>) -> Self {
        let contact = known.filter(|_| wants != Contacts::None).cloned();
        let (state, outcome) = match contact {
            Some(_) => (State::Settled, ", contact known".to_owned()),
            None => (State::Begun, String::new()),
        };
        Self { wants, whom, contact, state, looked_again: false, outcome }
    }

    /// What the CRM calls the contact, once it is settled that there is one.
    pub fn contact(&self) -> Option<&str> {
        self.contact.as_deref()
    }

    /// Whether it is attached or why it is not, to stand behind the words of a result.
    pub fn outcome(&self) -> &str {
        &self.outcome
    }

    /// What to do next. `answer` is that to the last request of this way.
    pub fn next(&mut self, book: &dyn Book, answer: Option<&Answer>, now: Timestamp) -> Turn {
        if matches!(self.state, State::Settled) {
            return Turn::Settled;
        }
        let creates = self.wants == Contacts::FindOrCreate;
        let Some(e164) = self.whom.e164.as_ref().map(|number| number.expose().to_owned()) else {
            return match self.wants {
                Contacts::None => self.settle(None, ""),
                _ => self.settle(None, ", no contact: no number"),
            };
        };
        match self.state {
            State::Begun if self.wants == Contacts::None => self.settle(None, ""),
            State::Begun => self.search(book, &e164, 0, creates),
            State::Searching(n) => {
                let Some(answer) = answer else { return self.settle(None, "") };
                if !answer.is_success() {
                    return self.failed(book, answer, now);
                }
                let Some(found) = book.found(answer) else { return not_understood(answer) };
                match only_one(found, &e164) {
                    Found::One(id) => self.settle(Some(id), ", contact found"),
                    Found::Several => self.settle(None, ", no contact: ambiguous"),
                    Found::None => self.search(book, &e164, n + 1, creates),
                }
            }
            State::Creating => {
                let Some(answer) = answer else { return self.settle(None, "") };
                if !answer.is_success() {
                    return self.failed(book, answer, now);
                }
                match book.created(answer) {
                    Some(id) => self.settle(Some(id), ", contact created"),
                    None => not_understood(answer),
                }
            }
            State::Settled => Turn::Settled,
        }
    }

    /// The contact is not there any more: whether it is looked for once more.
    pub fn is_gone(&mut self) -> bool {
        self.contact = None;
        self.outcome = ", no contact: it is gone".to_owned();
        if self.looked_again {
            return false;
        }
        self.looked_again = true;
        self.state = State::Begun;
        true
    }

    /// It could not be attached, for good.
    pub fn is_refused(&mut self, words: &str) {
        self.outcome = format!(", contact not attached: {words}");
    }

    fn search(&mut self, book: &dyn Book, e164: &str, n: usize, creates: bool) -> Turn {
        if let Some(ask) = book.search(e164, n, creates) {
            self.state = State::Searching(n);
            return Turn::Ask(ask);
        }
        if !creates {
            return self.settle(None, ", no contact: unknown");
        }
        self.state = State::Creating;
        let name = self.whom.name.as_ref().map(|name| name.expose().trim());
        Turn::Ask(book.create(e164, name.filter(|name| !name.is_empty())))
    }

    /// What will pass ends the attempt. What is refused for good does not keep the call back.
    fn failed(&mut self, book: &dyn Book, answer: &Answer, now: Timestamp) -> Turn {
        match book.judge(answer, now) {
            (Verdict::Refused, words) => self.settle(None, &format!(", no contact: {words}")),
            (verdict, words) => Turn::Later(verdict, answer.status, format!("contact: {words}")),
        }
    }

    fn settle(&mut self, contact: Option<String>, outcome: &str) -> Turn {
        self.contact = contact;
        self.outcome = outcome.to_owned();
        self.state = State::Settled;
        Turn::Settled
    }
}

enum Found {
    None,
    One(String),
    Several,
}

/// The one who has the number, by what is written there and not by what the search took for like it.
fn only_one(found: Vec<Match>, e164: &str) -> Found {
    let has_it = |one: &Match| one.numbers.iter().any(|written| phone::is_same(written, e164));
    let having: Vec<Match> = found.into_iter().filter(has_it).collect();
    let Some(rank) = having.iter().map(|one| one.rank).min() else { return Found::None };
    let mut ids: BTreeSet<String> =
        having.into_iter().filter(|one| one.rank == rank).map(|one| one.id).collect();
    match (ids.pop_first(), ids.is_empty()) {
        (Some(id), true) => Found::One(id),
        _ => Found::Several,
    }
}

fn not_understood(answer: &Answer) -> Turn {
    let verdict = Verdict::Retry { not_before: None };
    Turn::Later(verdict, answer.status, format!("contact: not understood: {}", answer.status))
}
