//! Random numbers: Java's generator, so that a seed gives the numbers that Flink gives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::datatypes::{Float64Type, Int32Type};
use flott_core::Result;
use flott_core::clock::Clock;
use flott_core::types::LogicalType;

use crate::functions::kernel::{collect, volatile};
use crate::functions::{BindContext, BoundFunction};

function!(
    RAND,
    "RAND",
    Arithmetic,
    "RAND([seed])",
    "A random DOUBLE from 0 to less than 1.",
    [("RAND() < 1", "TRUE")],
    bind_rand,
    volatile
);
function!(
    RAND_INTEGER,
    "RAND_INTEGER",
    Arithmetic,
    "RAND_INTEGER([seed, ]bound)",
    "A random INT from 0 to less than the bound.",
    [("RAND_INTEGER(1)", "0")],
    bind_integer,
    volatile
);

/// The linear congruential generator of `java.util.Random`.
#[derive(Debug)]
pub struct JavaRandom {
    state: u64,
}

const MULTIPLIER: u64 = 0x5_deec_e66d;
const MASK: u64 = (1 << 48) - 1;

impl JavaRandom {
    pub fn new(seed: i64) -> Self {
        Self {
            state: (seed as u64 ^ MULTIPLIER) & MASK,
        }
    }

    fn next(&mut self, bits: u32) -> i32 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(0xb) & MASK;
        (self.state >> (48 - bits)) as i32
    }

    /// From 0 to less than 1.
    pub fn next_double(&mut self) -> f64 {
        let high = i64::from(self.next(26)) << 27;
        (high + i64::from(self.next(27))) as f64 / (1u64 << 53) as f64
    }

    /// From 0 to less than `bound`, which is positive.
    pub fn next_int(&mut self, bound: i32) -> i32 {
        let mut bits = self.next(31);
        if bound & (bound - 1) == 0 {
            return ((i64::from(bound) * i64::from(bits)) >> 31) as i32;
        }
        while bits.wrapping_sub(bits % bound).wrapping_add(bound - 1) < 0 {
            bits = self.next(31);
        }
        bits % bound
    }
}

/// A seed that no other call in this process has; from the session's clock, so that a simulation
/// replays it.
fn fresh_seed(clock: &dyn Clock) -> i64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    flott_core::hash::mix(clock.now_nanos() as u64, call) as i64
}

fn generator(c: &BindContext<'_>, seed_at: Option<usize>) -> Result<(String, Mutex<JavaRandom>)> {
    let seed = match seed_at {
        Some(at) => c.argument(at)?.literal_integer().unwrap_or(0),
        None => fresh_seed(c.session.clock.as_ref()),
    };
    Ok((
        format!("{} {seed}", c.name),
        Mutex::new(JavaRandom::new(seed)),
    ))
}

fn bind_rand(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(0..=1)?;
    c.expect_types(c.is_empty() || c.is_type(0, LogicalType::is_integer))?;
    let (label, random) = generator(c, (c.len() == 1).then_some(0))?;
    let kernel = volatile(label, move |args| {
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        collect::<Float64Type>(args.num_rows(), |_| Ok(Some(random.next_double())))
    });
    let types = c.casts([LogicalType::Int]);
    Ok(BoundFunction::new(
        types,
        c.returns(LogicalType::Double),
        kernel,
    ))
}

fn bind_integer(c: &BindContext<'_>) -> Result<BoundFunction> {
    c.expect_count(1..=2)?;
    c.expect_types((0..c.len()).all(|i| c.is_type(i, LogicalType::is_integer)))?;
    let (label, random) = generator(c, (c.len() == 2).then_some(0))?;
    let kernel = volatile(label, move |args| {
        let bounds = args.column::<Int32Type>(args.len() - 1)?;
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        collect::<Int32Type>(args.num_rows(), |row| {
            Ok(bounds.get(row).map(|bound| random.next_int(bound.max(1))))
        })
    });
    let types = c.casts([LogicalType::Int, LogicalType::Int]);
    Ok(BoundFunction::new(
        types,
        c.returns(LogicalType::Int),
        kernel,
    ))
}
