//! The functions that queries call for every row, on batches of 8,192 rows.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion_common::ScalarValue;
use datafusion_expr::ColumnarValue;
use flott_core::clock::ManualClock;
use flott_core::types::LogicalType;
use flott_sql::functions::{Argument, BindContext, ExprContext, resolve};

const NUM_ROWS: usize = 8192;

fn session() -> ExprContext {
    ExprContext {
        time_zone: chrono_tz::Tz::UTC,
        clock: ManualClock::at_ms(0),
        query_start_ms: None,
        current_catalog: "default_catalog".into(),
        current_database: "default_database".into(),
        is_batch: false,
    }
}

fn text(value: &str) -> (ScalarValue, LogicalType) {
    (
        ScalarValue::Utf8View(Some(value.into())),
        LogicalType::STRING,
    )
}

fn int(value: i32) -> (ScalarValue, LogicalType) {
    (ScalarValue::Int32(Some(value)), LogicalType::Int)
}

fn urls() -> ArrayRef {
    let url =
        |row| format!("https://www.nexmark.com/abc_{row}/def/item.htm?query=1&channel_id={row}");
    Arc::new(StringViewArray::from_iter_values((0..NUM_ROWS).map(url)))
}

fn documents() -> ArrayRef {
    let document = |row| {
        format!(
            r#"{{"id": {row}, "name": "customer number {row}", "tags": ["a", "b"], "price": {row}.50}}"#
        )
    };
    Arc::new(StringViewArray::from_iter_values(
        (0..NUM_ROWS).map(document),
    ))
}

fn bench(c: &mut Criterion, name: &str, column: &ArrayRef, others: &[(ScalarValue, LogicalType)]) {
    let session = session();
    let mut arguments = vec![Argument {
        data_type: LogicalType::STRING.nullable(),
        literal: None,
    }];
    arguments.extend(others.iter().map(|(value, logical)| Argument {
        data_type: logical.clone().not_null(),
        literal: Some(value.clone()),
    }));
    let ctx = BindContext {
        name,
        arguments: &arguments,
        session: &session,
    };
    let function = resolve(name).expect("a function");
    let bound = (function.bind)(&ctx).expect("a bound call");
    let mut values = vec![ColumnarValue::Array(Arc::clone(column))];
    values.extend(
        others
            .iter()
            .map(|(value, _)| ColumnarValue::Scalar(value.clone())),
    );
    let mut group = c.benchmark_group("functions");
    group.throughput(Throughput::Elements(NUM_ROWS as u64));
    group.bench_function(name, |b| {
        b.iter(|| {
            bound
                .kernel
                .evaluate(black_box(&values), NUM_ROWS)
                .expect("rows")
        });
    });
    group.finish();
}

fn functions(c: &mut Criterion) {
    let (urls, documents) = (urls(), documents());
    bench(c, "SPLIT_INDEX", &urls, &[text("/"), int(3)]);
    bench(
        c,
        "REGEXP_EXTRACT",
        &urls,
        &[text("(&|^)channel_id=([^&]*)"), int(2)],
    );
    bench(c, "LIKE", &urls, &[text("%item.htm%")]);
    bench(c, "SUBSTRING", &urls, &[int(9), int(20)]);
    bench(c, "CONCAT", &urls, &[text("#end")]);
    bench(c, "UPPER", &urls, &[]);
    bench(c, "LOWER", &urls, &[]);
    bench(c, "JSON_VALUE", &documents, &[text("$.name")]);
    bench(c, "MD5", &urls, &[]);
}

criterion_group!(benches, functions);
criterion_main!(benches);
