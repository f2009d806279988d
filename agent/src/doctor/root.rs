//! The files that say what a machine is like, below a root folder: `/`, or that of a test.

use std::fs::{self, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use postern_core::uci::{Statement, Statements};

use crate::collect::CollectVec;
use crate::files::owner::Account;
use crate::sys::folder;
use crate::sys::process::effective_user;

/// The most that is read of a file. Of sockets, the kernel lists those that listen first.
const MAX_FILE_LEN: u64 = 1 << 20;
/// The most names of a folder that are looked at: every process there can be.
const MAX_NAMES: usize = 1 << 15;

/// Where the files are looked for.
pub(crate) struct Root(PathBuf);

impl Root {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// The text of a file; `None` where there is none, or it is not ours to read. A device is
    /// none: of some, to open them does something.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let is_file = |facts: Metadata| facts.is_file();
        fs::metadata(self.path(path))
            .is_ok_and(is_file)
            .then_some(())?;
        let mut options = OpenOptions::new();
        // Opening a FIFO without O_NONBLOCK waits for somebody who writes to it.
        options
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let mut bytes = Vec::new();
        let file = options.open(self.path(path)).ok()?;
        file.take(MAX_FILE_LEN).read_to_end(&mut bytes).ok()?;
        Some(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// What a file says; empty where there is none.
    pub(super) fn text(&self, path: &str) -> String {
        self.read(path).unwrap_or_default()
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// What a symbolic link says.
    pub(super) fn link(&self, path: &str) -> Option<PathBuf> {
        fs::read_link(self.path(path)).ok()
    }

    /// The names in a folder, in no order.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        folder::names(&self.path(folder), MAX_NAMES).unwrap_or_default()
    }

    /// Whether a process is root's, the agent's, or of the user that this program runs as.
    pub(super) fn is_ours(&self, process: u32) -> bool {
        let facts = fs::metadata(self.path(&format!("proc/{process}")));
        let ours = |facts: Metadata| {
            [0, effective_user(), Account::of_agent().user].contains(&facts.uid())
        };
        facts.is_ok_and(ours)
    }

    /// The numbers of all processes.
    pub(super) fn processes(&self) -> Vec<u32> {
        let names = self.names("proc");
        names
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect_vec()
    }

    /// The sections of a UCI file, whose mistakes are passed over.
    pub(super) fn sections(&self, path: &str) -> Vec<Section> {
        let text = self.text(path);
        let mut sections: Vec<Section> = Vec::new();
        for statement in Statements::new(text.as_bytes()).flatten() {
            match (statement, sections.last_mut()) {
                (Statement::Config { section, .. }, _) => sections.push(Section {
                    kind: section.text.as_str().into(),
                    values: Vec::new(),
                }),
                (
                    Statement::Option { name, value } | Statement::List { name, value },
                    Some(section),
                ) => section
                    .values
                    .push((name.text.as_str().into(), value.text.as_str().into())),
                _ => {}
            }
        }
        sections
    }
}

/// A section of another program's UCI file.
pub(super) struct Section {
    pub(super) kind: String,
    values: Vec<(String, String)>,
}

impl Section {
    /// Every value of an option or list.
    pub(super) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let values = self.values.iter().filter(move |(each, _)| each == name);
        values.map(|(_, value)| value.as_str())
    }

    /// A boolean, as `config_get_bool` of OpenWrt's functions.sh reads it.
    pub(super) fn is_on(&self, name: &str, default: bool) -> bool {
        match self.all(name).last() {
            Some("1" | "on" | "true" | "yes" | "enabled") => true,
            Some("0" | "off" | "false" | "no" | "disabled") => false,
            _ => default,
        }
    }
}

/// The last part of a path.
pub(super) fn base_name(path: &str) -> &str {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.unwrap_or(path)
}
