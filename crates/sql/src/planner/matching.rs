//! MATCH_RECOGNIZE.

use arrow::datatypes::Schema as ArrowSchema;
use flott_core::changelog::ChangelogMode;
use flott_core::schema::{Column, Schema};
use flott_core::{Error, Result};
use flott_table::aggregates::AggregateCallConfig;
use flott_table::operators::match_recognize::{
    MatchCondition as MatchConditionConfig, MatchConfig, MatchTime, Skip, View, ViewColumn,
};

use super::identities::{call_mark, order_mark};
use super::identity::{Fingerprint, Identity, Label};
use super::lower::Lowering;
use super::order::{keyed, sort_keys};
use super::stream::Stream;
use crate::expr::Expr;
use crate::plan::{Match, MatchColumn, MatchView};

impl Lowering<'_> {
    pub(super) fn lower_match(&mut self, node: &Match) -> Result<Stream> {
        let input = self.lower(&node.input, true)?;
        if !input.mode.is_append_only() {
            let message = "MATCH_RECOGNIZE does not support consuming updates and deletes; read a table that is only added to";
            return Err(Error::user("UNSUPPORTED_CHANGELOG", message));
        }
        let Some((time, rest)) = node.order.split_first() else {
            return Err(Error::internal("MATCH_RECOGNIZE without an order"));
        };
        let (edge, parallelism) = input.by_key(&node.partition_keys);
        let config = MatchConfig {
            partition_columns: node.partition_keys.clone(),
            time: match node.is_proctime {
                true => MatchTime::Proctime,
                false if self.context.is_batch => MatchTime::Whole(time.column),
                false => MatchTime::Rowtime(time.column),
            },
            order: sort_keys(rest),
            pattern: node.pattern.clone(),
            conditions: self.match_conditions(node, &input.schema)?,
            skip: node.skip,
            within_ms: node.within_ms,
            measures: self.match_view(&node.measures)?,
            input_schema: input.schema.to_arrow(),
            schema: node.schema.to_arrow(),
        };
        let names: Vec<&str> = node.pattern.iter().map(|e| e.name.as_str()).collect();
        let name = format!(
            "Match(partitionBy={:?}, pattern=[{}])",
            node.partition_keys,
            names.join(" ")
        );
        let (uid, identity) = match_identity(node, &input.identity);
        let label = Label::new(name, uid).with_state(input.identity.state("", &input.schema));
        let id = self.add_operator(label, config, vec![edge], &node.schema, parallelism);
        // The keys come first among the columns.
        let keys: Vec<usize> = (0..node.partition_keys.len()).collect();
        let place = (id, parallelism);
        let (schema, mode) = (node.schema.clone(), ChangelogMode::APPEND);
        Ok(keyed(place, schema, mode, &keys, identity))
    }

    fn match_conditions(&self, node: &Match, input: &Schema) -> Result<Vec<MatchConditionConfig>> {
        let compiler = self.compiler(input);
        let conditions = node.conditions.iter().map(|condition| {
            let is_free = condition.of_row.is_true();
            let of_row = (!is_free).then(|| compiler.compile(&condition.of_row));
            let of_run = condition.of_run.as_ref();
            Ok(MatchConditionConfig {
                of_row: of_row.transpose()?,
                of_run: of_run.map(|v| self.match_view(v)).transpose()?,
            })
        });
        conditions.collect()
    }

    fn match_view(&self, view: &MatchView) -> Result<View> {
        let schema = view.columns.iter().enumerate();
        let schema: Schema = schema
            .map(|(i, (_, data_type))| Column::new(format!("c{i}"), data_type.clone()))
            .collect();
        let columns = view.columns.iter().map(|(column, _)| match column {
            MatchColumn::Row { row, column } => ViewColumn::Row {
                row: *row,
                column: *column,
            },
            MatchColumn::Aggregate { variable, call } => ViewColumn::Aggregate {
                variable: *variable,
                call: AggregateCallConfig {
                    function: call.function,
                    types: call.types.clone(),
                    args: call.args.clone(),
                    distinct: call.distinct,
                    filter: call.filter,
                },
            },
            MatchColumn::Time => ViewColumn::Time,
        });
        let columns = columns.collect();
        let exprs = self.compiler(&schema).compile_all(&view.exprs)?;
        let schema: std::sync::Arc<ArrowSchema> = schema.to_arrow();
        Ok(View {
            columns,
            schema,
            exprs,
        })
    }
}

/// How the operator is known, and what its rows are.
fn match_identity(node: &Match, input: &Identity) -> (Fingerprint, Identity) {
    let mut mark = order_mark(Fingerprint::of("match"), &node.order, input);
    for element in &node.pattern {
        mark = mark
            .number(u64::from(element.min))
            .numbers(element.max.map(u64::from))
            .number(u64::from(element.is_greedy));
    }
    let (skip, target) = match node.skip {
        Skip::PastLastRow => (0, 0),
        Skip::ToNextRow => (1, 0),
        Skip::ToFirst(variable) => (2, variable as u64),
        Skip::ToLast(variable) => (3, variable as u64),
    };
    mark = mark.number(skip).number(target);
    mark = mark.numbers(node.within_ms.map(|ms| ms as u64));
    for condition in &node.conditions {
        mark = mark.number(input.expr(&condition.of_row));
        if let Some(view) = &condition.of_run {
            mark = mark.numbers(view_meanings(view, input));
        }
    }
    let uid = input.keyed(mark, &node.partition_keys);
    let measures = view_meanings(&node.measures, input);
    let columns =
        measures
            .into_iter()
            .enumerate()
            .map(|(i, meaning)| match node.partition_keys.get(i) {
                Some(key) => input.column(*key),
                None => uid.number(meaning).0,
            });
    let keys = &node.partition_keys;
    (uid, input.derive(uid, keys, columns.collect()))
}

/// What the expressions of a view compute.
fn view_meanings(view: &MatchView, input: &Identity) -> Vec<u64> {
    let place = |variable: Option<usize>| variable.map_or(u64::MAX, |v| v as u64);
    let columns = view.columns.iter().map(|(column, _)| match column {
        MatchColumn::Row { row, column } => Fingerprint::of("matched row")
            .number(place(row.variable))
            .number(u64::from(row.is_from_first))
            .number(row.offset)
            .number(input.column(*column)),
        MatchColumn::Aggregate { variable, call } => {
            call_mark(call, input).number(place(*variable))
        }
        MatchColumn::Time => Fingerprint::of("match time"),
    });
    let columns = input.with_columns(columns.map(|mark| mark.0).collect());
    view.exprs.iter().map(|e: &Expr| columns.expr(e)).collect()
}
