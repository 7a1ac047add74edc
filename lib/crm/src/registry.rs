//! The one list of formats.

use crate::fields::listed;
use crate::format::Capabilities;
use crate::{canonical, conversation_ai, hubspot, pipedrive, salesforce, template, zoho};

/// Every format, in the order of their names.
pub static FORMATS: &[&Capabilities] = &[
    &canonical::CAPABILITIES,
    &conversation_ai::CAPABILITIES,
    &hubspot::CAPABILITIES,
    &pipedrive::CAPABILITIES,
    &salesforce::CAPABILITIES,
    &template::CAPABILITIES,
    &zoho::CAPABILITIES,
];

/// The format of a name.
pub fn find(name: &str) -> Option<&'static Capabilities> {
    FORMATS.iter().copied().find(|one| one.name == name)
}

/// Their names, as a sentence lists them.
pub fn names() -> String {
    listed(FORMATS.iter().map(|one| one.name))
}
