//! The table as an nft script.
//!
//! It reproduces the listing of nft 1.0.6, so that what was rendered and what the kernel
//! holds can be compared as text.

use core::fmt::{self, Display, Formatter};
use core::net::IpAddr;
use core::ops::RangeInclusive;

use postern_core::time::Duration;

use super::model::{
    Chain, Content, Hook, Rule, Set, SetKey, Statement, Table, UDP_HEADER, Verdict, WHOLE,
    echo_length,
};
use super::names::TABLE;
use crate::collect::CollectVec;
use crate::network::{Family, Network};

/// The script that makes the table, ending in a newline.
pub(crate) fn render(table: &Table) -> String {
    let blocks: Vec<String> = table
        .counters
        .iter()
        .map(|name| format!("\tcounter {name} {{\n\t\tpackets 0 bytes 0\n\t}}\n"))
        .chain(table.sets.iter().map(ToString::to_string))
        .chain(table.chains.iter().map(ToString::to_string))
        .collect_vec();
    format!("table inet {TABLE} {{\n{}}}\n", blocks.join("\n"))
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let keyword = if matches!(self.content, Content::PortChains(_)) {
            "map"
        } else {
            "set"
        };
        writeln!(
            f,
            "\t{keyword} {} {{\n\t\ttype {}",
            self.name,
            self.content.type_name()
        )?;
        if let Some(size) = self.size {
            writeln!(f, "\t\tsize {size}")?;
        }
        match (self.content.is_dynamic(), self.content.is_timed()) {
            (true, _) => writeln!(f, "\t\tflags dynamic,timeout")?,
            (false, true) => writeln!(f, "\t\tflags timeout")?,
            (false, false) => {}
        }
        if self.content.is_of_ranges() {
            writeln!(f, "\t\tflags interval")?;
        }
        if let Some(comment) = &self.comment {
            writeln!(f, "\t\tcomment \"{comment}\"")?;
        }
        match &self.content {
            Content::Interfaces(names) => {
                let names = names.iter().map(|name| format!("\"{name}\""));
                write_elements(f, names, 1)?;
            }
            Content::Ports(ports) => write_elements(f, ports.iter().map(u16::to_string), 5)?,
            Content::PortChains(ports) => {
                let ports = ports
                    .iter()
                    .map(|(ports, chain)| format!("{} : goto {chain}", port_text(ports)));
                write_elements(f, ports, 5)?;
            }
            Content::TimedInterfaces
            | Content::TimedSources(_)
            | Content::DynamicSources(_)
            | Content::DynamicPairs(_) => {}
        }
        writeln!(f, "\t}}")
    }
}

impl Content {
    const fn type_name(&self) -> &'static str {
        match self {
            Self::Interfaces(_) | Self::TimedInterfaces => "ifname",
            Self::TimedSources(Family::V4) | Self::DynamicSources(Family::V4) => "ipv4_addr",
            Self::TimedSources(Family::V6) | Self::DynamicSources(Family::V6) => "ipv6_addr",
            Self::DynamicPairs(Family::V4) => "ipv4_addr . inet_service",
            Self::DynamicPairs(Family::V6) => "ipv6_addr . inet_service",
            Self::Ports(_) => "inet_service",
            Self::PortChains(_) => "inet_service : verdict",
        }
    }
}

fn port_text(ports: &RangeInclusive<u16>) -> String {
    match (ports.start(), ports.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

/// Writes a list as nft does: so many in a line, aligned below the first. An empty list is
/// not written.
fn write_elements(
    f: &mut Formatter<'_>,
    elements: impl Iterator<Item = String>,
    per_line: usize,
) -> fmt::Result {
    let mut count = 0;
    for element in elements {
        f.write_str(match count {
            0 => "\t\telements = { ",
            _ if count % per_line == 0 => ",\n\t\t\t     ",
            _ => ", ",
        })?;
        f.write_str(&element)?;
        count += 1;
    }
    if count == 0 {
        Ok(())
    } else {
        f.write_str(" }\n")
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = self.hook {
            writeln!(f, "\t\ttype filter hook {hook}; policy accept;")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{}", rule_text(rule))?;
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting priority dstnat - 10",
            Self::Input => "input priority filter - 10",
        })
    }
}

fn rule_text(rule: &Rule) -> String {
    rule.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::ArrivedOn(set) => write!(f, "iifname @{set}"),
            Self::NotArrivedOn(set) => write!(f, "iifname != @{set}"),
            Self::Arrived(interface) => write!(f, "iifname \"{interface}\""),
            Self::Of(protocol) => write!(f, "meta l4proto {}", protocol.name()),
            Self::PortIn(protocol, set) => write!(f, "{} dport @{set}", protocol.name()),
            Self::PortBetween(protocol, ports) => {
                write!(f, "{} dport {}", protocol.name(), port_text(ports))
            }
            Self::From(network) => {
                write!(f, "{} {}", source(network.family()), network)
            }
            Self::To(network) => {
                let family = match network.family() {
                    Family::V4 => "ip",
                    Family::V6 => "ip6",
                };
                write!(f, "{family} daddr {}", network)
            }
            Self::EchoRequest(Family::V4) => f.write_str("icmp type echo-request"),
            Self::EchoRequest(Family::V6) => f.write_str("icmpv6 type echo-request"),
            Self::EchoLength(family, carried) => {
                let length = echo_length(*family, *carried);
                match family {
                    Family::V4 => write!(f, "ip length {length} ip frag-off & {WHOLE} == 0"),
                    Family::V6 => write!(f, "ip6 length {length} ip6 nexthdr ipv6-icmp"),
                }
            }
            Self::Datagram {
                octets,
                mask,
                value,
            } => {
                let (first, last) = (octets.start() + UDP_HEADER, octets.end() + UDP_HEADER);
                write!(
                    f,
                    "udp length {first}-{last} @th,64,8 & 0x{mask:x} == 0x{value:x}"
                )
            }
            Self::SourceIn(family, set) => write!(f, "{} @{set}", source(*family)),
            Self::NetworkIn(family, prefix, set) => {
                write!(f, "{} == @{set}", masked_source(*family, *prefix))
            }
            Self::KeyIn(key, set) => write!(f, "{key} @{set}"),
            Self::Change {
                change,
                set,
                key,
                lasting,
            } => {
                write!(f, "{} @{set} {{ {key}", change.name())?;
                if let Some(lasting) = lasting {
                    write!(f, " timeout {}", time(*lasting))?;
                }
                f.write_str(" }")
            }
            Self::Count(counter) => write!(f, "counter name \"{counter}\""),
            Self::NotOpening => f.write_str("tcp flags != syn / syn,ack"),
            Self::PortVerdict(protocol, map) => write!(f, "{} dport vmap @{map}", protocol.name()),
            Self::UdpFlow => f.write_str("meta l4proto udp ct status confirmed"),
            Self::OwnFlow => f.write_str("ct direction reply ct status snat"),
            Self::ForAnother(true) => f.write_str("fib daddr type unicast"),
            Self::ForAnother(false) => f.write_str("fib daddr type != unicast"),
            Self::FirstFragment => f.write_str("frag frag-off 0"),
            Self::PortsReadable => f.write_str("@th,0,32 != 0x0"),
            Self::Limit { per_second, burst } => {
                write!(f, "limit rate {per_second}/second burst {burst} packets")
            }
            Self::Log { group, length } => write!(f, "log group {group} snaplen {length}"),
            Self::LogLine(prefix) => write!(f, "log prefix \"{prefix}\""),
            Self::Mark(bits) => write!(f, "meta mark set meta mark | 0x{bits:08x}"),
            Self::Verdict(verdict) => verdict.fmt(f),
        }
    }
}

impl Display for SetKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Network(family, whole) if whole == family.bits() => f.write_str(source(family)),
            Self::Network(family, prefix) => f.write_str(&masked_source(family, prefix)),
            Self::Port(family, protocol) => {
                write!(f, "{} . {} dport", source(family), protocol.name())
            }
            Self::SourcePort(family, protocol) => {
                write!(f, "{} . {} sport", source(family), protocol.name())
            }
            Self::NextPort(family, port) => write!(f, "{} . {port}", source(family)),
        }
    }
}

const fn source(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip saddr",
        Family::V6 => "ip6 saddr",
    }
}

fn masked_source(family: Family, prefix: u8) -> String {
    let mask: IpAddr = match family {
        Family::V4 => Network::mask4(prefix).into(),
        Family::V6 => Network::mask6(prefix).into(),
    };
    format!("{} & {mask}", source(family))
}

/// A time as nft writes it: all units that it has something of, `1h1m5s500ms`.
fn time(time: Duration) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
        (1, "ms"),
    ];
    let mut rest = time.as_millis();
    let parts = units.into_iter().filter_map(|(unit, name)| {
        let count = rest / unit;
        rest %= unit;
        (count > 0).then(|| format!("{count}{name}"))
    });
    parts.collect()
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Return => f.write_str("return"),
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_core::config::Guard;

    use crate::firewall::render;
    use crate::firewall::tests::examples;

    #[test]
    fn a_gate() {
        let expected = "table inet postern {
	set interfaces {
		type ifname
		size 16
		elements = { \"wan\" }
	}

	set grant4_ssh {
		type ipv4_addr
		size 1024
		flags timeout
		comment \"tcp:22\"
	}

	set grant6_ssh {
		type ipv6_addr
		size 1024
		flags timeout
		comment \"tcp:22\"
	}

	set anyone_ssh {
		type ifname
		size 16
		flags timeout
		comment \"tcp:22\"
	}

	set locked_ssh {
		type ifname
		size 16
		flags timeout
		comment \"tcp:22\"
	}

	set cutoff4 {
		type ipv4_addr
		size 4096
		flags timeout
	}

	set cutoff6 {
		type ipv6_addr
		size 4096
		flags timeout
	}

	set tcp_guarded {
		type inet_service
		size 1
		elements = { 22 }
	}

	map tcp_doors {
		type inet_service : verdict
		elements = { 22 : goto door_ssh }
	}

	map tcp_knocks {
		type inet_service : verdict
		elements = { 7000 : goto knock, 7004 : goto knock, 9002 : goto knock, 9003 : goto knock }
	}

	map udp_knocks {
		type inet_service : verdict
		elements = { 8001 : goto knock }
	}

	chain input {
		type filter hook input priority filter - 10; policy accept;
		iifname \"wan\" goto heard
	}

	chain prerouting {
		type filter hook prerouting priority dstnat - 10; policy accept;
		iifname \"wan\" goto guard
	}

	chain knock {
		ip saddr @cutoff4 drop
		ip6 saddr & ffff:ffff:ffff:ffff:: == @cutoff6 drop
		log group 5 snaplen 124 drop
	}

	chain door_ssh {
		iifname @locked_ssh drop
		iifname @anyone_ssh accept
		ip saddr @grant4_ssh accept
		ip6 saddr @grant6_ssh accept
		drop
	}

	chain fragment {
		@th,0,32 != 0x0 accept
		drop
	}

	chain local {
		tcp dport vmap @tcp_doors
		tcp dport @tcp_guarded drop
		frag frag-off 0 goto fragment
	}

	chain judge {
		fib daddr type unicast accept
		goto local
	}

	chain guard {
		tcp flags != syn / syn,ack accept
		meta l4proto udp accept
		goto judge
	}

	chain heard {
		tcp flags != syn / syn,ack accept
		tcp dport vmap @tcp_knocks
		udp dport vmap @udp_knocks
		fib daddr type unicast goto local
	}
}
";
        assert_eq!(render(&examples::ssh(Guard::Gate), &[]), expected);
    }

    #[test]
    fn a_mark_leaves_the_decision_to_the_firewall() {
        let text = render(&examples::ssh(Guard::Mark), &[]);
        let door = "	chain door_ssh {
		iifname @locked_ssh accept
		iifname @anyone_ssh meta mark set meta mark | 0x10000000 accept
		ip saddr @grant4_ssh meta mark set meta mark | 0x10000000 accept
		ip6 saddr @grant6_ssh meta mark set meta mark | 0x10000000 accept
	}
";
        assert!(text.contains(door), "{text}");
        assert!(!text.contains("fragment"), "{text}");
    }

    #[test]
    fn a_door_for_udp_lets_its_flows_live_and_needs_no_tcp_map() {
        let text = render(&examples::udp_only(Guard::Gate), &[]);
        assert!(
            text.contains("\t\tmeta l4proto udp ct status confirmed accept\n\t\tdrop\n"),
            "{text}"
        );
        assert!(!text.contains("tcp_doors"), "{text}");
    }
}
