//! Codes: two ports that nobody can know without the secret.

use crate::code::KNOCKS;
use crate::door::Order;
use crate::knock::{Knock, Port, Protocol};
use crate::method::attempt::Attempt;
use crate::method::{Candidate, Progress};
use crate::time::{Duration, Instant};

pub(super) fn advance(
    attempt: &mut Attempt,
    codes: &[Candidate],
    (order, window): (Order, Duration),
    knock: &Knock<'_>,
    now: Instant,
) -> Progress {
    let port = knock.port;
    let Some(earlier) = attempt.is_under_way().then(|| noted(attempt)) else {
        return match () {
            () if may_begin(codes, order, port) => begin(attempt, knock, now),
            // A knock of the code that was just used, once more.
            () if is_sent_again(attempt, knock, now, window) => Progress::Repeated,
            () => Progress::Wrong,
        };
    };
    // A code whose groups are equal takes two knocks too; a retransmission is not the second.
    let is_retransmission = earlier == port && knock.source_port == attempt.source_port;
    match find(codes, order, earlier, port) {
        Some(counter) if !is_retransmission => {
            attempt.ahead = u32::from(earlier.number) << 16 | u32::from(port.number);
            Progress::Completed(counter)
        }
        _ if earlier == port => Progress::Repeated,
        // What was under way lost its second knock, or was a mistyped code's that happens to begin
        // another. Whoever types the next code must not pay for it.
        _ if may_begin(codes, order, port) => begin(attempt, knock, now),
        _ => Progress::Wrong,
    }
}

/// Puts an attempt whose one knock was this in the place of whatever had been reached.
fn begin(attempt: &mut Attempt, knock: &Knock<'_>, now: Instant) -> Progress {
    let Port { protocol, number } = knock.port;
    let noted = u32::from(protocol.number()) << 16 | u32::from(number);
    *attempt = Attempt::begun_by(knock, now, 1);
    attempt.accepted = noted;
    Progress::Advanced
}

/// The port that [`begin`] noted.
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

fn may_begin(codes: &[Candidate], order: Order, port: Port) -> bool {
    let beginnings = match order {
        Order::Any => KNOCKS,
        Order::Strict => 1,
    };
    let mut codes = codes
        .iter()
        .flat_map(|code| code.knocks.iter().take(beginnings));
    codes.any(|knock| *knock == port)
}

/// The counter of the code that these two knocks spell.
fn find(codes: &[Candidate], order: Order, one: Port, other: Port) -> Option<u64> {
    let spells = |code: &&Candidate| {
        code.knocks == [one, other] || order == Order::Any && code.knocks == [other, one]
    };
    codes.iter().find(spells).map(|code| code.counter)
}
