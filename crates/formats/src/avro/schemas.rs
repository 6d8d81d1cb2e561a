//! The schemas of a registry, each asked for once.
//!
//! A decoder runs on a thread that must not wait. Whoever hands messages to it lets a
//! [`SchemaLookahead`] see them first, on another thread: that one asks the registry, and decoder
//! and lookahead share the answers. Refusals are remembered too, for a while, so that a topic full
//! of messages with an unknown schema does not become a request for each of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flott_core::clock::Stopwatch;
use flott_core::format::Lookahead;
use flott_core::hash::StableHashMap;
use flott_core::{Error, ErrorKind, Result};

use super::registry::{Registry, Settings};

/// Answers about so many ids are kept; who meets more begins anew.
pub(super) const MAX_SCHEMAS: usize = 1000;
/// How long a refusal holds: a schema that is missing may yet be registered.
const REFUSAL_HOLDS: Duration = Duration::from_secs(60);
/// How long a registry that did not answer is left alone.
const FAILURE_HOLDS: Duration = Duration::from_secs(5);
/// A zero and the schema's id.
pub(super) const PREFIX_BYTES: usize = 5;

/// The id of the schema that a message was written with; `None` where it does not begin with one.
pub(super) fn schema_id(message: &[u8]) -> Option<u32> {
    match message.first_chunk::<PREFIX_BYTES>()? {
        [0, a, b, c, d] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// What is known of an id.
enum Known {
    Schema(Arc<str>),
    Refused { error: Error, since: Stopwatch },
}

impl Known {
    /// `None` when one may ask again.
    fn answer(&self) -> Option<Result<Arc<str>>> {
        match self {
            Self::Schema(text) => Some(Ok(text.clone())),
            Self::Refused { error, since } => {
                let holds = match error.kind() {
                    ErrorKind::User => REFUSAL_HOLDS,
                    _ => FAILURE_HOLDS,
                };
                (since.elapsed() < holds).then(|| Err(error.clone()))
            }
        }
    }
}

/// The schemas of a registry.
pub(super) struct Schemas {
    settings: Settings,
    /// Opened for the first schema.
    registry: Mutex<Option<Arc<Registry>>>,
    known: Mutex<StableHashMap<u32, Known>>,
}

/// What a lock guards is whole between any two calls.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Schemas {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            registry: Mutex::default(),
            known: Mutex::default(),
        }
    }

    fn registry(&self) -> Result<Arc<Registry>> {
        let mut registry = locked(&self.registry);
        if let Some(open) = &*registry {
            return Ok(open.clone());
        }
        let open = Arc::new(Registry::new(&self.settings)?);
        Ok(registry.insert(open).clone())
    }

    /// The schema of this id, as JSON text; asks the registry unless the answer is known.
    ///
    /// # Errors
    /// A user error when there is none, an external one when the registry does not answer.
    pub fn get(&self, id: u32, is_wanted: &dyn Fn() -> bool) -> Result<Arc<str>> {
        if let Some(answer) = locked(&self.known).get(&id).and_then(Known::answer) {
            return answer;
        }
        // Not locked meanwhile: others may find what they need.
        let answer = self
            .registry()
            .and_then(|registry| registry.schema(id, is_wanted));
        let (known, answer) = match answer {
            Ok(text) => {
                let text: Arc<str> = text.into();
                (Known::Schema(text.clone()), Ok(text))
            }
            Err(error) => {
                let since = Stopwatch::start();
                let known = Known::Refused {
                    error: error.clone(),
                    since,
                };
                (known, Err(error))
            }
        };
        let mut all = locked(&self.known);
        if all.len() >= MAX_SCHEMAS {
            all.clear();
        }
        all.insert(id, known);
        answer
    }
}

/// Asks for the schemas of messages that are going to be decoded.
pub(super) struct SchemaLookahead {
    schemas: Arc<Schemas>,
    /// That of the last message, once its schema is known.
    last: Option<u32>,
}

impl SchemaLookahead {
    pub fn new(schemas: Arc<Schemas>) -> Self {
        Self {
            schemas,
            last: None,
        }
    }
}

impl Lookahead for SchemaLookahead {
    fn look(&mut self, message: &[u8], is_wanted: &dyn Fn() -> bool) {
        let id = schema_id(message);
        if id.is_none() || id == self.last {
            return;
        }
        // Decoding the message gives the error again.
        let is_known = id.map(|id| self.schemas.get(id, is_wanted).is_ok());
        self.last = id.filter(|_| is_known == Some(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_zero_begins_an_id() {
        assert_eq!(schema_id(&[0, 0, 0, 1, 2, 9]), Some(258));
        assert_eq!(schema_id(&[1, 0, 0, 1, 2, 9]), None);
        assert_eq!(schema_id(&[0, 0, 0, 1]), None);
    }
}
