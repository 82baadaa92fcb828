//! Prepared statements by what they say: one number for each text with its parameter types, so that a statement that one
//! client prepared on a server connection is there for every other client that prepares the same.

use std::collections::HashMap;
use std::sync::Arc;
use warmline_wire::postgres::sql::{self, Scan};

/// A statement: its definition as `Parse` carries it, and what its text may do.
#[derive(Debug)]
pub(super) struct Statement {
    /// Unique for the life of the reactor; never 0.
    pub(super) number: u64,
    /// Text, zero, number of types, types.
    pub(super) definition: Box<[u8]>,
    pub(super) scan: Scan,
}

impl Statement {
    /// The text.
    pub(super) fn text(&self) -> &[u8] {
        let end = self.definition.iter().position(|byte| *byte == 0);
        &self.definition[..end.unwrap_or(self.definition.len())]
    }

    /// Its name on server connections.
    pub(super) fn name(&self) -> Vec<u8> {
        format!("{PREFIX}{}", self.number).into_bytes()
    }
}

/// What the names of our statements on a server connection begin with.
pub(super) const PREFIX: &str = "wl_";

/// The statements in use. One a reactor.
#[derive(Default)]
pub(super) struct Statements {
    known: HashMap<Box<[u8]>, Arc<Statement>>,
    last: u64,
    bytes: usize,
}

/// Beyond these, statements that nobody has prepared are forgotten.
const PRUNE_COUNT: usize = 8192;
const PRUNE_BYTES: usize = 16 * 1024 * 1024;

impl Statements {
    /// The statement with this definition.
    pub(super) fn get(&mut self, definition: &[u8]) -> Arc<Statement> {
        if let Some(found) = self.known.get(definition) {
            return Arc::clone(found);
        }
        if self.known.len() >= PRUNE_COUNT || self.bytes >= PRUNE_BYTES {
            self.known.retain(|_, statement| Arc::strong_count(statement) > 1);
            self.bytes = self.known.keys().map(|definition| definition.len() * 2).sum();
        }
        self.last += 1;
        let text = definition.split(|byte| *byte == 0).next().unwrap_or_default();
        let scan = sql::scan(text);
        let statement = Arc::new(Statement { number: self.last, definition: definition.into(), scan });
        self.bytes += definition.len() * 2;
        self.known.insert(definition.into(), Arc::clone(&statement));
        statement
    }

    /// The server refuses this one for good (its result type changed): who prepares the text again gets a fresh one.
    pub(super) fn retire(&mut self, statement: &Statement) {
        if self.known.get(&statement.definition).is_some_and(|known| known.number == statement.number) {
            self.known.remove(&statement.definition);
        }
    }
}
