//! Whether the tests' own instruments tell the truth, against rules written by hand.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use postern_tests::packet::{Header, Packet, flags};
use postern_tests::probe::{self, Answer, Capture, UdpFlow};
use postern_tests::sender::Sender;
use postern_tests::server::{Service, Sshd};
use postern_tests::suite::{Suite, on_both_families};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        an_open_port_a_refusing_port_and_a_silent_port_are_told_apart,
        knocks_of_the_stock_client_arrive_in_order needs "knock",
        a_packet_arrives_as_it_was_made,
        fragments_are_put_together_again,
        answers_are_seen_and_silence_is_told_from_them,
        a_neighbour_is_reached_through_the_other_interface,
        a_flood_keeps_its_rate,
        a_timed_element_opens_until_it_expires,
        openssh_lets_the_key_in_and_keeps_a_session needs "sshd" "ssh" "ssh-keygen",
        curl_reads_the_api needs "curl",
    ]
}

fn an_open_port_a_refusing_port_and_a_silent_port_are_told_apart() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _services = [Service::tcp(router, 22), Service::udp_echo(router, 53)];
    nft::apply(
        router,
        "table inet t { chain c { type filter hook input priority 0; tcp dport 24 drop; udp dport 55 drop; }; }",
    );
    for family in Family::BOTH {
        let port = |number| net.router.port(family, number);
        for from in [&net.client.namespace, &net.stranger.namespace] {
            let tcp = [22, 23, 24].map(|number| probe::tcp(from, port(number)));
            assert_eq!(tcp, [Answer::Open, Answer::Refused, Answer::Silent]);
            let udp = [53, 54, 55].map(|number| probe::udp(from, port(number)));
            assert_eq!(udp, [Answer::Open, Answer::Refused, Answer::Silent]);
        }
    }
}

fn knocks_of_the_stock_client_arrive_in_order() {
    let net = Topology::new();
    on_both_families(|family| {
        let mut capture = Capture::new(&net.router);
        client::knock(
            &net.client,
            net.router.address(family),
            &["7000", "8001:udp", "9002"],
        );
        let knock = |header: &Header| (header.protocol, header.to.port());
        let hits = |capture: &mut Capture| -> Vec<(u8, u16)> {
            let from = net.client.address(family);
            let ours =
                |header: &&Header| header.from.ip() == from && [6, 17].contains(&header.protocol);
            capture.seen().iter().filter(ours).map(knock).collect()
        };
        poll_until(SOON, "three knocks", || hits(&mut capture).len() == 3);
        assert_eq!(hits(&mut capture), [(6, 7000), (17, 8001), (6, 9002)]);
    });
}

fn a_packet_arrives_as_it_was_made() {
    let net = Topology::new();
    let sender = Sender::new(&net.client.namespace);
    for (from, to) in [
        ("203.0.113.9:4321", net.router.port(Family::V4, 7000)),
        ("[2001:db8:9::9]:4321", net.router.port(Family::V6, 7000)),
    ] {
        let from: SocketAddr = from.parse().expect("an address");
        let mut capture = Capture::new(&net.router);
        let xmas = flags::FIN | flags::PSH | flags::URG;
        sender.send(&Packet::tcp(from, to, xmas));
        let made = Header {
            from,
            to,
            protocol: 6,
            flags: xmas,
        };
        poll_until(SOON, "the packet", || capture.seen().contains(&made));
    }
}

fn fragments_are_put_together_again() {
    let net = Topology::new();
    let _service = Service::udp_echo(&net.router.namespace, 53);
    on_both_families(|family| {
        let (from, to) = (net.client.port(family, 4321), net.router.port(family, 53));
        let mut capture = Capture::new(&net.client);
        let sender = Sender::new(&net.client.namespace);
        for fragment in Packet::udp(from, to, &[7; 30]).fragments(16, 99) {
            sender.send_bytes(to.ip(), &fragment);
        }
        let echoed =
            |header: &Header| header.protocol == 17 && header.from == to && header.to == from;
        poll_until(SOON, "the echo", || capture.seen().iter().any(echoed));
    });
}

fn answers_are_seen_and_silence_is_told_from_them() {
    let net = Topology::new();
    nft::apply(
        &net.router.namespace,
        "table inet t { chain c { type filter hook input priority 0; tcp dport 24 drop; }; }",
    );
    on_both_families(|family| {
        let (sender, router) = (
            Sender::new(&net.client.namespace),
            net.router.address(family),
        );
        let mut capture = Capture::new(&net.client);
        for (number, refusals) in [(24, 0), (23, 1)] {
            let to = net.router.port(family, number);
            sender.send(&Packet::syn(net.client.port(family, 4321), to));
            let answers = capture.answers(&net.client, router);
            assert_eq!(
                answers.iter().filter(|answer| answer.refuses()).count(),
                refusals
            );
        }
    });
}

fn a_neighbour_is_reached_through_the_other_interface() {
    let net = Topology::new();
    let neighbour = net.add_neighbour();
    let _service = Service::tcp(&net.router.namespace, 22);
    nft::apply(
        &net.router.namespace,
        "table inet t { chain c { type filter hook input priority 0; iifname wan tcp dport 22 drop; }; }",
    );
    for to in ["198.18.0.1:22", "[2001:db8:1::1]:22"] {
        let to = to.parse().expect("an address");
        assert!(probe::tcp_opens(&neighbour.namespace, to, SOON));
    }
    assert_eq!(
        probe::tcp(&net.client.namespace, net.router.port(Family::V4, 22)),
        Answer::Silent
    );
}

fn a_flood_keeps_its_rate() {
    let net = Topology::new();
    nft::apply(
        &net.router.namespace,
        "table inet t { chain c { type filter hook input priority 0; tcp dport 7000 counter drop; }; }",
    );
    let sender = Sender::new(&net.client.namespace);
    let end = std::time::Instant::now() + Duration::from_millis(500);
    let sent = sender.flood(net.router.port(Family::V4, 7000), 2_000, || {
        std::time::Instant::now() >= end
    });
    assert!((900..=1_000).contains(&sent), "{sent} in half a second");
    let counted = format!("counter packets {sent} ");
    poll_until(SOON, &counted, || {
        nft::ruleset(&net.router.namespace).contains(&counted)
    });
}

fn a_timed_element_opens_until_it_expires() {
    let net = Topology::new();
    let router = &net.router.namespace;
    let _services = [Service::tcp(router, 22), Service::udp_echo(router, 53)];
    nft::apply(router, "table inet t {
        set s { type ipv4_addr; flags timeout; }
        chain c { type filter hook input priority 0; ct state established accept; ip saddr @s accept; th dport { 22, 53 } drop; }
    }");
    let (ssh, dns) = (
        net.router.port(Family::V4, 22),
        net.router.port(Family::V4, 53),
    );
    nft::apply(router, "add element inet t s { 192.0.2.2 timeout 1s }");
    let settled = nft::settled_table(router, "inet t").expect("the table");
    assert!(settled.contains("192.0.2.2 timeout 1s }"), "{settled}");
    let flow = UdpFlow::new(&net.client.namespace, dns);
    assert_eq!(flow.echo(), Answer::Open);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Silent);
    assert!(probe::tcp_shuts(&net.client.namespace, ssh, SOON));
    assert_eq!(probe::udp(&net.client.namespace, dns), Answer::Silent);
    assert_eq!(flow.echo(), Answer::Open);
}

fn openssh_lets_the_key_in_and_keeps_a_session() {
    let net = Topology::new();
    let server = Sshd::start(&net.router.namespace, 22);
    let said = client::ssh(
        &net.client,
        net.router.address(Family::V6),
        &server,
        "echo in as $(id -un)",
    );
    assert_eq!(said.ok(), "in as root\n");
    let mut session =
        client::ssh_session(&net.client, net.router.address(Family::V4), &server, "cat");
    let mut input = session.child().stdin.take().expect("a pipe");
    let mut output = BufReader::new(session.child().stdout.take().expect("a pipe"));
    input
        .write_all(b"still here\n")
        .expect("write to the session");
    let mut line = String::new();
    output.read_line(&mut line).expect("read from the session");
    assert_eq!(line, "still here\n");
}

fn curl_reads_the_api() {
    let net = Topology::new();
    let _service = Service::http(&net.router.namespace, 8080);
    for url in ["http://192.0.2.1:8080/", "http://[2001:db8::1]:8080/"] {
        assert_eq!(
            client::curl(&net.client.namespace, url).ok(),
            "{\"door\":\"open\"}"
        );
    }
}
