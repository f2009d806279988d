//! Manual pages, made from the tables of the command line and of the configuration's options: packaging/man/.
//!
//! They are of the macros of man(7), as both groff and mandoc read them.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use postern_core::config::{
    Config, DEFAULT_CONTROL, DEFAULT_STATE_DIR, Methods, OPTIONS, OptionSpec, Presence, Section,
};

use super::options::{DEFAULT_CONFIG, Opt};
use super::verbs::{VERBS, Verb};
use crate::doctor;
use crate::testing::made;
use crate::testing::skipping::skip;

const FOLDER: &str = "packaging/man";
/// Where lines are broken, which readers never see.
const WIDTH: usize = 76;

/// A page, as far as it is written.
struct Page(String);

impl Page {
    fn new(name: &str, section: u8, summary: &str) -> Self {
        let (title, version) = (name.to_uppercase(), env!("CARGO_PKG_VERSION"));
        let mut page = Self(format!(
            ".\\\" Made from the program's tables: make docs.\n\
             .TH {} {section} \"\" \"postern {version}\" \"Postern\"\n",
            escaped(&title)
        ));
        page.heading("NAME");
        page.raw(&format!("{} \\- {}", escaped(name), escaped(summary)));
        page
    }

    fn raw(&mut self, line: &str) {
        self.0 += line;
        self.0.push('\n');
    }

    fn heading(&mut self, title: &str) {
        self.raw(&format!(".SH {title}"));
    }

    /// What follows stands in a paragraph below this, which is bold but for words in capitals.
    fn term(&mut self, term: &str) {
        self.raw(".TP");
        self.raw(&styled(term));
    }

    /// A sentence on a line, or more lines of it: so differences stay small.
    fn text(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            let is_end = line.ends_with(['.', '?', '!']) || line.ends_with(".)");
            if !line.is_empty() && (is_end || line.len() + word.len() >= WIDTH) {
                self.raw(&escaped(&line));
                line.clear();
            } else if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        if !line.is_empty() {
            self.raw(&escaped(&line));
        }
    }

    fn paragraph(&mut self, text: &str) {
        self.raw(".PP");
        self.text(text);
    }

    fn file(&mut self, path: &str, meaning: &str) {
        self.raw(".TP");
        self.raw(&format!("\\fI{}\\fR", escaped(path)));
        self.text(meaning);
    }

    /// Names of pages, with their sections.
    fn see_also<'n>(&mut self, pages: impl IntoIterator<Item = (&'n str, u8)>) {
        self.heading("SEE ALSO");
        let pages: Vec<String> = pages
            .into_iter()
            .map(|(name, section)| format!(".BR {} ({section})", escaped(name)))
            .collect();
        self.raw(&pages.join(" ,\n"));
    }
}

/// A text that roff prints as it is: hyphens that can be searched for and copied, straight quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    if text.starts_with(['.', '\'']) {
        // Else the line would be a request.
        escaped += "\\&";
    }
    for character in text.chars() {
        match character {
            '\\' => escaped += "\\(rs",
            '-' => escaped += "\\-",
            '\'' => escaped += "\\(aq",
            '"' => escaped += "\\(dq",
            '`' => escaped += "\\(ga",
            '^' => escaped += "\\(ha",
            '~' => escaped += "\\(ti",
            other => escaped.push(other),
        }
    }
    escaped
}

/// Capitals are slanted, because they stand for something; everything else is bold.
fn styled(usage: &str) -> String {
    let mut text = String::new();
    let mut pieces = usage.chars().peekable();
    while let Some(first) = pieces.next() {
        let kind = |character: char| match character {
            'A'..='Z' => 'I',
            ' ' | '[' | ']' | '(' | ')' | '|' | ',' => 'R',
            _ => 'B',
        };
        let mut piece = String::from(first);
        while let Some(next) = pieces.next_if(|next| kind(*next) == kind(first)) {
            piece.push(next);
        }
        text += &format!("\\f{}{}", kind(first), escaped(&piece));
    }
    text + "\\fR"
}

/// What a verb's page is called.
fn page_of(verb: &Verb) -> String {
    format!("postern-{}", verb.name)
}

/// A verb with its operands and options.
fn synopsis(verb: &Verb) -> String {
    let mut text = format!("postern {}", verb.name);
    let operands: Vec<&str> = verb.operands.iter().map(|operand| operand.name()).collect();
    for operand in &operands {
        text += &format!(" {operand}");
    }
    for option in verb.options.iter().map(|option| option.usage()) {
        if option != "--all" || !operands.iter().any(|operand| operand.contains(option)) {
            text += &format!(" [{option}]");
        }
    }
    text
}

fn capitalized(summary: &str) -> String {
    let (first, rest) = summary.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}

fn exit_statuses(page: &mut Page, own: &[&str]) {
    page.heading("EXIT STATUS");
    for (status, meaning) in [
        ("0", "Done."),
        ("1", "Failed, and said why."),
        ("2", "Misused: the command line makes no sense."),
    ] {
        page.raw(".TP");
        page.raw(&format!(".B {status}"));
        page.text(meaning);
    }
    for line in own {
        page.paragraph(line);
    }
}

fn verb(verb: &Verb) -> String {
    let mut page = Page::new(&page_of(verb), 8, verb.summary);
    page.heading("SYNOPSIS");
    page.raw(&styled(&synopsis(verb)));
    page.heading("DESCRIPTION");
    page.text(&capitalized(verb.summary));
    let (own, details): (Vec<&str>, Vec<&str>) = verb
        .details
        .lines()
        .filter(|line| !line.is_empty())
        .partition(|line| line.starts_with("Exit status"));
    for paragraph in details {
        page.paragraph(paragraph);
    }
    if !verb.options.is_empty() {
        page.heading("OPTIONS");
    }
    for option in verb.options {
        page.term(option.usage());
        page.text(&capitalized(option.meaning()));
    }
    if verb.name == "doctor" {
        page.heading("FINDINGS");
        for [id, severity, text, cure] in doctor::kinds_of_findings() {
            page.term(&id);
            page.text(&format!("At worst {severity}: {text}. What helps: {cure}."));
        }
    }
    exit_statuses(&mut page, &own);
    if verb.options.contains(&Opt::Config) {
        page.heading("FILES");
        page.file(
            DEFAULT_CONFIG,
            "The configuration, unless --config names another.",
        );
    }
    if verb.options.contains(&Opt::ClientFile) {
        page.heading("FILES");
        page.file(
            "~/.config/postern/HOST",
            "The client file of a router, unless --config names another.",
        );
    }
    page.see_also([("postern", 8), ("postern.conf", 5)]);
    page.0
}

fn overview() -> String {
    let summary = "port knocking for Netfilter that never locks its owner out";
    let mut page = Page::new("postern", 8, summary);
    page.heading("SYNOPSIS");
    page.raw(&styled("postern VERB [OPTIONS]"));
    page.raw(".br");
    page.raw(&styled("postern help [VERB]"));
    page.heading("DESCRIPTION");
    page.text(
        "Postern keeps ports of a router or a server shut, until a client proves by a secret pattern of \
         packets that it knows it. The kernel's nftables lets its address in for as long as the door's \
         grant lasts, and ends every grant by itself.",
    );
    page.paragraph(
        "A knock hides a door; it does not lock it. Keep keys or passwords behind it. Have a console at \
         hand, or another way in that does not lead through the door, before a port is guarded for the \
         first time: postern doctor says what there is.",
    );
    page.heading("VERBS");
    for verb in VERBS {
        page.term(
            synopsis(verb)
                .split(" [-")
                .next()
                .unwrap()
                .trim_start_matches("postern "),
        );
        page.text(&format!("{} See", capitalized(verb.summary)));
        page.raw(&format!(".BR {} (8).", escaped(&page_of(verb))));
    }
    page.heading("OPTIONS");
    page.term("-h, --help");
    page.text("List the verbs, or, behind a verb, explain it.");
    page.term("-V, --version");
    page.text("Name the version, and what was built in.");
    exit_statuses(
        &mut page,
        &["Verbs whose exit status says more have it on their pages."],
    );
    page.heading("FILES");
    page.file(DEFAULT_CONFIG, "The configuration, on every system.");
    page.file(
        DEFAULT_STATE_DIR,
        "What one-time doors have used, unless option state_dir names another folder.",
    );
    page.file(
        DEFAULT_CONTROL,
        "The agent's socket, unless option control names another.",
    );
    page.file(
        "~/.config/postern/HOST",
        "What postern knock knows of a router: what postern export printed there.",
    );
    let names: Vec<String> = VERBS.iter().map(page_of).collect();
    let verbs = names.iter().map(|name| (name.as_str(), 8));
    page.see_also(
        [("postern.conf", 5)]
            .into_iter()
            .chain(verbs)
            .chain([("nft", 8)]),
    );
    page.0
}

/// A configuration that is right, to begin with.
const EXAMPLE: &str = "\
config postern 'global'
	option guard 'gate'
	list interface 'eth0'

config door 'ssh'
	list guard 'tcp:22'
	option method 'sequence-separate'
	list open 'tcp:7000'
	list open 'udp:8001'
	list open 'tcp:6002'
	option grant '30s'
	option cutoff '5 per 10m'
";

const SECTIONS: [(Section, &str, &str); 4] = [
    (
        Section::Postern,
        "config postern 'global'",
        "What holds for all doors; there is one such section.",
    ),
    (
        Section::Door,
        "config door 'NAME'",
        "A guarded service, the knocks that open and close it, and for how long.",
    ),
    (
        Section::Button,
        "config button",
        "A push button of a router, under OpenWrt.",
    ),
    (
        Section::Client,
        "config client 'global'",
        "What holds for all doors of a router, in a client file only.",
    ),
];

fn configuration() -> String {
    let mut page = Page::new("postern.conf", 5, "configuration of Postern");
    page.heading("SYNOPSIS");
    page.raw(&format!("\\fI{}\\fR", escaped(DEFAULT_CONFIG)));
    page.heading("DESCRIPTION");
    page.text(
        "The grammar is that of OpenWrt's UCI, on every system. A section begins with config, its type \
         and its name; a line option gives one value, and lines list give one each. Words with spaces \
         stand between quotes, and # begins a comment. Times are numbers with a unit: 500ms, 30s, 10m, \
         2h, 7d; without one, seconds.",
    );
    page.paragraph(
        "postern check reports every mistake with its line and column. A file with mistakes is refused \
         whole, and what is in force stays. Whoever can read the file can open the doors: keep it \
         root's alone.",
    );
    page.heading("OPTIONS");
    for (section, title, meaning) in SECTIONS {
        page.raw(&format!(".SS {}", escaped(title)));
        page.text(meaning);
        for spec in OPTIONS.iter().filter(|spec| spec.section == section) {
            option(&mut page, spec);
        }
    }
    page.heading("EXAMPLES");
    page.text("A port that three knocks open, with ports of your own choice in place of these:");
    page.raw(".PP");
    page.raw(".nf");
    for line in EXAMPLE.lines() {
        page.raw(&escaped(&line.replace('\t', "    ")));
    }
    page.raw(".fi");
    page.heading("FILES");
    page.file(
        DEFAULT_CONFIG,
        "The configuration, unless --config names another.",
    );
    page.see_also([
        ("postern", 8),
        ("postern-check", 8),
        ("postern-apply", 8),
        ("postern-knock", 8),
    ]);
    page.0
}

fn option(page: &mut Page, spec: &OptionSpec) {
    let kind = if spec.limit().is_some() {
        "list"
    } else {
        "option"
    };
    page.term(&format!("{kind} {}", spec.name));
    page.text(&capitalized(spec.meaning.text));
    let mut facts = format!("Value: {}", spec.expected);
    if let Some(limit) = spec.limit() {
        facts += &format!("; up to {limit} lines");
    }
    facts += &match spec.presence {
        Presence::Required => ". It must be given.".to_owned(),
        Presence::Optional => ". There is no default.".to_owned(),
        Presence::Default(value) => format!(". Default: {value}."),
    };
    if spec.methods != Methods::ALL {
        let methods: Vec<&str> = spec.methods.names().collect();
        facts += &format!(" It belongs to {}.", methods.join(", "));
    }
    page.raw(".IP");
    page.text(&facts);
}

/// Every page, by the name of its file.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::from([
        ("postern.8".to_owned(), overview()),
        ("postern.conf.5".to_owned(), configuration()),
    ]);
    pages.extend(
        VERBS
            .iter()
            .map(|each| (format!("{}.8", page_of(each)), verb(each))),
    );
    pages
}

#[test]
fn manual_pages_are_made_from_the_tables() {
    let pages = pages();
    for (name, page) in &pages {
        made::expect(&format!("{FOLDER}/{name}"), page);
    }
    for entry in fs::read_dir(made::path(FOLDER)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(pages.contains_key(&name), "{FOLDER}/{name} is of no table");
    }
}

#[test]
fn a_page_has_its_sections_in_their_order() {
    let order = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "VERBS",
        "OPTIONS",
        "FINDINGS",
        "EXIT STATUS",
        "EXAMPLES",
        "FILES",
        "SEE ALSO",
    ];
    for (name, page) in pages() {
        let headings = page.lines().filter_map(|line| line.strip_prefix(".SH "));
        let places: Vec<usize> = headings
            .map(|heading| {
                let known = order.iter().position(|known| heading.starts_with(known));
                known.unwrap_or_else(|| panic!("{name}: {heading}"))
            })
            .collect();
        assert!(places.is_sorted(), "{name}");
        assert!(
            places.starts_with(&[0, 1, 2]) && places.ends_with(&[9]),
            "{name}"
        );
        for (number, line) in page.lines().enumerate() {
            let is_request = line.starts_with(['.', '\'']);
            let known = [
                ".SH ", ".SS ", ".TH ", ".TP", ".PP", ".IP", ".B ", ".BR ", ".br", ".nf", ".fi",
                ".\\\"",
            ];
            assert!(
                !is_request || known.iter().any(|known| line.starts_with(known)),
                "{name}:{number}: {line}"
            );
        }
    }
}

#[test]
fn whatever_is_written_is_printed() {
    assert_eq!(escaped(".TH"), "\\&.TH");
    assert_eq!(escaped("'x' \\ -4"), "\\&\\(aqx\\(aq \\(rs \\-4");
    assert_eq!(
        styled("--for N[,N]"),
        "\\fB\\-\\-for\\fR \\fIN\\fR[,\\fIN\\fR]\\fR"
    );
    let mut page = Page(String::new());
    page.text("One. Two\nthree.");
    assert_eq!(page.0, "One.\nTwo three.\n");
}

#[test]
fn the_example_is_right() {
    let mut mistakes = 0;
    assert!(Config::parse(EXAMPLE.as_bytes(), |_| mistakes += 1).is_some());
    assert_eq!(mistakes, 0);
}

#[test]
fn no_section_of_the_configuration_is_left_out() {
    for spec in OPTIONS {
        assert!(
            SECTIONS
                .iter()
                .any(|(section, ..)| *section == spec.section)
        );
    }
}

/// What readers of such pages say of one; `None` without them.
fn said_by(program: &str, words: &[&str], page: &str) -> Option<String> {
    let path = made::path(&format!("{FOLDER}/{page}"));
    let mut reader = Command::new(program);
    reader.args(words).arg(path).stdin(Stdio::null());
    let said = reader.env("LC_ALL", "C.UTF-8").output().ok()?;
    Some(String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap())
}

#[test]
fn readers_of_manual_pages_find_no_fault() {
    for page in pages().keys() {
        match said_by("groff", &["-man", "-ww", "-Tutf8", "-z"], page) {
            Some(said) => assert_eq!(said, "", "{page}"),
            None => return skip("groff is not installed (tests/setup installs it)"),
        }
    }
    for page in pages().keys() {
        match said_by("mandoc", &["-Tlint", "-Wwarning"], page) {
            // When a page was last changed is in the log, and would differ from build to build.
            Some(said) => {
                let mut faults = said.lines().filter(|line| !line.contains("missing date"));
                assert_eq!(faults.next(), None);
            }
            None => return skip("mandoc is not installed (tests/setup installs it)"),
        }
    }
}
