//! Every method with every protocol, by either family: what opens, what closes, what does
//! neither, what works twice, and what ends by itself. The outcome is printed as a table.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use postern_tests::agent::{Guard, Setup};
use postern_tests::knocker::{self, FENCE, Knock, Knocker, list};
use postern_tests::otp::{self, App};
use postern_tests::probe::{self, Answer};
use postern_tests::process::Process;
use postern_tests::sender::Sender;
use postern_tests::server::{Listener, Service};
use postern_tests::suite;
use postern_tests::topology::{Family, Host, Topology};
use postern_tests::wait::{SOON, try_poll};
use postern_tests::{cases, nft};

fn main() -> ExitCode {
    suite::run_then(
        cases![
            single_same,
            single_separate,
            sequence_same,
            sequence_separate,
            one_time_list,
            one_time_clock needs "oathtool",
            one_time_seed needs "oathtool",
        ],
        finish,
    )
}

fn single_same() {
    play(Method::SingleSame);
}

fn single_separate() {
    play(Method::SingleSeparate);
}

fn sequence_same() {
    play(Method::SequenceSame);
}

fn sequence_separate() {
    play(Method::SequenceSeparate);
}

fn one_time_list() {
    play(Method::OneTimeList);
}

fn one_time_clock() {
    play(Method::OneTimeClock);
}

fn one_time_seed() {
    play(Method::OneTimeSeed);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    SingleSame,
    SingleSeparate,
    SequenceSame,
    SequenceSeparate,
    OneTimeList,
    OneTimeClock,
    OneTimeSeed,
}

impl Method {
    const ALL: [Self; 7] = [
        Self::SingleSame,
        Self::SingleSeparate,
        Self::SequenceSame,
        Self::SequenceSeparate,
        Self::OneTimeList,
        Self::OneTimeClock,
        Self::OneTimeSeed,
    ];

    const fn name(self) -> &'static str {
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

    const fn is_one_time(self) -> bool {
        matches!(
            self,
            Self::OneTimeList | Self::OneTimeClock | Self::OneTimeSeed
        )
    }

    const fn has_code(self) -> bool {
        matches!(self, Self::OneTimeClock | Self::OneTimeSeed)
    }

    const fn toggles(self) -> bool {
        matches!(self, Self::SingleSame | Self::SequenceSame)
    }
}

/// What the knocks are, and what they guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Mixed,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Mixed];

    const fn name(self) -> &'static str {
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
struct Plan {
    method: Method,
    protocol: Protocol,
    /// Whether its grants are so short that a test can wait for their end.
    brief: bool,
    number: u16,
}

const BRIEF: Duration = Duration::from_secs(2);
/// A knock of which the kernel has not heard by then was lost.
const LOST: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);
/// How many sequences a list has: more than are used.
const SEQUENCES: u16 = 8;

impl Plan {
    /// One knock cannot be mixed, and where it closes too there is no other.
    fn all() -> Vec<Self> {
        let mut plans = Vec::new();
        for method in Method::ALL {
            for protocol in Protocol::ALL {
                if method == Method::SingleSame && protocol == Protocol::Mixed {
                    continue;
                }
                for brief in [false, true] {
                    let number = u16::try_from(plans.len()).expect("some dozens");
                    plans.push(Self {
                        method,
                        protocol,
                        brief,
                        number,
                    });
                }
            }
        }
        plans
    }

    fn name(self) -> String {
        let (method, protocol) = (self.method.name().replace('-', "_"), self.protocol.name());
        match self.brief {
            true => format!("brief_{}", self.number),
            false => format!("{method}_{protocol}"),
        }
    }

    fn guards(self) -> Vec<Knock> {
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

    fn close(self) -> Vec<Knock> {
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

    fn config(self) -> String {
        let (name, method) = (self.name(), self.method.name());
        let guards = list("guard", &self.guards());
        let opening = match self.method {
            Method::OneTimeList => format!("\toption list_file '@/{name}.list'\n"),
            method if method.has_code() => self.code_options(),
            _ => list("open", &self.fixed()),
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

    /// Makes what its owner and the router share, before the agent is started.
    fn prepare(self, setup: &Setup, router: &Host) -> Opening {
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
enum Opening {
    Fixed,
    /// How many sequences are used.
    List(AtomicUsize),
    Code {
        app: App,
        /// The first counter or time step that was not used.
        next: AtomicU64,
    },
}

#[derive(Debug)]
struct Door {
    plan: Plan,
    opening: Opening,
}

impl Door {
    /// What opens the door now; never the same again where the method is a one-time method.
    fn open(&self) -> Vec<Knock> {
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
    fn wrong(&self) -> Vec<Knock> {
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

/// One network, one agent, all doors. Its parts are ended in this order.
struct Stage {
    _agent: Process,
    services: (Vec<Listener>, Vec<Service>),
    doors: Vec<Door>,
    setup: Setup,
    sender: Sender,
    net: Topology,
}

impl Stage {
    fn new() -> Self {
        let net = Topology::new();
        let plans = Plan::all();
        let doors: String = plans.iter().map(|plan| plan.config()).collect();
        let setup = Setup::new(&net.router, Guard::Gate, &format!("{FENCE}{doors}"));
        let prepared = plans.iter().map(|plan| Door {
            plan: *plan,
            opening: plan.prepare(&setup, &net.router),
        });
        let doors = prepared.collect();
        for plan in plans.iter().filter(|plan| !plan.brief) {
            for family in Family::BOTH {
                net.client.add_address(source(*plan, family));
            }
        }
        Self {
            _agent: setup.start(&net.router).into_process(),
            services: serve(&net.router, &plans),
            doors,
            setup,
            sender: Sender::new(&net.client.namespace),
            net,
        }
    }

    fn fence(&self) {
        knocker::fence(&self.net, &self.sender);
    }

    fn door(&self, method: Method, protocol: Protocol, brief: bool) -> Option<&Door> {
        let same = |plan: Plan| (plan.method, plan.protocol, plan.brief);
        let mut doors = self.doors.iter();
        doors.find(|door| same(door.plan) == (method, protocol, brief))
    }
}

fn serve(router: &Host, plans: &[Plan]) -> (Vec<Listener>, Vec<Service>) {
    let guards: Vec<Knock> = plans.iter().flat_map(|plan| plan.guards()).collect();
    let namespace = &router.namespace;
    let tcp = guards.iter().filter_map(|guard| match guard {
        Knock::Tcp(port) => Some(Listener::new(namespace, *port)),
        Knock::Udp(_) => None,
    });
    let udp = guards.iter().filter_map(|guard| match guard {
        Knock::Tcp(_) => None,
        Knock::Udp(port) => Some(Service::udp_echo(namespace, *port)),
    });
    (tcp.collect(), udp.collect())
}

/// The address from which a door's owner knocks.
fn source(plan: Plan, family: Family) -> IpAddr {
    let number = 20 + plan.number / 2;
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, number.try_into().expect("some dozens")).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, number).into(),
    }
}

static STAGE: Mutex<Option<Arc<Stage>>> = Mutex::new(None);
static TABLE: Mutex<Vec<Row>> = Mutex::new(Vec::new());

fn stage() -> Arc<Stage> {
    let mut stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(stage.get_or_insert_with(|| Arc::new(Stage::new())))
}

fn finish() {
    let stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut rows = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|row| row.order);
    if let Some(first) = rows.first() {
        println!("{}", first.heading());
    }
    for row in rows.iter() {
        println!("{row}");
    }
    if let Some(stage) = stage.filter(|_| rows.iter().any(|row| !row.failures().is_empty())) {
        println!("--- the agent logged:\n{}", stage.setup.log_so_far());
    }
}

/// The outcome of everything about one method by one family and protocol.
struct Row {
    order: (usize, usize, usize),
    method: Method,
    family: Family,
    protocol: Protocol,
    cells: Vec<(&'static str, Cell)>,
}

/// What is printed where all was well, or what was not.
type Cell = Result<&'static str, String>;

impl Row {
    fn heading(&self) -> String {
        let titles = self.cells.iter().map(|(title, _)| format!("{title:9}"));
        let titles: String = titles.collect();
        format!("\n{:19}{:8}{:10}{titles}", "method", "family", "protocol")
    }

    fn failures(&self) -> String {
        let failed = self.cells.iter().filter_map(|(title, cell)| {
            let why = cell.as_ref().err()?;
            let (method, family, protocol) = (self.method.name(), self.family, self.protocol);
            Some(format!("{method} {family:?} {protocol:?} {title}: {why}\n"))
        });
        failed.collect()
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let (method, protocol) = (self.method.name(), self.protocol.name());
        write!(f, "{method:19}{family:8}{protocol:10}")?;
        for (_, cell) in &self.cells {
            write!(f, "{:9}", cell.as_ref().map_or("FAIL", |outcome| *outcome))?;
        }
        Ok(())
    }
}

/// Plays all rows of a method. Families take turns, because a code is used up for both.
fn play(method: Method) {
    let stage = stage();
    let mut failures = String::new();
    for (family_order, family) in Family::BOTH.into_iter().enumerate() {
        let rows: Vec<Row> = thread::scope(|scope| {
            let protocols = Protocol::ALL.into_iter().enumerate();
            let playing = protocols.filter_map(|(protocol_order, protocol)| {
                let visit = Visit {
                    stage: &stage,
                    door: stage.door(method, protocol, false)?,
                    family,
                };
                let brief = Visit {
                    door: stage.door(method, protocol, true)?,
                    ..visit
                };
                let order = (method as usize, family_order, protocol_order);
                Some(scope.spawn(move || Row {
                    order,
                    method,
                    family,
                    protocol,
                    cells: cells(visit, brief),
                }))
            });
            let playing: Vec<_> = playing.collect();
            let ended = playing.into_iter().map(thread::ScopedJoinHandle::join);
            ended.map(|row| row.expect("a row is played")).collect()
        });
        failures.extend(rows.iter().map(Row::failures));
        TABLE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(rows);
    }
    assert!(failures.is_empty(), "{failures}");
}

/// Somebody at a door.
#[derive(Clone, Copy)]
struct Visit<'s> {
    stage: &'s Stage,
    door: &'s Door,
    family: Family,
}

fn cells(visit: Visit<'_>, brief: Visit<'_>) -> Vec<(&'static str, Cell)> {
    let began = brief.begin_to_expire();
    let wrong = visit.wrong();
    let knocks = visit.door.open();
    let open = visit.open(&knocks);
    let close = visit.close(&knocks);
    let replay = visit.replay(&knocks);
    let expiry = began.and_then(|()| brief.expire());
    vec![
        ("open", open),
        ("close", close),
        ("wrong", wrong),
        ("replay", replay),
        ("expiry", expiry),
    ]
}

impl Visit<'_> {
    fn wrong(self) -> Cell {
        self.knock(&self.door.wrong());
        self.stage.fence();
        self.expect(Answer::Silent).map(|()| "ok")
    }

    fn open(self, knocks: &[Knock]) -> Cell {
        self.expect(Answer::Silent)?;
        self.knock_until_open(knocks)?;
        let stranger = &self.stage.net.stranger;
        let answers = self.answers(stranger, stranger.address(self.family));
        match answers.iter().all(|answer| *answer == Answer::Silent) {
            true => Ok("ok"),
            false => Err(format!("a stranger finds it {answers:?}")),
        }
    }

    fn close(self, opened_by: &[Knock]) -> Cell {
        match self.door.plan.method.toggles() {
            true => self.knock(opened_by),
            false => self.knock(&self.door.plan.close()),
        }
        self.await_answer(Answer::Silent).map(|()| "ok")
    }

    /// The knocks that opened once, after the door was closed.
    fn replay(self, knocks: &[Knock]) -> Cell {
        self.expect(Answer::Silent)?;
        self.knock(knocks);
        if self.door.plan.method.is_one_time() {
            self.stage.fence();
            self.expect(Answer::Silent).map(|()| "refused")
        } else {
            self.await_answer(Answer::Open).map(|()| "repeats")
        }
    }

    fn begin_to_expire(self) -> Result<(), String> {
        self.knock_until_open(&self.door.open())?;
        let router = &self.stage.net.router.namespace;
        match nft::expiry(router, "inet postern", self.source()) {
            Some(left) if left <= BRIEF => Ok(()),
            other => Err(format!("the kernel gives it {other:?}")),
        }
    }

    fn expire(self) -> Cell {
        self.await_answer(Answer::Silent).map(|()| "ok")
    }

    fn source(self) -> IpAddr {
        source(self.door.plan, self.family)
    }

    fn knock(self, knocks: &[Knock]) {
        let router = self.stage.net.router.address(self.family);
        Knocker::new(&self.stage.sender, self.source(), router).send(knocks);
    }

    /// Knocks, and once more where a packet was lost: other programs of the machine share its
    /// backlog. A one-time code is knocked once.
    fn knock_until_open(self, knocks: &[Knock]) -> Result<(), String> {
        let tries = if self.door.plan.method.is_one_time() {
            1
        } else {
            3
        };
        for _ in 1..tries {
            self.knock(knocks);
            let router = &self.stage.net.router.namespace;
            let granted = || nft::expiry(router, "inet postern", self.source());
            if try_poll(LOST, granted).is_some() {
                return self.await_answer(Answer::Open);
            }
        }
        self.knock(knocks);
        self.await_answer(Answer::Open)
    }

    /// What each of the guarded ports answers.
    fn answers(self, host: &Host, source: IpAddr) -> Vec<Answer> {
        let (listeners, _) = &self.stage.services;
        listeners.iter().for_each(Listener::hang_up);
        let guards = self.door.plan.guards();
        let answer = |guard: &Knock| {
            let to = self.stage.net.router.port(self.family, guard.port());
            match guard {
                Knock::Tcp(_) => probe::tcp_from(&host.namespace, source, to),
                Knock::Udp(_) => probe::udp_from(&host.namespace, source, to),
            }
        };
        guards.iter().map(answer).collect()
    }

    fn expect(self, expected: Answer) -> Result<(), String> {
        let answers = self.answers(&self.stage.net.client, self.source());
        match answers.iter().all(|answer| *answer == expected) {
            true => Ok(()),
            false => Err(format!("it is {answers:?}, not {expected:?}")),
        }
    }

    fn await_answer(self, expected: Answer) -> Result<(), String> {
        let found = try_poll(SOON + BRIEF, || self.expect(expected).ok());
        found.ok_or_else(|| format!("it never was {expected:?}"))
    }
}
