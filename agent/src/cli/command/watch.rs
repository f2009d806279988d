//! `postern watch`: what the agent tells, and what is seen to change in the kernel.

use core::net::IpAddr;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;

use postern_core::config::Config;
use postern_core::time::Duration;

use super::reach;
use crate::cli::options::Options;
use crate::daemon::control::Request;
use crate::files::config_file::Peeked;
use crate::firewall::{Counts, Firewall, Refusal, needs_agent};
use crate::output::json::quoted;
use crate::output::{self, Failure};
use crate::report::effect;
use crate::sort::sort;
use crate::sys::poll::poll;

/// How often the kernel is asked: rules tell nobody what they put into sets.
const POLL_INTERVAL: core::time::Duration = core::time::Duration::from_millis(200);

/// `postern watch`
pub(crate) fn watch(options: &Options) -> Result<(), Failure> {
    let json = options.json;
    let file = Peeked::read(&options.config);
    let mut agent = Told::by_agent(&file, json)?;
    let mut kernel = Kernel::new(file.config, json)?;
    match (&agent, kernel.serves_doors()) {
        (None, false) => {
            return Err(Failure::Failed(
                "there is nothing to watch: no agent is running, and the kernel serves no door"
                    .into(),
            ));
        }
        (None, true) if kernel.needs_agent() => {
            output::say("no agent is running: only doors of the kernel are watched");
        }
        _ => {}
    }
    while !output::has_lost_its_reader() {
        let has_ended = match &mut agent {
            Some(told) => !told.pass_on()?,
            None => {
                wait()?;
                false
            }
        };
        if has_ended {
            output::say("the agent has ended");
            agent = None;
            if !kernel.serves_doors() {
                return Ok(());
            }
        }
        kernel.tell_changes()?;
    }
    Ok(())
}

fn wait() -> Result<(), Failure> {
    let often = Duration::from_millis(POLL_INTERVAL.as_millis() as u64);
    poll(&mut [], Some(often))
        .map(drop)
        .map_err(|error| Failure::Failed(error.to_string()))
}

/// What the agent tells.
struct Told {
    stream: UnixStream,
    line: Vec<u8>,
}

impl Told {
    fn by_agent(file: &Peeked, json: bool) -> Result<Option<Self>, Failure> {
        let Some(stream) = reach::call(file, &Request::Watch { json })? else {
            return Ok(None);
        };
        let mut told = Self {
            stream,
            line: Vec::new(),
        };
        told.read_answer().map(|()| Some(told))
    }

    /// The first line says whether it tells.
    fn read_answer(&mut self) -> Result<(), Failure> {
        let mut octet = [0];
        while self.line.last() != Some(&b'\n') {
            match self.stream.read(&mut octet) {
                Ok(1) => self.line.extend(octet),
                Ok(_) => return Err(Failure::Failed("the agent hung up".into())),
                Err(error) => return Err(Failure::Failed(format!("the agent: {error}"))),
            }
        }
        if self.line == b"ok\n" {
            self.line.clear();
            return self
                .stream
                .set_read_timeout(Some(POLL_INTERVAL))
                .map_err(|error| failed(&error));
        }
        let mut why = String::new();
        _ = self.stream.read_to_string(&mut why);
        Err(Failure::Failed(format!("the agent: {}", why.trim_end())))
    }

    /// Prints what came within [`POLL_INTERVAL`]; `false`: the agent has ended.
    fn pass_on(&mut self) -> Result<bool, Failure> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => return Ok(false),
            Ok(length) => self.line.extend(piece.iter().take(length)),
            Err(error) if is_quiet(&error) => return Ok(true),
            Err(error) => return Err(failed(&error)),
        }
        let end = self.line.iter().rposition(|octet| *octet == b'\n');
        let rest = self.line.split_off(end.map_or(0, |end| end + 1));
        let lines = core::mem::replace(&mut self.line, rest);
        output::print(&String::from_utf8_lossy(&lines))?;
        Ok(true)
    }
}

fn is_quiet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn failed(error: &io::Error) -> Failure {
    Failure::Failed(format!("the agent: {error}"))
}

/// A source on its way through a door of the kernel: the door, the source, what its knocks do, and how
/// many it has made of how many.
type Traveller = (String, IpAddr, &'static str, (usize, usize));

/// What the kernel had when it was asked last.
struct Kernel {
    firewall: Firewall,
    config: Option<Box<Config>>,
    json: bool,
    counts: Vec<(String, Counts)>,
    /// In order.
    attempts: Vec<Traveller>,
}

impl Kernel {
    fn new(config: Option<Box<Config>>, json: bool) -> Result<Self, Failure> {
        let mut kernel = Self {
            firewall: reach::firewall()?,
            config,
            json,
            counts: Vec::new(),
            attempts: Vec::new(),
        };
        kernel.counts = kernel.read_counts()?;
        kernel.attempts = kernel.read_attempts()?;
        Ok(kernel)
    }

    fn serves_doors(&self) -> bool {
        !self.counts.is_empty()
    }

    fn needs_agent(&self) -> bool {
        self.config.as_deref().is_none_or(needs_agent)
    }

    /// Where the table is gone, there is nothing.
    fn read_counts(&mut self) -> Result<Vec<(String, Counts)>, Failure> {
        present(self.firewall.counts())
    }

    fn read_attempts(&mut self) -> Result<Vec<Traveller>, Failure> {
        let mut found = Vec::new();
        let doors = self.config.as_deref().map(|config| config.doors.as_slice());
        let doors = doors.unwrap_or_default().iter();
        for door in doors.filter(|door| door.engine.is_in_kernel()) {
            for attempt in present(self.firewall.attempts(door))? {
                found.push((
                    door.name.as_str().to_owned(),
                    attempt.source,
                    effect(attempt.effect),
                    (attempt.accepted, attempt.needed),
                ));
            }
        }
        sort(&mut found, &|one, other| one < other);
        Ok(found)
    }

    fn tell_changes(&mut self) -> Result<(), Failure> {
        if !self.serves_doors() {
            return Ok(());
        }
        let attempts = self.read_attempts()?;
        for traveller in &attempts {
            if self.attempts.binary_search(traveller).is_err() {
                output::print(&self.progress(traveller))?;
            }
        }
        let counts = self.read_counts()?;
        for (door, now) in &counts {
            let mut before = self.counts.iter();
            let before = before.find(|(name, _)| name == door);
            let before = before.map(|(_, counts)| *counts).unwrap_or_default();
            for (what, times) in differences(&before, now) {
                output::print(&self.count(door, what, times))?;
            }
        }
        self.attempts = attempts;
        self.counts = counts;
        Ok(())
    }

    fn progress(&self, (door, source, verb, (accepted, needed)): &Traveller) -> String {
        match self.json {
            true => format!(
                "{{\"event\":\"attempt\",\"door\":{},\"source\":\"{source}\",\"effect\":{},\
                 \"accepted\":{accepted},\"needed\":{needed}}}\n",
                quoted(door),
                quoted(verb)
            ),
            false => format!("{source} has made {accepted} of {needed} knocks to {verb} {door}\n"),
        }
    }

    fn count(&self, door: &str, what: &str, times: u64) -> String {
        match self.json {
            true => format!(
                "{{\"event\":\"count\",\"door\":{},\"what\":\"{what}\",\"times\":{times}}}\n",
                quoted(door)
            ),
            false if times == 1 => format!("door {door}: {what}\n"),
            false => format!("door {door}: {what}, {times} times\n"),
        }
    }
}

/// Nothing, where there is no table.
fn present<T: Default>(read: Result<T, Refusal>) -> Result<T, Failure> {
    match read {
        Err(Refusal::NotInstalled) => Ok(T::default()),
        read => read.map_err(|refusal| Failure::Failed(refusal.to_string())),
    }
}

/// What was counted more often than before, apart from knocks, which attempts show.
fn differences(before: &Counts, now: &Counts) -> impl Iterator<Item = (&'static str, u64)> {
    let pairs = [
        ("opened", before.opened, now.opened),
        ("closed", before.closed, now.closed),
        ("refused", before.refused, now.refused),
        ("no room", before.no_room, now.no_room),
    ];
    let more = |(what, before, now): (_, u64, u64)| (what, now.saturating_sub(before));
    pairs.into_iter().map(more).filter(|(_, times)| *times > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_anew_is_told_once() {
        let counts = |opened, refused| Counts {
            opened,
            refused,
            ..Counts::default()
        };
        let told: Vec<_> = differences(&counts(1, 2), &counts(1, 5)).collect();
        assert_eq!(told, [("refused", 3)]);
        // A table that was made anew counts from zero.
        assert_eq!(differences(&counts(9, 9), &counts(0, 0)).count(), 0);
    }
}
