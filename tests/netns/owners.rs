//! Whose the files are that decide who gets in: root's or the agent's, or they are refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use postern_tests::agent::{Guard, SSH_DOOR, Setup};
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::Topology;
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        what_others_could_write_is_refused_with_a_cure,
        a_running_agent_stays_with_what_it_has,
        a_secret_that_others_could_replace_shuts_its_door,
    ]
}

/// Some other user.
const STRANGER: u32 = 4242;
/// What a stranger would have in force.
const FORGED: &str = "config postern 'global'\n\toption enabled '0'\n";

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, Permissions::from_mode(bits)).expect("change a mode");
}

fn give(path: &Path, user: u32) {
    chown(path, Some(user), None).expect("give a file away");
}

/// A setup whose state folder holds what a stranger put there.
fn forged() -> (Topology, Setup) {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let state = setup.path("state");
    fs::create_dir(&state).expect("make a folder");
    mode(&state, 0o755);
    for name in ["confirmed.conf", "trial.conf"] {
        fs::write(state.join(name), FORGED).expect("write a file");
        mode(&state.join(name), 0o600);
    }
    (net, setup)
}

fn what_others_could_write_is_refused_with_a_cure() {
    type Harm = fn(&Setup);
    let harms: [(&str, &str, Harm); 6] = [
        ("state", "chmod go-w", |setup| {
            mode(&setup.path("state"), 0o777)
        }),
        ("state", "chown 0", |setup| {
            give(&setup.path("state"), STRANGER)
        }),
        ("state/confirmed.conf", "chown 0", |setup| {
            give(&setup.path("state/confirmed.conf"), STRANGER);
        }),
        ("state/trial.conf", "symbolic link", |setup| {
            let path = setup.path("state/trial.conf");
            fs::remove_file(&path).expect("remove a file");
            symlink(setup.path("state/confirmed.conf"), path).expect("make a link");
        }),
        ("config", "chmod go-w", |setup| mode(&setup.config(), 0o666)),
        ("config", "chown 0", |setup| give(&setup.config(), STRANGER)),
    ];
    for (name, cure, harm) in harms {
        in_case_of((name, cure), || {
            let (net, setup) = forged();
            setup.verb(&net.router, "check", &[]).ok();
            harm(&setup);
            let path = setup.path(name).display().to_string();
            for verb in ["check", "apply"] {
                let said = setup.verb(&net.router, verb, &[]);
                assert_eq!(said.status, 1, "{said:?}");
                assert!(
                    said.stderr.contains(&path) && said.stderr.contains(cure),
                    "{said:?}"
                );
            }
            let said = setup.run_to_its_end(&net.router);
            assert_eq!(said.status, 1, "{said:?}");
            assert!(said.stderr.contains(&path), "{said:?}");
            assert_eq!(nft::table(&net.router.namespace, "inet postern"), None);
            let found = setup.verb(&net.router, "doctor", &[]);
            assert!(
                found.stdout.contains("place-unsafe") || found.stdout.contains(cure),
                "{found:?}"
            );
        });
    }
}

fn a_running_agent_stays_with_what_it_has() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let mut agent = setup.start(&net.router);
    setup.rewrite("");
    mode(&setup.config(), 0o666);
    let said = setup.verb(&net.router, "reload", &[]);
    assert!(
        said.status == 1 && said.stderr.contains("chmod go-w"),
        "{said:?}"
    );
    agent.reload();
    agent.wait_for_line("postern: the running configuration stays");
    assert!(nft::table(&net.router.namespace, "inet postern").is_some());
    assert!(!agent.has_ended());
}

fn a_secret_that_others_could_replace_shuts_its_door() {
    let net = Topology::new();
    let door = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'one-time-seed'
	option secret_file '@/keys/ssh.secret'
	option cutoff '5 per 10m'
";
    let setup = Setup::new(&net.router, Guard::Gate, door);
    setup.verb(&net.router, "keygen", &["ssh"]).ok();
    setup.verb(&net.router, "check", &[]).ok();
    mode(&setup.path("keys"), 0o777);
    let said = setup.verb(&net.router, "check", &[]);
    let folder = setup.path("keys").display().to_string();
    assert!(
        said.status == 1 && said.stderr.contains(&folder),
        "{said:?}"
    );
    let _agent = setup.start(&net.router);
    let status = setup.verb(&net.router, "status", &[]);
    assert!(status.stdout.contains(&folder), "{status:?}");
}
