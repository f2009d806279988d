//! Every source and every engine with every method that it serves, by either family: the same
//! scenario has the same outcome. It is printed as a table.

use std::sync::{Mutex, PoisonError};

use postern_tests::kernel_log::KernelLog;
use postern_tests::plan::{Method, Plan, Protocol};
use postern_tests::scenario::{Approach, Cell, Hand, Stage};
use postern_tests::suite;
use postern_tests::suite::Suite;
use postern_tests::topology::Family;

pub(crate) fn suite() -> Suite {
    suite![
        source_nflog needs "knock" "oathtool",
        source_packet needs "knock" "oathtool",
        source_sockets needs "oathtool",
        source_log needs "knock" "oathtool" "/dev/kmsg"
            "/proc/sys/net/netfilter/nf_log_all_netns",
        engine_chain needs "knock",
        engine_track needs "knock",
    ]
    .then(print_table)
}

const NFLOG: Approach = Approach::Source("nflog");
const PACKET: Approach = Approach::Source("packet");
const SOCKETS: Approach = Approach::Source("sockets");
const LOG: Approach = Approach::Source("log");
const CHAIN: Approach = Approach::Engine("chain");
const TRACK: Approach = Approach::Engine("track");

/// In the order of the table.
const APPROACHES: [Approach; 6] = [NFLOG, PACKET, SOCKETS, LOG, CHAIN, TRACK];

fn source_nflog() {
    play(NFLOG, Hand::Stock);
}

fn source_packet() {
    play(PACKET, Hand::Stock);
}

/// A knock at a socket of TCP is a whole connection, which the stock client does not wait for.
fn source_sockets() {
    play(SOCKETS, Hand::Connections);
}

fn source_log() {
    let _log = KernelLog::new();
    play(LOG, Hand::Stock);
}

fn engine_chain() {
    play(CHAIN, Hand::Stock);
}

fn engine_track() {
    play(TRACK, Hand::Stock);
}

/// What each method is played with: both protocols, where there is more than one knock; but codes
/// of both would have twice the ports.
const fn protocol(method: Method) -> Protocol {
    match method {
        Method::SingleSame | Method::OneTimeClock => Protocol::Tcp,
        Method::OneTimeSeed => Protocol::Udp,
        _ => Protocol::Mixed,
    }
}

/// Plays a row, and shows all of it before it fails.
fn play(approach: Approach, hand: Hand) {
    // Source `sockets` has room for the ports of four doors of codes, and for nothing else then.
    let (seed, others): (Vec<_>, Vec<_>) = Method::ALL
        .into_iter()
        .partition(|method| *method == Method::OneTimeSeed);
    let failures = [others, seed].map(|methods| play_some(approach, hand, &methods));
    let failures = failures.concat();
    assert!(failures.is_empty(), "{failures}");
}

/// Plays a row's cells of these methods, and says what failed. They take turns, because all of
/// them share the client's address, and the kernel's log tells of ten knocks a second.
fn play_some(approach: Approach, hand: Hand, methods: &[Method]) -> String {
    let kinds = methods.iter().map(|method| (*method, protocol(*method)));
    let (served, refused): (Vec<_>, Vec<_>) = Plan::pairs(kinds)
        .into_iter()
        .partition(|plan| approach.serves(plan.method));
    let stage = Stage::new(approach, hand, &served);
    let mut failures = String::new();
    let checked = served.iter().chain(&refused).filter(|plan| !plan.brief);
    for plan in checked {
        let verdict = check(&stage, approach, *plan);
        for family in Family::BOTH {
            let name = format!(
                "{} {} {}",
                approach.name(),
                plan.method.name(),
                family.name()
            );
            let cell = match verdict.clone() {
                Ok("ok") => cell(&stage, *plan, family, &name),
                verdict => verdict.map_err(|why| format!("{name} {why}\n")),
            };
            failures.extend(cell.as_ref().err().cloned());
            note(Entry {
                approach,
                method: plan.method,
                family,
                cell,
            });
        }
    }
    match failures.is_empty() {
        true => failures,
        false => failures + "--- the agent logged:\n" + &stage.setup.log_so_far(),
    }
}

/// Plays the scenario.
fn cell(stage: &Stage, plan: Plan, family: Family, name: &str) -> Cell {
    let outcome = stage.play(plan.method, plan.protocol, family);
    let failures = outcome.expect("such a door").failures(name);
    match failures.is_empty() {
        true => Ok("ok"),
        false => Err(failures),
    }
}

/// Whether `postern check` takes a door: it refuses what the approach does not serve, and says
/// what does.
fn check(stage: &Stage, approach: Approach, plan: Plan) -> Cell {
    let router = &stage.net.router;
    // An agent reads it no more than once.
    stage.setup.rewrite(&plan.config());
    let said = stage.setup.verb(router, "check", &[]);
    let method = plan.method.name();
    let reason = format!(
        "method '{method}' needs engine daemon, \
         expected one that begins with single or sequence with {}",
        approach.name()
    );
    match (said.status, approach.serves(plan.method)) {
        (0, true) => Ok("ok"),
        (1, false) if said.stderr.contains(&reason) => Ok("-"),
        _ => Err(format!("check: {said:?}")),
    }
}

/// A cell of the table.
struct Entry {
    approach: Approach,
    method: Method,
    family: Family,
    cell: Cell,
}

static TABLE: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

fn note(entry: Entry) {
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    table.push(entry);
}

fn print_table() {
    let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    if table.is_empty() {
        return;
    }
    let titles = Method::ALL.map(|method| format!("{:19}", method.name()));
    let families = Family::BOTH.map(|family| format!("{:6}", family.name()));
    let families = format!("{:19}", families.concat()).repeat(Method::ALL.len());
    println!("\n{:16}{}", "", titles.concat());
    println!("{:16}{families}", "");
    for approach in APPROACHES {
        println!("{:16}{}", approach.name(), row(&table, approach));
    }
    println!("-: not served, which `postern check` says; ?: not played");
}

fn row(table: &[Entry], approach: Approach) -> String {
    let at = |method, family| {
        let place = |entry: &&Entry| (entry.approach, entry.method, entry.family);
        let entry = table
            .iter()
            .find(|entry| place(entry) == (approach, method, family));
        match entry.map(|entry| &entry.cell) {
            None => "?",
            Some(Ok(shown)) => shown,
            Some(Err(_)) => "FAIL",
        }
    };
    let cells = |method| {
        let [v4, v6] = Family::BOTH.map(|family| at(method, family));
        format!("{v4:6}{v6:13}")
    };
    Method::ALL.map(cells).concat()
}
