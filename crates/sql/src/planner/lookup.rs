//! Lookup joins with tables that answer by key.

use std::sync::Arc;

use flott_core::Result;
use flott_core::connector::TableContext;
use flott_core::graph::NodeKind;
use flott_core::lookup::{CACHE, CACHE_MISSING_KEY, EXPIRE_AFTER_ACCESS, EXPIRE_AFTER_WRITE};
use flott_core::lookup::{LookupRequest, LookupSource, MAX_ROWS};
use flott_core::options::{OptionDef, OptionType, Options};
use flott_table::operators::join::{AsyncLookupJoinConfig, LookupCacheConfig, LookupRetry};

use super::identity::Label;
use super::lower::Lowering;
use super::relation::{JoinIdentity, JoinKeys};
use super::scan::scan_identity;
use super::stream::{Distribution, Stream};
use crate::expr::Expr;
use crate::plan::{Join, Plan, Scan};

const OUTPUT_MODE: OptionDef = OptionDef::new(
    "table.exec.async-lookup.output-mode",
    OptionType::Enum(&["ORDERED", "ALLOW_UNORDERED"]),
    "whether rows may overtake others whose look-up takes longer, where nothing depends on their order",
)
.default("ORDERED");
const CAPACITY: OptionDef = OptionDef::new(
    "table.exec.async-lookup.buffer-capacity",
    OptionType::Integer,
    "how many keys may be looked up at once, in each subtask",
)
.default("100");
const TIMEOUT: OptionDef = OptionDef::new(
    "table.exec.async-lookup.timeout",
    OptionType::Duration,
    "how long a look-up may take before it fails the job",
)
.default("3 min");

/// Of a cache without `lookup.partial-cache.max-rows`.
const DEFAULT_MAX_ROWS: usize = 1 << 20;

/// What a LOOKUP hint may say.
const HINTS: &[OptionDef] = &[
    HINT_TABLE,
    HINT_ASYNC,
    HINT_OUTPUT_MODE,
    HINT_CAPACITY,
    HINT_TIMEOUT,
    RETRY_PREDICATE,
    RETRY_STRATEGY,
    FIXED_DELAY,
    MAX_ATTEMPTS,
];
const HINT_TABLE: OptionDef =
    OptionDef::new("table", OptionType::String, "the table that is looked up");
const HINT_ASYNC: OptionDef = OptionDef::new(
    "async",
    OptionType::Boolean,
    "without effect: requests never block",
);
const HINT_OUTPUT_MODE: OptionDef = OptionDef::new(
    "output-mode",
    OptionType::Enum(&["ordered", "allow_unordered"]),
    "as 'table.exec.async-lookup.output-mode'",
);
const HINT_CAPACITY: OptionDef = OptionDef::new(
    "capacity",
    OptionType::Integer,
    "as 'table.exec.async-lookup.buffer-capacity'",
);
const HINT_TIMEOUT: OptionDef = OptionDef::new(
    "timeout",
    OptionType::Duration,
    "as 'table.exec.async-lookup.timeout'",
);
const RETRY_PREDICATE: OptionDef = OptionDef::new(
    "retry-predicate",
    OptionType::Enum(&["lookup_miss"]),
    "what is asked for again: keys without rows",
);
const RETRY_STRATEGY: OptionDef = OptionDef::new(
    "retry-strategy",
    OptionType::Enum(&["fixed_delay"]),
    "when it is asked for again",
);
const FIXED_DELAY: OptionDef = OptionDef::new(
    "fixed-delay",
    OptionType::Duration,
    "how long to wait before the next attempt",
);
const MAX_ATTEMPTS: OptionDef = OptionDef::new(
    "max-attempts",
    OptionType::Integer,
    "how often to ask again at most",
);

impl Lowering<'_> {
    /// The stream of a lookup join whose table can be asked by the join's keys; `None` where the
    /// table has to be read.
    pub(super) fn lower_async_lookup(
        &mut self,
        node: &Join,
        needs: bool,
    ) -> Result<Option<Stream>> {
        let Some(scan) = looked_up(&node.right) else {
            return Ok(None);
        };
        let keys = JoinKeys::of(&node.condition, node.left.schema().len());
        let Some(right_keys) = columns_of(&keys) else {
            return Ok(None);
        };
        let request = LookupRequest {
            fields: scan.fields.clone(),
            keys: right_keys.clone(),
        };
        let Some(source) = self.lookup_of(scan, request)? else {
            return Ok(None);
        };
        let hint = hint_of(scan)?;
        let left = self.lower(&node.left, needs)?;
        let (left, left_keys) = self.with_keys(left, &keys.left)?;
        let widened = left.schema.len();
        let sides = (
            (&left.schema, left_keys.clone()),
            (&scan.schema, right_keys),
        );
        let (inputs, rest, schema) = self.join_inputs(node, keys, sides)?;
        let right = scan_identity(scan);
        let identity = JoinIdentity::of(node, &inputs, &rest, [&left.identity, &right]);
        let about = match source.describe() {
            about if about.is_empty() => about,
            about => format!(", {about}"),
        };
        let name = format!(
            "LookupJoin(table={}{about}, joinType={:?}, where=[{}])",
            scan.path, node.kind, node.condition
        );
        let config = AsyncLookupJoinConfig {
            keeps_order: self.keeps_order(&left, &hint),
            capacity: self.capacity(&hint)?,
            timeout_ms: self.timeout_ms(&hint)?,
            cache: cache_of(&scan.options)?,
            retry: retry_of(&hint)?,
            inputs,
            source,
        };
        let (mut edge, parallelism) = left.by_key(&left_keys);
        // Rows that wait for answers are not kept by key.
        edge.keys.clear();
        let state = left.identity.state("left", &left.schema);
        let label = Label::new(name, identity.uid).with_state(state);
        let kind = NodeKind::Operator(Arc::new(config));
        let id = self.add_node(label, kind, vec![edge], &schema, parallelism);
        let stream = Stream {
            node: id,
            schema,
            mode: left.mode,
            upsert_key: None,
            distribution: Distribution::Hash(left_keys),
            parallelism,
            identity: identity.rows,
        };
        let widths = (widened, scan.schema.len());
        self.without_keys(node, stream, widths).map(Some)
    }

    fn lookup_of(
        &self,
        scan: &Scan,
        request: LookupRequest,
    ) -> Result<Option<Arc<dyn LookupSource>>> {
        let Some(identifier) = scan.table.options.get("connector") else {
            return Ok(None);
        };
        let context = TableContext {
            path: &scan.path,
            table: &scan.table,
            options: &scan.options,
            config: self.context.config,
            registry: self.context.registry,
            is_batch: self.context.is_batch,
        };
        let connector = self.context.registry.connector(identifier)?;
        let made = connector.create_lookup(context, request);
        made.map_err(|error| error.context(format!("table {}", scan.path)))
    }

    /// Updates of a row must not overtake each other.
    fn keeps_order(&self, left: &Stream, hint: &Options) -> bool {
        let mode = hint.get(HINT_OUTPUT_MODE.key);
        let mode = mode.or_else(|| self.context.config.text(&OUTPUT_MODE));
        let is_free = mode.is_some_and(|m| m.eq_ignore_ascii_case("ALLOW_UNORDERED"));
        !is_free || !left.mode.is_append_only()
    }

    fn capacity(&self, hint: &Options) -> Result<usize> {
        let hinted = hint.integer(&HINT_CAPACITY)?;
        let capacity = hinted.or(self.context.config.integer(&CAPACITY)?);
        Ok(capacity.unwrap_or_default().max(1) as usize)
    }

    fn timeout_ms(&self, hint: &Options) -> Result<i64> {
        let hinted = hint.duration(&HINT_TIMEOUT)?;
        let timeout = hinted.or(self.context.config.duration(&TIMEOUT)?);
        Ok(timeout.unwrap_or_default().as_millis() as i64)
    }
}

fn hint_of(scan: &Scan) -> Result<Options> {
    let mut hint = Options::default();
    for (key, value) in &scan.lookup_hint {
        hint.set(key, value);
    }
    hint.check("the hint LOOKUP", &[HINTS])?;
    Ok(hint)
}

/// The first attempt is no retry.
fn retry_of(hint: &Options) -> Result<Option<LookupRetry>> {
    let Some(delay) = hint.duration(&FIXED_DELAY)? else {
        return Ok(None);
    };
    let retries = hint.integer(&MAX_ATTEMPTS)?.unwrap_or(1).clamp(0, 1 << 20);
    Ok(Some(LookupRetry {
        delay_ms: delay.as_millis() as i64,
        max_attempts: 1 + retries as u32,
    }))
}

/// The scan of a plan that is nothing but a declared table.
fn looked_up(plan: &Plan) -> Option<&Scan> {
    match plan {
        Plan::Scan(scan) => Some(scan),
        Plan::Watermark(watermark) => looked_up(&watermark.input),
        _ => None,
    }
}

/// The table's key columns, where they are such that it can be asked by them.
fn columns_of(keys: &JoinKeys) -> Option<Vec<usize>> {
    let columns: Vec<usize> = keys
        .right
        .iter()
        .map(Expr::as_column)
        .collect::<Option<_>>()?;
    let is_once = |c: &usize| columns.iter().filter(|other| *other == c).count() == 1;
    let is_plain = !columns.is_empty() && keys.null_safe.iter().all(|null_safe| !null_safe);
    (is_plain && columns.iter().all(is_once)).then_some(columns)
}

fn cache_of(options: &Options) -> Result<Option<LookupCacheConfig>> {
    let is_partial = |kind: &str| kind.eq_ignore_ascii_case("PARTIAL");
    if !options.text(&CACHE).is_some_and(is_partial) {
        return Ok(None);
    }
    let duration = |option: &OptionDef| -> Result<Option<i64>> {
        Ok(options.duration(option)?.map(|d| d.as_millis() as i64))
    };
    let max_rows = options.integer(&MAX_ROWS)?;
    Ok(Some(LookupCacheConfig {
        max_rows: max_rows.map_or(DEFAULT_MAX_ROWS, |rows| rows.max(0) as usize),
        expire_after_write_ms: duration(&EXPIRE_AFTER_WRITE)?,
        expire_after_access_ms: duration(&EXPIRE_AFTER_ACCESS)?,
        caches_missing_keys: options.boolean(&CACHE_MISSING_KEY)?.unwrap_or(true),
    }))
}
