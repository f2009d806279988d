//! The kernel and the programs of the machine.

use std::io::Write as _;
use std::process::{Command, Stdio};

use postern_tests::agent::{Guard, SSH_DOOR, Setup, program};
use postern_tests::process::{Process, run};
use postern_tests::scratch::Scratch;
use postern_tests::server::{Service, Sshd};
use postern_tests::suite::in_case_of;
use postern_tests::topology::{Topology, WAN};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{nft, probe};

use super::{FALLBACK_NONE, doctor, edit, expect, expect_no, findings, guarded, texts};

pub(super) fn sshd_that_takes_passwords() {
    for (passwords, found) in [(false, false), (true, true)] {
        let net = Topology::new();
        let server = Sshd::start_with(&net.router.namespace, 22, passwords);
        let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
        let findings = doctor(&setup, &net.router);
        match found {
            true => expect(
                &findings,
                "sshd-passwords",
                &server.config().to_string_lossy(),
            ),
            false => expect_no(&findings, "sshd-passwords"),
        }
        expect_no(&findings, "guard-port-silent");
    }
}

/// Dropbear with a host key of its own, and these options.
fn dropbear(net: &Topology, scratch: &Scratch, options: &[&str]) -> Process {
    let key = scratch.join(&format!("key{}", options.len()));
    let key = key.to_string_lossy();
    run(
        Command::new("dropbearkey").args(["-t", "ed25519", "-f", &key]),
        "",
    )
    .ok();
    let mut server = Command::new("dropbear");
    server.args(["-F", "-E", "-p", "22", "-P", "", "-r", &key]);
    server
        .args(options)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let process = net.router.namespace.spawn(&mut server);
    let here = ([127, 0, 0, 1], 22).into();
    poll_until(SOON, "dropbear listens", || {
        probe::tcp(&net.router.namespace, here) == probe::Answer::Open
    });
    process
}

pub(super) fn dropbear_that_takes_passwords() {
    let scratch = Scratch::new();
    for (options, found) in [(&[][..], true), (&["-s"], false), (&["-w", "-g"], false)] {
        in_case_of(options, || {
            let net = Topology::new();
            let server = dropbear(&net, &scratch, options);
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            let findings = doctor(&setup, &net.router);
            let process = format!("process {}", server.id());
            match found {
                true => expect(&findings, "dropbear-passwords", &process),
                false => expect_no(&findings, "dropbear-passwords"),
            }
        });
    }
}

pub(super) fn a_service_on_a_knock_port() {
    let net = Topology::new();
    let _on_tcp = Service::tcp(&net.router.namespace, 7000);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let findings = doctor(&setup, &net.router);
    // It is a thread of this test.
    let process = format!("(process {}) listens", std::process::id());
    expect(&findings, "knock-port-taken", "knocks on tcp:7000, where ");
    expect(&findings, "knock-port-taken", &process);
    expect(&findings, "guard-port-silent", "door ssh guards tcp:22");
    // Nor is an agent that hears by sockets of its own.
    setup.hear_by("\toption source 'sockets'\n");
    setup.rewrite(&SSH_DOOR.replace("tcp:7000", "tcp:7100"));
    let agent = setup.start(&net.router);
    expect_no(&doctor(&setup, &net.router), "knock-port-taken");
    agent.kill();
    setup.rewrite(SSH_DOOR);
    let _on_udp = Service::udp_echo(&net.router.namespace, 8001);
    let findings = doctor(&setup, &net.router);
    assert_eq!(texts(&findings, "knock-port-taken").len(), 2);
}

pub(super) fn a_service_on_a_decoy() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    expect_no(&doctor(&setup, &net.router), "decoy-port-taken");
    let rules = setup.verb(&net.router, "render", &[]).ok();
    let (before, _) = rules.split_once(" : goto decoy").expect("a decoy");
    let last = before.rsplit(|c: char| !c.is_ascii_digit()).next();
    let decoy = last.and_then(|port| port.parse().ok()).expect("a port");
    let _service = Service::tcp(&net.router.namespace, decoy);
    let findings = doctor(&setup, &net.router);
    let named = format!("listens on tcp:{decoy}, which is a decoy of door ssh");
    expect(&findings, "decoy-port-taken", &named);
}

pub(super) fn knock_ports_that_queries_are_sent_from() {
    let (net, setup) = guarded();
    expect_no(&doctor(&setup, &net.router), "knock-port-ephemeral");
    let set = |name: &str, value| {
        let name = format!("net/ipv4/{name}");
        net.router.namespace.set_sysctl(&name, value);
    };
    set("ip_local_port_range", "7000 9000");
    let findings = doctor(&setup, &net.router);
    expect(
        &findings,
        "knock-port-ephemeral",
        "1 UDP ports that this machine also sends queries from (7000 to 9000)",
    );
    set("ip_local_reserved_ports", "8000-8001");
    expect_no(&doctor(&setup, &net.router), "knock-port-ephemeral");
}

pub(super) fn interfaces_that_guard_nothing() {
    let (net, setup) = guarded();
    for id in ["interface-missing", "interface-whole", "interface-loopback"] {
        expect_no(&doctor(&setup, &net.router), id);
    }
    net.router.namespace.ip_batch(&format!(
        "link add br-wan type bridge\nlink set br-wan up\nlink set {WAN} master br-wan\n"
    ));
    expect(
        &doctor(&setup, &net.router),
        "interface-whole",
        "wan is a part of br-wan",
    );
    edit(&setup, "'wan'", "'wna'");
    expect(
        &doctor(&setup, &net.router),
        "interface-missing",
        "wna is not there",
    );
    // As it may be renamed.
    let rename = "link set lo down\nlink set lo name wna\nlink set wna up\n";
    net.router.namespace.ip_batch(rename);
    expect(
        &doctor(&setup, &net.router),
        "interface-loopback",
        "wna is the loopback",
    );
    for verb in ["run", "apply"] {
        let said = setup.verb(&net.router, verb, &[]);
        assert_eq!(said.status, 1, "{said:?}");
        assert!(said.stderr.contains("interface-loopback"), "{said:?}");
    }
    assert_eq!(nft::table(&net.router.namespace, "inet postern"), None);
}

pub(super) fn a_group_that_another_program_reads() {
    let net = Topology::new();
    let other = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let _agent = other.start(&net.router);
    // It has a control socket of its own, so the agent is another program to it.
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    expect(&doctor(&setup, &net.router), "nflog-group-taken", "group 5");
    edit(
        &setup,
        FALLBACK_NONE,
        "\toption fallback 'none'\n\toption nflog_group '6'\n",
    );
    expect_no(&doctor(&setup, &net.router), "nflog-group-taken");
    expect_no(&doctor(&other, &net.router), "nflog-group-taken");
}

/// Such a kernel has no sockets of this family: strace answers in its place.
pub(super) fn a_kernel_without_netfilter() {
    let (net, setup) = guarded();
    let (program, config) = (program(), setup.config());
    let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
    let strace = [
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=socket:error=EPROTONOSUPPORT",
    ];
    let verb = |verb: &[&str]| {
        let arguments = [&strace[..], &[&program], verb, &["--config", &config]].concat();
        net.router.namespace.run("strace", &arguments)
    };
    let said = verb(&["doctor", "--json"]);
    let findings = findings(&said.stdout);
    assert_eq!(said.status, 1, "{said:?}");
    for id in ["kernel-nf-tables-missing", "kernel-nflog-missing"] {
        expect(&findings, id, "rotocol not supported");
    }
    for name in ["run", "apply"] {
        let said = verb(&[name]);
        assert_eq!(said.status, 1, "{said:?}");
        let cure = "refused (kernel-nf-tables-missing): ";
        assert!(
            said.stderr.contains(cure) && said.stderr.contains("modprobe nf_tables"),
            "{said:?}"
        );
    }
}

/// As an agent may own the table that it guards with: others are refused, and must not take that
/// for what the kernel lacks.
pub(super) fn a_table_that_somebody_owns() {
    let (net, setup) = guarded();
    let mut nft = Command::new("nft");
    let (input, output) = (Stdio::piped(), Stdio::null());
    let mut owner = net
        .router
        .namespace
        .spawn(nft.arg("-i").stdin(input).stdout(output));
    let input = owner.child().stdin.as_mut().expect("its standard input");
    let table = "add table inet postern { flags owner; }\n";
    input.write_all(table.as_bytes()).expect("a table");
    let owned = |listing: String| listing.contains("flags owner");
    poll_until(SOON, "a table with an owner", || {
        nft::table(&net.router.namespace, "inet postern").is_some_and(owned)
    });
    let findings = doctor(&setup, &net.router);
    let of_kernel = findings
        .iter()
        .filter(|finding| finding.contains("kernel-"));
    assert_eq!(of_kernel.count(), 0, "{findings:#?}");
}
