//! Everything together: door, reactor, admin socket and HTTP listener for one target.

use crate::admin::{self, Command, Handler};
use crate::door::{self, DoorHandle, Service};
use crate::log::{self, Level};
use crate::protocol::Protocol;
use crate::reactor::{Mail, Mailbox, Reactor};
use crate::settings::Settings;
use crate::stats::DoorStats;
use crate::tls;
use serde_json::json;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the reactor may take to answer an operator.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A running proxy.
pub struct Engine<P: Protocol> {
    door: Arc<DoorHandle<P>>,
    mailbox: Mailbox<P>,
    reactor: JoinHandle<()>,
    file: Option<PathBuf>,
    http: Option<std::net::SocketAddr>,
    started_with: Arc<Settings>,
}

impl<P: Protocol> Engine<P> {
    /// Start everything that *settings* ask for; *file* is read again by `reload`.
    pub fn start(settings: Settings, file: Option<PathBuf>) -> Result<Arc<Self>, String> {
        let settings = Arc::new(settings);
        let listen = settings.listen.clone();
        let address = listen
            .to_socket_addrs()
            .map_err(|error| format!("listen = {listen:?}: {error}"))?
            .next()
            .ok_or_else(|| format!("listen = {listen:?} names no address"))?;
        let tls = tls::listener(&settings.tls)?;
        let protocol = Arc::new(P::new(Arc::clone(&settings))?);
        let stats = Arc::new(DoorStats::default());
        let (reactor, mailbox) =
            Reactor::new(Arc::clone(&protocol), Arc::clone(&stats)).map_err(|error| format!("event loop: {error}"))?;
        let door = door::open(address, Service { protocol, tls }, mailbox.clone(), stats)
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let reactor = std::thread::Builder::new()
            .name("warmline-reactor".into())
            .spawn(move || reactor.run())
            .map_err(|error| format!("thread: {error}"))?;
        let mut engine =
            Self { door: Arc::new(door), mailbox, reactor, file, http: None, started_with: Arc::clone(&settings) };
        let handler = engine.handler();
        if !settings.admin_socket.is_empty() {
            let path = &settings.admin_socket;
            admin::serve_socket(Path::new(path), Arc::clone(&handler))
                .map_err(|error| format!("admin_socket = {path:?}: {error}"))?;
        }
        if !settings.http_listen.is_empty() {
            let bound = admin::serve_http(&settings.http_listen, handler)
                .map_err(|error| format!("http_listen = {:?}: {error}", settings.http_listen))?;
            engine.http = Some(bound);
        }
        log::event(
            Level::Info,
            "serving",
            &[
                ("protocol", &P::NAME),
                ("listen", &engine.door.address),
                ("target", &settings.target),
                ("http", &engine.http.map(|address| address.to_string()).unwrap_or_default()),
                ("admin", &settings.admin_socket),
            ],
        );
        Ok(Arc::new(engine))
    }

    fn handler(&self) -> Handler {
        let (mailbox, door, file) = (self.mailbox.clone(), Arc::clone(&self.door), self.file.clone());
        let started_with = Arc::clone(&self.started_with);
        Arc::new(move |command| match command {
            Command::Reload => match reload(file.as_deref(), &started_with, &door, &mailbox) {
                Ok(()) => json!({"ok": true}),
                Err(error) => {
                    log::event(Level::Error, "reload-failed", &[("error", &error)]);
                    json!({"error": error})
                }
            },
            command => {
                if matches!(command, Command::Drain) {
                    door.close();
                }
                let (answer, answered) = channel();
                mailbox.send(Mail::Admin(command, answer));
                answered.recv_timeout(ANSWER_LIMIT).unwrap_or_else(|_| json!({"error": "the proxy is stopping"}))
            }
        })
    }

    /// Read the settings file again (SIGHUP).
    pub fn reload(&self) {
        if let Err(error) = reload(self.file.as_deref(), &self.started_with, &self.door, &self.mailbox) {
            log::event(Level::Error, "reload-failed", &[("error", &error)]);
        }
    }

    /// Take no more clients, let transactions finish, then stop (SIGTERM).
    pub fn drain(&self) {
        self.door.close();
        self.mailbox.send(Mail::Drain);
    }

    /// True when the reactor has stopped.
    pub fn finished(&self) -> bool {
        self.reactor.is_finished()
    }
}

impl<P: Protocol> Drop for Engine<P> {
    fn drop(&mut self) {
        if !self.started_with.admin_socket.is_empty() {
            let _ = std::fs::remove_file(&self.started_with.admin_socket);
        }
    }
}

fn reload<P: Protocol>(
    file: Option<&Path>,
    started_with: &Settings,
    door: &DoorHandle<P>,
    mailbox: &Mailbox<P>,
) -> Result<(), String> {
    let path = file.ok_or("started without a settings file: nothing to read again")?;
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let settings = Settings::parse(&text)?;
    for (name, fixed) in [
        ("listen", settings.listen == started_with.listen),
        ("admin_socket", settings.admin_socket == started_with.admin_socket),
        ("http_listen", settings.http_listen == started_with.http_listen),
        ("max_concurrent_connects", settings.max_concurrent_connects == started_with.max_concurrent_connects),
        ("target's protocol", settings.target.protocol == started_with.target.protocol),
    ] {
        if !fixed {
            return Err(format!("{name} cannot be changed while running: restart the proxy"));
        }
    }
    let tls = tls::listener(&settings.tls)?;
    let protocol = Arc::new(P::new(Arc::new(settings))?);
    door.replace(Service { protocol: Arc::clone(&protocol), tls });
    mailbox.send(Mail::Reload(protocol));
    Ok(())
}
