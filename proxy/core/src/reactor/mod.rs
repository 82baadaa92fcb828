//! The event loop: one thread that owns client connections, server connections and the pools between them.
//!
//! Nothing here is locked. Other threads reach it through its [`Mailbox`]. Readiness is edge-triggered: a socket that is
//! not read because its connection must wait is remembered as `readable` and read when the wait is over, without any
//! further system call.

mod admin;
mod borrowing;
mod flow;
mod sweep;

use crate::admin::Command;
use crate::borrow::Pool;
use crate::dialer::{Dialer, Job};
use crate::log::{self, Level};
use crate::protocol::{DialError, Dialed, Output, PoolKey, Protocol, Refusal};
use crate::reason::{ClientClose, ServerClose};
use crate::settings::Settings;
use crate::stats::{DoorStats, Stats};
use crate::transport::Stream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WAKER: Token = Token(usize::MAX);
/// One read's worth; also what a connection may be served in one turn before others get theirs.
const SCRATCH_BYTES: usize = 64 * 1024;
/// While somebody waits or works, deadlines are looked at this often.
const BUSY_TICK: Duration = Duration::from_millis(50);
/// Otherwise this often.
const QUIET_TICK: Duration = Duration::from_secs(1);

/// An authenticated client, from the door.
pub struct Arrival<P: Protocol> {
    /// Its connection.
    pub stream: Stream,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Its session.
    pub session: Box<P::Client>,
    /// The pool it belongs to.
    pub key: PoolKey,
    /// Input read beyond the login.
    pub input: Vec<u8>,
    /// The login's answer so far, not written yet.
    pub output: Vec<u8>,
}

/// What other threads tell the reactor.
pub enum Mail<P: Protocol> {
    /// A client logged in.
    Arrived(Box<Arrival<P>>),
    /// A dial ended.
    Dialed {
        /// The pool's place.
        pool: usize,
        /// The server connection, or why there is none.
        outcome: Result<Box<Dialed<P>>, DialError>,
    },
    /// An interrupt was delivered (or could not be).
    Interrupted {
        /// The server connection's place.
        server: usize,
        /// Its serial number.
        serial: u64,
    },
    /// A client asks to cancel what another connection runs.
    Cancel {
        /// That client's number.
        client: u32,
        /// Its secret.
        secret: u64,
    },
    /// A command from the admin socket, and where its answer goes.
    Admin(Command, Sender<serde_json::Value>),
    /// New settings.
    Reload(Arc<P>),
    /// Finish transactions, then stop.
    Drain,
}

/// The way to a reactor.
pub struct Mailbox<P: Protocol> {
    sender: Sender<Mail<P>>,
    waker: Arc<Waker>,
}

impl<P: Protocol> Clone for Mailbox<P> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waker: Arc::clone(&self.waker) }
    }
}

impl<P: Protocol> Mailbox<P> {
    /// Deliver *mail*; lost when the reactor has stopped, with everything else.
    pub fn send(&self, mail: Mail<P>) {
        if self.sender.send(mail).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// Where a client is between having and not having a server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    /// Logged in, but nothing is known about the server yet.
    Arriving,
    /// Has no server connection and wants none.
    Free,
    /// Waits for a server connection since then.
    Waiting(Instant),
    /// Has this server connection.
    Attached(usize),
}

pub(crate) struct ClientConn<P: Protocol> {
    pub(crate) stream: Stream,
    pub(crate) session: Box<P::Client>,
    pub(crate) pool: u32,
    pub(crate) state: ClientState,
    pub(crate) serial: u64,
    pub(crate) secret: u64,
    pub(crate) peer: SocketAddr,
    /// Input that could not be used yet.
    pub(crate) input: Vec<u8>,
    /// Output that the socket did not take yet.
    pub(crate) output: Vec<u8>,
    /// The socket may have more input; it was not read because the client had to wait.
    pub(crate) readable: bool,
    /// Attached just now: its session state was not replayed yet.
    pub(crate) fresh: bool,
    /// Attached, but nothing more can be consumed until the server has answered.
    pub(crate) hold: bool,
    /// When input last came.
    pub(crate) active: Instant,
    pub(crate) connected: Instant,
    /// When the statement now running was read.
    pub(crate) asked: Option<Instant>,
    pub(crate) pinned: bool,
    pub(crate) kill: bool,
}

pub(crate) struct ServerConn<P: Protocol> {
    pub(crate) stream: Stream,
    pub(crate) session: P::Server,
    pub(crate) pool: u32,
    pub(crate) serial: u64,
    /// Who gets the answers, in order. The front one gets the bytes that come next, the back one may write. At most one
    /// today; statements of several clients can be in flight on one server connection once each rule for that is proven.
    pub(crate) owners: VecDeque<usize>,
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    pub(crate) readable: bool,
    pub(crate) opened: Instant,
    /// Closed when next free after this.
    pub(crate) expires: Instant,
    pub(crate) used: Instant,
    pub(crate) sent: Option<Instant>,
    pub(crate) borrowed: Option<Instant>,
    /// An interrupt is on its way: not returned to the pool before it has arrived, or it would hit the next client.
    pub(crate) interrupting: bool,
    /// The owner is gone; the session is being cleaned.
    pub(crate) cleaning: bool,
    pub(crate) returned: bool,
}

/// Something to do before waiting for events again.
enum Work {
    /// Read this client's socket.
    ReadClient(usize),
    /// Let this client's kept input go on.
    RunClient(usize),
    /// Read this server connection's socket.
    ReadServer(usize),
}

/// One reactor.
pub struct Reactor<P: Protocol> {
    protocol: Arc<P>,
    settings: Arc<Settings>,
    shared: P::Shared,
    poll: Poll,
    mail: Receiver<Mail<P>>,
    dialer: Dialer<P>,
    clients: Slab<ClientConn<P>>,
    servers: Slab<ServerConn<P>>,
    pools: Vec<Pool<P::Template>>,
    pool_of: HashMap<PoolKey, usize>,
    work: VecDeque<Work>,
    scratch: Vec<u8>,
    out: Output,
    now: Instant,
    serial: u64,
    /// The target's `max_connections`, once known.
    max_connections: Option<u32>,
    open: usize,
    dialing: usize,
    /// Pools with waiters that may open no connection because the target's limit is used up, in order.
    starving: VecDeque<usize>,
    paused: bool,
    draining: Option<Instant>,
    /// Server connections opened before this are closed when free.
    reconnect_before: Option<Instant>,
    target_available: bool,
    stats: Stats,
    door_stats: Arc<DoorStats>,
    started: Instant,
    swept: Instant,
}

impl<P: Protocol> Reactor<P> {
    /// A reactor and the way to it.
    pub fn new(protocol: Arc<P>, door_stats: Arc<DoorStats>) -> io::Result<(Self, Mailbox<P>)> {
        let poll = Poll::new()?;
        let (sender, mail) = channel();
        let mailbox = Mailbox { sender, waker: Arc::new(Waker::new(poll.registry(), WAKER)?) };
        let settings = Arc::clone(protocol.settings());
        let dialer = Dialer::start(settings.max_concurrent_connects, &mailbox);
        let now = Instant::now();
        let reactor = Self {
            protocol,
            settings,
            shared: P::Shared::default(),
            poll,
            mail,
            dialer,
            clients: Slab::new(),
            servers: Slab::new(),
            pools: Vec::new(),
            pool_of: HashMap::new(),
            work: VecDeque::new(),
            scratch: vec![0; SCRATCH_BYTES],
            out: Output::default(),
            now,
            serial: 0,
            max_connections: None,
            open: 0,
            dialing: 0,
            starving: VecDeque::new(),
            paused: false,
            draining: None,
            reconnect_before: None,
            target_available: false,
            stats: Stats::default(),
            door_stats,
            started: now,
            swept: now,
        };
        Ok((reactor, mailbox))
    }

    /// Run until drained. The first thing it does is to open one server connection for the target's own user, so that
    /// the target's limit and version are known before the first client comes.
    pub fn run(mut self) {
        let target = self.settings.target.clone();
        if !target.user.is_empty() {
            if let Some(key) = self.protocol.first_pool() {
                let pool = self.pool(key);
                self.dial(pool);
            }
        }
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = if self.work.is_empty() { self.tick() } else { Duration::ZERO };
            if let Err(error) = self.poll.poll(&mut events, Some(timeout)) {
                if error.kind() != ErrorKind::Interrupted {
                    log::event(Level::Error, "reactor-failed", &[("error", &error)]);
                    return;
                }
            }
            self.now = Instant::now();
            for event in &events {
                let Token(token) = event.token();
                if event.token() == WAKER {
                    self.read_mail();
                } else if token % 2 == 0 {
                    self.client_event(token / 2, event.is_writable(), event.is_readable(), event.is_read_closed());
                } else {
                    self.server_event(token / 2, event.is_writable(), event.is_readable(), event.is_read_closed());
                }
            }
            // Each piece of work there is now gets one turn; what it leaves behind waits for the next round.
            for _ in 0..self.work.len() {
                match self.work.pop_front() {
                    Some(Work::ReadClient(client)) => self.read_client(client),
                    Some(Work::RunClient(client)) => self.run_client(client),
                    Some(Work::ReadServer(server)) => self.read_server(server),
                    None => break,
                }
            }
            self.sweep();
            if self.drained() {
                return;
            }
        }
    }

    fn tick(&self) -> Duration {
        let busy = self.draining.is_some() || self.pools.iter().any(|pool| pool.wanted() > 0);
        let watched = self.settings.query_timeout_s > 0.0 || self.settings.idle_in_transaction_timeout_s > 0.0;
        let borrowed = watched && self.servers.iter().any(|(_, server)| !server.owners.is_empty());
        if busy || borrowed {
            BUSY_TICK
        } else {
            QUIET_TICK
        }
    }

    fn read_mail(&mut self) {
        while let Ok(mail) = self.mail.try_recv() {
            match mail {
                Mail::Arrived(arrival) => self.arrive(*arrival),
                Mail::Dialed { pool, outcome } => self.dialed(pool, outcome),
                Mail::Interrupted { server, serial } => self.interrupted(server, serial),
                Mail::Cancel { client, secret } => self.cancel(client, secret),
                Mail::Admin(command, answer) => {
                    let value = self.command(command);
                    let _ = answer.send(value);
                }
                Mail::Reload(protocol) => self.reload(protocol),
                Mail::Drain => self.drain(),
            }
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// The pool for *key*, made if there is none.
    fn pool(&mut self, key: PoolKey) -> usize {
        if let Some(place) = self.pool_of.get(&key) {
            return *place;
        }
        let place = self.pools.len();
        self.pools.push(Pool::new(key.clone()));
        self.pool_of.insert(key, place);
        place
    }

    fn arrive(&mut self, arrival: Arrival<P>) {
        let pool = self.pool(arrival.key);
        let serial = self.next_serial();
        let mut secret = [0; 8];
        // Without entropy there is no safe cancel key; 0 is never accepted as one.
        let secret = getrandom::fill(&mut secret).map_or(0, |()| u64::from_le_bytes(secret));
        let limit = self.settings.max_client_connections_per_user as usize;
        let user = Arc::clone(&self.pools[pool].key.user);
        let of_user: usize = self.pools.iter().filter(|pool| pool.key.user == user).map(|pool| pool.clients).sum();
        let entry = self.clients.vacant_entry();
        let place = entry.key();
        let mut stream = arrival.stream;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(stream.socket(), Token(place * 2), interest).is_err() {
            self.door_stats.open.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        entry.insert(ClientConn {
            stream,
            session: arrival.session,
            pool: pool as u32,
            state: ClientState::Arriving,
            serial,
            secret,
            peer: arrival.peer,
            input: arrival.input,
            output: arrival.output,
            readable: true,
            fresh: false,
            hold: false,
            active: self.now,
            connected: self.now,
            asked: None,
            pinned: false,
            kill: false,
        });
        self.pools[pool].clients += 1;
        if limit > 0 && of_user >= limit {
            let text = format!("user {user} has {of_user} clients, max_client_connections_per_user is {limit}");
            self.refuse_client(place, &Refusal::TooManyClients(text), ClientClose::TooManyClients);
            return;
        }
        if self.draining.is_some() {
            self.refuse_client(place, &Refusal::Draining, ClientClose::Drained);
            return;
        }
        if !self.welcome(place) {
            self.pools[pool].arrivals.push((place, serial));
            self.dial_if_wanted(pool);
        }
    }

    /// End the login of a client, if the pool's template is known.
    fn welcome(&mut self, place: usize) -> bool {
        let client = &mut self.clients[place];
        let Some(template) = &self.pools[client.pool as usize].template else { return false };
        let mut output = std::mem::take(&mut client.output);
        self.protocol.welcome(
            &mut self.shared,
            &mut client.session,
            place as u32 + 1,
            client.secret,
            template,
            &mut output,
        );
        client.state = ClientState::Free;
        self.stats.client_setup_succeeded += 1;
        self.send_to_client(place, &output);
        if self.clients.contains(place) {
            self.work.push_back(Work::RunClient(place));
        }
        true
    }

    fn drain(&mut self) {
        if self.draining.is_some() {
            return;
        }
        let limit = Duration::from_secs_f64(self.settings.drain_timeout_s);
        self.draining = Some(self.now + limit);
        log::event(Level::Info, "drain", &[("clients", &self.clients.len()), ("servers", &self.servers.len())]);
        let free: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, client)| !matches!(client.state, ClientState::Attached(_)))
            .map(|(place, _)| place)
            .collect();
        for place in free {
            self.refuse_client(place, &Refusal::Draining, ClientClose::Drained);
        }
        let idle: Vec<usize> = self.pools.iter().flat_map(|pool| pool.idle.clone()).collect();
        for server in idle {
            self.close_server(server, ServerClose::Drained);
        }
    }

    fn drained(&mut self) -> bool {
        let Some(limit) = self.draining else { return false };
        if self.clients.is_empty() || self.now >= limit {
            let left: Vec<usize> = self.clients.iter().map(|(place, _)| place).collect();
            for place in left {
                self.refuse_client(place, &Refusal::Draining, ClientClose::Drained);
            }
            log::event(Level::Info, "drained", &[("cut", &self.clients.len())]);
            return true;
        }
        false
    }

    fn reload(&mut self, protocol: Arc<P>) {
        self.settings = Arc::clone(protocol.settings());
        self.protocol = protocol;
        for pool in &mut self.pools {
            pool.retry_at = None;
            pool.failures = 0;
        }
        log::event(Level::Info, "reloaded", &[]);
        for pool in 0..self.pools.len() {
            self.dial_if_wanted(pool);
        }
    }

    fn submit(&self, job: Job<P>) {
        self.dialer.submit(job);
    }
}
