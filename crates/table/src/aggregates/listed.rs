//! Aggregates that keep all values of a group in the order in which they came: FIRST_VALUE and
//! LAST_VALUE where rows are removed, LISTAGG, ARRAY_AGG, the JSON aggregates, SINGLE_VALUE.

use arrow::array::{Array, ArrayRef, BooleanArray};
use flott_core::Result;
use flott_core::types::DataType;

use super::encoded::{Encoder, Lists, list_type};
use super::rows::{each_row, resize};
use super::{Accumulator, AggregateTypes};

/// The result of what the groups hold.
pub(super) enum Finish {
    First,
    Last,
    /// Of lists of the arguments.
    All(fn(&Lists, &AggregateTypes) -> Result<ArrayRef>),
}

/// Rows of arguments in order, by group. A removal takes away the first equal row.
pub(super) struct Listed {
    encoder: Encoder,
    types: AggregateTypes,
    groups: Vec<List>,
    /// Of all values.
    size_bytes: usize,
    /// The argument whose NULLs are left out.
    skips_null_of: Option<usize>,
    finish: Finish,
}

/// Values behind each other.
#[derive(Default)]
struct List {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl List {
    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.ends[index]]
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> + '_ {
        (0..self.ends.len()).map(|i| self.get(i))
    }

    fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    /// Whether it was there.
    fn remove(&mut self, value: &[u8]) -> bool {
        let index = (0..self.ends.len()).find(|&i| self.get(i) == value);
        if let Some(index) = index {
            let start = self.start(index);
            self.bytes.drain(start..self.ends[index]);
            self.ends.remove(index);
            for end in &mut self.ends[index..] {
                *end -= value.len();
            }
        }
        index.is_some()
    }
}

impl Listed {
    pub fn boxed(
        types: &AggregateTypes,
        skips_null_of: Option<usize>,
        finish: Finish,
    ) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Self {
            encoder: Encoder::new(&types.arguments)?,
            types: types.clone(),
            groups: Vec::new(),
            size_bytes: 0,
            skips_null_of,
            finish,
        }))
    }

    fn lists(&self, groups: &[u32]) -> Result<Lists> {
        let mut offsets = vec![0];
        let mut values = Vec::new();
        for &group in groups {
            values.extend(self.groups[group as usize].iter());
            offsets.push(values.len() as i32);
        }
        let columns = self.encoder.decode(values.into_iter())?;
        Ok(Lists { columns, offsets })
    }
}

impl Accumulator for Listed {
    fn resize(&mut self, num_groups: usize) {
        resize(&mut self.groups, num_groups);
    }

    fn update(
        &mut self,
        groups: &[u32],
        arguments: &[ArrayRef],
        filter: Option<&BooleanArray>,
        adds: Option<&BooleanArray>,
    ) -> Result<()> {
        let rows = self.encoder.encode(arguments)?;
        let nulls = self
            .skips_null_of
            .and_then(|i| arguments[i].logical_nulls());
        each_row(groups, nulls.as_ref(), filter, adds, |row, group, adds| {
            let row = rows.row(row);
            let size = row.data().len() + size_of::<usize>();
            if adds {
                self.groups[group].push(row.data());
                self.size_bytes += size;
            } else if self.groups[group].remove(row.data()) {
                self.size_bytes -= size;
            }
        });
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let lists = groups.iter().map(|&g| &self.groups[g as usize]);
        match &self.finish {
            Finish::First => self.encoder.decode_or_null(lists.map(|l| l.iter().next())),
            Finish::Last => self
                .encoder
                .decode_or_null(lists.map(|l| l.iter().next_back())),
            Finish::All(finish) => finish(&self.lists(groups)?, &self.types),
        }
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let lists = self.lists(groups)?;
        Ok(vec![lists.into_state(self.encoder.types())?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(self.encoder.types())]
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let lists = Lists::from_state(&state[0]);
        let rows = self.encoder.encode(&lists.columns)?;
        for (list, &group) in groups.iter().enumerate() {
            for item in lists.range(list) {
                let value = rows.row(item);
                self.groups[group as usize].push(value.data());
                self.size_bytes += value.data().len() + size_of::<usize>();
            }
        }
        Ok(())
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let list = std::mem::take(&mut self.groups[group as usize]);
            self.size_bytes -= list.bytes.len() + list.ends.len() * size_of::<usize>();
        }
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes + self.groups.capacity() * size_of::<List>()
    }
}
