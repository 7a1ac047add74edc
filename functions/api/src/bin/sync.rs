//! The `sync` function: jobs that pull calls from providers.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    switchboard_api::sync::start::run().await
}
