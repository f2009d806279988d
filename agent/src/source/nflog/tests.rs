//! NFLOG of the running kernel, in a network namespace of the test's own thread.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use postern_core::knock::{Port, Protocol};
use postern_core::packet;
use postern_core::time::{Duration, Instant};

use super::*;
use crate::sys::clock::boottime;
use crate::sys::poll::{PollFd, poll};
use crate::testing::eventually::eventually;
use crate::testing::skipping::may_as_root;

const RULES: &str = "add table inet test; \
                     add chain inet test input { type filter hook input priority 0; }; \
                     add rule inet test input meta l4proto { tcp, udp } th dport 7000 log group 5 drop";

/// One at a time: all namespaces share each processor's backlog of packets, and one test's flood
/// must not push out what another counts (`enqueue_to_backlog` in net/core/dev.c).
static TURN: Mutex<()> = Mutex::new(());

/// Runs the test in a namespace where packets to port 7000 are logged; root only.
fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    if !may_as_root() {
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        command("ip", &["link", "set", "lo", "up"]);
        command("ip", &["address", "add", "192.0.2.1/32", "dev", "lo"]);
        command(
            "ip",
            &["address", "add", "2001:db8::1/128", "dev", "lo", "nodad"],
        );
        command("nft", &[RULES]);
        test();
    };
    thread::spawn(run).join().unwrap();
}

fn command(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

fn sender(address: &str) -> UdpSocket {
    UdpSocket::bind((address, 0)).unwrap()
}

/// Waits for packets until there are this many, or the time has come.
fn receive(nflog: &mut Nflog, count: usize, until: Instant) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while packets.len() < count && boottime() < until {
        poll(
            &mut [PollFd::readable(nflog.as_fd())],
            Some(until.since(boottime())),
        )
        .unwrap();
        nflog
            .for_each(|packet| packets.push(packet.to_vec()))
            .unwrap();
    }
    packets
}

/// Sends a packet until one arrives at once; another program's flood may have pushed one out.
fn exchange(nflog: &mut Nflog, sender: &UdpSocket, payload: &[u8]) -> Vec<u8> {
    let to = (sender.local_addr().unwrap().ip(), 7000);
    for _ in 0..20 {
        sender.send_to(payload, to).unwrap();
        let until = boottime() + AT_ONCE;
        if let Some(packet) = receive(nflog, 1, until).pop() {
            return packet;
        }
    }
    panic!("no packet arrived at once");
}

/// Far below the second after which the kernel would hand over a batch that is not full.
const AT_ONCE: Duration = Duration::from_millis(250);

/// Time for a SYN to be sent five times, as a flood beside may push some out (tcp(7)).
fn soon() -> Instant {
    boottime() + Duration::from_secs(40)
}

#[test]
fn a_lone_packet_becomes_a_knock_at_once() {
    in_a_namespace(|| {
        let mut nflog = Nflog::open(5, 128, 1 << 20).unwrap();
        for address in ["192.0.2.1", "2001:db8::1"] {
            let sender = sender(address);
            let packet = exchange(&mut nflog, &sender, b"payload");
            let knock = packet::parse(&packet).unwrap();
            assert_eq!(knock.source, sender.local_addr().unwrap().ip());
            assert_eq!(knock.source_port, sender.local_addr().unwrap().port());
            assert_eq!(
                knock.port,
                Port {
                    protocol: Protocol::Udp,
                    number: 7000
                }
            );
            assert_eq!(knock.payload, b"payload");
        }
        assert_eq!(nflog.losses(), Losses::default());
    });
}

#[test]
fn a_real_syn_becomes_a_knock() {
    in_a_namespace(|| {
        let mut nflog = Nflog::open(5, 128, 1 << 20).unwrap();
        for address in ["192.0.2.1", "2001:db8::1"] {
            let script = format!("exec 3<>/dev/tcp/{address}/7000");
            let mut client = Command::new("bash").args(["-c", &script]).spawn().unwrap();
            let packets = receive(&mut nflog, 1, soon());
            client.kill().unwrap();
            client.wait().unwrap();
            let knock = packet::parse(&packets[0]).unwrap();
            assert_eq!(knock.source.to_string(), address);
            assert_eq!(
                knock.port,
                Port {
                    protocol: Protocol::Tcp,
                    number: 7000
                }
            );
            assert_eq!(knock.payload, b"");
        }
    });
}

#[test]
fn only_the_asked_for_bytes_are_copied() {
    in_a_namespace(|| {
        let mut nflog = Nflog::open(5, 64, 1 << 20).unwrap();
        let packet = exchange(&mut nflog, &sender("192.0.2.1"), &[b'x'; 1400]);
        assert_eq!(packet.len(), 64);
        assert_eq!(packet::parse(&packet).unwrap().payload, [b'x'; 36]);
    });
}

#[test]
fn a_second_binder_is_told_what_to_do() {
    in_a_namespace(|| {
        let first = Nflog::open(5, 128, 1 << 20).unwrap();
        let error = Nflog::open(5, 128, 1 << 20).err().unwrap().to_string();
        assert!(
            error.contains("NFLOG group 5 is taken by another program"),
            "{error}"
        );
        assert!(error.contains("option nflog_group"), "{error}");
        Nflog::open(6, 128, 1 << 20).unwrap();
        drop(first);
        // The kernel releases the group some time after the socket was closed.
        eventually(|| Nflog::open(5, 128, 1 << 20).is_ok());
    });
}

#[test]
fn a_missing_capability_is_named() {
    in_a_namespace(|| {
        crate::sys::process::drop_capabilities_except(&[]).unwrap();
        let error = Nflog::open(5, 128, 1 << 20).err().unwrap().to_string();
        assert!(error.contains("CAP_NET_ADMIN"), "{error}");
    });
}

#[test]
fn an_overflow_is_counted_and_survived() {
    in_a_namespace(|| {
        let mut nflog = Nflog::open(5, 128, 1).unwrap();
        let sender = sender("192.0.2.1");
        let flood = |count| {
            for _ in 0..count {
                sender.send_to(b"flood", ("192.0.2.1", 7000)).unwrap();
            }
        };
        flood(5000);
        // While it was full the kernel handed nothing over, so it says what was lost later.
        let mut seen = drain(&mut nflog);
        assert!(nflog.losses().overruns >= 1);
        sender.send_to(b"last", ("192.0.2.1", 7000)).unwrap();
        let last = receive(&mut nflog, 1, soon());
        assert_eq!(packet::parse(&last[0]).unwrap().payload, b"last");
        seen += 1;
        assert_eq!(seen as u64 + nflog.losses().packets, 5001);
    });
}

/// Reads until nothing waits; the number of packets.
fn drain(nflog: &mut Nflog) -> usize {
    let mut packets = 0;
    while poll(
        &mut [PollFd::readable(nflog.as_fd())],
        Some(Duration::from_millis(0)),
    )
    .unwrap()
        > 0
    {
        packets += nflog.for_each(|_| ()).unwrap().packets;
    }
    packets
}

#[test]
fn one_call_reads_a_bounded_number_of_datagrams() {
    in_a_namespace(|| {
        let mut nflog = Nflog::open(5, 128, 4 << 20).unwrap();
        let sender = sender("192.0.2.1");
        for _ in 0..DATAGRAMS_PER_CALL + 3 {
            sender.send_to(b"", ("192.0.2.1", 7000)).unwrap();
        }
        assert_eq!(
            nflog.for_each(|_| ()).unwrap().datagrams,
            DATAGRAMS_PER_CALL
        );
        assert_eq!(receive(&mut nflog, 3, soon()).len(), 3);
    });
}

#[test]
fn under_a_flood_packets_come_together_and_none_is_cut_off() {
    in_a_namespace(|| {
        let mut nflog = Nflog::open(5, 128, 4 << 20).unwrap();
        let sender = sender("192.0.2.1");
        let flood = |count| {
            for _ in 0..count {
                sender.send_to(&[b'x'; 500], ("192.0.2.1", 7000)).unwrap();
            }
        };
        flood(MANY_DATAGRAMS);
        assert_eq!(
            receive(&mut nflog, MANY_DATAGRAMS, soon()).len(),
            MANY_DATAGRAMS
        );
        assert_eq!(nflog.pace, Pace::Together);
        let count = 60 * PACKETS_PER_DATAGRAM as usize;
        flood(count);
        let batch = nflog
            .for_each(|packet| assert_eq!(packet.len(), 128))
            .unwrap();
        assert!(batch.packets > 20 * batch.datagrams, "{batch:?}");
        let rest = receive(&mut nflog, count - batch.packets, soon()).len();
        assert_eq!(batch.packets + rest, count);
        assert_eq!(nflog.losses(), Losses::default());

        flood(1);
        assert_eq!(receive(&mut nflog, 1, soon()).len(), 1);
        assert_eq!(nflog.pace, Pace::Single);
    });
}

#[test]
fn whole_packets_fit() {
    in_a_namespace(|| {
        for copy_bytes in [1500, u16::MAX] {
            let mut nflog = Nflog::open(copy_bytes, copy_bytes, 4 << 20).unwrap();
            nflog.change_pace(Pace::Together);
            let rule = format!(
                "flush chain inet test input; \
                add rule inet test input udp dport 7000 log group {copy_bytes} drop"
            );
            command("nft", &[&rule]);
            let sender = sender("192.0.2.1");
            let size = usize::from(copy_bytes) - 100;
            for _ in 0..30 {
                sender
                    .send_to(&vec![b'x'; size], ("192.0.2.1", 7000))
                    .unwrap();
            }
            let packets = receive(&mut nflog, 30, soon());
            assert!(packets.iter().all(|packet| packet.len() == size + 28));
            assert_eq!((packets.len(), nflog.losses()), (30, Losses::default()));
        }
    });
}

#[test]
fn gaps_in_the_numbers_are_losses() {
    let mut expected = 0;
    for (sequence, gap) in [
        (0, 0),
        (1, 0),
        (5, 3),
        (u32::MAX, 0),
        (0, 0),
        (2, 1),
        (1, 0),
        (2, 0),
    ] {
        assert_eq!(missing(&mut expected, Some(sequence)), gap, "{sequence}");
    }
    assert_eq!(missing(&mut expected, None), 0);
}
