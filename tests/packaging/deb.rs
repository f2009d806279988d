//! The Debian package and its unit for systemd: what is in them, and that the agent can live so confined.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern_tests::agent::{Guard, SSH_DOOR, Setup, program};
use postern_tests::process::run;
use postern_tests::scratch::Scratch;
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::SOON;
use postern_tests::{client, probe, suite};

pub(crate) fn suite() -> Suite {
    suite![
        the_package_holds_what_it_should needs "cargo-deb" "dpkg-deb",
        installing_it_starts_and_guards_nothing needs "cargo-deb" "dpkg-deb",
        purging_it_leaves_no_secrets needs "cargo-deb" "dpkg-deb",
        the_unit_is_one_that_systemd_understands needs "cargo-deb" "dpkg-deb" "systemd-analyze",
        the_manager_is_told_what_the_agent_does,
        the_capabilities_of_unit_and_jail_are_enough needs "knock" "setpriv",
        no_system_call_is_made_that_the_unit_forbids needs "knock" "strace" "systemd-analyze",
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn unit() -> String {
    fs::read_to_string(top().join("packaging/postern.service")).expect("the unit")
}

/// What a setting of the unit says, all its lines in one.
fn setting(name: &str) -> String {
    let unit = unit();
    let values = unit
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.collect::<Vec<_>>().join(" ")
}

/// The package around the program that the other tests run, unpacked: its files, and its own in `DEBIAN`.
fn unpacked() -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir(scratch.join("release")).expect("make a folder");
    fs::copy(program(), scratch.join("release/postern")).expect("copy the program");
    let package = scratch.join("postern.deb");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["deb", "-p", "postern", "--no-build", "--quiet", "--output"])
        .arg(&package);
    cargo
        .current_dir(top())
        .env("CARGO_TARGET_DIR", scratch.path());
    run(&mut cargo, "").ok();
    let root = scratch.join("root");
    run(
        Command::new("dpkg-deb").arg("-R").arg(&package).arg(&root),
        "",
    )
    .ok();
    scratch
}

fn the_package_holds_what_it_should() {
    let scratch = unpacked();
    let root = scratch.join("root");
    let mode = |path: &str| {
        let found = fs::metadata(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        found.permissions().mode() & 0o777
    };
    for (path, expected) in [
        ("usr/sbin/postern", 0o755),
        ("usr/lib/systemd/system/postern.service", 0o644),
        ("usr/share/doc/postern/copyright", 0o644),
        ("usr/share/doc/postern/README.md", 0o644),
        ("usr/share/doc/postern/docs/recovery.md", 0o644),
        ("usr/share/doc/postern/docs/knock.svg", 0o644),
        ("usr/share/doc/postern/docs/measurements/bench.svg", 0o644),
        ("usr/share/man/man8/postern.8.gz", 0o644),
        ("usr/share/man/man8/postern-open.8.gz", 0o644),
        ("usr/share/man/man5/postern.conf.5.gz", 0o644),
        ("usr/share/bash-completion/completions/postern", 0o644),
        ("usr/share/zsh/vendor-completions/_postern", 0o644),
        ("usr/share/fish/vendor_completions.d/postern.fish", 0o644),
        // Whoever reads the knocks can open the doors.
        ("etc/config/postern", 0o600),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
    let pages = |folder: PathBuf| -> BTreeSet<_> {
        let entries = fs::read_dir(folder).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect()
    };
    assert_eq!(
        pages(root.join("usr/share/doc/postern/docs")),
        pages(top().join("docs"))
    );
    let manual: BTreeSet<_> = [5, 8]
        .iter()
        .flat_map(|section| pages(root.join(format!("usr/share/man/man{section}"))))
        .collect();
    let zipped = |mut name: OsString| {
        name.push(".gz");
        name
    };
    let kept = pages(top().join("packaging/man"));
    assert_eq!(manual, kept.into_iter().map(zipped).collect());
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a file of the package");
    assert_eq!(read("DEBIAN/conffiles"), "/etc/config/postern\n");
    let control = read("DEBIAN/control");
    let version = format!("Version: {}-1\n", env!("CARGO_PKG_VERSION"));
    for line in ["Package: postern\n", &version, "Section: net\n"] {
        assert!(control.contains(line), "no {line} in {control}");
    }
    assert!(
        control.contains("libnftnl") || control.contains("libc"),
        "{control}"
    );
    let config = root.join("etc/config/postern");
    let said = run(
        Command::new(program())
            .args(["check", "--config"])
            .arg(config),
        "",
    );
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(said.stderr, "", "{said:?}");
}

/// Its scripts with systemd's helpers out of reach, as where nobody runs systemd.
fn installing_it_starts_and_guards_nothing() {
    let scratch = unpacked();
    let calls = scratch.join("calls");
    let folder = scratch.join("helpers");
    fs::create_dir(&folder).expect("make a folder");
    // This machine gets no account: it is but asked for.
    for helper in [
        "deb-systemd-helper",
        "deb-systemd-invoke",
        "systemctl",
        "useradd",
        "getent",
        "chgrp",
    ] {
        let path = folder.join(helper);
        let status = i32::from(helper == "getent");
        let script = format!(
            "#!/bin/sh\necho \"{helper} $*\" >>{}\nexit {status}\n",
            calls.display()
        );
        fs::write(&path, script).expect("write a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("may be run");
    }
    let text = fs::read_to_string(scratch.join("root/DEBIAN/postinst")).expect("a script");
    let inside = scratch.join("root/etc/postern").display().to_string();
    let script = scratch.write("postinst", &text.replace("/etc/postern", &inside));
    let path = format!("{}:/usr/bin:/bin", folder.display());
    run(
        Command::new("sh")
            .arg(script)
            .arg("configure")
            .env("PATH", path),
        "",
    )
    .ok();
    let mode = fs::metadata(&inside)
        .expect("a folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);
    let calls = fs::read_to_string(calls).unwrap_or_default();
    assert!(calls.contains("useradd --system --user-group "), "{calls}");
    assert!(
        calls.contains(&format!("chgrp postern {inside}\n")),
        "{calls}"
    );
    let starts = |line: &&str| line.contains("invoke start") || line.starts_with("systemctl start");
    assert_eq!(calls.lines().find(starts), None, "{calls}");
}

/// What dpkg runs last, where nobody runs systemd.
fn purging_it_leaves_no_secrets() {
    let scratch = unpacked();
    let folder = scratch.join("etc");
    fs::create_dir_all(folder.join("state")).expect("make a folder");
    fs::write(folder.join("ssh.secret"), "secret").expect("write a file");
    let text = fs::read_to_string(scratch.join("root/DEBIAN/postrm")).expect("a script");
    let text = text.replace("/etc/postern", &folder.display().to_string());
    let script = scratch.write(
        "postrm",
        &text.replace("/run/systemd/system", "/no/such/folder"),
    );
    let call = |word: &str| {
        let mut shell = Command::new("sh");
        run(
            shell.arg(&script).arg(word).env("PATH", "/bin:/usr/bin"),
            "",
        )
    };
    for word in ["remove", "upgrade"] {
        assert_eq!(call(word).status, 0);
        assert!(folder.join("ssh.secret").exists(), "{word}");
    }
    let said = call("purge");
    assert!(
        said.status == 0 && said.stderr.contains("with secrets"),
        "{said:?}"
    );
    assert!(!folder.exists());
    assert_eq!(call("purge").status, 0);
}

fn the_unit_is_one_that_systemd_understands() {
    let scratch = unpacked();
    let root = scratch.join("root");
    fs::create_dir_all(root.join("usr/bin")).expect("make a folder");
    fs::copy("/usr/bin/mkdir", root.join("usr/bin/mkdir")).expect("copy a program");
    let analyze = |verb: &str, arguments: &[&str]| {
        let root = format!("--root={}", root.display());
        run(
            Command::new("systemd-analyze")
                .args([verb, &root])
                .args(arguments),
            "",
        )
    };
    let said = analyze("verify", &["postern.service"]);
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{said:?}");
    let said = analyze(
        "security",
        &["--offline=true", "--threshold=40", "postern.service"],
    );
    assert_eq!(said.status, 0, "{said:?}");
}

fn the_manager_is_told_what_the_agent_does() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let path = setup.path("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    // As systemd has it.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("anybody may tell it");
    manager.set_read_timeout(Some(SOON)).expect("a time");
    let heard = || {
        let mut message = [0; 64];
        let length = manager.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let agent = setup.start_by(&["env", &socket], &net.router);
    assert_eq!(heard(), "READY=1");
    agent.reload();
    assert_eq!([heard(), heard()], ["RELOADING=1", "READY=1"]);
    setup.rewrite_whole("config postern 'global'\n\toption guard 'fence'\n");
    agent.reload();
    assert_eq!([heard(), heard()], ["RELOADING=1", "READY=1"]);
    assert!(agent.stop().success());
    assert_eq!(heard(), "STOPPING=1");
}

/// A life of the agent: it starts, opens, reads its configuration again, answers and ends.
fn live(words: &[&str]) {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start_by(words, &net.router);
    assert!(!agent.log().contains("stays root"), "{}", agent.log());
    let ssh = net.router.port(Family::V4, 22);
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON * 2));
    agent.reload();
    setup.verb(&net.router, "status", &[]).ok();
    setup.verb(&net.router, "close", &["ssh"]).ok();
    assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
    assert!(agent.stop().success());
}

fn the_capabilities_of_unit_and_jail_are_enough() {
    let jail =
        fs::read_to_string(top().join("openwrt/files/postern.capabilities")).expect("a file");
    let bounding = jail
        .lines()
        .find(|line| line.contains("bounding"))
        .expect("a set");
    for set in [
        setting("CapabilityBoundingSet"),
        bounding.replace(['"', '[', ']', ','], " "),
    ] {
        let names = set
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("CAP_"));
        let names: Vec<String> = names
            .map(|name| format!("+{}", name.to_lowercase()))
            .collect();
        assert!(names.contains(&"+net_admin".to_string()), "{set}");
        let bounding = format!("--bounding-set=-all,{}", names.join(","));
        in_case_of(&bounding, || {
            live(&["setpriv", "--no-new-privs", "--inh-caps=-all", &bounding])
        });
    }
}

fn no_system_call_is_made_that_the_unit_forbids() {
    let scratch = Scratch::new();
    let trace = scratch.join("trace");
    let file = trace.display().to_string();
    live(&["strace", "-D", "-f", "-qq", "-o", &file]);
    let lines = fs::read_to_string(&trace).expect("a trace");
    let calls = lines.lines().filter_map(|line| {
        let call = line.split_once(' ')?.1.trim_start();
        Some(call.split_once('(')?.0.to_string()).filter(|call| !call.starts_with(['<', '+', '-']))
    });
    let made: BTreeSet<String> = calls.collect();
    assert!(
        made.contains("sendto") || made.contains("sendmsg"),
        "{made:?}"
    );
    let mut allowed = BTreeSet::new();
    for word in setting("SystemCallFilter").split_whitespace() {
        allow(word, &mut allowed);
    }
    let forbidden: Vec<_> = made.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
}

/// The calls that a word of the filter names, itself or those of its group and of the groups in it.
fn allow(word: &str, allowed: &mut BTreeSet<String>) {
    if !word.starts_with('@') {
        allowed.insert(word.to_string());
        return;
    }
    let said = run(
        Command::new("systemd-analyze").args(["syscall-filter", word]),
        "",
    )
    .ok();
    let lines = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && *line != word);
    for line in lines.filter(|line| !line.is_empty()) {
        allow(line, allowed);
    }
}
