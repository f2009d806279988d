//! What the table does so that the source of knocks sees one.

use postern_core::config::{Config, Global, Source};
use postern_core::door::Door;
use postern_core::{kernlog, payload, spa};

use super::model::{Chain, Rule, Statement, UDP_HEADER, Verdict};
use super::rules::mark;
use crate::collect::CollectVec;

/// How the table helps the source to see a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It copies the start of the packet to this NFLOG group, and drops the packet.
    Group(u16),
    /// It has the kernel's log say that the packet came, and drops the packet.
    Line,
    /// It drops the packet, which the source has seen before.
    Before,
    /// It lets the packet through to a socket of the agent's.
    Through,
}

impl Delivery {
    /// What the configuration's source needs.
    pub(crate) const fn of(global: &Global) -> Self {
        match global.source {
            Source::Nflog => Self::Group(global.nflog_group),
            Source::Packet => Self::Before,
            Source::Sockets => Self::Through,
            Source::Log => Self::Line,
        }
    }

    /// What becomes of a knock. A socket's is marked as a granted source's packets are, in case
    /// that the ordinary firewall asks for the mark.
    pub(crate) fn knock(self, config: &Config) -> Vec<Rule> {
        let drop = Statement::Verdict(Verdict::Drop);
        match self {
            Self::Group(group) => vec![vec![log(config, group), drop]],
            Self::Line => vec![vec![log_line()], vec![drop]],
            Self::Before => vec![vec![drop]],
            Self::Through => self.datagram(config).into_iter().collect_vec(),
        }
    }

    /// What becomes of a datagram of method `spa`, where the source does not see it before.
    pub(crate) fn datagram(self, config: &Config) -> Option<Rule> {
        let [drop, accept] = [Verdict::Drop, Verdict::Accept].map(Statement::Verdict);
        match self {
            Self::Group(group) => {
                let length = LONGEST_SNAPLEN;
                Some(vec![Statement::Log { group, length }, drop])
            }
            Self::Through => Some(mark(config).into_iter().chain([accept]).collect_vec()),
            Self::Before | Self::Line => None,
        }
    }

    /// What becomes of a knock that passes on, where the source does not see it by itself.
    pub(crate) fn passing(self, config: &Config) -> Option<Vec<Rule>> {
        let accept = Statement::Verdict(Verdict::Accept);
        match self {
            Self::Group(group) => Some(vec![vec![log(config, group), accept]]),
            Self::Line => Some(vec![vec![log_line()], vec![accept]]),
            Self::Before | Self::Through => None,
        }
    }

    /// What tells the source of a hit at a decoy, where the table must.
    pub(crate) fn decoy(self, config: &Config) -> Option<Rule> {
        let limit = Statement::Limit {
            per_second: MAX_DECOY_HITS_PER_SECOND,
            burst: MAX_DECOY_HITS_PER_SECOND,
        };
        match self {
            Self::Group(group) => Some(vec![limit, log(config, group)]),
            Self::Line => Some(vec![log_line()]),
            Self::Before | Self::Through => None,
        }
    }

    /// The chain that both of them need.
    pub(crate) fn chain(self) -> Option<Chain> {
        let limit = Statement::Limit {
            per_second: MAX_LINES_PER_SECOND,
            burst: LINES_BURST,
        };
        let rule = vec![limit, Statement::LogLine(kernlog::PREFIX)];
        (self == Self::Line).then(|| Chain::new(LOGGED.to_owned(), vec![rule]))
    }
}

/// Hits at decoys that are looked at in a second: a scan makes no more, and where a service
/// answers on such a port its packets must not keep the agent busy.
const MAX_DECOY_HITS_PER_SECOND: u32 = 100;

/// The chain that writes lines.
const LOGGED: &str = "logged";
/// Lines in a second, and how many more at once: enough for several whole sequences.
///
/// Strangers cause them, and each is 250 octets. A serial console of 115,200 baud prints 46 of
/// them in a second, for which the kernel may wait; a ring of 64 KiB, as small routers have,
/// holds those of 26 s. Knocks and decoys share the limit, so that a scan which keeps decoys
/// from being logged keeps its knocks from it too.
const MAX_LINES_PER_SECOND: u32 = 10;
const LINES_BURST: u32 = 50;

/// The most octets of a packet that any table logs: what a reader of the group must ask for.
pub(crate) const LONGEST_SNAPLEN: u16 = HEADERS + UDP_HEADER + LONGEST_DATAGRAM;
/// An IPv6 header and 64 octets of extension headers, or an IPv4 header with all its options.
const HEADERS: u16 = 40 + 64;
/// Without the options, which say nothing about a knock.
const TCP_HEADER: u16 = 20;
/// One octet more than any payload tells whether it is longer.
const LONGEST_PAYLOAD: u16 = payload::MAX_BYTES as u16 + 1;
/// Likewise for datagrams of method `spa`.
const LONGEST_DATAGRAM: u16 = spa::COPIED as u16;

/// The most octets that any of the doors needs of what a UDP packet carries.
pub(crate) fn longest_payload(doors: &[Door]) -> u16 {
    match doors.iter().any(|door| door.method.spa().is_some()) {
        true => LONGEST_DATAGRAM,
        false => LONGEST_PAYLOAD,
    }
}

/// The most octets that any of the doors needs of a packet.
pub(crate) fn longest_snaplen(doors: &[Door]) -> u16 {
    HEADERS + UDP_HEADER + longest_payload(doors)
}

/// How many octets of a knock the doors need to see: headers, and the payload that one asks for.
fn snaplen(doors: &[Door]) -> u16 {
    let payloads = doors.iter().filter_map(|door| door.payload.as_ref());
    let longest = payloads.map(payload::Payload::needed).max().unwrap_or(0);
    let udp = UDP_HEADER.saturating_add(u16::try_from(longest).unwrap_or(u16::MAX));
    HEADERS.saturating_add(udp.max(TCP_HEADER))
}

fn log(config: &Config, group: u16) -> Statement {
    Statement::Log {
        group,
        length: snaplen(&config.doors),
    }
}

fn log_line() -> Statement {
    Statement::Verdict(Verdict::Jump(LOGGED.to_owned()))
}

#[cfg(test)]
mod tests {
    use heapless::Vec;
    use postern_core::config::Guard;
    use postern_core::door::Method;
    use postern_core::payload::{MAX_BYTES, Payload};

    use super::*;
    use crate::firewall::tests::examples;

    #[test]
    fn a_log_holds_the_longest_payload_of_all_doors() {
        let mut doors = examples::three(Guard::Gate).doors;
        assert_eq!(snaplen(&doors), 104 + 20);
        doors[0].payload = Some(Payload::Dns);
        assert_eq!(snaplen(&doors), 104 + 20);
        doors[1].payload = Some(Payload::Ntp);
        assert_eq!(snaplen(&doors), 104 + 8 + 48);
        let bytes = Payload::Bytes(Vec::from_slice(&[0; MAX_BYTES]).unwrap());
        doors[2].payload = Some(bytes);
        assert_eq!(snaplen(&doors), longest_snaplen(&doors));
        doors[1].method = Method::Spa(examples::terms());
        assert_eq!(longest_snaplen(&doors), LONGEST_SNAPLEN);
    }
}
