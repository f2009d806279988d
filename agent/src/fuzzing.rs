//! What the targets of `fuzz/` reach the program's parsers by.

use core::net::IpAddr;
use std::path::Path;

use postern_core::door::{Door, DoorSet, Method};
use postern_core::knock::{Knock, Port, PortRange, Protocol, tcp, udp};
use postern_core::packet;
use postern_core::spa::{Accepted, Allow, Hmac, Terms, Verifier, base64};
use postern_core::time::{Duration, Instant};

use crate::daemon::control::Request;
use crate::firewall::nft::connection::Connection;
use crate::firewall::{self, Firewall};
use crate::netlink::codec::Messages;
use crate::netlink::{conntrack, links};
use crate::onetime::{base32, list::List, secret::Secret, state};
use crate::openwrt::{networks, ubus};
use crate::source::nflog::wire::{self, Said};
use crate::spa::crypto::Keyring;
use crate::spa::keys::Keys;
use crate::spa::request;

/// A line that a client sends to the control socket: what is understood is written, and understood again as the same.
pub fn control(line: &str) {
    let Some(request) = Request::decode(line) else {
        return;
    };
    let written = request.encode();
    let line = written.strip_suffix('\n').unwrap_or(&written);
    assert_eq!(Request::decode(line), Some(request), "{written}");
}

/// What netifd says over ubus.
pub fn ubus(body: &[u8]) {
    for field in ubus::fields(body) {
        let inner = field.fields().flat_map(|field| field.fields());
        inner.for_each(|field| _ = field.text());
    }
    _ = networks::read(body);
}

/// What the kernel says of tables and interfaces.
pub fn netlink(datagram: &[u8]) {
    for message in Messages(datagram) {
        _ = message.outcome();
        _ = (links::link(&message), links::address(&message));
        firewall::fuzzing::answer(&message);
    }
}

/// The kernel's firewall, in the network namespace of the thread that opened it.
pub struct Kernel {
    firewall: Firewall,
    connection: Connection,
}

impl Kernel {
    /// Speaks to it.
    ///
    /// # Panics
    /// Without netlink.
    #[must_use]
    pub fn open() -> Self {
        Self {
            firewall: Firewall::open().expect("a socket"),
            connection: Connection::open().expect("a socket"),
        }
    }

    /// Follows packets through chains that have this rule of another table's, expressions as the kernel writes them.
    pub fn journey(&mut self, rule: &[u8]) {
        firewall::fuzzing::journey(&mut self.firewall, rule);
    }

    /// Takes all elements out of a set of the table that is ours.
    pub fn take(&mut self, set: &str) -> Vec<Vec<u8>> {
        firewall::fuzzing::take(&mut self.connection, set)
    }
}

/// What NFLOG hands over; what comes out of it goes on to core.
pub fn nflog(datagram: &[u8]) {
    for said in wire::read(datagram) {
        if let Said::Packet { payload, .. } = said {
            _ = packet::parse(payload);
        }
    }
}

/// What the kernel says of connections.
pub fn conntrack(datagram: &[u8]) {
    for message in Messages(datagram) {
        conntrack::read(&message);
    }
}

/// What one-time doors read from files: their memory, their sequences, their secrets.
pub fn memory(content: &[u8], door: &Door) {
    if let Ok(next) = state::parse(content, door) {
        assert_eq!(state::render(door, next).as_bytes(), content);
    }
    let guarded = [PortRange {
        protocol: Protocol::Tcp,
        first: 22,
        last: 22,
    }];
    if let Ok(list) = List::parse(Path::new("list"), content, &guarded) {
        let sequences =
            (0..list.len()).map(|number| list.sequence(number).expect("it counts them"));
        let knocks: Vec<Port> = sequences.flatten().collect();
        assert!(
            knocks
                .iter()
                .all(|port| list.ports().contains(port) && !guarded[0].contains(*port))
        );
    }
    _ = (Secret::parse(content), base32::decode(content));
    if let Ok(keys) = Keys::parse(content, Hmac::Sha256) {
        assert!(keys.are_those_of(&keys));
    }
}

const KEYS: &[u8] = b"KEY throwaway\nHMAC_KEY another\n";
const USER: &str = "alice";
/// What the routers' clock says.
const UNIX: u64 = 1_796_009_350;
const FLOOR: u64 = UNIX - 50;
const SENDER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 7));

/// Datagrams for doors that have the same keys, each with another HMAC and another idea of whom to let in.
pub struct Datagrams {
    verifier: Box<Verifier>,
    keyring: Keyring,
    doors: Vec<Door>,
    now: Instant,
    number: u64,
}

impl Datagrams {
    /// Doors that nobody has opened.
    ///
    /// # Panics
    /// If a door of these cannot be.
    #[must_use]
    pub fn new() -> Self {
        let mut keyring = Keyring::default();
        let doors = Hmac::ALL
            .iter()
            .zip(0..)
            .map(|((_, hmac), door): (_, usize)| {
                keyring.insert(door, Keys::parse(KEYS, *hmac).expect("keys"));
                let terms = Terms {
                    port: 62_201,
                    key_file: "/key".try_into().expect("a path"),
                    hmac: *hmac,
                    allow: Allow::ALL[door % Allow::ALL.len()].1,
                    max_age: Duration::from_secs(120),
                    grant_max: Duration::from_secs(300),
                    user: USER.try_into().expect("a name"),
                };
                Door::new("ssh", &[tcp(22), udp(53)], Method::Spa(terms)).expect("a door")
            });
        let doors: Vec<Door> = doors.collect();
        let mut verifier = Box::new(Verifier::new());
        verifier.configure(&keyring.shared(doors.len()));
        verifier.set_budget(200_000);
        verifier.set_floor(0, FLOOR);
        Self {
            verifier,
            keyring,
            doors,
            now: Instant::default(),
            number: 0,
        }
    }

    /// Whatever somebody sends who has no keys.
    ///
    /// # Panics
    /// If it is taken for one of a client's.
    pub fn forged(&mut self, payload: &[u8]) {
        assert_eq!(self.verify(payload), None);
    }

    /// What somebody sends who has the keys, and puts this text and this padding where a client's message stands.
    ///
    /// # Panics
    /// If a door says of it what a reader of fields would not, or opens again for it.
    pub fn sealed(&mut self, door: usize, plaintext: &[u8], padding: Option<u8>) {
        let door = door % self.doors.len();
        let Method::Spa(terms) = self.doors[door].method.clone() else {
            return;
        };
        let keys = Keys::parse(KEYS, terms.hmac).expect("keys");
        self.number += 1;
        let datagram = request::seal(&keys, self.number.to_be_bytes(), plaintext, padding);
        // More would be a flood that the memory of datagrams does not hold.
        if self.number.is_multiple_of(60) {
            self.verifier = Self::new().verifier;
        }
        let accepted = self.verify(datagram.as_bytes());
        let fill = 16 - plaintext.len() % 16;
        let mut padded = plaintext.to_vec();
        padded.resize(plaintext.len() + fill, padding.unwrap_or(fill as u8));
        let expected = unpadded(&padded).and_then(|text| expected(text, &terms));
        let expected = expected.filter(|_| datagram.len() < 400 && padded.len() >= 96);
        let read = accepted.map(|accepted| (accepted.time, accepted.source, accepted.lasting));
        assert_eq!(read, expected, "{}", plaintext.escape_ascii());
        assert!(accepted.is_none_or(|accepted| accepted.door == door));
        assert_eq!(self.verify(datagram.as_bytes()), None, "a second time");
    }

    /// What becomes of it if one octet is changed on its way.
    ///
    /// # Panics
    /// If a door does not notice.
    pub fn changed(&mut self, door: usize, plaintext: &[u8], at: usize, to: u8) {
        let door = door % self.doors.len();
        let Method::Spa(terms) = &self.doors[door].method else {
            return;
        };
        let keys = Keys::parse(KEYS, terms.hmac).expect("keys");
        let mut datagram = request::seal(&keys, [7; 8], plaintext, None).into_bytes();
        let at = at % datagram.len();
        if datagram[at] != to {
            datagram[at] = to;
            self.forged(&datagram);
        }
    }

    fn verify(&mut self, payload: &[u8]) -> Option<Accepted> {
        let knock = Knock {
            source: SENDER,
            source_port: 40_000,
            port: udp(62_201),
            payload,
        };
        let mut at = DoorSet::EMPTY;
        (0..self.doors.len()).for_each(|door| at.insert(door));
        self.now = self.now + Duration::from_millis(1);
        (self.verifier)
            .verify(
                self.now,
                Some(UNIX),
                &knock,
                &self.doors,
                at,
                &mut self.keyring,
            )
            .ok()
    }
}

impl Default for Datagrams {
    fn default() -> Self {
        Self::new()
    }
}

fn unpadded(text: &[u8]) -> Option<&[u8]> {
    let padding = usize::from(*text.last()?);
    let (text, padded) = text.split_at_checked(text.len().checked_sub(padding)?)?;
    let is_right = padded.iter().all(|octet| usize::from(*octet) == padding);
    (is_right && (1..=16).contains(&padding)).then_some(text)
}

/// What a message asks for and gets: a second opinion, of text that is cut at its colons.
fn expected(plaintext: &[u8], terms: &Terms) -> Option<(u64, IpAddr, Duration)> {
    let decoded = |text: &str| {
        let mut room = [0; 300];
        let bytes = base64::decode([text.as_bytes(), &[]], &mut room)?;
        (request::encoded(bytes) == text).then(|| bytes.to_vec())
    };
    let decimal = |text: &str, digits: usize| {
        let is_number = text.len() <= digits && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok())?
    };
    let text = str::from_utf8(plaintext).ok()?;
    let fields: Vec<&str> = text.split(':').collect();
    let (fields, digest) = (&fields[..fields.len() - 1], fields.last()?);
    decoded(digest).filter(|_| [22, 27, 43, 64, 86].contains(&digest.len()))?;
    let (head, rest) = fields.split_at_checked(6)?;
    decimal(head[0], 16).filter(|_| head[0].len() == 16)?;
    let time = decimal(head[2], 12)?;
    let is_version = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let timeout = match (head[4], rest) {
        ("1", []) => None,
        ("1", [auth]) => decoded(auth).map(|_| None)?,
        ("3", [timeout]) => Some(decimal(timeout, 5)?),
        ("3", [auth, timeout]) => Some(decoded(auth).and_then(|_| decimal(timeout, 5))?),
        _ => return None,
    };
    let is_fit = decoded(head[1])? == USER.as_bytes()
        && time.abs_diff(UNIX) <= 120
        && time > FLOOR
        && (1..=8).contains(&head[3].len())
        && head[3].bytes().all(is_version)
        && timeout.is_none_or(|timeout| timeout <= 65_536);
    let access = String::from_utf8(decoded(head[5]).filter(|text| text.len() <= 192)?).ok()?;
    let (address, ports) = access.split_once(',')?;
    let is_guarded = |port: &str| {
        let (protocol, number) = port.split_once('/').unwrap_or_default();
        matches!(
            (protocol, decimal(number, 5)),
            ("tcp", Some(22)) | ("udp", Some(53))
        )
    };
    let named = address.parse::<IpAddr>().ok()?.to_canonical();
    let source = match (terms.allow, named.is_unspecified()) {
        (Allow::Any, true) => SENDER,
        (Allow::Sender, _) if named != SENDER => return None,
        (_, true) => return None,
        (_, false) => named,
    };
    let is_possible = match source {
        IpAddr::V4(address) => !address.is_broadcast(),
        IpAddr::V6(_) => true,
    } && !source.is_loopback()
        && !source.is_multicast();
    let lasting = match timeout.unwrap_or_default() {
        0 => 30,
        timeout => timeout.min(300),
    };
    (is_fit && is_possible && ports.split(',').all(is_guarded))
        .then(|| (time, source, Duration::from_secs(lasting)))
}
