//! Emulated routers, and what can be done with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::Signal;
use postern_tests::process::{Process, Said};
use postern_tests::scratch::Scratch;
use postern_tests::topology::{Family, Segment};
use postern_tests::wait::{SOON, poll_until};

use crate::console::Console;
use crate::disk::Disk;

/// From power to the console's prompt, on a host with much else to do.
const BOOT: Duration = Duration::from_secs(180);
/// For one command on the console, and for whatever else should happen at once: an emulated
/// processor is slow.
pub(crate) const PROMPTLY: Duration = Duration::from_secs(30);
/// The router's end of the wire, as the host has it.
const TAP: &str = "router";

/// A kind of machine.
#[derive(Debug)]
pub(crate) struct Kind {
    /// As tests/firmware/image knows it.
    pub(crate) name: &'static str,
    /// The programs that its tests need; the first emulates it.
    pub(crate) needs: &'static [&'static str],
    board: &'static str,
    cpu: &'static str,
    megabytes: &'static str,
    network: &'static str,
    disk: &'static str,
    console: &'static str,
}

/// Routers of 64 MB as they were sold by the million, in the two byte orders of MIPS.
const MALTA: Kind = Kind {
    name: "mips",
    needs: &["qemu-system-mips", "mke2fs", "knock", "oathtool"],
    board: "malta",
    cpu: "24Kc",
    megabytes: "64",
    // Without a boot ROM: its file is in another package.
    network: "pcnet,romfile=",
    disk: "virtio-blk-pci",
    console: "ttyS0",
};

const VIRT: Kind = Kind {
    name: "aarch64",
    needs: &["qemu-system-aarch64", "mke2fs", "knock", "oathtool"],
    board: "virt",
    cpu: "cortex-a53",
    megabytes: "256",
    network: "virtio-net-device",
    disk: "virtio-blk-device",
    console: "ttyAMA0",
};

const MALTA_LITTLE_ENDIAN: Kind = Kind {
    name: "mipsel",
    needs: &["qemu-system-mipsel", "mke2fs", "knock", "oathtool"],
    ..MALTA
};

/// With the package for OpenWrt in it, and as much of OpenWrt as its init script needs.
pub(crate) const OPENWRT: Kind = Kind {
    name: "openwrt",
    ..MALTA_LITTLE_ENDIAN
};

/// Every kind.
pub(crate) const KINDS: [Kind; 4] = [
    MALTA,
    MALTA_LITTLE_ENDIAN,
    Kind {
        name: "armv7",
        needs: &["qemu-system-arm", "mke2fs", "knock", "oathtool"],
        cpu: "cortex-a15",
        ..VIRT
    },
    VIRT,
];

impl Kind {
    /// Where its kernel and its initramfs are.
    ///
    /// # Panics
    /// When they are not there.
    fn image(&self) -> PathBuf {
        let test = env::current_exe().expect("know where this program is");
        let mut folders = test.ancestors().map(|folder| folder.join("firmware"));
        let image = folders.find(|folder| folder.is_dir());
        let image = image.map(|folder| folder.join(self.name));
        image
            .filter(|image| image.is_dir())
            .unwrap_or_else(|| panic!("no image: tests/firmware/image {}", self.name))
    }
}

/// A router's place on a network, its disk in it, and the power off.
#[derive(Debug)]
pub(crate) struct Place<'k> {
    pub(crate) kind: &'k Kind,
    pub(crate) net: Segment,
    pub(crate) disk: Disk,
}

impl<'k> Place<'k> {
    /// A place with a disk that holds this configuration.
    pub(crate) fn new(kind: &'k Kind, config: &str) -> Self {
        Self::with_files(kind, &[("config/postern", config)])
    }

    /// A place with a disk that holds these files.
    pub(crate) fn with_files(kind: &'k Kind, files: &[(&str, &str)]) -> Self {
        let net = Segment::new();
        net.add_tap(TAP);
        let disk = Disk::with(files);
        Self { kind, net, disk }
    }

    /// Turns the power on; when this returns, the router is on the network, and its agent hears
    /// knocks.
    #[track_caller]
    pub(crate) fn boot(&self) -> Router<'_> {
        let mut router = Router::start(self);
        let said = router.console.prompt(BOOT);
        assert!(said.is_some(), "no prompt on the console");
        poll_until(PROMPTLY, "the agent is ready", || router.times_ready() > 0);
        router.guards_after = router.started_at.elapsed();
        for family in Family::BOTH {
            self.net.reach(address(family));
        }
        router
    }
}

/// The router's address of the family.
pub(crate) fn address(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, 1).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// A port at the router's address of the family.
pub(crate) fn port(family: Family, number: u16) -> SocketAddr {
    SocketAddr::new(address(family), number)
}

/// A router under power, which goes on drop. If the test fails, what it said is shown.
#[derive(Debug)]
pub(crate) struct Router<'p> {
    /// How long after power on its agent was seen to guard.
    pub(crate) guards_after: Duration,
    place: &'p Place<'p>,
    console: Console,
    qemu: Process,
    started_at: Instant,
    _scratch: Scratch,
}

impl<'p> Router<'p> {
    fn start(place: &'p Place<'p>) -> Self {
        let (kind, scratch) = (place.kind, Scratch::new());
        let (image, serial) = (kind.image(), scratch.join("console"));
        let mut qemu = Command::new(kind.needs[0]);
        qemu.args(["-M", kind.board, "-cpu", kind.cpu, "-m", kind.megabytes]);
        qemu.args(["-nodefaults", "-vga", "none", "-display", "none"]);
        qemu.arg("-kernel").arg(image.join("kernel"));
        qemu.arg("-initrd").arg(image.join("initramfs"));
        // A kernel that panics ends its QEMU.
        qemu.args(["-no-reboot", "-append"]);
        qemu.arg(format!("console={} panic=-1", kind.console));
        qemu.arg("-serial");
        qemu.arg(format!("unix:{},server=on,wait=off", serial.display()));
        let tap = format!("tap,id=wire,ifname={TAP},script=no,downscript=no");
        qemu.args(["-netdev", &tap, "-device"]);
        qemu.arg(format!("{},netdev=wire", kind.network));
        let disk = place.disk.serve();
        qemu.args(["-drive"]);
        qemu.arg(format!(
            "file=nbd+unix:///?socket={},format=raw,if=none,id=disk",
            disk.display()
        ));
        qemu.args(["-device", &format!("{},drive=disk", kind.disk)]);
        qemu.stdin(Stdio::null()).stdout(Stdio::null());
        Self {
            guards_after: Duration::MAX,
            place,
            started_at: Instant::now(),
            qemu: place.net.wire.spawn(&mut qemu),
            console: Console::connect(&serial),
            _scratch: scratch,
        }
    }

    /// Types a command on the console; what it printed, whatever the stream.
    #[track_caller]
    pub(crate) fn run(&mut self, command: &str) -> Said {
        self.type_line(command);
        let said = self.console.prompt(PROMPTLY);
        said.unwrap_or_else(|| panic!("no prompt after: {command}"))
    }

    /// Types a command on the console, and waits for nothing.
    pub(crate) fn type_line(&mut self, command: &str) {
        self.console.type_line(command);
    }

    /// Whether the command that was typed last is done.
    pub(crate) fn has_prompt(&mut self) -> bool {
        self.console.prompt(Duration::ZERO).is_some()
    }

    /// All that the agent has logged since power on.
    pub(crate) fn log(&mut self) -> String {
        self.run("cat /run/postern.log").stdout
    }

    /// How often its agent was ready. What procd is to log has no name before it.
    pub(crate) fn times_ready(&mut self) -> usize {
        let log = self.log();
        let texts = log.lines().map(|line| line.trim_start_matches("postern: "));
        texts.filter(|text| *text == "ready").count()
    }

    /// The agent's process id.
    #[track_caller]
    pub(crate) fn agent(&mut self) -> u32 {
        let pid = self.run("cat /run/postern.pid").ok();
        pid.trim().parse().expect("a process id")
    }

    /// A line of `/proc/PID/status` of the agent, in KiB.
    #[track_caller]
    pub(crate) fn memory(&mut self, name: &str) -> u32 {
        let pid = self.agent();
        let status = self.run(&format!("cat /proc/{pid}/status")).ok();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {status}"))
    }

    /// One of the counters that `postern status --json` shows.
    #[track_caller]
    pub(crate) fn counter(&mut self, name: &str) -> u64 {
        let status = self.run("postern status --json").ok();
        let (_, rest) = status
            .split_once(&format!("\"{name}\":"))
            .unwrap_or_else(|| panic!("no {name} in {status}"));
        let end = rest.find(|c: char| !c.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().expect("a number")
    }

    /// Takes the power away, from one instant to the next.
    pub(crate) fn cut_power(mut self) {
        self.qemu.signal(Signal::SIGKILL);
        self.qemu.wait(SOON);
    }
}

impl Drop for Router<'_> {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        if self.qemu.ended().is_none() {
            // What came in, what waits for the agent (queue length: the third field), what the agent says.
            for file in
                ["net/dev", "net/netfilter/nfnetlink_log"].map(|name| format!("/proc/{name}"))
            {
                self.console.type_line(&format!("cat {file}"));
                let _ = self.console.prompt(SOON);
            }
            self.console.type_line("cat /run/postern.log");
            let _ = self.console.prompt(SOON);
        }
        let name = self.place.kind.name;
        let printed = self.console.printed();
        let path = keep(&self.place.kind.image(), printed);
        let mut lines: Vec<&str> = printed.lines().collect();
        lines.dedup();
        let tail = lines.iter().rev().take(40).collect::<Vec<_>>();
        eprintln!(
            "--- {name} said on its console (all of it: {}):",
            path.display()
        );
        for line in tail.iter().rev() {
            eprintln!("    {line}");
        }
        eprintln!("--- its QEMU: {:?}", self.qemu.ended());
    }
}

/// Keeps what a failed machine said.
fn keep(folder: &Path, printed: &str) -> PathBuf {
    let mut numbers = 1_u32..;
    let path = numbers.find_map(|number| {
        let path = folder.join(format!("failed-{number}.log"));
        (!path.exists()).then_some(path)
    });
    let path = path.unwrap_or_default();
    let _ = fs::write(&path, printed);
    path
}
