//! Wiring: from the environment to a running function.

use std::sync::Arc;

use lambda_http::Error;
use switchboard_domain::Digest;
use switchboard_flow::dial::{Dial, Sources};
use switchboard_http::Client;
use switchboard_people::dialled;
use switchboard_providers::registry::DIALERS;
use switchboard_providers::rest::Logins;
use switchboard_shell::aws;
use switchboard_shell::environment::{parsed, required};
use switchboard_shell::parameters::{Cached, Parameters};
use switchboard_store::{Directory, Store};

use super::{Known, Telephony};
use crate::serve::serve;
use crate::start::{Parts, parts};

/// Runs `telephony` as a function.
pub async fn start() -> Result<(), Error> {
    let Parts { aws, access, prefix } = parts("telephony")?;
    let allow_private =
        parsed("ALLOW_PRIVATE_DESTINATIONS", false)? && required("STAGE")? == "local";
    let (client, table) = (aws::dynamodb(&aws), required("CALLS_TABLE")?);
    let days = parsed("RETENTION_DAYS", 400)?;
    let store = Store::dynamodb(&client, table, days);
    let parameters = Parameters::new(aws::ssm(&aws));
    let folders = DIALERS.iter().map(|one| format!("sources/{}", one.provider().name())).collect();
    let sources = Cached::new(parameters, prefix, folders, move |values| {
        Sources::read(values, allow_private)
    });
    // This function may read dial requests and put them, and nothing else: a read opens the connection.
    let connect = async {
        let _ = store.dial_request(&Digest::of(&[b"connect"])).await;
    };
    let (known, ()) = tokio::join!(sources.get(), aws::briefly(connect));
    for country in known?.countries() {
        dialled::warm_up(country);
    }
    let area = Telephony(Dial {
        store,
        directory: Directory::dynamodb(&client, required("DIRECTORY_TABLE")?),
        sources: Known(sources),
        http: Arc::new(Client::new(allow_private)?),
        logins: Logins::default(),
    });
    serve(area, access).await
}
