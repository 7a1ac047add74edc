//! The directory: contacts and employees, and the handles that they are found by.

pub mod check;
pub mod draft;
pub mod entry;

pub use check::EntryFault;
pub use draft::{Draft, EntryKind, EntryWrite, Holders};
pub use entry::{
    Activity, Contact, ContactKind, Employee, Entry, Extension, Handle, Holder, Origin,
};
