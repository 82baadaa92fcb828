//! Bytes: from a socket through the protocol to the other socket, one read and one write a batch.

use super::{ClientState, Reactor, Work};
use crate::log::{self, Level};
use crate::protocol::{ClientNext, Output, Protocol, Refusal, ServerNext};
use crate::reason::{ClientClose, ServerClose};
use crate::settings::Mode;
use std::io::ErrorKind;
use std::time::Instant;

/// Buffers that grew beyond this are given back when they are empty.
const KEEP_BYTES: usize = 256 * 1024;

impl<P: Protocol> Reactor<P> {
    pub(super) fn client_event(&mut self, place: usize, writable: bool, readable: bool, closed: bool) {
        if !self.clients.contains(place) {
            return; // closed earlier in this round
        }
        if writable && !self.flush_client(place) {
            return;
        }
        if !(readable || closed) {
            return;
        }
        let waits = !matches!(self.clients[place].state, ClientState::Free);
        self.clients[place].readable = true;
        self.read_client(place);
        // Its last bytes and its end came as one event: a short read has not seen the end yet, and no event follows.
        if closed && !waits {
            if let Some(client) = self.clients.get_mut(place).filter(|client| !client.readable) {
                client.readable = true;
                self.work.push_back(Work::ReadClient(place));
            }
        }
        // A client that is not read because it waits would keep its place in the queue and, with a running statement, its
        // server connection, though nobody is there to take the answer.
        // One that holds whole messages back has said all it wanted before it left: they are done first.
        let held = self.clients.get(place).is_some_and(|client| client.hold && !client.input.is_empty());
        if closed && held {
            return;
        }
        if closed && waits && self.clients.get(place).is_some_and(|client| client.readable) {
            self.close_client(place, ClientClose::Vanished);
        } else if closed && self.clients.contains(place) {
            // The end came together with data: there will be no further event for it, so it is looked for.
            self.clients[place].readable = true;
            self.work.push_back(Work::ReadClient(place));
        }
    }

    /// True when the client's socket may be read now.
    fn may_read_client(&self, place: usize) -> bool {
        let client = &self.clients[place];
        match client.state {
            ClientState::Free => true,
            ClientState::Arriving | ClientState::Waiting(_) => false,
            ClientState::Attached(server) => !client.hold && self.servers[server].output.is_empty(),
        }
    }

    pub(super) fn read_client(&mut self, place: usize) {
        if !self.clients.contains(place) || !self.clients[place].readable || !self.may_read_client(place) {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let client = &mut self.clients[place];
        match client.stream.read(&mut scratch) {
            Ok(received) => {
                client.readable = received.more;
                client.active = self.now;
                self.stats.client_bytes_in += received.bytes as u64;
                if client.input.is_empty() {
                    self.feed_client(place, &scratch[..received.bytes]);
                } else {
                    let mut input = std::mem::take(&mut client.input);
                    input.extend_from_slice(&scratch[..received.bytes]);
                    self.feed_client(place, &input);
                }
                if received.more {
                    self.work.push_back(Work::ReadClient(place));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => client.readable = false,
            Err(_) => {
                client.readable = false;
                self.close_client(place, ClientClose::Vanished);
            }
        }
        self.scratch = scratch;
    }

    /// Go on with a client whose wait is over: its kept input first, then its socket.
    pub(super) fn run_client(&mut self, place: usize) {
        if !self.clients.contains(place) {
            return;
        }
        if matches!(self.clients[place].state, ClientState::Arriving | ClientState::Waiting(_)) {
            return;
        }
        if !self.clients[place].input.is_empty() || self.clients[place].fresh {
            let input = std::mem::take(&mut self.clients[place].input);
            self.feed_client(place, &input);
        }
        self.read_client(place);
    }

    /// Let the protocol have *input* (all there is), and keep what it does not take.
    fn feed_client(&mut self, place: usize, input: &[u8]) {
        let mut out = std::mem::take(&mut self.out);
        let mut used = 0;
        let mut close = None;
        self.catch_up(place, &mut out);
        loop {
            let client = &mut self.clients[place];
            client.hold = false;
            let server = match client.state {
                ClientState::Attached(server) => Some(&mut self.servers[server].session),
                _ => None,
            };
            let step =
                self.protocol.client_input(&mut self.shared, &mut client.session, server, &input[used..], &mut out);
            used += step.consumed;
            match step.next {
                ClientNext::Wait => break,
                ClientNext::Hold => {
                    client.hold = true;
                    break;
                }
                ClientNext::Close(reason) => {
                    close = Some(reason);
                    break;
                }
                ClientNext::Borrow => {
                    let Some(server) = self.borrow(place) else { break };
                    self.attach(place, server);
                    self.catch_up(place, &mut out);
                }
            }
        }
        if used < input.len() && close.is_none() {
            let client = &mut self.clients[place];
            debug_assert!(client.input.is_empty(), "kept input is taken before it is fed");
            client.input.extend_from_slice(&input[used..]);
        }
        self.after_step(place, &mut out);
        if let (Some(reason), true) = (close, self.clients.contains(place)) {
            self.close_client(place, reason);
        }
        self.out = out;
    }

    /// Count, log and send what a step of this client's session left in *out*.
    fn after_step(&mut self, place: usize, out: &mut Output) {
        if out.requests > 0 {
            let client = &mut self.clients[place];
            self.stats.query_requests += u64::from(out.requests);
            if client.stream.is_tls() {
                self.stats.query_requests_tls += u64::from(out.requests);
            }
            client.asked.get_or_insert(self.now);
        }
        self.note_pins(place, out);
        if !out.to_server.is_empty() {
            if let ClientState::Attached(server) = self.clients[place].state {
                self.servers[server].sent.get_or_insert(self.now);
                self.send_to_server(server, &out.to_server);
            }
        }
        if !out.to_client.is_empty() && self.clients.contains(place) {
            self.send_to_client(place, &out.to_client);
        }
        reset(out);
    }

    pub(super) fn note_pins(&mut self, place: usize, out: &mut Output) {
        let Some(client) = self.clients.get_mut(place) else { return };
        let pool = &self.pools[client.pool as usize];
        for pin in out.pinned.drain(..) {
            *self.stats.pins.entry(pin.reason).or_default() += 1;
            log::event(
                Level::Info,
                "pinned",
                &[
                    ("client", &client.serial),
                    ("user", &pool.key.user),
                    ("database", &pool.key.database),
                    ("reason", &pin.reason.word()),
                    ("statement", &pin.statement),
                    ("ends_with", &pin.reason.ends_with()),
                ],
            );
        }
        let pinned = !self.protocol.pins(&client.session).is_empty();
        if client.pinned && !pinned {
            log::event(Level::Info, "unpinned", &[("client", &client.serial), ("user", &pool.key.user)]);
        }
        client.pinned = pinned;
    }

    pub(super) fn server_event(&mut self, place: usize, writable: bool, readable: bool, closed: bool) {
        if !self.servers.contains(place) {
            return;
        }
        if writable && !self.flush_server(place) {
            return;
        }
        if (readable || closed) && self.servers.contains(place) {
            self.servers[place].readable = true;
            self.read_server(place);
        }
        if closed && self.servers.contains(place) {
            // The end came together with the last words: there will be no further event for it.
            self.servers[place].readable = true;
            self.work.push_back(Work::ReadServer(place));
        }
    }

    pub(super) fn read_server(&mut self, place: usize) {
        let Some(server) = self.servers.get_mut(place) else { return };
        if !server.readable {
            return;
        }
        if let Some(owner) = server.owners.front() {
            if self.clients[*owner].output.len() >= self.settings.client_buffer_bytes {
                return; // read again when the client has taken what is kept for it
            }
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        match server.stream.read(&mut scratch) {
            Ok(received) => {
                server.readable = received.more;
                if server.input.is_empty() {
                    self.feed_server(place, &scratch[..received.bytes]);
                } else {
                    let mut input = std::mem::take(&mut server.input);
                    input.extend_from_slice(&scratch[..received.bytes]);
                    self.feed_server(place, &input);
                }
                if received.more {
                    self.work.push_back(Work::ReadServer(place));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => server.readable = false,
            Err(_) => {
                server.readable = false;
                self.close_server(place, ServerClose::Lost);
            }
        }
        self.scratch = scratch;
    }

    fn feed_server(&mut self, place: usize, input: &[u8]) {
        let mut out = std::mem::take(&mut self.out);
        let mut used = 0;
        let mut close = None;
        while self.servers.contains(place) {
            let server = &mut self.servers[place];
            let owner = server.owners.front().copied();
            let client = owner.map(|owner| &mut *self.clients[owner].session);
            let step =
                self.protocol.server_input(&mut self.shared, client, &mut server.session, &input[used..], &mut out);
            used += step.consumed;
            self.answered(place, owner, &mut out);
            if let ServerNext::Close(reason) = step.next {
                close = Some(reason);
                break;
            }
            if !self.servers.contains(place) {
                break; // sending to it failed
            }
            match step.next {
                ServerNext::Return if self.settings.mode == Mode::Session && owner.is_some() => {
                    self.resume(owner);
                }
                ServerNext::Return => self.server_returned(place),
                ServerNext::Resume => self.resume(owner),
                ServerNext::Wait | ServerNext::Close(_) => {}
            }
            if used == input.len() || step.consumed == 0 {
                break;
            }
        }
        if let Some(server) = self.servers.get_mut(place) {
            if used < input.len() && close.is_none() {
                server.input.extend_from_slice(&input[used..]);
            }
        }
        reset(&mut out);
        self.out = out;
        if let Some(reason) = close {
            self.close_server(place, reason);
        }
    }

    /// Send what a step of a server connection's session left in *out*, and take the times.
    fn answered(&mut self, place: usize, owner: Option<usize>, out: &mut Output) {
        if !out.to_server.is_empty() {
            self.send_to_server(place, &out.to_server);
            out.to_server.clear();
        }
        let Some(owner) = owner else {
            out.to_client.clear();
            return;
        };
        if !self.clients.contains(owner) {
            return;
        }
        if !out.to_client.is_empty() {
            self.send_to_client(owner, &out.to_client);
            out.to_client.clear();
        }
        if out.responses > 0 {
            out.responses = 0;
            let ended = Instant::now();
            if let Some(asked) = self.clients.get_mut(owner).and_then(|client| client.asked.take()) {
                self.stats.query_latency.record(ended.saturating_duration_since(asked));
            }
            if let Some(sent) = self.servers.get_mut(place).and_then(|server| server.sent.take()) {
                self.stats.server_latency.record(ended.saturating_duration_since(sent));
            }
        }
        if !out.pinned.is_empty() || self.clients.get(owner).is_some_and(|client| client.pinned) {
            self.note_pins(owner, out);
        }
    }

    fn resume(&mut self, owner: Option<usize>) {
        let Some(owner) = owner else { return };
        if self.clients.get(owner).is_some_and(|client| client.hold || client.readable || !client.input.is_empty()) {
            self.clients[owner].hold = false;
            self.work.push_back(Work::RunClient(owner));
        }
    }

    /// Write to a client, or keep what its socket does not take.
    pub(super) fn send_to_client(&mut self, place: usize, bytes: &[u8]) {
        let client = &mut self.clients[place];
        self.stats.client_bytes_out += bytes.len() as u64;
        if !client.output.is_empty() {
            client.output.extend_from_slice(bytes);
            return;
        }
        match client.stream.write(bytes) {
            Ok(written) => client.output.extend_from_slice(&bytes[written..]),
            Err(_) => self.close_client(place, ClientClose::Vanished),
        }
    }

    fn flush_client(&mut self, place: usize) -> bool {
        let client = &mut self.clients[place];
        if client.output.is_empty() {
            if client.stream.flush().is_err() {
                self.close_client(place, ClientClose::Vanished);
                return false;
            }
            return true;
        }
        match client.stream.write(&client.output) {
            Ok(written) => {
                client.output.drain(..written);
                if client.output.is_empty() {
                    client.output = Vec::new();
                }
                if let ClientState::Attached(server) = client.state {
                    if client.output.len() < self.settings.client_buffer_bytes && self.servers[server].readable {
                        self.work.push_back(Work::ReadServer(server));
                    }
                }
                true
            }
            Err(_) => {
                self.close_client(place, ClientClose::Vanished);
                false
            }
        }
    }

    /// Write to a server connection, or keep what its socket does not take.
    pub(super) fn send_to_server(&mut self, place: usize, bytes: &[u8]) {
        let server = &mut self.servers[place];
        if !server.output.is_empty() {
            server.output.extend_from_slice(bytes);
            return;
        }
        match server.stream.write(bytes) {
            Ok(written) => server.output.extend_from_slice(&bytes[written..]),
            // The server may have said why before it closed (an error message in its last bytes): reading finds that, and
            // the end of the stream after it.
            Err(_) => {
                server.readable = true;
                self.work.push_back(Work::ReadServer(place));
            }
        }
    }

    fn flush_server(&mut self, place: usize) -> bool {
        let server = &mut self.servers[place];
        if server.output.is_empty() {
            if server.stream.flush().is_err() {
                self.close_server(place, ServerClose::Lost);
                return false;
            }
            return true;
        }
        match server.stream.write(&server.output) {
            Ok(written) => {
                server.output.drain(..written);
                if server.output.is_empty() {
                    server.output = Vec::new();
                    if let Some(owner) = server.owners.back() {
                        self.work.push_back(Work::RunClient(*owner));
                    }
                }
            }
            Err(_) => {
                server.readable = true;
                self.work.push_back(Work::ReadServer(place));
            }
        }
        true
    }

    /// Tell a client why, then close it (unless the protocol can go on and *reason* allows that).
    pub(super) fn refuse_client(&mut self, place: usize, refusal: &Refusal, reason: ClientClose) {
        let client = &mut self.clients[place];
        let mut output = Vec::new();
        let pending = std::mem::take(&mut client.input);
        let step = self.protocol.refuse(&mut client.session, refusal, &pending, &mut output);
        let goes_on = step.next == ClientNext::Wait && matches!(client.state, ClientState::Waiting(_));
        if goes_on {
            client.input.extend_from_slice(&pending[step.consumed..]);
        }
        self.send_to_client(place, &output);
        if !self.clients.contains(place) {
            return;
        }
        if goes_on {
            self.stop_waiting(place);
            self.work.push_back(Work::RunClient(place));
        } else {
            self.close_client(place, reason);
        }
    }
}

fn reset(out: &mut Output) {
    for buffer in [&mut out.to_client, &mut out.to_server] {
        buffer.clear();
        if buffer.capacity() > KEEP_BYTES {
            buffer.shrink_to(KEEP_BYTES);
        }
    }
    out.requests = 0;
    out.responses = 0;
    out.pinned.clear();
}
