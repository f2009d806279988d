//! What the agent answers to its verbs.

use core::net::IpAddr;

use postern_core::door::Door;
use postern_core::time::Duration;

use super::control::{Answer, Request};
use super::ledger::Origin;
use super::{Agent, in_words, switch};
use crate::collect::CollectVec;
use crate::firewall::{CutOff, Refusal, failing};
use crate::onetime::Progress;
use crate::onetime::wall_clock::WallClock;
use crate::report::{
    AgentReport, AskedReport, DoorDetails, DoorReport, DoorValidity, Report, UnderwayReport,
};
use crate::sys::clock::boottime;

impl Agent<'_> {
    pub(super) fn answer_callers(&mut self) {
        self.journal.watchers.dismiss();
        for caller in self.control.hear(boottime()) {
            let answer = match caller.request() {
                Some(Request::Watch { json }) => {
                    let json = *json;
                    self.journal.watchers.add(caller.into_stream(), json);
                    continue;
                }
                Some(request) => {
                    let answer = self.answer(request);
                    if let Request::Close { .. } = request {
                        self.cutting.answer(caller, answer, boottime());
                        continue;
                    }
                    answer
                }
                None => Err("the agent does not understand this; is it of another version?".into()),
            };
            caller.answer(&answer);
        }
    }

    pub(super) fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Watch { .. } => Err("this is no question".into()),
            Request::Status { json } => Ok(self.report().map_err(in_words)?.render(*json)),
            Request::Open {
                door,
                whom,
                lasting,
            } => {
                let lasting = lasting.unwrap_or_else(|| self.grant_of(door));
                let known = self.engine.doors().iter();
                let known = { known }.find(|known| *known.name == **door);
                let answer = switch::allowed(known, lasting)
                    .and_then(|lasting| switch::open(&mut self.firewall, door, whom, lasting));
                self.remember(Origin::Hand);
                self.note(answer)
            }
            Request::Close { door, from } => {
                // Whom rules let in is looked at before and after.
                self.cutting.ask_now(boottime());
                self.cut(boottime());
                let answer = switch::close(&mut self.firewall, door, *from);
                self.cutting.ask_now(boottime());
                self.remember(Origin::Hand);
                self.cut(boottime());
                self.note(answer)
            }
            Request::Lock { door } => {
                let answer = switch::lock(&mut self.firewall, door);
                self.remember(Origin::Hand);
                self.note(answer)
            }
            Request::Unlock { door } => {
                let answer = switch::unlock(&mut self.firewall, door);
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
                self.datagrams.adopt(self.engine.doors(), &self.one_time);
                let mut doors = self.engine.doors().iter();
                if let Some(index) = doors.position(|known| *known.name == **door)
                    && answer.is_ok()
                    && let Some(used) = self.one_time.used(index)
                {
                    // Without a guard, there is nothing that it remembers.
                    _ = self.firewall.note_used(used);
                }
                self.tell_notices();
                self.note(answer.map(|text| text + "\n"))
            }
            Request::Reread { door } => {
                let (now, clock) = (boottime(), WallClock::now());
                let read = self.one_time.reread(self.engine, door, now, &clock);
                self.datagrams.adopt(self.engine.doors(), &self.one_time);
                self.tell_notices();
                if read.is_ok() {
                    self.shut_out(door);
                }
                self.note(read.map(|()| format!("door {door}: secret and memory read again\n")))
            }
        }
    }

    /// What was done by hand belongs into the log.
    pub(super) fn note(&mut self, answer: Answer) -> Answer {
        if let Ok(text) = &answer {
            self.journal
                .record(boottime(), format_args!("by hand: {}", text.trim_end()));
        }
        answer
    }

    pub(super) fn grant_of(&self, name: &str) -> Duration {
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
        switch::pardon(&mut self.firewall, source, &cut_offs)
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
                .collect_vec(),
            refused: self.refused.clone(),
            meanings: self.networks.meanings().to_vec(),
            counters: *self.engine.counters(),
            refusals: self.refusals,
            datagrams: self.datagrams.counts(),
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
                    let progress = self.one_time.progress(doors, index, now, &clock);
                    let asked = self.engine.asked(index, now);
                    let asked = asked.map(|asked| AskedReport::of(asked, now));
                    describe(door, progress, asked)
                })
                .collect_vec(),
            locked: Vec::new(),
            cut_offs: self.cut_offs()?,
            unremembered: 0,
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

fn describe(door: &Door, progress: Option<Progress>, asked: Option<AskedReport>) -> DoorReport {
    DoorReport {
        name: door.name.to_string(),
        details: Some(DoorDetails {
            guards: door.guards.iter().map(ToString::to_string).collect_vec(),
            method: door.method.name(),
            window: door.window,
            grant: door.grant,
        }),
        kernel: None,
        progress,
        asked,
        validity: DoorValidity::of(door),
    }
}
