//! What a knock amounts to, by the door's method; one file for each family of methods.
//!
//! Every door has two patterns of knocks: one opens (or toggles), one closes. An `Attempt`
//! is how far a source has come in a pattern.
//!
//! A port may stand in a sequence several times. Its knocks are told from retransmissions by their
//! source ports: each that counts comes from another.

use core::cell::Cell;
use core::ops::RangeInclusive;

use heapless::Vec;

use crate::code::{Code, KNOCKS};
use crate::door::{Door, MAX_STEPS, Method, Order, Sequence};
use crate::knock::{Knock, Port, PortRange, Protocol, udp};
use crate::time::{Duration, Instant};

mod attempt;
mod code;
mod sequence;
mod set;

pub(crate) use attempt::{Attempt, since, stamp};
pub(crate) use code::Codes;

/// The most codes that are acceptable at a time, with those that may only follow on others in a row.
pub const MAX_CANDIDATES: usize = 34;

/// Ports of a protocol.
pub type Ports = (Protocol, RangeInclusive<u16>);

/// The most ports, and ranges of them, that the knocks of a door can hit.
pub const MAX_WATCHED: usize = PATTERNS * MAX_STEPS + KNOCKS;

/// The patterns of a door: opening and closing.
pub(crate) const PATTERNS: usize = 2;

/// What a finished attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Grants the source access.
    Open,
    /// Withdraws the source's grant.
    Close,
    /// Withdraws the source's grant, or grants it where there is none.
    Toggle,
}

/// What opens a one-time door just now. Doors of other methods are never armed.
#[expect(
    clippy::large_enum_variant,
    reason = "there is no allocator to put the codes elsewhere"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Armed {
    /// Nothing does.
    #[default]
    Shut,
    /// Any of these codes.
    Codes(Vec<Candidate, MAX_CANDIDATES>),
    /// The sequence with this index.
    Sequence(u64, Sequence),
}

/// A code that is acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it was derived from: HOTP's counter, or TOTP's time step.
    pub counter: u64,
    /// The ports it asks for.
    pub knocks: [Port; KNOCKS],
}

/// What one knock was to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It was not a knock expected; whatever had been reached is lost.
    Wrong,
    /// It was overtaken, and followed too late: the attempt had failed by that.
    Late,
    /// It had been accepted before: a retransmission, or a duplicate made by the network.
    Repeated,
    /// It was a knock expected, and more are to come.
    Advanced,
    /// It was the last knock expected. Codes say which counter they were derived from.
    Completed(u64),
}

/// How far ahead of its turn a knock of a fixed sequence may come, within the jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Any.
    Any,
    /// By one place.
    Neighbour,
    /// Not at all.
    Next,
}

/// What a knock has to be judged by, beside the attempt.
pub(crate) struct Circumstances<'c> {
    /// How far ahead of its turn it may come.
    pub(crate) reach: &'c dyn Fn() -> Reach,
    /// Whether a knock from its source port was accepted at its port within the window, as far as is remembered.
    pub(crate) was_accepted: &'c dyn Fn() -> bool,
    /// Set where it is kept for an attempt to come.
    pub(crate) is_kept: Cell<bool>,
}

/// The knocks that are expected.
///
/// Of several knocks at one port nobody can tell which of them a packet is: it is the first that was not made.
#[derive(Clone, Copy)]
pub(crate) enum Pattern<'d> {
    /// These, in this order, but for what comes ahead of its turn within the jitter.
    Sequence {
        steps: &'d [Port],
        jitter: Duration,
        /// Whether they close what they opened.
        toggles: bool,
    },
    /// These, in any order.
    Set { steps: &'d [Port] },
    /// Any of these codes.
    Codes {
        codes: &'d [Candidate],
        order: Order,
        window: Duration,
        /// The first and the last counter that are expected of the source.
        expected: (u64, u64),
    },
}

/// The door's patterns, with what a finished attempt at each does.
pub(crate) fn patterns<'d>(door: &'d Door, armed: &'d Armed) -> [(Effect, Pattern<'d>); PATTERNS] {
    let sequence = |steps| Pattern::Sequence {
        steps,
        jitter: door.jitter,
        toggles: matches!(door.method, Method::Same { .. }),
    };
    let opening = match (&door.method, armed) {
        (Method::Same { steps }, _) => {
            return [
                (Effect::Toggle, sequence(steps)),
                (Effect::Close, sequence(&[])),
            ];
        }
        (Method::Separate { open, .. }, _) => sequence(open),
        (
            Method::List {
                order: Order::Any, ..
            },
            Armed::Sequence(_, steps),
        ) => Pattern::Set { steps },
        (
            Method::List {
                order: Order::Strict,
                ..
            },
            Armed::Sequence(_, steps),
        ) => Pattern::Sequence {
            steps,
            jitter: Duration::from_millis(0),
            toggles: false,
        },
        (Method::Clock { code, .. } | Method::Seed { code, .. }, Armed::Codes(codes)) => {
            Pattern::Codes {
                codes,
                order: code.order,
                window: door.window,
                expected: match codes.first() {
                    Some(first) => expected(door, first.counter),
                    None => (0, 0),
                },
            }
        }
        _ => sequence(&[]),
    };
    [
        (Effect::Open, opening),
        (Effect::Close, sequence(door.method.close())),
    ]
}

/// The counters whose codes are expected where this one is next.
pub(crate) fn expected(door: &Door, next: u64) -> (u64, u64) {
    let last = match door.method {
        Method::Seed { look_ahead, .. } => next.saturating_add(look_ahead.saturating_sub(1).into()),
        _ => u64::MAX,
    };
    (next, last)
}

/// The steps at this port: one bit for each.
fn steps_at(steps: &[Port], port: Port) -> u32 {
    // There are no more than 32 of them.
    let (mut at_port, mut bit) = (0, 1u32);
    for step in steps {
        if step.number == port.number && step.protocol == port.protocol {
            at_port |= bit;
        }
        bit <<= 1;
    }
    at_port
}

/// Whether there is more than one of such steps.
const fn are_several(at_port: u32) -> bool {
    at_port & at_port.wrapping_sub(1) != 0
}

/// The ports that the door's knocks can hit, as far as its configuration tells: the ports of
/// a list are known when it is armed.
pub fn watched(door: &Door) -> Vec<Ports, MAX_WATCHED> {
    // There is room for all of them.
    let mut watched = Vec::new();
    for port in fixed(door).into_iter().flatten() {
        _ = watched.push((port.protocol, port.number..=port.number));
    }
    for ports in door.method.code().into_iter().flat_map(Code::ranges) {
        _ = watched.push(ports);
    }
    if let Some(terms) = door.method.spa() {
        _ = watched.push((Protocol::Udp, terms.port..=terms.port));
    }
    watched
}

/// Whether the door's knocks can hit this port, as [`watched`] has it.
pub fn watches(door: &Door, port: Port) -> bool {
    watches_any(door, &port.into())
}

/// Whether the door's knocks can hit any of these ports.
pub fn watches_any(door: &Door, ports: &PortRange) -> bool {
    let of_code = |code: &Code| {
        let mut ranges = code.ranges().into_iter();
        ranges.any(|(protocol, range)| {
            let (first, last) = range.into_inner();
            let range = PortRange {
                protocol,
                first,
                last,
            };
            range.overlaps(ports)
        })
    };
    if let Some(terms) = door.method.spa() {
        return ports.contains(udp(terms.port));
    }
    let mut steps = fixed(door).into_iter().flatten();
    steps.any(|step| ports.contains(*step)) || door.method.code().is_some_and(of_code)
}

/// The knocks that are in the configuration: those that open, and those that close.
fn fixed(door: &Door) -> [&[Port]; PATTERNS] {
    [door.method.open(), door.method.close()]
}

impl Armed {
    /// Whether the door stays shut whatever is knocked.
    pub fn opens_nothing(&self) -> bool {
        match self {
            Self::Shut => true,
            Self::Codes(codes) => codes.is_empty(),
            Self::Sequence(..) => false,
        }
    }

    /// Which sequence of a list is expected.
    pub(crate) const fn sequence_index(&self) -> Option<u64> {
        match self {
            Self::Sequence(index, _) => Some(*index),
            Self::Shut | Self::Codes(_) => None,
        }
    }

    /// Whether both expect the same sequence of a list, or neither any.
    pub(crate) fn is_same_sequence(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sequence(..), _) | (_, Self::Sequence(..)) => self == other,
            _ => true,
        }
    }

    /// Makes a counter, and all before it, useless.
    pub(crate) fn spend(&mut self, counter: u64) {
        match self {
            Self::Shut => {}
            Self::Codes(codes) => codes.retain(|code| code.counter > counter),
            Self::Sequence(..) => *self = Self::Shut,
        }
    }
}

impl Pattern<'_> {
    /// The ports that it is made of, unless those depend on a code.
    pub(crate) const fn steps(&self) -> &[Port] {
        match self {
            Self::Sequence { steps, .. } | Self::Set { steps } => steps,
            Self::Codes { .. } => &[],
        }
    }

    /// How many knocks it takes in all.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Sequence { steps, .. } | Self::Set { steps, .. } => steps.len(),
            Self::Codes { .. } => KNOCKS,
        }
    }

    /// Its steps at this port: one bit for each.
    pub(crate) fn steps_at(&self, port: Port) -> u32 {
        steps_at(self.steps(), port)
    }

    /// Shows a knock to the attempt, with the steps at its port.
    pub(crate) fn advance(
        &self,
        attempt: &mut Attempt,
        (knock, at_port): (&Knock<'_>, u32),
        now: Instant,
        circumstances: &Circumstances<'_>,
    ) -> Progress {
        let is_known = || (circumstances.was_accepted)() || self.is_first_again(attempt, knock);
        if are_several(at_port) && is_known() {
            return Progress::Repeated;
        }
        let progress = match *self {
            Pattern::Sequence {
                steps,
                jitter,
                toggles,
            } => sequence::advance(
                attempt,
                (steps, at_port),
                jitter,
                toggles,
                circumstances,
                knock,
                now,
            ),
            Pattern::Set { steps } => set::advance(attempt, (steps, at_port), knock, now),
            Pattern::Codes {
                codes,
                order,
                window,
                expected,
            } => {
                let codes = Codes {
                    codes,
                    order,
                    expected,
                };
                code::advance(attempt, codes, window, knock, now)
            }
        };
        match progress {
            Progress::Wrong => *attempt = Attempt::NONE,
            Progress::Completed(_) => {
                let code = attempt.ahead;
                attempt.finish();
                if matches!(self, Pattern::Codes { .. }) {
                    attempt.ahead = code;
                    attempt.accepted = knock.source_port.into();
                }
            }
            Progress::Advanced | Progress::Repeated | Progress::Late => {}
        }
        progress
    }

    /// Whether more than one of its knocks is at this port.
    pub(crate) fn repeats(&self, port: Port) -> bool {
        are_several(self.steps_at(port))
    }

    /// Tells of the packets that must not count as others from now on, by their ports, once this knock was accepted.
    /// That with which an attempt at a sequence began is known by the attempt as long as it lasts.
    pub(crate) fn remember(
        &self,
        attempt: &Attempt,
        (knock, at_port): (&Knock<'_>, u32),
        tell: &mut dyn FnMut(Port, u16),
    ) {
        let is_sequence = matches!(self, Pattern::Sequence { .. });
        if is_sequence
            && attempt.is_finished()
            && let Some(first) = self.steps().first()
            && self.repeats(*first)
        {
            tell(*first, attempt.source_port);
        }
        if are_several(at_port) && !(is_sequence && attempt.is_at_first()) {
            tell(knock.port, knock.source_port);
        }
    }

    /// Whether this is the first knock of a sequence, sent again.
    fn is_first_again(&self, attempt: &Attempt, knock: &Knock<'_>) -> bool {
        let was_made = attempt.accepted & 1 != 0 || attempt.is_finished();
        matches!(self, Pattern::Sequence { .. })
            && was_made
            && attempt.source_port == knock.source_port
            && self.steps().first() == Some(&knock.port)
    }

    /// Whether it is made of codes.
    pub(crate) const fn has_codes(&self) -> bool {
        matches!(self, Pattern::Codes { .. })
    }

    /// The codes that are expected, if it is made of such.
    pub(crate) const fn codes(&self) -> Option<Codes<'_>> {
        match *self {
            Pattern::Codes {
                codes,
                order,
                expected,
                ..
            } => Some(Codes {
                codes,
                order,
                expected,
            }),
            Pattern::Sequence { .. } | Pattern::Set { .. } => None,
        }
    }

    /// Ends an attempt if a knock that was overtaken did not follow within the jitter; whether that is a failure.
    pub(crate) fn lapse(&self, attempt: &mut Attempt, now: Instant) -> bool {
        match *self {
            Pattern::Sequence { jitter, .. } => {
                attempt.is_disordered() && since(attempt.ahead, now) > jitter && attempt.lapse()
            }
            Pattern::Set { .. } | Pattern::Codes { .. } => false,
        }
    }

    /// The one knock that was accepted, if it was one and more are to come.
    ///
    /// Not for codes. Whoever floods the first port of a sequence knows it, and gives away
    /// nothing that he did not have; a flood over a code's whole range hits the right ports
    /// by chance, and must not make half of the code free: see [`Codes::halves_at`]. Nor for a knock of a sequence
    /// that came ahead of the first: nobody would ask for it.
    pub(crate) fn only_knock(&self, attempt: &Attempt) -> Option<Port> {
        match *self {
            _ if attempt.count() != 1 || !attempt.is_under_way() => None,
            Pattern::Sequence { .. } if attempt.first_step() > 0 => None,
            Pattern::Sequence { steps, .. } | Pattern::Set { steps, .. } => {
                steps.get(attempt.first_step()).copied()
            }
            Pattern::Codes { .. } => None,
        }
    }

    /// The attempt that `knock` would go on with, had another knock that `was_made` knows
    /// come first. Where that was at the same port, it must not be the same packet: see
    /// [`Circumstances::was_accepted`].
    pub(crate) fn resume(
        &self,
        knock: Port,
        now: Instant,
        was_made: &dyn Fn(Port) -> bool,
        was_accepted: &dyn Fn() -> bool,
    ) -> Option<Attempt> {
        match *self {
            Pattern::Sequence { steps, .. } => {
                let (first, later) = steps.split_first()?;
                let may_follow = match knock == *first {
                    // What is not the second begins an attempt of its own.
                    true => later.first() == Some(first) && !was_accepted(),
                    false => later.contains(&knock),
                };
                (may_follow && was_made(*first)).then(|| Attempt::begun(now, 1))
            }
            Pattern::Set { steps, .. } if steps.contains(&knock) => {
                let is_another =
                    |step: &Port| *step != knock || self.repeats(knock) && !was_accepted();
                let made = |step: &Port| is_another(step) && was_made(*step);
                let step = steps.iter().position(made)?;
                Some(Attempt::begun(now, 1 << step))
            }
            Pattern::Set { .. } | Pattern::Codes { .. } => None,
        }
    }
}
