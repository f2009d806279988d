//! Tests that a machine cannot run: said, and a failure where it is known to have everything.

use core::fmt::Display;
use std::env;

use nix::unistd::Uid;

/// Set to have such a test fail, as in tests/src/suite.rs.
const SKIP_NOTHING: &str = "POSTERN_TESTS_SKIP_NOTHING";

/// Says that a test, or the rest of it, is left out for want of something.
#[track_caller]
pub(crate) fn skip(lack: impl Display) {
    say(lack, env::var_os(SKIP_NOTHING).is_some());
}

/// Says that a test is left out for want of what nothing that could be installed gives to a kernel: no failure
/// anywhere.
pub(crate) fn skip_for_the_kernel(lack: impl Display) {
    say(lack, false);
}

/// Whether the test may do what only root may; else it is skipped.
#[track_caller]
pub(crate) fn may_as_root() -> bool {
    let is_root = Uid::effective().is_root();
    if !is_root {
        skip("it takes root");
    }
    is_root
}

#[track_caller]
fn say(lack: impl Display, is_forbidden: bool) {
    assert!(!is_forbidden, "SKIPPED: {lack}");
    eprintln!("SKIPPED: {lack}");
}

#[test]
#[should_panic = "SKIPPED: no such thing"]
fn nothing_is_skipped_where_that_is_forbidden() {
    say("no such thing", true);
}

/// Every test that is left out is left out here, where it can be forbidden.
#[test]
fn no_test_skips_by_itself() {
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with(file!().rsplit('/').next().unwrap()) {
                let text = std::fs::read_to_string(&path).unwrap();
                for sign in [
                    "\"SKIPPED",
                    "\"skipped",
                    "effective_user() != 0",
                    "Uid::effective()",
                ] {
                    assert!(!text.contains(sign), "{} has {sign}", path.display());
                }
            }
        }
    }
}
