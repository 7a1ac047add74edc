//! Who was on a call: phone numbers to E.164, whom the directory has for them, and what a call means
//! for the contact that it was with.

pub mod dialled;
pub mod import;
pub mod leads;
pub mod matching;
pub mod number;

use switchboard_domain::{Call, People};

/// Reads both sides of a call with its source's country (ISO 3166-1 alpha-2), without any directory.
pub fn of(call: &Call, country: Option<&str>) -> People {
    People {
        contact: call.contact().map(|party| number::person(party, country)),
        employee: call.employee().map(|party| number::person(party, country)),
    }
}
