//! Floods, and honest people who knock meanwhile. Every flood ends by itself.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::{Guard, Setup};
use crate::knocker::{FENCE, Knock, Knocker};
use crate::nft;
use crate::otp::{self, App};
use crate::packet::Packet;
use crate::process::Process;
use crate::scenario::Approach;
use crate::sender::{Random, Sender};
use crate::topology::{Host, Topology};
use crate::wait::{SOON, try_poll, until_aged};

/// A flood runs alone for so long, to fill what can be filled.
const HEAD_START: Duration = Duration::from_millis(250);
/// It ends by then, whatever becomes of those who knock.
const LONGEST: Duration = Duration::from_secs(300);
/// Where no door has asked for more.
const CODES_IN_A_ROW: usize = 4;

const SEED_BASE: u16 = 10_000;
const SEED_GUARD: u16 = 22;
const SEQUENCE: [u16; 3] = [7_100, 9_102, 8_101];
const SEQUENCE_GUARD: u16 = 80;
const OTHER: u16 = 7_000;

/// What is flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flooded {
    /// The first knock of another door.
    OtherDoor,
    /// All ports that codes may ask for.
    Codes,
    /// The second knock, of many codes.
    Second,
    /// A decoy.
    Decoy,
    /// The port that the door guards.
    Guarded,
}

/// A flood.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Where to.
    pub flooded: Flooded,
    /// Of datagrams, or of SYNs.
    pub is_udp: bool,
    /// From all of 10.0.0.0/8, or from one address.
    pub is_forged: bool,
}

impl Flood {
    /// All that there are.
    pub fn all() -> impl Iterator<Item = Self> {
        use Flooded::{Codes, Decoy, Guarded, OtherDoor, Second};
        let flooded = [OtherDoor, Codes, Second, Decoy, Guarded].into_iter();
        flooded.flat_map(|flooded| {
            [(false, true), (false, false), (true, true), (true, false)].map(
                |(is_udp, is_forged)| Self {
                    flooded,
                    is_udp,
                    is_forged,
                },
            )
        })
    }

    /// For a table.
    pub fn name(self) -> String {
        let protocol = if self.is_udp { "UDP" } else { "TCP" };
        let from = if self.is_forged {
            "forged"
        } else {
            "one address"
        };
        format!("{:?}, {protocol}, {from}", self.flooded)
    }
}

/// What honest people knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Honest {
    /// A fixed sequence, all of them at a time.
    Sequence,
    /// Codes of a counter, one after the other.
    Seed,
    /// Codes of the time, each at a door of his own.
    Clock,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How many were let in.
    pub opened: usize,
    /// How many packets a second were sent, in the longest of its floods.
    pub rate: u64,
}

/// A router with doors of all these kinds, an owner and a flooder.
pub struct Scene {
    _agent: Option<Process>,
    sender: Sender,
    flooder: Sender,
    /// How the router is set up.
    pub setup: Setup,
    /// Where it plays.
    pub net: Topology,
    most: u64,
    decoy: u16,
    seed: App,
    clocks: Vec<App>,
    next_code: Cell<u64>,
    next_clock: Cell<usize>,
    people: Cell<u16>,
}

impl Scene {
    /// A router that hears by this source, with so many doors that go by the clock, where no flood is of more than so
    /// many packets a second.
    ///
    /// # Panics
    /// When it does not start.
    pub fn new(source: &'static str, clocks: u16, most: u64) -> Self {
        let net = Topology::new();
        let back = format!("route add 10.0.0.0/8 via {}\n", net.stranger.v4);
        net.router.namespace.ip_batch(&back);
        let cutoff = "\toption cutoff '5 per 10m'\n";
        let mut doors = format!(
            "{FENCE}config door 'seed'\n\tlist guard 'tcp:{SEED_GUARD}'\n\toption method 'one-time-seed'\n\
             \toption secret_file '@/seed.secret'\n\toption base '{SEED_BASE}'\n{cutoff}\
             config door 'other'\n\tlist guard 'tcp:81'\n\toption method 'sequence-separate'\n\
             \tlist open 'tcp:{OTHER}'\n\tlist open 'udp:{OTHER}'\n\tlist open 'tcp:8000'\n\
             config door 'sequence'\n\tlist guard 'tcp:{SEQUENCE_GUARD}'\n\toption method 'sequence-separate'\n{cutoff}"
        );
        for port in SEQUENCE {
            doors += &format!("\tlist open 'tcp:{port}'\n");
        }
        for number in 0..clocks {
            let (guard, base) = (clock_guard(number), clock_base(number));
            doors += &format!(
                "config door 'clock{number}'\n\tlist guard 'tcp:{guard}'\n\toption method 'one-time-clock'\n\
                 \toption secret_file '@/clock{number}.secret'\n\toption base '{base}'\n{cutoff}"
            );
        }
        let approach = Approach::Source(source);
        let setup = Setup::new(&net.router, Guard::Gate, "");
        setup.hear_by(&approach.options());
        setup.rewrite(&doors);
        let app = |name: &str| App::scan(&setup.verb(&net.router, "keygen", &[name]).ok());
        Self {
            seed: app("seed"),
            clocks: (0..clocks)
                .map(|number| app(&format!("clock{number}")))
                .collect(),
            _agent: approach.begin(&setup, &net.router),
            decoy: decoy(&setup, &net.router),
            sender: Sender::new(&net.client.namespace),
            flooder: Sender::new(&net.stranger.namespace),
            setup,
            net,
            most,
            next_code: Cell::new(0),
            next_clock: Cell::new(0),
            people: Cell::new(0),
        }
    }

    /// Has so many people knock, with this pause after each knock, while somebody floods.
    pub fn play(&self, flood: Flood, honest: Honest, people: usize, pause: Duration) -> Outcome {
        match honest {
            Honest::Sequence => self.knock_sequences(flood, people, pause),
            Honest::Seed => self.type_codes(flood, people, pause),
            Honest::Clock => {
                let outcomes: Vec<Outcome> = (0..people)
                    .map(|_| self.type_code_of_the_time(flood, pause))
                    .collect();
                Outcome {
                    opened: outcomes.iter().map(|outcome| outcome.opened).sum(),
                    rate: outcomes
                        .iter()
                        .map(|outcome| outcome.rate)
                        .max()
                        .unwrap_or(0),
                }
            }
        }
    }

    /// Whether anybody was cut off who knocked honestly.
    pub fn has_cut_off_an_owner(&self) -> bool {
        let router = &self.net.router.namespace;
        let listing = router.run("nft", &["list", "set", "inet", "postern", "cutoff4"]);
        listing.stdout.contains("198.51.")
    }

    fn somebody(&self) -> IpAddr {
        let number = self.people.get();
        self.people.set(number + 1);
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(198, 51, high, low).into()
    }

    fn knock(&self, from: IpAddr, knock: Knock) {
        Knocker::new(&self.sender, from, self.net.router.v4.into()).send(&[knock]);
    }

    fn is_let_in(&self, door: &str, who: IpAddr) -> bool {
        nft::granted(&self.net.router.namespace, door, who).is_some()
    }

    fn knock_sequences(&self, flood: Flood, people: usize, pause: Duration) -> Outcome {
        let people: Vec<IpAddr> = (0..people).map(|_| self.somebody()).collect();
        let ports = self.ports(flood, SEED_BASE, SEQUENCE_GUARD, &[SEQUENCE[1]]);
        let ((), rate) = self.under(flood, &ports, || {
            for port in SEQUENCE {
                let began = Instant::now();
                for who in &people {
                    self.knock(*who, Knock::Tcp(port));
                }
                until_aged(began, pause);
            }
        });
        let is_in = |who: &&IpAddr| {
            try_poll(SOON, || self.is_let_in("sequence", **who).then_some(())).is_some()
        };
        Outcome {
            opened: people.iter().filter(is_in).count(),
            rate,
        }
    }

    fn type_codes(&self, flood: Flood, people: usize, pause: Duration) -> Outcome {
        let first = self.next_code.get();
        let codes = (self.seed.codes(first, people * CODES_IN_A_ROW).iter())
            .map(|code| otp::knocks(code, SEED_BASE, [Knock::Tcp; 2]))
            .collect::<Vec<_>>();
        let second: Vec<u16> = codes.iter().map(|code| code[1].port()).collect();
        let ports = self.ports(flood, SEED_BASE, SEED_GUARD, &second);
        let mut codes = codes.into_iter();
        let (opened, rate) = self.under(flood, &ports, || {
            let is_in = |_: &usize| self.types(&mut codes, "seed", pause);
            (0..people).filter(is_in).count()
        });
        self.next_code
            .set(first + (people * CODES_IN_A_ROW - codes.len()) as u64);
        Outcome { opened, rate }
    }

    fn type_code_of_the_time(&self, flood: Flood, pause: Duration) -> Outcome {
        let number = self.next_clock.get();
        self.next_clock.set(number + 1);
        let number = number % self.clocks.len();
        let app = &self.clocks[number];
        let number = number as u16;
        let (guard, base) = (clock_guard(number), clock_base(number));
        // That of the step before may be too old by the time that it is typed.
        let step = app.step();
        let codes = (app.codes(step, 4).iter())
            .map(|code| otp::knocks(code, base, [Knock::Tcp; 2]))
            .collect::<Vec<_>>();
        let second: Vec<u16> = codes.iter().map(|code| code[1].port()).collect();
        let ports = self.ports(flood, base, guard, &second);
        let mut codes = codes.into_iter().take(3);
        let (is_in, rate) = self.under(flood, &ports, || {
            self.types(&mut codes, &format!("clock{number}"), pause)
        });
        Outcome {
            opened: is_in.into(),
            rate,
        }
    }

    /// Somebody types codes until he is let in, which he waits for after the last.
    fn types(
        &self,
        codes: &mut impl Iterator<Item = [Knock; 2]>,
        door: &str,
        pause: Duration,
    ) -> bool {
        let who = self.somebody();
        for code in codes.take(CODES_IN_A_ROW) {
            for knock in code {
                self.knock(who, knock);
                until_aged(Instant::now(), pause);
            }
            // Where the machine is slow, the next code is not to overtake this one's effect.
            if try_poll(pause, || self.is_let_in(door, who).then_some(())).is_some() {
                return true;
            }
        }
        try_poll(SOON, || self.is_let_in(door, who).then_some(())).is_some()
    }

    fn ports(&self, flood: Flood, base: u16, guard: u16, second: &[u16]) -> Vec<u16> {
        match flood.flooded {
            Flooded::OtherDoor => vec![OTHER],
            Flooded::Codes => (base..base + 1_000).collect(),
            Flooded::Second => second.to_vec(),
            Flooded::Decoy => vec![self.decoy],
            Flooded::Guarded => vec![guard],
        }
    }

    /// Does something while ports are flooded; how many packets a second were sent.
    fn under<T>(&self, flood: Flood, ports: &[u16], act: impl FnOnce() -> T) -> (T, u64) {
        let stop = AtomicBool::new(false);
        let began = Instant::now();
        let (to, own): (IpAddr, _) = (self.net.router.v4.into(), self.net.stranger.v4);
        let (flooder, stop, most) = (&self.flooder, &stop, u128::from(self.most));
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let (mut random, mut sent) = (Random::new(), 0_u64);
                while !stop.load(Ordering::Relaxed) && began.elapsed() < LONGEST {
                    if u128::from(sent) * 1_000_000 > began.elapsed().as_micros() * most {
                        thread::yield_now();
                        continue;
                    }
                    let [a, b, c, d, e, f, g, _] = random.number().to_be_bytes();
                    let from = match flood.is_forged {
                        true => Ipv4Addr::new(10, a, b, c),
                        false => own,
                    };
                    let from = SocketAddr::new(from.into(), u16::from_be_bytes([d, e]) | 1024);
                    let port = ports[usize::from(u16::from_be_bytes([f, g])) % ports.len()];
                    let to = SocketAddr::new(to, port);
                    flooder.send(&match flood.is_udp {
                        true => Packet::udp(from, to, &[0]),
                        false => Packet::syn(from, to),
                    });
                    sent += 1;
                }
                sent * 1_000 / (began.elapsed().as_millis() as u64).max(1)
            });
            until_aged(began, HEAD_START);
            let done = act();
            stop.store(true, Ordering::Relaxed);
            (done, thread.join().expect("the flood"))
        })
    }
}

const fn clock_guard(number: u16) -> u16 {
    2_300 + number
}

const fn clock_base(number: u16) -> u16 {
    SEED_BASE + 1_000 * (number + 1)
}

/// A TCP port at which doors of this configuration have a decoy.
///
/// # Panics
/// When there is none.
pub fn decoy(setup: &Setup, router: &Host) -> u16 {
    let rules = setup.verb(router, "render", &[]).ok();
    let (_, map) = rules.split_once("map tcp_knocks").expect("a map");
    let (before, _) = map.split_once(" : goto decoy").expect("a decoy");
    let ports = before.rsplit([' ', '\t', '{', ',']).next();
    let first = ports.and_then(|ports| ports.split('-').next());
    first.and_then(|port| port.parse().ok()).expect("a port")
}
