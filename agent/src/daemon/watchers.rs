//! Whoever runs `postern watch`: told of each knock as it comes.
//!
//! Nobody waits for them. A watcher that does not read, and more events than anybody could
//! read, cost the watcher events, which are counted and told, and never the agent.

use core::fmt::{Display, Write as _};
use core::net::IpAddr;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use postern_core::door::Door;
use postern_core::engine::{Decision, Outcome};
use postern_core::knock::Knock;
use postern_core::packet::Refusal;
use postern_core::spa;
use postern_core::time::{Duration, Instant};

use crate::collect::CollectVec;
use crate::output::json::{list, quoted};

/// The most who watch at a time.
pub(crate) const MAX_WATCHERS: usize = 4;
/// Events that are told in a second.
const MAX_EVENTS_PER_SECOND: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);

/// Those who watch.
#[derive(Default)]
pub(crate) struct Watchers {
    watchers: Vec<Watcher>,
    second_began_at: Instant,
    told: u32,
}

struct Watcher {
    stream: UnixStream,
    json: bool,
    /// The end of a line for which there was no room.
    rest: Vec<u8>,
    missed: u64,
}

impl Watchers {
    /// Tells somebody from now on; where as many as can be watch, says so and hangs up.
    pub(crate) fn add(&mut self, mut stream: UnixStream, json: bool) {
        if self.watchers.len() >= MAX_WATCHERS {
            _ = writeln!(stream, "failed\n{MAX_WATCHERS} watch already");
            return;
        }
        if writeln!(stream, "ok").is_ok() {
            self.watchers.push(Watcher {
                stream,
                json,
                rest: Vec::new(),
                missed: 0,
            });
        }
    }

    /// What becomes readable when one of them hangs up.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.watchers.iter().map(|watcher| watcher.stream.as_fd())
    }

    /// Forgets those who hung up.
    pub(crate) fn dismiss(&mut self) {
        self.watchers.retain_mut(|watcher| {
            let said = watcher.stream.read(&mut [0; 64]);
            !matches!(said, Ok(0))
                && !said.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
        });
    }

    /// Tells of a knock, what it was, and at which of the doors.
    pub(crate) fn tell_knock(
        &mut self,
        now: Instant,
        knock: &Knock<'_>,
        decision: &Decision,
        doors: &[Door],
    ) {
        self.tell(now, &|line, json| {
            let Knock { source, port, .. } = knock;
            let (protocol, number) = (port.protocol.name(), port.number);
            let outcome = word(decision.outcome);
            let doors = decision.at.filter_map(|index| doors.get(index));
            _ = match json {
                true => {
                    let doors = list(doors.map(|door| quoted(&door.name)));
                    write!(
                        line,
                        "{{\"event\":\"knock\",\"source\":\"{source}\",\"port\":\"{protocol}:{number}\",\
                         \"outcome\":\"{outcome}\",\"doors\":{doors}}}"
                    )
                }
                false => {
                    let doors: Vec<&str> = doors.map(|door| door.name.as_str()).collect_vec();
                    let at = if doors.is_empty() { "" } else { " at " };
                    let doors = doors.join(", ");
                    write!(line, "{source} knocked on {protocol}:{number}: {outcome}{at}{doors}")
                }
            };
        });
    }

    /// Tells of a datagram of method `spa`, whether it opened, and at which door it was authentic.
    pub(crate) fn tell_datagram(
        &mut self,
        now: Instant,
        knock: &Knock<'_>,
        door: Option<&str>,
        refusal: Option<spa::Refusal>,
    ) {
        self.tell(now, &|line, json| {
            let Knock { source, port, .. } = knock;
            let (protocol, number) = (port.protocol.name(), port.number);
            let outcome = match refusal {
                Some(_) => "refused",
                None => word(Outcome::Completed),
            };
            _ = match json {
                true => {
                    let doors = list(door.map(quoted).into_iter());
                    let reason = refusal.map_or("null".into(), |why| quoted(why.name()));
                    write!(
                        line,
                        "{{\"event\":\"knock\",\"source\":\"{source}\",\"port\":\"{protocol}:{number}\",\
                         \"outcome\":\"{outcome}\",\"doors\":{doors},\"reason\":{reason}}}"
                    )
                }
                false => {
                    let at = if door.is_some() { " at " } else { "" };
                    let door = door.unwrap_or_default();
                    let why = refusal.map_or("", spa::Refusal::reason);
                    let because = if why.is_empty() { "" } else { ": " };
                    write!(
                        line,
                        "{source} sent a datagram to {protocol}:{number}: {outcome}{at}{door}{because}{why}"
                    )
                }
            };
        });
    }

    /// Tells why a packet was no knock. Whose it was, such a packet does not tell for sure.
    pub(crate) fn tell_refusal(&mut self, now: Instant, refusal: Refusal) {
        self.tell(now, &|line, json| {
            let (before, after) = match json {
                true => ("{\"event\":\"no_knock\",\"reason\":\"", "\"}"),
                false => ("a packet was no knock: ", ""),
            };
            _ = write!(line, "{before}{}{after}", refusal.name());
        });
    }

    /// Tells that a source failed at a door, as the engine counts it.
    pub(crate) fn tell_failure(&mut self, now: Instant, source: IpAddr, door: &str) {
        self.tell(now, &|line, json| {
            _ = match json {
                true => write!(
                    line,
                    "{{\"event\":\"failure\",\"source\":\"{source}\",\"door\":\"{door}\"}}"
                ),
                false => write!(line, "{source} failed at door {door}: wrong knocks"),
            };
        });
    }

    /// Tells what the log says.
    pub(crate) fn tell_line(&mut self, now: Instant, text: &dyn Display) {
        self.tell(now, &|line, json| {
            _ = match json {
                true => write!(
                    line,
                    "{{\"event\":\"log\",\"text\":{}}}",
                    quoted(&text.to_string())
                ),
                false => write!(line, "{text}"),
            };
        });
    }

    fn tell(&mut self, now: Instant, write: &dyn Fn(&mut String, bool)) {
        if self.watchers.is_empty() {
            return;
        }
        if now.since(self.second_began_at) >= SECOND {
            self.second_began_at = now;
            self.told = 0;
        }
        self.told = self.told.saturating_add(1);
        let left_out = self.told > MAX_EVENTS_PER_SECOND;
        self.watchers.retain_mut(|watcher| {
            if left_out {
                watcher.missed += 1;
                return true;
            }
            watcher.tell(write)
        });
    }
}

impl Watcher {
    /// Whether it still watches.
    fn tell(&mut self, write: &dyn Fn(&mut String, bool)) -> bool {
        match self.send_rest() {
            Ok(true) => {}
            Ok(false) => {
                self.missed += 1;
                return true;
            }
            Err(()) => return false,
        }
        let mut lines = String::new();
        let missed = core::mem::take(&mut self.missed);
        if missed > 0 {
            _ = match self.json {
                true => writeln!(lines, "{{\"event\":\"missed\",\"events\":{missed}}}"),
                false => writeln!(lines, "({missed} events left out)"),
            };
        }
        write(&mut lines, self.json);
        lines.push('\n');
        self.rest = lines.into();
        self.send_rest().is_ok()
    }

    /// Whether all of it could be sent.
    fn send_rest(&mut self) -> Result<bool, ()> {
        while !self.rest.is_empty() {
            match self.stream.write(&self.rest) {
                Ok(sent) => _ = self.rest.drain(..sent.min(self.rest.len())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(()),
            }
        }
        Ok(true)
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unwatched => "unwatched",
        Outcome::Decoy => "decoy",
        Outcome::Silenced => "silenced",
        Outcome::Wrong => "wrong",
        Outcome::Repeated => "repeated",
        Outcome::Advanced => "advanced",
        Outcome::Completed => "completed",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use postern_core::engine::Engine;
    use postern_core::knock::{Port, Protocol};

    use super::*;
    use crate::onetime::examples::seed_door;

    fn now(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn watching(watchers: &mut Watchers, json: bool) -> BufReader<UnixStream> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        watchers.add(ours, json);
        let mut reader = BufReader::new(theirs);
        assert_eq!(line(&mut reader), "ok");
        reader
    }

    fn line(reader: &mut BufReader<UnixStream>) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    #[test]
    fn people_and_programs_are_told_of_knocks_and_lines() {
        let mut watchers = Watchers::default();
        let mut person = watching(&mut watchers, false);
        let mut program = watching(&mut watchers, true);
        let (protocol, number) = (Protocol::Udp, 8001);
        let knock = Knock {
            source: "192.0.2.2".parse().unwrap(),
            source_port: 4000,
            port: Port { protocol, number },
            payload: &[],
        };
        let doors = ["alice", "ssh"].map(seed_door);
        let mut engine = Box::new(Engine::<16>::new());
        let mut decision = engine.handle(now(0), &knock);
        watchers.tell_knock(now(0), &knock, &decision, &doors);
        decision.outcome = Outcome::Advanced;
        decision.at.insert(0);
        decision.at.insert(1);
        watchers.tell_knock(now(0), &knock, &decision, &doors);
        watchers.tell_refusal(now(0), Refusal::Fragment);
        watchers.tell_failure(now(0), knock.source, "ssh");
        watchers.tell_line(now(0), &"door \"ssh\"");
        assert_eq!(
            line(&mut person),
            "192.0.2.2 knocked on udp:8001: unwatched"
        );
        assert_eq!(
            line(&mut person),
            "192.0.2.2 knocked on udp:8001: advanced at alice, ssh"
        );
        assert_eq!(line(&mut person), "a packet was no knock: fragment");
        assert_eq!(
            line(&mut person),
            "192.0.2.2 failed at door ssh: wrong knocks"
        );
        assert_eq!(line(&mut person), "door \"ssh\"");
        for what in [
            "\"unwatched\",\"doors\":[]}",
            "\"advanced\",\"doors\":[\"alice\",\"ssh\"]}",
        ] {
            let event = "{\"event\":\"knock\",\"source\":\"192.0.2.2\",\"port\":\"udp:8001\"";
            assert_eq!(line(&mut program), format!("{event},\"outcome\":{what}"));
        }
        assert_eq!(
            line(&mut program),
            "{\"event\":\"no_knock\",\"reason\":\"fragment\"}"
        );
        assert_eq!(
            line(&mut program),
            "{\"event\":\"failure\",\"source\":\"192.0.2.2\",\"door\":\"ssh\"}"
        );
        let said = line(&mut program);
        assert_eq!(said, "{\"event\":\"log\",\"text\":\"door \\\"ssh\\\"\"}");
    }

    #[test]
    fn a_watcher_too_many_is_told_so_and_one_who_leaves_makes_room() {
        let mut watchers = Watchers::default();
        let mut all: Vec<_> = (0..MAX_WATCHERS)
            .map(|_| watching(&mut watchers, false))
            .collect();
        let (ours, theirs) = UnixStream::pair().unwrap();
        watchers.add(ours, false);
        assert_eq!(line(&mut BufReader::new(theirs)), "failed");
        all.pop();
        watchers.dismiss();
        watching(&mut watchers, false);
    }

    #[test]
    fn what_nobody_reads_is_counted_and_never_waited_for() {
        let mut watchers = Watchers::default();
        let reader = watching(&mut watchers, false);
        reader.get_ref().set_nonblocking(true).unwrap();
        let long = "x".repeat(4096);
        // Each second its own, so that only the socket's buffer is the limit.
        for second in 1..2_000 {
            watchers.tell_line(now(second * 1_000), &long);
        }
        assert!(watchers.watchers[0].missed > 0);
        let told = drain(&reader);
        watchers.tell_line(now(3_000_000), &"the last");
        let told = told + &drain(&reader);
        let lines: Vec<&str> = told.lines().collect();
        let (last, before) = lines.split_last().unwrap();
        let (missed, long_ones) = before.split_last().unwrap();
        assert_eq!(*last, "the last");
        assert!(missed.ends_with("events left out)"), "{missed}");
        assert!(long_ones.iter().all(|line| *line == long));
    }

    /// All that waits to be read.
    fn drain(reader: &BufReader<UnixStream>) -> String {
        let mut text = Vec::new();
        let mut piece = [0; 65_536];
        while let Ok(length) = reader.get_ref().read(&mut piece) {
            text.extend_from_slice(&piece[..length]);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_flood_is_told_in_part() {
        let mut watchers = Watchers::default();
        let mut reader = watching(&mut watchers, false);
        for _ in 0..MAX_EVENTS_PER_SECOND + 7 {
            watchers.tell_line(now(500), &"flood");
        }
        watchers.tell_line(now(1_500), &"after");
        let told: Vec<String> = (0..MAX_EVENTS_PER_SECOND + 2)
            .map(|_| line(&mut reader))
            .collect();
        assert_eq!(
            told[MAX_EVENTS_PER_SECOND as usize..],
            ["(7 events left out)", "after"]
        );
    }
}
