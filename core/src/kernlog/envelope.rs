//! Who wrote a line, as far as it says.

use super::fields::decimal;

/// What a line says, and whose word it is.
#[derive(Clone, Copy)]
pub(super) enum LogMessage<'l> {
    /// The kernel's, as far as the log can tell.
    Kernel(&'l [u8]),
    /// Somebody else's.
    Other,
}

/// A record of `/dev/kmsg`.
#[derive(Clone, Copy)]
pub(super) struct Record<'l> {
    pub(super) number: u64,
    pub(super) message: LogMessage<'l>,
    /// What it says, whoever wrote it.
    pub(super) text: &'l [u8],
}

/// Reads a record: `PRIORITY,NUMBER,TIME,FLAGS;TEXT`, perhaps with further fields before the
/// semicolon, and further lines (Documentation/ABI/testing/dev-kmsg).
pub(super) fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let (priority, rest) = split(bytes, b',')?;
    let (number, rest) = split(rest, b',')?;
    let (_, rest) = split(rest, b';')?;
    let priority = decimal(priority)?;
    let text = split(rest, b'\n').map_or(rest, |(text, _)| text);
    Some(Record {
        number: decimal(number)?,
        message: match is_kernels(priority) {
            true => LogMessage::Kernel(text),
            false => LogMessage::Other,
        },
        text,
    })
}

/// Reads what log daemons make of a record, and what programs show of the kernel's log:
///
/// ```text
/// Nov 27 06:00:00 host kernel: [   12.345678] TEXT                   rsyslog, syslog-ng, journalctl
/// 2026-11-27T06:00:00.123456+00:00 host kernel: [   12.345678] TEXT  rsyslog
/// Nov 27 06:00:00 host kern.warn kernel: [   12.345678] TEXT         BusyBox's syslogd
/// Nov 27 06:00:00 kernel: [   12.345678] TEXT                        the same, with -S
/// Fri Nov 27 06:00:00 2026 kern.warn kernel: [   12.345678] TEXT     OpenWrt's logread
/// <4>[   12.345678] TEXT                                             /proc/kmsg, dmesg -r
/// [   12.345678] TEXT                                                dmesg -w
/// TEXT                                                               journalctl -o cat
/// ```
///
/// Whoever can begin a line can write all of this. Whoever cannot must not be mistaken for the
/// kernel because of what stands further to the right.
pub(super) fn message(line: &[u8]) -> LogMessage<'_> {
    let text = without_priority(line).and_then(|line| match date(line) {
        Some((date, rest)) => header(date, rest),
        None => Some(line),
    });
    text.map_or(LogMessage::Other, |text| {
        LogMessage::Kernel(without_uptime(text))
    })
}

/// How a line begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Date {
    /// `Nov 27 06:00:00`, or `2026-11-27T06:00:00`: a host may follow.
    Syslog,
    /// `Fri Nov 27 06:00:00 2026`: only OpenWrt's logread writes it, and no host.
    Logread,
}

fn date(line: &[u8]) -> Option<(Date, &[u8])> {
    let (first, rest) = word(line)?;
    if is_iso(first) {
        return Some((Date::Syslog, rest));
    }
    match is_name(first, WEEKDAYS) {
        false => Some((Date::Syslog, day(line)?)),
        true => {
            let (year, rest) = word(day(rest)?)?;
            let year = year.len() == 4 && decimal(year).is_some();
            // With -t, logread adds seconds and milliseconds.
            year.then(|| (Date::Logread, without_uptime(rest)))
        }
    }
}

/// What follows `Nov 27 06:00:00`.
fn day(text: &[u8]) -> Option<&[u8]> {
    let (month, rest) = word(text)?;
    let (day, rest) = word(rest)?;
    let (time, rest) = word(rest)?;
    let digits = decimal(day).is_some() && day.len() <= 2;
    (is_name(month, MONTHS) && digits && is_time(time)).then_some(rest)
}

const WEEKDAYS: &[u8] = b"MonTueWedThuFriSatSun";
const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

fn is_name(word: &[u8], names: &[u8]) -> bool {
    names.chunks_exact(3).any(|name| name == word)
}

/// `06:00:00`, perhaps with a fraction.
fn is_time(word: &[u8]) -> bool {
    has_shape(word, b"00:00:00") && word.iter().skip(8).all(|byte| is_digit_or(*byte, b"."))
}

/// `2026-11-27T06:00:00`, and whatever fraction and time zone.
fn is_iso(word: &[u8]) -> bool {
    let rest = word.iter().skip(19);
    has_shape(word, b"0000-00-00T00:00:00") && { rest }.all(|byte| is_digit_or(*byte, b".,+-:Z"))
}

/// Whether it begins with digits where the shape has zeros, and otherwise as the shape does.
fn has_shape(word: &[u8], shape: &[u8]) -> bool {
    let alike = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    };
    word.len() >= shape.len() && word.iter().zip(shape).all(alike)
}

fn is_digit_or(byte: u8, others: &[u8]) -> bool {
    byte.is_ascii_digit() || others.contains(&byte)
}

/// What follows `kernel:`, if that is the program's name and no other facility is shown.
fn header(date: Date, text: &[u8]) -> Option<&[u8]> {
    let (first, rest) = word(text)?;
    let shown = Facility::of(first);
    match (date, shown) {
        (Date::Logread, Facility::Kernel) => program(rest),
        (Date::Logread, _) | (_, Facility::Other) => None,
        (_, Facility::Kernel) => program(rest),
        (_, Facility::None) => program(text).or_else(|| of_host(first, rest)),
    }
}

fn of_host<'l>(host: &[u8], text: &'l [u8]) -> Option<&'l [u8]> {
    // A program's name that stands where the host should be ends in a colon, or in no
    // character that hosts have.
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:".contains(byte);
    if host.ends_with(b":") || !host.iter().all(allowed) {
        return None;
    }
    let (first, rest) = word(text)?;
    match Facility::of(first) {
        Facility::Kernel => program(rest),
        Facility::Other => None,
        Facility::None => program(text),
    }
}

fn program(text: &[u8]) -> Option<&[u8]> {
    text.trim_ascii_start().strip_prefix(b"kernel: ")
}

/// The facility that a word shows, together with a level: `kern.warn`.
enum Facility {
    Kernel,
    Other,
    None,
}

impl Facility {
    fn of(word: &[u8]) -> Self {
        let known =
            |names: &[&str], name: &[u8]| names.iter().any(|known| known.as_bytes() == name);
        match split(word, b'.') {
            Some((b"kern", level)) if known(LEVELS, level) => Self::Kernel,
            Some((facility, level)) if known(LEVELS, level) && known(FACILITIES, facility) => {
                Self::Other
            }
            _ => Self::None,
        }
    }
}

/// syslog.h: `prioritynames`.
const LEVELS: &[&str] = &[
    "alert", "crit", "debug", "emerg", "err", "error", "info", "none", "notice", "panic", "warn",
    "warning",
];
/// syslog.h: `facilitynames`.
const FACILITIES: &[&str] = &[
    "auth", "authpriv", "cron", "daemon", "ftp", "lpr", "mail", "news", "security", "syslog",
    "user", "uucp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// What follows `<4>`, where that is there and is the kernel's.
fn without_priority(line: &[u8]) -> Option<&[u8]> {
    let Some(rest) = line.strip_prefix(b"<") else {
        return Some(line);
    };
    let (priority, rest) = split(rest, b'>')?;
    is_kernels(decimal(priority)?).then_some(rest)
}

/// RFC 5424, section 6.2.1: the lower three bits are the level, and facility 0 is the kernel's.
const fn is_kernels(priority: u64) -> bool {
    priority >> 3 == 0
}

/// What follows `[   12.345678] `, where that is there, or the same with a date in it.
fn without_uptime(text: &[u8]) -> &[u8] {
    const LONGEST: usize = 40;
    let rest = text.strip_prefix(b"[").and_then(|rest| split(rest, b']'));
    match rest {
        Some((time, rest)) if time.len() <= LONGEST => rest.strip_prefix(b" ").unwrap_or(text),
        _ => text,
    }
}

/// The first word, and what follows it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    split(text.trim_ascii_start(), b' ')
}

/// What stands before the first such byte, and what behind it.
fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == at)?;
    let (before, rest) = text.split_at_checked(position)?;
    Some((before, rest.get(1..)?))
}
