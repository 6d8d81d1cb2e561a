//! From a writer's schema and the wanted columns to a program: for each field in the order in which
//! it was written, whether to read it, into which column and how, or how to step over it.

use std::collections::BTreeMap;

use flott_core::format::DecodeRequest;
use flott_core::source::FieldPath;
use flott_core::types::{DataType, LogicalType};
use flott_core::{Error, Result};

use super::schema::{Avro, Logical};

/// Reads the records of one writer's schema into the columns of one request.
#[derive(Debug)]
pub(crate) struct Program {
    pub root: RecordPlan,
    /// Where the record itself may be null: its branch, and that of null.
    pub root_branches: Option<Vec<bool>>,
    /// Steps over named types, which may contain themselves.
    pub named: Vec<Skip>,
}

/// What to do with the fields of a record.
#[derive(Debug, Default)]
pub(crate) struct RecordPlan {
    pub steps: Vec<Step>,
    /// Columns whose field the writer does not know.
    pub absent: Vec<usize>,
}

#[derive(Debug)]
pub(crate) enum Step {
    Skip(Skip),
    Read {
        column: usize,
        value: Value,
    },
    /// A field wanted more than once, or parts of it.
    Several {
        outputs: Vec<(usize, Value)>,
        parts: Vec<Parts>,
        skip: Skip,
    },
}

/// Fields wanted from inside a record.
#[derive(Debug)]
pub(crate) struct Parts {
    pub plan: RecordPlan,
    /// For a union: which branches are the record.
    pub branches: Option<Vec<bool>>,
    /// The columns that are NULL where the record is.
    pub leaves: Vec<usize>,
}

/// How a value is read into its column.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Boolean,
    /// `int` or `long` to a column of whole or approximate numbers, of days or milliseconds.
    Integer,
    /// `long` to a timestamp or time of another unit.
    Scaled {
        multiply: i64,
        divide: i64,
    },
    Float,
    Double,
    /// `string` or `bytes`.
    Bytes,
    Fixed(usize),
    Enum(Vec<String>),
    Decimal {
        /// `None` where the length stands before the bytes.
        size: Option<usize>,
        scale: u32,
    },
    Array(Box<Value>),
    Map(Box<Value>),
    Row(Box<RecordPlan>),
    /// A union of null and something else; the branch that is null.
    Nullable(u8, Box<Value>),
    Union(Vec<Value>),
    /// A branch that the column cannot hold, and why.
    Unfit(String),
}

/// How to step over a value.
#[derive(Debug, Clone)]
pub(crate) enum Skip {
    Nothing,
    /// So many numbers of variable length.
    Varints(usize),
    /// So many bytes.
    Fixed(usize),
    /// A length and so many bytes.
    Bytes,
    Array(Box<Skip>),
    Map(Box<Skip>),
    Union(Vec<Skip>),
    Record(Vec<Skip>),
    /// A named type, by its place in [`Program::named`].
    Named(usize),
}

impl Program {
    /// The program that reads what `writer` describes into the request's columns.
    ///
    /// # Errors
    /// A user error when the writer's schema does not fit the table.
    pub fn compile(writer: &Avro, request: &DecodeRequest) -> Result<Self> {
        let mut compiler = Compiler::default();
        compiler.collect(writer);
        let columns = request.schema.columns().iter();
        let fields: Vec<_> = columns.map(|c| (&*c.name, &c.data_type)).collect();
        let paths: Vec<(&[usize], usize)> = request
            .fields
            .iter()
            .enumerate()
            .map(|(output, FieldPath(path))| (path.as_slice(), output))
            .collect();
        let (record, root_branches) = compiler.record_of(writer)?;
        Ok(Self {
            root: compiler.record(record, &fields, &paths)?,
            root_branches,
            named: compiler.named_skips(),
        })
    }
}

#[derive(Default)]
struct Compiler<'a> {
    /// By full name: the type, and its place among the named ones.
    names: BTreeMap<&'a str, (&'a Avro, usize)>,
}

type Field<'a> = (&'a str, &'a DataType);

impl<'a> Compiler<'a> {
    fn collect(&mut self, schema: &'a Avro) {
        let name = match schema {
            Avro::Record(record) => &*record.name,
            Avro::Enum(symbols) => &*symbols.name,
            Avro::Fixed(fixed) => &*fixed.name,
            Avro::Logical(inner, _) | Avro::Array(inner) | Avro::Map(inner) => {
                return self.collect(inner);
            }
            Avro::Union(branches) => return branches.iter().for_each(|b| self.collect(b)),
            _ => return,
        };
        let place = self.names.len();
        self.names.insert(name, (schema, place));
        if let Avro::Record(record) = schema {
            record.fields.iter().for_each(|f| self.collect(&f.schema));
        }
    }

    fn named(&self, schema: &Avro) -> Option<(&'a Avro, usize)> {
        match schema {
            Avro::Ref(name) => self.names.get(&**name).copied(),
            _ => None,
        }
    }

    fn resolve(&self, schema: &'a Avro) -> &'a Avro {
        self.named(schema).map_or(schema, |(found, _)| found)
    }

    fn named_skips(&self) -> Vec<Skip> {
        let mut skips = vec![Skip::Nothing; self.names.len()];
        for (schema, place) in self.names.values() {
            skips[*place] = self.skip(schema);
        }
        skips
    }

    /// The record that a schema is, and for a union which branches are it rather than null.
    fn record_of(&self, schema: &'a Avro) -> Result<(&'a Avro, Option<Vec<bool>>)> {
        let schema = self.resolve(schema);
        let wrong = || {
            let message = format!(
                "an Avro record is expected, the writer's schema is {}",
                kind_of(schema)
            );
            Error::user("MALFORMED_SCHEMA", message)
        };
        match schema {
            Avro::Record(_) => Ok((schema, None)),
            Avro::Union(branches) => {
                let branches = branches.iter().map(|b| self.resolve(b));
                let is_record = |b: &Avro| matches!(b, Avro::Record(_));
                let record = branches.clone().find(|b| is_record(b)).ok_or_else(wrong)?;
                Ok((record, Some(branches.map(is_record).collect())))
            }
            _ => Err(wrong()),
        }
    }

    /// Reads the field at each path into the column beside it.
    fn record(
        &self,
        schema: &'a Avro,
        fields: &[Field<'_>],
        paths: &[(&[usize], usize)],
    ) -> Result<RecordPlan> {
        let Avro::Record(record) = schema else {
            return Err(Error::internal("a record's plan for what is no record"));
        };
        let mut plan = RecordPlan::default();
        let mut known = vec![false; fields.len()];
        for field in &record.fields {
            let place = fields.iter().position(|(name, _)| *name == field.name);
            let place = place.or_else(|| {
                let is_alias = |name: &str| field.aliases.iter().any(|a| a == name);
                fields.iter().position(|(name, _)| is_alias(name))
            });
            let wanted: Vec<_> = paths
                .iter()
                .filter(|(path, _)| place.is_some() && path.first() == place.as_ref())
                .map(|(path, output)| (&path[1..], *output))
                .collect();
            if let Some(place) = place {
                known[place] = true;
                let step = self
                    .field(&field.schema, fields[place].1, &wanted)
                    .map_err(|error| error.context(format!("column '{}'", field.name)))?;
                plan.push(step);
            } else {
                plan.push(Step::Skip(self.skip(&field.schema)));
            }
        }
        for (path, output) in paths {
            let Some(&place) = path.first().filter(|place| !known[**place]) else {
                continue;
            };
            let (name, data_type) = fields[place];
            if !data_type.nullable {
                return Err(Error::user(
                    "MALFORMED_SCHEMA",
                    format!("the records have no field for column '{name}', which is {data_type}"),
                ));
            }
            plan.absent.push(*output);
        }
        Ok(plan)
    }

    fn field(
        &self,
        schema: &'a Avro,
        data_type: &DataType,
        wanted: &[(&[usize], usize)],
    ) -> Result<Step> {
        match wanted {
            [] => return Ok(Step::Skip(self.skip(schema))),
            [([], column)] => {
                let value = self.value(schema, data_type)?;
                return Ok(Step::Read {
                    column: *column,
                    value,
                });
            }
            _ => {}
        }
        let (whole, inner): (Vec<_>, Vec<_>) = wanted.iter().partition(|(path, _)| path.is_empty());
        let outputs = whole
            .into_iter()
            .map(|(_, output)| Ok((output, self.value(schema, data_type)?)));
        Ok(Step::Several {
            outputs: outputs.collect::<Result<_>>()?,
            parts: match inner.is_empty() {
                true => Vec::new(),
                false => vec![self.parts(schema, data_type, &inner)?],
            },
            skip: self.skip(schema),
        })
    }

    fn parts(
        &self,
        schema: &'a Avro,
        data_type: &DataType,
        paths: &[(&[usize], usize)],
    ) -> Result<Parts> {
        let LogicalType::Row(fields) = &data_type.logical else {
            return Err(Error::internal(format!(
                "a path into {data_type}, which is no row"
            )));
        };
        let fields: Vec<_> = fields.iter().map(|f| (&*f.name, &f.data_type)).collect();
        let (record, branches) = self.record_of(schema)?;
        Ok(Parts {
            plan: self.record(record, &fields, paths)?,
            branches,
            leaves: paths.iter().map(|(_, output)| *output).collect(),
        })
    }

    fn value(&self, schema: &'a Avro, data_type: &DataType) -> Result<Value> {
        let schema = self.resolve(schema);
        if let Avro::Union(branches) = schema {
            return self.union(branches, data_type);
        }
        let unfit = || {
            let kind = kind_of(schema);
            Error::user(
                "MALFORMED_SCHEMA",
                format!("Avro's {kind} cannot be read as {data_type}"),
            )
        };
        let nested =
            |item: &'a Avro, data_type: &DataType| self.value(item, data_type).map(Box::new);
        use LogicalType as T;
        Ok(match (schema, &data_type.logical) {
            (Avro::Null, _) if data_type.nullable => Value::Null,
            (Avro::Array(array), T::Array(item)) => Value::Array(nested(array, item)?),
            (Avro::Map(map), T::Map(key, item)) if key.logical.is_character() => {
                Value::Map(nested(map, item)?)
            }
            (Avro::Map(map), T::Multiset(item)) if item.logical.is_character() => {
                Value::Map(nested(map, &T::Int.not_null())?)
            }
            (Avro::Record(_), T::Row(fields)) => {
                let fields: Vec<_> = fields.iter().map(|f| (&*f.name, &f.data_type)).collect();
                let places: Vec<usize> = (0..fields.len()).collect();
                let paths: Vec<_> = places
                    .iter()
                    .map(|p| (std::slice::from_ref(p), *p))
                    .collect();
                Value::Row(Box::new(self.record(schema, &fields, &paths)?))
            }
            (schema, logical) => scalar(schema, logical).ok_or_else(unfit)?,
        })
    }

    fn union(&self, branches: &'a [Avro], data_type: &DataType) -> Result<Value> {
        let mut values = Vec::with_capacity(branches.len());
        let mut refused = None;
        for branch in branches {
            values.push(match self.value(branch, data_type) {
                Ok(value) => value,
                Err(error) => {
                    let message = error.message().to_string();
                    if !matches!(branch, Avro::Null) {
                        refused = Some(error);
                    }
                    Value::Unfit(message)
                }
            });
        }
        let is_fit = |value: &Value| !matches!(value, Value::Unfit(_) | Value::Null);
        if let Some(error) = refused
            && !values.iter().any(is_fit)
        {
            return Err(error);
        }
        if values.len() == 2
            && let Some(null) = values.iter().position(|v| matches!(v, Value::Null))
        {
            let value = values.swap_remove(1 - null);
            return Ok(Value::Nullable(null as u8, Box::new(value)));
        }
        Ok(Value::Union(values))
    }

    fn skip(&self, schema: &Avro) -> Skip {
        match schema {
            Avro::Null => Skip::Nothing,
            Avro::Boolean => Skip::Fixed(1),
            Avro::Float => Skip::Fixed(4),
            Avro::Double => Skip::Fixed(8),
            Avro::Fixed(fixed) => Skip::Fixed(fixed.size),
            Avro::Bytes | Avro::String => Skip::Bytes,
            Avro::Logical(inner, _) => self.skip(inner),
            Avro::Array(items) => Skip::Array(Box::new(self.skip(items))),
            Avro::Map(values) => Skip::Map(Box::new(self.skip(values))),
            Avro::Union(branches) => Skip::Union(branches.iter().map(|b| self.skip(b)).collect()),
            Avro::Record(record) => {
                let mut skips = Vec::new();
                for field in &record.fields {
                    push_skip(&mut skips, self.skip(&field.schema));
                }
                Skip::Record(skips)
            }
            Avro::Ref(_) => match self.named(schema) {
                Some((_, place)) => Skip::Named(place),
                None => Skip::Nothing,
            },
            Avro::Int | Avro::Long | Avro::Enum(_) => Skip::Varints(1),
        }
    }
}

impl RecordPlan {
    fn push(&mut self, step: Step) {
        match (self.steps.last_mut(), step) {
            (Some(Step::Skip(last)), Step::Skip(next)) => {
                if let Some(skip) = fused(last, next) {
                    self.steps.push(Step::Skip(skip));
                }
            }
            (_, step) => self.steps.push(step),
        }
    }
}

fn push_skip(skips: &mut Vec<Skip>, next: Skip) {
    let rest = match skips.last_mut() {
        Some(last) => fused(last, next),
        None => Some(next),
    };
    skips.extend(rest);
}

/// Makes `last` step over `next` too, or gives it back.
fn fused(last: &mut Skip, next: Skip) -> Option<Skip> {
    match (last, next) {
        (_, Skip::Nothing) => None,
        (Skip::Varints(count), Skip::Varints(more)) => {
            *count += more;
            None
        }
        (Skip::Fixed(size), Skip::Fixed(more)) => {
            *size = size.saturating_add(more);
            None
        }
        (_, next) => Some(next),
    }
}

fn scalar(schema: &Avro, logical: &LogicalType) -> Option<Value> {
    use LogicalType as T;
    let is_number = logical.is_integer() || logical.is_approximate_numeric();
    Some(match (schema, logical) {
        (Avro::Logical(inner, meaning), _) => return meant(inner, *meaning, logical),
        (Avro::Boolean, T::Boolean) => Value::Boolean,
        (Avro::Int | Avro::Long, _) if is_number => Value::Integer,
        (Avro::Float, T::Float | T::Double) => Value::Float,
        (Avro::Double, T::Double | T::Float) => Value::Double,
        (Avro::Int, T::Date | T::Time(_)) => Value::Integer,
        (Avro::Long, T::Timestamp(_) | T::TimestampLtz(_)) => Value::Integer,
        (Avro::String | Avro::Bytes, _) if logical.is_character() => Value::Bytes,
        (Avro::Enum(symbols), _) if logical.is_character() => Value::Enum(symbols.symbols.clone()),
        (Avro::String | Avro::Bytes, _) if logical.is_binary() => Value::Bytes,
        (Avro::Fixed(fixed), _) if logical.is_binary() => Value::Fixed(fixed.size),
        (Avro::Bytes | Avro::Fixed(_), T::Decimal(_, scale)) => Value::Decimal {
            size: fixed_size(schema),
            scale: u32::from(*scale),
        },
        _ => return None,
    })
}

/// How a value of a logical type is read.
fn meant(inner: &Avro, meaning: Logical, logical: &LogicalType) -> Option<Value> {
    use LogicalType as T;
    Some(match (meaning, logical) {
        (Logical::Decimal { scale }, T::Decimal(..)) => Value::Decimal {
            size: fixed_size(inner),
            scale,
        },
        (Logical::Date, T::Date) | (Logical::TimeMillis, T::Time(_)) => Value::Integer,
        (Logical::TimeMicros, T::Time(_)) => Value::Scaled {
            multiply: 1,
            divide: 1000,
        },
        (Logical::Timestamp { per_second }, T::Timestamp(p) | T::TimestampLtz(p)) => {
            scaled(per_second, crate::temporal::units_per_second(*p))
        }
        // What a number or bytes mean is left to the query.
        (Logical::Decimal { .. }, _) if !logical.is_binary() => return None,
        (_, T::Date | T::Time(_) | T::Timestamp(_) | T::TimestampLtz(_)) => return None,
        _ => return scalar(inner, logical),
    })
}

fn fixed_size(schema: &Avro) -> Option<usize> {
    match schema {
        Avro::Fixed(fixed) => Some(fixed.size),
        _ => None,
    }
}

fn scaled(written: i64, read: i64) -> Value {
    match written.cmp(&read) {
        std::cmp::Ordering::Equal => Value::Integer,
        std::cmp::Ordering::Less => Value::Scaled {
            multiply: read / written,
            divide: 1,
        },
        std::cmp::Ordering::Greater => Value::Scaled {
            multiply: 1,
            divide: written / read,
        },
    }
}

/// A schema's type, for messages.
fn kind_of(schema: &Avro) -> String {
    match schema {
        Avro::Record(record) => format!("record '{}'", record.name),
        Avro::Enum(symbols) => format!("enum '{}'", symbols.name),
        Avro::Fixed(fixed) => format!("fixed '{}'", fixed.name),
        Avro::Union(_) => "union".into(),
        Avro::Array(_) => "array".into(),
        Avro::Map(_) => "map".into(),
        Avro::Logical(inner, meaning) => format!("{} ({meaning:?})", kind_of(inner)),
        Avro::Ref(name) => format!("'{name}'"),
        other => format!("{other:?}").to_lowercase(),
    }
}
