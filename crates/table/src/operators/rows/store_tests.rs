use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;

use super::store::RowStore;
use crate::operators::collect::{batch, ints, names, texts};

fn values(store: &RowStore, slots: &[u32]) -> Vec<i32> {
    let rows = store.rows(slots).unwrap();
    rows.column(0).as_primitive::<Int32Type>().values().to_vec()
}

#[test]
fn slots_keep_their_rows_while_pages_are_cleaned() {
    let schema = names(&["a", "b"], &[ints([]), texts([])]);
    let mut store = RowStore::new(schema);
    let mut expected = BTreeMap::new();
    for i in 0..20_000 {
        let long = format!("a text that does not fit a view: {i}");
        let input = batch("", vec![("a", ints([i])), ("b", texts([&long]))]);
        let slot = store.allocate(0);
        if i % 5 == 0 {
            store.release(slot);
        }
        store.commit(input.rows()).unwrap();
        if i % 5 != 0 {
            expected.insert(slot, i);
        }
        if i % 3 == 0
            && let Some((slot, _)) = expected.pop_first()
        {
            store.release(slot);
        }
        store.sweep().unwrap();
    }
    let (slots, wanted): (Vec<_>, Vec<_>) = expected.into_iter().unzip();
    assert_eq!(values(&store, &slots), wanted);
    let row_bytes = 4 + 8 + 1 + 4 + 4 + 40;
    assert!(store.size_bytes() < 2 * slots.len() * (row_bytes + 8));
    let last = store.rows(&slots[slots.len() - 1..]).unwrap();
    let text = last.column(1).as_string_view().value(0);
    assert!(text.ends_with(&format!(": {}", wanted[wanted.len() - 1])));
}

#[test]
fn memory_goes_with_the_rows() {
    let mut store = RowStore::new(names(&["a"], &[ints([])]));
    let input = batch(
        "",
        vec![(
            "a",
            Arc::new(Int32Array::from_iter_values(0..5_000)) as ArrayRef,
        )],
    );
    for _ in 0..100 {
        let slots: Vec<u32> = (0..5_000).map(|row| store.allocate(row)).collect();
        store.commit(input.rows()).unwrap();
        slots.into_iter().for_each(|slot| store.release(slot));
        store.sweep().unwrap();
    }
    assert!(store.size_bytes() < 400_000, "{}", store.size_bytes());
}

#[test]
fn released_rows_can_be_read_until_swept() {
    let mut store = RowStore::new(names(&["a"], &[ints([])]));
    let slot = store.allocate(1);
    let input = batch("", vec![("a", ints([7, 8]))]);
    store.commit(input.rows()).unwrap();
    store.release(slot);
    let other = store.allocate(0);
    store.commit(input.rows()).unwrap();
    assert_eq!(values(&store, &[slot, other]), [8, 7]);
    store.sweep().unwrap();
    assert_eq!(store.allocate(0), slot);
}

/// A value of every kind of type that rows hold, made of a number and a text; NULL without.
fn columns_of(items: &[Option<(i32, String)>]) -> Vec<ArrayRef> {
    let numbers = items.iter().map(|v| v.as_ref().map(|(n, _)| *n));
    let numbers: Vec<Option<i32>> = numbers.collect();
    let strings = items.iter().map(|v| v.as_ref().map(|(_, t)| t.as_str()));
    let strings: StringViewArray = strings.collect();
    let bytes = items.iter().map(|v| v.as_ref().map(|(_, t)| t.as_bytes()));
    let bytes: BinaryViewArray = bytes.collect();
    let bools: BooleanArray = numbers.iter().map(|n| n.map(|n| n % 2 == 0)).collect();
    let wide = numbers.iter().map(|n| n.map(|n| i128::from(n) << 70));
    let wide = Decimal128Array::from_iter(wide).with_precision_and_scale(38, 5);
    let small: Int8Array = numbers.iter().map(|n| n.map(|n| n as i8)).collect();
    let nulls = NullBuffer::from_iter(numbers.iter().map(Option::is_some));
    let fields = vec![
        Field::new("n", DataType::Int8, true),
        Field::new("t", DataType::Utf8View, true),
    ];
    let inner: Vec<ArrayRef> = vec![Arc::new(small.clone()), Arc::new(strings.clone())];
    let rows = StructArray::new(fields.into(), inner, Some(nulls.clone()));
    let keys = Int8Array::from_iter_values((0..items.len()).map(|i| i as i8));
    let entry_fields = vec![
        Field::new("key", DataType::Int8, false),
        Field::new("value", DataType::Utf8View, true),
    ];
    let pairs: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(strings.clone())];
    let entries = StructArray::new(entry_fields.clone().into(), pairs, None);
    // The lists of 0, 1, 2, 0, 1, 2 … items, as many as there are.
    let lengths = (0..items.len()).scan(items.len(), |left, i| {
        let length = (i % 3).min(*left);
        *left -= length;
        Some(length)
    });
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let last = *offsets.last().unwrap() as usize;
    let item = Arc::new(Field::new("item", rows.data_type().clone(), true));
    let items_of = Arc::new(rows.slice(0, last));
    let lists = ListArray::new(item, offsets.clone(), items_of, Some(nulls.clone()));
    let entry = Arc::new(Field::new(
        "entries",
        DataType::Struct(entry_fields.into()),
        false,
    ));
    let entries = entries.slice(0, last);
    let maps = MapArray::new(entry, offsets, entries, Some(nulls), false);
    vec![
        Arc::new(Int32Array::from(numbers)),
        Arc::new(strings),
        Arc::new(bools),
        Arc::new(wide.unwrap()),
        Arc::new(NullArray::new(items.len())),
        Arc::new(bytes),
        Arc::new(rows),
        Arc::new(lists),
        Arc::new(small),
        Arc::new(maps),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_come_out_as_they_went_in(
        items in prop::collection::vec(prop::option::of((any::<i32>(), "[a-zäöü]{0,20}")), 1..40),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
    ) {
        let columns = columns_of(&items);
        let fields = columns.iter().enumerate();
        let fields = fields.map(|(i, c)| Field::new(i.to_string(), c.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let input = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let mut store = RowStore::new(schema);
        let slots: Vec<u32> = (0..items.len()).map(|row| store.allocate(row)).collect();
        store.commit(&input).unwrap();
        let picks: Vec<u32> = picks.iter().map(|p| p.index(items.len()) as u32).collect();
        let picked: Vec<u32> = picks.iter().map(|&p| slots[p as usize]).collect();
        let expected = arrow::compute::take_record_batch(&input, &UInt32Array::from(picks)).unwrap();
        prop_assert_eq!(store.rows(&picked).unwrap(), expected);
    }
}
