//! Prepared statements: clients' numbers, the text behind them, and the numbers of each server connection.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// A statement's text and the default database that it was prepared in: together they say what it means.
#[derive(Debug)]
pub(crate) struct Text {
    /// Unique on this reactor while the text is in use.
    pub(crate) key: u64,
    pub(crate) schema: Box<[u8]>,
    pub(crate) sql: Box<[u8]>,
}

/// Every text that a client of this reactor has prepared, once.
#[derive(Default)]
pub(crate) struct Interned {
    texts: HashMap<(Box<[u8]>, Box<[u8]>), Weak<Text>>,
    next: u64,
    purge_at: usize,
}

impl Interned {
    /// The text of *sql* in *schema*.
    pub(crate) fn intern(&mut self, schema: &[u8], sql: &[u8]) -> Arc<Text> {
        let key: (Box<[u8]>, Box<[u8]>) = (schema.into(), sql.into());
        if let Some(text) = self.texts.get(&key).and_then(Weak::upgrade) {
            return text;
        }
        if self.texts.len() >= self.purge_at.max(1024) {
            self.texts.retain(|_, text| text.strong_count() > 0);
            self.purge_at = self.texts.len() * 2;
        }
        self.next += 1;
        let text = Arc::new(Text { key: self.next, schema: schema.into(), sql: sql.into() });
        self.texts.insert(key, Arc::downgrade(&text));
        text
    }
}

/// A statement as one client knows it.
pub(crate) struct ClientStatement {
    pub(crate) text: Arc<Text>,
    pub(crate) parameters: u16,
    /// The parameter types that the client sent last: it sends them once, a new server connection needs them again.
    pub(crate) types: Box<[u8]>,
    /// What the text does to the session, each time it is executed.
    pub(crate) scan: Arc<super::scan::Scan>,
}

/// A statement as one server connection knows it.
pub(crate) struct ServerStatement {
    pub(crate) id: u32,
    /// The types that it was last executed with.
    pub(crate) types: Box<[u8]>,
    used: u64,
}

/// The statements prepared on one server connection; the least recently used is closed when there are too many.
#[derive(Default)]
pub(crate) struct Prepared {
    by_text: HashMap<u64, ServerStatement>,
    clock: u64,
}

impl Prepared {
    pub(crate) fn get(&mut self, text: &Text) -> Option<&mut ServerStatement> {
        let statement = self.by_text.get_mut(&text.key)?;
        self.clock += 1;
        statement.used = self.clock;
        Some(statement)
    }

    /// *text* is statement *id* here now. Returns the ids to close: an older one of the same text, or one too many.
    pub(crate) fn insert(&mut self, text: &Text, id: u32, limit: usize) -> Vec<u32> {
        self.clock += 1;
        let new = ServerStatement { id, types: Box::default(), used: self.clock };
        let mut close: Vec<u32> = self.by_text.insert(text.key, new).into_iter().map(|old| old.id).collect();
        if self.by_text.len() > limit.max(1) {
            if let Some(oldest) = self.by_text.iter().min_by_key(|(_, statement)| statement.used).map(|(key, _)| *key) {
                close.extend(self.by_text.remove(&oldest).map(|old| old.id));
            }
        }
        close
    }

    pub(crate) fn remove(&mut self, text: &Text) -> Option<ServerStatement> {
        self.by_text.remove(&text.key)
    }

    pub(crate) fn clear(&mut self) {
        self.by_text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_statement_makes_room_and_a_second_prepare_replaces_the_first() {
        let mut interned = Interned::default();
        let [a, b, c] = ["a", "b", "c"].map(|sql| interned.intern(b"app", sql.as_bytes()));
        let mut prepared = Prepared::default();
        assert!(prepared.insert(&a, 1, 2).is_empty());
        assert!(prepared.insert(&b, 2, 2).is_empty());
        assert!(prepared.get(&a).is_some());
        assert_eq!(prepared.insert(&c, 3, 2), [2]);
        assert_eq!(prepared.insert(&a, 4, 2), [1]);
        assert_eq!(prepared.get(&a).map(|statement| statement.id), Some(4));
        assert!(prepared.get(&b).is_none());
    }

    #[test]
    fn one_text_in_two_databases_is_two_statements() {
        let mut interned = Interned::default();
        let app = interned.intern(b"app", b"select * from t");
        assert_eq!(app.key, interned.intern(b"app", b"select * from t").key);
        assert_ne!(app.key, interned.intern(b"test", b"select * from t").key);
    }
}
