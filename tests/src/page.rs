//! What our pages tell a reader to type.

use std::fs;
use std::path::Path;

/// What a reader can type; other code in a paragraph is an option, a path or a name.
const PROGRAMS: [&str; 16] = [
    "chmod",
    "firstboot",
    "ipmitool",
    "kill",
    "mount_root",
    "nft",
    "passwd",
    "postern",
    "reboot",
    "rm",
    "service",
    "ssh",
    "systemctl",
    "ubus",
    "uci",
    "umount",
];

/// The text of a section of a page, the latter being named by its path among the sources.
///
/// # Panics
/// When there is none.
pub fn section(page: &str, title: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = fs::read_to_string(path).expect("a page");
    let (_, rest) = text
        .split_once(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("no section {title} in {page}"));
    rest.split("\n## ").next().unwrap_or_default().into()
}

/// Every command of a section, without repetition: each line of its blocks of commands, and in its paragraphs and
/// tables whatever code begins with a program.
pub fn commands(section: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut language = None;
    for line in section.lines() {
        if let Some(fence) = line.trim_start().strip_prefix("```") {
            language = language.is_none().then_some(fence);
            continue;
        }
        let found: Vec<&str> = match language {
            Some("sh") => vec![line.split('#').next().unwrap_or_default().trim()],
            Some(_) => Vec::new(),
            None => line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|code| is_command(code))
                .collect(),
        };
        for command in found {
            if !command.is_empty() && !commands.iter().any(|other| other == command) {
                commands.push(command.into());
            }
        }
    }
    commands
}

fn is_command(code: &str) -> bool {
    let first = code.split(' ').next();
    // Alone it is the name of a door.
    code != "ssh" && first.is_some_and(|first| PROGRAMS.contains(&first))
}

/// Makes sure that these are the commands that were played, none missing and none too many. One that is
/// mentioned by its beginning only, such as `postern open`, is among those that begin so.
///
/// # Panics
/// When they are not.
#[track_caller]
pub fn expect_played(commands: &[String], played: &[&str]) {
    let is_played = |command: &String| {
        let beginning = format!("{command} ");
        (played.iter()).any(|other| other == command || other.starts_with(&beginning))
    };
    let missing: Vec<&String> = commands.iter().filter(|one| !is_played(one)).collect();
    assert!(missing.is_empty(), "nothing plays {missing:?}");
    let gone: Vec<&&str> = (played.iter())
        .filter(|other| !commands.iter().any(|command| command == **other))
        .collect();
    assert!(gone.is_empty(), "no page has {gone:?}");
}
