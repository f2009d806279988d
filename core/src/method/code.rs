//! Codes: two ports that nobody can know without the secret.

use crate::code::KNOCKS;
use crate::door::Order;
use crate::knock::{Knock, Port, Protocol};
use crate::method::attempt::Attempt;
use crate::method::{Candidate, Progress};
use crate::time::{Duration, Instant};

/// The codes that are expected of a source.
#[derive(Clone, Copy)]
pub(crate) struct Codes<'c> {
    pub(super) codes: &'c [Candidate],
    pub(super) order: Order,
    pub(super) expected: (u64, u64),
}

pub(super) fn advance(
    attempt: &mut Attempt,
    codes: Codes<'_>,
    window: Duration,
    knock: &Knock<'_>,
    now: Instant,
) -> Progress {
    let port = knock.port;
    let Some(earlier) = attempt.half() else {
        return match () {
            () if codes.may_begin(port) => begin(attempt, knock, now),
            // A knock of the code that was just used, once more.
            () if is_sent_again(attempt, knock, now, window) => Progress::Repeated,
            () => Progress::Wrong,
        };
    };
    // A code whose groups are equal takes two knocks too; a retransmission is not the second.
    let is_retransmission = earlier == port && knock.source_port == attempt.source_port;
    match codes.find(earlier, port) {
        Some(counter) if !is_retransmission => {
            attempt.ahead = u32::from(earlier.number) << 16 | u32::from(port.number);
            Progress::Completed(counter)
        }
        _ if earlier == port => Progress::Repeated,
        // What was under way lost its second knock, or was a mistyped code's that happens to begin
        // another. Whoever types the next code must not pay for it.
        _ if codes.may_begin(port) => begin(attempt, knock, now),
        _ => Progress::Wrong,
    }
}

/// Puts an attempt whose one knock was this in the place of whatever had been reached.
fn begin(attempt: &mut Attempt, knock: &Knock<'_>, now: Instant) -> Progress {
    *attempt = Attempt::begun_by(knock, now, 1);
    attempt.accepted = note(knock.port);
    Progress::Advanced
}

fn note(port: Port) -> u32 {
    u32::from(port.protocol.number()) << 16 | u32::from(port.number)
}

/// The port of a [`note`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "the port is the lower half"
)]
const fn noted(attempt: &Attempt) -> Port {
    let protocol = match attempt.accepted >> 16 == Protocol::Tcp.number() as u32 {
        true => Protocol::Tcp,
        false => Protocol::Udp,
    };
    Port {
        protocol,
        number: attempt.accepted as u16,
    }
}

impl Attempt {
    /// The port at which an attempt at a code began, if one is under way.
    pub(crate) fn half(&self) -> Option<Port> {
        self.is_under_way().then(|| noted(self))
    }
}

/// Whether it is one of the two knocks that a finished attempt was made of. Who types a code again has it within the
/// window only: after that, it comes from where it came then, or is another knock.
fn is_sent_again(attempt: &Attempt, knock: &Knock<'_>, now: Instant, window: Duration) -> bool {
    let (port, from) = (u32::from(knock.port.number), u32::from(knock.source_port));
    let knocks = [
        (attempt.ahead >> 16, u32::from(attempt.source_port)),
        (attempt.ahead & 0xffff, attempt.accepted),
    ];
    let is_recent = attempt.age(now) <= window;
    let is_same = |&(number, source)| number == port && (is_recent || source == from);
    attempt.is_finished() && knocks.iter().any(is_same)
}

impl<'c> Codes<'c> {
    fn iter(self) -> impl Iterator<Item = &'c Candidate> {
        let codes = self.codes.iter();
        codes.filter(move |code| self.expects(code))
    }

    /// Asked last, of few codes: their ports are compared in less time.
    fn expects(self, code: &Candidate) -> bool {
        let (first, last) = self.expected;
        first <= code.counter && code.counter <= last
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.codes.is_empty()
    }

    pub(crate) fn may_begin(self, port: Port) -> bool {
        let begins = |code: &Candidate| {
            let [first, second] = code.knocks;
            first == port || second == port && self.order == Order::Any
        };
        let mut codes = self.codes.iter();
        codes.any(|code| begins(code) && self.expects(code))
    }

    /// The counter of the code that these two knocks spell.
    fn find(self, one: Port, other: Port) -> Option<u64> {
        let spells = |code: &Candidate| {
            let [first, second] = code.knocks;
            first == one && second == other
                || first == other && second == one && self.order == Order::Any
        };
        let mut codes = self.codes.iter();
        let code = codes.find(|code| spells(code) && self.expects(code))?;
        Some(code.counter)
    }

    /// Whether a half of one of them is at this port.
    pub(crate) fn has(self, port: Port) -> bool {
        let mut codes = self.codes.iter();
        codes.any(|code| code.knocks.contains(&port) && self.expects(code))
    }

    /// Whether a half of the code with this counter, expected or not, is at this port.
    pub(crate) fn has_at(self, counter: u64, port: Port) -> bool {
        let mut codes = self.codes.iter().filter(|code| code.counter == counter);
        codes.any(|code| code.knocks.contains(&port))
    }

    /// The first half that the attempt began with: of which codes, and which half of each.
    pub(crate) fn halves_at(self, attempt: &Attempt, tell: &mut dyn FnMut(u64, usize)) {
        if let Some(port) = attempt.half() {
            self.first_halves(&mut |counter, number, half| {
                if half == port {
                    tell(counter, number);
                }
            });
        }
    }

    /// Every half with which a code may begin.
    pub(crate) fn first_halves(self, tell: &mut dyn FnMut(u64, usize, Port)) {
        for code in self.iter() {
            let beginnings = match self.order {
                Order::Any => KNOCKS,
                Order::Strict => 1,
            };
            for (number, half) in code.knocks.iter().enumerate().take(beginnings) {
                tell(code.counter, number, *half);
            }
        }
    }

    /// The attempt that this knock ends, where it began with a half that `made` knows of. One that is the same port is
    /// not asked for: nobody could tell it from the same knock sent again.
    pub(crate) fn recall(
        self,
        port: Port,
        made: &dyn Fn(u64, usize) -> Option<(u32, u16)>,
    ) -> Option<Attempt> {
        self.iter().find_map(|code| {
            let [first, second] = code.knocks;
            let (half, number) = match () {
                () if first == second => return None,
                () if second == port => (first, 0),
                () if first == port && self.order == Order::Any => (second, 1),
                () => return None,
            };
            let made = made(code.counter, number)?;
            Some(Attempt::recalled(made, note(half)))
        })
    }
}
