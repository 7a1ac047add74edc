//! Wiring: from the environment to a running function.

use lambda_http::Error;
use switchboard_shell::aws;
use switchboard_shell::environment::required;
use switchboard_store::Directory;

use super::DirectoryArea;
use crate::serve::serve;
use crate::start::{Parts, parts};

/// Runs `directory` as a function.
pub async fn directory() -> Result<(), Error> {
    let Parts { aws, access, .. } = parts("directory")?;
    let directory = Directory::dynamodb(&aws::dynamodb(&aws), required("DIRECTORY_TABLE")?);
    aws::briefly(directory.connect()).await;
    switchboard_people::number::warm_up(None);
    serve(DirectoryArea { directory }, access).await
}
