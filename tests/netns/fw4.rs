//! Beside OpenWrt's firewall4: guard `mark` opens through it, and what it does to its own table does
//! nothing to ours.

use postern_tests::agent::{Guard, SSH_DOOR, Setup};
use postern_tests::probe::{self, Answer};
use postern_tests::server::Service;
use postern_tests::suite::{Suite, on_both_families};
use postern_tests::topology::{Family, Topology};
use postern_tests::wait::{A_MOMENT, SOON};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        a_marked_packet_passes_the_firewall needs "knock",
        a_guarded_udp_port_passes_it_too needs "knock",
        the_gate_alone_cannot_open_what_the_firewall_rejects needs "knock",
        reload_and_restart_of_the_firewall_change_no_door needs "knock",
        after_a_flush_the_agent_puts_its_table_back_with_its_grants needs "knock",
        packets_that_pass_by_are_not_marked needs "knock",
        the_flow_table_of_the_firewall_changes_no_door needs "knock" "flow tables of the kernel",
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];

/// What `fw4 print` prints: data of firewall4's defaults.
const FW4: &str = include_str!("fw4.nft");

/// A router with that firewall.
fn router(net: &Topology, guard: &str) -> Setup {
    nft::apply(&net.router.namespace, FW4);
    let setup = Setup::new(&net.router, Guard::Gate, SSH_DOOR);
    let [control, state] = ["control", "state"].map(|name| setup.path(name));
    setup.rewrite_whole(&format!(
        "config postern 'global'\n\toption guard '{guard}'\n\toption control '{}'\n\
         \toption fallback 'other'\n\toption state_dir '{}'\n\
         \tlist interface 'wan'\n{SSH_DOOR}\nconfig door 'dns'\n\tlist guard 'udp:53'\n\
         \toption method 'sequence-separate'\n\tlist open 'udp:7500'\n\tlist open 'tcp:7400'\n\
         \toption grant '30s'\n",
        control.display(),
        state.display()
    ));
    setup
}

fn a_marked_packet_passes_the_firewall() {
    on_both_families(|family| {
        let net = Topology::new();
        let neighbour = net.add_neighbour();
        let _ssh = Service::tcp(&net.router.namespace, 22);
        let setup = router(&net, "mark");
        let _agent = setup.start(&net.router);
        let ssh = net.router.port(family, 22);
        assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Refused);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Refused);
        // The rule accepts the mark, not every port of whoever is granted one.
        let web = net.router.port(family, 80);
        let _web = Service::tcp(&net.router.namespace, 80);
        assert_eq!(probe::tcp(&net.client.namespace, web), Answer::Refused);
        // LAN is as it was.
        let lan = match family {
            Family::V4 => "198.18.0.1:22",
            Family::V6 => "[2001:db8:1::1]:22",
        };
        let lan = lan.parse().expect("an address");
        assert!(probe::tcp_opens(&neighbour.namespace, lan, SOON));
    });
}

fn a_guarded_udp_port_passes_it_too() {
    on_both_families(|family| {
        let net = Topology::new();
        let _dns = Service::udp_echo(&net.router.namespace, 53);
        let setup = router(&net, "mark");
        let _agent = setup.start(&net.router);
        let dns = net.router.port(family, 53);
        assert_eq!(probe::udp(&net.client.namespace, dns), Answer::Refused);
        client::knock(&net.client, dns.ip(), &["7500:udp", "7400"]);
        assert!(probe::udp_opens(&net.client.namespace, dns, SOON));
        assert_eq!(probe::udp(&net.stranger.namespace, dns), Answer::Refused);
    });
}

/// Why `mark` is the guard for OpenWrt: an accept of ours is not the firewall's.
fn the_gate_alone_cannot_open_what_the_firewall_rejects() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = router(&net, "gate");
    let _agent = setup.start(&net.router);
    let ssh = net.router.port(Family::V4, 22);
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(!probe::tcp_opens(&net.client.namespace, ssh, A_MOMENT));
}

fn reload_and_restart_of_the_firewall_change_no_door() {
    let net = Topology::new();
    let namespace = &net.router.namespace;
    let _ssh = Service::tcp(namespace, 22);
    let setup = router(&net, "mark");
    let _agent = setup.start(&net.router);
    let ssh = net.router.port(Family::V4, 22);
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    let ours = nft::settled_table(namespace, "inet postern");
    let expect = |when: &str| {
        assert_eq!(
            nft::settled_table(namespace, "inet postern"),
            ours,
            "{when}"
        );
        let answers = [&net.client, &net.stranger].map(|host| probe::tcp(&host.namespace, ssh));
        assert_eq!(answers, [Answer::Open, Answer::Refused], "{when}");
    };
    nft::apply(namespace, FW4);
    expect("after fw4 reload");
    nft::apply(namespace, "delete table inet fw4");
    assert_eq!(
        nft::settled_table(namespace, "inet postern"),
        ours,
        "after fw4 stop"
    );
    nft::apply(namespace, FW4);
    expect("after fw4 restart");
    // An attempt that was under way goes on.
    client::knock(&net.stranger, ssh.ip(), &OPEN[..2]);
    nft::apply(namespace, FW4);
    client::knock(&net.stranger, ssh.ip(), &OPEN[2..]);
    assert!(probe::tcp_opens(&net.stranger.namespace, ssh, SOON));
}

/// `fw4 flush` takes every table away, ours too.
fn after_a_flush_the_agent_puts_its_table_back_with_its_grants() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let setup = router(&net, "mark");
    let _agent = setup.start(&net.router);
    let ssh = net.router.port(Family::V4, 22);
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    nft::apply(&net.router.namespace, &format!("flush ruleset\n{FW4}"));
    assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Refused);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Refused);
}

fn packets_that_pass_by_are_not_marked() {
    let net = Topology::new();
    let neighbour = net.add_neighbour();
    let namespace = &net.router.namespace;
    namespace.set_sysctl("net/ipv4/ip_forward", "1");
    neighbour
        .namespace
        .ip_batch("route add default via 198.18.0.1\n");
    let _web = Service::tcp(&net.client.namespace, 80);
    let setup = router(&net, "mark");
    let _agent = setup.start(&net.router);
    let ssh = net.router.port(Family::V4, 22);
    client::knock(&net.client, ssh.ip(), &OPEN);
    // LAN reaches the world through the router's own address, door or no door.
    let web = net.client.port(Family::V4, 80);
    assert!(probe::tcp_opens(&neighbour.namespace, web, SOON));
    // A granted source is let in, not through.
    net.client
        .namespace
        .ip_batch("route add 198.18.0.0/24 via 192.0.2.1\n");
    let _inside = Service::tcp(&neighbour.namespace, 22);
    let inside = "198.18.0.2:22".parse().expect("an address");
    assert_ne!(probe::tcp(&net.client.namespace, inside), Answer::Open);
}

fn the_flow_table_of_the_firewall_changes_no_door() {
    let net = Topology::new();
    net.add_neighbour();
    let namespace = &net.router.namespace;
    let _ssh = Service::tcp(namespace, 22);
    let setup = router(&net, "mark");
    let table =
        "\tflowtable ft {\n\t\thook ingress priority 0\n\t\tdevices = { lan, wan }\n\t}\n\n";
    let rule = "\t\tmeta l4proto { tcp, udp } flow add @ft\n";
    let input = "\tchain input {";
    let established = "\t\tct state established,related accept comment \"!fw4: Allow forwarded";
    let offloading = FW4.replacen(input, &format!("{table}{input}"), 1);
    let offloading = offloading.replacen(established, &format!("{rule}{established}"), 1);
    nft::apply(namespace, &offloading);
    let _agent = setup.start(&net.router);
    let ssh = net.router.port(Family::V4, 22);
    client::knock(&net.client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    assert_eq!(probe::tcp(&net.stranger.namespace, ssh), Answer::Refused);
}
