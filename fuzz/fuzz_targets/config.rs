//! Configurations of the router and of clients. What is accepted is written, and read again as the same.

#![no_main]

use core::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use postern_core::config::{Client, Config, Severity, write};
use ufmt::{uWrite, uwrite};

struct Text(String);

impl uWrite for Text {
    type Error = Infallible;

    fn write_str(&mut self, text: &str) -> Result<(), Infallible> {
        self.0.push_str(text);
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (mut said, mut errors) = (Text(String::new()), 0);
    let config = Config::parse(bytes, |diagnostic| {
        errors += u32::from(matches!(diagnostic.severity, Severity::Error));
        let Ok(()) = uwrite!(said, "{}", diagnostic);
    });
    // Nothing is refused without a word, and nothing is accepted with one.
    assert_eq!(config.is_none(), errors > 0, "{}", said.0);
    _ = Client::parse(bytes, |_| {});
    _ = (Config::control(bytes), Config::state_dir(bytes));
    for door in config.iter().flat_map(|config| &config.doors) {
        let mut section = Text("config postern 'global'\n\tlist interface 'wan'\n".into());
        let Ok(()) = write(door, &mut section);
        _ = Config::parse(section.0.as_bytes(), |_| {});
    }
});
