//! Wiring: from the environment to a running function.

use std::sync::Arc;

use lambda_runtime::Error;
use switchboard_http::Client;
use switchboard_people::dialled;
use switchboard_providers::registry::DIALERS;
use switchboard_providers::rest::Logins;
use switchboard_shell::aws;
use switchboard_shell::environment::{parsed, required};
use switchboard_shell::parameters::{Cached, Parameters};
use switchboard_store::dial_requests::DynamoDialRequests;
use switchboard_store::{DynamoDirectory, DynamoStore};

use super::{Sources, Telephony};
use crate::serve::serve;
use crate::start::{Parts, parts};

/// Runs `telephony` as a function.
pub async fn start() -> Result<(), Error> {
    let Parts { aws, telemetry, access, prefix } = parts("telephony")?;
    let allow_private =
        parsed("ALLOW_PRIVATE_DESTINATIONS", false)? && required("STAGE")? == "local";
    let (client, table) = (aws::dynamodb(&aws), required("CALLS_TABLE")?);
    let days = parsed("RETENTION_DAYS", 400)?;
    let dial_requests = DynamoDialRequests::new(client.clone(), table.clone(), days);
    let parameters = Parameters::new(aws::ssm(&aws));
    let log = telemetry.clone();
    let folders = DIALERS.iter().map(|one| format!("sources/{}", one.provider().name())).collect();
    let sources = Cached::new(parameters, prefix, folders, telemetry.clone(), move |values| {
        Sources::read(values, allow_private, &log)
    });
    let (known, ()) = tokio::join!(sources.get(), aws::briefly(dial_requests.connect()));
    for country in known?.countries() {
        dialled::warm_up(country);
    }
    let area = Telephony {
        dial_requests,
        staff: DynamoDirectory::new(client.clone(), required("DIRECTORY_TABLE")?),
        calls: DynamoStore::new(client, table, days),
        sources,
        http: Arc::new(Client::new(allow_private)?),
        logins: Logins::default(),
        telemetry: telemetry.clone(),
    };
    serve(area, access, telemetry).await
}
