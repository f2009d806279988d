//! What every door has to go through, whoever hears its knocks and keeps count of them.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::{Guard, Setup};
use crate::knocker::{self, FENCE, Knock, Knocker};
use crate::nft;
use crate::plan::{BRIEF, Door, Method, Plan, Protocol};
use crate::probe::{self, Answer};
use crate::process::Process;
use crate::sender::Sender;
use crate::server::{Listener, Service};
use crate::topology::{Family, Host, Topology};
use crate::wait::{SOON, try_poll, until_aged};

/// A knock of which the kernel has not heard by then was lost.
const LOST: Duration = Duration::from_secs(1);
/// After a wrong code, a door listens to its source again.
const SILENCE: Duration = Duration::from_millis(1_100);
/// The most that a door asks for.
const CODES_IN_A_ROW: usize = 4;

/// Where knocks are seen, and who keeps count of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approach {
    /// An agent sees them by this source.
    Source(&'static str),
    /// This engine inside the kernel does both.
    Engine(&'static str),
}

impl Approach {
    /// Its name, as in a configuration.
    pub fn name(self) -> String {
        match self {
            Self::Source(name) => format!("source {name}"),
            Self::Engine(name) => format!("engine {name}"),
        }
    }

    /// What asks for it in section `postern`.
    pub fn options(self) -> String {
        match self {
            Self::Source(name) => format!("\toption source '{name}'\n"),
            Self::Engine(name) => format!("\toption engine '{name}'\n"),
        }
    }

    /// Whether it has doors of this method.
    pub const fn serves(self, method: Method) -> bool {
        match self {
            Self::Source(_) => true,
            Self::Engine(_) => !method.is_one_time(),
        }
    }

    /// Has the doors guarded, and their knocks heard.
    pub(crate) fn begin(self, setup: &Setup, router: &Host) -> Option<Process> {
        match self {
            Self::Source(_) => Some(setup.start(router).into_process()),
            Self::Engine(_) => {
                let said = setup.verb(router, "apply", &[]);
                assert!(!said.stderr.contains("nobody hears"), "{said:?}");
                assert_eq!(said.ok(), "guard installed\n");
                None
            }
        }
    }
}

/// How doors' owners knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// With packets of our own making, each owner from another address.
    Packets,
    /// With Debian's client, all from the client's address.
    Stock,
    /// With whole connections, all from the client's address.
    Connections,
}

/// One network, one agent or none, all doors. Its parts are ended in this order.
pub struct Stage {
    _agent: Option<Process>,
    services: (Vec<Listener>, Vec<Service>),
    doors: Vec<Door>,
    hand: Hand,
    sender: Sender,
    /// How the router is set up.
    pub setup: Setup,
    /// Where it plays.
    pub net: Topology,
}

impl Stage {
    /// A router with these doors.
    pub fn new(approach: Approach, hand: Hand, plans: &[Plan]) -> Self {
        let net = Topology::new();
        let doors: String = plans.iter().map(|plan| plan.config()).collect();
        let setup = Setup::new(&net.router, Guard::Gate, "");
        setup.hear_by(&approach.options());
        setup.rewrite(&format!("{FENCE}{doors}"));
        let prepared = plans.iter().map(|plan| Door {
            plan: *plan,
            opening: plan.prepare(&setup, &net.router),
        });
        let doors = prepared.collect();
        if hand == Hand::Packets {
            for plan in plans.iter().filter(|plan| !plan.brief) {
                for family in Family::BOTH {
                    net.client.add_address(plan.address(family));
                }
            }
        }
        Self {
            _agent: approach.begin(&setup, &net.router),
            services: serve(&net.router, plans),
            doors,
            hand,
            sender: Sender::new(&net.client.namespace),
            setup,
            net,
        }
    }

    /// Plays the scenario at the doors of this kind; `None` where there are none.
    pub fn play(&self, method: Method, protocol: Protocol, family: Family) -> Option<Outcome> {
        let visit = |brief| {
            Some(Visit {
                stage: self,
                door: self.door(method, protocol, brief)?,
                family,
            })
        };
        Some(outcome(visit(false)?, visit(true)?))
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

/// What is printed where all was well, or what was not.
pub type Cell = Result<&'static str, String>;

/// How each step of the scenario went.
pub struct Outcome(pub Vec<(&'static str, Cell)>);

impl Outcome {
    /// What went wrong, a line for each step; `circumstances` begin it.
    pub fn failures(&self, circumstances: &str) -> String {
        let failed = self.0.iter().filter_map(|(title, cell)| {
            let why = cell.as_ref().err()?;
            Some(format!("{circumstances} {title}: {why}\n"))
        });
        failed.collect()
    }
}

/// Somebody at a door.
#[derive(Clone, Copy)]
struct Visit<'s> {
    stage: &'s Stage,
    door: &'s Door,
    family: Family,
}

/// The scenario. Whatever its steps cannot do without is a part of them.
fn outcome(visit: Visit<'_>, brief: Visit<'_>) -> Outcome {
    let shut = visit.shut();
    let began = brief.begin_to_expire();
    let wrong = visit.wrong();
    let knocks = visit.door.open();
    let open = visit.open(&knocks);
    let close = visit.close(&knocks);
    let replay = visit.replay(&knocks);
    let expiry = began.and_then(|()| brief.expire());
    Outcome(vec![
        ("shut", shut),
        ("open", open),
        ("close", close),
        ("wrong", wrong),
        ("replay", replay),
        ("expiry", expiry),
    ])
}

impl Visit<'_> {
    fn shut(self) -> Cell {
        self.expect_of_stranger(Answer::Silent)?;
        self.expect(Answer::Silent).map(|()| "ok")
    }

    fn wrong(self) -> Cell {
        self.knock(&self.door.wrong());
        self.fence()?;
        self.expect(Answer::Silent).map(|()| "ok")
    }

    fn open(self, knocks: &[Knock]) -> Cell {
        self.expect(Answer::Silent)?;
        self.knock_until_open(knocks)?;
        self.expect_of_stranger(Answer::Silent).map(|()| "ok")
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
            self.fence()?;
            self.expect(Answer::Silent).map(|()| "refused")
        } else {
            self.await_answer(Answer::Open).map(|()| "repeats")
        }
    }

    fn begin_to_expire(self) -> Result<(), String> {
        self.knock_until_open(&self.door.open())?;
        match self.granted() {
            Some(left) if left <= BRIEF => Ok(()),
            other => Err(format!("the kernel gives it {other:?}")),
        }
    }

    fn expire(self) -> Cell {
        self.await_answer(Answer::Silent).map(|()| "ok")
    }

    fn source(self) -> IpAddr {
        match self.stage.hand {
            Hand::Packets => self.door.plan.address(self.family),
            Hand::Stock | Hand::Connections => self.stage.net.client.address(self.family),
        }
    }

    /// How long the kernel lets the owner in.
    fn granted(self) -> Option<Duration> {
        let router = &self.stage.net.router.namespace;
        nft::granted(router, &self.door.plan.name(), self.source())
    }

    fn knock(self, knocks: &[Knock]) {
        let Stage { net, sender, .. } = self.stage;
        let router = net.router.address(self.family);
        match self.stage.hand {
            Hand::Packets => Knocker::new(sender, self.source(), router).send(knocks),
            Hand::Stock => knocker::stock_knock(&net.client, router, knocks),
            Hand::Connections => knocker::knock_whole(&net.client, router, knocks),
        }
    }

    /// Waits until every knock so far was decided on.
    fn fence(self) -> Result<(), String> {
        let passed = knocker::try_fence(&self.stage.net, &self.stage.sender);
        passed.ok_or_else(|| "nobody hears knocks any more".into())
    }

    /// Knocks, and once more where a packet was lost: other programs of the machine share its
    /// backlog. A one-time code is knocked once.
    fn knock_until_open(self, knocks: &[Knock]) -> Result<(), String> {
        if self.door.plan.method.has_code() {
            return self.knock_codes_until_open(knocks);
        }
        let tries = if self.door.plan.method.is_one_time() {
            1
        } else {
            3
        };
        for _ in 1..tries {
            self.knock(knocks);
            if try_poll(LOST, || self.granted()).is_some() {
                return self.await_answer(Answer::Open);
            }
        }
        self.knock(knocks);
        self.await_answer(Answer::Open)
    }

    /// Knocks as many codes in a row as the door asks for, once it listens again after wrong ones.
    fn knock_codes_until_open(self, knocks: &[Knock]) -> Result<(), String> {
        until_aged(Instant::now(), SILENCE);
        self.knock(knocks);
        for _ in 1..CODES_IN_A_ROW {
            if try_poll(LOST, || self.granted()).is_some() {
                break;
            }
            self.knock(&self.door.open());
        }
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
        thread::scope(|scope| {
            let asked = guards
                .iter()
                .map(|guard| scope.spawn(move || answer(guard)));
            let asked: Vec<_> = asked.collect();
            let answered = asked.into_iter().map(thread::ScopedJoinHandle::join);
            answered.map(|answer| answer.expect("an answer")).collect()
        })
    }

    fn expect_of_stranger(self, expected: Answer) -> Result<(), String> {
        let stranger = &self.stage.net.stranger;
        match self.all_answer(stranger, stranger.address(self.family), expected) {
            Ok(()) => Ok(()),
            Err(answers) => Err(format!("a stranger finds it {answers:?}")),
        }
    }

    fn expect(self, expected: Answer) -> Result<(), String> {
        match self.all_answer(&self.stage.net.client, self.source(), expected) {
            Ok(()) => Ok(()),
            Err(answers) => Err(format!("it is {answers:?}, not {expected:?}")),
        }
    }

    fn all_answer(self, host: &Host, source: IpAddr, expected: Answer) -> Result<(), Vec<Answer>> {
        let answers = self.answers(host, source);
        match answers.iter().all(|answer| *answer == expected) {
            true => Ok(()),
            false => Err(answers),
        }
    }

    fn await_answer(self, expected: Answer) -> Result<(), String> {
        let found = try_poll(SOON + BRIEF, || self.expect(expected).ok());
        found.ok_or_else(|| format!("it never was {expected:?}"))
    }
}
