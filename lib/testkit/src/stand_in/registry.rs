//! The one list of stand-ins.

use super::guarded::{Guarded, start as serve};
use super::{hubspot, pipedrive, salesforce, zoho};
use crate::Failure;

/// Serves a CRM by its name, until the process ends. Returns its URL.
pub async fn start(name: &str) -> Result<String, Failure> {
    match name {
        "hubspot" => serve(Guarded::new(hubspot::Portal::set_up())).await,
        "salesforce" => serve(Guarded::new(salesforce::Org::set_up())).await,
        "zoho" => serve(Guarded::new(zoho::Organisation::set_up())).await,
        "pipedrive" => serve(Guarded::new(pipedrive::Account::default())).await,
        _ => Err("there are hubspot, salesforce, zoho and pipedrive".into()),
    }
}
