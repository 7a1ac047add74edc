//! Copies of recordings: links for CRMs, audio types, and the bucket.
//!
//! `enrich` makes links, the function `recordings` makes copies, and the API leads from a link to a
//! copy. No hook knows of any of it.

#[cfg(feature = "bucket")]
pub mod bucket;
pub mod link;
pub mod media;
#[cfg(feature = "client")]
pub mod spool;

#[cfg(feature = "bucket")]
pub use bucket::{Bucket, BucketError};
pub use link::{Links, Refused};

use switchboard_domain::{CallKey, Digest};

/// All copies are below this name in the bucket.
pub const PREFIX: &str = "recordings";

/// What the copy of a recording is called in the bucket: the same each time it is made. It tells neither
/// the call nor anybody's number.
pub fn object_key(call: &CallKey, recording: &str) -> String {
    let name = Digest::of(&[recording.as_bytes()]);
    format!("{PREFIX}/{}/{name}", call.correlation_id())
}
