//! Messages of Netlink and of Netfilter as octets, read with every length checked (include/uapi/linux/netlink.h,
//! nfnetlink.h).

use std::io;

use crate::sys::netlink::NetlinkSocket;

/// Room for one datagram from the kernel, which makes none longer than half of this
/// (`netlink_dump`, NLMSG_GOODSIZE).
pub(crate) const LONGEST_ANSWER: usize = 32 * 1024;

/// The length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// The length of `struct nfgenmsg`.
pub(crate) const GENERAL: usize = 4;
/// The length of `struct nlattr`.
const ATTRIBUTE: usize = 4;
pub(crate) const NESTED: u16 = 0x8000;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of an attribute's number.
const TYPE_MASK: u16 = 0x3fff;

/// Appends a message of Netfilter, of this family and about this resource.
pub(crate) fn message(
    to: &mut Vec<u8>,
    kind: u16,
    flags: i32,
    sequence: u32,
    (family, resource): (u8, u16),
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = to.len();
    head(to, kind, flags, sequence, (family, resource));
    fill(to);
    let length = (to.len() - start) as u32;
    overwrite(to, start, &length.to_ne_bytes());
}

/// Appends the two headers of a message of Netfilter, without its length.
fn head(to: &mut Vec<u8>, kind: u16, flags: i32, sequence: u32, (family, resource): (u8, u16)) {
    to.extend_from_slice(&[0; 4]);
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
    to.extend_from_slice(&sequence.to_ne_bytes());
    // The port: the kernel knows whose socket it is.
    to.extend_from_slice(&[0; 4]);
    to.extend_from_slice(&[family, libc::NFNETLINK_V0 as u8]);
    to.extend_from_slice(&resource.to_be_bytes());
}

fn overwrite(octets: &mut [u8], at: usize, value: &[u8]) {
    if let Some(field) = octets.get_mut(at..at + value.len()) {
        field.copy_from_slice(value);
    }
}

/// Appends an attribute and its padding.
pub(crate) fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (ATTRIBUTE + value.len()) as u16;
    to.extend_from_slice(&length.to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    to.extend_from_slice(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Appends a name with its terminator.
pub(crate) fn text(to: &mut Vec<u8>, kind: u16, parts: &[&str]) {
    let length = ATTRIBUTE + parts.iter().map(|part| part.len()).sum::<usize>() + 1;
    to.extend_from_slice(&(length as u16).to_ne_bytes());
    to.extend_from_slice(&kind.to_ne_bytes());
    for part in parts {
        to.extend_from_slice(part.as_bytes());
    }
    to.push(0);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Appends an attribute that holds attributes.
pub(crate) fn nest(to: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    attribute(to, kind | NESTED, &[]);
    fill(to);
    let length = (to.len() - start) as u16;
    overwrite(to, start, &length.to_ne_bytes());
}

/// The messages of a datagram, as far as their lengths hold.
pub(crate) struct Messages<'d>(pub(crate) &'d [u8]);

/// A message from the kernel.
pub(crate) struct Message<'d> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// Of a notification: the port of whoever brought it about.
    pub(crate) port: u32,
    /// What follows the header.
    pub(crate) body: &'d [u8],
}

impl<'d> Iterator for Messages<'d> {
    type Item = Message<'d>;

    fn next(&mut self) -> Option<Message<'d>> {
        let length = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let message = Message {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            sequence: u32_at(self.0, 8)?,
            port: u32_at(self.0, 12)?,
            body: self.0.get(HEADER..length)?,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

impl<'d> Message<'d> {
    /// Its attributes.
    pub(crate) fn attributes(&self) -> Attributes<'d> {
        Attributes(self.body.get(GENERAL..).unwrap_or_default())
    }

    /// The error number of an answer (0: done), and the kernel's sentence about it, if any.
    pub(crate) fn outcome(&self) -> Option<(i32, &'d str)> {
        const ERROR: u16 = libc::NLMSG_ERROR as u16;
        const DONE: u16 = libc::NLMSG_DONE as u16;
        match self.kind {
            ERROR => Some((
                error_number(self.body)?,
                self.sentence().unwrap_or_default(),
            )),
            DONE => Some((error_number(self.body).unwrap_or_default(), "")),
            _ => None,
        }
    }

    /// NLMSGERR_ATTR_MSG: behind the error number and what is left of the request.
    fn sentence(&self) -> Option<&'d str> {
        if self.flags & libc::NLM_F_ACK_TLVS as u16 == 0 {
            return None;
        }
        let echoed = if self.flags & libc::NLM_F_CAPPED as u16 == 0 {
            usize::try_from(u32_at(self.body, 4)?).ok()?
        } else {
            HEADER
        };
        let attributes = self
            .body
            .get(echoed.checked_add(4)?.checked_next_multiple_of(4)?..)?;
        Attributes(attributes).find(1).and_then(as_text)
    }
}

/// Sends a request, and hands on each message that comes before the one that says what became of it.
pub(crate) fn exchange(
    socket: &mut NetlinkSocket,
    request: &[u8],
    sequence: u32,
    buffer: &mut [u8],
    each: &mut dyn FnMut(&Message<'_>),
) -> io::Result<()> {
    socket.send(request)?;
    while let Some(datagram) = socket.receive_queued(buffer)? {
        for message in Messages(datagram).filter(|message| message.sequence == sequence) {
            match message.outcome() {
                Some((0, _)) => return Ok(()),
                Some((number, _)) => return Err(io::Error::from_raw_os_error(number)),
                None => each(&message),
            }
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn error_number(body: &[u8]) -> Option<i32> {
    Some((u32_at(body, 0)? as i32).wrapping_neg())
}

/// Attributes, as far as their lengths hold.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'d>(pub(crate) &'d [u8]);

impl<'d> Attributes<'d> {
    /// The value of the first attribute of this kind.
    pub(crate) fn find(mut self, kind: u16) -> Option<&'d [u8]> {
        self.find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// The attributes inside the first attribute of this kind.
    pub(crate) fn inside(self, kind: u16) -> Option<Self> {
        self.find(kind).map(Self)
    }
}

impl<'d> Iterator for Attributes<'d> {
    type Item = (u16, &'d [u8]);

    fn next(&mut self) -> Option<(u16, &'d [u8])> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & TYPE_MASK;
        let value = self.0.get(ATTRIBUTE..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A name: the octets before the first zero, if they are UTF-8.
pub(crate) fn as_text(value: &[u8]) -> Option<&str> {
    let end = value
        .iter()
        .position(|&octet| octet == 0)
        .unwrap_or(value.len());
    core::str::from_utf8(value.get(..end)?).ok()
}

/// A number in network order.
pub(crate) fn as_u64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// A number in network order.
pub(crate) fn as_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    octets
        .get(at..)?
        .first_chunk()
        .map(|octets| u16::from_ne_bytes(*octets))
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    octets
        .get(at..)?
        .first_chunk()
        .map(|octets| u32::from_ne_bytes(*octets))
}
