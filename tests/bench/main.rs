//! Postern beside others, on the same machine in the same run.
//!
//! `bench all FOLDER` measures everything, and writes what it found into the pages of the project in the folder; a part
//! by its name prints only. With `briefly`, each is played to see that it works. `bench scans` and
//! `bench honest` attack Postern alone, for hours.

mod contender;
mod disk;
mod flood;
mod forward;
mod honest;
mod latency;
mod load;
mod passes;
mod plot;
mod results;
mod scans;
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use flood::Floods;
use passes::Scans;
use results::Results;

/// How much is measured.
struct Scale {
    latency_rounds: usize,
    floods: Floods,
    scans: Scans,
    /// How many sources, each with a first knock.
    sources: u64,
    /// How many packets, and how often.
    strays: u64,
    stray_rounds: usize,
    forward_rounds: usize,
}

/// A quarter of an hour on a machine with nothing else to do.
const IN_FULL: Scale = Scale {
    latency_rounds: 200,
    floods: Floods {
        attempts: 20,
        head_start: Duration::from_secs(2),
        one_of: 1,
    },
    scans: Scans {
        ports: u16::MAX,
        in_order: 10,
        at_random: 30,
        on_end: 3,
        within: Duration::from_secs(15),
    },
    sources: 1_000_000,
    strays: 1_000_000,
    stray_rounds: 3,
    forward_rounds: 60,
};

/// To see that it works.
const BRIEFLY: Scale = Scale {
    latency_rounds: 2,
    floods: Floods {
        attempts: 2,
        head_start: Duration::ZERO,
        one_of: 4,
    },
    scans: Scans {
        ports: 8_000,
        in_order: 1,
        at_random: 1,
        on_end: 1,
        within: Duration::ZERO,
    },
    sources: 1_000,
    strays: 1_000,
    stray_rounds: 1,
    forward_rounds: 2,
};

/// A part of the measurements, and its name on the command line.
type Part = (&'static str, fn(&Scale, &mut Results));

const PARTS: [Part; 8] = [
    ("latency", |scale, results| {
        latency::measure(scale.latency_rounds, results)
    }),
    ("flood", |scale, results| {
        flood::measure(&scale.floods, results)
    }),
    ("datagrams", |scale, results| {
        flood::measure_datagrams(&scale.floods, results)
    }),
    ("passes", |scale, results| {
        passes::measure(&scale.scans, results)
    }),
    ("memory", |scale, results| {
        load::measure_memory(scale.sources, results)
    }),
    ("strays", |scale, results| {
        load::measure_strays(scale.strays, scale.stray_rounds, results)
    }),
    ("forward", |scale, results| {
        forward::measure(scale.forward_rounds, results)
    }),
    ("disk", |_, results| disk::measure(results)),
];

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("bench: network namespaces need root");
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let briefly = words.iter().position(|word| *word == "briefly");
    let scale = if briefly.is_some() { BRIEFLY } else { IN_FULL };
    briefly.map(|at| words.remove(at));
    match words[..] {
        ["honest"] if briefly.is_some() => honest::measure(1, 1),
        ["honest"] => honest::measure(2, 20),
        ["scans"] if briefly.is_some() => scans::measure(8, 0),
        ["scans"] => scans::measure(1_000, 20),
        ["all", folder] => write_all(&scale, Path::new(folder)),
        [name] => match PARTS.iter().find(|(part, _)| *part == name) {
            Some(part) => print!("{}", measure(&[*part], &scale).summary()),
            None => return usage(),
        },
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    let parts = PARTS.map(|(name, _)| name).join("|");
    eprintln!("usage: bench all [briefly] FOLDER\n       bench {parts}|honest|scans [briefly]");
    ExitCode::from(2)
}

fn measure(parts: &[Part], scale: &Scale) -> Results {
    let mut results = Results::new();
    for (name, part) in parts {
        eprintln!("bench: {name}");
        part(scale, &mut results);
    }
    results
}

fn write_all(scale: &Scale, project: &Path) {
    // Before the quarter of an hour, not after it.
    table::expect_pages(project);
    let results = measure(&PARTS, scale);
    let folder = project.join("docs/measurements");
    std::fs::create_dir_all(&folder).expect("make a folder");
    for (name, text) in [
        ("bench.jsonl", results.json_lines()),
        ("bench.svg", plot::draw(&results)),
    ] {
        std::fs::write(folder.join(name), text).expect("write what was measured");
    }
    table::write(&results, project);
    print!("{}", table::section(&results));
}

/// Each contender so many times, none always first: whatever disturbs the machine disturbs all of them.
fn turns<T>(rounds: usize, contenders: &[T]) -> impl Iterator<Item = (usize, &T)> {
    (0..rounds).flat_map(move |round| {
        (0..contenders.len()).map(move |turn| {
            let number = (round + turn) % contenders.len();
            (number, &contenders[number])
        })
    })
}
