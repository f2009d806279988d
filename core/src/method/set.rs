//! The sequence of a list in any order: its security is in the ports, not in their order.

use crate::knock::Port;
use crate::method::Progress;
use crate::method::attempt::Attempt;
use crate::time::Instant;

pub(super) fn advance(attempt: &mut Attempt, steps: &[Port], port: Port, now: Instant) -> Progress {
    let Some(step) = steps.iter().position(|step| *step == port) else {
        // A finished attempt was made of the ports of a sequence that is no longer expected.
        return if attempt.is_finished() {
            Progress::Repeated
        } else {
            Progress::Wrong
        };
    };
    if attempt.accepted == 0 || attempt.is_finished() {
        *attempt = Attempt::begun(now, 0);
    }
    if attempt.accepted & 1 << step != 0 {
        return Progress::Repeated;
    }
    attempt.accept(1 << step);
    if attempt.accepted.trailing_ones() as usize >= steps.len() {
        Progress::Completed(0)
    } else {
        Progress::Advanced
    }
}
