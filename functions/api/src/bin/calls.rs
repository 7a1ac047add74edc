//! Calls: lists, stories, redelivery, context.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    switchboard_api::calls::start::calls().await
}
