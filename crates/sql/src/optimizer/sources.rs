//! What the optimizer asks of the sources behind scans.

use flott_core::Result;

use crate::plan::Scan;

/// What the source of a scan does.
#[derive(Debug, Clone, Default)]
pub struct SourceFacts {
    /// Whether its changelog is brought into order by primary key behind it, so that the key must
    /// be produced and only filters on the key may leave rows out.
    pub needs_key: bool,
    /// Which of the scan's predicates hold for every row produced.
    pub applied: Vec<usize>,
}

/// Answers for the sources of scans.
pub trait Sources {
    /// # Errors
    /// A user error when the scan's table cannot be read.
    fn facts(&self, scan: &Scan) -> Result<SourceFacts>;
}

/// Sources of which nothing is known.
pub struct UnknownSources;

impl Sources for UnknownSources {
    fn facts(&self, _: &Scan) -> Result<SourceFacts> {
        Ok(SourceFacts::default())
    }
}
