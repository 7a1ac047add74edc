//! Stands in for the CRM that the argument names. Prints the URL. Ends when its standard input does, as it does when
//! the process that started it has ended.

use std::io::Write as _;

use switchboard_testkit::Failure;
use switchboard_testkit::stand_in::registry::start;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let url = start(&std::env::args().nth(1).unwrap_or_default()).await?;
    writeln!(std::io::stdout(), "{url}")?;
    tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await?;
    Ok(())
}
