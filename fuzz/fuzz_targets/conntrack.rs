//! Answers about tracked connections.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::fuzzing;

fuzz_target!(|datagram: &[u8]| fuzzing::conntrack(datagram));
