//! Borrow and return: who gets which server connection, when one is opened, and what happens when either end is lost.

use super::{ClientState, Reactor, ServerConn, Work};
use crate::borrow::Waiter;
use crate::dialer::Job;
use crate::log::{self, Level};
use crate::protocol::{Abandon, Activity, DialError, DialErrorKind, Dialed, Output, Protocol, Refusal};
use crate::reason::{ClientClose, ServerClose};
use mio::{Interest, Token};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

impl<P: Protocol> Reactor<P> {
    /// A server connection for this client now, or None: then it waits.
    pub(super) fn borrow(&mut self, place: usize) -> Option<usize> {
        let client = &mut self.clients[place];
        let pool_place = client.pool as usize;
        let pool = &mut self.pools[pool_place];
        self.stats.borrow_requests += 1;
        if client.stream.is_tls() {
            self.stats.borrow_requests_tls += 1;
        }
        // Nobody overtakes a waiter.
        if pool.waiting == 0 && !self.paused {
            let (protocol, servers, session) = (&self.protocol, &self.servers, &client.session);
            if let Some(server) = pool.take_idle(|server| protocol.same_state(session, &servers[server].session)) {
                self.stats.borrow_wait.record(Duration::ZERO);
                return Some(server);
            }
        }
        self.stats.borrow_waits += 1;
        client.state = ClientState::Waiting(self.now);
        pool.waiters.push_back(Waiter { client: place, serial: client.serial, since: self.now });
        pool.waiting += 1;
        self.dial_if_wanted(pool_place);
        None
    }

    /// Make *server* this client's; its session state follows with the client's next input, in the same write.
    pub(super) fn attach(&mut self, place: usize, server: usize) {
        let client = &mut self.clients[place];
        client.state = ClientState::Attached(server);
        client.hold = false;
        client.fresh = true;
        let conn = &mut self.servers[server];
        debug_assert!(conn.owners.is_empty(), "a server connection is handed out only when free");
        conn.owners.push_back(place);
        conn.borrowed = Some(self.now);
        conn.returned = false;
    }

    /// Append what brings a newly attached server connection to the client's session state.
    pub(super) fn catch_up(&mut self, place: usize, out: &mut Output) {
        let client = &mut self.clients[place];
        if let (true, ClientState::Attached(server)) = (client.fresh, client.state) {
            client.fresh = false;
            self.protocol.attach(&mut self.shared, &mut client.session, &mut self.servers[server].session, out);
        }
    }

    /// The client waits no more; its entry in the queue is passed over later.
    pub(super) fn stop_waiting(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if matches!(client.state, ClientState::Waiting(_)) {
            client.state = ClientState::Free;
            let pool = &mut self.pools[client.pool as usize];
            pool.waiting -= 1;
            if pool.waiting == 0 {
                pool.waiters.clear();
            }
        }
    }

    /// The first client in the queue that still waits.
    fn next_waiter(&mut self, pool: usize) -> Option<Waiter> {
        while let Some(waiter) = self.pools[pool].waiters.front().copied() {
            let valid = self.clients.get(waiter.client).is_some_and(|client| {
                client.serial == waiter.serial && client.state == ClientState::Waiting(waiter.since)
            });
            if valid {
                return Some(waiter);
            }
            self.pools[pool].waiters.pop_front();
        }
        None
    }

    /// The owner is done with it (or there was none): give it to the next client.
    pub(super) fn server_returned(&mut self, place: usize) {
        let now = self.now;
        let server = &mut self.servers[place];
        server.cleaning = false;
        server.used = now;
        server.sent = None;
        let owner = server.owners.pop_front();
        server.borrowed = None;
        server.returned = true;
        if let Some(owner) = owner {
            let client = &mut self.clients[owner];
            client.state = ClientState::Free;
            client.hold = false;
            client.active = now;
            if self.draining.is_some() {
                self.refuse_client(owner, &Refusal::Draining, ClientClose::Drained);
            } else if client.kill {
                self.refuse_client(owner, &Refusal::Killed, ClientClose::Killed);
            } else if !client.input.is_empty() || client.readable {
                self.work.push_back(Work::RunClient(owner));
            }
        }
        if !self.servers[place].interrupting {
            self.hand_out(place);
        }
    }

    /// A free, clean server connection: close it if it should go, else the next waiter gets it, else it idles.
    fn hand_out(&mut self, place: usize) {
        let server = &self.servers[place];
        let pool = server.pool as usize;
        let reason = if self.draining.is_some() {
            Some(ServerClose::Drained)
        } else if self.reconnect_before.is_some_and(|before| server.opened < before) {
            Some(ServerClose::Reconnect)
        } else if server.expires <= self.now {
            Some(ServerClose::Lifetime)
        } else if self.outranked(pool) {
            Some(ServerClose::Evicted)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.close_server(place, reason);
            return;
        }
        if !self.paused {
            if let Some(waiter) = self.next_waiter(pool) {
                self.pools[pool].waiters.pop_front();
                self.grant(waiter, place);
                return;
            }
        }
        self.pools[pool].idle.push(place);
    }

    /// After a pause: free connections go to those who wait.
    pub(super) fn hand_out_all(&mut self) {
        for pool in 0..self.pools.len() {
            while self.pools[pool].waiting > 0 {
                let Some(server) = self.pools[pool].idle.pop() else { break };
                self.hand_out(server);
            }
            self.dial_if_wanted(pool);
        }
    }

    fn grant(&mut self, waiter: Waiter, server: usize) {
        self.stop_waiting(waiter.client);
        self.stats.borrow_wait.record(self.now.saturating_duration_since(waiter.since));
        self.attach(waiter.client, server);
        self.work.push_back(Work::RunClient(waiter.client));
    }

    /// Another pool waits longer than this one and the target's limit leaves it no connection.
    fn outranked(&mut self, pool: usize) -> bool {
        while let Some(starving) = self.starving.front().copied() {
            let waits = self.next_waiter(starving).map(|waiter| waiter.since);
            if waits.is_none() && self.pools[starving].arrivals.is_empty() {
                self.starving.pop_front();
                continue;
            }
            if starving == pool {
                return false;
            }
            let own = self.next_waiter(pool).map(|waiter| waiter.since);
            return match (waits, own) {
                (_, None) => true,
                (Some(theirs), Some(own)) => theirs < own,
                (None, Some(_)) => false,
            };
        }
        false
    }

    /// The limit on server connections: what the settings make of the target's own limit; 1 until that is known.
    pub(super) fn server_limit(&self) -> usize {
        self.max_connections.map_or(1, |limit| self.settings.server_limit(limit))
    }

    /// Open server connections while clients of this pool wait and limits allow.
    pub(super) fn dial_if_wanted(&mut self, pool: usize) {
        loop {
            let wanted = self.pools[pool].wanted();
            if self.draining.is_some() || self.pools[pool].dialing >= wanted {
                return;
            }
            if self.pools[pool].retry_at.is_some_and(|at| at > self.now) {
                return;
            }
            if self.dialing >= self.settings.max_concurrent_connects as usize || self.at_own_limit(pool) {
                return;
            }
            if self.open + self.dialing >= self.server_limit() && !self.evict_for(pool) {
                if !self.starving.contains(&pool) {
                    self.starving.push_back(pool);
                }
                return;
            }
            self.dial(pool);
        }
    }

    fn at_own_limit(&self, pool: usize) -> bool {
        let key = &self.pools[pool].key;
        let used = |same: &dyn Fn(&crate::protocol::PoolKey) -> bool| -> usize {
            self.pools.iter().filter(|pool| same(&pool.key)).map(|pool| pool.open + pool.dialing).sum()
        };
        let own = self.settings.user(&key.user).map_or(0, |user| user.max_connections);
        let user_limit = if own > 0 { own } else { self.settings.max_connections_per_user } as usize;
        let database_limit = self.settings.max_connections_per_database as usize;
        (user_limit > 0 && used(&|other| other.user == key.user) >= user_limit)
            || (database_limit > 0 && used(&|other| other.database == key.database) >= database_limit)
    }

    /// Close the longest unused free connection of another pool; false when there is none.
    fn evict_for(&mut self, pool: usize) -> bool {
        let candidate = (0..self.pools.len())
            .filter(|other| *other != pool)
            .filter_map(|other| self.pools[other].idle.first().copied())
            .min_by_key(|server| self.servers[*server].used);
        match candidate {
            Some(server) => {
                self.close_server(server, ServerClose::Evicted);
                true
            }
            None => false,
        }
    }

    pub(super) fn dial(&mut self, pool: usize) {
        self.pools[pool].dialing += 1;
        self.dialing += 1;
        let key = self.pools[pool].key.clone();
        self.submit(Job::Dial { pool, key, protocol: Arc::clone(&self.protocol) });
    }

    pub(super) fn dialed(&mut self, pool: usize, outcome: Result<Box<Dialed<P>>, DialError>) {
        self.pools[pool].dialing -= 1;
        self.dialing -= 1;
        match outcome {
            Ok(dialed) => self.opened(pool, *dialed),
            Err(error) => self.dial_failed(pool, error),
        }
        // A dial ended, so another pool may begin one.
        for other in 0..self.pools.len() {
            if self.pools[other].wanted() > 0 {
                self.dial_if_wanted(other);
            }
        }
    }

    fn opened(&mut self, pool: usize, dialed: Dialed<P>) {
        let Dialed { mut stream, server: session, template, max_connections } = dialed;
        if let Some(limit) = max_connections {
            if self.max_connections != Some(limit) {
                self.max_connections = Some(limit);
                let used = self.server_limit();
                log::event(Level::Info, "target-limit", &[("max_connections", &limit), ("used", &used)]);
            }
        }
        self.target_available = true;
        self.stats.server_setup_succeeded += 1;
        let serial = self.next_serial();
        let entry = self.servers.vacant_entry();
        let place = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(stream.socket(), Token(place * 2 + 1), interest).is_err() {
            return;
        }
        let life = Duration::from_secs_f64(self.settings.server_lifetime_s);
        // Up to a tenth earlier, by the serial number, so that connections opened together do not close together.
        let life = life.mul_f64(1.0 - 0.1 * ((serial * 7919 % 100) as f64 / 100.0));
        entry.insert(ServerConn {
            stream,
            session,
            pool: pool as u32,
            serial,
            owners: VecDeque::new(),
            input: Vec::new(),
            output: Vec::new(),
            readable: true,
            opened: self.now,
            expires: self.now + life,
            used: self.now,
            sent: None,
            borrowed: None,
            interrupting: false,
            cleaning: false,
            returned: true,
        });
        let state = &mut self.pools[pool];
        state.open += 1;
        state.failures = 0;
        state.retry_at = None;
        state.last_error = None;
        state.template = Some(Arc::new(template));
        self.open += 1;
        if log::enabled(Level::Debug) {
            let key = &self.pools[pool].key;
            log::event(
                Level::Debug,
                "server-opened",
                &[("server", &serial), ("user", &key.user), ("database", &key.database), ("open", &self.open)],
            );
        }
        for (client, serial) in std::mem::take(&mut self.pools[pool].arrivals) {
            if self.clients.get(client).is_some_and(|conn| conn.serial == serial) {
                self.welcome(client);
            }
        }
        self.hand_out(place);
    }

    fn dial_failed(&mut self, pool: usize, error: DialError) {
        self.stats.server_setup_failed += 1;
        let state = &mut self.pools[pool];
        state.failures += 1;
        state.retry_at = Some(self.now + Duration::from_millis(state.backoff_ms()));
        if error.kind == DialErrorKind::Unreachable {
            self.target_available = false;
        }
        log::event(
            Level::Warn,
            "server-connect-failed",
            &[
                ("user", &state.key.user),
                ("database", &state.key.database),
                ("code", &error.code),
                ("error", &error.message),
                ("waiting", &state.wanted()),
            ],
        );
        let refused = error.kind == DialErrorKind::Refused;
        state.last_error = Some(error.clone());
        if refused && state.open == 0 {
            let mut told: Vec<usize> = Vec::new();
            for (client, serial) in std::mem::take(&mut state.arrivals) {
                if self.clients.get(client).is_some_and(|conn| conn.serial == serial) {
                    told.push(client);
                }
            }
            while let Some(waiter) = self.next_waiter(pool) {
                self.pools[pool].waiters.pop_front();
                self.stop_waiting(waiter.client);
                told.push(waiter.client);
            }
            for client in told {
                self.refuse_client(client, &Refusal::Target(error.clone()), ClientClose::TargetRefused);
            }
        }
    }

    /// End a client connection; what it held is cleaned for the next client or closed.
    pub(super) fn close_client(&mut self, place: usize, reason: ClientClose) {
        self.stop_waiting(place);
        let mut client = self.clients.remove(place);
        let _ = client.stream.flush();
        let _ = self.poll.registry().deregister(client.stream.socket());
        let pool = client.pool as usize;
        self.pools[pool].clients -= 1;
        self.stats.client_connections_closed += 1;
        let word = crate::admin::word(&reason);
        if log::enabled(Level::Debug) {
            log::event(Level::Debug, "client-closed", &[("client", &client.serial), ("reason", &word)]);
        }
        *self.stats.client_closed.entry(word).or_default() += 1;
        self.door_stats.open.fetch_sub(1, Ordering::Relaxed);
        let ClientState::Attached(server) = client.state else { return };
        let conn = &mut self.servers[server];
        conn.owners.pop_front();
        conn.borrowed = None;
        conn.sent = None;
        let mut out = Output::default();
        // Half-sent input cannot be taken back, so nothing can follow it.
        let cut = !conn.output.is_empty();
        let abandon = self.protocol.abandon(&mut self.shared, &client.session, &mut conn.session, &mut out);
        match abandon {
            Abandon::Clean if !cut => self.server_returned(server),
            Abandon::Cleaning if !cut => {
                conn.cleaning = true;
                conn.used = self.now;
                self.send_to_server(server, &out.to_server);
                if !conn_readable(&self.servers, server) {
                    return;
                }
                self.work.push_back(Work::ReadServer(server));
            }
            _ => {
                if self.protocol.activity(&self.servers[server].session) == Activity::Running {
                    self.interrupt(server);
                }
                self.close_server(server, ServerClose::Abandoned);
            }
        }
    }

    /// End a server connection; its owner is told, and closed with it.
    pub(super) fn close_server(&mut self, place: usize, reason: ServerClose) {
        let mut server = self.servers.remove(place);
        let _ = self.poll.registry().deregister(server.stream.socket());
        let pool = server.pool as usize;
        self.pools[pool].open -= 1;
        self.open -= 1;
        self.pools[pool].forget_idle(place);
        let word = crate::admin::word(&reason);
        let level = if matches!(reason, ServerClose::Lost | ServerClose::ProtocolViolation) && !server.owners.is_empty()
        {
            Level::Warn
        } else {
            Level::Debug
        };
        log::event(level, "server-closed", &[("server", &server.serial), ("reason", &word), ("open", &self.open)]);
        *self.stats.server_closed.entry(word).or_default() += 1;
        for owner in std::mem::take(&mut server.owners) {
            let mut output = Vec::new();
            let client = &mut self.clients[owner];
            client.state = ClientState::Free;
            self.protocol.lost(&mut client.session, &server.session, &mut output);
            self.send_to_client(owner, &output);
            if self.clients.contains(owner) {
                self.close_client(owner, ClientClose::ServerLost);
            }
        }
        // A slot is free: whoever starves longest gets it.
        while let Some(starving) = self.starving.pop_front() {
            if self.pools[starving].wanted() > 0 {
                self.dial_if_wanted(starving);
                break;
            }
        }
        if self.pools[pool].wanted() > 0 {
            self.dial_if_wanted(pool);
        }
    }

    /// Interrupt what this server connection runs.
    pub(super) fn interrupt(&mut self, place: usize) {
        let server = &mut self.servers[place];
        if server.interrupting {
            return;
        }
        server.interrupting = true;
        let what = self.protocol.interrupt_of(&server.session);
        let serial = server.serial;
        self.submit(Job::Interrupt { server: place, serial, what, protocol: Arc::clone(&self.protocol) });
    }

    pub(super) fn interrupted(&mut self, place: usize, serial: u64) {
        let Some(server) = self.servers.get_mut(place) else { return };
        if server.serial != serial {
            return;
        }
        server.interrupting = false;
        if server.returned && server.owners.is_empty() && !server.cleaning {
            self.hand_out(place);
        }
    }

    pub(super) fn cancel(&mut self, number: u32, secret: u64) {
        let Some(client) = (number as usize).checked_sub(1).and_then(|place| self.clients.get(place)) else { return };
        if secret == 0 || !P::secret_matches(client.secret, secret) {
            return;
        }
        if let ClientState::Attached(server) = client.state {
            if self.protocol.activity(&self.servers[server].session) == Activity::Running {
                self.interrupt(server);
            }
        } else if matches!(client.state, ClientState::Waiting(_)) {
            // Its statement was not sent yet, so cancelling it is refusing it.
            let place = number as usize - 1;
            self.refuse_client(place, &Refusal::Cancelled, ClientClose::Killed);
        }
    }
}

fn conn_readable<P: Protocol>(servers: &slab::Slab<ServerConn<P>>, place: usize) -> bool {
    servers.get(place).is_some_and(|server| server.readable)
}
