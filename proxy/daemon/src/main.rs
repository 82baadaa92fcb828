//! The `warmline-proxyd` program: arguments, signals, start; nothing else.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use warmline_core::engine::Engine;
use warmline_core::log::{self, Level};
use warmline_core::mysql::Mysql;
use warmline_core::postgres::Postgres;
use warmline_core::protocol::Protocol;
use warmline_core::settings::Settings;

const USAGE: &str = "\
usage: warmline-proxyd SETTINGS.toml [--check] [--log-level debug|info|warn|error] [--log-format text|json]
       warmline-proxyd --version

Signals: SIGTERM and SIGINT drain and stop, a second one stops at once; SIGHUP reads the settings again.
";

struct Arguments {
    file: PathBuf,
    check: bool,
    level: Level,
    json: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut file = None;
    let mut parsed = Arguments { file: PathBuf::new(), check: false, level: Level::Info, json: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--check" => parsed.check = true,
            "--log-level" => {
                parsed.level = match words.next().as_deref() {
                    Some("debug") => Level::Debug,
                    Some("info") => Level::Info,
                    Some("warn") => Level::Warn,
                    Some("error") => Level::Error,
                    other => {
                        return Err(format!("--log-level {}: debug, info, warn or error", other.unwrap_or_default()))
                    }
                }
            }
            "--log-format" => match words.next().as_deref() {
                Some("json") => parsed.json = true,
                Some("text") => parsed.json = false,
                other => return Err(format!("--log-format {}: text or json", other.unwrap_or_default())),
            },
            "--version" => {
                println!("warmline-proxyd {}", env!("CARGO_PKG_VERSION"));
                std::process::exit(0);
            }
            "-h" | "--help" => {
                print!("{USAGE}");
                std::process::exit(0);
            }
            option if option.starts_with('-') => return Err(format!("unknown option {option}\n{USAGE}")),
            path if file.is_none() => file = Some(PathBuf::from(path)),
            other => return Err(format!("one settings file, not also {other}\n{USAGE}")),
        }
    }
    parsed.file = file.ok_or(USAGE)?;
    Ok(parsed)
}

fn serve<P: Protocol>(settings: Settings, file: PathBuf) -> Result<(), String> {
    // Before any thread starts, so that signals reach only the iterator below.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(|error| error.to_string())?;
    let engine = Engine::<P>::start(settings, Some(file))?;
    let watched = Arc::clone(&engine);
    let handle = signals.handle();
    let watcher = std::thread::spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => watched.reload(),
                SIGTERM | SIGINT if asked => std::process::exit(1),
                SIGTERM | SIGINT => {
                    asked = true;
                    watched.drain();
                }
                _ => {}
            }
        }
    });
    while !engine.finished() {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    handle.close();
    let _ = watcher.join();
    Ok(())
}

fn run() -> Result<(), String> {
    let arguments = arguments()?;
    log::configure(arguments.level, arguments.json);
    let path = &arguments.file;
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let settings = Settings::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if arguments.check {
        println!("{}", serde_json::to_string_pretty(&settings).unwrap_or_default());
        return Ok(());
    }
    match settings.target.protocol.as_str() {
        "postgres" => serve::<Postgres>(settings, arguments.file),
        _ => serve::<Mysql>(settings, arguments.file),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("warmline-proxyd: {error}");
            ExitCode::from(2)
        }
    }
}
