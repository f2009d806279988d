//! The clock that codes are derived from.

use postern_core::config::Config;
use postern_core::door::Method;

use super::finding::Finding;
use super::kinds;
use crate::wall_clock::WallClock;

pub(super) fn examine(config: &Config, clock: &WallClock, findings: &mut Vec<Finding>) {
    let Some(why) = clock.distrust else {
        return;
    };
    for door in &config.doors {
        if let Method::Clock { .. } = door.method {
            let values = [("door", door.name.as_str()), ("why", why)];
            findings.push(Finding::new(&kinds::CLOCK_UNTRUSTED, &values));
        }
    }
}
