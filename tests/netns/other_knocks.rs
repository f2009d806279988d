//! Knocks that people use elsewhere: a port several times in a sequence, ports where a service answers.

use std::net::{IpAddr, SocketAddr};

use postern_tests::agent::{Guard, Setup};
use postern_tests::kernel_log::KernelLog;
use postern_tests::knocker::{Knock, Knocker, list, stock_knock};
use postern_tests::namespace::Namespace;
use postern_tests::probe::{self, Answer};
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::suite;
use postern_tests::suite::{Suite, in_case_of, on_both_families};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::SOON;

pub(crate) fn suite() -> Suite {
    suite![
        a_port_twice_opens_and_closes_to_the_stock_client needs "knock",
        a_packet_sent_again_is_no_other_knock,
        passive_knocks_pass_on_to_the_service needs "knock",
        passive_knocks_pass_on_where_lines_of_the_log_tell_of_them
            needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns" "knock",
    ]
}

const ENGINES: [&str; 3] = ["daemon", "chain", "track"];

/// The form that is public, and with one right after the other.
const OPEN: [Knock; 3] = [Knock::Tcp(7000), Knock::Tcp(8000), Knock::Tcp(7000)];
const CLOSE: [Knock; 3] = [Knock::Udp(9000), Knock::Udp(9000), Knock::Tcp(8000)];

fn doors(engine: &str) -> String {
    let separate = format!(
        "config door 'ssh'\n\tlist guard 'tcp:22'\n\toption engine '{engine}'\n\
         \toption method 'sequence-separate'\n{}{}",
        list("open", &OPEN),
        list("close", &CLOSE)
    );
    let same = format!(
        "config door 'web'\n\tlist guard 'tcp:80'\n\toption engine '{engine}'\n\
         \toption method 'sequence-same'\n{}",
        list("open", &TOGGLE)
    );
    separate + &same
}

const TOGGLE: [Knock; 4] = [
    Knock::Udp(5000),
    Knock::Tcp(5000),
    Knock::Tcp(5000),
    Knock::Udp(5000),
];

fn with_each_engine(body: impl Fn(&Topology)) {
    for engine in ENGINES {
        in_case_of(engine, || {
            let net = Topology::new();
            let setup = Setup::new(&net.router, Guard::Gate, &doors(engine));
            let _services = [22, 80].map(|port| Service::tcp(&net.router.namespace, port));
            if engine == "daemon" {
                let _agent = setup.start(&net.router);
                body(&net);
            } else {
                setup.verb(&net.router, "apply", &[]).ok();
                body(&net);
            }
        });
    }
}

fn a_port_twice_opens_and_closes_to_the_stock_client() {
    with_each_engine(|net| {
        on_both_families(|family| {
            let router = net.router.address(family);
            let from = &net.client.namespace;
            for (port, open, close) in [(22, &OPEN[..], &CLOSE[..]), (80, &TOGGLE, &TOGGLE)] {
                let guarded = SocketAddr::new(router, port);
                for _ in 0..2 {
                    assert_eq!(probe::tcp(from, guarded), Answer::Silent);
                    stock_knock(&net.client, router, open);
                    assert!(probe::tcp_opens(from, guarded, SOON));
                    assert_eq!(probe::tcp(&net.stranger.namespace, guarded), Answer::Silent);
                    stock_knock(&net.client, router, close);
                    assert!(probe::tcp_shuts(from, guarded, SOON));
                }
            }
        });
    });
}

fn a_packet_sent_again_is_no_other_knock() {
    with_each_engine(|net| {
        let sender = Sender::new(&net.client.namespace);
        on_both_families(|family| {
            let router = net.router.address(family);
            let knocker = Knocker::new(&sender, net.client.address(family), router);
            let packets = OPEN.map(|knock| knocker.packet(knock));
            let [first, second, third] = &packets;
            for packet in [first, first, second, first, second, first] {
                sender.send(packet);
            }
            let from = &net.client.namespace;
            let guarded = SocketAddr::new(router, 22);
            assert_eq!(probe::tcp(from, guarded), Answer::Silent);
            sender.send(third);
            assert!(probe::tcp_opens(from, guarded, SOON));
            knocker.send(&CLOSE);
            assert!(probe::tcp_shuts(from, guarded, SOON));
        });
    });
}

/// Two services answer at its knocks.
const PASSIVE: [Knock; 4] = [
    Knock::Tcp(8080),
    Knock::Udp(5353),
    Knock::Tcp(7000),
    Knock::Tcp(8080),
];

fn passive_door(engine: &str) -> String {
    // Another door has a cut-off; its knocks are others.
    format!(
        "config door 'ssh'\n\tlist guard 'tcp:22'\n\toption engine '{engine}'\n\toption passive '1'\n\
         \toption method 'sequence-separate'\n{}\nconfig door 'web'\n\tlist guard 'tcp:80'\n\
         \toption method 'sequence-separate'\n\toption cutoff '2 per 1h'\n{}",
        list("open", &PASSIVE),
        list("open", &OTHERS),
    )
}

const OTHERS: [Knock; 3] = [Knock::Tcp(4005), Knock::Tcp(4001), Knock::Tcp(4003)];

fn passive_knocks_pass_on_to_the_service() {
    for (engine, source) in [
        ("daemon", "nflog"),
        ("daemon", "packet"),
        ("chain", "nflog"),
        ("track", "packet"),
    ] {
        in_case_of((engine, source), || {
            knock_passively(engine, &format!("\toption source '{source}'\n"));
        });
    }
}

fn passive_knocks_pass_on_where_lines_of_the_log_tell_of_them() {
    let _log = KernelLog::new();
    knock_passively("daemon", "\toption source 'log'\n");
}

fn knock_passively(engine: &str, source: &str) {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, "");
    setup.hear_by(source);
    setup.rewrite(&passive_door(engine));
    let _services = [22, 80, 8080].map(|port| Service::tcp(&net.router.namespace, port));
    let _echo = Service::udp_echo(&net.router.namespace, 5353);
    let _agent = setup.start(&net.router);
    let sender = Sender::new(&net.client.namespace);
    let serves = |from: &Namespace, router: IpAddr| {
        assert_eq!(
            probe::tcp(from, SocketAddr::new(router, 8080)),
            Answer::Open
        );
        assert_eq!(
            probe::udp(from, SocketAddr::new(router, 5353)),
            Answer::Open
        );
    };
    on_both_families(|family| {
        let router = net.router.address(family);
        let (from, visitor) = (&net.client.namespace, &net.stranger.namespace);
        let guarded = SocketAddr::new(router, 22);
        for _ in 0..6 {
            serves(visitor, router);
            assert_eq!(probe::tcp(visitor, guarded), Answer::Silent);
        }
        serves(from, router);
        // Whom another door cut off is served too.
        let knocker = Knocker::new(&sender, net.client.address(family), router);
        stock_knock(&net.client, router, &PASSIVE);
        assert!(probe::tcp_opens(from, guarded, SOON));
        serves(from, router);
        for _ in 0..4 {
            knocker.send(&[OTHERS[1]]);
        }
        serves(from, router);
        assert_eq!(probe::tcp(visitor, guarded), Answer::Silent);
    });
    // Where nobody answers, the machine says so: the knock was not taken.
    let port = SocketAddr::new(net.router.address(Family::V4), 7000);
    assert_eq!(probe::tcp(&net.stranger.namespace, port), Answer::Refused);
}
