//! What could lock an owner out, or keep a knock from being heard, found before it does.
//!
//! One file looks at each subject and says nothing of the others: `kernel`, `console`,
//! `interfaces`, `addresses`, `fallback`, `logins`, `secrets`, `ports`, `clock`, and `foreign_tables`, the rules that
//! are not ours. `kinds` has every sentence; `root`, `sockets` and `servers` read what several of
//! them look at. Nothing is changed, and no program is started.

mod addresses;
mod clock;
mod console;
mod fallback;
mod finding;
mod foreign_tables;
mod interfaces;
mod kernel;
mod kinds;
mod logins;
mod ports;
mod root;
mod secrets;
mod servers;
mod sockets;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use postern_core::config::Config;
use postern_core::knock::Port;

use crate::firewall::Firewall;
use crate::netlink::links::{self, Link};
use crate::onetime::Lists;
use crate::onetime::wall_clock::WallClock;
use crate::report::REFUSED_PREFIX;
use console::Console;
#[cfg(test)]
pub(crate) use finding::kinds as kinds_of_findings;
pub(crate) use finding::{Finding, catalogue, refusal, render};
pub(crate) use kinds::Severity;
use root::Root;

/// Says which ports the list of a door names, by the door's place in the configuration.
pub(crate) type Listed<'l> = dyn Fn(usize) -> &'l [Port] + 'l;

/// Looks at everything; at what a configuration says only if there is one. `status` is what a running agent
/// says of itself.
pub(crate) fn examine(path: &Path, config: Option<&Config>, status: &str) -> Vec<Finding> {
    let root = Root::new("/");
    let mut findings = Vec::new();
    let mut refused = status
        .lines()
        .filter_map(|line| line.strip_prefix(REFUSED_PREFIX));
    if let Some(why) = refused.next() {
        let values = [("file", &*path.display().to_string()), ("why", why)];
        findings.push(Finding::new(&kinds::CONFIG_NOT_IN_FORCE, &values));
    }
    let lists = config
        .map(|config| Lists::read(&config.doors))
        .unwrap_or_default();
    let listed = config.map_or_else(Vec::new, |config| lists.ports(&config.doors));
    let lists = &|door| lists.ports_of(door);
    let answers = kernel::ask(config, &listed);
    kernel::judge(&answers, config, &listed, &mut findings);
    kernel::judge_version(&root, &mut findings);
    let console = Console::read(&root);
    console.examine(&mut findings);
    let listeners = sockets::owned_listeners(&root);
    logins::examine(&root, &listeners, &mut findings);
    match config {
        None => {
            let file = path.display().to_string();
            let forbidden =
                File::open(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
            let kind = match forbidden {
                true => &kinds::CONFIG_FORBIDDEN,
                false => &kinds::CONFIG_UNUSABLE,
            };
            findings.push(Finding::new(kind, &[("file", &file)]));
        }
        Some(config) => {
            let links = links();
            kernel::judge_group(&answers, config, &mut findings);
            interfaces::examine(config, &links, &mut findings);
            addresses::examine(config, &links, &mut findings);
            let oracle = &mut foreign_tables::oracle(&links);
            fallback::examine(&root, &links, &console, config, oracle, &mut findings);
            secrets::examine(path, config, &mut findings);
            let leads_on =
                &mut |door: &_, port| foreign_tables::leads_on(port, &links, config, door, oracle);
            ports::examine(&root, config, lists, &listeners, leads_on, &mut findings);
            clock::examine(config, &WallClock::now(), &mut findings);
            clock::examine_hints(status, &mut findings);
            let mut kernel = Firewall::open().ok();
            let is_guarded = kernel
                .as_mut()
                .is_some_and(|kernel| matches!(kernel.installed(), Ok(true)));
            if is_guarded && !kernel::agent_runs(config) {
                deaf(config, &mut findings);
            }
            foreign_tables::ask(&root, config, &links, lists, &mut findings);
        }
    }
    findings
}

/// Doors that nobody serves while no agent runs.
fn deaf(config: &Config, findings: &mut Vec<Finding>) {
    let doors = config
        .doors
        .iter()
        .filter(|door| !door.engine.is_in_kernel());
    let doors: Vec<&str> = doors.map(|door| door.name.as_str()).collect();
    if !doors.is_empty() {
        let doors = doors.join(", ");
        findings.push(Finding::new(&kinds::AGENT_MISSING, &[("doors", &doors)]));
    }
}

/// Why a configuration is not put into force at all, if it is not. `listed` are the ports that its lists name.
pub(crate) fn forbid(config: &Config, listed: &[Port]) -> Result<(), String> {
    let mut findings = Vec::new();
    let answers = kernel::ask_briefly(config, listed);
    kernel::judge(&answers, Some(config), listed, &mut findings);
    forbid_lockout(config, findings)
}

/// Why an agent that guards already does not put a configuration into force, if it does not: the
/// kernel has shown what it can do, and will say so if it cannot do this.
pub(crate) fn forbid_reload(config: &Config) -> Result<(), String> {
    forbid_lockout(config, Vec::new())
}

fn forbid_lockout(config: &Config, mut findings: Vec<Finding>) -> Result<(), String> {
    let (root, links) = (Root::new("/"), links());
    interfaces::examine(config, &links, &mut findings);
    let console = Console::read(&root);
    let oracle = &mut foreign_tables::oracle(&links);
    fallback::examine(&root, &links, &console, config, oracle, &mut findings);
    refusal(&findings).map_or(Ok(()), Err)
}

/// What other tables make of a guard that looks as if it were in force: said when it is put there,
/// and when they change.
pub(crate) fn warnings(config: &Config, lists: &Listed<'_>) -> Vec<String> {
    let mut findings = Vec::new();
    foreign_tables::ask(&Root::new("/"), config, &links(), lists, &mut findings);
    let findings = findings.iter();
    let warnings = findings.filter(|finding| finding.severity() < Severity::Note);
    warnings.map(Finding::line).collect()
}

/// Where the kernel does not tell, there are none that are known of.
fn links() -> Vec<Link> {
    links::read().unwrap_or_default()
}
