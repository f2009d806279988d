//! Which configuration the next start uses: one on trial never does.
//!
//! Two files in the state folder, each the text of a configuration: `confirmed.conf`, the last that
//! nobody has to confirm any more, and `trial.conf`, the one that somebody has to. No door can have such a name, and
//! with it a memory in that place. The configuration's own file is never touched: as long as it holds what is on trial, a
//! start goes back to what was confirmed before.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::files::atomic_file::{self, Failed};
use crate::files::{config_file, owner};

/// What a start makes of a configuration's text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It is used.
    AsWritten,
    /// It was on trial and nobody confirmed it: this is used, which was confirmed before.
    Before(Vec<u8>),
    /// It was on trial and nobody confirmed it, and there was none before: no guard.
    Unguarded,
}

/// The files.
pub(crate) struct Store {
    confirmed: PathBuf,
    trial: PathBuf,
}

impl Store {
    /// Those in this folder, which need not be there.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            confirmed: folder.join(config_file::CONFIRMED),
            trial: folder.join(config_file::TRIAL),
        }
    }

    /// Says that a text is on trial, before its guard is installed, and which was in force before, if that is
    /// known: what is on trial may have another state folder.
    pub(crate) fn begin(&self, text: &[u8], before: Option<&[u8]>) -> Result<(), Failed> {
        if let Some(before) = before.filter(|before| !holds(&self.confirmed, before)) {
            write(&self.confirmed, before)?;
        }
        write(&self.trial, text)
    }

    /// Says that a text is in force without a trial, or that its trial ended well. Writes nothing
    /// where that is known: flash wears.
    ///
    /// A power cut between the two steps leaves both files with the same text: it is used.
    pub(crate) fn settle(&self, text: &[u8]) -> Result<(), Failed> {
        if !holds(&self.confirmed, text) {
            write(&self.confirmed, text)?;
        }
        // One that cannot be removed says nothing any more: it holds what was confirmed.
        _ = fs::remove_file(&self.trial);
        Ok(())
    }

    /// Says that the trial ended well.
    pub(crate) fn confirm(&self) -> io::Result<()> {
        let text = read(&self.trial)?;
        self.settle(&text).map_err(io::Error::other)
    }

    /// Forgets a trial that did not begin.
    pub(crate) fn abandon(&self) {
        _ = fs::remove_file(&self.trial);
    }

    /// Whether this text was tried last.
    pub(crate) fn tried(&self, text: &[u8]) -> bool {
        holds(&self.trial, text)
    }

    /// Whether this text is on trial, or was, and was never confirmed.
    pub(crate) fn is_on_trial(&self, text: &[u8]) -> bool {
        self.tried(text) && !holds(&self.confirmed, text)
    }

    /// What to start with, where the configuration's file has this text.
    pub(crate) fn at_start(&self, text: &[u8]) -> Start {
        if !self.is_on_trial(text) {
            return Start::AsWritten;
        }
        read(&self.confirmed).map_or(Start::Unguarded, Start::Before)
    }

    /// What was confirmed last.
    pub(crate) fn confirmed(&self) -> Option<Vec<u8>> {
        read(&self.confirmed).ok()
    }
}

fn holds(path: &Path, text: &[u8]) -> bool {
    read(path).is_ok_and(|held| held == text)
}

/// Whoever could write it would choose the configuration.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    owner::judge(path).map_err(|unsound| io::Error::other(unsound.to_string()))?;
    config_file::read(path)
}

fn write(path: &Path, text: &[u8]) -> Result<(), Failed> {
    // Where the folder cannot be made, writing says why.
    _ = path.parent().map(atomic_file::make_folder);
    atomic_file::replace(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch::Scratch;

    #[test]
    fn what_is_on_trial_does_not_start_until_it_is_confirmed() {
        let scratch = Scratch::new();
        let store = Store::in_folder(&scratch.path("state"));
        assert_eq!(store.at_start(b"new"), Start::AsWritten);
        store.settle(b"old").unwrap();
        store.begin(b"new", None).unwrap();
        assert!(store.is_on_trial(b"new") && !store.is_on_trial(b"old"));
        assert_eq!(store.at_start(b"new"), Start::Before(b"old".to_vec()));
        // Whoever wrote another one since wants that.
        assert_eq!(store.at_start(b"newer"), Start::AsWritten);
        store.settle(b"new").unwrap();
        assert_eq!(store.at_start(b"new"), Start::AsWritten);
        assert_eq!(store.confirmed().unwrap(), b"new");
    }

    #[test]
    fn another_folder_is_told_what_was_in_force() {
        let scratch = Scratch::new();
        let store = Store::in_folder(&scratch.path("other"));
        store.begin(b"new", Some(b"old")).unwrap();
        assert_eq!(store.at_start(b"new"), Start::Before(b"old".to_vec()));
    }

    #[test]
    fn a_first_trial_leaves_nothing_to_go_back_to() {
        let scratch = Scratch::new();
        let store = Store::in_folder(scratch.folder());
        store.begin(b"new", None).unwrap();
        assert_eq!(store.at_start(b"new"), Start::Unguarded);
    }

    #[test]
    fn a_power_cut_in_the_middle_of_confirming_confirms() {
        let scratch = Scratch::new();
        let store = Store::in_folder(scratch.folder());
        store.begin(b"new", None).unwrap();
        scratch.file("confirmed.conf", "new");
        assert_eq!(store.at_start(b"new"), Start::AsWritten);
    }

    #[test]
    fn what_is_known_is_not_written_again() {
        let scratch = Scratch::new();
        let store = Store::in_folder(scratch.folder());
        store.settle(b"same").unwrap();
        let written = || fs::metadata(scratch.path("confirmed.conf")).unwrap();
        let before = std::os::unix::fs::MetadataExt::ino(&written());
        store.settle(b"same").unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::ino(&written()), before);
    }

    #[test]
    fn a_trial_that_cannot_be_remembered_does_not_begin() {
        let scratch = Scratch::new();
        let file = scratch.file("file", "");
        let store = Store::in_folder(&file);
        assert!(store.begin(b"new", None).is_err());
    }
}
