//! How far one source has come in one pattern of a door.

use crate::knock::Knock;
use crate::time::{Duration, Instant};

/// What an attempt has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// More knocks are needed, if any came.
    #[default]
    UnderWay,
    /// More knocks are needed, but what came ahead of its turn may be a duplicate, or belong to an attempt that failed:
    /// that the knocks before it do not follow is no failure.
    Leftover,
    /// More knocks are needed, and all that came ahead of its turn was at ports that were knocked on before: it may as
    /// well be the beginning of another try, or one client's two connections. That is no failure either.
    Doubled,
    /// Everything was accepted; the attempt is kept for the rest of its window to know repeats by.
    Finished,
    /// What was overtaken did not follow in time, and that was counted; kept to know its late knocks by.
    Failed,
}

/// Sixteen bytes, because there are thousands of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// When the first knock came, or the last of a finished sequence: the low 32 bits of the clock's milliseconds, which
    /// repeat after 49 days. The longest window is an hour and stale attempts are swept.
    started: u32,
    /// When the first of those knocks came that are ahead of their turn, in the same unit; 0: none is. Of a code
    /// that was used, its two ports.
    pub(super) ahead: u32,
    /// What was accepted: one bit for each step, or, for codes, the port. Of a code that was used, the port that the
    /// second knock came from.
    pub(super) accepted: u32,
    /// From which port the first knock came, that of the sequence if it did: a retransmission comes from there too.
    pub(crate) source_port: u16,
    pub(super) stage: Stage,
    /// How many knocks were accepted. Counted as they come: a MIPS 24Kc has no instruction that counts bits.
    count: u8,
}

impl Attempt {
    pub(crate) const NONE: Self = Self {
        started: 0,
        ahead: 0,
        accepted: 0,
        source_port: 0,
        stage: Stage::UnderWay,
        count: 0,
    };

    /// An attempt that begins with these bits accepted.
    pub(crate) const fn begun(now: Instant, accepted: u32) -> Self {
        Self {
            started: stamp(now),
            accepted,
            count: accepted.count_ones() as u8,
            ..Self::NONE
        }
    }

    /// An attempt that begins with this knock.
    pub(super) const fn begun_by(knock: &Knock<'_>, now: Instant, accepted: u32) -> Self {
        Self {
            source_port: knock.source_port,
            ..Self::begun(now, accepted)
        }
    }

    /// An attempt that began then, with a knock from this port.
    pub(super) const fn recalled((started, source_port): (u32, u16), accepted: u32) -> Self {
        Self {
            started,
            accepted,
            source_port,
            count: 1,
            ..Self::NONE
        }
    }

    /// Whether there is none.
    pub(crate) const fn is_none(&self) -> bool {
        self.accepted == 0 && !self.is_finished()
    }

    /// Whether everything was accepted.
    pub(crate) const fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Finished)
    }

    /// Accepts a knock: the step with this bit, which it had not accepted.
    pub(super) const fn accept(&mut self, bit: u32) {
        self.accepted |= bit;
        self.count = self.count.saturating_add(1);
    }

    /// How many knocks were accepted, and what that is worth to its owner: 0 for none; a finished attempt
    /// has done its work and counts as one.
    pub(crate) const fn count(&self) -> u8 {
        self.count
    }

    /// Whether more knocks are needed.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.accepted > 0 && !matches!(self.stage, Stage::Finished | Stage::Failed)
    }

    /// Low 32 bits of the milliseconds at which the first knock came.
    pub(crate) const fn started(&self) -> u32 {
        self.started
    }

    /// Whether the first step, and no other, was accepted.
    pub(super) const fn is_at_first(&self) -> bool {
        self.accepted == 1 && self.is_under_way()
    }

    /// The lowest step that was accepted.
    pub(super) const fn first_step(&self) -> usize {
        self.accepted.trailing_zeros() as usize
    }

    /// Time since the first knock.
    pub(crate) const fn age(&self, now: Instant) -> Duration {
        since(self.started, now)
    }

    /// Forgets what is older than `window`.
    pub(crate) fn expire(&mut self, now: Instant, window: Duration) {
        if !self.is_none() && self.age(now) > window {
            *self = Self::NONE;
        }
    }

    /// Whether a knock that was overtaken is waited for.
    pub(crate) const fn is_disordered(&self) -> bool {
        self.ahead != 0 && self.is_under_way()
    }

    /// Waits no longer for what was overtaken; whether that is a failure.
    pub(super) const fn lapse(&mut self) -> bool {
        if matches!(self.stage, Stage::Leftover | Stage::Doubled) {
            let in_turn = self.accepted & !self.accepted.wrapping_add(1);
            *self = match in_turn {
                0 => Self::NONE,
                accepted => Self {
                    accepted,
                    count: accepted.count_ones() as u8,
                    ahead: 0,
                    stage: match self.stage {
                        Stage::Doubled => Stage::UnderWay,
                        stage => stage,
                    },
                    ..*self
                },
            };
            return false;
        }
        // It counts for nothing any more.
        self.stage = Stage::Failed;
        self.count = 0;
        true
    }

    /// Waits on, but what does not come is no failure: what was ahead of it was another sequence's.
    pub(crate) const fn excuse(&mut self) {
        if self.is_disordered() {
            self.stage = Stage::Leftover;
        }
    }

    /// Counts its age from now on.
    pub(super) const fn restart(&mut self, now: Instant) {
        self.started = stamp(now);
    }

    pub(super) const fn finish(&mut self) {
        self.stage = Stage::Finished;
        self.accepted = 0;
        self.count = 1;
        self.ahead = 0;
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

/// Time since a stamp.
pub(crate) const fn since(stamped: u32, now: Instant) -> Duration {
    Duration::from_millis(stamp(now).wrapping_sub(stamped) as u64)
}
