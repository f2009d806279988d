//! Lines of the kernel's log, as every log daemon hands them on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_core::kernlog::{self, Line};

fuzz_target!(|bytes: &[u8]| {
    let line = kernlog::line(bytes);
    let record = kernlog::record(bytes);
    // Whoever says what our rules do not say is nobody we know.
    for line in [Some(line), record.map(|(_, line)| line)]
        .into_iter()
        .flatten()
    {
        if !matches!(line, Line::Foreign) {
            let ours = b"postern";
            assert!(bytes.windows(ours.len()).any(|window| window == ours));
        }
    }
});
