//! Dead letters: a source's column of them becomes rows of the table that the source's table names.

use flott_core::changelog::ChangelogMode;
use flott_core::dead_letter::{self, DEAD_LETTER_TABLE};
use flott_core::graph::{Edge, Exchange, NodeKind};
use flott_core::schema::Schema;
use flott_core::{Error, Result};
use flott_table::operators::dead_letters::DeadLetterSplit;
use flott_table::operators::union::UnionConfig;

use super::SinkTarget;
use super::identity::{Fingerprint, Label};
use super::lower::Lowering;
use super::stream::Stream;
use crate::plan::{DeadLetterTable, Scan};

/// The letters of all sources that name one table.
pub(super) struct Letters {
    target: SinkTarget,
    streams: Vec<Stream>,
}

/// The field of a letter for each column of the table that takes them.
fn letter_fields(target: &DeadLetterTable) -> Result<Vec<usize>> {
    let known = dead_letter::fields();
    let schema = target.table.sink_schema();
    let place = |column: &flott_core::schema::Column| {
        let found = known.iter().position(|f| f.name == column.name);
        let fits = found.filter(|f| known[*f].data_type.logical == column.data_type.logical);
        fits.ok_or_else(|| {
            let all = known.iter();
            let all = all.map(|f| format!("`{}` {}", f.name, f.data_type.logical));
            let message = format!(
                "option '{}' is {}, whose column `{}` {} is nothing that is known of a dead \
                 letter; it may have these: {}",
                DEAD_LETTER_TABLE.key,
                target.path,
                column.name,
                column.data_type.logical,
                all.collect::<Vec<_>>().join(", ")
            );
            Error::user("INVALID_SCHEMA", message)
        })
    };
    schema.columns().iter().map(place).collect()
}

impl Lowering<'_> {
    /// Parts the rows of a scan's source from its dead letters, which are sent to their table.
    pub(super) fn part_dead_letters(
        &mut self,
        source: Stream,
        node: &Scan,
        target: &DeadLetterTable,
    ) -> Result<Stream> {
        let fields = letter_fields(target)?;
        let schema = target.table.sink_schema();
        let letters = DeadLetterSplit {
            letters: Some(fields),
            schema: schema.to_arrow(),
        };
        let label = Label::stateless("DeadLetters".into(), "dead letters", &source.identity);
        let edge = vec![source.forward()];
        let id = self.add_operator(label, letters, edge, &schema, source.parallelism);
        let letters = Stream {
            node: id,
            schema,
            mode: ChangelogMode::APPEND,
            upsert_key: None,
            ..source.clone()
        };
        match self
            .letters
            .iter_mut()
            .find(|l| l.target.path == target.path)
        {
            Some(known) => known.streams.push(letters),
            None => self.letters.push(Letters {
                target: SinkTarget {
                    path: target.path.clone(),
                    table: target.table.clone(),
                    options: target.options.clone(),
                    request: Default::default(),
                },
                streams: vec![letters],
            }),
        }
        let rows = DeadLetterSplit {
            letters: None,
            schema: node.schema.to_arrow(),
        };
        let label = Label::stateless("GoodRows".into(), "good rows", &source.identity);
        let edge = vec![source.forward()];
        let id = self.add_operator(label, rows, edge, &node.schema, source.parallelism);
        Ok(Stream {
            node: id,
            schema: node.schema.clone(),
            ..source
        })
    }

    /// The sinks of all dead letters.
    pub(super) fn sink_dead_letters(&mut self) -> Result<()> {
        for letters in std::mem::take(&mut self.letters) {
            let schema = letters.target.table.sink_schema();
            let stream = self.one_stream(letters.streams, &schema);
            if let Some(stream) = stream {
                self.sink_letters(stream, &letters.target)?;
            }
        }
        Ok(())
    }

    fn one_stream(&mut self, mut streams: Vec<Stream>, schema: &Schema) -> Option<Stream> {
        let first = match streams.len() {
            0 | 1 => return streams.pop(),
            _ => streams.first()?.clone(),
        };
        let edge = |stream: &Stream| Edge {
            from: stream.node,
            exchange: Exchange::Rebalance,
            keys: Vec::new(),
        };
        let edges = streams.iter().map(edge).collect();
        let config = UnionConfig {
            schema: schema.to_arrow(),
        };
        let label = Label::stateless("Union".into(), "dead letters", &first.identity);
        let node = self.add_operator(label, config, edges, schema, None);
        Some(Stream {
            node,
            parallelism: None,
            ..first
        })
    }

    fn sink_letters(&mut self, stream: Stream, target: &SinkTarget) -> Result<()> {
        let sink = self.create_sink(target)?;
        let about = |error: Error| error.context(format!("table {}", target.path));
        sink.changelog_mode(ChangelogMode::APPEND).map_err(about)?;
        let enforcer = self.enforcer();
        let stream = self.enforce_not_null(stream, &target.table.sink_schema(), enforcer);
        let parallelism = sink.parallelism().or(stream.parallelism);
        let exchange = match parallelism {
            p if p == stream.parallelism => Exchange::Forward,
            Some(1) => Exchange::Single,
            _ => Exchange::Rebalance,
        };
        let edge = Edge {
            from: stream.node,
            exchange,
            keys: Vec::new(),
        };
        let uid = Fingerprint::of("dead letter sink").text(&target.path.to_string());
        let name = format!("Sink: {}, dead letters", target.path.name);
        let kind = NodeKind::Sink(sink);
        let schema = stream.schema;
        self.add_node(
            Label::new(name, uid),
            kind,
            vec![edge],
            &schema,
            parallelism,
        );
        Ok(())
    }
}
