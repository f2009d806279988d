//! Ports that a machine sends on: to a host behind a router with OpenWrt's firewall4, and to a
//! container of Docker's. They are guarded by the port that the stranger sees.

use std::net::SocketAddr;

use postern_tests::agent::{Guard, Setup};
use postern_tests::probe::{self, Answer, Capture, UdpFlow};
use postern_tests::server::Service;
use postern_tests::session::Session;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Host};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::world::{self, DOOR, FW4, INNER_VOICE, INNER_WEB, OPEN, VOICE, World};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        a_port_opens_for_whoever_knocked_and_shuts_again needs "knock" "iptables-nft-restore",
        without_a_guard_the_mark_fails_closed needs "knock",
        the_mark_fails_closed_for_other_addresses_too,
        lan_is_never_disturbed needs "knock",
        containers_are_never_disturbed needs "knock" "iptables-nft-restore",
        what_is_sent_on_is_cut_where_that_is_asked_for needs "knock" "iptables-nft-restore",
        doors_are_switched_by_hand_with_the_agent_dead needs "knock" "iptables-nft-restore",
        reloads_change_no_door needs "knock",
        the_flow_table_changes_no_door needs "knock" "flow tables of the kernel",
    ]
}

/// Where ports are sent on.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// By a router with firewall4, under this guard.
    Router(Guard),
    /// By a host with containers.
    Docker,
}

/// What strangers find there.
struct Site {
    world: World,
    setup: Setup,
    guard: Guard,
}

impl Site {
    fn new(place: Place, doors: &str) -> Self {
        let (world, guard) = match place {
            Place::Router(guard) => (World::fw4(guard), guard),
            Place::Docker => (World::docker(), Guard::Gate),
        };
        let setup = world.setup(guard, doors);
        Self {
            world,
            setup,
            guard,
        }
    }

    fn verb(&self, verb: &str, arguments: &[&str]) -> String {
        (self.setup)
            .verb(&self.world.net.router, verb, arguments)
            .ok()
    }

    fn client(&self) -> &Host {
        &self.world.net.client
    }

    fn stranger(&self) -> &Host {
        &self.world.net.stranger
    }

    fn knock(&self, family: Family) {
        client::knock(self.client(), self.world.net.router.address(family), &OPEN);
    }

    /// Both services take somebody in before long.
    #[track_caller]
    fn expect_open(&self, host: &Host, family: Family) {
        let [web, voice] = self.world.services_at(family);
        assert!(probe::tcp_opens(&host.namespace, web, SOON), "{family:?}");
        assert!(
            probe::udp_opens(&host.namespace, voice, SOON),
            "{family:?} UDP"
        );
    }

    /// Neither takes anybody in now.
    #[track_caller]
    fn expect_shut(&self, host: &Host, family: Family) {
        let answers = self.answers(host, family);
        assert!(self.are_shut(answers), "{family:?}: {answers:?}");
    }

    #[track_caller]
    fn wait_until_shut(&self, host: &Host, family: Family) {
        poll_until(SOON, "both are shut", || {
            self.are_shut(self.answers(host, family))
        });
    }

    fn answers(&self, host: &Host, family: Family) -> [Answer; 2] {
        let [web, voice] = self.world.services_at(family);
        [
            probe::tcp(&host.namespace, web),
            probe::udp(&host.namespace, voice),
        ]
    }

    /// The gate is silent; firewall4 rejects, and says so to UDP once in a while.
    fn are_shut(&self, [web, voice]: [Answer; 2]) -> bool {
        let rejected = match self.guard {
            Guard::Gate => Answer::Silent,
            Guard::Mark => Answer::Refused,
        };
        web == rejected && voice != Answer::Open
    }

    fn session(&self, host: &Host, family: Family) -> Session {
        Session::begin(&host.namespace, self.world.services_at(family))
    }
}

fn everywhere(body: impl Fn(Place)) {
    for place in [
        Place::Router(Guard::Gate),
        Place::Router(Guard::Mark),
        Place::Docker,
    ] {
        in_case_of(place, || body(place));
    }
}

fn a_port_opens_for_whoever_knocked_and_shuts_again() {
    everywhere(|place| {
        let site = Site::new(place, &DOOR.replace("30s", "3s"));
        let _agent = site.setup.start(&site.world.net.router);
        // Over IPv6, a container's port is a service of the machine's own.
        let families = match place {
            Place::Docker => &Family::BOTH[..],
            Place::Router(_) => &[Family::V4],
        };
        for family in families.iter().copied() {
            site.expect_shut(site.client(), family);
            site.expect_shut(site.stranger(), family);
            site.knock(family);
            site.expect_open(site.client(), family);
            let session = site.session(site.client(), family);
            site.expect_shut(site.stranger(), family);
            site.wait_until_shut(site.client(), family);
            session.expect_alive("its grant ended");
            site.expect_shut(site.stranger(), family);
        }
    });
}

/// What firewall4 has in place of a redirect for everybody: without Postern it is for nobody.
fn without_a_guard_the_mark_fails_closed() {
    let site = Site::new(Place::Router(Guard::Mark), DOOR);
    site.expect_shut(site.client(), Family::V4);
    let agent = site.setup.start(&site.world.net.router);
    site.knock(Family::V4);
    site.expect_open(site.client(), Family::V4);
    agent.kill();
    site.expect_open(site.client(), Family::V4);
    site.verb("remove", &[]);
    site.expect_shut(site.client(), Family::V4);
}

/// firewall4's redirects take what neighbours on the wire send to other addresses, too.
fn the_mark_fails_closed_for_other_addresses_too() {
    let site = Site::new(Place::Router(Guard::Mark), DOOR);
    let net = &site.world.net;
    let _agent = site.setup.start(&net.router);
    let stranger = &net.stranger.namespace;
    stranger
        .ip_batch("route add 203.0.113.9 via 192.0.2.1\nroute add 198.18.0.0/24 via 192.0.2.1\n");
    for address in [
        [203, 0, 113, 9],
        [198, 18, 0, 1],
        [198, 18, 0, 2],
        [198, 18, 0, 9],
    ] {
        let ports = site.world.services_at(Family::V4);
        let [web, voice] = ports.map(|port| SocketAddr::new(address.into(), port.port()));
        assert!(probe::tcp_connect(stranger, None, web).is_err(), "{web}");
        assert!(!UdpFlow::new(stranger, voice).is_answered(), "{voice}");
    }
}

/// Somebody reaches an echo service in the world by UDP, from a port that is guarded here.
#[track_caller]
fn expect_answers_at_a_guarded_port(site: &Site, from: &Host) {
    let to = site.stranger().port(Family::V4, 53);
    let mut capture = Capture::new(site.stranger());
    let own = SocketAddr::new([0, 0, 0, 0].into(), VOICE);
    let flow = UdpFlow::bound(&from.namespace, own, to);
    for _ in 0..3 {
        assert_eq!(flow.echo(), Answer::Open);
    }
    // It kept its port, or this would have shown nothing.
    let router = site.world.net.router.port(Family::V4, VOICE);
    let seen = capture.seen();
    assert!(
        seen.iter()
            .any(|header| (header.from, header.to) == (router, to)),
        "{seen:?}"
    );
}

fn lan_is_never_disturbed() {
    let everything = DOOR
        .replace("'tcp:8080'", "'tcp:1-65535'")
        .replace("'udp:60001'", "'udp:1-65535'");
    let cases = Guard::BOTH.map(|guard| [DOOR, &everything].map(|door| (guard, door)));
    for (guard, door) in cases.into_iter().flatten() {
        in_case_of((guard, door), || {
            let site = Site::new(Place::Router(guard), door);
            let net = &site.world.net;
            let _web = Service::tcp(&net.client.namespace, 80);
            let _dns = Service::udp_echo(&net.stranger.namespace, 53);
            let workstation = site.world.workstation.as_ref().expect("LAN");
            let before = site.session(workstation, Family::V4);
            let _agent = site.setup.start(&net.router);
            before.expect_alive("since before the guard");
            for host in [workstation, &site.world.server] {
                // By the address that the world sees, and by the server's own.
                site.expect_open(host, Family::V4);
                for family in Family::BOTH {
                    let inside = [INNER_WEB, INNER_VOICE];
                    let inside = inside.map(|port| site.world.server.port(family, port));
                    Session::begin(&host.namespace, inside);
                }
                // The world, through the router's address.
                let web = net.client.port(Family::V4, 80);
                assert!(probe::tcp_opens(&host.namespace, web, SOON));
            }
            expect_answers_at_a_guarded_port(&site, workstation);
            site.expect_shut(site.stranger(), Family::V4);
            before.expect_alive("beside strangers");
        });
    }
}

fn containers_are_never_disturbed() {
    let site = Site::new(Place::Docker, DOOR);
    let net = &site.world.net;
    let _web = Service::tcp(&net.client.namespace, 80);
    let _dns = Service::udp_echo(&net.stranger.namespace, 53);
    let _agent = site.setup.start(&net.router);
    // The machine itself, which Docker sends on too.
    site.expect_open(&net.router, Family::V4);
    let web = net.client.port(Family::V4, 80);
    assert!(probe::tcp_opens(&site.world.server.namespace, web, SOON));
    expect_answers_at_a_guarded_port(&site, &site.world.server);
    site.expect_shut(site.stranger(), Family::V4);
}

fn what_is_sent_on_is_cut_where_that_is_asked_for() {
    everywhere(|place| {
        let cutting = DOOR.replace("30s", "3s") + "\toption on_expiry 'cut'\n";
        let site = Site::new(place, &cutting);
        let agent = site.setup.start(&site.world.net.router);
        site.knock(Family::V4);
        site.expect_open(site.client(), Family::V4);
        let session = site.session(site.client(), Family::V4);
        session.wait_until_cut("its grant ended");
        site.knock(Family::V4);
        site.expect_open(site.client(), Family::V4);
        let session = site.session(site.client(), Family::V4);
        agent.kill();
        session.wait_until_cut("its grant ended without an agent");
    });
}

fn doors_are_switched_by_hand_with_the_agent_dead() {
    everywhere(|place| {
        let site = Site::new(place, DOOR);
        let agent = site.setup.start(&site.world.net.router);
        site.knock(Family::V4);
        site.expect_open(site.client(), Family::V4);
        agent.kill();
        site.expect_open(site.client(), Family::V4);
        site.verb("close", &["web"]);
        site.expect_shut(site.client(), Family::V4);
        // As the push button and ubus do.
        site.verb("open", &["web", "--for", "1h"]);
        site.expect_open(site.stranger(), Family::V4);
        site.verb("lock", &["web"]);
        site.expect_shut(site.stranger(), Family::V4);
        site.verb("unlock", &["web"]);
        site.expect_open(site.stranger(), Family::V4);
        site.verb("close", &["--all"]);
        let client = site.client().v4.to_string();
        site.verb("open", &["web", "--from", &client]);
        site.expect_open(site.client(), Family::V4);
        site.expect_shut(site.stranger(), Family::V4);
        site.verb("remove", &[]);
        match site.guard {
            Guard::Gate => site.expect_open(site.stranger(), Family::V4),
            Guard::Mark => site.expect_shut(site.client(), Family::V4),
        }
    });
}

fn reloads_change_no_door() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let site = Site::new(Place::Router(guard), DOOR);
            let router = &site.world.net.router;
            let agent = site.setup.start(router);
            site.knock(Family::V4);
            site.expect_open(site.client(), Family::V4);
            let session = site.session(site.client(), Family::V4);
            let expect = |after: &str| {
                in_case_of(after, || {
                    site.expect_open(site.client(), Family::V4);
                    site.expect_shut(site.stranger(), Family::V4);
                    session.expect_alive(after);
                });
            };
            agent.reload_now();
            expect("a reload of the agent");
            let firewall = world::fw4(guard);
            nft::apply(&router.namespace, &firewall);
            expect("fw4 reload");
            nft::apply(&router.namespace, "delete table inet fw4");
            nft::apply(&router.namespace, &firewall);
            expect("fw4 restart");
            nft::apply(&router.namespace, &format!("flush ruleset\n{firewall}"));
            // Ours goes too, until the agent has put it back.
            poll_until(SOON, "the guard is back", || {
                agent.log().contains("it is back")
            });
            expect("fw4 flush and fw4 start");
        });
    }
}

fn the_flow_table_changes_no_door() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let site = Site::new(Place::Router(guard), &DOOR.replace("30s", "3s"));
            let router = &site.world.net.router;
            let table = "\tflowtable ft {\n\t\thook ingress priority 0\n\t\tdevices = { lan2, lan3, wan }\n\t}\n\n";
            let rule = "\t\tmeta l4proto { tcp, udp } flow add @ft;\n";
            let offloading = world::fw4(guard)
                .replacen("\tchain input {", &format!("{table}\tchain input {{"), 1)
                .replacen(
                    "type filter hook forward priority filter; policy drop;\n",
                    &format!("type filter hook forward priority filter; policy drop;\n{rule}"),
                    1,
                );
            assert!(offloading.contains(table) && offloading.contains(rule) && FW4 != offloading);
            nft::apply(&router.namespace, &offloading);
            let _agent = site.setup.start(router);
            site.expect_shut(site.client(), Family::V4);
            site.knock(Family::V4);
            site.expect_open(site.client(), Family::V4);
            let session = site.session(site.client(), Family::V4);
            site.expect_shut(site.stranger(), Family::V4);
            site.wait_until_shut(site.client(), Family::V4);
            session.expect_alive("its grant ended");
        });
    }
}
