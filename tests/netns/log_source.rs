//! Source `log`, fed with lines that the running kernel writes in the very test: so a kernel that
//! words them otherwise fails here, and not at somebody's login.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup};
use postern_tests::kernel_log::{Copyist, KernelLog, Record, appended, wait_for};
use postern_tests::knocker::{FENCE, Knock, Knocker, fence, list};
use postern_tests::otp::{self, App};
use postern_tests::probe::{self, Answer};
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Host, Topology};
use postern_tests::wait::{SOON, poll_until, until_aged};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        the_kernels_own_log needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns",
        a_file_that_is_rotated needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns",
        standard_input needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns",
        every_method needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns" "oathtool",
        forged_lines needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns",
        a_flood_of_knocks needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns",
        a_scan_that_drowns_the_decoys needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns",
        overwritten_records needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns",
        what_was_logged_before needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns",
        a_file_that_a_running_agent_may_not_read,
        another_source_after_a_reload needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns",
    ]
}

const OPEN: [Knock; 3] = [Knock::Tcp(7000), Knock::Udp(8001), Knock::Tcp(9002)];
const CLOSE: [Knock; 2] = [Knock::Tcp(9003), Knock::Tcp(7004)];

const KERNEL: &str = "\toption source 'log'\n";

/// A router whose agent hears by a log, with a service behind the door.
struct Stage {
    setup: Setup,
    sender: Sender,
    _ssh: Service,
    net: Topology,
}

impl Stage {
    fn new(guard: Guard, source: &str, doors: &str) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, guard, "");
        setup.hear_by(source);
        setup.rewrite(&format!("{doors}{FENCE}"));
        Self {
            setup,
            sender: Sender::new(&net.client.namespace),
            _ssh: Service::tcp(&net.router.namespace, 22),
            net,
        }
    }

    /// Names another source, for the next start or reload.
    fn hear_by(&self, source: &str) {
        self.setup.hear_by(source);
        self.setup.rewrite(&format!("{SSH_DOOR}{FENCE}"));
    }

    fn start(&self) -> Agent<'_> {
        self.setup.start(&self.net.router)
    }

    fn knock(&self, family: Family, knocks: &[Knock]) {
        self.knocker(&self.net.client, family).send(knocks);
    }

    fn knocker(&self, host: &Host, family: Family) -> Knocker<'_> {
        let router = self.net.router.address(family);
        Knocker::new(&self.sender, host.address(family), router)
    }

    fn answer(&self, host: &Host, family: Family) -> Answer {
        probe::tcp(&host.namespace, self.net.router.port(family, 22))
    }

    #[track_caller]
    fn expect(&self, family: Family, expected: Answer) {
        assert_eq!(self.answer(&self.net.client, family), expected);
    }

    #[track_caller]
    fn awaits(&self, family: Family, expected: Answer) {
        poll_until(SOON, &format!("the door is {expected:?}"), || {
            self.answer(&self.net.client, family) == expected
        });
    }

    /// Waits until the agent has decided on every knock so far.
    #[track_caller]
    fn fence(&self) {
        fence(&self.net, &self.sender);
    }

    fn counter(&self, name: &str) -> u64 {
        self.setup.counter(&self.net.router, name)
    }

    #[track_caller]
    fn awaits_counter(&self, name: &str, expected: u64) {
        poll_until(SOON, &format!("{name} is {expected}"), || {
            self.counter(name) == expected
        });
    }
}

fn the_kernels_own_log() {
    let _log = KernelLog::new();
    for guard in Guard::BOTH {
        let stage = Stage::new(guard, KERNEL, SSH_DOOR);
        let agent = stage.start();
        let namespace = "postern: this is not the machine's own network namespace";
        assert!(agent.log().contains(namespace), "{}", agent.log());
        for family in Family::BOTH {
            in_case_of((guard, family), || open_and_close(&stage, family));
        }
        let status = stage.setup.verb(&stage.net.router, "status", &[]).ok();
        assert!(status.contains("knocks seen by log"), "{status}");
        assert!(status.contains("0 were no knock"), "{status}");
    }
}

fn open_and_close(stage: &Stage, family: Family) {
    stage.expect(family, Answer::Silent);
    stage.knock(family, &[OPEN[0], OPEN[1], CLOSE[0]]);
    stage.fence();
    stage.expect(family, Answer::Silent);
    stage.knock(family, &OPEN);
    stage.awaits(family, Answer::Open);
    let stranger = stage.answer(&stage.net.stranger, family);
    assert_eq!(stranger, Answer::Silent);
    stage.knock(family, &CLOSE);
    stage.awaits(family, Answer::Silent);
}

fn a_file_that_is_rotated() {
    let log = KernelLog::new();
    for family in Family::BOTH {
        in_case_of(family, || rotate(&log, family));
    }
}

/// The user `nobody`, by number.
const NOBODY: u32 = 65_534;

fn rotate(log: &KernelLog, family: Family) {
    let stage = Stage::new(Guard::Gate, KERNEL, SSH_DOOR);
    let (path, old) = (stage.setup.path("kern.log"), stage.setup.path("kern.log.1"));
    // Another user's, as rsyslog's files often are.
    let make = |path: &Path, text: &str| {
        fs::write(path, text).expect("make a log");
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("make it private");
        chown(path, Some(NOBODY), None).expect("give it away");
    };
    make(&path, "Nov 27 05:59:59 router kernel: Linux\n");
    let source = format!(
        "\toption source 'log'\n\toption log_from '{}'\n",
        path.display()
    );
    stage.hear_by(&source);
    let daemon = Copyist::start(log, Record::in_syslog, appended(&path));
    let mut agent = stage.start();

    // Renamed and made anew in the middle of an attempt; the daemon learns of it in between.
    stage.knock(family, &OPEN[..1]);
    wait_for(&path, "DPT=7000");
    fs::rename(&path, &old).expect("rename a log");
    stage.knock(family, &OPEN[1..2]);
    wait_for(&old, "DPT=8001");
    make(&path, "");
    daemon.redirect(appended(&path));
    stage.knock(family, &OPEN[2..]);
    stage.awaits(family, Answer::Open);

    // Truncated, once it was copied, in the middle of another one.
    let seen = stage.counter("seen");
    stage.knock(family, &CLOSE[..1]);
    stage.awaits_counter("seen", seen + 1);
    fs::copy(&path, &old).expect("copy a log");
    let file = File::options().write(true).open(&path);
    file.and_then(|file| file.set_len(0))
        .expect("truncate a log");
    stage.knock(family, &CLOSE[1..]);
    stage.awaits(family, Answer::Silent);

    // Gone, and back.
    fs::remove_file(&path).expect("remove a log");
    agent.wait_for_line(&format!("postern: {}: No such file", path.display()));
    make(&path, "");
    daemon.redirect(appended(&path));
    stage.knock(family, &OPEN);
    stage.awaits(family, Answer::Open);
    agent.wait_for_line(&format!("postern: {} is there", path.display()));

    // An old log in its place.
    stage.knock(family, &CLOSE);
    stage.awaits(family, Answer::Silent);
    let lines = fs::read_to_string(&path).expect("read a log");
    let opening = lines
        .lines()
        .take(OPEN.len())
        .map(|line| format!("{line}\n"));
    let opening: String = opening.collect();
    assert!(opening.contains("DPT=9002"), "{opening}");
    fs::write(&old, opening.repeat(30)).expect("write a log");
    let seen = stage.counter("seen");
    fs::rename(&old, &path).expect("replace a log");
    agent.wait_for_line(&format!("postern: {} was replaced", path.display()));
    daemon.redirect(appended(&path));
    stage.fence();
    stage.expect(family, Answer::Silent);
    assert_eq!(stage.counter("seen"), seen + 1);
}

fn standard_input() {
    let log = KernelLog::new();
    let source = "\toption source 'log'\n\toption log_from 'stdin'\n";
    let stage = Stage::new(Guard::Gate, KERNEL, SSH_DOOR);
    let (reader, mut writer) = io::pipe().expect("a pipe");
    // A program that prints a log as it grows begins with what it holds.
    let old = log.lines_of(|| {
        let agent = stage.start();
        stage.knock(Family::V4, &OPEN);
        stage.awaits(Family::V4, Answer::Open);
        stage.knock(Family::V4, &CLOSE);
        stage.awaits(Family::V4, Answer::Silent);
        agent.stop();
    });
    assert_eq!(old.len(), OPEN.len() + CLOSE.len());
    for record in &old[..OPEN.len()] {
        let line = record.in_logread();
        io::Write::write_all(&mut writer, line.as_bytes()).expect("write to a pipe");
    }
    stage.hear_by(source);
    let logread = Copyist::start(&log, Record::in_logread, writer);
    let mut agent = stage.setup.start_reading(&stage.net.router, reader.into());
    assert_eq!(stage.counter("seen"), 0);
    for family in Family::BOTH {
        in_case_of(family, || open_and_close(&stage, family));
    }
    drop(logread);
    agent.wait_for_line("postern: standard input has ended: nobody is heard any more");
    let end = agent.log().matches("has ended").count();
    stage.knock(Family::V4, &OPEN);
    stage.expect(Family::V4, Answer::Silent);
    let open = stage
        .setup
        .verb(&stage.net.router, "open", &["ssh", "--for", "1h"]);
    open.ok();
    stage.awaits(Family::V4, Answer::Open);
    assert!(!agent.has_ended());
    assert_eq!((end, agent.log().matches("has ended").count()), (1, 1));
}

/// Doors of every method, each for a port of its own.
fn every_method() {
    let _log = KernelLog::new();
    let (tcp, udp) = (Knock::Tcp, Knock::Udp);
    let fixed = |open: &[Knock], close: &[Knock]| {
        list("open", open) + &list("close", close) + "\toption decoys '0'\n"
    };
    let options = [
        ("single-same", fixed(&[udp(6001)], &[])),
        ("single-separate", fixed(&[udp(6002)], &[udp(6003)])),
        ("sequence-same", fixed(&[tcp(6005), udp(6004)], &[])),
        (
            "sequence-separate",
            fixed(&[udp(6007), tcp(6006)], &[tcp(6008)]),
        ),
        ("one-time-list", "\toption list_file '@/list'\n".into()),
        (
            "one-time-clock",
            "\toption secret_file '@/clock'\n\toption base '20000'\n\toption digits '8'\n\toption skew '5'\n".into(),
        ),
        (
            "one-time-seed",
            "\toption secret_file '@/seed'\n\toption base '30000'\n\toption digits '8'\n\toption protocol 'udp'\n"
                .into(),
        ),
    ];
    let doors = (2301..).zip(&options).map(|(port, (method, options))| {
        let name = method.replace('-', "_");
        format!(
            "config door '{name}'\n\tlist guard 'tcp:{port}'\n\toption method '{method}'\n{options}"
        )
    });
    let stage = Stage::new(Guard::Gate, KERNEL, &doors.collect::<String>());
    let router = &stage.net.router;
    let services = (2301..).take(options.len());
    let _services: Vec<Service> = services
        .map(|port| Service::tcp(&router.namespace, port))
        .collect();
    stage
        .setup
        .write_private("list", "tcp:6011 udp:6010\ntcp:6013 udp:6012\n");
    stage.setup.verb(router, "resync", &["one_time_list"]).ok();
    let app = |door: &str| App::scan(&stage.setup.verb(router, "keygen", &[door]).ok());
    let (clock, seed) = (app("one_time_clock"), app("one_time_seed"));
    let _agent = stage.start();
    let now = clock.step();
    // What opens and what closes; or what opens, and what opens the next time.
    let knocks = [
        [vec![udp(6001)], vec![udp(6001)]],
        [vec![udp(6002)], vec![udp(6003)]],
        [vec![tcp(6005), udp(6004)], vec![tcp(6005), udp(6004)]],
        [vec![udp(6007), tcp(6006)], vec![tcp(6008)]],
        [vec![udp(6010), tcp(6011)], vec![tcp(6013), udp(6012)]],
        [now, now + 1].map(|step| otp::knocks(&clock.code(step), 20_000, [tcp, tcp]).into()),
        [0, 1].map(|counter| otp::knocks(&seed.code(counter), 30_000, [udp, udp]).into()),
    ];
    for ((port, (method, _)), knocks) in (2301..).zip(&options).zip(&knocks) {
        in_case_of(method, || match method.starts_with("one-time") {
            true => use_up(&stage, port, knocks),
            false => repeat(&stage, port, knocks),
        });
    }
}

#[track_caller]
fn awaits_port(stage: &Stage, family: Family, port: u16, expected: Answer) {
    let to = stage.net.router.port(family, port);
    poll_until(SOON, &format!("it is {expected:?}"), || {
        probe::tcp(&stage.net.client.namespace, to) == expected
    });
}

fn repeat(stage: &Stage, port: u16, [open, close]: &[Vec<Knock>; 2]) {
    for family in Family::BOTH {
        awaits_port(stage, family, port, Answer::Silent);
        stage.knock(family, open);
        awaits_port(stage, family, port, Answer::Open);
        stage.knock(family, close);
        awaits_port(stage, family, port, Answer::Silent);
    }
}

fn use_up(stage: &Stage, port: u16, codes: &[Vec<Knock>; 2]) {
    let stranger = &stage.net.stranger;
    for (family, code) in Family::BOTH.into_iter().zip(codes) {
        awaits_port(stage, family, port, Answer::Silent);
        stage.knock(family, code);
        awaits_port(stage, family, port, Answer::Open);
        stage.knocker(stranger, family).send(code);
        stage.fence();
        let to = stage.net.router.port(family, port);
        assert_eq!(probe::tcp(&stranger.namespace, to), Answer::Silent);
    }
}

/// What the kernel said of somebody's knocks is said again, by others.
fn forged_lines() {
    let log = KernelLog::new();
    for family in Family::BOTH {
        in_case_of(family, || forge(&log, family));
    }
}

fn forge(log: &KernelLog, family: Family) {
    let stage = Stage::new(Guard::Gate, KERNEL, SSH_DOOR);
    let mut agent = stage.start();
    let said = log.lines_of(|| {
        stage.knock(family, &OPEN);
        stage.awaits(family, Answer::Open);
    });
    assert_eq!(said.len(), OPEN.len(), "{said:?}");
    stage.knock(family, &CLOSE);
    stage.awaits(family, Answer::Silent);

    let written = log.lines_of(|| {
        for level in ["", "<4>", "<0>", "<12>", "<2048>", "<4294967300>"] {
            for record in &said {
                log.write(&format!("{level}{}", record.text));
            }
        }
        stage.fence();
    });
    let kernels = written.iter().filter(|record| record.is_kernels());
    // The fence's.
    assert_eq!(kernels.count(), 1, "{written:?}");
    stage.awaits_counter("no_knock", 18);
    stage.expect(family, Answer::Silent);
    agent.wait_for_line("postern: lines of the log that read as if the kernel told of a knock");

    let path = stage.setup.path("syslog");
    fs::write(&path, "").expect("make a log");
    let source = format!(
        "\toption source 'log'\n\toption log_from '{}'\n",
        path.display()
    );
    stage.hear_by(&source);
    agent.reload();
    agent.wait_for_line("postern: configuration read again");
    let daemon = Copyist::start(log, Record::in_syslog, appended(&path));
    for before in [
        "Nov 27 06:00:00 router root: ",
        "Nov 27 06:00:00 router root: kernel: ",
        "Nov 27 06:00:00 router user.notice kernel: ",
        "Nov 27 06:00:00 router kernel: [   12.345678] x ",
        "12,1,1,-;",
    ] {
        let lines = said
            .iter()
            .map(|record| format!("{before}{}\n", record.text));
        let lines: String = lines.collect();
        io::Write::write_all(&mut appended(&path), lines.as_bytes()).expect("write to a log");
    }
    for record in &said {
        log.write(&format!("<4>{}", record.text));
    }
    stage.fence();
    stage.expect(family, Answer::Silent);
    stage.awaits_counter("no_knock", 18 + 15 + 3);
    // The kernel's own words in the same log are heard.
    stage.knock(family, &OPEN);
    stage.awaits(family, Answer::Open);
    drop(daemon);
}

/// What it was started with would have let it; it keeps what its source needs.
fn a_file_that_a_running_agent_may_not_read() {
    let stage = Stage::new(Guard::Gate, "\toption source 'nflog'\n", SSH_DOOR);
    let mut agent = stage.start();
    let path = stage.setup.path("kern.log");
    fs::write(&path, "").expect("make a log");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("make it private");
    chown(&path, Some(NOBODY), None).expect("give it away");
    stage.hear_by(&format!(
        "\toption source 'log'\n\toption log_from '{}'\n",
        path.display()
    ));
    let said = (stage.setup).verb(&stage.net.router, "apply", &[]);
    assert!(
        said.status == 1 && said.stderr.contains("restart it"),
        "{said:?}"
    );
    let said = (stage.setup).verb(&stage.net.router, "reload", &[]);
    assert!(
        said.status == 1 && said.stderr.contains("restart it"),
        "{said:?}"
    );
    // It hears as before, and after a restart it can.
    stage.knock(Family::V4, &OPEN);
    stage.awaits(Family::V4, Answer::Open);
    agent.reload();
    agent.wait_for_line("postern: the running configuration stays");
    agent.stop();
    stage.start().stop();
}

/// The kernel logs a few knocks a second and no more, and those who come later are heard again.
fn a_flood_of_knocks() {
    let log = KernelLog::new();
    let stage = Stage::new(Guard::Gate, KERNEL, SSH_DOOR);
    let _agent = stage.start();
    let mut records = log.follow();
    let to = stage.net.router.port(Family::V4, 7000);
    let began = Instant::now();
    let mut ends = began + Duration::from_millis(500);
    let sent = stage.sender.flood(to, 20_000, || Instant::now() >= ends);
    ends = Instant::now();
    let logged = records.take().len();
    let allowed = 51 + (ends - began).as_secs() as usize * 10 + 10;
    assert!(sent > 1_000, "{sent}");
    assert!((50..=allowed).contains(&logged), "{logged} of {sent}");
    poll_until(SOON, "a knock opens the door", || {
        stage.knock(Family::V4, &OPEN);
        stage.answer(&stage.net.client, Family::V4) == Answer::Open
    });
}

/// Doors that a scan in the order of ports would open, with more decoys than are logged.
fn a_scan_that_drowns_the_decoys() {
    let log = KernelLog::new();
    let doors = (0..8).map(|number| {
        let first = 10_000 + number * 5_000;
        let open = [first, first + 100, first + 200].map(Knock::Tcp);
        let open = list("open", &open);
        let guard = 2400 + number;
        format!(
            "config door 'd{number}'\n\tlist guard 'tcp:{guard}'\n\
             \toption method 'sequence-separate'\n{open}\toption decoys '32'\n"
        )
    });
    let stage = Stage::new(Guard::Gate, KERNEL, &doors.collect::<String>());
    let _agent = stage.start();
    let router = &stage.net.router.namespace;
    let knocker = stage.knocker(&stage.net.client, Family::V4);
    for _ in 0..3 {
        let logged = log.lines_of(|| {
            for port in 9_000..=u16::MAX {
                knocker.send(&[Knock::Tcp(port)]);
            }
        });
        let ended = Instant::now();
        assert!(logged.len() < 8 * (32 + 3), "{}", logged.len());
        // For the kernel to log the fence's knock again.
        until_aged(ended, Duration::from_secs(1));
        stage.fence();
        let client = stage.net.client.v4.into();
        for number in 0..8 {
            assert_eq!(nft::granted(router, &format!("d{number}"), client), None);
        }
    }
}

/// The agent is too slow: what it misses is counted, and it hears what comes after.
fn overwritten_records() {
    let log = KernelLog::new();
    let stage = Stage::new(Guard::Gate, KERNEL, SSH_DOOR);
    let agent = stage.start();
    stage.fence();
    assert_eq!((stage.counter("lost"), stage.counter("overruns")), (0, 0));
    let process = Pid::from_raw(agent.id().cast_signed());
    agent.hang();
    log.overwrite();
    kill(process, Signal::SIGCONT).expect("wake the agent");
    stage.fence();
    assert!(stage.counter("lost") > 0);
    assert!(stage.counter("overruns") > 0);
    stage.knock(Family::V6, &OPEN);
    stage.awaits(Family::V6, Answer::Open);
}

/// Knocks in the log from before the agent was started are not heard.
fn what_was_logged_before() {
    let _log = KernelLog::new();
    let stage = Stage::new(Guard::Gate, KERNEL, SSH_DOOR);
    let agent = stage.start();
    stage.knock(Family::V4, &OPEN[..2]);
    stage.fence();
    agent.stop();
    let _agent = stage.start();
    stage.knock(Family::V4, &OPEN[2..]);
    stage.fence();
    stage.expect(Family::V4, Answer::Silent);
    assert_eq!(stage.counter("seen"), 2);
    stage.knock(Family::V4, &OPEN);
    stage.awaits(Family::V4, Answer::Open);
}

fn another_source_after_a_reload() {
    let _log = KernelLog::new();
    let stage = Stage::new(Guard::Gate, KERNEL, SSH_DOOR);
    let mut agent = stage.start();
    for (round, source) in [
        (1, "\toption source 'nflog'\n"),
        (2, KERNEL),
        (3, "\toption source 'nflog'\n"),
    ] {
        stage.hear_by(source);
        agent.reload();
        poll_until(SOON, "the agent reads its configuration again", || {
            agent.log().matches("configuration read again").count() == round
        });
        in_case_of(source, || open_and_close(&stage, Family::V4));
    }
    assert!(!agent.has_ended());
}
