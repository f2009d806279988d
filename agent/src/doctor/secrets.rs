//! Files that others could read, change or put others in place of.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use postern_core::config::Config;
use postern_core::door::Door;

use super::finding::Finding;
use super::kinds::{self, Kind};
use crate::files::config_file;
use crate::files::owner::{Account, material};
use crate::onetime;
use crate::sys::process::effective_user;

/// What others must not do.
#[derive(Clone, Copy)]
enum Forbidden {
    Any,
    Writing,
}

pub(super) fn examine(path: &Path, config: &Config, findings: &mut Vec<Finding>) {
    // The ports of one-time doors are not in the configuration; who may write it has all the same.
    let is_static = |door: &Door| !door.method.is_one_time();
    let forbidden = match config.doors.iter().any(is_static) {
        true => Forbidden::Any,
        false => Forbidden::Writing,
    };
    expect_private(path, forbidden, &kinds::CONFIG_EXPOSED, "", findings);
    for door in &config.doors {
        if let Some(file) = material(door) {
            let name = door.name.as_str();
            expect_private(file, Forbidden::Any, &kinds::SECRET_EXPOSED, name, findings);
        }
    }
    if config.doors.iter().any(|door| door.method.is_one_time()) {
        let folder = Path::new(config.global.state_dir.as_str());
        let kind = &kinds::STATE_EXPOSED;
        expect_private(folder, Forbidden::Writing, kind, "", findings);
        for door in config.doors.iter().filter(|door| door.method.is_one_time()) {
            let memory = folder.join(door.name.as_str());
            expect_private(&memory, Forbidden::Writing, kind, "", findings);
        }
    }
    let control = Path::new(config.global.control.as_str());
    for each in [Some(control), control.parent()].into_iter().flatten() {
        let kind = &kinds::CONTROL_EXPOSED;
        expect_private(each, Forbidden::Writing, kind, "", findings);
    }
    let folder = Path::new(config.global.state_dir.as_str());
    if let Err(unsound) = config_file::judge(path, folder) {
        findings.push(Finding::new(
            &kinds::PLACE_UNSAFE,
            &[("why", &unsound.to_string())],
        ));
    }
    for found in onetime::examine(config) {
        findings.push(Finding::new(&kinds::DOOR_SHUT, &[("why", &found.text)]));
    }
}

/// Nothing to say of a file that is not there.
fn expect_private(
    path: &Path,
    forbidden: Forbidden,
    kind: &'static Kind,
    door: &str,
    findings: &mut Vec<Finding>,
) {
    const WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    let Ok(facts) = fs::metadata(path) else {
        return;
    };
    let account = Account::of_agent();
    let mask = match forbidden {
        Forbidden::Any if facts.gid() == account.group => 0o037,
        Forbidden::Any => 0o077,
        Forbidden::Writing => WRITE,
    };
    let bits = facts.mode() & mask;
    let foreign = ![0, effective_user(), account.user].contains(&facts.uid());
    // In such a folder nobody can replace what is root's.
    let safe = facts.is_dir() && facts.mode() & STICKY != 0;
    if !foreign && (bits == 0 || safe) {
        return;
    }
    let verb = match foreign || bits & WRITE != 0 {
        true => "write",
        false => "read",
    };
    let file = path.display().to_string();
    let values = [("verb", verb), ("file", file.as_str()), ("door", door)];
    findings.push(Finding::new(kind, &values));
}
