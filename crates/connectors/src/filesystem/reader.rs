//! Reads splits: blocks of a file to the format's decoder, constant columns beside its columns.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, Decoder, FormatFactory};
use flott_core::source::{
    FieldPredicate, ReaderContext, SourcePoll, SourceReader, Split, SplitPoll,
};
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

use super::constants::Constants;
use super::file_system::{FileRef, FileSystem};
use super::input::open_stream;
use super::letters::Letters;
use super::records::RecordSplit;
use super::split::FileSplit;

/// How much of a file is read at once.
const BLOCK_BYTES: usize = 1 << 20;
/// A record cannot be longer than this.
const MAX_RECORD_BYTES: usize = 1 << 30;
/// A poll reads no more blocks than this, whether or not they give rows.
const MAX_BLOCKS_IN_POLL: usize = 8;

/// Where a column of the scan comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The decoder's column of this number.
    Decoded(usize),
    /// The value of this partition key.
    Partition(usize, LogicalType),
    Path,
    Name,
    Size,
    Modified(LogicalType),
}

/// What a reader needs to know of its table and query.
pub(super) struct ScanPlan {
    pub files: Arc<dyn FileSystem>,
    pub format: Arc<dyn FormatFactory>,
    pub decode: DecodeRequest,
    /// The format reads files itself, not block by block.
    pub reads_files: bool,
    /// On columns of the files.
    pub predicates: Vec<FieldPredicate>,
    pub origins: Vec<Origin>,
    pub schema: SchemaRef,
    pub partition_keys: Vec<String>,
    pub default_name: String,
    pub limit: Option<u64>,
    /// Records that cannot be read become letters, said to come from the table of this name.
    pub dead_letters: Option<Arc<str>>,
}

/// A split being read.
struct OpenSplit {
    split: FileSplit,
    input: Box<dyn Read + Send>,
    decoder: Box<dyn Decoder>,
    constants: Constants,
    /// The block as read, kept so that its memory can be used again.
    block: Buffer,
    /// What of the block is not yet decoded, and where in the file it begins.
    rest: Buffer,
    rest_offset: u64,
    /// Where the decoder began.
    first_record: u64,
    /// The split begins inside a record, which belongs to the split before.
    skips_record: bool,
    is_last: bool,
    num_skipped: u64,
    letters: Option<Letters>,
}

/// A split in hand.
enum Open {
    Blocks(OpenSplit),
    Records(RecordSplit),
}

impl Open {
    fn new(split: FileSplit, plan: &ScanPlan, batch_size: usize) -> Result<Self> {
        Ok(match plan.reads_files {
            true => Self::Records(RecordSplit::new(split, plan, batch_size)?),
            false => Self::Blocks(OpenSplit::new(split, plan, batch_size)?),
        })
    }

    fn read(
        &mut self,
        plan: &ScanPlan,
        context: &ReaderContext,
    ) -> Result<(Option<ChangelogBatch>, bool)> {
        match self {
            Self::Blocks(split) => split.read(plan, context),
            Self::Records(split) => split.read(plan, context),
        }
    }

    fn snapshot(&self) -> Split {
        match self {
            Self::Blocks(split) => split.snapshot(),
            Self::Records(split) => split.snapshot(),
        }
    }
}

/// Reads the splits of one subtask, one after the other.
pub(super) struct FileReader {
    plan: Arc<ScanPlan>,
    context: ReaderContext,
    restored: VecDeque<FileSplit>,
    open: Option<Open>,
    num_rows: u64,
    is_ended: bool,
}

impl FileReader {
    pub fn new(plan: Arc<ScanPlan>, context: ReaderContext) -> Result<Self> {
        let restored = context.restored.iter().map(FileSplit::from_split);
        Ok(Self {
            restored: restored.collect::<Result<_>>()?,
            plan,
            context,
            open: None,
            num_rows: 0,
            is_ended: false,
        })
    }

    fn is_limit_reached(&self) -> bool {
        self.plan.limit.is_some_and(|limit| self.num_rows >= limit)
    }

    /// Opens the next split; otherwise what to answer to the poll.
    fn open_next(&mut self) -> Result<Option<SourcePoll>> {
        let split = match self.restored.pop_front() {
            Some(split) => split,
            None => match self.context.splits.next_split(self.context.subtask)? {
                SplitPoll::Split(split) => FileSplit::from_split(&split)?,
                SplitPoll::PendingUntil(time) => return Ok(Some(SourcePoll::PendingUntil(time))),
                SplitPoll::NoneUntil(time) => return Ok(Some(SourcePoll::IdleUntil(time))),
                SplitPoll::End => {
                    self.is_ended = true;
                    return Ok(Some(SourcePoll::End));
                }
            },
        };
        self.open = Some(Open::new(split, &self.plan, self.context.batch_size)?);
        Ok(None)
    }
}

impl SourceReader for FileReader {
    fn poll(&mut self) -> Result<SourcePoll> {
        if self.is_ended || self.is_limit_reached() {
            self.is_ended = true;
            return Ok(SourcePoll::End);
        }
        if self.open.is_none()
            && let Some(answer) = self.open_next()?
        {
            return Ok(answer);
        }
        let Some(open) = &mut self.open else {
            return Ok(SourcePoll::End);
        };
        let (rows, is_done) = open.read(&self.plan, &self.context)?;
        if is_done {
            self.open = None;
        }
        Ok(match rows {
            Some(rows) => {
                self.num_rows += rows.num_rows() as u64;
                SourcePoll::Batch(rows)
            }
            None => SourcePoll::PendingUntil(self.context.clock.now_ms()),
        })
    }

    fn snapshot(&mut self) -> Result<Vec<Split>> {
        let open = self.open.iter().map(Open::snapshot);
        let waiting = self.restored.iter().map(FileSplit::to_split);
        Ok(open.chain(waiting).collect())
    }
}

impl OpenSplit {
    fn new(split: FileSplit, plan: &ScanPlan, batch_size: usize) -> Result<Self> {
        // One byte earlier: a record that begins exactly at the start is this split's.
        let (offset, skips_record) = match split.position {
            Some(position) => (position, false),
            None => (split.start.saturating_sub(1), split.start > 0),
        };
        let mut decoder = new_decoder(plan, batch_size)?;
        if plan.dead_letters.is_some() {
            decoder.keep_rejected();
        }
        Ok(Self {
            input: open_stream(plan.files.as_ref(), split.file(), offset)?,
            decoder,
            letters: Letters::new(plan, &split.path),
            constants: Constants::default(),
            block: Buffer::from_vec(Vec::<u8>::new()),
            rest: Buffer::from_vec(Vec::<u8>::new()),
            rest_offset: offset,
            first_record: offset,
            skips_record,
            is_last: false,
            num_skipped: 0,
            split,
        })
    }

    fn snapshot(&self) -> Split {
        let position = (!self.skips_record).then_some(self.rest_offset);
        FileSplit {
            position,
            ..self.split.clone()
        }
        .to_split()
    }

    /// Reads until a batch is full; also says whether the split is read to its end.
    fn read(
        &mut self,
        plan: &ScanPlan,
        context: &ReaderContext,
    ) -> Result<(Option<ChangelogBatch>, bool)> {
        let mut is_done = false;
        for _ in 0..MAX_BLOCKS_IN_POLL {
            if !self.skips_record && (!self.rest.is_empty() || self.is_last) {
                self.decode(plan, context)?;
            }
            if self.decoder.num_rows() >= context.batch_size {
                break;
            }
            if self.is_last {
                is_done = true;
                break;
            }
            let num_bytes = self.fill()?;
            context.metrics.num_bytes_in.add(num_bytes as u64);
        }
        let skipped = self.decoder.num_skipped();
        let newly_skipped = skipped - self.num_skipped;
        context.metrics.num_records_in_errors.add(newly_skipped);
        self.num_skipped = skipped;
        let rows = match self.decoder.flush()? {
            Some(rows) => {
                let batch_size = context.batch_size;
                let rows = self
                    .constants
                    .complete(rows, &self.split, plan, batch_size)?;
                Some(rows)
            }
            None => None,
        };
        self.gather_letters(plan, context)?;
        let rows = match &mut self.letters {
            Some(letters) => letters.complete(rows)?,
            None => rows,
        };
        Ok((rows, is_done && self.rest.is_empty()))
    }

    fn decode(&mut self, plan: &ScanPlan, context: &ReaderContext) -> Result<()> {
        let used = match self.decoder.decode_block(&self.rest, self.is_last) {
            Ok(used) => used,
            Err(error) => return Err(self.explain(error, plan, context.batch_size)),
        };
        self.gather_letters(plan, context)?;
        self.rest = self.rest.slice(used);
        self.rest_offset += used as u64;
        if used == 0 && self.is_last && !self.rest.is_empty() && self.decoder.num_rows() == 0 {
            let format = plan.format.identifier();
            let message = format!(
                "format '{format}' cannot go on in file '{}'",
                self.split.path
            );
            return Err(Error::internal(message));
        }
        Ok(())
    }

    /// Takes over what the decoder could not read.
    fn gather_letters(&mut self, plan: &ScanPlan, context: &ReaderContext) -> Result<()> {
        let Some(letters) = &mut self.letters else {
            return Ok(());
        };
        let rejected = self.decoder.take_rejected();
        if rejected.is_empty() {
            return Ok(());
        }
        let count = || count_lines(plan, self.split.file(), self.first_record);
        let now_ms = context.clock.now_ms();
        letters.add(rejected, self.first_record, now_ms, count)?;
        context.metrics.num_dead_letters.add(letters.take_count());
        Ok(())
    }

    /// Decodes the faulty block again with the number of lines before it, which nobody counts as
    /// long as all is well, so that the message names the line of the file.
    #[cold]
    fn explain(&self, error: Error, plan: &ScanPlan, batch_size: usize) -> Error {
        let again = || -> Result<()> {
            let mut decoder = new_decoder(plan, batch_size)?;
            decoder.set_first_line(count_lines(plan, self.split.file(), self.rest_offset)?);
            // The first decoder may have been nearly full; this one stops no later.
            decoder.decode_block(&self.rest, self.is_last).map(|_| ())
        };
        let error = again().err().unwrap_or(error);
        error.context(format!("file '{}'", self.split.path))
    }

    /// Reads the next block behind what is left of the last one; returns the bytes read.
    fn fill(&mut self) -> Result<usize> {
        let left = self.rest.len();
        if left > MAX_RECORD_BYTES {
            let (path, offset) = (&self.split.path, self.rest_offset);
            return Err(Error::user(
                "RECORD_TOO_LARGE",
                format!(
                    "file '{path}': the record at byte {offset} does not end within 1 GiB; is a quote or line end missing?"
                ),
            ));
        }
        if self.rest_offset >= self.split.end && !self.skips_record {
            // Restored behind its last record.
            self.is_last = true;
            return Ok(0);
        }
        let wanted = BLOCK_BYTES.max(left);
        let mut bytes = self.take_memory(left + wanted);
        let mut input = self.input.by_ref().take(wanted as u64);
        let num_read = input
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io(&self.split.path, &e))?;
        self.is_last = num_read < wanted;
        self.cut_at_end(&mut bytes, left);
        self.block = Buffer::from_vec(bytes);
        self.rest = self.block.clone();
        if self.skips_record {
            self.skip_record();
        }
        Ok(num_read)
    }

    /// A vector that holds what is left of the last block, in that block's memory if no row holds
    /// on to it.
    fn take_memory(&mut self, capacity: usize) -> Vec<u8> {
        let empty = || Buffer::from_vec(Vec::<u8>::new());
        let left = std::mem::replace(&mut self.rest, empty()).to_vec();
        let block = std::mem::replace(&mut self.block, empty());
        let mut bytes = match block.into_vec::<u8>() {
            Ok(bytes) if bytes.capacity() >= capacity => bytes,
            _ => Vec::with_capacity(capacity + 64),
        };
        bytes.clear();
        bytes.extend_from_slice(&left);
        bytes
    }

    /// Ends the block behind the last record that begins before the split's end. The first `seen`
    /// bytes have been looked at before.
    fn cut_at_end(&mut self, bytes: &mut Vec<u8>, seen: usize) {
        if self.split.end == u64::MAX {
            return;
        }
        // The last record that is ours ends with the first line end at or behind the split's end.
        let last = (self.split.end - 1).saturating_sub(self.rest_offset) as usize;
        let from = last.max(seen);
        if let Some(tail) = bytes.get(from..)
            && let Some(place) = memchr::memchr(b'\n', tail)
        {
            bytes.truncate(from + place + 1);
            self.is_last = true;
        }
    }

    fn skip_record(&mut self) {
        let skipped = match memchr::memchr(b'\n', &self.rest) {
            Some(place) => {
                self.skips_record = false;
                place + 1
            }
            None => self.rest.len(),
        };
        self.rest = self.rest.slice(skipped);
        self.rest_offset += skipped as u64;
        self.first_record = self.rest_offset;
        self.skips_record &= !self.is_last;
    }
}

fn new_decoder(plan: &ScanPlan, batch_size: usize) -> Result<Box<dyn Decoder>> {
    plan.format.create_decoder(&DecodeRequest {
        batch_size,
        ..plan.decode.clone()
    })
}

/// Lines that end in the first `length` bytes of a file's content.
fn count_lines(plan: &ScanPlan, file: FileRef<'_>, length: u64) -> Result<u64> {
    let path = file.path;
    let mut input = open_stream(plan.files.as_ref(), file, 0)?.take(length);
    let mut bytes = vec![0; BLOCK_BYTES];
    let mut lines = 0;
    loop {
        match input.read(&mut bytes).map_err(|e| Error::io(path, &e))? {
            0 => return Ok(lines),
            n => lines += memchr::memchr_iter(b'\n', &bytes[..n]).count() as u64,
        }
    }
}
