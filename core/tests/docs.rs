//! The tables of options in docs/options.md say what the parser goes by.
//!
//! `make docs` writes them anew.

use core::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use postern_core::config::{Methods, OPTIONS, OptionSpec, Presence, Section};

const BEGIN: &str = "<!-- The tables are made from core/src/config/options.rs: make docs. -->\n";
const END: &str = "<!-- End of the tables. -->\n";

const SECTIONS: [(Section, &str); 4] = [
    (Section::Postern, "`config postern 'global'`"),
    (Section::Door, "`config door 'NAME'`"),
    (Section::Button, "`config button`"),
    (
        Section::Client,
        "`config client 'global'`, in a client's file only",
    ),
];

fn tables() -> String {
    let mut text = String::new();
    for (section, title) in SECTIONS {
        _ = write!(
            text,
            "\n## {title}\n\n| | default | unit | values | meaning |\n| --- | --- | --- | --- | --- |\n"
        );
        for spec in OPTIONS.iter().filter(|spec| spec.section == section) {
            _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                name(spec),
                default(spec),
                cell(spec.unit.text),
                cell(spec.expected),
                meaning(spec)
            );
        }
    }
    text.push('\n');
    text
}

fn name(spec: &OptionSpec) -> String {
    match spec.limit() {
        Some(limit) => format!("`list {}`, up to {limit}", spec.name),
        None => format!("`option {}`", spec.name),
    }
}

fn default(spec: &OptionSpec) -> String {
    match spec.presence {
        Presence::Required => "must be given".into(),
        Presence::Optional => "none".into(),
        Presence::Default(value) => format!("`{value}`"),
    }
}

fn meaning(spec: &OptionSpec) -> String {
    let methods: Vec<&str> = spec.methods.names().collect();
    match spec.methods == Methods::ALL {
        true => cell(spec.meaning.text),
        false => format!("{} (with {})", cell(spec.meaning.text), methods.join(", ")),
    }
}

/// A text that Markdown leaves as it is.
fn cell(text: &str) -> String {
    let escaped = text.chars().flat_map(|character| {
        let backslash = matches!(character, '\\' | '*' | '|' | '<').then_some('\\');
        backslash.into_iter().chain([character])
    });
    escaped.collect()
}

#[test]
fn the_page_has_every_option() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/options.md");
    let page = fs::read_to_string(&path).expect("docs/options.md");
    let (before, rest) = page.split_once(BEGIN).expect("where the tables begin");
    let (_, after) = rest.split_once(END).expect("where the tables end");
    let expected = format!("{before}{BEGIN}{}{END}{after}", tables());
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &expected).expect("a file written");
    }
    let page = fs::read_to_string(&path).expect("docs/options.md");
    assert!(
        page == expected,
        "docs/options.md is out of date: make docs"
    );
}

/// No section of options is left out above.
#[test]
fn every_section_has_a_table() {
    for spec in OPTIONS {
        let known = SECTIONS.iter().any(|(section, _)| *section == spec.section);
        assert!(known, "{}", spec.name);
    }
}
