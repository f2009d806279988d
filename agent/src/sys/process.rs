//! What this process may do, and its randomness.

use core::{fmt, mem, ptr};
use std::io;

use super::check;

/// A capability that the agent may need (capabilities(7), linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Capability {
    /// Files that only others may read.
    ReadAnyFile = 2,
    /// Becoming another user.
    SetUid = 7,
    /// Changes of capability sets.
    SetPcap = 8,
    /// Ports below 1024.
    NetBindService = 10,
    /// nf_tables, conntrack and NFLOG.
    NetAdmin = 12,
    /// AF_PACKET sockets.
    NetRaw = 13,
    /// The kernel's log.
    Syslog = 34,
}

/// The step of giving up privileges that failed, and why.
#[derive(Debug)]
pub(crate) struct DropError {
    step: &'static str,
    cause: io::Error,
}

impl fmt::Display for DropError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.step, self.cause)
    }
}

impl core::error::Error for DropError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// Gives up every capability of this thread but these, for good, also for programs that it starts.
///
/// Call it before any thread is started. A capability that the thread never had stays
/// missing. Doing it again changes nothing. Where somebody else confined the process already and
/// took CAP_SETPCAP from it, as procd's jail does, the bounding set stays: once new privileges are
/// forbidden, no program gains by it (`cap_bprm_creds_from_file` in security/commoncap.c).
pub(crate) fn drop_capabilities_except(keep: &[Capability]) -> Result<(), DropError> {
    let keep = keep
        .iter()
        .fold(0, |set, capability| set | 1 << *capability as u32);
    let step = |step| move |cause| DropError { step, cause };
    forbid_new_privileges().map_err(step("forbid new privileges"))?;
    // This takes CAP_SETPCAP, so it comes before that is gone.
    limit_bounding_set(keep).map_err(step("limit the bounding set"))?;
    clear_ambient_set().map_err(step("clear the ambient capabilities"))?;
    limit_own_sets(keep).map_err(step("drop capabilities"))
}

/// Becomes a user who is in these groups alone, the first of them as his own, for good, and keeps what
/// capabilities it has.
///
/// By the calls themselves: those of the C library change every thread of the process.
pub(crate) fn become_user(user: u32, groups: &[u32]) -> Result<(), DropError> {
    #[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
    use libc::{
        SYS_setgroups as SETGROUPS, SYS_setresgid as SETRESGID, SYS_setresuid as SETRESUID,
    };
    // The first ones know numbers of 16 bits only.
    #[cfg(any(target_arch = "arm", target_arch = "x86"))]
    use libc::{
        SYS_setgroups32 as SETGROUPS, SYS_setresgid32 as SETRESGID, SYS_setresuid32 as SETRESUID,
    };
    let step = |step| move |cause| DropError { step, cause };
    let own = groups.first().copied().unwrap_or(user);
    let mut signal: libc::c_int = 0;
    // SAFETY: writes an int to `signal`.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).map_err(step("keep capabilities"))?;
    // SAFETY: reads as many numbers as there are.
    let grouped = unsafe { libc::syscall(SETGROUPS, groups.len(), groups.as_ptr()) };
    check(grouped as libc::c_int).map_err(step("leave its groups"))?;
    for (call, number) in [(SETRESGID, own), (SETRESUID, user)] {
        // SAFETY: takes numbers only.
        let changed = unsafe { libc::syscall(call, number, number, number) };
        check(changed as libc::c_int).map_err(step("become another user"))?;
    }
    prctl(libc::PR_SET_KEEPCAPS, 0, 0).map_err(step("keep capabilities"))?;
    // Those that it may use are none now.
    limit_own_sets(u64::MAX).map_err(step("keep capabilities"))?;
    // What whoever started it asked for is forgotten as well: to end with its parent.
    prctl(libc::PR_SET_PDEATHSIG, signal.cast_unsigned(), 0)
        .map(drop)
        .map_err(step("end with its parent"))
}

/// Keeps what is in memory from other processes of the same user, and from the disk.
pub(crate) fn hide_memory() -> Result<(), DropError> {
    let step = |step| move |cause| DropError { step, cause };
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `none` is an rlimit to read from; what there was goes nowhere.
    check(unsafe { libc::prlimit(0, libc::RLIMIT_CORE, &raw const none, ptr::null_mut()) })
        .map_err(step("forbid core dumps"))?;
    prctl(libc::PR_SET_DUMPABLE, 0, 0)
        .map(drop)
        .map_err(step("hide its memory"))
}

/// Whether this thread may use the capability.
pub(crate) fn has(capability: Capability) -> bool {
    let bit = 1 << capability as u32;
    Sets::read().is_ok_and(|sets| sets.effective() & bit != 0)
}

/// The effective user's number.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing, touches nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// Has this process open so many files at once, if it may; else the error is how many it may.
pub(crate) fn allow_files(wanted: usize) -> Result<(), usize> {
    // SAFETY: an rlimit is made of integers, for which all zero is a value.
    let mut limit: libc::rlimit = unsafe { mem::zeroed() };
    // SAFETY: `limit` is an rlimit to write to.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let most = usize::try_from(limit.rlim_max).unwrap_or(usize::MAX);
    if wanted > most {
        return Err(most);
    }
    limit.rlim_cur = limit.rlim_cur.max(wanted as libc::rlim_t);
    // Not by setrlimit(2), for which musl would stop all threads where there is no prlimit(2).
    // SAFETY: `limit` is an rlimit to read from; what there was goes nowhere.
    let set = unsafe { libc::prlimit(0, libc::RLIMIT_NOFILE, &raw const limit, ptr::null_mut()) };
    match set {
        0 => Ok(()),
        _ => Err(most),
    }
}

/// Fills the buffer with unpredictable bytes; waits until the kernel has gathered entropy.
pub(crate) fn random(mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        // SAFETY: the kernel writes at most `len` bytes to the buffer.
        let filled = unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(filled) {
            Ok(filled) => buffer = buffer.get_mut(filled..).unwrap_or_default(),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}

fn forbid_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

fn limit_bounding_set(keep: u64) -> io::Result<()> {
    for capability in 0..u64::BITS {
        let drops = keep >> capability & 1 == 0;
        match prctl(libc::PR_CAPBSET_READ, capability, 0) {
            Ok(1) if drops && !has(Capability::SetPcap) => return Ok(()),
            Ok(1) if drops => prctl(libc::PR_CAPBSET_DROP, capability, 0).map(drop)?,
            Ok(_) => {}
            // The kernel's last capability was the one before.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn clear_ambient_set() -> io::Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_uint,
        0,
    )
    .map(drop)
}

fn limit_own_sets(keep: u64) -> io::Result<()> {
    let mut sets = Sets::read()?;
    for (half, set) in sets.0.iter_mut().enumerate() {
        set.permitted &= (keep >> (32 * half)) as u32;
        set.effective = set.permitted;
        set.inheritable = 0;
    }
    sets.write()
}

fn prctl(
    option: libc::c_int,
    first: libc::c_uint,
    second: libc::c_uint,
) -> io::Result<libc::c_int> {
    let (first, second) = (libc::c_ulong::from(first), libc::c_ulong::from(second));
    let none: libc::c_ulong = 0;
    // SAFETY: the options used here take numbers, no pointers.
    check(unsafe { libc::prctl(option, first, second, none, none) })
}

/// Version 3 of the kernel's interface (capset(2)): two of these make sets of 64 bits.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

#[repr(C)]
struct Header {
    version: u32,
    thread: libc::c_int,
}

impl Header {
    /// Version 3, of the calling thread.
    const OWN: Self = Self {
        version: 0x2008_0522,
        thread: 0,
    };
}

struct Sets([Half; 2]);

impl Sets {
    fn read() -> io::Result<Self> {
        let (mut header, mut sets) = (Header::OWN, [Half::default(); 2]);
        // SAFETY: version 3 of the call reads a header and writes two halves.
        let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
        check(result as libc::c_int)?;
        Ok(Self(sets))
    }

    fn effective(&self) -> u64 {
        let [low, high] = self.0.map(|half| u64::from(half.effective));
        high << 32 | low
    }

    fn write(&self) -> io::Result<()> {
        let mut header = Header::OWN;
        // SAFETY: version 3 of the call reads a header and two halves.
        let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, self.0.as_ptr()) };
        check(result as libc::c_int).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;
    use crate::testing::skipping::may_as_root;

    /// A line of this thread's status, such as `CapEff`.
    fn status(name: &str) -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    }

    /// Capabilities belong to a thread, so this one's are lost alone.
    fn in_a_thread(test: impl FnOnce() + Send + 'static) {
        thread::spawn(test).join().unwrap();
    }

    #[test]
    fn all_but_the_kept_capabilities_are_gone() {
        if !may_as_root() {
            return;
        }
        in_a_thread(|| {
            let keep = status("CapPrm") & (1 << Capability::NetAdmin as u32);
            for _twice in 0..2 {
                drop_capabilities_except(&[Capability::NetAdmin]).unwrap();
                for (name, expected) in [
                    ("CapEff", keep),
                    ("CapPrm", keep),
                    ("CapBnd", keep),
                    ("CapInh", 0),
                    ("CapAmb", 0),
                    ("NoNewPrivs", 1),
                ] {
                    assert_eq!(status(name), expected, "{name}");
                }
                assert_eq!(has(Capability::NetAdmin), keep != 0);
                assert!(!has(Capability::Syslog));
            }
        });
    }

    #[test]
    fn what_is_gone_does_not_come_back() {
        if !may_as_root() {
            return;
        }
        in_a_thread(|| {
            drop_capabilities_except(&[]).unwrap();
            drop_capabilities_except(&[Capability::NetRaw, Capability::Syslog]).unwrap();
            assert_eq!(status("CapPrm") | status("CapBnd"), 0);
            let program = std::process::Command::new("cat")
                .arg("/proc/self/status")
                .output();
            let status = String::from_utf8(program.unwrap().stdout).unwrap();
            assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        });
    }

    #[test]
    fn a_process_that_is_confined_already_gains_nothing_by_a_program() {
        if !may_as_root() {
            return;
        }
        in_a_thread(|| {
            limit_own_sets(1 << Capability::NetAdmin as u32).unwrap();
            drop_capabilities_except(&[Capability::NetAdmin]).unwrap();
            let bounding = status("CapBnd");
            assert_ne!(bounding & !(1 << Capability::NetAdmin as u32), 0);
            assert!(has(Capability::NetAdmin));
            drop_capabilities_except(&[]).unwrap();
            let program = std::process::Command::new("cat")
                .arg("/proc/self/status")
                .output();
            let status = String::from_utf8(program.unwrap().stdout).unwrap();
            for set in ["CapPrm", "CapEff"] {
                assert!(
                    status.contains(&format!("{set}:\t0000000000000000")),
                    "{status}"
                );
            }
        });
    }

    #[test]
    fn another_user_keeps_the_capabilities_and_no_group() {
        if !may_as_root() {
            return;
        }
        in_a_thread(|| {
            let keep = status("CapPrm") & (1 << Capability::NetAdmin as u32);
            prctl(libc::PR_SET_PDEATHSIG, libc::SIGUSR1 as libc::c_uint, 0).unwrap();
            become_user(4242, &[4243, 4]).unwrap();
            let mut signal: libc::c_int = 0;
            // SAFETY: writes an int to `signal`.
            unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
            assert_eq!(signal, libc::SIGUSR1);
            prctl(libc::PR_SET_PDEATHSIG, 0, 0).unwrap();
            drop_capabilities_except(&[Capability::NetAdmin]).unwrap();
            let text = fs::read_to_string("/proc/thread-self/status").unwrap();
            for line in [
                "Uid:\t4242\t4242\t4242\t4242",
                "Gid:\t4243\t4243\t4243\t4243",
                "Groups:\t4 4243",
            ] {
                assert!(text.contains(line), "{line}: {text}");
            }
            for set in ["CapEff", "CapPrm", "CapBnd"] {
                assert_eq!(status(set), keep, "{set}");
            }
            assert!(become_user(0, &[0]).is_err());
        });
    }

    #[test]
    fn an_error_names_the_step() {
        let error = DropError {
            step: "limit the bounding set",
            cause: io::Error::from_raw_os_error(libc::EPERM),
        };
        let error = error.to_string();
        assert!(
            error.starts_with("cannot limit the bounding set: "),
            "{error}"
        );
    }

    #[test]
    fn random_bytes_differ() {
        let (mut one, mut two) = ([0; 1000], [0; 1000]);
        random(&mut one).unwrap();
        random(&mut two).unwrap();
        assert_ne!(one, two);
        assert!(one.iter().any(|byte| *byte != 0));
        random(&mut []).unwrap();
    }
}
