//! Batches in pieces in which no key comes twice, so that each row's change can be sent.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_state::GroupTable;

/// Finds where a batch has to be cut.
pub(super) struct Pieces {
    key_columns: Vec<usize>,
    /// The keys of the batch at hand.
    keys: GroupTable,
    numbers: Vec<u32>,
    /// By key, the last piece that has it.
    seen_in: Vec<u32>,
}

impl Pieces {
    /// # Errors
    /// A type that cannot be a key.
    pub fn new(key_types: &[DataType], key_columns: &[usize]) -> Result<Self> {
        Ok(Self {
            key_columns: key_columns.to_vec(),
            keys: GroupTable::new(key_types)?,
            numbers: Vec::new(),
            seen_in: Vec::new(),
        })
    }

    /// The batch in as few pieces as there can be.
    ///
    /// # Errors
    /// Those of the keys' table.
    pub fn cut(&mut self, batch: &ChangelogBatch) -> Result<Vec<ChangelogBatch>> {
        let ends = self.ends(batch)?;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let pieces = starts.zip(&ends);
        Ok(pieces
            .map(|(start, end)| batch.slice(start, end - start))
            .collect())
    }

    fn ends(&mut self, batch: &ChangelogBatch) -> Result<Vec<usize>> {
        let num_rows = batch.num_rows();
        let columns = self.key_columns.iter();
        let columns: Vec<ArrayRef> = columns.map(|&c| batch.rows().column(c).clone()).collect();
        self.numbers.clear();
        self.keys.assign(&columns, num_rows, &mut self.numbers)?;
        self.seen_in.clear();
        self.seen_in.resize(self.keys.capacity(), 0);
        let (mut ends, mut piece) = (Vec::new(), 1);
        for (row, &number) in self.numbers.iter().enumerate() {
            let seen_in = &mut self.seen_in[number as usize];
            if *seen_in == piece {
                ends.push(row);
                piece += 1;
            }
            *seen_in = piece;
        }
        ends.push(num_rows);
        self.keys.clear();
        Ok(ends)
    }
}
