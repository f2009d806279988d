//! The package for OpenWrt, unpacked into the image, with its service started by its own init script.

use postern_tests::agent::SSH_DOOR;
use postern_tests::client;
use postern_tests::probe;
use postern_tests::topology::Family;
use postern_tests::wait::poll_until;

use crate::machine::{Kind, PROMPTLY, Place, Router, port};
use crate::{OPEN, SSH, VPN, VPN_DOOR, config, is_silent};

/// What the init script reads, and nobody else.
const ENABLED: &str = "option enabled '1'";

pub(crate) fn its_service_is_started_at_boot_and_reloaded(kind: &Kind) {
    let [ssh, vpn] = [SSH_DOOR, VPN_DOOR].map(|door| config(ENABLED, door));
    let place = Place::with_files(kind, &[("config/postern", &ssh), ("config/vpn", &vpn)]);
    let mut router = place.boot();
    let (agent, client) = (router.agent(), &place.net.client);
    for family in Family::BOTH {
        let ssh = port(family, SSH);
        assert!(is_silent(client, ssh));
        client::knock(client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&client.namespace, ssh, PROMPTLY));
        assert!(is_silent(&place.net.stranger, ssh));
    }
    router.run("cp /etc/config/vpn /etc/config/postern").ok();
    service(&mut router, "reload");
    let [ssh, vpn] = [SSH, VPN].map(|number| port(Family::V4, number));
    assert!(probe::tcp_opens(
        &place.net.stranger.namespace,
        ssh,
        PROMPTLY
    ));
    client::knock(client, vpn.ip(), &["7101:udp", "7102:udp", "6103:udp"]);
    assert!(probe::udp_opens(&client.namespace, vpn, PROMPTLY));
    assert_eq!(router.agent(), agent, "it was started again");
}

pub(crate) fn its_guard_outlives_a_stop_and_goes_when_it_is_not_enabled(kind: &Kind) {
    let on = config(ENABLED, SSH_DOOR);
    let off = on.replace(ENABLED, "option enabled '0'");
    let place = Place::with_files(kind, &[("config/postern", &on), ("config/off", &off)]);
    let mut router = place.boot();
    let (client, ssh) = (&place.net.client, port(Family::V6, SSH));
    service(&mut router, "stop");
    wait_for_end(&mut router);
    assert!(is_silent(client, ssh));
    service(&mut router, "start");
    poll_until(PROMPTLY, "it is ready again", || router.times_ready() == 2);
    client::knock(client, ssh.ip(), &OPEN);
    assert!(probe::tcp_opens(&client.namespace, ssh, PROMPTLY));
    router.run("cp /etc/config/off /etc/config/postern").ok();
    service(&mut router, "stop");
    wait_for_end(&mut router);
    service(&mut router, "start");
    assert!(probe::tcp_opens(
        &place.net.stranger.namespace,
        ssh,
        PROMPTLY
    ));
}

fn service(router: &mut Router<'_>, action: &str) {
    router.run(&format!("/etc/init.d/postern {action}")).ok();
}

fn wait_for_end(router: &mut Router<'_>) {
    let agent = router.agent();
    poll_until(PROMPTLY, "the agent has ended", || {
        router.run(&format!("kill -0 {agent}")).status != 0
    });
}
