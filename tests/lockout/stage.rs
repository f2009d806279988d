//! A router whose owner comes in by knocking, and a stopwatch for when he cannot.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup};
use postern_tests::process::Said;
use postern_tests::server::Service;
use postern_tests::topology::{Family, Host, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, probe};

/// The knocks that open [`SSH_DOOR`].
pub(crate) const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];

/// The table of ours, as nft names it.
pub(crate) const TABLE: &str = "inet postern";

/// What an owner types at the console for himself, and nobody else.
pub(crate) const LET_ME_IN: &str = "open ssh --from 192.0.2.2 --for 1h";

/// Nothing that heals takes longer, on a machine with much else to do.
const AT_LAST: Duration = Duration::from_secs(30);

/// The network, the configuration, and the service behind the door. The owner is the client.
pub(crate) struct Stage {
    pub(crate) net: Topology,
    pub(crate) setup: Setup,
    _ssh: Service,
}

impl Stage {
    pub(crate) fn new(guard: Guard, doors: &str) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, guard, doors);
        let _ssh = Service::tcp(&net.router.namespace, 22);
        Self { net, setup, _ssh }
    }

    pub(crate) fn gate() -> Self {
        Self::new(Guard::Gate, SSH_DOOR)
    }

    #[track_caller]
    pub(crate) fn start(&self) -> Agent<'_> {
        self.setup.start(&self.net.router)
    }

    pub(crate) fn verb(&self, line: &str) -> Said {
        let words: Vec<&str> = line.split(' ').collect();
        self.setup.verb(&self.net.router, words[0], &words[1..])
    }

    /// Replaces a piece of the configuration.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.setup.config()).expect("a configuration");
        assert!(text.contains(from), "no {from} in {text}");
        self.setup.rewrite_whole(&text.replace(from, to));
    }

    pub(crate) fn door(&self) -> SocketAddr {
        self.net.router.port(Family::V4, 22)
    }

    pub(crate) fn knock(&self) {
        client::knock(&self.net.client, self.door().ip(), &OPEN);
    }

    pub(crate) fn owner_is_let_in(&self) -> bool {
        is_greeted(&self.net.client, self.door())
    }

    /// Makes sure that knocking leads inside, and comes out again.
    #[track_caller]
    pub(crate) fn expect_a_way_in(&self) {
        self.knock();
        poll_until(SOON, "the owner is inside", || self.owner_is_let_in());
        self.expect_the_stranger_outside(self.door());
        self.verb("close ssh --from 192.0.2.2").ok();
        assert!(!self.owner_is_let_in());
    }

    /// While a table is replaced, or a trial has just lapsed, it may take a moment.
    #[track_caller]
    pub(crate) fn expect_the_stranger_outside(&self, door: SocketAddr) {
        poll_until(SOON, "the stranger is outside", || {
            !is_greeted(&self.net.stranger, door)
        });
    }

    /// Starts the stopwatch, just before what follows takes the owner's access away.
    pub(crate) fn lose(&self, way: &str) -> Loss<'_> {
        Loss {
            stage: self,
            way: way.into(),
            began_at: Instant::now(),
            door: self.door(),
            healers: Vec::new(),
        }
    }
}

/// Whether somebody's connection reaches the service and is greeted.
pub(crate) fn is_greeted(who: &Host, door: SocketAddr) -> bool {
    let Ok(mut stream) = probe::tcp_connect(&who.namespace, None, door) else {
        return false;
    };
    let mut greeting = String::new();
    stream.set_read_timeout(Some(SOON)).expect("set a timeout");
    stream.read_to_string(&mut greeting).is_ok() && greeting == "welcome\n"
}

/// An owner outside, and since when.
pub(crate) struct Loss<'s> {
    stage: &'s Stage,
    way: String,
    began_at: Instant,
    door: SocketAddr,
    healers: Vec<String>,
}

impl Loss<'_> {
    /// Makes sure that the owner is outside, and that knocking does not help.
    #[track_caller]
    pub(crate) fn is_felt(&self) {
        self.stage.knock();
        assert!(!self.stage.owner_is_let_in(), "{}: not felt", self.way);
        self.stage.expect_the_stranger_outside(self.door);
    }

    /// Who ended it, where nobody had to do anything.
    pub(crate) fn healed_by(mut self, healer: &str) -> Self {
        self.healers.push(healer.into());
        self
    }

    /// Types a verb of Postern's at the router's console.
    #[track_caller]
    pub(crate) fn at_console(self, line: &str) -> Self {
        self.stage.verb(line).ok();
        self.healed_by(&format!("console: postern {line}"))
    }

    /// Types a command of the system's at the router's console.
    #[track_caller]
    pub(crate) fn in_shell(self, command: &str) -> Self {
        let namespace = &self.stage.net.router.namespace;
        namespace.run("sh", &["-c", command]).ok();
        self.healed_by(&format!("console: {command}"))
    }

    /// Types a line at the router's console, be it a verb of Postern's or another command.
    #[track_caller]
    pub(crate) fn typed(self, line: &str) -> Self {
        match line.strip_prefix("postern ") {
            Some(verb) => self.at_console(verb),
            None => self.in_shell(line),
        }
    }

    /// The owner goes in by another address or family from here on.
    pub(crate) fn by_door(mut self, door: SocketAddr) -> Self {
        self.door = door;
        self
    }

    /// The owner connects, and is inside; the stranger is not.
    #[track_caller]
    pub(crate) fn ends(self) {
        self.ends_once(|| {});
    }

    /// The owner knocks and connects, and is inside; the stranger is not.
    #[track_caller]
    pub(crate) fn ends_by_knocking(self) {
        let (owner, address) = (&self.stage.net.client, self.door.ip());
        self.ends_once(|| client::knock(owner, address, &OPEN));
    }

    /// The owner knocks in this way and connects, and is inside; the stranger is not.
    #[track_caller]
    pub(crate) fn ends_once(&self, mut knock: impl FnMut()) {
        self.wait_until_inside(&mut knock);
        self.stage.expect_the_stranger_outside(self.door);
    }

    /// The owner connects, and so can everybody: that is what the cure does.
    #[track_caller]
    pub(crate) fn ends_for_everyone(self) {
        self.wait_until_inside(&mut || {});
        assert!(is_greeted(&self.stage.net.stranger, self.door));
    }

    #[track_caller]
    fn wait_until_inside(&self, knock: &mut dyn FnMut()) {
        self.ends_with(|| {
            knock();
            is_greeted(&self.stage.net.client, self.door)
        });
    }

    /// The owner is inside as soon as this says so, by another service or another way.
    #[track_caller]
    pub(crate) fn ends_with(&self, is_inside: impl FnMut() -> bool) {
        let what = format!("inside again: {}", self.way);
        poll_until(AT_LAST, &what, is_inside);
        note(&self.way, &self.healers, self.began_at.elapsed());
    }
}

/// How long it took, and how often it was played, by the way that access was lost.
static RETURNS: Mutex<BTreeMap<String, Return>> = Mutex::new(BTreeMap::new());

struct Return {
    healers: String,
    longest: Duration,
    times: usize,
}

fn note(way: &str, healers: &[String], took: Duration) {
    let mut returns = RETURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = returns.entry(way.into()).or_insert_with(|| Return {
        healers: healers.join(", then "),
        longest: Duration::ZERO,
        times: 0,
    });
    entry.longest = entry.longest.max(took);
    entry.times += 1;
}

/// Writes how long each way to lose access kept its owner outside.
pub(crate) fn print_returns() {
    let returns = RETURNS.lock().unwrap_or_else(PoisonError::into_inner);
    if returns.is_empty() {
        return;
    }
    let width = |length: fn(&str, &Return) -> usize| {
        let lengths = returns.iter().map(|(way, end)| length(way, end));
        lengths.max().unwrap_or_default()
    };
    let (ways, healers) = (width(|way, _| way.len()), width(|_, end| end.healers.len()));
    println!("{} ways to lose access, and back:\n", returns.len());
    println!("{:ways$}  {:healers$}  seconds", "lost by", "healed by");
    for (
        way,
        Return {
            healers: by,
            longest,
            times,
        },
    ) in &*returns
    {
        let often = match times {
            1 => String::new(),
            times => format!(", the longest of {times}"),
        };
        let seconds = longest.as_secs_f64();
        println!("{way:ways$}  {by:healers$}  {seconds:7.2}{often}");
    }
    println!();
}
