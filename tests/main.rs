//! All suites, one after the other. The name of a case begins with its suite's, so that
//! `cargo test -p postern-tests --test netns -- doctor::` runs one suite.

mod lockout;
mod netns;
mod openwrt;
mod packaging;
mod pages;

use std::process::ExitCode;

use postern_tests::suite;

fn main() -> ExitCode {
    let suites = (netns::suites().into_iter())
        .chain(openwrt::suites())
        .chain([packaging::deb::suite(), pages::suite(), lockout::suite()]);
    suite::run_suites(suites)
}
