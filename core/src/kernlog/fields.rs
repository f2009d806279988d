//! What nf_log writes of a packet: words with a space after each.
//!
//! ```text
//! IN=wan OUT= MAC=12:7a:… SRC=192.0.2.2 DST=192.0.2.1 LEN=60 TOS=0x00 PREC=0x00 TTL=64 ID=31167 DF
//!   PROTO=TCP SPT=33430 DPT=7000 WINDOW=64240 RES=0x00 SYN URGP=0
//! IN=wan OUT= MAC=12:7a:… SRC=2001:0db8:… DST=2001:0db8:… LEN=53 TC=0 HOPLIMIT=64 FLOWLBL=938118
//!   PROTO=UDP SPT=40277 DPT=8001 LEN=13
//! IN=wan OUT= MAC=12:7a:… SRC=192.0.2.2 DST=192.0.2.1 LEN=151 TOS=0x00 PREC=0x00 TTL=64 ID=31167 DF
//!   PROTO=ICMP TYPE=8 CODE=0 ID=4711 SEQ=1
//! ```
//!
//! Words that do not matter are skipped, so that options which another rule's flags ask for,
//! or which another kernel adds, are no obstacle. Those that do matter stand in a fixed order.

use core::net::{IpAddr, Ipv6Addr};

use crate::knock::{Knock, Port, Protocol};
use crate::packet::{self, Refusal};

/// Reads what stands behind the prefix.
pub(super) fn knock(text: &[u8]) -> Result<Knock<'_>, Refusal> {
    let mut words = Words(text);
    words.value("IN=").ok_or(Refusal::Malformed)?;
    words.value("OUT=").ok_or(Refusal::Malformed)?;
    let source = source(&mut words)?;
    words.value("DST=").ok_or(Refusal::Malformed)?;
    // Before what an echo request says of itself stands how long it is.
    let length = Words(words.0).number("LEN=");
    let protocol = protocol(&mut words)?;
    if protocol == Protocol::Icmp {
        return echo_request(&mut words, source, length?);
    }
    let source_port = words.number("SPT=")?;
    let number = words.number("DPT=")?;
    match protocol {
        Protocol::Tcp => opens_connection(&mut words)?,
        // The last word that every UDP packet has: the line was not cut off before.
        Protocol::Udp => words.number("LEN=").map(drop)?,
        Protocol::Icmp => {}
    }
    Ok(Knock {
        source,
        source_port,
        port: Port { protocol, number },
        payload: &[],
    })
}

/// What an echo request carries is the rest of the packet, which has no options and no extension headers: the line
/// would not say how long they are.
fn echo_request(
    words: &mut Words<'_>,
    source: IpAddr,
    length: u16,
) -> Result<Knock<'static>, Refusal> {
    let (headers, (_, request)) = match source {
        IpAddr::V4(_) => (20 + 8, packet::ECHO_V4),
        IpAddr::V6(_) => (40 + 8, packet::ECHO_V6),
    };
    if words.number("TYPE=")? != u16::from(request) || words.number("CODE=")? != 0 {
        return Err(Refusal::NoPorts);
    }
    let source_port = words.number("ID=")?;
    // The last word: the line was not cut off before.
    words.number("SEQ=")?;
    let protocol = Protocol::Icmp;
    let number = length.checked_sub(headers).ok_or(Refusal::Malformed)?;
    Ok(Knock {
        source,
        source_port,
        port: Port { protocol, number },
        payload: &[],
    })
}

/// The words before it tell the link layer's story: `MAC=`, `TUNNEL=`, `PHYSIN=`, `VID=` and
/// so on. What has no source address is no IP packet.
fn source(words: &mut Words<'_>) -> Result<IpAddr, Refusal> {
    let address = words.find_map(|word| word.strip_prefix(b"SRC="));
    let address = address.ok_or(Refusal::NotIp)?;
    if let Some(octets) = groups(address, b'.', decimal) {
        return packet::ipv4_source(octets);
    }
    let groups: [u16; 8] = groups(address, b':', hexadecimal).ok_or(Refusal::Malformed)?;
    packet::ipv6_source(Ipv6Addr::from(groups).octets())
}

/// The numbers of an address, as the kernel writes it: all of them, also where they are zero
/// (`%pI4` and `%pI6` of Documentation/core-api/printk-formats.rst).
fn groups<T, const N: usize>(
    text: &[u8],
    separator: u8,
    number: fn(&[u8]) -> Option<u64>,
) -> Option<[T; N]>
where
    T: Copy + Default + TryFrom<u64>,
{
    let mut groups = [T::default(); N];
    let mut texts = text.split(|byte| *byte == separator);
    for group in &mut groups {
        *group = number(texts.next()?)?.try_into().ok()?;
    }
    texts.next().is_none().then_some(groups)
}

/// The words before it are the rest of the IP header and of the extension headers.
fn protocol(words: &mut Words<'_>) -> Result<Protocol, Refusal> {
    for word in words {
        match word {
            b"PROTO=TCP" => return Ok(Protocol::Tcp),
            b"PROTO=UDP" => return Ok(Protocol::Udp),
            b"PROTO=ICMP" | b"PROTO=ICMPv6" => return Ok(Protocol::Icmp),
            b"MF" => return Err(Refusal::Fragment),
            _ if word.starts_with(b"FRAG:") => return Err(Refusal::Fragment),
            _ if word.starts_with(b"TRUNCATED") => return Err(Refusal::Truncated),
            // Also `UDPLITE`, and numbers.
            _ if word.starts_with(b"PROTO=") => break,
            _ => {}
        }
    }
    // IPv6's ESP has no such word.
    Err(Refusal::NoPorts)
}

/// Reads on to the flags, which stand between `RES=` and `URGP=`.
fn opens_connection(words: &mut Words<'_>) -> Result<(), Refusal> {
    words
        .find(|word| word.starts_with(b"RES="))
        .ok_or(Refusal::Truncated)?;
    let mut flags = 0;
    for word in words {
        match word {
            b"SYN" => flags |= packet::SYN,
            b"ACK" => flags |= packet::ACK,
            b"RST" => flags |= packet::RST,
            b"FIN" => flags |= packet::FIN,
            _ if word.starts_with(b"URGP=") => return packet::check_flags(flags),
            _ => {}
        }
    }
    Err(Refusal::Truncated)
}

/// The words of a line.
struct Words<'l>(&'l [u8]);

impl<'l> Words<'l> {
    /// What stands behind the key, if the next word has it.
    fn value(&mut self, key: &str) -> Option<&'l [u8]> {
        self.next()?.strip_prefix(key.as_bytes())
    }

    /// The number that stands behind the key, if the next word has it.
    fn number(&mut self, key: &str) -> Result<u16, Refusal> {
        let word = self.next().filter(|word| *word != b"INCOMPLETE");
        let word = word.ok_or(Refusal::Truncated)?;
        let number = word.strip_prefix(key.as_bytes());
        let number = number.and_then(|number| decimal(number)?.try_into().ok());
        number.ok_or(Refusal::Malformed)
    }
}

impl<'l> Iterator for Words<'l> {
    type Item = &'l [u8];

    fn next(&mut self) -> Option<&'l [u8]> {
        let text = self.0.trim_ascii_start();
        let end = text.iter().position(u8::is_ascii_whitespace);
        let (word, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

/// Digits and nothing else, as the kernel writes them.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    number(digits, 10)
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    number(digits, 16)
}

fn number(digits: &[u8], base: u8) -> Option<u64> {
    let append = |number: u64, digit: &u8| {
        let digit = char::from(*digit).to_digit(base.into())?;
        number.checked_mul(base.into())?.checked_add(digit.into())
    };
    match digits {
        [] => None,
        digits => digits.iter().try_fold(0, append),
    }
}
