//! A request to the control socket.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(line) = str::from_utf8(bytes) {
        fuzzing::control(line);
    }
});
