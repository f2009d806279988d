//! The way in with nothing but a phone and netcat: the app shows a code, its owner makes two
//! ports of it, and sends a packet to each.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use postern_tests::agent::{Guard, Setup};
use postern_tests::knocker::{FENCE, Knock, Knocker, fence};
use postern_tests::otp::{self, App};
use postern_tests::probe::{self, Answer};
use postern_tests::process::run;
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::suite::Suite;
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until, until_aged};
use postern_tests::{clock, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        a_clock_code_opens_once_by_tcp needs "oathtool" "nc",
        a_clock_code_opens_once_by_udp needs "oathtool" "nc",
        a_counter_code_opens_once_and_spends_those_before_it needs "oathtool" "nc",
        a_counter_beyond_the_window_is_found_again needs "oathtool" "nc",
        a_new_secret_replaces_the_old_one needs "oathtool" "nc",
        status_says_why_a_clock_door_is_shut,
        a_clock_that_is_hours_ahead_is_named needs "oathtool" "gcc" "jq",
        a_clock_that_is_hours_behind_is_named needs "oathtool" "gcc" "jq",
        without_a_memory_it_is_said_from_when_on_codes_count needs "oathtool" "nc",
        a_counter_without_a_memory_says_so_to_who_knocks needs "oathtool",
    ]
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

    /// An app, and a moment whose code and those beside it are no other's of these days: so many codes are
    /// among six digits more than once.
    fn keygen_unlike_others(&self) -> (App, u64) {
        loop {
            let app = self.keygen(&["--force"]);
            let (step, day) = (app.step(), 86_400 / app.period);
            let codes = app.codes(step - day, 2 * day as usize);
            let halves = |code: &str| {
                let mut halves = [&code[..3], &code[3..]].map(str::to_owned);
                halves.sort();
                halves
            };
            let is_alone = |code: u64| {
                let shown = halves(&app.code(code));
                codes.iter().filter(|code| halves(code) == shown).count() == 1
            };
            if (step - 1..=step + 1).all(is_alone) {
                return (app, step);
            }
        }
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

    /// As it would be knocked by an app.
    fn knock_at_once(&self, code: &str) {
        let (owner, router) = (
            self.net.client.address(self.family),
            self.net.router.address(self.family),
        );
        let knocks = otp::knocks(code, BASE, [self.protocol; 2]);
        Knocker::new(&self.sender, owner, router).send(&knocks);
    }

    /// The client is not cut off.
    #[track_caller]
    fn expect_heard(&self) {
        let (client, router) = (self.net.client.address(self.family), &self.net.router);
        poll_until(SOON, "the client is listened to", || {
            let knocker = Knocker::new(&self.sender, client, router.address(self.family));
            knocker.send(&[Knock::Udp(1998)]);
            nft::granted(&router.namespace, "fence", client).is_some()
        });
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
    agent.stop();
    let agent = stage.setup.start(&stage.net.router);
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
    let agent = stage.setup.start(&stage.net.router);
    for used in ["0", "3"] {
        stage.expect_refusal(&shown(used));
    }
    agent.stop();
    // What was guessed is forgotten.
    let _agent = stage.setup.start(&stage.net.router);
    stage.expect_open(&shown("4"));
}

fn a_counter_beyond_the_window_is_found_again() {
    let stage = Stage::counter();
    let app = stage.keygen(&[]);
    let agent = stage.setup.start(&stage.net.router);
    let shown = |counter: &str| oathtool(&["--hotp", "-b", "-c", counter, app.secret()]);
    // Ten codes are acceptable, 0 to 9.
    stage.expect_refusal(&shown("10"));
    agent.stop();
    let agent = stage.setup.start(&stage.net.router);
    stage.expect_open(&shown("9"));
    stage.expect_refusal(&shown("20"));
    let two = format!("{},{}", shown("20"), shown("21"));
    let resync = ["ssh", "--code", &two];
    stage.setup.verb(&stage.net.router, "resync", &resync).ok();
    for used in ["10", "20", "21"] {
        stage.expect_refusal(&shown(used));
    }
    agent.stop();
    let _agent = stage.setup.start(&stage.net.router);
    stage.expect_open(&shown("22"));
}

fn a_new_secret_replaces_the_old_one() {
    let stage = Stage::counter();
    let agent = stage.setup.start(&stage.net.router);
    let old = stage.keygen(&[]);
    let again = stage.setup.verb(&stage.net.router, "keygen", &["ssh"]);
    assert_eq!(again.status, 1, "{}", again.stderr);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    stage.expect_open(&old.code(0));
    let new = stage.keygen(&["--force"]);
    assert_ne!(old.secret(), new.secret());
    stage.expect_refusal(&old.code(1));
    agent.stop();
    let _agent = stage.setup.start(&stage.net.router);
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

/// Five failures, and nobody is heard any more. Codes of 5 s, so that the clock is looked at as often.
const STRICT: &str = "\toption method 'one-time-clock'\n\toption cutoff '5 per 10m'\n\toption period '5s'\n\
                      \toption skew '10'\n";

/// What a phone's owner sees, after some codes, of an agent whose clock is so many seconds ahead.
fn a_clock_that_is_off_is_named(family: Family, ahead: i64, expected: &str) {
    let stage = Stage::new(family, Knock::Udp, STRICT);
    clock::set(&stage.setup, ahead);
    let mut agent = clock::start(&stage.setup, &stage.net.router);
    let (app, step) = stage.keygen_unlike_others();
    let from = stage.net.client.address(family);
    stage.knock_at_once(&app.code(step));
    let said = format!("{from} knocked is of {expected}");
    poll_until(SOON, "the log names the clock", || {
        agent.log().contains(&said)
    });
    // The same again, as somebody would try it, and those before and after it; all that at once.
    for code in [step, step, step + 1, step - 1, step, step + 1] {
        stage.knock_at_once(&app.code(code));
    }
    // A cut-off that this led to is over as soon as it was looked at.
    poll_until(SOON, "more than one code told it", || {
        stage.knock_at_once(&app.code(step + 1));
        agent.log().contains("clock seems 4h")
    });
    let status = stage.status();
    let line = status.lines().find(|line| line.starts_with("  clock: "));
    let line = line.unwrap_or_else(|| panic!("no clock in {status}"));
    let side = expected
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .trim_end_matches('?');
    let seems = format!("the codes that {from} knocks are of 4h ");
    assert!(
        line.contains(&seems)
            && line.contains(&format!("clock seems 4h {side}. 'date -u' says 20")),
        "{line}"
    );
    let json = stage
        .setup
        .verb(&stage.net.router, "status", &["--json"])
        .ok();
    let filter = ".doors[] | select(.name == \"ssh\") | .clock.ahead_ms";
    let ahead_ms = run(std::process::Command::new("jq").arg(filter), &json).ok();
    assert_eq!(ahead_ms.trim_end(), (ahead * 1000).to_string());
    let doctor = |arguments: &[&str]| {
        stage
            .setup
            .verb(&stage.net.router, "doctor", arguments)
            .stdout
    };
    let finding = format!("warning: clock-off: door ssh: {seems}");
    assert!(doctor(&[]).contains(&finding), "{}", doctor(&[]));
    assert!(
        doctor(&["--json"]).contains("\"id\":\"clock-off\""),
        "{}",
        doctor(&["--json"])
    );
    // The owner was not cut off, and is let in as soon as the clock is right.
    assert!(!stage.is_open());
    assert_eq!(stage.setup.counter(&stage.net.router, "opened"), 0);
    stage.expect_heard();
    clock::set(&stage.setup, 0);
    let mut ahead = 1;
    poll_until(SOON, "a code opens", || {
        // It asks for codes in a row, and listens after a second of silence.
        until_aged(Instant::now(), Duration::from_millis(1_100));
        for _ in 0..3 {
            ahead = ahead % 9 + 1;
            stage.knock_at_once(&app.code(app.step() + ahead));
        }
        stage.is_open()
    });
    let status = stage.status();
    assert!(!status.contains("  clock: "), "{status}");
    agent.wait_for_line("postern: door ssh: open for");
}

fn a_clock_that_is_hours_ahead_is_named() {
    a_clock_that_is_off_is_named(
        Family::V4,
        14_400,
        "4h ago: is this machine's clock 4h ahead?",
    );
}

fn a_clock_that_is_hours_behind_is_named() {
    a_clock_that_is_off_is_named(
        Family::V6,
        -14_400,
        "4h from now: is this machine's clock 4h behind?",
    );
}

fn without_a_memory_it_is_said_from_when_on_codes_count() {
    // One period on, the code of a phone that is ahead would count.
    let stage = Stage::new(Family::V4, Knock::Udp, &STRICT.replace("'5s'", "'1h'"));
    let app = stage.keygen(&[]);
    std::fs::remove_file(stage.setup.path("state/ssh")).expect("lose the memory");
    let mut agent = stage.setup.start(&stage.net.router);
    agent.wait_for_line("postern: door ssh: codes count from 20");
    let status = stage.status();
    let line = status
        .lines()
        .find(|line| line.starts_with("  waits: codes count from 20"));
    assert!(
        line.is_some_and(|line| line.contains(" UTC on, in ")),
        "{status}"
    );
    let json = stage
        .setup
        .verb(&stage.net.router, "status", &["--json"])
        .ok();
    assert!(json.contains("\"waits\":\"codes count from 20"), "{json}");
    // Until then every code is refused, and nobody is cut off for it.
    for _ in 0..4 {
        stage.knock_at_once(&app.code(app.step()));
    }
    let from = stage.net.client.address(Family::V4);
    agent.wait_for_line(&format!(
        "postern: door ssh: {from} knocks in vain: codes count from 20"
    ));
    stage.expect_heard();
}

fn a_counter_without_a_memory_says_so_to_who_knocks() {
    let stage = Stage::new(
        Family::V4,
        Knock::Udp,
        "\toption method 'one-time-seed'\n\toption cutoff '5 per 10m'\n",
    );
    let app = stage.keygen(&[]);
    std::fs::remove_file(stage.setup.path("state/ssh")).expect("lose the memory");
    let mut agent = stage.setup.start(&stage.net.router);
    for counter in 0..4 {
        stage.knock_at_once(&app.code(counter));
    }
    let from = stage.net.client.address(Family::V4);
    agent.wait_for_line(&format!(
        "postern: door ssh: {from} knocks in vain: what was used is not known"
    ));
    stage.expect_heard();
    stage
        .setup
        .verb(&stage.net.router, "resync", &["ssh", "--to", "9"])
        .ok();
    stage.knock_at_once(&app.code(30));
    agent.wait_for_line(&format!(
        "postern: door ssh: {from} knocked a code that is 21 ahead of the next"
    ));
    // That was a guess, and the door asks for two.
    until_aged(Instant::now(), Duration::from_millis(1_100));
    stage.knock_at_once(&app.code(9));
    stage.knock_at_once(&app.code(10));
    poll_until(SOON, "the next codes open", || stage.is_open());
}

fn oathtool(arguments: &[&str]) -> String {
    let mut oathtool = std::process::Command::new("oathtool");
    let said = run(oathtool.args(arguments), "").ok();
    said.trim_end().to_string()
}
