//! Where the next page of a list begins: opaque to its holder, and good for the same filters alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use switchboard_domain::Digest;
use switchboard_store::Place;

use crate::problem::Problem;

/// Longer than any cursor of ours.
const LONGEST: usize = 1_024;

/// The cursor of a place under some filters.
pub fn write(place: &Place, filters: &Digest) -> String {
    URL_SAFE_NO_PAD.encode(format!("{filters}{}", place.as_str()))
}

/// The place in a cursor that was given out under the same filters.
pub fn read(cursor: &str, filters: &Digest) -> Result<Place, Problem> {
    let wrong = || {
        Problem::invalid(
            "cursor",
            "does not belong to this list with these filters: begin without it",
        )
    };
    if cursor.len() > LONGEST {
        return Err(wrong());
    }
    let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|text| String::from_utf8(text).ok());
    let text = text.ok_or_else(wrong)?;
    let place = text.strip_prefix(filters.as_str()).map(Place::read).ok_or_else(wrong)?;
    if place.at().is_some() { Ok(place) } else { Err(wrong()) }
}
