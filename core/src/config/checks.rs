//! What only a whole door shows: each check looks at one thing that options have in common.

use super::draft::Draft;
use super::{Problem, Source};
use crate::code::Code;
use crate::door::{Door, Method, Name, Sequence};
use crate::guesses::asks_for_more;
use crate::knock::{Port, PortRange, Protocol, udp};
use crate::method;
use crate::payload::Payload;
use crate::time::Duration;

/// What a check found, and the option at which to say it.
pub(super) struct Finding {
    pub(super) option: &'static str,
    pub(super) problem: Problem,
    pub(super) number: u32,
    pub(super) value: &'static str,
    pub(super) ports: Option<PortRange>,
    pub(super) other: Name,
}

/// Looks at the door that was just read; the doors before it are in the draft.
pub(super) type Check = fn(&Draft<'_>, &Door) -> Option<Finding>;

/// What makes a door impossible.
pub(super) const ERRORS: &[Check] = &[
    needs_daemon,
    |draft, _| too_many_for_single(draft, "open", &draft.door.open),
    |draft, _| too_many_for_single(draft, "close", &draft.door.close),
    too_few_for_a_sequence,
    sequences_clash,
    base_too_high,
    code_is_guard,
    close_is_code,
    payload_without_udp,
    payload_in_a_log,
    spa_in_a_log,
    spa_port_is_guard,
    spa_port_is_knock,
    to_with_behind,
    never_open,
    echo_by_sockets,
    echo_in_kernel,
    passive_by_sockets,
    passive_cutoff,
    expiry_differs,
    passive_list,
    passive_differs,
];

/// What makes a door weak. A client cannot help it.
pub(super) const WARNINGS: &[Check] = &[
    single_knock,
    ascending,
    one_port,
    passive_costs,
    usual_echo,
    same_sequence,
    no_cutoff,
    guessable,
    scannable,
    short_grant,
    |_, door| wide_prefix("grant_prefix4", door.grant_prefix4, 24),
    |_, door| wide_prefix("grant_prefix6", door.grant_prefix6, 64),
];

fn at(option: &'static str, problem: Problem) -> Finding {
    numbered(option, problem, 0)
}

fn numbered(option: &'static str, problem: Problem, number: u32) -> Finding {
    Finding {
        option,
        problem,
        number,
        value: "",
        ports: None,
        other: Name::new(),
    }
}

fn needs_daemon(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let impossible = door.engine.is_in_kernel() && door.method.is_one_time();
    impossible.then(|| Finding {
        value: door.method.name(),
        ..at("method", Problem::MethodNeedsDaemon)
    })
}

fn too_many_for_single(
    draft: &Draft<'_>,
    option: &'static str,
    knocks: &Sequence,
) -> Option<Finding> {
    let single = draft.door.method.is_some_and(|method| method.is_single());
    (single && knocks.len() > 1).then(|| at(option, Problem::NotSingle))
}

fn too_few_for_a_sequence(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let single = draft.door.method.is_none_or(|method| method.is_single());
    let too_few = !single && !door.method.is_one_time() && draft.door.open.len() < 2;
    too_few.then(|| at("open", Problem::NoSequence))
}

fn sequences_clash(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let Method::Separate { open, close } = &door.method else {
        return None;
    };
    let clash = !close.is_empty() && (open.starts_with(close) || close.starts_with(open));
    clash.then(|| at("close", Problem::SequencesClash))
}

fn base_too_high(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let code = door.method.code()?;
    let highest = u16::MAX - (code.digits.group() - 1);
    let problem = Problem::BaseTooHigh;
    (code.base > highest).then(|| numbered("base", problem, u32::from(highest)))
}

fn code_is_guard(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let code = door.method.code()?;
    let guarding = |other: &&Door| {
        let mut guards = other.guards.iter().filter_map(PortRange::single);
        guards.any(|guard| asks_for(code, guard.protocol, guard.number))
    };
    let other = draft.doors.iter().chain([door]).find(guarding)?;
    Some(Finding {
        other: other.name.clone(),
        ..at("base", Problem::CodeIsGuard)
    })
}

fn close_is_code(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let code = door.method.code()?;
    let mut close = door.method.close().iter();
    let both = close.any(|port| asks_for(code, port.protocol, port.number));
    let group = u32::from(code.digits.group());
    both.then(|| numbered("close", Problem::CloseIsCode, group))
}

/// Whether some code makes its owner knock on the port.
fn asks_for(code: &Code, protocol: Protocol, number: u16) -> bool {
    let mut ranges = code.ranges().into_iter();
    ranges.any(|(other, numbers)| other == protocol && numbers.contains(&number))
}

fn payload_without_udp(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    door.payload.as_ref()?;
    // The ports of a list are not known here.
    let known = !matches!(door.method, Method::List { .. });
    let without = known && !knocks_by_udp(door);
    without.then(|| at("payload", Problem::PayloadWithoutUdp))
}

fn payload_in_a_log(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let in_a_log = draft.source == Source::Log && door.payload.is_some();
    in_a_log.then(|| at("payload", Problem::PayloadInLog))
}

fn spa_in_a_log(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let in_a_log = draft.source == Source::Log && door.method.spa().is_some();
    in_a_log.then(|| at("method", Problem::SpaInLog))
}

fn spa_port_is_guard(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let port = udp(door.method.spa()?.port);
    let mut doors = draft.doors.iter().chain([door]);
    let other = doors.find(|other| other.guards_alone(port))?;
    Some(Finding {
        other: other.name.clone(),
        ..at("port", Problem::SpaPortIsGuard)
    })
}

/// A datagram and a knock cannot be told from each other before they are looked at, which costs more for the first.
fn spa_port_is_knock(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let clash = |spa: &Door, other: &Door| match (spa.method.spa(), other.method.spa()) {
        (Some(terms), None) => method::watches(other, udp(terms.port)),
        _ => false,
    };
    let mut doors = draft.doors.iter();
    let other = doors.find(|other| clash(door, other) || clash(other, door))?;
    let option = match door.method.spa() {
        Some(_) => "port",
        None => "method",
    };
    Some(Finding {
        other: other.name.clone(),
        ..at(option, Problem::SpaPortIsKnock)
    })
}

fn to_with_behind(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let both = !door.to.is_empty() && !door.behind.is_empty();
    both.then(|| at("to", Problem::ToWithBehind))
}

fn never_open(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let never = door.not_before? >= door.not_after?;
    never.then(|| at("not_after", Problem::NeverOpen))
}

fn echo_by_sockets(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let echo = method::watched(door)
        .iter()
        .any(|(protocol, _)| *protocol == Protocol::Icmp);
    let deaf = draft.source == Source::Sockets && !door.engine.is_in_kernel();
    (deaf && echo).then(|| at("open", Problem::NoSockets))
}

/// What tells a packet from the same one sent again is its source port, which an echo request has not.
fn echo_in_kernel(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let is_echo = |port: &&Port| port.protocol == Protocol::Icmp;
    let twice = |steps: &[Port]| {
        let mut echoes = steps.iter().filter(is_echo);
        echoes.any(|port| steps.iter().filter(|other| *other == port).count() > 1)
    };
    let (open, close) = (door.method.open(), door.method.close());
    let toggles = matches!(door.method, Method::Same { .. });
    let option = match (
        twice(open) || toggles && open.last().is_some_and(|port| is_echo(&port)),
        twice(close),
    ) {
        (true, _) => "open",
        (_, true) => "close",
        _ => return None,
    };
    (door.engine.is_in_kernel()).then(|| at(option, Problem::EchoInKernel))
}

/// What `ping` carries where it is not told otherwise: on Windows; on Linux and macOS; with its header.
fn usual_echo(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let usual = [32, 56, 64];
    let mut knocks = door.method.open().iter().chain(door.method.close());
    let found =
        knocks.find(|port| port.protocol == Protocol::Icmp && usual.contains(&port.number))?;
    Some(numbered("open", Problem::UsualEcho, found.number.into()))
}

fn passive_by_sockets(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let deaf = draft.source == Source::Sockets && !door.engine.is_in_kernel();
    (deaf && door.passive).then(|| at("passive", Problem::NoSockets))
}

/// Everybody who uses the service makes knocks that no other follows.
fn passive_cutoff(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    (door.passive && door.cutoff.is_some()).then(|| at("cutoff", Problem::PassiveCutoff))
}

/// Who is let in at a port by two doors keeps a connection until the last of them lets go, and neither can tell
/// which of its connections are the other's.
fn expiry_differs(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let mut others = draft.doors.iter();
    let (other, ports) = others.find_map(|other| {
        let mut guards = other.guards.iter();
        let ports = guards.find(|guard| door.guards.iter().any(|own| own.overlaps(guard)))?;
        (other.on_expiry != door.on_expiry).then_some((other, ports))
    })?;
    Some(Finding {
        other: other.name.clone(),
        ports: Some(*ports),
        ..at("on_expiry", Problem::ExpiryDiffers)
    })
}

/// Which ports they are is in a file, which may change under the table.
fn passive_list(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let listed = matches!(door.method, Method::List { .. });
    (listed && door.passive).then(|| at("passive", Problem::PassiveList))
}

/// A packet passes on or does not.
fn passive_differs(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let own = method::watched(door);
    let shares = |other: &&Door| {
        other.passive != door.passive
            && method::watched(other).iter().any(|(protocol, other)| {
                own.iter().any(|(own, ports)| {
                    own == protocol && ports.start() <= other.end() && other.start() <= ports.end()
                })
            })
    };
    let other = draft.doors.iter().find(shares)?;
    Some(Finding {
        other: other.name.clone(),
        ..at("passive", Problem::PassiveDiffers)
    })
}

fn passive_costs(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    (door.passive).then(|| at("passive", Problem::PassiveCosts))
}

fn knocks_by_udp(door: &Door) -> bool {
    method::watched(door)
        .iter()
        .any(|(protocol, _)| *protocol == Protocol::Udp)
}

fn single_knock(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let single = draft.door.method?.is_single();
    // Scanners know the dresses of other protocols too.
    let own_bytes = matches!(door.payload, Some(Payload::Bytes(_)));
    let mut open = draft.door.open.iter();
    let protected = own_bytes && open.all(|knock| knock.protocol == Protocol::Udp);
    (single && !protected).then(|| at("open", Problem::SingleKnock))
}

/// A scan of one protocol's ports in their order would open the door; one that tries each port several times, where
/// ports stand several times one right after the other.
fn ascending(draft: &Draft<'_>, _: &Door) -> Option<Finding> {
    let open = &draft.door.open;
    let ascending = open.windows(2).all(|pair| match pair {
        [first, second] => first.protocol == second.protocol && first.number <= second.number,
        _ => false,
    });
    let several = open.first() != open.last();
    (several && ascending).then(|| at("open", Problem::Ascending))
}

fn one_port(draft: &Draft<'_>, _: &Door) -> Option<Finding> {
    let (first, later) = draft.door.open.split_first()?;
    let one = !later.is_empty() && later.iter().all(|port| port == first);
    one.then(|| at("open", Problem::OnePort))
}

/// What opens one door opens another too, or has done when half of it is knocked.
fn same_sequence(draft: &Draft<'_>, door: &Door) -> Option<Finding> {
    let open = door.method.open();
    let same = |other: &&Door| {
        let others = other.method.open();
        let is_part = others.starts_with(open) || open.starts_with(others);
        let payloads_differ = (other.payload.as_ref().zip(door.payload.as_ref()))
            .is_some_and(|(other, own)| other != own);
        is_part && !others.is_empty() && !payloads_differ
    };
    let other = draft.doors.iter().find(same).filter(|_| !open.is_empty())?;
    Some(Finding {
        other: other.name.clone(),
        ..at("open", Problem::SameSequence)
    })
}

fn no_cutoff(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let digits = door.method.code()?.digits.count();
    let problem = Problem::NoCutoff;
    (door.cutoff.is_none()).then(|| numbered("method", problem, digits))
}

fn guessable(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    asks_for_more(door).then(|| at("method", Problem::Guessable))
}

/// Two knocks come before all decoys in one first scan of some 8,000, for which whoever has many addresses needs not
/// wait; a list, whose sequences are knocked in any order, has no decoys.
fn scannable(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    let short = match &door.method {
        Method::Same { steps } => steps.len() == 2,
        Method::Separate { open, .. } => open.len() == 2,
        Method::List { .. } => true,
        Method::Clock { .. } | Method::Seed { .. } | Method::Spa(_) => false,
    };
    let problem = match door.engine.is_in_kernel() {
        true => Problem::ScannableInKernel,
        false => Problem::Scannable,
    };
    (short && door.cutoff.is_none()).then(|| at("method", problem))
}

fn short_grant(_: &Draft<'_>, door: &Door) -> Option<Finding> {
    (door.grant < Duration::from_secs(1)).then(|| at("grant", Problem::ShortGrant))
}

fn wide_prefix(option: &'static str, prefix: u8, least: u8) -> Option<Finding> {
    (prefix < least).then(|| numbered(option, Problem::WidePrefix, u32::from(least)))
}
