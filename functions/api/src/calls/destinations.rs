//! What is configured of destinations: which there are, and which calls they take.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use switchboard_crm::filter::Wishes;
use switchboard_domain::Name;
use switchboard_shell::parameters::{Cached, ParameterError};

/// The destinations by name, without their credentials. `None`: a configuration that cannot be read.
pub type Destinations = BTreeMap<Name, Option<Wishes>>;

/// What [`KnowsDestinations::destinations`] gives.
pub type Known<'a> =
    Pin<Box<dyn Future<Output = Result<Arc<Destinations>, ParameterError>> + Send + 'a>>;

/// Who knows the destinations.
pub trait KnowsDestinations: Send + Sync {
    /// The configured ones. `again`: one was named that is not known, and may be new.
    fn destinations(&self, again: bool) -> Known<'_>;
}

impl KnowsDestinations for Cached<Destinations> {
    fn destinations(&self, again: bool) -> Known<'_> {
        Box::pin(async move { if again { self.get_again().await } else { self.get().await } })
    }
}
