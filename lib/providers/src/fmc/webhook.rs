//! FMC: the virtual PBXs of Russian mobile operators.
//!
//! One webhook accepts three formats, recognized by the body: the fields of a generic template
//! ([`generic`]), MegaFon's virtual PBX ([`megafon`], by its field `cmd`), and Beeline's cloud PBX
//! ([`beeline`], by its XML). The set-up is in `docs/providers/fmc.md`.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};
use switchboard_domain::Seconds;

use super::{beeline, generic, megafon};
use crate::body::{self, ParsedRecord};
use crate::json::{self, Fields};
use crate::provider::{Authenticated, Content, Provider, Route, Unread};
use crate::reject::{Refusal, Reject};
use crate::request::Request;
use crate::secret;
use crate::source::{Credential, Source};

/// Virtual PBXs of Russian mobile operators.
pub struct Fmc;

impl Provider for Fmc {
    fn name(&self) -> &'static str {
        "fmc"
    }

    fn routes(&self) -> &'static [Route] {
        &[("POST", "/webhooks/fmc")]
    }

    /// MegaFon says that a call is over before it says how it went.
    fn settle(&self) -> Seconds {
        Seconds(10)
    }

    fn speaks_intake(&self) -> bool {
        true
    }

    fn presents_credential(&self, request: &Request) -> Result<(), Reject> {
        if presented(request).is_empty() {
            let expected = "the field crm_token, or the header X-Webhook-Secret";
            return Err(Reject::Unauthenticated { expected });
        }
        Ok(())
    }

    fn authenticate(
        &self,
        request: &Request,
        _source: &Source,
        credential: &Credential,
    ) -> Result<(), Refusal> {
        // All are compared, so that how long it takes does not tell which one is right.
        let sent = presented(request);
        let fitting = sent.iter().filter(|sent| secret::is(sent, &credential.secret)).count();
        if fitting > 0 { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    fn parse(&self, message: &Authenticated<'_>) -> Result<Content, Reject> {
        let (records, kept) = match records(message) {
            Ok(read) => read,
            Err(why) => return unreadable(message, why),
        };
        match records.as_slice() {
            [] => return Err(Reject::malformed("body", "holds no record")),
            [one] if megafon::is_lookup(one) => return Ok(Content::Other(megafon::unknown())),
            [one] if beeline::is_about_no_call(one) => {
                return Ok(Content::Other(json!({"accepted": 0, "duplicates": 0})));
            }
            _ => {}
        }
        Ok(body::each_kept(message, &kept, records, |record| read(message, record)))
    }
}

/// Every secret that came with a request: as any provider's, and MegaFon's in the body.
fn presented(request: &Request) -> Vec<String> {
    secret::presented(request).into_iter().chain(megafon::token(request)).collect()
}

/// The records of a body, and its bytes as they may be kept: without MegaFon's token.
fn records(message: &Authenticated<'_>) -> Result<(Vec<Value>, Vec<u8>), Reject> {
    let sent = message.body();
    let body = json::plain(sent)?.trim_ascii_start();
    let media = message.request().media_type();
    let is_xml = media.ends_with("/xml") || media.ends_with("+xml");
    let is_json = body.first().is_some_and(|first| b"{[".contains(first));
    if body.starts_with(b"<") || (is_xml && !is_json) {
        return Ok((beeline::records(body)?, sent.to_vec()));
    }
    let mut value = body::value(message)?;
    let kept = if megafon::take_token(&mut value) {
        megafon::without_token(sent, &value)
    } else {
        sent.to_vec()
    };
    Ok((json::records(value)?, kept))
}

/// A body that is no record at all. It goes to quarantine as it is, but for a token: that cannot be
/// taken out of what cannot be read, so what follows its name is cut off.
fn unreadable(message: &Authenticated<'_>, why: Reject) -> Result<Content, Reject> {
    let body = message.body();
    let name = megafon::TOKEN.as_bytes();
    // Where each letter has two bytes, what comes before its place among the letters.
    let letters: Vec<u8> = body.iter().copied().filter(|b| *b != 0).collect();
    match letters.windows(name.len()).position(|bytes| bytes.eq_ignore_ascii_case(name)) {
        None => Err(why),
        Some(at) => {
            let raw = body.get(..at).unwrap_or_default().to_vec();
            Ok(Content::Calls(vec![Err(Unread { why, raw })]))
        }
    }
}

fn read(message: &Authenticated<'_>, record: Value) -> Result<ParsedRecord, Reject> {
    let has = |name| record.get(name).is_some();
    let (is_megafon, is_beeline) = (has(megafon::COMMAND), has(beeline::EVENT));
    let fields = Fields::of(record)?;
    if is_megafon {
        megafon::read(message, fields)
    } else if is_beeline {
        beeline::read(message, fields)
    } else {
        generic::read(message, fields)
    }
}
