//! Files whose content decides who gets in: no bigger than expected, and nobody else's.

use core::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::owner::{self, Account, FORBIDDEN};
use crate::sys::process;

/// What others must not be able to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forbidden {
    /// Reading or writing it: secrets.
    Any,
    /// Writing it: memories.
    Writing,
}

/// Why a file is not used. The text names the file and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// There is none.
    Missing(String),
    /// It is there, and no good.
    Bad(String),
    /// Reading it failed, be it for want of memory or for a disk's sake: nobody knows what is in it.
    Unread(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(why) | Self::Bad(why) | Self::Unread(why) => f.write_str(why),
        }
    }
}

/// Reads a regular file of at most `limit` bytes that belongs to root, to the agent's user or to this program's, as
/// do the folders above it. The content is wiped from memory when it is dropped.
pub(crate) fn read(
    path: &Path,
    limit: usize,
    forbidden: Forbidden,
) -> Result<Zeroizing<Vec<u8>>, Unfit> {
    let place = path.display();
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => Unfit::Missing(format!("{place}: there is no such file")),
        ErrorKind::PermissionDenied => Unfit::Unread(format!("{place}: {error}; {FORBIDDEN}")),
        _ => Unfit::Unread(format!("{place}: {error}")),
    };
    owner::judge_folders(path).map_err(|unsound| match unsound.is_unseen {
        true => Unfit::Unread(unsound.to_string()),
        false => Unfit::Bad(unsound.to_string()),
    })?;
    // Opening a FIFO without O_NONBLOCK waits for somebody who writes to it.
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW);
    let file = options.open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    inspect(&facts, limit, forbidden).map_err(|why| Unfit::Bad(format!("{place}: {why}")))?;
    let content = read_up_to(file, limit).map_err(failed)?;
    match content.len() > limit {
        true => Err(Unfit::Bad(format!("{place}: {}", too_long(limit)))),
        false => Ok(content),
    }
}

fn inspect(facts: &Metadata, limit: usize, forbidden: Forbidden) -> Result<(), String> {
    if !facts.is_file() {
        return Err("it is not a regular file".into());
    }
    let (owner, user) = (facts.uid(), process::effective_user());
    if ![0, user, Account::of_agent().user].contains(&owner) {
        return Err(format!(
            "it belongs to user {owner}; 'chown {user}' makes it this program's"
        ));
    }
    let (mask, verb, cure) = match forbidden {
        // The agent's group has nobody in it but the agent.
        Forbidden::Any if facts.gid() == Account::of_agent().group => {
            (0o037, "read or write", "chmod 640")
        }
        Forbidden::Any => (0o077, "read or write", "chmod 600"),
        Forbidden::Writing => (0o022, "write", "chmod go-w"),
    };
    let mode = facts.mode() & 0o7777;
    if mode & mask != 0 {
        return Err(format!(
            "others can {verb} it (mode {mode:04o}); '{cure}' keeps it private"
        ));
    }
    match facts.len() > limit as u64 {
        true => Err(too_long(limit)),
        false => Ok(()),
    }
}

/// The buffer never grows, as that would leave copies behind. One byte more than the limit
/// tells that there is more.
fn read_up_to(mut file: File, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(vec![0; limit + 1]);
    let mut filled = 0;
    while let Some(room) = content.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(filled);
    Ok(content)
}

fn too_long(limit: usize) -> String {
    format!("it is longer than {limit} bytes")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::testing::scratch::Scratch;
    use crate::testing::skipping::may_as_root;

    fn bad(path: &Path) -> String {
        match read(path, 10, Forbidden::Any) {
            Err(Unfit::Bad(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_private_file_is_read_and_no_link_is_followed() {
        let scratch = Scratch::new();
        let path = scratch.file("secret", "0123456789");
        assert_eq!(
            read(&path, 10, Forbidden::Any).unwrap().as_slice(),
            b"0123456789"
        );
        let link = scratch.path("link");
        symlink(&path, &link).unwrap();
        assert!(bad(&link).contains("symbolic link"));
    }

    #[test]
    fn whoever_could_read_or_change_it_makes_it_unfit() {
        let scratch = Scratch::new();
        let path = scratch.file("secret", "x");
        for mode in [0o640, 0o620, 0o604, 0o602, 0o601, 0o777] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let why = bad(&path);
            assert!(why.contains("chmod 600") && why.contains("secret"), "{why}");
            let read_only = mode & 0o022 == 0;
            assert_eq!(read(&path, 10, Forbidden::Writing).is_ok(), read_only);
        }
    }

    #[test]
    fn a_strangers_file_is_unfit() {
        if !may_as_root() {
            return;
        }
        let scratch = Scratch::new();
        let path = scratch.file("secret", "x");
        chown(&path, Some(4242), None).unwrap();
        assert!(bad(&path).contains("user 4242"));
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let scratch = Scratch::new();
        let fifo = scratch.path("fifo");
        let made = std::process::Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(&fifo)
            .status();
        assert!(made.unwrap().success());
        for path in [&fifo, Path::new("/dev/null"), &scratch.path("")] {
            assert!(bad(path).contains("not a regular file"));
        }
        assert!(matches!(
            read(&scratch.path("nothing"), 10, Forbidden::Any),
            Err(Unfit::Missing(_))
        ));
    }

    #[test]
    fn one_byte_too_many_is_too_many() {
        let scratch = Scratch::new();
        assert!(bad(&scratch.file("secret", "01234567890")).contains("longer than 10 bytes"));
        // Files of the kernel claim to be empty.
        let content = read_up_to(File::open("/proc/self/status").unwrap(), 10).unwrap();
        assert_eq!(content.len(), 11);
    }
}
