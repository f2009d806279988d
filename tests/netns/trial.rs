//! A guard on trial ends by itself, unless its owner comes in anew and confirms it.

use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use nix::pty::openpty;
use nix::sys::signal::Signal;
use postern_tests::agent::{Guard, SSH_DOOR, Setup, program};
use postern_tests::probe::{self, Answer};
use postern_tests::process::Said;
use postern_tests::server::{Service, Sshd};
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Host, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        the_kernel_ends_a_trial_whatever_became_of_the_agent needs "knock",
        the_agent_goes_back_to_the_configuration_before needs "knock",
        a_first_trial_leaves_no_guard_behind,
        a_trial_that_is_confirmed_stays,
        only_a_new_connection_confirms needs "knock" "sshd" "ssh" "ssh-keygen",
        a_reload_confirms_nothing,
        a_reload_does_not_confirm_what_was_in_force_before_either,
        a_trial_where_nothing_was_guarded_goes_back_to_nothing,
        a_trial_of_another_file_leaves_the_first_one_to_the_agent,
        a_start_goes_back_to_what_was_confirmed,
        a_trial_that_cannot_be_remembered_does_not_begin,
        times_that_make_no_sense_are_refused,
        a_terminal_shows_the_time_that_is_left needs "script",
        what_was_there_before_is_no_confirmation,
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];
/// Longer than a test looks at a guard that is on trial.
const LONG: &str = "5m";

fn engine(name: &str) -> String {
    format!("{SSH_DOOR}\toption engine '{name}'\n")
}

/// The door of [`SSH_DOOR`] under another port: another configuration.
fn other_door() -> String {
    SSH_DOOR.replace("tcp:22'", "tcp:23'")
}

fn begin(setup: &Setup, router: &Host, time: &str) {
    let said = setup.verb(router, "apply", &["--confirm-within", time]);
    assert!(said.status == 0, "{said:?}");
    assert!(said.stdout.contains("on trial"), "{said:?}");
}

fn confirm(setup: &Setup, router: &Host) -> Said {
    setup.verb(router, "confirm", &["--anyway"])
}

fn answers(net: &Topology, family: Family, port: u16) -> Answer {
    probe::tcp(&net.stranger.namespace, net.router.port(family, port))
}

fn wait_until_open(net: &Topology, family: Family, port: u16) {
    let door = net.router.port(family, port);
    assert!(probe::tcp_opens(&net.stranger.namespace, door, SOON));
}

fn the_kernel_ends_a_trial_whatever_became_of_the_agent() {
    for (guard, name) in Guard::BOTH
        .into_iter()
        .flat_map(|guard| ["daemon", "chain", "track"].map(|engine| (guard, engine)))
    {
        in_case_of((guard, name), || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, guard, &engine(name));
            // The last word of the agent is that it guards; then it is gone.
            let agent = (name == "daemon").then(|| setup.start(&net.router));
            begin(&setup, &net.router, "4s");
            if let Some(agent) = agent {
                agent.kill();
            }
            for family in Family::BOTH {
                assert_eq!(answers(&net, family, 22), Answer::Silent);
            }
            if name != "daemon" {
                let ssh = net.router.port(Family::V4, 22);
                client::knock(&net.client, ssh.ip(), &OPEN);
                assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
            }
            let status = setup.verb(&net.router, "status", &[]).stdout;
            assert!(status.contains("ON TRIAL"), "{status}");
            for family in Family::BOTH {
                wait_until_open(&net, family, 22);
            }
            let status = setup.verb(&net.router, "status", &[]).with_status(4);
            assert!(status.contains("NOT CONFIRMED in time"), "{status}");
            let late = confirm(&setup, &net.router);
            assert!(
                late.status == 1 && late.stderr.contains("trial is over"),
                "{late:?}"
            );
        });
    }
}

fn the_agent_goes_back_to_the_configuration_before() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let net = Topology::new();
            let _services = [22, 23].map(|port| Service::tcp(&net.router.namespace, port));
            let setup = Setup::new(&net.router, guard, SSH_DOOR);
            let mut agent = setup.start(&net.router);
            let ssh = net.router.port(Family::V4, 22);
            client::knock(&net.client, ssh.ip(), &OPEN);
            assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
            setup.rewrite(&other_door());
            begin(&setup, &net.router, "2s");
            assert_eq!(answers(&net, Family::V4, 23), Answer::Silent);
            agent.wait_for_line("postern: the trial is over and nobody confirmed it: the conf");
            assert_eq!(answers(&net, Family::V4, 22), Answer::Silent);
            client::knock(&net.client, ssh.ip(), &OPEN);
            assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        });
    }
}

fn a_first_trial_leaves_no_guard_behind() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    begin(&setup, &net.router, "1s");
    wait_until_open(&net, Family::V6, 22);
    nft::apply(&net.router.namespace, "delete table inet postern");
    let said = setup.run_to_its_end(&net.router);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(
        said.stderr.contains("no other was confirmed before"),
        "{said:?}"
    );
    assert_eq!(nft::table(&net.router.namespace, "inet postern"), None);
    // Whoever wants it all the same says so.
    setup.verb(&net.router, "apply", &[]).ok();
    let _agent = setup.start(&net.router);
    assert_eq!(answers(&net, Family::V4, 22), Answer::Silent);
}

fn a_trial_that_is_confirmed_stays() {
    for (guard, with_agent) in Guard::BOTH
        .into_iter()
        .flat_map(|guard| [true, false].map(|with_agent| (guard, with_agent)))
    {
        in_case_of((guard, with_agent), || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, guard, &other_door());
            let agent = with_agent.then(|| setup.start(&net.router));
            setup.rewrite(SSH_DOOR);
            begin(&setup, &net.router, "3s");
            let blind = setup.verb(&net.router, "confirm", &[]);
            assert!(
                blind.status == 1 && blind.stderr.contains("--anyway"),
                "{blind:?}"
            );
            confirm(&setup, &net.router).ok();
            let again = confirm(&setup, &net.router);
            assert!(again.stderr.contains("no guard is on trial"), "{again:?}");
            // The kernel's own word for an element that ends.
            let rules = nft::table(&net.router.namespace, "inet postern").expect("a table");
            assert!(!rules.contains("expires"), "{rules}");
            if let Some(agent) = agent {
                agent.kill();
            }
            let _agent = setup.start(&net.router);
            assert_eq!(answers(&net, Family::V4, 22), Answer::Silent);
            let status = setup.verb(&net.router, "status", &["--json"]).ok();
            assert!(status.contains("\"trial\":null"), "{status}");
        });
    }
}

fn only_a_new_connection_confirms() {
    for family in Family::BOTH {
        in_case_of(family, || {
            let net = Topology::new();
            let server = Sshd::start(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            let _agent = setup.start(&net.router);
            let ssh = net.router.port(family, 22);
            client::knock(&net.client, ssh.ip(), &OPEN);
            assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
            let (postern, config) = (program(), setup.config());
            let (postern, config) = (postern.display(), config.display());
            let confirm = format!("{postern} confirm --config {config}");
            let begin = format!("{postern} apply --confirm-within {LONG} --config {config}");
            let old = format!("{begin} && {confirm}");
            let said = client::ssh(&net.client, ssh.ip(), &server, &old);
            assert!(said.stdout.contains("on trial"), "{said:?}");
            assert!(
                said.status == 1 && said.stderr.contains("older than the trial"),
                "{said:?}"
            );
            let said = client::ssh(&net.client, ssh.ip(), &server, &confirm);
            assert_eq!(said.ok(), "confirmed: the guard stays\n");
        });
    }
}

fn a_reload_confirms_nothing() {
    let net = Topology::new();
    let _services = [22, 23].map(|port| Service::tcp(&net.router.namespace, port));
    let setup = Setup::new(&net.router, Guard::Gate, &other_door());
    let mut agent = setup.start(&net.router);
    setup.rewrite(SSH_DOOR);
    begin(&setup, &net.router, "3s");
    agent.reload();
    agent.wait_for_line("postern: configuration read again");
    let status = setup.verb(&net.router, "status", &["--json"]).ok();
    assert!(status.contains("\"trial\":{\"remaining_ms\":"), "{status}");
    wait_until_open(&net, Family::V4, 22);
    agent.reload();
    let config = setup.config();
    let config = config.display();
    agent.wait_for_line(&format!(
        "postern: {config} was on trial and nobody confirmed it: the configuration before it is used"
    ));
    // It is said before it is done.
    let door = net.router.port(Family::V4, 23);
    assert!(probe::tcp_shuts(&net.stranger.namespace, door, SOON));
    assert_eq!(answers(&net, Family::V4, 22), Answer::Open);
}

fn a_reload_does_not_confirm_what_was_in_force_before_either() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let mut agent = setup.start(&net.router);
    begin(&setup, &net.router, LONG);
    agent.reload();
    agent.wait_for_line("postern: configuration read again");
    let status = setup.verb(&net.router, "status", &["--json"]).ok();
    assert!(status.contains("\"trial\":{\"remaining_ms\":"), "{status}");
}

fn a_trial_where_nothing_was_guarded_goes_back_to_nothing() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let mut agent = setup.start(&net.router);
    setup.verb(&net.router, "remove", &[]).ok();
    begin(&setup, &net.router, "2s");
    assert_eq!(answers(&net, Family::V4, 22), Answer::Silent);
    agent.wait_for_line(
        "postern: the trial is over and nobody confirmed it: there was none before it",
    );
    assert_eq!(answers(&net, Family::V4, 22), Answer::Open);
    assert_eq!(nft::table(&net.router.namespace, "inet postern"), None);
    let status = setup.verb(&net.router, "status", &[]).with_status(4);
    assert!(
        status.contains("configured: gate") && status.contains("guard: NOT INSTALLED"),
        "{status}"
    );
}

fn a_trial_of_another_file_leaves_the_first_one_to_the_agent() {
    for state in ["state", "other"] {
        in_case_of(state, || {
            let net = Topology::new();
            let _services = [22, 23, 24].map(|port| Service::tcp(&net.router.namespace, port));
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            let mut agent = setup.start(&net.router);
            let text = fs::read_to_string(setup.config()).expect("read the configuration");
            let text = text.replace("tcp:22'", "tcp:23'");
            let text = text.replace("/state'", &format!("/{state}'"));
            let other = setup.path("tried");
            fs::write(&other, text).expect("write another configuration");
            let apply = |time| {
                let (program, other) = (program(), other.to_string_lossy());
                let arguments = ["apply", "--confirm-within", time, "--config", &other];
                (net.router.namespace).run(&program.to_string_lossy(), &arguments)
            };
            assert!(apply("2s").stdout.contains("on trial"));
            assert_eq!(answers(&net, Family::V4, 23), Answer::Silent);
            agent.wait_for_line(
                "postern: the trial is over and nobody confirmed it: the configuration before it",
            );
            assert_eq!(answers(&net, Family::V4, 22), Answer::Silent);
            assert_eq!(answers(&net, Family::V4, 23), Answer::Open);
            setup.rewrite(&SSH_DOOR.replace("tcp:22'", "tcp:24'"));
            agent.reload();
            agent.wait_for_line("postern: configuration read again");
            assert_eq!(answers(&net, Family::V4, 24), Answer::Silent);
        });
    }
}

fn a_start_goes_back_to_what_was_confirmed() {
    let net = Topology::new();
    let _services = [22, 23].map(|port| Service::tcp(&net.router.namespace, port));
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    setup.rewrite(&other_door());
    begin(&setup, &net.router, LONG);
    agent.kill();
    // What a reboot does: the kernel forgets, and the agent starts.
    nft::apply(&net.router.namespace, "delete table inet postern");
    let agent = setup.start(&net.router);
    assert!(
        agent.log().contains("nobody confirmed it"),
        "{}",
        agent.log()
    );
    assert_eq!(answers(&net, Family::V4, 22), Answer::Silent);
    assert_eq!(answers(&net, Family::V4, 23), Answer::Open);
    agent.kill();
    // As often as it starts, until somebody applies the new one for good.
    let agent = setup.start(&net.router);
    assert_eq!(answers(&net, Family::V4, 23), Answer::Open);
    setup.verb(&net.router, "apply", &[]).ok();
    poll_until(SOON, "the new door is shut", || {
        answers(&net, Family::V4, 23) == Answer::Silent
    });
    agent.kill();
    let _agent = setup.start(&net.router);
    assert_eq!(answers(&net, Family::V4, 23), Answer::Silent);
}

fn a_trial_that_cannot_be_remembered_does_not_begin() {
    let net = Topology::new();
    let _services = [22, 23].map(|port| Service::tcp(&net.router.namespace, port));
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let _agent = setup.start(&net.router);
    fs::remove_dir_all(setup.path("state")).expect("remove the folder");
    fs::write(setup.path("state"), "a file in its place").expect("write a file");
    setup.rewrite(&other_door());
    let said = setup.verb(&net.router, "apply", &["--confirm-within", LONG]);
    assert!(
        said.status == 1 && said.stderr.contains("state"),
        "{said:?}"
    );
    assert_eq!(answers(&net, Family::V4, 22), Answer::Silent);
    assert_eq!(answers(&net, Family::V4, 23), Answer::Open);
}

fn times_that_make_no_sense_are_refused() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    for time in ["0", "soon", "2d"] {
        let said = setup.verb(&net.router, "apply", &["--confirm-within", time]);
        assert_eq!(said.status, 2, "{said:?}");
    }
    let said = confirm(&setup, &net.router);
    assert!(said.stderr.contains("no guard is on trial"), "{said:?}");
    assert_eq!(said.status, 1);
    poll_until(Duration::from_secs(1), "no table", || {
        nft::table(&net.router.namespace, "inet postern").is_none()
    });
}

/// `script` gives the program a terminal.
fn a_terminal_shows_the_time_that_is_left() {
    for (time, counted, is_confirmed, end) in [
        (LONG, "\r4m 5", true, "confirmed: the guard stays"),
        (
            "2s",
            "\r1s",
            false,
            "the trial is over and was not confirmed",
        ),
    ] {
        in_case_of(time, || {
            let net = Topology::new();
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            let _agent = setup.start(&net.router);
            // What was confirmed already is in force again by the time that somebody looks.
            setup.rewrite(&other_door());
            let (program, config) = (program(), setup.config());
            let (program, config) = (program.display(), config.display());
            let line = format!("{program} apply --config {config} --confirm-within {time}");
            let shown = setup.path("shown");
            let mut script = Command::new("script");
            script.args(["-qefc", &line]).arg(&shown);
            script.stdin(Stdio::null()).stdout(Stdio::null());
            let mut script = net.router.namespace.spawn(&mut script);
            let shows = |what: &str| fs::read_to_string(&shown).is_ok_and(|all| all.contains(what));
            poll_until(SOON, "it counts", || shows(counted));
            if is_confirmed {
                confirm(&setup, &net.router).ok();
            }
            assert_eq!(script.wait(SOON).success(), is_confirmed);
            assert!(shows(end));
        });
    }
}

/// Whoever looks when the agent has gone back already sees a guard without a trial.
fn what_was_there_before_is_no_confirmation() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    setup.rewrite(&other_door());
    let terminal = openpty(None, None).expect("a terminal");
    let mut apply = Command::new(program());
    apply.arg("apply").arg("--config").arg(setup.config());
    apply.args(["--confirm-within", "2s"]).stdin(Stdio::null());
    apply.stdout(terminal.slave).stderr(Stdio::piped());
    let mut apply = net.router.namespace.spawn(&mut apply);
    poll_until(SOON, "a trial goes on", || {
        agent.log().contains("guard installed on trial")
    });
    apply.signal(Signal::SIGSTOP);
    poll_until(SOON, "the agent goes back", || {
        agent.log().contains("is in force again")
    });
    apply.signal(Signal::SIGCONT);
    assert!(!apply.wait(SOON).success());
    let errors = apply.child().stderr.take().expect("its errors");
    let said = io::read_to_string(errors).expect("its errors");
    let is_over = "the trial is over and was not confirmed";
    assert!(said.contains(is_over), "{said}");
}
