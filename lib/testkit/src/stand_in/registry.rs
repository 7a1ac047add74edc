//! The one list of stand-ins, and the declaration of each.

use super::guarded::{Guarded, start as serve};
use crate::Failure;

#[path = "hubspot.rs"]
pub mod hubspot;
#[path = "pipedrive.rs"]
pub mod pipedrive;
#[path = "salesforce.rs"]
pub mod salesforce;
#[path = "zoho.rs"]
pub mod zoho;

/// Serves a CRM by its name, until the process ends. Returns its URL.
pub async fn start(name: &str) -> Result<String, Failure> {
    match name {
        "hubspot" => serve(Guarded::new(hubspot::Portal::set_up())).await,
        "salesforce" => serve(Guarded::new(salesforce::Org::set_up())).await,
        "zoho" => serve(Guarded::new(zoho::Organisation::set_up())).await,
        "pipedrive" => serve(Guarded::new(pipedrive::Account::default())).await,
        _ => Err(format!("there is no stand-in for {name}").into()),
    }
}
