//! The names of what is in the table, and what they tell.

use postern_core::config::Config;
use postern_core::door::Door;
use postern_core::knock::Protocol;

use super::model::PROTOCOLS;
use crate::knock_ports;

use crate::network::Family;

/// The name of the table, of family `inet`.
pub(crate) const TABLE: &str = "postern";
/// The set of guarded interfaces.
pub(crate) const INTERFACES: &str = "interfaces";
/// The chains that packets enter.
pub(crate) const INPUT: &str = "input";
pub(crate) const PREROUTING: &str = "prerouting";
/// The chain that shows packets from guarded interfaces to doors.
pub(crate) const GUARD: &str = "guard";
/// The chain of those that a door may be concerned with.
pub(crate) const JUDGE: &str = "judge";
/// The chain of those of them that are for this machine.
pub(crate) const LOCAL: &str = "local";
/// The chain that hears knocks.
pub(crate) const HEARD: &str = "heard";
pub(crate) const KNOCK: &str = "knock";
/// The chain of knocks that pass on to whoever they are for.
pub(crate) const PASSING: &str = "passing";
pub(crate) const DECOY: &str = "decoy";
pub(crate) const FRAGMENT: &str = "fragment";
/// The set of the ports of which the guard looks at every segment.
pub(crate) const CUT: &str = "tcp_cut";

/// What a set of grants holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantKind {
    /// Sources.
    Source(Family),
    /// Interfaces on which the door is open for anyone.
    Anyone,
}

/// What the name of a door's set of interfaces begins with.
pub(crate) const ANYONE: &str = "anyone_";

/// What the name of a door's set of sources begins with.
///
/// No door's name makes any two of the table's sets collide: the prefixes differ before
/// their first underscore, and no fixed name begins with one of them.
pub(crate) const fn grant_prefix(family: Family) -> &'static str {
    match family {
        Family::V4 => "grant4_",
        Family::V6 => "grant6_",
    }
}

/// What the name of a door's set of interfaces begins with on which it is locked.
pub(crate) const LOCKED: &str = "locked_";

pub(crate) fn locked(door: &str) -> String {
    [LOCKED, door].concat()
}

/// Whether elements of a set of this name outlive a reinstallation.
pub(crate) fn is_kept(set: &str) -> bool {
    grant_kind(set).is_some() || set.starts_with(LOCKED)
}

/// What kind of grants a set holds, and for which door; `None`: it holds none.
pub(crate) fn grant_kind(set: &str) -> Option<(GrantKind, &str)> {
    for family in Family::BOTH {
        for prefix in [grant_prefix(family), knocked_prefix(family)] {
            if let Some(door) = set.strip_prefix(prefix) {
                return Some((GrantKind::Source(family), door));
            }
        }
    }
    Some((GrantKind::Anyone, set.strip_prefix(ANYONE)?))
}

pub(crate) fn grants(family: Family, door: &str) -> String {
    [grant_prefix(family), door].concat()
}

/// Whether a set of this name stays as it was made: elements of the others come and go.
pub(crate) fn is_fixed(set: &str) -> bool {
    const OF_PORTS: [&str; 6] = [
        "tcp_doors",
        "udp_doors",
        "tcp_knocks",
        "udp_knocks",
        "tcp_guarded",
        "udp_guarded",
    ];
    [INTERFACES, CUT].contains(&set) || OF_PORTS.contains(&set)
}

/// Whether packets enter a chain of this name: it is never deleted.
pub(crate) fn is_hooked(chain: &str) -> bool {
    [INPUT, PREROUTING].contains(&chain)
}

pub(crate) fn anyone(door: &str) -> String {
    [ANYONE, door].concat()
}

/// The name of the set of sources whose knocks are ignored.
pub(crate) const fn cutoffs(family: Family) -> &'static str {
    match family {
        Family::V4 => "cutoff4",
        Family::V6 => "cutoff6",
    }
}

/// How much of an address a door grants, in bits.
pub(crate) fn prefix(door: &Door, family: Family) -> u8 {
    match family {
        Family::V4 => door.grant_prefix4,
        Family::V6 => door.grant_prefix6,
    }
    .min(family.bits())
}

/// What a set of grants says of itself: the ports of its door, and how much of an address it
/// holds unless that is all of it: `tcp:22 /24`.
///
/// Grants outlive a reinstallation if this and the door's name are the same. It always
/// fits a comment (128 octets, libnftnl's `NFTNL_UDATA_COMMENT_MAXLEN`): 16 ports take
/// at most 104.
pub(crate) fn grants_identity(door: &Door, family: Family) -> String {
    match prefix(door, family) {
        whole if whole == family.bits() => identity(door),
        part => format!("{} /{part}", identity(door)),
    }
}

/// How much of an address a set of grants holds, in bits, as its comment says.
pub(crate) fn prefix_of_set(comment: Option<&str>, family: Family) -> u8 {
    comment
        .and_then(|comment| comment.rsplit_once(" /")?.1.parse().ok())
        .unwrap_or(family.bits())
        .min(family.bits())
}

/// The ports of a door in a canonical order: `tcp:22,80 udp:51820`.
pub(crate) fn identity(door: &Door) -> String {
    let mut parts = Vec::new();
    for protocol in PROTOCOLS {
        let mut numbers = knock_ports::guarded(door, protocol);
        numbers.sort_unstable();
        if !numbers.is_empty() {
            let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
            parts.push(format!("{}:{}", protocol.name(), numbers.join(",")));
        }
    }
    parts.join(" ")
}

/// The names of the guarded interfaces, in nft's order.
pub(crate) fn interface_names(config: &Config) -> Vec<String> {
    let names = config.global.interfaces.iter();
    let mut names: Vec<String> = names.map(|name| name.as_str().to_owned()).collect();
    names.sort_unstable_by_key(|name| interface_order(name));
    names.dedup();
    names
}

/// nft sorts the elements of a set as numbers, and takes an interface's name, padded with
/// zeros to 16 octets, for a number in the host's byte order.
pub(crate) fn interface_order(name: &str) -> u128 {
    u128::from_ne_bytes(interface_key(name))
}

/// An interface's name as nf_tables compares it: IFNAMSIZ octets, the rest of them zero.
pub(crate) fn interface_key(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    // The last octet stays zero, as the kernel would have it.
    for (to, from) in key.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    key
}

/// The map that leads from ports to knocks and decoys.
pub(crate) fn knock_map(protocol: Protocol) -> String {
    [protocol.name(), "_knocks"].concat()
}

/// The map that leads from guarded ports to their doors.
pub(crate) fn door_map(protocol: Protocol) -> String {
    [protocol.name(), "_doors"].concat()
}

/// The set of guarded ports.
pub(crate) fn guarded_ports(protocol: Protocol) -> String {
    [protocol.name(), "_guarded"].concat()
}

/// The chain of several doors that guard ports together.
pub(crate) fn group_chain_name(place: usize) -> String {
    format!("doors_{}", place + 1)
}

pub(crate) fn door_chain_name(door: &Door) -> String {
    format!("door_{}", door.name)
}

/// What the name of a door's set of sources begins with that its knocks let in.
///
/// They are in a set of their own because a rule cannot prolong a grant without shortening one
/// that was made by hand for longer.
pub(crate) const fn knocked_prefix(family: Family) -> &'static str {
    match family {
        Family::V4 => "knocked4_",
        Family::V6 => "knocked6_",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_of_any_kind_say_how_much_is_granted() {
        for (comment, family, prefix) in [
            (None, Family::V4, 32),
            (Some("tcp:22,80 udp:1"), Family::V6, 128),
            (Some("tcp:22 /24"), Family::V4, 24),
            (Some("tcp:22 udp:22 /56"), Family::V6, 56),
            (Some("tcp:22 /56"), Family::V4, 32),
            (Some(" /"), Family::V4, 32),
            (Some("tcp:22 /-1"), Family::V4, 32),
            (Some("tcp:22 /1000"), Family::V6, 128),
        ] {
            assert_eq!(prefix_of_set(comment, family), prefix, "{comment:?}");
        }
    }
}
