//! Wiring that every area has in common: from the environment to what an area is made from.

use aws_types::SdkConfig;
use lambda_runtime::Error;
use switchboard_flow::Telemetry;
use switchboard_flow::telemetry::Level;
use switchboard_shell::aws;
use switchboard_shell::environment::{optional, required};
use switchboard_shell::parameters::{Cached, Parameters};

use crate::access::Access;
use crate::serve::{TOKENS, access};

/// What every area is made from.
pub struct Parts {
    /// What AWS clients are made from.
    pub aws: SdkConfig,
    /// Where it says what it does.
    pub telemetry: Telemetry,
    /// Who may do what.
    pub access: Cached<Access>,
    /// The path above `api`, `sources` and `destinations`.
    pub prefix: String,
}

/// Reads the environment of a function.
pub fn parts(function: &'static str) -> Result<Parts, Error> {
    let level = optional("LOG_LEVEL").and_then(|level| level.parse().ok()).unwrap_or(Level::Info);
    let telemetry = Telemetry::stdout(function, required("STAGE")?, level);
    let aws = aws::config()?;
    let prefix = required("PARAMETER_PREFIX")?;
    let log = telemetry.clone();
    let access = Cached::new(
        Parameters::new(aws::ssm(&aws)),
        prefix.clone(),
        vec![TOKENS.to_owned()],
        telemetry.clone(),
        move |values| access(values, &log),
    );
    Ok(Parts { aws, telemetry, access, prefix })
}
