//! Hosts behind a router that have addresses of their own.

use postern_tests::agent::Guard;
use postern_tests::probe::{self, Answer};
use postern_tests::server::Service;
use postern_tests::session::Session;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::topology::{Family, Host};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::world::{DOOR, INNER_VOICE, INNER_WEB, OPEN, World};
use postern_tests::{client, nft, suite};

pub(crate) fn suite() -> Suite {
    suite![
        hosts_behind_are_guarded_where_a_door_says_so needs "knock",
        they_are_cut_off_where_that_is_asked_for needs "knock",
        tcp_needs_no_connection_tracking,
    ]
}

/// A door to the server's own addresses, and to no other host's.
fn behind() -> String {
    let addresses = "\tlist behind '198.18.0.2'\n\tlist behind '2001:db8:1::2'\n";
    let ports = [("8080", "80"), ("60001", "4000")];
    let door = ports.iter().fold(DOOR.to_owned(), |door, (outer, inner)| {
        door.replace(&format!(":{outer}'"), &format!(":{inner}'"))
    });
    door + addresses
}

fn hosts_behind_are_guarded_where_a_door_says_so() {
    for guard in Guard::BOTH {
        in_case_of(guard, || {
            let world = World::routed();
            let router = &world.net.router;
            if guard == Guard::Mark {
                nft::apply(&router.namespace, FORWARD);
            }
            let setup = world.setup(guard, &behind().replace("30s", "3s"));
            let inner = [INNER_WEB, INNER_VOICE];
            // The machine's own ports of the same numbers, and those of another host behind it.
            let workstation = world.workstation.as_ref().expect("LAN");
            let _others = [router, workstation].map(|host| {
                let namespace = &host.namespace;
                let [web, voice] = inner;
                (
                    Service::tcp_echo(namespace, web),
                    Service::udp_echo(namespace, voice),
                )
            });
            let _agent = setup.start(router);
            let (client, stranger) = (&world.net.client, &world.net.stranger);
            for family in Family::BOTH {
                let at = |host: &Host| inner.map(|port| host.port(family, port));
                let server = at(&world.server);
                let answers = |host: &Host| {
                    let [web, voice] = server;
                    [
                        probe::tcp(&host.namespace, web),
                        probe::udp(&host.namespace, voice),
                    ]
                };
                let shut = [Answer::Silent; 2];
                assert_eq!(answers(client), shut);
                client::knock(client, router.address(family), &OPEN);
                let [web, voice] = server;
                assert!(probe::tcp_opens(&client.namespace, web, SOON), "{family:?}");
                assert!(probe::udp_opens(&client.namespace, voice, SOON));
                let session = Session::begin(&client.namespace, server);
                assert_eq!(answers(stranger), shut);
                Session::begin(&workstation.namespace, server);
                if guard == Guard::Gate {
                    Session::begin(&stranger.namespace, at(workstation));
                    Session::begin(&stranger.namespace, at(router));
                }
                poll_until(SOON, "both are shut", || answers(client) == shut);
                session.expect_alive("its grant ended");
                // By hand.
                setup.verb(router, "open", &["web", "--for", "1h"]).ok();
                assert!(probe::tcp_opens(&stranger.namespace, web, SOON));
                setup.verb(router, "lock", &["web"]).ok();
                assert_eq!(answers(stranger), shut);
                setup.verb(router, "unlock", &["web"]).ok();
                setup.verb(router, "close", &["web"]).ok();
                assert_eq!(answers(stranger), shut);
            }
        });
    }
}

/// A firewall that forwards nothing but what is marked, and answers.
const FORWARD: &str = "
table inet fw {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname != \"wan\" accept
		meta mark & 0x10000000 == 0x10000000 accept
	}
}
";

fn they_are_cut_off_where_that_is_asked_for() {
    let world = World::routed();
    let router = &world.net.router;
    let door = behind().replace("30s", "3s") + "\toption on_expiry 'cut'\n";
    let setup = world.setup(Guard::Gate, &door);
    let _agent = setup.start(router);
    let client = &world.net.client;
    for family in Family::BOTH {
        let server = [INNER_WEB, INNER_VOICE].map(|port| world.server.port(family, port));
        client::knock(client, router.address(family), &OPEN);
        let [web, voice] = server;
        assert!(probe::tcp_opens(&client.namespace, web, SOON), "{family:?}");
        assert!(probe::udp_opens(&client.namespace, voice, SOON));
        Session::begin(&client.namespace, server).wait_until_cut("its grant ended");
    }
}

/// Where nothing else asks for it, a door to TCP ports does not either, so that bulk traffic costs
/// what it did.
fn tcp_needs_no_connection_tracking() {
    let tcp_alone = |door: &str| door.replace("\tlist guard 'udp:60001'\n", "");
    let behind = behind().replace("\tlist guard 'udp:4000'\n", "");
    let ends_at_once = "\toption on_expiry 'cut'\n";
    for (door, guard) in [
        (tcp_alone(DOOR), Guard::Gate),
        (tcp_alone(DOOR), Guard::Mark),
        (tcp_alone(DOOR) + ends_at_once, Guard::Gate),
        (behind, Guard::Gate),
    ] {
        in_case_of((guard, &door), || {
            let world = World::routed();
            let router = &world.net.router;
            let setup = world.setup(guard, &door);
            let _agent = setup.start(router);
            setup.verb(router, "open", &["web"]).ok();
            let ours = nft::table(&router.namespace, "inet postern").expect("a guard");
            assert!(!ours.contains("\tct ") && !ours.contains(" ct "), "{ours}");
            for family in Family::BOTH {
                let [web, voice] =
                    [INNER_WEB, INNER_VOICE].map(|port| world.server.port(family, port));
                Session::begin(&world.net.client.namespace, [web, voice]);
            }
            let count = "/proc/sys/net/netfilter/nf_conntrack_count";
            let read = || std::fs::read_to_string(count);
            let count = router.namespace.enter(read).expect("a count");
            assert_eq!(count.trim(), "0");
        });
    }
}
