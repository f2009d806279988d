//! How the values of options are read.

use core::net::IpAddr;
use std::path::PathBuf;

use lexopt::{Error, Parser, ValueExt};
use postern_core::network::{Network, NetworkError};
use postern_core::rfc3339;
use postern_core::time::Duration;

use super::options::Options;
use crate::client::Family;
use crate::onetime::Resync;
use crate::onetime::wall_clock::WallClock;
use crate::output::Failure;

/// How long `knock --wait` gives each try unless it is told: longer than the 3 s after which the
/// kernel gives up looking for a neighbour (arp(7), mcast_solicit), so that this can be told.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(5);

pub(super) const NO_TIME: Duration = Duration::from_millis(0);

pub(super) fn text(parser: &mut Parser) -> Result<String, Failure> {
    parser.value().and_then(ValueExt::string).map_err(misused)
}

pub(super) fn path(parser: &mut Parser) -> Result<PathBuf, Failure> {
    parser.value().map(PathBuf::from).map_err(misused)
}

/// An address, or a network.
/// One address.
pub(super) fn address(text: &str) -> Result<IpAddr, Failure> {
    text.parse().map_err(|_| {
        Failure::Misused(format!(
            "--as: '{}' is no address, expected one such as 192.0.2.7 or 2001:db8::7",
            text.escape_default()
        ))
    })
}

pub(super) fn network(text: &str) -> Result<Network, Failure> {
    let address: Option<IpAddr> = text.parse().ok();
    let network = match address {
        Some(address) => Ok(Network::of(address, u8::MAX)),
        None => Network::parse(text),
    };
    network.map_err(|why| {
        let text = text.escape_default();
        Failure::Misused(match why {
            NetworkError::HostBits => format!(
                "--from: '{text}' has bits behind its prefix, expected zeros there, as in 192.0.2.0/24"
            ),
            _ => format!(
                "--from: '{text}' is no address, expected one such as 192.0.2.7 or 2001:db8::7, or a network such \
                 as 192.0.2.0/24"
            ),
        })
    })
}

/// A moment, or a time from now, by a clock that is right.
pub(super) fn until(text: &str) -> Result<u64, Failure> {
    if let Some(moment) = rfc3339::parse(text) {
        return Ok(moment);
    }
    let Some(wait) = Duration::parse(text).ok().filter(|wait| *wait > NO_TIME) else {
        return Err(Failure::Misused(format!(
            "--until: '{}' is no moment, expected one such as 2026-12-24T18:00:00+01:00, or a time from now such as 7d",
            text.escape_default()
        )));
    };
    let WallClock { millis, distrust } = WallClock::now();
    match distrust {
        None => Ok(millis.saturating_add(wait.as_millis()) / 1_000),
        Some(why) => Err(Failure::Failed(format!(
            "--until: {why}; name the moment itself"
        ))),
    }
}

/// Time enough to log in anew, and not so much that a locked-out owner gives up.
pub(super) fn trial_time(text: &str) -> Result<Duration, Failure> {
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(86_400);
    let time = duration("--confirm-within", text)?;
    match (SHORTEST..=LONGEST).contains(&time) {
        true => Ok(time),
        false => Err(Failure::Misused(
            "--confirm-within takes a time from 1s to 1d, such as 2m".into(),
        )),
    }
}

pub(super) fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    match Duration::parse(text) {
        Ok(duration) if duration > Duration::default() => Ok(duration),
        _ => Err(Failure::Misused(format!(
            "{option}: '{}' is no time span, expected one such as 90s, 15m or 8h, up to 365d",
            text.escape_default()
        ))),
    }
}

/// No delay is a delay too.
pub(super) fn delay(text: &str) -> Result<Duration, Failure> {
    match Duration::parse(text) {
        Ok(NO_TIME) => Ok(NO_TIME),
        _ => duration("--delay", text),
    }
}

/// A time span after `=`, or as the next word if that is one: a door's name never is.
pub(super) fn wait(parser: &mut Parser) -> Result<Duration, Failure> {
    if let Some(value) = parser.optional_value() {
        return duration("--wait", &value.string().map_err(misused)?);
    }
    let next = parser.try_raw_args().and_then(|mut words| {
        let span = Duration::parse(words.peek()?.to_str()?).ok()?;
        words.next().map(|_| span)
    });
    match next {
        Some(NO_TIME) => duration("--wait", "0"),
        next => Ok(next.unwrap_or(DEFAULT_WAIT)),
    }
}

pub(super) fn family(options: &Options, family: Family) -> Result<Family, Failure> {
    match options.family {
        Some(other) if other != family => Err(Failure::Misused(
            "-4 and -6 exclude each other; without either, the host's addresses decide".into(),
        )),
        _ => Ok(family),
    }
}

pub(super) fn count(option: &str, text: &str) -> Result<u64, Failure> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or_else(|| {
        let text = text.escape_default();
        Failure::Misused(format!(
            "{option}: '{text}' is no number, expected one such as 42"
        ))
    })
}

/// How many codes in a row a door can ask for.
pub(super) fn in_a_row(text: &str) -> Result<u8, Failure> {
    let number = text.parse().ok().filter(|number| (1..=4).contains(number));
    number.ok_or_else(|| {
        let text = text.escape_default();
        Failure::Misused(format!("--codes: '{text}' is no number from 1 to 4"))
    })
}

/// One code or two, each as apps show them, with spaces perhaps.
pub(super) fn codes(text: &str) -> Result<Resync, Failure> {
    let digits = |code: &str| -> Option<String> {
        let code: String = code.split_whitespace().collect();
        let is_code = matches!(code.len(), 6 | 8) && code.bytes().all(|byte| byte.is_ascii_digit());
        is_code.then_some(code)
    };
    let codes: Option<Vec<String>> = text.splitn(3, ',').map(digits).collect();
    match codes.as_deref() {
        Some([only]) => Ok(Resync::Codes(only.clone(), None)),
        Some([first, second]) => Ok(Resync::Codes(first.clone(), Some(second.clone()))),
        _ => Err(Failure::Misused(format!(
            "--code: '{}' is no code, expected 6 or 8 digits such as 482913, or two codes such as 482913,027455",
            text.escape_default()
        ))),
    }
}

pub(super) fn resync(options: &mut Options, how: Resync) -> Result<(), Failure> {
    match options.resync.replace(how) {
        None => Ok(()),
        Some(_) => Err(Failure::Misused(
            "--to and --code: one of them, once".into(),
        )),
    }
}

pub(super) fn misused(error: Error) -> Failure {
    let (option, what) = match &error {
        Error::MissingValue { option } => (option.as_deref(), " needs a value"),
        Error::UnexpectedValue { option, .. } => (Some(option.as_str()), " takes no value"),
        Error::UnexpectedOption(option) => (
            Some(option.as_str()),
            " is no option here; 'postern --help' lists the verbs",
        ),
        _ => (None, "a word that is not UTF-8 means nothing here"),
    };
    let option = option.unwrap_or_default().escape_default();
    Failure::Misused(format!("{option}{what}"))
}
