//! Interfaces that are named as OpenWrt's networks: their devices are guarded, whenever they come.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use nix::sys::signal::Signal;
use postern_tests::agent::{Agent, Guard, SSH_DOOR, Setup, program};
use postern_tests::probe::{self, Answer, Capture};
use postern_tests::process::Process;
use postern_tests::scratch::Scratch;
use postern_tests::server::Service;
use postern_tests::suite::Suite;
use postern_tests::topology::{Family, Host, Topology};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, suite, tools};

pub(crate) fn suite() -> Suite {
    suite![
        the_device_of_a_network_is_guarded needs "netifd" "knock" "unshare",
        a_device_may_be_named_beside_networks needs "netifd" "unshare",
        a_network_that_comes_up_late_is_guarded_from_then_on needs "netifd" "knock" "unshare",
        a_network_that_moves_to_another_device_takes_its_guard_along needs "netifd" "unshare",
        a_device_that_is_made_anew_is_guarded_at_once needs "netifd" "knock" "unshare",
        a_network_that_comes_up_on_another_device_is_followed_without_a_signal needs "netifd" "unshare",
        a_network_is_followed_after_ubus_began_anew needs "netifd" "unshare",
        without_netifd_the_devices_stay_guarded needs "netifd" "unshare",
        a_bus_that_does_not_answer_holds_nobody_up needs "netifd" "knock" "unshare",
        the_loopback_network_is_refused needs "netifd" "unshare",
    ]
}

const OPEN: [&str; 3] = ["7000", "8001:udp", "9002"];

/// Puts a folder in the place of ubus' own, seen by nobody else, and becomes the program.
const IN_PLACE: &str = "mount -t tmpfs tmpfs /run && mkdir /run/ubus && mount --bind \"$1\" /run/ubus && shift && \
     exec \"$@\"";

/// A router with a netifd.
struct Router<'t> {
    net: &'t Topology,
    setup: Setup,
    folder: Scratch,
    netifd: RefCell<Process>,
}

/// Starts a stand-in for ubusd and netifd on files in this folder.
fn start_netifd(folder: &Scratch) -> Process {
    let (socket, file) = (folder.join("ubus/ubus.sock"), folder.join("networks"));
    _ = fs::remove_file(&socket);
    let mut netifd = Command::new(tools::path("netifd"));
    let netifd = Process::spawn(netifd.arg(&socket).arg(&file));
    poll_until(SOON, "a socket of ubus", || socket.exists());
    // As ubusd has it: who may do what is for its lists to say.
    let mode = fs::Permissions::from_mode(0o666);
    fs::set_permissions(&socket, mode).expect("anybody may call");
    netifd
}

impl<'t> Router<'t> {
    /// One whose configuration names these interfaces, and whose netifd knows these networks:
    /// name, protocol, device and, if it is up, its device for IP.
    fn new(net: &'t Topology, interfaces: &[&str], networks: &str) -> Self {
        let folder = Scratch::new();
        fs::create_dir(folder.join("ubus")).expect("make a folder");
        let netifd = start_netifd(&folder);
        let router = Self {
            net,
            setup: Setup::new(&net.router, Guard::Gate, SSH_DOOR),
            folder,
            netifd: RefCell::new(netifd),
        };
        let [control, state] = ["control", "state"].map(|name| router.setup.path(name));
        let lists: String = interfaces
            .iter()
            .map(|name| format!("\tlist interface '{name}'\n"))
            .collect();
        router.setup.rewrite_whole(&format!(
            "config postern 'global'\n\toption control '{}'\n\toption state_dir '{}'\n\toption fallback 'other'\n{lists}{SSH_DOOR}",
            control.display(),
            state.display()
        ));
        router.tell(networks);
        router
    }

    /// What netifd knows from now on.
    fn tell(&self, networks: &str) {
        let new = self.folder.write("new", networks);
        fs::rename(new, self.folder.join("networks")).expect("replace a file");
    }

    /// What a program is started by that is to find this netifd.
    fn words(&self) -> [String; 7] {
        let folder = self.folder.join("ubus").display().to_string();
        let [unshare, mount, sh, c, script, name] =
            ["unshare", "--mount", "sh", "-c", IN_PLACE, "sh"].map(String::from);
        [unshare, mount, sh, c, script, name, folder]
    }

    fn start(&self) -> Agent<'_> {
        let words = self.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.setup.start_by(&words, &self.net.router)
    }

    fn guarded(&self) -> Vec<String> {
        let table = nft::table(&self.net.router.namespace, "inet postern").unwrap_or_default();
        let set = table.split("set interfaces {").nth(1).unwrap_or_default();
        let set = set.split("elements = {").nth(1).unwrap_or_default();
        let elements = set.split('}').next().unwrap_or_default();
        let names = elements
            .split(',')
            .map(|name| name.trim().trim_matches('"'));
        let mut names: Vec<String> = names
            .filter(|name| !name.is_empty())
            .map(Into::into)
            .collect();
        names.sort();
        names
    }

    /// What a verb says.
    fn verb(&self, verb: &[&str]) -> String {
        let (program, config) = (program(), self.setup.config());
        let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
        let words = self.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let words = [&words[..], &[&program], verb, &["--config", &config]].concat();
        self.net.router.namespace.run(words[0], &words[1..]).ok()
    }

    /// Has the agent ask again, and waits until it has.
    fn reload(&self, agent: &Agent<'_>) {
        let read = || agent.log().matches("configuration read again").count();
        let before = read();
        agent.reload();
        poll_until(SOON, "the configuration is read again", || read() > before);
    }

    fn answers(&self, from: &Host) -> Answer {
        probe::tcp(&from.namespace, self.net.router.port(Family::V4, 22))
    }
}

fn the_device_of_a_network_is_guarded() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let networks = "loopback static lo lo\nuplink dhcp wan wan\nuplink6 dhcpv6 @uplink wan\n";
    let router = Router::new(&net, &["uplink", "uplink6"], networks);
    let agent = router.start();
    assert_eq!(router.guarded(), ["wan"]);
    assert!(
        agent.log().contains("network uplink6 is device wan"),
        "{}",
        agent.log()
    );
    assert_eq!(router.answers(&net.client), Answer::Silent);
    client::knock(&net.client, net.router.v4.into(), &OPEN);
    let ssh = net.router.port(Family::V4, 22);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    assert_eq!(router.answers(&net.stranger), Answer::Silent);
}

fn a_device_may_be_named_beside_networks() {
    let net = Topology::new();
    let router = Router::new(&net, &["wan", "uplink"], "uplink wireguard - wg0\n");
    let _agent = router.start();
    assert_eq!(router.guarded(), ["wan", "wg0"]);
    poll_until(SOON, "the device is rendered", || {
        router.verb(&["render"]).contains("\"wg0\"")
    });
    let said = router.verb(&["open", "ssh", "--on", "uplink", "--for", "1h"]);
    assert_eq!(said, "door ssh is open for everyone on wg0 for 1h\n");
}

fn a_network_that_comes_up_late_is_guarded_from_then_on() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let router = Router::new(&net, &["uplink"], "uplink pppoe eth7 -\n");
    let agent = router.start();
    // What it will be called when it has dialled in is guarded before it is there.
    assert_eq!(router.guarded(), ["eth7", "pppoe-uplink"]);
    assert_eq!(router.answers(&net.client), Answer::Open);
    router.tell("uplink pppoe eth7 wan\n");
    router.reload(&agent);
    assert_eq!(router.guarded(), ["wan"]);
    assert_eq!(router.answers(&net.client), Answer::Silent);
    client::knock(&net.client, net.router.v4.into(), &OPEN);
    let ssh = net.router.port(Family::V4, 22);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
}

fn a_network_that_moves_to_another_device_takes_its_guard_along() {
    let net = Topology::new();
    let neighbour = net.add_neighbour();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let router = Router::new(&net, &["uplink"], "uplink dhcp wan wan\n");
    let agent = router.start();
    let lan = "198.18.0.1:22".parse().expect("an address");
    assert_eq!(router.answers(&net.client), Answer::Silent);
    assert_eq!(probe::tcp(&neighbour.namespace, lan), Answer::Open);
    router.tell("uplink dhcp lan lan\n");
    router.reload(&agent);
    assert_eq!(router.answers(&net.client), Answer::Open);
    assert_eq!(probe::tcp(&neighbour.namespace, lan), Answer::Silent);
}

/// As a PPPoE connection does each time that it dials in: the same name, another index.
fn a_device_that_is_made_anew_is_guarded_at_once() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let router = Router::new(&net, &["uplink"], "uplink dhcp wan wan\n");
    let _agent = router.start();
    let (name, v4) = (net.router.namespace.name(), net.router.v4);
    net.wire.ip_batch(&format!(
        "link del port1\nlink add port1 type veth peer name wan netns {name}\n\
         link set port1 master segment up\n"
    ));
    let lines = format!("address add {v4}/24 dev wan\nlink set wan up\n");
    net.router.namespace.ip_batch(&lines);
    for host in [&net.client, &net.stranger] {
        host.namespace.ip_batch("neighbour flush dev eth0\n");
        Capture::new(host).answers(host, v4.into());
    }
    assert_eq!(router.answers(&net.client), Answer::Silent);
    client::knock(&net.client, v4.into(), &OPEN);
    let ssh = net.router.port(Family::V4, 22);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
    assert_eq!(router.answers(&net.stranger), Answer::Silent);
}

/// As `ifdown wan; uci set network.wan.device=lan; uci commit network; ifup wan` does: no interface
/// comes, goes or changes, and procd sends no signal where the network has the name of a device.
fn a_network_that_comes_up_on_another_device_is_followed_without_a_signal() {
    let net = Topology::new();
    let neighbour = net.add_neighbour();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let router = Router::new(&net, &["wan"], "wan static wan wan\n");
    let agent = router.start();
    let lan = "198.18.0.1:22".parse().expect("an address");
    assert_eq!(router.answers(&net.client), Answer::Silent);
    assert_eq!(probe::tcp(&neighbour.namespace, lan), Answer::Open);
    router.tell("wan static lan lan\n");
    router.netifd.borrow().signal(Signal::SIGUSR1);
    poll_until(SOON * 4, "the guard moves", || router.guarded() == ["lan"]);
    assert_eq!(router.answers(&net.client), Answer::Open);
    assert_eq!(probe::tcp(&neighbour.namespace, lan), Answer::Silent);
    let status = router.verb(&["status"]);
    assert!(status.contains("network wan is device lan"), "{status}");
    // Nothing else about it changed.
    for _ in 0..100 {
        router.netifd.borrow().signal(Signal::SIGUSR1);
    }
    router.reload(&agent);
    assert_eq!(router.guarded(), ["lan"]);
    assert_eq!(agent.log().matches("the guard moved").count(), 1);
}

fn a_network_is_followed_after_ubus_began_anew() {
    let net = Topology::new();
    let router = Router::new(&net, &["uplink"], "uplink dhcp wan wan\n");
    let agent = router.start();
    router.netifd.borrow().signal(Signal::SIGKILL);
    router.netifd.borrow_mut().wait(SOON);
    // It is asked again by itself, not at once.
    router.tell("uplink dhcp lan lan\n");
    router.netifd.replace(start_netifd(&router.folder));
    poll_until(SOON * 4, "the guard moves", || router.guarded() == ["lan"]);
    router.tell("uplink dhcp wan wan\n");
    router.netifd.borrow().signal(Signal::SIGUSR1);
    poll_until(SOON * 4, "the guard moves back", || {
        router.guarded() == ["wan"]
    });
    assert_eq!(agent.log().matches("the guard moved").count(), 2);
}

fn without_netifd_the_devices_stay_guarded() {
    let net = Topology::new();
    let router = Router::new(&net, &["uplink"], "uplink pppoe eth7 wan\n");
    let agent = router.start();
    fs::remove_file(router.folder.join("networks")).expect("end netifd");
    router.reload(&agent);
    assert_eq!(router.guarded(), ["wan"]);
}

fn a_bus_that_does_not_answer_holds_nobody_up() {
    let net = Topology::new();
    let _ssh = Service::tcp(&net.router.namespace, 22);
    let router = Router::new(&net, &["uplink"], "uplink dhcp wan wan\n");
    let agent = router.start();
    router.tell("");
    router.reload(&agent);
    assert!(
        agent.log().contains("netifd was not asked"),
        "{}",
        agent.log()
    );
    assert_eq!(router.guarded(), ["wan"]);
    client::knock(&net.client, net.router.v4.into(), &OPEN);
    let ssh = net.router.port(Family::V4, 22);
    assert!(probe::tcp_opens(&net.client.namespace, ssh, SOON));
}

fn the_loopback_network_is_refused() {
    let net = Topology::new();
    let router = Router::new(&net, &["uplink"], "uplink dhcp wan wan\n");
    let agent = router.start();
    router.tell("uplink static lo lo\n");
    agent.reload();
    poll_until(SOON, "a complaint", || {
        agent.log().contains("the running configuration stays")
    });
    assert!(
        agent.log().contains("device lo, which is never guarded"),
        "{}",
        agent.log()
    );
    assert_eq!(router.guarded(), ["wan"]);
}
