//! Agents that nobody watches over any more.
//!
//! Where procd's jailer is killed, the agent in it lives on as a child of process 1 (init): its service manager starts
//! another one, and no longer reaches the first. The other one, if told to, ends the first and goes
//! on with what it left in the kernel.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use postern_core::time::Duration;

use crate::output;
use crate::sys::pidfd::PidFd;
use crate::sys::unix::lock_of;

/// How long it may take to end, and then to be killed: longer than an agent needs for anything it does.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// Ends the agent of this control socket if its parent is gone; whether there was one.
///
/// It is told by its lock, which nobody but an agent takes, and named by a pidfd before the lock is looked
/// at: if its number was another process's meanwhile, nobody is hit.
pub(crate) fn end(socket: &Path) -> bool {
    try_to_end(socket).unwrap_or_else(|why| {
        output::say(&format!("the agent that runs cannot be replaced: {why}"));
        false
    })
}

fn try_to_end(socket: &Path) -> io::Result<bool> {
    let lock = fs::metadata(lock_of(socket))?;
    let holder = || fs::read_to_string("/proc/locks").map(|locks| holder(&locks, &lock));
    let Some(number) = holder()? else {
        return Ok(false);
    };
    let agent = PidFd::open(number)?;
    let stat = fs::read_to_string(format!("/proc/{number}/stat"))?;
    if holder()? != Some(number) || parent(&stat) != Some(1) {
        return Ok(false);
    }
    output::say(&format!(
        "the agent that runs, process {number}, has lost its parent: this one takes over"
    ));
    agent.terminate()?;
    if agent.ends_within(END_TIMEOUT)? {
        return Ok(true);
    }
    output::say(&format!("process {number} does not end, and is killed"));
    agent.kill()?;
    agent.ends_within(END_TIMEOUT)
}

/// Who holds a lock of flock(2), by the table of all of them (proc(5), /proc/locks).
fn holder(locks: &str, lock: &Metadata) -> Option<i32> {
    let device = lock.dev();
    let file = format!(
        "{:02x}:{:02x}:{}",
        libc::major(device),
        libc::minor(device),
        lock.ino()
    );
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, number) = (words.next()?, words.nth(2)?);
        // Those who wait have "->" in front of the kind.
        (kind == "FLOCK" && words.next()? == file)
            .then(|| number.parse().ok())?
            .filter(|number| *number > 0)
    })
}

/// The second number behind the name, which may have anything in it (proc(5)).
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::eventually::eventually;
    use crate::testing::scratch::Scratch;

    #[test]
    fn the_holder_of_a_lock_is_found_and_nobody_else() {
        let scratch = Scratch::new();
        let (path, other) = (scratch.file("lock", ""), scratch.file("other", ""));
        let [lock, other] = [&path, &other].map(|path| fs::File::open(path).unwrap());
        let found = || {
            let locks = fs::read_to_string("/proc/locks").unwrap();
            holder(&locks, &fs::metadata(&path).unwrap())
        };
        assert_eq!(found(), None);
        other.lock().unwrap();
        assert_eq!(found(), None);
        lock.lock().unwrap();
        assert_eq!(found(), Some(std::process::id().cast_signed()));
        drop(lock);
        eventually(|| found().is_none());
    }

    #[test]
    fn only_whoever_has_the_lock_counts() {
        let lock = fs::metadata("/dev/null").unwrap();
        let (device, inode) = (lock.dev(), lock.ino());
        let file = format!(
            "{:02x}:{:02x}:{inode}",
            libc::major(device),
            libc::minor(device)
        );
        for (line, expected) in [
            (format!("1: FLOCK  ADVISORY  WRITE 7 {file} 0 EOF"), Some(7)),
            (format!("1: -> FLOCK  ADVISORY  WRITE 7 {file} 0 EOF"), None),
            (format!("1: POSIX  ADVISORY  WRITE 7 {file} 0 EOF"), None),
            // Of a namespace that cannot be seen from here.
            (format!("1: FLOCK  ADVISORY  WRITE 0 {file} 0 EOF"), None),
            (format!("1: FLOCK  ADVISORY  WRITE -1 {file} 0 EOF"), None),
            (format!("1: FLOCK  ADVISORY  WRITE 7 {file}0 0 EOF"), None),
            ("1: FLOCK".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(holder(&line, &lock), expected, "{line}");
        }
    }

    #[test]
    fn a_name_cannot_forge_a_parent() {
        assert_eq!(parent("12 (postern) S 1 12 12 0"), Some(1));
        assert_eq!(parent("12 (a) S 1 () S 77 12 12 0"), Some(77));
        assert_eq!(parent("12 (postern) S"), None);
    }
}
