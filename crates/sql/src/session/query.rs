//! Statements that become jobs: bound, optimized, planned.

use std::sync::Arc;

use flott_core::Result;
use flott_core::connector::SinkRequest;
use flott_core::graph::JobGraph;

use super::{Session, StatementResult};
use crate::binder::{bind_insert, bind_query};
use crate::functions::ExprContext;
use crate::optimizer;
use crate::parser::ast::{Explain, ExplainDetail, Insert, SourceQuery, Statement};
use crate::plan::{Plan, explain_plan};
use crate::planner::{PlannerContext, SinkTarget, explain_graph, plan_inserts, plan_query};

impl Session {
    fn planner_context<'a>(
        &'a self,
        expr: &'a ExprContext,
        parallelism: usize,
    ) -> PlannerContext<'a> {
        PlannerContext {
            registry: self.registry(),
            config: &self.config,
            expr,
            parallelism,
            is_batch: self.is_batch(),
        }
    }

    /// A query whose rows go to the caller.
    pub(super) fn query(
        &self,
        source: &SourceQuery,
        parallelism: usize,
    ) -> Result<StatementResult> {
        let expr = self.expr_context()?;
        let bound = bind_query(&source.query, &self.bind_context(&expr))?;
        let context = self.planner_context(&expr, parallelism);
        let plan = optimizer::optimize(&bound.plan, self.is_batch(), &context)?;
        let planned = plan_query(&plan, context)?;
        Ok(StatementResult::Query(planned))
    }

    /// One job that writes tables.
    pub(super) fn insert(&self, inserts: &[Insert], parallelism: usize) -> Result<StatementResult> {
        let expr = self.expr_context()?;
        let graph = self.insert_graph(inserts, &expr, parallelism)?;
        Ok(StatementResult::Insert(graph))
    }

    fn insert_graph(
        &self,
        inserts: &[Insert],
        expr: &ExprContext,
        parallelism: usize,
    ) -> Result<JobGraph> {
        let (_, planned) = self.optimized_inserts(inserts, expr, parallelism)?;
        let names: Vec<_> = planned
            .iter()
            .map(|(_, t)| t.path.to_string().replace('`', ""))
            .collect();
        let made_up = format!("insert-into_{}", names.join("_"));
        let name = self.config.get("pipeline.name").unwrap_or(&made_up);
        plan_inserts(name, &planned, self.planner_context(expr, parallelism))
    }

    /// The plans as bound, and those as optimized with the sinks.
    fn optimized_inserts(
        &self,
        inserts: &[Insert],
        expr: &ExprContext,
        parallelism: usize,
    ) -> Result<(Vec<Arc<Plan>>, Vec<(Arc<Plan>, SinkTarget)>)> {
        let context = self.bind_context(expr);
        let bound = inserts.iter().map(|insert| {
            let bound = bind_insert(insert, &context)?;
            let partition = insert.partition.iter();
            let static_partition = partition
                .filter_map(|p| p.value.as_ref().map(|v| (p.key.value.clone(), v.clone())))
                .collect();
            let target = SinkTarget {
                path: bound.path,
                table: bound.table,
                options: bound.options,
                request: SinkRequest {
                    overwrite: bound.overwrite,
                    static_partition,
                },
            };
            Ok((bound.plan, target))
        });
        let bound = bound.collect::<Result<Vec<_>>>()?;
        let (plans, targets): (Vec<_>, Vec<_>) = bound.into_iter().unzip();
        let context = self.planner_context(expr, parallelism);
        let asked = plans.iter().zip(&targets);
        let asked: Vec<_> = asked
            .map(|(plan, target)| (plan.clone(), looks_at_watermarks(target)))
            .collect();
        let optimized = optimizer::optimize_all(&asked, self.is_batch(), &context)?;
        Ok((plans, optimized.into_iter().zip(targets).collect()))
    }

    pub(super) fn explain_statement(
        &self,
        explain: &Explain,
        parallelism: usize,
    ) -> Result<StatementResult> {
        let mut text = self.explained(&explain.statement, parallelism)?;
        if explain.details.contains(&ExplainDetail::PlanAdvice) {
            text.push_str("\nno advice\n");
        }
        StatementResult::list("result", vec![text])
    }

    /// The plans of a statement in Flink's sections.
    pub(super) fn explained(&self, statement: &Statement, parallelism: usize) -> Result<String> {
        let expr = self.expr_context()?;
        let context = self.planner_context(&expr, parallelism);
        let (bound, optimized, graph) = match statement {
            Statement::Query(source) => self.explained_query(source, &expr, context)?,
            Statement::CreateTable(create) if create.query.is_some() => match &create.query {
                Some(source) => self.explained_query(source, &expr, context)?,
                None => Default::default(),
            },
            Statement::Insert(insert) => {
                self.explained_inserts(std::slice::from_ref(insert), &expr, parallelism)?
            }
            Statement::StatementSet(inserts) => {
                self.explained_inserts(inserts, &expr, parallelism)?
            }
            _ => {
                let message = "EXPLAIN takes a query, an INSERT or a statement set";
                return Err(flott_core::Error::user("UNSUPPORTED_STATEMENT", message));
            }
        };
        Ok(format!(
            "== Abstract Syntax Tree ==\n{bound}\n== Optimized Physical Plan ==\n{optimized}\n\
             == Optimized Execution Plan ==\n{graph}"
        ))
    }

    fn explained_query(
        &self,
        source: &SourceQuery,
        expr: &ExprContext,
        context: PlannerContext<'_>,
    ) -> Result<(String, String, String)> {
        let bound = bind_query(&source.query, &self.bind_context(expr))?;
        let plan = optimizer::optimize(&bound.plan, self.is_batch(), &context)?;
        let planned = plan_query(&plan, context)?;
        let graph = explain_graph(&planned.graph, Some(planned.output));
        Ok((explain_plan(&bound.plan), explain_plan(&plan), graph))
    }

    fn explained_inserts(
        &self,
        inserts: &[Insert],
        expr: &ExprContext,
        parallelism: usize,
    ) -> Result<(String, String, String)> {
        let mut texts = (String::new(), String::new(), String::new());
        let (bound, optimized) = self.optimized_inserts(inserts, expr, parallelism)?;
        for (bound, (optimized, target)) in bound.iter().zip(&optimized) {
            let head = format!("Sink({})\n", target.path);
            texts.0 += &format!("{head}{}", explain_plan(bound));
            texts.1 += &format!("{head}{}", explain_plan(optimized));
        }
        let graph = self.insert_graph(inserts, expr, parallelism)?;
        texts.2 = explain_graph(&graph, None);
        Ok(texts)
    }
}

/// Partitions are committed by event time.
fn looks_at_watermarks(target: &SinkTarget) -> bool {
    let mut keys = target.options.iter().map(|(key, _)| key);
    keys.any(|key| key.starts_with("sink.partition-commit."))
}
