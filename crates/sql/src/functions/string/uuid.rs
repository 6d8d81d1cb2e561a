//! `UUID`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::ArrayRef;
use flott_core::Result;
use flott_core::types::LogicalType;

use crate::functions::kernel::{collect_text, volatile};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static UUID: FunctionDef = FunctionDef {
    name: "UUID",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "UUID()",
    doc: "A new random UUID (version 4 of RFC 9562) for each row.",
    examples: &[("CHAR_LENGTH(UUID())", "36")],
    is_deterministic: false,
    bind,
};

/// Counts all UUIDs of this process, so that calls at the same nanosecond differ.
static COUNTER: AtomicU64 = AtomicU64::new(0);

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    ctx.expect_count(0..=0)?;
    let clock = Arc::clone(&ctx.session.clock);
    let kernel = volatile("UUID", move |args| {
        let seed = mix(clock.now_nanos() as u64);
        uuids(args.num_rows(), seed)
    });
    Ok(BoundFunction::new(
        Vec::new(),
        LogicalType::Char(36).not_null(),
        kernel,
    ))
}

fn uuids(num_rows: usize, seed: u64) -> Result<ArrayRef> {
    let first = COUNTER.fetch_add(num_rows as u64, Ordering::Relaxed);
    collect_text(num_rows, |row, out| {
        let count = first.wrapping_add(row as u64);
        let high = mix(seed ^ mix(count));
        let low = mix(high ^ seed.rotate_left(32) ^ count);
        write_uuid(high, low, out);
        Ok(true)
    })
}

/// The finalizer of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

fn write_uuid(high: u64, low: u64, out: &mut String) {
    let high = (high & !0xF000) | 0x4000;
    let low = (low & (u64::MAX >> 2)) | (1 << 63);
    let (a, b, c) = (high >> 32, (high >> 16) & 0xFFFF, high & 0xFFFF);
    let (d, e) = (low >> 48, low & 0xFFFF_FFFF_FFFF);
    // Writing to a string cannot fail.
    let _ = write!(out, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}");
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use datafusion_expr::ColumnarValue;

    use super::super::testing::bind;
    use super::*;

    #[test]
    fn every_row_has_another() {
        let bound = bind(&UUID, &[]).expect("bound");
        let result = bound.kernel.evaluate(&[], 100).expect("rows");
        let ColumnarValue::Array(result) = result else {
            panic!("a column")
        };
        let mut all: Vec<_> = result.as_string_view().iter().flatten().collect();
        assert!(
            all.iter()
                .all(|u| u.len() == 36 && u.as_bytes()[14] == b'4')
        );
        assert!(
            all.iter()
                .all(|u| matches!(u.as_bytes()[19], b'8' | b'9' | b'a' | b'b'))
        );
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 100);
    }
}
