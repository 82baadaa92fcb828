//! The metrics in Prometheus' text format: RDS Proxy's 24 names in `snake_case` behind `warmline_proxy_`, and what they
//! leave out (histograms, pins by reason, reasons of every close).

use crate::stats::{Histogram, Stats};
use std::fmt::Write as _;

/// The numbers that are not counters of [`Stats`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Gauges {
    /// Client connections now.
    pub clients: u64,
    /// Of these with TLS.
    pub clients_tls: u64,
    /// Server connections now.
    pub servers: u64,
    /// Of these with TLS.
    pub servers_tls: u64,
    /// Borrowed now.
    pub borrowed: u64,
    /// In a transaction now.
    pub in_transaction: u64,
    /// Pinned now.
    pub pinned: u64,
    /// The limit on server connections.
    pub allowed: u64,
    /// Clients waiting for a server connection now.
    pub waiting: u64,
    /// The target answers.
    pub available: bool,
    /// Connections accepted.
    pub received: u64,
    /// Logins refused.
    pub failed_auth: u64,
    /// Logins in progress.
    pub logins: u64,
}

/// Write all metrics.
pub fn render(stats: &Stats, gauges: &Gauges) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    let percent = if gauges.available { 100 } else { 0 };
    page.gauge("availability_percentage", "The target can be reached: 100 or 0", percent);
    page.gauge("client_connections", "Client connections now", gauges.clients);
    page.counter("client_connections_closed", "Client connections that ended", stats.client_connections_closed);
    page.gauge("client_connections_no_tls", "Client connections without TLS now", gauges.clients - gauges.clients_tls);
    page.counter("client_connections_received", "Client connections accepted", gauges.received);
    page.counter("client_connections_setup_failed_auth", "Logins refused for user or password", gauges.failed_auth);
    page.counter("client_connections_setup_succeeded", "Logins that succeeded", stats.client_setup_succeeded);
    page.gauge("client_connections_tls", "Client connections with TLS now", gauges.clients_tls);
    page.counter("database_connection_requests", "Requests for a server connection", stats.borrow_requests);
    page.counter(
        "database_connection_requests_with_tls",
        "Requests for a server connection by clients with TLS",
        stats.borrow_requests_tls,
    );
    page.gauge("database_connections", "Server connections now", gauges.servers);
    page.gauge("database_connections_currently_borrowed", "Server connections borrowed now", gauges.borrowed);
    page.gauge(
        "database_connections_currently_in_transaction",
        "Server connections in a transaction now",
        gauges.in_transaction,
    );
    page.gauge(
        "database_connections_currently_session_pinned",
        "Server connections pinned to a client now",
        gauges.pinned,
    );
    page.counter(
        "database_connections_setup_failed",
        "Server connections that could not be opened",
        stats.server_setup_failed,
    );
    page.counter("database_connections_setup_succeeded", "Server connections opened", stats.server_setup_succeeded);
    page.gauge("database_connections_with_tls", "Server connections with TLS now", gauges.servers_tls);
    page.gauge("max_database_connections_allowed", "The limit on server connections", gauges.allowed);
    page.counter("query_requests", "Statements, or batches up to a Sync", stats.query_requests);
    page.counter(
        "query_requests_no_tls",
        "Statements of clients without TLS",
        stats.query_requests - stats.query_requests_tls,
    );
    page.counter("query_requests_tls", "Statements of clients with TLS", stats.query_requests_tls);
    page.histogram(
        "database_connections_borrow_latency",
        "Time from asking for a server connection to having it",
        &stats.borrow_wait,
    );
    page.histogram(
        "query_database_response_latency",
        "Time from sending a statement to the server to the end of its answer",
        &stats.server_latency,
    );
    page.histogram(
        "query_response_latency",
        "Time from reading a statement to the end of its answer",
        &stats.query_latency,
    );

    page.gauge("clients_waiting", "Clients waiting for a server connection now", gauges.waiting);
    page.gauge("logins_in_progress", "Clients logging in now", gauges.logins);
    page.counter("borrow_waits", "Requests for a server connection that had to wait", stats.borrow_waits);
    page.counter("borrow_timeouts", "Requests that ended with the borrow timeout", stats.borrow_timeouts);
    page.counter("client_received_bytes", "Bytes from clients", stats.client_bytes_in);
    page.counter("client_sent_bytes", "Bytes to clients", stats.client_bytes_out);
    let pins = stats.pins.iter().map(|(reason, count)| (reason.word(), *count));
    page.labelled("pins", "Pins that began", "reason", pins);
    let closed = stats.client_closed.iter().map(|(reason, count)| (reason.as_str(), *count));
    page.labelled("client_connections_ended", "Client connections that ended, by reason", "reason", closed);
    let closed = stats.server_closed.iter().map(|(reason, count)| (reason.as_str(), *count));
    page.labelled("database_connections_closed", "Server connections closed, by reason", "reason", closed);
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP warmline_proxy_{name} {help}\n# TYPE warmline_proxy_{name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        let _ = writeln!(self.0, "warmline_proxy_{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let name = format!("{name}_total");
        self.head(&name, help, "counter");
        let _ = writeln!(self.0, "warmline_proxy_{name} {value}");
    }

    fn labelled<'a>(&mut self, name: &str, help: &str, label: &str, values: impl Iterator<Item = (&'a str, u64)>) {
        let name = format!("{name}_total");
        self.head(&name, help, "counter");
        for (word, value) in values {
            let _ = writeln!(self.0, "warmline_proxy_{name}{{{label}=\"{word}\"}} {value}");
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let name = format!("{name}_seconds");
        self.head(&name, help, "histogram");
        // 16 µs to 67 s in steps of four.
        for power in (4..=26).step_by(2) {
            let edge_us = 1_u64 << power;
            let edge = edge_us as f64 / 1e6;
            let _ = writeln!(self.0, "warmline_proxy_{name}_bucket{{le=\"{edge}\"}} {}", histogram.below(edge_us));
        }
        let count = histogram.count();
        let sum = histogram.sum_us() as f64 / 1e6;
        let _ = writeln!(self.0, "warmline_proxy_{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(self.0, "warmline_proxy_{name}_sum {sum}\nwarmline_proxy_{name}_count {count}");
    }
}
