//! Runs cases as `cargo test` does, and counts what had to be skipped as ignored, never as passed.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;
use std::fs::File;
use std::panic::UnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::{env, panic, thread};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::agent::Guard;
use crate::namespace::{self, Namespace};
use crate::nft;
use crate::tools;
use crate::topology::{Family, Topology};

/// One test.
#[derive(Clone, Debug)]
pub struct Case<B = fn()> {
    /// What holds when it passes. It begins with the name of its suite, if it is in one.
    pub name: Cow<'static, str>,
    /// Programs that it needs besides `ip` and `nft`, paths of files that it writes to, and
    /// [`FLOW_TABLES`] or [`APK`].
    pub needs: &'static [&'static str],
    /// Panics if it fails.
    pub body: B,
}

/// What a case does.
pub trait Body: FnOnce() + UnwindSafe + Send + 'static {}

impl<B: FnOnce() + UnwindSafe + Send + 'static> Body for B {}

/// Cases about one subject.
#[derive(Debug)]
pub struct Suite {
    name: &'static str,
    cases: Vec<Case>,
    finish: fn(),
}

impl Suite {
    /// Cases of a module, which gives the suite its name.
    pub fn new(module: &'static str, cases: impl IntoIterator<Item = Case>) -> Self {
        let name = module.rsplit("::").next().unwrap_or(module);
        let named = |case: Case| Case {
            name: format!("{name}::{}", case.name).into(),
            ..case
        };
        Self {
            name,
            cases: cases.into_iter().map(named).collect(),
            finish: || {},
        }
    }

    /// Has `finish` called when all cases have ended: where they share something.
    #[must_use]
    pub fn then(self, finish: fn()) -> Self {
        Self { finish, ..self }
    }
}

/// A suite from the names of functions in its module: `suite![a, b needs "ssh" "curl"]`.
#[macro_export]
macro_rules! suite {
    ($($body:ident $(needs $($program:literal)+)?),+ $(,)?) => {
        $crate::suite::Suite::new(module_path!(), [$($crate::suite::Case {
            name: stringify!($body).into(),
            needs: &[$($($program),+)?],
            body: $body as fn(),
        }),+])
    };
}

/// Needed by cases about flow tables. Nothing that could be installed gives them to a kernel, so
/// that without them such a case is skipped on every machine.
pub const FLOW_TABLES: &str = "flow tables of the kernel";

/// Needed by cases about OpenWrt's package manager. No package of Debian's or another registry's has
/// apk-tools 3; whoever built it and has it on the PATH can run them.
pub const APK: &str = "apk";

/// Set to make a case that would be skipped fail: for machines that are known to have everything.
pub const SKIP_NOTHING: &str = "POSTERN_TESTS_SKIP_NOTHING";

/// Runs the cases that the command line selects.
pub fn run<B: Body>(cases: impl IntoIterator<Item = Case<B>>) -> ExitCode {
    let trials = cases.into_iter().map(trial).collect();
    status(run_beside_each_other(&arguments(), trials, || {}))
}

/// Runs the cases that the command line selects, one suite after the other: the cases of one may run
/// beside each other, and are not disturbed by another suite's.
pub fn run_suites(suites: impl IntoIterator<Item = Suite>) -> ExitCode {
    let arguments = arguments();
    let (mut others, mut failed) = (Vec::new(), Vec::new());
    let mut has_run = false;
    for suite in suites {
        let trials: Vec<Trial> = suite.cases.into_iter().map(trial).collect();
        if trials.iter().all(|trial| arguments.is_filtered_out(trial)) {
            others.extend(trials);
            continue;
        }
        has_run = true;
        if !run_beside_each_other(&arguments, trials, suite.finish) {
            failed.push(suite.name);
        }
    }
    if !has_run {
        // Says how many there were to select from.
        run_beside_each_other(&arguments, others, || {});
    }
    if !failed.is_empty() {
        eprintln!("suites that failed: {}", failed.join(" "));
    }
    status(failed.is_empty())
}

fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    // The cases wait for most of their time.
    arguments.test_threads.get_or_insert(4);
    arguments
}

fn trial<B: Body>(case: Case<B>) -> Trial {
    Trial::ignorable_test(case.name.clone(), move || attempt(case))
}

fn status(passed: bool) -> ExitCode {
    // What cargo expects of tests that failed.
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    }
}

/// Whether all of them passed or were skipped, and left nothing behind.
fn run_beside_each_other(arguments: &Arguments, trials: Vec<Trial>, finish: fn()) -> bool {
    let conclusion = libtest_mimic::run(arguments, trials);
    finish();
    let leaked = namespace::remove_leaked();
    if !leaked.is_empty() {
        eprintln!("namespaces were left behind: {}", leaked.join(" "));
    }
    !conclusion.has_failed() && leaked.is_empty()
}

fn attempt<B: Body>(case: Case<B>) -> Result<Completion, Failed> {
    if case.needs.contains(&FLOW_TABLES) && !has_flow_tables() {
        eprintln!("SKIPPED {}: no {FLOW_TABLES}", case.name);
        return Ok(Completion::ignored_with(format!("no {FLOW_TABLES}")));
    }
    if case.needs.contains(&APK) && !is_installed(APK) {
        eprintln!("SKIPPED {}: no {APK}", case.name);
        return Ok(Completion::ignored_with(format!("no {APK}")));
    }
    if let Some(missing) = missing(case.needs) {
        let reason = format!("SKIPPED {}: {missing}", case.name);
        if env::var_os(SKIP_NOTHING).is_some() {
            return Err(reason.into());
        }
        eprintln!("{reason}");
        return Ok(Completion::ignored_with(missing));
    }
    panic::catch_unwind(case.body)
        .map(|()| Completion::Completed)
        .map_err(|cause| message(&*cause).into())
}

fn message(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| cause.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

fn missing(needs: &[&str]) -> Option<String> {
    static MACHINE: OnceLock<Option<String>> = OnceLock::new();
    match MACHINE.get_or_init(machine_lacks) {
        Some(lack) => Some(lack.clone()),
        None => needs.iter().find_map(|need| lacks(need)),
    }
}

fn lacks(need: &str) -> Option<String> {
    match need.starts_with('/') {
        _ if need == FLOW_TABLES => None,
        true => (File::options().write(true).open(need).err())
            .map(|error| format!("{need} cannot be written to: {error}")),
        false => (!is_installed(need))
            .then(|| format!("{need} is not installed (tests/setup installs it)")),
    }
}

/// What every case needs and this machine does not have.
fn machine_lacks() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces need root".into());
    }
    if let Some(program) = ["ip", "nft"]
        .into_iter()
        .find(|program| !is_installed(program))
    {
        return Some(format!(
            "{program} is not installed (tests/setup installs it)"
        ));
    }
    panic::catch_unwind(|| nft::ruleset(&Namespace::new("trial")))
        .err()
        .map(|cause| format!("no namespaces with nftables here: {}", message(&*cause)))
}

fn has_flow_tables() -> bool {
    let script = "table inet t {\nflowtable f {\nhook ingress priority 0\ndevices = { lo }\n}\n}\n";
    let namespace = Namespace::new("trial");
    namespace.run_with_input("nft", &["-f", "-"], script).status == 0
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(Into::into);
    env::split_paths(&path)
        .chain(usual)
        .chain([tools::folder()])
        .any(|directory| Path::new(&directory).join(program).is_file())
}

/// Runs `body` for both families, saying which one failed.
pub fn on_both_families(body: impl Fn(Family)) {
    for family in Family::BOTH {
        in_case_of(family, || body(family));
    }
}

/// Runs `body` for every guard and both families, on a network of its own each time.
pub fn everywhere(body: impl Fn(&Topology, Guard, Family)) {
    for guard in Guard::BOTH {
        for family in Family::BOTH {
            in_case_of((guard, family), || body(&Topology::new(), guard, family));
        }
    }
}

/// Runs `body`; should it panic, says in which circumstances.
pub fn in_case_of<T>(circumstances: impl Debug, body: impl FnOnce() -> T) -> T {
    struct Teller<C: Debug>(C);
    impl<C: Debug> Drop for Teller<C> {
        fn drop(&mut self) {
            if thread::panicking() {
                eprintln!("--- this was with {:?}", self.0);
            }
        }
    }
    let _teller = Teller(circumstances);
    body()
}
