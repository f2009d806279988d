//! The agent at work: one loop that waits for knocks, signals and callers.

mod backoff;
mod callers;
pub(crate) mod control;
#[cfg(test)]
mod cost_tests;
pub(crate) mod cut;
mod datagrams;
mod end;
mod follow;
mod gate;
pub(crate) mod journal;
mod ledger;
mod neighbours;
mod notify;
mod orphan;
mod reload;
mod repair;
mod start;
pub(crate) mod switch;
mod validity;
mod watchers;

use core::cell::OnceCell;
use core::{fmt, iter, mem};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use postern_core::config::{Config, Global};
use postern_core::engine::Engine;
use postern_core::knock::Port;
use postern_core::packet::Refusals;
use postern_core::time::{Duration, Instant};

use crate::collect::CollectVec;
use crate::files::config_file::Doors;
use crate::files::owner::{self, Account};
use crate::firewall::{Firewall, Refusal, Watch};
use crate::onetime::wall_clock::WallClock;
use crate::onetime::{Lists, OneTime};
use crate::openwrt::networks::Networks;
use crate::output::{self, Failure};
use crate::source::Source;
use crate::sys::clock::boottime;
use crate::sys::link::interface_exists;
use crate::sys::poll::{PollFd, poll};
use crate::sys::process::{self, Capability, DropError};
use crate::sys::seccomp;
use crate::sys::signal::{Signal, Signals};
use crate::sys::unix::Presence;

use crate::trial::{self, Chosen, Store};
use backoff::Backoff;
use control::{Control, MAX_CLIENTS};
use cut::Cutting;
use datagrams::Datagrams;
use follow::Outlook;
use gate::{Gate, act};
use journal::Journal;
use ledger::Ledger;
use neighbours::Neighbours;
use notify::{Manager, State};
use repair::Repairs;
use start::Unstarted;
use validity::Validity;
use watchers::MAX_WATCHERS;

/// Sources whose attempts are remembered.
const MAX_SOURCES: usize = 4096;

/// In the program's zeroed memory, so that a page of it costs nothing until a knock needs it.
static ENGINE: Mutex<Engine<MAX_SOURCES>> = Mutex::new(Engine::new());

/// Signals, knocks, changes of the firewall, of interfaces and of networks, the control socket, its
/// callers and those who watch.
const MAX_FILES: usize = 6 + MAX_CLIENTS + MAX_WATCHERS;

/// How long the agent rests before it tries again what the kernel refused, such as for want of memory: what could not
/// be read is still there, and would keep it busy.
const REST: Duration = Duration::from_millis(100);

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
    let others = Others {
        take_over,
        presence: &presence,
    };
    let mut agent = start::start(&mut engine, path, doors, others)?;
    // Another agent may have had the name, and have made room.
    let _presence = presence.kept();
    agent
        .give_up_root()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    output::say("ready");
    agent.manager.tell(State::Ready);
    agent.serve(signals);
    Ok(())
}

/// What is known of other agents.
#[derive(Clone, Copy)]
struct Others<'p> {
    /// One that has lost its parent is replaced.
    take_over: bool,
    presence: &'p Presence,
}

/// There is one table, and each would put its own in place of the other's.
const ANOTHER_AGENT: &str = "another agent guards here, at another control socket: end it first, or give this one a \
                             network namespace of its own";

/// What has to be opened before there is an agent.
struct Parts {
    path: PathBuf,
    control: Control,
    source: Source,
    firewall: Firewall,
    watch: Watch,
    outlook: Outlook,
}

impl Parts {
    fn open(
        path: &Path,
        config: &Config,
        listed: &[Port],
        others: Others<'_>,
    ) -> Result<Self, Failure> {
        let firewall =
            Firewall::open().map_err(|error| failed("netlink socket of nf_tables", &error))?;
        Ok(Self {
            watch: Watch::open(&firewall)
                .map_err(|error| failed("netlink socket of nf_tables' news", &error))?,
            outlook: Outlook::open(boottime())
                .map_err(|error| failed("netlink socket of interfaces' news", &error))?,
            path: std::path::absolute(path).map_err(|error| failed("working directory", &error))?,
            control: listen_in_place(&config.global, others).map_err(Failure::Failed)?,
            source: Source::open(config, listed, boottime()).map_err(Failure::Failed)?,
            firewall,
        })
    }
}

struct Agent<'e> {
    engine: &'e mut Engine<MAX_SOURCES>,
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
    control: Control,
    one_time: OneTime,
    datagrams: Datagrams,
    validity: Validity,
    journal: Journal,
    started_at: Instant,
    refusals: Refusals,
    backoff: Backoff,
    trial: Option<OnTrial>,
    /// Whether a reload may leave no door: only where there is none, and somebody said so.
    doors: Doors,
    /// Why the configuration's file is not what is in force, where it is not.
    refused: Option<String>,
    /// The kernel refused something in this turn.
    is_hampered: bool,
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
        engine: &'e mut Engine<MAX_SOURCES>,
        path: &Path,
        chosen: Chosen,
        (lists, listed): (Lists, &[Port]),
        networks: Networks,
        others: Others<'_>,
    ) -> Result<Self, Unstarted<'e>> {
        let Chosen { config, text } = chosen;
        let store = trial::store(&config.global);
        let parts = match Parts::open(path, &config, listed, others) {
            Ok(parts) => parts,
            Err(why) => return Err((why, engine)),
        };
        let mut agent = Self {
            path: parts.path,
            control: parts.control,
            source: parts.source,
            firewall: parts.firewall,
            watch: parts.watch,
            repairs: Repairs::new(boottime()),
            neighbours: Neighbours::default(),
            ledger: Ledger::new(),
            locked: Vec::new(),
            cutting: Cutting::new(),
            one_time: OneTime::default(),
            datagrams: Datagrams::default(),
            validity: Validity::default(),
            journal: Journal::new(boottime()),
            started_at: boottime(),
            refusals: Refusals::default(),
            backoff: Backoff::default(),
            global: config.global.clone(),
            trial: None,
            doors: Doors::Needed,
            refused: None,
            is_hampered: false,
            manager: Manager::from_environment(),
            networks,
            outlook: parts.outlook,
            engine,
        };
        let changed = trial::opened_otherwise_than_confirmed(&store, &config.doors);
        agent.firewall.forget(changed);
        if let Err(why) = agent.adopt_with(config, lists, None) {
            return Err((Failure::Failed(why), agent.engine));
        }
        match text {
            Some(text) => trial::settle(&store, &text),
            None => agent.refused = Some(trial::UNCONFIRMED.into()),
        }
        Ok(agent)
    }

    /// Becomes the agent's user, with what its source and the firewall take and no more. Until here it was root, if it
    /// was, for what only root opens.
    fn give_up_root(&self) -> Result<(), DropError> {
        let account = Account::of_agent();
        let doors = self.engine.doors();
        if process::effective_user() == 0 && account.user != 0 {
            for change in owner::hand_over(&self.path, &self.global, doors) {
                output::say(&change);
            }
            for obstacle in owner::obstacles(&self.path, &self.global, doors, true) {
                output::warn(&obstacle);
            }
            let groups: Vec<u32> = iter::once(account.group)
                .chain(self.source.group())
                .collect_vec();
            if let Err(error) = process::become_user(account.user, &groups) {
                output::warn(&format!(
                    "{error}: the agent stays root, with few capabilities"
                ));
            }
        }
        let needed: Vec<Capability> = iter::once(Capability::NetAdmin)
            .chain(self.source.needs())
            .collect();
        process::drop_capabilities_except(&needed)?;
        process::hide_memory()?;
        if let Err(error) = seccomp::allow_known_calls() {
            output::say(&format!(
                "this kernel does not keep the agent to the system calls that it makes: {error}"
            ));
        }
        Ok(())
    }

    /// Says that another configuration than the file's is in force, and why; status and doctor say it again.
    fn instead(&mut self, why: String) {
        output::say(&format!(
            "WARNING: {} is not used: {why}; an earlier configuration is in force",
            self.path.display()
        ));
        self.refused = Some(why);
    }

    fn serve(&mut self, mut signals: Signals) {
        loop {
            let ready = self.wait(&signals);
            if ready.signals && self.heed(&mut signals) == Resolve::End {
                return;
            }
            let now = boottime();
            self.forget_attempts(now);
            self.source.poll(now);
            self.keep_time(now);
            self.keep_validity(now);
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
    fn wait(&mut self, signals: &Signals) -> Ready {
        if mem::take(&mut self.is_hampered) {
            _ = poll(&mut [], Some(REST));
        }
        self.poll(signals).unwrap_or_else(|error| {
            self.hamper(format_args!("files cannot be waited for: {error}"));
            Ready::UNKNOWN
        })
    }

    /// Says what the kernel refused, and does not try it again at once.
    fn hamper(&mut self, what: fmt::Arguments<'_>) {
        self.is_hampered = true;
        self.journal.say(boottime(), what);
    }

    fn poll(&self, signals: &Signals) -> io::Result<Ready> {
        let deadlines = [
            self.engine.poll_at(),
            self.source.poll_at(),
            self.control.poll_at(),
            self.one_time.keep_time_at(),
            self.one_time.look_again_at(),
            self.validity.poll_at(),
            self.trial.as_ref().map(|trial| trial.ends_at),
            self.repairs.poll_at(),
            self.neighbours.poll_at(),
            self.outlook.poll_at(),
            self.cutting.poll_at(),
            self.ledger.poll_at(),
            self.journal.poll_at(),
        ];
        let next = deadlines.into_iter().flatten().min();
        let outlooks = self.outlook.files();
        let callers = self.control.fds().chain(self.journal.watchers.fds());
        let (signals, source) = (signals.as_fd(), self.source.as_fd());
        let mut files: heapless::Vec<PollFd<'_>, MAX_FILES> = [signals, source, self.watch.as_fd()]
            .map(PollFd::readable)
            .into_iter()
            .collect();
        files.extend(outlooks.iter().map(|file| PollFd::readable(*file)));
        files.extend(callers.map(PollFd::readable));
        poll(&mut files, next.map(|at| at.since(boottime())))?;
        let [signals, source, news, rest @ ..] = files.as_slice() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let (outlooks, callers) = rest.split_at_checked(outlooks.len()).unwrap_or_default();
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= boottime());
        Ok(Ready {
            signals: signals.is_ready(),
            source: source.is_ready() || is_due(self.source.poll_at()),
            news: news.is_ready(),
            outlook: outlooks.iter().any(PollFd::is_ready),
            control: callers.iter().any(PollFd::is_ready) || is_due(self.control.poll_at()),
        })
    }

    fn heed(&mut self, signals: &mut Signals) -> Resolve {
        loop {
            match signals.take() {
                Ok(Some(Signal::Terminate | Signal::Interrupt)) => {
                    self.manager.tell(State::Stopping);
                    self.leave_behind();
                    return Resolve::End;
                }
                Ok(Some(Signal::Hangup)) => _ = self.reload(),
                Ok(None) => return Resolve::GoOn,
                Err(error) => {
                    self.hamper(format_args!("signals cannot be read: {error}"));
                    return Resolve::GoOn;
                }
            }
        }
    }

    /// Has the engine forget what is over; what it notices by that may be one failure too many.
    fn forget_attempts(&mut self, now: Instant) {
        let mut gate = Gate {
            firewall: &mut self.firewall,
            ledger: &mut self.ledger,
            cutting: &mut self.cutting,
            journal: &mut self.journal,
            backoff: &mut self.backoff,
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
            datagrams,
            journal,
            refusals,
            backoff,
            ledger,
            cutting,
            ..
        } = self;
        let (now, clock) = (boottime(), OnceCell::new());
        let mut gate = Gate {
            firewall,
            ledger,
            cutting,
            journal,
            backoff,
            now,
        };
        let heard = source.for_each(now, &mut |knock| match knock {
            Ok(knock) if datagrams.are_heard_at(knock.port) => {
                datagrams::act(datagrams, engine, one_time, &mut gate, (&knock, &clock));
            }
            Ok(knock) => act(engine, one_time, &mut gate, &knock),
            Err(refusal) => {
                refusals.count(refusal);
                gate.journal.watchers.tell_refusal(now, refusal);
            }
        });
        if let Err(error) = heard {
            self.hamper(format_args!("knocks cannot be read: {error}"));
        }
        self.tell_notices();
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

impl Ready {
    /// Nobody knows: nothing that is read makes the agent wait.
    const UNKNOWN: Self = Self {
        signals: true,
        source: true,
        news: true,
        outlook: true,
        control: true,
    };
}

#[derive(PartialEq, Eq)]
enum Resolve {
    GoOn,
    End,
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

fn listen(global: &Global) -> Result<Control, String> {
    let path = global.control.as_str();
    Control::listen(Path::new(path)).map_err(|error| format!("control socket: {error}"))
}

/// Listens at the control socket; where an agent that has lost its parent listens, in its place, if that is wanted.
/// Until here that one has heard knocks, and what it leaves in the kernel is gone on with.
fn listen_in_place(global: &Global, others: Others<'_>) -> Result<Control, String> {
    let path = Path::new(global.control.as_str());
    Control::listen(path)
        .or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse if others.take_over && orphan::end(path) => {
                Control::listen(path)
            }
            _ => Err(error),
        })
        .map_err(|error| format!("control socket: {error}"))
        .and_then(|control| match others.presence.is_others() {
            true => Err(ANOTHER_AGENT.into()),
            false => Ok(control),
        })
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!("{what}: {error}"))
}

fn in_words(refusal: Refusal) -> String {
    refusal.to_string()
}
