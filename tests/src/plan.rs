//! Doors of every method, and what their owners know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::agent::Setup;
use crate::knocker::{Knock, list};
use crate::otp::{self, App};
use crate::topology::{Family, Host};

/// How the knocks of a door are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One port, the same to open and to close.
    SingleSame,
    /// One port to open, and one to close.
    SingleSeparate,
    /// A sequence, the same to open and to close.
    SequenceSame,
    /// A sequence to open, and one to close.
    SequenceSeparate,
    /// The next sequence of a list.
    OneTimeList,
    /// The code of the clock.
    OneTimeClock,
    /// The next code of a counter.
    OneTimeSeed,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SingleSame,
        Self::SingleSeparate,
        Self::SequenceSame,
        Self::SequenceSeparate,
        Self::OneTimeList,
        Self::OneTimeClock,
        Self::OneTimeSeed,
    ];

    /// As a configuration names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SingleSame => "single-same",
            Self::SingleSeparate => "single-separate",
            Self::SequenceSame => "sequence-same",
            Self::SequenceSeparate => "sequence-separate",
            Self::OneTimeList => "one-time-list",
            Self::OneTimeClock => "one-time-clock",
            Self::OneTimeSeed => "one-time-seed",
        }
    }

    /// Whether no knocks open twice.
    pub const fn is_one_time(self) -> bool {
        matches!(
            self,
            Self::OneTimeList | Self::OneTimeClock | Self::OneTimeSeed
        )
    }

    /// Whether codes open it.
    pub const fn has_code(self) -> bool {
        matches!(self, Self::OneTimeClock | Self::OneTimeSeed)
    }

    /// Whether what opens closes too.
    pub const fn toggles(self) -> bool {
        matches!(self, Self::SingleSame | Self::SequenceSame)
    }
}

/// What the knocks are, and what they guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both in turn.
    Mixed,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Mixed];

    /// As a configuration names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Mixed => "mixed",
        }
    }

    /// Of the first knock and of the second; they alternate.
    const fn pair(self) -> [fn(u16) -> Knock; 2] {
        match self {
            Self::Tcp => [Knock::Tcp, Knock::Tcp],
            Self::Udp => [Knock::Udp, Knock::Udp],
            Self::Mixed => [Knock::Tcp, Knock::Udp],
        }
    }

    fn knocks(self, ports: &[u16]) -> Vec<Knock> {
        let protocols = self.pair().into_iter().cycle();
        ports
            .iter()
            .zip(protocols)
            .map(|(port, knock)| knock(*port))
            .collect()
    }
}

/// A door of the matrix. Numbers of its own keep its ports apart from those of other doors.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How its knocks are chosen.
    pub method: Method,
    /// What its knocks are, and what it guards.
    pub protocol: Protocol,
    /// Whether its grants are so short that a test can wait for their end.
    pub brief: bool,
    number: u16,
}

/// How long a brief door's grants last.
pub const BRIEF: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(60);
/// How many sequences a list has: more than are used.
const SEQUENCES: u16 = 8;

impl Plan {
    /// Two doors of each kind, one of them brief.
    pub fn pairs(kinds: impl IntoIterator<Item = (Method, Protocol)>) -> Vec<Self> {
        let each = kinds
            .into_iter()
            .flat_map(|kind| [false, true].map(|brief| (kind, brief)));
        let plan = |(((method, protocol), brief), number)| Self {
            method,
            protocol,
            brief,
            number,
        };
        each.zip(0..).map(plan).collect()
    }

    /// Its name.
    pub fn name(self) -> String {
        let (method, protocol) = (self.method.name().replace('-', "_"), self.protocol.name());
        match self.brief {
            true => format!("brief_{}", self.number),
            false => format!("{method}_{protocol}"),
        }
    }

    /// What it guards.
    pub fn guards(self) -> Vec<Knock> {
        let port = 2200 + self.number;
        match self.protocol {
            Protocol::Tcp => vec![Knock::Tcp(port)],
            Protocol::Udp => vec![Knock::Udp(port)],
            Protocol::Mixed => vec![Knock::Tcp(port), Knock::Udp(port)],
        }
    }

    /// The knocks that open, where they are always the same: not in the order of a port scan.
    fn fixed(self) -> Vec<Knock> {
        let first = 20_000 + self.number * 20;
        match self.method {
            Method::SingleSame | Method::SingleSeparate => self.protocol.knocks(&[first]),
            _ => self.protocol.knocks(&[first + 4, first, first + 2]),
        }
    }

    /// The knocks that close, where they are not those that open.
    pub fn close(self) -> Vec<Knock> {
        let first = 20_000 + self.number * 20 + 10;
        match (self.method, self.protocol) {
            (Method::SingleSeparate, Protocol::Mixed) => vec![Knock::Udp(first)],
            (Method::SingleSeparate, protocol) => protocol.knocks(&[first]),
            (_, protocol) => protocol.knocks(&[first + 2, first]),
        }
    }

    fn sequence(self, index: u16) -> Vec<Knock> {
        let first = 30_000 + self.number * 50 + index * 5;
        self.protocol.knocks(&[first + 2, first, first + 1])
    }

    /// Each of oathtool's hash functions, and both lengths of a code.
    fn code(self) -> (&'static str, u16, u16) {
        // Whoever knocks at doors that share ports may knock half of another's code.
        let small = 35_000 + self.number % 12 * 1_000;
        let big = if self.brief { 55_000 } else { 45_000 };
        let (clock, seed) = (Method::OneTimeClock, Method::OneTimeSeed);
        match (self.method, self.protocol) {
            (method, Protocol::Tcp) if method == clock => ("sha1", 6, small),
            (method, Protocol::Udp) if method == clock => ("sha256", 8, big),
            (method, Protocol::Mixed) if method == clock => ("sha512", 6, small),
            (method, Protocol::Tcp) if method == seed => ("sha1", 8, big),
            (method, Protocol::Udp) if method == seed => ("sha512", 6, small),
            _ => ("sha256", 6, small),
        }
    }

    /// Its section of a configuration.
    pub fn config(self) -> String {
        let (name, method) = (self.name(), self.method.name());
        let guards = list("guard", &self.guards());
        let opening = match self.method {
            Method::OneTimeList => format!("\toption list_file '@/{name}.list'\n"),
            method if method.has_code() => self.code_options(),
            // A knock that is wrong on purpose would keep its source out for the window if it hit one.
            _ => list("open", &self.fixed()) + "\toption decoys '0'\n",
        };
        let close = match self.method.toggles() {
            true => String::new(),
            false => list("close", &self.close()),
        };
        let grant = if self.brief { BRIEF } else { LONG }.as_secs();
        format!(
            "config door '{name}'\n{guards}\toption method '{method}'\n{opening}{close}\
             \toption grant '{grant}s'\n"
        )
    }

    fn code_options(self) -> String {
        let (name, protocol) = (self.name(), self.protocol.name());
        let (algorithm, digits, base) = self.code();
        // Codes of many periods are accepted, so that a test need not wait for the next one.
        let skew = match self.method {
            Method::OneTimeClock => "\toption skew '10'\n",
            _ => "",
        };
        format!(
            "\toption secret_file '@/{name}.secret'\n\toption algorithm '{algorithm}'\n\
             \toption digits '{digits}'\n\toption base '{base}'\n\toption protocol '{protocol}'\n{skew}"
        )
    }

    /// The address from which its owner knocks, where every door's owner has another.
    pub fn address(self, family: Family) -> IpAddr {
        let number = 20 + self.number / 2;
        match family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, number.try_into().expect("some dozens")).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, number).into(),
        }
    }

    /// Makes what its owner and the router share, before the agent is started.
    pub fn prepare(self, setup: &Setup, router: &Host) -> Opening {
        let name = self.name();
        match self.method {
            Method::OneTimeList => {
                let spelled = |index| {
                    let knocks = self.sequence(index).into_iter();
                    knocks.map(|knock| format!("{knock} ")).collect::<String>() + "\n"
                };
                let text: String = (0..SEQUENCES).map(spelled).collect();
                setup.write_private(&format!("{name}.list"), &text);
                setup.verb(router, "resync", &[&name]).ok();
                Opening::List(AtomicUsize::new(0))
            }
            method if method.has_code() => Opening::Code {
                app: App::scan(&setup.verb(router, "keygen", &[&name]).ok()),
                next: AtomicU64::new(0),
            },
            _ => Opening::Fixed,
        }
    }
}

/// What its owner knows of a door.
#[derive(Debug)]
pub enum Opening {
    /// Always the same knocks.
    Fixed,
    /// How many sequences are used.
    List(AtomicUsize),
    /// Codes.
    Code {
        /// What makes them.
        app: App,
        /// The first counter or time step that was not used.
        next: AtomicU64,
    },
}

/// A door and its owner.
#[derive(Debug)]
pub struct Door {
    /// What it is.
    pub plan: Plan,
    /// What its owner knows of it.
    pub opening: Opening,
}

impl Door {
    /// What opens the door now; never the same again where the method is a one-time method.
    pub fn open(&self) -> Vec<Knock> {
        match &self.opening {
            Opening::Fixed => self.plan.fixed(),
            Opening::List(used) => {
                let index = used.fetch_add(1, Ordering::Relaxed);
                self.plan.sequence(index.try_into().expect("a short list"))
            }
            Opening::Code { app, next } => {
                let counter = next.load(Ordering::Relaxed).max(self.acceptable(app).0);
                next.store(counter + 1, Ordering::Relaxed);
                self.knocks(&app.code(counter)).into()
            }
        }
    }

    /// What would open the door, but for its last knock.
    pub fn wrong(&self) -> Vec<Knock> {
        let mut knocks = match &self.opening {
            Opening::Fixed => self.plan.fixed(),
            Opening::List(used) => {
                let index = used.load(Ordering::Relaxed);
                self.plan.sequence(index.try_into().expect("a short list"))
            }
            Opening::Code { app, next } => {
                let counter = next.load(Ordering::Relaxed).max(self.acceptable(app).0);
                self.knocks(&app.code(counter)).into()
            }
        };
        let last = knocks.last_mut().expect("a knock");
        *last = match &self.opening {
            Opening::Code { app, .. } => self.missed(app, *last),
            _ => last.at(last.port() + 7),
        };
        knocks
    }

    fn knocks(&self, code: &str) -> [Knock; 2] {
        let (_, _, base) = self.plan.code();
        otp::knocks(code, base, self.plan.protocol.pair())
    }

    /// The first code to be accepted, and how many at most. Some are left out at either end,
    /// because time goes on.
    fn acceptable(&self, app: &App) -> (u64, usize) {
        match self.plan.method {
            Method::OneTimeClock => (app.step() - 8, 17),
            _ => (0, 20),
        }
    }

    /// A port near `right` that no acceptable code asks for.
    fn missed(&self, app: &App, right: Knock) -> Knock {
        let (first, count) = self.acceptable(app);
        let (_, _, base) = self.plan.code();
        let codes = app.codes(first.saturating_sub(4), count + 30);
        let asked: Vec<Knock> = codes.iter().flat_map(|code| self.knocks(code)).collect();
        let mut others = (base..base + 1_000).map(|port| right.at(port));
        others
            .find(|other| !asked.contains(other))
            .expect("a port that no code asks for")
    }
}
