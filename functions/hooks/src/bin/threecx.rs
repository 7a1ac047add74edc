//! 3CX's webhook.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    switchboard_hooks::run(&switchboard_providers::threecx::ThreeCx).await
}
