//! What rows, columns and operators are, whatever their names and positions: state finds its
//! operator again by it.
//!
//! The rules are written down in `docs/decisions/0005-operator-ids.md`. Nothing here may depend on
//! the job's parallelism, on which columns are read, or on text that is only for people: a change
//! of what is hashed loses the state of every job.

use flott_core::graph::StateColumn;
use flott_core::hash::{mix, mix_bytes};
use flott_core::schema::Schema;

use crate::expr::{Expr, ExprKind};

/// A hash in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint(pub u64);

impl Fingerprint {
    pub fn of(kind: &str) -> Self {
        Self(mix_bytes(0, kind.as_bytes()))
    }

    pub fn text(self, text: &str) -> Self {
        // The length keeps neighbouring texts apart.
        Self(mix_bytes(mix(self.0, text.len() as u64), text.as_bytes()))
    }

    pub fn number(self, number: u64) -> Self {
        Self(mix(self.0, number))
    }

    pub fn numbers(self, numbers: impl IntoIterator<Item = u64>) -> Self {
        let (mut mixed, mut count) = (self, 0);
        for number in numbers {
            mixed = mixed.number(number);
            count += 1;
        }
        mixed.number(count)
    }
}

/// How a node is called, and how its state finds it again.
pub(super) struct Label {
    /// For people.
    pub name: String,
    pub uid: Fingerprint,
    /// The columns that it keeps.
    pub state: Vec<StateColumn>,
}

impl Label {
    pub fn new(name: String, uid: Fingerprint) -> Self {
        let state = Vec::new();
        Self { name, uid, state }
    }

    pub fn with_state(self, state: Vec<StateColumn>) -> Self {
        Self { state, ..self }
    }

    /// A node that keeps nothing.
    pub fn stateless(name: String, kind: &str, input: &Identity) -> Self {
        Self::new(name, input.origin(Fingerprint::of(kind)))
    }
}

/// A condition that all rows fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    meaning: u64,
    /// The meanings of the columns that it reads.
    columns: Vec<u64>,
}

/// What a stream's rows are: which rows, filtered by what, with which columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Where the rows come from, without the filters since.
    rows: u64,
    columns: Vec<u64>,
    conditions: Vec<Condition>,
}

impl Identity {
    pub fn new(rows: Fingerprint, columns: Vec<u64>) -> Self {
        Self {
            rows: rows.0,
            columns,
            conditions: Vec::new(),
        }
    }

    pub fn column(&self, index: usize) -> u64 {
        self.columns.get(index).copied().unwrap_or_default()
    }

    pub fn columns(&self, indices: &[usize]) -> Vec<u64> {
        indices.iter().map(|c| self.column(*c)).collect()
    }

    pub fn all_columns(&self) -> Vec<u64> {
        self.columns.clone()
    }

    /// What an expression over the columns computes.
    pub fn expr(&self, expr: &Expr) -> u64 {
        expr_meaning(expr, &self.columns)
    }

    /// The same rows with these columns.
    pub fn with_columns(&self, columns: Vec<u64>) -> Self {
        Self {
            columns,
            ..self.clone()
        }
    }

    /// The same rows with these columns after their own.
    pub fn append(&self, more: impl IntoIterator<Item = u64>) -> Self {
        let columns = self.columns.iter().copied().chain(more).collect();
        self.with_columns(columns)
    }

    pub fn project(&self, exprs: &[Expr]) -> Self {
        self.with_columns(exprs.iter().map(|e| self.expr(e)).collect())
    }

    /// More rows, or fewer, for each of these, with these columns after their own.
    pub fn expand(&self, rows: Fingerprint, more: impl IntoIterator<Item = u64>) -> Self {
        Self {
            rows: rows.0,
            ..self.append(more)
        }
    }

    /// The rows that fulfil a predicate.
    pub fn filter(&self, predicate: &Expr) -> Self {
        let mut filtered = self.clone();
        for conjunct in predicate.clone().conjuncts() {
            let condition = Condition {
                meaning: self.expr(&conjunct),
                columns: conjunct.columns().iter().map(|c| self.column(*c)).collect(),
            };
            if !filtered.conditions.contains(&condition) {
                filtered.conditions.push(condition);
            }
        }
        filtered
    }

    /// Mixes in which rows an operator gets that works on each value of these columns by itself.
    /// Filters on these columns alone are left out: they take whole keys away and change no other.
    pub fn keyed(&self, into: Fingerprint, keys: &[usize]) -> Fingerprint {
        let others = self.conditions.iter().filter(|c| !self.is_of(c, keys));
        let mut others: Vec<u64> = others.map(|c| c.meaning).collect();
        others.sort_unstable();
        into.number(self.rows)
            .numbers(self.columns(keys))
            .numbers(others)
    }

    /// Mixes in exactly which rows an operator gets.
    pub fn all(&self, into: Fingerprint) -> Fingerprint {
        self.keyed(into, &[])
    }

    /// Mixes in where the rows come from, whatever filters are between.
    pub fn origin(&self, into: Fingerprint) -> Fingerprint {
        into.number(self.rows)
    }

    /// The rows that an operator makes of these: filters on its keys hold still.
    pub fn derive(&self, rows: Fingerprint, keys: &[usize], columns: Vec<u64>) -> Self {
        let conditions = self.conditions.iter().filter(|c| self.is_of(c, keys));
        Self {
            rows: rows.0,
            columns,
            conditions: conditions.cloned().collect(),
        }
    }

    fn is_of(&self, condition: &Condition, keys: &[usize]) -> bool {
        let columns = &condition.columns;
        let is_key = |column: &u64| keys.iter().any(|k| self.column(*k) == *column);
        !columns.is_empty() && columns.iter().all(is_key)
    }

    /// The columns and conditions as those of one side of a join.
    pub fn as_side(&self, side: &str) -> Self {
        let of_side = |column: &u64| Fingerprint::of(side).number(*column).0;
        let conditions = self.conditions.iter().map(|c| Condition {
            meaning: of_side(&c.meaning),
            columns: c.columns.iter().map(of_side).collect(),
        });
        Self {
            rows: self.rows,
            columns: self.columns.iter().map(of_side).collect(),
            conditions: conditions.collect(),
        }
    }

    /// The rows kept whole in an operator's state.
    pub fn state(&self, table: &str, schema: &Schema) -> Vec<StateColumn> {
        let columns = schema.columns().iter().zip(&self.columns);
        columns
            .map(|(column, meaning)| StateColumn {
                name: match table {
                    "" => column.name.clone(),
                    table => format!("{table}.{}", column.name),
                },
                data_type: column.data_type.logical.to_string(),
                meaning: *meaning,
                aggregate: None,
            })
            .collect()
    }
}

fn expr_meaning(expr: &Expr, columns: &[u64]) -> u64 {
    let mark = match &expr.kind {
        ExprKind::Column(column) => return columns.get(*column).copied().unwrap_or_default(),
        ExprKind::Field { expr: row, index } => {
            return field_meaning(expr_meaning(row, columns), &field_name(row, *index));
        }
        ExprKind::Literal(value) => Fingerprint::of("literal")
            .text(&expr.data_type.logical.to_string())
            .text(&format!("{value:?}")),
        ExprKind::Call { function, .. } => Fingerprint::of("call").text(function.name),
        ExprKind::Cast { is_try, .. } => Fingerprint::of("cast")
            .number(u64::from(*is_try))
            .text(&expr.data_type.logical.to_string()),
        ExprKind::And(_) => Fingerprint::of("and"),
        ExprKind::Or(_) => Fingerprint::of("or"),
        ExprKind::Not(_) => Fingerprint::of("not"),
        ExprKind::IsNull(_) => Fingerprint::of("is null"),
        ExprKind::IsNotNull(_) => Fingerprint::of("is not null"),
        ExprKind::Case { .. } => Fingerprint::of("case"),
        ExprKind::InList { list, negated, .. } => Fingerprint::of("in")
            .number(u64::from(*negated))
            .text(&format!("{list:?}")),
        ExprKind::OuterColumn { .. } | ExprKind::Subquery(_) => Fingerprint::of("subquery"),
    };
    let children = expr.children();
    mark.numbers(children.into_iter().map(|c| expr_meaning(c, columns)))
        .0
}

/// A field of a row: the same whether the source or a projection takes it out.
pub(super) fn field_meaning(row: u64, field: &str) -> u64 {
    Fingerprint(row).text(field).0
}

fn field_name(row: &Expr, index: usize) -> String {
    use flott_core::types::LogicalType;
    match &row.data_type.logical {
        LogicalType::Row(fields) if index < fields.len() => fields[index].name.clone(),
        _ => index.to_string(),
    }
}
