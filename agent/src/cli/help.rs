//! What is said of the verbs: a line of each, and a page of one.

use super::command;
use super::options::Options;
use super::verbs::{self, VERBS, Verb};
use crate::doctor;
use crate::firewall::RENDERER;
use crate::output::wrap::{push_word, push_words};
use crate::output::{self, Failure};

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
        text += &format!("  {:24} {}\n", synopsis(verb), verb.summary);
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
    const USAGE: &str = "Usage: postern ";
    // The column after the options.
    const MEANINGS: usize = 21;
    let synopsis = synopsis(verb);
    let mut text = format!("{USAGE}{synopsis}");
    for option in verb.options {
        let usage = option.usage();
        if usage != "--all" || !synopsis.contains(usage) {
            push_word(&mut text, &format!("[{usage}]"), USAGE.len());
        }
    }
    let mut summary = verb.summary.chars();
    let first = summary.next().map(|first| first.to_ascii_uppercase());
    text += "\n\n";
    text.extend(first);
    text += summary.as_str();
    text += ".\n";
    for line in verb.details.lines() {
        push_words(&mut text, line, 0);
        text.push('\n');
    }
    if !verb.options.is_empty() {
        text.push('\n');
    }
    for option in verb.options {
        let usage = option.usage();
        text += &format!("  {usage:18}");
        if usage.len() > 18 {
            text += &format!("\n{:MEANINGS$}", "");
        }
        push_words(&mut text, option.meaning(), MEANINGS);
        text.push('\n');
    }
    match (verb.name, command::KNOCK_LEFT_OUT) {
        ("doctor", _) => text += &doctor::catalogue(),
        ("knock", Some(why)) => {
            text.push('\n');
            push_words(&mut text, &format!("As it is, {why}."), 0);
            text.push('\n');
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
