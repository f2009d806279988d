//! The way in with nothing but a phone and netcat: the app shows a code, its owner makes two
//! ports of it, and sends a packet to each.

use std::net::IpAddr;
use std::process::ExitCode;

use postern_tests::agent::{Guard, Setup};
use postern_tests::cases;
use postern_tests::knocker::{FENCE, Knock, fence};
use postern_tests::otp::{self, App};
use postern_tests::probe::{self, Answer};
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::suite;
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::SOON;

fn main() -> ExitCode {
    suite::run(cases![
        a_clock_code_opens_once_by_tcp needs "oathtool" "nc",
        a_clock_code_opens_once_by_udp needs "oathtool" "nc",
        a_counter_code_opens_once_and_spends_those_before_it needs "oathtool" "nc",
        a_counter_beyond_the_window_is_found_again needs "oathtool" "nc",
        a_new_secret_replaces_the_old_one needs "oathtool" "nc",
        status_says_why_a_clock_door_is_shut,
    ])
}

const BASE: u16 = 10_000;

struct Stage {
    net: Topology,
    family: Family,
    protocol: fn(u16) -> Knock,
    setup: Setup,
    sender: Sender,
    _ssh: Service,
}

impl Stage {
    fn new(family: Family, protocol: fn(u16) -> Knock, options: &str) -> Self {
        let net = Topology::new();
        let protocol_name = match protocol(1) {
            Knock::Tcp(_) => "tcp",
            Knock::Udp(_) => "udp",
        };
        let doors = format!(
            "{FENCE}\nconfig door 'ssh'\n\tlist guard 'tcp:22'\n\toption secret_file '@/ssh.secret'\n\
             \toption protocol '{protocol_name}'\n{options}"
        );
        Self {
            family,
            protocol,
            setup: Setup::new(&net.router, Guard::Gate, &doors),
            sender: Sender::new(&net.client.namespace),
            _ssh: Service::tcp(&net.router.namespace, 22),
            net,
        }
    }

    fn clock(family: Family, protocol: fn(u16) -> Knock) -> Self {
        Self::new(family, protocol, "\toption method 'one-time-clock'\n")
    }

    fn counter() -> Self {
        Self::new(Family::V4, Knock::Tcp, "\toption method 'one-time-seed'\n")
    }

    fn keygen(&self, arguments: &[&str]) -> App {
        let arguments = [&["ssh"], arguments].concat();
        App::scan(&self.setup.verb(&self.net.router, "keygen", &arguments).ok())
    }

    fn status(&self) -> String {
        self.setup.verb(&self.net.router, "status", &[]).ok()
    }

    /// Types the two ports of a code.
    fn knock(&self, code: &str) {
        let router = self.net.router.address(self.family);
        for knock in otp::knocks(code, BASE, [self.protocol; 2]) {
            netcat(&self.net, router, knock);
        }
    }

    fn is_open(&self) -> bool {
        let ssh = self.net.router.port(self.family, 22);
        probe::tcp(&self.net.client.namespace, ssh) == Answer::Open
    }

    /// Knocks, looks whether it opens, and shuts the door again.
    #[track_caller]
    fn expect_open(&self, code: &str) {
        self.knock(code);
        let (client, ssh) = (
            &self.net.client.namespace,
            self.net.router.port(self.family, 22),
        );
        assert!(probe::tcp_opens(client, ssh, SOON), "{code} does not open");
        let from = self.net.client.address(self.family).to_string();
        let shut = ["ssh", "--from", &from];
        self.setup.verb(&self.net.router, "close", &shut).ok();
        assert!(!self.is_open());
    }

    #[track_caller]
    fn expect_refusal(&self, code: &str) {
        self.knock(code);
        fence(&self.net, &self.sender);
        assert!(!self.is_open(), "{code} opens");
    }
}

fn netcat(net: &Topology, to: IpAddr, knock: Knock) {
    let (to, port) = (to.to_string(), knock.port().to_string());
    let (options, input): (&[&str], _) = match knock {
        // It looks as if nobody were there, so this fails by design, after a second.
        Knock::Tcp(_) => (&["-n", "-z", "-w", "1"], ""),
        Knock::Udp(_) => (&["-n", "-u", "-q", "0"], "knock\n"),
    };
    let arguments = [options, &[to.as_str(), port.as_str()]].concat();
    net.client.namespace.run_with_input("nc", &arguments, input);
}

fn a_clock_code_opens_once_by_tcp() {
    a_clock_code_opens_once(Family::V4, Knock::Tcp);
}

fn a_clock_code_opens_once_by_udp() {
    a_clock_code_opens_once(Family::V6, Knock::Udp);
}

fn a_clock_code_opens_once(family: Family, protocol: fn(u16) -> Knock) {
    let stage = Stage::clock(family, protocol);
    let agent = stage.setup.start(&stage.net.router);
    assert!(
        stage.status().contains("postern keygen ssh"),
        "{}",
        stage.status()
    );
    let app = stage.keygen(&[]);
    let before = app.step();
    let shown = oathtool(&["--totp", "-b", app.secret()]);
    let step = if app.code(before) == shown {
        before
    } else {
        before + 1
    };
    stage.expect_open(&shown);
    stage.expect_refusal(&shown);
    agent.stop();
    let agent = stage.setup.start(&stage.net.router);
    stage.expect_refusal(&shown);
    // A phone whose clock is ahead, unless the next period has begun.
    stage.expect_open(&app.code(app.step().max(step + 1)));
    agent.stop();
}

fn a_counter_code_opens_once_and_spends_those_before_it() {
    let stage = Stage::counter();
    let agent = stage.setup.start(&stage.net.router);
    let app = stage.keygen(&[]);
    let shown = |counter: &str| oathtool(&["--hotp", "-b", "-c", counter, app.secret()]);
    stage.expect_open(&shown("3"));
    for used in ["0", "1", "2", "3"] {
        stage.expect_refusal(&shown(used));
    }
    agent.kill();
    let _agent = stage.setup.start(&stage.net.router);
    for used in ["0", "3"] {
        stage.expect_refusal(&shown(used));
    }
    stage.expect_open(&shown("4"));
}

fn a_counter_beyond_the_window_is_found_again() {
    let stage = Stage::counter();
    let app = stage.keygen(&[]);
    let _agent = stage.setup.start(&stage.net.router);
    let shown = |counter: &str| oathtool(&["--hotp", "-b", "-c", counter, app.secret()]);
    // Ten codes are acceptable, 0 to 9.
    stage.expect_refusal(&shown("10"));
    stage.expect_open(&shown("9"));
    stage.expect_refusal(&shown("20"));
    let two = format!("{},{}", shown("20"), shown("21"));
    let resync = ["ssh", "--code", &two];
    stage.setup.verb(&stage.net.router, "resync", &resync).ok();
    for used in ["10", "20", "21"] {
        stage.expect_refusal(&shown(used));
    }
    stage.expect_open(&shown("22"));
}

fn a_new_secret_replaces_the_old_one() {
    let stage = Stage::counter();
    let _agent = stage.setup.start(&stage.net.router);
    let old = stage.keygen(&[]);
    let again = stage.setup.verb(&stage.net.router, "keygen", &["ssh"]);
    assert_eq!(again.status, 1, "{}", again.stderr);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    stage.expect_open(&old.code(0));
    let new = stage.keygen(&["--force"]);
    assert_ne!(old.secret(), new.secret());
    stage.expect_refusal(&old.code(1));
    stage.expect_open(&new.code(0));
}

fn status_says_why_a_clock_door_is_shut() {
    let stage = Stage::clock(Family::V4, Knock::Tcp);
    let agent = stage.setup.start(&stage.net.router);
    let json = || {
        stage
            .setup
            .verb(&stage.net.router, "status", &["--json"])
            .ok()
    };
    let expect_shut = |why: &str| {
        let (text, json) = (stage.status(), json());
        let line = text.lines().find(|line| line.starts_with("  shut: "));
        assert!(line.is_some_and(|line| line.contains(why)), "{text}");
        let (_, shut) = json.split_once("\"shut\":\"").unwrap_or_default();
        assert!(
            shut.split('"')
                .next()
                .is_some_and(|shut| shut.contains(why)),
            "{json}"
        );
    };
    let expect_usable = || {
        assert!(!stage.status().contains("shut: "), "{}", stage.status());
        assert!(json().contains("\"shut\":null"), "{}", json());
    };
    expect_shut("ssh.secret: there is no such file; 'postern keygen ssh' makes a secret");
    stage.keygen(&[]);
    expect_usable();
    agent.stop();
    std::fs::write(stage.setup.path("state/ssh"), "torn").expect("damage the memory");
    let _agent = stage.setup.start(&stage.net.router);
    expect_shut("'postern resync ssh' takes everything up to now for used");
    stage.setup.verb(&stage.net.router, "resync", &["ssh"]).ok();
    expect_usable();
}

fn oathtool(arguments: &[&str]) -> String {
    let mut oathtool = std::process::Command::new("oathtool");
    let said = postern_tests::process::run(oathtool.args(arguments), "").ok();
    said.trim_end().to_string()
}
