//! What netifd says over ubus.

#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::fuzzing;

fuzz_target!(|body: &[u8]| fuzzing::ubus(body));
