//! The tracker finds the end of real servers' responses, however their bytes are split.

use proptest::prelude::*;
use warmline_wire::mysql::{Malformed, Step, Tracker};

struct Response {
    name: String,
    deprecate_eof: bool,
    command: u8,
    bytes: Vec<u8>,
}

fn responses() -> Vec<Response> {
    include_str!("mysql_responses.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let [engine, eof, name, command, bytes] = fields[..] else { panic!("five fields: {line}") };
            Response {
                name: format!("{engine} {name} (DEPRECATE_EOF {eof})"),
                deprecate_eof: eof == "1",
                command: u8::from_str_radix(command, 16).unwrap(),
                bytes: (0..bytes.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap())
                    .collect(),
            }
        })
        .collect()
}

/// Feed `bytes`, of which more arrive at each of `cuts`. Returns what was found, passes merged, and the bytes consumed.
fn follow(response: &Response, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<Step>, usize), Malformed> {
    let mut tracker = Tracker::new(response.command, response.deprecate_eof, true).expect("a command with a response");
    let (mut steps, mut consumed) = (Vec::new(), 0);
    for end in cuts.iter().copied().chain([bytes.len()]) {
        loop {
            let step = tracker.step(&bytes[consumed..end])?;
            consumed += match step {
                Step::More => break,
                Step::Pass(length)
                | Step::Ok { length, .. }
                | Step::Eof { length, .. }
                | Step::Err { length }
                | Step::Prepared { length, .. }
                | Step::LocalInfile { length } => length,
            };
            match (steps.last_mut(), step) {
                (Some(Step::Pass(before)), Step::Pass(length)) => *before += length,
                _ => steps.push(step),
            }
            if matches!(step, Step::LocalInfile { .. }) {
                return Ok((steps, consumed));
            }
        }
    }
    assert_eq!(tracker.is_done(), consumed == response.bytes.len(), "{}", response.name);
    Ok((steps, consumed))
}

#[test]
fn the_end_of_every_captured_response_is_found_at_its_last_byte() {
    let responses = responses();
    assert_eq!(responses.len(), 136);
    for response in responses {
        // What follows belongs to the next response and must not be touched.
        let mut bytes = response.bytes.clone();
        bytes.extend_from_slice(&[1, 0, 0, 1, 0xff]);
        let (steps, consumed) =
            follow(&response, &bytes, &[]).unwrap_or_else(|error| panic!("{}: {error}", response.name));
        assert_eq!(consumed, response.bytes.len(), "{}: {steps:?}", response.name);
    }
}

#[test]
fn a_response_split_at_any_byte_gives_the_same_steps() {
    for response in responses() {
        let whole = follow(&response, &response.bytes, &[]).unwrap();
        for cut in 0..response.bytes.len() {
            assert_eq!(follow(&response, &response.bytes, &[cut]).unwrap(), whole, "{} cut at {cut}", response.name);
        }
        let every: Vec<_> = (0..response.bytes.len()).collect();
        assert_eq!(follow(&response, &response.bytes, &every).unwrap(), whole, "{} byte by byte", response.name);
    }
}

#[test]
fn a_row_of_sixteen_megabytes_whose_continuation_looks_like_an_end_is_a_row() {
    let mut bytes = b"\x01\0\0\x01\x01".to_vec();
    bytes.extend_from_slice(b"\x03\0\0\x02def");
    bytes.extend_from_slice(b"\xff\xff\xff\x03\xfe");
    bytes.resize(bytes.len() + 0xff_fffe, b'x');
    bytes.extend_from_slice(b"\x07\0\0\x04\xfe\0\0\x02\0\0\0"); // the row's last seven bytes
    bytes.extend_from_slice(b"\x07\0\0\x05\xfe\0\0\x02\0\0\0"); // the real end
    let response = Response { name: "long row".into(), deprecate_eof: true, command: 3, bytes: bytes.clone() };
    let (steps, consumed) = follow(&response, &bytes, &[100, 0xff_ffff]).unwrap();
    assert_eq!(steps, [Step::Pass(bytes.len() - 11), Step::Ok { length: 11, end: true }]);
    assert_eq!(consumed, bytes.len());
}

#[test]
fn a_reply_longer_than_any_server_sends_is_refused_before_it_is_waited_for() {
    let mut tracker = Tracker::new(3, true, true).unwrap();
    assert!(tracker.step(b"\xff\xff\x7f\x01\xff").is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_tracker_panic_or_claim_more_than_it_was_given(
        command: u8, deprecate_eof: bool, session_track: bool, bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400,
    ) {
        let Some(mut tracker) = Tracker::new(command, deprecate_eof, session_track) else { return Ok(()) };
        let mut consumed = 0;
        for end in [cut.min(bytes.len()), bytes.len()] {
            loop {
                match tracker.step(&bytes[consumed..end]) {
                    Ok(Step::More) => break,
                    Ok(Step::Pass(length) | Step::Ok { length, .. } | Step::Eof { length, .. } | Step::Err { length }
                        | Step::Prepared { length, .. } | Step::LocalInfile { length }) => {
                        prop_assert!(length > 0 && consumed + length <= end);
                        consumed += length;
                    }
                    Err(_) => return Ok(()),
                }
            }
        }
    }
}
