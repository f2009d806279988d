//! UCI's grammar: what core reads is what libuci reads, what it refuses is refused.

#![no_main]

use core::ffi::{c_char, c_int, c_long};

use libfuzzer_sys::{Corpus, fuzz_target};
use postern_core::uci::MAX_WORD;
use postern_tests::uci::{Model, Unlike};

const ROOM: usize = 1 << 20;

unsafe extern "C" {
    /// What `uci export` prints of a file, and its length; negative: it refuses the file, at the line.
    fn postern_uci_export(
        text: *const c_char,
        length: usize,
        to: *mut c_char,
        room: usize,
        line: *mut c_int,
    ) -> c_long;
}

fn libuci(text: &[u8]) -> Result<String, u32> {
    let mut exported = vec![0_u8; ROOM];
    let mut line = 0;
    // SAFETY: libuci reads as many bytes as there are, and writes no more than there is room for.
    let length = unsafe {
        postern_uci_export(
            text.as_ptr().cast(),
            text.len(),
            exported.as_mut_ptr().cast(),
            ROOM,
            &raw mut line,
        )
    };
    match usize::try_from(length) {
        Ok(length) => {
            exported.truncate(length);
            Ok(String::from_utf8_lossy(&exported).into_owned())
        }
        Err(_) => Err(u32::try_from(line).unwrap_or_default()),
    }
}

fuzz_target!(|text: &[u8]| -> Corpus {
    // Core refuses beyond libuci what hides the rest of a line, what is no text, and words that are too long.
    if text.contains(&0) || str::from_utf8(text).is_err() || text.len() > MAX_WORD {
        return Corpus::Reject;
    }
    let model = Model::read(text);
    if matches!(model, Err(Unlike::Beyond | Unlike::OpenedThrice)) {
        return Corpus::Keep;
    }
    match (model, libuci(text)) {
        (Ok(model), Ok(exported)) => assert_eq!(model.export("file"), exported),
        (Ok(_), Err(line)) => panic!("libuci refuses line {line}"),
        (Err(Unlike::Refused(line)), Err(gave_up)) => {
            // A line without an end is not counted there.
            let last = gave_up + u32::from(!text.ends_with(b"\n"));
            assert!(line <= last, "line {line}, or {gave_up}");
        }
        (Err(why), Ok(exported)) => panic!("{why:?}, but libuci reads\n{exported}"),
        (Err(_), Err(_)) => {}
    }
    Corpus::Keep
});
