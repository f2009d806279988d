//! How much a connection carries that the router sends on, beside the guard and without.
//!
//! One connection is filled all the time, while the router has one ruleset after the other, again and
//! again: whatever disturbs the machine disturbs all of them. Each is compared with none at all in the
//! same round. Every segment is a packet of its own, which costs a router the most.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::agent::Guard;
use postern_tests::namespace::Namespace;
use postern_tests::nft;
use postern_tests::probe;
use postern_tests::topology::{Family, Host};
use postern_tests::wait::{SOON, poll_for};
use postern_tests::world::{DOOR, INNER_WEB, World};

use crate::results::Results;

/// How long a ruleset is looked at, some time after it came.
const RUN: Duration = Duration::from_millis(100);
const HEAD_START: Duration = Duration::from_millis(20);

/// A ruleset besides those of the router's firewall: its name, and scripts that bring it and take it away.
type Rules = (&'static str, &'static str, &'static str);

/// As rulesets that let established connections through have it.
const TRACKING: &str = "table inet tracking {
	chain pre {
		type filter hook prerouting priority -110;
		ct state established,related accept
		iifname wan ip saddr != 192.0.2.0/24 tcp dport 8080 drop
	}
}
";
/// Nothing of a sleeping table is left where packets pass; what it grants it keeps.
const SLEEP: &str = "add table inet postern { flags dormant; }";
const WAKE: &str = "add table inet postern";
const RULESETS: [Rules; 3] = [
    ("none", "", ""),
    ("postern", WAKE, SLEEP),
    ("ct state", TRACKING, "delete table inet tracking"),
];

/// The names of what is put in the router's way.
pub(crate) const BY_ROUTE: &str = "sent on by its address, no firewall";
pub(crate) const BY_REDIRECT: &str = "sent on by firewall4's redirect";

/// So many rounds on each of two routers.
pub(crate) fn measure(rounds: usize, results: &mut Results) {
    let mut routed = World::routed();
    let to = routed.server.port(Family::V6, INNER_WEB);
    measure_one(BY_ROUTE, &mut routed, to, rounds, results);
    let mut redirected = World::fw4(Guard::Gate);
    let [to, _] = redirected.services_at(Family::V4);
    measure_one(BY_REDIRECT, &mut redirected, to, rounds, results);
}

fn measure_one(
    what: &str,
    world: &mut World,
    to: SocketAddr,
    rounds: usize,
    results: &mut Results,
) {
    world.services.clear();
    let World { net, server, .. } = &*world;
    for host in [&net.client, server] {
        host.namespace.ip_batch("link set eth0 gso_max_segs 1\n");
    }
    let setup = world.setup(Guard::Gate, DOOR);
    setup.verb(&net.router, "apply", &[]).ok();
    setup.verb(&net.router, "open", &["web"]).ok();
    let rounds: Vec<_> = fill(&net.client, server, to, |carried| {
        nft::apply(&net.router.namespace, SLEEP);
        (0..rounds)
            .map(|round| one_round(&net.router.namespace, round, carried))
            .collect()
    });
    for (number, (name, ..)) in RULESETS.into_iter().enumerate() {
        let relative = rounds.iter().map(|rates| Some(rates[number] / rates[0]));
        results.add("forward", what, name, "of none", relative.collect());
        let rates = rounds.iter().map(|rates| Some(rates[number] * 8.0 / 1e9));
        results.add(
            "forward",
            format!("{what}, rate"),
            name,
            "Gb/s",
            rates.collect(),
        );
    }
}

/// Octets a second that are carried beside each of the rulesets.
fn one_round(router: &Namespace, round: usize, carried: &AtomicU64) -> [f64; RULESETS.len()] {
    let mut rates = [0.0; RULESETS.len()];
    for turn in 0..RULESETS.len() {
        // None of them always comes first.
        let number = (round + turn) % RULESETS.len();
        let (_, bring, take_away) = RULESETS[number];
        nft::apply(router, bring);
        thread::sleep(HEAD_START);
        let (from, before) = (Instant::now(), carried.load(Ordering::Relaxed));
        thread::sleep(RUN);
        let (to, after) = (Instant::now(), carried.load(Ordering::Relaxed));
        nft::apply(router, take_away);
        rates[number] = (after - before) as f64 / (to - from).as_secs_f64();
    }
    rates
}

/// Fills a connection while `body` looks how many octets it has carried.
fn fill<T>(from: &Host, server: &Host, to: SocketAddr, body: impl FnOnce(&AtomicU64) -> T) -> T {
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), INNER_WEB);
    let listener = server.namespace.enter(|| TcpListener::bind(any));
    let listener = listener.expect("bind a TCP port");
    let connect = || probe::tcp_connect(&from.namespace, None, to).ok();
    let writer = poll_for(SOON, "let in", connect);
    let (reader, _) = listener.accept().expect("a connection");
    let (carried, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| read_all(reader, &carried));
        scope.spawn(|| {
            let mut writer = writer;
            let mut written = Ok(());
            while written.is_ok() && !stop.load(Ordering::Relaxed) {
                written = writer.write_all(&[0; 1 << 16]);
            }
        });
        let result = body(&carried);
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn read_all(mut reader: TcpStream, carried: &AtomicU64) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        carried.fetch_add(length as u64, Ordering::Relaxed);
    }
}
