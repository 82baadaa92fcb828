//! Helper threads for what blocks: opening server connections and interrupting statements.

use crate::protocol::{DialError, DialErrorKind, Dialed, PoolKey, Protocol};
use crate::reactor::{Mail, Mailbox};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Work for a helper thread.
pub enum Job<P: Protocol> {
    /// Open a server connection for a pool.
    Dial {
        /// The pool's place.
        pool: usize,
        /// Its key.
        key: PoolKey,
        /// The protocol with the settings of now.
        protocol: Arc<P>,
    },
    /// Interrupt the statement a server connection is running.
    Interrupt {
        /// The server connection's place.
        server: usize,
        /// Its serial number.
        serial: u64,
        /// What to interrupt.
        what: P::Interrupt,
        /// The protocol with the settings of now.
        protocol: Arc<P>,
    },
}

/// The helper threads of one reactor; they end when this is dropped.
pub struct Dialer<P: Protocol> {
    dials: Sender<Job<P>>,
    interrupts: Sender<Job<P>>,
}

/// Interrupts have threads of their own so that they never queue behind slow dials.
const INTERRUPT_THREADS: u32 = 2;
const STACK_BYTES: usize = 512 * 1024;

impl<P: Protocol> Dialer<P> {
    /// Start *threads* helper threads that report to *mailbox*.
    pub fn start(threads: u32, mailbox: &Mailbox<P>) -> Self {
        let (dials, dial_queue) = channel();
        let (interrupts, interrupt_queue) = channel();
        spawn("dial", threads, dial_queue, mailbox);
        spawn("interrupt", INTERRUPT_THREADS, interrupt_queue, mailbox);
        Self { dials, interrupts }
    }

    /// Queue a job.
    pub fn submit(&self, job: Job<P>) {
        let queue = if matches!(job, Job::Dial { .. }) { &self.dials } else { &self.interrupts };
        // The threads live as long as this sender; a send cannot fail before.
        let _ = queue.send(job);
    }
}

fn spawn<P: Protocol>(name: &str, threads: u32, queue: Receiver<Job<P>>, mailbox: &Mailbox<P>) {
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..threads {
        let (queue, mailbox) = (Arc::clone(&queue), mailbox.clone());
        let work = move || loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match job {
                Ok(job) => perform(job, &mailbox),
                Err(_) => return,
            }
        };
        std::thread::Builder::new()
            .name(format!("warmline-{name}"))
            .stack_size(STACK_BYTES)
            .spawn(work)
            .expect("a thread can be started at start-up");
    }
}

fn perform<P: Protocol>(job: Job<P>, mailbox: &Mailbox<P>) {
    match job {
        Job::Dial { pool, key, protocol } => {
            let limit = Duration::from_secs_f64(protocol.settings().server_connect_timeout_s);
            let began = Instant::now();
            let attempt = || protocol.dial(&key, began + limit);
            let outcome: Result<Dialed<P>, DialError> = catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|_| {
                Err(DialError {
                    kind: DialErrorKind::Unreachable,
                    code: String::new(),
                    message: "the target's answer to the login could not be understood".into(),
                })
            });
            mailbox.send(Mail::Dialed { pool, outcome: outcome.map(Box::new) });
        }
        Job::Interrupt { server, serial, what, protocol } => {
            let limit = Duration::from_secs_f64(protocol.settings().server_connect_timeout_s);
            let attempt = || protocol.interrupt(&what, Instant::now() + limit);
            let _ = catch_unwind(AssertUnwindSafe(attempt));
            mailbox.send(Mail::Interrupted { server, serial });
        }
    }
}
