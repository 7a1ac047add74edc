//! Large values, in as many items as they take.

use std::collections::HashMap;

use switchboard_domain::{Blob, BlobRef, CallKey};

use crate::item::{damaged, number};
use crate::table::{Item, Key, Query, Range, Value, Write, number_of, text_of};
use crate::{Store, StoreError, compression, keys};

impl Store {
    /// Stores a large value under a call, compressed. Storing the same blob again changes nothing.
    pub async fn put_blob(&self, key: &CallKey, blob: &Blob) -> Result<(), StoreError> {
        self.put_parts(&keys::call_pk(key), &keys::blob_parts(&blob.digest), &blob.bytes).await
    }

    /// Reads a large value back, whole, or [`StoreError::Damaged`] if a part is missing or its
    /// digest is another.
    pub async fn blob(&self, key: &CallKey, blob: &BlobRef) -> Result<Vec<u8>, StoreError> {
        let prefix = keys::blob_parts(&blob.digest);
        let whole = Blob::new(self.parts(keys::call_pk(key), &prefix, blob.bytes).await?);
        match whole.digest == blob.digest {
            true => Ok(whole.bytes),
            false => Err(damaged("blob", "its digest is another")),
        }
    }

    /// Writes a large value in parts, each saying how many there are.
    pub(crate) async fn put_parts(
        &self,
        pk: &str,
        prefix: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let parts =
            compression::pack(bytes).map_err(|_| damaged("blob", "it cannot be compressed"))?;
        let count = number(parts.len() as i64);
        for (n, part) in parts.into_iter().enumerate() {
            let mut item = Key::new(pk, format!("{prefix}{n:04}")).item();
            item.extend(HashMap::from([
                ("parts".to_owned(), count.clone()),
                ("bytes".to_owned(), Value::B(part)),
                ("expires_at".to_owned(), self.expires_at()),
            ]));
            self.put(item).await?;
        }
        Ok(())
    }

    /// Reads a large value of `length` bytes: as many parts as the first one says. What lies behind
    /// them is left of an earlier write in more parts.
    pub(crate) async fn parts(
        &self,
        pk: String,
        prefix: &str,
        length: u64,
    ) -> Result<Vec<u8>, StoreError> {
        let missing = || damaged("blob", "a part is missing");
        let count = |item: &Item| number_of::<usize>(item, "parts");
        let mut items = self.all(Query::of(pk).within(Range::Prefix(prefix.to_owned()))).await?;
        let wanted =
            items.first().and_then(count).filter(|count| *count > 0).ok_or_else(missing)?;
        if items.len() < wanted {
            return Err(missing());
        }
        items.truncate(wanted);
        let mut parts = Vec::with_capacity(wanted);
        for (n, mut item) in items.into_iter().enumerate() {
            let is_next = text_of(&item, "sk") == Some(&format!("{prefix}{n:04}"));
            match item.remove("bytes") {
                Some(Value::B(bytes)) if is_next && count(&item) == Some(wanted) => {
                    parts.push(bytes);
                }
                _ => return Err(missing()),
            }
        }
        let bytes = compression::unpack(&parts, length)
            .map_err(|_| damaged("blob", "it cannot be decompressed"))?;
        match bytes.len() as u64 == length {
            true => Ok(bytes),
            false => Err(damaged("blob", "its length is another")),
        }
    }

    /// Deletes the parts of a large value.
    pub(crate) async fn delete_parts(&self, pk: String, prefix: &str) -> Result<(), StoreError> {
        for part in self.all(Query::of(pk).within(Range::Prefix(prefix.to_owned()))).await? {
            if let Some(key) = Key::of(&part) {
                self.table.write(Write::delete(key)).await?;
            }
        }
        Ok(())
    }
}
