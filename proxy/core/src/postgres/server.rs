//! What a server answers, matched against the queue of what it was asked.

use super::statements::{Statement, PREFIX};
use super::{Client, Postgres, Server, Shared, FIXED};
use crate::protocol::{Output, ServerNext, Step};
use crate::reason::{PinReason, ServerClose};
use std::sync::Arc;
use warmline_wire::postgres::{self as wire, Head};

/// One thing that was asked, in the order of asking.
#[derive(Debug)]
pub(super) enum Expect {
    /// A client's `Query` or `FunctionCall`: everything up to `ReadyForQuery`.
    Query,
    /// A client's `Sync`: `ReadyForQuery`.
    Sync,
    /// A client's `Parse`, under its name there (empty for the unnamed one).
    Parse { statement: Option<Arc<Statement>>, name: Box<[u8]> },
    /// A `Parse` of the proxy's own.
    ParseHidden(Arc<Statement>),
    /// A client's `Parse` of what the server connection has already.
    ParseFake(Box<[u8]>),
    /// A client's `Bind`.
    Bind(Option<Arc<Statement>>),
    /// A client's `Describe`.
    Describe(Option<Arc<Statement>>),
    /// A client's `Execute`.
    Execute,
    /// A client's `Close`.
    Close,
    /// A client's `Close` of a statement that stays prepared for others.
    CloseFake,
    /// A `Close` of the proxy's own.
    CloseHidden,
    /// A statement of the proxy's own: everything up to `ReadyForQuery`.
    Hidden(Hidden),
}

/// The proxy's own statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    /// Settings that follow the client.
    Replay,
    /// What state does the session have?
    Probe,
    /// Clean up after a client that left.
    Clean,
    /// `DISCARD SEQUENCES`.
    Sequences,
}

impl Expect {
    /// True for what ends with `ReadyForQuery`.
    fn ends_with_ready(&self) -> bool {
        matches!(self, Self::Query | Self::Sync | Self::Hidden(_))
    }

    pub(super) fn emit_fake(&self, to_client: &mut Vec<u8>) {
        match self {
            Self::ParseFake(_) => to_client.extend_from_slice(&[b'1', 0, 0, 0, 4]),
            Self::CloseFake => to_client.extend_from_slice(&[b'3', 0, 0, 0, 4]),
            _ => {}
        }
    }
}

fn step(consumed: usize, next: ServerNext) -> Step<ServerNext> {
    Step { consumed, next }
}

impl Server {
    /// What the message belongs to is the proxy's own business.
    fn hidden(&self) -> bool {
        matches!(self.queue.front(), Some(Expect::Hidden(_)))
    }

    /// A `ReadyForQuery` for the client is still to come.
    pub(super) fn answers_outstanding(&self) -> bool {
        self.queue.iter().any(|entry| matches!(entry, Expect::Query | Expect::Sync))
    }

    /// The asked thing at the front is answered: what the proxy answers itself behind it goes out now.
    fn answered(&mut self, to_client: &mut Vec<u8>) {
        self.queue.pop_front();
        self.emit_fakes(to_client);
    }

    /// Behind what is answered now, the proxy answers something itself.
    fn fakes_follow(&self) -> bool {
        matches!(self.queue.get(1), Some(Expect::ParseFake(_) | Expect::CloseFake))
    }

    fn emit_fakes(&mut self, to_client: &mut Vec<u8>) {
        while let Some(entry @ (Expect::ParseFake(_) | Expect::CloseFake)) = self.queue.front() {
            if self.failed {
                return;
            }
            entry.emit_fake(to_client);
            self.queue.pop_front();
        }
    }

    /// The server dropped this without doing it.
    fn undo(&mut self, client: Option<&mut Client>, entry: &Expect) {
        match entry {
            Expect::Parse { statement, name } => {
                if let Some(statement) = statement {
                    if name.is_empty() {
                        self.unnamed = 0;
                    } else {
                        self.prepared.remove(&statement.number);
                    }
                }
                forget(client, name);
            }
            Expect::ParseHidden(statement) => {
                self.prepared.remove(&statement.number);
                self.unnamed = 0;
            }
            Expect::ParseFake(name) => forget(client, name),
            _ => {}
        }
    }
}

fn forget(client: Option<&mut Client>, name: &[u8]) {
    let Some(client) = client else { return };
    if name.is_empty() {
        client.unnamed = None;
    } else if let Some(statements) = &mut client.statements {
        statements.remove(name);
    }
}

impl Postgres {
    pub(super) fn answers(
        &self,
        shared: &mut Shared,
        mut client: Option<&mut Client>,
        server: &mut Server,
        input: &[u8],
        out: &mut Output,
    ) -> Step<ServerNext> {
        let mut used = 0;
        let mut shown = Shown { input, wanted: client.is_some(), start: 0, end: 0 };
        let mut next = ServerNext::Wait;
        loop {
            if server.skip > 0 {
                let now = server.skip.min(input.len() - used);
                used += now;
                server.skip -= now;
                shown.message(server.skip_shown, used, out);
                if server.skip > 0 {
                    break;
                }
            }
            let rest = &input[used..];
            let head = match Head::read(rest) {
                Ok(Some(head)) => head,
                Ok(None) => break,
                Err(_) => {
                    shown.flush(out);
                    return step(used, ServerNext::Close(ServerClose::ProtocolViolation));
                }
            };
            let hidden = server.hidden();
            let front = server.queue.front();
            let streamed = match head.kind {
                // Most bytes are rows: they are passed on without a look.
                b'D' | b'd' => !matches!(front, Some(Expect::Hidden(Hidden::Probe))),
                b'T' => !matches!(front, Some(Expect::Describe(_))),
                b't' | b'V' | b'c' => true,
                b'N' | b'A' | b'E' | b'S' | b'C' => head.total > self.settings.inspect_limit_bytes,
                _ => false,
            };
            if streamed {
                server.skip = head.total;
                server.skip_shown = !hidden;
                continue;
            }
            let Some(body) = rest.get(Head::BYTES..head.total) else { break };
            used += head.total;
            match head.kind {
                b'1' | b'2' | b'3' | b'n' | b'T' => {
                    let show = matches!(
                        front,
                        Some(Expect::Parse { .. } | Expect::Bind(_) | Expect::Close | Expect::Describe(_))
                    );
                    shown.message(show, used, out);
                    // Answers of the proxy's own come behind what is shown so far.
                    if server.fakes_follow() {
                        shown.flush(out);
                    }
                    server.answered(&mut out.to_client);
                }
                b'C' | b'I' | b's' => {
                    let executed = matches!(front, Some(Expect::Execute));
                    if head.kind == b'C' && !hidden && body.first() == Some(&b'D') {
                        discarded(client.as_deref_mut(), server, body);
                    }
                    shown.message(!hidden, used, out);
                    if executed {
                        if server.fakes_follow() {
                            shown.flush(out);
                        }
                        server.answered(&mut out.to_client);
                    }
                }
                b'D' => {
                    if let Ok(row) = super::probe::Row::read(body) {
                        server.rows.push(row);
                    }
                    shown.message(false, used, out);
                }
                b'G' => {
                    server.copy_in = true;
                    // The Sync that clients send right behind Execute is ignored by a server that waits for data.
                    let executed = matches!(front, Some(Expect::Execute));
                    if executed && matches!(server.queue.get(1), Some(Expect::Sync)) {
                        server.queue.remove(1);
                        server.batch_open = true;
                    }
                    shown.message(!hidden, used, out);
                }
                b'E' => {
                    shown.message(false, used, out);
                    if let Some(reason) = self.failed(shared, client.as_deref_mut(), server, body, hidden, out) {
                        return step(used, ServerNext::Close(reason));
                    }
                }
                b'S' => {
                    let show = parameter(shared, client.as_deref_mut(), server, body, hidden);
                    shown.message(show, used, out);
                }
                b'N' | b'A' | b'H' | b'W' => shown.message(!hidden, used, out),
                b'Z' => {
                    shown.message(!hidden, used, out);
                    shown.flush(out);
                    server.status = body.first().copied().unwrap_or(b'I');
                    next = self.ready(shared, client.as_deref_mut(), server, out);
                    if !matches!(next, ServerNext::Wait) {
                        return step(used, next);
                    }
                }
                b'R' | b'K' | b'v' => shown.message(false, used, out),
                _ => {
                    shown.flush(out);
                    return step(used, ServerNext::Close(ServerClose::ProtocolViolation));
                }
            }
        }
        shown.flush(out);
        step(used, next)
    }

    /// An `ErrorResponse`; the reason to close the server connection, if it is one.
    fn failed(
        &self,
        shared: &mut Shared,
        client: Option<&mut Client>,
        server: &mut Server,
        body: &[u8],
        hidden: bool,
        out: &mut Output,
    ) -> Option<ServerClose> {
        let text = wire::error_field(body, b'M').map(|text| String::from_utf8_lossy(text).into_owned());
        let fatal = matches!(wire::error_field(body, b'V'), Some(b"FATAL" | b"PANIC"));
        if hidden {
            server.hidden_error = text;
            return fatal.then_some(ServerClose::Lost);
        }
        let Some(client) = client else { return Some(ServerClose::Lost) };
        server.copy_in = false;
        server.fatal |= fatal;
        if !matches!(server.queue.front(), Some(Expect::Query) | None) {
            server.failed = true;
        }
        let code = wire::error_field(body, b'C').unwrap_or_default();
        if code == b"0A000" {
            if let Some(Expect::Bind(Some(statement)) | Expect::Describe(Some(statement))) = server.queue.front() {
                shared.statements.retire(statement);
            }
        }
        match rename(client, body) {
            Some(renamed) => {
                out.to_client.push(b'E');
                out.to_client.extend_from_slice(&(renamed.len() as u32 + 4).to_be_bytes());
                out.to_client.extend_from_slice(&renamed);
            }
            None => {
                out.to_client.push(b'E');
                out.to_client.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
                out.to_client.extend_from_slice(body);
            }
        }
        None
    }

    /// `ReadyForQuery`.
    fn ready(
        &self,
        shared: &mut Shared,
        mut client: Option<&mut Client>,
        server: &mut Server,
        out: &mut Output,
    ) -> ServerNext {
        let mut ended = None;
        while let Some(entry) = server.queue.pop_front() {
            let last = if server.failed { matches!(entry, Expect::Sync) } else { entry.ends_with_ready() };
            if last {
                ended = Some(entry);
                break;
            }
            server.undo(client.as_deref_mut(), &entry);
        }
        server.failed = false;
        server.discarded = false;
        match ended {
            Some(Expect::Hidden(Hidden::Replay)) => {
                if server.hidden_error.is_some() {
                    return ServerNext::Close(ServerClose::Dirty);
                }
                if let Some(client) = &mut client {
                    client.vars.accept();
                    if let Some(said) = client.said.take() {
                        shared.vars.learn_canonical(&said, &client.vars);
                        client.base = Arc::clone(&client.vars);
                    }
                }
                let held = std::mem::take(&mut server.holding);
                server.emit_fakes(&mut out.to_client);
                return if held { ServerNext::Resume } else { ServerNext::Wait };
            }
            Some(Expect::Hidden(Hidden::Probe)) => {
                server.holding = false;
                match client.as_deref_mut() {
                    Some(client) => self.conclude(shared, client, server, out),
                    None => server.rows.clear(), // the client left meanwhile; the clean-up follows
                }
            }
            Some(Expect::Hidden(Hidden::Clean)) => {
                if server.hidden_error.is_some() {
                    return ServerNext::Close(ServerClose::Dirty);
                }
                let clean = server.queue.is_empty() && server.status == b'I';
                return if clean { ServerNext::Return } else { ServerNext::Wait };
            }
            Some(Expect::Hidden(Hidden::Sequences)) => server.hidden_error = None,
            Some(_) => {
                out.responses += 1;
                server.emit_fakes(&mut out.to_client);
            }
            None => return ServerNext::Close(ServerClose::ProtocolViolation),
        }
        let Some(client) = client else { return ServerNext::Wait };
        if !server.queue.is_empty() || server.batch_open || server.copy_in || server.status != b'I' || client.skip > 0 {
            return if server.answers_outstanding() { ServerNext::Wait } else { ServerNext::Resume };
        }
        if !client.hints.is_empty() {
            if self.ask_state(client, server, out) {
                return ServerNext::Wait;
            }
        }
        if client.pins.is_empty() {
            return ServerNext::Return;
        }
        if !Arc::ptr_eq(&client.vars, &server.applied) {
            self.bring_up(client, server, out); // DISCARD ALL took the start-up packet's settings away
        }
        ServerNext::Resume
    }
}

/// A run of bytes that go to the client as they are, not copied yet: one copy for many messages.
struct Shown<'a> {
    input: &'a [u8],
    wanted: bool,
    start: usize,
    end: usize,
}

impl Shown<'_> {
    /// The input up to *used* was looked at; the last of it goes to the client, or not.
    fn message(&mut self, show: bool, used: usize, out: &mut Output) {
        if show {
            self.end = used;
        } else {
            self.flush(out);
            (self.start, self.end) = (used, used);
        }
    }

    fn flush(&mut self, out: &mut Output) {
        if self.wanted {
            out.to_client.extend_from_slice(&self.input[self.start..self.end]);
        }
        self.start = self.end;
    }
}

/// `DISCARD ALL` and `DEALLOCATE ALL` took things away that the proxy keeps account of.
fn discarded(client: Option<&mut Client>, server: &mut Server, tag: &[u8]) {
    let Some(client) = client else { return };
    if tag == b"DISCARD ALL\0" {
        server.prepared.clear();
        server.unnamed = 0;
        server.applied = Arc::default();
        server.discarded = true;
        client.statements = None;
        client.unnamed = None;
        client.vars = Arc::clone(&client.base);
        client.hints = warmline_wire::postgres::sql::Hints::NONE;
        client.touched.clear();
        client.pins.retain(|pin| matches!(pin.reason, PinReason::LoadedLibrary | PinReason::RandomSeed));
    } else if tag == b"DEALLOCATE ALL\0" {
        server.prepared.clear();
        client.statements = None;
    }
}

/// A `ParameterStatus`: true when the client is to see it.
fn parameter(shared: &mut Shared, client: Option<&mut Client>, server: &mut Server, body: &[u8], hidden: bool) -> bool {
    let Some((name, rest)) = wire::cstr(body) else { return false };
    let value = wire::cstr(rest).map_or(&b""[..], |(value, _)| value);
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    if FIXED.contains(&name.as_str()) {
        return !hidden;
    }
    let is_default = server.defaults.get(&name) == Some(value);
    let kept = if is_default { None } else { Some(value) };
    let Some(client) = client else {
        server.applied = shared.vars.with(&server.applied, &name, kept);
        return false;
    };
    let in_replay = matches!(server.queue.front(), Some(Expect::Hidden(Hidden::Replay)));
    if in_replay {
        let known = client.vars.get(&name).map_or(is_default, |known| known == value);
        if known {
            return false;
        }
    } else if hidden {
        return false;
    } else if server.discarded && client.base.get(&name).is_some() {
        server.applied = shared.vars.with(&server.applied, &name, kept);
        return false;
    }
    // In a replay the server put a start-up value into its own words; otherwise the client set it.
    let same = Arc::ptr_eq(&client.vars, &server.applied);
    let kept = if in_replay { Some(value) } else { kept };
    client.vars = shared.vars.with(&client.vars, &name, kept);
    server.applied = if same { Arc::clone(&client.vars) } else { shared.vars.with(&server.applied, &name, kept) };
    true
}

/// Our names for statements in an error's text become the client's.
fn rename(client: &Client, body: &[u8]) -> Option<Vec<u8>> {
    let marker = [b"\"", PREFIX.as_bytes()].concat();
    let at = body.windows(marker.len()).position(|window| window == marker)?;
    let digits_at = at + marker.len();
    let length = body[digits_at..].iter().position(|byte| !byte.is_ascii_digit())?;
    let number: u64 = std::str::from_utf8(&body[digits_at..digits_at + length]).ok()?.parse().ok()?;
    let statements = client.statements.as_ref()?;
    let name = statements.iter().find(|(_, statement)| statement.number == number).map(|(name, _)| name)?;
    let mut renamed = body[..=at].to_vec();
    renamed.extend_from_slice(name);
    renamed.extend_from_slice(&body[digits_at + length..]);
    Some(renamed)
}
