//! What comes true by itself, but not at once.
//!
//! That a file or a socket is closed for good is such a thing: a program that another thread is about
//! to start holds copies of all files until it runs, and longer of those that are not yet marked to be
//! closed then.

use core::time::Duration;
use std::thread;
use std::time::Instant;

/// Polls until the condition holds.
///
/// # Panics
/// When it does not hold after ten seconds.
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it never came true");
        thread::yield_now();
    }
}
