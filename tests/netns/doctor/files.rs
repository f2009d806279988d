//! Files: who can read them, and whether they say what is in force.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use postern_tests::agent::{Guard, Setup, program};
use postern_tests::process::copy_program;
use postern_tests::scratch::Scratch;
use postern_tests::topology::{Host, Topology};

use super::ways_in::verb_in_bare_machine;
use super::{doctor, edit, expect, expect_no, findings, guarded, make_private};

const CLOCK_DOOR: &str = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'one-time-clock'
	option secret_file '@/secret'
	option cutoff '5 per 10m'
";

pub(super) fn files_that_others_can_read() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, CLOCK_DOOR);
    make_private(&setup);
    expect(&doctor(&setup, &net.router), "door-shut", "no such file");
    setup.verb(&net.router, "keygen", &["ssh"]).ok();
    let ids = [
        "config-exposed",
        "secret-exposed",
        "state-exposed",
        "control-exposed",
        "door-shut",
    ];
    for id in ids {
        expect_no(&doctor(&setup, &net.router), id);
    }
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("change a file's mode");
    };
    let (secret, state) = (setup.path("secret"), setup.path("state"));
    set_mode(&secret, 0o644);
    let findings = doctor(&setup, &net.router);
    expect(&findings, "secret-exposed", "others can read ");
    expect(&findings, "door-shut", "door ssh");
    set_mode(&secret, 0o600);
    set_mode(&state, 0o777);
    set_mode(&setup.config(), 0o646);
    let findings = doctor(&setup, &net.router);
    expect(&findings, "state-exposed", "others can write ");
    expect(&findings, "config-exposed", "others can write ");
    expect_no(&findings, "secret-exposed");
    expect(&findings, "place-unsafe", "chmod go-w");
    set_mode(&state, 0o700);
    set_mode(&setup.config(), 0o600);
    let _agent = setup.start(&net.router);
    for id in ids {
        expect_no(&doctor(&setup, &net.router), id);
    }
    set_mode(&setup.path("control"), 0o666);
    expect(&doctor(&setup, &net.router), "control-exposed", "control");
}

pub(super) fn a_wrong_configuration() {
    let (net, setup) = guarded();
    setup.rewrite_whole("config postern 'global'\n\toption guard 'fence'\n");
    expect(&doctor(&setup, &net.router), "config-unusable", "config");
    let said = setup.verb(&net.router, "doctor", &[]);
    assert!(said.stderr.contains("config:2:"), "{said:?}");
    // The kernel was asked all the same.
    expect_no(&doctor(&setup, &net.router), "kernel-unasked");
}

/// The agent goes on with what it had; that is not what the file says.
pub(super) fn a_configuration_that_is_not_in_force() {
    let (net, setup) = guarded();
    let mut agent = setup.start(&net.router);
    expect_no(&doctor(&setup, &net.router), "config-not-in-force");
    edit(&setup, "'gate'", "'fence'");
    agent.reload();
    agent.wait_for_line("postern: the running configuration stays");
    expect(
        &doctor(&setup, &net.router),
        "config-not-in-force",
        "it has mistakes",
    );
    edit(&setup, "'fence'", "'gate'");
    agent.reload_now();
    expect_no(&doctor(&setup, &net.router), "config-not-in-force");
}

pub(super) fn warnings_fail_only_if_they_are_to() {
    let (net, setup) = guarded();
    expect(
        &doctor(&setup, &net.router),
        "config-exposed",
        "others can read",
    );
    let status = |verb| verb_in_bare_machine(&net.router, &setup, verb).status;
    assert_eq!(status("doctor"), 0);
    assert_eq!(status("doctor --strict"), 1);
    make_private(&setup);
    assert_eq!(status("doctor --strict --json"), 0);
}

/// What is found by somebody who is not root, and the exit status: by a copy of the program, in a copy
/// of the configuration that has the same mode. Both are put into this folder.
fn doctor_of_nobody(open: &Scratch, setup: &Setup, router: &Host) -> (i32, Vec<String>) {
    let mode = Permissions::from_mode(0o755);
    fs::set_permissions(open.path(), mode).expect("open a folder");
    let [postern, config] = ["postern", "config"].map(|name| open.join(name));
    copy_program(program(), &postern);
    fs::copy(setup.config(), &config).expect("copy a configuration");
    let [postern, config] = [postern, config].map(|path| path.display().to_string());
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let doctor = [&postern, "doctor", "--json", "--config", &config];
    let said = (router.namespace).run("setpriv", &[&nobody[..], &doctor].concat());
    assert!(!said.stdout.is_empty(), "{said:?}");
    (said.status, findings(&said.stdout))
}

pub(super) fn whoever_may_not_ask_the_kernel_is_told() {
    let (net, setup) = guarded();
    let open = Scratch::new();
    let (status, findings) = doctor_of_nobody(&open, &setup, &net.router);
    expect(&findings, "kernel-unasked", "run as root");
    assert_eq!(status, 0, "{findings:#?}");
}

/// The file holds the knocks, and is its owner's alone; that is no mistake in it.
pub(super) fn a_configuration_that_root_alone_reads() {
    let (net, setup) = guarded();
    make_private(&setup);
    let open = Scratch::new();
    let (status, findings) = doctor_of_nobody(&open, &setup, &net.router);
    let config = open.join("config").display().to_string();
    expect(&findings, "config-forbidden", &config);
    expect_no(&findings, "config-unusable");
    assert_eq!(status, 1, "{findings:#?}");
}

pub(super) fn a_guard_that_nobody_hears_knocks_at() {
    let (net, setup) = guarded();
    expect_no(&doctor(&setup, &net.router), "agent-missing");
    let agent = setup.start(&net.router);
    expect_no(&doctor(&setup, &net.router), "agent-missing");
    agent.kill();
    let findings = doctor(&setup, &net.router);
    expect(&findings, "agent-missing", "hears knocks at ssh");
    edit(
        &setup,
        "\toption method",
        "\toption engine 'chain'\n\toption method",
    );
    expect_no(&doctor(&setup, &net.router), "agent-missing");
}
