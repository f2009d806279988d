//! What was found, in words and for programs.

use super::kinds::{ALL, Kind, Severity};
use crate::collect::CollectVec;
use crate::output::json::{list, quoted};
use crate::output::wrap::push_words;

/// One thing that was found.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(super) kind: &'static Kind,
    pub(super) severity: Severity,
    /// What stands in place of the words in braces.
    values: Vec<(&'static str, String)>,
}

impl Finding {
    /// As bad as its kind.
    pub(super) fn new(kind: &'static Kind, values: &[(&'static str, &str)]) -> Self {
        let values = values.iter();
        Self {
            kind,
            severity: kind.severity,
            values: values
                .map(|(name, value)| (*name, tame(value)))
                .collect_vec(),
        }
    }

    /// Not as bad as its kind can be.
    #[must_use]
    pub(super) fn only(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    pub(crate) const fn severity(&self) -> Severity {
        self.severity
    }

    pub(super) fn text(&self) -> String {
        fill(self.kind.text(), &self.values)
    }

    pub(super) fn cure(&self) -> String {
        fill(self.kind.cure(), &self.values)
    }

    /// For a log.
    pub(super) fn line(&self) -> String {
        let (severity, id) = (self.severity.name(), self.kind.id());
        format!("{severity} ({id}): {}; cure: {}", self.text(), self.cure())
    }

    fn json(&self) -> String {
        [
            "{\"id\":",
            &quoted(self.kind.id()),
            ",\"severity\":",
            &quoted(self.severity.name()),
            ",\"text\":",
            &quoted(&self.text()),
            ",\"cure\":",
            &quoted(&self.cure()),
            "}",
        ]
        .concat()
    }
}

/// A process chooses its own name, and must not drive the terminal that it is printed on.
fn tame(value: &str) -> String {
    let tame = |character: char| match character.is_control() {
        true => '?',
        false => character,
    };
    value.chars().map(tame).collect()
}

/// Replaces the words in braces; those without a value stand for themselves, in capitals.
fn fill(template: &str, values: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    // Every second piece was between braces.
    for (index, piece) in template.split(['{', '}']).enumerate() {
        let value = values.iter().find(|(name, _)| *name == piece);
        match (index % 2, value) {
            (0, _) => text += piece,
            (_, Some((_, value))) => text += value,
            (_, None) => text += &piece.to_ascii_uppercase(),
        }
    }
    text
}

/// All findings, the worst first, for people or for programs.
pub(crate) fn render(findings: &[Finding], json: bool) -> String {
    let count = |severity| of_severity(findings, severity).count().to_string();
    let [fatal, warnings, notes] = Severity::ALL.map(count);
    let mut sorted: Vec<&Finding> = Vec::new();
    for severity in Severity::ALL {
        sorted.extend(of_severity(findings, severity));
    }
    if json {
        let version = quoted(env!("CARGO_PKG_VERSION"));
        let findings = list(sorted.into_iter().map(Finding::json));
        return format!(
            "{{\"version\":{version},\"fatal\":{fatal},\"warnings\":{warnings},\"notes\":{notes},\"findings\":{findings}}}\n"
        );
    }
    let mut text = String::new();
    for finding in sorted {
        let (severity, id) = (finding.severity.name(), finding.kind.id());
        text += &format!("{severity}: {id}: {}\n", finding.text());
        text += &format!("  cure: {}\n", finding.cure());
    }
    text + &format!("{fatal} fatal, {warnings} warnings, {notes} notes\n")
}

fn of_severity(findings: &[Finding], severity: Severity) -> impl Iterator<Item = &Finding> {
    let mut findings = findings.iter();
    core::iter::from_fn(move || findings.find(|finding| finding.severity == severity))
}

/// Why a configuration is not put into force; `None`: nothing is fatal.
pub(crate) fn refusal(findings: &[Finding]) -> Option<String> {
    let texts: Vec<String> = of_severity(findings, Severity::Fatal)
        .map(|finding| {
            let (id, text, cure) = (finding.kind.id(), finding.text(), finding.cure());
            format!("refused ({id}): {text}; cure: {cure}")
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// Every kind of finding: its name, how bad it is, what is the matter and what helps.
#[cfg(test)]
pub(crate) fn kinds() -> impl Iterator<Item = [String; 4]> {
    ALL.iter().map(|kind| {
        let severity = kind.severity.name();
        let [text, cure] = [kind.text(), kind.cure()].map(|template| fill(template, &[]));
        [kind.id().into(), severity.into(), text, cure]
    })
}

/// Every kind of finding, as `postern doctor --help` lists them.
pub(crate) fn catalogue() -> String {
    let mut text = String::from("\nWhat it finds, and how bad that is at worst:\n\n");
    for kind in ALL {
        text += &format!("  {} ({})\n      ", kind.id(), kind.severity.name());
        push_words(&mut text, &fill(kind.text(), &[]), 6);
        text.push('\n');
    }
    text
}
