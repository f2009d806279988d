//! What is said about each configuration under tests/golden, and how doors are written.
//!
//! `BLESS=1 cargo test -p postern-core --test golden_wrong` writes what is said now into the
//! files, for a person to read before they are committed.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot read its files has failed"
)]

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use postern_core::config::{Client, Config, Diagnostic, Severity, write};
use postern_core::door::Door;
use ufmt::{uWrite, uwrite};

struct Text(String);

impl uWrite for Text {
    type Error = core::convert::Infallible;

    fn write_str(&mut self, text: &str) -> Result<(), Self::Error> {
        self.0.push_str(text);
        Ok(())
    }
}

/// The doors, and what was said.
type Read = fn(&[u8]) -> (Option<Vec<Door>>, String);

fn router(text: &[u8]) -> (Option<Vec<Door>>, String) {
    let mut said = Text(String::new());
    let config = Config::parse(text, |diagnostic| said.line(diagnostic));
    let doors = config.map(|config| config.doors.into_iter().collect());
    (doors, said.0)
}

fn client(text: &[u8]) -> (Option<Vec<Door>>, String) {
    let mut said = Text(String::new());
    let client = Client::parse(text, |diagnostic| said.line(diagnostic));
    let doors = client.map(|client| client.doors.into_iter().collect());
    (doors, said.0)
}

impl Text {
    fn line(&mut self, diagnostic: &Diagnostic<'_>) {
        let severity = match diagnostic.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        let (line, column) = (diagnostic.line, diagnostic.column);
        let Ok(()) = uwrite!(self, "{}:{}: {}{}\n", line, column, severity, diagnostic);
    }
}

fn configurations(folder: &str) -> io::Result<Vec<PathBuf>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths = Vec::new();
    for entry in fs::read_dir(golden.join(folder))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn check_wrong(folder: &str, least: usize, read: Read) {
    let paths = configurations(folder).expect("the folder");
    assert!(paths.len() >= least, "{} files", paths.len());
    for path in paths {
        let text = fs::read(&path).expect("a configuration");
        let (doors, said) = read(&text);
        let expected = path.with_extension("expected");
        if env::var_os("BLESS").is_some() {
            fs::write(&expected, &said).expect("a file written");
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(said, expected, "{}", path.display());
        assert!(!said.is_empty(), "{}", path.display());
        let errors = said.lines().any(|line| !line.contains(": warning: "));
        assert_eq!(doors.is_none(), errors, "{}", path.display());
    }
}

/// The doors of every right file of a folder, with the file's path.
fn check_right(folder: &str, least: usize, read: Read) -> Vec<(PathBuf, Vec<Door>)> {
    let paths = configurations(folder).expect("the folder");
    assert!(paths.len() >= least, "{} files", paths.len());
    let doors = paths.into_iter().map(|path| {
        let text = fs::read(&path).expect("a configuration");
        let (doors, said) = read(&text);
        assert_eq!(said, "", "{}", path.display());
        (path, doors.expect("a configuration"))
    });
    doors.collect()
}

fn written(door: &Door) -> String {
    let mut section = Text(String::new());
    let Ok(()) = write(door, &mut section);
    section.0
}

#[test]
fn wrong_configurations_get_the_expected_diagnostics() {
    check_wrong("wrong", 75, router);
    check_wrong("client/wrong", 8, client);
}

#[test]
fn right_configurations_get_none() {
    check_right("right", 22, router);
    check_right("client/right", 4, client);
}

#[test]
fn doors_that_are_written_are_read_as_they_were() {
    let right = check_right("right", 22, router);
    for (path, doors) in right.iter().chain(&check_right("client/right", 4, client)) {
        for door in doors {
            let section = written(door);
            let (read, said) = client(section.as_bytes());
            assert_eq!(said, "", "{}: {section}", path.display());
            let read = read.expect("a door");
            assert_eq!(
                read.as_slice(),
                core::slice::from_ref(door),
                "{}: {section}",
                path.display()
            );
        }
    }
}

/// A router's door is a client's door as it stands.
#[test]
fn a_section_can_be_pasted_into_a_clients_file() {
    for (path, doors) in check_right("right", 22, router) {
        let text = fs::read_to_string(&path).expect("a configuration");
        // Where the global section is written in another way, there is nothing to paste.
        if !text.contains("config postern") {
            continue;
        }
        let mut of_router = false;
        let pasted = text.split_inclusive('\n').filter(|line| {
            of_router = match line.starts_with("config") {
                true => line.contains("postern"),
                false => of_router,
            };
            !of_router
        });
        let (read, said) = client(pasted.collect::<String>().as_bytes());
        assert_eq!(read, Some(doors), "{}: {said}", path.display());
    }
}

#[test]
fn options_at_their_defaults_are_not_written() {
    let (doors, _) = router(
        b"config postern global\nlist interface wan\nconfig door ssh\nlist guard 22\n\
          option method one-time-seed\noption secret_file \"/etc/it's\"\noption digits 8\n\
          option base 10000\noption look_ahead 10\noption grant 30000ms\noption window 90\n\
          option cutoff '5 per 600s'\n",
    );
    let expected = "config door 'ssh'\n\tlist guard 'tcp:22'\n\toption method 'one-time-seed'\n\
                    \toption secret_file '/etc/it'\\''s'\n\toption digits '8'\n\
                    \toption window '90s'\n\toption cutoff '5 per 10m'\n";
    assert_eq!(
        doors.as_deref().map(|doors| written(&doors[0])),
        Some(expected.into())
    );
}
