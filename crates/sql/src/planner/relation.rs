//! Joins.

use std::sync::Arc;

use datafusion_common::ScalarValue;
use flott_core::Result;
use flott_core::changelog::ChangelogMode;
use flott_core::graph::NodeKind;
use flott_core::operator::OperatorFactory;
use flott_core::options::{OptionDef, OptionType};
use flott_core::schema::{Column, Schema};
use flott_table::operators::calc::CalcConfig;
use flott_table::operators::join::{
    IntervalJoinConfig, JoinInputs, JoinKind as JoinKindConfig, LookupJoinConfig,
    RegularJoinConfig, TemporalJoinConfig, WindowJoinConfig,
};

use super::identity::{Fingerprint, Identity, Label};
use super::lower::Lowering;
use super::order::updating;
use super::stream::{Distribution, Stream};
use crate::expr::{Expr, ExprKind};
use crate::plan::{Join, JoinKind, JoinMode};

pub(super) const STATE_TTL: OptionDef = OptionDef::new(
    "table.exec.state.ttl",
    OptionType::Duration,
    "how long state that is not touched is kept; 0 is for ever",
)
.default("0");

/// The equal pairs of a join condition and the rest of it.
#[derive(Default)]
pub(super) struct JoinKeys {
    pub left: Vec<Expr>,
    pub right: Vec<Expr>,
    pub null_safe: Vec<bool>,
    rest: Vec<Expr>,
}

impl JoinKeys {
    /// `num_left` is the number of the left's columns.
    pub fn of(condition: &Expr, num_left: usize) -> Self {
        let mut keys = Self::default();
        for conjunct in condition.clone().conjuncts() {
            let pair = operands(conjunct.as_call("=")).map(|pair| (pair, false));
            let pair = pair.or_else(|| null_safe_operands(&conjunct).map(|pair| (pair, true)));
            let sides = pair.and_then(|((a, b), null_safe)| {
                split_sides(a, b, num_left).map(|(l, r)| (l, r, null_safe))
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

fn operands(args: Option<&[Expr]>) -> Option<(&Expr, &Expr)> {
    match args? {
        [a, b] => Some((a, b)),
        _ => None,
    }
}

/// `a` and `b` of `a = b OR (a IS NULL AND b IS NULL)`, and of the CASE that
/// `a IS NOT DISTINCT FROM b` is bound to.
fn null_safe_operands(condition: &Expr) -> Option<(&Expr, &Expr)> {
    let (equal, both_null) = match &condition.kind {
        ExprKind::Or(parts) => match parts.as_slice() {
            [a, b] if a.as_call("=").is_some() => (a, Some(b)),
            [a, b] => (b, Some(a)),
            _ => return None,
        },
        ExprKind::Case {
            branches,
            otherwise,
        } => match branches.as_slice() {
            [(both_null, yes), (_, no)] if yes.is_true() && is_false(no) => {
                (otherwise.as_ref(), Some(both_null))
            }
            // One of them is NOT NULL.
            [(_, no)] if is_false(no) => (otherwise.as_ref(), None),
            _ => return None,
        },
        _ => return None,
    };
    let (a, b) = operands(equal.as_call("="))?;
    let Some(both_null) = both_null else {
        return (!a.data_type.nullable || !b.data_type.nullable).then_some((a, b));
    };
    let ExprKind::And(tests) = &both_null.kind else {
        return None;
    };
    let tests_null = |operand: &Expr| tests.iter().any(|test| is_null_test(test, operand));
    (tests.len() == 2 && tests_null(a) && tests_null(b)).then_some((a, b))
}

/// Whether `test` is `operand IS NULL`, before or after the comparison's cast.
fn is_null_test(test: &Expr, operand: &Expr) -> bool {
    let ExprKind::IsNull(tested) = &test.kind else {
        return false;
    };
    let uncast = match &operand.kind {
        ExprKind::Cast { expr, .. } => expr,
        _ => operand,
    };
    let key = tested.key();
    key == operand.key() || key == uncast.key()
}

fn is_false(expr: &Expr) -> bool {
    expr.as_literal() == Some(&ScalarValue::Boolean(Some(false)))
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
        if matches!(node.mode, JoinMode::Lookup)
            && let Some(stream) = self.lower_async_lookup(node, needs)?
        {
            return Ok(stream);
        }
        if let Some(stream) = self.lower_multi_join(node)? {
            return Ok(stream);
        }
        let needs_left =
            !matches!(node.mode, JoinMode::Temporal { .. } | JoinMode::Lookup) || needs;
        let left = self.lower(&node.left, needs_left)?;
        let right = self.lower(&node.right, true)?;
        let keys = JoinKeys::of(&node.condition, left.schema.len());
        let (left, left_keys) = self.with_keys(left, &keys.left)?;
        let (right, right_keys) = self.with_keys(right, &keys.right)?;
        let widths = (left.schema.len(), right.schema.len());
        let sides = ((&left.schema, left_keys), (&right.schema, right_keys));
        let (inputs, rest, _) = self.join_inputs(node, keys, sides)?;
        let identity = JoinIdentity::of(node, &inputs, &rest, [&left.identity, &right.identity]);
        let stream = self.add_join(node, inputs, left, right, identity, needs)?;
        self.without_keys(node, stream, widths)
    }

    /// What a join's operator is made of, over the schemas and key columns of both sides, with the
    /// rest of the condition and the operator's schema.
    pub(super) fn join_inputs(
        &self,
        node: &Join,
        keys: JoinKeys,
        sides: ((&Schema, Vec<usize>), (&Schema, Vec<usize>)),
    ) -> Result<(JoinInputs, Expr, Schema)> {
        let ((left, left_keys), (right, right_keys)) = sides;
        let num_left = node.left.schema().len();
        let widened = left.len() - num_left;
        let shift = move |c: usize| if c < num_left { c } else { c + widened };
        let rest = Expr::and(keys.rest).remap_columns(&shift);
        let both = left.join(right);
        let residual = match rest.is_true() {
            true => None,
            false => Some(self.compiler(&both).compile(&rest)?),
        };
        let schema = match is_left_only(node.kind) {
            true => left.clone(),
            false => both,
        };
        let inputs = JoinInputs {
            kind: kind_config(node.kind),
            left_keys,
            right_keys,
            null_safe: keys.null_safe,
            residual,
            left_schema: left.to_arrow(),
            right_schema: right.to_arrow(),
            schema: schema.to_arrow(),
        };
        Ok((inputs, rest, schema))
    }

    /// The join's columns without those that only its keys needed; `widths` are of both sides with
    /// them.
    pub(super) fn without_keys(
        &mut self,
        node: &Join,
        stream: Stream,
        widths: (usize, usize),
    ) -> Result<Stream> {
        let (num_left, num_right) = (node.left.schema().len(), node.right.schema().len());
        if widths == (num_left, num_right) {
            return Ok(Stream {
                schema: node.schema.clone(),
                ..stream
            });
        }
        let is_kept = |c: &usize| *c < num_left || *c >= widths.0;
        let positions =
            (0..stream.schema.len()).filter(|c| is_kept(c) && *c < widths.0 + num_right);
        self.keep_columns(stream, &positions.collect::<Vec<_>>(), &node.schema)
    }

    fn add_join(
        &mut self,
        node: &Join,
        inputs: JoinInputs,
        left: Stream,
        right: Stream,
        identity: JoinIdentity,
        needs: bool,
    ) -> Result<Stream> {
        let schema = match is_left_only(node.kind) {
            true => left.schema.clone(),
            false => left.schema.join(&right.schema),
        };
        let (left_keys, right_keys) = (inputs.left_keys.clone(), inputs.right_keys.clone());
        let is_single = left_keys.is_empty() || node.kind == JoinKind::NullAwareAnti;
        let (left_by, right_by): (&[usize], &[usize]) = match is_single {
            true => (&[], &[]),
            false => (&left_keys, &right_keys),
        };
        let (left_edge, right_edge, parallelism) =
            Stream::by_keys((&left, left_by), (&right, right_by));
        let (factory, mode) = self.join_operator(node, inputs, &left, &right)?;
        let mut state = left.identity.state("left", &left.schema);
        state.extend(right.identity.state("right", &right.schema));
        let id = self.add_node(
            Label::new(join_name(node), identity.uid).with_state(state),
            NodeKind::Operator(factory),
            vec![left_edge, right_edge],
            &schema,
            parallelism,
        );
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
            identity: identity.rows,
        })
    }

    /// The operator of a join's mode, and the changelog that it gives.
    fn join_operator(
        &self,
        node: &Join,
        inputs: JoinInputs,
        left: &Stream,
        right: &Stream,
    ) -> Result<(Arc<dyn OperatorFactory>, ChangelogMode)> {
        Ok(match node.mode {
            JoinMode::Regular => {
                let ttl = self.state_ttl_ms()?;
                let (left_is_append, right_is_append) =
                    (left.mode.is_append_only(), right.mode.is_append_only());
                let never_takes_back = matches!(node.kind, JoinKind::Inner | JoinKind::Semi);
                let is_final = left_is_append && right_is_append && never_takes_back;
                let config = RegularJoinConfig {
                    inputs,
                    left_is_append,
                    right_is_append,
                    left_ttl_ms: ttl,
                    right_ttl_ms: ttl,
                };
                let mode = if is_final {
                    ChangelogMode::APPEND
                } else {
                    updating(true)
                };
                (Arc::new(config), mode)
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
                    left_time,
                    right_time,
                    lower_ms,
                    upper_ms,
                    is_proctime,
                };
                (Arc::new(config), ChangelogMode::APPEND)
            }
            JoinMode::Window {
                left: left_window,
                right: right_window,
            } => {
                let time_zone = self.attached_zone(&node.left);
                let config = WindowJoinConfig {
                    inputs,
                    left_window,
                    right_window,
                    time_zone,
                };
                (Arc::new(config), ChangelogMode::APPEND)
            }
            JoinMode::Temporal {
                left_time,
                right_time,
            } => (
                Arc::new(TemporalJoinConfig {
                    inputs,
                    left_time,
                    right_time,
                }),
                left.mode,
            ),
            JoinMode::Lookup => (Arc::new(LookupJoinConfig { inputs }), left.mode),
        })
    }

    /// The stream with these key expressions among its columns, and their positions.
    pub(super) fn with_keys(
        &mut self,
        stream: Stream,
        keys: &[Expr],
    ) -> Result<(Stream, Vec<usize>)> {
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
        let identity = input.identity.project(exprs);
        let id = self.add_operator(
            Label::stateless(name, "calc", &input.identity),
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
            identity,
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

/// How a join is known, and what its result is.
pub(super) struct JoinIdentity {
    pub uid: Fingerprint,
    pub rows: Identity,
}

impl JoinIdentity {
    /// `rest` is the condition besides the equal keys, over both sides' columns.
    pub fn of(node: &Join, inputs: &JoinInputs, rest: &Expr, sides: [&Identity; 2]) -> Self {
        let (left, right) = (sides[0].as_side("left"), sides[1].as_side("right"));
        let both = left.append(right.all_columns());
        let mut mark = Fingerprint::of("join").text(&format!("{:?}", node.kind));
        mark = mark.numbers(inputs.null_safe.iter().map(|n| u64::from(*n)));
        mark = mark.number(both.expr(rest));
        mark = mode_mark(mark, &node.mode, &left, &right);
        // A filter on the keys of a side takes rows of the other side away only where rows without
        // a match do not show.
        let is_inner = matches!(node.kind, JoinKind::Inner | JoinKind::Semi);
        let side = |mark: Fingerprint, side: &Identity, keys: &[usize], is_free: bool| {
            let mark = mark.numbers(side.columns(keys));
            match is_free {
                true => side.keyed(mark, keys),
                false => side.all(mark),
            }
        };
        let left_is_free = is_inner || matches!(node.kind, JoinKind::Left | JoinKind::Anti);
        let right_is_free = is_inner || node.kind == JoinKind::Right;
        mark = side(mark, &left, &inputs.left_keys, left_is_free);
        mark = side(mark, &right, &inputs.right_keys, right_is_free);
        let rows = match is_left_only(node.kind) {
            true => left.derive(mark, &inputs.left_keys, left.all_columns()),
            false => left.derive(mark, &inputs.left_keys, both.all_columns()),
        };
        Self { uid: mark, rows }
    }
}

fn mode_mark(mark: Fingerprint, mode: &JoinMode, left: &Identity, right: &Identity) -> Fingerprint {
    match mode {
        JoinMode::Regular => mark.text("regular"),
        JoinMode::Interval {
            left_time,
            right_time,
            lower_ms,
            upper_ms,
            is_proctime,
        } => mark
            .text("interval")
            .numbers([left.column(*left_time), right.column(*right_time)])
            .numbers([*lower_ms as u64, *upper_ms as u64])
            .number(u64::from(*is_proctime)),
        JoinMode::Window { left: l, right: r } => mark
            .text("window")
            .numbers(left.columns(&[l.0, l.1]))
            .numbers(right.columns(&[r.0, r.1])),
        JoinMode::Temporal {
            left_time,
            right_time,
        } => mark
            .text("temporal")
            .numbers([left.column(*left_time), right.column(*right_time)]),
        JoinMode::Lookup => mark.text("lookup"),
    }
}

fn is_left_only(kind: JoinKind) -> bool {
    matches!(
        kind,
        JoinKind::Semi | JoinKind::Anti | JoinKind::NullAwareAnti
    )
}

pub(super) fn kind_config(kind: JoinKind) -> JoinKindConfig {
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
