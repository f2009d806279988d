//! What an sshd_config(5) says of ports and passwords, read as sshd reads it.

use super::{SSHD, Server};
use crate::doctor::root::Root;

/// How deep files include each other (sshd's SERVCONF_MAX_DEPTH), and how many there are in all.
const MAX_DEPTH: u8 = 16;
const MAX_FILES: u8 = 64;

/// The options so far: of each, the first value counts.
#[derive(Default)]
struct Options {
    ports: Vec<u16>,
    password: Option<bool>,
    interactive: Option<bool>,
    pam: Option<bool>,
    /// Whether a password alone is enough.
    alone: Option<bool>,
    /// Whether either is allowed to some users or sources.
    password_for_some: bool,
    interactive_for_some: bool,
    files: u8,
}

/// `settings` are those of the command line, which come first.
pub(super) fn read(root: &Root, file: &str, settings: &[&str]) -> Server {
    let mut options = Options::default();
    for setting in settings {
        options.line(root, setting, &mut false, 0);
    }
    options.file(root, file, false, 0);
    // Without PAM there is nobody to ask questions for the other method.
    let with_pam = options.pam == Some(true);
    let interactive = options.interactive.unwrap_or(true) && with_pam;
    let passwords = options.password.unwrap_or(true) || interactive;
    let for_all = passwords && options.alone.unwrap_or(true);
    let for_some = options.password_for_some || options.interactive_for_some && with_pam;
    if options.ports.is_empty() {
        options.ports.push(22);
    }
    Server {
        name: SSHD,
        ports: options.ports,
        passwords: for_all || for_some,
        place: match for_all {
            true => file.into(),
            false => format!("{file}, in a Match block"),
        },
    }
}

impl Options {
    fn file(&mut self, root: &Root, file: &str, mut matching: bool, depth: u8) {
        self.files = self.files.saturating_add(1);
        if self.files > MAX_FILES || depth > MAX_DEPTH {
            return;
        }
        for line in root.text(file).lines() {
            self.line(root, line, &mut matching, depth);
        }
    }

    fn line(&mut self, root: &Root, line: &str, matching: &mut bool, depth: u8) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let end = line.find(|each: char| each.is_whitespace() || each == '=');
        let (keyword, rest) = line.split_at(end.unwrap_or(line.len()));
        let rest = rest.trim_start_matches(|each: char| each.is_whitespace() || each == '=');
        let mut values = rest.split_whitespace().map(|word| word.trim_matches('"'));
        let yes = || rest.trim_matches('"').eq_ignore_ascii_case("yes");
        match keyword.to_ascii_lowercase().as_str() {
            "match" => *matching = !rest.eq_ignore_ascii_case("all"),
            "include" => {
                for pattern in values {
                    self.include(root, pattern, *matching, depth);
                }
            }
            "port" if !*matching => self.ports.extend(values.flat_map(str::parse::<u16>)),
            "listenaddress" => self.ports.extend(values.next().and_then(port_of_address)),
            "passwordauthentication" => match *matching {
                true => self.password_for_some |= yes(),
                false => _ = self.password.get_or_insert(yes()),
            },
            "kbdinteractiveauthentication" | "challengeresponseauthentication" => match *matching {
                true => self.interactive_for_some |= yes(),
                false => _ = self.interactive.get_or_insert(yes()),
            },
            "usepam" => _ = self.pam.get_or_insert(yes()),
            "authenticationmethods" if !*matching => {
                let alone = values.any(is_password_alone);
                self.alone.get_or_insert(alone);
            }
            _ => {}
        }
    }

    /// Of a pattern, the last part may have one star.
    fn include(&mut self, root: &Root, pattern: &str, matching: bool, depth: u8) {
        let pattern = match pattern.starts_with('/') {
            true => pattern.to_owned(),
            false => format!("/etc/ssh/{pattern}"),
        };
        let (folder, name) = pattern.rsplit_once('/').unwrap_or_default();
        match name.split_once('*') {
            None => self.file(root, &pattern, matching, depth + 1),
            Some((start, end)) => {
                let names = root.names(folder);
                let fits = |name: &&String| {
                    let rest = name.strip_prefix(start).filter(|_| !name.starts_with('.'));
                    rest.is_some_and(|rest| rest.ends_with(end))
                };
                // In the order of their names, as glob(3) has them.
                let mut last = "";
                let after = |last: &str| {
                    let later = names
                        .iter()
                        .filter(fits)
                        .filter(|name| name.as_str() > last);
                    later.min()
                };
                for _ in 0..MAX_FILES {
                    let Some(name) = after(last) else { break };
                    self.file(root, &[folder, "/", name].concat(), matching, depth + 1);
                    last = name;
                }
            }
        }
    }
}

/// `host:port`, `[host]:port`, or a host alone.
fn port_of_address(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    let is_bare_ipv6 = host.contains(':') && !host.ends_with(']');
    port.parse().ok().filter(|_| !is_bare_ipv6)
}

/// Whether one of the lists of methods is content with passwords.
fn is_password_alone(list: &str) -> bool {
    let by_password = |method: &str| {
        matches!(method, "any" | "password") || method.starts_with("keyboard-interactive")
    };
    list.split(',').all(by_password)
}
