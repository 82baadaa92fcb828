//! Deadlines: looked at every tick, never by a timer a connection.

use super::{ClientState, Reactor};
use crate::log::{self, Level};
use crate::protocol::{Activity, Protocol, Refusal};
use crate::reason::{ClientClose, PinReason, ServerClose};
use std::collections::BTreeMap;
use std::time::Duration;

/// Long deadlines (idle clients, lifetimes) are looked at this often.
const SLOW_SWEEP: Duration = Duration::from_secs(1);

impl<P: Protocol> Reactor<P> {
    pub(super) fn sweep(&mut self) {
        for pool in 0..self.pools.len() {
            if self.pools[pool].wanted() > 0 {
                self.expire_waiters(pool);
                if self.pools[pool].retry_at.is_some_and(|at| at <= self.now) {
                    self.pools[pool].retry_at = None;
                    self.dial_if_wanted(pool);
                }
            }
        }
        if self.now.saturating_duration_since(self.swept) < SLOW_SWEEP && !self.fast_deadlines() {
            return;
        }
        self.expire_borrowed();
        if self.now.saturating_duration_since(self.swept) >= SLOW_SWEEP {
            self.swept = self.now;
            self.expire_clients();
            self.expire_servers();
        }
    }

    fn fast_deadlines(&self) -> bool {
        self.settings.query_timeout_s > 0.0 || self.settings.idle_in_transaction_timeout_s > 0.0
    }

    fn expire_waiters(&mut self, pool: usize) {
        let limit = self.settings.borrow_timeout();
        let late = |since| self.now.saturating_duration_since(since) >= limit;
        let mut told = Vec::new();
        for waiter in &self.pools[pool].waiters {
            if !late(waiter.since) {
                break;
            }
            let valid = self.clients.get(waiter.client).is_some_and(|client| {
                client.serial == waiter.serial && client.state == ClientState::Waiting(waiter.since)
            });
            if valid {
                told.push((waiter.client, waiter.since));
            }
        }
        for (client, serial) in self.pools[pool].arrivals.clone() {
            if self.clients.get(client).is_some_and(|conn| conn.serial == serial && late(conn.connected)) {
                told.push((client, self.clients[client].connected));
            }
        }
        for (client, since) in told {
            let waited = self.now.saturating_duration_since(since);
            let message = self.borrow_timeout_text(pool, waited);
            self.stats.borrow_timeouts += 1;
            log::event(
                Level::Warn,
                "borrow-timeout",
                &[("client", &self.clients[client].serial), ("message", &message)],
            );
            self.refuse_client(client, &Refusal::BorrowTimeout { waited, message }, ClientClose::BorrowTimeout);
        }
        let clients = &self.clients;
        self.pools[pool]
            .arrivals
            .retain(|(client, serial)| clients.get(*client).is_some_and(|conn| conn.serial == *serial));
    }

    /// What happened, the numbers, and the next step.
    fn borrow_timeout_text(&self, pool: usize, waited: Duration) -> String {
        let state = &self.pools[pool];
        let borrowed = state.open - state.idle.len();
        let mut pins: BTreeMap<PinReason, usize> = BTreeMap::new();
        for (_, client) in self.clients.iter().filter(|(_, client)| client.pinned && client.pool as usize == pool) {
            if let Some(pin) = self.protocol.pins(&client.session).first() {
                *pins.entry(pin.reason).or_default() += 1;
            }
        }
        let pinned: usize = pins.values().sum();
        let list: Vec<String> = pins.iter().map(|(reason, count)| format!("{count} {}", reason.word())).collect();
        let detail = if pinned > 0 { format!(" ({pinned} pinned: {})", list.join(", ")) } else { String::new() };
        let mut text = format!(
            "no server connection after {:.2} s: {borrowed}/{} borrowed{detail}, {} waiting",
            waited.as_secs_f64(),
            self.server_limit(),
            state.waiting,
        );
        if let Some(error) = &state.last_error {
            text.push_str("; the last attempt to open one failed: ");
            text.push_str(&error.message);
        }
        text
    }

    fn expire_borrowed(&mut self) {
        let query_limit = Duration::from_secs_f64(self.settings.query_timeout_s);
        let idle_limit = Duration::from_secs_f64(self.settings.idle_in_transaction_timeout_s);
        let mut cancel = Vec::new();
        let mut cut = Vec::new();
        let mut stuck = Vec::new();
        for (place, server) in &self.servers {
            let Some(owner) = server.owners.front() else {
                // A clean-up that the server does not answer.
                let limit = Duration::from_secs_f64(self.settings.server_connect_timeout_s);
                if server.cleaning && self.now.saturating_duration_since(server.used) >= limit {
                    stuck.push(place);
                }
                continue;
            };
            match self.protocol.activity(&server.session) {
                Activity::Running if !query_limit.is_zero() => {
                    let sent = server.sent.unwrap_or(self.now);
                    if self.now.saturating_duration_since(sent) >= query_limit {
                        cancel.push(place);
                    }
                }
                Activity::InTransaction if !idle_limit.is_zero() => {
                    let since = self.clients[*owner].active.max(server.used);
                    if self.now.saturating_duration_since(since) >= idle_limit {
                        cut.push(*owner);
                    }
                }
                _ => {}
            }
        }
        for place in stuck {
            self.close_server(place, ServerClose::Dirty);
        }
        for place in cancel {
            self.interrupt(place);
        }
        for client in cut {
            self.refuse_client(client, &Refusal::IdleInTransaction, ClientClose::IdleInTransaction);
        }
    }

    fn expire_clients(&mut self) {
        let limit = Duration::from_secs_f64(self.settings.idle_client_timeout_s);
        let late: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| match client.state {
                ClientState::Free => true,
                // A pinned client that sleeps holds a server connection for nothing: RDS Proxy ends it, too.
                ClientState::Attached(server) => {
                    self.protocol.activity(&self.servers[server].session) == Activity::Idle
                }
                ClientState::Arriving | ClientState::Waiting(_) => false,
            })
            .filter(|(_, client)| self.now.saturating_duration_since(client.active) >= limit)
            .map(|(place, _)| place)
            .collect();
        for client in late {
            self.refuse_client(client, &Refusal::IdleTimeout, ClientClose::IdleTimeout);
        }
    }

    fn expire_servers(&mut self) {
        let idle_after = Duration::from_secs_f64(self.settings.server_idle_timeout_s);
        let may_idle = self.max_connections.map_or(1, |limit| self.settings.idle_limit(limit));
        let mut unused = 0;
        let mut close = Vec::new();
        // Of the unused ones, the most recently used stay.
        let mut idle: Vec<usize> = self.pools.iter().flat_map(|pool| pool.idle.iter().copied()).collect();
        idle.sort_unstable_by_key(|server| std::cmp::Reverse(self.servers[*server].used));
        for place in idle {
            let server = &self.servers[place];
            if server.expires <= self.now {
                close.push((place, ServerClose::Lifetime));
            } else if self.reconnect_before.is_some_and(|before| server.opened < before) {
                close.push((place, ServerClose::Reconnect));
            } else if self.now.saturating_duration_since(server.used) >= idle_after {
                unused += 1;
                if unused > may_idle {
                    close.push((place, ServerClose::Idle));
                }
            }
        }
        for (place, reason) in close {
            if self.servers.contains(place) {
                self.close_server(place, reason);
            }
        }
    }
}
