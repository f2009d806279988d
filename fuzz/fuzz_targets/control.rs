//! A request to the control socket.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    // What ends a line is not part of it.
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if let Ok(line) = str::from_utf8(line) {
        fuzzing::control(line);
    }
});
