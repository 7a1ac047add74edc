//! A placeholder that compiles: every operation is refused. The directory on DynamoDB takes its place.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::Client;
use switchboard_domain::directory::{Activity, Contact, Employee, Handle, Holder};
use switchboard_domain::{CallKey, Name, Personal};

use super::{Directory, EntryCursor, EntryPage, PutEntry};
use crate::StoreError;

/// The directory on DynamoDB.
#[derive(Clone)]
pub struct DynamoDirectory;

impl DynamoDirectory {
    /// Over a client and the table's name.
    pub fn new(_client: Client, _table: String) -> Self {
        Self
    }

    /// Opens a connection.
    pub async fn connect(&self) {}
}

fn refused<T>(operation: &'static str) -> Result<T, StoreError> {
    Err(StoreError::Refused { operation, code: "not built".into() })
}

impl Directory for DynamoDirectory {
    async fn holders(
        &self,
        _handles: &BTreeSet<Handle>,
    ) -> Result<BTreeMap<Handle, BTreeSet<Holder>>, StoreError> {
        refused("holders")
    }

    async fn contact(&self, _id: &Name) -> Result<Option<Contact>, StoreError> {
        refused("contact")
    }

    async fn employee(&self, _id: &Name) -> Result<Option<Employee>, StoreError> {
        refused("employee")
    }

    async fn put_contact(&self, _contact: &Contact) -> Result<PutEntry, StoreError> {
        refused("put_contact")
    }

    async fn put_employee(&self, _employee: &Employee) -> Result<PutEntry, StoreError> {
        refused("put_employee")
    }

    async fn create_contact_once(
        &self,
        _number: &Personal,
        _contact: &Contact,
    ) -> Result<Contact, StoreError> {
        refused("create_contact_once")
    }

    async fn delete_contact(&self, _id: &Name, _version: u64) -> Result<PutEntry, StoreError> {
        refused("delete_contact")
    }

    async fn delete_employee(&self, _id: &Name, _version: u64) -> Result<PutEntry, StoreError> {
        refused("delete_employee")
    }

    async fn set_own_number(&self, _number: &Personal, _own: bool) -> Result<(), StoreError> {
        refused("set_own_number")
    }

    async fn contacts(
        &self,
        _page: Option<EntryCursor>,
        _limit: u16,
    ) -> Result<EntryPage<Contact>, StoreError> {
        refused("contacts")
    }

    async fn employees(
        &self,
        _page: Option<EntryCursor>,
        _limit: u16,
    ) -> Result<EntryPage<Employee>, StoreError> {
        refused("employees")
    }

    async fn put_activity(&self, _activity: &Activity) -> Result<(), StoreError> {
        refused("put_activity")
    }

    async fn delete_activity(&self, _contact: &Name, _call: &CallKey) -> Result<(), StoreError> {
        refused("delete_activity")
    }

    async fn activities(
        &self,
        _contact: &Name,
        _page: Option<EntryCursor>,
        _limit: u16,
    ) -> Result<EntryPage<Activity>, StoreError> {
        refused("activities")
    }
}
