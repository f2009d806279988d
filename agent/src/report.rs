//! What `postern status` tells, to people and to programs.

use core::fmt::Write as _;
use core::net::IpAddr;

use postern_core::config::{Config, Guard, Source};
use postern_core::door::{Door, EngineName};
use postern_core::engine::{Asked, Counters, Underway};
use postern_core::method::Effect;
use postern_core::packet::Refusals;
use postern_core::spa;
use postern_core::time::{Duration, Instant};

use crate::collect::CollectVec;
use crate::firewall::{Attempt, Counts, CutOff, Firewall, Grant, Refusal, Trial, Who};
use crate::onetime::{ClockHint, Progress};
use crate::openwrt::networks::Meaning;
use crate::output::json::{list, quoted};
use crate::output::span;
use crate::source::Losses;
use crate::validity::{Phase, in_words, is_limited, written};

/// Attempts that are listed one by one for a door; a flood has more, and those are only counted.
const MAX_LISTED_ATTEMPTS: usize = 20;
/// Grants that are listed one by one for a door. With [`MAX_LISTED_ATTEMPTS`], it keeps the report of as many
/// doors as there can be within what a socket's buffer takes.
const MAX_LISTED_GRANTS: usize = 20;
/// Cut-offs that are listed one by one.
const MAX_LISTED_CUT_OFFS: usize = 20;

/// What the line begins with that says why the file is not in force.
pub(crate) const REFUSED_PREFIX: &str = "configuration: NOT USED: ";

/// What a line about a door's wrong clock begins with.
pub(crate) const CLOCK_PREFIX: &str = "  clock: ";

/// What a line about a door begins with that asks for more than a code.
pub(crate) const ASKED_PREFIX: &str = "  asks for ";

/// What a report says of doors in lines that begin like this: their names, and the rest.
pub(crate) fn hints<'r>(report: &'r str, prefix: &str) -> Vec<(&'r str, &'r str)> {
    let mut door = "";
    let mut hints = Vec::new();
    for line in report.lines() {
        if let Some(name) = line.strip_prefix("door ") {
            door = name.split(':').next().unwrap_or_default();
        } else if let Some(hint) = line.strip_prefix(prefix) {
            hints.push((door, hint));
        }
    }
    hints
}

/// The state of everything, at one moment.
pub(crate) struct Report {
    pub(crate) agent: Option<AgentReport>,
    /// Whether the guard's table is in the kernel.
    pub(crate) installed: bool,
    pub(crate) trial: Trial,
    pub(crate) doors: Vec<DoorReport>,
    pub(crate) grants: Vec<Grant>,
    /// The doors that are locked.
    pub(crate) locked: Vec<String>,
    pub(crate) cut_offs: Vec<CutOff>,
    /// Hits at decoys that found no room to be remembered.
    pub(crate) unremembered: u64,
}

/// What only a running agent knows.
pub(crate) struct AgentReport {
    pub(crate) pid: u32,
    pub(crate) uptime: Duration,
    pub(crate) config: String,
    pub(crate) source: Source,
    pub(crate) guard: Guard,
    pub(crate) interfaces: Vec<String>,
    /// Why that configuration is not in force, but an earlier one, where it is so.
    pub(crate) refused: Option<String>,
    /// The names in the configuration that are not simply those of the interfaces.
    pub(crate) meanings: Vec<Meaning>,
    pub(crate) counters: Counters,
    /// Packets that were no knock after all, by reason.
    pub(crate) refusals: Refusals,
    /// How many datagrams opened a door, and how many did not, by reason; `None`: no door is opened by such.
    pub(crate) datagrams: Option<(u64, spa::Refusals)>,
    /// Packets that the kernel had no room to hand over.
    pub(crate) losses: Losses,
    pub(crate) underway: UnderwayReport,
}

/// The attempts under way at the agent's doors. No more of them are kept than are listed, because a
/// flood has thousands.
#[derive(Default)]
pub(crate) struct UnderwayReport {
    listed: Vec<Underway>,
    /// How many there are, by the index of their door.
    counts: Vec<usize>,
}

/// A door, as far as it is known.
pub(crate) struct DoorReport {
    pub(crate) name: String,
    /// What only the configuration says.
    pub(crate) details: Option<DoorDetails>,
    /// What the kernel knows, of doors that it serves.
    pub(crate) kernel: Option<KernelReport>,
    /// What only the agent knows, of one-time doors.
    pub(crate) progress: Option<Progress>,
    /// What the agent asks of strangers there, where codes open.
    pub(crate) asked: Option<AskedReport>,
    /// Of a door that holds for a time only, as far as a configuration says.
    pub(crate) validity: Option<DoorValidity>,
}

/// How many codes in a row open a door, and why.
pub(crate) struct AskedReport {
    codes: u8,
    wrong: u32,
    /// How long ago the first wrong guess came.
    ago: Duration,
}

impl AskedReport {
    pub(crate) const fn of(asked: Asked, now: Instant) -> Self {
        Self {
            codes: asked.codes,
            wrong: asked.wrong,
            ago: now.since(asked.since),
        }
    }

    fn text(&self) -> Option<String> {
        let Self { codes, wrong, ago } = self;
        let why = match wrong {
            0 => "they are easily guessed".into(),
            _ => format!("{wrong} wrong guesses within {}", span(*ago)),
        };
        (*codes > 1).then(|| format!("{ASKED_PREFIX}{codes} codes in a row: {why}\n"))
    }
}

/// When a door holds.
pub(crate) struct DoorValidity {
    phase: Phase,
    text: String,
    /// In seconds since 1970.
    moments: [Option<u64>; 2],
}

impl DoorValidity {
    pub(crate) fn of(door: &Door) -> Option<Self> {
        is_limited(door).then(|| {
            let phase = Phase::now(door);
            Self {
                phase,
                text: in_words(door, phase),
                moments: [door.not_before, door.not_after],
            }
        })
    }
}

/// What the kernel knows of a door that it serves.
pub(crate) struct KernelReport {
    /// `None`: only the configuration says, and none that names this door was at hand.
    pub(crate) engine: Option<EngineName>,
    pub(crate) counts: Counts,
    pub(crate) attempts: Vec<Attempt>,
}

/// What the configuration says of a door.
pub(crate) struct DoorDetails {
    pub(crate) guards: Vec<String>,
    pub(crate) method: &'static str,
    pub(crate) window: Duration,
    pub(crate) grant: Duration,
}

impl Report {
    /// As much as the kernel knows without an agent, where `config` may help to read it.
    pub(crate) fn of_kernel(
        firewall: &mut Firewall,
        config: Option<&Config>,
    ) -> Result<Self, Refusal> {
        let installed = firewall.installed()?;
        let (doors, grants, cut_offs) = match installed {
            true => (firewall.doors()?, firewall.grants()?, firewall.cut_offs()?),
            false => (Vec::new(), Vec::new(), Vec::new()),
        };
        let nameless = |name| DoorReport {
            name,
            details: None,
            kernel: None,
            progress: None,
            asked: None,
            validity: None,
        };
        let mut report = Self {
            agent: None,
            installed,
            trial: firewall.trial()?,
            doors: doors.into_iter().map(nameless).collect_vec(),
            grants,
            locked: Vec::new(),
            cut_offs,
            unremembered: 0,
        };
        let doors = config.map_or(&[][..], |config| &config.doors);
        report.ask_kernel(firewall, doors)?;
        Ok(report)
    }

    /// Adds what the kernel knows of the doors that it serves; `doors` are those of the
    /// configuration.
    pub(crate) fn ask_kernel(
        &mut self,
        firewall: &mut Firewall,
        doors: &[Door],
    ) -> Result<(), Refusal> {
        if !self.installed {
            return Ok(());
        }
        self.locked = firewall.locks()?;
        self.unremembered = firewall.unremembered()?;
        let all = firewall.counts()?;
        for report in &mut self.doors {
            let door = doors.iter().find(|door| *door.name == *report.name);
            report.validity = door.and_then(DoorValidity::of);
            let Some((_, counts)) = all.iter().find(|(door, _)| *door == report.name) else {
                continue;
            };
            let mut known = doors.iter().filter(|door| door.engine.is_in_kernel());
            let door = known.find(|door| *door.name == *report.name);
            let attempts = door.map(|door| firewall.attempts(door)).transpose()?;
            report.kernel = Some(KernelReport {
                engine: door.map(|door| door.engine),
                counts: *counts,
                attempts: attempts.unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// Whether the kernel serves every door by itself.
    pub(crate) fn needs_no_agent(&self) -> bool {
        self.doors.iter().all(|door| door.kernel.is_some())
    }

    /// The first line where no agent runs.
    fn without_agent(&self) -> String {
        let doors = self.doors.iter();
        let deaf: Vec<&str> = doors
            .filter(|door| door.kernel.is_none())
            .map(|door| door.name.as_str())
            .collect_vec();
        match deaf.as_slice() {
            deaf if deaf.len() == self.doors.len() => "nobody hears knocks".into(),
            [] => "no door needs one".into(),
            deaf => format!("nobody hears knocks at {}", deaf.join(", ")),
        }
    }

    pub(crate) fn render(&self, json: bool) -> String {
        if json { self.json() } else { self.text() }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        match &self.agent {
            Some(agent) => agent.text(self.installed, &mut text),
            None => _ = writeln!(text, "agent: not running, {}", self.without_agent()),
        }
        if !self.installed {
            text += "guard: NOT INSTALLED, every door is left to the ordinary firewall\n";
        }
        match self.trial {
            Trial::None => {}
            Trial::Running { remaining, .. } => {
                let left = span(remaining);
                _ = writeln!(
                    text,
                    "guard: ON TRIAL, {left} left for 'postern confirm' from a new login"
                );
            }
            Trial::Lapsed => text += "guard: NOT CONFIRMED in time, every door is open\n",
        }
        if self.unremembered > 0 {
            let hits = self.unremembered;
            _ = writeln!(text, "decoys: NO ROOM to remember {hits} hits: a flood");
        }
        self.cut_offs_text(&mut text);
        for (index, door) in self.doors.iter().enumerate() {
            door.text(&mut text);
            if self.locked.contains(&door.name) {
                _ = writeln!(text, "  LOCKED until 'postern unlock {}'", door.name);
            }
            let grants = self.grants.iter().filter(|grant| grant.door == door.name);
            for grant in grants.clone().take(MAX_LISTED_GRANTS) {
                let left = left(grant.remaining);
                _ = writeln!(text, "  open for {}, {left}", whom(&grant.who));
            }
            let more = grants.count().saturating_sub(MAX_LISTED_GRANTS);
            if more > 0 {
                _ = writeln!(text, "  open for {more} more");
            }
            if let Some(kernel) = &door.kernel {
                kernel.underway_text(&mut text);
            }
            if let Some(agent) = &self.agent {
                agent.underway.text(index, &mut text);
            }
        }
        text
    }

    fn cut_offs_text(&self, text: &mut String) {
        for CutOff { source, remaining } in self.cut_offs.iter().take(MAX_LISTED_CUT_OFFS) {
            _ = writeln!(text, "cut off: {source}, {}", left(*remaining));
        }
        let more = self.cut_offs.len().saturating_sub(MAX_LISTED_CUT_OFFS);
        if more > 0 {
            _ = writeln!(text, "cut off: {more} more");
        }
        if !self.cut_offs.is_empty() {
            *text += "  'postern pardon ADDRESS' has one heard again, --all everybody\n";
        }
    }

    fn cut_offs_json(&self) -> String {
        let cut_offs = self.cut_offs.iter().take(MAX_LISTED_CUT_OFFS);
        let cut_offs = list(cut_offs.map(|CutOff { source, remaining }| {
            let remaining = millis(*remaining);
            format!("{{\"source\":\"{source}\",\"remaining_ms\":{remaining}}}")
        }));
        let total = self.cut_offs.len();
        let unremembered = self.unremembered;
        format!(
            ",\"decoys_unremembered\":{unremembered},\"cut_off_total\":{total},\"cut_off\":{cut_offs}"
        )
    }

    fn json(&self) -> String {
        let mut json = format!("{{\"version\":{}", quoted(env!("CARGO_PKG_VERSION")));
        _ = write!(json, ",\"installed\":{}", self.installed);
        json += &match self.trial {
            Trial::None => ",\"trial\":null".into(),
            Trial::Running { remaining, .. } => {
                let left = remaining.as_millis();
                format!(",\"trial\":{{\"remaining_ms\":{left}}}")
            }
            Trial::Lapsed => ",\"trial\":{\"remaining_ms\":0}".into(),
        };
        match &self.agent {
            Some(agent) => agent.json(&self.doors, &mut json),
            None => json += ",\"agent\":null",
        }
        json += &self.cut_offs_json();
        let doors = self.doors.iter().map(|door| {
            let grants = self.grants.iter().filter(|grant| grant.door == door.name);
            let total = grants.clone().count();
            let grants = list(grants.take(MAX_LISTED_GRANTS).map(|grant| {
                let (kind, whom) = match &grant.who {
                    Who::Network(network) => ("source", network.to_string()),
                    Who::Anyone { interface } => ("interface", interface.clone()),
                };
                let remaining = millis(grant.remaining);
                format!(
                    "{{\"{kind}\":{},\"remaining_ms\":{remaining}}}",
                    quoted(&whom)
                )
            }));
            let locked = self.locked.contains(&door.name);
            format!(
                "{{\"name\":{}{},\"locked\":{locked},\"grants_total\":{total},\"grants\":{grants}}}",
                quoted(&door.name),
                door.json()
            )
        });
        _ = writeln!(json, ",\"doors\":{}}}", list(doors));
        json
    }
}

impl AgentReport {
    fn text(&self, is_installed: bool, text: &mut String) {
        let guard = if is_installed { "guard" } else { "configured" };
        let interfaces = self.interfaces.join(", ");
        let Self { pid, config, .. } = self;
        _ = writeln!(
            text,
            "agent: running for {} (process {pid}, {config})",
            span(self.uptime)
        );
        if let Some(why) = &self.refused {
            _ = writeln!(text, "{REFUSED_PREFIX}{why}; an EARLIER one is in force");
        }
        _ = writeln!(
            text,
            "{guard}: {} on {interfaces}, knocks seen by {}",
            self.guard.name(),
            self.source.name()
        );
        for meaning in &self.meanings {
            _ = writeln!(text, "  {}", meaning.text);
        }
        let Counters {
            seen,
            matched,
            repeated,
            wrong,
            failed,
            decoys,
            decoyed,
            silenced,
            opened,
            closed,
            toggled,
            cut_off,
            displaced,
        } = self.counters;
        _ = writeln!(
            text,
            "knocks: {seen} seen, {matched} matched, {repeated} repeated, {wrong} wrong, {decoys} at decoys, {silenced} silenced"
        );
        _ = writeln!(
            text,
            "doors: {opened} opened, {closed} closed, {toggled} toggled, {decoyed} decoyed; {failed} failures, \
             sources cut off: {cut_off}"
        );
        _ = writeln!(
            text,
            "dropped: {displaced} attempts for lack of room, {} packets lost by the kernel, {} were no knock",
            self.losses.packets,
            self.refusals.total()
        );
        list_reasons(&mut self.refusals.by_name(), NO_KNOCKS, 1, text);
        if let Some((accepted, refusals)) = &self.datagrams {
            let total = refusals.total();
            _ = writeln!(text, "datagrams: {accepted} accepted, {total} refused");
            list_reasons(&mut refusals.by_name(), REFUSED, 1, text);
        }
    }

    fn json(&self, doors: &[DoorReport], json: &mut String) {
        let Counters {
            seen,
            matched,
            repeated,
            wrong,
            failed,
            decoys,
            decoyed,
            silenced,
            opened,
            closed,
            toggled,
            cut_off,
            displaced,
        } = self.counters;
        let names = |names: &[String]| list(names.iter().map(|name| quoted(name)));
        let interfaces = names(&self.interfaces);
        let meanings = list(self.meanings.iter().map(|meaning| {
            let (name, devices) = (quoted(&meaning.name), names(&meaning.devices));
            format!("{{\"name\":{name},\"devices\":{devices}}}")
        }));
        let refused = self.refused.as_deref().map_or("null".into(), quoted);
        let underway = self.underway.listed.iter().take(MAX_LISTED_ATTEMPTS).filter_map(|attempt| {
            let Underway { source, accepted, needed, .. } = attempt;
            let door = quoted(&doors.get(attempt.door)?.name);
            let remaining = attempt.remaining.as_millis();
            let effect = effect(attempt.effect);
            Some(format!(
                "{{\"source\":\"{source}\",\"door\":{door},\"effect\":\"{effect}\",\"accepted\":{accepted},\
                 \"needed\":{needed},\"remaining_ms\":{remaining}}}"
            ))
        });
        _ = write!(
            json,
            ",\"agent\":{{\"pid\":{},\"uptime_ms\":{},\"config\":{},\"refused\":{refused},\"source\":\"{}\",\"guard\":\"{}\",\
             \"interfaces\":{interfaces},\"names\":{meanings},\"counters\":{{\"seen\":{seen},\"matched\":{matched},\
             \"repeated\":{repeated},\"wrong\":{wrong},\"failed\":{failed},\"decoys\":{decoys},\"decoyed\":{decoyed},\"silenced\":{silenced},\"opened\":{opened},\
             \"closed\":{closed},\"toggled\":{toggled},\"cut_off\":{cut_off},\"displaced\":{displaced},\"no_knock\":{},\
             \"lost\":{},\"overruns\":{}}},\"underway_total\":{},\"underway\":{}",
            self.pid,
            self.uptime.as_millis(),
            quoted(&self.config),
            self.source.name(),
            self.guard.name(),
            self.refusals.total(),
            self.losses.packets,
            self.losses.overruns,
            self.underway.counts.iter().sum::<usize>(),
            list(underway),
        );
        list_reasons(&mut self.refusals.by_name(), NO_KNOCKS_JSON, 0, json);
        if let Some((accepted, refusals)) = &self.datagrams {
            let total = refusals.total();
            _ = write!(
                json,
                ",\"datagrams\":{{\"accepted\":{accepted},\"refused\":{total}"
            );
            list_reasons(&mut refusals.by_name(), NO_KNOCKS_JSON, 0, json);
            json.push('}');
        }
        json.push('}');
    }
}

/// What stands before a list of reasons, between two, before a number, and at the end.
type Listing = [&'static str; 4];
const NO_KNOCKS: Listing = ["no knock: ", ", ", " ", "\n"];
const NO_KNOCKS_JSON: Listing = [",\"refusals\":{\"", ",\"", "\":", "}"];
const REFUSED: Listing = ["refused: ", ", ", " ", "\n"];

/// Lists reasons, and how often each was one, from so often on; nothing if there is none.
fn list_reasons(
    reasons: &mut dyn Iterator<Item = (&'static str, u64)>,
    [mut before, next, number, end]: Listing,
    least: u64,
    text: &mut String,
) {
    let mut is_empty = true;
    for (reason, times) in reasons.filter(|(_, times)| *times >= least) {
        _ = write!(text, "{before}{reason}{number}{times}");
        (before, is_empty) = (next, false);
    }
    if !is_empty {
        text.push_str(end);
    }
}

impl UnderwayReport {
    /// Counts one, and keeps it if it is to be listed.
    pub(crate) fn add(&mut self, attempt: Underway) {
        if self.counts.len() <= attempt.door {
            self.counts.resize(attempt.door + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(attempt.door) {
            if *count < MAX_LISTED_ATTEMPTS {
                self.listed.push(attempt);
            }
            *count += 1;
        }
    }

    fn text(&self, door: usize, text: &mut String) {
        for attempt in self.listed.iter().filter(|attempt| attempt.door == door) {
            let knocks = (attempt.accepted, attempt.needed);
            *text += &under_way(attempt.source, knocks, attempt.effect, attempt.remaining);
        }
        let count = self.counts.get(door).copied().unwrap_or_default();
        let more = count.saturating_sub(MAX_LISTED_ATTEMPTS);
        if more > 0 {
            _ = writeln!(text, "  and {more} more under way");
        }
    }
}

impl KernelReport {
    fn counts_text(&self, text: &mut String) {
        let Counts {
            seen,
            matched,
            opened,
            closed,
            refused,
            no_room,
        } = self.counts;
        _ = writeln!(
            text,
            "  knocks: {seen} seen, {matched} matched, {refused} refused, {no_room} found no room; \
             {opened} opened, {closed} closed"
        );
    }

    fn underway_text(&self, text: &mut String) {
        for attempt in self.attempts.iter().take(MAX_LISTED_ATTEMPTS) {
            let knocks = (attempt.accepted, attempt.needed);
            *text += &under_way(attempt.source, knocks, attempt.effect, attempt.remaining);
        }
        let more = self.attempts.len().saturating_sub(MAX_LISTED_ATTEMPTS);
        if more > 0 {
            _ = writeln!(text, "  and {more} more under way");
        }
    }

    fn json(&self) -> String {
        let Counts {
            seen,
            matched,
            opened,
            closed,
            refused,
            no_room,
        } = self.counts;
        let attempts = self.attempts.iter().take(MAX_LISTED_ATTEMPTS).map(|attempt| {
            let Attempt {
                source,
                accepted,
                needed,
                next,
                ..
            } = attempt;
            let (effect, remaining) = (effect(attempt.effect), attempt.remaining.as_millis());
            let (protocol, number) = (next.protocol.name(), next.number);
            format!(
                "{{\"source\":\"{source}\",\"effect\":\"{effect}\",\"accepted\":{accepted},\
                 \"needed\":{needed},\"next\":\"{protocol}:{number}\",\"remaining_ms\":{remaining}}}"
            )
        });
        let engine = self.engine.map(EngineName::name).map(quoted);
        format!(
            ",\"engine\":{},\"counters\":{{\"seen\":{seen},\"matched\":{matched},\"refused\":{refused},\
             \"no_room\":{no_room},\"opened\":{opened},\"closed\":{closed}}},\"underway_total\":{},\"underway\":{}",
            engine.as_deref().unwrap_or("null"),
            self.attempts.len(),
            list(attempts),
        )
    }
}

impl DoorReport {
    fn text(&self, text: &mut String) {
        _ = write!(text, "door {}", self.name);
        if let Some(door) = &self.details {
            let guards = door.guards.join(" ");
            let (window, grant) = (span(door.window), span(door.grant));
            _ = write!(
                text,
                ": {guards}, {}, window {window}, grant {grant}",
                door.method
            );
        }
        if let Some(kernel) = &self.kernel {
            let engine = kernel.engine.map_or("in the kernel", EngineName::name);
            let comma = if self.details.is_some() { "," } else { ":" };
            _ = write!(text, "{comma} engine {engine}");
        }
        text.push('\n');
        if let Some(validity) = &self.validity {
            let what = match validity.phase {
                Phase::Valid(_) => "holds",
                _ => "shut:",
            };
            _ = writeln!(text, "  {what} {}", validity.text);
        }
        if let Some(kernel) = &self.kernel {
            kernel.counts_text(text);
        }
        if let Some(why) = self
            .progress
            .as_ref()
            .and_then(|progress| progress.shut.as_ref())
        {
            _ = writeln!(text, "  shut: {why}");
        }
        if let Some(waits) = self
            .progress
            .as_ref()
            .and_then(|progress| progress.waits.as_ref())
        {
            _ = writeln!(text, "  waits: {waits}");
        }
        if let Some(hint) = self
            .progress
            .as_ref()
            .and_then(|progress| progress.clock.as_ref())
        {
            _ = writeln!(text, "{CLOCK_PREFIX}{}", hint.text);
        }
        text.extend(self.asked.as_ref().and_then(AskedReport::text));
    }

    fn json(&self) -> String {
        let mut json = self.details_json();
        match &self.kernel {
            Some(kernel) => json += &kernel.json(),
            None => _ = write!(json, ",\"engine\":\"{}\"", EngineName::Daemon.name()),
        }
        if let Some(Progress {
            next,
            shut,
            waits,
            clock,
        }) = &self.progress
        {
            let or_null = |value: Option<String>| value.unwrap_or_else(|| "null".into());
            let next = or_null(next.map(|next| next.to_string()));
            let shut = or_null(shut.as_deref().map(quoted));
            let waits = or_null(waits.as_deref().map(quoted));
            let clock = or_null(clock.as_ref().map(|ClockHint { ahead, text }| {
                format!("{{\"ahead_ms\":{ahead}000,\"text\":{}}}", quoted(text))
            }));
            _ = write!(
                json,
                ",\"next\":{next},\"shut\":{shut},\"waits\":{waits},\"clock\":{clock}"
            );
        }
        if let Some(AskedReport { codes, wrong, ago }) = &self.asked {
            let ago = ago.as_millis();
            _ = write!(
                json,
                ",\"codes\":{codes},\"guesses\":{wrong},\"guessed_for_ms\":{ago}"
            );
        }
        if let Some(DoorValidity {
            phase,
            text,
            moments,
        }) = &self.validity
        {
            let [start, end] = moments
                .map(|moment| moment.map_or("null".into(), |moment| quoted(&written(moment))));
            let (phase, text) = (phase.name(), quoted(text));
            _ = write!(
                json,
                ",\"validity\":{{\"phase\":\"{phase}\",\"not_before\":{start},\"not_after\":{end},\"text\":{text}}}"
            );
        }
        json
    }

    fn details_json(&self) -> String {
        self.details.as_ref().map_or_else(String::new, |door| {
            let guards = list(door.guards.iter().map(|port| quoted(port)));
            let (window, grant) = (door.window.as_millis(), door.grant.as_millis());
            let method = door.method;
            format!(",\"guards\":{guards},\"method\":\"{method}\",\"window_ms\":{window},\"grant_ms\":{grant}")
        })
    }
}

/// A line about an attempt: knocks made so far and needed in all, and the time for the rest.
fn under_way(
    source: IpAddr,
    (accepted, needed): (usize, usize),
    goal: Effect,
    remaining: Duration,
) -> String {
    let (verb, left) = (effect(goal), span(remaining));
    format!("  {source} has made {accepted} of {needed} knocks to {verb}, {left} left\n")
}

/// How much longer, to people.
fn left(remaining: Option<Duration>) -> String {
    remaining.map_or("no end".into(), |left| format!("{} left", span(left)))
}

/// How much longer, in JSON.
fn millis(remaining: Option<Duration>) -> String {
    remaining.map_or("null".into(), |left| left.as_millis().to_string())
}

fn whom(who: &Who) -> String {
    match who {
        Who::Network(network) => network.to_string(),
        Who::Anyone { interface } => format!("everyone on {interface}"),
    }
}

pub(crate) const fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Open => "open",
        Effect::Close => "close",
        Effect::Toggle => "open or close",
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use postern_core::packet::Refusal;

    use super::*;

    #[test]
    fn a_clock_that_is_not_believed_is_named() {
        let door = |shut: Option<&str>| DoorReport {
            name: "ssh".into(),
            details: None,
            kernel: None,
            progress: Some(Progress {
                next: None,
                shut: shut.map(Into::into),
                waits: None,
                clock: None,
            }),
            asked: None,
            validity: None,
        };
        let text = |door: &DoorReport| {
            let mut text = String::new();
            door.text(&mut text);
            text
        };
        let (shut, open) = (door(Some("the clock is not set: so")), door(None));
        assert_eq!(text(&shut), "door ssh\n  shut: the clock is not set: so\n");
        assert_eq!(
            shut.json(),
            ",\"engine\":\"daemon\",\"next\":null,\"shut\":\"the clock is not set: so\",\
             \"waits\":null,\"clock\":null"
        );
        assert_eq!(text(&open), "door ssh\n");
        assert_eq!(
            open.json(),
            ",\"engine\":\"daemon\",\"next\":null,\"shut\":null,\"waits\":null,\"clock\":null"
        );
    }

    #[test]
    fn when_a_door_holds_is_shown() {
        let report = |second: Option<u64>| {
            let mut door = crate::onetime::examples::seed_door("guest");
            door.not_after = second;
            DoorReport {
                name: "guest".into(),
                details: None,
                kernel: None,
                progress: None,
                asked: None,
                validity: DoorValidity::of(&door),
            }
        };
        let text = |door: &DoorReport| {
            let mut text = String::new();
            door.text(&mut text);
            text
        };
        let over = report(Some(1));
        let words = "over: until 1970-01-01 00:00:01 UTC (option not_after)";
        assert_eq!(text(&over), format!("door guest\n  shut: {words}\n"));
        let expected = format!(
            ",\"engine\":\"daemon\",\"validity\":{{\"phase\":\"over\",\"not_before\":null,\
             \"not_after\":\"1970-01-01T00:00:01Z\",\"text\":\"{words}\"}}"
        );
        assert_eq!(over.json(), expected);
        assert_eq!(report(None).json(), ",\"engine\":\"daemon\"");
        let valid = text(&report(Some(253_402_300_799)));
        assert!(valid.ends_with("\n  holds until 9999-12-31 23:59:59 UTC\n"));
    }

    #[test]
    fn what_wrong_codes_tell_of_a_clock_is_shown_and_found_again() {
        let door = DoorReport {
            name: "ssh".into(),
            details: None,
            kernel: None,
            progress: Some(Progress {
                next: Some(7),
                shut: None,
                waits: Some("codes count from noon on".into()),
                clock: Some(ClockHint {
                    ahead: -14_400,
                    text: "is it 4h behind?".into(),
                }),
            }),
            asked: None,
            validity: None,
        };
        let mut text = String::from("door web: tcp:80, sequence\n");
        door.text(&mut text);
        assert!(text.ends_with("\n  waits: codes count from noon on\n  clock: is it 4h behind?\n"));
        assert_eq!(hints(&text, CLOCK_PREFIX), [("ssh", "is it 4h behind?")]);
        let expected = ",\"waits\":\"codes count from noon on\",\
                        \"clock\":{\"ahead_ms\":-14400000,\"text\":\"is it 4h behind?\"}";
        assert!(door.json().ends_with(expected), "{}", door.json());
    }

    #[test]
    fn a_flood_of_attempts_is_counted_and_no_more_kept_than_is_listed() {
        let mut underway = UnderwayReport::default();
        for number in 0..5_000 {
            underway.add(Underway {
                source: Ipv4Addr::from_bits(number).into(),
                door: 1,
                effect: Effect::Open,
                accepted: 1,
                needed: 3,
                remaining: Duration::from_secs(9),
            });
        }
        assert_eq!(underway.listed.len(), MAX_LISTED_ATTEMPTS);
        let [mut of_flood, mut of_other] = [const { String::new() }; 2];
        underway.text(1, &mut of_flood);
        underway.text(0, &mut of_other);
        assert_eq!(of_flood.lines().count(), MAX_LISTED_ATTEMPTS + 1);
        assert!(
            of_flood.ends_with("  and 4980 more under way\n"),
            "{of_flood}"
        );
        assert_eq!(of_other, "");
    }

    #[test]
    fn refusals_are_listed_for_people_where_there_were_any_and_for_programs_always() {
        let listed = |refusals: &Refusals, json| {
            let mut text = String::new();
            let (listing, least) = match json {
                true => (NO_KNOCKS_JSON, 0),
                false => (NO_KNOCKS, 1),
            };
            list_reasons(&mut refusals.by_name(), listing, least, &mut text);
            text
        };
        let mut refusals = Refusals::default();
        assert_eq!(listed(&refusals, false), "");
        for refusal in [Refusal::Malformed, Refusal::Fragment, Refusal::Fragment] {
            refusals.count(refusal);
        }
        assert_eq!(
            listed(&refusals, false),
            "no knock: fragment 2, malformed 1\n"
        );
        assert_eq!(
            listed(&refusals, true),
            ",\"refusals\":{\"truncated\":0,\"not_ip\":0,\"fragment\":2,\"malformed\":1,\"too_many_extensions\":0,\
             \"source_routed\":0,\"impossible_source\":0,\"no_ports\":0,\"not_a_syn\":0,\"forged\":0}"
        );
    }

    #[test]
    fn strings_cannot_break_out_of_json() {
        assert_eq!(quoted("a\"b\\c\n\u{1b}"), "\"a\\\"b\\\\c\\u000a\\u001b\"");
    }
}
