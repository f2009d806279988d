//! The command line, as people and programs use it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io};

use postern_tests::agent::{Guard, SSH_DOOR, Setup, program};
use postern_tests::process::{Said, close, run};
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, strace, suite};

pub(crate) fn suite() -> Suite {
    suite![
        rendered_rules_equal_applied_rules,
        applying_twice_changes_nothing,
        a_command_reads_the_configuration_once needs "strace",
        a_command_reads_a_list_once needs "strace",
        check_reports_every_mistake,
        check_is_content_with_a_right_file,
        status_is_json_for_programs needs "jq" "knock",
        status_has_exit_statuses_for_monitors,
        status_without_an_agent_says_so,
        help_and_version_go_to_standard_output,
        help_explains_a_verb,
        misuse_goes_to_standard_error,
        whoever_names_no_door_is_told_which_there_are,
        whoever_reads_no_further_changes_nothing,
    ]
}

fn postern(arguments: &[&str]) -> Said {
    run(Command::new(program()).args(arguments), "")
}

fn rendered_rules_equal_applied_rules() {
    for guard in Guard::BOTH {
        let (applied, rendered) = (Topology::new(), Topology::new());
        let setup = Setup::new(&applied.router, guard, SSH_DOOR);
        Setup::new(&rendered.router, guard, SSH_DOOR);
        setup.verb(&applied.router, "apply", &[]).ok();
        nft::apply(
            &rendered.router.namespace,
            &setup.verb(&rendered.router, "render", &[]).ok(),
        );
        let rules = [&applied, &rendered].map(|net| nft::ruleset(&net.router.namespace));
        assert!(rules[0].contains("table inet postern"), "{}", rules[0]);
        assert_eq!(rules[0], rules[1]);
        let json = [&applied, &rendered].map(|net| nft::ruleset_json(&net.router.namespace));
        assert_eq!(json[0], json[1]);
    }
}

fn applying_twice_changes_nothing() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    setup.verb(&net.router, "apply", &[]).ok();
    let once = nft::ruleset(&net.router.namespace);
    setup.verb(&net.router, "apply", &[]).ok();
    assert_eq!(nft::ruleset(&net.router.namespace), once);
}

fn a_command_reads_the_configuration_once() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let (program, config) = (program(), setup.config());
    let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
    let log = setup.path("opens");
    let log_name = log.to_string_lossy();
    let by_strace = strace::telling_opens(&log_name);
    let opens_of_config = || strace::opens(&log).get(&*config).copied();
    let once = |line: &str| {
        in_case_of(line, || {
            let mut words = line.split(' ');
            let verb = words.next().unwrap_or_default();
            let verb = [program.as_ref(), verb, "--config", config.as_ref()];
            let arguments: Vec<&str> = by_strace[1..].iter().copied().chain(verb).collect();
            let arguments: Vec<&str> = arguments.into_iter().chain(words).collect();
            net.router.namespace.run(by_strace[0], &arguments);
            assert_eq!(opens_of_config(), Some(1), "{line}");
            fs::remove_file(&log).expect("forget the log");
        });
    };
    let with_or_without_agent = [
        "apply",
        "open ssh --from 192.0.2.9",
        "close ssh",
        "lock ssh",
        "unlock ssh",
        "pardon --all",
        "status",
        "doctor",
        "confirm --anyway",
        "reload",
    ];
    with_or_without_agent.into_iter().for_each(once);
    let agent = setup.start_by(&by_strace, &net.router);
    agent.stop();
    assert_eq!(opens_of_config(), Some(1), "run");
    fs::remove_file(&log).expect("forget the log");
    let _agent = setup.start(&net.router);
    with_or_without_agent.into_iter().for_each(once);
    once("remove");
}

fn a_command_reads_a_list_once() {
    let net = Topology::new();
    let door = "config door 'ssh'\n\tlist guard 'tcp:22'\n\toption method 'one-time-list'\n\
                \toption list_file '@/ssh.list'\n";
    let setup = Setup::new(&net.router, Guard::Gate, door);
    setup.write_private("ssh.list", "tcp:7000 udp:8001 tcp:9002\n");
    // It is opened once more by whoever hands it over, once.
    (setup.verb(&net.router, "check", &["--hand-over"])).ok();
    let (program, config) = (program(), setup.config());
    let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
    let log = setup.path("opens");
    let log_name = log.to_string_lossy();
    let by_strace = strace::telling_opens(&log_name);
    let list = setup.path("ssh.list");
    let list = list.to_string_lossy();
    for verb in ["render", "apply"] {
        let verb_line = [program.as_ref(), verb, "--config", config.as_ref()];
        let arguments: Vec<&str> = by_strace[1..].iter().copied().chain(verb_line).collect();
        net.router.namespace.run(by_strace[0], &arguments).ok();
        assert_eq!(strace::opens(&log).get(&*list), Some(&1), "{verb}");
        fs::remove_file(&log).expect("forget the log");
    }
    setup.start_by(&by_strace, &net.router).stop();
    assert_eq!(strace::opens(&log).get(&*list), Some(&1), "run");
    fs::remove_file(&log).expect("forget the log");
    let text = fs::read_to_string(setup.config()).expect("the configuration");
    let first_line = "config postern 'global'\n";
    let disabled = [first_line, "\toption enabled '0'\n"].concat();
    assert!(text.contains(first_line), "{text}");
    setup.rewrite_whole(&text.replacen(first_line, &disabled, 1));
    setup.start_by(&by_strace, &net.router).stop();
    assert_eq!(strace::opens(&log).get(&*list), None, "enabled '0'");
}

/// Each `wrong/NAME.conf` has a `NAME.expected` with lines `LINE:COLUMN: message`.
fn check_reports_every_mistake() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/wrong");
    let mut files = 0;
    for entry in fs::read_dir(&directory).expect("tests/golden/wrong") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        files += 1;
        in_case_of(&path, || {
            let name = path.to_str().expect("a readable path");
            let expected =
                fs::read_to_string(path.with_extension("expected")).expect("its .expected");
            let expected: Vec<String> = expected
                .lines()
                .map(|line| format!("{name}:{line}"))
                .collect();
            let said = postern(&["check", "--config", name]);
            let only_warnings = expected.iter().all(|line| line.contains(": warning: "));
            // The right files are there only on a router.
            let no_list =
                |line: &str| line.starts_with("door ") && line.ends_with(": there is no such file");
            let is_content = only_warnings && !said.stderr.lines().any(no_list);
            assert_eq!(said.status, i32::from(!is_content));
            let mistakes: Vec<&str> = said
                .stderr
                .lines()
                .filter(|line| line.starts_with(name))
                .collect();
            assert_eq!(mistakes, expected);
            assert_eq!(said.stdout.is_empty(), !is_content, "{}", said.stdout);
        });
    }
    assert!(
        files > 0,
        "no wrong configuration in {}",
        directory.display()
    );
}

fn check_is_content_with_a_right_file() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Mark, SSH_DOOR);
    // The tests' own folder is one that a reboot empties, of which it warns.
    let text = fs::read_to_string(setup.config()).expect("a configuration");
    let lasting = text.lines().filter(|line| !line.contains("state_dir"));
    setup.rewrite_whole(&lasting.map(|line| format!("{line}\n")).collect::<String>());
    let said = setup.verb(&net.router, "check", &[]);
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    assert_eq!(nft::table(&net.router.namespace, "inet postern"), None);
}

fn status_is_json_for_programs() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let _agent = setup.start(&net.router);
    let client = net.client.address(Family::V4);
    client::knock(
        &net.client,
        net.router.v4.into(),
        &["7000", "8001:udp", "9002"],
    );
    poll_until(SOON, "a grant", || {
        nft::expiry(&net.router.namespace, "inet postern", client).is_some()
    });
    client::knock(&net.stranger, net.router.v4.into(), &["7000", "8001:udp"]);
    let stranger = net.stranger.address(Family::V4).to_string();
    let json = || setup.verb(&net.router, "status", &["--json"]).ok();
    poll_until(SOON, "the attempt under way", || json().contains(&stranger));
    let json = json();
    let strings = run(Command::new("jq").args(["-r", ".. | strings"]), &json).ok();
    for word in ["ssh", &client.to_string(), &stranger] {
        assert!(
            strings.lines().any(|line| line == word),
            "no {word} in {json}"
        );
    }
    let text = setup.verb(&net.router, "status", &[]).ok();
    for word in ["ssh", &client.to_string(), &stranger] {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

fn status_without_an_agent_says_so() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let status = || setup.verb(&net.router, "status", &[]);
    let nothing = status();
    assert_eq!(nothing.status, 4, "{nothing:?}");
    let nothing = nothing.stdout;
    assert!(
        nothing.contains("not running") && nothing.contains("NOT INSTALLED"),
        "{nothing}"
    );
    setup.verb(&net.router, "apply", &[]).ok();
    setup
        .verb(&net.router, "open", &["ssh", "--from", "192.0.2.2"])
        .ok();
    let rules_only = status();
    assert_eq!(rules_only.status, 3, "{rules_only:?}");
    let rules_only = rules_only.stdout;
    assert!(
        rules_only.contains("not running") && rules_only.contains("192.0.2.2"),
        "{rules_only}"
    );
}

/// As a monitor sees them, which reads nothing.
fn status_has_exit_statuses_for_monitors() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let status = || setup.verb(&net.router, "status", &["--json"]).status;
    assert_eq!(status(), 4, "nothing is there");
    let agent = setup.start(&net.router);
    assert_eq!(status(), 0);
    setup.verb(&net.router, "remove", &[]).ok();
    assert_eq!(status(), 4, "an agent without a guard");
    setup.verb(&net.router, "apply", &[]).ok();
    assert_eq!(status(), 0);
    agent.kill();
    assert_eq!(status(), 3, "a guard without an agent");
    setup.rewrite(&SSH_DOOR.replace(
        "\toption method",
        "\toption engine 'chain'\n\toption method",
    ));
    setup.verb(&net.router, "apply", &[]).ok();
    assert_eq!(status(), 0, "a guard that needs no agent");
    setup
        .verb(&net.router, "apply", &["--confirm-within", "1s"])
        .ok();
    assert_eq!(status(), 0, "a guard on trial");
    poll_until(SOON, "the trial is over", || status() == 4);
    assert_eq!(setup.verb(&net.router, "status", &["--no-such"]).status, 2);
}

const VERBS: [&str; 9] = [
    "run", "check", "render", "apply", "remove", "status", "open", "close", "doctor",
];

fn help_and_version_go_to_standard_output() {
    let help = postern(&["--help"]);
    assert_eq!((help.status, help.stderr.as_str()), (0, ""));
    for verb in VERBS {
        let line = help
            .stdout
            .lines()
            .find(|line| line.split_whitespace().next() == Some(verb));
        assert!(line.is_some(), "no line for {verb} in {}", help.stdout);
        let page = postern(&[verb, "--help"]);
        assert_eq!((page.status, page.stderr.as_str()), (0, ""), "{verb}");
        assert!(
            page.stdout.contains(&format!("postern {verb}")),
            "{}",
            page.stdout
        );
    }
    let version = postern(&["--version"]);
    assert_eq!((version.status, version.stderr.as_str()), (0, ""));
    let expected = concat!("postern ", env!("CARGO_PKG_VERSION"), " (libnftnl)\n");
    assert_eq!(version.stdout, expected);
}

fn help_explains_a_verb() {
    for (help, option) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "open"], &["open", "--help"]),
        (&["help", "help"], &["help", "-h"]),
    ] {
        let (help, option) = (postern(help), postern(option));
        assert_eq!((help.status, help.stderr.as_str()), (0, ""));
        assert_eq!(help.stdout, option.stdout);
    }
    let said = postern(&["help", "knit"]);
    assert_eq!((said.status, said.stdout.as_str()), (2, ""));
}

fn whoever_names_no_door_is_told_which_there_are() {
    let net = Topology::new();
    let web = SSH_DOOR
        .replace("'ssh'", "'web'")
        .replace("tcp:22", "tcp:80");
    let setup = Setup::new(&net.router, Guard::Gate, &format!("{SSH_DOOR}{web}"));
    let expect = |verb: &str, known: &str| {
        let said = setup.verb(&net.router, verb, &[]);
        let lines: Vec<&str> = said.stderr.lines().collect();
        assert!(
            said.status == 2 && lines.len() == 1 && lines[0].ends_with(known),
            "{said:?}"
        );
    };
    for verb in ["open", "close", "export", "keygen", "resync"] {
        expect(verb, "; there are: ssh, web");
    }
    // What can be opened is what the guard in the kernel has.
    setup.verb(&net.router, "apply", &[]).ok();
    setup.rewrite(SSH_DOOR);
    expect("open", "; there are: ssh, web");
    for verb in ["open", "close", "lock"] {
        let said = setup.verb(&net.router, verb, &["wbe"]);
        let meant = "'wbe' (did you mean 'web'?); there are: ssh, web\n";
        assert!(said.status == 1 && said.stderr.ends_with(meant), "{said:?}");
    }
    expect("keygen", "; there are: ssh");
    fs::remove_file(setup.config()).expect("remove a file");
    expect("close", "; there are: ssh, web");
    expect("keygen", "'postern keygen' needs the name of a door");
    let file = setup.path("client");
    fs::write(&file, SSH_DOOR).expect("write a file");
    let file = file.to_str().expect("a readable path");
    let said = postern(&["knock", "router.example", "--config", file]);
    assert!(
        said.status == 2
            && said
                .stderr
                .ends_with("needs the name of a door; there are: ssh\n"),
        "{said:?}"
    );
}

fn misuse_goes_to_standard_error() {
    let wrong: [&[&str]; 9] = [
        &[],
        &["knit"],
        &["--knit"],
        &["run", "--knit"],
        &["run", "--config"],
        &["open"],
        &["open", "ssh", "--from", "nowhere"],
        &["open", "ssh", "--for", "ever"],
        &["status", "ssh", "web"],
    ];
    for arguments in wrong {
        let said = postern(arguments);
        assert_eq!(
            (said.status, said.stdout.as_str()),
            (2, ""),
            "{arguments:?}"
        );
        assert!(!said.stderr.is_empty(), "{arguments:?}");
    }
    for (wrong, meant) in [
        (&["stauts"][..], "'status'"),
        (&["help", "opne"], "'open'"),
        (&["open", "ssh", "--form", "192.0.2.7"], "'--from'"),
    ] {
        let said = postern(wrong);
        let question = format!("' (did you mean {meant}?); 'postern ");
        assert!(
            said.status == 2 && said.stderr.contains(&question),
            "{said:?}"
        );
    }
    let said = postern(&["check", "--config", "/nonexistent/postern"]);
    assert_eq!(said.status, 1);
    assert!(
        said.stderr.contains("/nonexistent/postern"),
        "{}",
        said.stderr
    );
}

/// `postern VERB | head -1`, and its reader is the faster.
fn whoever_reads_no_further_changes_nothing() {
    let net = Topology::new();
    let door = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'one-time-seed'
	option secret_file '@/secret'
";
    let setup = Setup::new(&net.router, Guard::Gate, door);
    let unread = |words: &[&str], status: i32| {
        in_case_of(words.join(" "), || {
            let (reader, writer) = io::pipe().expect("a pipe");
            close(reader);
            let mut verb = Command::new(program());
            verb.args(words).stdin(Stdio::null()).stdout(writer);
            let mut verb = net.router.namespace.spawn(verb.stderr(Stdio::piped()));
            assert_eq!(verb.wait(SOON).code(), Some(status));
            let stderr = verb.child().stderr.take().expect("a pipe");
            let said = io::read_to_string(stderr).expect("what it said");
            for wrong in ["standard output", "roken pipe", "panicked"] {
                assert!(!said.contains(wrong), "{said}");
            }
        });
    };
    for words in [&["--help"][..], &["--version"], &["status", "--help"]] {
        unread(words, 0);
    }
    let config = setup.config();
    let config = ["--config", config.to_str().expect("a readable path")];
    for (words, status) in [
        (&["keygen", "ssh"][..], 0),
        (&["export", "ssh", "--secret"], 0),
        (&["check"], 0),
        (&["render"], 0),
        (&["apply"], 0),
        (&["open", "ssh"], 0),
        (&["lock"], 0),
        (&["unlock"], 0),
        (&["status"], 3),
        (&["status", "--json"], 3),
        (&["close", "ssh"], 0),
        (&["resync", "ssh", "--to", "7"], 0),
        (&["remove"], 0),
    ] {
        unread(&[words, &config].concat(), status);
    }
    // What it finds decides, and not who reads it.
    let doctor = setup.verb(&net.router, "doctor", &[]).status;
    unread(&[&["doctor"][..], &config].concat(), doctor);
}
