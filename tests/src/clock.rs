//! Wrong clocks. The kernel's own clock is everybody's, so one program is told another time. Needs `gcc`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::agent::{Agent, Setup};
use crate::process::run;
use crate::scratch::Scratch;
use crate::topology::Host;

/// What stands between the program and the clock.
fn preload() -> &'static PathBuf {
    static LIBRARY: OnceLock<(Scratch, PathBuf)> = OnceLock::new();
    let (_, library) = LIBRARY.get_or_init(|| {
        let scratch = Scratch::new();
        let source = scratch.write("clock.c", include_str!("clock.c"));
        let library = scratch.join("clock.so");
        let mut gcc = Command::new("gcc");
        gcc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
        run(gcc.arg(source), "").ok();
        (scratch, library)
    });
    library
}

/// Seconds since 1970, as everybody else has it.
///
/// # Panics
/// Before 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a time after 1970").as_secs().cast_signed()
}

/// Sets the clock of an agent that is started by [`start`]: so many seconds ahead.
///
/// # Panics
/// When it cannot be written down.
pub fn set(setup: &Setup, offset: i64) {
    let file = setup.path("offset");
    // Replaced as a whole: it is read at any moment.
    let new = setup.path("offset.new");
    std::fs::write(&new, offset.to_string()).expect("write a file");
    std::fs::rename(new, file).expect("rename a file");
}

/// Starts an agent whose clock [`set`] sets.
#[track_caller]
pub fn start<'t>(setup: &'t Setup, router: &'t Host) -> Agent<'t> {
    let file = setup.path("offset");
    let words = [
        "env".to_string(),
        format!("LD_PRELOAD={}", preload().display()),
        format!("CLOCK_OFFSET={}", file.display()),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    setup.start_by(&words, router)
}
