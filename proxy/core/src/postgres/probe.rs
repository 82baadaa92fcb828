//! The probe: after statements that may have changed the session's state, the server is asked what is true now. What can
//! follow the client (settings) is kept for the next server connection; what cannot, pins; what is gone, ends its pin.

use super::server::Hidden;
use super::vars::literal;
use super::{Client, Postgres, Server, Shared, FIXED};
use crate::protocol::Output;
use crate::reason::PinReason;
use warmline_wire::postgres::sql::Hints;
use warmline_wire::postgres::{self as wire, Malformed};

/// One row of a probe's answer: a setting (`s`) with name and value, or a pin (the reason's word).
#[derive(Debug)]
pub(super) struct Row {
    kind: Box<str>,
    name: Box<str>,
    value: Option<Box<[u8]>>,
}

impl Row {
    pub(super) fn read(body: &[u8]) -> Result<Self, Malformed> {
        let columns = wire::data_row_text(body)?;
        let [Some(kind), Some(name), value] = columns[..] else { return Err(Malformed) };
        Ok(Self {
            kind: String::from_utf8_lossy(kind).into(),
            name: String::from_utf8_lossy(name).to_ascii_lowercase().into(),
            value: value.map(Into::into),
        })
    }
}

/// Settings of a transaction, not of the session, and those that follow from others.
const NOT_CARRIED: [&str; 4] = ["transaction_isolation", "transaction_read_only", "transaction_deferrable", "seed"];

/// What is asked for each kind of hint, and the pin it finds. Each part answers three text columns.
const PARTS: [(Hints, PinReason, &str); 6] = [
    (
        Hints::ADVISORY,
        PinReason::AdvisoryLock,
        "SELECT 'advisory-lock', count(*)::text, NULL::text FROM pg_catalog.pg_locks \
         WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid() HAVING count(*) > 0",
    ),
    (
        Hints::TEMPORARY,
        PinReason::TemporaryTable,
        "SELECT 'temporary-table', 'exists', NULL::text WHERE pg_catalog.pg_my_temp_schema() <> 0 AND (\
         EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema()) OR \
         EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace = pg_catalog.pg_my_temp_schema()) OR \
         EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace = pg_catalog.pg_my_temp_schema()))",
    ),
    (
        Hints::LISTEN,
        PinReason::Listen,
        "SELECT 'listen', count(*)::text, NULL::text FROM pg_catalog.pg_listening_channels() HAVING count(*) > 0",
    ),
    (
        Hints::CURSOR,
        PinReason::Cursor,
        "SELECT 'cursor', count(*)::text, NULL::text FROM pg_catalog.pg_cursors WHERE is_holdable HAVING count(*) > 0",
    ),
    (
        Hints::PREPARE,
        PinReason::SqlPrepare,
        "SELECT 'sql-prepare', count(*)::text, NULL::text FROM pg_catalog.pg_prepared_statements \
         WHERE from_sql HAVING count(*) > 0",
    ),
    (
        Hints::AUTHORIZATION,
        PinReason::SessionAuthorization,
        "SELECT 'session-authorization', session_user::text, NULL::text WHERE session_user <> \
         (SELECT usename FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a \
          JOIN pg_catalog.pg_user u ON u.usesysid = a.usesysid)",
    ),
];

impl Postgres {
    /// Ask; false when there is nothing to ask.
    pub(super) fn ask_state(&self, client: &mut Client, server: &mut Server, out: &mut Output) -> bool {
        let opaque = client.hints.any(Hints::OPAQUE);
        let ends = client.hints.any(Hints::DROP);
        let mut sql = Vec::new();
        let mut add = |part: &[u8]| {
            if !sql.is_empty() {
                sql.extend_from_slice(b" UNION ALL ");
            }
            sql.extend_from_slice(part);
        };
        for (hint, reason, part) in PARTS {
            if opaque || client.hints.any(hint) || (ends && client.pinned_by(reason)) {
                add(part.as_bytes());
            }
        }
        let all = opaque || client.hints.any(Hints::ALL_SETTINGS);
        let mut names: Vec<&str> = client.touched.iter().map(|name| &**name).collect();
        if all {
            add(b"SELECT 's', name, setting FROM pg_catalog.pg_settings WHERE source = 'session'");
            // Extensions' own settings are not listed there.
            names.extend(client.vars.values.keys().map(|name| &**name).filter(|name| name.contains('.')));
            names.push("role");
            names.retain(|name| name.contains('.') || *name == "role");
            names.sort_unstable();
            names.dedup();
        }
        for name in names {
            let mut part = b"SELECT 's',".to_vec();
            literal(&mut part, name.as_bytes());
            part.extend_from_slice(b", pg_catalog.current_setting(");
            literal(&mut part, name.as_bytes());
            part.extend_from_slice(b", true)");
            add(&part);
        }
        if sql.is_empty() {
            client.hints = Hints::NONE;
            return false;
        }
        server.rows.clear();
        server.holding = true;
        server.hidden_error = None;
        server.ask(&sql, Hidden::Probe, &mut out.to_server);
        true
    }

    /// Take the answer.
    pub(super) fn conclude(&self, shared: &mut Shared, client: &mut Client, server: &mut Server, out: &mut Output) {
        let rows = std::mem::take(&mut server.rows);
        let hints = std::mem::replace(&mut client.hints, Hints::NONE);
        let touched = std::mem::take(&mut client.touched);
        let suspect = std::mem::take(&mut client.suspect);
        if server.hidden_error.take().is_some() {
            // It could not be asked (a statement timeout of a millisecond, say): stay until it can.
            client.hints = hints;
            client.touched = touched;
            client.suspect.clone_from(&suspect);
            client.pin(PinReason::SessionVariable, &suspect, &self.settings, out);
            return;
        }
        client.pins.retain(|pin| pin.reason != PinReason::SessionVariable);
        let opaque = hints.any(Hints::OPAQUE);
        for (hint, reason, _) in PARTS {
            let asked = opaque || hints.any(hint) || (hints.any(Hints::DROP) && client.pinned_by(reason));
            let found = rows.iter().any(|row| &*row.kind == reason.word());
            if found {
                client.pin(reason, &suspect, &self.settings, out);
            } else if asked {
                client.pins.retain(|pin| pin.reason != reason);
            }
        }
        let all = opaque || hints.any(Hints::ALL_SETTINGS);
        let mut now = server.applied.values.clone();
        if all {
            now.retain(|name, _| name.contains('.'));
        }
        for row in rows.iter().filter(|row| &*row.kind == "s") {
            let name = &*row.name;
            let none = name == "role" && row.value.as_deref() == Some(b"none");
            if FIXED.contains(&name) || NOT_CARRIED.contains(&name) {
                continue;
            }
            match &row.value {
                Some(value) if !none && server.defaults.get(name) != Some(value) => {
                    now.insert(name.into(), value.clone());
                }
                _ => {
                    now.remove(name);
                }
            }
        }
        server.applied = shared.vars.get(now.clone());
        server.applied.accept();
        // What RESET took back to the server's default goes back to the client's own start-up value instead.
        for (name, value) in &client.base.values {
            if all && !now.contains_key(name) {
                now.insert(name.clone(), value.clone());
            }
        }
        client.vars = shared.vars.get(now);
        client.vars.accept();
    }
}
