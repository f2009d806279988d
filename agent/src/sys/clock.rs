//! What time it is: the only place that asks.

use core::mem;
use core::time::Duration;
use std::time::SystemTime;

use postern_core::time::Instant;

/// The time since boot, suspend included.
pub(crate) fn boottime() -> Instant {
    let time = read(libc::CLOCK_BOOTTIME);
    Instant::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// How long this thread has run on a processor.
pub(crate) fn thread_time() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    // SAFETY: a timespec is made of integers, some of them padding on 32-bit machines, for
    // which all zero is a value.
    let mut time: libc::timespec = unsafe { mem::zeroed() };
    // SAFETY: `time` is a timespec to write to. A kernel without this clock (that of the boot came with 2.6.39)
    // leaves it zero.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Milliseconds since 1970, as the wall clock has it; zero before that.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Whether something, such as an NTP client, keeps the wall clock right: adjtimex(2).
///
/// The kernel believes it from the client's first word until 16 s of error can have gathered, or
/// the clock is set by hand (`ntp_clear` and `second_overflow` in kernel/time/ntp.c).
pub(crate) fn is_synchronised() -> bool {
    // SAFETY: a timex is made of integers, for which all zero is a value; no mode is a
    // request to read, which needs no privilege.
    let mut state: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: `state` is a timex to write to.
    let result = unsafe { libc::adjtimex(&raw mut state) };
    result >= 0 && state.status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_agrees_with_the_kernels_uptime() {
        let before = boottime();
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let uptime = (seconds * 1000.0) as u64;
        // The kernel rounds down to a hundredth of a second.
        assert!(before.as_millis() <= uptime + 10);
        assert!(uptime <= boottime().as_millis());
    }

    #[test]
    fn the_wall_clock_is_past_2024() {
        assert!(unix_millis() > 1_704_067_200_000);
    }
}
