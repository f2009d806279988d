//! The system calls that a running agent makes, and no others (seccomp(2)).

use std::io;

/// What a machine has of its own.
struct Machine {
    /// How the kernel names it (linux/audit.h): by its number in ELF, its byte order and its width.
    name: u32,
    /// The calls that only some machines have.
    calls: &'static [libc::c_long],
}

/// Those of a knock and a grant first: the kernel compares one after the other.
const COMMON: &[libc::c_long] = &[
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_clock_gettime,
    libc::SYS_ppoll,
    libc::SYS_epoll_pwait,
    libc::SYS_restart_syscall,
    libc::SYS_close,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_fcntl,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_ioctl,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_readv,
    libc::SYS_writev,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Sockets, and what is waited for.
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_shutdown,
    libc::SYS_socket,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_pipe2,
    // Files.
    libc::SYS_faccessat,
    libc::SYS_fchmod,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    // The process itself.
    libc::SYS_adjtimex,
    libc::SYS_capget,
    libc::SYS_clock_adjtime,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_prlimit64,
    libc::SYS_setrlimit,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_uname,
];

/// Calls that newer machines do without, as others do the same.
#[cfg(any(target_arch = "x86_64", target_arch = "arm", target_arch = "mips"))]
const OLDER: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_access,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_stat,
    libc::SYS_unlink,
];
#[cfg(not(any(target_arch = "x86_64", target_arch = "arm", target_arch = "mips")))]
const OLDER: &[libc::c_long] = &[];

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
const OWN: Machine = Machine {
    name: 0xc000_003e,
    calls: WIDE_CALLS,
};
#[cfg(target_arch = "aarch64")]
const OWN: Machine = Machine {
    name: 0xc000_00b7,
    calls: WIDE_CALLS,
};
#[cfg(target_arch = "riscv64")]
const OWN: Machine = Machine {
    name: 0xc000_00f3,
    calls: WIDE_CALLS,
};
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
))]
const WIDE_CALLS: &[libc::c_long] = &[
    libc::SYS_getrlimit,
    libc::SYS_mmap,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    #[cfg(target_arch = "aarch64")]
    libc::SYS_renameat,
];

#[cfg(target_arch = "arm")]
const OWN: Machine = Machine {
    name: 0x4000_0028,
    calls: &[
        libc::SYS__llseek,
        libc::SYS_fcntl64,
        libc::SYS_fstat64,
        libc::SYS_fstatat64,
        libc::SYS_getegid32,
        libc::SYS_geteuid32,
        libc::SYS_getgid32,
        libc::SYS_getuid32,
        libc::SYS_lstat64,
        libc::SYS_mmap2,
        libc::SYS_pread64,
        libc::SYS_sigreturn,
        libc::SYS_stat64,
        libc::SYS_ugetrlimit,
        // Those whose times have 64 bits, which libc does not name: clock_gettime64, clock_adjtime64, ppoll_time64,
        // recvmmsg_time64, futex_time64.
        403,
        405,
        414,
        417,
        422,
    ],
};
#[cfg(target_arch = "mips")]
const OWN: Machine = Machine {
    name: match cfg!(target_endian = "little") {
        true => 0x4000_0008,
        false => 8,
    },
    calls: &[
        libc::SYS__llseek,
        libc::SYS_fcntl64,
        libc::SYS_fstat64,
        libc::SYS_getrlimit,
        libc::SYS_lstat64,
        libc::SYS_mmap,
        libc::SYS_mmap2,
        libc::SYS_sigreturn,
        libc::SYS_stat64,
        // What libc does not name: pread64 and fstatat64, and those whose times have 64 bits: clock_gettime64,
        // clock_adjtime64, ppoll_time64, recvmmsg_time64, futex_time64.
        4200,
        4293,
        4403,
        4405,
        4414,
        4417,
        4422,
    ],
};
/// Of other machines nobody tried which calls there are.
#[cfg(not(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    target_arch = "aarch64",
    target_arch = "riscv64",
    target_arch = "arm",
    target_arch = "mips"
)))]
const OWN: Machine = Machine {
    name: 0,
    calls: &[],
};

const ALLOWED: [&[libc::c_long]; 3] = [COMMON, OLDER, OWN.calls];

/// What the program does (linux/bpf_common.h): loads 32 bits from there, compares, returns.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where the kernel puts the call's number, and the machine's (`struct seccomp_data`).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

const ALLOW: u32 = 0x7fff_0000;
/// A C library that is told that there is no such call tries an older one.
const FAIL: u32 = 0x0005_0000 | libc::ENOSYS as u32;

const SET_MODE_FILTER: libc::c_long = 1;
/// What is refused is in the kernel's log, where it has one for that (from 4.14 on).
const LOG: libc::c_long = 2;

/// Has the kernel refuse this thread every call but those that a running agent makes, for good. New privileges must be
/// forbidden before.
pub(crate) fn allow_known_calls() -> io::Result<()> {
    if OWN.calls.is_empty() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut program = program();
    let filter = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_mut_ptr(),
    };
    let install = |flags: libc::c_long| {
        // SAFETY: the kernel reads the filter, and as many instructions as it says.
        let done =
            unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const filter) };
        super::check(done as libc::c_int).map(drop)
    };
    install(LOG).or_else(|_| install(0))
}

fn program() -> Vec<libc::sock_filter> {
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut program = Vec::with_capacity(COUNT + 5);
    // One jump reaches over all comparisons.
    program.push(step(LOAD, ARCHITECTURE, 0, 0));
    program.push(step(IF_EQUAL, OWN.name, 0, COUNT as u8 + 1));
    program.push(step(LOAD, NUMBER, 0, 0));
    let numbers = ALLOWED.iter().copied().flatten();
    for (number, after) in numbers.zip((0..COUNT).rev()) {
        program.push(step(IF_EQUAL, *number as u32, after as u8 + 1, 0));
    }
    program.push(step(RETURN, FAIL, 0, 0));
    program.push(step(RETURN, ALLOW, 0, 0));
    program
}

const COUNT: usize = COMMON.len() + OLDER.len() + OWN.calls.len();
const _: () = assert!(COUNT < 250, "one jump reaches over them");

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::{fs, thread};

    use super::*;
    use crate::sys::process;

    #[test]
    fn a_known_call_is_made_and_another_one_fails() {
        // A filter belongs to a thread, and does not end before it.
        let tried = thread::spawn(|| {
            process::drop_capabilities_except(&[]).unwrap();
            allow_known_calls().unwrap();
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            // SAFETY: takes numbers only; a priority of 0 changes nothing.
            let other = unsafe { libc::syscall(libc::SYS_setpriority, 0, 0, 0) };
            let error = io::Error::last_os_error();
            (
                status,
                other,
                error.raw_os_error(),
                Command::new("true").status().is_err(),
            )
        });
        let (status, other, error, nothing_starts) = tried.join().unwrap();
        assert!(status.contains("\nSeccomp:\t2\n"), "{status}");
        assert_eq!((other, error), (-1, Some(libc::ENOSYS)));
        assert!(nothing_starts);
    }

    #[test]
    fn every_jump_leads_to_a_verdict() {
        let program = program();
        let (allow, fail) = (program.len() - 1, program.len() - 2);
        for (at, step) in program
            .iter()
            .enumerate()
            .filter(|(_, step)| step.code == IF_EQUAL)
        {
            let target = at + 1 + usize::from(step.jt);
            match step.k {
                name if name == OWN.name => assert_eq!(at + 1 + usize::from(step.jf), fail),
                _ => assert_eq!(target, allow),
            }
        }
    }
}
