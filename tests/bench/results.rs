//! What was measured, one JSON object a line.

use std::fmt::Write as _;
use std::process::Command;

use postern_tests::agent;
use postern_tests::process::run;

/// One measurement of one contender.
pub(crate) struct Measurement {
    /// Which benchmark it is of.
    pub(crate) bench: &'static str,
    /// What of it, such as a kind of flood.
    pub(crate) what: String,
    pub(crate) contender: &'static str,
    pub(crate) unit: String,
    /// What stands for all of them: their median, most of the time.
    pub(crate) value: Option<f64>,
    /// In the order of the rounds; nothing where one failed.
    pub(crate) values: Vec<Option<f64>>,
}

/// All measurements of a run.
pub(crate) struct Results {
    /// When it began.
    pub(crate) run: String,
    /// Programs, and their versions.
    pub(crate) versions: Vec<(&'static str, String)>,
    pub(crate) measurements: Vec<Measurement>,
}

impl Results {
    pub(crate) fn new() -> Self {
        let debian = |package| said("dpkg-query", &["-W", "-f", "${Version}", package]);
        let program = agent::program();
        let postern = said(&program.to_string_lossy(), &["--version"]);
        Self {
            run: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            versions: vec![
                ("postern", word(&postern, 1, ' ')),
                ("knockd", debian("knockd")),
                ("fwknopd", debian("fwknop-server")),
                ("nft", debian("nftables")),
                ("linux", word(&said("uname", &["-r"]), 0, '-')),
            ],
            measurements: Vec::new(),
        }
    }

    /// Takes one down: its value is the median of those that did not fail.
    pub(crate) fn add(
        &mut self,
        bench: &'static str,
        what: impl Into<String>,
        contender: &'static str,
        unit: impl Into<String>,
        values: Vec<Option<f64>>,
    ) {
        self.measurements.push(Measurement {
            bench,
            what: what.into(),
            contender,
            unit: unit.into(),
            value: median(values.iter().flatten().copied()),
            values,
        });
    }

    /// Has another value than the median stand for what was added last.
    pub(crate) fn set_value(&mut self, value: f64) {
        if let Some(last) = self.measurements.last_mut() {
            last.value = Some(value);
        }
    }

    pub(crate) fn find(&self, bench: &str, what: &str, contender: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|measurement| {
            measurement.bench == bench
                && measurement.what == what
                && measurement.contender == contender
        })
    }

    pub(crate) fn value(&self, bench: &str, what: &str, contender: &str) -> Option<f64> {
        self.find(bench, what, contender)?.value
    }

    /// How many times that of another contender it is.
    pub(crate) fn ratio(&self, bench: &str, what: &str, one: &str, other: &str) -> Option<f64> {
        let ratio = self.value(bench, what, one)? / self.value(bench, what, other)?;
        Some(ratio).filter(|ratio| ratio.is_finite())
    }

    pub(crate) fn version(&self, of: &str) -> &str {
        let found = self.versions.iter().find(|(name, _)| *name == of);
        found.map_or("", |(_, version)| version)
    }

    /// All of them, for people.
    pub(crate) fn summary(&self) -> String {
        let mut lines = String::new();
        for of in &self.measurements {
            let value = of.value.map_or("-".into(), |value| format!("{value:.3}"));
            let failed = of.values.iter().filter(|value| value.is_none()).count();
            let _ = write!(
                lines,
                "{:<20}{:<44}{:<10}{value:>14} {:<18}",
                of.bench, of.what, of.contender, of.unit
            );
            let p99 = percentile(of.values.iter().flatten().copied(), 99);
            if let Some(p99) = p99.filter(|_| of.values.len() > 1) {
                let _ = write!(
                    lines,
                    "{} rounds, p99 {p99:.3}, {failed} failed",
                    of.values.len()
                );
            }
            lines.push('\n');
        }
        lines
    }

    /// All of them, for programs.
    pub(crate) fn json_lines(&self) -> String {
        let versions: Vec<String> = (self.versions.iter())
            .map(|(name, version)| format!("{}:{}", text(name), text(version)))
            .collect();
        let versions = versions.join(",");
        let mut lines = String::new();
        for of in &self.measurements {
            let values: Vec<String> = of.values.iter().map(|value| number(*value)).collect();
            let _ = writeln!(
                lines,
                "{{\"bench\":{},\"what\":{},\"contender\":{},\"unit\":{},\"value\":{},\"values\":[{}],\
                 \"run\":{},\"versions\":{{{versions}}}}}",
                text(of.bench),
                text(&of.what),
                text(of.contender),
                text(&of.unit),
                number(of.value),
                values.join(","),
                text(&self.run),
            );
        }
        lines
    }
}

fn word(text: &str, number: usize, separator: char) -> String {
    text.split(separator).nth(number).unwrap_or_default().into()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let said = run(Command::new(program).args(arguments), "");
    let first = said.stdout.lines().next();
    first.unwrap_or_default().trim().into()
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    percentile(values, 50)
}

/// The value that `percent` of the values do not exceed (nearest rank).
pub(crate) fn percentile(values: impl Iterator<Item = f64>, percent: usize) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter < ' ' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn number(value: Option<f64>) -> String {
    match value.filter(|value| value.is_finite()) {
        // Six decimals are a nanosecond of a millisecond.
        Some(value) => ((value * 1e6).round() / 1e6).to_string(),
        None => "null".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let times = || (1..=200).map(f64::from);
        assert_eq!(percentile(times(), 50), Some(100.0));
        assert_eq!(percentile(times(), 99), Some(198.0));
        assert_eq!(percentile([].into_iter(), 50), None);
    }

    #[test]
    fn a_line_is_json() {
        let results = Results {
            run: "now".into(),
            versions: vec![("a \"b\"", "\\1".into())],
            measurements: vec![Measurement {
                bench: "x",
                what: "y\n".into(),
                contender: "z",
                unit: "ms".into(),
                value: Some(0.25),
                values: vec![Some(0.25), None],
            }],
        };
        assert_eq!(
            results.json_lines(),
            "{\"bench\":\"x\",\"what\":\"y\\u000a\",\"contender\":\"z\",\"unit\":\"ms\",\"value\":0.25,\
             \"values\":[0.25,null],\"run\":\"now\",\"versions\":{\"a \\\"b\\\"\":\"\\\\1\"}}\n"
        );
    }
}
