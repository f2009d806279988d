//! Values as they are written: a text in, what it says out.

use core::ops::RangeInclusive;

use heapless::{String, Vec};

use super::Problem;
use crate::door::{Cutoff, MAX_PATH};
use crate::knock::{Port, PortRange, Protocol};
use crate::network::{Network, NetworkError};
use crate::payload::{MAX_BYTES, Payload};
use crate::spa::MAX_USER;
use crate::time::{Duration, DurationError};

const LONGEST_CUTOFF: Duration = Duration::from_secs(30 * 86_400);
const SHORTEST_TIME: Duration = Duration::from_millis(1);

/// What one of these words stands for.
pub(super) fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Problem> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or(Problem::UnknownWord)
}

/// What OpenWrt's shell functions take for yes and no (`get_bool` in functions.sh).
pub(super) fn switch(text: &str) -> Result<bool, Problem> {
    match text {
        "1" | "on" | "true" | "yes" | "enabled" => Ok(true),
        "0" | "off" | "false" | "no" | "disabled" => Ok(false),
        _ => Err(Problem::UnknownWord),
    }
}

/// A word that shell scripts can use as it is.
pub(super) fn word(text: &str) -> Result<(), Problem> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match !text.is_empty() && !text.starts_with('-') && text.bytes().all(allowed) {
        true => Ok(()),
        false => Err(Problem::BadValue),
    }
}

/// The name of a folder in `/sys/class/leds`.
pub(super) fn led(text: &str) -> Result<(), Problem> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    match !text.is_empty() && !text.starts_with('.') && text.bytes().all(allowed) {
        true => Ok(()),
        false => Err(Problem::BadValue),
    }
}

/// A user's name as fwknop takes it (`is_valid_username` in lib/fko_user.c).
pub(super) fn user(text: &str) -> Result<String<MAX_USER>, Problem> {
    let allowed = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"/\\[]:;|=,+*?<>".contains(&byte);
    match !text.is_empty() && text.bytes().all(allowed) {
        true => text.try_into().map_err(|_| Problem::BadValue),
        false => Err(Problem::BadValue),
    }
}

/// The most octets that an echo request carries in one packet of IPv6 over Ethernet.
const LONGEST_ECHO: u16 = 1_452;

/// Ports to guard.
pub(super) fn ports(text: &str) -> Result<PortRange, Problem> {
    if text == Protocol::Icmp.name() {
        return Ok(PortRange::ECHO);
    }
    let Some((first, last)) = text.split_once('-') else {
        return match port(text)? {
            // Whoever guards echo requests guards all of them.
            Port {
                protocol: Protocol::Icmp,
                ..
            } => Err(Problem::BadValue),
            port => Ok(port.into()),
        };
    };
    let Port {
        protocol,
        number: first,
    } = port(first)?;
    let last = number(last, 1..=u16::MAX)?;
    match first < last && protocol != Protocol::Icmp {
        true => Ok(PortRange {
            protocol,
            first,
            last,
        }),
        false => Err(Problem::BadValue),
    }
}

pub(super) fn network(text: &str) -> Result<Network, Problem> {
    Network::parse(text).map_err(|error| match error {
        NetworkError::HostBits => Problem::HostBits,
        _ => Problem::BadValue,
    })
}

/// A port to knock on.
pub(super) fn port(text: &str) -> Result<Port, Problem> {
    let (protocol, digits) = match text.split_once(':') {
        None => (Protocol::Tcp, text),
        Some(("tcp", digits)) => (Protocol::Tcp, digits),
        Some(("udp", digits)) => (Protocol::Udp, digits),
        Some(("icmp", rest)) => {
            let digits = rest.strip_prefix("echo:").ok_or(Problem::BadValue)?;
            let number = number(digits, 0..=LONGEST_ECHO)?;
            return Ok(Port {
                protocol: Protocol::Icmp,
                number,
            });
        }
        // As knockd's `knock` writes it.
        Some((digits, "tcp" | "udp")) if number(digits, 1..=u16::MAX).is_ok() => {
            return Err(Problem::PortFirst);
        }
        Some(_) => return Err(Problem::BadValue),
    };
    let number = number(digits, 1..=u16::MAX)?;
    Ok(Port { protocol, number })
}

pub(super) fn number(text: &str, range: RangeInclusive<u16>) -> Result<u16, Problem> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::BadValue);
    }
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or(Problem::OutOfRange)
}

pub(super) fn small_number(text: &str, range: RangeInclusive<u8>) -> Result<u8, Problem> {
    let range = u16::from(*range.start())..=u16::from(*range.end());
    u8::try_from(number(text, range)?).map_err(|_| Problem::OutOfRange)
}

/// Bits, of which there is at least one.
pub(super) fn mark(text: &str) -> Result<u32, Problem> {
    let digits = text.strip_prefix("0x").ok_or(Problem::BadValue)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Problem::BadValue);
    }
    let mark = u32::from_str_radix(digits, 16).ok();
    mark.filter(|mark| *mark != 0).ok_or(Problem::OutOfRange)
}

/// A time above 0 and up to `longest`.
pub(super) fn time(text: &str, longest: Duration) -> Result<Duration, Problem> {
    time_within(text, SHORTEST_TIME..=longest)
}

pub(super) fn time_within(
    text: &str,
    range: RangeInclusive<Duration>,
) -> Result<Duration, Problem> {
    match Duration::parse(text) {
        Err(DurationError::Number | DurationError::Unit) => Err(Problem::BadValue),
        Ok(time) if range.contains(&time) => Ok(time),
        Ok(_) | Err(DurationError::Range) => Err(Problem::OutOfRange),
    }
}

/// Whole seconds, 5s to 1h.
pub(super) fn period(text: &str) -> Result<u32, Problem> {
    let time = time_within(text, Duration::from_secs(5)..=Duration::from_secs(3_600))?;
    let seconds = u32::try_from(time.as_millis() / 1_000).map_err(|_| Problem::OutOfRange)?;
    match time.as_millis() % 1_000 {
        0 => Ok(seconds),
        _ => Err(Problem::BadValue),
    }
}

pub(super) fn cutoff(text: &str) -> Result<Cutoff, Problem> {
    let mut words = text.split_ascii_whitespace();
    let (Some(failures), Some("per"), Some(within), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Problem::BadValue);
    };
    Ok(Cutoff {
        failures: number(failures, 1..=1000)?,
        within: time(within, LONGEST_CUTOFF)?,
    })
}

pub(super) fn path(text: &str) -> Result<String<MAX_PATH>, Problem> {
    if !text.starts_with('/') || text.ends_with('/') || text.chars().any(char::is_control) {
        return Err(Problem::BadValue);
    }
    String::try_from(text).map_err(|_| Problem::BadValue)
}

/// Whether what the path names is made by the kernel, and no ordinary file.
pub(super) fn is_special(path: &str) -> bool {
    let special = ["/dev/", "/proc/", "/sys/"];
    special.iter().any(|folder| path.starts_with(folder))
}

/// Whether a reboot empties the folder, on OpenWrt or elsewhere.
pub(super) fn is_volatile(path: &str) -> bool {
    let volatile = ["/tmp/", "/run/", "/var/run/", "/var/tmp/", "/dev/shm/"];
    volatile.iter().any(|folder| path.starts_with(folder))
}

pub(super) fn payload(text: &str) -> Result<Payload, Problem> {
    Ok(match text {
        "dns" => Payload::Dns,
        "ntp" => Payload::Ntp,
        "stun" => Payload::Stun,
        "quic" => Payload::Quic,
        _ => {
            let bytes = match text.split_once(':') {
                Some(("hex", digits)) => hex(digits),
                Some(("text", text)) if !text.chars().any(char::is_control) => {
                    Vec::from_slice(text.as_bytes()).ok()
                }
                _ => None,
            };
            let bytes = bytes.filter(|bytes| !bytes.is_empty());
            Payload::Bytes(bytes.ok_or(Problem::BadValue)?)
        }
    })
}

fn hex(digits: &str) -> Option<Vec<u8, MAX_BYTES>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let mut bytes = Vec::new();
    for [high, low] in pairs {
        bytes.push(nibble(*high)? << 4 | nibble(*low)?).ok()?;
    }
    rest.is_empty().then_some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads() {
        let bytes = |bytes: &[u8]| Ok(Payload::Bytes(Vec::from_slice(bytes).unwrap()));
        let longest = std::format!("hex:{}", "aF".repeat(MAX_BYTES));
        for (text, expected) in [
            ("dns", Ok(Payload::Dns)),
            ("hex:00fFA0", bytes(b"\x00\xff\xa0")),
            ("text:a b: c", bytes(b"a b: c")),
            ("text: ", bytes(b" ")),
            ("text:\u{e9}", bytes(b"\xc3\xa9")),
            (&longest, bytes(&[0xaf; MAX_BYTES])),
        ] {
            assert_eq!(payload(text), expected, "{text}");
        }
        let longer = std::format!("{longest}00");
        let long_text = std::format!("text:{}", "x".repeat(MAX_BYTES + 1));
        for text in [
            "",
            "DNS",
            "dns ",
            "hex",
            "hex:",
            "hex:0",
            "hex:0g",
            "hex:+1",
            "hex:0x00",
            "text:",
            "text:a\tb",
            "Text:a",
            "a",
            &longer,
            &long_text,
        ] {
            assert_eq!(payload(text), Err(Problem::BadValue), "{text}");
        }
    }

    #[test]
    fn periods() {
        for (text, expected) in [
            ("5s", Ok(5)),
            ("30", Ok(30)),
            ("1h", Ok(3_600)),
            ("30000ms", Ok(30)),
            ("30500ms", Err(Problem::BadValue)),
            ("4s", Err(Problem::OutOfRange)),
            ("3601s", Err(Problem::OutOfRange)),
            ("x", Err(Problem::BadValue)),
        ] {
            assert_eq!(period(text), expected, "{text}");
        }
    }

    #[test]
    fn folders_that_a_reboot_empties() {
        for (path, volatile) in [
            ("/tmp/x", true),
            ("/var/run/x", true),
            ("/tmpfs/x", false),
            ("/var/lib/postern", false),
            ("/etc/postern/state", false),
        ] {
            assert_eq!(is_volatile(path), volatile, "{path}");
        }
    }
}
