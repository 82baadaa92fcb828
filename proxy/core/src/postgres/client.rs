//! What a client sends.

use super::server::{Expect, Hidden};
use super::statements::{Statement, PREFIX};
use super::vars::difference;
use super::{Client, Postgres, Server, Shared, DIGEST_BYTES};
use crate::protocol::{ClientNext, Output, Step};
use crate::reason::{ClientClose, PinReason};
use std::borrow::Cow;
use std::sync::Arc;
use warmline_wire::postgres::sql::{self, Hints, Scan};
use warmline_wire::postgres::{self as wire, Head, Severity};

/// Names of statements and portals are looked for within this much of a message.
const NAMES_BYTES: usize = 16 * 1024;
/// A `DEALLOCATE` that names one of the client's statements is never longer.
const DEALLOCATE_BYTES: usize = 256;

fn step(consumed: usize, next: ClientNext) -> Step<ClientNext> {
    Step { consumed, next }
}

fn violation(consumed: usize, text: &str, out: &mut Output) -> Step<ClientNext> {
    wire::error(&mut out.to_client, Severity::Fatal, "08P01", text, "");
    step(consumed, ClientNext::Close(ClientClose::ProtocolViolation))
}

/// What one message needs next.
enum Taken {
    /// It is done with; this many bytes of it were there.
    Bytes(usize),
    /// More of it must come first.
    More,
    Violation(&'static str),
}

impl Client {
    /// Pass the rest of a message on, or drop it, as far as it is there.
    fn skip_input(&mut self, input: &[u8], to_server: Option<&mut Vec<u8>>) -> usize {
        let now = self.skip.min(input.len());
        self.skip -= now;
        if let (Some(to_server), true) = (to_server, self.skip_forwarded) {
            to_server.extend_from_slice(&input[..now]);
        }
        now
    }

    /// Take a message without looking at it: *forward* it or drop it.
    fn pass(&mut self, head: Head, rest: &[u8], forward: Option<&mut Vec<u8>>) -> Taken {
        let now = head.total.min(rest.len());
        self.skip = head.total - now;
        self.skip_forwarded = forward.is_some();
        if let Some(to_server) = forward {
            to_server.extend_from_slice(&rest[..now]);
        }
        Taken::Bytes(now)
    }

    /// Remember what a text may have done, for the probe at the end of the transaction.
    fn note(&mut self, scan: &Scan, text: &[u8]) {
        let hints = if self.pins.is_empty() { scan.hints.without(Hints::DROP) } else { scan.hints };
        if hints.is_empty() {
            return;
        }
        if self.hints.is_empty() {
            self.suspect = sql::digest(text, DIGEST_BYTES).into_boxed_str();
        }
        self.hints = self.hints.with(hints);
        for name in &scan.settings {
            if !self.touched.contains(name) {
                self.touched.push(name.clone());
            }
        }
    }
}

impl Server {
    /// Prepare *statement* under its own name, unless it is there; what is least recently used makes room.
    fn ensure_prepared(&mut self, statement: &Arc<Statement>, limit: usize, to_server: &mut Vec<u8>) {
        self.tick += 1;
        if let Some(used) = self.prepared.get_mut(&statement.number) {
            *used = self.tick;
            return;
        }
        self.make_room(limit, to_server);
        wire::parse(to_server, &statement.name(), &statement.definition);
        self.prepared.insert(statement.number, self.tick);
        self.queue.push_back(Expect::ParseHidden(Arc::clone(statement)));
    }

    fn make_room(&mut self, limit: usize, to_server: &mut Vec<u8>) {
        while self.prepared.len() >= limit {
            let Some(oldest) = self.prepared.iter().min_by_key(|(_, used)| **used).map(|(number, _)| *number) else {
                return;
            };
            self.prepared.remove(&oldest);
            wire::close_statement(to_server, format!("{PREFIX}{oldest}").as_bytes());
            self.queue.push_back(Expect::CloseHidden);
        }
    }

    /// Answer in the server's place: now, or when it is this answer's turn.
    fn fake(&mut self, entry: Expect, to_client: &mut Vec<u8>) {
        if self.queue.is_empty() && !self.failed {
            entry.emit_fake(to_client);
        } else {
            self.queue.push_back(entry);
        }
    }
}

impl Postgres {
    /// Bring a server connection to the client's settings.
    pub(super) fn bring_up(&self, client: &mut Client, server: &mut Server, out: &mut Output) {
        let Some(sql) = difference(&server.applied, &client.vars) else { return };
        // What no server took yet may fail: the client's statement waits for the answer then.
        server.holding = !client.vars.accepted();
        server.applied = Arc::clone(&client.vars);
        server.ask(&sql, Hidden::Replay, &mut out.to_server);
    }

    /// Input of a client without a server connection.
    pub(super) fn free_input(&self, client: &mut Client, input: &[u8], out: &mut Output) -> Step<ClientNext> {
        let mut used = 0;
        loop {
            used += client.skip_input(&input[used..], None);
            let rest = &input[used..];
            let head = match Head::read(rest) {
                Ok(Some(head)) => head,
                Ok(None) => return step(used, ClientNext::Wait),
                Err(_) => return violation(used, "invalid message length", out),
            };
            let taken = match head.kind {
                b'X' => return step(used, ClientNext::Close(ClientClose::Terminated)),
                b'S' => {
                    client.discarding = false;
                    wire::ready_for_query(&mut out.to_client, b'I');
                    client.pass(head, rest, None)
                }
                b'H' | b'd' | b'c' | b'f' => client.pass(head, rest, None),
                b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'F' if client.discarding => client.pass(head, rest, None),
                b'Q' if head.total <= DEALLOCATE_BYTES => {
                    let Some(body) = rest.get(Head::BYTES..head.total) else { return step(used, ClientNext::Wait) };
                    if self.deallocate(client, body, b'I', out) {
                        Taken::Bytes(head.total)
                    } else {
                        return step(used, ClientNext::Borrow);
                    }
                }
                b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'F' => return step(used, ClientNext::Borrow),
                _ => return violation(used, "invalid frontend message type", out),
            };
            match taken {
                Taken::Bytes(bytes) => used += bytes,
                _ => return step(used, ClientNext::Wait),
            }
        }
    }

    /// `DEALLOCATE name` of a statement that the client prepared through the protocol: it exists here, not on the server
    /// under that name, so it is answered here.
    fn deallocate(&self, client: &mut Client, body: &[u8], status: u8, out: &mut Output) -> bool {
        let text = body.strip_suffix(b"\0").unwrap_or(body);
        let begins = text.trim_ascii_start().first().is_some_and(|letter| letter.eq_ignore_ascii_case(&b'd'));
        if !begins {
            return false;
        }
        let Some(statements) = &mut client.statements else { return false };
        let Some(name) = sql::scan(text).deallocate else { return false };
        if statements.remove(name.as_bytes()).is_none() {
            return false;
        }
        wire::command_complete(&mut out.to_client, b"DEALLOCATE");
        wire::ready_for_query(&mut out.to_client, status);
        out.requests += 1;
        out.responses += 1;
        true
    }

    /// Input of a client with its server connection.
    pub(super) fn attached_input(
        &self,
        shared: &mut Shared,
        client: &mut Client,
        server: &mut Server,
        input: &[u8],
        out: &mut Output,
    ) -> Step<ClientNext> {
        let mut used = 0;
        loop {
            if server.holding {
                return step(used, ClientNext::Hold);
            }
            used += client.skip_input(&input[used..], Some(&mut out.to_server));
            let rest = &input[used..];
            let head = match Head::read(rest) {
                Ok(Some(head)) => head,
                Ok(None) => return step(used, ClientNext::Wait),
                Err(_) => return violation(used, "invalid message length", out),
            };
            let long = head.total > self.settings.inspect_limit_bytes;
            let whole = rest.get(Head::BYTES..head.total);
            let taken = match (head.kind, whole) {
                // What was asked before the goodbye is still done and answered, as the server itself would.
                (b'X', _) if server.answers_outstanding() => return step(used, ClientNext::Hold),
                (b'X', _) => return step(used, ClientNext::Close(ClientClose::Terminated)),
                (b'Q', Some(body)) => self.query(client, server, head, rest, body, out),
                (b'P', Some(body)) => self.parse(shared, client, server, head, rest, body, out),
                (b'Q' | b'P', None) if long => self.long(client, server, head, rest, out),
                (b'Q' | b'P', None) => Taken::More,
                (b'B', _) => self.bind(client, server, head, rest, out),
                (b'D' | b'C', None) if long => Taken::Violation("statement or portal name too long"),
                (b'D' | b'C', None) => Taken::More,
                (b'D', Some(body)) => self.describe_message(client, server, head, rest, body, out),
                (b'C', Some(body)) => close(client, server, head, rest, body, out),
                (b'E', _) => {
                    server.queue.push_back(Expect::Execute);
                    server.batch_open = true;
                    client.pass(head, rest, Some(&mut out.to_server))
                }
                (b'S', _) => {
                    // A server that waits for COPY data ignores Sync.
                    if !server.copy_in {
                        server.queue.push_back(Expect::Sync);
                        server.batch_open = false;
                        out.requests += u32::from(client.asked);
                        client.asked = false;
                    }
                    client.pass(head, rest, Some(&mut out.to_server))
                }
                (b'H', _) => client.pass(head, rest, Some(&mut out.to_server)),
                (b'F', _) => {
                    client.note(&Scan { hints: Hints::OPAQUE, ..Scan::default() }, b"function call");
                    server.queue.push_back(Expect::Query);
                    out.requests += 1;
                    client.pass(head, rest, Some(&mut out.to_server))
                }
                // Data for a COPY that has failed already is still on its way: the server ignores it, too.
                (b'd' | b'c' | b'f', _) if !server.copy_in => client.pass(head, rest, None),
                (b'd', _) => client.pass(head, rest, Some(&mut out.to_server)),
                (b'c' | b'f', _) => {
                    server.copy_in = false;
                    client.pass(head, rest, Some(&mut out.to_server))
                }
                _ => Taken::Violation("invalid frontend message type"),
            };
            if matches!(head.kind, b'P' | b'B' | b'E' | b'D' | b'C') {
                client.asked = true;
            }
            match taken {
                Taken::Bytes(bytes) => used += bytes,
                Taken::More => return step(used, ClientNext::Wait),
                Taken::Violation(text) => return violation(used, text, out),
            }
        }
    }

    fn query(
        &self,
        client: &mut Client,
        server: &mut Server,
        head: Head,
        rest: &[u8],
        body: &[u8],
        out: &mut Output,
    ) -> Taken {
        let text = body.strip_suffix(b"\0").unwrap_or(body);
        if head.total <= DEALLOCATE_BYTES && server.queue.is_empty() && server.status != b'E' {
            if self.deallocate(client, body, server.status, out) {
                return Taken::Bytes(head.total);
            }
        }
        let scan = sql::scan(text);
        if !scan.hints.is_empty() {
            self.pin_at_once(client, server, &scan, text, out);
            client.note(&scan, text);
        }
        server.unnamed = 0;
        client.unnamed = None;
        server.queue.push_back(Expect::Query);
        out.requests += 1;
        client.pass(head, rest, Some(&mut out.to_server))
    }

    /// Pins that no probe can find, because the server does not tell.
    fn pin_at_once(&self, client: &mut Client, server: &mut Server, scan: &Scan, text: &[u8], out: &mut Output) {
        let direct = Hints::LOAD.with(Hints::SEED).with(Hints::SEQUENCE);
        if !scan.hints.any(direct) {
            return;
        }
        let shown = sql::digest(text, DIGEST_BYTES);
        if scan.hints.any(Hints::LOAD) {
            client.pin(PinReason::LoadedLibrary, &shown, &self.settings, out);
        }
        if scan.hints.any(Hints::SEED) {
            client.pin(PinReason::RandomSeed, &shown, &self.settings, out);
        }
        if scan.hints.any(Hints::SEQUENCE) && !client.pinned_by(PinReason::SequenceValue) {
            // The values of whoever had this connection before must not be seen: better the server's own error.
            if server.status == b'I'
                && server.queue.iter().all(|entry| matches!(entry, Expect::Hidden(_)))
                && !server.batch_open
            {
                server.ask(b"DISCARD SEQUENCES", Hidden::Sequences, &mut out.to_server);
            }
            client.pin(PinReason::SequenceValue, &shown, &self.settings, out);
        }
    }

    /// A statement too long to look at.
    fn long(&self, client: &mut Client, server: &mut Server, head: Head, rest: &[u8], out: &mut Output) -> Taken {
        let shown = sql::digest(&rest[Head::BYTES..rest.len().min(4096)], DIGEST_BYTES);
        client.pin(PinReason::LongStatement, &shown, &self.settings, out);
        server.unnamed = 0;
        client.unnamed = None;
        if head.kind == b'Q' {
            server.queue.push_back(Expect::Query);
            out.requests += 1;
        } else {
            server.queue.push_back(Expect::Parse { statement: None, name: Box::default() });
            server.batch_open = true;
        }
        client.pass(head, rest, Some(&mut out.to_server))
    }

    fn parse(
        &self,
        shared: &mut Shared,
        client: &mut Client,
        server: &mut Server,
        head: Head,
        rest: &[u8],
        body: &[u8],
        out: &mut Output,
    ) -> Taken {
        let Some((name, definition)) = wire::cstr(body) else { return Taken::Violation("Parse without a name") };
        if wire::cstr(definition).is_none() {
            return Taken::Violation("Parse without a text");
        }
        let statement = shared.statements.get(definition);
        server.batch_open = true;
        if name.is_empty() {
            server.unnamed = statement.number;
            client.unnamed = Some(Arc::clone(&statement));
            server.queue.push_back(Expect::Parse { statement: Some(statement), name: Box::default() });
            return client.pass(head, rest, Some(&mut out.to_server));
        }
        let limit = self.settings.max_prepared_statements;
        let statements = client.statements.get_or_insert_default();
        if let Some(known) = statements.get(name) {
            // The name is taken: the server says so itself when the same name is prepared on it twice.
            let known = Arc::clone(known);
            server.ensure_prepared(&known, limit, &mut out.to_server);
            wire::parse(&mut out.to_server, &known.name(), &known.definition);
            server.queue.push_back(Expect::Bind(None));
            return Taken::Bytes(head.total);
        }
        statements.insert(name.into(), Arc::clone(&statement));
        server.tick += 1;
        if let Some(used) = server.prepared.get_mut(&statement.number) {
            *used = server.tick;
            server.fake(Expect::ParseFake(name.into()), &mut out.to_client);
            return Taken::Bytes(head.total);
        }
        server.make_room(limit, &mut out.to_server);
        wire::parse(&mut out.to_server, &statement.name(), definition);
        server.prepared.insert(statement.number, server.tick);
        server.queue.push_back(Expect::Parse { statement: Some(statement), name: name.into() });
        Taken::Bytes(head.total)
    }

    fn bind(&self, client: &mut Client, server: &mut Server, head: Head, rest: &[u8], out: &mut Output) -> Taken {
        let there = &rest[Head::BYTES..head.total.min(rest.len())];
        let names =
            wire::cstr(there).and_then(|(portal, tail)| wire::cstr(tail).map(|(name, tail)| (portal, name, tail)));
        let Some((portal, name, tail)) = names else {
            let complete = rest.len() >= head.total || there.len() >= NAMES_BYTES;
            return if complete { Taken::Violation("Bind without names") } else { Taken::More };
        };
        let statement = self.find(client, server, name, out);
        server.batch_open = true;
        if let Some(statement) = &statement {
            if !statement.scan.hints.is_empty() {
                self.pin_at_once(client, server, &statement.scan, statement.text(), out);
                client.note(&statement.scan, statement.text());
            }
        }
        server.queue.push_back(Expect::Bind(statement.clone()));
        let there_bytes = head.total.min(rest.len());
        if name.is_empty() {
            return client.pass(head, rest, Some(&mut out.to_server));
        }
        let rest_bytes = head.total - Head::BYTES - portal.len() - name.len() - 2;
        wire::bind_head(&mut out.to_server, portal, &on_server(statement.as_ref(), name), rest_bytes);
        out.to_server.extend_from_slice(tail);
        client.skip = head.total - there_bytes;
        client.skip_forwarded = true;
        Taken::Bytes(there_bytes)
    }

    /// The client's statement *name*, made sure to be on the server connection; None when there is none.
    fn find(&self, client: &mut Client, server: &mut Server, name: &[u8], out: &mut Output) -> Option<Arc<Statement>> {
        if name.is_empty() {
            let statement = client.unnamed.clone()?;
            if server.unnamed != statement.number {
                wire::parse(&mut out.to_server, b"", &statement.definition);
                server.unnamed = statement.number;
                server.queue.push_back(Expect::ParseHidden(Arc::clone(&statement)));
            }
            return Some(statement);
        }
        let statement = client.statements.as_ref()?.get(name).cloned()?;
        server.ensure_prepared(&statement, self.settings.max_prepared_statements, &mut out.to_server);
        Some(statement)
    }

    fn describe_message(
        &self,
        client: &mut Client,
        server: &mut Server,
        head: Head,
        rest: &[u8],
        body: &[u8],
        out: &mut Output,
    ) -> Taken {
        server.batch_open = true;
        let named = match body {
            [b'S', name @ ..] => wire::cstr(name).map(|(name, _)| name),
            [b'P', ..] => None,
            _ => return Taken::Violation("Describe of neither a statement nor a portal"),
        };
        let Some(name) = named else {
            server.queue.push_back(Expect::Describe(None));
            return client.pass(head, rest, Some(&mut out.to_server));
        };
        let statement = self.find(client, server, name, out);
        wire::describe_statement(&mut out.to_server, &on_server(statement.as_ref(), name));
        server.queue.push_back(Expect::Describe(statement));
        Taken::Bytes(head.total)
    }
}

/// The name that a client's statement has on server connections. One that the client has not prepared must not reach
/// what others prepared under our names.
fn on_server<'a>(statement: Option<&Arc<Statement>>, name: &'a [u8]) -> Cow<'a, [u8]> {
    match statement {
        _ if name.is_empty() => Cow::Borrowed(name),
        Some(statement) => Cow::Owned(statement.name()),
        None if name.starts_with(PREFIX.as_bytes()) => Cow::Owned([name, b" (unknown)"].concat()),
        None => Cow::Borrowed(name),
    }
}

fn close(client: &mut Client, server: &mut Server, head: Head, rest: &[u8], body: &[u8], out: &mut Output) -> Taken {
    server.batch_open = true;
    match body {
        [b'S', name @ ..] => {
            let name = wire::cstr(name).map_or(&b""[..], |(name, _)| name);
            if name.is_empty() {
                client.unnamed = None;
                server.unnamed = 0;
            } else {
                // Ours stay prepared for others; names like ours that the client never prepared exist for nobody.
                let known = client.statements.as_mut().is_some_and(|statements| statements.remove(name).is_some());
                if known || name.starts_with(PREFIX.as_bytes()) {
                    server.fake(Expect::CloseFake, &mut out.to_client);
                    return Taken::Bytes(head.total);
                }
            }
            server.queue.push_back(Expect::Close);
            client.pass(head, rest, Some(&mut out.to_server))
        }
        [b'P', ..] => {
            server.queue.push_back(Expect::Close);
            client.pass(head, rest, Some(&mut out.to_server))
        }
        _ => Taken::Violation("Close of neither a statement nor a portal"),
    }
}
