//! The names of what is in the table, and what they tell.

use core::fmt::Write as _;

use postern_core::config::Config;
use postern_core::door::Door;
use postern_core::knock::Protocol;
use sha2::{Digest as _, Sha256};

use super::model::PROTOCOLS;

use crate::collect::CollectVec;
use crate::network::Family;
use crate::sort::sort;

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
/// Hears datagrams of method `spa`.
pub(crate) const DATAGRAM: &str = "datagram";
pub(crate) const KNOCK: &str = "knock";
/// The chain of knocks that pass on to whoever they are for.
pub(crate) const PASSING: &str = "passing";
/// The chain of echo requests, which are knocks by their length.
pub(crate) const ECHO: &str = "echo";
pub(crate) const DECOY: &str = "decoy";
/// The chain that remembers whoever hit a decoy.
pub(crate) const REMEMBER: &str = "remember";
/// The counter of hits at decoys for which there was no room.
pub(crate) const UNREMEMBERED: &str = "unremembered";
pub(crate) const FRAGMENT: &str = "fragment";
/// The chain of packets for other machines.
pub(crate) const FORWARDED: &str = "forwarded";

/// Whose ports a door guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// This machine's.
    Local,
    /// Those of hosts behind it.
    Behind,
}

impl Scope {
    pub(crate) const ALL: [Self; 2] = [Self::Local, Self::Behind];

    /// Whether a door is one for these.
    pub(crate) fn has(self, door: &Door) -> bool {
        door.behind.is_empty() == (self == Self::Local)
    }
}

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
    grant_kind(set).is_some() || set.starts_with(LOCKED) || set == USED
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
    // No set of a door begins with the name of a protocol.
    let mut protocols = PROTOCOLS.iter();
    let of_ports = protocols.any(|protocol| {
        let rest = set.strip_prefix(protocol.name());
        rest.is_some_and(|rest| rest.starts_with('_'))
    });
    set == INTERFACES || of_ports
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

/// The name of the set of what one-time doors used.
pub(crate) const USED: &str = "used";
/// The name of the set of sources that hit a decoy.
pub(crate) const fn decoyed(family: Family) -> &'static str {
    match family {
        Family::V4 => "decoyed4",
        Family::V6 => "decoyed6",
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

/// What a set of grants says of itself: what its door guards, and how much of an address it
/// holds unless that is all of it: `tcp:22 /24`.
///
/// Grants outlive a reinstallation if this and the door's name are the same. It always
/// fits a comment.
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

/// The most octets of what a door guards, in words: a comment has 128 (libnftnl's
/// `NFTNL_UDATA_COMMENT_MAXLEN`) with its end and the prefix of an address behind it.
const LONGEST_IDENTITY: usize = 120;
/// What stands in place of those words where they are too many.
pub(crate) const DIGEST: &str = "digest:";

/// What a door guards in a canonical order: `tcp:22,80 udp:60000-61000 behind:2001:db8::/64`.
pub(crate) fn identity(door: &Door) -> String {
    let mut words = Vec::new();
    for protocol in PROTOCOLS {
        let guards = door.guards.iter();
        let mut its: Vec<(u16, u16)> = guards
            .filter(|guard| guard.protocol == protocol)
            .map(|guard| (guard.first, guard.last))
            .collect_vec();
        sort(&mut its, &|one, other| one < other);
        its.dedup();
        let numbers = its.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => [first.to_string(), last.to_string()].join("-"),
        });
        add_word(&mut words, protocol.name(), numbers.collect_vec());
    }
    if door
        .guards
        .iter()
        .any(|guard| guard.protocol == Protocol::Icmp)
    {
        words.push(Protocol::Icmp.name().to_owned());
    }
    for (name, networks) in [("behind", door.behind.as_slice()), ("to", &door.to)] {
        let mut networks: Vec<String> = networks.iter().map(ToString::to_string).collect_vec();
        sort(&mut networks, &String::lt);
        add_word(&mut words, name, networks);
    }
    let identity = words.join(" ");
    if identity.len() <= LONGEST_IDENTITY {
        return identity;
    }
    let mut digest = DIGEST.to_owned();
    for octet in Sha256::digest(identity).iter().take(8) {
        _ = write!(digest, "{octet:02x}");
    }
    digest
}

fn add_word(words: &mut Vec<String>, name: &str, of: Vec<String>) {
    if !of.is_empty() {
        words.push([name, ":", &of.join(",")].concat());
    }
}

/// The names of the guarded interfaces, in nft's order.
pub(crate) fn interface_names(config: &Config) -> Vec<String> {
    let names = config.global.interfaces.iter();
    let mut names: Vec<String> = names.map(|name| name.as_str().to_owned()).collect_vec();
    sort(&mut names, &|one, other| {
        interface_order(one) < interface_order(other)
    });
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
pub(crate) fn door_map(scope: Scope, protocol: Protocol) -> String {
    let what = match scope {
        Scope::Local => "_doors",
        Scope::Behind => "_behind",
    };
    [protocol.name(), what].concat()
}

/// The set of guarded ports.
pub(crate) fn guarded_ports(scope: Scope, protocol: Protocol) -> String {
    let what = match scope {
        Scope::Local => "_guarded",
        Scope::Behind => "_guarded_behind",
    };
    [protocol.name(), what].concat()
}

/// The set of knocks inside guarded ranges.
pub(crate) fn spared_ports(protocol: Protocol) -> String {
    [protocol.name(), "_spared"].concat()
}

/// The set of the ports of which the guard looks at every segment.
pub(crate) fn cut_ports() -> String {
    [Protocol::Tcp.name(), "_cut"].concat()
}

/// The chain of decoys inside guarded ranges.
pub(crate) fn decoyed_chain_name(place: usize) -> String {
    format!("decoyed_{}", place + 1)
}

/// The chain of several doors that guard ports together.
pub(crate) fn group_chain_name(place: usize) -> String {
    format!("doors_{}", place + 1)
}

/// Whether a chain of this name is a door's.
pub(crate) fn is_of_door(chain: &str) -> bool {
    chain.starts_with("door_")
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
    use postern_core::config::Guard;

    use super::*;
    use crate::firewall::tests::examples;
    use crate::network::Network;

    #[test]
    fn what_a_door_guards_is_told_in_the_same_words() {
        let config = examples::behind(Guard::Gate);
        let expected = [
            "tcp:22",
            "tcp:22 behind:2001:db8:1::10",
            "tcp:22,8000-8999 udp:53 icmp:echo behind:192.0.2.0/24,2001:db8:1::/56,2001:db8:2::/61",
        ];
        for (door, expected) in config.doors.iter().zip(expected) {
            assert_eq!(identity(door), expected);
        }
        let narrow = examples::narrow(Guard::Gate);
        let some = identity(&narrow.doors[0]);
        assert_eq!(some, "tcp:22,80 to:192.0.2.1,2001:db8::1");
        // The order does not matter, and what is too long is told apart all the same.
        let mut long = config.doors[2].clone();
        let mut digests = Vec::new();
        for number in 0..4 {
            let network = format!("2001:db8:ffff:ffff:{number}::/80");
            long.behind.push(Network::parse(&network).unwrap()).unwrap();
            digests.push(identity(&long));
        }
        long.behind.reverse();
        assert_eq!(digests.last(), Some(&identity(&long)));
        assert!(
            digests
                .iter()
                .all(|digest| digest.len() <= LONGEST_IDENTITY)
        );
        digests.dedup();
        assert_eq!(digests.len(), 4);
        assert!(digests[3].starts_with(DIGEST), "{digests:?}");
    }

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
