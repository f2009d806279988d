//! `postern keygen --print`: a door for somebody, as a section that is ready to paste.

use core::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;

use heapless::String as Bounded;
use postern_core::config::Config;
use postern_core::door::{Cutoff, Door, EngineName, MAX_NAME, MAX_PATH, Method, Name, Sequence};
use postern_core::knock::{Port, Protocol};
use postern_core::time::Duration;

use super::keygen;
use crate::cli::options::Options;
use crate::cli::qr;
use crate::files::config_file::{self, Doors};
use crate::output::{self, Failure};
use crate::sys::process;
use crate::validity::Phase;

/// Where knocks are drawn from: above the ports of services, below those that queries are sent from.
const FIRST_KNOCK: u16 = 1_024;
const LAST_KNOCK: u16 = 32_767;
const KNOCKS: usize = 3;

/// Against guessing, where the other door says nothing.
const CUTOFF: Cutoff = Cutoff {
    failures: 5,
    within: Duration::from_secs(600),
};

pub(super) fn print(config: &Config, options: &Options) -> Result<(), Failure> {
    let like = model(config, options.like.as_deref())?;
    let door = invite(config, like, options)?;
    let section = section(config, &door);
    let path = options.config.display();
    // Nothing is made for a section that would be refused.
    let mut text = config_file::read(&options.config)
        .map_err(|error| Failure::Failed(format!("{path}: {error}")))?;
    text.extend_from_slice(b"\n");
    text.extend_from_slice(section.as_bytes());
    if config_file::parse_silently(&text).is_none() {
        config_file::parse("with the new door", &text, Doors::Needed)?;
    }
    let address = match door.method.is_one_time() {
        true => Some(keygen::make(config, &door, options.force)?),
        false => None,
    };
    output::print(&format!("\n{section}"))?;
    let mut said = format!("append this to {path}, then 'postern reload'\n");
    if let Some(address) = address {
        said.push_str(&address);
        said.push('\n');
        if io::stderr().is_terminal() {
            said.push_str(&qr::render(&address).unwrap_or_default());
        }
    } else {
        _ = writeln!(
            said,
            "'postern export {}' then prints what 'postern knock' takes",
            door.name
        );
    }
    let said = zeroize::Zeroizing::new(said);
    _ = io::stderr().write_all(said.as_bytes());
    Ok(())
}

/// The door that the new one is to be like.
fn model<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Door, Failure> {
    match (name, config.doors.as_slice()) {
        (Some(name), doors) => {
            let found = config_file::find(doors, name).map_err(Failure::Failed)?;
            Ok(found.1)
        }
        (None, [only]) => Ok(only),
        (None, doors) => Err(Failure::Misused(format!(
            "there are several doors: --like says whose ports the new one guards{}",
            config_file::there_are("", doors)
        ))),
    }
}

/// The new door: another's ports, and a secret or knocks of its own.
fn invite(config: &Config, like: &Door, options: &Options) -> Result<Door, Failure> {
    let written = options.door.as_str();
    let is_name = written.starts_with(|first: char| first.is_ascii_alphabetic())
        && (written.bytes()).all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name = Name::try_from(written).ok().filter(|_| is_name);
    let name = name.ok_or_else(|| {
        let (written, most) = (written.escape_default(), MAX_NAME - 1);
        Failure::Misused(format!(
            "'{written}' cannot be a door's name, expected a letter and up to {most} more letters, digits and _"
        ))
    })?;
    if config.doors.iter().any(|door| door.name == name) {
        return Err(Failure::Failed(format!(
            "there is a door {name} already: --print is for a new one"
        )));
    }
    let mut door = like.clone();
    door.name = name;
    door.not_before = None;
    door.not_after = options.until;
    door.passive = false;
    if Phase::now(&door) == Phase::Over {
        return Err(Failure::Misused(
            "--until is over already, expected a moment that is to come".into(),
        ));
    }
    if options.until.is_some() && door.engine.is_in_kernel() {
        door.engine = EngineName::Daemon;
    }
    match &mut door.method {
        Method::Clock { code, .. } | Method::Seed { code, .. } => {
            code.secret_file = beside(&code.secret_file, &door.name, "secret")?;
            door.cutoff.get_or_insert(CUTOFF);
        }
        Method::Spa(terms) => terms.key_file = beside(&terms.key_file, &door.name, "key")?,
        method => {
            if method.is_one_time() {
                door.payload = None;
            }
            let (open, close) = (knocks(config, like)?, Sequence::new());
            door.method = Method::Separate { open, close };
        }
    }
    Ok(door)
}

/// A file for a door of this name, in the folder of another door's.
fn beside(other: &str, name: &Name, ending: &str) -> Result<Bounded<MAX_PATH>, Failure> {
    let folder = Path::new(other).parent().unwrap_or(Path::new("/"));
    let path = folder.join(format!("{name}.{ending}"));
    let path = path.to_string_lossy();
    (path.as_ref().try_into())
        .map_err(|_| Failure::Failed(format!("{path} is longer than a path can be")))
}

/// Ports that nobody guesses: of the protocols of the other door's knocks, in their order.
fn knocks(config: &Config, like: &Door) -> Result<Sequence, Failure> {
    let protocols = like.method.open().iter().map(|knock| match knock.protocol {
        Protocol::Udp => Protocol::Udp,
        _ => Protocol::Tcp,
    });
    let mut protocols = protocols.chain(core::iter::repeat(Protocol::Tcp));
    let mut open = Sequence::new();
    while open.len() < KNOCKS.max(like.method.open().len()) {
        let mut octets = [0; 2];
        process::random(&mut octets)
            .map_err(|error| Failure::Failed(format!("the kernel's random numbers: {error}")))?;
        let number = FIRST_KNOCK + u16::from_be_bytes(octets) % (LAST_KNOCK - FIRST_KNOCK + 1);
        let is_taken = |port: &Port| {
            open.contains(port) || config.doors.iter().any(|door| door.guards_alone(*port))
        };
        let protocol = protocols.next().unwrap_or(Protocol::Tcp);
        let port = Port { protocol, number };
        if !is_taken(&port) && open.push(port).is_err() {
            break;
        }
    }
    // A port scan would knock them.
    if open.is_sorted() {
        open.reverse();
    }
    Ok(open)
}

/// The section, with the interfaces, which a client's would not have.
fn section(config: &Config, door: &Door) -> String {
    let mut section = config_file::section(door);
    let names = config.global.interfaces.iter().enumerate();
    for (_, name) in names.filter(|(index, _)| door.interfaces.contains(*index)) {
        _ = writeln!(section, "\tlist interface '{name}'");
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::config_file::parse_silently;

    const CONFIG: &str = "
config postern 'global'
	list interface 'wan'
	list interface 'lte'
config door 'ssh'
	list guard 'tcp:22'
	list interface 'lte'
	option method 'one-time-clock'
	option secret_file '/etc/postern/ssh.secret'
	option base '20000'
	option on_expiry 'cut'
config door 'web'
	list guard 'tcp:443'
	list guard 'udp:443'
	option method 'sequence-same'
	option engine 'chain'
	list open 'udp:7000'
	list open 'tcp:9000'
	list open 'tcp:8000'
	option grant '1h'
";

    fn invited(door: &str, like: Option<&str>, until: Option<u64>) -> Result<String, Failure> {
        let config = parse_silently(CONFIG.as_bytes()).unwrap();
        let options = Options {
            door: door.into(),
            until,
            ..Options::default()
        };
        let door = invite(&config, model(&config, like)?, &options)?;
        let section = section(&config, &door);
        let text = [CONFIG, &section].concat();
        let config = parse_silently(text.as_bytes()).unwrap();
        assert_eq!(config.doors.last(), Some(&door), "{section}");
        Ok(section)
    }

    #[test]
    fn a_door_of_codes_has_a_secret_of_its_own() {
        let section = invited("guest", Some("ssh"), Some(1_798_131_600)).unwrap();
        assert_eq!(
            section,
            "config door 'guest'\n\tlist guard 'tcp:22'\n\toption not_after '2026-12-24T17:00:00Z'\n\
             \toption method 'one-time-clock'\n\toption secret_file '/etc/postern/guest.secret'\n\
             \toption base '20000'\n\toption cutoff '5 per 10m'\n\toption on_expiry 'cut'\n\
             \tlist interface 'lte'\n"
        );
    }

    #[test]
    fn a_door_of_a_sequence_has_knocks_of_its_own() {
        let [one, other] = [(); 2].map(|()| invited("guest", Some("web"), None).unwrap());
        assert_ne!(one, other);
        assert!(one.contains(
            "\toption engine 'chain'\n\toption method 'sequence-separate'\n\tlist open 'udp:"
        ));
        assert_eq!(one.matches("list open 'tcp:").count(), 2);
        let limited = invited("guest", Some("web"), Some(1_798_131_600)).unwrap();
        assert!(!limited.contains("engine"), "{limited}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |door, like| invited(door, like, None).is_err();
        assert!(
            refused("guest", None) && refused("guest", Some("ssg")) && refused("web", Some("ssh"))
        );
        for name in [
            "",
            "1st",
            "my-guest",
            "a b",
            "a'",
            "abcdefghijklmnopqrstuvwxy",
        ] {
            assert!(refused(name, Some("ssh")), "{name}");
        }
    }
}
