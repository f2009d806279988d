//! What our pages tell a reader to type.

use std::fs;
use std::path::{Path, PathBuf};

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

/// A block of code.
#[derive(Clone, Debug)]
pub struct Block {
    /// What stands behind its fence: `sh` for commands, `uci` for a configuration, `text` for what is neither.
    pub language: String,
    /// What is in it.
    pub lines: Vec<String>,
}

impl Block {
    /// What a reader types, without comments.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        let commands = (self.language == "sh").then_some(&self.lines);
        commands.into_iter().flatten().filter_map(|line| {
            let typed = line.split('#').next().unwrap_or_default().trim();
            (!typed.is_empty()).then_some(typed)
        })
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// The blocks of a text, and what stands between them.
///
/// # Panics
/// When a block has no end.
pub fn split(text: &str) -> (Vec<Block>, Vec<&str>) {
    let (mut blocks, mut prose) = (Vec::<Block>::new(), Vec::new());
    let mut is_inside = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if is_inside => is_inside = false,
            Some(language) => {
                is_inside = true;
                blocks.push(Block {
                    language: language.into(),
                    lines: Vec::new(),
                });
            }
            None if is_inside => {
                if let Some(block) = blocks.last_mut() {
                    block.lines.push(line.into());
                }
            }
            None => prose.push(line),
        }
    }
    assert!(!is_inside, "a block without an end");
    (blocks, prose)
}

/// The code within a line.
pub fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The sources' own folder.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The pages for readers, by their paths among the sources.
///
/// # Panics
/// When a folder of them cannot be read.
pub fn all() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in ["", "docs/", "openwrt/", "core/"] {
        for entry in fs::read_dir(top().join(folder)).expect("a folder of pages") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".md") && name != "CHANGELOG.md" {
                pages.push(format!("{folder}{name}"));
            }
        }
    }
    pages.sort();
    pages
}

/// A page, named by its path among the sources.
///
/// # Panics
/// When there is none.
pub fn text(page: &str) -> String {
    fs::read_to_string(top().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The text of a section of a page, with the sections in it.
///
/// # Panics
/// When there is none.
pub fn section(page: &str, title: &str) -> String {
    let text = text(page);
    let depth = |line: &str| {
        let marks = line.chars().take_while(|mark| *mark == '#').count();
        (marks > 0 && line[marks..].starts_with(' ')).then_some(marks)
    };
    let mut lines = text.lines();
    let own = lines
        .by_ref()
        .find_map(|line| depth(line).filter(|marks| line[*marks..].trim() == title));
    let own = own.unwrap_or_else(|| panic!("no section {title} in {page}"));
    let mut is_inside = false;
    let inner = lines.take_while(|line| {
        is_inside ^= line.trim_start().starts_with("```");
        is_inside || depth(line).is_none_or(|marks| marks > own)
    });
    inner.map(|line| format!("{line}\n")).collect()
}

/// Every command of a section, without repetition: each line of its blocks of commands, and in its paragraphs and
/// tables whatever code begins with a program.
pub fn commands(section: &str) -> Vec<String> {
    let (blocks, prose) = split(section);
    let in_prose = prose.into_iter().flat_map(spans);
    let found = blocks
        .iter()
        .flat_map(Block::commands)
        .chain(in_prose.filter(|code| is_command(code)));
    let mut commands: Vec<String> = Vec::new();
    for command in found {
        if !commands.iter().any(|other| other == command) {
            commands.push(command.into());
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
