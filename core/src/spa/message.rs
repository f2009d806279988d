//! What a client encrypts: fields with colons between them.
//!
//! `RANDOM:USER:TIME:VERSION:TYPE:MESSAGE[:SERVER_AUTH][:TIMEOUT]:DIGEST`, where a timeout is of type 3 only, and the
//! user, the message, the authentication at the server, which no client sends, and the digest are in base 64. The
//! digest proves nothing that the HMAC does not; which version wrote it changes nothing.

use core::net::IpAddr;

use super::wipe::Wiped;
use super::wire::MOST_BLOCKS;
use super::{MAX_USER, Refusal, base64};
use crate::knock::{Port, Protocol};
use crate::network::address_in;
use crate::time::Duration;

/// The longest message, in bytes: 256 characters of base 64.
const MAX_MESSAGE: usize = 192;
/// The longest digest, SHA-512's.
const MAX_DIGEST: usize = 64;
/// The lengths of a digest's text: MD5, SHA-1, SHA-256, SHA-384, SHA-512.
const DIGESTS: [usize; 5] = [22, 27, 43, 64, 86];
const MAX_VERSION: usize = 8;
/// What a client's timeout can be, in seconds.
const MAX_TIMEOUT: u64 = 65_536;

/// The fields of a request for access.
pub(super) struct Message {
    user: Wiped<[u8; MAX_USER]>,
    user_length: usize,
    /// Seconds of Unix time.
    pub(super) time: u64,
    /// For how long; `None`: as the door has it.
    pub(super) timeout: Option<Duration>,
    /// An address and ports.
    request: Wiped<[u8; MAX_MESSAGE]>,
    request_length: usize,
}

/// Why a text is no request for access, and the time in it as far as that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unread {
    pub(super) why: Refusal,
    pub(super) time: Option<u64>,
}

impl Message {
    pub(super) const fn new() -> Self {
        Self {
            user: Wiped::new(),
            user_length: 0,
            time: 0,
            timeout: None,
            request: Wiped::new(),
            request_length: 0,
        }
    }

    /// Reads the fields.
    pub(super) fn read(&mut self, plaintext: &[u8]) -> Result<(), Unread> {
        let garbled = Unread {
            why: Refusal::Garbled,
            time: None,
        };
        let (kind, rest) = self.read_head(plaintext).ok_or(garbled)?;
        let time = Some(self.time);
        match kind {
            b'1' | b'3' => {}
            b'0' | b'2' | b'4'..=b'6' => {
                return Err(Unread {
                    why: Refusal::Type,
                    time,
                });
            }
            _ => return Err(Unread { time, ..garbled }),
        }
        (self.read_rest(kind == b'3', rest)).ok_or(Unread { time, ..garbled })
    }

    /// The type, and what is behind it.
    fn read_head<'p>(&mut self, plaintext: &'p [u8]) -> Option<(u8, &'p [u8])> {
        let (random, rest) = field(plaintext)?;
        if random.len() != 16 || !random.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let (user, rest) = field(rest)?;
        let user = base64::decode([user, &[]], &mut self.user.0)?;
        self.user_length = user.len();
        if !user.iter().all(is_printable) || user.is_empty() {
            return None;
        }
        let (time, rest) = field(rest)?;
        self.time = number(time, 12)?;
        let (version, rest) = field(rest)?;
        if version.is_empty() || version.len() > MAX_VERSION || !version.iter().all(is_printable) {
            return None;
        }
        let (kind, rest) = field(rest)?;
        match kind {
            [kind] => Some((*kind, rest)),
            _ => None,
        }
    }

    fn read_rest(&mut self, has_timeout: bool, rest: &[u8]) -> Option<()> {
        let (request, rest) = field(rest)?;
        let request = base64::decode([request, &[]], &mut self.request.0);
        self.request_length = request.filter(|request| !request.is_empty())?.len();
        let (rest, digest) = split_last(rest);
        if !DIGESTS.contains(&digest.len()) {
            return None;
        }
        base64::decode([digest, &[]], &mut [0; MAX_DIGEST])?;
        let (rest, timeout) = match (has_timeout, rest) {
            (false, rest) => (rest, None),
            (true, rest) => {
                let (rest, timeout) = split_last(rest?);
                let seconds = number(timeout, 5).filter(|seconds| *seconds <= MAX_TIMEOUT)?;
                (rest, (seconds > 0).then(|| Duration::from_secs(seconds)))
            }
        };
        self.timeout = timeout;
        match rest {
            None => Some(()),
            // Of no use, and still no place for anything but base 64.
            Some(auth) => {
                let mut room = Wiped::<[u8; 16 * MOST_BLOCKS]>::new();
                base64::decode([auth, &[]], &mut room.0).map(|_| ())
            }
        }
    }

    pub(super) fn user(&self) -> &[u8] {
        self.user.0.get(..self.user_length).unwrap_or_default()
    }

    /// The address that it names, as it stands there, and the ports.
    pub(super) fn request(&self) -> Request<'_> {
        let request = self.request.0.get(..self.request_length);
        let mut parts = request
            .unwrap_or_default()
            .split(is_comma as fn(&u8) -> bool);
        let address = parts.next().unwrap_or_default();
        Request {
            address: str::from_utf8(address)
                .ok()
                .and_then(address_in)
                .map(|address| address.to_canonical()),
            ports: Ports(parts),
        }
    }
}

/// Whom to let in, and to what.
pub(super) struct Request<'m> {
    /// `None` where there is none; one of zeros means the sender's.
    pub(super) address: Option<IpAddr>,
    pub(super) ports: Ports<'m>,
}

/// Ports as `tcp/22`; `None` for what is none.
pub(super) struct Ports<'m>(core::slice::Split<'m, u8, fn(&u8) -> bool>);

impl Iterator for Ports<'_> {
    type Item = Option<Port>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(port)
    }
}

fn port(text: &[u8]) -> Option<Port> {
    let (protocol, digits) = match text.strip_prefix(b"tcp/") {
        Some(digits) => (Protocol::Tcp, digits),
        None => (Protocol::Udp, text.strip_prefix(b"udp/")?),
    };
    let number = u16::try_from(number(digits, 5)?).ok()?;
    (number > 0).then_some(Port { protocol, number })
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

fn is_printable(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// What stands before the first colon and behind it.
fn field(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    Some((text.get(..colon)?, text.get(colon + 1..)?))
}

/// What stands before the last colon, if there is one, and the rest.
fn split_last(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let colon = text.iter().rposition(|byte| *byte == b':');
    let split = colon.and_then(|colon| Some((text.get(..colon)?, text.get(colon + 1..)?)));
    split.map_or((None, text), |(before, behind)| (Some(before), behind))
}

/// A decimal number of so many digits at most.
fn number(text: &[u8], digits: usize) -> Option<u64> {
    if text.is_empty() || text.len() > digits {
        return None;
    }
    text.iter().try_fold(0, |number: u64, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number * 10 + digit)
    })
}

/// The text in blocks, less its padding (RFC 5652, section 6.3).
pub(super) fn unpadded(plaintext: &[u8]) -> Option<&[u8]> {
    let padding = plaintext
        .last()
        .copied()
        .filter(|length| matches!(length, 1..=16))?;
    let length = plaintext.len().checked_sub(padding.into())?;
    let (text, padded) = plaintext.split_at_checked(length)?;
    padded.iter().all(|byte| *byte == padding).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use super::*;
    use crate::knock::{tcp, udp};

    const DIGEST: &str = "FLRJCLqzRz89bKelYsphy7wsz7g4EeVs7XUaCGrmQDI";

    fn encoded(text: &str) -> String {
        base64::encode(text.as_bytes()).map(char::from).collect()
    }

    fn read(plaintext: &str) -> Result<Message, Unread> {
        let mut message = Message::new();
        message.read(plaintext.as_bytes()).map(|()| message)
    }

    fn with_request(request: &str) -> Message {
        let message = encoded(request);
        read(&format!(
            "1177425761223036:YWxpY2U:1796009350:3.0.0:1:{message}:{DIGEST}"
        ))
        .unwrap_or_else(|unread| panic!("{request}: {unread:?}"))
    }

    #[test]
    fn a_request_of_a_real_client() {
        let message = with_request("192.0.2.7,tcp/22,udp/60001");
        assert_eq!(
            (message.user(), message.time, message.timeout),
            (&b"alice"[..], 1_796_009_350, None)
        );
        let request = message.request();
        assert_eq!(request.address, Some([192, 0, 2, 7].into()));
        assert!(request.ports.eq([Some(tcp(22)), Some(udp(60_001))]));
    }

    #[test]
    fn timeouts_and_what_stands_before_them() {
        let rest = |rest: &str| {
            let plain = format!("1177425761223036:YWxpY2U:1796009350:3.0.0:{rest}:{DIGEST}");
            read(&plain).map(|message| message.timeout.map(|timeout| timeout.as_millis() / 1000))
        };
        for (text, timeout) in [
            ("1:MS4x", None),
            ("1:MS4x:Y3J5cHQ", None),
            ("3:MS4x:0", None),
            ("3:MS4x:60", Some(60)),
            ("3:MS4x:Y3J5cHQ:77", Some(77)),
            ("3:MS4x:65536", Some(65_536)),
        ] {
            assert_eq!(rest(text), Ok(timeout), "{text}");
        }
        for text in [
            "3:MS4x",
            "3:MS4x:",
            "3:MS4x:65537",
            "3:MS4x:-1",
            "3:MS4x:60:60:60",
            "3:MS4x:a",
            "3:MS4x:000060",
            "1:MS4x:Y3J5cHQ:77",
            "1:MS4x:a",
            "1:MS4x:=",
            "1:",
            "1",
            "7:MS4x",
            "x:MS4x",
            "11:MS4x",
            ":MS4x",
            "1:MS5",
        ] {
            assert_eq!(rest(text).unwrap_err().why, Refusal::Garbled, "{text}");
        }
        for text in [
            "0:MS4x",
            "2:MS4x:Yg",
            "4:MS4x:Yg:5",
            "5:MS4x:Yg",
            "6:MS4x:Yg:5",
            "0:?",
        ] {
            let unread = rest(text).unwrap_err();
            assert_eq!(
                unread,
                Unread {
                    why: Refusal::Type,
                    time: Some(1_796_009_350)
                },
                "{text}"
            );
        }
    }

    #[test]
    fn fields_that_no_client_writes() {
        let good = format!("1177425761223036:YWxpY2U:1796009350:3.0.0:1:MS4x:{DIGEST}");
        assert!(read(&good).is_ok());
        assert!(read(&good.replace("3.0.0", "9.9.9x")).is_ok());
        assert!(read(&good.replace("YWxpY2U", &encoded(&"u".repeat(48)))).is_ok());
        for (from, to) in [
            ("1177425761223036", "117742576122303"),
            ("1177425761223036", "11774257612230366"),
            ("1177425761223036", "117742576122303x"),
            ("YWxpY2U", ""),
            ("YWxpY2U", "YWxpY2V"),
            ("YWxpY2U", "YWxpY2U="),
            ("YWxpY2U", "AAAA"),
            ("YWxpY2U", &encoded(&"u".repeat(49))),
            ("1796009350", ""),
            ("1796009350", "-1"),
            ("1796009350", "+796009350"),
            ("1796009350", "1796009350000"),
            ("3.0.0", ""),
            ("3.0.0", "3.0.0.0.0"),
            ("3.0.0", "3\u{0}"),
            (DIGEST, ""),
            (DIGEST, &DIGEST[1..]),
            (DIGEST, &DIGEST.replace("DI", "DJ")),
            (DIGEST, &DIGEST.replace("DI", "=I")),
            (":MS4x", &format!(":{}", encoded(&"m".repeat(193)))),
        ] {
            let bad = good.replace(from, to);
            assert_eq!(
                read(&bad).map(|_| ()).unwrap_err().why,
                Refusal::Garbled,
                "{bad}"
            );
        }
    }

    /// However it is cut, and whatever stands in its place: nothing panics, and what is cut is never whole.
    #[test]
    fn every_cut_and_every_byte() {
        let good = format!("1177425761223036:YWxpY2U:1796009350:3.0.0:3:MS4x:9:{DIGEST}");
        for at in 0..good.len() {
            // But for a digest that becomes one of another kind.
            let is_cut = !DIGESTS.contains(&(at + DIGEST.len()).saturating_sub(good.len()));
            let whole = Message::new().read(&good.as_bytes()[..at]).is_ok();
            assert!(!(is_cut && whole), "{at}");
            for byte in 0..=u8::MAX {
                let mut text: Vec<u8> = good.clone().into();
                text[at] = byte;
                _ = Message::new().read(&text);
            }
        }
    }

    #[test]
    fn addresses_are_what_they_look_like() {
        for (text, address) in [
            ("0.0.0.0,tcp/22", Some("0.0.0.0")),
            ("255.255.255.255,tcp/22", Some("255.255.255.255")),
            ("2001:db8::1,tcp/22", Some("2001:db8::1")),
            ("::,tcp/22", Some("::")),
            ("::ffff:192.0.2.7,tcp/22", Some("192.0.2.7")),
            ("192.0.2.07,tcp/22", None),
            ("192.0.2,tcp/22", None),
            ("192.0.2.7/24,tcp/22", None),
            ("192.0.2.256,tcp/22", None),
            (" 192.0.2.7,tcp/22", None),
            ("host,tcp/22", None),
            (",tcp/22", None),
            ("fe80::1%eth0,tcp/22", None),
            ("tcp/22", None),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(with_request(text).request().address, address, "{text}");
        }
    }

    #[test]
    fn ports_are_of_tcp_and_udp() {
        for (text, number) in [
            ("tcp/1", Some(tcp(1))),
            ("udp/65535", Some(udp(65_535))),
            ("tcp/0", None),
            ("tcp/65536", None),
            ("tcp/", None),
            ("tcp22", None),
            ("TCP/22", None),
            ("icmp/8", None),
            ("none/0", None),
            ("tcp/22 ", None),
            (" tcp/22", None),
            ("tcp/+22", None),
            ("tcp/000022", None),
            ("", None),
        ] {
            let message = with_request(&format!("192.0.2.7,{text}"));
            assert!(message.request().ports.eq([number]), "{text}");
        }
        assert_eq!(with_request("192.0.2.7").request().ports.count(), 0);
        let trailing = with_request("192.0.2.7,tcp/22,");
        assert!(trailing.request().ports.eq([Some(tcp(22)), None]));
    }

    #[test]
    fn padding_is_what_it_says() {
        for length in 0..=u8::MAX {
            let mut block = [length; 32];
            block[0] = b'x';
            let text = unpadded(&block).map(<[u8]>::len);
            let expected = matches!(length, 1..=16).then(|| 32 - usize::from(length));
            assert_eq!(text, expected, "{length}");
            if let 2..=16 = length {
                block[32 - usize::from(length)] ^= 1;
                assert_eq!(unpadded(&block), None, "{length}");
            }
        }
        assert_eq!(unpadded(&[]), None);
        assert_eq!(unpadded(&[3, 3]), None);
    }
}
