//! Access tokens in the Parameter Store.

use async_trait::async_trait;
use switchboard_domain::Name;
use switchboard_flow::tokens::TokenStore;
use switchboard_shell::parameters::Parameters;

/// Tokens in the Parameter Store, at `tokens/<destination>` below a prefix.
#[derive(Clone)]
pub struct ParameterTokenStore {
    parameters: Parameters,
    prefix: String,
}

impl ParameterTokenStore {
    /// Below a stage's prefix.
    pub fn new(parameters: Parameters, prefix: String) -> Self {
        Self { parameters, prefix }
    }

    fn path(&self, destination: &Name) -> String {
        format!("{}/tokens/{destination}", self.prefix)
    }
}

#[async_trait]
impl TokenStore for ParameterTokenStore {
    async fn read(&self, destination: &Name) -> Result<Option<(String, u64)>, String> {
        let one = self.parameters.one(&self.path(destination)).await;
        one.map_err(|error| error.to_string())
    }

    async fn write(&self, destination: &Name, text: &str) -> Result<u64, String> {
        let put = self.parameters.put(&self.path(destination), text).await;
        put.map_err(|error| error.to_string())
    }
}
