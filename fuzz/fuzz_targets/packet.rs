//! Packets: what core makes of them is what nf_tables makes of them.
//!
//! Each is sent to this machine through an interface in a network namespace, where rules note what they read in it. So
//! the two never read one packet in two ways. Without the privilege for that, core is alone.

#![no_main]

use core::mem;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use libfuzzer_sys::fuzz_target;
use nix::sched::{CloneFlags, unshare};
use postern::fuzzing::Kernel;
use postern_core::knock::Protocol;
use postern_core::packet;

const RULES: &str = "table inet postern {
	set arrived { type mark; flags dynamic; size 4; }
	set seen4 { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 4; }
	set seen6 { type ipv6_addr . inet_proto . inet_service; flags dynamic; size 4; }
	chain read {
		type filter hook prerouting priority -300
		iifname != \"wire\" accept
		add @arrived { meta mark }
		tcp flags & (fin | syn | rst | ack) == syn jump note
		meta l4proto udp jump note
		drop
	}
	chain note {
		add @seen4 { ip saddr . meta l4proto . th dport }
		add @seen6 { ip6 saddr . meta l4proto . th dport }
	}
}";

struct Second {
    wire: File,
    kernel: Kernel,
}

impl Second {
    fn opinion() -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let wire = File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")?;
        // SAFETY: an ifreq is made of integers, for which all zero is a value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(b"wire") {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF takes an ifreq, which it reads from and writes to.
        if unsafe { libc::ioctl(wire.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let run = |program: &str, arguments: &[&str], input: &str| -> io::Result<()> {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .spawn()?;
            child
                .stdin
                .take()
                .expect("a pipe")
                .write_all(input.as_bytes())?;
            match child.wait()?.success() {
                true => Ok(()),
                false => Err(io::Error::other(program.to_owned())),
            }
        };
        run("ip", &["link", "set", "wire", "up"], "")?;
        run("nft", &["-f", "-"], RULES)?;
        Ok(Self {
            wire,
            kernel: Kernel::open(),
        })
    }

    fn judge(&mut self, bytes: &[u8]) {
        let sent = with_checksum(bytes);
        if self.wire.write_all(&sent).is_err() || self.kernel.take("arrived").is_empty() {
            return;
        }
        let read: Vec<Vec<u8>> = ["seen4", "seen6"]
            .iter()
            .flat_map(|set| self.kernel.take(set))
            .collect();
        let Ok(knock) = packet::parse(&sent) else {
            return;
        };
        if knock.port.protocol == Protocol::Icmp {
            return;
        }
        let source = match knock.source {
            core::net::IpAddr::V4(address) => address.octets().to_vec(),
            core::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        let [high, low] = knock.port.number.to_be_bytes();
        let expected = [
            &source[..],
            &[knock.port.protocol.number(), 0, 0, 0, high, low, 0, 0],
        ]
        .concat();
        assert_eq!(read, [expected], "{knock:?}");
    }
}

/// With the checksum of IPv4's header made right, without which no packet gets far (RFC 791).
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    let mut packet = bytes.to_vec();
    let length = usize::from(packet.first().map_or(0, |first| first & 0xf)) * 4;
    if packet.first().is_some_and(|first| first >> 4 == 4) && (20..=packet.len()).contains(&length)
    {
        packet[10..12].fill(0);
        let words = packet[..length].chunks(2);
        let sum: u32 = words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        packet[10..12].copy_from_slice(&(!folded as u16).to_be_bytes());
    }
    packet
}

thread_local! {
    static SECOND: RefCell<Option<Second>> = RefCell::new(match Second::opinion() {
        Ok(second) => Some(second),
        Err(error) => {
            eprintln!("packet: no second opinion: {error}");
            None
        }
    });
}

fuzz_target!(|bytes: &[u8]| {
    _ = packet::parse(bytes);
    SECOND.with_borrow_mut(|second| {
        if let Some(second) = second {
            second.judge(bytes);
        }
    });
});
