//! Restarts, boots and reloads of an agent whose file is wrong, or whose machine has changed since.

use std::fs;
use std::process::{Command, Stdio};

use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup};
use postern_tests::nft;
use postern_tests::suite::in_case_of;
use postern_tests::wait::{SOON, poll_until};

use super::stage::{LET_ME_IN, Stage, TABLE};

const EARLIER: &str = "agent: starts with what was confirmed last";

/// Files that no start takes; the state folder is as before, as far as it can be made out.
fn wrong_files(right: &str) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("an option mistyped", right.replace("gate", "gaet").into()),
        (
            "cut off in a word",
            right.split_at(right.len() / 2).0.into(),
        ),
        (
            "a quote without its end",
            format!("{right}\n\toption grant '1").into(),
        ),
        (
            "no door's knocks",
            right.replace("list open", "list opne").into(),
        ),
        ("too long", [right.as_bytes(), &[b'\n'; 1 << 20]].concat()),
        (
            "octets of any kind behind it",
            [right.as_bytes(), &[0, 255, 7, b'\n']].concat(),
        ),
    ]
}

fn text(stage: &Stage) -> String {
    fs::read_to_string(stage.setup.config()).expect("a configuration")
}

/// That another configuration than the file's is in force is said wherever somebody looks.
#[track_caller]
fn expect_warnings(stage: &Stage) {
    let said = stage.verb("status").ok();
    assert!(said.contains("configuration: NOT USED: "), "{said}");
    let said = stage.verb("status --json").ok();
    assert!(said.contains(",\"refused\":\""), "{said}");
    let said = stage.verb("doctor").stdout;
    assert!(said.contains("warning: config-not-in-force: "), "{said}");
}

/// Once it is mended, and the agent told.
#[track_caller]
fn expect_mended(stage: &Stage, right: &str) {
    stage.setup.rewrite_whole(right);
    stage.verb("apply").ok();
    let said = stage.verb("status").ok();
    assert!(!said.contains("NOT USED"), "{said}");
    let said = stage.verb("status --json").ok();
    assert!(said.contains(",\"refused\":null"), "{said}");
    let said = stage.verb("doctor").stdout;
    assert!(!said.contains("config-not-in-force"), "{said}");
}

fn start_with_wrong_files(way: &str, meanwhile: fn(&Stage)) {
    let stage = Stage::gate();
    let right = text(&stage);
    stage.start().kill();
    for (what, wrong) in wrong_files(&right) {
        in_case_of(what, || {
            let loss = stage.lose(way);
            fs::write(stage.setup.config(), &wrong).expect("write a file");
            meanwhile(&stage);
            let agent = stage.start();
            assert!(
                agent.log().contains("postern: WARNING: "),
                "{}",
                agent.log()
            );
            expect_warnings(&stage);
            loss.healed_by(EARLIER).ends_by_knocking();
            expect_mended(&stage, &right);
            stage.verb("close ssh").ok();
            agent.kill();
        });
    }
}

pub(crate) fn a_restart_with_a_wrong_file() {
    start_with_wrong_files("the agent restarted with a wrong file", |_| {});
}

pub(crate) fn a_boot_with_a_wrong_file() {
    start_with_wrong_files("a boot with a wrong file", |stage| {
        nft::apply(&stage.net.router.namespace, "delete table inet postern");
    });
}

/// Nobody knows where its own state folder was; the usual one is looked at.
pub(crate) fn a_restart_without_a_file() {
    let stage = Stage::gate();
    stage.start().kill();
    fs::remove_file(stage.setup.config()).expect("delete a file");
    let loss = stage.lose("the file deleted, and a restart");
    let confirmed = stage.setup.path("state/confirmed.conf");
    let script = format!(
        "mount -t tmpfs none /etc && mkdir -p /etc/postern/state && \
         cp '{}' /etc/postern/state && exec \"$@\"",
        confirmed.display()
    );
    let _agent = stage.setup.start_by(
        &["unshare", "--mount", "--", "sh", "-c", &script, "sh"],
        &stage.net.router,
    );
    loss.healed_by(EARLIER).ends_by_knocking();
}

pub(crate) fn a_restart_with_a_wrong_file_and_nothing_confirmed() {
    let stage = Stage::gate();
    stage.start().kill();
    fs::remove_dir_all(stage.setup.path("state")).expect("delete a folder");
    stage.edit("gate", "gaet");
    let loss = stage.lose("a restart with a wrong file, and nothing confirmed");
    loss.is_felt();
    let said = stage.setup.run_to_its_end(&stage.net.router);
    assert_eq!(said.status, 1, "{said:?}");
    assert!(said.stderr.contains("TAKEN AWAY"), "{said:?}");
    assert_eq!(nft::table(&stage.net.router.namespace, TABLE), None);
    loss.healed_by("agent: takes the guard away")
        .ends_for_everyone();
}

/// Doors that the kernel serves need nobody to hear knocks.
pub(crate) fn a_restart_with_a_wrong_file_and_doors_of_the_kernel() {
    let stage = Stage::new(Guard::Gate, &format!("{SSH_DOOR}\toption engine 'chain'\n"));
    stage.start().kill();
    fs::remove_dir_all(stage.setup.path("state")).expect("delete a folder");
    stage.edit("gate", "gaet");
    let loss = stage.lose("a restart with a wrong file, and doors of the kernel");
    let said = stage.setup.run_to_its_end(&stage.net.router);
    assert_eq!(said.status, 1, "{said:?}");
    loss.healed_by("kernel: serves its doors")
        .ends_by_knocking();
}

/// The one that lives has its guard left alone, whatever became of the file of another.
pub(crate) fn a_second_agent_with_a_wrong_file() {
    let stage = Stage::gate();
    let _agent = stage.start();
    let loss = stage.lose("a second agent started with a wrong file");
    let right = text(&stage);
    let other = Setup::new(&stage.net.router, Guard::Gate, SSH_DOOR);
    for wrong in [
        "config postern 'global'\n\toption guard 'gaet'\n".to_string(),
        right
            .replace("gate", "gaet")
            .replace("/control'", "/elsewhere'")
            .replace("/state'", "/other'"),
        right.replace("gate", "gaet"),
    ] {
        in_case_of(&wrong, || {
            other.rewrite_whole(&wrong);
            let said = other.run_to_its_end(&stage.net.router);
            assert_eq!(said.status, 1, "{said:?}");
            assert!(nft::table(&stage.net.router.namespace, TABLE).is_some());
        });
    }
    loss.healed_by("agent: the first one goes on")
        .ends_by_knocking();
}

/// The file is as it was, and right; the login at the console is gone that there was when it was confirmed.
pub(crate) fn a_restart_with_the_fallback_gone() {
    let stage = Stage::gate();
    stage.start().kill();
    stage.edit("\toption fallback 'none'\n", "");
    fs::copy(
        stage.setup.config(),
        stage.setup.path("state/confirmed.conf"),
    )
    .expect("copy a file");
    let loss = stage.lose("the console gone, and a restart");
    let agent = start_without_console(&stage);
    assert!(agent.log().contains("fallback-missing"), "{}", agent.log());
    expect_warnings(&stage);
    loss.healed_by("agent: goes on, with a warning")
        .ends_by_knocking();
    // A boot guards nothing yet, and is no reason to begin.
    agent.kill();
    nft::apply(&stage.net.router.namespace, "delete table inet postern");
    let said = bare_machine(&stage, "run");
    assert!(
        said.status == 1 && said.stderr.contains("fallback-missing"),
        "{said:?}"
    );
    assert_eq!(nft::table(&stage.net.router.namespace, TABLE), None);
}

/// The machine's own console and init are out of sight: PID 1 is a shell, or the agent.
const BARE: &str = "mount -t tmpfs none /run && mount -t tmpfs none /etc && exec \"$@\"";
const BARELY: [&str; 9] = [
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "--",
    "sh",
    "-c",
];

fn start_without_console(stage: &Stage) -> Agent<'_> {
    let words = [&BARELY[..], &[BARE, "sh"]].concat();
    stage.setup.start_by(&words, &stage.net.router)
}

pub(crate) fn bare_machine(stage: &Stage, verb: &str) -> postern_tests::process::Said {
    let (program, config) = (postern_tests::agent::program(), stage.setup.config());
    let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
    let verb = [
        &BARELY[1..],
        &[BARE, "sh", &program, verb, "--config", &config],
    ]
    .concat();
    stage.net.router.namespace.run("unshare", &verb)
}

/// Whoever reads the group hears its knocks in the agent's place.
pub(crate) fn our_nflog_group_taken() {
    let stage = Stage::gate();
    stage.start().kill();
    let other = Setup::new(&stage.net.router, Guard::Gate, SSH_DOOR);
    let loss = stage.lose("another program has the NFLOG group, and a restart");
    let router = &stage.net.router.namespace;
    let mut tcpdump = Command::new("tcpdump");
    tcpdump.args(["-i", "nflog:5", "-w", "/dev/null"]);
    let silent = tcpdump.stdin(Stdio::null()).stderr(Stdio::null());
    let _reader = router.spawn(silent);
    poll_until(SOON, "the group is taken", || {
        let said = other.verb(&stage.net.router, "doctor", &[]);
        said.stdout.contains("nflog-group-taken")
    });
    loss.is_felt();
    let agent = stage.start();
    assert!(agent.log().contains("group 5"), "{}", agent.log());
    expect_warnings(&stage);
    loss.healed_by("agent: hears another group")
        .ends_by_knocking();
    agent.kill();
    // Nothing is guarded yet at a boot.
    nft::apply(router, "delete table inet postern");
    let said = stage.setup.run_to_its_end(&stage.net.router);
    assert!(
        said.status == 1 && said.stderr.contains("group 5"),
        "{said:?}"
    );
    assert_eq!(nft::table(router, TABLE), None);
}

pub(crate) fn a_reload_with_a_wrong_file() {
    let stage = Stage::gate();
    let _agent = stage.start();
    let right = text(&stage);
    assert_eq!(stage.verb("reload").ok(), "configuration read again\n");
    for (what, wrong) in wrong_files(&right) {
        in_case_of(what, || {
            let loss = stage.lose("a reload with a wrong file");
            fs::write(stage.setup.config(), &wrong).expect("write a file");
            let said = stage.verb("reload");
            assert_eq!(said.status, 1, "{said:?}");
            for words in ["/config:", "the running configuration stays"] {
                assert!(said.stderr.contains(words), "no {words} in {said:?}");
            }
            expect_warnings(&stage);
            loss.healed_by("agent: keeps what it has")
                .ends_by_knocking();
            stage.verb("close ssh").ok();
        });
    }
    stage.setup.rewrite_whole(&right);
    stage.verb("reload").ok();
    expect_mended(&stage, &right);
}

/// The package's own script, with the program and the file of this test.
pub(crate) fn an_upgrade_with_a_wrong_file() {
    let stage = Stage::gate();
    let mut agent = stage.start();
    let right = text(&stage);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/debian/postinst");
    let script = fs::read_to_string(path).expect("a script");
    let check = format!(
        "{} check --config {}",
        postern_tests::agent::program().display(),
        stage.setup.config().display()
    );
    // What cargo-deb puts there restarts the service at an upgrade.
    let restart = format!("if [ -n \"$2\" ]; then kill {}; fi", agent.id());
    let script = script
        // This machine gets no account.
        .replace("useradd ", "true ")
        .replace("chgrp ", "true ")
        .replace("/usr/sbin/postern check", &check)
        .replace("#DEBHELPER#", &restart)
        .replace(
            "/etc/postern",
            &stage.setup.path("etc-postern").display().to_string(),
        );
    stage.setup.write_private("postinst", &script);
    let upgrade = || {
        let mut shell = Command::new("sh");
        shell
            .arg(stage.setup.path("postinst"))
            .args(["configure", "0.0.1-1"]);
        postern_tests::process::run(&mut shell, "")
    };
    stage.edit("gate", "gaet");
    let loss = stage.lose("an upgrade of the package with a wrong file");
    let said = upgrade();
    assert_eq!(said.status, 0, "{said:?}");
    for words in ["/config:", "the service is not restarted"] {
        assert!(said.stderr.contains(words), "no {words} in {said:?}");
    }
    assert!(!agent.has_ended());
    loss.healed_by("package: leaves the agent that runs")
        .ends_by_knocking();
    stage.setup.rewrite_whole(&right);
    assert_eq!(upgrade().status, 0);
    poll_until(SOON, "the agent is restarted", || agent.has_ended());
}

/// The console's commands go on, whatever the file says.
pub(crate) fn a_wrong_file_and_a_hand_at_the_console() {
    let stage = Stage::gate();
    let agent = stage.start();
    let loss = stage.lose("a wrong file, no agent, and the knocks forgotten");
    agent.kill();
    stage.edit("gate", "gaet");
    loss.is_felt();
    loss.at_console(LET_ME_IN).ends();
}
