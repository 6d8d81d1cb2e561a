//! Which keys of an object are wanted and where their values go.

use flott_core::source::FieldPath;
use flott_core::types::LogicalType;
use flott_core::{Error, Result};

/// A field whose name begins so is not read from a key of that name: it says of the key that
/// follows whether it is there and not null (true), there and null (false), or missing (NULL).
pub(crate) const PRESENCE: &str = "\0";

/// Keys of one object remembered for prediction.
const MAX_PREDICTED: usize = 256;

/// How a value is read into its column.
#[derive(Debug, Clone)]
pub(crate) enum ValuePlan {
    /// By the column's own type.
    Scalar,
    Presence,
    Row(Box<ObjectPlan>),
    Array(Box<ValuePlan>),
    Map(Box<ValuePlan>),
}

/// A wanted key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Key {
    pub name: Vec<u8>,
    /// The columns that take the whole value.
    pub outputs: Vec<(usize, ValuePlan)>,
    /// What is wanted from inside the value, an object.
    pub nested: Option<Box<ObjectPlan>>,
    /// Every column that the key fills, nested ones included.
    pub leaves: Vec<usize>,
}

/// A key seen at a place in the last object: `"name":` and what to do with its value.
#[derive(Debug, Clone, Default)]
struct Predicted {
    text: Vec<u8>,
    key: Option<usize>,
}

/// The wanted keys of an object. The order of keys of the last object predicts the next one's, so
/// that a key costs one comparison instead of a search.
#[derive(Debug, Clone, Default)]
pub(crate) struct ObjectPlan {
    pub keys: Vec<Key>,
    predicted: Vec<Predicted>,
}

impl ObjectPlan {
    /// A plan that reads the field at `paths[i]` of a row of these fields into column `i`.
    pub fn new<'a>(
        fields: &[(&'a str, &'a LogicalType)],
        paths: &[FieldPath],
        format: &str,
    ) -> Result<Self> {
        let paths: Vec<(&[usize], usize)> = paths
            .iter()
            .enumerate()
            .map(|(output, path)| (path.0.as_slice(), output))
            .collect();
        Self::for_paths(fields, &paths, format)
    }

    fn for_paths(
        fields: &[(&str, &LogicalType)],
        paths: &[(&[usize], usize)],
        format: &str,
    ) -> Result<Self> {
        let mut plan = Self::default();
        for (index, (name, logical)) in fields.iter().enumerate() {
            let wanted: Vec<_> = paths
                .iter()
                .filter(|(p, _)| p.first() == Some(&index))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let (name, is_presence) = match name.strip_prefix(PRESENCE) {
                Some(name) => (name, true),
                None => (*name, false),
            };
            let key = plan.key_named(name);
            let inner: Vec<(&[usize], usize)> = wanted
                .iter()
                .filter(|(p, _)| p.len() > 1)
                .map(|(p, output)| (&p[1..], *output))
                .collect();
            for (path, output) in wanted {
                key.leaves.push(*output);
                if path.len() == 1 {
                    let value = if is_presence {
                        ValuePlan::Presence
                    } else {
                        ValuePlan::new(logical, format)?
                    };
                    key.outputs.push((*output, value));
                }
            }
            if !inner.is_empty() {
                let LogicalType::Row(row) = logical else {
                    return Err(Error::internal(format!(
                        "a path into '{name}', which is no row"
                    )));
                };
                let row: Vec<_> = row
                    .iter()
                    .map(|f| (f.name.as_str(), &f.data_type.logical))
                    .collect();
                key.nested = Some(Box::new(Self::for_paths(&row, &inner, format)?));
            }
        }
        Ok(plan)
    }

    fn key_named(&mut self, name: &str) -> &mut Key {
        let place = self.keys.iter().position(|k| k.name == name.as_bytes());
        let place = place.unwrap_or_else(|| {
            self.keys.push(Key {
                name: name.as_bytes().to_vec(),
                ..Key::default()
            });
            self.keys.len() - 1
        });
        &mut self.keys[place]
    }

    /// If `rest` begins with the key that stood at `place` last time: the length of `"name":` and
    /// the wanted key that it is, if any.
    #[inline]
    pub fn predict(&self, place: usize, rest: &[u8]) -> Option<(usize, Option<usize>)> {
        let predicted = self.predicted.get(place)?;
        (!predicted.text.is_empty() && rest.starts_with(&predicted.text))
            .then_some((predicted.text.len(), predicted.key))
    }

    /// The wanted key of this name.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.keys.iter().position(|k| k.name == name)
    }

    /// Remembers the key at `place`, written as `text`.
    pub fn remember(&mut self, place: usize, text: &[u8], key: Option<usize>) {
        if place >= MAX_PREDICTED {
            return;
        }
        if place >= self.predicted.len() {
            self.predicted.resize(place + 1, Predicted::default());
        }
        let predicted = &mut self.predicted[place];
        predicted.text.clear();
        predicted.text.extend_from_slice(text);
        predicted.key = key;
    }
}

impl ValuePlan {
    fn new(logical: &LogicalType, format: &str) -> Result<Self> {
        Ok(match logical {
            LogicalType::Row(fields) => {
                let named: Vec<_> = fields
                    .iter()
                    .map(|f| (f.name.as_str(), &f.data_type.logical))
                    .collect();
                let paths: Vec<_> = (0..fields.len()).map(FieldPath::column).collect();
                Self::Row(Box::new(ObjectPlan::new(&named, &paths, format)?))
            }
            LogicalType::Array(item) => Self::Array(Box::new(Self::new(&item.logical, format)?)),
            LogicalType::Map(key, value) => {
                check_map_key(&key.logical, logical, format)?;
                Self::Map(Box::new(Self::new(&value.logical, format)?))
            }
            LogicalType::Multiset(item) => {
                check_map_key(&item.logical, logical, format)?;
                Self::Map(Box::new(Self::Scalar))
            }
            _ => Self::Scalar,
        })
    }
}

/// # Errors
/// A user error for a key that is no string: JSON has no other.
pub(crate) fn check_map_key(key: &LogicalType, map: &LogicalType, format: &str) -> Result<()> {
    if key.is_character() {
        return Ok(());
    }
    Err(Error::user(
        "UNSUPPORTED_TYPE",
        format!(
            "format '{format}' writes map keys as strings and cannot hold {map}; declare the key as STRING"
        ),
    ))
}

/// # Errors
/// A user error when a map inside the type has keys that are no strings.
pub(crate) fn check_writable(logical: &LogicalType, format: &str) -> Result<()> {
    ValuePlan::new(logical, format).map(|_| ())
}
