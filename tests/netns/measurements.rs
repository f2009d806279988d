//! The measurements beside others, played briefly: what they find is noise, but that they find and write it.

use std::fs;
use std::process::Command;

use postern_tests::page;
use postern_tests::process::run;
use postern_tests::scratch::Scratch;
use postern_tests::suite;
use postern_tests::suite::Suite;

pub(crate) fn suite() -> Suite {
    suite![
        everything_is_measured_and_written_into_the_pages
            needs "knockd" "fwknopd" "fwknop" "strip" "jq",
    ]
}

const PAGE: &str = "docs/measurements.md";
const FRONT: &str = "README.md";

fn everything_is_measured_and_written_into_the_pages() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("docs")).expect("make a folder");
    for page in [PAGE, FRONT] {
        scratch.write(page, &page::text(page));
    }
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    run(bench.args(["all", "briefly"]).arg(scratch.path()), "").ok();

    let read = |name: &str| fs::read_to_string(scratch.join(name)).expect("a file of the run");
    let lines = scratch.join("docs/measurements/bench.jsonl");
    let found = run(
        Command::new("jq")
            .args([
                "-r",
                r#"select(.value != null) | "\(.bench): \(.contender)""#,
            ])
            .arg(lines),
        "",
    )
    .ok();
    let of_daemons = ["latency", "flood", "scans", "memory", "processor", "disk"];
    let of_daemons = of_daemons.map(|bench| (bench, &["postern", "knockd", "fwknopd"][..]));
    let of_others = [
        ("datagrams under forged ones", &["postern", "fwknopd"][..]),
        ("scans", &["ruleset"][..]),
        ("memory in sets", &["ruleset"]),
        ("packets that pass", &["ruleset", "none"]),
        ("forward", &["none", "postern", "ct state"]),
    ];
    for (bench, contenders) in of_daemons.into_iter().chain(of_others) {
        for contender in contenders {
            let line = format!("{bench}: {contender}");
            assert!(found.lines().any(|found| found == line), "no {line}");
        }
    }
    let plot = read("docs/measurements/bench.svg");
    assert!(plot.starts_with("<svg ") && plot.ends_with("</svg>\n"));
    assert_eq!(
        plot.matches("<text").count(),
        plot.matches("</text>").count()
    );

    let (before, after) = (page::text(PAGE), read(PAGE));
    let outside = |text: &str| {
        let (head, rest) = text.split_once("<!-- Made by ").expect("a beginning");
        let (_, tail) = rest.split_once("<!-- to here -->").expect("an end");
        format!("{head}{tail}")
    };
    assert_eq!(outside(&before), outside(&after));
    assert!(after.contains("| none | "), "{after}");
    let (before, after) = (page::text(FRONT), read(FRONT));
    let rows = |text: &str| {
        let rows = text.lines().filter(|line| line.contains(" of "));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(before.lines().count(), after.lines().count());
    assert_ne!(rows(&before), rows(&after));
}
