//! How many honest knocks open under every kind of flood, at the highest rate that this machine sends.

use std::time::Duration;

use postern_tests::floods::{Flood, Honest, Outcome, Scene};

/// What sees packets by itself: docs/limits.md says what the others can bear.
const SOURCES: [&str; 2] = ["nflog", "packet"];
/// A second.
const AS_FAST_AS_IT_SENDS: u64 = 10_000_000;
const PEOPLE: usize = 20;
const BRIEF: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(1);

/// Measures and prints; so many people make a pause of a second between their knocks.
pub(crate) fn measure(sources: usize, patient: usize) {
    println!(
        "{:<8}{:<36}{:<10}{:>16}{:>16}{:>12}",
        "source", "flood", "knocks", "20 ms apart", "1 s apart", "flood"
    );
    for source in SOURCES.into_iter().take(sources) {
        for honest in [Honest::Sequence, Honest::Seed, Honest::Clock] {
            for flood in Flood::all() {
                let mut cut_off = "";
                let mut play = |people, pause| {
                    // Nobody finds a code of the time used up.
                    let clocks = if honest == Honest::Clock { people } else { 0 };
                    let scene = Scene::new(source, clocks as u16, AS_FAST_AS_IT_SENDS);
                    let outcome = scene.play(flood, honest, people, pause);
                    if scene.has_cut_off_an_owner() {
                        cut_off = "  an owner was cut off";
                    }
                    outcome
                };
                let (brief, long): (Outcome, Outcome) = (play(PEOPLE, BRIEF), play(patient, LONG));
                println!(
                    "{source:<8}{:<36}{:<10}{:>16}{:>16}{:>7} kpps{cut_off}",
                    flood.name(),
                    format!("{honest:?}"),
                    format!("{} of {PEOPLE}", brief.opened),
                    format!("{} of {patient}", long.opened),
                    brief.rate.max(long.rate) / 1000,
                );
            }
        }
    }
}
