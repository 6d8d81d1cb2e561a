//! Folders and objects on local disks, in S3 and in memory: what checkpoints and tables of files
//! are kept in.
//!
//! Calls block the calling thread; the I/O itself runs on a runtime of its own ([`io`]).

mod direct;
pub mod io;
mod local;
mod object_reader;
pub mod place;
mod puts;
mod upload;

pub use object_reader::ObjectReader;
pub use place::{S3_OPTIONS, StoragePlace, StoredObject};
pub use puts::Puts;
pub use upload::{FinishedUpload, Upload};
