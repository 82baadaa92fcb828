//! Session settings that follow a client: immutable maps, equal ones shared, so that comparing two sessions is comparing
//! two pointers and ten thousand clients with the same settings cost one map.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Setting names (lower case) and values, on top of the server's own defaults for the pool's user and database.
#[derive(Debug, Default)]
pub(super) struct Vars {
    pub(super) values: BTreeMap<Box<str>, Box<[u8]>>,
    /// A server took all of these once, so they can be sent ahead of a statement without waiting for the answer.
    accepted: AtomicBool,
}

impl Vars {
    pub(super) fn accepted(&self) -> bool {
        self.values.is_empty() || self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.values.get(name).map(|value| &**value)
    }
}

/// The maps in use, by content. One a reactor.
#[derive(Default)]
pub(super) struct Interned {
    maps: HashMap<BTreeMap<Box<str>, Box<[u8]>>, Arc<Vars>>,
    /// What a map as clients send it became after the server had put it into its own words (`utf8` → `UTF8`).
    canonical: HashMap<BTreeMap<Box<str>, Box<[u8]>>, Arc<Vars>>,
}

/// Beyond this, maps that nobody uses are dropped.
const PRUNE_AT: usize = 4096;

impl Interned {
    /// The shared map with these values.
    pub(super) fn get(&mut self, values: BTreeMap<Box<str>, Box<[u8]>>) -> Arc<Vars> {
        if let Some(found) = self.maps.get(&values) {
            return Arc::clone(found);
        }
        if self.maps.len() >= PRUNE_AT {
            self.canonical.clear();
            self.maps.retain(|_, vars| Arc::strong_count(vars) > 1);
        }
        let vars = Arc::new(Vars { values: values.clone(), accepted: AtomicBool::new(false) });
        self.maps.insert(values, Arc::clone(&vars));
        vars
    }

    /// *vars* with one value changed, or removed.
    pub(super) fn with(&mut self, vars: &Arc<Vars>, name: &str, value: Option<&[u8]>) -> Arc<Vars> {
        if vars.get(name) == value {
            return Arc::clone(vars);
        }
        let mut values = vars.values.clone();
        match value {
            Some(value) => drop(values.insert(name.into(), value.into())),
            None => drop(values.remove(name)),
        }
        let changed = self.get(values);
        if vars.accepted() {
            changed.accept();
        }
        changed
    }

    pub(super) fn canonical(&self, vars: &Arc<Vars>) -> Arc<Vars> {
        Arc::clone(self.canonical.get(&vars.values).unwrap_or(vars))
    }

    pub(super) fn learn_canonical(&mut self, said: &Arc<Vars>, is: &Arc<Vars>) {
        if !Arc::ptr_eq(said, is) && self.canonical.len() < PRUNE_AT {
            self.canonical.insert(said.values.clone(), Arc::clone(is));
        }
    }
}

/// SQL that brings a session from *from* to *to*; None when they are equal.
pub(super) fn difference(from: &Arc<Vars>, to: &Arc<Vars>) -> Option<Vec<u8>> {
    if Arc::ptr_eq(from, to) {
        return None;
    }
    let mut sql = Vec::new();
    // A role limits what may be set: it goes first when it ends, last when it begins.
    let role_ends = from.get("role").is_some() && from.get("role") != to.get("role");
    if role_ends {
        sql.extend_from_slice(b"RESET ROLE;");
    }
    for name in from.values.keys().filter(|name| &***name != "role" && !to.values.contains_key(*name)) {
        sql.extend_from_slice(b"RESET ");
        identifier(&mut sql, name);
        sql.push(b';');
    }
    let mut first = true;
    let changed = to.values.iter().filter(|(name, value)| &***name != "role" && from.get(name) != Some(value));
    let role = to.values.iter().filter(|(name, value)| &***name == "role" && from.get(name) != Some(value));
    for (name, value) in changed.chain(role) {
        sql.extend_from_slice(if first { b"SELECT pg_catalog.set_config(" } else { b",pg_catalog.set_config(" });
        first = false;
        literal(&mut sql, name.as_bytes());
        sql.push(b',');
        literal(&mut sql, value);
        sql.extend_from_slice(b",false)");
    }
    if sql.is_empty() {
        None
    } else {
        Some(sql)
    }
}

/// Append a setting's name, each of its parts quoted.
pub(super) fn identifier(sql: &mut Vec<u8>, name: &str) {
    for (place, part) in name.split('.').enumerate() {
        if place > 0 {
            sql.push(b'.');
        }
        sql.push(b'"');
        for byte in part.bytes().filter(|byte| *byte != 0) {
            if byte == b'"' {
                sql.push(byte);
            }
            sql.push(byte);
        }
        sql.push(b'"');
    }
}

/// Append a string literal that means the same whatever `standard_conforming_strings` says.
pub(super) fn literal(sql: &mut Vec<u8>, value: &[u8]) {
    sql.extend_from_slice(b" E'");
    for byte in value.iter().copied().filter(|byte| *byte != 0) {
        if byte == b'\'' || byte == b'\\' {
            sql.push(byte);
        }
        sql.push(byte);
    }
    sql.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::{difference, Interned};
    use std::collections::BTreeMap;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<Box<str>, Box<[u8]>> {
        pairs.iter().map(|(name, value)| ((*name).into(), value.as_bytes().into())).collect()
    }

    #[test]
    fn equal_settings_are_one_map_and_need_no_statement() {
        let mut shared = Interned::default();
        let (one, other) = (shared.get(map(&[("a", "1")])), shared.get(map(&[("a", "1")])));
        assert_eq!(difference(&one, &other), None);
        assert!(std::sync::Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn only_what_differs_is_replayed_and_values_cannot_break_out() {
        let mut shared = Interned::default();
        let from = shared.get(map(&[("a", "1"), ("b", "2"), ("role", "x")]));
        let to = shared.get(map(&[("a", "1"), ("my.c", "it's \\ 'd'")]));
        let sql = String::from_utf8(difference(&from, &to).unwrap()).unwrap();
        assert_eq!(sql, "RESET ROLE;RESET \"b\";SELECT pg_catalog.set_config( E'my.c', E'it''s \\\\ ''d''',false)");
    }

    #[test]
    fn a_role_is_taken_last() {
        let mut shared = Interned::default();
        let (from, to) = (shared.get(map(&[])), shared.get(map(&[("role", "r"), ("z", "1")])));
        let sql = String::from_utf8(difference(&from, &to).unwrap()).unwrap();
        assert!(sql.find("'z'").unwrap() < sql.find("'role'").unwrap(), "{sql}");
    }
}
