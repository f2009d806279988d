//! Which ports to knock now: fixed ones, or a code's or a list's, of which none is sent twice.

use core::time::Duration;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;

use postern_core::code::Code;
use postern_core::config::Client;
use postern_core::door::{AtEnd, Door, Method};
use postern_core::knock::Port;

use super::Settings;
use super::datagram::Datagrams;
use super::file::Place;
use super::packet::Packet;
use super::route::Route;
use crate::files::atomic_file;
use crate::files::private_file::Unfit;
use crate::onetime::list::List;
use crate::onetime::otp::{Digest, step};
use crate::onetime::secret::Secret;
use crate::onetime::state;
use crate::output::{self, Failure};
use crate::sys::clock;

/// Says, try for try, which ports to knock.
pub(super) struct Turn<'d> {
    door: &'d Door,
    ports: Ports<'d>,
    memory: Memory,
}

enum Ports<'d> {
    Fixed(&'d [Port]),
    Listed(List, AtEnd),
    Coded(&'d Code, Secret),
    Timed(&'d Code, Secret, u32),
    Sealed(Box<Datagrams<'d>>),
}

/// What was used: everything before `next`.
struct Memory {
    next: u64,
    /// Where that is kept; `None`: nowhere, as nothing is sent.
    folder: Option<PathBuf>,
    /// Keeps other processes from sending the same code.
    _lock: Option<File>,
}

impl<'d> Turn<'d> {
    /// Reads what the door's method needs.
    pub(super) fn new(
        door: &'d Door,
        place: &Place,
        client: &Client,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let ports = Ports::of(door, settings)?;
        let memory = match &ports {
            Ports::Fixed(_) | Ports::Timed(..) | Ports::Sealed(_) if settings.next.is_some() => {
                return Err(Failure::Misused(format!(
                    "--next: what comes next at door {} is not counted",
                    door.name
                )));
            }
            Ports::Fixed(_) | Ports::Sealed(_) => Memory::NONE,
            _ => Memory::load(door, place.state_dir(client)?, settings)?,
        };
        Ok(Self {
            door,
            ports,
            memory,
        })
    }

    /// The most knocks that it can ask for.
    pub(super) fn longest(&self) -> usize {
        match &self.ports {
            Ports::Fixed(ports) => ports.len(),
            Ports::Listed(list, _) => {
                let lengths =
                    (0..list.len()).filter_map(|number| Some(list.sequence(number)?.len()));
                lengths.max().unwrap_or_default()
            }
            Ports::Coded(..) | Ports::Timed(..) => postern_core::code::KNOCKS,
            Ports::Sealed(_) => 1,
        }
    }

    /// What to send next to the router.
    pub(super) fn packets(&mut self, route: &Route) -> Result<Vec<Packet>, Failure> {
        if let Ports::Sealed(datagrams) = &self.ports {
            return Ok(vec![datagrams.next(route)?]);
        }
        let ports = self.next()?;
        Packet::dress(&ports, self.door.payload.as_ref())
            .map_err(|error| Failure::Failed(format!("no random bytes: {error}")))
    }

    /// The ports to knock on. What opens the door only once is remembered as used when this
    /// returns. Waits for the next code where the clock's was used.
    fn next(&mut self) -> Result<Vec<Port>, Failure> {
        if let Ports::Fixed(ports) = &self.ports {
            return Ok(ports.to_vec());
        }
        let number = match &self.ports {
            Ports::Timed(_, _, period) => self.memory.time_step(*period),
            _ => self.memory.next,
        };
        let ports = self.ports_of(number)?;
        self.memory.spend(number, self.door)?;
        Ok(ports)
    }

    fn ports_of(&self, number: u64) -> Result<Vec<Port>, Failure> {
        match &self.ports {
            Ports::Fixed(ports) => Ok(ports.to_vec()),
            Ports::Sealed(_) => Ok(Vec::new()),
            Ports::Listed(list, at_end) => {
                let index = match at_end {
                    AtEnd::Wrap => number.checked_rem(list.len() as u64),
                    AtEnd::Stop => Some(number),
                };
                let index = index.and_then(|index| usize::try_from(index).ok());
                let sequence = index.and_then(|index| list.sequence(index));
                sequence.map(|sequence| sequence.to_vec()).ok_or_else(|| {
                    Failure::Failed(format!(
                        "all {} sequences of door {} are used; with a new list, here and at the \
                         router, '--next 0' begins it",
                        list.len(),
                        self.door.name
                    ))
                })
            }
            Ports::Coded(code, secret) | Ports::Timed(code, secret, _) => {
                let digest = Digest::new(code.algorithm, secret.bytes(), number);
                let ports = code.knocks(digest.as_bytes());
                ports.map(|ports| ports.to_vec()).ok_or_else(|| {
                    Failure::Failed(format!("door {}: its codes have no ports", self.door.name))
                })
            }
        }
    }
}

impl<'d> Ports<'d> {
    fn of(door: &'d Door, settings: &Settings) -> Result<Self, Failure> {
        let secret = |code: &Code| {
            let secret = Secret::read(Path::new(code.secret_file.as_str()));
            secret.map_err(|unfit| Failure::Failed(unfit.to_string()))
        };
        Ok(match &door.method {
            Method::Same { steps } => Self::Fixed(steps),
            method if settings.closing => Self::Fixed(closing_knocks(door, method.close())?),
            Method::Separate { open, .. } => Self::Fixed(open),
            Method::List { file, at_end, .. } => {
                let list = List::read(Path::new(file.as_str()), &door.guards);
                let list = list.map_err(|unusable| Failure::Failed(unusable.to_string()))?;
                Self::Listed(list, *at_end)
            }
            Method::Seed { code, .. } => Self::Coded(code, secret(code)?),
            Method::Clock { code, period, .. } => Self::Timed(code, secret(code)?, *period),
            Method::Spa(terms) => Self::Sealed(Box::new(Datagrams::new(door, terms, settings)?)),
        })
    }
}

fn closing_knocks<'d>(door: &'d Door, ports: &'d [Port]) -> Result<&'d [Port], Failure> {
    match ports {
        [] => Err(Failure::Failed(format!(
            "door {} has no knocks that close it: it closes by itself, {} after the last knock",
            door.name,
            output::span(door.grant)
        ))),
        ports => Ok(ports),
    }
}

impl Memory {
    const NONE: Self = Self {
        next: 0,
        folder: None,
        _lock: None,
    };

    fn load(door: &Door, folder: PathBuf, settings: &Settings) -> Result<Self, Failure> {
        let lock = match settings.dry_run {
            true => None,
            false => Some(lock(door, &folder)?),
        };
        let is_clock = matches!(door.method, Method::Clock { .. });
        let next = match (settings.next, state::load(&folder, door)) {
            (Some(next), _) => next,
            (None, Ok(next)) => next,
            // Nothing is lost: at worst a code is sent that the router does not take again.
            (None, Err(Unfit::Missing(_))) => 0,
            (None, Err(Unfit::Bad(why) | Unfit::Unread(why))) if is_clock => {
                output::warn(&format!("warning: {why}; it is written anew"));
                0
            }
            (None, Err(Unfit::Bad(why) | Unfit::Unread(why))) => {
                return Err(Failure::Failed(format!(
                    "{why}; '--next NUMBER' goes on with what 'postern export {}' says at the router",
                    door.name
                )));
            }
        };
        Ok(Self {
            next,
            folder: Some(folder).filter(|_| !settings.dry_run),
            _lock: lock,
        })
    }

    /// What is used may be sent only when that cannot be forgotten any more.
    fn spend(&mut self, number: u64, door: &Door) -> Result<(), Failure> {
        self.next = number.saturating_add(1);
        match &self.folder {
            Some(folder) => state::save(folder, door, self.next)
                .map_err(|failed| Failure::Failed(format!("{failed}; nothing was sent"))),
            None => Ok(()),
        }
    }

    /// The time step whose code was not sent yet, once it has begun.
    fn time_step(&self, period: u32) -> u64 {
        loop {
            let millis = clock::unix_millis();
            let now = step(millis, period);
            let Some(left) = until_unused(now, self.next, millis, period) else {
                return now;
            };
            if self.folder.is_none() {
                return self.next;
            }
            output::say(&format!(
                "the clock's code was sent already; waiting {}s for the next one",
                left.as_secs() + 1
            ));
            thread::sleep(left);
        }
    }
}

/// How long the code of the time step `next` is away. None where it has begun, and where it is so
/// far away that the clock must have been set back: then waiting would shut the owner out.
fn until_unused(now: u64, next: u64, millis: u64, period: u32) -> Option<Duration> {
    let period = u64::from(period.max(1)) * 1000;
    (next == now.saturating_add(1)).then(|| Duration::from_millis(period - millis % period))
}

/// Held until the knocks are sent; the kernel frees it however this process ends.
fn lock(door: &Door, folder: &Path) -> Result<File, Failure> {
    let path = folder.join(format!("{}.lock", door.name));
    let open = || {
        atomic_file::make_private_folder(folder)?;
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(|error: std::io::Error| Failure::Failed(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onetime::examples::{clock_door, list_door, seed_door};
    use crate::testing::scratch::Scratch;

    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    fn turn<'d>(
        door: &'d Door,
        scratch: &Scratch,
        settings: &Settings,
    ) -> Result<Turn<'d>, Failure> {
        let folder = scratch.path("state");
        let ports = Ports::of(door, settings)?;
        let memory = Memory::load(door, folder, settings)?;
        Ok(Turn {
            door,
            ports,
            memory,
        })
    }

    fn with_secret(scratch: &Scratch, mut door: Door) -> Door {
        let path = scratch.file("secret", SECRET);
        if let Method::Seed { code, .. } | Method::Clock { code, .. } = &mut door.method {
            code.secret_file = path.to_str().unwrap().try_into().unwrap();
        }
        door
    }

    /// The codes of appendix D of RFC 4226.
    fn numbers(door: &Door, ports: &[Port]) -> Vec<u16> {
        let base = door.method.code().unwrap().base;
        ports.iter().map(|port| port.number - base).collect()
    }

    #[test]
    fn a_counter_is_saved_before_its_code_is_given() {
        let scratch = Scratch::new();
        let door = with_secret(&scratch, seed_door("ssh"));
        let settings = Settings::default();
        for (counter, code) in [(0, [755, 224]), (1, [287, 82])] {
            let ports = turn(&door, &scratch, &settings).unwrap().next().unwrap();
            assert_eq!(numbers(&door, &ports), code);
            assert_eq!(state::load(&scratch.path("state"), &door), Ok(counter + 1));
        }
        let dry = Settings {
            dry_run: true,
            ..Settings::default()
        };
        for _ in 0..2 {
            let ports = turn(&door, &scratch, &dry).unwrap().next().unwrap();
            assert_eq!(numbers(&door, &ports), [359, 152]);
        }
        let again = Settings {
            next: Some(1),
            ..Settings::default()
        };
        let mut again = turn(&door, &scratch, &again).unwrap();
        assert_eq!(numbers(&door, &again.next().unwrap()), [287, 82]);
        assert_eq!(numbers(&door, &again.next().unwrap()), [359, 152]);
    }

    #[test]
    fn a_counter_that_cannot_be_saved_gives_no_code() {
        let scratch = Scratch::new();
        let door = with_secret(&scratch, seed_door("ssh"));
        let mut turn = turn(&door, &scratch, &Settings::default()).unwrap();
        std::fs::remove_dir_all(scratch.path("state")).unwrap();
        assert!(
            matches!(turn.next(), Err(Failure::Failed(why)) if why.contains("nothing was sent"))
        );
    }

    #[test]
    fn a_damaged_memory_asks_for_the_number() {
        let scratch = Scratch::new();
        let door = with_secret(&scratch, seed_door("ssh"));
        turn(&door, &scratch, &Settings::default()).unwrap();
        scratch.file("state/ssh", "nonsense");
        let why = turn(&door, &scratch, &Settings::default()).err().unwrap();
        assert!(matches!(why, Failure::Failed(why) if why.contains("--next")));
        let told = Settings {
            next: Some(0),
            ..Settings::default()
        };
        assert!(turn(&door, &scratch, &told).is_ok());
    }

    #[test]
    fn a_list_is_used_in_turn() {
        let scratch = Scratch::new();
        let path = scratch.file("list", "tcp:1 udp:2\ntcp:3 tcp:4 tcp:5\n");
        let mut door = list_door("ssh", path.to_str().unwrap());
        let first = |door: &Door| {
            let mut turn = turn(door, &scratch, &Settings::default()).unwrap();
            assert_eq!(turn.longest(), 3);
            turn.next().map(|ports| ports[0].number)
        };
        assert_eq!([first(&door), first(&door)], [Ok(1), Ok(3)]);
        assert!(matches!(first(&door), Err(Failure::Failed(why)) if why.contains("--next 0")));
        if let Method::List { at_end, .. } = &mut door.method {
            *at_end = AtEnd::Wrap;
        }
        assert_eq!([first(&door), first(&door)], [Ok(1), Ok(3)]);
    }

    #[test]
    fn a_clock_gives_each_code_once() {
        let scratch = Scratch::new();
        let door = with_secret(&scratch, clock_door("web", "/secret", 1));
        let mut first = turn(&door, &scratch, &Settings::default()).unwrap();
        let ports = first.next().unwrap();
        drop(first);
        let saved = state::load(&scratch.path("state"), &door).unwrap();
        let dry = Settings {
            dry_run: true,
            ..Settings::default()
        };
        // What would be sent now is the code that comes next.
        let second = turn(&door, &scratch, &dry).unwrap().next().unwrap();
        assert_ne!(ports, second);
        assert!(saved >= step(clock::unix_millis(), 30));
    }

    #[test]
    fn only_a_code_that_is_about_to_come_is_waited_for() {
        let millis = |time: Option<Duration>| time.map(|time| time.as_millis());
        assert_eq!(millis(until_unused(10, 11, 300_000, 30)), Some(30_000));
        assert_eq!(millis(until_unused(10, 11, 329_999, 30)), Some(1));
        for next in [0, 10, 12, u64::MAX] {
            assert_eq!(until_unused(10, next, 300_000, 30), None, "{next}");
        }
    }

    #[test]
    fn a_door_without_closing_knocks_says_when_it_closes() {
        let door = seed_door("ssh");
        let settings = Settings {
            closing: true,
            ..Settings::default()
        };
        let closing = Ports::of(&door, &settings).err().unwrap();
        assert!(matches!(closing, Failure::Failed(why) if why.contains("closes by itself")));
    }
}
