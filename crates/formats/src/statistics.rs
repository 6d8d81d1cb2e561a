//! What the statistics of files in columns can be held against.

use flott_core::format::DecodeRequest;
use flott_core::source::{FieldPredicate, PredicateValue};
use flott_core::types::LogicalType;

/// The predicates on whole columns whose values files order as SQL does, by the column's name.
pub(crate) fn comparable<'a>(
    offered: &'a [FieldPredicate],
    request: &'a DecodeRequest,
) -> impl Iterator<Item = (&'a str, &'a [PredicateValue])> {
    offered.iter().filter_map(|predicate| {
        let [column] = predicate.field.0.as_slice() else {
            return None;
        };
        let column = request.schema.columns().get(*column)?;
        let logical = &column.data_type.logical;
        let is_plain = logical.is_integer() || matches!(logical, LogicalType::VarChar(_));
        is_plain.then_some((column.name.as_str(), predicate.values.as_slice()))
    })
}
