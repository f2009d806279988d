//! Datagrams of NFLOG, and the packets in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::fuzzing;

fuzz_target!(|datagram: &[u8]| fuzzing::nflog(datagram));
