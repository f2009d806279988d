use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;
use crate::knock;

/// As Linux 6.18 wrote it.
const TCP: &str = "postern: IN=wan OUT= MAC=12:7a:7e:43:d0:27:b6:6c:c8:cf:aa:6b:08:00 \
    SRC=192.0.2.2 DST=192.0.2.1 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=31167 DF PROTO=TCP \
    SPT=33430 DPT=7000 WINDOW=64240 RES=0x00 SYN URGP=0 ";
const UDP: &str = "postern: IN=wan OUT= MAC=12:7a:7e:43:d0:27:b6:6c:c8:cf:aa:6b:86:dd \
    SRC=2001:0db8:0000:0000:0000:0000:0000:0002 DST=2001:0db8:0000:0000:0000:0000:0000:0001 \
    LEN=53 TC=0 HOPLIMIT=64 FLOWLBL=938118 PROTO=UDP SPT=40277 DPT=8001 LEN=13 ";

const ECHO: &str = "postern: IN=wan OUT= MAC=12:7a:7e:43:d0:27:b6:6c:c8:cf:aa:6b:08:00 \
    SRC=192.0.2.2 DST=192.0.2.1 LEN=151 TOS=0x00 PREC=0x00 TTL=64 ID=31167 DF PROTO=ICMP \
    TYPE=8 CODE=0 ID=4711 SEQ=1 ";
const ECHO_V6: &str = "postern: IN=wan OUT= MAC=12:7a:7e:43:d0:27:b6:6c:c8:cf:aa:6b:86:dd \
    SRC=2001:0db8:0000:0000:0000:0000:0000:0002 DST=2001:0db8:0000:0000:0000:0000:0000:0001 \
    LEN=171 TC=0 HOPLIMIT=64 FLOWLBL=938118 PROTO=ICMPv6 TYPE=128 CODE=0 ID=4711 SEQ=1 ";

/// What logs and programs write before a line of the kernel's.
const KERNELS: [&str; 19] = [
    "",
    "[   12.345678] ",
    "[Fri Nov 27 06:00:00 2026] ",
    "<4>",
    "<4>[   12.345678] ",
    "<4>Nov 27 06:00:00 host kernel: [   12.345678] ",
    "Nov 27 06:00:00 host kernel: [   12.345678] ",
    "Nov  7 06:00:00 host kernel: [   12.345678] ",
    "Nov 27 06:00:00 host kernel: [123456.345678] ",
    "Nov 27 06:00:00 host kernel: ",
    "Nov 27 06:00:00.123456 host.example.com kernel: ",
    "Nov 27 06:00:00 2001:db8::1 kernel: ",
    "2026-11-27T06:00:00.123456+00:00 host kernel: [   12.345678] ",
    "2026-11-27T06:00:00Z host kernel: [   12.345678] ",
    "2026-11-27T06:00:00+0000 host kernel: ",
    "Nov 27 06:00:00 host kern.warn kernel: [   12.345678] ",
    "Nov 27 06:00:00 kernel: [   12.345678] ",
    "Fri Nov 27 06:00:00 2026 kern.warn kernel: [   12.345678] ",
    "Fri Nov 27 06:00:00 2026 [1795759200.123] kern.warn kernel: [   12.345678] ",
];

/// What stands before a line that somebody else wrote, or that cannot be told from such a line.
const OTHERS: [&str; 30] = [
    " ",
    "x",
    "postern: ",
    "kernel: ",
    "<12>",
    "<12>[   12.345678] ",
    "<>",
    "<4 >",
    "<99999999999999999999999>",
    "[   12.345678 ",
    "[   12.345678]",
    "[this is much more than any time that a kernel shows] ",
    "Nov 27 06:00:00 host root: ",
    "Nov 27 06:00:00 host root[123]: ",
    "Nov 27 06:00:00 host root: kernel: [   12.345678] ",
    "Nov 27 06:00:00 root: kernel: [   12.345678] ",
    "Nov 27 06:00:00 root[123] kernel: [   12.345678] ",
    "Nov 27 06:00:00 host root kernel: [   12.345678] ",
    "Nov 27 06:00:00 host kernel[1]: [   12.345678] ",
    "Nov 27 06:00:00 host kernel: x ",
    "Nov 27 06:00:00 host ",
    "Nov 27 06:00:00 ",
    "Nov 27 06:00:00 host user.notice kernel: [   12.345678] ",
    "Nov 27 06:00:00 user.notice kernel: [   12.345678] ",
    "Nov 27 06:00:00 host user.notice kern.warn kernel: [   12.345678] ",
    "Nov 27 06:00:00 <100> kernel: [   12.345678] ",
    "Fri Nov 27 06:00:00 2026 user.notice kernel: [   12.345678] ",
    "Fri Nov 27 06:00:00 2026 <unknown>.warn kernel: [   12.345678] ",
    "Fri Nov 27 06:00:00 2026 host kernel: [   12.345678] ",
    "Fri Nov 27 06:00:00 2026 kern.warn root: kernel: ",
];

fn tcp() -> Knock<'static> {
    Knock {
        source: "192.0.2.2".parse().unwrap(),
        source_port: 33430,
        port: knock::tcp(7000),
        payload: &[],
    }
}

fn udp() -> Knock<'static> {
    Knock {
        source: "2001:db8::2".parse().unwrap(),
        source_port: 40277,
        port: knock::udp(8001),
        payload: &[],
    }
}

fn echo(source: &str) -> Knock<'static> {
    Knock {
        source: source.parse().unwrap(),
        source_port: 4711,
        port: knock::Port {
            protocol: knock::Protocol::Icmp,
            number: 123,
        },
        payload: &[],
    }
}

#[test]
fn echo_requests_are_known_by_their_length() {
    for (text, source) in [(ECHO, "192.0.2.2"), (ECHO_V6, "2001:db8::2")] {
        let refused = |from: &str, to: &str| {
            let text = text.replacen(from, to, 1);
            match line(text.as_bytes()) {
                Line::Packet(Err(refusal)) => refusal,
                other => panic!("{text}: {other:?}"),
            }
        };
        assert_eq!(line(text.as_bytes()), Line::Packet(Ok(echo(source))));
        let (kind, other) = match source.contains(':') {
            false => ("TYPE=8", "TYPE=128"),
            true => ("TYPE=128", "TYPE=8"),
        };
        assert_eq!(refused(kind, other), Refusal::NoPorts);
        assert_eq!(refused(kind, "TYPE=0"), Refusal::NoPorts);
        assert_eq!(refused("CODE=0", "CODE=1"), Refusal::NoPorts);
        assert_eq!(refused(" SEQ=1 ", ""), Refusal::Truncated);
        assert_eq!(refused("ID=4711 SEQ=1", ""), Refusal::Truncated);
        assert_eq!(refused("ID=4711", "ID=65536"), Refusal::Malformed);
        for length in ["LEN=27 ", "LEN=65536 ", "LEN=-1 ", "LEN= ", ""] {
            let from = if source.contains(':') {
                "LEN=171 "
            } else {
                "LEN=151 "
            };
            assert_eq!(refused(from, length), Refusal::Malformed, "{length}");
        }
        assert_eq!(refused("PROTO", "MF FRAG:0 PROTO"), Refusal::Fragment);
    }
}

#[test]
fn the_kernels_lines_in_every_log() {
    for before in KERNELS {
        for (text, knock) in [(TCP, tcp()), (UDP, udp()), (ECHO, echo("192.0.2.2"))] {
            let whole = format!("{before}{text}");
            assert_eq!(line(whole.as_bytes()), Line::Packet(Ok(knock)), "{whole}");
            let trimmed = whole.trim_end();
            assert_eq!(
                line(trimmed.as_bytes()),
                Line::Packet(Ok(knock)),
                "{trimmed}"
            );
            let windows = format!("{trimmed}\r");
            assert_eq!(
                line(windows.as_bytes()),
                Line::Packet(Ok(knock)),
                "{windows}"
            );
        }
    }
}

#[test]
fn the_lines_of_others_are_forged() {
    for before in OTHERS {
        let whole = format!("{before}{TCP}");
        assert_eq!(line(whole.as_bytes()), Line::Forged, "{whole}");
        // Whatever else the log writes before it.
        for kernels in KERNELS {
            let inside = format!("{kernels}{before}{TCP}");
            assert_eq!(line(inside.as_bytes()), Line::Forged, "{inside}");
        }
    }
}

#[test]
fn other_lines_are_foreign() {
    for text in [
        "",
        " ",
        "postern: ready",
        "postern: ",
        "postern: door ssh: open for 192.0.2.2 for 30s",
        "Nov 27 06:00:00 host kernel: [   12.345678] usb 1-1: new high-speed USB device",
        "Nov 27 06:00:00 host kernel: [   12.345678] other: IN=wan OUT= SRC=192.0.2.2",
        "Nov 27 06:00:00 host kernel: [   12.345678] postern:IN=wan OUT= SRC=192.0.2.2",
        "Nov 27 06:00:00 host kernel: [   12.345678] postern:  IN=wan OUT= SRC=192.0.2.2",
        "Nov 27 06:00:00 host kernel:",
        "Nov 27 06:00:00",
        "Nov",
        "<4>",
        "4,1,2,-;",
        " SUBSYSTEM=net",
    ] {
        assert_eq!(line(text.as_bytes()), Line::Foreign, "{text}");
    }
}

#[test]
fn records_of_the_kernel() {
    for header in ["4,341,853988187,-;", "6,341,1,c,caller=T12;", "0,341,,;"] {
        for end in ["", "\n", "\n SUBSYSTEM=net\n DEVICE=+net:wan\n"] {
            let whole = format!("{header}{TCP}{end}");
            let read = record(whole.as_bytes());
            assert_eq!(read, Some((341, Line::Packet(Ok(tcp())))), "{whole}");
            assert_eq!(line(whole.as_bytes()), Line::Packet(Ok(tcp())), "{whole}");
        }
    }
}

/// `echo '<4>postern: IN=…' >/dev/kmsg` makes a record of priority 12.
#[test]
fn records_of_others() {
    for header in [
        "12,341,853988187,-;",
        "8,341,1,-;",
        "18446744073709551615,341,1,-;",
    ] {
        let whole = format!("{header}{TCP}\n");
        assert_eq!(record(whole.as_bytes()), Some((341, Line::Forged)));
        assert_eq!(line(whole.as_bytes()), Line::Forged, "{whole}");
    }
    let other = b"6,342,1,-;usb 1-1: new high-speed USB device\n SUBSYSTEM=usb\n";
    assert_eq!(record(other), Some((342, Line::Foreign)));
    // In the second line of a record stands what the kernel knows of a device.
    let hidden = format!("6,343,1,-;usb\n {TCP}\n");
    assert_eq!(record(hidden.as_bytes()), Some((343, Line::Foreign)));
    for no_record in ["", TCP, ",,,;", "4,x,1,-;", "-4,1,1,-;", "4,1,1", "4;1,1,"] {
        assert_eq!(record(no_record.as_bytes()), None, "{no_record}");
    }
}

#[test]
fn fields_of_every_kind() {
    let mac = "MAC=12:7a:7e:43:d0:27:b6:6c:c8:cf:aa:6b:08:00 ";
    for link in [
        "",
        "MAC= ",
        "PHYSIN=eth0 MAC= ",
        "PHYSIN=eth0 PHYSOUT=eth1 MAC=00:01 ",
        "MAC=00:01 TUNNEL=198.51.100.1->198.51.100.2 ",
        "MACSRC=b6:6c:c8:cf:aa:6b MACDST=12:7a:7e:43:d0:27 MACPROTO=0800 ",
        "MACSRC=b6:6c:c8:cf:aa:6b MACDST=12:7a:7e:43:d0:27 VPROTO=8100 VID=5 MACPROTO=0800 ",
    ] {
        let text = TCP.replace(mac, link);
        assert_eq!(line(text.as_bytes()), Line::Packet(Ok(tcp())), "{text}");
    }
    for (from, to) in [
        (" DF ", " "),
        (" DF ", " CE DF "),
        (" DF ", " DF OPT (0101040A) "),
        ("SYN", "AE CWR ECE URG PSH SYN"),
        ("SPT=33430 DPT=7000", "SPT=33430 DPT=7000 SEQ=1 ACK=0"),
        (
            "URGP=0 ",
            "URGP=0 OPT (020405B4) UID=0 GID=0 MARK=0x10000000 ",
        ),
        ("URGP=0 ", "URGP=0 OPT (TRUNCATED)"),
        (" PROTO=TCP", " NEW=1 PROTO=TCP"),
    ] {
        let text = TCP.replace(from, to);
        assert_eq!(line(text.as_bytes()), Line::Packet(Ok(tcp())), "{text}");
    }
}

#[test]
fn what_is_no_knock() {
    for (from, to, refusal) in [
        ("SYN", "ACK SYN", Refusal::NotASyn),
        ("SYN", "SYN FIN", Refusal::NotASyn),
        ("SYN", "RST SYN", Refusal::NotASyn),
        ("SYN ", "", Refusal::NotASyn),
        ("SYN", "ACK", Refusal::NotASyn),
        (" DF ", " MF ", Refusal::Fragment),
        (" DF ", " FRAG:185 ", Refusal::Fragment),
        (" DF ", " OPT ( FRAG:0 ID:00000009 ) ", Refusal::Fragment),
        (" DF ", " TRUNCATED", Refusal::Truncated),
        ("PROTO=TCP", "PROTO=132", Refusal::NoPorts),
        ("PROTO=TCP", "PROTO=UDPLITE", Refusal::NoPorts),
        ("PROTO=TCP", "PROTO=TCPX", Refusal::NoPorts),
        ("PROTO=TCP", "Unknown Ext Hdr 99", Refusal::NoPorts),
        (
            "PROTO=TCP SPT=33430",
            "PROTO=TCP INCOMPLETE [4 bytes]",
            Refusal::Truncated,
        ),
        ("DPT=7000", "DPT=65536", Refusal::Malformed),
        ("DPT=7000", "DPT=", Refusal::Malformed),
        ("DPT=7000", "DPT=+7000", Refusal::Malformed),
        ("DPT=7000 ", "", Refusal::Malformed),
        ("RES=0x00 SYN URGP=0 ", "", Refusal::Truncated),
        (" URGP=0 ", "", Refusal::Truncated),
        (" OUT=", "", Refusal::Malformed),
        (" DST=192.0.2.1", "", Refusal::Malformed),
        ("SRC=192.0.2.2 ", "", Refusal::NotIp),
        ("SRC=192.0.2.2", "SRC=192.0.2.256", Refusal::Malformed),
        ("SRC=192.0.2.2", "SRC=192.0.2.2:80", Refusal::Malformed),
        ("SRC=192.0.2.2", "SRC=\u{660}", Refusal::Malformed),
        ("SRC=192.0.2.2", "SRC=192.0.2", Refusal::Malformed),
        ("SRC=192.0.2.2", "SRC=192.0.2.2.2", Refusal::Malformed),
        ("SRC=192.0.2.2", "SRC=192.0..2", Refusal::Malformed),
        ("SRC=192.0.2.2", "SRC=", Refusal::Malformed),
        (
            "SRC=192.0.2.2",
            "SRC=1:2:3:4:5:6:7:10000",
            Refusal::Malformed,
        ),
        ("SRC=192.0.2.2", "SRC=1:2:3:4:5:6:7", Refusal::Malformed),
        ("SRC=192.0.2.2", "SRC=1:2:3:4:5:6:7:8:9", Refusal::Malformed),
        ("SRC=192.0.2.2", "SRC=127.0.0.1", Refusal::ImpossibleSource),
        ("SRC=192.0.2.2", "SRC=0.0.0.0", Refusal::ImpossibleSource),
        (
            "SRC=192.0.2.2",
            "SRC=0:0:0:0:0:0:0:1",
            Refusal::ImpossibleSource,
        ),
        (
            "SRC=192.0.2.2",
            "SRC=ff02:0:0:0:0:0:0:1",
            Refusal::ImpossibleSource,
        ),
        (
            "SRC=192.0.2.2",
            "SRC=0:0:0:0:0:ffff:c000:0202",
            Refusal::Malformed,
        ),
    ] {
        let text = TCP.replace(from, to);
        assert_eq!(line(text.as_bytes()), Line::Packet(Err(refusal)), "{text}");
    }
    let arp = "postern: IN=wan OUT= ARP HTYPE=1 PTYPE=0x0800 OPCODE=1 MACSRC=b6:6c:c8:cf:aa:6b \
               IPSRC=192.0.2.2 MACDST=00:00:00:00:00:00 IPDST=192.0.2.1";
    assert_eq!(line(arp.as_bytes()), Line::Packet(Err(Refusal::NotIp)));
}

/// An ICMP error quotes the packet that it is about, perhaps one with ports.
#[test]
fn a_quoted_packet_is_no_knock() {
    let quoted = TCP.strip_prefix("postern: IN=wan OUT= ").unwrap();
    let text = format!(
        "postern: IN=wan OUT= MAC= SRC=192.0.2.9 DST=192.0.2.1 LEN=68 TOS=0x00 PREC=0x00 TTL=64 \
         ID=1 PROTO=ICMP TYPE=3 CODE=3 [{quoted}] "
    );
    assert_eq!(line(text.as_bytes()), Line::Packet(Err(Refusal::NoPorts)));
}

/// A line may end anywhere: log daemons cut long ones, and disks fill up.
#[test]
fn a_line_that_was_cut_is_no_knock_or_the_same() {
    for (text, whole) in [(TCP, tcp()), (UDP, udp())] {
        for before in KERNELS {
            let line_of = format!("{before}{text}");
            for end in 0..line_of.len() {
                if let Line::Packet(Ok(cut)) = line(&line_of.as_bytes()[..end]) {
                    assert_eq!(cut, whole, "{}", &line_of[..end]);
                }
            }
        }
    }
}

/// George Marsaglia, "Xorshift RNGs": the same numbers in every run.
fn xorshift(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

/// Bytes that matter to the grammar are likelier than others.
fn mutate(bytes: &mut Vec<u8>, state: &mut u64) {
    const TELLING: &[u8] = b"<>[](){},;:= .-0123456789\n\r\0\\\xff";
    for _ in 0..1 + xorshift(state) % 4 {
        let at = xorshift(state) % bytes.len();
        let byte = TELLING[xorshift(state) % TELLING.len()];
        match xorshift(state) % 4 {
            0 => bytes[at] = byte,
            1 => bytes[at] = xorshift(state) as u8,
            2 => bytes.insert(at, byte),
            _ => {
                let end = (at + xorshift(state) % 20).min(bytes.len() - 1);
                bytes.drain(at..end);
            }
        }
    }
}

#[test]
fn mutated_lines_never_panic_and_never_yield_a_bad_source() {
    let records = ["4,341,853988187,-;", "12,341,853988187,-;"];
    let headers: Vec<&str> = KERNELS
        .iter()
        .chain(&OTHERS)
        .chain(&records)
        .copied()
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let (mut knocks, mut forged) = (0, 0);
    for round in 0..100_000 {
        let text = if round % 2 == 0 { TCP } else { UDP };
        let mut bytes = (headers[round % headers.len()].to_string() + text).into_bytes();
        mutate(&mut bytes, &mut state);
        record(&bytes);
        match line(&bytes) {
            Line::Packet(Ok(knock)) => {
                knocks += 1;
                assert_eq!(knock.source, knock.source.to_canonical());
                assert!(!knock.source.is_unspecified() && !knock.source.is_multicast());
                assert_eq!(knock.payload, b"");
            }
            Line::Forged => forged += 1,
            _ => {}
        }
    }
    assert!((10_000..60_000).contains(&knocks), "{knocks} knocks");
    assert!((10_000..60_000).contains(&forged), "{forged} forged");
}

/// Whatever a user has a log daemon write behind its own words, it is no knock.
#[test]
fn nothing_behind_the_words_of_a_log_daemon_is_a_knock() {
    let daemons = [
        "Nov 27 06:00:00 host ",
        "2026-11-27T06:00:00.123456+00:00 host ",
        "Nov 27 06:00:00 host user.notice ",
        "Fri Nov 27 06:00:00 2026 user.notice ",
        "Fri Nov 27 06:00:00 2026 <unknown>.warn ",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d;
    for round in 0..100_000 {
        // A program's name is a word; where it is `kernel:`, nothing but the facility tells.
        let name = format!("n{}: ", round % 10);
        let mut bytes = (KERNELS[round % KERNELS.len()].to_string() + TCP).into_bytes();
        mutate(&mut bytes, &mut state);
        bytes.retain(|byte| *byte != b'\n');
        let said = String::from_utf8_lossy(&bytes);
        let whole = format!("{}{name}{said}", daemons[round % daemons.len()]);
        let read = line(whole.as_bytes());
        assert!(!matches!(read, Line::Packet(_)), "{whole}");
    }
}
