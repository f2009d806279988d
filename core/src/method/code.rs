//! Codes: two ports that nobody can know without the secret.

use crate::code::KNOCKS;
use crate::door::Order;
use crate::knock::{Port, Protocol};
use crate::method::attempt::Attempt;
use crate::method::{Candidate, Progress};
use crate::time::Instant;

pub(super) fn advance(
    attempt: &mut Attempt,
    codes: &[Candidate],
    order: Order,
    port: Port,
    now: Instant,
) -> Progress {
    let earlier = attempt.is_under_way().then(|| noted(attempt));
    // A code whose groups are equal needs one knock, if its protocols are equal too.
    if let Some(counter) = find(codes, order, earlier.unwrap_or(port), port) {
        return Progress::Completed(counter);
    }
    match earlier {
        Some(earlier) if earlier == port => Progress::Repeated,
        Some(_) => Progress::Wrong,
        None if may_begin(codes, order, port) => {
            *attempt = begun(port, now);
            Progress::Advanced
        }
        // The last knock of the code that was just used, once more.
        None if attempt.finished => Progress::Repeated,
        None => Progress::Wrong,
    }
}

/// An attempt whose one knock was at `port`.
fn begun(port: Port, now: Instant) -> Attempt {
    let protocol = u32::from(port.protocol.number());
    let mut attempt = Attempt::begun(now, protocol << 16 | u32::from(port.number));
    attempt.is_port = true;
    attempt
}

/// The port that [`begun`] noted.
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
