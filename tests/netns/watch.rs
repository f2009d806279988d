//! `postern watch` tells of knocks and doors as it happens, whoever serves the door.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use postern_tests::agent::{Guard, SSH_DOOR, Setup, program};
use postern_tests::process::Process;
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, suite};

pub(crate) fn suite() -> Suite {
    suite![
        knocks_at_a_door_of_the_agent_are_told needs "knock",
        doors_of_the_kernel_are_told_without_an_agent needs "knock",
        a_watcher_who_leaves_is_forgotten,
        a_watch_ends_when_nobody_reads_it,
        there_may_be_nothing_to_watch,
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];

/// A running `postern watch`, and what it has told.
struct Watch {
    process: Process,
    told: PathBuf,
}

impl Watch {
    fn start(net: &Topology, setup: &Setup, arguments: &[&str]) -> Self {
        let told = setup.path("told");
        let file = File::create(&told).expect("make a file");
        let mut watch = Command::new(program());
        watch.args(["watch", "--config"]).arg(setup.config());
        watch.args(arguments).stdin(Stdio::null()).stdout(file);
        let process = net.router.namespace.spawn(watch.stderr(Stdio::null()));
        Self { process, told }
    }

    fn lines(&self) -> String {
        fs::read_to_string(&self.told).expect("read what it told")
    }

    #[track_caller]
    fn expect(&self, line: &str) {
        poll_until(SOON, line, || self.lines().contains(line));
    }
}

/// Knocks until the watcher, which may still be on its way, has told of a first one.
fn wait_until_it_watches(net: &Topology, watch: &Watch) {
    poll_until(SOON, "it watches", || {
        client::knock(&net.stranger, net.router.address(Family::V4), &["9002"]);
        watch.lines().contains("knocked on tcp:9002")
    });
}

fn knocks_at_a_door_of_the_agent_are_told() {
    for family in Family::BOTH {
        in_case_of(family, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            let _agent = setup.start(&net.router);
            let person = Watch::start(&net, &setup, &[]);
            wait_until_it_watches(&net, &person);
            client::knock(&net.client, net.router.address(family), &OPEN);
            let source = net.client.address(family);
            person.expect(&format!("{source} knocked on tcp:7000: advanced"));
            person.expect(&format!("{source} knocked on udp:8001: advanced"));
            person.expect(&format!("{source} knocked on tcp:9002: completed"));
            person.expect(&format!("door ssh: open for {source} for 30s"));
        });
    }
}

fn doors_of_the_kernel_are_told_without_an_agent() {
    for engine in ["chain", "track"] {
        in_case_of(engine, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let door = format!("{SSH_DOOR}\toption engine '{engine}'\n");
            let setup = Setup::new(&net.router, Guard::Gate, &door);
            setup.verb(&net.router, "apply", &[]).ok();
            let watch = Watch::start(&net, &setup, &["--json"]);
            let source = net.client.address(Family::V4);
            poll_until(SOON, "it watches", || {
                // One that is begun and spoilt, because a stray knock is no attempt.
                client::knock(
                    &net.client,
                    net.router.address(Family::V4),
                    &["7000", "9002"],
                );
                watch.lines().contains("\"what\":\"refused\"")
            });
            client::knock(&net.client, net.router.address(Family::V4), &OPEN[..2]);
            watch.expect("\"effect\":\"open\",\"accepted\":2,\"needed\":3}");
            client::knock(&net.client, net.router.address(Family::V4), &OPEN[2..]);
            watch.expect("{\"event\":\"count\",\"door\":\"ssh\",\"what\":\"opened\",\"times\":1}");
            assert!(watch.lines().contains(&format!("\"source\":\"{source}\"")));
        });
    }
}

fn a_watcher_who_leaves_is_forgotten() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    // More than may watch at a time, one after another.
    for _ in 0..6 {
        let watch = Watch::start(&net, &setup, &[]);
        wait_until_it_watches(&net, &watch);
        drop(watch.process);
    }
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
}

fn a_watch_ends_when_nobody_reads_it() {
    let kernels = format!("{SSH_DOOR}\toption engine 'chain'\n");
    for (door, is_alive) in [(SSH_DOOR, true), (&kernels, true), (&kernels, false)] {
        in_case_of((door, is_alive), || {
            let net = Topology::new();
            let setup = Setup::new(&net.router, Guard::Gate, door);
            setup.verb(&net.router, "apply", &[]).ok();
            let _agent = is_alive.then(|| setup.start(&net.router));
            let mut watch = Command::new(program());
            watch.args(["watch", "--config"]).arg(setup.config());
            watch.stdin(Stdio::null()).stdout(Stdio::piped());
            let mut watch = net.router.namespace.spawn(watch.stderr(Stdio::piped()));
            // As `head` does; and nothing happens that could be told.
            drop(watch.child().stdout.take());
            assert!(watch.wait(SOON).success());
            let stderr = watch.child().stderr.take().expect("a pipe");
            let said = io::read_to_string(stderr).expect("what it said");
            assert_eq!(said, "");
        });
    }
}

fn there_may_be_nothing_to_watch() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let said = setup.verb(&net.router, "watch", &[]);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("nothing to watch"), "{said:?}");
}
