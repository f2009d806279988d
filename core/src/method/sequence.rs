//! Fixed sequences: the same ports, in the same order, every time.
//!
//! Packets overtake each other on real networks, so knocks may come ahead of their turn. From the first
//! that does until none is missing before any that came, no more than the jitter may pass; within it, any
//! order will do. That is as strong as knowing which ports, not in which order, for whoever makes all
//! knocks within the jitter: one of `n!` as much. Two kinds of attempts are asked for more:
//!
//! - Of a sequence whose ports are all in another one of the configuration, only neighbours may be swapped:
//!   knocks made one right after the other must not open what another order opens. See [`Reach`].
//! - Whoever hit a decoy within the window knocks in order: a scan hits the ports in any.
//!
//! A knock at a port that the sequence has several times may be ahead of its turn, or begin another try: see
//! [`Stage::Doubled`].

use core::cell::Cell;

use crate::knock::{Knock, Port};
use crate::method::attempt::{Attempt, Stage, since, stamp};
use crate::method::{Circumstances, Progress, Reach};
use crate::time::{Duration, Instant};

pub(super) fn advance(
    attempt: &mut Attempt,
    (steps, at_port): (&[Port], u32),
    jitter: Duration,
    toggles: bool,
    circumstances: &Circumstances<'_>,
    knock: &Knock<'_>,
    now: Instant,
) -> Progress {
    if at_port == 0 {
        return Progress::Wrong;
    }
    let left = match attempt.stage {
        Stage::Failed => at_port,
        _ => at_port & !attempt.accepted,
    };
    let step = match left {
        0 => at_port.trailing_zeros(),
        left => left.trailing_zeros(),
    } as usize;
    let bit = 1 << step;
    let may_come = |attempt: &Attempt| {
        let next = attempt.accepted.trailing_ones() as usize;
        step == next
            || jitter > Duration::default()
                && match (circumstances.reach)() {
                    Reach::Any => true,
                    Reach::Neighbour => step == next + 1 && attempt.ahead == 0,
                    Reach::Next => false,
                }
    };
    if attempt.stage == Stage::Failed
        && let Some(progress) = after_a_failure(
            attempt,
            (step, at_port),
            knock,
            now,
            &may_come,
            &circumstances.is_kept,
        )
    {
        return progress;
    }
    if attempt.is_finished() {
        if attempt.ahead != 0 && since(attempt.ahead, now) > jitter {
            attempt.accepted = 0;
            attempt.ahead = 0;
        }
        if is_repeat(attempt, step, steps.len(), jitter, toggles, knock, now) {
            // It may begin the next attempt as well, if the first knock is on its way; but what comes this soon is
            // a duplicate, unless it is the second, with which no knock is missing then.
            if (step == 1 || step > 1 && attempt.age(now) > jitter) && may_come(attempt) {
                attempt.accepted |= bit;
                circumstances.is_kept.set(true);
                note_order(attempt, now);
            }
            return Progress::Repeated;
        }
        let noted = attempt.accepted;
        let ahead = attempt.ahead;
        *attempt = Attempt::begun_by(knock, now, noted);
        if noted > 0 {
            attempt.ahead = ahead;
            attempt.stage = Stage::Leftover;
        }
    }
    if attempt.accepted & bit != 0 {
        return Progress::Repeated;
    }
    let is_double = attempt.accepted & at_port != 0;
    if !may_come(attempt) {
        return match is_double {
            true => Progress::Repeated,
            false => Progress::Wrong,
        };
    }
    if step > attempt.accepted.trailing_ones() as usize {
        attempt.stage = match attempt.stage {
            Stage::UnderWay if is_double && attempt.ahead == 0 => Stage::Doubled,
            Stage::Doubled if !is_double => Stage::UnderWay,
            stage => stage,
        };
    }
    if attempt.accepted == 0 {
        let stage = attempt.stage;
        *attempt = Attempt::begun_by(knock, now, 0);
        attempt.stage = stage;
    } else if step == 0 {
        attempt.source_port = knock.source_port;
    }
    attempt.accept(bit);
    note_order(attempt, now);
    if (attempt.accepted.trailing_ones() as usize) < steps.len() {
        return Progress::Advanced;
    }
    attempt.restart(now);
    Progress::Completed(0)
}

/// Notes since when a knock is ahead of its turn, if one is.
fn note_order(attempt: &mut Attempt, now: Instant) {
    if attempt.accepted & attempt.accepted.wrapping_add(1) != 0 {
        if attempt.ahead == 0 {
            // Not 0, which means none; a millisecond does not matter here.
            attempt.ahead = stamp(now).max(1);
        }
        return;
    }
    attempt.ahead = 0;
    let is_in_order = match attempt.stage {
        Stage::Leftover => attempt.accepted > 1,
        Stage::Doubled => true,
        _ => false,
    };
    if is_in_order {
        attempt.stage = Stage::UnderWay;
    }
}

/// What a knock is soon after a finished attempt: a repeat, or the beginning of the next.
fn is_repeat(
    attempt: &Attempt,
    step: usize,
    steps: usize,
    jitter: Duration,
    toggles: bool,
    knock: &Knock<'_>,
    now: Instant,
) -> bool {
    let is_retransmission = knock.source_port == attempt.source_port;
    match step {
        // TCP sends an unanswered SYN again after one, three and seven seconds. What was toggled
        // must not be toggled back by that.
        0 if toggles && is_retransmission => true,
        // With a single step, a duplicate of the last knock is one of the first.
        0 if steps == 1 => is_retransmission || attempt.age(now) < jitter,
        0 => false,
        _ => true,
    }
}

/// What a knock is soon after an attempt whose overtaken knocks did not follow in time; `None`: as good as
/// any other.
fn after_a_failure(
    attempt: &mut Attempt,
    (step, at_port): (usize, u32),
    knock: &Knock<'_>,
    now: Instant,
    may_come: &dyn Fn(&Attempt) -> bool,
    is_kept: &Cell<bool>,
) -> Option<Progress> {
    let failed = core::mem::replace(attempt, Attempt::NONE);
    let bit = 1 << step;
    let was_accepted = failed.accepted & at_port != 0;
    let is_retransmission = was_accepted && knock.source_port == failed.source_port;
    match step {
        0 if is_retransmission => attempt.stage = Stage::Leftover,
        0 => {}
        _ if is_retransmission => {
            *attempt = failed;
            return Some(Progress::Repeated);
        }
        // It was alone, and comes from another port this time.
        _ if failed.accepted == bit => {}
        // It is the failed attempt's, too late; or, where the client tries again, the next one's.
        _ => {
            if may_come(attempt) {
                *attempt = Attempt::begun_by(knock, now, bit);
                attempt.stage = Stage::Leftover;
                is_kept.set(true);
                note_order(attempt, now);
            }
            return Some(match was_accepted {
                true => Progress::Repeated,
                false => Progress::Late,
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;
    use std::string::String;
    use std::vec::Vec;

    use super::*;
    use crate::knock::tcp;
    use crate::method::Pattern;

    const WINDOW: Duration = Duration::from_secs(10);

    /// Plays (milliseconds, port) against a sequence and spells what came of each knock:
    /// `a`dvanced, `r`epeated, `w`rong, `l`ate, `C`ompleted, and before it `f` where it shows that an attempt
    /// had failed. Every knock has a source port of its own.
    fn play_with(steps: &[u16], jitter: u64, knocks: &[(u64, u16)]) -> String {
        play_within(Reach::Any, steps, jitter, knocks)
    }

    fn play_within(reach: Reach, steps: &[u16], jitter: u64, knocks: &[(u64, u16)]) -> String {
        let knocks = knocks.iter().zip(40_000..);
        let knocks: Vec<_> = knocks
            .map(|(&(millis, port), from)| (millis, from, port))
            .collect();
        play_from(reach, steps, jitter, &knocks)
    }

    /// Plays knocks, each from the port that is named before its own; what they were.
    fn play_from(reach: Reach, steps: &[u16], jitter: u64, knocks: &[(u64, u16, u16)]) -> String {
        let steps: Vec<Port> = steps.iter().copied().map(tcp).collect();
        let pattern = Pattern::Sequence {
            steps: &steps,
            jitter: Duration::from_millis(jitter),
            toggles: false,
        };
        let mut attempt = Attempt::NONE;
        let mut accepted = Vec::new();
        let origin = u64::from(u32::MAX) - 5_000;
        let spelled = knocks.iter().map(|&(millis, source_port, number)| {
            let now = Instant::from_millis(origin + millis);
            let knock = Knock {
                source: Ipv4Addr::LOCALHOST.into(),
                source_port,
                port: tcp(number),
                payload: &[],
            };
            let failed = pattern.lapse(&mut attempt, now);
            attempt.expire(now, WINDOW);
            let key = (source_port, number);
            let known = accepted.clone();
            let circumstances = Circumstances {
                reach: &|| reach,
                was_accepted: &|| known.contains(&key),
                is_kept: Cell::new(false),
            };
            let progress = pattern.advance(
                &mut attempt,
                (&knock, pattern.steps_at(knock.port)),
                now,
                &circumstances,
            );
            if matches!(progress, Progress::Advanced | Progress::Completed(_)) {
                accepted.push(key);
            }
            let spelled = match progress {
                Progress::Advanced => 'a',
                Progress::Repeated => 'r',
                Progress::Wrong => 'w',
                Progress::Late => 'l',
                Progress::Completed(_) => 'C',
            };
            [failed.then_some('f'), Some(spelled)]
        });
        spelled.flatten().flatten().collect()
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
        assert_eq!(play(&[(0, 1), (1, 2), (10_001, 3)]), "aaa");
        assert_eq!(
            play(&[(0, 1), (10_001, 1), (10_002, 2), (10_003, 3)]),
            "aaaC"
        );
    }

    /// All orders of three knocks, and what comes of them without delay, 14 ms apart, or with the last at the very
    /// end of the jitter.
    const ORDERS: [[u16; 3]; 6] = [
        [1, 2, 3],
        [1, 3, 2],
        [2, 1, 3],
        [2, 3, 1],
        [3, 1, 2],
        [3, 2, 1],
    ];

    #[test]
    fn any_order_within_the_jitter() {
        for [one, two, three] in ORDERS {
            for times in [[0, 0, 0], [0, 14, 28], [0, 7, 14], [0, 25, 50], [0, 50, 50]] {
                let [first, second, third] = times;
                let knocks = [(first, one), (second, two), (third, three)];
                assert_eq!(play(&knocks), "aaC", "{knocks:?}");
            }
        }
        let backwards = |steps: &[u16], pace| {
            let knocks: Vec<_> = (0..)
                .step_by(pace)
                .zip(steps.iter().rev().copied())
                .collect();
            play_with(steps, 50, &knocks)
        };
        assert!(backwards(&Vec::from_iter(1..=32), 1).ends_with("aaC"));
        assert!(!backwards(&Vec::from_iter(1..=32), 2).contains('C'));
    }

    #[test]
    fn beyond_the_jitter_only_in_order() {
        assert_eq!(play(&[(0, 1), (51, 2), (102, 3)]), "aaC");
        assert_eq!(play(&[(0, 1), (1, 3), (52, 2)]), "aafl");
        assert_eq!(play(&[(0, 2), (51, 1), (60, 3)]), "afaa");
        assert_eq!(play(&[(0, 2), (1, 3), (52, 1)]), "aafa");
        assert_eq!(play(&[(0, 3), (1, 1), (52, 2)]), "aafl");
        assert_eq!(play(&[(0, 3), (1, 2), (52, 1)]), "aafa");
        // From the first that was ahead on, although the second one was not overtaken as long.
        let five = [1, 2, 3, 4, 5];
        let knocks = [(0, 1), (1, 3), (30, 5), (40, 2), (51, 4)];
        assert_eq!(play_with(&five, 50, &knocks), "aaaaC");
        let knocks = [(0, 1), (1, 3), (30, 5), (40, 2), (52, 4)];
        assert_eq!(play_with(&five, 50, &knocks), "aaaafl");
        // Order restored, the next disorder may last as long.
        let knocks = [(0, 1), (1, 3), (40, 2), (60, 5), (110, 4)];
        assert_eq!(play_with(&five, 50, &knocks), "aaaaC");
    }

    #[test]
    fn another_port_ends_it() {
        assert_eq!(play(&[(0, 1), (1, 9), (2, 2), (3, 3)]), "awaa");
        assert_eq!(play(&[(0, 2), (1, 9), (2, 3), (3, 1)]), "awaa");
    }

    #[test]
    fn one_wrong_attempt_is_one_failure() {
        let wrong = [(0, 1), (100, 3), (200, 2)];
        let again: Vec<_> = (0..15)
            .flat_map(|round| wrong.map(|(at, port)| (at + round * 500, port)))
            .collect();
        assert_eq!(play(&again), "aafl".repeat(15));
    }

    #[test]
    fn a_retransmission_after_a_failure_is_none() {
        let [first, third] = [40_000, 40_002];
        let knocks = [
            (0, first, 1),
            (20, third, 3),
            (1_000, first, 1),
            (1_020, third, 3),
            (2_000, 40_010, 1),
            (2_001, 40_011, 2),
            (2_002, 40_012, 3),
        ];
        assert_eq!(play_from(Reach::Any, &[1, 2, 3], 50, &knocks), "aafaaraC");
        let alone = [(0, third, 3), (1_000, third, 3), (3_000, third, 3)];
        assert_eq!(play_from(Reach::Any, &[1, 2, 3], 50, &alone), "afrr");
        let others = [(0, 40_000, 3), (1_000, 40_001, 3), (3_000, 40_002, 3)];
        assert_eq!(play_from(Reach::Any, &[1, 2, 3], 50, &others), "afafa");
    }

    #[test]
    fn a_lost_knock_does_not_spoil_the_next_attempt() {
        let [lost, later] = [[(0, 1), (200, 3)], [(1_000, 1), (1_200, 3)]];
        for [one, two, three] in ORDERS {
            let next = [(3_000, one), (3_014, two), (3_028, three)];
            let played = play(&[&lost[..], &later, &next].concat());
            assert!(played.ends_with('C') && !played.contains('w'), "{played}");
        }
    }

    #[test]
    fn no_jitter_no_other_order() {
        assert_eq!(play_with(&[1, 2, 3], 0, &[(0, 2), (0, 1), (0, 3)]), "waw");
        assert_eq!(play_with(&[1, 2, 3], 0, &[(0, 1), (0, 3), (0, 2)]), "aww");
    }

    #[test]
    fn what_its_order_tells_from_another_may_swap_neighbours_only() {
        let opened = ORDERS.map(|[one, two, three]| {
            let knocks = [(0, one), (1, two), (2, three)];
            play_within(Reach::Neighbour, &[1, 2, 3], 50, &knocks).ends_with('C')
        });
        assert_eq!(opened, [true, true, true, false, false, false]);
        let four = |knocks: &[(u64, u16)]| play_within(Reach::Neighbour, &[1, 2, 3, 4], 50, knocks);
        assert_eq!(four(&[(0, 2), (1, 1), (2, 4), (3, 3)]), "aaaC");
        assert_eq!(four(&[(0, 1), (1, 4), (2, 3), (3, 2)]), "awwa");
        let strict = ORDERS.map(|[one, two, three]| {
            let knocks = [(0, one), (1, two), (2, three)];
            play_within(Reach::Next, &[1, 2, 3], 50, &knocks).ends_with('C')
        });
        assert_eq!(strict, [true, false, false, false, false, false]);
    }

    #[test]
    fn a_stray_later_knock_does_not_spoil_a_later_attempt() {
        let attempt = [(5_000, 1), (5_001, 2), (5_002, 3)];
        assert_eq!(play(&[&[(0, 2)][..], &attempt].concat()), "afaaC");
        assert_eq!(play(&[&[(0, 3)][..], &attempt].concat()), "afaaC");
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
        for order @ [one, two, three] in ORDERS {
            let played = play(&[(0, 1), (1, 2), (2, 3), (60, one), (61, two), (62, three)]);
            assert!(
                played.chars().filter(|it| *it == 'C').count() == 2,
                "{order:?}: {played}"
            );
        }
        // What came late of it, or twice, does not end an attempt that takes its time.
        let slow = [(3_000, 1), (3_500, 2), (4_000, 3)];
        for (late, expected) in [(2, "aaCrarC"), (3, "aaCraaC")] {
            let knocks = [(0, 1), (1, 2), (2, 3), (2_990, late)];
            assert_eq!(play(&[&knocks[..], &slow].concat()), expected, "{late}");
        }
    }

    #[test]
    fn a_single_knock_can_be_made_again_but_not_by_a_duplicate() {
        assert_eq!(play_with(&[1], 50, &[(0, 1), (49, 1), (50, 1)]), "CrC");
    }
}
