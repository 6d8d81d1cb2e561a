//! Chains of regular joins on one key as one operator.

use std::sync::Arc;

use flott_core::Result;
use flott_core::changelog::ChangelogMode;
use flott_core::graph::{Edge, Exchange};
use flott_core::options::{OptionDef, OptionType};
use flott_table::operators::join::multi::{MultiJoinConfig, MultiJoinInput, MultiJoinStep};

use super::identity::{Fingerprint, Identity, Label};
use super::lower::Lowering;
use super::order::updating;
use super::relation::{JoinKeys, kind_config};
use super::stream::{Distribution, Stream};
use crate::expr::Expr;
use crate::plan::{Join, JoinKind, JoinMode, Plan};

const MULTI_JOIN: OptionDef = OptionDef::new(
    "table.optimizer.multi-join.enabled",
    OptionType::Boolean,
    "whether joins on one key become one operator that keeps no results in between",
)
.default("false");

/// A left-deep tree of joins as a list.
struct Chain {
    inputs: Vec<Arc<Plan>>,
    /// Where each input's columns begin among those of all.
    starts: Vec<usize>,
    /// Step *i* joins input *i* + 1; conditions are over the columns of all inputs so far.
    steps: Vec<(JoinKind, Expr)>,
    /// The columns that the tree gives, among those of all inputs.
    output: Vec<usize>,
}

impl Chain {
    fn of_input(plan: &Arc<Plan>) -> Self {
        Self {
            inputs: vec![plan.clone()],
            starts: vec![0],
            steps: Vec::new(),
            output: (0..plan.schema().len()).collect(),
        }
    }

    /// A tree of INNER and LEFT joins, with projections that only pick columns in between.
    fn of(plan: &Arc<Plan>) -> Self {
        match plan.as_ref() {
            Plan::Join(join) if is_link(join) => Self::of_join(join),
            Plan::Project(project) => {
                let picked = project.exprs.iter().map(Expr::as_column);
                let Some(picked) = picked.collect::<Option<Vec<_>>>() else {
                    return Self::of_input(plan);
                };
                let chain = Self::of(&project.input);
                if chain.steps.is_empty() {
                    return Self::of_input(plan);
                }
                let output = picked.into_iter().map(|c| chain.output[c]).collect();
                Self { output, ..chain }
            }
            _ => Self::of_input(plan),
        }
    }

    fn of_join(join: &Join) -> Self {
        let mut chain = Self::of(&join.left);
        let start = chain.width();
        let (left, num_left) = (&chain.output, chain.output.len());
        let column = |c: usize| match c.checked_sub(num_left) {
            None => left[c],
            Some(right) => start + right,
        };
        let condition = join.condition.clone().remap_columns(&column);
        chain.steps.push((join.kind, condition));
        chain.inputs.push(join.right.clone());
        chain.starts.push(start);
        let width = join.right.schema().len();
        chain.output.extend(start..start + width);
        chain
    }

    /// The number of columns of all inputs.
    fn width(&self) -> usize {
        self.inputs.iter().map(|i| i.schema().len()).sum()
    }

    /// The input of a column and its position there.
    fn place(&self, column: usize) -> (usize, usize) {
        let input = self.starts.partition_point(|&start| start <= column) - 1;
        (input, column - self.starts[input])
    }

    /// Whether rows of this input are never missing.
    fn is_always_there(&self, input: usize) -> bool {
        input == 0 || self.steps[input - 1].0 == JoinKind::Inner
    }
}

fn is_link(join: &Join) -> bool {
    matches!(join.mode, JoinMode::Regular) && matches!(join.kind, JoinKind::Inner | JoinKind::Left)
}

/// Columns that are equal in all inputs, and what is left of the conditions.
struct CommonKey {
    /// By input: key columns, in one order.
    columns: Vec<Vec<usize>>,
    /// By step.
    rests: Vec<Expr>,
}

/// One column of the common key, in the making.
struct KeyColumn {
    /// Columns (among those of all inputs) that are equal to it and never missing.
    known_as: Vec<usize>,
    /// By input, so far.
    columns: Vec<usize>,
    /// By step: the conjunct that says so.
    conjuncts: Vec<usize>,
}

impl CommonKey {
    /// `None` when the inputs have no common key.
    fn of(chain: &Chain) -> Option<Self> {
        let conjuncts = chain.steps.iter().map(|(_, c)| c.clone().conjuncts());
        let conjuncts: Vec<Vec<Expr>> = conjuncts.collect();
        let mut keys: Vec<KeyColumn> = Vec::new();
        for (step, conjuncts) in conjuncts.iter().enumerate() {
            let input = step + 1;
            for (number, conjunct) in conjuncts.iter().enumerate() {
                let Some((left, right)) = equal_columns(conjunct, chain.starts[input]) else {
                    continue;
                };
                let mut known = keys.iter_mut();
                let known = known.find(|k| k.known_as.contains(&left));
                let key = match known {
                    Some(key) => key,
                    None if step == 0 => {
                        keys.push(KeyColumn {
                            known_as: vec![left],
                            columns: vec![left],
                            conjuncts: Vec::new(),
                        });
                        keys.last_mut()?
                    }
                    None => continue,
                };
                if key.columns.len() == input {
                    key.columns.push(right);
                    key.conjuncts.push(number);
                    if chain.is_always_there(input) {
                        key.known_as.push(chain.starts[input] + right);
                    }
                }
            }
        }
        keys.retain(|k| k.columns.len() == chain.inputs.len());
        (!keys.is_empty()).then(|| Self::made_of(chain, &keys, conjuncts))
    }

    fn made_of(chain: &Chain, keys: &[KeyColumn], conjuncts: Vec<Vec<Expr>>) -> Self {
        let of_input = |input: usize| keys.iter().map(|k| k.columns[input]).collect();
        let rest = |(step, conjuncts): (usize, Vec<Expr>)| {
            let is_key = |number: usize| keys.iter().any(|k| k.conjuncts[step] == number);
            let rest = conjuncts.into_iter().enumerate();
            let rest = rest.filter(|(number, _)| !is_key(*number));
            Expr::and(rest.map(|(_, conjunct)| conjunct))
        };
        Self {
            columns: (0..chain.inputs.len()).map(of_input).collect(),
            rests: conjuncts.into_iter().enumerate().map(rest).collect(),
        }
    }
}

/// The columns of `a = b`, of the inputs before and of the one that begins at `start`: the first
/// among those of all inputs, the second in its own.
fn equal_columns(conjunct: &Expr, start: usize) -> Option<(usize, usize)> {
    let keys = JoinKeys::of(conjunct, start);
    match (
        keys.left.as_slice(),
        keys.right.as_slice(),
        keys.null_safe.as_slice(),
    ) {
        ([left], [right], [false]) => Some((left.as_column()?, right.as_column()?)),
        _ => None,
    }
}

impl Lowering<'_> {
    /// A chain of at least two joins on one key; `None` when it is none, or not wanted.
    pub(super) fn lower_multi_join(&mut self, node: &Join) -> Result<Option<Stream>> {
        let is_wanted = self.context.config.boolean(&MULTI_JOIN)?.unwrap_or(false);
        if !is_wanted || !is_link(node) {
            return Ok(None);
        }
        let chain = Chain::of_join(node);
        let key = match chain.steps.len() {
            0 | 1 => None,
            _ => CommonKey::of(&chain),
        };
        let Some(key) = key else {
            return Ok(None);
        };
        let inputs = chain.inputs.iter().map(|input| self.lower(input, true));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        self.add_multi_join(node, &chain, &key, &inputs).map(Some)
    }

    fn add_multi_join(
        &mut self,
        node: &Join,
        chain: &Chain,
        key: &CommonKey,
        inputs: &[Stream],
    ) -> Result<Stream> {
        let config = self.multi_join_config(node, chain, key, inputs)?;
        let is_append = inputs.iter().all(|i| i.mode.is_append_only());
        let is_inner = chain.steps.iter().all(|(kind, _)| *kind == JoinKind::Inner);
        let mode = match is_append && is_inner {
            true => ChangelogMode::APPEND,
            false => updating(true),
        };
        let (label, rows) = identify(chain, key, inputs, node);
        let edges = inputs
            .iter()
            .zip(&key.columns)
            .map(|(input, columns)| Edge {
                from: input.node,
                exchange: Exchange::Hash(columns.clone()),
                keys: columns.clone(),
            });
        let edges = edges.collect();
        let id = self.add_operator(label, config, edges, &node.schema, None);
        let place_of = |column: &usize| chain.output.iter().position(|c| c == column);
        let keys = key.columns[0].iter().map(place_of);
        Ok(Stream {
            node: id,
            schema: node.schema.clone(),
            mode,
            upsert_key: None,
            distribution: match keys.collect() {
                Some(keys) => Distribution::Hash(keys),
                None => Distribution::Any,
            },
            parallelism: None,
            identity: rows,
        })
    }

    fn multi_join_config(
        &self,
        node: &Join,
        chain: &Chain,
        key: &CommonKey,
        inputs: &[Stream],
    ) -> Result<MultiJoinConfig> {
        let ttl_ms = self.state_ttl_ms()?;
        let input = |(input, columns): (&Stream, &Vec<usize>)| MultiJoinInput {
            key_columns: columns.clone(),
            is_append: input.mode.is_append_only(),
            ttl_ms,
            schema: input.schema.to_arrow(),
        };
        let mut so_far = inputs[0].schema.clone();
        let mut steps = Vec::with_capacity(chain.steps.len());
        for (((kind, _), rest), input) in chain.steps.iter().zip(&key.rests).zip(&inputs[1..]) {
            so_far = so_far.join(&input.schema);
            steps.push(MultiJoinStep {
                kind: kind_config(*kind),
                residual: match rest.is_true() {
                    true => None,
                    false => Some(self.compiler(&so_far).compile(rest)?),
                },
            });
        }
        Ok(MultiJoinConfig {
            inputs: inputs.iter().zip(&key.columns).map(input).collect(),
            steps,
            output: chain.output.iter().map(|c| chain.place(*c)).collect(),
            schema: node.schema.to_arrow(),
        })
    }
}

/// How a chain is known, and what its result is.
fn identify(chain: &Chain, key: &CommonKey, inputs: &[Stream], node: &Join) -> (Label, Identity) {
    let sides = inputs.iter().enumerate();
    let sides = sides.map(|(number, input)| input.identity.as_side(&format!("input {number}")));
    let sides: Vec<Identity> = sides.collect();
    let columns = sides.iter().flat_map(Identity::all_columns).collect();
    let all = sides[0].with_columns(columns);
    let mut uid = Fingerprint::of("multi join");
    for ((kind, _), rest) in chain.steps.iter().zip(&key.rests) {
        uid = uid.text(&format!("{kind:?}")).number(all.expr(rest));
    }
    for (side, columns) in sides.iter().zip(&key.columns) {
        uid = side.all(uid.numbers(side.columns(columns)));
    }
    let state = inputs.iter().enumerate();
    let state = state.flat_map(|(n, i)| i.identity.state(&format!("input{n}"), &i.schema));
    let kinds: Vec<String> = chain.steps.iter().map(|(k, _)| format!("{k:?}")).collect();
    let name = format!("MultiJoin(joinTypes={kinds:?}, where=[{}])", node.condition);
    let label = Label::new(name, uid).with_state(state.collect());
    let rows = sides[0].derive(uid, &key.columns[0], all.columns(&chain.output));
    (label, rows)
}
