//! Saying anew what was used, when the door and its owner disagree or the memory is lost.

use std::path::Path;

use postern_core::code::Code;
use postern_core::door::{Door, Method};
use postern_core::engine::Engine;
use postern_core::time::Instant;

use super::otp::Digest;
use super::secret::Secret;
use super::wall_clock::WallClock;
use super::{Keeper, Lists, Material, Memory, OneTime, SECOND, acceptable, after_all};
use crate::files::private_file::Unfit;
use crate::files::{atomic_file, config_file};
use crate::firewall::Used;

/// How far ahead a code is searched for. With six digits, a wrong one is found among so many
/// once in a thousand times; a second code makes it once in a thousand million.
pub(super) const SEARCHED_CODES: u64 = 1000;

/// What is taken for the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resync {
    /// What is known to be safe: for a clock, that everything so far is used; for a list without a
    /// memory, that nothing is.
    Usual,
    /// This counter, or this sequence of the list counted from 0, is next.
    To(u64),
    /// These codes, one or two in a row, are the latest that the owner's app showed.
    Codes(String, Option<String>),
}

/// How `postern resync` helps a door whose memory cannot be used for this reason.
pub(super) fn cure(door: &Door, why: &Unfit) -> String {
    let name = &door.name;
    match (&door.method, why) {
        (_, Unfit::Unread(_)) => "the next reload reads it again".into(),
        (Method::Seed { .. }, _) => format!(
            "'postern resync {name} --code CODE,NEXT' takes two codes of your app for it, \
             '--to 0' begins with a secret never used"
        ),
        (Method::List { .. }, Unfit::Missing(_)) => {
            format!("'postern resync {name}' begins with the first sequence")
        }
        (Method::List { .. }, Unfit::Bad(_)) => {
            format!("'postern resync {name} --to N' says that the first N sequences are used")
        }
        _ => format!("'postern resync {name}' takes everything up to now for used"),
    }
}

/// Does without a running agent what [`OneTime::resync`] does with one; the kernel is to remember the same.
pub(crate) fn resync_without_agent(
    doors: &[Door],
    folder: &Path,
    name: &str,
    how: &Resync,
    clock: &WallClock,
) -> Result<(String, Option<Used>), String> {
    let (index, door) = find(doors, name)?;
    let list = Lists::read(doors).take(index);
    let mut keeper = Keeper::load(index, door, folder, list);
    let answer = keeper.resync(door, how, clock)?;
    Ok((answer, keeper.used()))
}

impl OneTime {
    /// Changes what is known to be used, in memory and on disk, and arms the door anew.
    pub(crate) fn resync<const SOURCES: usize>(
        &mut self,
        engine: &mut Engine<SOURCES>,
        name: &str,
        how: &Resync,
        now: Instant,
        clock: &WallClock,
    ) -> Result<String, String> {
        let (index, door) = find(engine.doors(), name)?;
        let keeper = self.keeper(index)?;
        let answer = keeper.resync(door, how, clock)?;
        keeper.remind(engine);
        Ok(match self.arm_again(engine, index, now, clock) {
            Some(why) => format!("{answer}; it stays shut: {why}"),
            None => answer,
        })
    }

    /// Reads the door's secret and memory again, as `postern keygen` has made new ones.
    pub(crate) fn reread<const SOURCES: usize>(
        &mut self,
        engine: &mut Engine<SOURCES>,
        name: &str,
        now: Instant,
        clock: &WallClock,
    ) -> Result<(), String> {
        let (index, door) = find(engine.doors(), name)?;
        let list = Lists::read(engine.doors()).take(index);
        let keeper = self.keeper(index)?;
        *keeper = Keeper {
            shut: keeper.shut.take(),
            ..Keeper::load(index, door, &keeper.folder, list)
        };
        keeper.remind(engine);
        for other in self.find_shared() {
            self.arm_again(engine, other, now, clock);
        }
        self.arm_again(engine, index, now, clock)
            .map_or(Ok(()), Err)
    }

    fn keeper(&mut self, index: usize) -> Result<&mut Keeper, String> {
        let keeper = self.keepers.iter_mut().find(|keeper| keeper.index == index);
        keeper.ok_or_else(|| "nothing is known of this door".into())
    }

    /// Why the door is shut even so.
    fn arm_again<const SOURCES: usize>(
        &mut self,
        engine: &mut Engine<SOURCES>,
        index: usize,
        now: Instant,
        clock: &WallClock,
    ) -> Option<String> {
        let keeper = self
            .keepers
            .iter_mut()
            .find(|keeper| keeper.index == index)?;
        keeper.arm(engine, clock, &mut self.notices);
        let shut = keeper.shut.clone();
        self.schedule(engine.doors(), now, clock);
        shut
    }
}

impl Keeper {
    fn resync(&mut self, door: &Door, how: &Resync, clock: &WallClock) -> Result<String, String> {
        let next = self.truth(door, how, clock)?;
        let folder = &self.folder;
        atomic_file::make_folder(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        self.remember(next, door)?;
        Ok(self.in_words(door, next))
    }

    /// What is next from now on.
    fn truth(&self, door: &Door, how: &Resync, clock: &WallClock) -> Result<u64, String> {
        let name = &door.name;
        match (&door.method, how) {
            (Method::Seed { .. }, Resync::To(next)) => Ok(*next),
            (Method::Seed { code, .. }, Resync::Codes(first, second)) => {
                let Ok(Material::Secret(secret)) = &self.material else {
                    return Err(self.material.as_ref().err().cloned().unwrap_or_default());
                };
                let from = match self.memory {
                    Memory::Next(next) => next,
                    Memory::Everything(_) | Memory::Lost { .. } => 0,
                };
                search(code, secret, from, first, second.as_deref())
            }
            (Method::Seed { .. }, Resync::Usual) => Err(format!(
                "door {name} needs --code CODE[,NEXT], the latest codes of your app, or --to COUNTER"
            )),
            (Method::List { .. }, Resync::To(next)) => Ok(*next),
            (Method::List { .. }, Resync::Usual) => match &self.memory {
                Memory::Next(next) => Ok(*next),
                Memory::Everything(_)
                | Memory::Lost {
                    is_missing: true, ..
                } => Ok(0),
                Memory::Lost { why, .. } => Err(why.clone()),
            },
            (Method::Clock { period, skew, .. }, Resync::Usual) => {
                acceptable(clock, *period, *skew)?;
                Ok(after_all(clock, *period, *skew))
            }
            (Method::Spa(_), Resync::Usual) => {
                acceptable(clock, SECOND, 0)?;
                Ok(after_all(clock, SECOND, 0))
            }
            (Method::List { .. }, Resync::Codes(..)) => Err(format!(
                "door {name} has a list, no codes: say --to N, or nothing"
            )),
            (Method::Clock { .. } | Method::Spa(_), _) => Err(format!(
                "door {name} goes by the clock: it needs neither --to nor --code"
            )),
            _ => Err(without_memory(door)),
        }
    }

    fn in_words(&self, door: &Door, next: u64) -> String {
        let name = &door.name;
        match (&door.method, &self.material) {
            (Method::List { .. }, Ok(Material::List(list))) => {
                let length = list.len() as u64;
                let turn = next.checked_rem(length).unwrap_or_default() + 1;
                let (round, of) = (next.checked_div(length).unwrap_or_default(), length);
                match round {
                    0 => format!("door {name}: sequence {turn} of {of} is next"),
                    _ => format!("door {name}: {next} sequences of {of} are used"),
                }
            }
            (Method::Spa(_), _) => {
                format!("door {name}: every datagram up to now is used; send a new one")
            }
            (Method::Clock { .. }, _) => {
                format!("door {name}: every code up to now is used; wait for a later one")
            }
            _ => format!("door {name}: the code of counter {next} is next"),
        }
    }
}

/// The one-time door of this name.
pub(crate) fn find<'d>(doors: &'d [Door], name: &str) -> Result<(usize, &'d Door), String> {
    let (index, door) = config_file::find(doors, name)?;
    match door.method.is_one_time() {
        true => Ok((index, door)),
        false => Err(without_memory(door)),
    }
}

fn without_memory(door: &Door) -> String {
    let (name, method) = (&door.name, door.method.name());
    format!("door {name} has neither secret nor memory: its method is {method}")
}

/// The counter after those of the codes.
fn search(
    code: &Code,
    secret: &Secret,
    from: u64,
    first: &str,
    second: Option<&str>,
) -> Result<u64, String> {
    let first = groups(code, first)?;
    let second = second.map(|second| groups(code, second)).transpose()?;
    let shows = |counter: u64, groups: [u16; 2]| {
        let digest = Digest::new(code.algorithm, secret.bytes(), counter);
        let knocks = code.knocks(digest.as_bytes());
        knocks.is_some_and(|knocks| knocks.map(|port| port.number - code.base) == groups)
    };
    let mut counters = from..from.saturating_add(SEARCHED_CODES);
    let found = counters.find(|counter| {
        let after = counter.saturating_add(1);
        shows(*counter, first) && second.is_none_or(|second| shows(after, second))
    });
    let codes = if second.is_some() { 2 } else { 1 };
    found.map(|counter| counter.saturating_add(codes)).ok_or_else(|| {
        let what = if codes == 2 { "these codes are" } else { "this code is" };
        format!(
            "{what} not among the {SEARCHED_CODES} from counter {from} on; look for typing errors, or say \
             --to COUNTER"
        )
    })
}

/// The two halves of a code as typed.
fn groups(code: &Code, typed: &str) -> Result<[u16; 2], String> {
    let digits = code.digits.count();
    let number = typed.parse::<u32>().ok();
    let whole = typed.len() == digits as usize && typed.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.filter(|_| whole).ok_or_else(|| {
        format!(
            "'{}' is no code; expected {digits} digits",
            typed.escape_default()
        )
    })?;
    let group = u32::from(code.digits.group());
    Ok([(number / group) as u16, (number % group) as u16])
}
