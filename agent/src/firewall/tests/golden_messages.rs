//! Messages for the kernel under tests/golden/messages, attribute by attribute, each with the nft
//! command that sends the same.
//!
//! `BLESS=1 cargo test -p postern golden` writes what is encoded now.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use postern_core::knock::Protocol;

use super::expressions;
use super::golden_rulesets::assert_golden;
use super::kernel::{in_namespace, nft};
use crate::firewall::nft::encoder::Encoder;
use crate::firewall::nft::lowering;
use crate::firewall::nft::message::{Counted, Element, Entry, Lasting, New, NewSet, Renderer};
use crate::firewall::table::model::{Chain, Content, DynamicChange, Hook, Set, Statement, Verdict};
use crate::netlink::codec::Attributes;
use crate::network::Family;

/// A message, and the nft command that sends the same.
struct Golden {
    name: &'static str,
    command: &'static str,
    new: New<'static>,
    /// The attributes that nft sends beside the golden ones. Some are zero, as they are where
    /// they are missing: the operations of `bitwise` and `exthdr` (6), the flags of `exthdr` (5),
    /// the kind and the flags of `limit` (4 and 5). The others are numbers of sets within a
    /// transaction (4 of `lookup` and of elements, 2 of `dynset`), by which the kernel finds
    /// sets that it does not find by name.
    beside: &'static [&'static str],
}

/// A map's length of data, zero: that of a verdict is for the kernel to know.
const DATA_LENGTH: &[&str] = &["7"];
const SET_ID: &[&str] = &["4"];

fn goldens() -> Vec<Golden> {
    let golden = |name, command, new, beside| Golden {
        name,
        command,
        new,
        beside,
    };
    let rule = |chain, rule: &[Statement]| New::Rule(chain, lowering::expressions(&rule.to_vec()));
    let accept = || Statement::Verdict(Verdict::Accept);
    let log = Statement::Log {
        group: 5,
        length: 124,
    };
    let limit = Statement::Limit {
        per_second: 100,
        burst: 100,
    };
    vec![
        golden(
            "table",
            "add table inet postern",
            New::Table { owned: false },
            &[],
        ),
        golden(
            "chain-with-hook",
            "add chain inet postern input { type filter hook input priority -10; policy accept; }",
            New::Chain(chain("input", Some(Hook::Input))),
            &[],
        ),
        golden(
            "chain-ahead-of-destination-nat",
            "add chain inet postern prerouting { type filter hook prerouting priority -110; policy accept; }",
            New::Chain(chain("prerouting", Some(Hook::Prerouting))),
            &[],
        ),
        golden(
            "chain",
            "add chain inet postern knock",
            New::Chain(chain("knock", None)),
            &[],
        ),
        golden(
            "set-of-sources",
            "add set inet postern grant4_ssh { type ipv4_addr; size 1024; flags timeout; comment \"tcp:22\"; }",
            New::Set(set(
                "grant4_ssh",
                Content::TimedSources(Family::V4),
                Some("tcp:22"),
            )),
            &[],
        ),
        golden(
            "set-of-concatenations",
            "add set inet postern stage { type ipv4_addr . inet_service; size 1024; flags timeout,dynamic; }",
            New::Set(expressions::stage()),
            &[],
        ),
        golden(
            "map-of-ranges",
            "add map inet postern tcp_ports { type inet_service : verdict; size 1024; flags interval; }",
            New::Set(set("tcp_ports", port_chains(), None)),
            DATA_LENGTH,
        ),
        golden(
            "elements-of-ranges",
            "add element inet postern tcp_ports { 22 : goto knock, 65000-65535 : goto knock }",
            New::Elements(
                "tcp_ports",
                lowering::elements(leak(port_chains())).collect(),
            ),
            SET_ID,
        ),
        golden(
            "element-that-expires",
            "add element inet postern grant4_ssh { 192.0.2.1 timeout 10s expires 5s }",
            New::Elements("grant4_ssh", vec![expiring()]),
            SET_ID,
        ),
        golden(
            "rule-for-granted-sources",
            "add rule inet postern knock ip saddr @grant4_ssh accept",
            rule(
                "knock",
                &[
                    Statement::SourceIn(Family::V4, "grant4_ssh".to_owned()),
                    accept(),
                ],
            ),
            &["4.4.2.4"],
        ),
        golden(
            "rule-for-granted-networks",
            "add rule inet postern knock ip saddr & 255.255.254.0 == @grant4_ssh accept",
            rule(
                "knock",
                &[
                    Statement::NetworkIn(Family::V4, 23, "grant4_ssh".to_owned()),
                    accept(),
                ],
            ),
            &["4.4.2.6", "4.5.2.4"],
        ),
        golden(
            "rule-that-marks",
            "add rule inet postern knock meta mark set meta mark | 0x10000000 accept",
            rule("knock", &[Statement::Mark(0x1000_0000), accept()]),
            &["4.2.2.6"],
        ),
        golden(
            "rule-that-logs",
            "add rule inet postern knock limit rate 100/second burst 100 packets log group 5 snaplen 124",
            rule("knock", &[limit, log]),
            &["4.1.2.4", "4.1.2.5"],
        ),
        golden(
            "rule-for-ports",
            "add rule inet postern input tcp dport vmap @tcp_ports",
            rule(
                "input",
                &[Statement::PortVerdict(
                    Protocol::Tcp,
                    "tcp_ports".to_owned(),
                )],
            ),
            &["4.4.2.4"],
        ),
        golden(
            "rule-for-segments-that-open-nothing",
            "add rule inet postern input tcp flags != syn / syn,ack accept",
            rule("input", &[Statement::NotOpening, accept()]),
            &["4.4.2.6"],
        ),
        golden(
            "rule-for-udp-flows",
            "add rule inet postern input meta l4proto udp ct status confirmed accept",
            rule("input", &[Statement::UdpFlow, accept()]),
            &[],
        ),
        golden(
            "rule-for-others-packets",
            "add rule inet postern input fib daddr type unicast accept",
            rule("input", &[Statement::ForAnother(true), accept()]),
            &[],
        ),
        golden(
            "rule-for-first-fragments",
            "add rule inet postern input frag frag-off 0 goto knock",
            rule(
                "input",
                &[
                    Statement::FirstFragment,
                    Statement::Verdict(Verdict::Goto("knock".to_owned())),
                ],
            ),
            &["4.3.2.5", "4.3.2.6", "4.4.2.6"],
        ),
        golden(
            "rule-that-adds",
            "add rule inet postern knock add @stage { ip saddr . tcp dport timeout 10s }",
            New::Rule(
                "knock",
                expressions::changing(DynamicChange::Add, Some(10_000)),
            ),
            &["4.7.2.2"],
        ),
        golden(
            "counter",
            "add counter inet postern hits",
            New::Counter("hits", Counted::default()),
            &[],
        ),
        golden(
            "rule-that-counts",
            "add rule inet postern knock counter name hits",
            New::Rule("knock", vec![expressions::counting()]),
            &[],
        ),
    ]
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn chain(name: &str, hook: Option<Hook>) -> &'static Chain {
    leak(Chain {
        name: name.to_owned(),
        hook,
        rules: Vec::new(),
    })
}

fn set(name: &str, content: Content, comment: Option<&str>) -> NewSet<'static> {
    let set = leak(Set {
        name: name.to_owned(),
        content,
        size: Some(1024),
        comment: comment.map(str::to_owned),
    });
    lowering::new_set(set, 1).unwrap()
}

fn port_chains() -> Content {
    let knock = |ports| (ports, "knock".to_owned());
    Content::PortChains(vec![knock(22..=22), knock(65_000..=65_535)])
}

fn expiring() -> Element<'static> {
    let lasting = Lasting {
        timeout: 10_000,
        remaining: 5_000,
    };
    Element {
        key: vec![192, 0, 2, 1],
        entry: Entry::Member(Some(lasting)),
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/messages")
}

fn encoded(new: &New<'_>) -> Vec<u8> {
    assert!(new.fits());
    let mut octets = Vec::new();
    Encoder.write(new, &mut octets);
    octets
}

/// Where a message's golden file is: of those that carry numbers in the order of the host, there
/// is another one for big-endian hosts.
fn golden_file(name: &str) -> PathBuf {
    let other = folder().join("big-endian").join(name);
    if cfg!(target_endian = "big") && other.exists() {
        other
    } else {
        folder().join(name)
    }
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files
        .map(|file| file.file_name().into_string().unwrap())
        .collect()
}

#[test]
fn messages_are_encoded_as_their_golden_files_say() {
    for Golden {
        name, command, new, ..
    } in goldens()
    {
        let text = format!("# nft {command}\n{}", described(&encoded(&new)));
        assert_golden(&text, &golden_file(name));
    }
}

#[test]
fn no_golden_file_lacks_its_message() {
    let names = goldens().into_iter().map(|golden| golden.name.to_owned());
    let names: BTreeSet<String> = names.collect();
    assert_eq!(names, files(&folder()));
    assert!(files(&folder().join("big-endian")).is_subset(&names));
}

#[test]
fn nft_sends_what_the_golden_files_say() {
    in_namespace(|| {
        for golden in goldens() {
            let sent = nft(&["--debug=mnl", golden.command], "").expect(golden.command);
            let sent = described(&sent_octets(&sent));
            let is_beside = |line: &&str| {
                let path = line.split(':').next();
                path.is_some_and(|path| golden.beside.contains(&path))
            };
            let (beside, same): (Vec<&str>, Vec<&str>) = sent.lines().partition(is_beside);
            assert_eq!(beside.len(), golden.beside.len(), "{}", golden.command);
            let own = described(&encoded(&golden.new));
            assert_eq!(same, own.lines().collect::<Vec<_>>(), "{}", golden.command);
        }
    });
}

/// The attributes of the one message that makes something, of all that nft shows.
fn sent_octets(shown: &str) -> Vec<u8> {
    const MAKING: [i32; 6] = [
        libc::NFT_MSG_NEWTABLE,
        libc::NFT_MSG_NEWCHAIN,
        libc::NFT_MSG_NEWRULE,
        libc::NFT_MSG_NEWSET,
        libc::NFT_MSG_NEWSETELEM,
        libc::NFT_MSG_NEWOBJ,
    ];
    let makes = |line: &str| {
        let kind = field(line, 0).and_then(|kind| kind.parse::<i32>().ok());
        line.ends_with("flags  |")
            && kind.is_some_and(|kind| MAKING.map(|kind| kind | 10 << 8).contains(&kind))
    };
    let lines: Vec<String> = shown.lines().map(uncoloured).collect();
    let message = lines.iter().skip_while(|line| !makes(line));
    let message = message.take_while(|line| !line.contains("message length"));
    message.flat_map(|line| line_octets(line)).collect()
}

/// Of `| 74 00 00 00  |` and `|00008|N-|00002|`.
fn line_octets(line: &str) -> Vec<u8> {
    if line.contains("data") {
        let octets = field(line, 0).unwrap().split_whitespace();
        return octets
            .map(|octet| u8::from_str_radix(octet, 16).unwrap())
            .collect();
    }
    if !line.contains("len") || line.contains("message") {
        return Vec::new();
    }
    let number = |at| field(line, at).unwrap().parse::<u16>().unwrap();
    let nested = if field(line, 1).unwrap().starts_with('N') {
        0x8000
    } else {
        0
    };
    [number(0).to_ne_bytes(), (number(2) | nested).to_ne_bytes()].concat()
}

fn field(line: &str, at: usize) -> Option<&str> {
    line.split('|').nth(at + 1).map(str::trim)
}

fn uncoloured(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

/// One line for each attribute that holds no others: the way to it, and its octets.
pub(crate) fn described(attributes: &[u8]) -> String {
    let mut text = String::new();
    describe(attributes, &[], &mut text);
    text
}

/// The order of attributes says nothing, unless they are a list: its things are counted, which
/// some number and some do not.
fn describe(attributes: &[u8], path: &[usize], text: &mut String) {
    let is_list = path.len() == 1 && is_nest(attributes);
    let mut found = Vec::new();
    let mut rest = attributes;
    for (position, (kind, value)) in (1..).zip(Attributes(attributes)) {
        let number = if is_list { position } else { kind.into() };
        found.push((number, is_nest(rest), value));
        rest = rest
            .get((4 + value.len()).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    found.sort();
    for (number, is_nest, value) in found {
        let path = [path, &[number]].concat();
        if is_nest {
            describe(value, &path, text);
        } else {
            let path: Vec<String> = path.iter().map(usize::to_string).collect();
            *text += &format!("{}: {}\n", path.join("."), shown(value));
        }
    }
}

/// Whether the first of these attributes says that it holds others.
fn is_nest(attributes: &[u8]) -> bool {
    const NESTED: u16 = 0x8000;
    let kind = attributes.get(2..4).map(|kind| [kind[0], kind[1]]);
    kind.is_some_and(|kind| u16::from_ne_bytes(kind) & NESTED != 0)
}

/// Octets, and the text that they are.
fn shown(value: &[u8]) -> String {
    let mut text: String = value.iter().map(|octet| format!("{octet:02x}")).collect();
    if let [name @ .., 0] = value
        && name.len() > 1
        && name.iter().all(u8::is_ascii_graphic)
    {
        text += &format!(" {}", String::from_utf8_lossy(name));
    }
    text
}
