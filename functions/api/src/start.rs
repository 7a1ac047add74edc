//! Wiring that every area has in common: from the environment to what an area is made from.

use aws_types::SdkConfig;
use lambda_http::Error;
use switchboard_shell::aws;
use switchboard_shell::environment::{required, start_logs};
use switchboard_shell::parameters::{Cached, Parameters};

use crate::access::Access;
use crate::serve::{TOKENS, access};

/// What every area is made from.
pub struct Parts {
    /// What AWS clients are made from.
    pub aws: SdkConfig,
    /// Who may do what.
    pub access: Cached<Access>,
    /// The path above `api`, `sources` and `destinations`.
    pub prefix: String,
}

/// Reads the environment of a function.
pub fn parts(function: &'static str) -> Result<Parts, Error> {
    start_logs(function)?;
    let aws = aws::config()?;
    let prefix = required("PARAMETER_PREFIX")?;
    let access = Cached::new(
        Parameters::new(aws::ssm(&aws)),
        prefix.clone(),
        vec![TOKENS.to_owned()],
        access,
    );
    Ok(Parts { aws, access, prefix })
}
