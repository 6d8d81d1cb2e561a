//! Reads generated rows: row numbers are dealt out in blocks by the enumerator.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flott_core::changelog::ChangelogBatch;
use flott_core::options::Options;
use flott_core::schema::Schema;
use flott_core::source::{
    FieldPath, ReaderContext, ScanRequest, SourcePoll, SourceReader, Split, SplitEnumerator,
    SplitPoll, TableSource, extract_field, fields_schema,
};
use flott_core::{Error, Result};

use super::options::{NUMBER_OF_ROWS, PARALLELISM, ROWS_PER_SECOND};
use super::values::FieldGenerator;

/// The generator planned for one query.
pub struct DatagenSource {
    schema: Schema,
    fields: Arc<[(FieldPath, FieldGenerator)]>,
    /// `None` is without end.
    num_rows: Option<u64>,
    rows_per_second: u64,
    parallelism: Option<usize>,
}

impl DatagenSource {
    pub fn plan(table: &Schema, options: &Options, request: &ScanRequest) -> Result<Self> {
        let all = table
            .columns()
            .iter()
            .map(|c| FieldGenerator::new(&c.name, &c.data_type, options))
            .collect::<Result<Vec<_>>>()?;
        // A sequence bounds the table even where the query does not read it.
        let sequences = all.iter().filter_map(FieldGenerator::sequence_length);
        let rows = options.integer(&NUMBER_OF_ROWS)?.map(|n| n.max(0) as u64);
        let num_rows = sequences.chain(rows).chain(request.limit).min();
        Ok(Self {
            schema: fields_schema(table, &request.fields)?,
            fields: request
                .fields
                .iter()
                .map(|path| (path.clone(), all[path.0[0]].clone()))
                .collect(),
            num_rows,
            rows_per_second: options
                .integer(&ROWS_PER_SECOND)?
                .unwrap_or_default()
                .max(1) as u64,
            parallelism: options.integer(&PARALLELISM)?.map(|n| n.max(1) as usize),
        })
    }
}

impl TableSource for DatagenSource {
    fn schema(&self) -> Schema {
        self.schema.clone()
    }

    fn is_bounded(&self) -> bool {
        self.num_rows.is_some()
    }

    fn parallelism(&self) -> Option<usize> {
        self.parallelism
    }

    fn create_enumerator(
        &self,
        parallelism: usize,
        restored: Option<&[u8]>,
    ) -> Result<Box<dyn SplitEnumerator>> {
        let next = match restored {
            Some(bytes) => u64::from_le_bytes(
                bytes
                    .try_into()
                    .map_err(|_| Error::internal("datagen enumerator"))?,
            ),
            None => 0,
        };
        // Few rows go to one subtask in order; many are dealt out.
        let block = (self.rows_per_second / parallelism as u64).clamp(1, 8192);
        Ok(Box::new(Enumerator {
            next,
            end: self.num_rows.unwrap_or(u64::MAX),
            block,
        }))
    }

    fn create_reader(&self, context: ReaderContext) -> Result<Box<dyn SourceReader>> {
        let blocks = context
            .restored
            .iter()
            .map(Block::decode)
            .collect::<Result<Vec<_>>>()?;
        Ok(Box::new(Reader {
            schema: self.schema.to_arrow(),
            fields: self.fields.clone(),
            rows_per_second: self.rows_per_second,
            started_ms: context.clock.now_ms(),
            first_row: None,
            blocks,
            context,
        }))
    }
}

struct Enumerator {
    next: u64,
    end: u64,
    block: u64,
}

impl SplitEnumerator for Enumerator {
    fn next_split(&mut self, _subtask: usize, _now_ms: i64) -> Result<SplitPoll> {
        if self.next >= self.end {
            return Ok(SplitPoll::End);
        }
        let block = Block {
            next: self.next,
            end: self.end.min(self.next + self.block),
        };
        self.next = block.end;
        Ok(SplitPoll::Split(block.encode()))
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        Ok(self.next.to_le_bytes().to_vec())
    }
}

/// Row numbers not yet generated.
#[derive(Debug, Clone, Copy)]
struct Block {
    next: u64,
    end: u64,
}

impl Block {
    fn encode(&self) -> Split {
        let bytes = [self.next, self.end]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        Split {
            id: format!("rows-{}-to-{}", self.next, self.end),
            bytes,
        }
    }

    fn decode(split: &Split) -> Result<Self> {
        let wrong = || Error::internal(format!("datagen split of {} bytes", split.bytes.len()));
        let (next, end) = split.bytes.split_at_checked(8).ok_or_else(wrong)?;
        let number = |b: &[u8]| b.try_into().map(u64::from_le_bytes).map_err(|_| wrong());
        Ok(Self {
            next: number(next)?,
            end: number(end)?,
        })
    }
}

struct Reader {
    schema: SchemaRef,
    fields: Arc<[(FieldPath, FieldGenerator)]>,
    rows_per_second: u64,
    started_ms: i64,
    /// The row at which this reader's clock started.
    first_row: Option<u64>,
    blocks: Vec<Block>,
    context: ReaderContext,
}

impl Reader {
    /// When row `row` may be sent, in processing-time ms.
    fn due_ms(&self, row: u64) -> i64 {
        let since = row - self.first_row.unwrap_or(row);
        self.started_ms + (u128::from(since) * 1000 / u128::from(self.rows_per_second)) as i64
    }

    fn batch(&self, rows: std::ops::Range<u64>) -> Result<ChangelogBatch> {
        let now_ms = self.context.clock.now_ms();
        let columns: Vec<ArrayRef> = self
            .fields
            .iter()
            .map(|(path, field)| {
                let column = field.generate(rows.clone(), now_ms)?;
                let inside = FieldPath([&[0], &path.0[1..]].concat());
                extract_field(&[column], &inside)
            })
            .collect::<Result<_>>()?;
        let num_rows = (rows.end - rows.start) as usize;
        let options = RecordBatchOptions::new().with_row_count(Some(num_rows));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(ChangelogBatch::insert_only(rows))
    }
}

impl SourceReader for Reader {
    fn poll(&mut self) -> Result<SourcePoll> {
        if self.blocks.is_empty() {
            match self.context.splits.next_split(self.context.subtask)? {
                SplitPoll::Split(split) => self.blocks.push(Block::decode(&split)?),
                SplitPoll::PendingUntil(ms) => return Ok(SourcePoll::PendingUntil(ms)),
                SplitPoll::NoneUntil(ms) => return Ok(SourcePoll::IdleUntil(ms)),
                SplitPoll::End => return Ok(SourcePoll::End),
            }
        }
        let block = self.blocks[0];
        self.first_row.get_or_insert(block.next);
        let due_ms = self.due_ms(block.next);
        let now_ms = self.context.clock.now_ms();
        if due_ms > now_ms {
            return Ok(SourcePoll::PendingUntil(due_ms));
        }
        let allowed = (now_ms - due_ms) as u64 * self.rows_per_second / 1000 + 1;
        let most = allowed.min(self.context.batch_size as u64);
        let rows = block.next..block.end.min(block.next + most);
        self.blocks[0].next = rows.end;
        self.blocks.retain(|b| b.next < b.end);
        self.batch(rows).map(SourcePoll::Batch)
    }

    fn snapshot(&mut self) -> Result<Vec<Split>> {
        Ok(self.blocks.iter().map(Block::encode).collect())
    }
}
