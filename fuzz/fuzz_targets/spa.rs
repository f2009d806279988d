//! Datagrams of fwknop's protocol: of those who have no keys, of those who have them and write what they like, and of
//! those who change one on its way.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use postern::fuzzing::Datagrams;

thread_local! {
    static DATAGRAMS: RefCell<Datagrams> = RefCell::new(Datagrams::new());
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let door = usize::from(kind / 4);
    DATAGRAMS.with_borrow_mut(|datagrams| match (kind % 4, rest) {
        (0, payload) => datagrams.forged(payload),
        (1, plaintext) => datagrams.sealed(door, plaintext, None),
        (2, [padding, plaintext @ ..]) => datagrams.sealed(door, plaintext, Some(*padding)),
        (_, [at, to, plaintext @ ..]) => {
            datagrams.changed(door, plaintext, usize::from(*at) * 2, *to)
        }
        _ => {}
    });
});
