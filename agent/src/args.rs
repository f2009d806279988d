//! The command line: one table of verbs serves dispatch, `--help` and each verb's own page.

use core::net::IpAddr;
use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};
use postern_core::time::Duration;

use crate::command;
use crate::onetime::Resync;
use crate::output::{self, Failure};

/// Where a configuration is looked for unless `--config` names another.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/config/postern";

/// What `--version` prints.
const VERSION: &str = concat!("postern ", env!("CARGO_PKG_VERSION"), " (libnftnl)\n");

/// One thing that Postern can be told to do.
struct Verb {
    name: &'static str,
    /// What stands on the line after the name, options aside.
    operands: &'static str,
    summary: &'static str,
    details: &'static str,
    options: &'static [Opt],
    run: fn(&Options) -> Result<(), Failure>,
}

/// An option that some verbs take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opt {
    Config,
    Json,
    From,
    For,
    Force,
    To,
    Code,
}

impl Opt {
    const fn usage(self) -> &'static str {
        match self {
            Self::Config => "--config FILE",
            Self::Json => "--json",
            Self::From => "--from ADDRESS",
            Self::For => "--for DURATION",
            Self::Force => "--force",
            Self::To => "--to N",
            Self::Code => "--code CODE[,NEXT]",
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Config => "the configuration (default: /etc/config/postern)",
            Self::Json => "print JSON, for programs",
            Self::From => "this source only (default: everyone on the guarded interfaces)",
            Self::For => "how long, such as 90s, 15m or 8h (default: the door's grant)",
            Self::Force => "replace the secret that is there: the old one is lost",
            Self::To => "the counter of the next code, or how many sequences of the list are used",
            Self::Code => "the code that your app shows, or two in a row, to find the counter by",
        }
    }
}

/// What the command line said, besides the verb.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) config: PathBuf,
    pub(crate) json: bool,
    pub(crate) from: Option<IpAddr>,
    pub(crate) lasting: Option<Duration>,
    pub(crate) force: bool,
    pub(crate) resync: Option<Resync>,
    /// The door, for the verbs that take one.
    pub(crate) door: String,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "run",
        operands: "",
        summary: "guard the doors, watch for knocks and act on them",
        details: "Installs the guard, then watches until SIGTERM. SIGHUP reads the configuration again;\n\
                  a wrong one is reported and the running one stays. The guard and its grants outlive\n\
                  the agent: 'postern remove' takes them away.",
        options: &[Opt::Config],
        run: command::run,
    },
    Verb {
        name: "check",
        operands: "",
        summary: "report every mistake in a configuration",
        details: "Prints FILE:LINE:COLUMN: for each. Exit status 1 when there is a mistake; warnings\n\
                  alone are none.",
        options: &[Opt::Config],
        run: command::check,
    },
    Verb {
        name: "render",
        operands: "",
        summary: "print the nftables ruleset that 'apply' would install",
        details: "What it prints can be loaded with 'nft -f -' and is what 'nft list table inet postern'\n\
                  shows afterwards.",
        options: &[Opt::Config],
        run: command::render,
    },
    Verb {
        name: "apply",
        operands: "",
        summary: "install the guard, keeping the grants of doors that did not change",
        details: "In one transaction: all of it or nothing. A running agent takes over the configuration.",
        options: &[Opt::Config],
        run: command::apply,
    },
    Verb {
        name: "remove",
        operands: "",
        summary: "take the guard away: every door is left to the ordinary firewall",
        details: "A running agent lives on without a guard, until 'postern apply' or SIGHUP.",
        options: &[Opt::Config],
        run: command::remove,
    },
    Verb {
        name: "status",
        operands: "",
        summary: "show doors, grants, attempts under way and counters",
        details: "Works without a running agent too, as far as the kernel knows.",
        options: &[Opt::Json, Opt::Config],
        run: command::status,
    },
    Verb {
        name: "open",
        operands: "DOOR",
        summary: "open a door by hand",
        details: "Works without a running agent and with a broken configuration.",
        options: &[Opt::From, Opt::For, Opt::Config],
        run: command::open,
    },
    Verb {
        name: "close",
        operands: "DOOR",
        summary: "withdraw a door's grants",
        details: "Without --from, all of them. Connections that are established live on.",
        options: &[Opt::From, Opt::Config],
        run: command::close,
    },
    Verb {
        name: "keygen",
        operands: "DOOR",
        summary: "make the secret of a door that is opened by one-time codes",
        details: "Writes the door's secret_file, begins its memory anew, and prints the otpauth:// address\n\
                  that authenticator apps take: on a terminal, as a QR code too. Whoever sees it has\n\
                  the secret. A running agent takes it over.",
        options: &[Opt::Force, Opt::Config],
        run: command::keygen,
    },
    Verb {
        name: "resync",
        operands: "DOOR",
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
        Some(Arg::Short('V') | Arg::Long("version")) => output::print(VERSION),
        Some(Arg::Value(name)) => {
            let name = name.string().map_err(misused)?;
            match VERBS.iter().find(|verb| verb.name == name) {
                Some(verb) => perform(verb, &mut parser),
                None => Err(Failure::Misused(format!(
                    "there is no verb '{}'; 'postern --help' lists them",
                    name.escape_debug()
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
        let takes = |option: Opt| verb.options.contains(&option);
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Long("json") if takes(Opt::Json) => options.json = true,
            Arg::Long("config") if takes(Opt::Config) => {
                options.config = parser.value().map_err(misused)?.into();
            }
            Arg::Long("from") if takes(Opt::From) => options.from = Some(address(parser)?),
            Arg::Long("for") if takes(Opt::For) => options.lasting = Some(duration(parser)?),
            Arg::Long("force") if takes(Opt::Force) => options.force = true,
            Arg::Long("to") if takes(Opt::To) => resync(&mut options, Resync::To(count(parser)?))?,
            Arg::Long("code") if takes(Opt::Code) => resync(&mut options, codes(parser)?)?,
            Arg::Value(door) if !verb.operands.is_empty() && options.door.is_empty() => {
                options.door = door.string().map_err(misused)?;
            }
            other => return Err(unexpected(verb, &other)),
        }
    }
    if options.door.is_empty() && !verb.operands.is_empty() {
        return Err(Failure::Misused(format!(
            "'postern {}' needs the name of a door",
            verb.name
        )));
    }
    Ok(Some(options))
}

fn address(parser: &mut Parser) -> Result<IpAddr, Failure> {
    let text = parser.value().and_then(ValueExt::string).map_err(misused)?;
    let address: Result<IpAddr, _> = text.parse();
    address.map(|address| address.to_canonical()).map_err(|_| {
        let text = text.escape_debug();
        Failure::Misused(format!(
            "--from: '{text}' is no address, expected one such as 192.0.2.7 or 2001:db8::7"
        ))
    })
}

fn duration(parser: &mut Parser) -> Result<Duration, Failure> {
    let text = parser.value().and_then(ValueExt::string).map_err(misused)?;
    match Duration::parse(&text) {
        Ok(duration) if duration > Duration::default() => Ok(duration),
        _ => Err(Failure::Misused(format!(
            "--for: '{}' is no time span, expected one such as 90s, 15m or 8h, up to 365d",
            text.escape_debug()
        ))),
    }
}

fn count(parser: &mut Parser) -> Result<u64, Failure> {
    let text = parser.value().and_then(ValueExt::string).map_err(misused)?;
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number).ok_or_else(|| {
        let text = text.escape_debug();
        Failure::Misused(format!(
            "--to: '{text}' is no number, expected one such as 42"
        ))
    })
}

/// One code or two, each as apps show them, with spaces perhaps.
fn codes(parser: &mut Parser) -> Result<Resync, Failure> {
    let text = parser.value().and_then(ValueExt::string).map_err(misused)?;
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
            text.escape_debug()
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
        Arg::Long(name) => format!("--{}", name.escape_debug()),
        Arg::Short(letter) => format!("-{}", letter.escape_debug()),
        Arg::Value(value) => value.to_string_lossy().escape_debug().to_string(),
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
        text += &format!(
            "  {:12} {}\n",
            format!("{} {}", verb.name, verb.operands),
            verb.summary
        );
    }
    text += "\n'postern VERB --help' explains a verb, 'postern --version' names the version.\n\
             Exit status: 0 done, 1 failed, 2 misused.\n\
             A knock hides a door; it does not lock it. Keep keys or passwords behind it.\n";
    text
}

fn page(verb: &Verb) -> String {
    let mut text = format!("Usage: postern {}", verb.name);
    if !verb.operands.is_empty() {
        text += &format!(" {}", verb.operands);
    }
    for option in verb.options {
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
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "check --from 192.0.2.7",
            "open",
            "open ssh web",
            "open ssh --from nowhere",
            "open ssh --for 0s",
            "open ssh --for soon",
            "open ssh --for",
            "close ssh --for 5s",
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
        ] {
            assert!(matches!(parsed(line), Err(Failure::Misused(_))), "{line}");
        }
    }
}
