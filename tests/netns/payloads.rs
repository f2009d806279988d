//! Knocks dressed as other protocols: Wireshark believes them, and doors insist on them.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use postern_tests::agent::{Guard, Setup};
use postern_tests::probe::{self, Answer};
use postern_tests::process::{Process, run};
use postern_tests::scratch::Scratch;
use postern_tests::server::Service;
use postern_tests::suite;
use postern_tests::suite::{Suite, in_case_of, on_both_families};
use postern_tests::topology::{Family, Host, Topology, WAN};
use postern_tests::visitor::{ROUTER, Visitor};
use postern_tests::wait::{SOON, poll_until};

pub(crate) fn suite() -> Suite {
    suite![
        wireshark_believes_every_dress needs "tshark" "tcpdump" "setpriv" "unshare",
        a_door_opens_to_the_dress_that_it_requires_alone needs "setpriv" "unshare",
    ]
}

/// A dress, its usual port, an odd one, the guarded port, and Wireshark's name for it.
struct Dress {
    payload: &'static str,
    usual: u16,
    odd: u16,
    guarded: u16,
    protocol: &'static str,
}

const DRESSES: [Dress; 4] = [
    Dress {
        payload: "dns",
        usual: 53,
        odd: 7301,
        guarded: 2201,
        protocol: "DNS",
    },
    Dress {
        payload: "ntp",
        usual: 123,
        odd: 7302,
        guarded: 2202,
        protocol: "NTP",
    },
    Dress {
        payload: "stun",
        usual: 3478,
        odd: 7303,
        guarded: 2203,
        protocol: "STUN",
    },
    Dress {
        payload: "quic",
        usual: 443,
        odd: 7304,
        guarded: 2204,
        protocol: "QUIC",
    },
];

impl Dress {
    /// A door with this name that requires `payload`.
    fn door(&self, name: &str, payload: &str) -> String {
        let Self {
            usual,
            odd,
            guarded,
            ..
        } = self;
        format!(
            "config door '{name}'\n\tlist guard 'tcp:{guarded}'\n\
             \toption method 'sequence-separate'\n\tlist open 'udp:{odd}'\n\
             \tlist open 'udp:{usual}'\n{payload}\n"
        )
    }
}

/// Doors that require their dress.
fn doors() -> String {
    let door = |dress: &Dress| {
        let payload = format!("\toption payload '{}'", dress.payload);
        dress.door(dress.payload, &payload)
    };
    DRESSES.iter().map(door).collect()
}

const fn option(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

/// What tcpdump writes while it runs.
struct Recording {
    tcpdump: Process,
    scratch: Scratch,
}

impl Recording {
    /// Begins; when this returns, nothing is missed any more.
    fn start(host: &Host) -> Self {
        let scratch = Scratch::new();
        let log = std::fs::File::create(scratch.join("log")).expect("make a log");
        let mut command = Command::new("tcpdump");
        command.args(["-Z", "root", "--immediate-mode", "-U", "-i", WAN, "-w"]);
        command.arg(scratch.join("packets")).arg("udp");
        command.stdin(Stdio::null()).stderr(log);
        let tcpdump = host.namespace.spawn(&mut command);
        poll_until(SOON, "tcpdump listens", || {
            let said = std::fs::read_to_string(scratch.join("log"));
            said.is_ok_and(|said| said.contains("listening on"))
        });
        Self { tcpdump, scratch }
    }

    /// Ends once it has what was sent until now.
    fn stop(mut self, from: &Host, to: SocketAddr) -> Scratch {
        probe::udp(&from.namespace, to);
        poll_until(SOON, "the last packet is recorded", || {
            let last = format!("udp.dstport == {}", to.port());
            // A file that still grows may be cut off.
            let mut tshark = tshark(&self.scratch);
            !run(tshark.args(["-Y", &last]), "").stdout.is_empty()
        });
        self.tcpdump.signal(Signal::SIGINT);
        self.tcpdump.wait(SOON);
        self.scratch
    }
}

/// tshark, told which protocol our ports speak.
fn tshark(scratch: &Scratch) -> Command {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(scratch.join("packets"));
    for dress in &DRESSES {
        for port in [dress.usual, dress.odd] {
            tshark.args(["-d", &format!("udp.port=={port},{}", dress.payload)]);
        }
    }
    tshark
}

/// What tshark says of each packet to `host` that passes the filter, field by field.
fn dissected(scratch: &Scratch, host: IpAddr, filter: &str, fields: &[&str]) -> Vec<String> {
    let destination = if host.is_ipv4() { "ip.dst" } else { "ipv6.dst" };
    let mut tshark = tshark(scratch);
    tshark.args([
        "-Y",
        &format!("{destination} == {host} && ({filter})"),
        "-T",
        "fields",
    ]);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let said = run(&mut tshark, "").ok();
    said.lines().map(ToString::to_string).collect()
}

fn wireshark_believes_every_dress() {
    on_both_families(|family| {
        let net = Topology::new();
        let visitor = Visitor::new(&net, &doors());
        let recording = Recording::start(&net.router);
        for dress in &DRESSES {
            visitor
                .knock(&net.client, &[option(family), ROUTER, dress.payload])
                .ok();
        }
        let scratch = recording.stop(&net.client, net.router.port(family, 9));
        let host = net.router.address(family);
        let seen = dissected(
            &scratch,
            host,
            "udp.dstport != 9",
            &["udp.dstport", "_ws.col.Protocol"],
        );
        let expected: Vec<String> = DRESSES
            .iter()
            .flat_map(|dress| {
                [dress.odd, dress.usual].map(|port| format!("{port}\t{}", dress.protocol))
            })
            .collect();
        assert_eq!(seen, expected);
        let malformed = "_ws.malformed || _ws.expert.severity == error";
        assert_eq!(
            dissected(&scratch, host, malformed, &["frame.protocols"]),
            [""; 0]
        );
        // What is encrypted in a version that nobody speaks cannot be read, and that is all.
        // Whoever sends from a port between 33434 and 33523 may be a traceroute; the kernel chooses ours.
        let filter = "_ws.expert && !(_ws.expert.message contains \"traceroute\")";
        let doubts = dissected(&scratch, host, filter, &["_ws.expert.message"]);
        assert!(
            doubts
                .iter()
                .all(|doubt| doubt.starts_with("Decryption failed: ")),
            "{doubts:?}"
        );
        assert!(doubts.len() <= 2, "{doubts:?}");
        let quic = ["quic.long.packet_type", "quic.packet_length", "quic.length"];
        let packets = dissected(&scratch, host, "quic", &quic);
        assert_eq!(packets, ["0\t1200\t1174"; 2]);
        let asked = dissected(&scratch, host, "dns", &["dns.qry.name"]);
        assert_eq!(asked, ["example.com"; 2]);
    });
}

fn a_door_opens_to_the_dress_that_it_requires_alone() {
    on_both_families(|family| {
        let net = Topology::new();
        let _services = DRESSES.map(|dress| Service::tcp(&net.router.namespace, dress.guarded));
        let setup = Setup::new(&net.router, Guard::Gate, &doors());
        let _agent = setup.start(&net.router);
        let right = Visitor::new(&net, &doors());
        for (dress, other) in DRESSES.iter().zip(DRESSES.iter().cycle().skip(1)) {
            in_case_of((dress.payload, family), || {
                let port = net.router.port(family, dress.guarded);
                for payload in ["", &format!("\toption payload '{}'", other.payload)] {
                    let wrong = Visitor::new(&net, &dress.door("ssh", payload));
                    wrong
                        .knock(&net.client, &[option(family), ROUTER, "ssh"])
                        .ok();
                    // Knocks are decided in the order of their arrival.
                    right
                        .knock(&net.stranger, &[option(family), ROUTER, dress.payload])
                        .ok();
                    assert!(probe::tcp_opens(&net.stranger.namespace, port, SOON));
                    assert_eq!(probe::tcp(&net.client.namespace, port), Answer::Silent);
                    setup.verb(&net.router, "close", &[dress.payload]).ok();
                }
                right
                    .knock(&net.client, &[option(family), ROUTER, dress.payload])
                    .ok();
                assert!(probe::tcp_opens(&net.client.namespace, port, SOON));
            });
        }
    });
}
