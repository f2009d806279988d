//! Completions for shells, made from the tables of the command line: packaging/completions/.
//!
//! A shell is told what each verb takes; which doors there are, it asks the program.

use core::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use super::operand::Operand;
use super::options::Opt;
use super::verbs::{VERBS, Verb};
use crate::testing::made;
use crate::testing::scratch::Scratch;
use crate::testing::skipping::skip;

const FOLDER: &str = "packaging/completions";
const MADE: &str = "# Made from the program's tables: make docs.\n";

/// Prints the doors of the guard, or else of the configuration; nothing where it may not look. `export` without a
/// door does nothing but say which there are.
const DOORS: &str = "\
\tdoors=$(postern status 2>/dev/null | sed -n 's/^door \\([^ :]*\\).*/\\1/p')
\t[ -n \"$doors\" ] || doors=$(postern export 2>&1 | sed -n 's/.*; there are: //p' | tr -d ,)
";

/// Prints the routers that the client has files for.
const HOSTS: &str = "ls \"${XDG_CONFIG_HOME:-$HOME/.config}/postern\" 2>/dev/null";

/// What may stand at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// No value: the option stands alone, or with one behind `=`.
    None,
    File,
    Interface,
    /// Nothing that a shell could know.
    Other,
}

fn value(option: Opt) -> Value {
    match option.usage().split_once(' ') {
        None => Value::None,
        Some((_, "FILE")) => Value::File,
        Some((_, "INTERFACE")) => Value::Interface,
        Some(_) => Value::Other,
    }
}

const fn is_door(operand: Operand) -> bool {
    matches!(
        operand,
        Operand::Door | Operand::DoorOrSayAll | Operand::DoorOrAll
    )
}

fn verbs_with(is: fn(Operand) -> bool) -> Vec<&'static str> {
    let verbs = VERBS.iter();
    let verbs = verbs.filter(|verb| verb.operands.iter().any(|operand| is(*operand)));
    verbs.map(|verb| verb.name).collect()
}

/// Those whose door is the guard's; `knock` has one of a router's.
fn verbs_with_doors() -> Vec<&'static str> {
    let mut verbs = verbs_with(is_door);
    verbs.retain(|verb| !verbs_with(|operand| operand == Operand::Host).contains(verb));
    verbs
}

fn names() -> Vec<&'static str> {
    VERBS.iter().map(|verb| verb.name).collect()
}

/// The options of a verb, as a shell completes them.
fn words(verb: &Verb) -> Vec<&'static str> {
    let options = verb.options.iter().map(|option| option.word());
    options.chain(["--help"]).collect()
}

/// Words of options whose value is of a kind.
fn options_with(kind: Value) -> Vec<&'static str> {
    let mut words: Vec<&str> = Vec::new();
    for option in VERBS.iter().flat_map(|verb| verb.options) {
        if value(*option) == kind && !words.contains(&option.word()) {
            words.push(option.word());
        }
    }
    words
}

fn bash() -> String {
    let mut text = format!(
        "{MADE}# bash completion for postern(8)\n\n_postern()\n{{\n\
         \tlocal word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} verb=${{COMP_WORDS[1]}} doors\n\
         \tCOMPREPLY=()\n\
         \tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\
         \t\tmapfile -t COMPREPLY < <(compgen -W '{} --help --version' -- \"$word\")\n\
         \t\treturn\n\tfi\n\
         \tcase $before in\n\
         \t{}) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); compopt -o filenames 2>/dev/null; return ;;\n\
         \t{}) mapfile -t COMPREPLY < <(compgen -W \"$(ls /sys/class/net 2>/dev/null)\" -- \"$word\"); return ;;\n\
         \t{}) return ;;\n\
         \tesac\n\
         \tif [[ $word == -* ]]; then\n\t\tcase $verb in\n",
        names().join(" "),
        options_with(Value::File).join(" | "),
        options_with(Value::Interface).join(" | "),
        options_with(Value::Other).join(" | "),
    );
    for verb in VERBS {
        _ = writeln!(
            text,
            "\t\t{}) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$word\") ;;",
            verb.name,
            words(verb).join(" ")
        );
    }
    _ = write!(
        text,
        "\t\tesac\n\t\treturn\n\tfi\n\tcase $verb in\n\
         \t{}) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$word\"); return ;;\n\
         \tknock)\n\t\tif [ \"$COMP_CWORD\" -eq 2 ]; then\n\
         \t\t\tdoors=$({HOSTS})\n\t\telse\n\
         \t\t\tdoors=$(postern knock -- \"${{COMP_WORDS[2]}}\" 2>&1 | sed -n 's/.*; there are: //p' | tr -d ,)\n\
         \t\tfi ;;\n\
         \t{})\n\t{DOORS}\t;;\n\t*) return ;;\n\tesac\n\
         \tmapfile -t COMPREPLY < <(compgen -W \"$doors\" -- \"$word\")\n\
         }}\ncomplete -F _postern postern\n",
        verbs_with(|operand| operand == Operand::VerbOrAll).join(" | "),
        names().join(" "),
        verbs_with_doors().join(" | "),
    );
    text
}

/// A text within single quotes of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn zsh() -> String {
    let mut text = format!(
        "#compdef postern\n{MADE}\n_postern_doors()\n{{\n\tlocal doors\n{DOORS}\
         \tcompadd -- ${{=doors}}\n}}\n\n\
         _postern_hosts()\n{{\n\tcompadd -- $({HOSTS})\n}}\n\n\
         _postern_doors_of_host()\n{{\n\
         \tcompadd -- $(postern knock -- \"$words[2]\" 2>&1 | sed -n 's/.*; there are: //p' | tr -d ,)\n}}\n\n\
         _postern()\n{{\n\
         \tlocal -a verbs=(\n"
    );
    for verb in VERBS {
        let described = format!("{}:{}", verb.name, verb.summary.replace(':', "\\:"));
        _ = writeln!(text, "\t\t{}", quoted(&described));
    }
    text += "\t)\n\tif (( CURRENT == 2 )); then\n\
             \t\t_describe verb verbs\n\t\tcompadd -- --help --version\n\t\treturn\n\tfi\n\
             \tlocal verb=$words[2]\n\tshift words\n\t(( CURRENT-- ))\n\tcase $verb in\n";
    for verb in VERBS {
        _ = write!(text, "\t{})\n\t\t_arguments -S \\\n", verb.name);
        for option in verb.options {
            let meaning = option.meaning().replace(['[', ']'], "");
            let meaning = meaning.replace(':', "\\:");
            let rest = match value(*option) {
                Value::None => String::new(),
                Value::File => ":file:_files".into(),
                Value::Interface => ":interface:_net_interfaces".into(),
                Value::Other => ":value: ".into(),
            };
            let spec = format!("{}[{meaning}]{rest}", option.word());
            _ = writeln!(text, "\t\t\t{} \\", quoted(&spec));
        }
        text += "\t\t\t'--help[explain the verb]'";
        for operand in verb.operands {
            text += match operand {
                Operand::Door if verb.operands.contains(&Operand::Host) => {
                    " \\\n\t\t\t':door:_postern_doors_of_host'"
                }
                operand if is_door(*operand) => " \\\n\t\t\t':door:_postern_doors'",
                Operand::Host => " \\\n\t\t\t':host:_postern_hosts'",
                Operand::VerbOrAll => " \\\n\t\t\t':verb:{ _describe verb verbs }'",
                _ => " \\\n\t\t\t':address: '",
            };
        }
        text += "\n\t\t;;\n";
    }
    text += "\tesac\n}\n\n_postern \"$@\"\n";
    text
}

/// A text within single quotes of fish.
fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn fish() -> String {
    let mut text = format!(
        "{MADE}# fish completion for postern(8)\n\n\
         function __postern_doors\n\
         \tset -l doors (postern status 2>/dev/null | sed -n 's/^door \\([^ :]*\\).*/\\1/p')\n\
         \tif test (count $doors) -eq 0\n\
         \t\tset doors (postern export 2>&1 | sed -n 's/.*; there are: //p' | tr -d , | tr ' ' '\\n')\n\
         \tend\n\
         \ttest (count $doors) -eq 0; or printf '%s\\n' $doors\n\
         end\n\n\
         function __postern_host_or_door\n\
         \tset -l words (commandline -opc)\n\
         \tif test (count $words) -eq 2\n\
         \t\tset -q XDG_CONFIG_HOME; or set -l XDG_CONFIG_HOME $HOME/.config\n\
         \t\tcommand ls $XDG_CONFIG_HOME/postern 2>/dev/null\n\
         \telse\n\
         \t\tpostern knock -- $words[3] 2>&1 | sed -n 's/.*; there are: //p' | tr -d , | tr ' ' '\\n'\n\
         \tend\n\
         end\n\n\
         complete -c postern -f\n\
         complete -c postern -n __fish_use_subcommand -l help -d 'list the verbs'\n\
         complete -c postern -n __fish_use_subcommand -l version -d 'name the version'\n"
    );
    for verb in VERBS {
        _ = writeln!(
            text,
            "complete -c postern -n __fish_use_subcommand -a {} -d {}",
            verb.name,
            fish_quoted(verb.summary)
        );
        let seen = format!(
            "complete -c postern -n '__fish_seen_subcommand_from {}'",
            verb.name
        );
        for option in verb.options {
            let word = option.word();
            let name = match word.strip_prefix("--") {
                Some(long) => format!("-l {long}"),
                None => format!("-s {}", word.trim_start_matches('-')),
            };
            let rest = match value(*option) {
                Value::None => "",
                Value::File => " -r -F",
                Value::Interface => " -x -a '(command ls /sys/class/net 2>/dev/null)'",
                Value::Other => " -x",
            };
            let meaning = fish_quoted(option.meaning());
            _ = writeln!(text, "{seen} {name}{rest} -d {meaning}");
        }
        _ = writeln!(text, "{seen} -l help -d 'explain the verb'");
    }
    _ = write!(
        text,
        "complete -c postern -n '__fish_seen_subcommand_from knock' -a '(__postern_host_or_door)'\n\
         complete -c postern -n '__fish_seen_subcommand_from {}' -a '(__postern_doors)'\n\
         complete -c postern -n '__fish_seen_subcommand_from {}' -a '{}'\n",
        verbs_with_doors().join(" "),
        verbs_with(|operand| operand == Operand::VerbOrAll).join(" "),
        names().join(" ")
    );
    text
}

#[test]
fn completions_are_made_from_the_tables() {
    made::expect(&format!("{FOLDER}/postern.bash"), &bash());
    made::expect(&format!("{FOLDER}/_postern"), &zsh());
    made::expect(&format!("{FOLDER}/postern.fish"), &fish());
}

/// A program in the place of ours, with doors `ssh` and `web` as `status` or `export` tells them.
fn stand_in(scratch: &Scratch, is_guarded: bool) {
    let doors = match is_guarded {
        true => "printf 'agent: none\\ndoor ssh: tcp:22\\ndoor web\\n  locked\\n'",
        false => ":",
    };
    let script = format!(
        "#!/bin/sh\ncase $* in\nstatus) {doors} ;;\nexport) echo 'postern: what is needed; there are: ssh, web' >&2; exit 2 ;;\n\
         'knock -- router.example') echo 'postern: what is needed; there are: ssh, vpn' >&2; exit 2 ;;\n\
         *) echo \"$0 $*\" >&2; exit 1 ;;\nesac\n"
    );
    fs::create_dir_all(scratch.path(".config/postern")).unwrap();
    scratch.file(".config/postern/router.example", "");
    let path = scratch.file("postern", script);
    let mut chmod = Command::new("chmod");
    assert!(chmod.arg("755").arg(path).status().unwrap().success());
}

/// What a shell completes the line to, in order; `None` without that shell.
fn completed(shell: &str, script: &str, scratch: &Scratch) -> Option<Vec<String>> {
    let mut command = Command::new(shell);
    let path = format!("{}:/usr/bin:/bin", scratch.folder().display());
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", scratch.folder())
        .current_dir(scratch.folder());
    let said = command
        .args(["-c", script])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    assert_eq!(String::from_utf8(said.stderr).unwrap(), "", "{script}");
    let text = String::from_utf8(said.stdout).unwrap();
    let words = text
        .lines()
        .map(|line| line.split('\t').next().unwrap().trim());
    let mut words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(Into::into)
        .collect();
    words.sort();
    Some(words)
}

/// Lines whose last word is to be completed, and what to.
const LINES: &[(&str, &[&str])] = &[
    ("postern re", &["reload", "remove", "render", "resync"]),
    ("postern help op", &["open"]),
    ("postern open s", &["ssh"]),
    ("postern lock ", &["ssh", "web"]),
    ("postern open --fr", &["--from"]),
    ("postern export --config post", &["postern"]),
    ("postern knock ", &["router.example"]),
    ("postern knock router.example ", &["ssh", "vpn"]),
    ("postern check ", &[]),
];

#[test]
fn bash_completes() {
    for is_guarded in [true, false] {
        let scratch = Scratch::new();
        stand_in(&scratch, is_guarded);
        let file = made::path(&format!("{FOLDER}/postern.bash"));
        for (line, expected) in LINES {
            let words: Vec<&str> = line.split(' ').collect();
            let script = format!(
                ". '{}'; COMP_WORDS=({}); COMP_CWORD={}; _postern; [ ${{#COMPREPLY[@]}} = 0 ] || printf '%s\\n' \"${{COMPREPLY[@]}}\"",
                file.display(),
                words
                    .iter()
                    .map(|word| quoted(word))
                    .collect::<Vec<_>>()
                    .join(" "),
                words.len() - 1
            );
            assert_eq!(
                completed("bash", &script, &scratch).unwrap(),
                *expected,
                "{line}"
            );
        }
    }
}

#[test]
fn fish_completes() {
    let scratch = Scratch::new();
    stand_in(&scratch, false);
    let file = made::path(&format!("{FOLDER}/postern.fish"));
    for (line, expected) in LINES {
        let script = format!(
            "source '{}'; complete -C {}",
            file.display(),
            fish_quoted(line)
        );
        match completed("fish", &script, &scratch) {
            Some(words) => assert_eq!(words, *expected, "{line}"),
            None => return skip("fish is not installed (tests/setup installs it)"),
        }
    }
}

/// Its completion needs a terminal and its line editor, so that what it is told is looked at.
#[test]
fn zsh_understands_what_it_is_told() {
    let scratch = Scratch::new();
    stand_in(&scratch, true);
    let file = made::path(&format!("{FOLDER}/_postern"));
    let told = |words: &str, current: usize| {
        let script = format!(
            "compadd() {{ shift; print -rl -- \"$@\" }}\n\
             _describe() {{ print -rl -- ${{(P)2}} }}\n\
             _arguments() {{ shift; print -rl -- \"$@\" }}\n\
             words=({words}); CURRENT={current}; . '{}'",
            file.display()
        );
        completed("zsh", &script, &scratch)
    };
    let Some(verbs) = told("postern ''", 2) else {
        return skip("zsh is not installed (tests/setup installs it)");
    };
    for verb in VERBS {
        let described = format!("{}:{}", verb.name, verb.summary.replace(':', "\\:"));
        assert!(verbs.contains(&described), "{described}");
        let arguments = told(&format!("postern {} ''", verb.name), 3).unwrap();
        for option in verb.options {
            let beginning = format!("{}[", option.word());
            let is_told = arguments.iter().any(|spec| spec.starts_with(&beginning));
            assert!(is_told, "{} {beginning}", verb.name);
        }
        let takes_a_door = arguments.contains(&":door:_postern_doors".to_owned());
        assert_eq!(takes_a_door, verbs_with_doors().contains(&verb.name));
    }
    let script = format!(
        "compadd() {{ shift; print -rl -- \"$@\" }}; _arguments() {{ : }}\nwords=(postern open ''); CURRENT=3; . '{}'; _postern_doors",
        file.display()
    );
    assert_eq!(completed("zsh", &script, &scratch).unwrap(), ["ssh", "web"]);
}
