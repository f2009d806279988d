//! What was measured, in the pages for readers: ratios only.

use std::fs;
use std::path::Path;

use crate::contender::NAMES;
use crate::results::Results;
use crate::{flood, forward, latency};

/// The page that has the tables, between these two lines.
const PAGE: &str = "docs/measurements.md";
const BEGINS: &str = "<!-- Made by `make bench`, from here -->";
const ENDS: &str = "<!-- to here -->";
/// The page that quotes some of them.
const FRONT: &str = "README.md";

const POSTERN: &str = NAMES[0];
const RULESET: &str = NAMES[3];

/// A row: its title, and a cell for each of [`NAMES`].
type Row = (&'static str, [String; 4]);

/// Makes sure that there are pages to write into.
///
/// # Panics
/// When there are none.
pub(crate) fn expect_pages(project: &Path) {
    let page = read(project, PAGE);
    assert!(
        page.contains(BEGINS) && page.contains(ENDS),
        "no place in {PAGE}"
    );
    read(project, FRONT);
}

fn read(project: &Path, page: &str) -> String {
    let path = project.join(page);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes the tables, and what the front page quotes.
pub(crate) fn write(results: &Results, project: &Path) {
    let page = read(project, PAGE);
    let (before, rest) = page.split_once(BEGINS).expect("a beginning");
    let (_, after) = rest.split_once(ENDS).expect("an end");
    let section = section(results);
    let page = format!("{before}{BEGINS}\n\n{section}\n{ENDS}{after}");
    fs::write(project.join(PAGE), page).expect("write the tables");

    let front = read(project, FRONT);
    let lines: Vec<String> = front.lines().map(|line| quote(line, results)).collect();
    fs::write(project.join(FRONT), lines.join("\n") + "\n").expect("write the front page");
}

/// A line of the front page, with the figures of this run where it has any.
fn quote(line: &str, results: &Results) -> String {
    for (title, cells) in quoted(results) {
        if line.starts_with(&format!("| {title} |")) {
            return row(&(title, cells));
        }
    }
    line.into()
}

fn quoted(results: &Results) -> [Row; 2] {
    [
        (
            "knock to open port, as ratio (`make bench`)",
            against(results, "latency", latency::SOCKETS, RULESET),
        ),
        (
            "honest knocks that opened under floods (`make bench`)",
            under_floods(results),
        ),
    ]
}

/// The tables, beneath the command that makes them.
pub(crate) fn section(results: &Results) -> String {
    let version = |of| results.version(of);
    let heads = ["Postern", "knockd", "fwknopd", "nftables wiki's ruleset"];
    let mut text = format!(
        "```sh\nmake bench\n```\n\n\
         ![What this run found, drawn.](measurements/bench.svg)\n\n\
         Postern {}, knockd {}, fwknopd {}, nft {}, Linux {}.\n\
         Every figure of the run is one of these [JSON lines](measurements/bench.jsonl).\n\n",
        version("postern"),
        version("knockd"),
        version("fwknopd"),
        version("nft"),
        version("linux"),
    );
    text += &head("", &heads);
    for line in overview(results) {
        text += &(row(&line) + "\n");
    }
    text += "\nHonest attempts that opened, by what was flooded:\n\n";
    text += &head("flood", &heads);
    for name in flood::names() {
        let cells = counts(results, "flood", &name);
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    let engine = |name| ratio(results.ratio("latency", latency::RAW, name, RULESET));
    text += &format!(
        "\nPostern's engines inside nftables wake no process: with raw packets, `chain` took {} of the ruleset's time, and\n\
         `track` {}.\n",
        engine("chain"),
        engine("track"),
    );
    text
}

fn overview(results: &Results) -> Vec<Row> {
    let rate = "packets that pass";
    let of_none = |what| NAMES.map(|name| ratio(results.ratio(rate, what, name, "none")));
    let mut first_knocks = of_none("first knocks");
    // Its knocks are larger packets than those that the bare router was sent.
    first_knocks[2] = NOTHING.into();
    let share = |what| {
        NAMES.map(|name| {
            let used = results.value("processor", what, name);
            let rate = results.value(rate, what, name);
            match used.zip(rate) {
                Some((used, rate)) => ratio(Some(used * rate / 1e6)),
                // There is no daemon.
                None if name == RULESET => "0".into(),
                None => NOTHING.into(),
            }
        })
    };
    let bulk = |what| {
        NAMES.map(|name| {
            let name = if name == POSTERN { name } else { "ct state" };
            ratio(results.value("forward", what, name))
        })
    };
    vec![
        (
            "last knock to open port, ordinary sockets; the ruleset is 1",
            against(results, "latency", latency::SOCKETS, RULESET),
        ),
        (
            "the same with raw packets",
            against(results, "latency", latency::RAW, RULESET),
        ),
        (
            "honest attempts that opened under floods",
            under_floods(results),
        ),
        (
            "scans in the order of ports that opened",
            counts(results, "scans", "in the order of ports"),
        ),
        (
            "scans in random order that opened",
            counts(results, "scans", "in random order"),
        ),
        (
            "sources that scanned on end and came in",
            counts(results, "scans", "on end"),
        ),
        (
            "the daemon's memory after a million sources; before is 1",
            growth(results),
        ),
        (
            "the same; Postern's is 1",
            against(results, "memory", "after", POSTERN),
        ),
        (
            "elements in the kernel's sets after them",
            NAMES.map(|name| {
                let elements = results.value("memory in sets", "after", name);
                elements.map_or(NOTHING.into(), |count| format!("{count}"))
            }),
        ),
        (
            "processors that the daemon keeps busy under packets beside all doors",
            share("beside all doors"),
        ),
        ("the same under first knocks", share("first knocks")),
        (
            "packets beside all doors that pass in a second; no guard is 1",
            of_none("beside all doors"),
        ),
        ("first knocks in a second; no guard is 1", first_knocks),
        (
            "bulk TCP sent on by routes; no guard is 1; others: a ruleset that asks for `ct state`",
            bulk(forward::BY_ROUTE),
        ),
        (
            "bulk TCP sent on by firewall4's redirect, likewise",
            bulk(forward::BY_REDIRECT),
        ),
        (
            "bytes on disk with libraries other than libc; Postern is 1",
            against(results, "disk", "with libraries", POSTERN),
        ),
        (
            "Debian packages that it needs beside libc6",
            NAMES.map(|name| {
                let mut all = results.measurements.iter();
                let found = all.find(|of| of.bench == "packages" && of.contender == name);
                found.map_or(NOTHING.into(), |of| of.what.replace(' ', ", "))
            }),
        ),
    ]
}

/// Where there is nothing to compare.
const NOTHING: &str = "–";

fn against(results: &Results, bench: &str, what: &str, other: &str) -> [String; 4] {
    NAMES.map(|name| ratio(results.ratio(bench, what, name, other)))
}

/// As `3 of 20`, where that is what was counted.
fn counts(results: &Results, bench: &str, what: &str) -> [String; 4] {
    NAMES.map(|name| {
        let found = results.find(bench, what, name);
        let count = found.and_then(|of| {
            Some((
                of.value?,
                of.unit.strip_prefix("opened ").unwrap_or(&of.unit),
            ))
        });
        count.map_or(NOTHING.into(), |(count, of)| format!("{count} {of}"))
    })
}

/// Of all floods that a contender can be under: how many opened, of how many.
pub(crate) fn sum_of_floods(results: &Results, name: &str) -> (f64, f64) {
    let floods = results.measurements.iter();
    let floods =
        floods.filter(|of| of.bench == "flood" && of.contender == name && of.what != flood::NONE);
    floods.fold((0.0, 0.0), |(opened, all), of| {
        let attempts = of
            .unit
            .strip_prefix("of ")
            .and_then(|unit| unit.parse().ok());
        let attempts: f64 = attempts.unwrap_or_default();
        (opened + of.value.unwrap_or_default(), all + attempts)
    })
}

fn under_floods(results: &Results) -> [String; 4] {
    NAMES.map(|name| {
        let (opened, all) = sum_of_floods(results, name);
        format!("{opened} of {all}")
    })
}

/// How many times its memory at rest a daemon has after all of the sources.
pub(crate) fn growth_of(results: &Results, name: &str) -> Option<f64> {
    Some(results.value("memory", "after", name)? / results.value("memory", "before", name)?)
}

fn growth(results: &Results) -> [String; 4] {
    NAMES.map(|name| ratio(growth_of(results, name)))
}

/// With as many decimals as it deserves.
pub(crate) fn ratio(value: Option<f64>) -> String {
    match value {
        None => NOTHING.into(),
        Some(value) if value >= 10.0 => format!("{value:.0}"),
        Some(value) if value >= 1.05 => format!("{value:.1}"),
        Some(value) if value >= 0.995 => "1".into(),
        Some(value) if value >= 0.01 => format!("{value:.2}"),
        Some(_) => "less than 0.01".into(),
    }
}

fn row((title, cells): &Row) -> String {
    format!("| {title} | {} |", cells.join(" | "))
}

fn head(first: &str, rest: &[&str]) -> String {
    let columns = rest.len() + 1;
    format!(
        "| {first} | {} |\n|{}\n",
        rest.join(" | "),
        " --- |".repeat(columns)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_have_as_many_decimals_as_they_deserve() {
        let texts = [920.4, 36.84, 2.9, 1.0, 0.98, 0.996, 0.001].map(|value| ratio(Some(value)));
        assert_eq!(
            texts,
            ["920", "37", "2.9", "1", "0.98", "1", "less than 0.01"]
        );
        assert_eq!(ratio(None), NOTHING);
    }
}
