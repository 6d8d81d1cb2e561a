//! Columns and schemas of tables, plans and batches.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};

use crate::types::DataType;

/// Marks a column as carrying time that the engine understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeAttribute {
    /// Event time, with a watermark.
    Rowtime,
    /// Processing time.
    Proctime,
}

/// A named, typed column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    pub name: String,
    pub data_type: DataType,
    pub time: Option<TimeAttribute>,
}

impl Column {
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self {
            name: name.into(),
            data_type,
            time: None,
        }
    }

    pub fn with_time(mut self, time: Option<TimeAttribute>) -> Self {
        self.time = time;
        self
    }

    /// The type with its time attribute, as Flink shows it: `TIMESTAMP(3) *ROWTIME*`.
    pub fn type_summary(&self) -> String {
        let mark = match self.time {
            Some(TimeAttribute::Rowtime) => " *ROWTIME*",
            Some(TimeAttribute::Proctime) => " *PROCTIME*",
            None => "",
        };
        let null = if self.data_type.nullable {
            ""
        } else {
            " NOT NULL"
        };
        format!("{}{null}{mark}", self.data_type.logical)
    }
}

/// The ordered columns of a table, plan node or batch. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Schema {
    columns: Arc<[Column]>,
}

impl Schema {
    pub fn new(columns: impl Into<Arc<[Column]>>) -> Self {
        Self {
            columns: columns.into(),
        }
    }

    pub fn empty() -> Self {
        Self::new(Vec::new())
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn column(&self, index: usize) -> &Column {
        &self.columns[index]
    }

    pub fn len(&self) -> usize {
        self.columns.len()
    }

    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The position of the column of exactly this name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    pub fn project(&self, indices: &[usize]) -> Self {
        Self::new(
            indices
                .iter()
                .map(|&i| self.columns[i].clone())
                .collect::<Vec<_>>(),
        )
    }

    /// The columns of `self`, then those of `other`.
    pub fn join(&self, other: &Schema) -> Self {
        Self::new(
            self.columns
                .iter()
                .chain(other.columns.iter())
                .cloned()
                .collect::<Vec<_>>(),
        )
    }

    pub fn to_arrow(&self) -> SchemaRef {
        let fields: Vec<_> = self
            .columns
            .iter()
            .map(|c| c.data_type.to_field(&c.name))
            .collect();
        Arc::new(ArrowSchema::new(fields))
    }

    /// An Arrow field for each column.
    pub fn fields(&self) -> impl Iterator<Item = Arc<Field>> + '_ {
        self.columns.iter().map(|c| c.data_type.to_field(&c.name))
    }
}

impl FromIterator<Column> for Schema {
    fn from_iter<T: IntoIterator<Item = Column>>(iter: T) -> Self {
        Self::new(iter.into_iter().collect::<Vec<_>>())
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(")?;
        for (i, column) in self.columns.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", column.name, column.type_summary())?;
        }
        write!(f, ")")
    }
}
