//! The generic intake's webhook.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    switchboard_hooks::run(&switchboard_providers::INTAKE).await
}
