//! Structured logs: one line an event on standard error, `time level event key=value …` (logfmt) or JSON.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every client and server connection.
    Debug,
    /// Starts, stops, pins, reloads.
    Info,
    /// Something an operator should look at: refused clients, lost servers.
    Warn,
    /// The proxy cannot do its work.
    Error,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static JSON: AtomicBool = AtomicBool::new(false);

/// Log events of *level* and above; as JSON lines if *json*.
pub fn configure(level: Level, json: bool) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    JSON.store(json, Ordering::Relaxed);
}

/// True when events of *level* are logged: ask before formatting anything expensive.
pub fn enabled(level: Level) -> bool {
    level as u8 >= LEVEL.load(Ordering::Relaxed)
}

/// Milliseconds since the epoch, for people; never for measuring.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Log one event with its fields.
pub fn event(level: Level, name: &str, fields: &[(&str, &dyn Display)]) {
    if !enabled(level) {
        return;
    }
    let word = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let mut line = String::with_capacity(160);
    if JSON.load(Ordering::Relaxed) {
        let mut object = serde_json::Map::new();
        object.insert("time".into(), rfc3339(wall_ms()).into());
        object.insert("level".into(), word.into());
        object.insert("event".into(), name.into());
        for (key, value) in fields {
            object.insert((*key).into(), value.to_string().into());
        }
        line = serde_json::Value::Object(object).to_string();
    } else {
        let _ = write!(line, "{} {word} {name}", rfc3339(wall_ms()));
        for (key, value) in fields {
            let text = value.to_string();
            if text.is_empty() || text.contains([' ', '"', '=', '\n']) {
                let _ = write!(line, " {key}={text:?}");
            } else {
                let _ = write!(line, " {key}={text}");
            }
        }
    }
    line.push('\n');
    // A full or closed standard error must not stop the proxy.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// `2026-11-22T14:00:00.000Z` of milliseconds since the epoch.
pub fn rfc3339(ms: u64) -> String {
    let (days, in_day) = ((ms / 86_400_000) as i64, ms % 86_400_000);
    // Days to civil date, proleptic Gregorian (era of 400 years beginning in March).
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", in_day % 1000)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn known_moments_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_826_209_007), "2000-02-29T12:10:09.007Z");
        assert_eq!(rfc3339(1_795_359_600_000), "2026-11-22T15:00:00.000Z");
    }
}
