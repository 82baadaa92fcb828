//! Answers to operators: copies of the reactor's state as JSON, and the verbs.

use super::{ClientState, Reactor};
use crate::admin::Command;
use crate::log::{self, Level};
use crate::metrics::{self, Gauges};
use crate::protocol::{Activity, Protocol, Refusal};
use crate::reason::{ClientClose, ServerClose};
use crate::stats::Summary;
use serde_json::{json, Value};
use std::sync::atomic::Ordering;
use std::time::Instant;

impl<P: Protocol> Reactor<P> {
    pub(super) fn command(&mut self, command: Command) -> Value {
        match command {
            Command::Stats => self.show_stats(),
            Command::Pools => self.show_pools(),
            Command::Clients => self.show_clients(),
            Command::Servers => self.show_servers(),
            Command::Pins => self.show_pins(),
            Command::Settings => serde_json::to_value(&*self.settings).unwrap_or_default(),
            Command::Metrics => metrics::render(&self.stats, &self.gauges()).into(),
            Command::Pause => {
                self.paused = true;
                log::event(Level::Info, "paused", &[]);
                json!({"ok": true, "borrowed": self.gauges().borrowed})
            }
            Command::Resume => {
                self.paused = false;
                log::event(Level::Info, "resumed", &[]);
                self.hand_out_all();
                json!({"ok": true})
            }
            Command::Reconnect => {
                self.reconnect_before = Some(Instant::now());
                let idle: Vec<usize> = self.pools.iter().flat_map(|pool| pool.idle.clone()).collect();
                for server in &idle {
                    self.close_server(*server, ServerClose::Reconnect);
                }
                log::event(Level::Info, "reconnect", &[("closed", &idle.len()), ("later", &self.servers.len())]);
                json!({"ok": true, "closed": idle.len(), "when_free": self.servers.len()})
            }
            Command::Kill { client } => self.kill(client),
            Command::Drain => {
                self.drain();
                json!({"ok": true})
            }
            Command::Reload => json!({"error": "reload is answered before the reactor"}),
        }
    }

    fn kill(&mut self, serial: u64) -> Value {
        let found = self.clients.iter().find(|(_, client)| client.serial == serial).map(|(place, _)| place);
        match found {
            Some(place) => {
                self.refuse_client(place, &Refusal::Killed, ClientClose::Killed);
                json!({"ok": true})
            }
            None => json!({"error": format!("no client {serial}: `clients` lists them")}),
        }
    }

    fn gauges(&self) -> Gauges {
        let mut gauges = Gauges {
            clients: self.clients.len() as u64,
            servers: self.servers.len() as u64,
            allowed: self.server_limit() as u64,
            waiting: self.pools.iter().map(|pool| pool.waiting as u64).sum(),
            available: self.target_available,
            received: self.door_stats.received.load(Ordering::Relaxed),
            failed_auth: self.door_stats.failed_auth.load(Ordering::Relaxed),
            logins: self.door_stats.logins.load(Ordering::Relaxed),
            ..Gauges::default()
        };
        for (_, client) in &self.clients {
            gauges.clients_tls += u64::from(client.stream.is_tls());
            gauges.pinned += u64::from(client.pinned && matches!(client.state, ClientState::Attached(_)));
        }
        for (_, server) in &self.servers {
            gauges.servers_tls += u64::from(server.stream.is_tls());
            gauges.borrowed += u64::from(!server.owners.is_empty());
            let active = self.protocol.activity(&server.session) == Activity::InTransaction;
            gauges.in_transaction += u64::from(active && !server.owners.is_empty());
        }
        gauges
    }

    fn show_stats(&self) -> Value {
        let (stats, gauges) = (&self.stats, self.gauges());
        let why = if self.draining.is_some() {
            Some("stopping".to_string())
        } else if !self.target_available {
            let error = self.pools.iter().find_map(|pool| pool.last_error.as_ref());
            Some(error.map_or("the target was not reached yet".into(), |error| format!("target: {}", error.message)))
        } else {
            None
        };
        json!({
            "protocol": P::NAME,
            "uptime_s": self.started.elapsed().as_secs_f64(),
            "ready": why.is_none(),
            "not_ready_because": why,
            "paused": self.paused,
            "draining": self.draining.is_some(),
            "max_connections_of_target": self.max_connections,
            "max_database_connections_allowed": gauges.allowed,
            "client_connections": gauges.clients,
            "client_connections_tls": gauges.clients_tls,
            "clients_waiting": gauges.waiting,
            "logins_in_progress": gauges.logins,
            "client_connections_received": gauges.received,
            "client_connections_setup_succeeded": stats.client_setup_succeeded,
            "client_connections_setup_failed_auth": gauges.failed_auth,
            "client_connections_closed": stats.client_connections_closed,
            "client_closed_by_reason": stats.client_closed,
            "database_connections": gauges.servers,
            "database_connections_with_tls": gauges.servers_tls,
            "database_connections_currently_borrowed": gauges.borrowed,
            "database_connections_currently_in_transaction": gauges.in_transaction,
            "database_connections_currently_session_pinned": gauges.pinned,
            "database_connections_setup_succeeded": stats.server_setup_succeeded,
            "database_connections_setup_failed": stats.server_setup_failed,
            "server_closed_by_reason": stats.server_closed,
            "database_connection_requests": stats.borrow_requests,
            "borrow_waits": stats.borrow_waits,
            "borrow_timeouts": stats.borrow_timeouts,
            "query_requests": stats.query_requests,
            "pins_by_reason": stats.pins.iter().map(|(reason, count)| (reason.word().to_string(), (*count).into()))
                .collect::<serde_json::Map<String, Value>>(),
            "borrow_wait": Summary::from(&stats.borrow_wait),
            "query_latency": Summary::from(&stats.query_latency),
            "server_latency": Summary::from(&stats.server_latency),
            "client_bytes_in": stats.client_bytes_in,
            "client_bytes_out": stats.client_bytes_out,
        })
    }

    fn show_pools(&self) -> Value {
        let pools = self.pools.iter().map(|pool| {
            json!({
                "user": &*pool.key.user,
                "database": &*pool.key.database,
                "class": pool.key.class,
                "clients": pool.clients,
                "waiting": pool.waiting,
                "arriving": pool.arrivals.len(),
                "open": pool.open,
                "idle": pool.idle.len(),
                "connecting": pool.dialing,
                "failures": pool.failures,
                "last_error": pool.last_error.as_ref().map(|error| &error.message),
                "server": pool.template.as_ref().map(|template| self.protocol.describe(template)),
            })
        });
        Value::Array(pools.collect())
    }

    fn show_clients(&self) -> Value {
        let clients = self.clients.iter().map(|(_, client)| {
            let key = &self.pools[client.pool as usize].key;
            let (state, server) = match client.state {
                ClientState::Arriving => ("arriving", None),
                ClientState::Free => ("free", None),
                ClientState::Waiting(_) => ("waiting", None),
                ClientState::Attached(server) => ("attached", Some(self.servers[server].serial)),
            };
            json!({
                "client": client.serial,
                "user": &*key.user,
                "database": &*key.database,
                "peer": client.peer.to_string(),
                "tls": client.stream.is_tls(),
                "state": state,
                "server": server,
                "pins": self.protocol.pins(&client.session).iter().map(|pin| pin.reason.word()).collect::<Vec<_>>(),
                "connected_s": self.now.saturating_duration_since(client.connected).as_secs_f64(),
                "quiet_s": self.now.saturating_duration_since(client.active).as_secs_f64(),
                "kept_bytes": client.input.len() + client.output.len(),
            })
        });
        Value::Array(clients.collect())
    }

    fn show_servers(&self) -> Value {
        let servers = self.servers.iter().map(|(_, server)| {
            let key = &self.pools[server.pool as usize].key;
            let activity = match self.protocol.activity(&server.session) {
                Activity::Idle => "idle",
                Activity::InTransaction => "in-transaction",
                Activity::Running => "running",
            };
            json!({
                "server": server.serial,
                "user": &*key.user,
                "database": &*key.database,
                "number": self.protocol.server_number(&server.session),
                "tls": server.stream.is_tls(),
                "activity": activity,
                "owners": server.owners.iter().map(|owner| self.clients[*owner].serial).collect::<Vec<_>>(),
                "cleaning": server.cleaning,
                "age_s": self.now.saturating_duration_since(server.opened).as_secs_f64(),
                "borrowed_s": server.borrowed.map(|since| self.now.saturating_duration_since(since).as_secs_f64()),
            })
        });
        Value::Array(servers.collect())
    }

    fn show_pins(&self) -> Value {
        let mut pins = Vec::new();
        for (_, client) in &self.clients {
            let key = &self.pools[client.pool as usize].key;
            for pin in self.protocol.pins(&client.session) {
                pins.push(json!({
                    "client": client.serial,
                    "user": &*key.user,
                    "database": &*key.database,
                    "peer": client.peer.to_string(),
                    "reason": pin.reason.word(),
                    "statement": &*pin.statement,
                    "since": log::rfc3339(pin.since_ms),
                    "held_s": log::wall_ms().saturating_sub(pin.since_ms) as f64 / 1e3,
                    "ends_with": pin.reason.ends_with(),
                }));
            }
        }
        Value::Array(pins)
    }
}
