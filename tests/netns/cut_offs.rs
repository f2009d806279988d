//! Who fails too often: counted alike wherever it is told, shown, and pardoned.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postern_tests::agent::{Guard, Setup, program};
use postern_tests::knocker::{Knock, Knocker, list};
use postern_tests::process::Said;
use postern_tests::sender::Sender;
use postern_tests::suite::{Suite, on_both_families};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until, until_aged};
use postern_tests::{nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        failures_are_the_same_to_watch_status_and_cut_off,
        the_agent_pardons,
        without_an_agent_the_kernel_is_asked,
        many_who_are_cut_off_are_counted,
        who_is_let_in_by_hand_is_told_to_be_cut_off,
    ]
}

/// The front page's own.
const OPEN: [Knock; 3] = [Knock::Tcp(7000), Knock::Udp(8001), Knock::Tcp(6002)];
const TABLE: &str = "inet postern";

struct Stage {
    setup: Setup,
    sender: Sender,
    net: Topology,
}

impl Stage {
    fn new(options: &str) -> Self {
        let net = Topology::new();
        let open = list("open", &OPEN);
        let door = format!(
            "config door 'ssh'\n\tlist guard 'tcp:22'\n\toption method 'sequence-separate'\n{open}{options}"
        );
        Self {
            setup: Setup::new(&net.router, Guard::Gate, &door),
            sender: Sender::new(&net.client.namespace),
            net,
        }
    }

    fn verb(&self, line: &str) -> Said {
        let words: Vec<&str> = line.split(' ').collect();
        self.setup.verb(&self.net.router, words[0], &words[1..])
    }

    fn knock(&self, from: IpAddr, knocks: &[Knock]) {
        let to = self.net.router.address(match from {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        });
        Knocker::new(&self.sender, from, to).send(knocks);
    }

    fn is_cut_off(&self, whom: &str) -> bool {
        let whom = whom.parse().expect("an address");
        nft::expiry(&self.net.router.namespace, TABLE, whom).is_some()
    }

    /// As doors without jitter see it: a knock that is not the first is a failure at once.
    #[track_caller]
    fn have_cut_off(&self, from: IpAddr, whom: &str) {
        self.knock(from, &[OPEN[2]; 3]);
        poll_until(SOON, "it is cut off", || self.is_cut_off(whom));
    }

    #[track_caller]
    fn expect_open(&self, from: IpAddr) {
        self.knock(from, &OPEN);
        poll_until(SOON, "the door opens", || {
            nft::granted(&self.net.router.namespace, "ssh", from).is_some()
        });
    }
}

const STRICT: &str = "\toption jitter '0'\n\toption cutoff '3 per 10m'\n";

fn failures_are_the_same_to_watch_status_and_cut_off() {
    let stage = Stage::new("\toption jitter '10ms'\n\toption cutoff '5 per 10m'\n");
    let router = &stage.net.router;
    let _agent = stage.setup.start(router);
    let told = stage.setup.path("told");
    let file = File::create(&told).expect("make a file");
    let mut watch = Command::new(program());
    watch
        .args(["watch", "--json", "--config"])
        .arg(stage.setup.config());
    let _watch = router
        .namespace
        .spawn(watch.stdin(Stdio::null()).stdout(file));
    let lines = || fs::read_to_string(&told).expect("read what it told");
    // Begun and given up, until the watcher is there.
    poll_until(SOON, "it watches", || {
        stage.knock(stage.net.stranger.v4.into(), &OPEN[..1]);
        lines().contains("\"event\":\"knock\"")
    });
    let client = stage.net.client.v4.to_string();
    let seen = || stage.setup.counter(router, "seen");
    for round in 1..=5 {
        for knock in [OPEN[0], OPEN[2], OPEN[1]] {
            let before = seen();
            stage.knock(stage.net.client.v4.into(), &[knock]);
            poll_until(SOON, "the knock is heard", || seen() == before + 1);
            until_aged(Instant::now(), Duration::from_millis(20));
        }
        assert_eq!(stage.setup.counter(router, "failed"), round);
        assert_eq!(stage.is_cut_off(&client), round == 5, "{round}");
    }
    let failure = format!("{{\"event\":\"failure\",\"source\":\"{client}\",\"door\":\"ssh\"}}");
    poll_until(SOON, "all were told", || {
        lines().matches(&failure).count() == 5
    });
    assert_eq!(
        lines().matches("\"event\":\"failure\"").count(),
        5,
        "{}",
        lines()
    );
    assert_eq!(stage.setup.counter(router, "wrong"), 5);
    assert_eq!(stage.setup.counter(router, "cut_off"), 1);
    let status = stage.verb("status").stdout;
    assert!(
        status.contains("5 failures, sources cut off: 1"),
        "{status}"
    );
    assert!(
        status.contains(&format!("cut off: {client}, 9m 5")),
        "{status}"
    );
}

fn the_agent_pardons() {
    let stage = Stage::new(STRICT);
    let agent = stage.setup.start(&stage.net.router);
    on_both_families(|family| {
        let client = stage.net.client.address(family);
        // Whoever has an IPv6 address has all of its /64, and may be named by any of them.
        let (set, named, any) = match family {
            Family::V4 => ("192.0.2.2", "192.0.2.2", "192.0.2.2"),
            Family::V6 => ("2001:db8::", "2001:db8::/64", "2001:db8::77"),
        };
        stage.have_cut_off(client, set);
        let json = stage.verb("status --json").stdout;
        let listed =
            format!("\"cut_off_total\":1,\"cut_off\":[{{\"source\":\"{named}\",\"remaining_ms\":5");
        assert!(json.contains(&listed), "{json}");
        let said = stage.verb(&format!("pardon {any}")).ok();
        assert_eq!(said, format!("{named} is heard again\n"));
        assert!(!stage.is_cut_off(set));
        stage.expect_open(client);
        for who in [any, named] {
            let said = stage.verb(&format!("pardon {who}"));
            assert_eq!((said.status, said.stdout.as_str()), (1, ""), "{said:?}");
            assert!(
                said.stderr.contains(&format!("{named} was not cut off")),
                "{said:?}"
            );
        }
        stage.verb("close ssh").ok();
    });
    for misused in [
        "pardon",
        "pardon ssh",
        "pardon 192.0.2.2/24",
        "pardon 192.0.2.2 --all",
    ] {
        assert_eq!(stage.verb(misused).status, 2, "{misused}");
    }
    assert_eq!(stage.verb("pardon --all").ok(), "nobody was cut off\n");
    let of = |text: &str| text.parse::<IpAddr>().expect("an address");
    let [v4, v6] = ["192.0.2.20", "2001:db8:7::"].map(of);
    stage.have_cut_off(v4, "192.0.2.20");
    stage.have_cut_off(v6, "2001:db8:7::");
    assert_eq!(
        stage.verb("pardon --all").ok(),
        "2 sources are heard again\n"
    );
    stage.expect_open(v4);
    // One that others took out of the kernel's set is the engine's still.
    let stranger = stage.net.stranger.v4;
    stage.have_cut_off(stranger.into(), &stranger.to_string());
    nft::apply(
        &stage.net.router.namespace,
        "flush set inet postern cutoff4\n",
    );
    let status = stage.verb("status").stdout;
    assert!(
        status.contains(&format!("cut off: {stranger}, ")),
        "{status}"
    );
    stage.verb(&format!("pardon {stranger}")).ok();
    stage.expect_open(stranger.into());
    let log = agent.log();
    assert!(
        log.contains(&format!("by hand: {stranger} is heard again")),
        "{log}"
    );
}

fn without_an_agent_the_kernel_is_asked() {
    let stage = Stage::new(STRICT);
    let said = stage.verb("pardon 192.0.2.2");
    assert!(
        said.status == 1 && said.stderr.contains("no guard"),
        "{said:?}"
    );
    let agent = stage.setup.start(&stage.net.router);
    stage.have_cut_off(stage.net.client.v4.into(), "192.0.2.2");
    stage.have_cut_off(stage.net.client.v6.into(), "2001:db8::");
    agent.kill();
    let status = stage.verb("status").stdout;
    assert!(status.contains("cut off: 192.0.2.2, 9m "), "{status}");
    assert!(status.contains("cut off: 2001:db8::/64, 9m "), "{status}");
    let said = stage.verb("pardon 2001:db8::5").ok();
    assert_eq!(said, "2001:db8::/64 is heard again\n");
    assert_eq!(stage.verb("pardon 2001:db8::5").status, 1);
    assert!(stage.is_cut_off("192.0.2.2"));
    assert_eq!(stage.verb("pardon --all").ok(), "1 source is heard again\n");
    assert!(!stage.is_cut_off("192.0.2.2"));
    assert!(
        stage
            .verb("status --json")
            .stdout
            .contains("\"cut_off_total\":0,\"cut_off\":[]")
    );
}

fn many_who_are_cut_off_are_counted() {
    let stage = Stage::new(STRICT);
    stage.verb("apply").ok();
    let element = |number| format!("{} timeout 1h", Ipv4Addr::new(198, 51, 100, number));
    let elements: Vec<String> = (0..30).map(element).collect();
    let script = format!(
        "add element inet postern cutoff4 {{ {} }}\n",
        elements.join(", ")
    );
    nft::apply(&stage.net.router.namespace, &script);
    let status = stage.verb("status").stdout;
    assert_eq!(
        status.matches("cut off: 198.51.100.").count(),
        20,
        "{status}"
    );
    assert!(status.contains("cut off: 10 more\n"), "{status}");
    let json = stage.verb("status --json").stdout;
    assert!(json.contains("\"cut_off_total\":30,"), "{json}");
    assert_eq!(json.matches("198.51.100.").count(), 20, "{json}");
    assert_eq!(
        stage.verb("pardon --all").ok(),
        "30 sources are heard again\n"
    );
}

fn who_is_let_in_by_hand_is_told_to_be_cut_off() {
    let stage = Stage::new(STRICT);
    let _agent = stage.setup.start(&stage.net.router);
    let plain = stage.verb("open ssh --from 192.0.2.2 --for 1m").ok();
    assert_eq!(plain, "door ssh is open for 192.0.2.2 for 1m\n");
    stage.have_cut_off(stage.net.client.v4.into(), "192.0.2.2");
    let said = stage.verb("open ssh --from 192.0.2.2 --for 1m").ok();
    assert!(
        said.ends_with("; its own knocks are ignored until 'postern pardon 192.0.2.2'\n"),
        "{said}"
    );
}
