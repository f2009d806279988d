//! Core against OpenWrt's own `uci`: what it reads is read alike, what it refuses is refused.

use std::fs;
use std::path::Path;
use std::process::Command;

use postern_tests::process::run;
use postern_tests::scratch::Scratch;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::uci::{Model, Unlike};
use postern_tests::{suite, tools};

pub(crate) fn suite() -> Suite {
    suite![
        files_that_people_write needs "uci",
        every_oddity_of_libuci needs "uci",
        the_configurations_of_other_tests needs "uci",
        random_files needs "uci",
    ]
}

/// Reads the file with both; whether libuci accepted it.
#[track_caller]
fn compare(folder: &Scratch, text: &[u8]) -> bool {
    fs::write(folder.join("file"), text).expect("write a file");
    let shown = String::from_utf8_lossy(text);
    let mut uci = Command::new(tools::path("uci"));
    let said = run(
        uci.arg("-c").arg(folder.path()).args(["export", "file"]),
        "",
    );
    let accepted = said.status == 0;
    match Model::read(text) {
        Ok(model) if accepted => assert_eq!(model.export("file"), said.stdout, "{shown:?}"),
        Ok(_) => panic!("uci refuses {shown:?}: {}", said.stderr),
        Err(Unlike::Beyond | Unlike::OpenedThrice) => {}
        Err(Unlike::Refused(_)) if accepted => panic!("uci reads {shown:?} as\n{}", said.stdout),
        Err(Unlike::Refused(line)) => {
            let gave_up = said.stderr.split(" at line ").nth(1);
            let gave_up = gave_up.and_then(|rest| rest.split(',').next()?.parse().ok());
            let gave_up: u32 = gave_up.unwrap_or_else(|| panic!("{shown:?}: {}", said.stderr));
            // A line without an end is not counted there.
            let last = gave_up + u32::from(!text.ends_with(b"\n"));
            assert!(line <= last, "{shown:?}: line {line} or {}", said.stderr);
        }
    }
    accepted
}

fn files_that_people_write() {
    let folder = Scratch::new();
    for text in [
        "",
        "# only a comment\n",
        "package postern\n\nconfig postern 'global'\n\toption source 'nflog'\n\tlist interface 'wan'\n",
        "config door 'ssh'\n\tlist guard 'tcp:22'\n\tlist guard 'tcp:23'\n\n\n# more\n\toption window '10s'",
        "config door ssh\r\n\toption window 10s\r\n\tlist open tcp:7000\r\n",
        "config door 'ssh' # mine\n\toption window '10s' # long\n\toption x#y\n",
        "config a\nconfig b\n\toption x '1'\nconfig a\n\toption x '2'\n",
        "config a 'b'\n\toption x 'it'\\''s'\n\toption y \"say \\\"no\\\"\"\n\toption z it\\'s\n",
        "config a 'b'\n\toption x 'two\nlines'\n\toption y \"two\\\nlines\"\n",
        "c a b\no x y\nl z 1\nl z 2\n",
        "config a 'b'\n\toption x '1'\n\tlist x '2'\n\toption x '3'\n\tlist y ''\n\toption z ''\n",
        "config a 'b'\n\toption x '1'\nconfig a 'b'\n\toption x '2'\n",
    ] {
        assert!(compare(&folder, text.as_bytes()), "{text:?}");
    }
}

fn every_oddity_of_libuci() {
    let folder = Scratch::new();
    for text in [
        "c d n;o a b\n",
        "c d n;zork '\n",
        "c d 'n';o a b\n",
        "c d n ; o a b\n",
        "c d n\no a b;zork\no c d\n",
        "c d n\no a b;'\n# and no end",
        "c d n\no a 'b'; # x\n",
        "c d n\no a 'b';",
        "c d n\no a b\\\nc\n",
        "c d n\no a b\\",
        "c d n\no a \"b\\\r\nc\"\n",
        "c d n\no a b\\;c\\#d\\ e\n",
        "c d n\no a ''b;o c d\n",
        "c d n\no a;b c d\no e\n",
        "\x0b\x0cc d n\n",
        "c d n\no a \x0bb\n",
        "c d n\np x\no a b\n",
        "c ! n\n",
        "c d n\no a 'b'c\"d\"e\n",
        "c = n\no a =\n",
        "c [x] n\no a [\n",
        "c d n\no a\rb\n",
        "c d n\r\n\ro a b\r\n",
        "c \rd n\n",
    ] {
        assert!(compare(&folder, text.as_bytes()), "{text:?}");
    }
    for text in [
        ";\n",
        "c d n;;\nfoo",
        "c d 'n';\n",
        "c d 'n'; \n",
        "c d 'n';;o a b\n",
        "c d ;o a b\n",
        "c d n\no a ;o c d\n",
        "c d n\no a \\\n\tb\n",
        "c d n\no a b\\\n\tc\n",
        "c\x0bd n\n",
        "c\rd n\n",
        "config\rdoor n\n",
        "c d n\noption\rb 'c'\n",
        "c d n\nl\rb 'c'\n",
        "p\rx\n",
        "c\r\n",
        "c d n\no\r",
        "c d n\no \x0b\r\n",
        "\u{feff}c d n\n",
        "\u{feff}# x\n",
        "c d n\n\u{feff}\n",
        "[options]\n\tUseSyslog\n",
        "c d n\nsequence = 7000:tcp,8000:udp\n",
        "c d n\nx=1\n",
        "c d n\no a 'b\n",
        "c d n\no a \"b\\\"\n",
        "c d n\nc e n\n",
        "c d n\no a b c\n",
        "c d n\no a-b c\n",
        "o a b\n",
        "'c' d\n",
        "c d n-m\n",
        "c\n",
        "c;\n",
        "p;\n",
        "p ;\n",
        "p a b\n",
        "c 'd e'\n",
    ] {
        assert!(!compare(&folder, text.as_bytes()), "{text:?}");
    }
}

fn the_configurations_of_other_tests() {
    let folder = Scratch::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    for (kind, right) in [
        ("right", true),
        ("wrong", false),
        ("client/right", true),
        ("client/wrong", false),
    ] {
        for entry in fs::read_dir(golden.join(kind)).expect("a folder of tests/golden") {
            let path = entry.expect("an entry").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "conf")
            {
                let text = fs::read(&path).expect("a configuration");
                in_case_of(&path, || assert!(compare(&folder, &text) || !right));
            }
        }
    }
}

/// Pieces that the grammar is made of.
const PIECES: &[&str] = &[
    "config ",
    "c ",
    "option ",
    "o ",
    "list ",
    "l ",
    "package ",
    "p ",
    "config d n\n",
    "c e\n",
    "option a b\n",
    "o a 'b'\n",
    "list a 'x y'\n",
    "l c\n",
    "d",
    "n",
    "a",
    "b",
    "-",
    "é",
    "'",
    "\"",
    "''",
    "\"\"",
    "\\",
    "\\\n",
    "\\\r\n",
    "\n",
    "\n",
    "\r\n",
    ";",
    "; ",
    " ",
    " ",
    "\t",
    "\x0b",
    "#",
    "\r",
    "\x0c",
    "config",
    "o",
    "list",
    "p",
    "=",
    "[",
    "\u{feff}",
];

const FILES: u32 = 4000;

fn random_files() {
    let folder = Scratch::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    // xorshift64 (Marsaglia 2003)
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below
    };
    let mut accepted = 0;
    for number in 0..FILES {
        let mut text = String::new();
        // Most of what follows no section is refused at once.
        if number % 4 > 0 {
            text += "config d n\n";
        }
        for _ in 0..1 + random(14) {
            text += PIECES[random(PIECES.len())];
        }
        accepted += u32::from(compare(&folder, text.as_bytes()));
    }
    assert!(
        (FILES / 20..FILES / 2).contains(&accepted),
        "{accepted} of {FILES}"
    );
}
