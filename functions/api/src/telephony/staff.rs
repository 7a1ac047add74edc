//! Who the employees are, as far as calling needs to know.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use switchboard_domain::Name;
use switchboard_domain::directory::{Employee, Handle, Holder};
use switchboard_store::{Directory, StoreError};

/// What is asked of the directory.
pub trait Staff: Send + Sync {
    /// An employee by id.
    fn employee(
        &self,
        id: &Name,
    ) -> impl Future<Output = Result<Option<Employee>, StoreError>> + Send;

    /// Who is found under each of these handles.
    fn holders(
        &self,
        handles: &BTreeSet<Handle>,
    ) -> impl Future<Output = Result<BTreeMap<Handle, BTreeSet<Holder>>, StoreError>> + Send;
}

impl<D: Directory> Staff for D {
    async fn employee(&self, id: &Name) -> Result<Option<Employee>, StoreError> {
        Directory::employee(self, id).await
    }

    async fn holders(
        &self,
        handles: &BTreeSet<Handle>,
    ) -> Result<BTreeMap<Handle, BTreeSet<Holder>>, StoreError> {
        Directory::holders(self, handles).await
    }
}
