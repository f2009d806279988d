//! What stands on the command line, by the tables of verbs and options.

use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

use super::command::doors;
use super::operand::Operand;
use super::options::{DEFAULT_CONFIG, Options};
use super::values::misused;
use super::verbs::Verb;
use crate::output::Failure;
use crate::output::meant::Names;

/// The verb's options, or `None` where its help was asked for.
pub(super) fn parse(verb: &Verb, parser: &mut Parser) -> Result<Option<Options>, Failure> {
    let mut options = Options {
        config: DEFAULT_CONFIG.into(),
        ..Options::default()
    };
    while let Some(arg) = parser.next().map_err(misused)? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Value(word) => operand(verb, &mut options, word)?,
            arg => match verb.options.iter().find(|option| option.is(&arg)) {
                Some(option) => option.keep(&mut options, parser)?,
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
        Some(missing) => Err(Failure::Misused(lack(verb, *missing, &options))),
        None => Ok(Some(options)),
    }
}

/// What is said for want of an operand; of a door, which there are.
fn lack(verb: &Verb, missing: Operand, options: &Options) -> String {
    let doors = match missing {
        Operand::Door if !options.host.is_empty() => doors::of_client(options),
        Operand::Door => doors::of_config(options),
        Operand::DoorOrSayAll => doors::of_guard(options),
        _ => String::new(),
    };
    format!("'postern {}' needs {}{doors}", verb.name, missing.meaning())
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

fn unexpected(verb: &Verb, arg: &Arg<'_>) -> Failure {
    let what = match arg {
        Arg::Long(name) => format!("--{}", name.escape_default()),
        Arg::Short(letter) => format!("-{}", letter.escape_default()),
        Arg::Value(value) => value.to_string_lossy().escape_default().to_string(),
    };
    let name = verb.name;
    let mut names = Names::instead_of(&what);
    for option in verb.options {
        names.add(option.word());
    }
    let meant = names.did_you_mean();
    Failure::Misused(format!(
        "'postern {name}' does not take '{what}'{meant}; 'postern {name} --help' says what it takes"
    ))
}

#[cfg(test)]
mod tests {
    use postern_core::network::Network;
    use postern_core::time::Duration;

    use super::*;
    use crate::cli::values::{DEFAULT_WAIT, NO_TIME};
    use crate::cli::verbs::{self, VERBS};
    use crate::client::Family;
    use crate::files::config_file::Doors;
    use crate::onetime::Resync;

    fn parsed(line: &str) -> Result<Option<Options>, Failure> {
        let mut words = line.split(' ');
        let verb = verbs::find(words.next().unwrap())?;
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
            from: Some(Network::parse("192.0.2.7").unwrap()),
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
            codes: Some(2),
            json: true,
            ..ssh()
        };
        let line =
            "-6 router.example --close --delay=5ms --dry-run -6 ssh --next 7 --codes 2 --json";
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
        }
        assert_eq!(parsed("help").unwrap().unwrap().verb, "");
        assert_eq!(parsed("help open").unwrap().unwrap().verb, "open");
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
            "open ssh --from 192.0.2.7/24",
            "open ssh --from 192.0.2.0/33",
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
            "knock a.example ssh --codes 5",
            "knock a.example ssh --close=1",
            "knock a.example ssh --from 192.0.2.7",
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
            "help open close",
            "help --json",
        ] {
            assert!(matches!(parsed(line), Err(Failure::Misused(_))), "{line}");
        }
    }
}
