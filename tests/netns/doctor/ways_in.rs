//! Whether there is another way in.
//!
//! Whether the machine that runs the tests has a console must not matter: these run in a mount and a PID
//! namespace too, in which no getty runs and nothing of the machine's init is to be seen.

use std::fs;

use postern_tests::agent::{Guard, SSH_DOOR, Setup, program};
use postern_tests::nft;
use postern_tests::process::{Said, copy_program};
use postern_tests::scratch::Scratch;
use postern_tests::server::Sshd;
use postern_tests::suite::in_case_of;
use postern_tests::topology::{Host, Topology};

use super::{FALLBACK_NONE, edit, guarded};

/// Runs a script on the router, where nothing of this machine's own init is to be seen: PID 1 is
/// a shell of this name, and `/etc` is this folder.
fn in_bare_machine(router: &Host, init: &str, etc: &Scratch, script: &str) -> Said {
    let shell = etc.join(init);
    copy_program("/bin/sh", &shell);
    let hide = format!(
        "mount -t tmpfs none /run; mount --bind '{}' /etc",
        etc.path().display()
    );
    let script = format!("{hide} || exit 99\n{script}\nexit $?\n");
    let (shell, options) = (
        shell.to_string_lossy(),
        ["--mount", "--pid", "--fork", "--mount-proc"],
    );
    let arguments = [&options[..], &["--", &shell, "-c", &script]].concat();
    router.namespace.run("unshare", &arguments)
}

/// A verb with the setup's configuration, as a shell reads it.
fn command(setup: &Setup, verb: &str) -> String {
    let (program, config) = (program(), setup.config());
    let (program, config) = (program.display(), config.display());
    format!("'{program}' {verb} --config '{config}'")
}

/// Carries out a verb with the setup's configuration where neither console nor init is to be seen.
pub(super) fn verb_in_bare_machine(router: &Host, setup: &Setup, verb: &str) -> Said {
    in_bare_machine(router, "sh", &Scratch::new(), &command(setup, verb))
}

/// A setup whose owner says nothing about a fallback.
fn careless(net: &Topology, guard: Guard) -> Setup {
    let setup = Setup::new(&net.router, guard, SSH_DOOR);
    edit(&setup, FALLBACK_NONE, "");
    setup
}

#[track_caller]
fn expect_refusal(said: &Said) {
    assert_eq!(said.status, 1, "{said:?}");
    let words = [
        "fallback-missing",
        "door ssh guards tcp:22",
        "wan is guarded",
        "fallback 'other'",
        "fallback 'none'",
    ];
    for word in words {
        let text = [said.stdout.as_str(), said.stderr.as_str()].concat();
        assert!(text.contains(word), "no {word} in {text}");
    }
}

pub(super) fn a_guard_with_no_other_way_in_is_refused() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let net = Topology::new();
            let setup = careless(&net, guard);
            for verb in ["doctor", "run", "apply"] {
                expect_refusal(&verb_in_bare_machine(&net.router, &setup, verb));
                assert_eq!(nft::table(&net.router.namespace, "inet postern"), None);
            }
            // Another service may be guarded all the same.
            edit(&setup, "tcp:22", "tcp:8080");
            verb_in_bare_machine(&net.router, &setup, "apply").ok();
            edit(&setup, "tcp:8080", "tcp:22");
            for word in ["none", "other"] {
                let option = format!("\toption fallback '{word}'\nconfig door");
                setup.rewrite(SSH_DOOR);
                edit(&setup, FALLBACK_NONE, "");
                edit(&setup, "config door", &option);
                verb_in_bare_machine(&net.router, &setup, "apply").ok();
                let said = verb_in_bare_machine(&net.router, &setup, "doctor").ok();
                assert_eq!(
                    said.contains("note: fallback-none: "),
                    word == "none",
                    "{said}"
                );
            }
        });
    }
}

/// The agent has given up most of what root may do by then, and sees enough.
pub(super) fn a_reload_that_would_lock_out_is_refused() {
    let (net, setup) = guarded();
    let (program, config) = (program(), setup.config());
    let (careless, log) = (setup.path("careless"), setup.path("log"));
    let text = fs::read_to_string(&config).expect("a configuration");
    let text = text.replace(FALLBACK_NONE, "").replace("7000", "7300");
    fs::write(&careless, text).expect("write a file");
    let control = setup.path("control");
    let [program, config, careless, log, control] =
        [program, config, careless, log, control].map(|path| path.display().to_string());
    let script = format!(
        "wait_for() {{ n=0; until grep -q \"$1\" '{log}'; do n=$((n+1)); [ $n -lt 100 ] || exit 98; sleep 0.05; done; }}
         '{program}' run --config '{config}' 2>'{log}' &
         agent=$!
         wait_for '^postern: ready'
         '{program}' apply --config '{careless}' && exit 97
         printf 'apply - {careless}\\n' | nc.openbsd -NU '{control}'
         cp '{careless}' '{config}'
         kill -HUP $agent
         wait_for 'the running configuration stays'
         cat '{log}'
         nft list table inet postern
         kill $agent; wait $agent"
    );
    let said = in_bare_machine(&net.router, "sh", &Scratch::new(), &script);
    assert_eq!(said.status, 0, "{said:?}");
    // The verb itself, the agent where another program hands it the file, and SIGHUP.
    assert!(said.stderr.contains("fallback-missing"), "{said:?}");
    let (by_caller, by_signal) = said.stdout.split_once("postern: ready").expect("a log");
    assert!(
        by_caller.starts_with("failed\nrefused (fallback-missing)"),
        "{said:?}"
    );
    assert!(
        by_signal.contains("postern: refused (fallback-missing)"),
        "{said:?}"
    );
    assert!(
        by_signal.contains("7000") && !by_signal.contains("7300"),
        "{said:?}"
    );
}

const SHADOW: &str = "root:$6$salt$hash:19000:0:99999:7:::\n";

pub(super) fn a_console_is_a_way_in() {
    let net = Topology::new();
    let setup = careless(&net, Guard::Gate);
    // Every machine has a terminal of this name.
    let inittab = "tty::respawn:/sbin/getty 38400 tty\n";
    for (init, inittab, shadow, found) in [
        ("init", inittab, SHADOW, true),
        ("init", inittab, "root:*:19000:0:99999:7:::\n", false),
        (
            "init",
            "tty::askfirst:/bin/sh\n",
            "root:*:19000:0:99999:7:::\n",
            true,
        ),
        ("sh", inittab, SHADOW, false),
        (
            "init",
            "#tty::respawn:/sbin/getty 38400 tty\n",
            SHADOW,
            false,
        ),
    ] {
        in_case_of((init, inittab, shadow), || {
            let etc = Scratch::new();
            etc.write("inittab", inittab);
            etc.write("shadow", shadow);
            let said = in_bare_machine(&net.router, init, &etc, &command(&setup, "doctor"));
            match found {
                true => {
                    assert_eq!(said.status, 0, "{said:?}");
                    let way = "note: fallback-found: whatever the doors do, there is a way in: the login on tty";
                    assert!(said.stdout.contains(way), "{said:?}");
                }
                false => expect_refusal(&said),
            }
        });
    }
}

pub(super) fn an_interface_that_is_not_guarded_is_a_way_in() {
    let net = Topology::new();
    let setup = careless(&net, Guard::Gate);
    // As docker leaves behind.
    net.router.namespace.ip_batch(
        "link add docker0 type bridge\naddress add 198.18.9.1/24 dev docker0\nlink set docker0 up\n\
         link add veth7 type veth peer name inside7\nlink set veth7 master docker0 up\n\
         tuntap add dev tun7 mode tun\naddress add 198.18.8.1/24 dev tun7\nlink set tun7 up\n",
    );
    let said = verb_in_bare_machine(&net.router, &setup, "apply");
    expect_refusal(&said);
    assert!(
        said.stderr.contains("docker0 leads to this machine itself"),
        "{said:?}"
    );
    let _neighbour = net.add_neighbour();
    verb_in_bare_machine(&net.router, &setup, "apply").ok();
    net.router.namespace.ip_batch("link set lan down\n");
    expect_refusal(&verb_in_bare_machine(&net.router, &setup, "apply"));
}

/// Whatever port it is on: here the machine's own console, if it has one, is in the way.
pub(super) fn sshd_elsewhere_is_known_by_its_name() {
    let net = Topology::new();
    let _sshd = Sshd::start(&net.router.namespace, 2200);
    let setup = Setup::new(
        &net.router,
        Guard::Gate,
        &SSH_DOOR.replace("tcp:22", "tcp:2200"),
    );
    let said = setup.verb(&net.router, "doctor", &[]).ok();
    let known = "fallback-none: door ssh guards tcp:2200 (sshd), ";
    assert!(
        said.contains(known) || said.contains("fallback-found"),
        "{said}"
    );
    let setup = Setup::new(
        &net.router,
        Guard::Gate,
        &SSH_DOOR.replace("tcp:22", "tcp:2201"),
    );
    let said = setup.verb(&net.router, "doctor", &[]).ok();
    assert!(!said.contains("fallback-none"), "{said}");
}
