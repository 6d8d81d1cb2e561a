//! Objects written in parts: they appear, whole, when their upload is completed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use flott_core::{Error, Result};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;

use crate::io::{start, wait_for};
use crate::place::{StoragePlace, failed};

/// Bytes of a part; stores want at least 5 MiB for all but the last.
const PART_BYTES: usize = 8 << 20;
/// Parts that are on their way at the same time.
const MAX_PARTS_UNDER_WAY: usize = 4;

/// An upload whose parts have all arrived; enough to complete it, from any process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedUpload {
    /// Relative to the place.
    pub name: String,
    pub upload_id: String,
    pub part_ids: Vec<String>,
}

/// An object being written. Memory is bounded by a few parts.
pub struct Upload {
    store: Arc<dyn MultipartStore>,
    path: Path,
    /// What messages call it.
    full_name: String,
    name: String,
    upload_id: String,
    part: Vec<u8>,
    under_way: VecDeque<Receiver<object_store::Result<PartId>>>,
    part_ids: Vec<String>,
}

impl Upload {
    pub(crate) fn begin(
        place: &StoragePlace,
        store: Arc<dyn MultipartStore>,
        name: &str,
    ) -> Result<Self> {
        let (path, full_name) = (place.path(name), place.full_name(name));
        let (on_runtime, at) = (store.clone(), path.clone());
        let begun = wait_for(async move { on_runtime.create_multipart(&at).await })?;
        Ok(Self {
            upload_id: begun.map_err(|e| failed(&full_name, &e))?,
            store,
            path,
            full_name,
            name: name.to_string(),
            part: Vec::new(),
            under_way: VecDeque::new(),
            part_ids: Vec::new(),
        })
    }

    /// Adds bytes; waits while too many parts are on their way.
    ///
    /// # Errors
    /// The store's, also of parts written before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.part.extend_from_slice(bytes);
        while self.part.len() >= PART_BYTES {
            let rest = self.part.split_off(PART_BYTES);
            let part = std::mem::replace(&mut self.part, rest);
            self.send(part)?;
        }
        Ok(())
    }

    fn send(&mut self, part: Vec<u8>) -> Result<()> {
        if self.under_way.len() >= MAX_PARTS_UNDER_WAY {
            self.await_part()?;
        }
        let (store, path, id) = (
            self.store.clone(),
            self.path.clone(),
            self.upload_id.clone(),
        );
        let index = self.part_ids.len() + self.under_way.len();
        let payload = Bytes::from(part).into();
        let put = async move { store.put_part(&path, &id, index, payload).await };
        self.under_way.push_back(start(put)?);
        Ok(())
    }

    fn await_part(&mut self) -> Result<()> {
        if let Some(part) = self.under_way.pop_front() {
            let lost = |_| Error::internal("an upload ended without a result");
            let done = part.recv().map_err(lost)?;
            let done = done.map_err(|e| failed(&self.full_name, &e))?;
            self.part_ids.push(done.content_id);
        }
        Ok(())
    }

    /// Sends what is left and waits until the store has all of it.
    ///
    /// # Errors
    /// The store's.
    pub fn finish(mut self) -> Result<FinishedUpload> {
        if !self.part.is_empty() || (self.part_ids.is_empty() && self.under_way.is_empty()) {
            let last = std::mem::take(&mut self.part);
            self.send(last)?;
        }
        while !self.under_way.is_empty() {
            self.await_part()?;
        }
        Ok(FinishedUpload {
            name: self.name,
            upload_id: self.upload_id,
            part_ids: self.part_ids,
        })
    }

    /// Gives the upload up; the store forgets its parts.
    ///
    /// # Errors
    /// The store's.
    pub fn abort(self) -> Result<()> {
        abort(self.store, self.path, self.upload_id, &self.full_name)
    }
}

fn abort(store: Arc<dyn MultipartStore>, path: Path, id: String, name: &str) -> Result<()> {
    wait_for(async move { store.abort_multipart(&path, &id).await })?.map_err(|e| failed(name, &e))
}

impl StoragePlace {
    /// Begins an object that will appear when its upload is completed.
    ///
    /// # Errors
    /// A user error when the place has no such uploads (a local folder), or the store's.
    pub fn upload(&self, name: &str) -> Result<Upload> {
        Upload::begin(self, self.multipart()?, name)
    }

    /// Makes an uploaded object appear. Doing it twice does no harm.
    ///
    /// # Errors
    /// The store's.
    pub fn complete_upload(&self, upload: &FinishedUpload) -> Result<()> {
        let (store, path) = (self.multipart()?, self.path(&upload.name));
        let id = upload.upload_id.clone();
        let parts = upload.part_ids.iter().map(|content_id| PartId {
            content_id: content_id.clone(),
        });
        let parts: Vec<PartId> = parts.collect();
        let complete = async move { store.complete_multipart(&path, &id, parts).await };
        match wait_for(complete)? {
            Ok(_) => Ok(()),
            // A store forgets the upload when it has completed it.
            Err(_) if self.sizes(std::slice::from_ref(&upload.name))?[0].is_some() => Ok(()),
            Err(error) => Err(failed(&self.full_name(&upload.name), &error)),
        }
    }

    /// Gives up an upload that will not be completed.
    ///
    /// # Errors
    /// The store's.
    pub fn abort_upload(&self, upload: &FinishedUpload) -> Result<()> {
        let (store, path) = (self.multipart()?, self.path(&upload.name));
        let full_name = self.full_name(&upload.name);
        abort(store, path, upload.upload_id.clone(), &full_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_appears_when_it_is_completed() -> Result<()> {
        let place = StoragePlace::in_memory();
        // One part: the store in memory loses parts that come out of order.
        let bytes: Vec<u8> = (0..5_000_000u32).map(|n| n as u8).collect();
        let mut upload = place.upload("a/big")?;
        for piece in bytes.chunks(300_000) {
            upload.write(piece)?;
        }
        let finished = upload.finish()?;
        assert_eq!(finished.part_ids.len(), 1);
        assert_eq!(place.get("a/big")?, None);
        place.complete_upload(&finished)?;
        place.complete_upload(&finished)?;
        assert!(place.get("a/big")?.as_deref() == Some(&bytes[..]));
        place.upload("a/none")?.abort()?;
        assert_eq!(place.list("a")?.len(), 1);
        Ok(())
    }
}
