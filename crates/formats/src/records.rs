//! What the encoders of text have in common: rows one after the other, ended by a line feed in a
//! file and by nothing in a message.

use flott_core::Result;
use flott_core::changelog::ChangelogBatch;
use flott_core::format::Encoder;

/// Writes rows, each by itself.
pub(crate) trait RowEncoder: Send {
    /// Appends the rows; `after_row` is called behind each.
    fn rows(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        after_row: impl FnMut(&mut Vec<u8>),
    ) -> Result<()>;
}

/// Rows as lines and as messages.
pub(crate) struct Records<E>(pub E);

impl<E: RowEncoder> Encoder for Records<E> {
    fn encode_block(&mut self, batch: &ChangelogBatch, out: &mut Vec<u8>) -> Result<()> {
        self.0.rows(batch, out, |out| out.push(b'\n'))
    }

    fn encode_messages(
        &mut self,
        batch: &ChangelogBatch,
        out: &mut Vec<u8>,
        ends: &mut Vec<usize>,
    ) -> Result<()> {
        self.0.rows(batch, out, |out| ends.push(out.len()))
    }
}
