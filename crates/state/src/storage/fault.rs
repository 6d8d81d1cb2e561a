//! A store that fails when it is told to: errors before and after a write, torn writes, writes
//! that hang, lost reads, lists and deletions that fail. For tests and simulation.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a store is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Put,
    Get,
    /// Of one object.
    Delete,
    List,
}

/// What happens instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// An error; nothing was done.
    Before,
    /// It was done, and yet an error is given.
    After,
    /// Half of the bytes are written, then an error is given.
    Torn,
    /// Nothing happens until [`FaultStore::release`].
    Hold,
}

type Decide = Box<dyn FnMut(Operation, &str, u64) -> Fault + Send>;

/// A store in memory, or around another, with faults.
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    faults: Arc<Faults>,
}

struct Faults {
    decide: Mutex<Decide>,
    num_calls: AtomicU64,
    released: Notify,
}

impl Faults {
    async fn next(&self, operation: Operation, path: &Path) -> Fault {
        let number = self.num_calls.fetch_add(1, Ordering::SeqCst);
        let fault = (self.decide.lock())(operation, path.as_ref(), number);
        if fault == Fault::Hold {
            self.released.notified().await;
            return Fault::None;
        }
        fault
    }
}

impl FaultStore {
    /// `decide` is asked before each put, get, deletion and list: the operation, the object's path
    /// or the folder's, and how many were asked before.
    pub fn new(decide: impl FnMut(Operation, &str, u64) -> Fault + Send + 'static) -> Arc<Self> {
        Self::around(Arc::new(InMemory::new()), decide)
    }

    /// As [`FaultStore::new`], around a store.
    pub fn around(
        inner: Arc<dyn ObjectStore>,
        decide: impl FnMut(Operation, &str, u64) -> Fault + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner,
            faults: Arc::new(Faults {
                decide: Mutex::new(Box::new(decide)),
                num_calls: AtomicU64::new(0),
                released: Notify::new(),
            }),
        })
    }

    /// From now on faults are decided like this.
    pub fn set(&self, decide: impl FnMut(Operation, &str, u64) -> Fault + Send + 'static) {
        *self.faults.decide.lock() = Box::new(decide);
    }

    /// Calls that were held go on.
    pub fn release(&self) {
        self.faults.released.notify_waiters();
    }

    /// Operations so far.
    pub fn num_calls(&self) -> u64 {
        self.faults.num_calls.load(Ordering::SeqCst)
    }
}

fn error(what: &str) -> Error {
    Error::Generic {
        store: "fault",
        source: what.to_string().into(),
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultStore")
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store with faults")
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        match self.faults.next(Operation::Put, location).await {
            Fault::Before => Err(error("refused")),
            Fault::After => {
                self.inner.put_opts(location, payload, options).await?;
                Err(error("no answer"))
            }
            Fault::Torn => {
                let bytes = Bytes::from(payload);
                let half = bytes.slice(..bytes.len() / 2);
                self.inner.put_opts(location, half.into(), options).await?;
                Err(error("interrupted"))
            }
            Fault::None | Fault::Hold => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.faults.next(Operation::Get, location).await {
            Fault::None | Fault::Hold => self.inner.get_opts(location, options).await,
            Fault::Before | Fault::After | Fault::Torn => Err(error("refused")),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let faults = self.faults.clone();
        let inner = self.inner.clone();
        let deleted = locations.then(move |location| {
            let (faults, inner) = (faults.clone(), inner.clone());
            async move {
                let location = location?;
                let fault = faults.next(Operation::Delete, &location).await;
                if matches!(fault, Fault::Before | Fault::Torn) {
                    return Err(error("refused"));
                }
                let one = stream::once(std::future::ready(Ok(location.clone()))).boxed();
                inner.delete_stream(one).try_collect::<Vec<_>>().await?;
                match fault {
                    Fault::After => Err(error("no answer")),
                    _ => Ok(location),
                }
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (faults, inner) = (self.faults.clone(), self.inner.clone());
        let prefix = prefix.cloned();
        let listed = async move {
            let folder = prefix.clone().unwrap_or_default();
            match faults.next(Operation::List, &folder).await {
                Fault::None | Fault::Hold => inner.list(prefix.as_ref()),
                _ => stream::once(std::future::ready(Err(error("refused")))).boxed(),
            }
        };
        listed.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.cloned().unwrap_or_default();
        match self.faults.next(Operation::List, &folder).await {
            Fault::None | Fault::Hold => self.inner.list_with_delimiter(prefix).await,
            _ => Err(error("refused")),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
