//! Pools: which server connections exist for a key, which are free, and who waits for one, in order.
//!
//! A pool decides nothing about sockets: it holds indices of connections that the reactor owns. Free connections are a
//! stack (most recently used first, so that the surplus grows old and is closed); waiters are a queue.

use crate::protocol::{DialError, PoolKey};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// How many free connections are looked at for one that already has the client's session state.
const AFFINITY_DEPTH: usize = 8;

/// A client that waits for a server connection.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    /// Its place in the reactor's slab.
    pub client: usize,
    /// Its serial number: a place may have been taken over by another client.
    pub serial: u64,
    /// When it began to wait.
    pub since: Instant,
}

/// One pool.
#[derive(Debug)]
pub struct Pool<T> {
    /// What its connections have in common.
    pub key: PoolKey,
    /// Free server connections, most recently used last.
    pub idle: Vec<usize>,
    /// Clients in the order of their asking.
    pub waiters: VecDeque<Waiter>,
    /// Waiters that still wait (left ones stay in the queue until it reaches them).
    pub waiting: usize,
    /// Clients that finished their login before the first server connection did.
    pub arrivals: Vec<(usize, u64)>,
    /// Server connections open, free or borrowed.
    pub open: usize,
    /// Server connections being opened.
    pub dialing: usize,
    /// Clients of this pool.
    pub clients: usize,
    /// What clients are told about the server, once known.
    pub template: Option<Arc<T>>,
    /// After a failed dial: not before this.
    pub retry_at: Option<Instant>,
    /// Failed dials in a row.
    pub failures: u32,
    /// The last failure, for error messages and the admin socket.
    pub last_error: Option<DialError>,
}

impl<T> Pool<T> {
    /// An empty pool.
    pub fn new(key: PoolKey) -> Self {
        Self {
            key,
            idle: Vec::new(),
            waiters: VecDeque::new(),
            waiting: 0,
            arrivals: Vec::new(),
            open: 0,
            dialing: 0,
            clients: 0,
            template: None,
            retry_at: None,
            failures: 0,
            last_error: None,
        }
    }

    /// Take the most recently used free connection, or one of the last few that *suits* better.
    pub fn take_idle(&mut self, suits: impl Fn(usize) -> bool) -> Option<usize> {
        let from = self.idle.len().saturating_sub(AFFINITY_DEPTH);
        match (from..self.idle.len()).rev().find(|place| suits(self.idle[*place])) {
            Some(place) => Some(self.idle.remove(place)),
            None => self.idle.pop(),
        }
    }

    /// Forget a free connection that was closed.
    pub fn forget_idle(&mut self, server: usize) {
        self.idle.retain(|place| *place != server);
    }

    /// Clients that want something of this pool now.
    pub fn wanted(&self) -> usize {
        self.waiting + usize::from(!self.arrivals.is_empty() && self.template.is_none())
    }

    /// How long to pause after the failures so far: 50 ms doubling to 2 s.
    pub fn backoff_ms(&self) -> u64 {
        (50_u64 << self.failures.min(6)).min(2000)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pool, PoolKey};

    fn pool() -> Pool<()> {
        Pool::new(PoolKey { user: "u".into(), database: "d".into(), class: 0 })
    }

    #[test]
    fn the_most_recently_used_connection_is_taken_first() {
        let mut pool = pool();
        pool.idle = vec![1, 2, 3];
        assert_eq!(pool.take_idle(|_| false), Some(3));
        assert_eq!(pool.take_idle(|_| false), Some(2));
    }

    #[test]
    fn one_with_the_same_state_is_preferred_and_the_order_of_the_rest_kept() {
        let mut pool = pool();
        pool.idle = vec![1, 2, 3, 4];
        assert_eq!(pool.take_idle(|server| server == 2), Some(2));
        assert_eq!(pool.idle, [1, 3, 4]);
    }
}
