//! The way in for operators: the admin socket (one JSON object a line, both ways) and a small HTTP listener for
//! `/metrics`, `/healthz` and `/readyz`. Both run on threads of their own and ask the reactor for copies.

use crate::log::{self, Level};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long an operator's connection may take for a request or to read an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A request is one short line.
const REQUEST_LIMIT_BYTES: u64 = 64 * 1024;

/// What an operator can ask for: `{"command": "stats"}`, `{"command": "kill", "client": 7}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// Counters, gauges and latency summaries.
    Stats,
    /// One entry a pool.
    Pools,
    /// One entry a client connection.
    Clients,
    /// One entry a server connection.
    Servers,
    /// One entry a pin: client, reason, statement, since when, what ends it.
    Pins,
    /// The settings in force, without secrets.
    Settings,
    /// Hand out no server connection; what is borrowed finishes.
    Pause,
    /// Hand out server connections again.
    Resume,
    /// Take no new clients, let transactions finish, stop.
    Drain,
    /// Replace every server connection when it is next free.
    Reconnect,
    /// End one client connection.
    Kill {
        /// Its number, as `clients` shows it.
        client: u64,
    },
    /// Read the settings file again.
    Reload,
    /// The metrics in Prometheus' text format.
    Metrics,
}

/// Answers commands; called on the admin threads.
pub type Handler = Arc<dyn Fn(Command) -> Value + Send + Sync>;

/// A reason as its word: `idle-timeout`.
pub(crate) fn word<T: Serialize>(reason: &T) -> String {
    match serde_json::to_value(reason) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Serve the admin socket at *path*, readable and writable by this user only.
pub fn serve_socket(path: &Path, handler: Handler) -> std::io::Result<()> {
    if path.exists() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?; // left behind by a process that is gone
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    std::thread::Builder::new().name("warmline-admin".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = Arc::clone(&handler);
            let serve = move || {
                let _ = stream.set_write_timeout(Some(PATIENCE));
                let Ok(reader) = stream.try_clone() else { return };
                let mut writer = stream;
                let mut lines = BufReader::new(reader);
                loop {
                    let mut line = String::new();
                    match (&mut lines).take(REQUEST_LIMIT_BYTES).read_line(&mut line) {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    }
                    let answer = match serde_json::from_str::<Command>(&line) {
                        Ok(command) => handler(command),
                        Err(error) => json!({"error": format!("not a command: {error}")}),
                    };
                    if writeln!(writer, "{answer}").is_err() {
                        return;
                    }
                }
            };
            let _ = std::thread::Builder::new().name("warmline-admin-client".into()).spawn(serve);
        }
    })?;
    Ok(())
}

/// Serve `/metrics`, `/healthz` (the process runs) and `/readyz` (the target is reachable and clients are taken).
pub fn serve_http(address: &str, handler: Handler) -> std::io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    std::thread::Builder::new().name("warmline-http".into()).spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.set_write_timeout(Some(PATIENCE));
            let mut line = String::new();
            if BufReader::new(&stream).take(REQUEST_LIMIT_BYTES).read_line(&mut line).is_err() {
                continue;
            }
            let path = line.split_whitespace().nth(1).unwrap_or_default();
            let (status, kind, body) = respond(path, &handler);
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
                log::event(Level::Debug, "http-client-left", &[]);
            }
        }
    })?;
    Ok(bound)
}

fn respond(path: &str, handler: &Handler) -> (&'static str, &'static str, String) {
    const TEXT: &str = "text/plain; charset=utf-8";
    match path {
        "/metrics" => {
            let metrics = handler(Command::Metrics);
            ("200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics.as_str().unwrap_or_default().to_string())
        }
        "/healthz" => ("200 OK", TEXT, "ok\n".into()),
        "/readyz" => {
            let stats = handler(Command::Stats);
            if stats["ready"] == json!(true) {
                ("200 OK", TEXT, "ready\n".into())
            } else {
                let why = stats["not_ready_because"].as_str().unwrap_or("stopping").to_string();
                ("503 Service Unavailable", TEXT, format!("not ready: {why}\n"))
            }
        }
        _ => ("404 Not Found", TEXT, "there are /metrics, /healthz and /readyz\n".into()),
    }
}
