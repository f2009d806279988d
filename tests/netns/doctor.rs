//! What could lock an owner out is found, and refused where it is certain to.
//!
//! The servers, the listeners, the interfaces and the kernel are real. Whether the machine that
//! runs the tests has a console must not matter: where it would, a test runs in a mount and a PID
//! namespace too, in which no getty runs and nothing of the machine's init is to be seen.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use postern_tests::agent::{Agent, FIREWALL, Guard, SSH_DOOR, Setup, program};
use postern_tests::process::{Process, Said, run};
use postern_tests::scratch::Scratch;
use postern_tests::server::{Service, Sshd};
use postern_tests::suite::{Suite, in_case_of, on_both_families};
use postern_tests::topology::{Family, Host, Topology, WAN};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, probe, suite};

pub(crate) fn suite() -> Suite {
    suite![
        a_healthy_router needs "jq" "sshd" "ssh-keygen",
        nothing_is_changed needs "jq" "knock",
        sshd_that_takes_passwords needs "jq" "sshd" "ssh-keygen",
        dropbear_that_takes_passwords needs "jq" "dropbear" "dropbearkey",
        a_service_on_a_knock_port needs "jq",
        knock_ports_that_queries_are_sent_from needs "jq",
        interfaces_that_guard_nothing needs "jq",
        files_that_others_can_read needs "jq",
        a_guard_with_no_other_way_in_is_refused needs "unshare",
        a_reload_that_would_lock_out_is_refused needs "unshare" "nc.openbsd",
        a_console_is_a_way_in needs "unshare",
        an_interface_that_is_not_guarded_is_a_way_in needs "unshare",
        sshd_elsewhere_is_known_by_its_name needs "sshd" "ssh-keygen",
        other_rules_of_the_firewall needs "jq",
        ports_that_other_tables_take_away needs "jq",
        a_published_port_of_a_container needs "jq" "iptables-nft",
        tables_that_change_while_the_agent_runs needs "jq",
        what_looks_like_taking_away_and_is_none needs "jq" "knock",
        knocks_that_are_not_heard needs "jq" "knock",
        only_one_firewall_of_two_asks_for_the_mark needs "jq" "knock" "iptables-nft" "ip6tables-nft",
        a_zone_of_the_firewall_that_is_missing needs "jq",
        firewalls_of_distributions needs "jq" "knock" "iptables-nft-restore",
        more_rules_than_are_looked_at needs "jq",
        rules_of_the_older_iptables needs "jq" "iptables-legacy",
        a_group_that_another_program_reads needs "jq",
        a_kernel_without_netfilter needs "jq" "strace",
        a_wrong_configuration needs "jq",
        a_configuration_that_is_not_in_force needs "jq",
        warnings_fail_only_if_they_are_to needs "jq" "unshare",
        whoever_may_not_ask_the_kernel_is_told needs "jq" "setpriv",
        a_configuration_that_root_alone_reads needs "jq" "setpriv",
        a_guard_that_nobody_hears_knocks_at needs "jq",
        a_table_that_somebody_owns needs "jq",
    ]
}

/// What `postern doctor --json` found: `SEVERITY ID TEXT` of each. Whatever it names stands on
/// its help page, and what it prints for people says the same.
#[track_caller]
fn doctor(setup: &Setup, router: &Host) -> Vec<String> {
    let json = setup.verb(router, "doctor", &["--json"]);
    let findings = findings(&json.stdout);
    let text = setup.verb(router, "doctor", &[]);
    let help = run(Command::new(program()).args(["doctor", "--help"]), "").ok();
    for finding in &findings {
        let [severity, id, what] = words(finding);
        assert!(help.contains(&format!("  {id} (")), "no {id} in {help}");
        let line = format!("{severity}: {id}: {what}\n");
        assert!(text.stdout.contains(&line), "no {line} in {text:?}");
    }
    let fatal = findings.iter().any(|finding| finding.starts_with("fatal "));
    assert_eq!(
        [json.status, text.status],
        [i32::from(fatal); 2],
        "{json:?}"
    );
    findings
}

#[track_caller]
fn findings(json: &str) -> Vec<String> {
    let each = r#".findings[] | "\(.severity) \(.id) \(.text)""#;
    let said = run(Command::new("jq").args(["-r", each]), json).ok();
    said.lines().map(str::to_owned).collect()
}

fn words(finding: &str) -> [&str; 3] {
    let mut words = finding.splitn(3, ' ');
    [(); 3].map(|()| words.next().unwrap_or_default())
}

/// What was found under this name.
fn texts<'f>(findings: &'f [String], id: &str) -> Vec<&'f str> {
    let words = findings.iter().map(|finding| words(finding));
    let of_it = words.filter(|[_, each, _]| *each == id);
    of_it.map(|[_, _, text]| text).collect()
}

#[track_caller]
fn expect(findings: &[String], id: &str, part: &str) {
    let texts = texts(findings, id);
    let [text] = texts.as_slice() else {
        panic!("{id}: {} in {findings:#?}", texts.len());
    };
    assert!(text.contains(part), "no {part} in {text}");
}

#[track_caller]
fn expect_no(findings: &[String], id: &str) {
    assert!(texts(findings, id).is_empty(), "{id} in {findings:#?}");
}

/// Changes what the configuration says.
fn edit(setup: &Setup, from: &str, to: &str) {
    let text = fs::read_to_string(setup.config()).expect("a configuration");
    assert!(text.contains(from), "no {from} in {text}");
    setup.rewrite_whole(&text.replace(from, to));
}

const FALLBACK_NONE: &str = "\toption fallback 'none'\n";

fn make_private(setup: &Setup) {
    let private = Permissions::from_mode(0o600);
    fs::set_permissions(setup.config(), private).expect("make a file private");
}

fn a_healthy_router() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let net = Topology::new();
            let _sshd = Sshd::start(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, guard, SSH_DOOR);
            make_private(&setup);
            // Whether the machine's own console is of use is not the router's affair.
            let is_bad = |finding: &&String| {
                let [severity, id, _] = words(finding);
                severity != "note" && id != "console-locked"
            };
            let bad = |findings: &[String]| -> Vec<String> {
                findings.iter().filter(is_bad).cloned().collect()
            };
            let before = doctor(&setup, &net.router);
            assert_eq!(bad(&before), [""; 0]);
            // An agent holds the group of its own source, and its socket.
            let _agent = setup.start(&net.router);
            assert_eq!(doctor(&setup, &net.router), before);
        });
    }
}

fn nothing_is_changed() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let rules = || nft::ruleset(&net.router.namespace);
    let before = rules();
    doctor(&setup, &net.router);
    assert_eq!(rules(), before);
    let _agent = setup.start(&net.router);
    let before = rules();
    let ssh = net.router.port(Family::V4, 22);
    client::knock(&net.client, ssh.ip(), &["7000", "8001:udp"]);
    doctor(&setup, &net.router);
    assert_eq!(rules(), before);
    // Nor does it come between the agent and its knocks.
    client::knock(&net.client, ssh.ip(), &["9002"]);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
}

fn sshd_that_takes_passwords() {
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

fn dropbear_that_takes_passwords() {
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

fn a_service_on_a_knock_port() {
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

fn knock_ports_that_queries_are_sent_from() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
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

fn interfaces_that_guard_nothing() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
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

const CLOCK_DOOR: &str = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'one-time-clock'
	option secret_file '@/secret'
	option cutoff '5 per 10m'
";

fn files_that_others_can_read() {
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
    set_mode(&secret, 0o640);
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
    let _agent = setup.start(&net.router);
    expect_no(&doctor(&setup, &net.router), "control-exposed");
    set_mode(&setup.path("control"), 0o666);
    expect(&doctor(&setup, &net.router), "control-exposed", "control");
}

/// Runs a script on the router, where nothing of this machine's own init is to be seen: PID 1 is
/// a shell of this name, and `/etc` is this folder.
fn in_bare_machine(router: &Host, init: &str, etc: &Scratch, script: &str) -> Said {
    let shell = etc.join(init);
    fs::copy("/bin/sh", &shell).expect("copy a shell");
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

/// The same for a verb with the setup's configuration.
fn verb_in_bare_machine(router: &Host, setup: &Setup, verb: &str) -> Said {
    let (program, config) = (program(), setup.config());
    let command = format!(
        "'{}' {verb} --config '{}'",
        program.display(),
        config.display()
    );
    in_bare_machine(router, "sh", &Scratch::new(), &command)
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

fn a_guard_with_no_other_way_in_is_refused() {
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
fn a_reload_that_would_lock_out_is_refused() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
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

fn a_console_is_a_way_in() {
    let net = Topology::new();
    let setup = careless(&net, Guard::Gate);
    let (program, config) = (program(), setup.config());
    let apply = format!(
        "'{}' doctor --config '{}'",
        program.display(),
        config.display()
    );
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
            let said = in_bare_machine(&net.router, init, &etc, &apply);
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

fn an_interface_that_is_not_guarded_is_a_way_in() {
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
fn sshd_elsewhere_is_known_by_its_name() {
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

fn other_rules_of_the_firewall() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let ids = [
        "firewall-drops",
        "mark-unread",
        "mark-unguarded",
        "conntrack-bypassed",
    ];
    let udp = SSH_DOOR.replace("tcp:22", "udp:51820");
    let expect_only = |setup: &Setup, expected: &[&str]| {
        let findings = doctor(setup, &net.router);
        for id in ids {
            let times = texts(&findings, id).len();
            assert_eq!(
                times,
                usize::from(expected.contains(&id)),
                "{id}: {findings:#?}"
            );
        }
    };
    let gate = Setup::new(&net.router, Guard::Gate, &udp);
    expect_only(&gate, &[]);
    nft::apply(
        router,
        "table ip raw { chain pre { type filter hook prerouting priority raw; notrack; }; }\n",
    );
    expect_only(&gate, &["conntrack-bypassed"]);
    edit(&gate, "'gate'", "'mark'");
    expect_only(&gate, &["mark-unguarded"]);
    nft::apply(router, &FIREWALL.replace("0x10000000", "0x20000000"));
    expect_only(&gate, &["mark-unread"]);
    nft::apply(router, "delete table inet fw");
    nft::apply(router, FIREWALL);
    expect_only(&gate, &[]);
    edit(&gate, "'mark'", "'gate'");
    expect_only(&gate, &["firewall-drops", "conntrack-bypassed"]);
    // Where it lets everybody in, it does not keep whom Postern lets in from it.
    nft::apply(router, "insert rule inet fw input udp dport 51820 accept");
    expect_only(&gate, &["conntrack-bypassed"]);
}

/// As a redirection to another service of this machine, in every way that nft has of saying so.
fn ports_that_other_tables_take_away() {
    for rule in [
        "tcp dport 22 redirect to :2022",
        "tcp dport 20-30 redirect to :2022",
        "tcp dport { 22, 80 } redirect to :2022",
        "meta l4proto tcp redirect to :tcp dport map @targets",
        "tcp dport vmap @ways",
        "iifname \"wan\" meta l4proto tcp redirect to :2022",
        "fib daddr type local jump engine",
    ] {
        in_case_of(rule, || {
            let net = Topology::new();
            let _real = Service::tcp(&net.router.namespace, 22);
            let _other = Service::tcp(&net.router.namespace, 2022);
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            expect_no(&doctor(&setup, &net.router), "guard-bypassed");
            nft::apply(
                &net.router.namespace,
                &format!(
                    "table inet tarpit {{
                        map targets {{ type inet_service : inet_service; elements = {{ 22 : 2022 }}; }}
                        map ways {{ type inet_service : verdict; elements = {{ 22 : goto engine }}; }}
                        chain engine {{ meta l4proto tcp redirect to :2022; }}
                        chain pre {{ type nat hook prerouting priority dstnat; {rule}; }}
                     }}\n"
                ),
            );
            let findings = doctor(&setup, &net.router);
            let text = "door ssh does not guard tcp:22: chain ";
            expect(&findings, "guard-bypassed", text);
            expect(
                &findings,
                "guard-bypassed",
                " of table inet tarpit sends it elsewhere",
            );
            let agent = setup.start(&net.router);
            let warning = "postern: warning (guard-bypassed): door ssh does not guard tcp:22: ";
            assert!(agent.log().contains(warning), "{}", agent.log());
            // It is true: a stranger who knows nothing comes in.
            on_both_families(|family| {
                let ssh = net.router.port(family, 22);
                assert!(probe::tcp_opens(&net.stranger.namespace, ssh, SOON));
            });
            let said = setup.verb(&net.router, "apply", &[]);
            assert_eq!(said.status, 0, "{said:?}");
            assert!(said.stderr.contains(warning), "{said:?}");
        });
    }
}

/// With the rules that container engines have iptables make, and a container that is none: only
/// its addresses matter.
fn a_published_port_of_a_container() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let setup = Setup::new(
        &net.router,
        Guard::Gate,
        &SSH_DOOR.replace("tcp:22", "tcp:8080"),
    );
    let neighbour = net.add_neighbour();
    let _web = Service::tcp(&neighbour.namespace, 80);
    neighbour
        .namespace
        .ip_batch("route replace default via 198.18.0.1\n");
    router.set_sysctl("net/ipv4/ip_forward", "1");
    for rule in [
        "-t nat -N DOCKER",
        "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "-t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
        "-t nat -A DOCKER -i lan -j RETURN",
        "-t nat -A DOCKER ! -i lan -p tcp -m tcp --dport 8080 -j DNAT --to-destination 198.18.0.2:80",
        "-P FORWARD DROP",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -i lan -j ACCEPT",
        "-A FORWARD -o lan -p tcp --dport 80 -j ACCEPT",
    ] {
        let words: Vec<&str> = rule.split(' ').collect();
        router.run("iptables-nft", &words).ok();
    }
    let findings = doctor(&setup, &net.router);
    let text = "door ssh does not guard tcp:8080 over IPv4: chain DOCKER of table ip nat sends it elsewhere";
    expect(&findings, "guard-bypassed", text);
    expect_no(&findings, "knock-port-redirected");
    let agent = setup.start(&net.router);
    assert!(agent.log().contains(text), "{}", agent.log());
    let web = net.router.port(Family::V4, 8080);
    assert!(probe::tcp_opens(&net.stranger.namespace, web, SOON));
}

fn tables_that_change_while_the_agent_runs() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let mut agent = setup.start(&net.router);
    assert!(!agent.log().contains("warning ("), "{}", agent.log());
    let redirect = "table ip tarpit { chain pre { type nat hook prerouting priority dstnat; tcp dport 22 redirect to :9; }; }\n";
    nft::apply(&net.router.namespace, redirect);
    agent.wait_for_line(
        "postern: warning (guard-bypassed): door ssh does not guard tcp:22 over IPv4",
    );
    nft::apply(&net.router.namespace, "delete table ip tarpit");
    agent.wait_for_line("postern: no longer so: warning (guard-bypassed)");
    nft::apply(&net.router.namespace, redirect);
    let count = |agent: &Agent<'_>| agent.log().matches("warning (guard-bypassed)").count();
    poll_until(SOON, "it is said again", || count(&agent) == 3);
    // A reload does not repeat what was said.
    agent.reload_now();
    assert_eq!(count(&agent), 3, "{}", agent.log());
    // A door that a reload brings is looked at too.
    setup.rewrite(&SSH_DOOR.replace("tcp:22", "tcp:23"));
    agent.reload_now();
    agent.wait_for_line("postern: no longer so: ");
    assert_eq!(count(&agent), 4, "{}", agent.log());
}

fn what_looks_like_taking_away_and_is_none() {
    for rules in [
        // To itself, as some write what they want to be sure of.
        "chain pre { type nat hook prerouting priority dstnat; tcp dport 22 redirect to :22; }",
        // Another port, to the guarded one.
        "chain pre { type nat hook prerouting priority dstnat; tcp dport 2022 redirect to :22; }",
        // From elsewhere.
        "chain pre { type nat hook prerouting priority dstnat; iifname \"lan\" tcp dport 22 redirect to :9; }",
        "chain pre { type nat hook prerouting priority dstnat; tcp dport 22 accept; meta l4proto tcp redirect to :9; }",
        // What this machine sends.
        "chain out { type nat hook output priority -100; tcp dport 22 redirect to :9; }",
        // A transparent proxy: the guard sees such packets with the port that they were sent to.
        "chain pre { type filter hook prerouting priority mangle; tcp dport 22 tproxy to :2022 meta mark set 1; }",
    ] {
        in_case_of(rules, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let _other = Service::tcp(&net.router.namespace, 2022);
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            let script = format!("table inet other {{\n{rules}\n}}\n");
            let said = net
                .router
                .namespace
                .run_with_input("nft", &["-f", "-"], &script);
            if said.status != 0 && rules.contains("tproxy") {
                return; // This kernel has none.
            }
            said.ok();
            if !rules.contains("meta l4proto tcp redirect") {
                expect_no(&doctor(&setup, &net.router), "knock-port-redirected");
            }
            expect_no(&doctor(&setup, &net.router), "guard-bypassed");
            let agent = setup.start(&net.router);
            assert!(!agent.log().contains("guard-bypassed"), "{}", agent.log());
            for number in [22, 2022] {
                let port = net.router.port(Family::V4, number);
                let answer = probe::tcp(&net.stranger.namespace, port);
                let is_open = number == 2022
                    && !rules.contains("2022 redirect")
                    && !rules.contains("l4proto tcp");
                assert_eq!(answer == probe::Answer::Open, is_open, "{number}");
            }
        });
    }
}

/// A tarpit for all ports that nobody uses, and a list of knocks that it takes.
fn knocks_that_are_not_heard() {
    for (rule, heard) in [
        ("tcp dport != 22 redirect to :9", false),
        ("tcp dport 7000 dnat ip to 198.18.0.2", false),
        ("udp dport { 8000-8999 } drop", false),
        ("ip saddr 192.0.2.3 tcp dport 7000 drop", true),
        ("tcp dport 7001 redirect to :9", true),
    ] {
        in_case_of(rule, || {
            let net = Topology::new();
            let _ssh = Service::tcp(&net.router.namespace, 22);
            let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
            let kind = match rule.ends_with("drop") {
                true => "filter hook prerouting priority raw",
                false => "nat hook prerouting priority dstnat",
            };
            let script = format!("table inet other {{ chain pre {{ type {kind}; {rule}; }}; }}\n");
            nft::apply(&net.router.namespace, &script);
            let findings = doctor(&setup, &net.router);
            let told = texts(&findings, "knock-port-redirected");
            assert_eq!(told.is_empty(), heard, "{findings:#?}");
            expect_no(&findings, "guard-bypassed");
            let agent = setup.start(&net.router);
            assert_eq!(agent.log().contains("knock-port-redirected"), !heard);
            let ssh = net.router.port(Family::V4, 22);
            client::knock(&net.client, ssh.ip(), &["7000", "8001:udp", "9002"]);
            let within = if heard { SOON } else { SOON / 10 };
            assert_eq!(probe::tcp_opens(&net.client.namespace, ssh, within), heard);
            // A packet socket hears what no rule has seen.
            setup.hear_by("\toption source 'packet'\n");
            setup.rewrite(SSH_DOOR);
            expect_no(&doctor(&setup, &net.router), "knock-port-redirected");
        });
    }
}

/// iptables accepts the mark, and ip6tables drops, as where a rule was added to one of them.
fn only_one_firewall_of_two_asks_for_the_mark() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _ssh = Service::tcp(router, 22);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    edit(&setup, "'gate'", "'mark'");
    let add = |program: &str, rules: &[&str]| {
        for rule in rules {
            let words: Vec<&str> = rule.split(' ').collect();
            router.run(program, &words).ok();
        }
    };
    let icmp = "-A INPUT -p ipv6-icmp -j ACCEPT";
    let drop = "-P INPUT DROP";
    let accept = "-A INPUT -m mark --mark 0x10000000/0x10000000 -j ACCEPT";
    let established = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    add("iptables-nft", &[established, accept, drop]);
    let findings = doctor(&setup, &net.router);
    expect(&findings, "mark-unguarded", "tcp:22 over IPv6");
    expect_no(&findings, "mark-unread");
    add("ip6tables-nft", &[established, icmp, drop]);
    let findings = doctor(&setup, &net.router);
    expect_no(&findings, "mark-unguarded");
    let text = "chain INPUT of table ip6 filter drops what comes to tcp:22 with mark 0x10000000 over IPv6, so that door ssh";
    expect(&findings, "mark-unread", text);
    let agent = setup.start(&net.router);
    assert!(agent.log().contains(text), "{}", agent.log());
    let opens = |family, within| {
        let ssh = net.router.port(family, 22);
        client::knock(&net.client, ssh.ip(), &["7000", "8001:udp", "9002"]);
        probe::tcp_opens(&net.client.namespace, ssh, within)
    };
    assert!(opens(Family::V4, SOON));
    assert!(!opens(Family::V6, SOON / 10));
    add("ip6tables-nft", &[accept]);
    expect_no(&doctor(&setup, &net.router), "mark-unread");
    assert!(opens(Family::V6, SOON));
    // Accepted for another port, it does not help this one.
    add(
        "iptables-nft",
        &[
            "-F INPUT",
            "-A INPUT -p tcp --dport 23 -m mark --mark 0x10000000/0x10000000 -j ACCEPT",
        ],
    );
    expect(
        &doctor(&setup, &net.router),
        "mark-unread",
        "tcp:22 with mark 0x10000000 over IPv4",
    );
}

/// firewall4 leaves out a rule whose source is a zone that it does not have.
fn a_zone_of_the_firewall_that_is_missing() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    edit(&setup, "'gate'", "'mark'");
    nft::apply(&net.router.namespace, FW4);
    expect_no(&doctor(&setup, &net.router), "mark-unread");
    expect_no(&doctor(&setup, &net.router), "mark-unguarded");
    nft::apply(&net.router.namespace, "flush ruleset");
    nft::apply(&net.router.namespace, &without(FW4, "0x10000000"));
    let findings = doctor(&setup, &net.router);
    expect(
        &findings,
        "mark-unread",
        " of table inet fw4 drops what comes to tcp:22 with mark 0x10000000, so that",
    );
    expect_no(&findings, "mark-unguarded");
}

/// The lines that do not say this.
fn without(text: &str, word: &str) -> String {
    assert!(text.contains(word), "no {word} in {text}");
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.contains(word)).collect()
}

/// The rules of ufw and of firewalld, as they make them.
const UFW: &str = include_str!("ufw.rules");
const FIREWALLD: &str = include_str!("firewalld.nft");
/// What `fw4 print` prints.
const FW4: &str = include_str!("fw4.nft");

fn firewalls_of_distributions() {
    // That a port is accepted, in each of them.
    let ufw_rule = "-A ufw-user-input -p tcp --dport 22 -j ACCEPT";
    let firewalld_rule = "tcp dport 22 accept";
    for (name, rules, rule) in [
        ("ufw", UFW, ufw_rule),
        ("firewalld", FIREWALLD, firewalld_rule),
    ] {
        for allowed in [true, false] {
            in_case_of((name, allowed), || {
                let net = Topology::new();
                let router = &net.router.namespace;
                let _ssh = Service::tcp(router, 22);
                let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
                assert!(rules.contains(rule), "no {rule} in the rules of {name}");
                let rules = match allowed {
                    true => rules.to_owned(),
                    false => rules.replace(rule, ""),
                };
                match name {
                    "ufw" => {
                        for (program, prefix) in [
                            ("iptables-nft-restore", "ufw"),
                            ("ip6tables-nft-restore", "ufw6"),
                        ] {
                            let rules = rules.replace("ufw-", &format!("{prefix}-"));
                            // IPv6 has none.
                            let rules = match prefix {
                                "ufw6" => without(&rules, "BROADCAST"),
                                _ => rules,
                            };
                            router.run_with_input(program, &[], &rules).ok();
                        }
                    }
                    _ => nft::apply(router, &rules),
                }
                let findings = doctor(&setup, &net.router);
                let told = texts(&findings, "firewall-drops");
                assert_eq!(told.len(), usize::from(!allowed), "{findings:#?}");
                let warning = findings
                    .iter()
                    .any(|finding| finding.starts_with("warning firewall-drops "));
                assert_eq!(warning, !allowed, "{findings:#?}");
                let agent = setup.start(&net.router);
                assert_eq!(agent.log().contains("warning (firewall-drops)"), !allowed);
                let ssh = net.router.port(Family::V4, 22);
                client::knock(&net.client, ssh.ip(), &["7000", "8001:udp", "9002"]);
                if allowed || name == "ufw" {
                    let within = if allowed { SOON } else { SOON / 10 };
                    let opens = probe::tcp_opens(&net.client.namespace, ssh, within);
                    assert_eq!(opens, allowed);
                }
            });
        }
    }
}

fn more_rules_than_are_looked_at() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let rules = "tcp dport 1 accept;\n".repeat(9_000);
    let script =
        format!("table ip a {{ chain c {{ type filter hook input priority 0; {rules} }}; }}\n");
    nft::apply(&net.router.namespace, &script);
    expect(
        &doctor(&setup, &net.router),
        "firewall-unread",
        "too many rules",
    );
    // It guards all the same.
    let _agent = setup.start(&net.router);
}

/// They cannot be seen, and that is said; where there are none, nothing is.
fn rules_of_the_older_iptables() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    expect_no(&doctor(&setup, &net.router), "firewall-older");
    let rule = "-t nat -A PREROUTING -p tcp --dport 22 -j REDIRECT --to-ports 9";
    let words: Vec<&str> = rule.split(' ').collect();
    let said = net.router.namespace.run("iptables-legacy", &words);
    if said.status != 0 {
        return; // This kernel has none.
    }
    let findings = doctor(&setup, &net.router);
    expect(&findings, "firewall-older", "(nat) cannot be looked at");
    let agent = setup.start(&net.router);
    let warning = "postern: warning (firewall-older): ";
    assert!(agent.log().contains(warning), "{}", agent.log());
}

fn a_group_that_another_program_reads() {
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
fn a_kernel_without_netfilter() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
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

fn a_wrong_configuration() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    setup.rewrite_whole("config postern 'global'\n\toption guard 'fence'\n");
    expect(&doctor(&setup, &net.router), "config-unusable", "config");
    let said = setup.verb(&net.router, "doctor", &[]);
    assert!(said.stderr.contains("config:2:"), "{said:?}");
    // The kernel was asked all the same.
    expect_no(&doctor(&setup, &net.router), "kernel-unasked");
}

/// The agent goes on with what it had; that is not what the file says.
fn a_configuration_that_is_not_in_force() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
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

fn warnings_fail_only_if_they_are_to() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
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

fn whoever_may_not_ask_the_kernel_is_told() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let open = Scratch::new();
    let mode = Permissions::from_mode(0o755);
    fs::set_permissions(open.path(), mode).expect("open a folder");
    let [postern, config] = ["postern", "config"].map(|name| open.join(name));
    fs::copy(program(), &postern).expect("copy the program");
    fs::copy(setup.config(), &config).expect("copy a configuration");
    let [postern, config] = [postern, config].map(|path| path.display().to_string());
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let doctor = [&postern, "doctor", "--json", "--config", &config];
    let said = net
        .router
        .namespace
        .run("setpriv", &[&nobody[..], &doctor].concat());
    let findings = findings(&said.stdout);
    expect(&findings, "kernel-unasked", "run as root");
    assert_eq!(said.status, 0, "{findings:#?}");
}

/// The file holds the knocks, and is its owner's alone; that is no mistake in it.
fn a_configuration_that_root_alone_reads() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    make_private(&setup);
    let open = Scratch::new();
    fs::set_permissions(open.path(), Permissions::from_mode(0o755)).expect("open a folder");
    let [postern, config] = ["postern", "config"].map(|name| open.join(name));
    fs::copy(program(), &postern).expect("copy the program");
    fs::copy(setup.config(), &config).expect("copy a configuration");
    let [postern, config] = [postern, config].map(|path| path.display().to_string());
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let doctor = [&postern, "doctor", "--json", "--config", &config];
    let said = (net.router.namespace).run("setpriv", &[&nobody[..], &doctor].concat());
    let findings = findings(&said.stdout);
    expect(&findings, "config-forbidden", &config);
    expect_no(&findings, "config-unusable");
    assert_eq!(said.status, 1, "{findings:#?}");
}

fn a_guard_that_nobody_hears_knocks_at() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
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

/// As an agent may own the table that it guards with: others are refused, and must not take that
/// for what the kernel lacks.
fn a_table_that_somebody_owns() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
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
