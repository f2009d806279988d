//! Games against the engine, judged by a slow, obvious model: all knocks that were ever made.
//!
//! - A door opens for nobody who did not make its knocks, within its window and in their order but for the jitter.
//! - Nobody is cut off who knocked less often than the cut-off allows failures, and who is cut off is not heard.
//! - Whatever went before, somebody new who makes the knocks enters, and so does everybody after a rest.

#![no_main]

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use postern_core::config::Config;
use postern_core::door::{Door, DoorSet, Method};
use postern_core::engine::{Decision, Engine, Outcome, failing_network};
use postern_core::knock::{Knock, Port, Protocol};
use postern_core::method::{Armed, Candidate};
use postern_core::time::{Duration, Instant};

/// The doors: `J` and `D` stand for what a game chooses.
const DOORS: &str = "
config postern 'global'
	list interface 'wan'
config door 'separate'
	list guard 'tcp:22'
	option method 'sequence-separate'
	list open 'tcp:7002'
	list open 'udp:7001'
	list open 'tcp:7000'
	list close 'tcp:7003'
	list close 'tcp:7002'
	option window '10s'
	option cutoff '5 per 60s'
	option jitter 'J'
	option decoys 'D'
config door 'same'
	list guard 'tcp:23'
	option method 'sequence-same'
	list open 'tcp:7005'
	list open 'tcp:7004'
	option window '5s'
	option jitter 'J'
	option decoys 'D'
config door 'again'
	list guard 'tcp:24'
	option method 'sequence-separate'
	list open 'tcp:7007'
	list open 'tcp:7006'
	list open 'tcp:7007'
	list close 'tcp:7008'
	option window '10s'
	option jitter 'J'
	option decoys 'D'
config door 'code'
	list guard 'tcp:25'
	option method 'one-time-seed'
	option secret_file '/secret'
	option base '7010'
	option cutoff '5 per 60s'
	option window '10s'
";
const JITTERS: [&str; 3] = ["0ms", "50ms", "1s"];
const DECOYS: [&str; 2] = ["0", "16"];
const CODE: usize = 3;
/// Longer than any window, cut-off and memory.
const REST: Duration = Duration::from_secs(7200);

const SOURCES: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    // Of one /64.
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
];
const NEWCOMER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

struct Game {
    engine: Box<Engine<1024>>,
    doors: Vec<Door>,
    jitter: Duration,
    codes: Vec<Candidate>,
    now: Instant,
    made: HashMap<IpAddr, Vec<(Instant, Port)>>,
    cut_off: HashMap<IpAddr, Instant>,
    /// One that no knock came from before.
    source_port: u16,
}

impl Game {
    fn new(jitter: &'static str, decoys: &str, codes: Vec<Candidate>) -> Self {
        let text = DOORS
            .replace("'J'", &format!("'{jitter}'"))
            .replace("'D'", &format!("'{decoys}'"));
        let config = Config::parse(text.as_bytes(), |_| {});
        let config = config.expect("a configuration");
        let mut engine = Box::new(Engine::new());
        engine.seed(*b"8 octets");
        engine.configure(&config.doors).expect("room for the ports");
        let candidates = codes.iter().copied().collect();
        engine.arm(CODE, Armed::Codes(candidates));
        Self {
            engine,
            doors: config.doors.iter().cloned().collect(),
            jitter: Duration::parse(jitter).expect("a time"),
            codes,
            now: Instant::from_millis(1_000_000),
            made: HashMap::new(),
            cut_off: HashMap::new(),
            source_port: 20_000,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let now = self.now;
        let cut_off = &mut self.cut_off;
        self.engine.poll_telling(now, &mut |_, lapse| {
            if let Some(lasting) = lapse.cut_off {
                cut_off.insert(failing_network(lapse.source), now + lasting);
            }
        });
    }

    fn knock(&mut self, source: IpAddr, port: Port, source_port: u16) -> Decision {
        let now = self.now;
        let network = failing_network(source);
        let decision = self.engine.handle(
            now,
            &Knock {
                source,
                source_port,
                port,
                payload: b"",
            },
        );
        self.made.entry(source).or_default().push((now, port));
        if self.cut_off.get(&network).is_some_and(|until| now < *until) {
            assert!(
                matches!(decision.outcome, Outcome::Silenced | Outcome::Unwatched),
                "{decision:?}"
            );
        }
        if let Some(lasting) = decision.cut_off {
            let knocks = |(made_by, knocks): (&IpAddr, &Vec<_>)| match failing_network(*made_by)
                == network
            {
                true => knocks.len(),
                false => 0,
            };
            let knocks: usize = self.made.iter().map(knocks).sum();
            assert!(knocks >= 5, "cut off after {knocks} knocks");
            self.cut_off.insert(network, now + lasting);
        }
        for door in decision.open.or(decision.toggle) {
            self.justify(source, door, &decision);
        }
        decision
    }

    /// Panics unless the source made the knocks of the door.
    fn justify(&self, source: IpAddr, index: usize, decision: &Decision) {
        let door = &self.doors[index];
        let since = |at: Instant| self.now.since(at);
        let recent: Vec<(Instant, Port)> = (self.made[&source].iter().copied())
            .filter(|(at, _)| since(*at) <= door.window)
            .collect();
        let is_made = match &door.method {
            Method::Separate { .. } | Method::Same { .. } => self.are_made(
                door.method.open(),
                &recent,
                &mut vec![false; recent.len()],
                &mut Vec::new(),
            ),
            _ => {
                let has = |port: &Port| recent.iter().any(|(_, made)| made == port);
                let mut codes = self.codes.iter();
                codes.any(|code| code.knocks.iter().all(has))
            }
        };
        assert!(is_made, "{}: {recent:?}: {decision:?}", door.name);
    }

    /// Whether a packet of each step's port can be found, none that came later than a later step's but for the jitter.
    fn are_made(
        &self,
        steps: &[Port],
        packets: &[(Instant, Port)],
        taken: &mut Vec<bool>,
        times: &mut Vec<Instant>,
    ) -> bool {
        let Some((step, later)) = steps.split_first() else {
            return true;
        };
        for (place, (at, port)) in packets.iter().enumerate() {
            if taken[place]
                || port != step
                || times.iter().any(|before| *before > *at + self.jitter)
            {
                continue;
            }
            taken[place] = true;
            times.push(*at);
            if self.are_made(later, packets, taken, times) {
                return true;
            }
            times.pop();
            taken[place] = false;
        }
        false
    }

    fn enters(&mut self, source: IpAddr) {
        let steps: Vec<Port> = self.doors[0].method.open().to_vec();
        let mut opened = DoorSet::EMPTY;
        for step in steps {
            self.pass(Duration::from_millis(1_100));
            self.source_port += 1;
            opened = opened.or(self.knock(source, step, self.source_port).open);
        }
        assert!(opened.contains(0), "{source} does not enter");
    }
}

fn port(number: u8) -> Port {
    let protocol = match number {
        1 => Protocol::Udp,
        number if number >= 128 => Protocol::Udp,
        _ => Protocol::Tcp,
    };
    Port {
        protocol,
        number: 7_000 + u16::from(number % 128),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let [choice, one, two, three, four, moves @ ..] = bytes else {
        return;
    };
    let code = |counter, one: u8, two: u8| Candidate {
        counter,
        knocks: [port(10 + one % 64), port(10 + two % 64)],
    };
    let jitter = JITTERS[usize::from(*choice) % JITTERS.len()];
    let decoys = DECOYS[usize::from(*choice >> 4) % DECOYS.len()];
    let mut game = Game::new(
        jitter,
        decoys,
        vec![code(1, *one, *two), code(2, *three, *four)],
    );
    for step in moves.chunks_exact(2).take(400) {
        let [who, what] = *step else { continue };
        let time = [0, 1, 20, 60, 700, 3_000, 20_000, 700_000][usize::from(who >> 2 & 7)];
        game.pass(Duration::from_millis(time));
        if who & 0x40 == 0 {
            game.source_port = game.source_port.wrapping_add(1).max(1_024);
        }
        let from = game.source_port;
        _ = game.knock(SOURCES[usize::from(who & 3)], port(what), from);
    }
    game.enters(NEWCOMER);
    game.pass(REST);
    for source in SOURCES {
        game.enters(source);
        game.pass(REST);
    }
});
