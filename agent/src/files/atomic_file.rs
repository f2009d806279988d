//! Replacing a file so that a crash at any moment leaves the old one or the new one, whole.

use core::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown,
};
use std::path::{Path, PathBuf};

use super::owner::Account;
use crate::sys::process;

/// What a replacement consists of, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Making the new file beside the old one.
    Create,
    /// Filling it.
    Write,
    /// Having the disk hold it.
    Sync,
    /// Giving it the old one's name.
    Rename,
    /// Having the disk hold the name.
    SyncFolder,
}

/// The step that failed. Only after [`Step::Rename`] is the new file in place.
#[derive(Debug)]
pub(crate) struct Failed {
    path: PathBuf,
    step: Step,
    cause: io::Error,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.step {
            Step::Create => "made",
            Step::Write => "written",
            Step::Sync | Step::SyncFolder => "brought to the disk",
            Step::Rename => "put in place",
        };
        write!(
            f,
            "{} cannot be {what}: {}",
            self.path.display(),
            self.cause
        )
    }
}

impl core::error::Error for Failed {}

/// Replaces a file, or makes it, readable by its owner alone.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), Failed> {
    replace_watched(path, content, &mut |_| Ok(()))
}

/// Replaces a file, asking `before` each step whether to go on: tests fail or die there.
pub(crate) fn replace_watched(
    path: &Path,
    content: &[u8],
    before: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<(), Failed> {
    let new = beside(path);
    let mut step = Step::Create;
    let mut enter = |next| {
        step = next;
        before(next)
    };
    let replaced = take_the_steps(path, &new, content, &mut enter);
    if replaced.is_err() {
        _ = fs::remove_file(&new);
    }
    replaced.map_err(|cause| Failed {
        path: path.into(),
        step,
        cause,
    })
}

fn take_the_steps(
    path: &Path,
    new: &Path,
    content: &[u8],
    before: &mut dyn FnMut(Step) -> io::Result<()>,
) -> io::Result<()> {
    before(Step::Create)?;
    let mut file = create(new)?;
    keep_with_agent(path, &file)?;
    before(Step::Write)?;
    file.write_all(content)?;
    before(Step::Sync)?;
    file.sync_all()?;
    before(Step::Rename)?;
    fs::rename(new, path)?;
    before(Step::SyncFolder)?;
    sync_folder(path)
}

/// Makes a folder, and those above it, that only its owner can enter. One that is there stays as it is.
pub(crate) fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a folder, and those above it, that only its owner can enter, and of root's the agent's group. One that is
/// there stays as it is.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folder(above)?;
    }
    DirBuilder::new().mode(0o700).create(path)?;
    let account = Account::of_agent();
    // Where it cannot be handed over, that is said when the agent is to get at it.
    if process::effective_user() == 0 && chown(path, None, Some(account.group)).is_ok() {
        _ = fs::set_permissions(path, Permissions::from_mode(0o750));
    }
    Ok(())
}

/// What root puts into a folder of the agent's is the agent's.
fn keep_with_agent(path: &Path, file: &File) -> io::Result<()> {
    let account = Account::of_agent();
    let folder = path.parent().and_then(|folder| folder.metadata().ok());
    let is_agents = folder.is_some_and(|folder| folder.uid() == account.user);
    match is_agents && process::effective_user() == 0 {
        true => fchown(file, Some(account.user), Some(account.group)),
        false => Ok(()),
    }
}

/// The new file's name until it is whole. One left behind by a crash has the same, so there is
/// never more than one.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// O_EXCL: a file or a link that somebody else put there is not written to.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        made => made,
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder)?.sync_all()
}
