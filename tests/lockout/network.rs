//! What the network does: addresses and interfaces that change, and logins that stay.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use postern_tests::agent::{FIREWALL, Guard, SSH_DOOR, program};
use postern_tests::probe::{self, Answer};
use postern_tests::server::Sshd;
use postern_tests::topology::Family;
use postern_tests::wait::SOON;
use postern_tests::{client, nft};

use super::stage::{LET_ME_IN, OPEN, Stage, is_greeted};

pub(crate) fn the_routers_address_changes() {
    let stage = Stage::gate();
    let _agent = stage.start();
    stage.knock();
    let loss = stage.lose("the router's address changes");
    stage
        .net
        .router
        .namespace
        .ip_batch("address delete 192.0.2.1/24 dev wan\naddress add 192.0.2.9/24 dev wan\n");
    let new = SocketAddr::from(([192, 0, 2, 9], 22));
    let loss = loss.by_door(new).healed_by("owner: knocks at the new one");
    loss.ends_by_knocking();
}

pub(crate) fn the_owners_address_changes() {
    let stage = Stage::gate();
    let _agent = stage.start();
    stage.knock();
    assert!(probe::tcp_opens(
        &stage.net.client.namespace,
        stage.door(),
        SOON
    ));
    let loss = stage.lose("the owner's address changes");
    stage
        .net
        .client
        .namespace
        .ip_batch("address delete 192.0.2.2/24 dev eth0\naddress add 192.0.2.77/24 dev eth0\n");
    assert!(!stage.owner_is_let_in());
    loss.healed_by("owner: knocks again").ends_by_knocking();
}

pub(crate) fn an_interface_gone_and_back() {
    for guard in Guard::BOTH {
        let stage = Stage::new(guard, SSH_DOOR);
        let _agent = stage.start();
        stage.expect_a_way_in();
        let loss = stage.lose("the interface gone and back");
        stage.net.unplug_router();
        stage.net.plug_router();
        loss.healed_by("agent: guards it again").ends_by_knocking();
    }
}

/// A firewall of its own guards the new name, and no mark is set there.
pub(crate) fn an_interface_renamed() {
    let stage = Stage::new(Guard::Mark, SSH_DOOR);
    let strict = FIREWALL.replace("iifname != \"wan\"", "iifname lo");
    nft::apply(
        &stage.net.router.namespace,
        &format!("delete table inet fw\n{strict}"),
    );
    let _agent = stage.start();
    let rename = |from: &str, to: &str| {
        stage.net.router.namespace.ip_batch(&format!(
            "link set {from} down\nlink set {from} name {to}\nlink set {to} up\n\
             address replace 2001:db8::1/64 dev {to} nodad\n"
        ));
    };
    let loss = stage.lose("the interface renamed (guard mark)");
    rename("wan", "uplink");
    loss.is_felt();
    stage.edit("interface 'wan'", "interface 'uplink'");
    let loss = loss.at_console("apply");
    loss.ends_by_knocking();
}

pub(crate) fn one_family_lost() {
    for (lost, left) in [(Family::V4, Family::V6), (Family::V6, Family::V4)] {
        let stage = Stage::gate();
        let _agent = stage.start();
        let loss = stage.lose(&format!("the router's {lost:?} address lost"));
        let address = match lost {
            Family::V4 => "192.0.2.1/24",
            Family::V6 => "2001:db8::1/64",
        };
        let lines = format!("address delete {address} dev wan\n");
        stage.net.router.namespace.ip_batch(&lines);
        let loss = loss.by_door(stage.net.router.port(left, 22));
        loss.healed_by("owner: knocks by the other family")
            .ends_by_knocking();
    }
}

/// A real login; its owner opens the door anew from inside.
pub(crate) fn a_grant_that_ends_while_its_owner_is_inside() {
    let stage = Stage::new(
        Guard::Gate,
        &SSH_DOOR
            .replace("tcp:22'", "tcp:2222'")
            .replace("30s", "1s"),
    );
    let server = Sshd::start(&stage.net.router.namespace, 2222);
    let _agent = stage.start();
    let ssh = stage.net.router.port(Family::V4, 2222);
    client::knock(&stage.net.client, ssh.ip(), &OPEN);
    let owner = &stage.net.client.namespace;
    assert!(probe::tcp_opens(owner, ssh, SOON));
    let loss = stage.lose("the grant ends while its owner is logged in");
    let mut session = client::ssh_session(&stage.net.client, ssh.ip(), &server, "sh");
    let mut input = session.child().stdin.take().expect("its input");
    let output = session.child().stdout.take().expect("its output");
    let mut output = BufReader::new(output);
    let mut types = |command: &str| {
        writeln!(input, "{command}").expect("the session lives");
        let mut line = String::new();
        output.read_line(&mut line).expect("the session lives");
        line
    };
    assert_eq!(types("echo alive"), "alive\n");
    assert!(probe::tcp_shuts(owner, ssh, SOON));
    assert_eq!(types("echo alive"), "alive\n");
    let (program, config) = (program(), stage.setup.config());
    let (program, config) = (program.display(), config.display());
    let said = types(&format!("'{program}' {LET_ME_IN} --config '{config}'"));
    assert_eq!(said, "door ssh is open for 192.0.2.2 for 1h\n");
    let loss = loss.healed_by(&format!(
        "owner, in the login that lives on: postern {LET_ME_IN}"
    ));
    loss.ends_with(|| probe::tcp_opens(owner, ssh, SOON));
    assert_eq!(
        probe::tcp(&stage.net.stranger.namespace, ssh),
        Answer::Silent
    );
}

/// LAN is not guarded unless it is named.
pub(crate) fn nothing_but_lan_is_left() {
    let stage = Stage::gate();
    let neighbour = stage.net.add_neighbour();
    let agent = stage.start();
    let loss = stage.lose("the agent killed for good, its owner goes home");
    agent.kill();
    loss.is_felt();
    let lan = SocketAddr::from((Ipv4Addr::new(198, 18, 0, 1), 22));
    loss.healed_by("owner: comes in from LAN")
        .ends_with(|| is_greeted(&neighbour, lan));
}
