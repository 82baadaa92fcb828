//! The door: accepts clients and logs them in on a thread of its own, so that a storm of new clients never delays a
//! running query. It hands authenticated clients to the reactor.

use crate::log::{self, Level};
use crate::protocol::{LoginContext, LoginNext, Protocol, Refusal};
use crate::reactor::{Arrival, Mail, Mailbox};
use crate::reason::ClientClose;
use crate::stats::DoorStats;
use crate::transport::Stream;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::{ServerConfig, ServerConnection};
use slab::Slab;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// A login message is never longer than this (an IAM token is 2 KB); more is hostile.
const LOGIN_LIMIT_BYTES: usize = 64 * 1024;
/// Clients accepted before the ones that are logging in get a turn.
const ACCEPT_BATCH: usize = 64;

/// What the door serves with; replaced as a whole on reload.
pub struct Service<P: Protocol> {
    /// The protocol with the settings of now.
    pub protocol: Arc<P>,
    /// TLS towards clients.
    pub tls: Option<Arc<ServerConfig>>,
}

/// The door's controls, for other threads.
pub struct DoorHandle<P: Protocol> {
    service: Arc<RwLock<Arc<Service<P>>>>,
    waker: Arc<Waker>,
    closing: Arc<AtomicBool>,
    /// Where it listens (the port is known here when 0 was asked for).
    pub address: SocketAddr,
}

impl<P: Protocol> DoorHandle<P> {
    /// Serve new clients with other settings.
    pub fn replace(&self, service: Service<P>) {
        *self.service.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(service);
    }

    /// Stop listening; logins in progress are told that the proxy is stopping.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        let _ = self.waker.wake();
    }
}

struct Guest<P: Protocol> {
    /// None only while it is moved into TLS.
    stream: Option<Stream>,
    peer: SocketAddr,
    login: P::Login,
    service: Arc<Service<P>>,
    context: LoginContext,
    input: Vec<u8>,
    output: Vec<u8>,
    deadline: Instant,
}

struct Door<P: Protocol> {
    poll: Poll,
    listener: Option<TcpListener>,
    guests: Slab<Guest<P>>,
    service: Arc<RwLock<Arc<Service<P>>>>,
    mailbox: Mailbox<P>,
    stats: Arc<DoorStats>,
    closing: Arc<AtomicBool>,
    serial: AtomicU32,
    /// Clients may be waiting in the backlog because too many logins were in progress.
    backlog: bool,
    scratch: Vec<u8>,
}

/// Listen on *address* and start the door's thread.
pub fn open<P: Protocol>(
    address: SocketAddr,
    service: Service<P>,
    mailbox: Mailbox<P>,
    stats: Arc<DoorStats>,
) -> io::Result<DoorHandle<P>> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    let mut listener = TcpListener::from_std(socket.into());
    let address = listener.local_addr()?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let service = Arc::new(RwLock::new(Arc::new(service)));
    let closing = Arc::new(AtomicBool::new(false));
    let door = Door {
        poll,
        listener: Some(listener),
        guests: Slab::new(),
        service: Arc::clone(&service),
        mailbox,
        stats,
        closing: Arc::clone(&closing),
        serial: AtomicU32::new(1),
        backlog: false,
        scratch: vec![0; 16 * 1024],
    };
    std::thread::Builder::new().name("warmline-door".into()).spawn(move || door.run())?;
    Ok(DoorHandle { service, waker, closing, address })
}

impl<P: Protocol> Door<P> {
    fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            let timeout = match (self.backlog, self.guests.len()) {
                (true, guests) if guests < self.login_limit() => Some(Duration::ZERO),
                (false, 0) => None,
                _ => Some(Duration::from_millis(100)),
            };
            if let Err(error) = self.poll.poll(&mut events, timeout) {
                if error.kind() != ErrorKind::Interrupted {
                    log::event(Level::Error, "door-failed", &[("error", &error)]);
                    return;
                }
            }
            if self.closing.load(Ordering::Acquire) {
                self.turn_away();
                return;
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.backlog = true,
                    WAKER => {}
                    Token(place) => {
                        if self.guests.contains(place) {
                            self.serve(place);
                        }
                    }
                }
            }
            self.accept();
            self.expire();
            self.stats.logins.store(self.guests.len() as u64, Ordering::Relaxed);
        }
    }

    fn current(&self) -> Arc<Service<P>> {
        Arc::clone(&self.service.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn accept(&mut self) {
        if !self.backlog {
            return;
        }
        let service = self.current();
        let settings = service.protocol.settings();
        for _ in 0..ACCEPT_BATCH {
            if self.guests.len() >= settings.max_concurrent_logins as usize {
                return; // the rest waits in the listen backlog; `backlog` stays set
            }
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, peer)) => self.admit(stream, peer, Arc::clone(&service)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.backlog = false;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Out of descriptors or the like: others may finish; the next event tries again.
                    log::event(Level::Warn, "accept-failed", &[("error", &error)]);
                    return;
                }
            }
        }
    }

    fn login_limit(&self) -> usize {
        self.current().protocol.settings().max_concurrent_logins as usize
    }

    fn admit(&mut self, mut stream: TcpStream, peer: SocketAddr, service: Arc<Service<P>>) {
        self.stats.received.fetch_add(1, Ordering::Relaxed);
        let settings = service.protocol.settings();
        let _ = stream.set_nodelay(true);
        let socket = SockRef::from(&stream);
        let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)));
        if settings.client_unacknowledged_timeout_s > 0.0 {
            let limit = Duration::from_secs_f64(settings.client_unacknowledged_timeout_s);
            let _ = socket.set_tcp_user_timeout(Some(limit));
        }
        let context = LoginContext {
            tls: false,
            tls_available: service.tls.is_some(),
            serial: self.serial.fetch_add(1, Ordering::Relaxed),
        };
        let mut output = Vec::new();
        let login = service.protocol.greet(context, &mut output);
        let deadline = Instant::now() + Duration::from_secs_f64(settings.login_timeout_s);
        let entry = self.guests.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, Token(entry.key()), interest).is_err() {
            return;
        }
        self.stats.open.fetch_add(1, Ordering::Relaxed);
        let stream = Some(Stream::Plain(stream));
        let place = entry.key();
        entry.insert(Guest { stream, peer, login, service, context, input: Vec::new(), output, deadline });
        self.serve(place);
    }

    /// Write what is to be written, read what is there, and let the protocol answer, as far as that goes.
    fn serve(&mut self, place: usize) {
        loop {
            let guest = &mut self.guests[place];
            let Some(stream) = &mut guest.stream else { return };
            if !guest.output.is_empty() {
                match stream.write(&guest.output) {
                    Ok(written) => drop(guest.output.drain(..written)),
                    Err(_) => return self.drop_guest(place, ClientClose::Vanished),
                }
            }
            let received = match stream.read(&mut self.scratch) {
                Ok(received) => received.bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return self.drop_guest(place, ClientClose::TlsRefused)
                }
                Err(_) => return self.drop_guest(place, ClientClose::Vanished),
            };
            guest.input.extend_from_slice(&self.scratch[..received]);
            if guest.input.len() > LOGIN_LIMIT_BYTES {
                return self.drop_guest(place, ClientClose::ProtocolViolation);
            }
            if !self.answer(place) {
                return;
            }
        }
    }

    /// Let the protocol see the input; false when the guest is gone from here.
    fn answer(&mut self, place: usize) -> bool {
        loop {
            let guest = &mut self.guests[place];
            let service = Arc::clone(&guest.service);
            let step = service.protocol.login(&mut guest.login, guest.context, &guest.input, &mut guest.output);
            let progressed = step.consumed > 0;
            guest.input.drain(..step.consumed);
            match step.next {
                LoginNext::Wait => {
                    if progressed && !guest.input.is_empty() {
                        continue;
                    }
                    return true;
                }
                LoginNext::StartTls => {
                    if !self.start_tls(place) {
                        self.drop_guest(place, ClientClose::TlsRefused);
                        return false;
                    }
                }
                LoginNext::Ready(session, key) => {
                    self.hand_over(place, session, key);
                    return false;
                }
                LoginNext::Cancel { client, secret } => {
                    self.mailbox.send(Mail::Cancel { client, secret });
                    self.drop_guest(place, ClientClose::CancelRequest);
                    return false;
                }
                LoginNext::Close(reason) => {
                    if let Some(stream) = &mut guest.stream {
                        let _ = stream.write(&guest.output);
                    }
                    self.drop_guest(place, reason);
                    return false;
                }
            }
        }
    }

    fn start_tls(&mut self, place: usize) -> bool {
        let guest = &mut self.guests[place];
        let Some(config) = guest.service.tls.clone() else { return false };
        let Ok(mut session) = ServerConnection::new(config) else { return false };
        let Some(mut stream) = guest.stream.take() else { return false };
        // The plain answer has to be out before the first TLS byte; it is one byte or one packet, into an empty socket.
        if stream.write(&guest.output).ok() != Some(guest.output.len()) {
            return false;
        }
        guest.output.clear();
        let Stream::Plain(socket) = stream else { return false };
        let mut early: &[u8] = &guest.input;
        while !early.is_empty() {
            if session.read_tls(&mut (&mut early as &mut dyn Read)).is_err() || session.process_new_packets().is_err() {
                return false;
            }
        }
        guest.input.clear();
        guest.context.tls = true;
        let mut stream = Stream::accept_tls(socket, session);
        let flushed = stream.flush().is_ok();
        guest.stream = Some(stream);
        flushed
    }

    fn hand_over(&mut self, place: usize, session: Box<P::Client>, key: crate::protocol::PoolKey) {
        let limit = self.guests[place].service.protocol.settings().max_client_connections;
        let open = self.stats.open.load(Ordering::Relaxed);
        if open > u64::from(limit) {
            let text = format!("{open} clients are connected, max_client_connections is {limit}");
            return self.refuse(place, &Refusal::TooManyClients(text), ClientClose::TooManyClients);
        }
        let mut guest = self.guests.remove(place);
        let Some(mut stream) = guest.stream.take() else { return };
        let _ = self.poll.registry().deregister(stream.socket());
        let arrival = Arrival {
            stream,
            peer: guest.peer,
            session,
            key,
            input: std::mem::take(&mut guest.input),
            output: std::mem::take(&mut guest.output),
        };
        self.mailbox.send(Mail::Arrived(Box::new(arrival)));
    }

    fn refuse(&mut self, place: usize, refusal: &Refusal, reason: ClientClose) {
        let guest = &mut self.guests[place];
        guest.service.protocol.refuse_login(&mut guest.login, refusal, &mut guest.output);
        if let Some(stream) = &mut guest.stream {
            let _ = stream.write(&guest.output);
        }
        self.drop_guest(place, reason);
    }

    fn drop_guest(&mut self, place: usize, reason: ClientClose) {
        let guest = self.guests.remove(place);
        self.stats.open.fetch_sub(1, Ordering::Relaxed);
        match reason {
            ClientClose::AuthFailed => {
                self.stats.failed_auth.fetch_add(1, Ordering::Relaxed);
            }
            ClientClose::CancelRequest => {}
            _ => {
                self.stats.failed_other.fetch_add(1, Ordering::Relaxed);
            }
        }
        if reason == ClientClose::AuthFailed {
            log::event(Level::Warn, "login-failed", &[("peer", &guest.peer), ("reason", &"auth-failed")]);
        } else if log::enabled(Level::Debug) {
            let word = format!("{reason:?}");
            log::event(Level::Debug, "login-ended", &[("peer", &guest.peer), ("reason", &word)]);
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<usize> =
            self.guests.iter().filter(|(_, guest)| guest.deadline <= now).map(|(place, _)| place).collect();
        for place in late {
            self.drop_guest(place, ClientClose::LoginTimeout);
        }
    }

    fn turn_away(&mut self) {
        self.listener = None;
        let places: Vec<usize> = self.guests.iter().map(|(place, _)| place).collect();
        for place in places {
            self.refuse(place, &Refusal::Draining, ClientClose::Drained);
        }
    }
}
