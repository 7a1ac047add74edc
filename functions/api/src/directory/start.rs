//! Wiring: from the environment to a running function.

use lambda_runtime::Error;
use switchboard_shell::environment::{optional, required};
use switchboard_shell::parameters::{Cached, Parameters};
use switchboard_shell::telemetry::Level;
use switchboard_shell::{Telemetry, aws};
use switchboard_store::DynamoDirectory;

use super::DirectoryArea;
use crate::serve::{TOKENS, access, serve};

/// Runs `directory` as a function.
pub async fn directory() -> Result<(), Error> {
    let level = optional("LOG_LEVEL").and_then(|level| level.parse().ok()).unwrap_or(Level::Info);
    let telemetry = Telemetry::stdout("directory", required("STAGE")?, level);
    let aws = aws::config()?;
    let directory = DynamoDirectory::new(aws::dynamodb(&aws), required("DIRECTORY_TABLE")?);
    let log = telemetry.clone();
    let tokens = Cached::new(
        Parameters::new(aws::ssm(&aws)),
        required("PARAMETER_PREFIX")?,
        vec![TOKENS.to_owned()],
        telemetry.clone(),
        move |values| access(values, &log),
    );
    aws::briefly(directory.connect()).await;
    switchboard_people::number::warm_up(None);
    serve(DirectoryArea { directory }, tokens, telemetry).await
}
