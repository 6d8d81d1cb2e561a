//! Functions of regular expressions, which have Java's syntax.

pub mod extract;
pub mod find;
pub mod guided;
pub mod java;
pub mod pattern;
pub mod replace;

use std::sync::Arc;

use arrow::array::ArrayRef;
use flott_core::Result;

use self::pattern::{Constant, Patterns};
use crate::functions::kernel::{Args, columns};
use crate::functions::{BindContext, Kernel};

/// A kernel whose second argument is a pattern: compiled here when it is constant, else for each
/// new value.
fn pattern_kernel(
    ctx: &BindContext<'_>,
    work: impl Fn(&Args, &mut Patterns) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Result<Arc<dyn Kernel>> {
    let pattern = ctx.argument(1)?.literal_text();
    let constant = pattern.map(Constant::compile).transpose()?;
    let label = format!("{} {pattern:?}", ctx.name.to_ascii_uppercase());
    Ok(columns(label, move |args| {
        work(args, &mut Patterns::constant(constant.as_ref()))
    }))
}
