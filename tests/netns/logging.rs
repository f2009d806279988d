//! What the log tells: who was let in, until when, and what people did, whatever strangers do.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup, program};
use postern_tests::packet::Packet;
use postern_tests::process::Process;
use postern_tests::sender::Sender;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until, until_aged};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        a_flood_of_forged_cut_offs_leaves_no_opening_out,
        a_flood_of_refusals_leaves_no_opening_out,
        a_door_that_everybody_opens_is_told_of_in_numbers_and_others_one_by_one,
        the_end_of_a_grant_is_told_once_and_not_before_its_time,
        a_grant_keeps_what_made_it_over_a_reload,
        an_agent_tells_the_end_of_grants_that_it_found,
        what_is_done_by_hand_is_told_by_whomever,
        the_journal_is_told_priorities_and_no_name,
        procd_is_told_mistakes_apart_and_no_name,
    ]
}

const OPEN: [u16; 3] = [7000, 8001, 9002];

/// A router with an agent, and somebody who forges addresses.
struct Stage {
    net: Topology,
    sender: Sender,
    setup: Setup,
}

impl Stage {
    fn new(doors: &str) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, Guard::Gate, doors);
        let sender = Sender::new(&net.client.namespace);
        Self { net, sender, setup }
    }

    fn start(&self) -> Agent<'_> {
        self.setup.start(&self.net.router)
    }

    fn client(&self) -> IpAddr {
        self.net.client.v4.into()
    }

    fn knock(&self, from: IpAddr, ports: &[u16]) {
        let router = self.net.router.address(Family::V4);
        for (number, port) in (40_000..).zip(ports) {
            let (from, to) = (
                SocketAddr::new(from, number),
                SocketAddr::new(router, *port),
            );
            self.sender.send(&match port {
                8001 => Packet::udp(from, to, &[0]),
                _ => Packet::syn(from, to),
            });
        }
    }

    fn is_granted(&self, source: IpAddr) -> bool {
        nft::granted(&self.net.router.namespace, "ssh", source).is_some()
    }
}

fn stranger(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(203, 0, 113u8.wrapping_add(high), low).into()
}

#[track_caller]
fn expect(agent: &Agent<'_>, line: &str) {
    poll_until(SOON, &format!("the log says: {line}"), || {
        agent.log().contains(line)
    });
}

fn times(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

/// The number before these words, in the one line that has them.
fn number_before(log: &str, words: &str) -> usize {
    let line = log.lines().find(|line| line.contains(words));
    let line = line.unwrap_or_else(|| panic!("no '{words}' in {log}"));
    let before = line.split(words).next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default();
    number.parse().expect("a number")
}

fn a_flood_of_forged_cut_offs_leaves_no_opening_out() {
    let door = SSH_DOOR.replace("30s", "2s");
    let stage = Stage::new(&format!(
        "{door}\toption jitter '0'\n\toption cutoff '3 per 10m'\n"
    ));
    let agent = stage.start();
    let forge = |numbers: core::ops::Range<u16>| {
        numbers.for_each(|number| stage.knock(stranger(number), &[9002; 3]));
    };
    forge(0..200);
    stage.knock(stage.client(), &OPEN);
    forge(200..400);
    expect(&agent, "postern: door ssh: open for 192.0.2.2 for 2s\n");
    forge(400..600);
    expect(
        &agent,
        "postern: door ssh: grant of 192.0.2.2 ended (knocked)\n",
    );
    assert!(!stage.is_granted(stage.client()));
    assert!(agent.stop().success());
    let log = stage.setup.log_so_far();
    let told = times(&log, ": cut off for 10m");
    assert!((30..60).contains(&told), "{log}");
    assert!(told + number_before(&log, " cut-offs") > 500, "{log}");
}

fn a_flood_of_refusals_leaves_no_opening_out() {
    let weak = "
config door 'web'
	list guard 'tcp:8080'
	option method 'single-separate'
	list open 'tcp:7100'
	list close 'tcp:7200'
	option grant '1h'
";
    let stage = Stage::new(&format!("{SSH_DOOR}{weak}"));
    let agent = stage.start();
    // More than its set has room for.
    for number in 0..3_000_u16 {
        stage.knock(stranger(number), &[7100]);
        if number % 500 == 0 {
            let source = Ipv4Addr::new(192, 0, 2, 100 + (number / 500) as u8);
            stage.knock(source.into(), &OPEN);
        }
    }
    for number in 0..6 {
        expect(
            &agent,
            &format!("door ssh: open for 192.0.2.{} for 30s\n", 100 + number),
        );
    }
    expect(&agent, "door web: not opened for ");
    assert!(agent.stop().success());
    let log = stage.setup.log_so_far();
    assert!(number_before(&log, " refusals") > 0, "{log}");
}

fn a_door_that_everybody_opens_is_told_of_in_numbers_and_others_one_by_one() {
    let weak = "
config door 'web'
	list guard 'tcp:8080'
	option method 'single-same'
	list open 'tcp:7100'
	option grant '1h'
	option jitter '0'
";
    let stage = Stage::new(&format!("{SSH_DOOR}{weak}"));
    let agent = stage.start();
    for number in 0..500 {
        stage.knock(stranger(number), &[7100]);
    }
    stage.knock(stage.client(), &OPEN);
    expect(&agent, "door ssh: open for 192.0.2.2 for 30s\n");
    assert!(agent.stop().success());
    let log = stage.setup.log_so_far();
    let told = times(&log, "door web: open for ");
    assert!((256..300).contains(&told), "{told}");
    let (_, rest) = log
        .split_once("door web: not told one by one")
        .expect("the rest");
    assert_eq!(told + number_before(rest, " times, closed 0, ended 0"), 500);
}

fn the_end_of_a_grant_is_told_once_and_not_before_its_time() {
    let stage = Stage::new(&SSH_DOOR.replace("30s", "3s"));
    let agent = stage.start();
    stage.knock(stage.client(), &OPEN);
    expect(&agent, "door ssh: open for 192.0.2.2 for 3s\n");
    let began = Instant::now();
    until_aged(began, Duration::from_millis(1_500));
    stage.knock(stage.client(), &OPEN);
    poll_until(SOON, "it is told again", || {
        times(&agent.log(), "door ssh: open for 192.0.2.2") == 2
    });
    // Whoever prolongs it past the agent is heeded too.
    nft::apply(
        &stage.net.router.namespace,
        "delete element inet postern grant4_ssh { 192.0.2.2 }
         add element inet postern grant4_ssh { 192.0.2.2 timeout 4s }",
    );
    let ended = "door ssh: grant of 192.0.2.2 ended (by hand)\n";
    expect(&agent, ended);
    assert!(began.elapsed() >= Duration::from_millis(5_400));
    assert!(!stage.is_granted(stage.client()));
    // Nothing ends that was closed.
    stage.knock(stage.client(), &OPEN);
    poll_until(SOON, "it is open", || stage.is_granted(stage.client()));
    stage.knock(stage.client(), &[9003, 7004]);
    expect(&agent, "door ssh: closed to 192.0.2.2\n");
    stage.knock(stage.net.stranger.v4.into(), &OPEN);
    let other = format!(
        "door ssh: grant of {} ended (knocked)\n",
        stage.net.stranger.v4
    );
    expect(&agent, &other);
    assert_eq!(times(&agent.log(), "grant of 192.0.2.2 ended"), 1);
}

fn a_grant_keeps_what_made_it_over_a_reload() {
    let ssh = SSH_DOOR.replace("30s", "3s");
    let stage = Stage::new(&ssh);
    let agent = stage.start();
    stage.knock(stage.client(), &OPEN);
    expect(&agent, "door ssh: open for 192.0.2.2 for 3s\n");
    let web = SSH_DOOR.replace("'ssh'", "'web'").replace(":22", ":8080");
    stage
        .setup
        .rewrite(&format!("{}{ssh}", web.replace("7000", "7777")));
    agent.reload_now();
    expect(&agent, "door ssh: grant of 192.0.2.2 ended (knocked)\n");
}

fn an_agent_tells_the_end_of_grants_that_it_found() {
    let stage = Stage::new(SSH_DOOR);
    stage.setup.verb(&stage.net.router, "apply", &[]).ok();
    let open = ["ssh", "--from", "192.0.2.77", "--for", "4s"];
    stage.setup.verb(&stage.net.router, "open", &open).ok();
    let agent = stage.start();
    expect(
        &agent,
        "door ssh: grant of 192.0.2.77 ended (older than this agent)\n",
    );
}

fn what_is_done_by_hand_is_told_by_whomever() {
    let stage = Stage::new(SSH_DOOR);
    let (router, setup) = (&stage.net.router, &stage.setup);
    let agent = stage.start();
    setup.verb(router, "open", &["ssh", "--for", "1s"]).ok();
    expect(&agent, "by hand: door ssh is open for everyone for 1s\n");
    expect(
        &agent,
        "door ssh: grant of everyone on wan ended (by hand)\n",
    );
    nft::apply(
        &router.namespace,
        "add element inet postern grant4_ssh { 192.0.2.77 timeout 1h }",
    );
    expect(&agent, "): door ssh is open for 192.0.2.77 for 1h\n");
    nft::apply(&router.namespace, "flush set inet postern grant4_ssh");
    expect(&agent, "): door ssh is closed to 192.0.2.77\n");
    assert_eq!(times(&agent.log(), "by hand (nft (process "), 2);
    // A verb that finds no agent tells the kernel.
    let elsewhere = setup.path("elsewhere");
    fs::rename(setup.path("control"), &elsewhere).expect("move the socket");
    for verb in ["lock", "unlock"] {
        setup.verb(router, verb, &["ssh"]).ok();
        expect(&agent, &format!("): door ssh is {verb}ed\n"));
    }
    assert_eq!(times(&agent.log(), "by hand (postern (process "), 2);
}

/// The agent with something else to write to.
fn start_writing(stage: &Stage, set: impl FnOnce(&mut Command)) -> Process {
    let mut run = Command::new(program());
    run.args(["run", "--config"]).arg(stage.setup.config());
    run.stdin(Stdio::null());
    set(&mut run);
    stage.net.router.namespace.spawn(&mut run)
}

fn the_journal_is_told_priorities_and_no_name() {
    for is_its in [true, false] {
        in_case_of(is_its, || {
            let stage = Stage::new(&format!("{SSH_DOOR}\toption cutoff '3 per 10m'\n"));
            let path = stage.setup.path("journal");
            let journal = File::create(&path).expect("a file");
            let about = journal.metadata().expect("its inode");
            let inode = about.ino() + u64::from(!is_its);
            let name = format!("{}:{inode}", about.dev());
            let agent = start_writing(&stage, |run| {
                run.stdout(Stdio::null()).stderr(journal);
                run.env("JOURNAL_STREAM", name);
            });
            let log = || fs::read_to_string(&path).expect("the log");
            let begins = |line: &str| log().lines().any(|told| told.starts_with(line));
            let [info, notice] = match is_its {
                true => ["<6>", "<5>"],
                false => ["postern: "; 2],
            };
            let expect = |line: String| poll_until(SOON, &line, || begins(&line));
            expect(format!("{info}ready"));
            stage.knock(stage.client(), &OPEN);
            expect(format!("{notice}door ssh: open for 192.0.2.2 for 30s"));
            if is_its {
                stage
                    .setup
                    .rewrite_whole("config postern\n\toption guard 'no'\n");
                agent.signal(nix::sys::signal::Signal::SIGHUP);
                expect("<4>the running configuration stays".into());
                let config = stage.setup.config();
                expect(format!("<3>{}:2:", config.display()));
            }
        });
    }
}

fn procd_is_told_mistakes_apart_and_no_name() {
    let stage = Stage::new(SSH_DOOR);
    let [notices, mistakes] = ["notices", "mistakes"].map(|name| stage.setup.path(name));
    let file = |path| File::create(path).expect("a file");
    let agent = start_writing(&stage, |run| {
        run.arg("--procd")
            .stdout(file(&notices))
            .stderr(file(&mistakes));
    });
    let lines = |path| fs::read_to_string(path).expect("the log");
    // What it handed over to its user is told before.
    poll_until(SOON, "it is ready", || {
        lines(&notices).ends_with("\nready\n")
    });
    stage.knock(stage.client(), &OPEN);
    poll_until(SOON, "it tells of the opening", || {
        lines(&notices).ends_with("\nready\ndoor ssh: open for 192.0.2.2 for 30s\n")
    });
    assert!(!lines(&mistakes).contains("open"));
    stage
        .setup
        .rewrite_whole("config postern\n\toption guard 'no'\n");
    agent.signal(nix::sys::signal::Signal::SIGHUP);
    poll_until(SOON, "it tells of the mistake", || {
        let said = lines(&mistakes);
        said.contains(":2:") && said.ends_with("\nthe running configuration stays\n")
    });
}
