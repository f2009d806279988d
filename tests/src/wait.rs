//! Waiting without sleeping for longer than needed.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything that should happen at once, on a machine with much else to do.
pub const SOON: Duration = Duration::from_secs(20);

/// Long enough to see that something does not happen.
pub const A_MOMENT: Duration = Duration::from_millis(500);

const STEP: Duration = Duration::from_millis(5);

/// Waits until `done` is true.
///
/// # Panics
/// When `within` has passed first; `what` says what was waited for.
#[track_caller]
pub fn poll_until(within: Duration, what: &str, mut done: impl FnMut() -> bool) {
    poll_for(within, what, || done().then_some(()));
}

/// Waits until `find` finds something, and returns it.
///
/// # Panics
/// When `within` has passed first; `what` says what was waited for.
#[track_caller]
pub fn poll_for<T>(within: Duration, what: &str, find: impl FnMut() -> Option<T>) -> T {
    match try_poll(within, find) {
        Some(found) => found,
        None => panic!("waited {within:?} in vain: {what}"),
    }
}

/// Waits until `find` finds something; `None` when `within` has passed first.
pub fn try_poll<T>(within: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let give_up_at = Instant::now() + within;
    loop {
        if let Some(found) = find() {
            return Some(found);
        }
        if Instant::now() >= give_up_at {
            return None;
        }
        thread::sleep(STEP);
    }
}

/// Lets time pass where nothing but time can be waited for: until `since` is `age` ago.
pub fn until_aged(since: Instant, age: Duration) {
    thread::sleep(age.saturating_sub(since.elapsed()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_asked_once_at_least_and_until_it_holds() {
        let mut asked = 0;
        poll_until(Duration::ZERO, "at once", || true);
        poll_until(SOON, "the third time", || {
            asked += 1;
            asked == 3
        });
        assert_eq!(try_poll(Duration::ZERO, || None::<()>), None);
    }
}
