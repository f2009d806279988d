//! Fixed sequences: the same ports, in the same order, every time.
//!
//! Packets overtake each other on real networks, so two neighbouring knocks may arrive
//! swapped, if the one that was overtaken follows within the jitter.

use crate::knock::{Knock, Port};
use crate::method::Progress;
use crate::method::attempt::{Attempt, since, stamp};
use crate::time::{Duration, Instant};

pub(super) fn advance(
    attempt: &mut Attempt,
    steps: &[Port],
    jitter: Duration,
    toggles: bool,
    knock: &Knock<'_>,
    now: Instant,
) -> Progress {
    if attempt.is_under_way() && attempt.ahead != 0 && since(attempt.ahead, now) > jitter {
        // The knock that was overtaken is lost, and the attempt with it. The next may follow.
        *attempt = Attempt::NONE;
    }
    let Some(step) = steps.iter().position(|step| *step == knock.port) else {
        return Progress::Wrong;
    };
    let bit = 1 << step;
    let next = attempt.accepted.trailing_ones() as usize;
    let overtaken = attempt.ahead != 0;
    let may_overtake = jitter > Duration::default();
    match step {
        _ if attempt.finished => {
            return after_the_end(attempt, steps, step, jitter, toggles, knock, now);
        }
        0 if next == 0 => *attempt = Attempt::begun_by(knock, now, attempt.accepted | 1),
        _ if attempt.accepted & bit != 0 => return Progress::Repeated,
        step if step == next => {
            attempt.accept(bit);
            attempt.ahead = 0;
        }
        step if step == next + 1 && may_overtake && !overtaken => {
            if next == 0 {
                *attempt = Attempt::begun(now, 0);
            }
            attempt.accept(bit);
            attempt.ahead = mark(now);
        }
        _ => return Progress::Wrong,
    }
    progress(attempt, steps)
}

/// What a knock is soon after a finished attempt: a repeat, or the beginning of the next.
fn after_the_end(
    attempt: &mut Attempt,
    steps: &[Port],
    step: usize,
    jitter: Duration,
    toggles: bool,
    knock: &Knock<'_>,
    now: Instant,
) -> Progress {
    let is_retransmission = knock.source_port == attempt.source_port;
    let overtaken = attempt.ahead != 0 && since(attempt.ahead, now) <= jitter;
    match step {
        // TCP sends an unanswered SYN again after one, three and seven seconds. What was toggled
        // must not be toggled back by that.
        0 if toggles && is_retransmission => Progress::Repeated,
        // With a single step, a duplicate of the last knock is one of the first.
        0 if steps.len() == 1 && (is_retransmission || attempt.age(now) < jitter) => {
            Progress::Repeated
        }
        0 => {
            *attempt = Attempt::begun_by(knock, now, if overtaken { 0b11 } else { 1 });
            progress(attempt, steps)
        }
        1 if steps.len() > 1 => {
            attempt.ahead = mark(now);
            Progress::Repeated
        }
        _ => Progress::Repeated,
    }
}

const fn progress(attempt: &Attempt, steps: &[Port]) -> Progress {
    if attempt.accepted.trailing_ones() as usize >= steps.len() {
        Progress::Completed(0)
    } else {
        Progress::Advanced
    }
}

/// A stamp that is not 0, which means none; a millisecond does not matter here.
fn mark(now: Instant) -> u32 {
    stamp(now).max(1)
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;
    use std::string::String;
    use std::vec::Vec;

    use super::*;
    use crate::knock::Protocol;
    use crate::method::Line;

    const WINDOW: Duration = Duration::from_secs(10);

    fn port(number: u16) -> Port {
        let protocol = Protocol::Tcp;
        Port { protocol, number }
    }

    /// Plays (milliseconds, port) against a sequence and spells what came of each knock:
    /// `a`dvanced, `r`epeated, `w`rong, `C`ompleted. Every knock has a source port of its own.
    fn play_with(steps: &[u16], jitter: u64, knocks: &[(u64, u16)]) -> String {
        let steps: Vec<Port> = steps.iter().copied().map(port).collect();
        let line = Line::Sequence {
            steps: &steps,
            jitter: Duration::from_millis(jitter),
            toggles: false,
        };
        let mut attempt = Attempt::NONE;
        let origin = u64::from(u32::MAX) - 5_000;
        let knocks = knocks.iter().zip(40_000..);
        let spelled = knocks.map(|(&(millis, number), source_port)| {
            let now = Instant::from_millis(origin + millis);
            let knock = Knock {
                source: Ipv4Addr::LOCALHOST.into(),
                source_port,
                port: port(number),
                payload: &[],
            };
            attempt.expire(now, WINDOW);
            match line.advance(&mut attempt, &knock, now) {
                Progress::Advanced => 'a',
                Progress::Repeated => 'r',
                Progress::Wrong => 'w',
                Progress::Completed(_) => 'C',
            }
        });
        spelled.collect()
    }

    fn play(knocks: &[(u64, u16)]) -> String {
        play_with(&[1, 2, 3], 50, knocks)
    }

    #[test]
    fn in_order_within_the_window() {
        assert_eq!(play(&[(0, 1), (1, 2), (10_000, 3)]), "aaC");
        assert_eq!(play(&[(0, 1), (0, 2), (0, 3)]), "aaC");
    }

    #[test]
    fn late() {
        assert_eq!(play(&[(0, 1), (1, 2), (10_001, 3)]), "aaw");
        assert_eq!(
            play(&[(0, 1), (10_001, 1), (10_002, 2), (10_003, 3)]),
            "aaaC"
        );
    }

    #[test]
    fn out_of_order() {
        assert_eq!(play(&[(0, 3), (1, 1), (2, 2)]), "waa");
        assert_eq!(play(&[(0, 3), (1, 2), (2, 1)]), "waa");
        assert_eq!(play(&[(0, 1), (1, 9), (2, 2), (3, 3)]), "awaw");
    }

    #[test]
    fn neighbours_may_be_swapped_within_the_jitter() {
        assert_eq!(play(&[(0, 2), (50, 1), (60, 3)]), "aaC");
        assert_eq!(play(&[(0, 1), (1, 3), (51, 2)]), "aaC");
        assert_eq!(play(&[(0, 2), (51, 1), (60, 3)]), "aaa");
        assert_eq!(play(&[(0, 1), (1, 3), (52, 2)]), "aaa");
        assert_eq!(play(&[(0, 1), (1, 3), (52, 2), (150, 3)]), "aaaw");
        let four = [1, 2, 3, 4];
        assert_eq!(
            play_with(&four, 50, &[(0, 2), (1, 1), (2, 4), (3, 3)]),
            "aaaC"
        );
        assert_eq!(
            play_with(&four, 50, &[(0, 1), (1, 4), (2, 3), (3, 2)]),
            "awwa"
        );
    }

    #[test]
    fn a_lost_knock_does_not_spoil_the_next_attempt() {
        let knocks = [(0, 1), (200, 3), (3_000, 1), (3_100, 2), (3_200, 3)];
        assert_eq!(play(&knocks), "aaaaC");
    }

    #[test]
    fn no_jitter_no_swapping() {
        assert_eq!(play_with(&[1, 2, 3], 0, &[(0, 2), (0, 1), (0, 3)]), "waw");
        assert_eq!(play_with(&[1, 2, 3], 0, &[(0, 1), (0, 3), (0, 2)]), "aww");
    }

    #[test]
    fn a_stray_second_knock_does_not_spoil_a_later_attempt() {
        assert_eq!(play(&[(0, 2), (5_000, 1), (5_001, 2), (5_002, 3)]), "aaaC");
    }

    #[test]
    fn duplicates_and_retransmissions() {
        assert_eq!(
            play(&[(0, 1), (0, 1), (1, 2), (1, 2), (2, 3), (2, 3)]),
            "ararCr"
        );
        assert_eq!(play(&[(0, 1), (1, 2), (1_000, 1), (1_001, 3)]), "aarC");
        assert_eq!(
            play(&[(0, 2), (0, 2), (1, 1), (2, 1), (2, 3)]),
            "araRC".to_lowercase().replace("rc", "rC")
        );
    }

    #[test]
    fn after_completion_it_starts_anew() {
        assert_eq!(
            play(&[(0, 1), (1, 2), (2, 3), (3, 1), (4, 2), (5, 3)]),
            "aaCaaC"
        );
        assert_eq!(play(&[(0, 1), (1, 2), (2, 3), (3, 2), (4, 3)]), "aaCrr");
        assert_eq!(
            play(&[(0, 1), (1, 2), (2, 3), (3, 2), (4, 1), (5, 3)]),
            "aaCraC"
        );
    }

    #[test]
    fn a_single_knock_can_be_made_again_but_not_by_a_duplicate() {
        assert_eq!(play_with(&[1], 50, &[(0, 1), (49, 1), (50, 1)]), "CrC");
    }
}
