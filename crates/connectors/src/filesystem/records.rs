//! Splits of files that the format reads itself, at any place of the file.

use std::sync::Arc;

use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::{DecodeRequest, FileInput, FileReader, FileScan};
use flott_core::metrics::OperatorMetrics;
use flott_core::source::{ReaderContext, Split};

use super::constants::Constants;
use super::reader::ScanPlan;
use super::split::FileSplit;

/// A split being read by its format.
pub(super) struct RecordSplit {
    split: FileSplit,
    input: Arc<CountedInput>,
    reader: Box<dyn FileReader>,
    constants: Constants,
    num_counted: u64,
}

/// A file, and how many of its bytes have been read.
struct CountedInput {
    file: Arc<dyn FileInput>,
    num_bytes: std::sync::atomic::AtomicU64,
}

impl FileInput for CountedInput {
    fn size_bytes(&self) -> u64 {
        self.file.size_bytes()
    }

    fn read_range(&self, offset: u64, length: usize) -> Result<arrow::buffer::Buffer> {
        let order = std::sync::atomic::Ordering::Relaxed;
        self.num_bytes.fetch_add(length as u64, order);
        self.file.read_range(offset, length)
    }
}

impl RecordSplit {
    pub fn new(split: FileSplit, plan: &ScanPlan, batch_size: usize) -> Result<Self> {
        let input = Arc::new(CountedInput {
            file: plan.files.open_file(split.file())?,
            num_bytes: Default::default(),
        });
        let request = DecodeRequest {
            batch_size,
            ..plan.decode.clone()
        };
        let scan = FileScan {
            input: input.clone(),
            start: split.start,
            end: split.end,
            position: split.position,
            predicates: plan.predicates.clone(),
        };
        let reader = plan.format.create_file_reader(&request, scan);
        Ok(Self {
            reader: reader.map_err(|e| e.context(format!("file '{}'", split.path)))?,
            input,
            constants: Constants::default(),
            num_counted: 0,
            split,
        })
    }

    pub fn snapshot(&self) -> Split {
        FileSplit {
            position: Some(self.reader.position()),
            ..self.split.clone()
        }
        .to_split()
    }

    /// The next rows; also says whether the split is read to its end.
    pub fn read(
        &mut self,
        plan: &ScanPlan,
        context: &ReaderContext,
    ) -> Result<(Option<ChangelogBatch>, bool)> {
        let rows = self.reader.next_batch();
        let rows = rows.map_err(|e| e.context(format!("file '{}'", self.split.path)))?;
        self.count(&context.metrics);
        match rows {
            None => Ok((None, true)),
            Some(rows) => {
                let batch_size = context.batch_size;
                let rows = self
                    .constants
                    .complete(rows, &self.split, plan, batch_size)?;
                Ok((Some(rows), false))
            }
        }
    }

    fn count(&mut self, metrics: &OperatorMetrics) {
        let order = std::sync::atomic::Ordering::Relaxed;
        let num_bytes = self.input.num_bytes.load(order);
        metrics.num_bytes_in.add(num_bytes - self.num_counted);
        self.num_counted = num_bytes;
    }
}
