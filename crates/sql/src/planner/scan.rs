//! Sources, constant rows, and the nodes that work on one row at a time.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::concat_batches;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use flott_core::changelog::ChangelogMode;
use flott_core::connector::TableContext;
use flott_core::graph::{Edge, NodeKind};
use flott_core::options::{OptionDef, OptionType};
use flott_core::source::{ScanRequest, TableSource};
use flott_core::{Error, Result};
use flott_table::operators::calc::CalcConfig;
use flott_table::operators::deduplicate::ChangelogNormalizeConfig;
use flott_table::operators::union::UnionConfig;
use flott_table::operators::unnest::UnnestConfig;
use flott_table::operators::values::ValuesSource;
use flott_table::operators::watermark_assigner::{
    DEFAULT_EMIT_INTERVAL_MS, WatermarkAssignerConfig,
};

use super::PlannerContext;
use super::identity::{Fingerprint, Identity, Label, field_meaning};
use super::kernel_expr::expression_error;
use super::lower::Lowering;
use super::shared::extract_shared;
use super::stream::{Distribution, Stream};
use crate::expr::Expr;
use crate::optimizer::{SourceFacts, Sources};
use crate::plan::{Filter, Plan, Project, Scan, Union, Unnest, Values, Watermark};

pub(super) const AUTO_WATERMARK_INTERVAL: OptionDef = OptionDef::new(
    "pipeline.auto-watermark-interval",
    OptionType::Duration,
    "how much event time may pass before a watermark is sent",
);
const CDC_DUPLICATES: OptionDef = OptionDef::new(
    "table.exec.source.cdc-events-duplicate",
    OptionType::Boolean,
    "whether change events may come twice, so that they are normalised by primary key",
)
.default("false");

impl PlannerContext<'_> {
    fn create_source(&self, node: &Scan) -> Result<Arc<dyn TableSource>> {
        let identifier = node.table.options.get("connector").ok_or_else(|| {
            let message = format!(
                "table {} has no option 'connector': it cannot be read",
                node.path
            );
            Error::user("MISSING_OPTION", message)
        })?;
        let connector = self.registry.connector(identifier)?;
        let context = TableContext {
            path: &node.path,
            table: &node.table,
            options: &node.options,
            config: self.config,
            registry: self.registry,
            is_batch: self.is_batch,
        };
        let request = ScanRequest {
            fields: node.fields.clone(),
            predicates: node.predicates.clone(),
            limit: node.limit.filter(|_| node.dead_letters.is_none()),
            dead_letters: node.dead_letters.is_some(),
        };
        connector
            .create_source(context, request)
            .map_err(|error| error.context(format!("table {}", node.path)))
    }

    /// Whether a source's changelog is brought into order by primary key.
    pub(super) fn is_normalized(&self, mode: ChangelogMode) -> Result<bool> {
        if mode.is_append_only() {
            return Ok(false);
        }
        let has_duplicates = self.config.boolean(&CDC_DUPLICATES)?.unwrap_or_default();
        Ok(!mode.update_before || has_duplicates)
    }
}

impl Sources for PlannerContext<'_> {
    fn facts(&self, scan: &Scan) -> Result<SourceFacts> {
        let source = self.create_source(scan)?;
        Ok(SourceFacts {
            needs_key: self.is_normalized(source.changelog_mode())?,
            applied: source.applied_predicates(),
        })
    }
}

impl Lowering<'_> {
    /// The source of a scan, made once.
    pub(super) fn source_of(
        &mut self,
        plan: &Arc<Plan>,
        node: &Scan,
    ) -> Result<Arc<dyn TableSource>> {
        let address = Arc::as_ptr(plan) as usize;
        if let Some(source) = self.sources.get(&address) {
            return Ok(source.clone());
        }
        let source = self.context.create_source(node)?;
        if self.context.is_batch && !source.is_bounded() {
            let message = format!(
                "table {} never ends: it cannot be read in batch mode",
                node.path
            );
            return Err(Error::user("UNBOUNDED_IN_BATCH", message));
        }
        self.sources.insert(address, source.clone());
        Ok(source)
    }

    pub(super) fn lower_scan(&mut self, plan: &Arc<Plan>, node: &Scan) -> Result<Stream> {
        let source = self.source_of(plan, node)?;
        let (mode, parallelism) = (source.changelog_mode(), source.parallelism());
        let about = source.describe();
        let about = if about.is_empty() {
            about
        } else {
            format!(", {about}")
        };
        let name = format!("Source: {}{about}", node.path.name);
        let identity = scan_identity(node);
        let schema = match node.dead_letters {
            Some(_) => flott_core::dead_letter::with_column(&node.schema),
            None => node.schema.clone(),
        };
        let id = self.add_node(
            Label::stateless(name, "source", &identity),
            NodeKind::Source(source),
            Vec::new(),
            &schema,
            parallelism,
        );
        let idle_timeout_ms = self.idle_timeout_ms(node)?;
        self.set_idle_timeout(id, idle_timeout_ms);
        let stream = Stream {
            identity,
            node: id,
            schema: node.schema.clone(),
            mode,
            upsert_key: None,
            distribution: if parallelism == Some(1) {
                Distribution::Single
            } else {
                Distribution::Any
            },
            parallelism,
        };
        let stream = match &node.dead_letters {
            Some(target) => self.part_dead_letters(stream, node, target)?,
            None => stream,
        };
        self.normalize(stream, node)
    }

    /// An upsert changelog, or one with duplicates, becomes a regular one.
    fn normalize(&mut self, stream: Stream, node: &Scan) -> Result<Stream> {
        if !self.context.is_normalized(stream.mode)? {
            return Ok(stream);
        }
        let key_columns = primary_key_columns(node)?;
        let (edge, parallelism) = stream.by_key(&key_columns);
        let config = ChangelogNormalizeConfig {
            key_columns: key_columns.clone(),
            emits_update_before: true,
            sends_every_version: self.is_versioned,
            schema: stream.schema.to_arrow(),
        };
        let name = format!("ChangelogNormalize(key={key_columns:?})");
        let identity = stream.identity;
        let uid = identity.keyed(Fingerprint::of("normalize"), &key_columns);
        let state = identity.state("", &stream.schema);
        let label = Label::new(name, uid).with_state(state);
        let id = self.add_operator(label, config, vec![edge], &stream.schema, parallelism);
        Ok(Stream {
            identity,
            node: id,
            mode: ChangelogMode::RETRACT,
            distribution: Distribution::Hash(key_columns.clone()),
            upsert_key: Some(key_columns),
            parallelism,
            schema: stream.schema,
        })
    }

    pub(super) fn lower_values(&mut self, node: &Values) -> Result<Stream> {
        let schema = node.schema.to_arrow();
        let one_row = RecordBatch::try_new_with_options(
            Arc::new(arrow::datatypes::Schema::empty()),
            Vec::new(),
            &RecordBatchOptions::new().with_row_count(Some(1)),
        )?;
        let compiler = self.compiler(&flott_core::schema::Schema::empty());
        let mut batches = Vec::with_capacity(node.rows.len());
        for row in &node.rows {
            let columns = row
                .iter()
                .map(|expr| {
                    let value = compiler.compile(expr)?.evaluate(&one_row);
                    value
                        .and_then(|v| v.into_array(1))
                        .map_err(expression_error)
                })
                .collect::<Result<Vec<ArrayRef>>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            batches.push(RecordBatch::try_new_with_options(
                schema.clone(),
                columns,
                &options,
            )?);
        }
        let rows = concat_batches(&schema, &batches)?;
        let source = Arc::new(ValuesSource {
            rows,
            schema: node.schema.clone(),
        });
        let name = format!("Values({} rows)", node.rows.len());
        let identity = values_identity(node);
        let id = self.add_node(
            Label::stateless(name, "values", &identity),
            NodeKind::Source(source),
            Vec::new(),
            &node.schema,
            Some(1),
        );
        Ok(Stream {
            identity,
            node: id,
            schema: node.schema.clone(),
            mode: ChangelogMode::APPEND,
            upsert_key: None,
            distribution: Distribution::Single,
            parallelism: Some(1),
        })
    }

    /// A projection, with the filter below it in the same operator.
    pub(super) fn lower_project(&mut self, node: &Project, needs: bool) -> Result<Stream> {
        let (input, predicate) = match node.input.as_ref() {
            Plan::Filter(filter) => (self.lower(&filter.input, true)?, Some(&filter.predicate)),
            _ => (self.lower(&node.input, needs)?, None),
        };
        let is_identity = predicate.is_none()
            && node.exprs.len() == input.schema.len()
            && node
                .exprs
                .iter()
                .enumerate()
                .all(|(i, e)| e.as_column() == Some(i));
        if is_identity {
            return Ok(Stream {
                schema: node.schema.clone(),
                ..input
            });
        }
        let compiler = self.compiler(&input.schema);
        let mut exprs = node.exprs.clone();
        let shared = extract_shared(&mut exprs, input.schema.len());
        let widened = shared.iter().enumerate().map(|(i, e)| {
            flott_core::schema::Column::new(format!("shared{i}"), e.data_type.clone())
        });
        let widened = input
            .schema
            .columns()
            .iter()
            .cloned()
            .chain(widened)
            .collect();
        let config = CalcConfig {
            predicate: predicate.map(|p| compiler.compile(p)).transpose()?,
            shared: compiler.compile_all(&shared)?,
            projection: Some(self.compiler(&widened).compile_all(&exprs)?),
            schema: node.schema.to_arrow(),
        };
        let name = calc_name(Some(&node.exprs), predicate);
        let id = self.add_operator(
            Label::stateless(name, "calc", &input.identity),
            config,
            vec![input.forward()],
            &node.schema,
            input.parallelism,
        );
        let filtered = predicate.map(|p| input.identity.filter(p));
        let identity = filtered
            .as_ref()
            .unwrap_or(&input.identity)
            .project(&node.exprs);
        let position = |column: usize| {
            node.exprs
                .iter()
                .position(|e| e.as_column() == Some(column))
        };
        let upsert_key = input
            .upsert_key
            .and_then(|k| k.into_iter().map(position).collect());
        Ok(Stream {
            node: id,
            schema: node.schema.clone(),
            identity,
            mode: input.mode,
            upsert_key,
            distribution: input.distribution.project(position),
            parallelism: input.parallelism,
        })
    }

    pub(super) fn lower_filter(&mut self, node: &Filter) -> Result<Stream> {
        // A row whose update fails the filter must be taken back: -U rows are needed.
        let input = self.lower(&node.input, true)?;
        let config = CalcConfig {
            predicate: Some(self.compiler(&input.schema).compile(&node.predicate)?),
            shared: Vec::new(),
            projection: None,
            schema: input.schema.to_arrow(),
        };
        let name = calc_name(None, Some(&node.predicate));
        let edge = vec![input.forward()];
        let label = Label::stateless(name, "calc", &input.identity);
        let id = self.add_operator(label, config, edge, &input.schema, input.parallelism);
        Ok(Stream {
            node: id,
            identity: input.identity.filter(&node.predicate),
            ..input
        })
    }

    pub(super) fn lower_watermark(&mut self, node: &Watermark, needs: bool) -> Result<Stream> {
        // A batch job has all rows before any window closes: none is late.
        let is_batch = self.context.is_batch;
        let is_hosted = is_batch || self.host_watermark(node)?;
        let input = self.lower(&node.input, needs)?;
        if is_hosted {
            return Ok(Stream {
                schema: node.schema.clone(),
                ..input
            });
        }
        let interval = self.context.config.duration(&AUTO_WATERMARK_INTERVAL)?;
        let config = WatermarkAssignerConfig {
            time_column: node.column,
            expr: self.compiler(&input.schema).compile(&node.expr)?,
            emit_interval_ms: interval.map_or(DEFAULT_EMIT_INTERVAL_MS, |interval| {
                interval.as_millis() as i64
            }),
            telling: self.telling,
        };
        let name = format!(
            "WatermarkAssigner(rowtime={})",
            node.schema.column(node.column).name
        );
        let edge = vec![input.forward()];
        let time = input.identity.column(node.column);
        let uid = Fingerprint::of("watermark").number(time);
        let label = Label::new(name, input.identity.origin(uid));
        let id = self.add_operator(label, config, edge, &node.schema, input.parallelism);
        Ok(Stream {
            node: id,
            schema: node.schema.clone(),
            ..input
        })
    }

    pub(super) fn lower_union(&mut self, node: &Union, needs: bool) -> Result<Stream> {
        let inputs = node
            .inputs
            .iter()
            .map(|input| self.lower(input, needs))
            .collect::<Result<Vec<_>>>()?;
        let parallelism = inputs.first().and_then(|s| s.parallelism);
        let is_even = inputs.iter().all(|s| s.parallelism == parallelism);
        let parallelism = if is_even { parallelism } else { None };
        let edges = inputs.iter().map(|stream| {
            let is_same = stream.parallelism == parallelism;
            // Rows of one key keep their order on the way to more subtasks.
            let exchange = match (&stream.mode, is_same) {
                (_, true) => flott_core::graph::Exchange::Forward,
                (mode, _) if mode.is_append_only() => flott_core::graph::Exchange::Rebalance,
                _ => {
                    let all = (0..stream.schema.len()).collect();
                    flott_core::graph::Exchange::Hash(stream.upsert_key.clone().unwrap_or(all))
                }
            };
            Edge {
                from: stream.node,
                exchange,
                keys: Vec::new(),
            }
        });
        let edges = edges.collect();
        let mode = inputs
            .iter()
            .fold(ChangelogMode::APPEND, |mode, s| mode.union(s.mode));
        let config = UnionConfig {
            schema: node.schema.to_arrow(),
        };
        let identity = union_identity(&inputs, node.schema.len());
        let label = Label::stateless("Union".into(), "union", &identity);
        let id = self.add_operator(label, config, edges, &node.schema, parallelism);
        Ok(Stream {
            identity,
            node: id,
            schema: node.schema.clone(),
            mode,
            upsert_key: None,
            distribution: match parallelism {
                Some(1) => Distribution::Single,
                _ => Distribution::Any,
            },
            parallelism,
        })
    }

    pub(super) fn lower_unnest(&mut self, node: &Unnest) -> Result<Stream> {
        let input = self.lower(&node.input, true)?;
        let column = input.schema.column(node.column);
        let collection = Expr::column(node.column, column.data_type.clone());
        let config = UnnestConfig {
            collection: self.compiler(&input.schema).compile(&collection)?,
            is_multiset: matches!(
                column.data_type.logical,
                flott_core::types::LogicalType::Multiset(_)
            ),
            is_outer: node.is_outer,
            with_ordinality: node.with_ordinality,
            kept_columns: None,
            schema: node.schema.to_arrow(),
        };
        let name = format!(
            "Unnest({}{})",
            column.name,
            if node.is_outer { ", outer" } else { "" }
        );
        let edge = vec![input.forward()];
        let label = Label::stateless(name, "unnest", &input.identity);
        let id = self.add_operator(label, config, edge, &node.schema, input.parallelism);
        let collection = input.identity.column(node.column);
        let uid = Fingerprint::of("unnest").number(collection);
        let added = input.schema.len()..node.schema.len();
        let added = added.enumerate().map(|(i, _)| uid.number(i as u64).0);
        Ok(Stream {
            identity: input.identity.expand(input.identity.origin(uid), added),
            node: id,
            schema: node.schema.clone(),
            upsert_key: None,
            ..input
        })
    }
}

/// A table is known by its name, a column by the table's and its own; hints that change the table's
/// options make it another.
pub(super) fn scan_identity(node: &Scan) -> Identity {
    let table = node.path.to_string();
    let mut rows = Fingerprint::of("scan").text(&table);
    let declared = node.table.options.iter().filter(|(k, _)| *k != "connector");
    if !declared.eq(node.options.iter()) {
        for (key, value) in node.options.iter() {
            rows = rows.text(key).text(value);
        }
    }
    let source = node.table.source_schema();
    let meaning = |path: &flott_core::source::FieldPath| {
        let mut meaning = Fingerprint::of("column").text(&table);
        let mut column = path.0.first().and_then(|c| source.columns().get(*c));
        let mut inner;
        for (depth, _) in path.0.iter().enumerate() {
            let Some(found) = column else {
                break;
            };
            meaning = match depth {
                0 => meaning.text(&found.name),
                _ => Fingerprint(field_meaning(meaning.0, &found.name)),
            };
            let flott_core::types::LogicalType::Row(fields) = &found.data_type.logical else {
                break;
            };
            let field = path.0.get(depth + 1).and_then(|i| fields.get(*i));
            inner = field.map(|f| flott_core::schema::Column::new(&f.name, f.data_type.clone()));
            column = inner.as_ref();
        }
        meaning.0
    };
    Identity::new(rows, node.fields.iter().map(meaning).collect())
}

fn values_identity(node: &Values) -> Identity {
    let nothing = Identity::new(Fingerprint::of("nothing"), Vec::new());
    let cells = node.rows.iter().flatten().map(|e| nothing.expr(e));
    let rows = Fingerprint::of("values").numbers(cells);
    let columns = node.schema.columns().iter().enumerate();
    let columns = columns.map(|(i, _)| rows.number(i as u64).0);
    Identity::new(rows, columns.collect())
}

fn union_identity(inputs: &[Stream], width: usize) -> Identity {
    let all = inputs
        .iter()
        .fold(Fingerprint::of("union"), |all, s| s.identity.all(all));
    let column = |c: usize| {
        let parts = inputs.iter().map(|s| s.identity.column(c));
        Fingerprint::of("union column").numbers(parts).0
    };
    Identity::new(all, (0..width).map(column).collect())
}

/// The positions of the primary key in a scan's columns.
fn primary_key_columns(node: &Scan) -> Result<Vec<usize>> {
    let key = node.table.primary_key.as_ref().ok_or_else(|| {
        let message = format!(
            "table {} gives updates by key: it needs a PRIMARY KEY … NOT ENFORCED",
            node.path
        );
        Error::user("PRIMARY_KEY_NEEDED", message)
    })?;
    let source = node.table.source_schema();
    let position = |name: &String| {
        let column = source.index_of(name)?;
        node.fields.iter().position(|f| f.0 == [column])
    };
    key.columns
        .iter()
        .map(position)
        .collect::<Option<_>>()
        .ok_or_else(|| {
            Error::internal(format!(
                "the primary key of {} is not among its scanned columns",
                node.path
            ))
        })
}

fn calc_name(exprs: Option<&[Expr]>, predicate: Option<&Expr>) -> String {
    let mut parts = Vec::new();
    if let Some(exprs) = exprs {
        let exprs: Vec<String> = exprs.iter().map(ToString::to_string).collect();
        parts.push(format!("select=[{}]", exprs.join(", ")));
    }
    parts.extend(predicate.map(|p| format!("where=[{p}]")));
    format!("Calc({})", parts.join(", "))
}
