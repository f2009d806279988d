//! Doors that one datagram opens, made by Debian's client `fwknop`.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use postern_tests::agent::{Guard, Setup};
use postern_tests::fwknop::{self, Fwknop, Keys};
use postern_tests::probe::{self, Answer};
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::strace::{SAVING, Strace};
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Topology};
use postern_tests::visitor::{ROUTER, Visitor};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        the_stock_client_opens_by_every_source needs "fwknop",
        every_kind_of_key_and_hmac_opens needs "fwknop",
        an_address_that_a_web_server_tells_opens needs "fwknop" "wget",
        the_client_says_for_how_long needs "fwknop",
        what_is_refused_is_counted_by_its_reason needs "fwknop",
        whom_it_lets_in_is_the_policy_to_say needs "fwknop",
        doors_at_one_port_have_keys_of_their_own needs "fwknop",
        what_cannot_be_a_datagram_stays_in_the_kernel needs "fwknop",
        a_source_that_is_cut_off_is_heard_all_the_same needs "fwknop",
        nothing_opens_twice_after_a_restart needs "fwknop",
        nothing_opens_twice_whatever_call_was_the_last needs "fwknop" "strace",
        honest_datagrams_open_under_a_flood_of_forged_ones needs "fwknop",
        without_its_keys_a_door_stays_shut needs "fwknop",
        our_own_client_opens_over_both_families needs "setpriv" "unshare",
        what_is_exported_is_what_fwknop_takes needs "fwknop",
    ]
}

const DOOR: &str = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'spa'
	option key_file '@/ssh.key'
	option grant '30s'
";

struct Stage {
    net: Topology,
    setup: Setup,
    owner: Fwknop,
    _ssh: Service,
}

impl Stage {
    fn new(doors: &str) -> Self {
        Self::with_keys(doors, Keys::base64([1, 2]))
    }

    fn with_keys(doors: &str, keys: Keys) -> Self {
        let net = Topology::new();
        let setup = Setup::new(&net.router, Guard::Gate, doors);
        setup.write_private("ssh.key", &keys.file());
        Self {
            _ssh: Service::tcp(&net.router.namespace, 22),
            owner: Fwknop::new(keys),
            setup,
            net,
        }
    }

    fn router(&self) -> IpAddr {
        self.net.router.v4.into()
    }

    fn port(&self) -> SocketAddr {
        SocketAddr::new(self.router(), fwknop::PORT)
    }

    /// Runs the client at the owner's machine.
    #[track_caller]
    fn fwknop(&self, arguments: &[&str]) {
        let client = &self.net.client.namespace;
        self.owner.send(client, self.router(), arguments).ok();
    }

    fn packet(&self, arguments: &[&str]) -> Vec<u8> {
        let client = &self.net.client.namespace;
        self.owner.packet(client, self.router(), arguments)
    }

    fn send(&self, packet: &[u8]) {
        fwknop::send(&self.net.client.namespace, packet, self.port());
    }

    fn is_granted(&self, source: &str) -> bool {
        let source: IpAddr = source.parse().expect("an address");
        nft::addresses(&self.net.router.namespace, "inet postern").contains(&source)
    }

    #[track_caller]
    fn expect_open(&self) {
        let ssh = self.net.router.port(Family::V4, 22);
        let client = &self.net.client.namespace;
        assert!(probe::tcp_opens(client, ssh, SOON), "it does not open");
    }

    #[track_caller]
    fn expect_shut(&self) {
        let ssh = self.net.router.port(Family::V4, 22);
        assert_ne!(probe::tcp(&self.net.client.namespace, ssh), Answer::Open);
    }

    #[track_caller]
    fn close(&self) {
        self.setup.verb(&self.net.router, "close", &["ssh"]).ok();
    }

    fn count(&self, reason: &str) -> u64 {
        self.setup.counter(&self.net.router, reason)
    }

    /// Waits until one more was refused for this reason, and makes sure that nothing opened.
    #[track_caller]
    fn expect_refused(&self, reason: &str, act: impl FnOnce()) {
        let before = self.count(reason);
        act();
        poll_until(SOON, reason, || self.count(reason) > before);
        self.expect_shut();
    }
}

const OWNER: &str = "192.0.2.2";

fn the_stock_client_opens_by_every_source() {
    for source in ["nflog", "packet", "sockets"] {
        in_case_of(source, || {
            for guard in Guard::BOTH {
                let net = Topology::new();
                let keys = Keys::base64([1, 2]);
                let setup = Setup::new(&net.router, guard, DOOR);
                setup.write_private("ssh.key", &keys.file());
                setup.hear_by(&format!("\toption source '{source}'\n"));
                setup.rewrite(DOOR);
                let _ssh = Service::tcp(&net.router.namespace, 22);
                let agent = setup.start(&net.router);
                let ssh = net.router.port(Family::V4, 22);
                let client = &net.client.namespace;
                assert_ne!(probe::tcp(client, ssh), Answer::Open);
                let owner = Fwknop::new(keys);
                owner
                    .send(client, net.router.v4.into(), &["-a", OWNER])
                    .ok();
                assert!(probe::tcp_opens(client, ssh, SOON));
                assert_ne!(probe::tcp(&net.stranger.namespace, ssh), Answer::Open);
                agent.stop();
            }
        });
    }
}

fn every_kind_of_key_and_hmac_opens() {
    let passphrases = Keys::passphrases("correct horse", "battery staple");
    for (hmac, keys) in [
        ("sha256", Keys::base64([3, 4])),
        ("sha256", passphrases.clone()),
        ("sha512", Keys::base64([5, 6])),
        ("sha512", passphrases.clone()),
        ("sha384", Keys::base64([7, 8])),
        ("sha1", Keys::base64([9, 10])),
        ("md5", passphrases),
    ] {
        in_case_of((hmac, &keys.clone()), || {
            let doors = format!("{DOOR}\toption hmac '{hmac}'\n");
            let stage = Stage::with_keys(&doors, keys);
            let agent = stage.setup.start(&stage.net.router);
            stage.fwknop(&["-a", OWNER, "--hmac-digest-type", hmac]);
            stage.expect_open();
            agent.stop();
        });
    }
}

/// `fwknop -R`, at a web server of our own.
fn an_address_that_a_web_server_tells_opens() {
    let stage = Stage::new(DOOR);
    let agent = stage.setup.start(&stage.net.router);
    let stranger = &stage.net.stranger;
    let _web = Service::http_saying(&stranger.namespace, 80, OWNER);
    let url = format!("http://{}/", stranger.v4);
    stage.fwknop(&["-R", "--resolve-url", &url, "--resolve-http-only"]);
    stage.expect_open();
    agent.stop();
}

fn the_client_says_for_how_long() {
    let stage = Stage::new(&format!("{DOOR}\toption grant_max '2m'\n"));
    let agent = stage.setup.start(&stage.net.router);
    for (asked, lasting) in [("60", "1m"), ("4000", "2m"), ("0", "30s"), ("1", "1s")] {
        in_case_of(asked, || {
            stage.close();
            stage.fwknop(&["-a", OWNER, "-f", asked]);
            let line = format!("door ssh: open for {OWNER} for {lasting}\n");
            poll_until(SOON, &line, || agent.log().contains(&line));
        });
    }
    agent.stop();
}

fn what_is_refused_is_counted_by_its_reason() {
    let stage = Stage::new(&format!("{DOOR}\toption user 'alice'\n"));
    let agent = stage.setup.start(&stage.net.router);
    let alice = ["-a", OWNER, "-U", "alice"];
    let with = |more: &[&'static str]| stage.packet(&[&alice, more].concat());
    let refused = |reason: &str, packet: &[u8]| {
        in_case_of(reason, || {
            stage.expect_refused(reason, || stage.send(packet))
        });
    };
    let good = with(&[]);
    stage.send(&good);
    stage.expect_open();
    stage.close();
    refused("replayed", &good);
    refused("age", &with(&["--time-offset-minus", "10M"]));
    refused("age", &with(&["--time-offset-plus", "10M"]));
    refused("user", &stage.packet(&["-a", OWNER, "-U", "mallory"]));
    refused("ports", &with(&["-A", "tcp/22,tcp/23"]));
    refused("ports", &with(&["-A", "udp/22"]));
    refused("address", &stage.packet(&["-s", "-U", "alice"]));
    refused("type", &with(&["--nat-local", "--nat-port", "2222"]));
    let mut changed = with(&[]);
    changed[40] = if changed[40] == b'A' { b'B' } else { b'A' };
    refused("unauthentic", &changed);
    let mut spoilt = with(&[]);
    spoilt[40] = b'-';
    refused("form", &spoilt);
    let mut longer = with(&[]);
    longer.push(b'A');
    refused("length", &longer);
    let stranger = Fwknop::new(Keys::base64([1, 9]));
    let client = &stage.net.client.namespace;
    refused(
        "unauthentic",
        &stranger.packet(client, stage.router(), &alice),
    );
    // The clock's mistake is told in words, its owner's.
    assert!(agent.log().contains("10m"), "{}", agent.log());
    stage.send(&with(&[]));
    stage.expect_open();
    agent.stop();
}

fn whom_it_lets_in_is_the_policy_to_say() {
    let other = "198.51.100.7";
    for (policy, arguments, opened) in [
        ("named", ["-a", OWNER], Some(OWNER)),
        ("named", ["-a", other], Some(other)),
        ("named", ["-s", "-v"], None),
        ("sender", ["-a", OWNER], Some(OWNER)),
        ("sender", ["-a", other], None),
        ("sender", ["-s", "-v"], None),
        ("any", ["-a", other], Some(other)),
        ("any", ["-s", "-v"], Some(OWNER)),
    ] {
        in_case_of((policy, arguments), || {
            let stage = Stage::new(&format!("{DOOR}\toption allow '{policy}'\n"));
            let agent = stage.setup.start(&stage.net.router);
            match opened {
                Some(address) => {
                    stage.fwknop(&arguments);
                    poll_until(SOON, "a grant", || stage.is_granted(address));
                }
                None => stage.expect_refused("address", || stage.fwknop(&arguments)),
            }
            agent.stop();
        });
    }
}

fn doors_at_one_port_have_keys_of_their_own() {
    let doors = format!(
        "{DOOR}
config door 'web'
	list guard 'tcp:443'
	option method 'spa'
	option key_file '@/web.key'
	option hmac 'sha512'
"
    );
    let stage = Stage::new(&doors);
    let keys = Keys::passphrases("open web", "authentic web");
    stage.setup.write_private("web.key", &keys.file());
    let web = Fwknop::new(keys);
    let agent = stage.setup.start(&stage.net.router);
    let client = &stage.net.client.namespace;
    let of_web = ["--hmac-digest-type", "sha512", "-a", OWNER, "-A", "tcp/443"];
    web.send(client, stage.router(), &of_web).ok();
    poll_until(SOON, "the second door", || {
        agent.log().contains("door web: open for")
    });
    assert!(!agent.log().contains("door ssh: open for"));
    stage.fwknop(&["-a", OWNER]);
    stage.expect_open();
    // What one door's keys authenticate opens no other.
    stage.expect_refused_at_web(&web, &["--hmac-digest-type", "sha512", "-a", OWNER]);
    agent.stop();
}

impl Stage {
    #[track_caller]
    fn expect_refused_at_web(&self, web: &Fwknop, arguments: &[&str]) {
        let before = self.count("ports");
        let client = &self.net.client.namespace;
        web.send(client, self.router(), arguments).ok();
        poll_until(SOON, "ports", || self.count("ports") > before);
    }
}

/// Only what has the length and the first octet of a datagram costs the agent a look.
fn what_cannot_be_a_datagram_stays_in_the_kernel() {
    let stage = Stage::new(DOOR);
    let agent = stage.setup.start(&stage.net.router);
    let good = stage.packet(&["-a", OWNER]);
    stage.send(b"");
    stage.send(b"8");
    stage.send(&[b'8'; 161]);
    stage.send(&[b'8'; 397]);
    for first in (0..=u8::MAX).filter(|first| !b"+/89".contains(first)) {
        let mut packet = good.clone();
        packet[0] = first;
        stage.send(&packet);
    }
    for first in *b"+/89" {
        let mut packet = good.clone();
        packet[0] = first;
        if packet != good {
            stage.send(&packet);
        }
    }
    poll_until(SOON, "what looks like a datagram", || {
        stage.count("unauthentic") == 3
    });
    stage.send(&good);
    stage.expect_open();
    for reason in ["form", "length", "truncated", "malformed"] {
        assert_eq!(stage.count(reason), 0, "{reason}");
    }
    agent.stop();
}

/// Nobody has to guess a key to be heard, and whoever forges senders would shut their owners out.
fn a_source_that_is_cut_off_is_heard_all_the_same() {
    let doors = format!(
        "{DOOR}
config door 'old'
	list guard 'tcp:23'
	option method 'sequence-separate'
	list open 'tcp:7003'
	list open 'tcp:7001'
	list open 'tcp:7002'
	option decoys '0'
	option cutoff '1 per 10m'
"
    );
    let stage = Stage::new(&doors);
    let agent = stage.setup.start(&stage.net.router);
    let router = stage.net.router.v4.into();
    for port in [7003, 7002] {
        probe::tcp(&stage.net.client.namespace, SocketAddr::new(router, port));
    }
    poll_until(SOON, "a cut-off", || agent.log().contains("cut off for"));
    stage.fwknop(&["-a", OWNER]);
    stage.expect_open();
    agent.stop();
}

fn nothing_opens_twice_after_a_restart() {
    let stage = Stage::new(DOOR);
    let agent = stage.setup.start(&stage.net.router);
    let [first, second] = [(); 2].map(|()| stage.packet(&["-a", OWNER]));
    stage.send(&second);
    stage.expect_open();
    agent.kill();
    stage.setup.verb(&stage.net.router, "remove", &[]).ok();
    let agent = stage.setup.start(&stage.net.router);
    for packet in [&second, &first] {
        stage.expect_refused("used", || stage.send(packet));
    }
    // Another second.
    poll_until(SOON, "a later datagram opens", || {
        stage.fwknop(&["-a", OWNER]);
        stage.is_granted(OWNER)
    });
    agent.stop();
}

fn nothing_opens_twice_whatever_call_was_the_last() {
    let stage = Stage::new(DOOR);
    let opens_before_death = |packet: &[u8], at: Option<(&str, usize)>| {
        let mut agent = stage.setup.start(&stage.net.router);
        stage.close();
        let strace = match at {
            Some((call, nth)) => Strace::killing_at(agent.id(), call, nth),
            None => Strace::counting(agent.id()),
        };
        stage.send(packet);
        poll_until(SOON, "the door opens or the agent dies", || {
            agent.has_ended() || stage.is_granted(OWNER)
        });
        let calls: Vec<(String, usize)> = strace.detach().into_iter().collect();
        let opened = stage.is_granted(OWNER);
        agent.kill();
        (opened, calls)
    };
    // With keys of its own, nothing was used.
    let fresh = || {
        let state = stage.setup.path("state/ssh");
        let _ = std::fs::remove_file(state);
        stage.setup.verb(&stage.net.router, "remove", &[]).ok();
        stage.packet(&["-a", OWNER, "--time-offset-plus", "60"])
    };
    let (opened, calls) = opens_before_death(&fresh(), None);
    assert!(opened);
    let mut shut = 0;
    for (call, count) in calls
        .iter()
        .filter(|(call, _)| SAVING.contains(&call.as_str()))
    {
        for nth in 1..=*count {
            in_case_of((call, nth), || {
                let packet = fresh();
                let (opened, _) = opens_before_death(&packet, Some((call, nth)));
                shut += usize::from(!opened);
                let agent = stage.setup.start(&stage.net.router);
                stage.close();
                let before = stage.count("accepted") + stage.count("used");
                stage.send(&packet);
                poll_until(SOON, "a verdict", || {
                    stage.count("accepted") + stage.count("used") > before
                });
                let again = stage.count("accepted") > 0;
                assert!(!(opened && again), "it opened twice");
                stage.expect_refused_or_open(again);
                agent.stop();
            });
        }
    }
    assert!(shut > 3, "it hardly ever died before the door was open");
}

impl Stage {
    #[track_caller]
    fn expect_refused_or_open(&self, open: bool) {
        match open {
            true => self.expect_open(),
            false => self.expect_shut(),
        }
    }
}

/// Ten thousand a second, each from another address, each with the length and the letters of a genuine one.
fn honest_datagrams_open_under_a_flood_of_forged_ones() {
    const RATE: u32 = 10_000;
    let stage = Stage::new(DOOR);
    let agent = stage.setup.start(&stage.net.router);
    let people: Vec<String> = (1..=20).map(|last| format!("198.51.100.{last}")).collect();
    let packets: Vec<Vec<u8>> = people
        .iter()
        .map(|who| stage.packet(&["-a", who]))
        .collect();
    let like = stage.packet(&["-a", OWNER]);
    let flooder = Sender::new(&stage.net.stranger.namespace);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let is_over = || stop.load(Ordering::Relaxed);
            flooder.flood_like(stage.port(), &like, RATE, is_over)
        });
        poll_until(SOON, "the flood", || stage.count("unauthentic") > 1_000);
        for (who, packet) in people.iter().zip(&packets) {
            stage.send(packet);
            poll_until(SOON, who, || stage.is_granted(who));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(stage.count("budget"), 0);
    assert!(!stage.is_granted(OWNER));
    agent.stop();
}

fn without_its_keys_a_door_stays_shut() {
    let stage = Stage::new(DOOR);
    let file = stage.setup.path("ssh.key");
    for (text, said) in [
        ("", "KEY"),
        ("KEY_BASE64 AAAA\n", "HMAC_KEY"),
        ("KEY same\nHMAC_KEY same\n", "same"),
        ("KEY_BASE64 A*A\nHMAC_KEY x\n", "base 64"),
    ] {
        in_case_of(text, || {
            std::fs::write(&file, text).expect("write");
            let agent = stage.setup.start(&stage.net.router);
            let status = stage.setup.verb(&stage.net.router, "status", &[]).ok();
            assert!(
                status.contains("shut: ") && status.contains(said),
                "{status}"
            );
            let checked = stage.setup.verb(&stage.net.router, "check", &[]);
            assert_eq!(checked.status, 1);
            agent.stop();
        });
    }
    std::fs::remove_file(&file).expect("remove");
    let agent = stage.setup.start(&stage.net.router);
    let status = stage.setup.verb(&stage.net.router, "status", &[]).ok();
    assert!(status.contains("postern keygen ssh"), "{status}");
    let made = stage.setup.verb(&stage.net.router, "keygen", &["ssh"]).ok();
    let keys: Vec<String> = made
        .split_whitespace()
        .filter_map(|word| Some(word.split_once("KEY_BASE64:")?.1.to_owned()))
        .collect();
    let [key, hmac] = keys.try_into().expect("two keys");
    let owner = Fwknop::new(Keys::Base64([key, hmac]));
    let client = &stage.net.client.namespace;
    owner.send(client, stage.router(), &["-a", OWNER]).ok();
    stage.expect_open();
    agent.stop();
}

fn our_own_client_opens_over_both_families() {
    for allow in ["named", "sender", "any"] {
        for family in [Family::V4, Family::V6] {
            in_case_of((allow, family), || {
                let stage = Stage::new(&format!("{DOOR}\toption allow '{allow}'\n"));
                let (router, client) = (&stage.net.router, &stage.net.client);
                let made = stage.setup.verb(router, "keygen", &["ssh", "--force"]);
                made.ok();
                let section = stage.setup.verb(router, "export", &["ssh"]).ok();
                let visitor = Visitor::new(&stage.net, "");
                let keys = std::fs::read_to_string(stage.setup.path("ssh.key")).expect("keys");
                let copy = visitor.write("ssh.key", &keys);
                let (theirs, own) = (stage.setup.path("ssh.key"), copy.display().to_string());
                let file = section.replace(&theirs.display().to_string(), &own);
                let visitor = Visitor::new(&stage.net, &file);
                visitor.write("ssh.key", &keys);
                let agent = stage.setup.start(router);
                let option = if family == Family::V4 { "-4" } else { "-6" };
                let said = visitor.knock(
                    client,
                    &[ROUTER, "ssh", option, "--wait=10s", "--for", "45s"],
                );
                assert_eq!(said.status, 0, "{} {}", said.stdout, said.stderr);
                assert_eq!(
                    probe::tcp(&client.namespace, router.port(family, 22)),
                    Answer::Open
                );
                let line = format!("open for {} for 45s", client.address(family));
                poll_until(SOON, &line, || agent.log().contains(&line));
                agent.stop();
            });
        }
    }
}

/// Whoever moves to fwknop's client pastes what `postern export` says.
fn what_is_exported_is_what_fwknop_takes() {
    let doors =
        format!("{DOOR}\toption hmac 'sha512'\n\toption allow 'any'\n\toption user 'alice'\n");
    let stage = Stage::new(&doors);
    let router = &stage.net.router;
    stage.setup.verb(router, "keygen", &["ssh", "--force"]).ok();
    let text = stage
        .setup
        .verb(router, "export", &["ssh", "--secret"])
        .ok();
    let stanza = text.lines().skip_while(|line| !line.contains("[ssh]"));
    let stanza: String = stanza
        .map_while(|line| line.strip_prefix("#   "))
        .map(|line| line.replace("HOST", &router.v4.to_string()) + "\n")
        .collect();
    let agent = stage.setup.start(router);
    let said = Fwknop::by_rc_file(&stanza).send_named(&stage.net.client.namespace, "ssh");
    assert_eq!(said.status, 0, "{stanza} {} {}", said.stdout, said.stderr);
    stage.expect_open();
    agent.stop();
}
