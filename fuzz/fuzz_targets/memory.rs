//! Files of one-time doors: what they remember, lists of sequences, secrets.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use postern::fuzzing;
use postern_core::config::Config;
use postern_core::door::Door;

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let text = "
config postern 'global'
	list interface 'wan'
config door 'ssh'
	list guard 'tcp:22'
	option method 'one-time-seed'
	option secret_file '/secret'
";
    let config = Config::parse(text.as_bytes(), |_| {}).expect("a configuration");
    config.doors[0].clone()
});

fuzz_target!(|content: &[u8]| fuzzing::memory(content, &DOOR));
