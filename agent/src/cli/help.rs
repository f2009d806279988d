//! What is said of the verbs: a line of each, and a page of one.

use super::command;
use super::options::Options;
use super::verbs::{self, VERBS, Verb};
use crate::doctor;
use crate::firewall::RENDERER;
use crate::output::wrap::{go_to, push_word, push_words};
use crate::output::{self, Failure};

const USAGE: &str = "Usage: postern ";
/// The column of what verbs do.
const SUMMARIES: usize = 27;
/// The column of what options mean.
const MEANINGS: usize = 21;

/// What `--version` prints.
pub(super) fn version() -> String {
    let client = match command::KNOCK_LEFT_OUT {
        None => "",
        Some(_) => ", no client",
    };
    format!(
        "postern {} ({RENDERER}{client})\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// `postern help`
pub(super) fn help(options: &Options) -> Result<(), Failure> {
    output::print(&match options.verb.as_str() {
        "" => overview(),
        name => page(verbs::find(name)?),
    })
}

/// What `--help` prints without a verb.
pub(super) fn overview() -> String {
    let mut text = String::from(
        "Postern: port knocking for Netfilter that never locks its owner out.\n\n\
         Usage: postern VERB [OPTIONS]\n\nVerbs:\n",
    );
    for verb in VERBS {
        text += "  ";
        text += &synopsis(verb);
        go_to(&mut text, SUMMARIES);
        text += verb.summary;
        text.push('\n');
    }
    text += "\n'postern help VERB' explains a verb, 'postern --version' names the version.\n\
             Exit status: 0 done, 1 failed, 2 misused.\n\
             A knock hides a door; it does not lock it. Keep keys or passwords behind it.\n";
    text
}

/// The verb and its operands.
fn synopsis(verb: &Verb) -> String {
    let mut text = String::from(verb.name);
    for operand in verb.operands {
        text.push(' ');
        text += operand.name();
    }
    text
}

/// What `--help` prints after a verb.
pub(super) fn page(verb: &Verb) -> String {
    let synopsis = synopsis(verb);
    let mut text = String::from(USAGE);
    text += &synopsis;
    for option in verb.options {
        let usage = option.usage();
        if usage != "--all" || !synopsis.contains(usage) {
            push_word(&mut text, &["[", usage, "]"].concat(), USAGE.len());
        }
    }
    text += "\n\n";
    let summary = text.len();
    text += verb.summary;
    if let Some(first) = text.get_mut(summary..=summary) {
        first.make_ascii_uppercase();
    }
    text += ".\n";
    for line in verb.details.split('\n') {
        push_words(&mut text, line, 0);
        text.push('\n');
    }
    for (index, option) in verb.options.iter().enumerate() {
        if index == 0 {
            text.push('\n');
        }
        text += "  ";
        text += option.usage();
        go_to(&mut text, MEANINGS);
        push_words(&mut text, option.meaning(), MEANINGS);
        text.push('\n');
    }
    match (verb.name, command::KNOCK_LEFT_OUT) {
        ("doctor", _) => text += &doctor::catalogue(),
        ("knock", Some(why)) => {
            text += "\nAs it is, ";
            push_words(&mut text, why, 0);
            text += ".\n";
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::wrap::WIDTH;

    #[test]
    fn every_verb_and_every_option_is_explained() {
        for verb in VERBS {
            let page = page(verb);
            assert!(page.contains(verb.name) && overview().contains(verb.summary));
            for option in verb.options {
                assert!(page.contains(option.usage()), "{page}");
            }
        }
    }

    #[test]
    fn no_line_is_too_wide_for_a_terminal() {
        for page in VERBS.iter().map(page).chain([overview()]) {
            for line in page.lines() {
                assert!(line.len() <= WIDTH, "{line}");
                assert_eq!(line, line.trim_end());
            }
        }
    }
}
