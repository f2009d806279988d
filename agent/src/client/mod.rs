//! The client: knocks at the doors of a router, from anywhere and without privileges.
//!
//! A knock's journey, the other way round: [`mod@file`] says where the doors are and [`turn`] which
//! ports to knock now, [`packet`] dresses the knocks, [`route`] finds the host and [`send`] sends
//! them there, [`watch`] looks what became of the guarded port, and [`outcome`] tells it.

mod datagram;
mod file;
mod outcome;
mod packet;
mod route;
mod send;
mod turn;
mod watch;

use core::net::IpAddr;
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::thread;

use postern_core::config::{Client, Source};
use postern_core::door::{Door, Method};

use crate::output::{self, Failure};
use file::Place;
use outcome::{End, Outcome};
use packet::Packet;
use route::Route;
use send::TcpKnock;
use turn::Turn;

pub(crate) use route::Family;

/// What to knock at, and how.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// The router, by its name or an address.
    pub(crate) host: String,
    pub(crate) door: String,
    /// Where to look instead of in the user's configuration.
    pub(crate) client_file: Option<PathBuf>,
    pub(crate) closing: bool,
    /// The only family to use; `None`: whichever the host has.
    pub(crate) family: Option<Family>,
    pub(crate) delay: Option<postern_core::time::Duration>,
    /// How long each try waits for the guarded port; `None`: not at all.
    pub(crate) wait: Option<postern_core::time::Duration>,
    /// The counter or sequence to go on with, in place of the one that is remembered.
    pub(crate) next: Option<u64>,
    /// How many codes in a row each try sends; `None`: one.
    pub(crate) codes: Option<u8>,
    /// Whom a datagram names; `None`: as the door allows it.
    pub(crate) whom: Option<IpAddr>,
    /// How long a datagram asks for; `None`: as the door has it.
    pub(crate) lasting: Option<postern_core::time::Duration>,
    pub(crate) dry_run: bool,
}

/// How often a door is knocked at, in all, while nothing is seen of it.
const MAX_TRIES: u32 = 3;
/// Between two knocks. Knocks that overtake each other are taken all the same if that is over within
/// the door's jitter (50 ms), so this much more delay in the network is stood, which is
/// more than networks reorder by, while three knocks still take less than a blink.
const KNOCK_DELAY: Duration = Duration::from_millis(20);

/// How long to look whether a door is as it should be already, before knocks that would undo it.
const GLANCE_TIME: Duration = Duration::from_secs(1);

/// Knocks, and waits for what becomes of it if that was asked for.
pub(crate) fn knock(settings: &Settings) -> Result<Outcome, Failure> {
    let place = Place::of(&settings.host, settings.client_file.as_deref())?;
    let client = place.read()?;
    let door = file::door(&client, &settings.door)?;
    if settings.codes.is_some() && (settings.closing || door.method.code().is_none()) {
        let why = format!("--codes: no codes do that at door {}", door.name);
        return Err(Failure::Misused(why));
    }
    if door.method.spa().is_none() && (settings.whom.is_some() || settings.lasting.is_some()) {
        let why = format!(
            "--as and --for: only a datagram says that, and door {} is knocked at",
            door.name
        );
        return Err(Failure::Misused(why));
    }
    let mut turn = Turn::new(door, &place, &client, settings)?;
    let delay = delay(settings.delay, door, turn.longest())?;
    let host = file::address(&client, &settings.host);
    let mut attempt = Attempt {
        settings,
        door,
        delay,
        tcp: match client.source {
            Source::Sockets => TcpKnock::Connection,
            Source::Nflog | Source::Packet | Source::Log => TcpKnock::Syn,
        },
        outcome: Outcome::new(settings, host, &door.method),
    };
    attempt.outcome.end = match route::find(host, settings.family) {
        Ok(routes) => attempt.over(&routes, &mut turn)?,
        Err(why) => End::NoWay(why),
    };
    Ok(attempt.outcome)
}

/// What a host's file says, as far as it can be read.
pub(crate) fn peek(host: &str, client_file: Option<&Path>) -> Option<Box<Client>> {
    Place::of(host, client_file).ok()?.peek()
}

struct Attempt<'o> {
    settings: &'o Settings,
    door: &'o Door,
    delay: Duration,
    tcp: TcpKnock,
    outcome: Outcome,
}

impl Attempt<'_> {
    /// Over one family after the other, if what becomes of it can be seen; else over the first.
    fn over(&mut self, routes: &[Route], turn: &mut Turn<'_>) -> Result<End, Failure> {
        let sighted = self.settings.wait.is_some() && watch::is_possible(self.door);
        let mut end = End::Sent;
        for route in routes.iter().take(if sighted { routes.len() } else { 1 }) {
            self.outcome.take(route);
            self.tell_of_families(routes, route);
            end = match self.settings.wait {
                Some(timeout) if !self.settings.dry_run => {
                    self.until_seen(route, turn, timeout.into_std())?
                }
                _ => self.once(route, turn)?,
            };
            if !end.is_failure() {
                break;
            }
        }
        Ok(end)
    }

    /// A grant is for one address: whoever connects over the other family is not let in.
    fn tell_of_families(&self, routes: &[Route], route: &Route) {
        if routes.len() > 1 {
            let (host, family) = (&self.outcome.host, route.family());
            output::say(&format!(
                "{host} has addresses of both families; knocking at {}: connect with {} too",
                route.target.ip(),
                family.option()
            ));
        }
    }

    fn once(&mut self, route: &Route, turn: &mut Turn<'_>) -> Result<End, Failure> {
        self.outcome.packets.clear();
        self.outcome.tries += u32::from(!self.settings.dry_run);
        let mut end = End::Dry;
        for number in 0..self.settings.codes.unwrap_or(1) {
            let packets = turn.packets(route)?;
            if !self.settings.dry_run {
                if number > 0 {
                    thread::sleep(self.delay);
                }
                end = self.send(route, &packets);
            }
            self.outcome.packets.extend(packets);
            if end.is_failure() {
                break;
            }
        }
        Ok(end)
    }

    fn send(&mut self, route: &Route, packets: &[Packet]) -> End {
        match send::all(route, packets, self.delay, self.tcp) {
            Ok(sources) => {
                self.outcome.see(sources);
                End::Sent
            }
            Err(error) => End::Unsent(error.to_string()),
        }
    }

    fn until_seen(
        &mut self,
        route: &Route,
        turn: &mut Turn<'_>,
        timeout: Duration,
    ) -> Result<End, Failure> {
        if !watch::is_possible(self.door) {
            output::say("the door guards no TCP port: whether it opened cannot be seen from here");
            return self.once(route, turn);
        }
        // These knocks would undo what is done already.
        let toggles = matches!(self.door.method, Method::Same { .. });
        if toggles && self.look(route, GLANCE_TIME) {
            return Ok(End::Already);
        }
        // Each is the next code in a row, where the door asks for more than one.
        for _ in 0..MAX_TRIES {
            match self.once(route, turn)? {
                End::Sent if self.look(route, timeout) => return Ok(End::Seen),
                End::Sent => {}
                failed => return Ok(failed),
            }
        }
        Ok(End::Unseen)
    }

    /// Whether the guarded port comes to be as it should, open or not.
    fn look(&mut self, route: &Route, timeout: Duration) -> bool {
        let open = !self.settings.closing;
        self.outcome.sight = watch::until(route, self.door, open, timeout);
        self.outcome.sight.is_some_and(|sight| {
            self.outcome.see(sight.source);
            sight.is_open() == open
        })
    }
}

/// Knocks that cannot be at the router within the door's window are not worth sending.
fn delay(
    wish: Option<postern_core::time::Duration>,
    door: &Door,
    knocks: usize,
) -> Result<Duration, Failure> {
    let gaps = u32::try_from(knocks.saturating_sub(1)).unwrap_or(u32::MAX);
    let window = door.window.into_std();
    match wish.map(IntoStd::into_std) {
        // Half of the window is left to the network.
        None => Ok(KNOCK_DELAY.min(window / 2 / gaps.max(1))),
        Some(delay) if delay.saturating_mul(gaps) < window => Ok(delay),
        Some(delay) => Err(Failure::Misused(format!(
            "--delay: {gaps} times {delay:?} is longer than the door's window of {window:?}"
        ))),
    }
}

/// Core's spans as the standard library's.
trait IntoStd {
    fn into_std(self) -> Duration;
}

impl IntoStd for postern_core::time::Duration {
    fn into_std(self) -> Duration {
        Duration::from_millis(self.as_millis())
    }
}
