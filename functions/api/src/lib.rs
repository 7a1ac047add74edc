//! The operator's and CRM-side API. One function per area; what they have in common is here:
//! who may do what ([`access`]), the request ([`request`]) and the problem response ([`problem`]).

pub mod access;
pub mod calls;
pub mod directory;
pub mod problem;
pub mod request;
pub mod serve;
pub mod start;
pub mod sync;
pub mod telephony;

pub use access::{Access, Caller, Right};
pub use problem::Problem;
pub use request::Request;
pub use serve::{Area, Response, ok, with_status};
