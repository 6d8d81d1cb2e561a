//! Objects that are written while the next ones are made.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use flott_core::{Error, Result};

use crate::io::start_blocking;
use crate::local::LocalFolder;
use crate::place::StoragePlace;

/// Bytes that wait to be written, at most about.
const MAX_WAITING_BYTES: usize = 128 << 20;
/// Buffers that are kept to be used again.
const MAX_SPARE: usize = 2;

type Written = (Bytes, Result<Vec<PathBuf>>);

/// Writes objects to a place. On local disks each is on its way at once; other stores get what
/// waits together.
pub struct Puts {
    place: StoragePlace,
    /// On the way to a local disk.
    under_way: VecDeque<(usize, Receiver<Written>)>,
    /// Not on the way yet.
    waiting: Vec<(String, Bytes)>,
    /// Of both.
    waiting_bytes: usize,
    /// Folders that have new names.
    folders: BTreeSet<PathBuf>,
    spare: Vec<Vec<u8>>,
}

impl Puts {
    pub fn new(place: &StoragePlace) -> Self {
        Self {
            place: place.clone(),
            under_way: VecDeque::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            folders: BTreeSet::new(),
            spare: Vec::new(),
        }
    }

    /// A buffer for the next object, empty; its memory is used again where that can be.
    pub fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Writes an object whole, or not at all; it is there once [`Puts::flush`] has succeeded. Waits
    /// while too many bytes are under way.
    ///
    /// # Errors
    /// The store's, also about objects before this one.
    pub fn put(&mut self, name: &str, bytes: Bytes) -> Result<()> {
        let num_bytes = bytes.len();
        let Some(local) = self.place.local().cloned() else {
            self.waiting_bytes += num_bytes;
            self.waiting.push((name.to_owned(), bytes));
            return match self.waiting_bytes > MAX_WAITING_BYTES {
                true => self.flush(),
                false => Ok(()),
            };
        };
        while !self.under_way.is_empty() && self.waiting_bytes + num_bytes > MAX_WAITING_BYTES {
            self.take_oldest()?;
        }
        let path = self.place.path(name);
        let written = start_blocking(move || {
            let folders = local.put_unsynced(&path, &bytes);
            (bytes, folders)
        })?;
        self.waiting_bytes += num_bytes;
        self.under_way.push_back((num_bytes, written));
        Ok(())
    }

    fn take_oldest(&mut self) -> Result<()> {
        let Some((num_bytes, written)) = self.under_way.pop_front() else {
            return Ok(());
        };
        self.waiting_bytes -= num_bytes;
        let lost = |_| Error::internal("a storage call ended without a result");
        let (bytes, folders) = written.recv().map_err(lost)?;
        self.folders.extend(folders?);
        if self.spare.len() < MAX_SPARE {
            self.spare.push(bytes.into());
        }
        Ok(())
    }

    /// Waits until every object is on the disk.
    ///
    /// # Errors
    /// The store's.
    pub fn flush(&mut self) -> Result<()> {
        while !self.under_way.is_empty() {
            self.take_oldest()?;
        }
        LocalFolder::sync(&std::mem::take(&mut self.folders))?;
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        self.waiting_bytes = 0;
        self.place.put_all(waiting)
    }
}

#[cfg(test)]
mod tests {
    use flott_core::options::Options;

    use super::*;

    #[test]
    fn objects_are_there_after_the_flush() {
        let folder = tempfile::tempdir().unwrap();
        let uri = folder.path().to_string_lossy().into_owned();
        let places = [
            StoragePlace::open(&uri, &Options::default()).unwrap(),
            StoragePlace::in_memory(),
        ];
        for place in places {
            let mut puts = Puts::new(&place);
            for number in 0..4u8 {
                let mut bytes = puts.spare();
                bytes.clear();
                bytes.resize(40 << 20, number);
                puts.put(&format!("a/{number}"), bytes.into()).unwrap();
            }
            puts.flush().unwrap();
            for number in 0..4u8 {
                let bytes = place.get(&format!("a/{number}")).unwrap().unwrap();
                assert_eq!(bytes.len(), 40 << 20);
                assert!(bytes.iter().all(|&b| b == number));
            }
        }
    }

    #[test]
    fn an_object_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "no folder").unwrap();
        let uri = folder.path().to_string_lossy().into_owned();
        let place = StoragePlace::open(&uri, &Options::default()).unwrap();
        let mut puts = Puts::new(&place);
        puts.put("a/b", Bytes::from_static(b"x")).unwrap();
        assert_eq!(puts.flush().unwrap_err().code(), "STORAGE");
    }
}
