//! Results that are parts of an argument: views into its buffers, nothing is copied.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, NullBufferBuilder, StringViewArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use flott_core::{Error, Result};

use crate::functions::kernel::{Args, Text};

/// A view holds strings up to this many bytes in itself.
const MAX_INLINE_BYTES: usize = 12;

/// Collects parts of the strings of one array.
pub struct PartsBuilder<'a> {
    source: &'a StringViewArray,
    views: Vec<u128>,
    nulls: NullBufferBuilder,
    /// Texts that are no parts: the last buffer.
    copies: Vec<u8>,
}

impl<'a> PartsBuilder<'a> {
    /// `num_rows` is how many parts are expected.
    pub fn new(source: &'a StringViewArray, num_rows: usize) -> Self {
        Self {
            source,
            views: Vec::with_capacity(num_rows),
            nulls: NullBufferBuilder::new(num_rows),
            copies: Vec::new(),
        }
    }

    /// Appends a part of `whole`, which is the value of row `row` of the source. A text that is
    /// no part of it is copied.
    #[inline]
    pub fn append(&mut self, row: usize, whole: &str, part: &str) -> Result<()> {
        self.nulls.append_non_null();
        if part.len() <= MAX_INLINE_BYTES {
            self.views.push(inline_view(whole, part));
            return Ok(());
        }
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        if start <= whole.len() && part.len() <= whole.len() - start {
            let view = self.source.views()[row];
            let (buffer, offset) = ((view >> 64) as u32, (view >> 96) as u32);
            self.views
                .push(view_of(part, buffer, offset + start as u32));
            return Ok(());
        }
        let too_long = |_| Error::internal("the parts of a batch are longer than 4 GiB");
        let offset = u32::try_from(self.copies.len()).map_err(too_long)?;
        let buffer = self.source.data_buffers().len() as u32;
        self.views.push(view_of(part, buffer, offset));
        self.copies.extend_from_slice(part.as_bytes());
        Ok(())
    }

    /// Appends a short text as its view.
    #[inline]
    pub(super) fn append_inline(&mut self, view: u128) {
        self.nulls.append_non_null();
        self.views.push(view);
    }

    #[inline]
    pub fn append_null(&mut self) {
        self.nulls.append_null();
        self.views.push(0);
    }

    pub fn finish(mut self) -> ArrayRef {
        let views = ScalarBuffer::from(self.views);
        let mut buffers = self.source.data_buffers().to_vec();
        if !self.copies.is_empty() {
            buffers.push(Buffer::from_vec(self.copies));
        }
        let nulls = self.nulls.finish();
        // SAFETY: each view is of a `str`: the text itself (`append_inline` is given ASCII), its
        // place in the source's buffer that its whole is in, or in the copies. Arrow's builder checks every text for UTF-8 once
        // more, which took longer than finding the parts.
        Arc::new(unsafe { StringViewArray::new_unchecked(views, buffers, nulls) })
    }
}

/// The view of a short text that may be part of a longer one.
#[inline]
fn inline_view(whole: &str, part: &str) -> u128 {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    let mut bytes = [0; 16];
    match whole
        .as_bytes()
        .get(start..start.saturating_add(MAX_INLINE_BYTES))
    {
        // Copying a fixed number of bytes is faster; what is too much is cut off.
        Some(text) => bytes[4..].copy_from_slice(text),
        None => bytes[4..4 + part.len()].copy_from_slice(part.as_bytes()),
    }
    let mask = u128::MAX >> (8 * (MAX_INLINE_BYTES - part.len()));
    (u128::from_le_bytes(bytes) & mask) | part.len() as u128
}

/// The view of a long text that is at this place.
#[inline]
fn view_of(text: &str, buffer: u32, offset: u32) -> u128 {
    let mut prefix = [0; 4];
    prefix.copy_from_slice(&text.as_bytes()[..4]);
    text.len() as u128
        | u128::from(u32::from_le_bytes(prefix)) << 32
        | u128::from(buffer) << 64
        | u128::from(offset) << 96
}

/// Argument `index` as an array of strings.
pub fn text_array(args: &Args, index: usize) -> Result<&StringViewArray> {
    let array = args.array(index)?;
    let wrong = || Error::internal(format!("argument {index} is a {}", array.data_type()));
    array.as_string_view_opt().ok_or_else(wrong)
}

/// Runs `part` for each row where argument `index` is not NULL: it gives a part of that argument.
pub fn collect<'a>(
    args: &'a Args,
    index: usize,
    mut part: impl FnMut(usize, &'a str) -> Result<Option<&'a str>>,
) -> Result<ArrayRef> {
    let text = args.column::<Text>(index)?;
    let is_constant = args.is_constant(index);
    let mut builder = PartsBuilder::new(text_array(args, index)?, args.num_rows());
    for row in 0..args.num_rows() {
        let source_row = if is_constant { 0 } else { row };
        let found = match text.get(row) {
            Some(whole) => part(row, whole)?.map(|part| (whole, part)),
            None => None,
        };
        match found {
            Some((whole, part)) => builder.append(source_row, whole, part)?,
            None => builder.append_null(),
        }
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_parts_are_views_into_the_same_buffer() {
        let source = StringViewArray::from(vec!["a text that is longer than twelve bytes"]);
        let mut builder = PartsBuilder::new(&source, 3);
        let whole = source.value(0);
        builder.append(0, whole, &whole[2..30]).expect("a part");
        builder.append(0, whole, &whole[2..6]).expect("a part");
        builder
            .append(0, whole, "another text, copied")
            .expect("a copy");
        let parts = builder.finish();
        let parts = parts.as_string_view();
        assert_eq!(parts.value(0), "text that is longer than twe");
        assert_eq!(parts.value(1), "text");
        assert_eq!(parts.value(2), "another text, copied");
        assert_eq!(
            parts.data_buffers()[0].as_ptr(),
            source.data_buffers()[0].as_ptr()
        );
    }
}
