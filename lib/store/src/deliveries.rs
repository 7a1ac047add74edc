//! Deliveries of calls.

use switchboard_domain::{CallKey, Delivery, DeliveryId};

use crate::gates::DEFERRED_SHARDS;
use crate::item::{from_item, text, to_versioned};
use crate::table::{Condition, Item, Query, Range, Write};
use crate::{PutIf, Store, StoreError, due, keys};

fn read(mut item: Item) -> Result<Delivery, StoreError> {
    item.remove("due_at");
    if let Some(due) = item.remove("due") {
        item.insert("due_at".into(), due);
    }
    from_item("delivery", item)
}

impl Store {
    pub(crate) fn delivery_item(&self, delivery: &Delivery) -> Result<Item, StoreError> {
        let (call, id) = (&delivery.key, &delivery.id);
        let key = keys::delivery(call, id);
        let mut item = to_versioned("delivery", delivery, key, delivery.version)?;
        item.insert("expires_at".into(), self.expires_at());
        // `due_at` is the index's attribute, a number; the delivery's own is `due`, a text.
        item.remove("due_at");
        if let Some(due_at) = delivery.due_at {
            item.insert("due".into(), text(due_at.to_string()));
            let shard = call.due_shard();
            let shard = match delivery.deferred {
                Some(among) => {
                    keys::deferred_shard(&id.destination, among, shard % DEFERRED_SHARDS)
                }
                None => keys::due_shard(shard),
            };
            due::mark(&mut item, Some((shard, due_at)));
        }
        Ok(item)
    }

    /// Reads every delivery of a call, consistently, in the order of their ids.
    pub async fn deliveries(&self, key: &CallKey) -> Result<Vec<Delivery>, StoreError> {
        let deliveries = Range::Prefix(keys::DELIVERIES.to_owned());
        let items = self.all(Query::of(keys::call_pk(key)).within(deliveries)).await?;
        items.into_iter().map(read).collect()
    }

    /// Reads one delivery, consistently.
    pub async fn delivery(
        &self,
        key: &CallKey,
        id: &DeliveryId,
    ) -> Result<Option<Delivery>, StoreError> {
        self.table.get(&keys::delivery(key, id)).await?.map(read).transpose()
    }

    /// Writes a delivery as version `delivery.version + 1`, if the stored version is
    /// `delivery.version`; with `call_version`, only if the call still has that version (one
    /// transaction).
    pub async fn put_delivery(
        &self,
        delivery: &Delivery,
        call_version: Option<u64>,
    ) -> Result<PutIf, StoreError> {
        let item = self.delivery_item(delivery)?;
        let Some(call_version) = call_version else {
            return self.put_version(item, delivery.version).await;
        };
        let writes = vec![
            Write::put(item).only_if(Condition::version(delivery.version)),
            Write::check(keys::call(&delivery.key), Condition::version(call_version)),
        ];
        Ok(PutIf::of(self.table.transact(writes).await?.is_empty(), delivery.version))
    }
}
