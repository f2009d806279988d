//! Fixed sequences: the same ports, in the same order, every time.

use crate::knock::Port;
use crate::method::{Effect, Progress};
use crate::time::{Duration, Instant};

/// How far one source has come in one sequence.
///
/// Eight bytes, because there are thousands of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// When the first knock came: the low 32 bits of the clock's milliseconds, which
    /// repeat after 49 days. The longest window is an hour and stale attempts are swept.
    started: u32,
    /// How many knocks were accepted.
    accepted: u8,
    /// All were; the attempt is kept for the rest of its window to know repeats by.
    finished: bool,
}

impl Attempt {
    pub(crate) const NONE: Self = Self {
        started: 0,
        accepted: 0,
        finished: false,
    };

    /// An attempt whose first knock was accepted just now.
    pub(crate) const fn begun(now: Instant) -> Self {
        Self {
            started: stamp(now),
            accepted: 1,
            finished: false,
        }
    }

    /// How many knocks were accepted.
    pub(crate) const fn accepted(self) -> u8 {
        self.accepted
    }

    /// What the attempt is worth to its owner: 0 for none; a finished one has done its work.
    pub(crate) const fn worth(self) -> u8 {
        if self.finished { 1 } else { self.accepted }
    }

    /// Whether more knocks are needed.
    pub(crate) const fn is_under_way(self) -> bool {
        self.accepted > 0 && !self.finished
    }

    /// Low 32 bits of the milliseconds at which the first knock came.
    pub(crate) const fn started(self) -> u32 {
        self.started
    }

    /// Time since the first knock.
    pub(crate) const fn age(self, now: Instant) -> Duration {
        Duration::from_millis(stamp(now).wrapping_sub(self.started) as u64)
    }

    /// Forgets what is older than `window`.
    pub(crate) fn expire(&mut self, now: Instant, window: Duration) {
        if self.accepted > 0 && self.age(now) > window {
            *self = Self::NONE;
        }
    }

    pub(super) fn advance(
        &mut self,
        steps: &[Port],
        effect: Effect,
        port: Port,
        now: Instant,
        window: Duration,
    ) -> Progress {
        self.expire(now, window);
        let accepted = usize::from(self.accepted);
        match steps.iter().position(|step| *step == port) {
            Some(0) if accepted == 0 || self.finished => {
                *self = Self::begun(now);
                self.conclude(steps, effect)
            }
            Some(step) if step == accepted => {
                self.accepted += 1;
                self.conclude(steps, effect)
            }
            Some(step) if step < accepted => Progress::Repeated,
            _ => {
                *self = Self::NONE;
                Progress::Wrong
            }
        }
    }

    fn conclude(&mut self, steps: &[Port], effect: Effect) -> Progress {
        self.finished = usize::from(self.accepted) == steps.len();
        if self.finished {
            Progress::Completed(effect)
        } else {
            Progress::Advanced
        }
    }
}

/// The low 32 bits of the clock's milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
pub(crate) const fn stamp(now: Instant) -> u32 {
    now.as_millis() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knock::Protocol;
    use std::vec::Vec;

    const WINDOW: Duration = Duration::from_secs(10);

    fn tcp(number: u16) -> Port {
        Port {
            protocol: Protocol::Tcp,
            number,
        }
    }

    /// Plays (milliseconds, port) against the sequence 1, 2, 3 and spells what came of each:
    /// `a`dvanced, `r`epeated, `w`rong, `C`ompleted.
    fn play(knocks: &[(u64, u16)]) -> std::string::String {
        let steps: Vec<Port> = [1, 2, 3].map(tcp).into();
        let mut attempt = Attempt::NONE;
        let origin = u64::from(u32::MAX) - 5_000;
        knocks
            .iter()
            .map(|&(millis, port)| {
                let now = Instant::from_millis(origin + millis);
                match attempt.advance(&steps, Effect::Open, tcp(port), now, WINDOW) {
                    Progress::Advanced => 'a',
                    Progress::Repeated => 'r',
                    Progress::Wrong => 'w',
                    Progress::Completed(_) => 'C',
                }
            })
            .collect()
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
        assert_eq!(play(&[(0, 2), (1, 1), (2, 3)]), "waw");
        assert_eq!(play(&[(0, 1), (1, 3), (2, 2), (3, 3)]), "awww");
        assert_eq!(play(&[(0, 1), (1, 9), (2, 2), (3, 3)]), "awww");
    }

    #[test]
    fn duplicates_and_retransmissions() {
        assert_eq!(
            play(&[(0, 1), (0, 1), (1, 2), (1, 2), (2, 3), (2, 3)]),
            "ararCr"
        );
        assert_eq!(play(&[(0, 1), (1, 2), (1_000, 1), (1_001, 3)]), "aarC");
    }

    #[test]
    fn after_completion_it_starts_anew() {
        assert_eq!(
            play(&[(0, 1), (1, 2), (2, 3), (3, 1), (4, 2), (5, 3)]),
            "aaCaaC"
        );
        assert_eq!(play(&[(0, 1), (1, 2), (2, 3), (3, 2), (4, 3)]), "aaCrr");
    }
}
