//! A kernel that refuses: system calls that are interrupted, for which there is no memory, or that a disk fails; few
//! descriptors; and a second agent.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup};
use postern_tests::knocker::{FENCE, Knock, Knocker};
use postern_tests::sender::Sender;
use postern_tests::strace::{Strace, named_calls};
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::Topology;
use postern_tests::wait::{SOON, poll_until, until_aged};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        an_agent_lives_through_every_call_that_fails needs "oathtool" "strace",
        an_agent_starts_or_says_why_not_whatever_call_fails needs "oathtool" "strace",
        an_agent_ends_when_told_to_whatever_call_fails needs "strace",
        a_file_that_cannot_be_read_at_a_reload_shuts_no_door needs "oathtool" "strace",
        few_descriptors_keep_nobody_out_and_the_processor_cool needs "prlimit" "strace",
        a_second_agent_takes_nothing_from_the_first,
    ]
}

/// What fails, in all of these ways.
const ERRORS: [&str; 3] = ["EINTR", "EIO", "ENOMEM"];

/// A program without memory of its own ends with the standard library's word; before `main` nothing of ours runs, and
/// what strace itself brings about is no fault.
const NOT_OURS: [&str; 14] = [
    "arch_prctl",
    "brk",
    "execve",
    "exit",
    "exit_group",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
];

const DOORS: &str = "
config door 'seed'
	list guard 'tcp:2201'
	option method 'one-time-seed'
	option secret_file '@/seed.secret'
	option base '10000'
config door 'list'
	list guard 'tcp:2203'
	option method 'one-time-list'
	option list_file '@/list.list'
";

struct Stage {
    net: Topology,
    setup: Setup,
    sender: Sender,
}

impl Stage {
    fn new() -> Self {
        let net = Topology::new();
        let cuts = "\toption on_expiry 'cut'\n";
        let setup = Setup::new(
            &net.router,
            Guard::Gate,
            &format!("{FENCE}{SSH_DOOR}{cuts}{DOORS}"),
        );
        let sender = Sender::new(&net.client.namespace);
        let stage = Self { net, setup, sender };
        stage.verb("keygen", &["seed"]);
        stage
            .setup
            .write_private("list.list", "tcp:30001 tcp:30002 tcp:30003\n");
        stage.verb("resync", &["list"]);
        stage
    }

    fn verb(&self, verb: &str, arguments: &[&str]) -> String {
        self.setup.verb(&self.net.router, verb, arguments).ok()
    }

    /// Knocks at the static door as somebody who was never there before; returns his address.
    fn knock(&self) -> IpAddr {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let from = Ipv4Addr::new(10, 2, high, low).into();
        let knocks = [Knock::Tcp(7000), Knock::Udp(8001), Knock::Tcp(9002)];
        Knocker::new(&self.sender, from, self.net.router.v4.into()).send(&knocks);
        from
    }

    #[track_caller]
    fn expect_to_open(&self) {
        let from = self.knock();
        poll_until(SOON, "a grant", || {
            nft::addresses(&self.net.router.namespace, "inet postern").contains(&from)
        });
    }

    /// Has the agent do what it does.
    fn keep_busy(&self, agent: &Agent<'_>) {
        agent.reload();
        for (verb, arguments) in [
            ("open", ["ssh", "--from", "192.0.2.77"].as_slice()),
            ("close", &["ssh"]),
            ("status", &[]),
        ] {
            // It may answer nothing.
            self.setup.verb(&self.net.router, verb, arguments);
        }
        self.knock();
    }

    /// Makes sure that nothing is wrong with it any more.
    #[track_caller]
    fn expect_well(&self, agent: &mut Agent<'_>) {
        assert!(!agent.has_ended(), "{}", agent.log());
        agent.reload_now();
        let status = self.verb("status", &[]);
        assert!(
            status.contains("agent: ") && !status.contains("shut: "),
            "{status}"
        );
        self.expect_to_open();
        assert!(!agent.log().contains("panicked"), "{}", agent.log());
    }
}

fn ours(calls: BTreeMap<String, usize>) -> impl Iterator<Item = (String, usize)> {
    let is_ours = |(call, _): &(String, usize)| !NOT_OURS.contains(&call.as_str());
    calls.into_iter().filter(is_ours)
}

fn an_agent_lives_through_every_call_that_fails() {
    let stage = Stage::new();
    let mut agent = stage.setup.start(&stage.net.router);
    let strace = Strace::counting(agent.id());
    stage.keep_busy(&agent);
    stage.expect_well(&mut agent);
    let calls = strace.detach();
    assert!(
        calls.contains_key("close") && calls.contains_key("recvfrom"),
        "{calls:?}"
    );
    for (call, _) in ours(calls) {
        for error in ERRORS {
            in_case_of((&call, error), || {
                // Every other one.
                let strace = Strace::failing(agent.id(), &call, error, "1+2");
                stage.keep_busy(&agent);
                strace.detach();
                stage.expect_well(&mut agent);
            });
        }
    }
    agent.stop();
}

fn an_agent_starts_or_says_why_not_whatever_call_fails() {
    let stage = Stage::new();
    let log = stage.setup.path("calls");
    let log = log.to_string_lossy();
    let agent = (stage.setup).start_by(&["strace", "-D", "-f", "-o", &log], &stage.net.router);
    agent.stop();
    let text = fs::read_to_string(&*log).expect("a log");
    // The first thing that the program itself asks for is what it may do.
    let begin = text.find(" capget(").expect("it asks for its capabilities");
    let (before, whole) = (named_calls(&text[..begin]), named_calls(&text));
    let mut started = 0;
    for (call, count) in ours(whole) {
        let before = before.get(&call).copied().unwrap_or_default();
        if count == before {
            continue;
        }
        for (error, nth) in ERRORS
            .into_iter()
            .zip([0, (count - before) / 2, count - before - 1])
        {
            let nth = before + 1 + nth;
            in_case_of((&call, error, nth), || {
                let inject = format!("inject={call}:error={error}:when={nth}");
                let words = ["strace", "-D", "-f", "-o", "/dev/null", "-e", &inject];
                let mut agent = stage.setup.begin(&words, &stage.net.router);
                poll_until(SOON * 4, "it starts or ends", || {
                    agent.has_ended()
                        || stage.setup.verb(&stage.net.router, "status", &[]).status == 0
                });
                let (has_ended, said) = (agent.has_ended(), agent.log());
                assert!(!said.contains("panicked"), "{said}");
                assert!(
                    !has_ended || said.contains("postern: "),
                    "it said nothing: {said}"
                );
                match has_ended {
                    true => assert_eq!(agent.stop().code(), Some(1), "{said}"),
                    false => agent.kill(),
                }
                started += usize::from(!has_ended);
            });
        }
    }
    assert!(started > 10, "it hardly ever started");
}

fn an_agent_ends_when_told_to_whatever_call_fails() {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = setup.start(&net.router);
    let strace = Strace::counting(agent.id());
    agent.stop();
    for (call, _) in ours(strace.detach()) {
        for error in ERRORS {
            in_case_of((&call, error), || {
                let agent = setup.start(&net.router);
                let strace = Strace::failing(agent.id(), &call, error, "1");
                assert_eq!(agent.stop().code(), Some(0));
                strace.detach();
                let said = setup.log_so_far();
                assert!(!said.contains("panicked"), "{said}");
            });
        }
    }
}

fn a_file_that_cannot_be_read_at_a_reload_shuts_no_door() {
    let stage = Stage::new();
    let mut agent = stage.setup.start(&stage.net.router);
    for name in ["seed.secret", "list.list", "state/seed", "state/list"] {
        for error in ["EIO", "ENOMEM"] {
            in_case_of((name, error), || {
                let path = stage.setup.path(name);
                let strace = Strace::failing_at(agent.id(), &path, "openat,read,statx", error);
                agent.reload_now();
                strace.detach();
                let status = stage.verb("status", &[]);
                assert!(!status.contains("shut: "), "{status}");
                stage.expect_well(&mut agent);
            });
        }
    }
    // One that is gone is no fault.
    fs::remove_file(stage.setup.path("list.list")).expect("remove it");
    agent.reload_now();
    assert!(stage.verb("status", &[]).contains("shut: "));
    agent.stop();
}

/// Whoever calls waits until there is a descriptor for him; the agent does not ask without a pause.
fn few_descriptors_keep_nobody_out_and_the_processor_cool() {
    const MOST: usize = 200;
    let stage = Stage::new();
    let mut agent = stage.setup.start(&stage.net.router);
    let limit = |number: &str| {
        // Its user may do that, and root where it may do everything (prlimit(2)).
        let status = fs::read_to_string(format!("/proc/{}/status", agent.id()));
        let status = status.expect("it runs");
        let own = |kind: &str, option: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(kind));
            let number = line.and_then(|line| line.split_whitespace().next());
            format!("--re{option}={}", number.expect("a number"))
        };
        let (user, group) = (own("Uid:", "uid"), own("Gid:", "gid"));
        let (pid, limit) = (agent.id().to_string(), format!("--nofile={number}:1024"));
        let done = Command::new("setpriv")
            .args([
                &user,
                &group,
                "--clear-groups",
                "prlimit",
                "--pid",
                &pid,
                &limit,
            ])
            .status();
        assert!(done.expect("start setpriv").success());
    };
    let open = fs::read_dir(format!("/proc/{}/fd", agent.id()))
        .expect("its files")
        .count();
    limit(&open.to_string());
    let strace = Strace::counting(agent.id());
    let caller = UnixStream::connect(stage.setup.path("control")).expect("it listens");
    until_aged(Instant::now(), Duration::from_secs(1));
    let calls = strace.detach();
    assert!(calls.contains_key("accept4"), "{calls:?}");
    let waits = calls.get("poll").or_else(|| calls.get("ppoll"));
    assert!(waits.is_none_or(|waits| *waits < MOST), "{calls:?}");
    // It goes on to hear knocks.
    stage.expect_to_open();
    // Fewer than it has open: nothing can be waited for.
    limit("4");
    let strace = Strace::counting(agent.id());
    until_aged(Instant::now(), Duration::from_secs(1));
    let calls = strace.detach();
    let waits = calls.get("poll").or_else(|| calls.get("ppoll"));
    assert!(waits.is_none_or(|waits| *waits < MOST), "{calls:?}");
    stage.expect_to_open();
    limit("1024");
    drop(caller);
    stage.expect_well(&mut agent);
    agent.stop();
}

fn a_second_agent_takes_nothing_from_the_first() {
    let net = Topology::new();
    let first = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let agent = first.start(&net.router);
    let table = || nft::settled_table(&net.router.namespace, "inet postern");
    let before = table();
    let second = Setup::new(&net.router, Guard::Gate, "");
    second.hear_by("\toption source 'nflog'\n\toption nflog_group '6'\n");
    second.rewrite(&SSH_DOOR.replace("'ssh'", "'other'"));
    let said = second.run_to_its_end(&net.router);
    assert_eq!(said.status, 1, "{}", said.stderr);
    assert!(
        said.stderr.contains("another agent guards here"),
        "{}",
        said.stderr
    );
    assert_eq!(table(), before);
    let status = first.verb(&net.router, "status", &[]).ok();
    assert!(status.contains("door ssh"), "{status}");
    agent.stop();
    // There is room for it now.
    let agent = second.start(&net.router);
    let status = second.verb(&net.router, "status", &[]).ok();
    assert!(status.contains("door other"), "{status}");
    agent.stop();
}
