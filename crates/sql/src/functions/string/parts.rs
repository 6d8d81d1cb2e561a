//! Results that are parts of an argument: views into its buffers, nothing is copied.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ByteView, StringViewArray, StringViewBuilder};
use flott_core::{Error, Result};

use crate::functions::kernel::{Args, Text};

/// A view holds strings up to this many bytes in itself.
const MAX_INLINE_BYTES: usize = 12;

/// Collects parts of the strings of one array.
pub struct PartsBuilder<'a> {
    source: &'a StringViewArray,
    builder: StringViewBuilder,
}

impl<'a> PartsBuilder<'a> {
    /// `num_rows` is how many parts are expected.
    pub fn new(source: &'a StringViewArray, num_rows: usize) -> Self {
        let mut builder = StringViewBuilder::with_capacity(num_rows);
        for buffer in source.data_buffers() {
            builder.append_block(buffer.clone());
        }
        Self { source, builder }
    }

    /// Appends a part of `whole`, which is the value of row `row` of the source. A text that is
    /// no part of it is copied.
    pub fn append(&mut self, row: usize, whole: &str, part: &str) -> Result<()> {
        if part.len() > MAX_INLINE_BYTES {
            let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
            if start <= whole.len() && part.len() <= whole.len() - start {
                let view = ByteView::from(self.source.views()[row]);
                let offset = view.offset + start as u32;
                let length = part.len() as u32;
                return Ok(self
                    .builder
                    .try_append_view(view.buffer_index, offset, length)?);
            }
        }
        self.builder.append_value(part);
        Ok(())
    }

    pub fn append_null(&mut self) {
        self.builder.append_null();
    }

    pub fn finish(mut self) -> ArrayRef {
        Arc::new(self.builder.finish())
    }
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
