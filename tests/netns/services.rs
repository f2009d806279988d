//! Real services behind doors, entered with their usual clients.

use postern_tests::agent::{SSH_DOOR, Setup};
use postern_tests::probe::{self, Answer, UdpFlow};
use postern_tests::server::{Service, Sshd};
use postern_tests::suite::{Suite, everywhere};
use postern_tests::wait::SOON;
use postern_tests::{client, suite};

pub(crate) fn suite() -> Suite {
    suite![
        openssh_is_entered_with_a_key needs "knock" "sshd" "ssh" "ssh-keygen",
        an_http_api_is_asked needs "knock" "curl",
        a_udp_flow_outlives_its_grant needs "knock",
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];

fn openssh_is_entered_with_a_key() {
    everywhere(|net, guard, family| {
        let server = Sshd::start(&net.router.namespace, 22);
        let setup = Setup::new(&net.router, guard, SSH_DOOR);
        let _agent = setup.start(&net.router);
        let ssh = net.router.port(family, 22);
        assert_eq!(probe::tcp(&net.client.namespace, ssh), Answer::Silent);
        client::knock(&net.client, ssh.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
        let said = client::ssh(&net.client, ssh.ip(), &server, "id -un");
        assert_eq!(said.ok(), "root\n");
    });
}

fn an_http_api_is_asked() {
    everywhere(|net, guard, family| {
        let _api = Service::http(&net.router.namespace, 8080);
        let door = SSH_DOOR
            .replace("'ssh'", "'api'")
            .replace("tcp:22", "tcp:8080");
        let setup = Setup::new(&net.router, guard, &door);
        let _agent = setup.start(&net.router);
        let api = net.router.port(family, 8080);
        assert_eq!(probe::tcp(&net.client.namespace, api), Answer::Silent);
        client::knock(&net.client, api.ip(), &OPEN);
        assert!(probe::tcp_opens(&net.client.namespace, api, SOON));
        let said = client::curl(&net.client.namespace, &format!("http://{api}/status"));
        assert_eq!(said.ok(), "{\"door\":\"open\"}");
        assert_eq!(probe::tcp(&net.stranger.namespace, api), Answer::Silent);
    });
}

fn a_udp_flow_outlives_its_grant() {
    everywhere(|net, guard, family| {
        let _echo = Service::udp_echo(&net.router.namespace, 51820);
        let door = SSH_DOOR.replace("tcp:22", "udp:51820").replace("30s", "2s");
        let setup = Setup::new(&net.router, guard, &door);
        let _agent = setup.start(&net.router);
        let (client, echo) = (&net.client.namespace, net.router.port(family, 51820));
        assert_eq!(probe::udp(client, echo), Answer::Silent);
        client::knock(&net.client, echo.ip(), &OPEN);
        assert!(probe::udp_opens(client, echo, SOON));
        let flow = UdpFlow::new(client, echo);
        assert_eq!(flow.echo(), Answer::Open);
        assert!(probe::udp_shuts(client, echo, SOON));
        assert_eq!(flow.echo(), Answer::Open);
        assert_eq!(probe::udp(&net.stranger.namespace, echo), Answer::Silent);
    });
}
