//! The command line: what it says, and the verbs that do it.
//!
//! [`verbs`], [`operand`] and [`options`] are tables; [`parse`] reads the line by them and [`help`] explains them.
//! Tests make manual pages and completions of them, which the program is built without.

mod command;
#[cfg(test)]
mod completions;
mod help;
#[cfg(test)]
mod manual;
mod operand;
mod options;
mod parse;
mod qr;
mod values;
mod verbs;

use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

use crate::output::{self, Failure};
use values::misused;

/// Does what the command line says.
pub(crate) fn dispatch(args: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let mut parser = Parser::from_args(args);
    match parser.next().map_err(misused)? {
        None => Err(Failure::Misused(
            "a verb is missing; 'postern --help' lists them".into(),
        )),
        Some(Arg::Short('h') | Arg::Long("help")) => output::print(&help::overview()),
        Some(Arg::Short('V') | Arg::Long("version")) => output::print(&help::version()),
        Some(Arg::Value(name)) => {
            let verb = verbs::find(&name.string().map_err(misused)?)?;
            match parse::parse(verb, &mut parser)? {
                Some(options) => (verb.run)(&options),
                None => output::print(&help::page(verb)),
            }
        }
        Some(arg) => Err(misused(arg.unexpected())),
    }
}
