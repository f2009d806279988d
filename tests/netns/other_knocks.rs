//! Knocks that people use elsewhere: a port several times in a sequence, ports where a service answers,
//! pings of a chosen length; and those whom a door does not hear.

use std::net::{IpAddr, SocketAddr};

use postern_tests::agent::{Guard, Setup};
use postern_tests::kernel_log::KernelLog;
use postern_tests::knocker::{Knock, Knocker, list, stock_knock};
use postern_tests::namespace::Namespace;
use postern_tests::packet::Packet;
use postern_tests::probe::{self, Answer, Capture};
use postern_tests::sender::Sender;
use postern_tests::server::Service;
use postern_tests::suite;
use postern_tests::suite::{Suite, in_case_of, on_both_families};
use postern_tests::topology::{Family, Topology};
use postern_tests::visitor::{ROUTER, Visitor};
use postern_tests::wait::SOON;

pub(crate) fn suite() -> Suite {
    suite![
        a_port_twice_opens_and_closes_to_the_stock_client needs "knock",
        a_packet_sent_again_is_no_other_knock,
        passive_knocks_pass_on_to_the_service needs "knock",
        passive_knocks_pass_on_where_lines_of_the_log_tell_of_them
            needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns" "knock",
        pings_of_a_chosen_length_open_and_close needs "ping",
        pings_open_where_lines_of_the_log_tell_of_them
            needs "/dev/kmsg" "/proc/sys/net/netfilter/nf_log_all_netns" "ping",
        fragments_of_a_chosen_length_are_no_pings_that_pass needs "ping",
        the_client_pings_as_far_as_it_may needs "setpriv" "unshare",
        only_those_are_heard_whom_a_door_is_for needs "knock",
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

fn echo_door(engine: &str) -> String {
    format!(
        "config door 'ssh'\n\tlist guard 'tcp:22'\n\tlist guard 'icmp:echo'\n\toption engine '{engine}'\n\
         \toption method 'sequence-separate'\n\tlist open 'icmp:echo:123'\n\tlist open 'tcp:7000'\n\
         \tlist open 'icmp:echo:300'\n\tlist close 'icmp:echo:78'\n\tlist close 'icmp:echo:77'\n"
    )
}

fn pings_of_a_chosen_length_open_and_close() {
    for (engine, source) in [
        ("daemon", "nflog"),
        ("daemon", "packet"),
        ("chain", "nflog"),
        ("track", "nflog"),
    ] {
        in_case_of((engine, source), || {
            knock_by_ping(engine, &format!("\toption source '{source}'\n"));
        });
    }
}

fn pings_open_where_lines_of_the_log_tell_of_them() {
    let _log = KernelLog::new();
    knock_by_ping("daemon", "\toption source 'log'\n");
}

/// Sends one ping that carries so much; whether it was answered.
fn ping(from: &Namespace, to: IpAddr, length: u16) -> bool {
    let (length, to) = (length.to_string(), to.to_string());
    let arguments = ["-n", "-q", "-c", "1", "-W", "0.3", "-s", &length, &to];
    from.run("ping", &arguments).status == 0
}

fn knock_by_ping(engine: &str, source: &str) {
    let net = Topology::new();
    let setup = Setup::new(&net.router, Guard::Gate, "");
    setup.hear_by(source);
    setup.rewrite(&echo_door(engine));
    let _service = Service::tcp(&net.router.namespace, 22);
    let _agent = setup.start(&net.router);
    let sender = Sender::new(&net.client.namespace);
    on_both_families(|family| {
        let router = net.router.address(family);
        let (from, stranger) = (&net.client.namespace, &net.stranger.namespace);
        let guarded = SocketAddr::new(router, 22);
        let knocker = Knocker::new(&sender, net.client.address(family), router);
        let knock = |lengths: [u16; 2]| {
            for (number, length) in lengths.into_iter().enumerate() {
                assert!(!ping(from, router, length), "knocks are not answered");
                if number == 0 {
                    knocker.send(&[Knock::Tcp(7000)]);
                }
            }
        };
        for _ in 0..2 {
            assert!(!ping(from, router, 56), "pings are guarded");
            for wrong in [[123, 301], [122, 300], [300, 123]] {
                knock(wrong);
                assert_eq!(probe::tcp(from, guarded), Answer::Silent, "{wrong:?}");
                // Nothing of it adds up with the next try.
                assert!(!ping(from, router, 77));
            }
            knock([123, 300]);
            assert!(probe::tcp_opens(from, guarded, SOON));
            assert!(ping(from, router, 56));
            assert!(!ping(stranger, router, 56));
            for length in [78, 77] {
                assert!(!ping(from, router, length));
            }
            assert!(probe::tcp_shuts(from, guarded, SOON));
        }
    });
}

fn fragments_of_a_chosen_length_are_no_pings_that_pass() {
    let net = Topology::new();
    let door = "config door 'ssh'\n\tlist guard 'tcp:22'\n\tlist guard 'icmp:echo'\n\toption passive '1'\n\
                \toption method 'sequence-separate'\n\tlist open 'icmp:echo:128'\n\tlist open 'tcp:7000'\n";
    let setup = Setup::new(&net.router, Guard::Gate, door);
    let _agent = setup.start(&net.router);
    let sender = Sender::new(&net.client.namespace);
    on_both_families(|family| {
        let (from, to) = (net.client.address(family), net.router.address(family));
        let mut echo = Packet::echo(from, to, 1);
        echo.payload = vec![1; 300];
        // The header of the first one says what that of a whole ping says which carries 128 octets.
        let first = if family == Family::V4 { 136 } else { 128 };
        let answers = || {
            let mut capture = Capture::new(&net.client);
            for fragment in echo.fragments(first, 7) {
                sender.send_bytes(to, &fragment);
            }
            // What was sent before has arrived then.
            assert!(ping(&net.client.namespace, to, 128), "it passes on");
            let seen = capture.seen().iter();
            seen.filter(|header| header.answers_echo()).count()
        };
        assert_eq!(answers(), 1);
        setup.verb(&net.router, "open", &["ssh"]).ok();
        assert_eq!(answers(), 2, "fragments arrive");
        setup.verb(&net.router, "close", &["ssh"]).ok();
    });
}

fn the_client_pings_as_far_as_it_may() {
    let net = Topology::new();
    let door = echo_door("daemon");
    let setup = Setup::new(&net.router, Guard::Gate, &door);
    let _service = Service::tcp(&net.router.namespace, 22);
    let _agent = setup.start(&net.router);
    let visitor = Visitor::new(&net, &door.replace("\toption engine 'daemon'\n", ""));
    let groups = |range: &str| {
        let path = "/proc/sys/net/ipv4/ping_group_range";
        let write = || std::fs::write(path, range);
        net.client.namespace.enter(write).expect("write a sysctl");
    };
    on_both_families(|family| {
        let option = if family == Family::V4 { "-4" } else { "-6" };
        let guarded = SocketAddr::new(net.router.address(family), 22);
        let from = &net.client.namespace;
        let knock = |words: &[&str]| visitor.knock(&net.client, words);
        groups("1 0");
        let said = knock(&[option, ROUTER, "ssh"]);
        assert!(said.status != 0, "{said:?}");
        let ways = ["net.ipv4.ping_group_range", "ping -c 1 -s 123 "];
        assert!(ways.iter().all(|way| said.stderr.contains(way)), "{said:?}");
        assert_eq!(probe::tcp(from, guarded), Answer::Silent);
        groups("0 2147483647");
        knock(&[option, ROUTER, "ssh"]).ok();
        assert!(probe::tcp_opens(from, guarded, SOON));
        knock(&[option, ROUTER, "ssh", "--close"]).ok();
        assert!(probe::tcp_shuts(from, guarded, SOON));
    });
}

fn only_those_are_heard_whom_a_door_is_for() {
    for engine in ENGINES {
        in_case_of(engine, || {
            let net = Topology::new();
            let mut door = doors(engine);
            for family in Family::BOTH {
                let client = net.client.address(family);
                let wide = match family {
                    Family::V4 => "192.0.2.0/24",
                    Family::V6 => "2001:db8::/64",
                };
                for (port, whose) in [(80, client.to_string()), (22, wide.to_owned())] {
                    let guard = format!("list guard 'tcp:{port}'");
                    door = door.replace(&guard, &format!("{guard}\n\tlist from '{whose}'"));
                }
            }
            let setup = Setup::new(&net.router, Guard::Gate, &door);
            let _services = [22, 80].map(|port| Service::tcp(&net.router.namespace, port));
            let agent = (engine == "daemon").then(|| setup.start(&net.router));
            if agent.is_none() {
                setup.verb(&net.router, "apply", &[]).ok();
            }
            on_both_families(|family| {
                let router = net.router.address(family);
                let (from, stranger) = (&net.client.namespace, &net.stranger.namespace);
                let [ssh, web] = [22, 80].map(|port| SocketAddr::new(router, port));
                for host in [&net.stranger, &net.client] {
                    stock_knock(host, router, &OPEN);
                    stock_knock(host, router, &TOGGLE);
                }
                assert!(probe::tcp_opens(from, web, SOON));
                assert!(probe::tcp_opens(from, ssh, SOON));
                assert!(probe::tcp_opens(stranger, ssh, SOON));
                assert_eq!(probe::tcp(stranger, web), Answer::Silent);
                stock_knock(&net.client, router, &TOGGLE);
                assert!(probe::tcp_shuts(from, web, SOON));
            });
        });
    }
}
