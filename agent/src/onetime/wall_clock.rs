//! Whether the wall clock can be believed: codes derived from a wrong time would be wrong, and,
//! after a step backwards, old codes would be new again.

use core::fmt::{self, Display};
use std::path::Path;

use crate::files::bounded;
use crate::sys::{clock, folder};

/// 2026-04-14, the day of the compiler that `rust-toolchain.toml` names, in milliseconds since
/// 1970. No program made with it ran earlier; raise it together with the compiler.
const TOOLCHAIN_MADE_AT: u64 = 1_776_124_800_000;

/// The most real-time clocks that are looked at.
const MAX_CLOCKS: usize = 16;

/// The time of day, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WallClock {
    /// Milliseconds since 1970.
    pub(crate) millis: u64,
    /// Why it is not to be believed; `None`: it is.
    pub(crate) distrust: Option<&'static str>,
}

impl WallClock {
    /// What the machine says now.
    pub(crate) fn now() -> Self {
        let synchronised = clock::is_synchronised();
        Self::judge(
            clock::unix_millis(),
            synchronised || keeps_time_without_power(),
        )
    }

    /// A router without a battery wakes up in 1970, or, on OpenWrt, at the date of its newest
    /// file, which looks right and is hours or months late. So where nothing keeps time, NTP
    /// has to have been heard.
    const fn judge(millis: u64, has_reason_to_know: bool) -> Self {
        let distrust = if millis < TOOLCHAIN_MADE_AT {
            Some("the clock is not set: it says a time before this program was made")
        } else if !has_reason_to_know {
            Some(
                "the clock is not set: nothing kept the time since power came, and NTP was not heard yet",
            )
        } else {
            None
        };
        Self { millis, distrust }
    }
}

/// A moment as `date -u` says it, from milliseconds since 1970.
pub(crate) fn utc(millis: u64) -> impl Display {
    let seconds = millis / 1000;
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    // Nobody waits for the end of time.
    let mut year = 1970;
    while year < 9999 && days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    while month < 12 {
        let length = match month {
            2 => 28 + u64::from(is_leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (day, hour, minute, second) = (days + 1, time / 3600, time / 60 % 60, time % 60);
    fmt::from_fn(move |f| {
        write!(
            f,
            "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
    })
}

/// A PC's kernel sets its clock from battery or hypervisor before any program runs, driver or not
/// (`read_persistent_clock64` in arch/x86/kernel/rtc.c); elsewhere one of the drivers did, or none.
fn keeps_time_without_power() -> bool {
    let is_pc = cfg!(any(target_arch = "x86", target_arch = "x86_64"));
    is_pc || set_the_clock_at_boot(Path::new("/sys/class/rtc"))
}

/// Whether the kernel took the time from one of these real-time clocks when it started. Many
/// chips have such a clock and no battery for it, so that it is there says nothing
/// (Documentation/ABI/testing/sysfs-class-rtc, `hctosys`).
fn set_the_clock_at_boot(clocks: &Path) -> bool {
    let names = folder::names(clocks, MAX_CLOCKS).unwrap_or_default();
    let mut answers = names.iter().map(|name| clocks.join(name).join("hctosys"));
    answers.any(|answer| bounded::read(&answer, 8).is_ok_and(|text| text.trim_ascii() == b"1"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::scratch::Scratch;

    #[test]
    fn a_clock_is_believed_only_with_a_reason() {
        assert!(WallClock::judge(0, true).distrust.is_some());
        assert!(
            WallClock::judge(TOOLCHAIN_MADE_AT - 1, true)
                .distrust
                .is_some()
        );
        assert!(
            WallClock::judge(TOOLCHAIN_MADE_AT, false)
                .distrust
                .is_some()
        );
        assert_eq!(WallClock::judge(TOOLCHAIN_MADE_AT, true).distrust, None);
    }

    #[test]
    fn only_a_clock_that_the_kernel_took_the_time_from_counts() {
        let scratch = Scratch::new();
        assert!(!set_the_clock_at_boot(&scratch.path("nowhere")));
        assert!(!set_the_clock_at_boot(scratch.folder()));
        for clock in ["rtc0", "rtc1", "rtc2"] {
            fs::create_dir(scratch.path(clock)).unwrap();
        }
        for (answer, expected) in [("", false), ("0\n", false), ("10\n", false), ("1\n", true)] {
            scratch.file("rtc0/hctosys", "0\n");
            scratch.file("rtc1/hctosys", answer);
            assert_eq!(
                set_the_clock_at_boot(scratch.folder()),
                expected,
                "{answer}"
            );
        }
    }

    #[test]
    fn moments_read_as_date_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (1_800_000_000, "2027-01-15 08:00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(seconds * 1000).to_string(), text);
        }
        assert!(utc(u64::MAX).to_string().starts_with("9999-"));
    }

    #[test]
    fn it_is_the_machines_time() {
        let before = clock::unix_millis();
        let now = WallClock::now().millis;
        assert!((before..=clock::unix_millis()).contains(&now));
    }
}
