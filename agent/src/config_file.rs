//! Reading the configuration file.

use core::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use postern_core::config::{Config, Diagnostic, Severity};
use postern_core::uci::MAX_FILE;

use crate::output::{self, Failure};

/// Reads a configuration and reports what is wrong with it, every mistake with its place.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    let text = read(path).map_err(|error| {
        let cure = match error.kind() {
            io::ErrorKind::NotFound => "; name one with --config FILE",
            io::ErrorKind::PermissionDenied => "; run this as root",
            _ => "",
        };
        Failure::Failed(format!("{}: {error}{cure}", path.display()))
    })?;
    let place = path.display().to_string();
    Config::parse(&text, |diagnostic| complain(&place, diagnostic)).ok_or(Failure::Reported)
}

/// Reads a configuration without a word about what is wrong with it.
pub(crate) fn peek(path: &Path) -> Option<Config> {
    Config::parse(&read(path).ok()?, |_| {})
}

/// `FILE:LINE:COLUMN: what, and what was expected`, as editors know it from compilers.
fn complain(place: &str, diagnostic: &Diagnostic<'_>) {
    let warning = match diagnostic.severity {
        Severity::Error => "",
        Severity::Warning => "warning: ",
    };
    let mut what = String::new();
    let Ok(()) = ufmt::uwrite!(&mut Words(&mut what), "{}", diagnostic);
    let Diagnostic { line, column, .. } = diagnostic;
    output::write_error(&format!("{place}:{line}:{column}: {warning}{what}"));
}

/// Core writes with ufmt, the agent keeps strings.
struct Words<'s>(&'s mut String);

impl ufmt::uWrite for Words<'_> {
    type Error = Infallible;

    fn write_str(&mut self, text: &str) -> Result<(), Infallible> {
        self.0.push_str(text);
        Ok(())
    }
}

/// One byte more than core accepts is enough to have it say that the file is too large.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = MAX_FILE as u64 + 1;
    File::open(path)?.take(limit).read_to_end(&mut text)?;
    Ok(text)
}
