//! Joins.

use flott_core::Result;
use flott_core::changelog::ChangelogMode;
use flott_core::options::{OptionDef, OptionType};
use flott_core::schema::{Column, Schema};
use flott_table::operators::calc::CalcConfig;
use flott_table::operators::join::{
    IntervalJoinConfig, JoinInputs, JoinKind as JoinKindConfig, LookupJoinConfig,
    RegularJoinConfig, TemporalJoinConfig, WindowJoinConfig,
};

use super::lower::Lowering;
use super::order::updating;
use super::stream::{Distribution, Stream};
use crate::expr::Expr;
use crate::plan::{Join, JoinKind, JoinMode};

pub(super) const STATE_TTL: OptionDef = OptionDef::new(
    "table.exec.state.ttl",
    OptionType::Duration,
    "how long state that is not touched is kept; 0 is for ever",
)
.default("0");

/// The equal pairs of a join condition and the rest of it.
#[derive(Default)]
struct JoinKeys {
    left: Vec<Expr>,
    right: Vec<Expr>,
    null_safe: Vec<bool>,
    rest: Vec<Expr>,
}

impl JoinKeys {
    /// `num_left` is the number of the left's columns.
    fn of(condition: &Expr, num_left: usize) -> Self {
        let mut keys = Self::default();
        for conjunct in condition.clone().conjuncts() {
            let equal = conjunct.as_call("=").map(|args| (args, false));
            let pair = equal.or_else(|| {
                conjunct
                    .as_call("IS NOT DISTINCT FROM")
                    .map(|args| (args, true))
            });
            let sides = pair.and_then(|(args, null_safe)| match args {
                [a, b] => split_sides(a, b, num_left).map(|(l, r)| (l, r, null_safe)),
                _ => None,
            });
            match sides {
                Some((left, right, null_safe)) => {
                    keys.left.push(left);
                    keys.right.push(right.remap_columns(&|c| c - num_left));
                    keys.null_safe.push(null_safe);
                }
                None => keys.rest.push(conjunct),
            }
        }
        keys
    }
}

/// The operands as left side and right side, if each is over one side.
fn split_sides(a: &Expr, b: &Expr, num_left: usize) -> Option<(Expr, Expr)> {
    let is_left = |e: &Expr| {
        let columns = e.columns();
        !columns.is_empty() && columns.iter().all(|c| *c < num_left)
    };
    let is_right = |e: &Expr| {
        let columns = e.columns();
        !columns.is_empty() && columns.iter().all(|c| *c >= num_left)
    };
    if is_left(a) && is_right(b) {
        Some((a.clone(), b.clone()))
    } else if is_left(b) && is_right(a) {
        Some((b.clone(), a.clone()))
    } else {
        None
    }
}

impl Lowering<'_> {
    pub(super) fn lower_join(&mut self, node: &Join, needs: bool) -> Result<Stream> {
        let needs_left =
            !matches!(node.mode, JoinMode::Temporal { .. } | JoinMode::Lookup) || needs;
        let left = self.lower(&node.left, needs_left)?;
        let right = self.lower(&node.right, true)?;
        let num_left = left.schema.len();
        let keys = JoinKeys::of(&node.condition, num_left);
        let (left, left_keys) = self.with_keys(left, &keys.left)?;
        let (right, right_keys) = self.with_keys(right, &keys.right)?;
        let (widened_left, widened_right) = (left.schema.len(), right.schema.len());
        let shift = move |c: usize| {
            if c < num_left {
                c
            } else {
                c + widened_left - num_left
            }
        };
        let rest = Expr::and(keys.rest).remap_columns(&shift);
        let both = left.schema.join(&right.schema);
        let schema = if is_left_only(node.kind) {
            left.schema.clone()
        } else {
            both.clone()
        };
        let inputs = JoinInputs {
            kind: kind_config(node.kind),
            left_keys: left_keys.clone(),
            right_keys: right_keys.clone(),
            null_safe: keys.null_safe,
            residual: (!rest.is_true())
                .then(|| self.compiler(&both).compile(&rest))
                .transpose()?,
            left_schema: left.schema.to_arrow(),
            right_schema: right.schema.to_arrow(),
            schema: schema.to_arrow(),
        };
        let stream = self.add_join(node, inputs, left, right, schema, needs)?;
        if widened_left == num_left && widened_right == node.right.schema().len() {
            return Ok(Stream {
                schema: node.schema.clone(),
                ..stream
            });
        }
        let kept = |c: usize| c < num_left || c >= widened_left;
        let kept_right = widened_left + node.right.schema().len();
        let positions = (0..stream.schema.len()).filter(|c| kept(*c) && *c < kept_right);
        self.keep_columns(stream, &positions.collect::<Vec<_>>(), &node.schema)
    }

    fn add_join(
        &mut self,
        node: &Join,
        inputs: JoinInputs,
        left: Stream,
        right: Stream,
        schema: Schema,
        needs: bool,
    ) -> Result<Stream> {
        let (left_keys, right_keys) = (inputs.left_keys.clone(), inputs.right_keys.clone());
        let is_single = left_keys.is_empty() || node.kind == JoinKind::NullAwareAnti;
        let by =
            |stream: &Stream, keys: &[usize]| stream.by_key(if is_single { &[] } else { keys });
        let ((left_edge, parallelism), (right_edge, _)) =
            (by(&left, &left_keys), by(&right, &right_keys));
        let (left_is_append, right_is_append) =
            (left.mode.is_append_only(), right.mode.is_append_only());
        let edges = vec![left_edge, right_edge];
        let name = join_name(node);
        let (id, mode) = match &node.mode {
            JoinMode::Regular => {
                let ttl = self.state_ttl_ms()?;
                let config = RegularJoinConfig {
                    inputs,
                    left_is_append,
                    right_is_append,
                    left_ttl_ms: ttl,
                    right_ttl_ms: ttl,
                };
                let is_final = left_is_append
                    && right_is_append
                    && matches!(node.kind, JoinKind::Inner | JoinKind::Semi);
                let mode = if is_final {
                    ChangelogMode::APPEND
                } else {
                    updating(true)
                };
                (
                    self.add_operator(name, config, edges, &schema, parallelism),
                    mode,
                )
            }
            JoinMode::Interval {
                left_time,
                right_time,
                lower_ms,
                upper_ms,
                is_proctime,
            } => {
                let config = IntervalJoinConfig {
                    inputs,
                    left_time: *left_time,
                    right_time: *right_time,
                    lower_ms: *lower_ms,
                    upper_ms: *upper_ms,
                    is_proctime: *is_proctime,
                };
                let id = self.add_operator(name, config, edges, &schema, parallelism);
                (id, ChangelogMode::APPEND)
            }
            JoinMode::Window {
                left: left_window,
                right: right_window,
            } => {
                let config = WindowJoinConfig {
                    inputs,
                    left_window: *left_window,
                    right_window: *right_window,
                    time_zone: self.attached_zone(&node.left),
                };
                let id = self.add_operator(name, config, edges, &schema, parallelism);
                (id, ChangelogMode::APPEND)
            }
            JoinMode::Temporal {
                left_time,
                right_time,
            } => {
                let config = TemporalJoinConfig {
                    inputs,
                    left_time: *left_time,
                    right_time: *right_time,
                };
                (
                    self.add_operator(name, config, edges, &schema, parallelism),
                    left.mode,
                )
            }
            JoinMode::Lookup => {
                let config = LookupJoinConfig { inputs };
                (
                    self.add_operator(name, config, edges, &schema, parallelism),
                    left.mode,
                )
            }
        };
        let mode = ChangelogMode {
            update_before: mode.update_before && (needs || mode.delete),
            ..mode
        };
        let is_left_kept = matches!(
            node.kind,
            JoinKind::Inner | JoinKind::Left | JoinKind::Semi | JoinKind::Anti
        );
        let distribution = match () {
            () if is_single => Distribution::Single,
            () if is_left_kept => Distribution::Hash(left_keys),
            () => Distribution::Any,
        };
        Ok(Stream {
            node: id,
            schema,
            mode,
            upsert_key: None,
            distribution,
            parallelism,
        })
    }

    /// The stream with these key expressions among its columns, and their positions.
    fn with_keys(&mut self, stream: Stream, keys: &[Expr]) -> Result<(Stream, Vec<usize>)> {
        if let Some(columns) = keys.iter().map(Expr::as_column).collect::<Option<Vec<_>>>() {
            return Ok((stream, columns));
        }
        let mut exprs: Vec<Expr> = (0..stream.schema.len())
            .map(|c| Expr::column(c, stream.schema.column(c).data_type.clone()))
            .collect();
        let mut columns = stream.schema.columns().to_vec();
        let mut positions = Vec::with_capacity(keys.len());
        for key in keys {
            positions.push(match key.as_column() {
                Some(column) => column,
                None => {
                    columns.push(Column::new(
                        format!("key{}", exprs.len()),
                        key.data_type.clone(),
                    ));
                    exprs.push(key.clone());
                    exprs.len() - 1
                }
            });
        }
        let schema = Schema::new(columns);
        Ok((self.add_calc(stream, &exprs, schema)?, positions))
    }

    fn keep_columns(
        &mut self,
        stream: Stream,
        positions: &[usize],
        schema: &Schema,
    ) -> Result<Stream> {
        let expr = |c: &usize| Expr::column(*c, stream.schema.column(*c).data_type.clone());
        let exprs: Vec<Expr> = positions.iter().map(expr).collect();
        self.add_calc(stream, &exprs, schema.clone())
    }

    fn add_calc(&mut self, input: Stream, exprs: &[Expr], schema: Schema) -> Result<Stream> {
        let config = CalcConfig {
            predicate: None,
            shared: Vec::new(),
            projection: Some(self.compiler(&input.schema).compile_all(exprs)?),
            schema: schema.to_arrow(),
        };
        let texts: Vec<String> = exprs.iter().map(ToString::to_string).collect();
        let name = format!("Calc(select=[{}])", texts.join(", "));
        let id = self.add_operator(
            name,
            config,
            vec![input.forward()],
            &schema,
            input.parallelism,
        );
        let position = |column: usize| exprs.iter().position(|e| e.as_column() == Some(column));
        let upsert_key = input
            .upsert_key
            .and_then(|k| k.into_iter().map(position).collect());
        let distribution = input.distribution.project(position);
        Ok(Stream {
            node: id,
            schema,
            upsert_key,
            distribution,
            ..input
        })
    }

    /// `table.exec.state.ttl`; `None` is for ever.
    pub(super) fn state_ttl_ms(&self) -> Result<Option<i64>> {
        let ttl = self
            .context
            .config
            .duration(&STATE_TTL)?
            .unwrap_or_default();
        Ok((!ttl.is_zero()).then_some(ttl.as_millis() as i64))
    }
}

fn is_left_only(kind: JoinKind) -> bool {
    matches!(
        kind,
        JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti
    )
}

fn kind_config(kind: JoinKind) -> JoinKindConfig {
    match kind {
        JoinKind::Inner => JoinKindConfig::Inner,
        JoinKind::Left => JoinKindConfig::Left,
        JoinKind::Right => JoinKindConfig::Right,
        JoinKind::Full => JoinKindConfig::Full,
        JoinKind::Semi => JoinKindConfig::Semi,
        JoinKind::Anti => JoinKindConfig::Anti,
        JoinKind::NullAwareAnti => JoinKindConfig::NullAwareAnti,
    }
}

fn join_name(node: &Join) -> String {
    let operator = match node.mode {
        JoinMode::Regular => "Join",
        JoinMode::Interval { .. } => "IntervalJoin",
        JoinMode::Window { .. } => "WindowJoin",
        JoinMode::Temporal { .. } => "TemporalJoin",
        JoinMode::Lookup => "LookupJoin",
    };
    format!(
        "{operator}(joinType={:?}, where=[{}])",
        node.kind, node.condition
    )
}
