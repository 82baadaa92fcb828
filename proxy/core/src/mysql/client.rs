//! A client's session: its commands, until each is on its way to a server connection.

use super::login::{client_number, salt};
use super::pins::Pins;
use super::scan::{scan, Effect, Scan};
use super::server::{Expected, Server};
use super::state::Overlay;
use super::statements::ClientStatement;
use super::{Mysql, Shared, Template};
use crate::protocol::{ClientNext, LoginContext, Output, PoolKey, Refusal, Step};
use crate::reason::{ClientClose, PinReason};
use crate::settings::PinningFilter;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use warmline_wire::auth::{caching_sha2, mysql_native};
use warmline_wire::mysql::capability::{self as cap, Capabilities};
use warmline_wire::mysql::{
    err, names, packet_at, put_lenenc_bytes, put_packet, AuthSwitch, ChangeUser, Command, Execution, Header, Malformed,
    Ok as OkPacket, Status, HEADER, LAST_PREPARED,
};

/// Set in a client's place in [`Shared::clients`] when another client has killed it.
pub(super) const KILLED: u32 = u32::MAX;

/// An authenticated client.
pub struct Client {
    pub(super) number: u32,
    user: Arc<str>,
    pub(super) capabilities: Capabilities,
    salt: [u8; 32],
    tls: bool,
    /// The sequence number of the login's last message.
    pub(super) login_sequence: u8,
    pub(super) phase: Phase,
    pub(super) current: Current,
    pub(super) overlay: Overlay,
    /// The default database.
    pub(super) schema: Box<[u8]>,
    pub(super) statements: HashMap<u32, ClientStatement>,
    pub(super) last_statement: u32,
    pub(super) pins: Pins,
    /// `session_track_*` as the client set them; what it is told follows these, what the server is told never does.
    pub(super) tracking: Option<Box<Tracking>>,
    pub(super) template: Option<Arc<Template>>,
    /// The server connection that runs this client's statement, 0 for none; shared with KILL.
    pub(super) running_on: Arc<AtomicU32>,
    pub(super) last_insert_id: u64,
    /// It has asked for the result of an earlier statement, so its server connection is kept after each.
    pub(super) asks_for_results: bool,
    /// A transaction has been open since `SET TRANSACTION`.
    pub(super) transaction_seen: bool,
    /// The last statement changed rows.
    pub(super) changed_rows: bool,
    /// A statement has been answered.
    pub(super) has_run: bool,
    pub(super) last_status: Status,
    /// Re-preparing the statement that is to be executed failed: the server's error.
    pub(super) failed_prepare: Option<Vec<u8>>,
}

/// What the client and its command are doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between commands.
    Idle,
    /// A command is on its way; its answer is outstanding.
    Waiting,
    /// The answer has begun.
    Answering,
    /// A long command is being passed on: bytes of this packet, and whether another follows.
    Streaming { left: usize, continues: bool, answered: bool },
    /// The client sends a file, up to an empty packet.
    Infile { left: usize, continues: bool },
    /// `COM_CHANGE_USER` waits for the proof of another method.
    ChangingUser { database: Box<[u8]> },
}

/// The command that is being answered.
#[derive(Default)]
pub(super) struct Current {
    pub(super) command: u8,
    pub(super) scan: Arc<Scan>,
    /// The client's number of the statement concerned.
    pub(super) statement: u32,
    /// The text to be prepared.
    pub(super) prepare: Option<Arc<super::statements::Text>>,
    /// The start of the statement, to show with a pin.
    pub(super) shown: Vec<u8>,
    /// Causes that this command took, to be given back if it fails.
    pub(super) taken: Vec<(PinReason, Box<[u8]>)>,
    /// Added to the sequence numbers of the answer.
    pub(super) shift: u8,
}

/// `session_track_*` of one client.
#[derive(Default)]
pub(super) struct Tracking {
    pub(super) variables: Option<Vec<u8>>,
    pub(super) schema: Option<bool>,
    pub(super) state: bool,
}

impl Client {
    pub(super) fn new(
        capabilities: Capabilities,
        key: &PoolKey,
        salt: [u8; 32],
        sequence: u8,
        context: LoginContext,
    ) -> Self {
        Self {
            number: client_number(context.serial),
            user: Arc::clone(&key.user),
            capabilities,
            salt,
            tls: context.tls,
            login_sequence: sequence,
            phase: Phase::Idle,
            current: Current::default(),
            overlay: Overlay::default(),
            schema: key.database.as_bytes().into(),
            statements: HashMap::new(),
            last_statement: 0,
            pins: Pins::default(),
            tracking: None,
            template: None,
            running_on: Arc::new(AtomicU32::new(0)),
            last_insert_id: 0,
            asks_for_results: false,
            transaction_seen: false,
            changed_rows: false,
            has_run: false,
            last_status: Status(Status::AUTOCOMMIT),
            failed_prepare: None,
        }
    }

    pub(super) fn welcome(&mut self, template: &Arc<Template>) {
        self.template = Some(Arc::clone(template));
    }

    pub(super) fn session_track(&self) -> bool {
        self.capabilities & cap::SESSION_TRACK != 0
    }

    /// Whether *name* is a variable that this client wants to be told about.
    pub(super) fn tracks(&self, name: &[u8]) -> bool {
        let own = self.tracking.as_ref().and_then(|tracking| tracking.variables.as_deref());
        let list = own.or(self.template.as_ref().map(|template| template.tracked.as_slice())).unwrap_or_default();
        list == b"*" || list.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(name))
    }

    /// The session starts afresh: `COM_RESET_CONNECTION`.
    pub(super) fn reset(&mut self) {
        let multi_statements = self.overlay.multi_statements;
        self.overlay = Overlay { multi_statements, ..Overlay::default() };
        let template = self.template.clone();
        for (name, value) in template.iter().flat_map(|template| &template.after_reset) {
            self.overlay.set(name, value);
        }
        self.statements = HashMap::new();
        self.pins.clear();
        self.tracking = None;
        self.last_insert_id = 0;
        self.asks_for_results = false;
        self.last_status = Status(Status::AUTOCOMMIT);
    }

    fn answer(&mut self, payload: &[u8], out: &mut Output) {
        put_packet(&mut out.to_client, 1, payload);
    }

    fn answer_ok(&mut self, sequence: u8, out: &mut Output) {
        let mut payload = Vec::new();
        OkPacket::plain(self.last_status).put(&mut payload, self.session_track(), &[]);
        put_packet(&mut out.to_client, sequence, &payload);
    }

    fn fail(&mut self, code: u16, state: &str, message: &str, out: &mut Output) {
        let payload = err(code, state, message);
        self.answer(&payload, out);
    }

    /// Take a cause that the current command brings about; given back if the command fails.
    fn take(&mut self, reason: PinReason, name: &[u8], out: &mut Output) {
        let shown = std::mem::take(&mut self.current.shown);
        self.pins.begin(reason, name, &shown, out);
        self.current.shown = shown;
        self.current.taken.push((reason, name.into()));
    }
}

/// What to do with one command.
enum Action {
    /// It has been answered or needs no answer.
    Done,
    /// A server connection is needed.
    Borrow,
    /// The server connection must answer something else first.
    Hold,
    /// Append this payload's packet for the server, changed or as it came.
    Send(Option<Vec<u8>>),
    Close(ClientClose),
}

/// Client input: as many whole commands as can be acted upon.
pub(super) fn input(
    mysql: &Mysql,
    shared: &mut Shared,
    client: &mut Client,
    server: Option<&mut Server>,
    input: &[u8],
    out: &mut Output,
) -> Step<ClientNext> {
    let mut server = server;
    let mut consumed = 0;
    if client.running_on.load(Ordering::Relaxed) == KILLED {
        return Step { consumed, next: ClientNext::Close(ClientClose::Killed) };
    }
    loop {
        let rest = &input[consumed..];
        let next = match client.phase {
            Phase::Idle => None,
            Phase::Waiting | Phase::Answering if rest.is_empty() => Some(ClientNext::Wait),
            Phase::Waiting | Phase::Answering => Some(ClientNext::Hold),
            Phase::Streaming { .. } | Phase::Infile { .. } => {
                let taken = stream(client, rest, out);
                consumed += taken;
                if taken > 0 {
                    continue;
                }
                Some(ClientNext::Wait)
            }
            Phase::ChangingUser { .. } => match packet_at(rest) {
                Some(packet) => {
                    consumed += packet.header.total();
                    let Phase::ChangingUser { database } = std::mem::replace(&mut client.phase, Phase::Idle) else {
                        unreachable!()
                    };
                    match change_user(
                        mysql,
                        client,
                        server.as_deref_mut(),
                        packet.header.sequence.wrapping_add(1),
                        packet.payload,
                        database,
                        out,
                    ) {
                        Action::Close(reason) => Some(ClientNext::Close(reason)),
                        _ => continue,
                    }
                }
                None if rest.len() > 4096 => Some(ClientNext::Close(ClientClose::ProtocolViolation)),
                None => Some(ClientNext::Wait),
            },
        };
        if let Some(next) = next {
            return Step { consumed, next };
        }
        let limit = mysql.settings.inspect_limit_bytes;
        let Some(header) = Header::parse(rest) else { return Step { consumed, next: ClientNext::Wait } };
        let whole = (!header.continues()).then(|| packet_at(rest)).flatten();
        let payload = match whole {
            Some(packet) => packet.payload,
            None if rest.len() >= HEADER + limit => &rest[HEADER..HEADER + limit],
            None => return Step { consumed, next: ClientNext::Wait },
        };
        let action = command(mysql, shared, client, server.as_deref_mut(), payload, whole.is_none(), out)
            .unwrap_or_else(|_: Malformed| {
                client.fail(1835, "HY000", "Malformed communication packet", out);
                Action::Close(ClientClose::ProtocolViolation)
            });
        match action {
            Action::Borrow => return Step { consumed, next: ClientNext::Borrow },
            Action::Hold => return Step { consumed, next: ClientNext::Hold },
            Action::Close(reason) => {
                return Step { consumed: consumed + rest.len().min(header.total()), next: ClientNext::Close(reason) }
            }
            Action::Done if whole.is_some() => consumed += header.total(),
            // A long command that is not passed on cannot be skipped over either: its answer would come before its end.
            Action::Done => return Step { consumed, next: ClientNext::Close(ClientClose::ProtocolViolation) },
            Action::Send(changed) => {
                let changed = changed.as_deref().unwrap_or(payload);
                let length = header.length + changed.len() - payload.len();
                out.to_server.extend_from_slice(&(length as u32).to_le_bytes()[..3]);
                out.to_server.push(0);
                out.to_server.extend_from_slice(changed);
                consumed += HEADER + payload.len();
                let answered = !matches!(client.current.command, names::STMT_SEND_LONG_DATA | names::STMT_CLOSE);
                if answered {
                    out.requests += 1;
                    let server = server.as_deref_mut().expect("sent to a server connection");
                    server.expect(Expected::Client { command: client.current.command });
                }
                client.phase = match whole {
                    Some(_) if answered => Phase::Waiting,
                    Some(_) => Phase::Idle,
                    None => Phase::Streaming {
                        left: header.length - payload.len(),
                        continues: header.continues(),
                        answered,
                    },
                };
                after_send(client, server.as_deref_mut(), out);
            }
        }
    }
}

/// Pass on a long command or a file. Returns the bytes taken.
fn stream(client: &mut Client, input: &[u8], out: &mut Output) -> usize {
    let (Phase::Streaming { left, continues, .. } | Phase::Infile { left, continues }) = &mut client.phase else {
        return 0;
    };
    if *left > 0 {
        let now = input.len().min(*left);
        out.to_server.extend_from_slice(&input[..now]);
        *left -= now;
        if now == 0 || *left > 0 {
            return now;
        }
        finish_packet(client);
        return now;
    }
    let Some(header) = Header::parse(input) else { return 0 };
    out.to_server.extend_from_slice(&input[..HEADER]);
    let last = header.length == 0 && !*continues && matches!(client.phase, Phase::Infile { .. });
    if let Phase::Streaming { left, continues, .. } | Phase::Infile { left, continues } = &mut client.phase {
        (*left, *continues) = (header.length, header.continues());
    }
    if last {
        client.phase = Phase::Waiting;
    } else if header.length == 0 {
        finish_packet(client);
    }
    HEADER
}

fn finish_packet(client: &mut Client) {
    if let Phase::Streaming { continues: false, answered, .. } = client.phase {
        client.phase = if answered { Phase::Waiting } else { Phase::Idle };
    }
}

fn command(
    mysql: &Mysql,
    shared: &mut Shared,
    client: &mut Client,
    server: Option<&mut Server>,
    payload: &[u8],
    long: bool,
    out: &mut Output,
) -> Result<Action, Malformed> {
    let attributes = client.capabilities & cap::QUERY_ATTRIBUTES != 0;
    let parsed = Command::parse(payload, attributes)?;
    // Commands that need no server connection, or only the one that is attached.
    match parsed {
        Command::Quit => return Ok(Action::Close(ClientClose::Terminated)),
        Command::Ping => {
            client.answer_ok(1, out);
            return Ok(Action::Done);
        }
        Command::Close(id) => return Ok(close_statement(client, server, id, out)),
        Command::ResetConnection if server.is_none() => {
            client.reset();
            client.answer_ok(1, out);
            return Ok(Action::Done);
        }
        Command::ChangeUser => {
            let change = ChangeUser::parse(payload, client.capabilities)?;
            return Ok(begin_change_user(mysql, client, server, &change, out));
        }
        Command::ProcessKill(number) if shared.clients.contains_key(&number) => {
            return Ok(kill(shared, client, server, number, payload, None, out));
        }
        Command::Execute(id)
        | Command::BulkExecute(id)
        | Command::Fetch(id)
        | Command::Reset(id)
        | Command::SendLongData(id)
            if !client.statements.contains_key(&resolve(client, id)) =>
        {
            if !matches!(parsed, Command::SendLongData(_)) {
                let message = format!("Unknown prepared statement handler ({id}) given to the proxy");
                client.fail(1243, "HY000", &message, out);
            }
            return Ok(Action::Done);
        }
        Command::Reset(id) if server.is_none() => {
            let _ = id;
            client.answer_ok(1, out);
            return Ok(Action::Done);
        }
        Command::Other(number) => {
            let message = format!("Command {number:#04x} is not supported by the proxy (replication and cloning need a direct connection)");
            client.fail(1047, "08S01", &message, out);
            return Ok(Action::Done);
        }
        _ => {}
    }
    let Some(server) = server else { return Ok(Action::Borrow) };
    if !server.takes_commands() {
        return Ok(Action::Hold);
    }
    client.current.taken.clear();
    client.current.shift = 0;
    client.current.command = payload[0];
    match parsed {
        Command::Query(text) => query(mysql, shared, client, server, payload, text, long, out),
        Command::Prepare(text) => {
            client.current.scan = Arc::new(if long { Scan::default() } else { scan(text, server.plain_backslash()) });
            client.current.prepare = Some(shared.statements.intern(&client.schema, text));
            client.current.shown = start_of(text);
            if long {
                client.fail(1105, "HY000", "WL-P112: a statement to prepare is longer than inspect_limit_bytes", out);
                return Ok(Action::Done);
            }
            Ok(Action::Send(None))
        }
        Command::Execute(id) => execute(mysql, client, server, payload, resolve(client, id), out),
        Command::BulkExecute(id) => {
            let id = resolve(client, id);
            match statement_on(mysql, client, server, id, out) {
                Found::Here(number) => {
                    begin_execution(client, id);
                    if let Some(refused) = effects(mysql, client, server, out) {
                        return Ok(refused);
                    }
                    Ok(Action::Send(Some(with_id(payload, number))))
                }
                Found::Elsewhere(action) => Ok(action),
            }
        }
        Command::SendLongData(id) => {
            let id = resolve(client, id);
            match statement_on(mysql, client, server, id, out) {
                Found::Here(number) => {
                    client.current.statement = id;
                    client.pins.begin(PinReason::LongData, &id.to_le_bytes(), b"COM_STMT_SEND_LONG_DATA", out);
                    Ok(Action::Send(Some(with_id(payload, number))))
                }
                Found::Elsewhere(action) => Ok(action),
            }
        }
        Command::Fetch(id) | Command::Reset(id) => {
            let id = resolve(client, id);
            client.current.statement = id;
            client.current.scan = Arc::default();
            let here = client.statements.get(&id).and_then(|statement| server.prepared.get(&statement.text));
            if let Some(number) = here.map(|statement| statement.id) {
                return Ok(Action::Send(Some(with_id(payload, number))));
            }
            if matches!(parsed, Command::Reset(_)) {
                client.answer_ok(1, out); // never executed here: nothing to reset
            } else {
                let message = format!("The statement ({id}) has no open cursor");
                client.fail(1421, "HY000", &message, out);
            }
            Ok(Action::Done)
        }
        Command::ResetConnection | Command::InitDb(_) | Command::SetOption(_) => {
            client.current.scan = Arc::new(Scan { only_sets: true, ..Scan::default() });
            if let Command::SetOption(option) = parsed {
                client.overlay.multi_statements = Some(option == 0);
                server.overlay.multi_statements = Some(option == 0);
            }
            Ok(Action::Send(None))
        }
        _ => {
            client.current.scan = Arc::default();
            Ok(Action::Send(None))
        }
    }
}

fn resolve(client: &Client, id: u32) -> u32 {
    if id == LAST_PREPARED {
        client.last_statement
    } else {
        id
    }
}

fn start_of(text: &[u8]) -> Vec<u8> {
    text[..text.len().min(200)].to_vec()
}

fn with_id(payload: &[u8], id: u32) -> Vec<u8> {
    let mut changed = payload.to_vec();
    changed[Command::ID].copy_from_slice(&id.to_le_bytes());
    changed
}

fn query(
    mysql: &Mysql,
    shared: &mut Shared,
    client: &mut Client,
    server: &mut Server,
    payload: &[u8],
    text: &[u8],
    long: bool,
    out: &mut Output,
) -> Result<Action, Malformed> {
    if long {
        client.current.scan = Arc::new(Scan { effects: vec![Effect::Opaque], several: true, only_sets: false });
        client.current.shown = start_of(text);
        client.take(PinReason::LongStatement, b"", out);
        return Ok(Action::Send(None));
    }
    let found = scan(text, server.plain_backslash());
    if found.effects.is_empty() && !found.several && !found.only_sets {
        client.current.scan = Arc::clone(&server.plain);
    } else {
        client.current.scan = Arc::new(found);
        client.current.shown = start_of(text);
        let scan = Arc::clone(&client.current.scan);
        if let [Effect::Kill { number, at, .. }] = scan.effects.as_slice() {
            if shared.clients.contains_key(number) {
                let from = payload.len() - text.len();
                return Ok(kill(
                    shared,
                    client,
                    Some(server),
                    *number,
                    payload,
                    Some(from + at.start..from + at.end),
                    out,
                ));
            }
        }
        if scan.effects == [Effect::ConnectionId] && !scan.several {
            answer_connection_id(client, out);
            return Ok(Action::Done);
        }
    }
    client.current.statement = 0;
    if let Some(refused) = effects(mysql, client, server, out) {
        return Ok(refused);
    }
    Ok(Action::Send(None))
}

fn begin_execution(client: &mut Client, id: u32) {
    client.current.statement = id;
    if let Some(statement) = client.statements.get(&id) {
        client.current.scan = Arc::clone(&statement.scan);
        client.current.shown = start_of(&statement.text.sql);
    }
}

enum Found {
    /// The server connection's number for it.
    Here(u32),
    Elsewhere(Action),
}

/// The number that the server connection has for the client's statement *id*; prepares it there if it must.
fn statement_on(mysql: &Mysql, client: &mut Client, server: &mut Server, id: u32, out: &mut Output) -> Found {
    let statement = client.statements.get(&id).expect("checked before");
    if let Some(here) = server.prepared.get(&statement.text) {
        return Found::Here(here.id);
    }
    if let Some(error) = client.failed_prepare.take() {
        client.answer(&error, out);
        return Found::Elsewhere(Action::Done);
    }
    let text = Arc::clone(&statement.text);
    server.prepare(&text, &client.schema, mysql.settings.max_prepared_statements, out);
    Found::Elsewhere(Action::Hold)
}

fn execute(
    mysql: &Mysql,
    client: &mut Client,
    server: &mut Server,
    payload: &[u8],
    id: u32,
    out: &mut Output,
) -> Result<Action, Malformed> {
    let number = match statement_on(mysql, client, server, id, out) {
        Found::Here(number) => number,
        Found::Elsewhere(action) => return Ok(action),
    };
    begin_execution(client, id);
    if let Some(refused) = effects(mysql, client, server, out) {
        return Ok(refused);
    }
    let attributes = client.capabilities & cap::QUERY_ATTRIBUTES != 0;
    let statement = client.statements.get_mut(&id).expect("checked before");
    let here = server.prepared.get(&statement.text).expect("found above");
    let mut changed = with_id(payload, number);
    if let Some(execution) = Execution::parse(payload, statement.parameters, attributes)? {
        if execution.has_types() {
            let types = &payload[execution.types];
            if *statement.types != *types {
                statement.types = types.into();
            }
            if *here.types != *types {
                here.types = types.into();
            }
        } else if here.types != statement.types {
            changed[execution.bound_at] = 1;
            changed.splice(execution.types, statement.types.iter().copied());
            here.types = statement.types.clone();
        }
    }
    // Executing again closes the statement's cursor and uses up what was sent ahead.
    client.pins.end_all_named(PinReason::Cursor, &id.to_le_bytes());
    client.pins.end_all_named(PinReason::LongData, &id.to_le_bytes());
    Ok(Action::Send(Some(changed)))
}

/// Act on what the command to be sent does to its session. `Some` refuses it.
fn effects(mysql: &Mysql, client: &mut Client, server: &mut Server, out: &mut Output) -> Option<Action> {
    let scan = Arc::clone(&client.current.scan);
    let asks = |effect: &Effect| matches!(effect, Effect::ReadsRowCount | Effect::ReadsWarnings | Effect::LastInsertId);
    if !client.asks_for_results && !scan.effects.iter().any(asks) {
        client.pins.end_all_named(PinReason::ResultState, b"");
    }
    if scan.effects.is_empty() {
        return None;
    }
    let reads_insert_id = |effect: &Effect| matches!(effect, Effect::LastInsertId | Effect::Opaque);
    if scan.effects.iter().any(reads_insert_id) && !server.recall_insert_id(client, out) {
        return Some(Action::Hold);
    }
    let filtered = mysql.settings.session_pinning_filters.contains(&PinningFilter::ExcludeVariableSets);
    for effect in &scan.effects {
        match effect {
            Effect::UserVariable if !filtered => client.take(PinReason::UserVariable, b"", out),
            Effect::GetLock(name) => client.take(PinReason::AdvisoryLock, name.as_deref().unwrap_or(b"?"), out),
            Effect::CreateTemporary(name) => client.take(PinReason::TemporaryTable, name, out),
            Effect::LockTables => client.take(PinReason::TableLock, b"", out),
            Effect::HandlerOpen(name) => client.take(PinReason::Cursor, name, out),
            Effect::SqlPrepare(name) => client.take(PinReason::SqlPrepare, name, out),
            Effect::NextTransaction => {
                client.transaction_seen = false;
                client.take(PinReason::SessionVariable, b"next transaction", out);
            }
            Effect::Role => client.take(PinReason::SessionAuthorization, b"", out),
            Effect::Unreplayable if !filtered => client.take(PinReason::SessionVariable, b"", out),
            Effect::CalcFoundRows => client.take(PinReason::ResultState, b"", out),
            Effect::NamesCollation(collation) => server.collation_of_names = Some(collation.as_slice().into()),
            Effect::ReadsWarnings => server.forget_warnings(client, out),
            Effect::ReadsRowCount if !server.continuous && client.has_run => {
                client.asks_for_results = true;
                client.fail(
                    1105,
                    "HY000",
                    "WL-P111: ROW_COUNT() or FOUND_ROWS() asks for the result of a statement whose server connection has been returned; \
                     from now on this session keeps its server connection. Run both in one transaction: warmline explain WL-P111",
                    out,
                );
                return Some(Action::Done);
            }
            _ => {}
        }
        match effect {
            Effect::ReadsRowCount | Effect::ReadsWarnings => client.asks_for_results = true,
            _ => {}
        }
    }
    None
}

/// What follows a command in the same write.
fn after_send(client: &mut Client, server: Option<&mut Server>, out: &mut Output) {
    let Some(server) = server else { return };
    if client.current.scan.has(&Effect::SessionTrack) && matches!(client.phase, Phase::Waiting) {
        server.inject_trackers(out);
    }
}

fn close_statement(client: &mut Client, server: Option<&mut Server>, id: u32, out: &mut Output) -> Action {
    let id = resolve(client, id);
    let Some(statement) = client.statements.get(&id) else { return Action::Done };
    let name = id.to_le_bytes();
    let held = client.pins.has_named(PinReason::Cursor, &name) || client.pins.has_named(PinReason::LongData, &name);
    if held {
        let Some(server) = server else { return Action::Borrow };
        if !server.takes_commands() {
            return Action::Hold;
        }
        // The cursor and the long parameters go with the server's own statement; the ping's answer ends the borrow.
        if let Some(here) = server.prepared.remove(&statement.text) {
            server.close_statement(here.id, out);
        }
        client.pins.end_all_named(PinReason::Cursor, &name);
        client.pins.end_all_named(PinReason::LongData, &name);
        server.inject_ping(out);
    }
    client.statements.remove(&id);
    Action::Done
}

fn answer_connection_id(client: &mut Client, out: &mut Output) {
    let mut column = Vec::new();
    for text in [&b"def"[..], b"", b"", b"", b"CONNECTION_ID()", b""] {
        put_lenenc_bytes(&mut column, text);
    }
    column.extend_from_slice(&[0x0c, 0x3f, 0, 21, 0, 0, 0, 8, 0x81, 0, 0, 0, 0]);
    if client.capabilities & cap::MARIADB_EXTENDED_METADATA != 0 {
        let at = column.len() - 13;
        column.insert(at, 0);
    }
    let mut sequence = put_packet(&mut out.to_client, 1, &[1]);
    sequence = put_packet(&mut out.to_client, sequence, &column);
    let eof = warmline_wire::mysql::eof(0, client.last_status);
    let deprecated = client.capabilities & cap::DEPRECATE_EOF != 0;
    if !deprecated {
        sequence = put_packet(&mut out.to_client, sequence, &eof);
    }
    let mut row = Vec::new();
    put_lenenc_bytes(&mut row, client.number.to_string().as_bytes());
    sequence = put_packet(&mut out.to_client, sequence, &row);
    if deprecated {
        let mut end = Vec::new();
        OkPacket { mark: 0xfe, ..OkPacket::plain(client.last_status) }.put(&mut end, client.session_track(), &[]);
        put_packet(&mut out.to_client, sequence, &end);
    } else {
        put_packet(&mut out.to_client, sequence, &eof);
    }
    out.requests += 1;
    out.responses += 1;
}

/// KILL of another client of this proxy: of what runs for it, or of it.
fn kill(
    shared: &mut Shared,
    client: &mut Client,
    server: Option<&mut Server>,
    number: u32,
    payload: &[u8],
    at: Option<std::ops::Range<usize>>,
    out: &mut Output,
) -> Action {
    let Some(victim) = shared.clients.get(&number).and_then(std::sync::Weak::upgrade) else {
        shared.clients.remove(&number);
        let message = format!("Unknown thread id: {number}");
        client.fail(1094, "HY000", &message, out);
        return Action::Done;
    };
    let query = client.current.scan.effects.iter().any(|effect| matches!(effect, Effect::Kill { query: true, .. }));
    let running_on = victim.load(Ordering::Relaxed);
    if running_on == 0 || running_on == KILLED {
        // Nothing runs for it: there is no statement to stop, and its session ends with its next command.
        if !query {
            victim.store(KILLED, Ordering::Relaxed);
        }
        client.answer_ok(1, out);
        return Action::Done;
    }
    let Some(server) = server else { return Action::Borrow };
    if !server.takes_commands() {
        return Action::Hold;
    }
    client.current.command = payload[0];
    let mut changed = payload.to_vec();
    match at {
        Some(at) => drop(changed.splice(at, running_on.to_string().into_bytes())),
        None => changed[1..5].copy_from_slice(&running_on.to_le_bytes()),
    }
    Action::Send(Some(changed))
}

fn begin_change_user(
    mysql: &Mysql,
    client: &mut Client,
    server: Option<&mut Server>,
    change: &ChangeUser<'_>,
    out: &mut Output,
) -> Action {
    if change.user != client.user.as_bytes() {
        let message =
            format!("WL-P113: the proxy cannot change a connection's user ('{}'): open a new connection", client.user);
        client.fail(1873, "28000", &message, out);
        return Action::Close(ClientClose::AuthFailed);
    }
    if server.as_ref().is_some_and(|server| !server.takes_commands()) {
        return Action::Hold;
    }
    let plugin = change.plugin.unwrap_or(mysql_native::NAME);
    if mysql.accepts(&client.user, plugin, change.proof, &client.salt, client.tls) {
        client.current.shift = 0;
        let mut sequence = 1;
        if plugin == caching_sha2::NAME && !change.proof.is_empty() && change.proof != [0] {
            sequence = put_packet(&mut out.to_client, 1, &[caching_sha2::MORE, caching_sha2::FAST_OK]);
        }
        return changed_user(client, server, sequence, change.database, out);
    }
    // Connectors that do not know the proof's method for certain, or made it for another nonce, are asked again.
    client.salt = salt();
    let mut payload = Vec::new();
    AuthSwitch { plugin: mysql_native::NAME, data: &client.salt[..20] }.put(&mut payload);
    put_packet(&mut out.to_client, 1, &payload);
    client.phase = Phase::ChangingUser { database: change.database.into() };
    Action::Done
}

fn change_user(
    mysql: &Mysql,
    client: &mut Client,
    server: Option<&mut Server>,
    sequence: u8,
    proof: &[u8],
    database: Box<[u8]>,
    out: &mut Output,
) -> Action {
    if !mysql.accepts(&client.user, mysql_native::NAME, proof, &client.salt, client.tls) {
        let message = format!("Access denied for user '{}'@'proxy' (using password: YES)", client.user);
        put_packet(&mut out.to_client, sequence, &err(1045, "28000", &message));
        return Action::Close(ClientClose::AuthFailed);
    }
    changed_user(client, server, sequence, &database, out)
}

/// The same user again: the session starts afresh, in *database*.
fn changed_user(
    client: &mut Client,
    server: Option<&mut Server>,
    sequence: u8,
    database: &[u8],
    out: &mut Output,
) -> Action {
    client.reset();
    client.schema = database.into();
    client.answer_ok(sequence, out);
    if let Some(server) = server {
        server.reset(out);
        server.align(client, out);
        server.inject_ping(out);
    }
    Action::Done
}

/// A refusal as an error number, its SQLSTATE and a text.
pub(super) fn error_of(refusal: &Refusal) -> (u16, &'static str, String) {
    match refusal {
        Refusal::BorrowTimeout { message, .. } => (9501, "HY000", message.clone()),
        Refusal::Target(error) => (
            error.code.parse().unwrap_or(2003),
            if error.code == "1045" { "28000" } else { "HY000" },
            error.message.clone(),
        ),
        Refusal::Draining => (1053, "08S01", "The proxy is shutting down".into()),
        Refusal::Killed => (1927, "70100", "Connection was killed by an administrator of the proxy".into()),
        Refusal::Cancelled => (1317, "70100", "Query execution was interrupted".into()),
        Refusal::IdleInTransaction => (
            4031,
            "HY000",
            "The proxy closed this connection: idle_in_transaction_timeout_s passed inside a transaction".into(),
        ),
        Refusal::IdleTimeout => {
            (4031, "HY000", "The proxy closed this connection: idle_client_timeout_s passed without a command".into())
        }
        Refusal::TooManyClients(message) => (1040, "08004", message.clone()),
    }
}

pub(super) fn refuse(client: &mut Client, refusal: &Refusal, pending: &[u8], out: &mut Vec<u8>) -> Step<ClientNext> {
    let (code, state, message) = error_of(refusal);
    let payload = err(code, state, &message);
    let reason = match refusal {
        Refusal::BorrowTimeout { .. } => ClientClose::BorrowTimeout,
        Refusal::Target(_) => ClientClose::TargetRefused,
        Refusal::Draining => ClientClose::Drained,
        Refusal::Killed | Refusal::Cancelled => ClientClose::Killed,
        Refusal::IdleInTransaction => ClientClose::IdleInTransaction,
        Refusal::IdleTimeout => ClientClose::IdleTimeout,
        Refusal::TooManyClients(_) => ClientClose::TooManyClients,
    };
    if client.template.is_none() {
        put_packet(out, client.login_sequence, &payload);
        return Step { consumed: 0, next: ClientNext::Close(reason) };
    }
    let stays = matches!(refusal, Refusal::BorrowTimeout { .. } | Refusal::Target(_) | Refusal::Cancelled);
    // A whole command is answered by the error and the session goes on; without one the error stands by itself.
    match packet_at(pending) {
        Some(packet) if client.phase == Phase::Idle => {
            put_packet(out, 1, &payload);
            let silent = packet.payload.first() == Some(&names::STMT_SEND_LONG_DATA);
            let next = if stays && !packet.header.continues() && !silent {
                ClientNext::Wait
            } else {
                ClientNext::Close(reason)
            };
            Step { consumed: packet.header.total(), next }
        }
        _ => {
            if client.phase != Phase::Answering {
                put_packet(out, u8::from(client.phase != Phase::Idle || !pending.is_empty()), &payload);
            }
            Step { consumed: 0, next: ClientNext::Close(reason) }
        }
    }
}

pub(super) fn lost(client: &mut Client, out: &mut Vec<u8>) {
    // In the middle of an answer there is no place for an error: the end of the stream is the error.
    if client.phase != Phase::Answering {
        let sequence = u8::from(client.phase != Phase::Idle);
        let message = "Lost connection to server during query (the proxy's server connection was lost; whether the statement took effect is not known)";
        put_packet(out, sequence, &err(2013, "HY000", message));
    }
}
