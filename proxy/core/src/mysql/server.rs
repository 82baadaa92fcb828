//! A server connection's session: what is outstanding on it, what state it is in, and whose answers go where.

use super::client::{Client, Phase};
use super::scan::{Effect, Scan};
use super::state::{Baseline, Overlay, TRACKERS};
use super::statements::{ClientStatement, Prepared, Text};
use super::Shared;
use crate::protocol::{Abandon, Activity, Output, PoolKey, ServerNext, Step};
use crate::reason::{PinReason, ServerClose};
use crate::settings::{Mode, PinningFilter, Settings};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use warmline_wire::mysql::capability::{self as cap, Capabilities};
use warmline_wire::mysql::{
    names, put_packet, Change, Err as ErrorPacket, Header, Malformed, Ok as OkPacket, PrepareOk, Status, Step as Found,
    Tracker, HEADER,
};

/// An answer that is outstanding.
pub(super) enum Expected {
    /// To the client's command.
    Client {
        /// Its command byte.
        command: u8,
    },
    /// To a command of ours, which nobody else sees. An error closes the connection: it is not in the state it must be in.
    Ours {
        /// Its command byte.
        command: u8,
    },
    /// To our own prepare of this text.
    Prepare(Arc<Text>),
    /// To our reading of `LAST_INSERT_ID()`.
    InsertId,
}

/// A server connection.
pub struct Server {
    pub(super) number: u32,
    pub(super) user: Arc<str>,
    capabilities: Capabilities,
    baseline: Arc<Baseline>,
    init_query: Arc<str>,
    pub(super) overlay: Overlay,
    schema: Box<[u8]>,
    /// The client that used it last.
    owner: u32,
    /// Something of its last owner may be left that is not in *overlay*: it is reset before another client gets it.
    dirty: bool,
    /// Its owner has had it for itself since that client's last statement.
    pub(super) continuous: bool,
    /// Its `LAST_INSERT_ID()`, whoever's it is.
    last_insert_id: u64,
    /// A statement may have changed that since it was read; the value that the statement's answer gave. An answer gives
    /// ids that the statement itself named, too, which are nobody's `LAST_INSERT_ID()`: only reading it tells.
    insert_id_changed: Option<u64>,
    /// The answer to reading it, so far.
    read_back: Vec<u8>,
    /// The client whose warnings or error it may still list, 0 for none.
    warned: u32,
    status: Status,
    pub(super) prepared: Prepared,
    prepared_limit: usize,
    expected: VecDeque<Expected>,
    tracker: Option<Tracker>,
    /// `SET NAMES … COLLATE` is on its way: this collation.
    pub(super) collation_of_names: Option<Box<[u8]>>,
    /// A statement without effects, shared by the commands that have none.
    pub(super) plain: Arc<Scan>,
}

impl Server {
    pub(super) fn new(
        number: u32,
        capabilities: Capabilities,
        baseline: Arc<Baseline>,
        key: &PoolKey,
        settings: &Settings,
    ) -> Self {
        Self {
            number,
            user: Arc::clone(&key.user),
            capabilities,
            baseline,
            init_query: settings.init_query.as_str().into(),
            overlay: Overlay::default(),
            schema: key.database.as_bytes().into(),
            owner: 0,
            dirty: false,
            continuous: false,
            last_insert_id: 0,
            insert_id_changed: None,
            read_back: Vec::new(),
            warned: 0,
            status: Status(Status::AUTOCOMMIT),
            prepared: Prepared::default(),
            prepared_limit: settings.max_prepared_statements,
            expected: VecDeque::new(),
            tracker: None,
            collation_of_names: None,
            plain: Arc::default(),
        }
    }

    pub(super) fn plain_backslash(&self) -> bool {
        const NO_BACKSLASH_ESCAPES: u16 = 0x200;
        self.status.has(NO_BACKSLASH_ESCAPES)
    }

    /// Whether a command may be written behind what is outstanding: only behind commands of ours that cannot fail.
    pub(super) fn takes_commands(&self) -> bool {
        self.expected
            .iter()
            .all(|expected| matches!(expected, Expected::Ours { command: names::QUERY | names::RESET_CONNECTION, .. }))
    }

    pub(super) fn expect(&mut self, expected: Expected) {
        self.expected.push_back(expected);
    }

    pub(super) fn activity(&self) -> Activity {
        if !self.expected.is_empty() {
            Activity::Running
        } else if self.status.has(Status::IN_TRANSACTION) {
            Activity::InTransaction
        } else {
            Activity::Idle
        }
    }

    /// Whether `attach` would have nothing to send for *client*.
    pub(super) fn is_like(&self, client: &Client) -> bool {
        (!self.dirty || self.owner == client.number) && self.overlay == client.overlay && self.schema == client.schema
    }

    fn inject(&mut self, command: u8, rest: &[u8], out: &mut Output) {
        let attributes = command == names::QUERY && self.capabilities & cap::QUERY_ATTRIBUTES != 0;
        let mut payload = vec![command];
        payload.extend_from_slice(if attributes { &[0, 1] } else { &[] });
        payload.extend_from_slice(rest);
        put_packet(&mut out.to_server, 0, &payload);
        self.expect(Expected::Ours { command });
    }

    pub(super) fn inject_query(&mut self, text: &[u8], out: &mut Output) {
        self.inject(names::QUERY, text, out);
    }

    /// Make `LAST_INSERT_ID()` the client's. False when it has to be read first, which has been asked.
    pub(super) fn recall_insert_id(&mut self, client: &Client, out: &mut Output) -> bool {
        if self.insert_id_changed.is_some() {
            self.read_insert_id(out);
            return false;
        }
        if self.last_insert_id != client.last_insert_id {
            self.last_insert_id = client.last_insert_id;
            self.inject_query(format!("SET last_insert_id={}", client.last_insert_id).as_bytes(), out);
        }
        true
    }

    fn read_insert_id(&mut self, out: &mut Output) {
        self.inject_query(b"SELECT LAST_INSERT_ID()", out);
        self.expected.pop_back();
        self.expected.push_back(Expected::InsertId);
    }

    /// Whose `LAST_INSERT_ID()` it is that has been read.
    fn insert_id_read(&mut self, client: Option<&mut Client>) {
        let row = super::dial::first_row(&self.read_back, self.capabilities & cap::DEPRECATE_EOF != 0);
        let text = row.first().and_then(|value| std::str::from_utf8(value).ok());
        let value = text.and_then(|value| value.parse().ok()).unwrap_or(0);
        let reported = self.insert_id_changed.take();
        if value != self.last_insert_id || reported == Some(value) {
            self.last_insert_id = value;
            if let Some(client) = client {
                client.last_insert_id = value;
            }
        }
        self.read_back = Vec::new();
    }

    /// Make sure that SHOW WARNINGS lists nobody else's. MariaDB clears the list only for a statement with a table.
    pub(super) fn forget_warnings(&mut self, client: &Client, out: &mut Output) {
        if !self.continuous || (self.warned != 0 && self.warned != client.number) {
            self.warned = 0;
            self.inject_query(b"DO (SELECT 1 FROM (SELECT 1) AS cleared)", out);
        }
    }

    pub(super) fn inject_ping(&mut self, out: &mut Output) {
        self.inject(names::PING, b"", out);
    }

    pub(super) fn inject_trackers(&mut self, out: &mut Output) {
        self.inject_query(&[b"SET ", TRACKERS].concat(), out);
    }

    /// Forget everything of the session, and be as the pool's connections are when new.
    pub(super) fn reset(&mut self, out: &mut Output) {
        self.inject(names::RESET_CONNECTION, b"", out);
        let mut text = [b"SET ", TRACKERS].concat();
        if !self.baseline.charset.is_empty() {
            text.push(b',');
            text.extend_from_slice(&self.baseline.charset);
        }
        self.inject_query(&text, out);
        if !self.init_query.is_empty() {
            let init_query = Arc::clone(&self.init_query);
            self.inject_query(init_query.as_bytes(), out);
        }
        if !self.schema.is_empty() {
            // MariaDB's reset keeps the default database but not its character set.
            let name = String::from_utf8_lossy(&self.schema).replace('`', "``");
            self.inject_query(format!("USE `{name}`").as_bytes(), out);
        }
        self.forget();
    }

    /// What `COM_RESET_CONNECTION` makes of the session; the default database and `COM_SET_OPTION` stay.
    fn forget(&mut self) {
        self.overlay = Overlay { multi_statements: self.overlay.multi_statements, ..Overlay::default() };
        self.prepared.clear();
        self.dirty = false;
        self.last_insert_id = 0;
        self.insert_id_changed = None;
    }

    /// Bring variables, options and default database to the client's.
    pub(super) fn align(&mut self, client: &Client, out: &mut Output) {
        let assignments = client.overlay.assignments(&self.overlay, &self.baseline);
        if !assignments.is_empty() {
            self.inject_query(&[b"SET ", &assignments[..]].concat(), out);
            self.overlay.variables.clone_from(&client.overlay.variables);
            self.continuous = false;
        }
        if self.overlay.multi_statements != client.overlay.multi_statements {
            let allowed = client.overlay.multi_statements.unwrap_or(self.capabilities & cap::MULTI_STATEMENTS != 0);
            self.inject(names::SET_OPTION, &u16::from(!allowed).to_le_bytes(), out);
            self.overlay.multi_statements = client.overlay.multi_statements;
        }
        self.use_schema(&client.schema, out);
    }

    /// Make the default database *schema*. There is no way back to none: then it is one in which nobody has tables.
    pub(super) fn use_schema(&mut self, schema: &[u8], out: &mut Output) {
        if *self.schema == *schema {
            return;
        }
        let target: &[u8] = if schema.is_empty() { b"information_schema" } else { schema };
        if *self.schema != *target {
            self.inject(names::INIT_DB, target, out);
        }
        self.schema = target.into();
    }

    /// Prepare *text* here, for a client whose default database is *schema* now.
    pub(super) fn prepare(&mut self, text: &Arc<Text>, schema: &[u8], limit: usize, out: &mut Output) {
        self.prepared_limit = limit;
        self.use_schema(&text.schema, out);
        let mut payload = vec![names::STMT_PREPARE];
        payload.extend_from_slice(&text.sql);
        put_packet(&mut out.to_server, 0, &payload);
        self.expect(Expected::Prepare(Arc::clone(text)));
        self.use_schema(schema, out);
    }

    pub(super) fn close_statement(&mut self, id: u32, out: &mut Output) {
        let mut payload = vec![names::STMT_CLOSE];
        payload.extend_from_slice(&id.to_le_bytes());
        put_packet(&mut out.to_server, 0, &payload);
    }
}

/// Bring *server* to the state of *client*, in the same write as its next command.
pub(super) fn attach(shared: &mut Shared, client: &mut Client, server: &mut Server, out: &mut Output) {
    shared.clients.entry(client.number).or_insert_with(|| {
        // Met for the first time: a moment to forget those who have left.
        Arc::downgrade(&client.running_on)
    });
    if shared.clients.len() > 64 && shared.clients.len().is_power_of_two() {
        shared.clients.retain(|_, client| client.strong_count() > 0);
    }
    // A kill that came meanwhile stays; it is seen with the next input.
    let _ = client.running_on.compare_exchange(0, server.number, Ordering::Relaxed, Ordering::Relaxed);
    let same = server.owner == client.number;
    server.continuous = same;
    if server.dirty && !same {
        server.reset(out);
    }
    server.owner = client.number;
    server.align(client, out);
}

/// The client of *server* is gone.
pub(super) fn abandon(client: &Client, server: &mut Server, out: &mut Output) -> Abandon {
    let between = matches!(client.phase, Phase::Idle | Phase::ChangingUser { .. });
    if !between || !server.takes_commands() {
        return Abandon::Close;
    }
    if client.pins.is_empty() && server.expected.is_empty() && server.status.is_idle() && !server.dirty {
        return Abandon::Clean;
    }
    server.reset(out);
    server.status = Status(server.status.0 & !Status::IN_TRANSACTION);
    Abandon::Cleaning
}

/// Server input: answers to commands of ours are swallowed, the client's passed on, with what must not reach it taken out.
pub(super) fn input(
    settings: &Settings,
    client: Option<&mut Client>,
    server: &mut Server,
    input: &[u8],
    out: &mut Output,
) -> Step<ServerNext> {
    follow(settings, client, server, input, out)
        .unwrap_or(Step { consumed: 0, next: ServerNext::Close(ServerClose::ProtocolViolation) })
}

fn follow(
    settings: &Settings,
    mut client: Option<&mut Client>,
    server: &mut Server,
    input: &[u8],
    out: &mut Output,
) -> Result<Step<ServerNext>, Malformed> {
    let mut consumed = 0;
    loop {
        let rest = &input[consumed..];
        let command = match server.expected.front() {
            None if rest.is_empty() => return Ok(Step { consumed, next: ServerNext::Wait }),
            // An error nobody asked for: the server says why it closes the connection.
            None => return Ok(Step { consumed, next: ServerNext::Close(ServerClose::Lost) }),
            Some(Expected::Client { command } | Expected::Ours { command }) => *command,
            Some(Expected::Prepare(_)) => names::STMT_PREPARE,
            Some(Expected::InsertId) => names::QUERY,
        };
        let deprecate_eof = server.capabilities & cap::DEPRECATE_EOF != 0;
        let tracker = server.tracker.get_or_insert_with(|| {
            Tracker::new(command, deprecate_eof, true).expect("only commands with an answer are expected")
        });
        let found = tracker.step(rest)?;
        let done = tracker.is_done();
        let length = match found {
            Found::More => return Ok(Step { consumed, next: ServerNext::Wait }),
            Found::Pass(length)
            | Found::Ok { length, .. }
            | Found::Eof { length, .. }
            | Found::Err { length }
            | Found::Prepared { length, .. }
            | Found::LocalInfile { length } => length,
        };
        let packet = &rest[..length];
        consumed += length;
        match server.expected.front() {
            Some(Expected::Client { .. }) => {
                if let Some(client) = client.as_deref_mut() {
                    answer(settings, client, server, found, packet, out)?;
                    if matches!(found, Found::LocalInfile { .. }) {
                        return Ok(Step { consumed, next: ServerNext::Resume });
                    }
                }
            }
            Some(Expected::Ours { .. }) => {
                if let Found::Ok { .. } = found {
                    // PING after an error says what became of the transaction.
                    server.status = OkPacket::parse(&packet[HEADER..], true)?.status;
                } else if matches!(found, Found::Err { .. }) {
                    return Ok(Step { consumed, next: ServerNext::Close(ServerClose::Dirty) });
                }
            }
            Some(Expected::InsertId) => {
                server.read_back.extend_from_slice(packet);
                if done {
                    server.insert_id_read(client.as_deref_mut());
                }
            }
            Some(Expected::Prepare(text)) => {
                let text = Arc::clone(text);
                prepared(client.as_deref_mut(), server, &text, found, packet, out)?;
            }
            None => {}
        }
        if !done {
            continue;
        }
        let ended = server.expected.pop_front();
        server.tracker = None;
        let of_client = matches!(ended, Some(Expected::Client { .. }));
        if of_client {
            out.responses += 1;
        }
        if server.expected.is_empty() {
            return Ok(Step { consumed, next: after(settings, client, server, out) });
        }
        if of_client {
            return Ok(Step { consumed, next: ServerNext::Resume });
        }
    }
}

/// Nothing is outstanding: does the client keep the connection?
fn after(settings: &Settings, client: Option<&mut Client>, server: &mut Server, out: &mut Output) -> ServerNext {
    let Some(client) = client else {
        return ServerNext::Return;
    };
    let between = matches!(client.phase, Phase::Idle);
    if between && client.failed_prepare.is_none() && client.has_run && server.status.is_idle() && client.pins.is_empty()
    {
        if server.insert_id_changed.is_some() && settings.mode == Mode::Transaction {
            server.read_insert_id(out);
            return ServerNext::Resume;
        }
        if settings.mode == Mode::Transaction {
            let _ = client.running_on.compare_exchange(server.number, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        return ServerNext::Return;
    }
    ServerNext::Resume
}

/// The answer to our own prepare.
fn prepared(
    client: Option<&mut Client>,
    server: &mut Server,
    text: &Arc<Text>,
    found: Found,
    packet: &[u8],
    out: &mut Output,
) -> Result<(), Malformed> {
    match found {
        Found::Prepared { .. } => {
            let id = PrepareOk::parse(&packet[HEADER..])?.statement_id;
            for old in server.prepared.insert(text, id, server.prepared_limit) {
                server.close_statement(old, out);
            }
        }
        Found::Err { .. } => {
            if let Some(client) = client {
                client.failed_prepare = Some(packet[HEADER..].to_vec());
            }
        }
        _ => {}
    }
    Ok(())
}

/// A part of the answer to the client's command.
fn answer(
    settings: &Settings,
    client: &mut Client,
    server: &mut Server,
    found: Found,
    packet: &[u8],
    out: &mut Output,
) -> Result<(), Malformed> {
    let streaming = matches!(client.phase, Phase::Streaming { .. } | Phase::Infile { .. });
    match found {
        Found::Pass(_) => out.to_client.extend_from_slice(packet),
        Found::Ok { end, .. } => {
            ok(settings, client, server, packet, out)?;
            if end {
                ended(client, server, None, out);
            }
        }
        Found::Eof { status, end, .. } => {
            server.status = status;
            client.last_status = status;
            if packet[HEADER + 1..HEADER + 3] != [0, 0] {
                server.warned = client.number;
            }
            out.to_client.extend_from_slice(packet);
            if end {
                ended(client, server, None, out);
            }
        }
        Found::Err { .. } => {
            out.to_client.extend_from_slice(packet);
            let code = ErrorPacket::parse(&packet[HEADER..])?.code;
            ended(client, server, Some(code), out);
        }
        Found::Prepared { .. } => {
            let prepared = PrepareOk::parse(&packet[HEADER..])?;
            client.last_statement = new_number(client);
            if let Some(text) = client.current.prepare.take() {
                for old in server.prepared.insert(&text, prepared.statement_id, server.prepared_limit) {
                    server.close_statement(old, out);
                }
                let statement = ClientStatement {
                    text,
                    parameters: prepared.parameters,
                    types: Box::default(),
                    scan: Arc::clone(&client.current.scan),
                };
                client.statements.insert(client.last_statement, statement);
            }
            let from = out.to_client.len();
            out.to_client.extend_from_slice(packet);
            let id = from + HEADER + PrepareOk::ID_AT;
            out.to_client[id..id + 4].copy_from_slice(&client.last_statement.to_le_bytes());
        }
        Found::LocalInfile { .. } => {
            out.to_client.extend_from_slice(packet);
            client.phase = Phase::Infile { left: 0, continues: false };
            return Ok(());
        }
        Found::More => {}
    }
    if !streaming && client.phase == Phase::Waiting {
        client.phase = Phase::Answering;
    }
    let done = server.tracker.as_ref().is_some_and(Tracker::is_done);
    if done {
        if client.current.command == names::STMT_PREPARE {
            client.has_run = true;
        }
        // A file or a long command that the server refused early is still being sent; it ends by itself.
        if !streaming {
            client.phase = Phase::Idle;
        } else if let Phase::Streaming { answered, .. } = &mut client.phase {
            *answered = false;
        }
    }
    Ok(())
}

fn new_number(client: &Client) -> u32 {
    let mut number = client.last_statement;
    loop {
        number = number.wrapping_add(1).max(1);
        if number != u32::MAX && !client.statements.contains_key(&number) {
            return number;
        }
    }
}

/// An OK packet: note what changed, pass on what the client asked to be told.
fn ok(
    settings: &Settings,
    client: &mut Client,
    server: &mut Server,
    packet: &[u8],
    out: &mut Output,
) -> Result<(), Malformed> {
    let header = Header::parse(packet).expect("a whole packet");
    let ok = OkPacket::parse(&packet[HEADER..], true)?;
    server.status = ok.status;
    client.last_status = ok.status;
    client.changed_rows = ok.affected_rows > 0;
    if ok.warnings > 0 {
        server.warned = client.number;
    }
    if ok.insert_id != 0 {
        server.insert_id_changed = Some(ok.insert_id);
    }
    if !ok.status.has(Status::STATE_CHANGED) && client.session_track() {
        out.to_client.extend_from_slice(packet);
        return Ok(());
    }
    let mut told = Vec::new();
    let mut session_changed = false;
    for change in ok.changes.iter() {
        match change? {
            Change::Variable { name: b"statement_id", .. } => {}
            Change::Variable { name, value } => {
                if name.starts_with(b"session_track_") {
                    track(client, name, value);
                    continue;
                }
                if !client.current.scan.has(&Effect::SetStatement) {
                    variable(settings, client, server, name, value, out);
                }
                if client.tracks(name) {
                    Change::Variable { name, value }.put(&mut told);
                }
            }
            Change::Schema(name) => {
                client.schema = name.into();
                server.schema = name.into();
                if client.tracking.as_ref().and_then(|tracking| tracking.schema) != Some(false) {
                    Change::Schema(name).put(&mut told);
                }
            }
            Change::Session => {
                session_changed = true;
                if client.tracking.as_ref().is_some_and(|tracking| tracking.state) {
                    Change::Session.put(&mut told);
                }
            }
            Change::Other(_) => {}
        }
    }
    if session_changed && !is_explained(client) {
        server.dirty = true;
        let shown = client.current.shown.clone();
        client.pins.begin(PinReason::UserVariable, b"unseen", &shown, out);
    }
    let mut payload = Vec::with_capacity(packet.len());
    ok.put(&mut payload, client.session_track(), &told);
    put_packet(&mut out.to_client, header.sequence.wrapping_add(client.current.shift), &payload);
    Ok(())
}

/// Whether the text, or what else is reported, says what changed in the session.
fn is_explained(client: &Client) -> bool {
    let scan = &client.current.scan;
    let command = client.current.command;
    scan.only_sets
        || matches!(command, names::INIT_DB | names::SET_OPTION | names::RESET_CONNECTION)
        || (!scan.has(&Effect::Opaque) && !scan.effects.is_empty())
}

fn variable(
    settings: &Settings,
    client: &mut Client,
    server: &mut Server,
    name: &[u8],
    value: &[u8],
    out: &mut Output,
) {
    // A client cannot set it, and the proxy's own statements do.
    if name == b"last_insert_id" {
        return;
    }
    server.overlay.set(name, value);
    let mut replayable = client.overlay.set(name, value);
    if name == b"character_set_connection" {
        if let Some(collation) = server.collation_of_names.take() {
            server.overlay.set(b"collation_connection", &collation);
            client.overlay.set(b"collation_connection", &collation);
        }
    }
    replayable &= !super::scan::is_unreplayable(name);
    if !replayable && !settings.session_pinning_filters.contains(&PinningFilter::ExcludeVariableSets) {
        client.overlay.variables.remove(name);
        server.overlay.variables.remove(name);
        server.dirty = true;
        let shown = client.current.shown.clone();
        client.pins.begin(PinReason::SessionVariable, name, &shown, out);
    }
}

fn track(client: &mut Client, name: &[u8], value: &[u8]) {
    let on = value.eq_ignore_ascii_case(b"on") || value == b"1";
    let tracking = client.tracking.get_or_insert_with(Box::default);
    match name {
        b"session_track_system_variables" => tracking.variables = Some(value.to_vec()),
        b"session_track_schema" => tracking.schema = Some(on),
        b"session_track_state_change" => tracking.state = on,
        _ => {}
    }
}

/// The answer to the client's command has ended, with an error or without.
fn ended(client: &mut Client, server: &mut Server, error: Option<u16>, out: &mut Output) {
    /// Deadlock and lock wait timeout: the transaction may be gone.
    const ROLLED_BACK: [u16; 2] = [1213, 1205];
    client.has_run = true;
    client.transaction_seen |= server.status.has(Status::IN_TRANSACTION);
    server.continuous = true;
    server.collation_of_names = None;
    let scan = Arc::clone(&client.current.scan);
    if !scan.effects.is_empty() {
        server.dirty |= scan.effects.iter().any(leaves_something);
        if scan.has(&Effect::Opaque) || scan.has(&Effect::SetsInsertId) {
            server.insert_id_changed.get_or_insert(0);
        }
    }
    if client.current.command == names::RESET_CONNECTION && error.is_none() {
        client.reset();
        server.forget();
        // The reset took the trackers and the login's character set along.
        server.reset(out);
        server.align(client, out);
        return;
    }
    if let Some(code) = error {
        server.warned = client.number;
        if !scan.several {
            for (reason, name) in std::mem::take(&mut client.current.taken) {
                client.pins.end(reason, &name);
            }
        }
        // An error says nothing about the transaction. Where it could have been opened or ended, ask.
        let certain = !server.status.has(Status::IN_TRANSACTION)
            && server.status.has(Status::AUTOCOMMIT)
            && !scan.several
            && !scan.only_sets
            && !scan.has(&Effect::Opaque);
        if !certain || ROLLED_BACK.contains(&code) {
            server.inject_ping(out);
        }
        return;
    }
    for effect in &scan.effects {
        take_back(client, effect);
    }
    if client.pins.has_named(PinReason::SessionVariable, b"next transaction")
        && !scan.has(&Effect::NextTransaction)
        && server.status.is_idle()
        && (client.transaction_seen || client.changed_rows)
    {
        client.pins.end_all_named(PinReason::SessionVariable, b"next transaction");
    }
    let statement = client.current.statement.to_le_bytes();
    match client.current.command {
        names::STMT_EXECUTE if server.status.has_open_cursor() => {
            client.pins.begin(PinReason::Cursor, &statement, &client.current.shown.clone(), out);
        }
        names::STMT_FETCH if server.status.has(Status::LAST_ROW_SENT) => {
            client.pins.end_all_named(PinReason::Cursor, &statement);
            // The flags speak of the cursor that has just ended.
            server.status = Status(server.status.0 & !(Status::CURSOR_EXISTS | Status::LAST_ROW_SENT));
        }
        names::STMT_RESET => {
            client.pins.end_all_named(PinReason::Cursor, &statement);
            client.pins.end_all_named(PinReason::LongData, &statement);
        }
        _ => {}
    }
    if client.asks_for_results {
        client.pins.begin(PinReason::ResultState, b"", &client.current.shown.clone(), out);
    }
}

/// Whether *effect* can leave something on the server connection that is undone only by a reset.
fn leaves_something(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::NamesCollation(_)
            | Effect::SessionTrack
            | Effect::ReadsRowCount
            | Effect::ReadsWarnings
            | Effect::LastInsertId
            | Effect::SetsInsertId
            | Effect::DropTable(_)
            | Effect::Kill { .. }
            | Effect::ConnectionId
            | Effect::NextTransaction
            | Effect::SetStatement
            | Effect::CalcFoundRows
            | Effect::Opaque
    )
}

/// Effects that end what another statement began.
fn take_back(client: &mut Client, effect: &Effect) {
    match effect {
        Effect::ReleaseLock(Some(name)) => client.pins.end(PinReason::AdvisoryLock, name),
        Effect::ReleaseAllLocks => client.pins.end_all(PinReason::AdvisoryLock),
        Effect::DropTable(name) => client.pins.end_all_named(PinReason::TemporaryTable, name),
        Effect::UnlockTables => client.pins.end_all(PinReason::TableLock),
        Effect::HandlerClose(name) => client.pins.end_all_named(PinReason::Cursor, name),
        Effect::SqlDeallocate(name) => client.pins.end_all_named(PinReason::SqlPrepare, name),
        _ => {}
    }
}
