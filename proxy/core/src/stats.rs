//! Counters and histograms of one reactor: plain numbers, written by one thread, copied out on request.

use crate::reason::PinReason;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A log-linear histogram of microseconds: 8 buckets an octave (12 % wide), 1 µs to 134 s and one for longer.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    sum_us: u64,
    count: u64,
}

const BUCKETS: usize = 27 * 8;

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], sum_us: 0, count: 0 }
    }
}

impl Histogram {
    /// Add one value.
    pub fn record(&mut self, value: Duration) {
        let us = value.as_micros() as u64;
        self.sum_us += us;
        self.count += 1;
        self.buckets[Self::bucket(us)] += 1;
    }

    fn bucket(us: u64) -> usize {
        if us < 8 {
            return us as usize;
        }
        let octave = 63 - us.leading_zeros() as usize; // 3 or more
        let within = (us >> (octave - 3)) as usize & 7;
        ((octave - 2) * 8 + within).min(BUCKETS - 1)
    }

    /// The upper edge of a bucket, microseconds, exclusive.
    fn edge(bucket: usize) -> u64 {
        if bucket < 8 {
            return bucket as u64 + 1;
        }
        let (octave, within) = (bucket / 8 + 2, bucket % 8);
        (8 + within as u64 + 1) << (octave - 3)
    }

    /// The smallest edge that *quantile* (0..=1) of the values lie below, microseconds; 0 when there are none.
    pub fn quantile_us(&self, quantile: f64) -> u64 {
        let wanted = (quantile * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Self::edge(bucket);
            }
        }
        0
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of all values, microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Number of values below *edge_us*, which must be a power of two.
    pub fn below(&self, edge_us: u64) -> u64 {
        self.buckets
            .iter()
            .enumerate()
            .filter(|(bucket, _)| Self::edge(*bucket) <= edge_us)
            .map(|(_, count)| count)
            .sum()
    }
}

/// What one reactor counts.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Statements that clients began.
    pub query_requests: u64,
    /// The same, of clients with TLS.
    pub query_requests_tls: u64,
    /// Client connections that ended.
    pub client_connections_closed: u64,
    /// Logins that succeeded.
    pub client_setup_succeeded: u64,
    /// Requests for a server connection.
    pub borrow_requests: u64,
    /// The same, of clients with TLS.
    pub borrow_requests_tls: u64,
    /// Requests that had to wait.
    pub borrow_waits: u64,
    /// Requests that ended with the borrow timeout.
    pub borrow_timeouts: u64,
    /// Server connections opened.
    pub server_setup_succeeded: u64,
    /// Server connections that could not be opened.
    pub server_setup_failed: u64,
    /// Server connections closed, by reason.
    pub server_closed: BTreeMap<String, u64>,
    /// Client connections closed, by reason.
    pub client_closed: BTreeMap<String, u64>,
    /// Pins that began, by reason.
    pub pins: BTreeMap<PinReason, u64>,
    /// Bytes from clients.
    pub client_bytes_in: u64,
    /// Bytes to clients.
    pub client_bytes_out: u64,
    /// Time from asking for a server connection to having it.
    pub borrow_wait: Histogram,
    /// Time from reading a statement to the last byte of its answer.
    pub query_latency: Histogram,
    /// Time from sending a statement to the server to the last byte of its answer.
    pub server_latency: Histogram,
}

/// What the door counts, shared with the reactor that reports it.
#[derive(Debug, Default)]
pub struct DoorStats {
    /// Connections accepted.
    pub received: AtomicU64,
    /// Logins refused for a wrong user or password.
    pub failed_auth: AtomicU64,
    /// Logins ended for another reason.
    pub failed_other: AtomicU64,
    /// Client connections now open, logins included.
    pub open: AtomicU64,
    /// Logins in progress.
    pub logins: AtomicU64,
}

/// The summary of a histogram in JSON.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Number of values.
    pub count: u64,
    /// Mean, microseconds.
    pub mean_us: f64,
    /// Median, microseconds.
    pub p50_us: u64,
    /// 95th percentile, microseconds.
    pub p95_us: u64,
    /// 99th percentile, microseconds.
    pub p99_us: u64,
}

impl From<&Histogram> for Summary {
    fn from(histogram: &Histogram) -> Self {
        let count = histogram.count();
        Self {
            count,
            mean_us: if count == 0 { 0.0 } else { histogram.sum_us() as f64 / count as f64 },
            p50_us: histogram.quantile_us(0.5),
            p95_us: histogram.quantile_us(0.95),
            p99_us: histogram.quantile_us(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;
    use std::time::Duration;

    #[test]
    fn a_quantile_is_never_below_its_value_and_at_most_an_eighth_above() {
        for us in [1_u64, 7, 8, 9, 100, 1023, 1024, 99_999, 5_000_000] {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_micros(us));
            let found = histogram.quantile_us(0.5);
            assert!(found > us && found as f64 <= us as f64 * 1.126 + 1.0, "{us} became {found}");
        }
    }

    #[test]
    fn values_below_an_edge_are_counted_once() {
        let mut histogram = Histogram::default();
        for us in 0..4096 {
            histogram.record(Duration::from_micros(us));
        }
        assert_eq!(histogram.below(1024), 1024);
        assert_eq!(histogram.below(4096), 4096);
    }
}
