//! Every method with every protocol, by either family: what opens, what closes, what does
//! neither, what works twice, and what ends by itself. The outcome is printed as a table.

use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use postern_tests::plan::{Method, Plan, Protocol};
use postern_tests::scenario::{Approach, Hand, Outcome, Stage};
use postern_tests::suite;
use postern_tests::suite::Suite;
use postern_tests::topology::Family;

pub(crate) fn suite() -> Suite {
    suite![
        single_same,
        single_separate,
        sequence_same,
        sequence_separate,
        one_time_list,
        one_time_clock needs "oathtool",
        one_time_seed needs "oathtool",
    ]
    .then(finish)
}

fn single_same() {
    play(Method::SingleSame);
}

fn single_separate() {
    play(Method::SingleSeparate);
}

fn sequence_same() {
    play(Method::SequenceSame);
}

fn sequence_separate() {
    play(Method::SequenceSeparate);
}

fn one_time_list() {
    play(Method::OneTimeList);
}

fn one_time_clock() {
    play(Method::OneTimeClock);
}

fn one_time_seed() {
    play(Method::OneTimeSeed);
}

static STAGE: Mutex<Option<Arc<Stage>>> = Mutex::new(None);
static TABLE: Mutex<Vec<Row>> = Mutex::new(Vec::new());

fn stage() -> Arc<Stage> {
    let mut stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(stage.get_or_insert_with(|| Arc::new(new_stage())))
}

/// One knock cannot be mixed, and where it closes too there is no other.
fn new_stage() -> Stage {
    let every = |method| Protocol::ALL.map(|protocol| (method, protocol));
    let kinds = Method::ALL.into_iter().flat_map(every);
    let possible = kinds.filter(|kind| *kind != (Method::SingleSame, Protocol::Mixed));
    let plans = Plan::pairs(possible);
    Stage::new(Approach::Source("nflog"), Hand::Packets, &plans)
}

fn finish() {
    let stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut rows = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|row| row.order);
    if let Some(first) = rows.first() {
        println!("{}", first.heading());
    }
    for row in rows.iter() {
        println!("{row}");
    }
    if let Some(stage) = stage.filter(|_| rows.iter().any(|row| !row.failures().is_empty())) {
        println!("--- the agent logged:\n{}", stage.setup.log_so_far());
    }
}

/// The outcome of everything about one method by one family and protocol.
struct Row {
    order: (usize, usize, usize),
    method: Method,
    family: Family,
    protocol: Protocol,
    outcome: Outcome,
}

impl Row {
    fn heading(&self) -> String {
        let titles = self.outcome.0.iter().map(|(title, _)| format!("{title:9}"));
        let titles: String = titles.collect();
        format!("\n{:19}{:8}{:10}{titles}", "method", "family", "protocol")
    }

    fn failures(&self) -> String {
        let (method, family) = (self.method.name(), self.family.name());
        let circumstances = format!("{method} {family} {}", self.protocol.name());
        self.outcome.failures(&circumstances)
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (method, protocol) = (self.method.name(), self.protocol.name());
        let family = self.family.name();
        write!(f, "{method:19}{family:8}{protocol:10}")?;
        for (_, cell) in &self.outcome.0 {
            write!(f, "{:9}", cell.as_ref().map_or("FAIL", |outcome| *outcome))?;
        }
        Ok(())
    }
}

/// Plays all rows of a method. Families take turns, because a code is used up for both.
fn play(method: Method) {
    let stage = stage();
    let mut failures = String::new();
    for (family_order, family) in Family::BOTH.into_iter().enumerate() {
        let rows: Vec<Row> = thread::scope(|scope| {
            let protocols = Protocol::ALL.into_iter().enumerate();
            let stage = &stage;
            let playing = protocols.map(|(protocol_order, protocol)| {
                let order = (method as usize, family_order, protocol_order);
                scope.spawn(move || {
                    let outcome = stage.play(method, protocol, family)?;
                    Some(Row {
                        order,
                        method,
                        family,
                        protocol,
                        outcome,
                    })
                })
            });
            let playing: Vec<_> = playing.collect();
            let ended = playing.into_iter().map(thread::ScopedJoinHandle::join);
            ended
                .filter_map(|row| row.expect("a row is played"))
                .collect()
        });
        failures.extend(rows.iter().map(Row::failures));
        TABLE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(rows);
    }
    assert!(failures.is_empty(), "{failures}");
}
