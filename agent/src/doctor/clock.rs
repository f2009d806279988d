//! The clock that codes and datagrams are judged by, and that says when doors hold.

use postern_core::config::Config;
use postern_core::door::Method;

use super::finding::Finding;
use super::kinds;
use crate::onetime::wall_clock::WallClock;
use crate::report::{ASKED_PREFIX, CLOCK_PREFIX, hints};
use crate::validity::is_limited;

pub(super) fn examine(config: &Config, clock: &WallClock, findings: &mut Vec<Finding>) {
    let Some(why) = clock.distrust else {
        return;
    };
    for door in &config.doors {
        let by_clock = matches!(door.method, Method::Clock { .. } | Method::Spa(_));
        if by_clock || is_limited(door) {
            let values = [("door", door.name.as_str()), ("why", why)];
            findings.push(Finding::new(&kinds::CLOCK_UNTRUSTED, &values));
        }
    }
}

/// What wrong codes told the agent, by its report: of the clock, and of who guesses.
pub(super) fn examine_hints(report: &str, findings: &mut Vec<Finding>) {
    let told = [
        (CLOCK_PREFIX, &kinds::CLOCK_OFF),
        (ASKED_PREFIX, &kinds::CODES_GUESSED),
    ];
    for (prefix, kind) in told {
        for (door, why) in hints(report, prefix) {
            findings.push(Finding::new(kind, &[("door", door), ("why", why)]));
        }
    }
}
