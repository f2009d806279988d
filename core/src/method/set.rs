//! The sequence of a list in any order: its security is in the ports, not in their order.

use crate::knock::{Knock, Port};
use crate::method::Progress;
use crate::method::attempt::Attempt;
use crate::time::Instant;

pub(super) fn advance(
    attempt: &mut Attempt,
    (steps, at_port): (&[Port], u32),
    knock: &Knock<'_>,
    now: Instant,
) -> Progress {
    if at_port == 0 {
        return Progress::Wrong;
    }
    if attempt.accepted == 0 || attempt.is_finished() {
        *attempt = Attempt::begun_by(knock, now, 0);
    }
    let left = at_port & !attempt.accepted;
    if left == 0 {
        return Progress::Repeated;
    }
    attempt.accept(left & left.wrapping_neg());
    if attempt.accepted.trailing_ones() as usize >= steps.len() {
        Progress::Completed(0)
    } else {
        Progress::Advanced
    }
}
