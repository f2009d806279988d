//! What is said about each configuration under tests/golden.
//!
//! `BLESS=1 cargo test -p postern-core --test golden_wrong` writes what is said now into the
//! files, for a person to read before they are committed.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use postern_core::config::{Config, Severity};
use ufmt::{uWrite, uwrite};

struct Text(String);

impl uWrite for Text {
    type Error = core::convert::Infallible;

    fn write_str(&mut self, text: &str) -> Result<(), Self::Error> {
        self.0.push_str(text);
        Ok(())
    }
}

fn check(text: &[u8]) -> (Option<Config>, String) {
    let mut said = Text(String::new());
    let config = Config::parse(text, |diagnostic| {
        let severity = match diagnostic.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        let (line, column) = (diagnostic.line, diagnostic.column);
        let Ok(()) = uwrite!(said, "{}:{}: {}{}\n", line, column, severity, diagnostic);
    });
    (config, said.0)
}

fn configurations(folder: &str) -> io::Result<Vec<PathBuf>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
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

#[test]
fn wrong_configurations_get_the_expected_diagnostics() {
    let paths = configurations("wrong").expect("the folder");
    assert!(paths.len() >= 40, "{} files", paths.len());
    for path in paths {
        let text = fs::read(&path).expect("a configuration");
        let (config, said) = check(&text);
        let expected = path.with_extension("expected");
        if env::var_os("BLESS").is_some() {
            fs::write(&expected, &said).expect("a file written");
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(said, expected, "{}", path.display());
        assert!(!said.is_empty(), "{}", path.display());
        let errors = said.lines().any(|line| !line.contains(": warning: "));
        assert_eq!(config.is_none(), errors, "{}", path.display());
    }
}

#[test]
fn right_configurations_get_none() {
    let paths = configurations("right").expect("the folder");
    assert!(paths.len() >= 6, "{} files", paths.len());
    for path in paths {
        let text = fs::read(&path).expect("a configuration");
        let (config, said) = check(&text);
        assert_eq!(said, "", "{}", path.display());
        assert!(config.is_some(), "{}", path.display());
    }
}
