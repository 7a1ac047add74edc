//! Who was on a call: phone numbers to E.164, with the country of the source.

pub mod dialled;
pub mod number;

use switchboard_domain::{Call, People};

/// Reads both sides of a call with its source's country (ISO 3166-1 alpha-2).
pub fn of(call: &Call, country: Option<&str>) -> People {
    People {
        contact: call.contact().map(|party| number::person(party, country)),
        employee: call.employee().map(|party| number::person(party, country)),
    }
}
