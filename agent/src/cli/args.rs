//! The command line: one table of verbs serves dispatch, `--help` and each verb's own page.

use core::net::IpAddr;
use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};
use postern_core::time::Duration;

use super::options::{DEFAULT_CONFIG, Options};
use crate::cli::command;
use crate::client::Family;
use crate::doctor;
use crate::firewall::RENDERER;
use crate::onetime::Resync;
use crate::output::{self, Failure};

/// How long `knock --wait` gives each try unless it is told: longer than the 3 s after which the
/// kernel gives up looking for a neighbour (arp(7), mcast_solicit), so that this can be told.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);

const NO_TIME: Duration = Duration::from_millis(0);

/// What `--version` prints.
fn version() -> String {
    let client = match command::KNOCK_LEFT_OUT {
        None => "",
        Some(_) => ", no client",
    };
    format!(
        "postern {} ({RENDERER}{client})\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// One thing that Postern can be told to do.
struct Verb {
    name: &'static str,
    /// What stands on the line after the name, options aside.
    operands: &'static [Operand],
    summary: &'static str,
    details: &'static str,
    options: &'static [Opt],
    run: fn(&Options) -> Result<(), Failure>,
}

/// A word that some verbs need.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operand {
    Door,
    /// It, or --all.
    DoorOrSayAll,
    /// All doors, unless it is named.
    DoorOrAll,
    Host,
    /// It, or --all.
    SourceOrSayAll,
}

impl Operand {
    const fn name(self) -> &'static str {
        match self {
            Self::Door => "DOOR",
            Self::DoorOrSayAll => "(DOOR | --all)",
            Self::DoorOrAll => "[DOOR]",
            Self::Host => "HOST",
            Self::SourceOrSayAll => "(ADDRESS | --all)",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Door | Self::DoorOrSayAll | Self::DoorOrAll => "the name of a door",
            Self::Host => "the name or the address of a router",
            Self::SourceOrSayAll => "an address, or --all",
        }
    }

    /// Where it is kept; empty until the command line says it.
    const fn place(self, options: &mut Options) -> &mut String {
        match self {
            Self::Door | Self::DoorOrSayAll | Self::DoorOrAll => &mut options.door,
            Self::Host => &mut options.host,
            Self::SourceOrSayAll => &mut options.source,
        }
    }

    /// Whether it has to be there and is not.
    fn is_missing(self, options: &mut Options) -> bool {
        let is_needed = match self {
            Self::DoorOrSayAll | Self::SourceOrSayAll => !options.all,
            Self::DoorOrAll => false,
            Self::Door | Self::Host => true,
        };
        is_needed && self.place(options).is_empty()
    }
}

/// An option that some verbs take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opt {
    Config,
    Json,
    From,
    On,
    All,
    Everyone,
    For,
    ClientFile,
    Close,
    Ipv4,
    Ipv6,
    DryRun,
    Delay,
    Wait,
    Next,
    Secret,
    Force,
    To,
    Code,
    Strict,
    ConfirmWithin,
    Anyway,
    AllowNone,
    TakeOver,
    Procd,
}

impl Opt {
    const fn usage(self) -> &'static str {
        match self {
            Self::Config | Self::ClientFile => "--config FILE",
            Self::Json => "--json",
            Self::From => "--from ADDRESS",
            Self::On => "--on INTERFACE",
            Self::All | Self::Everyone => "--all",
            Self::For => "--for DURATION",
            Self::Close => "--close",
            Self::Ipv4 => "-4",
            Self::Ipv6 => "-6",
            Self::DryRun => "--dry-run",
            Self::Delay => "--delay DURATION",
            Self::Wait => "--wait[=DURATION]",
            Self::Next => "--next NUMBER",
            Self::Secret => "--secret",
            Self::Force => "--force",
            Self::To => "--to N",
            Self::Code => "--code CODE[,NEXT]",
            Self::ConfirmWithin => "--confirm-within DURATION",
            Self::Anyway => "--anyway",
            Self::TakeOver => "--take-over",
            Self::Strict => "--strict",
            Self::AllowNone => "--allow-none",
            Self::Procd => "--procd",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Config => "the configuration (default: /etc/config/postern)",
            Self::Json => "print JSON, for programs",
            Self::From => "this source only, in place of everyone",
            Self::On => "everyone on this interface only, a network of OpenWrt\'s or a device",
            Self::All => "every door, in place of DOOR",
            Self::Everyone => "everyone, in place of ADDRESS",
            Self::For => "how long, such as 90s, 15m or 8h (default: the door's grant)",
            Self::ClientFile => "the client file (default: ~/.config/postern/HOST)",
            Self::Close => "send the knocks that close the door",
            Self::Ipv4 => "knock and connect over IPv4 only",
            Self::Ipv6 => "knock and connect over IPv6 only",
            Self::DryRun => "print the packets; send and save nothing",
            Self::Delay => "the time between two knocks (default: 20ms)",
            Self::Wait => "wait until the guarded port answers, 5s for each try",
            Self::Next => "go on with this counter, or this sequence of a list",
            Self::Secret => "print the secret, or the list, too",
            Self::Force => "replace the secret that is there: the old one is lost",
            Self::To => "the counter of the next code, or how many sequences of the list are used",
            Self::Code => "the code that your app shows, or two in a row, to find the counter by",
            Self::ConfirmWithin => {
                "on trial: the kernel ends the guard after so long, such as 2m, without 'confirm'"
            }
            Self::Anyway => "although it cannot be told that you came in during the trial",
            Self::TakeOver => "end an agent whose parent is gone, and go on with its guard",
            Self::Strict => "fail for warnings too",
            Self::AllowNone => "accept a configuration without a door, which guards nothing",
            Self::Procd => {
                "log for OpenWrt\'s procd: all but warnings and mistakes to standard output"
            }
        }
    }

    /// Whether the argument is this option.
    fn is(self, arg: &Arg<'_>) -> bool {
        let word = self.usage().split([' ', '[']).next().unwrap_or_default();
        match arg {
            Arg::Long(name) => word.strip_prefix("--") == Some(name),
            Arg::Short(letter) => word.strip_prefix('-') == Some(letter.encode_utf8(&mut [0; 4])),
            Arg::Value(_) => false,
        }
    }

    /// Keeps what the option says, its value included.
    fn set(self, options: &mut Options, parser: &mut Parser) -> Result<(), Failure> {
        match self {
            Self::Config => options.config = parser.value().map_err(misused)?.into(),
            Self::ClientFile => {
                options.client_file = Some(parser.value().map_err(misused)?.into());
            }
            Self::Json => options.json = true,
            Self::From => options.from = Some(address(parser)?),
            Self::On => options.on = Some(text(parser)?),
            Self::All | Self::Everyone => options.all = true,
            Self::For => options.lasting = Some(duration("--for", &text(parser)?)?),
            Self::Close => options.closing = true,
            Self::Ipv4 => options.family = Some(family(options, Family::V4)?),
            Self::Ipv6 => options.family = Some(family(options, Family::V6)?),
            Self::DryRun => options.dry_run = true,
            Self::Delay => options.delay = Some(delay(&text(parser)?)?),
            Self::Wait => options.wait = Some(wait(parser)?),
            Self::Next => options.next = Some(count("--next", &text(parser)?)?),
            Self::Secret => options.secret = true,
            Self::Force => options.force = true,
            Self::To => resync(options, Resync::To(count("--to", &text(parser)?)?))?,
            Self::Code => resync(options, codes(&text(parser)?)?)?,
            Self::ConfirmWithin => options.confirm_within = Some(trial_time(&text(parser)?)?),
            Self::Anyway => options.anyway = true,
            Self::TakeOver => options.take_over = true,
            Self::Strict => options.strict = true,
            Self::AllowNone => options.allow_none = true,
            Self::Procd => options.for_procd = true,
        }
        Ok(())
    }
}

const VERBS: &[Verb] = &[
    Verb {
        name: "run",
        operands: &[],
        summary: "guard the doors, watch for knocks and act on them",
        details: "Installs the guard, then watches until SIGTERM. SIGHUP reads the configuration again;\n\
                  a wrong one is reported and the running one stays. The guard and its grants outlive\n\
                  the agent: 'postern remove' takes them away. With option enabled '0' it takes the guard away,\n\
                  says so, and waits. A configuration without a door is a mistake unless --allow-none is\n\
                  said; as soon as there is a door, a reload that leaves none is one all the same.\n\n\
                  There is one agent to a control socket. --take-over is for a service manager: procd's\n\
                  jailer may be killed, and the agent in it lives on as a child of process 1.\n\n\
                  The log goes to standard error, with priorities where systemd's journal reads it.",
        options: &[Opt::AllowNone, Opt::TakeOver, Opt::Procd, Opt::Config],
        run: command::run,
    },
    Verb {
        name: "check",
        operands: &[],
        summary: "report every mistake in a configuration",
        details: "Prints FILE:LINE:COLUMN: for each. Exit status 1 when there is a mistake; warnings\n\
                  alone are none. That there is no door is a mistake, but for option enabled '0'.",
        options: &[Opt::AllowNone, Opt::Config],
        run: command::check,
    },
    Verb {
        name: "render",
        operands: &[],
        summary: "print the nftables ruleset that 'apply' would install",
        details: "What it prints can be loaded with 'nft -f -' and is what 'nft list table inet postern'\n\
                  shows afterwards. With option enabled '0' it takes that table away.",
        options: &[Opt::AllowNone, Opt::Config],
        run: command::render,
    },
    Verb {
        name: "apply",
        operands: &[],
        summary: "install the guard, keeping the grants of doors that did not change",
        details: "In one transaction: all of it or nothing. A running agent takes over the configuration. Says\n\
                  which doors, ports and interfaces are not guarded any more. With option enabled '0' it\n\
                  takes the guard away. A configuration without a door is a mistake.\n\n\
                  Where other knocks, another secret_file or another payload open a door than before, whoever\n\
                  was let in there has to knock again; only 'open' without --from is kept. 'postern close --all'\n\
                  ends all grants.\n\n\
                  With --confirm-within the guard is on trial. Leave this login open, log in anew through\n\
                  the guard, and say 'postern confirm' there. Without that the kernel lets the doors fall\n\
                  open in time, whatever became of the agent; a running agent then goes back to the\n\
                  configuration before, and so does a reboot.",
        options: &[Opt::ConfirmWithin, Opt::AllowNone, Opt::Config],
        run: command::apply,
    },
    Verb {
        name: "reload",
        operands: &[],
        summary: "have the running agent read its configuration again",
        details: "As SIGHUP does, with an answer: exit status 1 where the file is refused, or the agent may not\n\
                  do what it says any more without a restart. The running configuration stays then.",
        options: &[Opt::Config],
        run: command::reload,
    },
    Verb {
        name: "confirm",
        operands: &[],
        summary: "make a guard that is on trial stay",
        details: "To be said over a connection that was made after the trial began, because that shows that\n\
                  you can come in, or on a console. A grant from before the trial lets you in without the\n\
                  new knocks: 'postern close DOOR' ends it first.",
        options: &[Opt::Anyway, Opt::Config],
        run: command::confirm,
    },
    Verb {
        name: "remove",
        operands: &[],
        summary: "take the guard away: every door is left to the ordinary firewall",
        details: "A running agent lives on without a guard, until 'postern apply' or SIGHUP.",
        options: &[Opt::Config],
        run: command::remove,
    },
    Verb {
        name: "status",
        operands: &[],
        summary: "show doors, grants, attempts under way and counters",
        details: "Works without a running agent too, as far as the kernel knows.\n\n\
                  Exit status, for monitors: 0 the guard is in force and knocks are heard, 3 it is and nobody\n\
                  hears them, 4 nothing is guarded (or a trial was not confirmed), 1 it cannot be told.",
        options: &[Opt::Json, Opt::Config],
        run: command::status,
    },
    Verb {
        name: "watch",
        operands: &[],
        summary: "tell of knocks and doors as it happens",
        details: "Tells of each knock that the agent hears and of what it does, and every 0.2s of what changed\n\
                  at doors of the kernel's engines, until Ctrl-C. It shows which ports are knocked: the\n\
                  screen is as secret as they are. In a flood it leaves events out, and says how many.",
        options: &[Opt::Json, Opt::Config],
        run: command::watch,
    },
    Verb {
        name: "doctor",
        operands: &[],
        summary: "look for what could lock you out, and for what this kernel lacks",
        details: "Says of each finding what helps. Changes nothing and starts no program; run it as root, or\n\
                  it sees less. 'run' and 'apply' refuse where the finding is fatal.\n\
                  Exit status 1 when a finding is fatal, with --strict when one is a warning.",
        options: &[Opt::Json, Opt::Strict, Opt::Config],
        run: command::doctor,
    },
    Verb {
        name: "open",
        operands: &[Operand::DoorOrSayAll],
        summary: "open a door by hand",
        details: "Works without a running agent and with a broken configuration.",
        options: &[Opt::All, Opt::From, Opt::On, Opt::For, Opt::Config],
        run: command::open,
    },
    Verb {
        name: "close",
        operands: &[Operand::DoorOrSayAll],
        summary: "withdraw a door's grants",
        details: "Without --from, all of them. Connections that are established live on, except at doors with\n\
                  option on_expiry 'cut'.",
        options: &[Opt::All, Opt::From, Opt::Config],
        run: command::close,
    },
    Verb {
        name: "lock",
        operands: &[Operand::DoorOrAll],
        summary: "let nobody in at a door, whatever is granted",
        details: "At every door, if none is named. Until 'postern unlock', which works without a running agent\n\
                  too; a reload, a restart of the agent and a flush of the firewall leave it locked. 'postern\n\
                  remove' and a reboot lift it: every way to be locked out ends somewhere. Connections that\n\
                  are established live on, except at doors with option on_expiry 'cut'.",
        options: &[Opt::All, Opt::Config],
        run: command::lock,
    },
    Verb {
        name: "unlock",
        operands: &[Operand::DoorOrAll],
        summary: "have a door's grants count again",
        details: "At every door, if none is named. Grants that did not end meanwhile are as they were.",
        options: &[Opt::All, Opt::Config],
        run: command::unlock,
    },
    Verb {
        name: "pardon",
        operands: &[Operand::SourceOrSayAll],
        summary: "listen again to a source that is cut off",
        details: "'postern status' lists who is cut off: an IPv4 address, or the /64 of an IPv6 address, any of\n\
                  whose addresses will do. Its failures are forgotten. Works without a running agent too.\n\
                  Exit status 1 when that source was not cut off.",
        options: &[Opt::Everyone, Opt::Config],
        run: command::pardon,
    },
    Verb {
        name: "knock",
        operands: &[Operand::Host, Operand::Door],
        summary: "knock at a router's door, from anywhere and without root",
        details: "Reads what 'postern export' printed at the router. A door opens for the address that\n\
                  its knocks come from, so whoever connects must have the same: over the same family\n\
                  (-4 or -6, as with ssh), not one inside a VPN and one outside. Behind NAT everyone with\n\
                  your public address is let in; where a carrier's NAT gives each connection another\n\
                  address, have the router grant more (option grant_prefix4).\n\n\
                  --wait tries a guarded TCP port, knocks again, 3 times in all, while there is no answer,\n\
                  and says at which step it failed. A code that was sent is never sent again.",
        options: &[
            Opt::Close,
            Opt::Wait,
            Opt::Ipv4,
            Opt::Ipv6,
            Opt::Delay,
            Opt::Next,
            Opt::DryRun,
            Opt::Json,
            Opt::ClientFile,
        ],
        run: command::knock,
    },
    Verb {
        name: "export",
        operands: &[Operand::Door],
        summary: "print what a client needs to knock at a door",
        details: "Run it on the router; its output belongs into the client's file, which 'postern knock'\n\
                  reads. It names files with secrets, but prints them only with --secret.",
        options: &[Opt::Secret, Opt::Config],
        run: command::export,
    },
    Verb {
        name: "keygen",
        operands: &[Operand::Door],
        summary: "make the secret of a door that is opened by one-time codes",
        details: "Writes the door's secret_file, begins its memory anew, and prints the otpauth:// address\n\
                  that authenticator apps take: on a terminal, as a QR code too. Whoever sees it has\n\
                  the secret. A running agent takes it over.",
        options: &[Opt::Force, Opt::Config],
        run: command::keygen,
    },
    Verb {
        name: "resync",
        operands: &[Operand::Door],
        summary: "agree anew with a one-time door on what was used",
        details: "For a one-time-seed door, name --code or --to: codes are searched for among the 1000 after\n\
                  the last one used, and two in a row leave no doubt. For a one-time-list door, --to;\n\
                  alone, a list without a memory begins with its first sequence. For a one-time-clock\n\
                  door, neither: every code up to now counts as used.\n\
                  Going back, which only --to does, lets whoever heard old knocks repeat them.",
        options: &[Opt::Code, Opt::To, Opt::Config],
        run: command::resync,
    },
];

/// Does what the command line says.
pub(crate) fn dispatch(args: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let mut parser = Parser::from_args(args);
    match parser.next().map_err(misused)? {
        None => Err(Failure::Misused(
            "a verb is missing; 'postern --help' lists them".into(),
        )),
        Some(Arg::Short('h') | Arg::Long("help")) => output::print(&overview()),
        Some(Arg::Short('V') | Arg::Long("version")) => output::print(&version()),
        Some(Arg::Value(name)) => {
            let name = name.string().map_err(misused)?;
            match VERBS.iter().find(|verb| verb.name == name) {
                Some(verb) => perform(verb, &mut parser),
                None => Err(Failure::Misused(format!(
                    "there is no verb '{}'; 'postern --help' lists them",
                    name.escape_default()
                ))),
            }
        }
        Some(arg) => Err(misused(arg.unexpected())),
    }
}

fn perform(verb: &Verb, parser: &mut Parser) -> Result<(), Failure> {
    match parse(verb, parser)? {
        Some(options) => (verb.run)(&options),
        None => output::print(&page(verb)),
    }
}

/// The verb's options, or `None` where its help was asked for.
fn parse(verb: &Verb, parser: &mut Parser) -> Result<Option<Options>, Failure> {
    let mut options = Options {
        config: DEFAULT_CONFIG.into(),
        ..Options::default()
    };
    while let Some(arg) = parser.next().map_err(misused)? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Value(word) => operand(verb, &mut options, word)?,
            arg => match verb.options.iter().find(|option| option.is(&arg)) {
                Some(option) => option.set(&mut options, parser)?,
                None => return Err(unexpected(verb, &arg)),
            },
        }
    }
    let mut operands = verb.operands.iter();
    if options.all && !(options.door.is_empty() && options.source.is_empty()) {
        let what = if options.door.is_empty() {
            "an address"
        } else {
            "a door"
        };
        return Err(Failure::Misused(format!(
            "'postern {}' takes {what} or --all, not both",
            verb.name
        )));
    }
    match operands.find(|operand| operand.is_missing(&mut options)) {
        Some(missing) => Err(Failure::Misused(format!(
            "'postern {}' needs {}",
            verb.name,
            missing.meaning()
        ))),
        None => Ok(Some(options)),
    }
}

/// Keeps a word as the first operand that is not there yet.
fn operand(verb: &Verb, options: &mut Options, word: OsString) -> Result<(), Failure> {
    let mut operands = verb.operands.iter();
    let Some(operand) = operands.find(|operand| operand.place(options).is_empty()) else {
        return Err(unexpected(verb, &Arg::Value(word)));
    };
    *operand.place(options) = word.string().map_err(misused)?;
    Ok(())
}

fn text(parser: &mut Parser) -> Result<String, Failure> {
    parser.value().and_then(ValueExt::string).map_err(misused)
}

fn address(parser: &mut Parser) -> Result<IpAddr, Failure> {
    let text = text(parser)?;
    let address: Result<IpAddr, _> = text.parse();
    address.map(|address| address.to_canonical()).map_err(|_| {
        let text = text.escape_default();
        Failure::Misused(format!(
            "--from: '{text}' is no address, expected one such as 192.0.2.7 or 2001:db8::7"
        ))
    })
}

/// Time enough to log in anew, and not so much that a locked-out owner gives up.
fn trial_time(text: &str) -> Result<Duration, Failure> {
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

fn duration(option: &str, text: &str) -> Result<Duration, Failure> {
    match Duration::parse(text) {
        Ok(duration) if duration > Duration::default() => Ok(duration),
        _ => Err(Failure::Misused(format!(
            "{option}: '{}' is no time span, expected one such as 90s, 15m or 8h, up to 365d",
            text.escape_default()
        ))),
    }
}

/// No delay is a delay too.
fn delay(text: &str) -> Result<Duration, Failure> {
    match Duration::parse(text) {
        Ok(NO_TIME) => Ok(NO_TIME),
        _ => duration("--delay", text),
    }
}

/// A time span after `=`, or as the next word if that is one: a door's name never is.
fn wait(parser: &mut Parser) -> Result<Duration, Failure> {
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

fn family(options: &Options, family: Family) -> Result<Family, Failure> {
    match options.family {
        Some(other) if other != family => Err(Failure::Misused(
            "-4 and -6 exclude each other; without either, the host's addresses decide".into(),
        )),
        _ => Ok(family),
    }
}

fn count(option: &str, text: &str) -> Result<u64, Failure> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or_else(|| {
        let text = text.escape_default();
        Failure::Misused(format!(
            "{option}: '{text}' is no number, expected one such as 42"
        ))
    })
}

/// One code or two, each as apps show them, with spaces perhaps.
fn codes(text: &str) -> Result<Resync, Failure> {
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

fn resync(options: &mut Options, how: Resync) -> Result<(), Failure> {
    match options.resync.replace(how) {
        None => Ok(()),
        Some(_) => Err(Failure::Misused(
            "--to and --code: one of them, once".into(),
        )),
    }
}

fn unexpected(verb: &Verb, arg: &Arg<'_>) -> Failure {
    let what = match arg {
        Arg::Long(name) => format!("--{}", name.escape_default()),
        Arg::Short(letter) => format!("-{}", letter.escape_default()),
        Arg::Value(value) => value.to_string_lossy().escape_default().to_string(),
    };
    let name = verb.name;
    Failure::Misused(format!(
        "'postern {name}' does not take '{what}'; 'postern {name} --help' says what it takes"
    ))
}

fn misused(error: lexopt::Error) -> Failure {
    Failure::Misused(error.to_string())
}

fn overview() -> String {
    let mut text = String::from(
        "Postern: port knocking for Netfilter that never locks its owner out.\n\n\
         Usage: postern VERB [OPTIONS]\n\nVerbs:\n",
    );
    for verb in VERBS {
        text += &format!("  {:24} {}\n", synopsis(verb), verb.summary);
    }
    text += "\n'postern VERB --help' explains a verb, 'postern --version' names the version.\n\
             Exit status: 0 done, 1 failed, 2 misused.\n\
             A knock hides a door; it does not lock it. Keep keys or passwords behind it.\n";
    text
}

/// The verb and its operands.
fn synopsis(verb: &Verb) -> String {
    let operands = verb.operands.iter().map(|operand| operand.name());
    [verb.name]
        .into_iter()
        .chain(operands)
        .collect::<Vec<_>>()
        .join(" ")
}

fn page(verb: &Verb) -> String {
    let mut text = format!("Usage: postern {}", synopsis(verb));
    let is_said =
        |option: &&Opt| option.usage() == "--all" && synopsis(verb).contains(option.usage());
    for option in verb.options.iter().filter(|option| !is_said(option)) {
        text += &format!(" [{}]", option.usage());
    }
    let mut summary = verb.summary.chars();
    let first = summary.next().map(|first| first.to_ascii_uppercase());
    text += &format!(
        "\n\n{}{}.\n{}\n\n",
        first.unwrap_or_default(),
        summary.as_str(),
        verb.details
    );
    for option in verb.options {
        text += &format!("  {:18} {}\n", option.usage(), option.meaning());
    }
    match (verb.name, command::KNOCK_LEFT_OUT) {
        ("doctor", _) => text += &doctor::catalogue(),
        ("knock", Some(why)) => text += &format!("\nAs it is, {why}.\n"),
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::config_file::Doors;

    fn parsed(line: &str) -> Result<Option<Options>, Failure> {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let verb = VERBS.iter().find(|verb| verb.name == name).unwrap();
        parse(verb, &mut Parser::from_args(words))
    }

    fn options() -> Options {
        Options {
            config: DEFAULT_CONFIG.into(),
            ..Options::default()
        }
    }

    #[test]
    fn each_option_is_understood() {
        assert_eq!(parsed("run").unwrap().unwrap(), options());
        let config = "/tmp/f".into();
        assert_eq!(
            parsed("check --config /tmp/f").unwrap().unwrap(),
            Options {
                config,
                ..options()
            }
        );
        let json = true;
        assert_eq!(
            parsed("status --json").unwrap().unwrap(),
            Options { json, ..options() }
        );
        let expected = Options {
            door: "ssh".into(),
            from: Some("192.0.2.7".parse().unwrap()),
            lasting: Some(Duration::from_secs(120)),
            ..options()
        };
        assert_eq!(
            parsed("open --from=::ffff:192.0.2.7 ssh --for 2m")
                .unwrap()
                .unwrap(),
            expected
        );
    }

    #[test]
    fn what_knock_is_told() {
        let ssh = || Options {
            host: "router.example".into(),
            door: "ssh".into(),
            ..options()
        };
        let knock = |line: &str| parsed(&format!("knock {line}")).unwrap().unwrap();
        assert_eq!(knock("router.example ssh"), ssh());
        let expected = Options {
            client_file: Some("/tmp/f".into()),
            closing: true,
            family: Some(Family::V6),
            dry_run: true,
            delay: Some(Duration::from_millis(5)),
            next: Some(7),
            json: true,
            ..ssh()
        };
        let line = "-6 router.example --close --delay=5ms --dry-run -6 ssh --next 7 --json";
        assert_eq!(knock(&format!("{line} --config /tmp/f")), expected);
        assert_eq!(
            knock("router.example ssh -4 --delay 0").delay,
            Some(NO_TIME)
        );
        assert!(parsed("export ssh --secret").unwrap().unwrap().secret);
    }

    #[test]
    fn the_time_to_wait_may_be_left_out() {
        let wait = |line: &str| {
            let options = parsed(&format!("knock {line}")).unwrap().unwrap();
            assert_eq!(
                (options.host.as_str(), options.door.as_str()),
                ("a.example", "ssh")
            );
            options.wait
        };
        let two = Some(Duration::from_secs(2));
        assert_eq!(wait("a.example ssh"), None);
        assert_eq!(wait("--wait a.example ssh"), Some(DEFAULT_WAIT));
        assert_eq!(wait("a.example ssh --wait"), Some(DEFAULT_WAIT));
        assert_eq!(wait("a.example --wait -4 ssh"), Some(DEFAULT_WAIT));
        assert_eq!(wait("a.example ssh --wait=2s"), two);
        assert_eq!(wait("a.example --wait 2s ssh"), two);
    }

    #[test]
    fn options_of_one_time_doors_are_understood() {
        let resync = |line| parsed(line).unwrap().unwrap().resync;
        let codes = |first: &str, second: Option<&str>| {
            Some(Resync::Codes(first.into(), second.map(Into::into)))
        };
        assert_eq!(resync("resync ssh"), None);
        assert_eq!(resync("resync ssh --to 0"), Some(Resync::To(0)));
        assert_eq!(resync("resync --code 482913 ssh"), codes("482913", None));
        assert_eq!(
            resync("resync ssh --code=12345678,87654321"),
            codes("12345678", Some("87654321"))
        );
        assert!(parsed("keygen ssh --force").unwrap().unwrap().force);
        assert!(!parsed("keygen ssh").unwrap().unwrap().force);
        assert!(parsed("open --all").unwrap().unwrap().all);
        assert_eq!(parsed("lock").unwrap().unwrap().door, "");
        assert_eq!(parsed("unlock -- ssh").unwrap().unwrap().door, "ssh");
        assert!(parsed("doctor --strict").unwrap().unwrap().strict);
        for verb in ["run", "check", "render", "apply"] {
            let allowing = parsed(&format!("{verb} --allow-none")).unwrap().unwrap();
            assert_eq!(allowing.doors(), Doors::Allowed);
            assert_eq!(parsed(verb).unwrap().unwrap().doors(), Doors::Needed);
        }
    }

    #[test]
    fn help_is_found_wherever_it_stands() {
        for verb in VERBS {
            assert!(parsed(&format!("{} -h", verb.name)).unwrap().is_none());
            assert!(page(verb).contains(verb.name) && overview().contains(verb.summary));
            assert!(
                verb.options
                    .iter()
                    .all(|option| page(verb).contains(option.usage()))
            );
        }
    }

    #[test]
    fn what_a_verb_does_not_take_is_misuse() {
        for line in [
            "run ssh",
            "run --json",
            "status --allow-none",
            "check --from 192.0.2.7",
            "open",
            "open ssh web",
            "open ssh --from nowhere",
            "open ssh --on",
            "close ssh --on wan",
            "open ssh --for 0s",
            "open ssh --for soon",
            "open ssh --for",
            "close ssh --for 5s",
            "open ssh --all",
            "lock ssh web",
            "lock ssh --all",
            "unlock --from 192.0.2.7",
            "pardon",
            "pardon 192.0.2.7 --all",
            "pardon 192.0.2.7 192.0.2.8",
            "knock",
            "knock ssh",
            "knock a.example ssh web",
            "knock a.example ssh -4 -6",
            "knock a.example ssh --wait=soon",
            "knock a.example ssh --wait=0",
            "knock a.example ssh --wait 0s",
            "knock a.example ssh --delay -1",
            "knock a.example ssh --next -1",
            "knock a.example ssh --close=1",
            "knock a.example ssh --for 5s",
            "export ssh -4",
            "status -j",
            "keygen",
            "keygen ssh --to 5",
            "resync",
            "resync ssh --to -1",
            "resync ssh --to +1",
            "resync ssh --code 12345",
            "resync ssh --code 12345a",
            "resync ssh --code 123456,123456,123456",
            "resync ssh --code 123456 --to 5",
            "resync ssh --force",
            "doctor ssh",
            "check --strict",
        ] {
            assert!(matches!(parsed(line), Err(Failure::Misused(_))), "{line}");
        }
    }
}
