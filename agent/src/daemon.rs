//! The agent at work: one loop that waits for knocks, signals and callers.

mod adopting;
#[cfg(test)]
mod cost_tests;
mod cutting;
mod ending;
mod following;
mod ledger;
mod neighbours;
mod repairing;
mod starting;

use core::fmt;
use core::net::IpAddr;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use postern_core::config::{Config, Global};
use postern_core::door::Door;
use postern_core::engine::{Decision, Engine};
use postern_core::knock::{Knock, Port};
use postern_core::time::{Duration, Instant};

use crate::control::{Answer, Control, MAX_CLIENTS, Request};
use crate::files::config_file::Doors;
use crate::firewall::{CutOff, Entrance, Firewall, Network, Refusal, Watch, failing};
use crate::journal::{Change, Journal, Kind};
use crate::notify::{Manager, State};
use crate::onetime::wall_clock::WallClock;
use crate::onetime::{OneTime, Progress, list_ports};
use crate::openwrt::networks::Networks;
use crate::output::span;
use crate::output::{self, Failure, Level};
use crate::patience::{Patience, Subject};
use crate::report::{AgentReport, DoorDetails, DoorReport, Report, UnderwayReport};
use crate::source::{Reserve, Source};
use crate::sys::clock::boottime;
use crate::sys::link::interface_exists;
use crate::sys::poll::{PollFd, poll};
use crate::sys::process::{self, Capability};
use crate::sys::signal::{Signal, Signals};
use crate::sys::unix::Presence;
use crate::trial::{Chosen, Store};
use crate::watchers::MAX_WATCHERS;
use crate::{manual, orphan, trial};
use cutting::Cutting;
use following::Outlook;
use ledger::{Ledger, Origin};
use neighbours::Neighbours;
use repairing::Repairs;
use starting::Unstarted;

/// Sources whose attempts are remembered.
const SOURCES: usize = 4096;

/// In the program's zeroed memory, so that a page of it costs nothing until a knock needs it.
static ENGINE: Mutex<Engine<SOURCES>> = Mutex::new(Engine::new());

/// The firewall takes the one; a reload may name other ports below 1024 to listen at, which takes
/// the other. Whoever has the one could do without the other (`ip_unprivileged_port_start`).
const KEPT: [Capability; 2] = [Capability::NetAdmin, Capability::NetBindService];

/// Signals, knocks, changes of the firewall, of interfaces and of networks, the control socket, its
/// callers and those who watch.
const MAX_FILES: usize = 6 + MAX_CLIENTS + MAX_WATCHERS;

/// Guards until SIGTERM. Nothing is guarded before the agent can hear knocks.
pub(crate) fn run(path: &Path, doors: Doors, take_over: bool) -> Result<(), Failure> {
    if !process::has(Capability::NetAdmin) {
        return Err(Failure::Failed(
            "the firewall needs CAP_NET_ADMIN: run this as root".into(),
        ));
    }
    let signals = Signals::block().map_err(|error| failed("signals", &error))?;
    let mut engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut seed = [0; 8];
    process::random(&mut seed).map_err(|error| failed("the kernel's random numbers", &error))?;
    engine.seed(seed);
    let presence = Presence::claim();
    let mut agent = starting::start(&mut engine, path, (doors, take_over), &presence)?;
    // Another agent may have had the name, and have made room.
    let _presence = presence.kept();
    let needed: Vec<Capability> = KEPT.into_iter().chain(agent.source.needs()).collect();
    process::drop_capabilities_except(&needed)
        .map_err(|error| Failure::Failed(error.to_string()))?;
    output::say("ready");
    agent.manager.tell(State::Ready);
    agent.serve(signals)
}

/// What has to be opened before there is an agent.
struct Parts {
    path: PathBuf,
    control: Control,
    source: Source,
    reserve: Reserve,
    firewall: Firewall,
    watch: Watch,
    outlook: Outlook,
}

impl Parts {
    fn open(path: &Path, config: &Config, take_over: bool) -> Result<Self, Failure> {
        let reserve = Reserve::open();
        let firewall =
            Firewall::open().map_err(|error| failed("netlink socket of nf_tables", &error))?;
        Ok(Self {
            watch: Watch::open(&firewall)
                .map_err(|error| failed("netlink socket of nf_tables' news", &error))?,
            outlook: Outlook::open(boottime())
                .map_err(|error| failed("netlink socket of interfaces' news", &error))?,
            path: std::path::absolute(path).map_err(|error| failed("working directory", &error))?,
            control: listen_in_place(&config.global, take_over).map_err(Failure::Failed)?,
            source: Source::open(config, &list_ports(&config.doors), &reserve, boottime())
                .map_err(Failure::Failed)?,
            reserve,
            firewall,
        })
    }
}

struct Agent<'e> {
    engine: &'e mut Engine<SOURCES>,
    /// The configuration's file, absolute: SIGHUP must find it whatever the working directory.
    path: PathBuf,
    global: Global,
    manager: Manager,
    networks: Networks,
    outlook: Outlook,
    firewall: Firewall,
    watch: Watch,
    repairs: Repairs,
    neighbours: Neighbours,
    ledger: Ledger,
    /// The doors that are locked.
    locked: Vec<String>,
    cutting: Cutting,
    source: Source,
    reserve: Reserve,
    control: Control,
    one_time: OneTime,
    journal: Journal,
    started_at: Instant,
    refused_packets: u64,
    patience: Patience,
    trial: Option<OnTrial>,
    /// Whether a reload may leave no door: only where there is none, and somebody said so.
    doors: Doors,
    /// Why the configuration's file is not what is in force, where it is not.
    refused: Option<String>,
}

/// The guard that is in force is on trial.
struct OnTrial {
    store: Store,
    began_at: Instant,
    ends_at: Instant,
    before: Before,
}

/// What there was before a trial.
#[derive(Clone)]
struct Before {
    /// The configuration's file.
    path: PathBuf,
    /// What was in force; `None`: nothing, or nothing that could be remembered.
    text: Option<Vec<u8>>,
}

impl<'e> Agent<'e> {
    /// The interfaces of the configuration are devices already; `networks` says which when they change.
    fn start(
        engine: &'e mut Engine<SOURCES>,
        path: &Path,
        chosen: Chosen,
        networks: Networks,
        take_over: bool,
    ) -> Result<Self, Unstarted<'e>> {
        let Chosen { config, text } = chosen;
        let store = trial::store(&config.global);
        let parts = match Parts::open(path, &config, take_over) {
            Ok(parts) => parts,
            Err(why) => return Err((why, engine)),
        };
        let mut agent = Self {
            path: parts.path,
            control: parts.control,
            source: parts.source,
            reserve: parts.reserve,
            firewall: parts.firewall,
            watch: parts.watch,
            repairs: Repairs::new(boottime()),
            neighbours: Neighbours::default(),
            ledger: Ledger::new(),
            locked: Vec::new(),
            cutting: Cutting::new(),
            one_time: OneTime::default(),
            journal: Journal::new(boottime()),
            started_at: boottime(),
            refused_packets: 0,
            patience: Patience::default(),
            global: config.global.clone(),
            trial: None,
            doors: Doors::Needed,
            refused: None,
            manager: Manager::from_environment(),
            networks,
            outlook: parts.outlook,
            engine,
        };
        let changed = trial::opened_otherwise_than_confirmed(&store, &config.doors);
        agent.firewall.forget(changed);
        if let Err(why) = agent.adopt(config, None) {
            return Err((Failure::Failed(why), agent.engine));
        }
        match text {
            Some(text) => trial::settle(&store, &text),
            None => agent.refused = Some(trial::UNCONFIRMED.into()),
        }
        Ok(agent)
    }

    /// Says that another configuration than the file's is in force, and why; status and doctor say it again.
    fn instead(&mut self, why: String) {
        output::say(&format!(
            "WARNING: {} is not used: {why}; an earlier configuration is in force",
            self.path.display()
        ));
        self.refused = Some(why);
    }

    fn serve(&mut self, mut signals: Signals) -> Result<(), Failure> {
        loop {
            let ready = self
                .wait(&signals)
                .map_err(|error| failed("poll", &error))?;
            if ready.signals && self.heed(&mut signals)? == Resolve::End {
                return Ok(());
            }
            let now = boottime();
            self.forget_attempts(now);
            self.source.poll(now);
            self.keep_time(now);
            self.end_trial(now);
            self.mend_later(now);
            self.look_around_later(now);
            if ready.outlook {
                self.outlook.hear(now);
            }
            self.follow(now);
            // Before the knocks, which open doors of a guard that is there.
            if ready.news {
                self.hear_news();
            }
            if ready.source {
                self.hear_knocks();
            }
            if ready.control {
                self.answer_callers();
            }
            self.look_again();
            let now = boottime();
            self.end_grants(now);
            self.cut(now);
            self.journal.poll(now, self.engine.doors());
        }
    }

    /// Sleeps until something happens or a deadline comes.
    fn wait(&self, signals: &Signals) -> io::Result<Ready> {
        let deadlines = [
            self.engine.poll_at(),
            self.source.poll_at(),
            self.control.poll_at(),
            self.one_time.keep_time_at(),
            self.one_time.look_again_at(),
            self.trial.as_ref().map(|trial| trial.ends_at),
            self.repairs.poll_at(),
            self.neighbours.poll_at(),
            self.outlook.poll_at(),
            self.cutting.poll_at(),
            self.ledger.poll_at(),
            self.journal.poll_at(),
        ];
        let next = deadlines.into_iter().flatten().min();
        let mut files: heapless::Vec<PollFd<'_>, MAX_FILES> = heapless::Vec::new();
        let watched = [signals.as_fd(), self.source.as_fd(), self.watch.as_fd()];
        let outlook = self.outlook.files();
        let outlook_end = watched.len() + outlook.len();
        let callers = self.control.fds().chain(self.journal.watchers.fds());
        files.extend(
            watched
                .into_iter()
                .chain(outlook)
                .chain(callers)
                .map(PollFd::readable),
        );
        poll(&mut files, next.map(|at| at.since(boottime())))?;
        let ready = |file: Option<&PollFd<'_>>| file.is_some_and(PollFd::is_ready);
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= boottime());
        Ok(Ready {
            signals: ready(files.first()),
            source: ready(files.get(1)) || is_due(self.source.poll_at()),
            news: ready(files.get(2)),
            outlook: (files.iter().take(outlook_end).skip(3)).any(PollFd::is_ready),
            control: files.iter().skip(outlook_end).any(PollFd::is_ready)
                || is_due(self.control.poll_at()),
        })
    }

    fn heed(&mut self, signals: &mut Signals) -> Result<Resolve, Failure> {
        while let Some(signal) = signals.take().map_err(|error| failed("signals", &error))? {
            match signal {
                Signal::Terminate | Signal::Interrupt => {
                    self.manager.tell(State::Stopping);
                    self.leave_behind();
                    return Ok(Resolve::End);
                }
                Signal::Hangup => _ = self.reload(),
            }
        }
        Ok(Resolve::GoOn)
    }

    /// Has the engine forget what is over; what it notices by that may be one failure too many.
    fn forget_attempts(&mut self, now: Instant) {
        let mut gate = Gate {
            firewall: &mut self.firewall,
            ledger: &mut self.ledger,
            cutting: &mut self.cutting,
            journal: &mut self.journal,
            patience: &mut self.patience,
            now,
        };
        self.engine.poll_telling(now, &mut |door, lapse| {
            (gate.journal.watchers).tell_failure(now, lapse.source, &door.name);
            if let Some(lasting) = lapse.cut_off {
                gate.cut_off(lapse.source, lasting);
            }
        });
    }

    /// Other codes open a door as time passes.
    fn keep_time(&mut self, now: Instant) {
        if self.one_time.keep_time_at().is_some_and(|at| at <= now) {
            self.one_time.keep_time(self.engine, now, &WallClock::now());
            self.tell_notices();
        }
    }

    /// Compares wrong codes with those of other times, a few in a turn.
    fn look_again(&mut self) {
        let now = boottime();
        if self.one_time.look_again_at().is_none_or(|at| at > now) {
            return;
        }
        let clock = WallClock::now();
        let lifted = self.one_time.look_again(self.engine, now, &clock);
        self.tell_notices();
        for source in lifted {
            let outcome = match self.firewall.pardon(Some(source)) {
                Ok(_) => String::new(),
                Err(refusal) => format!(", not by the kernel: {refusal}"),
            };
            let why = "what it knocked was no guess";
            (self.journal).say(
                now,
                format_args!("{source}: listened to again{outcome}: {why}"),
            );
        }
    }

    fn tell_notices(&mut self) {
        let notices = self.one_time.take_notices().into_iter();
        for notice in notices.chain(self.source.take_notices()) {
            self.journal.say(boottime(), format_args!("{notice}"));
        }
    }

    fn hear_knocks(&mut self) {
        let Self {
            source,
            engine,
            firewall,
            one_time,
            journal,
            refused_packets,
            patience,
            ledger,
            cutting,
            ..
        } = self;
        let now = boottime();
        let mut gate = Gate {
            firewall,
            ledger,
            cutting,
            journal,
            patience,
            now,
        };
        let heard = source.for_each(now, |knock| match knock {
            Some(knock) => act(engine, one_time, &mut gate, knock),
            None => *refused_packets += 1,
        });
        if let Err(error) = heard {
            journal.say(now, format_args!("knocks cannot be read: {error}"));
        }
        self.tell_notices();
    }

    fn answer_callers(&mut self) {
        self.journal.watchers.dismiss();
        for caller in self.control.hear(boottime()) {
            let answer = match caller.request() {
                Some(Request::Watch { json }) => {
                    let json = *json;
                    self.journal.watchers.add(caller.into_stream(), json);
                    continue;
                }
                Some(request) => self.answer(request),
                None => Err("the agent does not understand this; is it of another version?".into()),
            };
            caller.answer(&answer);
        }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Watch { .. } => Err("this is no question".into()),
            Request::Status { json } => Ok(self.report().map_err(in_words)?.render(*json)),
            Request::Open {
                door,
                whom,
                lasting,
            } => {
                let lasting = lasting.unwrap_or_else(|| self.grant_of(door));
                let answer = manual::open(&mut self.firewall, door, whom, lasting);
                self.remember(Origin::Hand);
                self.note(answer)
            }
            Request::Close { door, from } => {
                // Whom rules let in is looked at before and after.
                self.cutting.ask_now(boottime());
                self.cut(boottime());
                let answer = manual::close(&mut self.firewall, door, *from);
                self.cutting.ask_now(boottime());
                self.remember(Origin::Hand);
                self.cut(boottime());
                self.note(answer)
            }
            Request::Lock { door } => {
                let answer = manual::lock(&mut self.firewall, door);
                self.remember(Origin::Hand);
                self.note(answer)
            }
            Request::Unlock { door } => {
                let answer = manual::unlock(&mut self.firewall, door);
                self.remember(Origin::Hand);
                self.note(answer)
            }
            Request::Pardon { source } => {
                let answer = self.pardon(*source);
                self.note(answer)
            }
            Request::Apply {
                config,
                confirm_within,
                doors,
            } => self.apply(config, *confirm_within, *doors),
            Request::Reload => self.reload(),
            Request::Confirm => self.confirm(),
            Request::Remove => {
                let removed = self.firewall.remove().map_err(in_words)?;
                self.give_up();
                let outcome = if removed {
                    "guard removed"
                } else {
                    "there was no guard"
                };
                self.note(Ok(format!(
                    "{outcome}; the agent waits for 'postern apply' or SIGHUP\n"
                )))
            }
            Request::Resync { door, how } => {
                let (now, clock) = (boottime(), WallClock::now());
                let answer = self.one_time.resync(self.engine, door, how, now, &clock);
                self.tell_notices();
                self.note(answer.map(|text| text + "\n"))
            }
            Request::Reread { door } => {
                let (now, clock) = (boottime(), WallClock::now());
                let read = self.one_time.reread(self.engine, door, now, &clock);
                self.tell_notices();
                if read.is_ok() {
                    self.shut_out(door);
                }
                self.note(read.map(|()| format!("door {door}: secret and memory read again\n")))
            }
        }
    }

    /// What was done by hand belongs into the log.
    fn note(&mut self, answer: Answer) -> Answer {
        if let Ok(text) = &answer {
            self.journal
                .record(boottime(), format_args!("by hand: {}", text.trim_end()));
        }
        answer
    }

    fn grant_of(&self, name: &str) -> Duration {
        let door = self.engine.doors().iter().find(|door| door.name == name);
        door.map_or(Duration::default(), |door| door.grant)
    }

    /// Who is cut off: by the kernel, or, where its set was full or made anew, by the engine alone.
    fn cut_offs(&mut self) -> Result<Vec<CutOff>, Refusal> {
        let mut cut_offs = match self.firewall.cut_offs() {
            Err(Refusal::NotInstalled) => Vec::new(),
            cut_offs => cut_offs?,
        };
        let by_kernel = cut_offs.len();
        (self.engine).show_cut_off(boottime(), &mut |source, remaining| {
            let (source, remaining) = (failing(source), Some(remaining));
            let known = cut_offs.iter().take(by_kernel);
            if !known.clone().any(|known| known.source == source) {
                cut_offs.push(CutOff { source, remaining });
            }
        });
        Ok(cut_offs)
    }

    fn pardon(&mut self, source: Option<IpAddr>) -> Answer {
        let cut_offs = self.cut_offs().map_err(in_words)?;
        match source {
            Some(source) => _ = self.engine.pardon(boottime(), source),
            None => self.engine.pardon_all(),
        }
        manual::pardon(&mut self.firewall, source, &cut_offs)
    }

    fn report(&mut self) -> Result<Report, Refusal> {
        let now = boottime();
        let installed = self.firewall.installed()?;
        let mut underway = UnderwayReport::default();
        self.engine
            .show_underway(now, &mut |attempt| underway.add(attempt));
        let agent = AgentReport {
            pid: std::process::id(),
            uptime: now.since(self.started_at),
            config: self.path.display().to_string(),
            source: self.global.source,
            guard: self.global.guard,
            interfaces: self
                .global
                .interfaces
                .iter()
                .map(ToString::to_string)
                .collect(),
            refused: self.refused.clone(),
            meanings: self.networks.meanings().to_vec(),
            counters: *self.engine.counters(),
            refused_packets: self.refused_packets,
            losses: self.source.losses(),
            underway,
        };
        let (doors, clock) = (self.engine.doors(), WallClock::now());
        let mut report = Report {
            agent: Some(agent),
            installed,
            trial: self.firewall.trial()?,
            doors: (doors.iter().enumerate())
                .map(|(index, door)| {
                    describe(door, self.one_time.progress(doors, index, now, &clock))
                })
                .collect(),
            locked: Vec::new(),
            cut_offs: self.cut_offs()?,
            grants: if installed {
                self.firewall.grants()?
            } else {
                Vec::new()
            },
        };
        report.ask_kernel(&mut self.firewall, self.engine.doors())?;
        Ok(report)
    }
}

/// What there is to do.
struct Ready {
    signals: bool,
    source: bool,
    news: bool,
    outlook: bool,
    control: bool,
}

#[derive(PartialEq, Eq)]
enum Resolve {
    GoOn,
    End,
}

/// What opens and closes doors, at one moment.
struct Gate<'g> {
    firewall: &'g mut Firewall,
    ledger: &'g mut Ledger,
    cutting: &'g mut Cutting,
    journal: &'g mut Journal,
    patience: &'g mut Patience,
    now: Instant,
}

/// Shows a knock to the engine and tells the kernel what it decided.
fn act(
    engine: &mut Engine<SOURCES>,
    one_time: &mut OneTime,
    gate: &mut Gate<'_>,
    knock: &Knock<'_>,
) {
    let source = knock.source;
    let decision = engine.handle(gate.now, knock);
    let Decision {
        outcome,
        open,
        close,
        toggle,
        failed,
        cut_off,
        spent,
    } = decision;
    one_time.note(engine.doors(), knock, &decision, gate.now);
    gate.journal.watchers.tell_knock(gate.now, knock, outcome);
    for door in failed.filter_map(|index| engine.doors().get(index)) {
        (gate.journal.watchers).tell_failure(gate.now, source, &door.name);
    }
    let remembered = spent.map(|spent| {
        let saved = one_time.spend(engine, spent, &WallClock::now());
        (spent.door, saved)
    });
    for index in close {
        if let Some(door) = engine.doors().get(index) {
            gate.shut((index, door), source);
        }
    }
    for index in open {
        let Some(door) = engine.doors().get(index) else {
            continue;
        };
        match may_open(index, door, remembered.as_ref()) {
            Ok(()) => gate.admit((index, door), source),
            Err(Withheld::NotRemembered(why)) => gate.refuse(format_args!(
                "door {}: not opened for {source}: its use cannot be saved: {why}",
                door.name
            )),
            Err(Withheld::OtherDoor) => {
                let why = "the same knocks opened another one-time door";
                gate.refuse(format_args!(
                    "door {}: not opened for {source}: {why}",
                    door.name
                ));
                let name = door.name.clone();
                if let Err(why) = one_time.waste(engine, index, &WallClock::now()) {
                    gate.refuse(format_args!("door {name}: its use cannot be saved: {why}"));
                }
            }
        }
    }
    for index in toggle {
        let Some(door) = engine.doors().get(index) else {
            continue;
        };
        // The kernel alone knows whether a grant has expired.
        if !gate.shut((index, door), source) {
            gate.admit((index, door), source);
        }
    }
    if let Some(lasting) = cut_off {
        gate.cut_off(source, lasting);
    }
}

/// Why the right code does not open a door.
enum Withheld<'r> {
    /// It would work again after a reboot.
    NotRemembered(&'r str),
    /// The engine names one of the doors that the code opens, and this is not it.
    OtherDoor,
}

fn may_open<'r>(
    index: usize,
    door: &Door,
    remembered: Option<&'r (usize, Result<(), String>)>,
) -> Result<(), Withheld<'r>> {
    match remembered {
        _ if !door.method.is_one_time() => Ok(()),
        Some((used, Ok(()))) if *used == index => Ok(()),
        Some((used, Err(why))) if *used == index => Err(Withheld::NotRemembered(why)),
        _ => Err(Withheld::OtherDoor),
    }
}

/// An interface may come later; a mistyped one never does.
fn tell_missing_interfaces(global: &Global) {
    for name in &global.interfaces {
        if !interface_exists(name) {
            output::warn(&format!(
                "interface {name} is not there; it is guarded once it comes"
            ));
        }
    }
}

impl Gate<'_> {
    /// Says that a door did not do what it was knocked to do.
    fn refuse(&mut self, line: fmt::Arguments<'_>) {
        (self.journal).say_of(self.now, Kind::Refused, Level::Warning, line);
    }

    /// Opens a door for a source, unless its set was full just now.
    fn admit(&mut self, (index, door): (usize, &Door), source: IpAddr) {
        let grants = Subject::Grants(index);
        if self.patience.spares(grants, self.now) {
            return self.journal.leave_out(self.now, Kind::Refused);
        }
        let outcome = self.firewall.grant_at_least(door, source, door.grant);
        if matches!(outcome, Err(Refusal::Full(_))) {
            self.patience.leave_alone(grants, self.now);
        }
        let (name, lasting) = (&door.name, span(door.grant));
        match outcome {
            Ok(()) => {
                let (network, until) = (granted(door, source), self.now + door.grant);
                let line = format_args!("door {name}: open for {source} for {lasting}");
                match self.ledger.admit(index, network, until) {
                    true => (self.journal).say_of_door(self.now, (index, Change::Opened), line),
                    false => {
                        (self.journal).say_of(self.now, Kind::Prolonged, Level::Notice, line);
                    }
                }
            }
            Err(refusal) => {
                self.refuse(format_args!(
                    "door {name}: not opened for {source}: {refusal}"
                ));
            }
        }
    }

    /// Has the kernel ignore a source's knocks, unless the set of cut-offs was full just now: the
    /// engine ignores them by itself.
    fn cut_off(&mut self, source: IpAddr, lasting: Duration) {
        if self.patience.spares(Subject::Cutoffs, self.now) {
            return self.journal.leave_out(self.now, Kind::CutOff);
        }
        let outcome = self.firewall.cut_off(source, lasting);
        let source = failing(source);
        if matches!(outcome, Err(Refusal::Full(_))) {
            self.patience.leave_alone(Subject::Cutoffs, self.now);
        }
        let lasting = span(lasting);
        let mut say = |line| (self.journal).say_of(self.now, Kind::CutOff, Level::Notice, line);
        match outcome {
            Ok(()) => say(format_args!("{source}: cut off for {lasting}")),
            Err(refusal) => say(format_args!(
                "{source}: cut off for {lasting}, not by the kernel: {refusal}"
            )),
        }
    }

    /// Closes a door to a source; whether it was open for it.
    fn shut(&mut self, (index, door): (usize, &Door), source: IpAddr) -> bool {
        match self.firewall.withdraw(door, source) {
            Ok(was_open) => {
                let network = granted(door, source);
                // Strangers who knock to close had nothing that could end.
                if self.ledger.forget(index, network) || was_open {
                    self.cutting.withdraw(index, network);
                }
                if was_open {
                    self.journal.say_of_door(
                        self.now,
                        (index, Change::Closed),
                        format_args!("door {}: closed to {source}", door.name),
                    );
                }
                was_open
            }
            Err(refusal) => {
                self.refuse(format_args!(
                    "door {}: not closed to {source}: {refusal}",
                    door.name
                ));
                false
            }
        }
    }
}

/// What a door grants to a source.
fn granted(door: &Door, source: IpAddr) -> Network {
    Entrance::from(door).network(source)
}

fn listen(global: &Global) -> Result<Control, String> {
    let path = global.control.as_str();
    Control::listen(Path::new(path)).map_err(|error| format!("control socket: {error}"))
}

/// The same, where an agent that has lost its parent listens: in its place, if that is wanted. Until here that
/// one has heard knocks, and what it leaves in the kernel is gone on with.
fn listen_in_place(global: &Global, take_over: bool) -> Result<Control, String> {
    let path = Path::new(global.control.as_str());
    Control::listen(path)
        .or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse if take_over && orphan::end(path) => Control::listen(path),
            _ => Err(error),
        })
        .map_err(|error| format!("control socket: {error}"))
}

fn describe(door: &Door, progress: Option<Progress>) -> DoorReport {
    let port = |port: &Port| format!("{}:{}", port.protocol.name(), port.number);
    DoorReport {
        name: door.name.to_string(),
        details: Some(DoorDetails {
            guards: door.guards.iter().map(port).collect(),
            method: door.method.name(),
            window: door.window,
            grant: door.grant,
        }),
        kernel: None,
        progress,
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!("{what}: {error}"))
}

fn in_words(refusal: Refusal) -> String {
    refusal.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onetime::examples::{door, seed_door, tcp};
    use postern_core::door::Method;

    #[test]
    fn only_what_is_remembered_opens_a_one_time_door() {
        let fixed = door(
            "web",
            Method::Same {
                steps: [tcp(7000)].into_iter().collect(),
            },
        );
        let (one_time, failed) = (seed_door("ssh"), Err("disk full".to_string()));
        assert!(may_open(0, &fixed, None).is_ok());
        assert!(may_open(0, &fixed, Some(&(1, failed.clone()))).is_ok());
        assert!(may_open(1, &one_time, Some(&(1, Ok(())))).is_ok());
        assert!(matches!(
            may_open(1, &one_time, Some(&(1, failed))),
            Err(Withheld::NotRemembered("disk full"))
        ));
        for remembered in [None, Some(&(2, Ok(())))] {
            assert!(matches!(
                may_open(1, &one_time, remembered),
                Err(Withheld::OtherDoor)
            ));
        }
    }
}
