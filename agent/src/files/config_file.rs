//! Reading the configuration file.
//!
//! Configurations are boxed: 64 doors on the stack put whatever lies behind them out of reach of one load or store
//! on MIPS and ARM, and a copy is made wherever one is handed on.

use core::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use postern_core::config::{self, Client, Config, Diagnostic, Global, Severity};
use postern_core::door::Door;
use postern_core::uci::MAX_FILE;

use super::bounded;
use super::owner::{self, Unsound};
use crate::output::meant::Names;
use crate::output::{self, Failure, Level};

/// Reads a configuration and reports what is wrong with it, every mistake with its place.
pub(crate) fn load(path: &Path) -> Result<Box<Config>, Failure> {
    read_and_parse(path, Doors::Needed).map(|(config, _)| config)
}

/// Whether a configuration without a door is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doors {
    /// It is a mistake, unless `option enabled '0'` says that nothing is to be guarded.
    Needed,
    /// Somebody said that there may be none.
    Allowed,
}

/// Reads a configuration that is to be in force as [`load`] does, and returns it with the text that it was read from.
/// Nobody but root and the agent's user may choose it, nor what the next start takes in its place.
pub(crate) fn load_with_text(path: &Path, doors: Doors) -> Result<(Box<Config>, Vec<u8>), Failure> {
    let refused = |unsound: Unsound| Failure::Failed(unsound.to_string());
    owner::judge(path).map_err(refused)?;
    let (config, text) = read_and_parse(path, doors)?;
    judge(path, Path::new(config.global.state_dir.as_str())).map_err(refused)?;
    Ok((config, text))
}

/// Whether nobody but root and the agent's user chooses the configuration, nor what a start takes in its place.
pub(crate) fn judge(path: &Path, state: &Path) -> Result<(), Unsound> {
    owner::judge(path)?;
    owner::judge(state)?;
    for name in [CONFIRMED, TRIAL] {
        owner::judge(&state.join(name))?;
    }
    Ok(())
}

/// What was confirmed last, in the folder of the state.
pub(crate) const CONFIRMED: &str = "confirmed.conf";
/// What is on trial, or was.
pub(crate) const TRIAL: &str = "trial.conf";

fn read_and_parse(path: &Path, doors: Doors) -> Result<(Box<Config>, Vec<u8>), Failure> {
    let text = read(path).map_err(|error| unreadable(path, &error))?;
    let config = parse(&path.display().to_string(), &text, doors)?;
    Ok((config, text))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    explain(path, error, "name one with --config FILE", owner::FORBIDDEN)
}

/// A configuration's file, which is read once, and as much of it as there is.
pub(crate) struct Peeked {
    pub(crate) path: PathBuf,
    text: io::Result<Vec<u8>>,
    /// The configuration, if it is right.
    pub(crate) config: Option<Box<Config>>,
}

impl Peeked {
    /// Reads a configuration without a word about what is wrong with it.
    pub(crate) fn read(path: &Path) -> Self {
        let text = read(path);
        let config = text.as_deref().ok().and_then(parse_silently);
        Self {
            path: path.into(),
            text,
            config,
        }
    }

    /// Reports what is wrong with it, every mistake with its place.
    pub(crate) fn load(&self, doors: Doors) -> Result<Box<Config>, Failure> {
        match &self.text {
            Ok(text) => parse(&self.path.display().to_string(), text, doors),
            Err(error) => Err(unreadable(&self.path, error)),
        }
    }

    /// Where it says that the control socket lies, right or wrong as it is otherwise.
    pub(crate) fn control(&self) -> Option<PathBuf> {
        control_in(self.text.as_deref().ok()?)
    }
}

/// Reads the text of a configuration and reports what is wrong with it; `place` is where it is from.
pub(crate) fn parse(place: &str, text: &[u8], doors: Doors) -> Result<Box<Config>, Failure> {
    parse_into_box(Some(place), text, doors).ok_or(Failure::Reported)
}

/// Reads the text of a configuration without a word about what is wrong with it.
pub(crate) fn parse_silently(text: &[u8]) -> Option<Box<Config>> {
    parse_into_box(None, text, Doors::Allowed)
}

// One copy of core's reader in the program.
#[inline(never)]
fn parse_into_box(place: Option<&str>, text: &[u8], doors: Doors) -> Option<Box<Config>> {
    let mut report = |diagnostic: &Diagnostic<'_>| {
        if let Some(place) = place {
            complain(place, diagnostic);
        }
    };
    let mut config = Box::new(Config::empty());
    let right = config.parse_in_place(text, doors == Doors::Needed, &mut report);
    right.then_some(config)
}

/// A configuration of these parts, which never is on the stack as a whole.
#[inline(never)]
pub(crate) fn boxed(global: &Global, doors: &[Door]) -> Box<Config> {
    let mut config = Box::new(Config::empty());
    config.global.clone_from(global);
    _ = config.doors.extend_from_slice(doors);
    config
}

/// Whether a configuration guards anything; where it says that it does not, its doors are none.
pub(crate) fn is_enabled(config: &mut Config) -> bool {
    if !config.global.enabled {
        config.doors.clear();
    }
    config.global.enabled
}

/// What is said where `option enabled '0'` stands.
pub(crate) const DISABLED: &str = "option enabled '0': nothing is guarded";

/// Reads a client's file and reports what is wrong with it, every mistake with its place.
pub(crate) fn load_client(path: &Path) -> Result<Box<Client>, Failure> {
    let missing = "'postern export DOOR' prints what belongs there, on the router";
    let text = read(path)
        .map_err(|error| explain(path, &error, missing, "it belongs to somebody else"))?;
    let place = path.display().to_string();
    let client = Client::parse(&text, |diagnostic| complain(&place, diagnostic));
    client.map(Box::new).ok_or(Failure::Reported)
}

/// Where there is no file, and where it is forbidden, there is something to say.
fn explain(path: &Path, error: &io::Error, missing: &str, forbidden: &str) -> Failure {
    let place = path.display();
    Failure::Failed(match error.kind() {
        io::ErrorKind::NotFound => format!("{place}: {error}; {missing}"),
        io::ErrorKind::PermissionDenied => format!("{place}: {error}; {forbidden}"),
        _ => format!("{place}: {error}"),
    })
}

/// A door as the section that [`load_client`] reads.
pub(crate) fn section(door: &Door) -> String {
    let mut text = String::new();
    let Ok(()) = config::write(door, &mut Words(&mut text));
    text
}

/// Reads a client's file without a word about what is wrong with it.
pub(crate) fn peek_client(path: &Path) -> Option<Box<Client>> {
    Client::parse(&read(path).ok()?, |_| {}).map(Box::new)
}

/// Where a configuration says that the control socket lies, right or wrong as it is otherwise.
pub(crate) fn peek_control(path: &Path) -> Option<PathBuf> {
    control_in(&read(path).ok()?)
}

fn control_in(text: &[u8]) -> Option<PathBuf> {
    Config::control(beginning(text)).map(|control| control.as_str().into())
}

/// Where it says that the folder is for what is remembered.
pub(crate) fn peek_state_dir(path: &Path) -> Option<PathBuf> {
    let text = read(path).ok()?;
    Config::state_dir(beginning(&text)).map(|folder| folder.as_str().into())
}

/// As much of a file as core takes: of one that is too large, too, something can be made out.
fn beginning(text: &[u8]) -> &[u8] {
    text.get(..MAX_FILE).unwrap_or(text)
}

/// `FILE:LINE:COLUMN: what, and what was expected`, as editors know it from compilers.
fn complain(place: &str, diagnostic: &Diagnostic<'_>) {
    let (level, warning) = match diagnostic.severity {
        Severity::Error => (Level::Error, ""),
        Severity::Warning => (Level::Warning, "warning: "),
    };
    let mut what = String::new();
    let Ok(()) = ufmt::uwrite!(&mut Words(&mut what), "{}", diagnostic);
    let Diagnostic { line, column, .. } = diagnostic;
    output::write_error(level, &format!("{place}:{line}:{column}: {warning}{what}"));
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

/// What is said of the doors that there are, in place of one that is not.
pub(crate) fn there_are(written: &str, doors: &[Door]) -> String {
    let mut names = Names::instead_of(written);
    for door in doors {
        names.add(&door.name);
    }
    names.there_are()
}

/// The door of this name, with its index; else what to tell whoever asked for it.
pub(crate) fn find<'d>(doors: &'d [Door], name: &str) -> Result<(usize, &'d Door), String> {
    let found = doors.iter().enumerate().find(|(_, door)| door.name == name);
    found.ok_or_else(|| {
        let known = there_are(name, doors);
        format!("there is no door '{}'{known}", name.escape_default())
    })
}

/// One byte more than core accepts is enough to have it say that the file is too large.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    bounded::read(path, MAX_FILE + 1)
}
