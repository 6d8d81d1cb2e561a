//! STDDEV and VARIANCE, by Welford's running mean and sum of squared deviations, and its merge by
//! Chan, Golub and LeVeque.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array};
use arrow::datatypes::Float64Type;
use flott_core::Result;
use flott_core::text::number::power_of_ten;
use flott_core::types::{DataType, LogicalType};

use super::bind::numeric;
use super::rows::{each_row, resize};
use super::sum::average_type;
use super::{Accumulator, AggregateFunction, AggregateTypes};

const VAR_POP: AggregateFunction = AggregateFunction {
    name: "VAR_POP",
    aliases: &[],
    doc: "VAR_POP(x) is the variance of the population of values that are not NULL.",
    bind,
    create: |types, _| create(types, false, false),
    is_mergeable: true,
    ignores_distinct: false,
    is_order_sensitive: false,
    is_additive: false,
};

pub(super) const FUNCTIONS: &[AggregateFunction] = &[
    VAR_POP,
    AggregateFunction {
        name: "VAR_SAMP",
        aliases: &["VARIANCE"],
        doc: "VAR_SAMP(x) is the variance of the values as a sample; NULL for less than two.",
        create: |types, _| create(types, true, false),
        ..VAR_POP
    },
    AggregateFunction {
        name: "STDDEV_POP",
        doc: "STDDEV_POP(x) is the standard deviation of the population of values.",
        create: |types, _| create(types, false, true),
        ..VAR_POP
    },
    AggregateFunction {
        name: "STDDEV_SAMP",
        aliases: &["STDDEV"],
        doc: "STDDEV_SAMP(x) is the standard deviation of the values as a sample; NULL for less \
              than two.",
        create: |types, _| create(types, true, true),
        ..VAR_POP
    },
];

fn bind(args: &[DataType]) -> Result<AggregateTypes> {
    let argument = numeric(args)?;
    Ok(AggregateTypes {
        result: average_type(&argument.logical).nullable(),
        arguments: vec![LogicalType::Double.nullable()],
    })
}

fn create(
    types: &AggregateTypes,
    is_sample: bool,
    is_deviation: bool,
) -> Result<Box<dyn Accumulator>> {
    Ok(Box::new(Variance {
        cells: Vec::new(),
        is_sample,
        is_deviation,
        result: types.result.logical.clone(),
    }))
}

#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    /// The sum of squared deviations from the mean.
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn remove(&mut self, value: f64) {
        if self.count <= 1.0 {
            *self = Self::default();
            return;
        }
        self.count -= 1.0;
        let delta = value - self.mean;
        self.mean -= delta / self.count;
        self.squares -= delta * (value - self.mean);
    }

    fn merge(&mut self, other: Self) {
        let count = self.count + other.count;
        if count == 0.0 {
            return;
        }
        let delta = other.mean - self.mean;
        self.squares += other.squares + delta * delta * self.count * other.count / count;
        self.mean += delta * other.count / count;
        self.count = count;
    }
}

struct Variance {
    cells: Vec<Moments>,
    is_sample: bool,
    is_deviation: bool,
    result: LogicalType,
}

impl Variance {
    fn value(&self, moments: Moments) -> Option<f64> {
        let divisor = moments.count - f64::from(u8::from(self.is_sample));
        if moments.count <= 0.0 || divisor <= 0.0 {
            return None;
        }
        let variance = (moments.squares / divisor).max(0.0);
        Some(if self.is_deviation {
            variance.sqrt()
        } else {
            variance
        })
    }
}

impl Accumulator for Variance {
    fn resize(&mut self, num_groups: usize) {
        resize(&mut self.cells, num_groups);
    }

    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let array = arguments[0].as_primitive::<Float64Type>();
        let values = array.values();
        let cells = &mut self.cells;
        each_row(groups, array.nulls(), filter, adds, |row, group, adds| {
            if adds {
                cells[group].add(values[row]);
            } else {
                cells[group].remove(values[row]);
            }
        });
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|&g| self.value(self.cells[g as usize]));
        if let LogicalType::Decimal(_, scale) = self.result {
            let factor = power_of_ten(scale.into()) as f64;
            let decimals = values.map(|v| v.map(|v| (v * factor).round() as i128));
            let decimals: arrow::array::Decimal128Array = decimals.collect();
            return Ok(Arc::new(decimals.with_data_type(self.result.to_arrow())));
        }
        // What an integer cannot hold is its greatest value, as in a cast.
        let most = match self.result {
            LogicalType::TinyInt => i8::MAX as f64,
            LogicalType::SmallInt => i16::MAX as f64,
            LogicalType::Int => i32::MAX as f64,
            LogicalType::BigInt => i64::MAX as f64,
            _ => f64::INFINITY,
        };
        let values: Float64Array = values.map(|v| v.map(|v| v.min(most))).collect();
        Ok(arrow::compute::cast(&values, &self.result.to_arrow())?)
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let column = |part: fn(&Moments) -> f64| -> ArrayRef {
            let parts = groups.iter().map(|&g| part(&self.cells[g as usize]));
            Arc::new(Float64Array::from_iter_values(parts))
        };
        Ok(vec![
            column(|m| m.count),
            column(|m| m.mean),
            column(|m| m.squares),
        ])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![LogicalType::Double.not_null(); 3]
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let part = |i: usize| state[i].as_primitive::<Float64Type>().values();
        let (counts, means, squares) = (part(0), part(1), part(2));
        for (row, &group) in groups.iter().enumerate() {
            self.cells[group as usize].merge(Moments {
                count: counts[row],
                mean: means[row],
                squares: squares[row],
            });
        }
        Ok(())
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.cells[group as usize] = Moments::default();
        }
    }

    fn size_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Moments>()
    }
}
