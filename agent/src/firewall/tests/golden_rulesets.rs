//! The text of every example under tests/golden/rulesets, for a person to read; of those that nobody
//! would read to the end, what there is how often, and a digest.
//!
//! `BLESS=1 cargo test -p postern golden` writes what is rendered now.
//! `WHOLE=/FOLDER cargo test -p postern golden` writes all of the long ones into an existing folder.

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

use sha2::{Digest as _, Sha256};

use super::examples;
use crate::firewall::render;

/// What is longer, in lines, is not read.
const READABLE: usize = 1_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/rulesets")
}

fn is_readable(text: &str) -> bool {
    text.lines().count() <= READABLE
}

/// How many objects of each kind a script makes, and rules and elements inside them.
fn counts(script: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    let mut around = Vec::new();
    let is_digit = |each: char| each.is_ascii_digit();
    for line in script.lines().map(str::trim) {
        let mut count = |kind, number| *counts.entry(kind).or_default() += number;
        let kind = line.split(' ').next().unwrap_or_default();
        match around.last() {
            _ if line.is_empty() => {}
            _ if line == "}" => drop(around.pop()),
            None | Some(&"table") => {
                count(kind, 1);
                around.push(kind);
            }
            Some(&"chain") if kind != "type" => count("rule", 1),
            Some(&("set" | "map")) if kind == "elements" || line.starts_with(is_digit) => {
                count(
                    "element",
                    line.matches(',').count() + line.matches('}').count(),
                );
            }
            _ => {}
        }
    }
    counts
}

/// What stands in a golden file instead of a script that nobody would read.
fn summary(script: &str) -> String {
    let mut summary = String::new();
    for (kind, number) in counts(script) {
        writeln!(summary, "{kind} {number}").unwrap();
    }
    summary.push_str("sha256 ");
    for octet in Sha256::digest(script) {
        write!(summary, "{octet:02x}").unwrap();
    }
    summary + "\n"
}

/// What a golden file says, or will from now on.
fn golden(text: &str, path: &Path) -> String {
    if env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::read_to_string(path).unwrap_or_default()
}

/// Whether a golden file says the same, or will from now on.
pub(super) fn assert_golden(text: &str, path: &Path) {
    assert_eq!(text, golden(text, path), "{}", path.display());
}

/// Whether a golden file has the same summary of a script.
fn assert_summary(script: &str, name: &str, path: &Path) {
    if let Some(folder) = env::var_os("WHOLE") {
        let whole = Path::new(&folder).join(name).with_extension("nft");
        fs::write(whole, script).unwrap();
    }
    let summary = summary(script);
    let golden = golden(&summary, path);
    let only_in = |one: &str, other: &str, sign| -> String {
        let lines = one
            .lines()
            .filter(|line| !other.lines().any(|it| it == *line));
        lines.map(|line| format!("{sign}{line}\n")).collect()
    };
    let differing = only_in(&golden, &summary, '-') + &only_in(&summary, &golden, '+');
    assert!(
        differing.is_empty(),
        "{}:\n{differing}to compare the script with an earlier one, have WHOLE=/FOLDER write each into a folder",
        path.display()
    );
}

/// The golden file of an example.
fn path(example: &str, text: &str) -> PathBuf {
    let extension = if is_readable(text) { "nft" } else { "summary" };
    folder().join(example).with_extension(extension)
}

#[test]
fn examples_are_rendered_as_their_golden_files_say() {
    let examples = examples::all();
    assert!(examples.len() >= 25, "{} examples", examples.len());
    for example in &examples {
        let text = render(&(example.config)(), example.listed);
        let path = path(example.name, &text);
        if is_readable(&text) {
            assert_golden(&text, &path);
        } else {
            assert_summary(&text, example.name, &path);
        }
    }
}

#[test]
fn no_golden_file_lacks_its_example() {
    let path = |example: examples::Example| {
        path(example.name, &render(&(example.config)(), example.listed))
    };
    let paths: BTreeSet<PathBuf> = examples::all().into_iter().map(path).collect();
    let files = fs::read_dir(folder()).unwrap();
    let files: BTreeSet<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(paths, files);
}

#[test]
fn all_of_a_script_is_counted() {
    let script = "table inet t {\n\tset s {\n\t\ttype ipv4_addr\n\t\tflags dynamic,timeout\n\t}\n\n\
                  \tmap m {\n\t\telements = { 1 : goto c,\n\t\t\t     2 : drop, 3 : drop,\n\t\t\t     4 : drop }\n\t}\n\n\
                  \tchain c {\n\t\ttype filter hook input priority 0; policy accept;\n\t\ttcp dport { 1, 2 } drop\n\t}\n}\n";
    let expected = [
        ("chain", 1),
        ("element", 4),
        ("map", 1),
        ("rule", 1),
        ("set", 1),
        ("table", 1),
    ];
    assert_eq!(counts(script), BTreeMap::from(expected));
}
