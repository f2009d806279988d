//! The package for OpenWrt: what is in it, how it is installed and removed, and what its scripts do.
//!
//! They run under busybox' ash in a root folder that the package was unpacked into, with the real uci and
//! jshn. The rest of OpenWrt's base system is stood in for by `base/`, which writes down what procd is told.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use postern_tests::agent::program;
use postern_tests::namespace::Namespace;
use postern_tests::page::Block;
use postern_tests::process::{Said, run};
use postern_tests::scratch::Scratch;
use postern_tests::server::Sshd;
use postern_tests::suite::{Suite, in_case_of};
use postern_tests::wait::{SOON, poll_until};
use postern_tests::{client, nft, page, suite, tools};

pub(crate) fn suite() -> Suite {
    suite![
        the_same_sources_give_the_same_bytes needs "make" "busybox",
        it_is_what_opkg_expects needs "make",
        the_feed_takes_its_version_from_cargo,
        installing_it_adds_the_firewalls_rule_once needs "make" "busybox" "uci",
        removing_it_takes_the_rule_and_the_guard_away needs "make" "busybox" "uci",
        an_upgrade_ends_the_old_program_where_the_new_one_can_start needs "make" "busybox" "uci",
        an_upgrade_keeps_what_its_owner_wrote needs "make" "busybox" "uci",
        the_configuration_that_comes_with_it_is_right needs "make" "busybox",
        the_first_door_of_the_readme_is_right needs "make" "busybox" "uci",
        the_commands_of_the_page_lead_back_in needs "make" "busybox" "uci" "sshd" "ssh" "ssh-keygen",
        failsafe_mode_leads_back_in needs "make" "busybox" "uci",
        the_service_is_started_as_procd_expects needs "make" "busybox" "uci",
        a_service_that_is_not_enabled_takes_its_guard_away needs "make" "busybox" "uci",
        a_wrong_configuration_is_not_started_and_said needs "make" "busybox" "uci",
        sources_that_need_more_are_not_jailed needs "make" "busybox" "uci",
        doors_open_and_close_over_ubus needs "make" "busybox" "jshn" "jq",
        who_is_cut_off_is_pardoned_over_ubus needs "make" "busybox" "jshn" "jq",
        an_answer_over_ubus_has_no_warnings_in_it needs "make" "busybox" "uci" "jshn" "jq",
        a_trial_is_confirmed_over_ubus_by_whoever_vouches_for_it needs "make" "busybox" "jshn" "jq",
        a_button_opens_doors_by_how_long_it_was_held needs "make" "busybox" "uci",
        an_led_blinks_while_a_door_is_open needs "make" "busybox" "uci",
        the_feeds_own_test_passes needs "make" "busybox",
        apk_is_told_all_that_a_package_has needs "make",
        apk_itself_packs_and_installs_it needs "make" "busybox" "uci" "apk",
        without_apk_there_is_no_package_and_no_silence,
    ]
}

const TARGET: &str = "x86_64-unknown-linux-musl";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds the package around the program that the other tests run.
fn build(out: &Path, umask: &str) -> PathBuf {
    let mut sh = Command::new("sh");
    sh.args(["-c", &format!("umask {umask} && exec \"$@\""), "sh"]);
    sh.arg(top().join("openwrt/ipk"))
        .args([TARGET, "--binary"])
        .arg(program());
    let said = run(sh.env("CARGO_TARGET_DIR", out), "").ok();
    PathBuf::from(said.trim_end())
}

/// The package that the cases share.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<(Scratch, PathBuf)> = OnceLock::new();
    let (_, package) = PACKAGE.get_or_init(|| {
        let scratch = Scratch::new();
        let package = build(scratch.path(), "022");
        (scratch, package)
    });
    package
}

fn tar(arguments: &[&str], file: &Path) -> String {
    run(Command::new("tar").args(arguments).arg(file), "").ok()
}

fn the_same_sources_give_the_same_bytes() {
    let [one, other] = ["022", "077"].map(|umask| {
        let scratch = Scratch::new();
        let package = build(scratch.path(), umask);
        (
            fs::read(&package).expect("a package"),
            package.file_name().map(ToOwned::to_owned),
        )
    });
    assert_eq!(one.1, other.1);
    assert!(one.0 == other.0, "the packages differ");
}

fn it_is_what_opkg_expects() {
    let package = package();
    let name = package.file_name().expect("a name").to_string_lossy();
    let version = format!("{}-r1", env!("CARGO_PKG_VERSION"));
    assert_eq!(name, format!("postern_{version}_x86_64.ipk"));
    // A gzipped tar, not Debian's ar.
    assert_eq!(
        tar(&["-tzf"], package),
        "./debian-binary\n./data.tar.gz\n./control.tar.gz\n"
    );
    let parts = Scratch::new();
    let into = parts.path().display().to_string();
    tar(&["-C", &into, "-xzf"], package);
    assert_eq!(
        fs::read_to_string(parts.join("debian-binary")).expect("a part"),
        "2.0\n"
    );
    let data = tar(&["--numeric-owner", "-tvzf"], &parts.join("data.tar.gz"));
    assert!(data.lines().all(|line| line.contains(" 0/0 ")), "{data}");
    let mode_of = |path: &str| {
        let line = data
            .lines()
            .find(|line| line.ends_with(&format!(" .{path}")));
        line.unwrap_or_else(|| panic!("no {path} in {data}"))[..10].to_string()
    };
    for (path, mode) in [
        ("/usr/sbin/postern", "-rwxr-xr-x"),
        // Whoever reads the knocks can open the doors.
        ("/etc/config/postern", "-rw-------"),
        ("/etc/init.d/postern", "-rwxr-xr-x"),
        ("/etc/uci-defaults/90-postern", "-rwxr-xr-x"),
        ("/etc/capabilities/postern.json", "-rw-r--r--"),
        ("/etc/hotplug.d/button/50-postern", "-rw-r--r--"),
        ("/lib/upgrade/keep.d/postern", "-rw-r--r--"),
        ("/usr/libexec/rpcd/postern", "-rwxr-xr-x"),
        ("/usr/share/rpcd/acl.d/postern.json", "-rw-r--r--"),
        ("/usr/share/acl.d/postern.json", "-rw-r--r--"),
    ] {
        assert_eq!(mode_of(path), mode, "{path}");
    }
    assert_eq!(
        data.lines().filter(|line| !line.ends_with('/')).count(),
        10,
        "{data}"
    );
    tar(&["-C", &into, "-xzf"], &parts.join("control.tar.gz"));
    let control = fs::read_to_string(parts.join("control")).expect("a control file");
    for line in [
        "Package: postern".to_string(),
        format!("Version: {version}"),
        "Architecture: x86_64".into(),
        "Depends: kmod-nft-core, kmod-nft-fib, kmod-nfnetlink-log".into(),
        "License: GPL-2.0-or-later".into(),
    ] {
        assert!(
            control.lines().any(|other| other == line),
            "no {line} in {control}"
        );
    }
    assert_eq!(
        fs::read_to_string(parts.join("conffiles")).expect("a part"),
        "/etc/config/postern\n"
    );
}

fn the_feed_takes_its_version_from_cargo() {
    let makefile = fs::read_to_string(top().join("openwrt/Makefile")).expect("the feed's Makefile");
    let version = format!("PKG_VERSION:={}\n", env!("CARGO_PKG_VERSION"));
    assert!(
        makefile.contains(&version),
        "the Makefile is not of {version}"
    );
}

/// A router's root folder, over that of this machine, with the package unpacked in it.
struct Router {
    scratch: Scratch,
    network: Namespace,
}

/// Lays the folder over this machine's root, and runs a script in it.
const ENTER: &str = "mount -t overlay overlay -o lowerdir=/,upperdir=$1/root,workdir=$1/work $1/all && \
                     mount -t proc proc $1/all/proc && mount --bind /dev $1/all/dev && \
                     exec chroot $1/all env -i PATH=/usr/sbin:/usr/bin sh -c \"$2\"";

/// The firewall's configuration before us.
const FIREWALL: &str = "config zone\n\toption name 'wan'\n\toption input 'REJECT'\n";

/// With a LAN, by which the owner comes in if no door opens.
const NETWORK: &str = "config interface 'lan'\n\toption device 'br-lan'\n\toption proto 'static'\n\
                       \toption ipaddr '192.168.1.1/24'\n";

const DOOR: &str = "
config door 'ssh'
	list guard 'tcp:22'
	option method 'sequence-separate'
	list open 'tcp:7000'
	list open 'udp:8001'
	list open 'tcp:6002'
	option cutoff '5 per 10m'
";

fn configuration() -> String {
    format!(
        "config postern 'global'\n\toption enabled '1'\n\toption guard 'mark'\n\
         \tlist interface 'wan'\n\tlist interface 'eth9'\n{DOOR}"
    )
}

impl Router {
    fn new() -> Self {
        let router = Self::bare();
        router.unpack();
        router
    }

    /// One without the package.
    fn bare() -> Self {
        let router = Self {
            scratch: Scratch::new(),
            network: Namespace::new("router"),
        };
        for folder in [
            "root/usr/bin",
            "root/usr/sbin",
            "root/tmp",
            "root/etc/config",
            "work",
            "all",
        ] {
            fs::create_dir_all(router.scratch.join(folder)).expect("make folders");
        }
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("openwrt/base");
        router.copy(&base.join("lib/functions.sh"), "usr/lib/functions.sh");
        router.copy(
            &base.join("lib/functions/network.sh"),
            "usr/lib/functions/network.sh",
        );
        for script in ["etc/rc.common", "etc/init.d/rpcd"] {
            router.copy(&base.join(script), script);
        }
        router.copy(&base.join("ubus"), "usr/bin/ubus");
        for program in ["uci", "jshn"] {
            router.copy(&tools::path(program), &format!("usr/bin/{program}"));
        }
        router.copy(&tools::path("jshn.sh"), "usr/share/libubox/jshn.sh");
        // Every script runs under the shell that OpenWrt has, of another busybox where one is named.
        if let Some(busybox) = env::var_os("POSTERN_TESTS_BUSYBOX") {
            router.copy(Path::new(&busybox), "usr/bin/busybox");
        }
        symlink("/usr/bin/busybox", router.path("usr/bin/sh")).expect("a shell");
        router.write("etc/config/firewall", FIREWALL);
        router.write("etc/config/network", NETWORK);
        router.write("tmp/networks", "wan eth7\nwan6 eth7\n");
        router
    }

    /// Debian's /lib is a link to usr/lib, which a folder of ours would hide.
    fn unpack(&self) {
        let mut unpack = Command::new(top().join("openwrt/unpack"));
        run(unpack.arg(package()).arg(self.path("")), "").ok();
        let keep = "lib/upgrade/keep.d/postern";
        self.copy(&self.path(keep), &format!("usr/{keep}"));
        fs::remove_dir_all(self.path("lib")).expect("remove a folder");
    }

    /// One whose service is enabled, with a door.
    fn enabled() -> Self {
        let router = Self::new();
        router.configure(&configuration());
        router
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join("root").join(name)
    }

    fn copy(&self, from: &Path, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("make folders");
        fs::copy(from, to).expect("copy a file");
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make folders");
        fs::write(path, text).expect("write a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn configure(&self, text: &str) {
        self.write("etc/config/postern", text);
    }

    /// Runs a script in it.
    fn run(&self, script: &str) -> Said {
        self.run_with_input(script, "")
    }

    fn run_with_input(&self, script: &str, input: &str) -> Said {
        let folder = self.scratch.path().display().to_string();
        let arguments = ["--mount", "sh", "-c", ENTER, "sh", &folder, script];
        self.network.run_with_input("unshare", &arguments, input)
    }

    /// What procd and others were told, by a script that ran to its end.
    #[track_caller]
    fn calls(&self, script: &str) -> String {
        self.write("tmp/calls", "");
        self.run(script).ok();
        self.read("tmp/calls")
    }

    fn rules(&self) -> String {
        self.run("uci show firewall").ok()
    }
}

const RULE: &str = "firewall.postern=rule\nfirewall.postern.name='Postern'\nfirewall.postern.src='wan'\n\
                    firewall.postern.proto='tcp udp'\nfirewall.postern.mark='0x10000000/0x10000000'\n\
                    firewall.postern.target='ACCEPT'\n";
const INSTALL: &str = "/usr/lib/opkg/info/postern.postinst configure";

fn installing_it_adds_the_firewalls_rule_once() {
    let router = Router::new();
    let calls = router.calls(INSTALL);
    assert!(router.rules().contains(RULE), "{}", router.rules());
    assert_eq!(
        router.read("etc/rc.d/S21postern"),
        router.read("etc/init.d/postern")
    );
    // It is not enabled: nothing is started.
    // rpcd hears of the new object, and of who may use it.
    let nothing = "rpcd reload\nservice postern\nadd_reload_trigger postern after 0 ms\n\
                   add_reload_interface_trigger wan after 0 ms\n\
                   add_reload_interface_trigger wan6 after 0 ms\n";
    assert_eq!(calls, nothing);
    // As after an upgrade of the whole system, which runs the script again.
    let defaults = top().join("openwrt/files/postern.defaults");
    router
        .run("uci set firewall.postern.enabled=0 && uci commit firewall")
        .ok();
    let before = router.rules();
    router.copy(&defaults, "etc/uci-defaults/90-postern");
    router.run(INSTALL).ok();
    assert_eq!(router.rules(), before);
    assert!(!router.path("etc/uci-defaults/90-postern").exists());
}

fn removing_it_takes_the_rule_and_the_guard_away() {
    let router = Router::enabled();
    router.run(INSTALL).ok();
    router.run("postern apply").ok();
    let table = || nft::table(&router.network, "inet postern");
    assert!(table().is_some());
    let upgrade = router.calls("PKG_UPGRADE=1 /usr/lib/opkg/info/postern.prerm upgrade 9");
    assert_eq!(upgrade, "kill postern\n");
    assert!(router.rules().contains(RULE) && table().is_some());
    assert!(
        router
            .path("etc/rc.d/S21postern")
            .symlink_metadata()
            .is_ok()
    );
    let scripts =
        ["prerm", "postrm"].map(|name| format!("/usr/lib/opkg/info/postern.{name} remove"));
    let removal = router.calls(&scripts.join("\n"));
    assert_eq!(removal, "kill postern\nrpcd reload\n");
    assert!(!router.rules().contains("postern"), "{}", router.rules());
    assert_eq!(table(), None);
    // The overlay remembers that it is gone.
    assert_ne!(router.run("ls /etc/rc.d/S21postern").status, 0);
}

/// The old program does not run on, whatever the package manager's default is.
fn expect_a_restart(calls: &str) {
    let told: Vec<&str> = calls.lines().collect();
    let stopped = told.iter().position(|line| *line == "kill postern");
    let started = told.iter().rposition(|line| *line == "open_instance ");
    assert!(stopped.is_some() && stopped < started, "{calls}");
}

fn an_upgrade_ends_the_old_program_where_the_new_one_can_start() {
    let router = Router::enabled();
    router.run(INSTALL).ok();
    let upgrade = format!("PKG_UPGRADE=1 {INSTALL}");
    expect_a_restart(&router.calls(&upgrade));
    router.configure(&configuration().replace("'mark'", "'fence'"));
    let calls = router.calls(&upgrade);
    assert!(!calls.contains("kill"), "{calls}");
}

fn an_upgrade_keeps_what_its_owner_wrote() {
    let router = Router::new();
    let shipped = router.read("etc/config/postern");
    router.configure("# mine\n");
    router.unpack();
    assert_eq!(router.read("etc/config/postern"), "# mine\n");
    assert_eq!(router.read("etc/config/postern-opkg"), shipped);
    // And a new image keeps the secrets and what codes were used.
    assert_eq!(
        router.read("usr/lib/upgrade/keep.d/postern"),
        "/etc/postern/\n"
    );
}

fn the_configuration_that_comes_with_it_is_right() {
    let router = Router::new();
    let said = router.run("postern check");
    assert_eq!(said.status, 0, "{said:?}");
    assert!(
        said.stderr
            .lines()
            .all(|line| line.contains("there is no door")),
        "{said:?}"
    );
    // What is commented out is right as well, one door at a time.
    let shipped = router.read("etc/config/postern");
    let examples: Vec<&str> = shipped.split("\n\n").skip(2).collect();
    assert_eq!(examples.len(), 3);
    let uncommented = |text: &str| -> String {
        let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
        lines
            .filter(|line| !line.starts_with(' '))
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let enabled = shipped.replace("enabled '0'", "enabled '1'");
    let head: Vec<&str> = enabled.split("\n\n").take(2).collect();
    for door in &examples[..2] {
        let text = format!(
            "{}\n{}\n{}",
            head.join("\n\n"),
            uncommented(door),
            uncommented(examples[2])
        );
        in_case_of(&text, || {
            router.configure(&text);
            let said = router.run("postern render");
            assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{said:?}");
        });
    }
}

/// What a reader types, line by line.
fn the_first_door_of_the_readme_is_right() {
    let steps = page::section("openwrt/README.md", "The first door, in five minutes");
    let (blocks, _) = page::split(&steps);
    let router = Router::new();
    for command in blocks.iter().flat_map(Block::commands) {
        in_case_of(command, || match command {
            "postern check" => {
                let said = router.run(command);
                assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{said:?}");
            }
            "service postern restart" => {
                let calls = router.calls(&format!("{SHELL}\n{command}"));
                assert!(
                    calls.contains("set_param command /usr/sbin/postern run --take-over --procd"),
                    "{calls}"
                );
                assert!(!calls.contains("error"), "{calls}");
            }
            // No procd here has started anything.
            "postern status" => _ = router.run(command).with_status(4),
            _ if command.starts_with("uci ") => _ = router.run(command).ok(),
            // The front page's knocks, which `tests/pages` types.
            _ => assert!(command.starts_with("knock ") && command.contains(" && ssh ")),
        });
    }
    let door = router.run("uci show postern.ssh").ok();
    assert!(door.contains("'udp:8001'"), "{door}");
}

/// What the page has its reader type when he is locked out, in a root folder as the package leaves it.
const WAYS_BACK: [&str; 9] = [
    "postern open ssh --for 1h",
    "postern status",
    "postern remove",
    "nft delete table inet postern",
    "service postern stop",
    "service postern disable",
    "rm /etc/rc.d/S21postern",
    "uci set postern.global.enabled='0' && uci commit postern",
    "ssh root@192.168.1.1",
];

/// What takes a flash, a boot loader, or a machine with a controller of its own: stand-ins write down
/// that it was typed.
const ON_A_ROUTER: [&str; 4] = [
    "ipmitool -I lanplus -H BMC -U USER sol activate",
    "mount_root",
    "reboot -f",
    "firstboot",
];

/// OpenWrt's profile has the first for interactive shells.
const SHELL: &str = "service() { \"/etc/init.d/$1\" \"$2\"; }
                     for each in ipmitool mount_root reboot firstboot; do
                         eval \"$each() { echo $each \\$* >>/tmp/calls; }\"
                     done";

fn the_commands_of_the_page_lead_back_in() {
    let commands = page::commands(&page::section("docs/recovery.md", "On an OpenWrt router"));
    page::expect_played(&commands, &[&WAYS_BACK[..], &ON_A_ROUTER].concat());
    for command in WAYS_BACK {
        in_case_of(command, || type_when_locked_out(command));
    }
}

fn type_when_locked_out(command: &str) {
    let router = Router::enabled();
    router.run(INSTALL).ok();
    router.run("postern apply").ok();
    let table = || nft::table(&router.network, "inet postern");
    let is_enabled = || router.run("test -e /etc/rc.d/S21postern").status == 0;
    assert!(table().is_some() && is_enabled());
    if command.starts_with("ssh ") {
        return enter_from_lan(&router, command);
    }
    if command == "postern status" {
        router.run(command).with_status(3);
        return;
    }
    let calls = router.calls(&format!("{SHELL}\n{command}"));
    match command {
        "postern open ssh --for 1h" => {
            let table = table().unwrap_or_default();
            assert!(table.contains("timeout 1h"), "{table}");
        }
        "postern remove" | "nft delete table inet postern" => assert_eq!(table(), None),
        "service postern stop" => assert_eq!(calls, "kill postern\n"),
        "service postern disable" | "rm /etc/rc.d/S21postern" => assert!(!is_enabled()),
        _ => {
            // As at the next start.
            let calls = router.calls("/etc/init.d/postern start");
            assert!(!calls.contains("open_instance"), "{calls}");
            assert_eq!(table(), None);
        }
    }
}

/// LAN's address is the router's; the guard is in force.
fn enter_from_lan(router: &Router, command: &str) {
    let to = command.trim_start_matches("ssh root@");
    let computer = Namespace::new("computer");
    router.network.ip_batch(&format!(
        "link add br-lan type veth peer name eth0 netns {}\n\
         address add {to}/24 dev br-lan\nlink set br-lan up\nlink set lo up\n",
        computer.name()
    ));
    computer.ip_batch("address add 192.168.1.2/24 dev eth0\nlink set eth0 up\n");
    let server = Sshd::start(&router.network, 22);
    let to = to.parse().expect("an address");
    let said = computer.enter(|| client::ssh_by(to, &server, "echo inside"));
    assert_eq!(said.ok(), "inside\n");
}

/// The block is typed from its first line to its last, and each of the page's other ways in place of `rm`.
fn failsafe_mode_leads_back_in() {
    let page = page::section("docs/recovery.md", "On an OpenWrt router");
    let (_, failsafe) = page.split_once("**Failsafe mode**").expect("such a way");
    let typed = page::commands(failsafe);
    // The text names `rm` alone, for the line that it stands for.
    let lines: Vec<&str> = (typed.iter().map(String::as_str))
        .filter(|line| *line != "rm")
        .collect();
    let [ssh, mount_root, rm, reboot, uci, firstboot, ..] = lines[..] else {
        panic!("another way: {typed:?}");
    };
    assert!(
        ssh.starts_with("ssh ") && firstboot == "firstboot",
        "{typed:?}"
    );
    for (way, calls_expected) in [
        (rm, "mount_root\nreboot -f\n"),
        (uci, "mount_root\nreboot -f\n"),
        (firstboot, "mount_root\nfirstboot\nreboot -f\n"),
    ] {
        in_case_of(way, || {
            let router = Router::enabled();
            router.run(INSTALL).ok();
            let script = [SHELL, mount_root, way, reboot].join("\n");
            assert_eq!(router.calls(&script), calls_expected);
            if way == firstboot {
                return;
            }
            // What the next boot does: the links in rc.d are followed, the scripts look at `enabled`.
            let boot = "for each in /etc/rc.d/S*postern; do [ ! -e $each ] || $each start; done";
            let calls = router.calls(boot);
            assert!(!calls.contains("open_instance"), "{calls}");
            assert_eq!(nft::table(&router.network, "inet postern"), None);
        });
    }
}

/// How a service is declared whose configuration has nothing special.
const STARTED: &str = "\
service postern
open_instance 
set_param command /usr/sbin/postern run --take-over --procd
set_param file /etc/config/postern
append_param netdev eth7
append_param netdev eth9
set_param reload_signal HUP
set_param respawn 60 5 0
set_param stdout 1
set_param stderr 1
set_param capabilities /etc/capabilities/postern.json
set_param no_new_privs 1
add_jail postern
close_instance 
add_reload_trigger postern after 0 ms
add_reload_interface_trigger wan after 0 ms
add_reload_interface_trigger eth9 after 0 ms
";

fn the_service_is_started_as_procd_expects() {
    let router = Router::enabled();
    // This machine's own may show through.
    let start = "rm -rf /etc/postern && /etc/init.d/postern start";
    assert_eq!(router.calls(start), STARTED);
    let mode = router.run("stat -c %a /etc/postern").ok();
    assert_eq!(
        mode,
        "750
"
    );
    // A reload declares the same: procd sees by the file and the devices whether to send the signal.
    assert_eq!(router.calls("/etc/init.d/postern reload"), STARTED);
    router.write("tmp/networks", "wan pppoe-wan\n");
    let moved = STARTED.replace("eth7", "pppoe-wan");
    assert_eq!(router.calls("/etc/init.d/postern reload"), moved);
    let booted = router.calls("/etc/init.d/postern boot");
    assert_eq!(
        booted,
        format!("ubus -t 10 wait_for network.interface\n{moved}")
    );
    // The guard stays, as it does when the agent dies.
    assert_eq!(router.calls("/etc/init.d/postern stop"), "kill postern\n");
}

fn a_service_that_is_not_enabled_takes_its_guard_away() {
    let router = Router::enabled();
    router.run("postern apply").ok();
    router
        .run("uci set postern.global.enabled=0 && uci commit postern")
        .ok();
    let calls = router.calls("/etc/init.d/postern reload");
    let (_, triggers) = STARTED.split_once("close_instance \n").expect("triggers");
    assert_eq!(calls, format!("service postern\n{triggers}"));
    assert_eq!(nft::table(&router.network, "inet postern"), None);
}

fn a_wrong_configuration_is_not_started_and_said() {
    let router = Router::enabled();
    let right = router.read("etc/config/postern");
    for wrong in [
        right.replace("'mark'", "'fence'"),
        // uci itself refuses this one.
        format!("{right}\noption\n"),
    ] {
        in_case_of(&wrong, || {
            router.configure(&wrong);
            let said = router.run("rm -f /tmp/calls; /etc/init.d/postern reload");
            assert!(said.stderr.contains("/etc/config/postern:"), "{said:?}");
            // procd starts nothing that has an error; to an agent that runs it sends the signal all the same.
            let error =
                "set_param error /etc/config/postern is wrong, 'postern check' says where\n";
            let respawn = "set_param respawn";
            let expected = STARTED.replacen(respawn, &format!("{error}{respawn}"), 1);
            assert_eq!(router.read("tmp/calls"), expected);
        });
    }
}

fn sources_that_need_more_are_not_jailed() {
    let router = Router::enabled();
    let config = router.read("etc/config/postern");
    for source in ["log", "sockets"] {
        let option = format!("'mark'\n\toption source '{source}'\n");
        router.configure(&config.replace("'mark'\n", &option));
        let calls = router.calls("/etc/init.d/postern start");
        let jailed = calls.contains("jail") || calls.contains("capabilities");
        assert!(calls.contains("close_instance") && !jailed, "{calls}");
    }
}

/// Calls a method as rpcd does, and says what `jq` finds in the answer.
fn call(router: &Router, method: &str, arguments: &str, wanted: &str) -> String {
    let script = format!("/usr/libexec/rpcd/postern call {method}");
    let said = router.run_with_input(&script, arguments);
    let found = run(Command::new("jq").args(["-r", wanted]), &said.stdout);
    assert_eq!((said.status, found.status), (0, 0), "{said:?}");
    found.stdout.trim_end().to_string()
}

fn doors_open_and_close_over_ubus() {
    let router = Router::enabled();
    let methods = router.run("/usr/libexec/rpcd/postern list").ok();
    let methods = run(Command::new("jq").args(["-c", "keys"]), &methods).ok();
    let expected = r#"["close","confirm","doctor","lock","open","pardon","status","unlock"]"#;
    assert_eq!(methods.trim_end(), expected);
    let acl = fs::read_to_string(top().join("openwrt/files/postern.acl")).expect("an ACL");
    let granted = "[.postern | .read, .write | .ubus.postern[]] | sort";
    let granted = run(Command::new("jq").args(["-c", granted]), &acl).ok();
    assert_eq!(granted.trim_end(), expected);
    // Whoever may write the configuration may read it, and nobody else: the knocks are in it. rpcd takes a list
    // for what its group is called, "write", and a table for what stands in it (session.c).
    let uci = "[.postern.read.uci, .postern.write.uci]";
    let granted = run(Command::new("jq").args(["-c", uci]), &acl).ok();
    assert_eq!(granted.trim_end(), r#"[null,{"postern":["read","write"]}]"#);

    assert_eq!(call(&router, "status", "{}", ".installed"), "false");
    assert_eq!(call(&router, "doctor", "{}", ".findings | type"), "array");
    router.run("postern apply").ok();
    assert_eq!(call(&router, "status", "", ".installed"), "true");
    let from = r#"{"door":"ssh","from":"192.0.2.7","for":"1h"}"#;
    let opened = call(&router, "open", from, ".ok, .message");
    assert_eq!(opened, "true\ndoor ssh is open for 192.0.2.7 for 1h");
    let table = || nft::table(&router.network, "inet postern").unwrap_or_default();
    assert!(table().contains("192.0.2.7"), "{}", table());
    assert_eq!(call(&router, "close", r#"{"door":"ssh"}"#, ".ok"), "true");
    assert!(!table().contains("192.0.2.7"), "{}", table());
    // Text from outside is a name, never an option, nor anything that a shell would do.
    for door in [
        "",
        "--help",
        "--config=/dev/null",
        "$(touch /tmp/x)",
        "ssh; touch /tmp/x",
        "'",
        "\\n",
        "web",
    ] {
        let arguments = format!(r#"{{"door":"{}"}}"#, door.replace('\\', "\\\\"));
        assert_eq!(call(&router, "open", &arguments, ".ok"), "false", "{door}");
    }
    let arguments = r#"{"door":"ssh","from":"--for=1h"}"#;
    assert_eq!(call(&router, "open", arguments, ".ok"), "false");
    assert!(!router.path("tmp/x").exists());
    // What is not understood would widen what is done.
    for (method, arguments) in [
        ("open", r#"{"door":"ssh","from":["192.0.2.7"]}"#),
        ("open", r#"{"door":"ssh","form":"192.0.2.7"}"#),
        ("open", r#"{"door":"ssh","from":""}"#),
        ("open", r#"{"door":"ssh","for":3600}"#),
        ("lock", "{}"),
        ("unlock", r#"{"door":5}"#),
        ("unlock", r#"{"all":false}"#),
        ("unlock", r#"{"all":"true"}"#),
        ("pardon", "{}"),
        ("pardon", r#"{"all":false}"#),
        ("pardon", r#"{"address":"--all"}"#),
        ("pardon", r#"{"address":["192.0.2.9"]}"#),
        ("pardon", r#"{"from":"192.0.2.9"}"#),
    ] {
        assert_eq!(
            call(&router, method, arguments, ".ok"),
            "false",
            "{method} {arguments}"
        );
    }
    assert!(!table().contains("192.0.2.7"), "{}", table());
    let session = r#"{"door":"ssh","ubus_rpc_session":"00000000000000000000000000000000"}"#;
    for (method, arguments) in [
        ("lock", session),
        ("unlock", session),
        ("lock", r#"{"all":true}"#),
        ("unlock", r#"{"all":true}"#),
    ] {
        assert_eq!(
            call(&router, method, arguments, ".ok"),
            "true",
            "{method} {arguments}"
        );
    }
    assert_ne!(
        router.run("/usr/libexec/rpcd/postern call nothing").status,
        0
    );
}

fn who_is_cut_off_is_pardoned_over_ubus() {
    let router = Router::enabled();
    let config = configuration();
    router.configure(&format!("{config}\toption cutoff '5 per 10m'\n"));
    router.run("postern apply").ok();
    let cut_off = |address: &str| {
        let set = if address.contains(':') {
            "cutoff6"
        } else {
            "cutoff4"
        };
        let element = format!("add element inet postern {set} {{ {address} timeout 1h }}\n");
        nft::apply(&router.network, &element);
    };
    for address in ["192.0.2.9", "192.0.2.10", "2001:db8::"] {
        cut_off(address);
    }
    assert_eq!(call(&router, "status", "{}", ".cut_off_total"), "3");
    let pardon = |arguments| call(&router, "pardon", arguments, ".ok, .message");
    let one = r#"{"address":"192.0.2.9"}"#;
    assert_eq!(pardon(one), "true\n192.0.2.9 is heard again");
    let said = pardon(one);
    assert!(
        said.starts_with("false\n") && said.contains("192.0.2.9 was not cut off"),
        "{said}"
    );
    assert_eq!(
        pardon(r#"{"address":"2001:db8::1"}"#),
        "true\n2001:db8::/64 is heard again"
    );
    assert_eq!(pardon(r#"{"all":true}"#), "true\n1 source is heard again");
    assert_eq!(call(&router, "status", "{}", ".cut_off | length"), "0");
}

/// Doubts about the configuration belong into nobody's answer, and why something failed does.
fn an_answer_over_ubus_has_no_warnings_in_it() {
    // As it comes: there is no door.
    let router = Router::new();
    assert_eq!(call(&router, "doctor", "{}", ".findings | type"), "array");
    router.configure(&format!("{}\nconfig rest\n", configuration()));
    let said = router.run("postern doctor --json");
    assert!(said.stderr.contains("warning"), "{said:?}");
    for (method, wanted) in [("status", ".doors | type"), ("doctor", ".findings | type")] {
        assert_eq!(call(&router, method, "{}", wanted), "array", "{method}");
    }
    let arguments = r#"{"door":"ssh","on":"eth9"}"#;
    let message = |wanted| call(&router, "open", arguments, wanted);
    assert_eq!(message(".ok"), "false");
    assert!(
        message(".message").contains("no guard"),
        "{}",
        message(".message")
    );
    router.run("postern apply").ok();
    assert_eq!(
        message(".ok, .message"),
        "true\ndoor ssh is open for everyone on eth9 for 30s"
    );
    router.configure(&format!(
        "{}{BUTTONS}\toption on 'eth9'\nconfig rest\n",
        router.read("etc/config/postern")
    ));
    let log = router.calls(&press("wps", "released", 3));
    let said = "logger -t postern button wps: door ssh is open for everyone on eth9 for 1h\n";
    assert!(log.starts_with(said), "{log}");
    // Of a door that is not there it is said why it is not open.
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(log.contains("no door 'web'"), "{log}");
}

fn a_trial_is_confirmed_over_ubus_by_whoever_vouches_for_it() {
    let router = Router::enabled();
    let confirmed = |arguments: &str| call(&router, "confirm", arguments, ".ok");
    let trial = || call(&router, "status", "{}", ".trial | type");
    assert_eq!(confirmed(r#"{"anyway":true}"#), "false", "without a trial");
    router.run("postern apply --confirm-within 5m").ok();
    let said = call(&router, "confirm", "{}", ".ok, .message");
    assert!(
        said.starts_with("false\n") && said.contains(r#""anyway": true"#),
        "{said}"
    );
    for arguments in [
        r#"{"anyway":false}"#,
        r#"{"anyway":"true"}"#,
        r#"{"anyway":1}"#,
    ] {
        assert_eq!(confirmed(arguments), "false", "{arguments}");
    }
    assert_eq!(trial(), "object");
    assert_eq!(confirmed(r#"{"anyway":true}"#), "true");
    assert_eq!(trial(), "null");
}

const BUTTONS: &str = "
config button
	option button 'wps'
	list door 'ssh'

config button
	option button 'wps'
	list door 'ssh'
	list door 'web'
	option hold '3'
	option for '1h'
";

const ON_ONE: &str = "
config button
	option button 'wps'
	list door 'ssh'
	option hold '10'
	option on 'eth9'
";

const WEB: &str = "
config door 'web'
	list guard 'tcp:80'
	option method 'sequence-separate'
	list open 'tcp:9000'
	list open 'udp:9002'
	list open 'tcp:9001'
	option cutoff '5 per 10m'
";

/// A press of a button, as procd tells of it.
fn press(button: &str, action: &str, seconds: u32) -> String {
    format!("BUTTON={button} ACTION={action} SEEN={seconds} sh /etc/hotplug.d/button/50-postern")
}

fn a_button_opens_doors_by_how_long_it_was_held() {
    let router = Router::enabled();
    let config = router.read("etc/config/postern");
    router.configure(&format!("{config}{WEB}{BUTTONS}{ON_ONE}"));
    router.run("postern apply").ok();
    // Whichever busybox it is: some have a shell that takes its own applets before any program.
    let logger = router.run(". /lib/functions.sh; type logger").ok();
    assert!(logger.contains("function"), "{logger}");
    let opened = |script: &str| {
        let log = router.calls(script);
        let doors: Vec<String> = log
            .lines()
            .map(|line| line.replace("logger -t postern button wps: ", ""))
            .collect();
        doors.join("; ")
    };
    assert_eq!(opened(&press("wps", "pressed", 0)), "");
    assert_eq!(opened(&press("reset", "released", 9)), "");
    assert_eq!(
        opened(&press("wps", "released", 1)),
        "door ssh is open for everyone for 5m"
    );
    let long = "door ssh is open for everyone for 1h; door web is open for everyone for 1h";
    assert_eq!(opened(&press("wps", "released", 3)), long);
    assert_eq!(opened(&press("wps", "released", 9)), long);
    let one = "door ssh is open for everyone on eth9 for 5m";
    assert_eq!(opened(&press("wps", "released", 10)), one);
    let table = nft::table(&router.network, "inet postern").unwrap_or_default();
    assert!(table.matches("timeout 1h").count() >= 2, "{table}");
}

fn an_led_blinks_while_a_door_is_open() {
    let router = Router::enabled();
    let config = router.read("etc/config/postern");
    router
        .configure(&format!("{config}{BUTTONS}\toption led 'green:wps'\n").replace("'1h'", "'1s'"));
    router.run("postern apply").ok();
    let led = "sys/class/leds/green:wps/trigger";
    router.write(led, "none timer [heartbeat] netdev\n");
    // Pressed twice: the one who waits for the first press must not end the second one's blinking.
    router
        .run(&format!("{0}; {0}", press("wps", "released", 4)))
        .ok();
    assert_eq!(router.read(led), "timer\n");
    poll_until(SOON, "the LED does what it did before", || {
        router.read(led) == "heartbeat\n"
    });
}

fn the_feeds_own_test_passes() {
    let router = Router::new();
    router.copy(&top().join("openwrt/test.sh"), "tmp/test.sh");
    let test = |version: &str| {
        router
            .run(&format!("sh /tmp/test.sh postern {version}"))
            .status
    };
    assert_eq!(test(env!("CARGO_PKG_VERSION")), 0);
    assert_ne!(test("9.9.9"), 0);
}

/// Builds the package for apk, by the one that is first in `path`.
fn build_for_apk(out: &Path, path: &str) -> PathBuf {
    let mut apk = Command::new(top().join("openwrt/apk"));
    apk.args([TARGET, "--binary"]).arg(program());
    let said = run(apk.env("CARGO_TARGET_DIR", out).env("PATH", path), "").ok();
    let package = PathBuf::from(said.trim_end());
    let name = package.file_name().expect("a name").to_string_lossy();
    assert_eq!(
        name,
        format!("postern-{}-r1_x86_64.apk", env!("CARGO_PKG_VERSION"))
    );
    package
}

fn path() -> String {
    env::var("PATH").unwrap_or_default()
}

/// What 25.12's sysupgrade looks at to keep the configuration: the path and SHA-256 of each file as it came.
fn expect_the_configuration_is_kept(root: &Path, lib: &str) {
    let read = |name: &str| {
        let path = root.join(lib).join("apk/packages").join(name);
        fs::read_to_string(path).unwrap_or_default()
    };
    assert_eq!(read("postern.conffiles"), "/etc/config/postern\n");
    let sum = run(
        Command::new("sha256sum").arg(root.join("etc/config/postern")),
        "",
    )
    .ok();
    let (sum, _) = sum.split_once(' ').expect("a sum");
    assert_eq!(
        read("postern.conffiles_static"),
        format!("/etc/config/postern {sum}\n")
    );
    let list = read("postern.list");
    assert_eq!(list.lines().count(), 10, "{list}");
    assert!(list.contains("/etc/init.d/postern\n"), "{list}");
}

/// By a stand-in that writes down what it was told, and that does not have more than OpenWrt's own.
fn apk_is_told_all_that_a_package_has() {
    let scratch = Scratch::new();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("openwrt/base");
    let path = format!("{}:{}", base.display(), path());
    let packed = build_for_apk(scratch.path(), &path);
    let into = scratch.path().display().to_string();
    tar(&["-C", &into, "-xf"], &packed);
    let read = |name: &str| fs::read_to_string(scratch.join(name)).unwrap_or_default();
    let info = read("info");
    for line in [
        "name:postern".to_string(),
        format!("version:{}-r1", env!("CARGO_PKG_VERSION")),
        "arch:x86_64".into(),
        "depends:kmod-nft-core kmod-nft-fib kmod-nfnetlink-log".into(),
        // All of it, in one line: apk cannot read its own list of packages any more where there are several.
        "description:A service stays hidden behind the firewall until a client proves by a secret pattern of \
         packets that it knows it. Keeps working under a flood of forged knocks; the kernel ends every grant; a \
         console, a button or ubus lets the owner in whatever happens."
            .into(),
    ] {
        assert!(info.lines().any(|other| other == line), "no {line} in {info}");
    }
    expect_the_configuration_is_kept(&scratch.join("files"), "lib");
    let scripts = [
        "post-install",
        "post-upgrade",
        "pre-deinstall",
        "post-deinstall",
    ];
    let [install, upgrade, removal, removed] = scripts.map(read);
    for script in [&install, &upgrade, &removal, &removed] {
        assert!(script.starts_with("#!/bin/sh\n"), "{script}");
        assert_eq!(script.matches("#!").count(), 1, "{script}");
    }
    assert!(
        install.contains("\nadd_group_and_user\ndefault_postinst\n"),
        "{install}"
    );
    let users = read("files/lib/apk/packages/postern.rusers");
    assert_eq!(users, "postern=60917:postern=60917\n");
    assert!(install.contains("/etc/init.d/rpcd reload"), "{install}");
    assert!(upgrade.contains("\nexport PKG_UPGRADE=1\n"), "{upgrade}");
    assert!(
        removal.contains("\ndefault_prerm\n") && removal.contains("postern remove"),
        "{removal}"
    );
    assert!(removed.contains("/etc/init.d/rpcd reload"), "{removed}");
}

/// The real one packs it, installs it with its scripts, upgrades and removes it.
fn apk_itself_packs_and_installs_it() {
    let [one, other] = [(); 2].map(|()| {
        let scratch = Scratch::new();
        fs::read(build_for_apk(scratch.path(), &path())).expect("a package")
    });
    assert!(one == other, "the packages differ");
    let router = Router::bare();
    let apk = run(Command::new("sh").args(["-c", "command -v apk"]), "").ok();
    router.copy(Path::new(apk.trim_end()), "usr/bin/apk");
    fs::write(router.path("tmp/postern.apk"), one).expect("write a package");
    // Its modules come from nowhere here, nor is there an older one of it.
    router
        .run(
            "mkdir /tmp/none && while read -r name version; do \
             apk mkpkg --info name:$name --info version:$version --info arch:noarch --files /tmp/none \
             --output /tmp/$name-$version.apk || exit 1; done <<'PACKAGES'\n\
             kmod-nft-core 1-r1\nkmod-nft-fib 1-r1\nkmod-nfnetlink-log 1-r1\npostern 0.0.1-r1\nPACKAGES",
        )
        .ok();
    let apk = "apk --arch x86_64 --allow-untrusted --no-network --repositories-file /dev/null";
    let installed = router.calls(&format!(
        "{apk} --initdb add /tmp/postern.apk /tmp/kmod-*.apk"
    ));
    let is_told = |calls: &str| calls.lines().any(|line| line == "rpcd reload");
    assert!(is_told(&installed), "{installed}");
    assert!(!installed.contains("kill"), "{installed}");
    assert!(router.rules().contains(RULE), "{}", router.rules());
    let is_enabled = || router.run("test -e /etc/rc.d/S21postern").status == 0;
    assert!(is_enabled());
    // Debian's /lib is a link.
    expect_the_configuration_is_kept(&router.path(""), "usr/lib");
    // apk reads what it wrote of it.
    let known = router.run(&format!("{apk} info")).ok();
    assert!(known.lines().any(|line| line == "postern"), "{known}");

    let removed = router.calls(&format!("{apk} del postern"));
    assert!(
        removed.contains("kill postern\n") && is_told(&removed),
        "{removed}"
    );
    assert!(!router.rules().contains("postern"), "{}", router.rules());
    assert!(!is_enabled());

    router
        .run(&format!("{apk} add /tmp/postern-0.0.1-r1.apk"))
        .ok();
    router.configure(&configuration());
    let upgrade = format!("{apk} add /tmp/postern.apk");
    expect_a_restart(&router.calls(&upgrade));
    assert_eq!(router.read("etc/config/postern"), configuration());
    assert!(router.path("etc/config/postern.apk-new").exists());
}

/// Where there is an apk, it is not this test's business.
fn without_apk_there_is_no_package_and_no_silence() {
    let mut apk = Command::new(top().join("openwrt/apk"));
    let said = run(apk.arg(TARGET).env("PATH", "/usr/bin:/bin"), "");
    if !Path::new("/usr/bin/apk").exists() {
        assert_eq!((said.status, said.stdout.as_str()), (1, ""));
        assert!(
            said.stderr.contains("apk-tools 3") && said.stderr.contains("is missing"),
            "{said:?}"
        );
    }
}
