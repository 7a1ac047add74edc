//! Wiring: from the environment to a running function.

use lambda_runtime::Error;
use switchboard_http::Client;
use switchboard_people::dialled;
use switchboard_providers::dial;
use switchboard_shell::environment::{optional, parsed, required};
use switchboard_shell::parameters::{Cached, Parameters};
use switchboard_shell::telemetry::Level;
use switchboard_shell::{Telemetry, aws};
use switchboard_store::presses::DynamoPresses;
use switchboard_store::{DynamoDirectory, DynamoStore};

use super::{Line, Sources, Telephony};
use crate::serve::{TOKENS, access, serve};

/// Runs `telephony` as a function.
pub async fn start() -> Result<(), Error> {
    let stage = required("STAGE")?;
    let level = optional("LOG_LEVEL").and_then(|level| level.parse().ok()).unwrap_or(Level::Info);
    let telemetry = Telemetry::stdout("telephony", stage.clone(), level);
    let allow_private = parsed("ALLOW_PRIVATE_DESTINATIONS", false)? && stage == "local";
    let aws = aws::config()?;
    let (client, table) = (aws::dynamodb(&aws), required("CALLS_TABLE")?);
    let days = parsed("RETENTION_DAYS", 400)?;
    let presses = DynamoPresses::new(client.clone(), table.clone(), days);
    let parameters = Parameters::new(aws::ssm(&aws));
    let prefix = required("PARAMETER_PREFIX")?;

    let log = telemetry.clone();
    let tokens = Cached::new(
        parameters.clone(),
        prefix.clone(),
        vec![TOKENS.to_owned()],
        telemetry.clone(),
        move |values| access(values, &log),
    );
    let log = telemetry.clone();
    let folders = dial::ALL.iter().map(|dial| format!("sources/{}", dial.name())).collect();
    let sources = Cached::new(parameters, prefix, folders, telemetry.clone(), move |values| {
        Sources::read(values, allow_private, &log)
    });
    let (known, ()) = tokio::join!(sources.get(), aws::briefly(presses.connect()));
    for country in known?.countries() {
        dialled::warm_up(country);
    }
    let area = Telephony {
        presses,
        staff: DynamoDirectory::new(client.clone(), required("DIRECTORY_TABLE")?),
        calls: DynamoStore::new(client, table, days),
        sources,
        line: Line::new(Client::new(allow_private)?),
        telemetry: telemetry.clone(),
    };
    serve(area, tokens, telemetry).await
}
