//! The operator's and CRM-side API. One function per area; what they have in common is here:
//! who may do what ([`access`]), what was asked ([`asked`]), and how a fault is told ([`problem`]).

pub mod access;
pub mod asked;
pub mod calls;
pub mod directory;
pub mod problem;
pub mod serve;
pub mod start;
pub mod sync;
pub mod telephony;

pub use access::{Access, Caller, Right};
pub use asked::Asked;
pub use problem::Problem;
pub use serve::{Answer, Area};
