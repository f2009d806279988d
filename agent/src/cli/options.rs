//! What the command line says, besides the verb.
//!
//! A new option is a row of the table, a field of [`Options`] that keeps it, and its name at each verb that takes it.

use core::net::IpAddr;
use std::path::PathBuf;

use lexopt::{Arg, Parser};
use postern_core::time::Duration;

use super::values::{
    address, codes, count, delay, duration, family, in_a_row, network, path, resync, text,
    trial_time, until, wait,
};
use crate::client::Family;
use crate::files::config_file::Doors;
use crate::network::Network;
use crate::onetime::Resync;
use crate::output::Failure;

/// Where a configuration is looked for unless `--config` names another.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/config/postern";

/// What the command line said, besides the verb.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) config: PathBuf,
    pub(crate) json: bool,
    pub(crate) from: Option<Network>,
    /// The interface to open on.
    pub(crate) on: Option<String>,
    /// Every door, in place of one.
    pub(crate) all: bool,
    pub(crate) lasting: Option<Duration>,
    pub(crate) force: bool,
    /// Print a section for a new door.
    pub(crate) print: bool,
    /// The door that a new one is to be like.
    pub(crate) like: Option<String>,
    /// When a new door shuts for good, in seconds since 1970.
    pub(crate) until: Option<u64>,
    pub(crate) resync: Option<Resync>,
    /// The door, for the verbs that take one.
    pub(crate) door: String,
    /// The source to pardon.
    pub(crate) source: String,
    /// The router to knock at.
    pub(crate) host: String,
    /// The verb to explain.
    pub(crate) verb: String,
    pub(crate) client_file: Option<PathBuf>,
    pub(crate) closing: bool,
    /// The only family to use; `None`: whichever the host has.
    pub(crate) family: Option<Family>,
    /// Whom a datagram is to name.
    pub(crate) whom: Option<IpAddr>,
    pub(crate) dry_run: bool,
    pub(crate) delay: Option<Duration>,
    /// How long each try waits for the guarded port; `None`: not at all.
    pub(crate) wait: Option<Duration>,
    pub(crate) next: Option<u64>,
    /// How many codes in a row each try sends.
    pub(crate) codes: Option<u8>,
    pub(crate) secret: bool,
    pub(crate) strict: bool,
    /// How long a guard is on trial; `None`: it is none.
    pub(crate) confirm_within: Option<Duration>,
    pub(crate) anyway: bool,
    /// A configuration without a door is no mistake.
    pub(crate) allow_none: bool,
    pub(crate) take_over: bool,
    /// Whether the agent's user is to get what a configuration names.
    pub(crate) hand_over: bool,
    /// Whether procd reads the log.
    pub(crate) for_procd: bool,
}

impl Options {
    pub(crate) const fn doors(&self) -> Doors {
        match self.allow_none {
            true => Doors::Allowed,
            false => Doors::Needed,
        }
    }
}

/// Makes [`Opt`] of the table: a name for each row, and what the row says. Matches take less room in the program than
/// rows of pointers would, each of which has to be mended where the program is loaded.
macro_rules! table {
    (|$options:ident, $parser:ident| $($name:ident $usage:literal $meaning:literal => $keep:expr;)+) => {
        /// An option that some verbs take.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Opt {
            $($name),+
        }

        impl Opt {
            /// How it is written, with its value.
            pub(super) const fn usage(self) -> &'static str {
                match self {
                    $(Self::$name => $usage),+
                }
            }

            pub(super) const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning),+
                }
            }

            /// Keeps what the option says, its value included.
            pub(super) fn keep(self, $options: &mut Options, $parser: &mut Parser) -> Result<(), Failure> {
                match self {
                    $(Self::$name => $keep),+
                }
                Ok(())
            }
        }
    };
}

// Its name here, how it is written, what it means, and how it is kept.
table! { |options, parser|
    Config "--config FILE"
        "the configuration (default: /etc/config/postern)"
        => options.config = path(parser)?;
    Json "--json"
        "print JSON, for programs"
        => options.json = true;
    From "--from ADDRESS"
        "this source only, or this network such as 192.0.2.0/24, in place of everyone"
        => options.from = Some(network(&text(parser)?)?);
    On "--on INTERFACE"
        "everyone on this interface only, a network of OpenWrt's or a device"
        => options.on = Some(text(parser)?);
    All "--all"
        "every door, in place of DOOR"
        => options.all = true;
    Everyone "--all"
        "everyone, in place of ADDRESS"
        => options.all = true;
    For "--for DURATION"
        "how long, such as 90s, 15m or 8h (default: the door's grant)"
        => options.lasting = Some(duration("--for", &text(parser)?)?);
    ClientFile "--config FILE"
        "the client file (default: ~/.config/postern/HOST)"
        => options.client_file = Some(path(parser)?);
    Close "--close"
        "send the knocks that close the door"
        => options.closing = true;
    Ipv4 "-4"
        "knock and connect over IPv4 only"
        => options.family = Some(family(options, Family::V4)?);
    Ipv6 "-6"
        "knock and connect over IPv6 only"
        => options.family = Some(family(options, Family::V6)?);
    As "--as ADDRESS"
        "at a door of method spa, the address to let in, where the router sees another than this machine's"
        => options.whom = Some(address(&text(parser)?)?);
    DryRun "--dry-run"
        "print the packets; send and save nothing"
        => options.dry_run = true;
    Delay "--delay DURATION"
        "the time between two knocks (default: 20ms)"
        => options.delay = Some(delay(&text(parser)?)?);
    Wait "--wait[=DURATION]"
        "wait until the guarded port answers, 5s for each try"
        => options.wait = Some(wait(parser)?);
    Next "--next NUMBER"
        "go on with this counter, or this sequence of a list"
        => options.next = Some(count("--next", &text(parser)?)?);
    Codes "--codes N"
        "send so many codes in a row, 1 to 4, to a door that asks for more than one"
        => options.codes = Some(in_a_row(&text(parser)?)?);
    Secret "--secret"
        "print the secret, or the list, too"
        => options.secret = true;
    Force "--force"
        "replace the secret that is there: the old one is lost"
        => options.force = true;
    Print "--print"
        "DOOR is to be a new one: print its section, ready to paste into the configuration"
        => options.print = true;
    Like "--like DOOR"
        "the door that a new one is to be like (default: the only one)"
        => options.like = Some(text(parser)?);
    Until "--until MOMENT"
        "when a new door shuts for good, such as 2026-12-24T18:00:00+01:00, or 7d from now"
        => options.until = Some(until(&text(parser)?)?);
    To "--to N"
        "the counter of the next code, or how many sequences of the list are used"
        => resync(options, Resync::To(count("--to", &text(parser)?)?))?;
    Code "--code CODE[,NEXT]"
        "the code that your app shows, or two in a row, to find the counter by"
        => resync(options, codes(&text(parser)?)?)?;
    Strict "--strict"
        "fail for warnings too"
        => options.strict = true;
    ConfirmWithin "--confirm-within DURATION"
        "on trial: the kernel ends the guard after so long, such as 2m, without 'confirm'"
        => options.confirm_within = Some(trial_time(&text(parser)?)?);
    Anyway "--anyway"
        "although it cannot be told that you came in during the trial"
        => options.anyway = true;
    AllowNone "--allow-none"
        "accept a configuration without a door, which guards nothing"
        => options.allow_none = true;
    HandOver "--hand-over"
        "as root, first let the agent's user read the files, and give it its folders"
        => options.hand_over = true;
    TakeOver "--take-over"
        "end an agent whose parent is gone, and go on with its guard"
        => options.take_over = true;
    Procd "--procd"
        "log for OpenWrt's procd: all but warnings and mistakes to standard output"
        => options.for_procd = true;
}

impl Opt {
    /// The option alone, with its hyphens.
    pub(super) fn word(self) -> &'static str {
        self.usage().split([' ', '[']).next().unwrap_or_default()
    }

    /// Whether the argument is this option.
    pub(super) fn is(self, arg: &Arg<'_>) -> bool {
        match arg {
            Arg::Long(name) => self.word().strip_prefix("--") == Some(name),
            Arg::Short(letter) => {
                self.word().strip_prefix('-') == Some(letter.encode_utf8(&mut [0; 4]))
            }
            Arg::Value(_) => false,
        }
    }
}
