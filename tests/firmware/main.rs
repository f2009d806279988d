//! Postern as a router runs it: a static program on a small machine of another architecture, with a
//! kernel of its own, a network card, a disk, and a serial line with a shell.
//!
//! The machines are emulated by QEMU, on a wire to namespaces with real clients.
//! tests/firmware/image makes what they boot.

mod console;
mod disk;
mod machine;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use postern_tests::agent::SSH_DOOR;
use postern_tests::client;
use postern_tests::packet::Packet;
use postern_tests::probe::{self, Capture};
use postern_tests::sender::Sender;
use postern_tests::suite::{self, Case, in_case_of};
use postern_tests::topology::{Family, Host};
use postern_tests::wait::poll_until;

use crate::machine::{KINDS, Kind, PROMPTLY, Place, address, port};

/// What a test does on a machine of the kind.
type Body = fn(&'static Kind);

macro_rules! bodies {
    ($($body:ident),+ $(,)?) => {
        [$((stringify!($body), $body as Body)),+]
    };
}

fn main() -> ExitCode {
    let bodies = bodies![
        it_guards_soon_after_power_on,
        source_nflog_opens_and_closes,
        source_log_opens_and_closes,
        engine_chain_opens_and_closes,
        engine_track_opens_and_closes,
        a_wrong_knock_does_not_open,
        a_locked_out_owner_gets_in_by_the_serial_line,
    ];
    suite::run(KINDS.iter().flat_map(|kind| {
        bodies.map(|(name, body)| Case {
            name: format!("{}/{name}", kind.name).into(),
            needs: kind.needs,
            body: move || body(kind),
        })
    }))
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];
const CLOSE: [&str; 2] = ["9003", "7004"];
/// SSH's port, which is served with a greeting.
const SSH: u16 = 22;
/// WireGuard's port, where datagrams are echoed.
const VPN: u16 = 51_820;

const VPN_DOOR: &str = "
config door 'vpn'
	list guard 'udp:51820'
	option method 'sequence-same'
	list open 'udp:7101'
	list open 'udp:7102'
	list open 'udp:6103'
	option window '10s'
	option grant '60s'
";

/// A configuration with these doors and this line about all of them.
fn config(line: &str, doors: &str) -> String {
    format!(
        "config postern 'global'\n\toption guard 'gate'\n\tlist interface 'eth0'\n\t{line}\n{doors}"
    )
}

fn it_guards_soon_after_power_on(kind: &Kind) {
    let place = Place::new(kind, &config("option source 'nflog'", SSH_DOOR));
    let mut router = place.boot();
    let seconds = router.guards_after.as_secs_f32();
    eprintln!("{}: guards {seconds:.1} s after power on", kind.name);
    assert!(router.guards_after < Duration::from_secs(60));
    for family in Family::BOTH {
        for host in [&place.net.client, &place.net.stranger] {
            assert!(is_silent(host, port(family, SSH)));
        }
    }
    assert!(router.run("postern status").ok().contains("ssh"));
}

fn source_nflog_opens_and_closes(kind: &Kind) {
    opens_and_closes(kind, "option source 'nflog'");
}

fn source_log_opens_and_closes(kind: &Kind) {
    opens_and_closes(kind, "option source 'log'");
}

fn engine_chain_opens_and_closes(kind: &Kind) {
    opens_and_closes(kind, "option engine 'chain'");
}

fn engine_track_opens_and_closes(kind: &Kind) {
    opens_and_closes(kind, "option engine 'track'");
}

fn opens_and_closes(kind: &Kind, line: &str) {
    let doors = [SSH_DOOR.replace("30s", "60s"), VPN_DOOR.into()].concat();
    let place = Place::new(kind, &config(line, &doors));
    let _router = place.boot();
    let (client, stranger) = (&place.net.client, &place.net.stranger);
    for family in Family::BOTH {
        in_case_of(family, || {
            let (ssh, vpn) = (port(family, SSH), port(family, VPN));
            assert!(is_silent(client, ssh));
            client::knock(client, ssh.ip(), &OPEN);
            assert!(probe::tcp_opens(&client.namespace, ssh, PROMPTLY));
            assert!(is_silent(stranger, ssh));
            client::knock(client, ssh.ip(), &CLOSE);
            assert!(probe::tcp_shuts(&client.namespace, ssh, PROMPTLY));

            client::knock(client, vpn.ip(), &["7101:udp", "7102:udp", "6103:udp"]);
            assert!(probe::udp_opens(&client.namespace, vpn, PROMPTLY));
            assert!(is_silent(client, ssh));
        });
    }
}

fn a_wrong_knock_does_not_open(kind: &Kind) {
    let place = Place::new(kind, &config("option source 'nflog'", SSH_DOOR));
    let mut router = place.boot();
    let client = &place.net.client;
    for family in Family::BOTH {
        in_case_of(family, || {
            let before = router.counter("seen");
            client::knock(client, address(family), &["8001:udp", "7000", "9002"]);
            poll_until(PROMPTLY, "the agent has seen it", || {
                router.counter("seen") == before + 3
            });
            assert!(is_silent(client, port(family, SSH)));
            client::knock(client, address(family), &OPEN);
            assert!(probe::tcp_opens(&client.namespace, port(family, SSH), PROMPTLY));
        });
    }
}

fn a_locked_out_owner_gets_in_by_the_serial_line(kind: &Kind) {
    let place = Place::new(kind, &config("option source 'nflog'", SSH_DOOR));
    let mut router = place.boot();
    let (client, ssh) = (&place.net.client, port(Family::V4, SSH));
    let agent = router.agent();
    for state in ["alive", "hanging"] {
        in_case_of(state, || {
            if state == "hanging" {
                router.run(&format!("kill -19 {agent}")).ok();
            }
            assert!(is_silent(client, ssh));
            router.run("postern open ssh --for 1h").ok();
            assert!(probe::tcp_opens(&client.namespace, ssh, PROMPTLY));
            router.run("postern close ssh").ok();
            assert!(probe::tcp_shuts(&client.namespace, ssh, PROMPTLY));
        });
    }
    router.run("postern remove").ok();
    assert!(probe::tcp_opens(&client.namespace, ssh, PROMPTLY));
}

/// Whether a SYN is not answered. An answer to it would have arrived before that to an echo.
fn is_silent(from: &Host, to: SocketAddr) -> bool {
    let own = from.port(family_of(to), 40_000);
    let mut capture = Capture::new(from);
    Sender::new(&from.namespace).send(&Packet::syn(own, to));
    let answers = capture.answers(from, to.ip());
    !(answers.iter()).any(|answer| (answer.from, answer.to) == (to, own))
}

const fn family_of(to: SocketAddr) -> Family {
    match to {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    }
}
