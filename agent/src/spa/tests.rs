//! Core's judgement with real cryptography: datagrams of fwknop's client, and of our own.

use core::net::IpAddr;
use core::time::Duration as StdDuration;
use std::collections::BTreeMap;

use postern_core::door::{Door, DoorSet, Method};
use postern_core::knock::{Knock, PortRange, Protocol, tcp, udp};
use postern_core::network::Network;
use postern_core::spa::{
    Accepted, Allow, Cryptography, Hmac, LONGEST, Refusal, Refused, Terms, Verifier,
};
use postern_core::time::{Duration, Instant};

use super::crypto::Keyring;
use super::keys::Keys;
use super::request::{Random, Request, encoded, seal};
use crate::collect::CollectVec;

const NOW: u64 = 1_796_009_350;
const SENDER: &str = "198.51.100.7";

/// One of tests/golden/spa/vectors.
struct Vector {
    name: String,
    verdict: String,
    hmac: Hmac,
    keys: String,
    time: u64,
    salt: Option<[u8; 8]>,
    plaintext: Option<String>,
    wire: String,
}

impl Vector {
    fn all() -> Vec<Self> {
        let text = include_str!("../../../tests/golden/spa/vectors");
        let vectors = text.split("\n\n").skip(1).map(|part| {
            let fields = part.lines().filter_map(|line| line.split_once(' '));
            let fields: BTreeMap<&str, &str> = fields.collect();
            Self {
                name: fields["datagram"].into(),
                verdict: fields["verdict"].into(),
                hmac: hmac(fields["hmac"]),
                keys: key_file(&unhex(fields["key"]), &unhex(fields["hmac_key"])),
                time: fields["time"].parse().unwrap(),
                salt: (fields.get("salt")).map(|salt| unhex(salt).try_into().unwrap()),
                plaintext: fields.get("plaintext").map(|text| (*text).into()),
                wire: fields["wire"].into(),
            }
        });
        let vectors = vectors.collect_vec();
        assert_eq!(vectors.len(), 38 + 7 + 3);
        vectors
    }

    fn accepted() -> Vec<Self> {
        let mut vectors = Self::all();
        vectors.retain(|vector| vector.verdict == "accepted");
        assert_eq!(vectors.len(), 27);
        vectors
    }

    fn keys(&self) -> Keys {
        keys(&self.keys, self.hmac)
    }

    fn judge(&self) -> Judge {
        let mut door = door(self.hmac);
        door.guards = everything();
        Judge::of([(door, self.keys.as_str())])
    }
}

fn hmac(name: &str) -> Hmac {
    (Hmac::ALL.iter().find(|(other, _)| *other == name))
        .unwrap()
        .1
}

fn unhex(text: &str) -> Vec<u8> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        panic!("{text}");
    };
    let octets = pairs
        .iter()
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16));
    octets.map(Result::unwrap).collect()
}

fn key_file(key: &[u8], hmac_key: &[u8]) -> String {
    format!(
        "KEY_BASE64 {}\nHMAC_KEY_BASE64 {}\n",
        encoded(key),
        encoded(hmac_key)
    )
}

fn keys(text: &str, hmac: Hmac) -> Keys {
    Keys::parse(text.as_bytes(), hmac).unwrap_or_else(|why| panic!("{why}"))
}

fn everything() -> heapless::Vec<PortRange, 16> {
    let all = [Protocol::Tcp, Protocol::Udp].map(|protocol| PortRange {
        protocol,
        first: 1,
        last: u16::MAX,
    });
    all.into_iter().collect()
}

fn door(hmac: Hmac) -> Door {
    let terms = Terms {
        port: 62_201,
        key_file: "/key".try_into().unwrap(),
        hmac,
        allow: Allow::Any,
        max_age: Duration::from_secs(120),
        grant_max: Duration::from_secs(300),
        user: heapless::String::new(),
    };
    Door::new("ssh", &[tcp(22)], Method::Spa(terms)).unwrap()
}

fn with(change: impl FnOnce(&mut Door, &mut Terms)) -> Door {
    let mut door = door(Hmac::Sha256);
    let Method::Spa(mut terms) = door.method.clone() else {
        unreachable!()
    };
    change(&mut door, &mut terms);
    door.method = Method::Spa(terms);
    door
}

const KEYS: &str = "KEY throwaway\nHMAC_KEY another\n";
const OTHER_KEYS: &str = "KEY throwaway2\nHMAC_KEY another2\n";

/// A verifier, and what it is used with.
struct Judge {
    verifier: Box<Verifier>,
    keyring: Keyring,
    doors: Vec<Door>,
    now: u64,
}

impl Judge {
    fn of<const N: usize>(doors: [(Door, &str); N]) -> Self {
        let mut judge = Self {
            verifier: Box::new(Verifier::new()),
            keyring: Keyring::default(),
            doors: Vec::new(),
            now: 0,
        };
        for (door, text) in doors {
            let Method::Spa(terms) = &door.method else {
                unreachable!()
            };
            judge
                .keyring
                .insert(judge.doors.len(), keys(text, terms.hmac));
            judge.doors.push(door);
        }
        judge.verifier.seed(*b"of a day");
        judge.verifier.set_budget(1_000_000);
        judge.configure(1);
        judge
    }

    /// Anew, with this floor at each door.
    fn configure(&mut self, floor: u64) {
        let doors = self.doors.len();
        self.verifier.configure(&self.keyring.shared(doors));
        (0..doors).for_each(|door| self.verifier.set_floor(door, floor));
    }

    fn verify(
        &mut self,
        unix: Option<u64>,
        source: &str,
        wire: &[u8],
    ) -> Result<Accepted, Refused> {
        let knock = Knock {
            source: source.parse().unwrap(),
            source_port: 40_000,
            port: udp(62_201),
            payload: wire,
        };
        let mut at = DoorSet::EMPTY;
        (0..self.doors.len()).for_each(|door| at.insert(door));
        self.now += 1;
        let now = Instant::from_millis(self.now);
        let before = self.verifier.refusals().total();
        let verdict = self
            .verifier
            .verify(now, unix, &knock, &self.doors, at, &mut self.keyring);
        let refused = self.verifier.refusals().total() - before;
        assert_eq!(refused, u64::from(verdict.is_err()));
        verdict
    }

    fn say(&mut self, unix: u64, wire: &str) -> &'static str {
        said(self.verify(Some(unix), SENDER, wire.as_bytes()))
    }

    /// A door's own request, judged where nobody saw one before.
    fn first(door: Door, access: &str) -> Result<Accepted, Refused> {
        Self::of([(door, KEYS)]).verify(Some(NOW), SENDER, made(access, NOW, 1).as_bytes())
    }
}

fn said(verdict: Result<Accepted, Refused>) -> &'static str {
    verdict.map_or_else(|refused| refused.why.name(), |_| "accepted")
}

fn request(access: &str, time: u64) -> Request<'_> {
    Request {
        user: "alice",
        time,
        access,
        timeout: None,
    }
}

const fn random(number: u64) -> Random {
    let salt = number.to_be_bytes();
    Random { number, salt }
}

fn sealed(request: &Request<'_>, number: u64, text: &str) -> String {
    let keys = keys(text, Hmac::Sha256);
    request
        .seal(&keys, random(number))
        .expect("a short request")
}

fn made(access: &str, time: u64, number: u64) -> String {
    sealed(&request(access, time), number, KEYS)
}

#[test]
fn clients_datagrams_are_judged_as_they_deserve() {
    for vector in Vector::all() {
        let verdict = vector
            .judge()
            .verify(Some(vector.time), SENDER, vector.wire.as_bytes());
        assert_eq!(said(verdict), vector.verdict, "{}", vector.name);
        if let Ok(accepted) = verdict {
            assert_eq!(
                (accepted.door, accepted.time),
                (0, vector.time),
                "{}",
                vector.name
            );
        }
    }
}

#[test]
fn what_clients_ask_for_is_what_they_get() {
    let expected = [
        ("default-hmac-sha256", "192.0.2.7", 30),
        ("resolve-R", "203.0.113.9", 30),
        ("timeout-60", "192.0.2.7", 60),
        ("timeout-65536", "192.0.2.7", 300),
        ("all-long", "203.0.113.255", 300),
        ("own-server-auth-timeout", "192.0.2.104", 77),
    ];
    let vectors = Vector::accepted();
    for (name, source, seconds) in expected {
        let vector = vectors.iter().find(|vector| vector.name == name).unwrap();
        let accepted = vector
            .judge()
            .verify(Some(vector.time), SENDER, vector.wire.as_bytes());
        let accepted = accepted.unwrap();
        let lasting = Duration::from_secs(seconds);
        assert_eq!(
            (accepted.source, accepted.lasting),
            (source.parse().unwrap(), lasting),
            "{name}"
        );
    }
}

/// As the client made it, octet for octet, of the same plaintext and salt.
#[test]
fn clients_datagrams_are_made_again() {
    for vector in Vector::accepted() {
        let plaintext = vector.plaintext.as_ref().unwrap();
        let (keys, salt) = (vector.keys(), vector.salt.unwrap());
        let wire = seal(&keys, salt, plaintext.as_bytes(), None);
        assert_eq!(wire, vector.wire, "{}", vector.name);
    }
    // And the plaintext of its fields.
    let vectors = Vector::all();
    let vector = vectors
        .iter()
        .find(|vector| vector.name == "default-hmac-sha256")
        .unwrap();
    let plaintext = request("192.0.2.7,tcp/22", NOW).plaintext(1_177_425_761_223_036);
    assert_eq!(Some(&*plaintext), vector.plaintext.as_ref());
}

#[test]
fn no_character_can_be_another() {
    for vector in Vector::accepted() {
        let mut judge = vector.judge();
        let mut wire = vector.wire.clone().into_bytes();
        let last = wire.len() - 1;
        for at in 0..=last {
            let right = wire[at];
            // All others where bits are left over.
            let others =
                (0..=u8::MAX).filter(|byte| at == last || (byte ^ right).count_ones() == 1);
            for byte in others.chain(*b"=-_A/").filter(|byte| *byte != right) {
                wire[at] = byte;
                let refused = judge.verify(Some(vector.time), SENDER, &wire).unwrap_err();
                assert!(!refused.why.is_authentic(), "{} {at} {byte}", vector.name);
            }
            wire[at] = right;
        }
        assert_eq!(
            judge.say(vector.time, &vector.wire),
            "accepted",
            "{}",
            vector.name
        );
    }
}

#[test]
fn nothing_can_be_cut_off_or_added() {
    for vector in Vector::accepted() {
        let mut judge = vector.judge();
        let wire = vector.wire.as_bytes();
        for cut in 1..=wire.len() {
            for text in [
                &wire[cut..],
                &wire[..wire.len() - cut],
                &wire[cut / 2..wire.len() - cut.div_ceil(2)],
            ] {
                let refused = judge.verify(Some(vector.time), SENDER, text).unwrap_err();
                assert!(!refused.why.is_authentic(), "{} {cut}", vector.name);
            }
        }
        for more in 1..=LONGEST {
            for text in [
                [&vec![b'8'; more], wire].concat(),
                [wire, &vec![b'A'; more]].concat(),
            ] {
                let refused = judge.verify(Some(vector.time), SENDER, &text).unwrap_err();
                assert!(!refused.why.is_authentic(), "{} {more}", vector.name);
            }
        }
        assert_eq!(
            judge.say(vector.time, &vector.wire),
            "accepted",
            "{}",
            vector.name
        );
    }
}

#[test]
fn either_key_must_be_right() {
    let wire = made("192.0.2.7,tcp/22", NOW, 1);
    for (keys, verdict) in [
        (KEYS, "accepted"),
        (OTHER_KEYS, "unauthentic"),
        ("KEY another\nHMAC_KEY throwaway\n", "unauthentic"),
        ("KEY throwaway2\nHMAC_KEY another\n", "garbled"),
        ("KEY throwaway\nHMAC_KEY Another\n", "unauthentic"),
    ] {
        let mut judge = Judge::of([(door(Hmac::Sha256), keys)]);
        assert_eq!(judge.say(NOW, &wire), verdict, "{keys}");
    }
    // Without keys there is nothing to be right.
    let mut judge = Judge::of([(door(Hmac::Sha256), KEYS)]);
    judge.keyring = Keyring::default();
    assert_eq!(judge.say(NOW, &wire), "unauthentic");
    assert!(!judge.keyring.decrypt(0, [0; 8], &mut []));
}

#[test]
fn each_opens_once() {
    let mut judge = Judge::of([(door(Hmac::Sha256), KEYS)]);
    // Two of the same second are two.
    for number in 1..=2 {
        let wire = made("192.0.2.7,tcp/22", NOW, number);
        assert_eq!(judge.say(NOW, &wire), "accepted");
        for unix in [NOW, NOW + 120, NOW - 120, NOW + 121, NOW] {
            assert_eq!(judge.say(unix, &wire), "replayed");
        }
    }
    // Long after, and with another configuration between; and if the clock is set back.
    let wire = made("192.0.2.7,tcp/22", NOW, 1);
    judge.configure(NOW);
    assert_eq!(judge.say(NOW, &wire), "replayed");
    assert_eq!(
        judge.say(NOW + 500, &made("192.0.2.7,tcp/22", NOW + 500, 3)),
        "accepted"
    );
    assert_eq!(judge.say(NOW + 500, &wire), "age");
    assert_eq!(judge.say(NOW + 1, &wire), "used");
}

#[test]
fn a_clock_that_is_set_back_makes_none_usable() {
    let mut judge = Judge::of([(door(Hmac::Sha256), KEYS)]);
    let wire = made("192.0.2.7,tcp/22", NOW, 1);
    assert_eq!(judge.say(NOW, &wire), "accepted");
    assert_eq!(
        judge.say(NOW + 300, &made("192.0.2.7,tcp/22", NOW + 300, 2)),
        "accepted"
    );
    assert_eq!(judge.say(NOW, &wire), "used");
    assert_eq!(
        judge.say(NOW, &made("192.0.2.7,tcp/22", NOW + 1, 3)),
        "accepted"
    );
}

#[test]
fn what_was_refused_for_now_is_used_too() {
    let access = "192.0.2.7,tcp/22";
    // Of a clock that is ahead: an hour later, it would be right.
    let mut judge = Judge::of([(door(Hmac::Sha256), KEYS)]);
    let wire = made(access, NOW + 3600, 1);
    assert_eq!(judge.say(NOW, &wire), "age");
    assert_eq!(judge.say(NOW + 3600, &wire), "replayed");
    // Before the clock was set.
    let wire = made(access, NOW, 2);
    assert_eq!(said(judge.verify(None, SENDER, wire.as_bytes())), "clock");
    assert_eq!(judge.say(NOW, &wire), "replayed");
    // Ports, which a new configuration might guard.
    let wire = made("192.0.2.7,tcp/80", NOW, 3);
    assert_eq!(judge.say(NOW, &wire), "ports");
    assert_eq!(judge.say(NOW, &wire), "replayed");
}

#[test]
fn only_what_is_newer_than_the_floor_opens() {
    let access = "192.0.2.7,tcp/22";
    let mut judge = Judge::of([(door(Hmac::Sha256), KEYS)]);
    judge.configure(NOW);
    for (time, verdict) in [(NOW - 1, "used"), (NOW, "used"), (NOW + 1, "accepted")] {
        assert_eq!(judge.say(NOW, &made(access, time, 1)), verdict);
    }
    // Not even a new one, before a floor is set.
    judge.verifier.configure(&[0]);
    assert_eq!(judge.say(NOW, &made(access, NOW + 100, 2)), "used");
}

#[test]
fn the_memory_gives_up_the_oldest_and_takes_none_as_old() {
    let mut judge = Judge::of([(door(Hmac::Sha256), KEYS), (door(Hmac::Sha256), OTHER_KEYS)]);
    let wire = |number: u64| made("192.0.2.7,tcp/22", NOW + number % 70, number);
    let numbers = 1..=64_u64;
    for number in numbers.clone() {
        assert_eq!(judge.say(NOW, &wire(number)), "accepted");
    }
    for number in numbers {
        assert_eq!(judge.say(NOW, &wire(number)), "replayed");
    }
    // Of the other door's keys, which pay nothing for it.
    let others = |time: u64| sealed(&request("192.0.2.7,tcp/22", time), 99, OTHER_KEYS);
    assert_eq!(judge.say(NOW, &others(NOW + 80)), "accepted");
    assert_eq!(judge.say(NOW, &wire(1)), "used");
    assert_eq!(judge.say(NOW, &made("192.0.2.7,tcp/22", NOW, 500)), "used");
    assert_eq!(judge.say(NOW, &others(NOW - 100)), "accepted");
    // It was the oldest itself: nothing gave way.
    assert_eq!(judge.say(NOW, &others(NOW - 100)), "used");
    assert_eq!(judge.say(NOW, &wire(2)), "replayed");
}

#[test]
fn clocks_may_differ_so_much() {
    for (difference, is_near) in [
        (-120, true),
        (120, true),
        (-118, true),
        (118, true),
        (0, true),
        (-121, false),
        (121, false),
        (-122, false),
        (122, false),
        (-1_000_000, false),
        (1_000_000, false),
    ] {
        let time = NOW.checked_add_signed(difference).unwrap();
        let mut judge = Judge::of([(door(Hmac::Sha256), KEYS)]);
        let wire = made("192.0.2.7,tcp/22", time, 1);
        let verdict = judge.verify(Some(NOW), SENDER, wire.as_bytes());
        assert_eq!(verdict.is_ok(), is_near, "{difference}");
        if let Err(refused) = verdict {
            let expected = Refused {
                why: Refusal::Age,
                door: Some(0),
                difference: Some(difference),
            };
            assert_eq!(refused, expected);
        }
    }
    // As far as twelve digits go.
    let far = made("192.0.2.7,tcp/22", 999_999_999_999, 1);
    assert_eq!(
        Judge::of([(door(Hmac::Sha256), KEYS)]).say(NOW, &far),
        "age"
    );
    assert_eq!(
        Judge::of([(door(Hmac::Sha256), KEYS)]).say(u64::MAX, &far),
        "age"
    );
}

#[test]
fn a_door_of_a_user_hears_nobody_else() {
    for (user, verdict) in [
        ("", "accepted"),
        ("alice", "accepted"),
        ("alic", "user"),
        ("alice2", "user"),
        ("Alice", "user"),
    ] {
        let door = with(|_, terms| terms.user = user.try_into().unwrap());
        assert_eq!(
            said(Judge::first(door, "192.0.2.7,tcp/22")),
            verdict,
            "{user}"
        );
    }
}

#[test]
fn every_port_must_be_guarded() {
    let guards = [
        tcp(22).into(),
        udp(53).into(),
        PortRange {
            protocol: Protocol::Tcp,
            first: 8000,
            last: 8010,
        },
        PortRange::ECHO,
    ];
    for (ports, verdict) in [
        (",tcp/22", "accepted"),
        (",udp/53,tcp/22", "accepted"),
        (",tcp/8000,tcp/8010", "accepted"),
        (",tcp/22,tcp/22", "accepted"),
        (",tcp/53", "ports"),
        (",udp/22", "ports"),
        (",tcp/22,tcp/80", "ports"),
        (",tcp/80,tcp/22", "ports"),
        (",tcp/7999", "ports"),
        (",tcp/8011", "ports"),
        (",icmp/8", "ports"),
        (",tcp/0", "ports"),
        (",tcp/22,", "ports"),
        (",", "ports"),
        ("", "ports"),
    ] {
        let door = with(|door, _| door.guards = guards.into_iter().collect());
        assert_eq!(
            said(Judge::first(door, &format!("192.0.2.7{ports}"))),
            verdict,
            "{ports}"
        );
    }
}

#[test]
fn whom_a_door_lets_in() {
    let (v4, v6) = ("198.51.100.7", "2001:db8::7");
    let (other4, other6) = ("192.0.2.7", "2001:db8::9");
    let names = [v4, v6, other4, other6, "0.0.0.0", "::"];
    for allow in [Allow::Named, Allow::Sender, Allow::Any] {
        for sender in [v4, v6] {
            for named in names {
                let is_none = ["0.0.0.0", "::"].contains(&named);
                let expected = match allow {
                    Allow::Named => (!is_none).then_some(named),
                    Allow::Sender => (named == sender).then_some(named),
                    Allow::Any if is_none => Some(sender),
                    Allow::Any => Some(named),
                };
                let mut judge = Judge::of([(with(|_, terms| terms.allow = allow), KEYS)]);
                let wire = made(&format!("{named},tcp/22"), NOW, 1);
                let verdict = judge.verify(Some(NOW), sender, wire.as_bytes());
                let expected = expected.map(|address| address.parse::<IpAddr>().unwrap());
                assert_eq!(
                    verdict.ok().map(|accepted| accepted.source),
                    expected,
                    "{allow:?} {sender} {named}"
                );
                if expected.is_none() {
                    assert_eq!(
                        judge
                            .verifier
                            .refusals()
                            .iter()
                            .find(|(_, count)| *count > 0)
                            .unwrap()
                            .0,
                        Refusal::Address
                    );
                }
            }
        }
    }
}

#[test]
fn nobody_is_let_in_who_can_send_nothing() {
    for named in [
        "127.0.0.1",
        "127.1.2.3",
        "224.0.0.1",
        "239.1.2.3",
        "255.255.255.255",
        "::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "host",
        "",
        "192.0.2.7/32",
        "192.0.2.007",
        "192.0.2.7 ",
        "1.2.3",
        "fe80::1%eth0",
        "[2001:db8::1]",
    ] {
        let verdict = Judge::first(door(Hmac::Sha256), &format!("{named},tcp/22"));
        assert_eq!(said(verdict), "address", "{named}");
    }
    let mapped = Judge::first(door(Hmac::Sha256), "::ffff:192.0.2.7,tcp/22").unwrap();
    assert_eq!(mapped.source, IpAddr::from([192, 0, 2, 7]));
}

#[test]
fn nobody_is_let_in_whom_the_door_does_not_hear() {
    let network = Network::parse("192.0.2.0/24").unwrap();
    let narrow = || with(|door, _| door.from.push(network).unwrap());
    assert_eq!(said(Judge::first(narrow(), "192.0.2.7,tcp/22")), "accepted");
    assert_eq!(
        said(Judge::first(narrow(), "203.0.113.1,tcp/22")),
        "address"
    );
}

#[test]
fn grants_last_as_long_as_both_want() {
    for (timeout, seconds) in [
        (None, 30),
        (Some(0), 30),
        (Some(1), 1),
        (Some(29), 29),
        (Some(60), 60),
        (Some(300), 300),
        (Some(301), 300),
        (Some(65_535), 300),
    ] {
        let request = Request {
            timeout,
            ..request("192.0.2.7,tcp/22", NOW)
        };
        let wire = sealed(&request, 1, KEYS);
        let verdict =
            Judge::of([(door(Hmac::Sha256), KEYS)]).verify(Some(NOW), SENDER, wire.as_bytes());
        assert_eq!(
            verdict.unwrap().lasting,
            Duration::from_secs(seconds),
            "{timeout:?}"
        );
    }
}

#[test]
fn doors_at_a_port_are_told_by_their_keys() {
    let kinds = Hmac::ALL.iter().map(|(_, kind)| *kind).collect_vec();
    let text = |number: usize| format!("KEY key-{number}\nHMAC_KEY mac-{number}\n");
    let doors: [(Door, String); 10] =
        core::array::from_fn(|at| (door(kinds[at % kinds.len()]), text(at)));
    let mut judge = Judge::of(
        doors
            .each_ref()
            .map(|(door, text)| (door.clone(), text.as_str())),
    );
    for (at, (_, text)) in doors.iter().enumerate().rev() {
        let keys = keys(text, kinds[at % kinds.len()]);
        let wire = request("192.0.2.7,tcp/22", NOW)
            .seal(&keys, random(7))
            .unwrap();
        let accepted = judge.verify(Some(NOW), SENDER, wire.as_bytes()).unwrap();
        assert_eq!(accepted.door, at);
        assert_eq!(judge.say(NOW, &wire), "replayed");
    }
}

#[test]
fn of_doors_with_the_same_keys_the_first_that_can_opens() {
    let web = || with(|door, _| door.guards = [tcp(443).into()].into_iter().collect());
    let doors = || {
        [
            (door(Hmac::Sha256), KEYS),
            (door(Hmac::Sha256), OTHER_KEYS),
            (web(), KEYS),
        ]
    };
    let mut judge = Judge::of(doors());
    assert_eq!(judge.keyring.shared(3), [0, 1, 0]);
    for (access, expected) in [("192.0.2.7,tcp/22", 0), ("192.0.2.7,tcp/443", 2)] {
        let wire = made(access, NOW, 1);
        assert_eq!(
            judge
                .verify(Some(NOW), SENDER, wire.as_bytes())
                .unwrap()
                .door,
            expected
        );
        assert_eq!(judge.say(NOW, &wire), "replayed");
    }
    // What nobody guards; the one that got furthest says so.
    let refused = judge
        .verify(
            Some(NOW),
            SENDER,
            made("192.0.2.7,tcp/80", NOW, 2).as_bytes(),
        )
        .unwrap_err();
    assert_eq!((refused.why, refused.door), (Refusal::Ports, Some(0)));
    // Their floor is one.
    judge.configure(NOW);
    judge.verifier.set_floor(2, NOW + 50);
    assert_eq!(
        judge.say(NOW, &made("192.0.2.7,tcp/22", NOW + 50, 3)),
        "used"
    );
    assert_eq!(
        judge.say(NOW, &made("192.0.2.7,tcp/22", NOW + 51, 4)),
        "accepted"
    );
    let others = sealed(&request("192.0.2.7,tcp/22", NOW + 1), 5, OTHER_KEYS);
    assert_eq!(judge.say(NOW, &others), "accepted");
}

/// A door that keeps them for less time than another with the same keys.
#[test]
fn what_is_forgotten_at_one_door_opens_no_other() {
    let short = with(|_, terms| terms.max_age = Duration::from_secs(30));
    let mut judge = Judge::of([(short, KEYS), (door(Hmac::Sha256), KEYS)]);
    let wire = made("192.0.2.7,tcp/22", NOW, 1);
    assert_eq!(
        judge
            .verify(Some(NOW), SENDER, wire.as_bytes())
            .unwrap()
            .door,
        0
    );
    assert_eq!(
        judge.say(NOW + 60, &made("192.0.2.7,tcp/22", NOW + 60, 2)),
        "accepted"
    );
    assert_eq!(judge.say(NOW + 60, &wire), "used");
}

#[test]
fn a_flood_does_not_starve_the_owner() {
    let mut judge = Judge::of([(door(Hmac::Sha256), KEYS)]);
    judge.verifier.set_budget(200);
    let mut forged = made("192.0.2.7,tcp/22", NOW, 1).into_bytes();
    *forged.last_mut().unwrap() = b'A';
    let mut checked = 0;
    // A thousand a second for ten seconds, and one of the owner's each half second.
    for number in 0..10_000_u64 {
        let source = format!("203.0.113.{}", number % 256);
        let refused = judge.verify(Some(NOW), &source, &forged).unwrap_err();
        checked += u64::from(refused.why == Refusal::Unauthentic);
        if number % 500 == 499 {
            let wire = made("192.0.2.7,tcp/22", NOW, number);
            assert_eq!(judge.say(NOW, &wire), "accepted");
        }
    }
    assert!((2_000..2_300).contains(&checked), "{checked}");
}

#[test]
fn replays_and_nonsense_cost_no_budget() {
    let mut judge = Judge::of([(door(Hmac::Sha256), KEYS)]);
    judge.verifier.set_budget(200);
    let wire = made("192.0.2.7,tcp/22", NOW, 1);
    assert_eq!(judge.say(NOW, &wire), "accepted");
    let nonsense = wire.replace(['a', 'b', 'c'], "-");
    for _ in 0..5_000 {
        assert_eq!(judge.say(NOW, &wire), "replayed");
        assert_eq!(judge.say(NOW, &wire[1..]), "length");
        assert_eq!(judge.say(NOW, &nonsense), "form");
    }
    assert_eq!(
        judge.say(NOW, &made("192.0.2.7,tcp/22", NOW, 2)),
        "accepted"
    );
}

#[test]
fn a_client_makes_nothing_that_is_too_long() {
    let keys = keys(KEYS, Hmac::Sha256);
    let mut is_heard = true;
    for ports in 1..40 {
        let access = format!("192.0.2.7{}", ",tcp/40000".repeat(ports));
        let wire = request(&access, NOW).seal(&keys, random(1));
        assert!(is_heard || wire.is_none());
        is_heard = wire.is_some();
        let Some(wire) = wire else { continue };
        let mut open = door(Hmac::Sha256);
        open.guards = everything();
        assert_eq!(
            Judge::of([(open, KEYS)]).say(NOW, &wire),
            "accepted",
            "{ports}"
        );
    }
    assert!(!is_heard);
}

#[test]
fn a_quarter_of_a_processor_is_for_checks() {
    let mut keyring = Keyring::default();
    let rate = |keyring: &Keyring, micros: u64| {
        let mut now = StdDuration::ZERO;
        keyring.checks_per_second(&mut || {
            now += StdDuration::from_micros(micros) * 16;
            now
        })
    };
    assert_eq!(rate(&keyring, 100), 200_000);
    keyring.insert(3, keys(KEYS, Hmac::Sha512));
    assert_eq!(rate(&keyring, 100), 2_500);
    assert_eq!(rate(&keyring, 10_000), 200);
    assert_eq!(rate(&keyring, 0), 200_000);
}
