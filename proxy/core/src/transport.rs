//! Sockets, plain or TLS: the non-blocking [`Stream`] of the reactor and the blocking [`Blocking`] of helper threads.

use mio::net::TcpStream;
use rustls::{ClientConnection, Connection, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream as StdStream;
use std::time::{Duration, Instant};

/// A non-blocking connection.
#[derive(Debug)]
pub enum Stream {
    /// No encryption.
    Plain(TcpStream),
    /// TLS, either side.
    Tls(Box<Tls>),
}

/// A TLS session and its socket.
#[derive(Debug)]
pub struct Tls {
    socket: TcpStream,
    session: Connection,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes read; never 0, the end of the stream is an error of kind `UnexpectedEof`.
    pub bytes: usize,
    /// There may be more to read right now.
    pub more: bool,
}

impl Stream {
    /// Wrap *socket* as the server side of TLS.
    pub fn accept_tls(socket: TcpStream, session: ServerConnection) -> Self {
        Self::Tls(Box::new(Tls { socket, session: Connection::Server(session) }))
    }

    /// The socket, to register it.
    pub fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &mut tls.socket,
        }
    }

    /// True for TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Read what is there. `WouldBlock` when nothing is; `UnexpectedEof` at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        match self {
            Self::Plain(socket) => loop {
                match socket.read(buffer) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    // A short read has emptied a stream socket (epoll(7)): no second read just to see EAGAIN.
                    Ok(bytes) => return Ok(Received { bytes, more: bytes == buffer.len() }),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            },
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Write as much of *bytes* as goes; 0 when the socket is full.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => loop {
                match socket.write(bytes) {
                    Ok(written) => return Ok(written),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            },
            Self::Tls(tls) => {
                let mut written = 0;
                loop {
                    let taken = tls.session.writer().write(&bytes[written..])?;
                    written += taken;
                    let flushed = tls.flush()?;
                    // Nothing taken but everything flushed: the session was full of earlier bytes and has room now. Stopping
                    // here would wait for a socket that is writable already.
                    if written == bytes.len() || !flushed {
                        return Ok(written);
                    }
                }
            }
        }
    }

    /// Push out what TLS holds back; true when nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match self.session.reader().read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => return Ok(Received { bytes, more: true }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Err(error) = self.session.process_new_packets() {
                let _ = self.flush(); // the alert that says why; the connection is lost either way
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
            if self.session.wants_write() {
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// A blocking connection with one deadline over everything done with it; for dialing on helper threads.
pub struct Blocking {
    socket: StdStream,
    tls: Option<ClientConnection>,
    deadline: Instant,
}

impl Blocking {
    /// Use *socket* until *deadline*.
    pub fn new(socket: StdStream, deadline: Instant) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self { socket, tls: None, deadline })
    }

    /// Do the TLS handshake now; everything after is encrypted.
    pub fn start_tls(&mut self, mut session: ClientConnection) -> io::Result<()> {
        while session.is_handshaking() {
            self.arm()?;
            session.complete_io(&mut self.socket)?;
        }
        self.tls = Some(session);
        Ok(())
    }

    /// The TLS session, for its certificates.
    pub fn tls(&self) -> Option<&ClientConnection> {
        self.tls.as_ref()
    }

    /// Hand it to the reactor: non-blocking from here.
    pub fn into_stream(self) -> io::Result<Stream> {
        self.socket.set_read_timeout(None)?;
        self.socket.set_write_timeout(None)?;
        self.socket.set_nonblocking(true)?;
        let socket = TcpStream::from_std(self.socket);
        Ok(match self.tls {
            None => Stream::Plain(socket),
            Some(session) => Stream::Tls(Box::new(Tls { socket, session: Connection::Client(session) })),
        })
    }

    fn arm(&self) -> io::Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let left = left.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(left))?;
        self.socket.set_write_timeout(Some(left))
    }
}

impl Read for Blocking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.arm()?;
        match &mut self.tls {
            None => self.socket.read(buffer),
            Some(session) => rustls::Stream::new(session, &mut self.socket).read(buffer),
        }
    }
}

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.arm()?;
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(session) => rustls::Stream::new(session, &mut self.socket).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.flush(),
            Some(session) => rustls::Stream::new(session, &mut self.socket).flush(),
        }
    }
}
