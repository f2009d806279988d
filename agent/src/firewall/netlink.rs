//! Netlink messages as octets: written for the few requests that must be quick or are simple,
//! read with every length checked (include/uapi/linux/netlink.h, nfnetlink.h).

use core::net::IpAddr;
use std::io;

use super::ruleset::{TABLE, interface_key};
use crate::sys::netlink::NetlinkSocket;

/// Room for one datagram from the kernel, which makes none longer than half of this
/// (`netlink_dump`, NLMSG_GOODSIZE).
pub(crate) const LONGEST_ANSWER: usize = 32 * 1024;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The length of `struct nfgenmsg`.
const GENERAL: usize = 4;
/// The length of `struct nlattr`.
const ATTRIBUTE: usize = 4;
pub(crate) const NESTED: u16 = 0x8000;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of an attribute's number.
const TYPE_MASK: u16 = 0x3fff;

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
pub(super) const INET: u8 = libc::NFPROTO_INET as u8;

/// Numbers of include/uapi/linux/netfilter/nf_tables.h that libc lacks.
pub(super) mod nfta {
    pub(in super::super) const TABLE_NAME: u16 = 1;
    pub(in super::super) const TABLE_FLAGS: u16 = 2;
    pub(in super::super) const TABLE_USE: u16 = 3;
    pub(in super::super) const TABLE_OWNER: u16 = 7;
    pub(in super::super) const TABLE_USERDATA: u16 = 6;
    pub(in super::super) const CHAIN_TABLE: u16 = 1;
    pub(in super::super) const CHAIN_NAME: u16 = 3;
    pub(in super::super) const CHAIN_HOOK: u16 = 4;
    pub(in super::super) const CHAIN_POLICY: u16 = 5;
    pub(in super::super) const CHAIN_USERDATA: u16 = 12;
    pub(in super::super) const HOOK_NUMBER: u16 = 1;
    pub(in super::super) const HOOK_PRIORITY: u16 = 2;
    pub(in super::super) const RULE_TABLE: u16 = 1;
    pub(in super::super) const RULE_CHAIN: u16 = 2;
    pub(in super::super) const RULE_EXPRESSIONS: u16 = 4;
    pub(in super::super) const EXPR_NAME: u16 = 1;
    pub(in super::super) const EXPR_DATA: u16 = 2;
    pub(in super::super) const META_REGISTER: u16 = 1;
    pub(in super::super) const META_KEY: u16 = 2;
    pub(in super::super) const PAYLOAD_OFFSET: u16 = 3;
    pub(in super::super) const PAYLOAD_LENGTH: u16 = 4;
    pub(in super::super) const FIB_FLAGS: u16 = 3;
    pub(in super::super) const LOOKUP_SET: u16 = 1;
    pub(in super::super) const LOOKUP_SOURCE: u16 = 2;
    pub(in super::super) const LOOKUP_REGISTER: u16 = 3;
    pub(in super::super) const LOOKUP_FLAGS: u16 = 5;
    pub(in super::super) const RANGE_TO: u16 = 4;
    pub(in super::super) const NAT_TYPE: u16 = 1;
    pub(in super::super) const NAT_ADDRESS: u16 = 3;
    pub(in super::super) const NAT_PORT: u16 = 5;
    pub(in super::super) const REDIR_PORT: u16 = 1;
    pub(in super::super) const BITWISE_SOURCE: u16 = 1;
    pub(in super::super) const BITWISE_REGISTER: u16 = 2;
    pub(in super::super) const BITWISE_MASK: u16 = 4;
    pub(in super::super) const BITWISE_XOR: u16 = 5;
    pub(in super::super) const BITWISE_OPERATION: u16 = 6;
    pub(in super::super) const CMP_REGISTER: u16 = 1;
    pub(in super::super) const CMP_OPERATION: u16 = 2;
    pub(in super::super) const CMP_DATA: u16 = 3;
    pub(in super::super) const IMMEDIATE_DATA: u16 = 2;
    pub(in super::super) const IMMEDIATE_REGISTER: u16 = 1;
    pub(in super::super) const LIMIT_FLAGS: u16 = 5;
    pub(in super::super) const EXTENSION_NAME: u16 = 1;
    pub(in super::super) const EXTENSION_INFO: u16 = 3;
    pub(in super::super) const SET_TABLE: u16 = 1;
    pub(in super::super) const SET_NAME: u16 = 2;
    pub(in super::super) const SET_USERDATA: u16 = 13;
    pub(in super::super) const OBJECT_TABLE: u16 = 1;
    pub(in super::super) const OBJECT_NAME: u16 = 2;
    pub(in super::super) const OBJECT_TYPE: u16 = 3;
    pub(in super::super) const OBJECT_DATA: u16 = 4;
    pub(in super::super) const COUNTER_OCTETS: u16 = 1;
    pub(in super::super) const COUNTER_PACKETS: u16 = 2;
    pub(in super::super) const GEN_ID: u16 = 1;
    pub(in super::super) const GEN_PROCESS: u16 = 2;
    pub(in super::super) const GEN_NAME: u16 = 3;
    /// The table's name, in messages about whatever is in a table.
    pub(in super::super) const TABLE_OF_ANY: u16 = 1;
    pub(in super::super) const LIST_TABLE: u16 = 1;
    pub(in super::super) const LIST_SET: u16 = 2;
    pub(in super::super) const LIST_ELEMENTS: u16 = 3;
    pub(in super::super) const LIST_ELEM: u16 = 1;
    pub(in super::super) const ELEM_KEY: u16 = 1;
    pub(in super::super) const ELEM_DATA: u16 = 2;
    pub(in super::super) const ELEM_FLAGS: u16 = 3;
    pub(in super::super) const ELEM_KEY_END: u16 = 10;
    pub(in super::super) const ELEM_TIMEOUT: u16 = 4;
    pub(in super::super) const ELEM_EXPIRATION: u16 = 5;
    pub(in super::super) const DATA_VALUE: u16 = 1;
    pub(in super::super) const DATA_VERDICT: u16 = 2;
    pub(in super::super) const VERDICT_CODE: u16 = 1;
    pub(in super::super) const VERDICT_CHAIN: u16 = 2;
    /// libnftnl's NFTNL_UDATA_SET_KEYBYTEORDER.
    pub(in super::super) const KEY_BYTE_ORDER: u8 = 0;
    /// libnftnl's NFTNL_UDATA_SET_DATABYTEORDER.
    pub(in super::super) const DATA_BYTE_ORDER: u8 = 1;
    /// libnftnl's NFTNL_UDATA_SET_KEY_TYPEOF.
    pub(in super::super) const KEY_EXPRESSION: u8 = 3;
    /// libnftnl's NFTNL_UDATA_SET_DATA_INTERVAL.
    pub(in super::super) const DATA_INTERVAL: u8 = 6;
    /// libnftnl's NFTNL_UDATA_SET_COMMENT.
    pub(in super::super) const COMMENT: u8 = 7;
}

/// NFT_MSG_DESTROYSETELEM of nf_tables.h, which libc lacks.
pub(super) const DESTROY_ELEMENTS: i32 = 30;

/// The kind of message that tells about a deleted element, for those who asked for an echo. It
/// bears no sequence number (`nf_tables_setelem_notify`).
pub(super) const ELEMENT_DELETED: u16 = SUBSYSTEM | libc::NFT_MSG_DELSETELEM as u16;

/// A request to nf_tables.
#[derive(Clone, Copy)]
pub(super) struct Request {
    /// `NFT_MSG_*`.
    pub(super) kind: i32,
    /// `NLM_F_*` beside NLM_F_REQUEST.
    pub(super) flags: i32,
}

/// What an element's key is.
#[derive(Clone, Copy)]
pub(super) enum Key<'n> {
    /// A source address.
    Address(IpAddr),
    /// An interface.
    Interface(&'n str),
}

/// Appends a request about our table; `fill` writes its attributes.
pub(super) fn request(
    to: &mut Vec<u8>,
    request: Request,
    sequence: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    request_of(INET, to, request, sequence, fill);
}

/// Appends a request about tables of a family.
pub(super) fn request_of(
    family: u8,
    to: &mut Vec<u8>,
    request: Request,
    sequence: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    message(
        to,
        SUBSYSTEM | request.kind as u16,
        request.flags,
        sequence,
        (family, 0),
        fill,
    );
}

/// Appends the message that begins a transaction, of any generation or only of this one.
pub(super) fn begin(to: &mut Vec<u8>, sequence: u32, generation: Option<u32>) {
    bracket(to, libc::NFNL_MSG_BATCH_BEGIN, sequence, |to| {
        if let Some(generation) = generation {
            attribute(to, libc::NFNL_BATCH_GENID as u16, &generation.to_be_bytes());
        }
    });
}

/// The length of the message that ends a transaction.
pub(super) const END: usize = HEADER + GENERAL;

/// Appends the message that ends a transaction.
pub(super) fn end(to: &mut Vec<u8>, sequence: u32) {
    bracket(to, libc::NFNL_MSG_BATCH_END, sequence, |_| {});
}

fn bracket(to: &mut Vec<u8>, kind: i32, sequence: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let subsystem = libc::NFNL_SUBSYS_NFTABLES as u16;
    message(
        to,
        kind as u16,
        0,
        sequence,
        (libc::AF_UNSPEC as u8, subsystem),
        fill,
    );
}

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
pub(super) fn text(to: &mut Vec<u8>, kind: u16, parts: &[&str]) {
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
pub(super) fn nest(to: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = to.len();
    attribute(to, kind | NESTED, &[]);
    fill(to);
    let length = (to.len() - start) as u16;
    overwrite(to, start, &length.to_ne_bytes());
}

/// Writes the attributes that name a set; `set` is given in parts.
pub(super) fn set_of_elements(to: &mut Vec<u8>, set: &[&str]) {
    text(to, nfta::LIST_TABLE, &[TABLE]);
    text(to, nfta::LIST_SET, set);
}

/// Writes the attributes that name a set and no element of it.
pub(super) fn no_elements(to: &mut Vec<u8>, set: &[&str]) {
    set_of_elements(to, set);
    nest(to, nfta::LIST_ELEMENTS, |_| {});
}

/// Writes the attributes that name one element of a set, with how long it lasts, in milliseconds.
pub(super) fn element(to: &mut Vec<u8>, set: &[&str], key: Key<'_>, timeout: Option<u64>) {
    set_of_elements(to, set);
    nest(to, nfta::LIST_ELEMENTS, |to| {
        nest(to, nfta::LIST_ELEM, |to| {
            nest(to, nfta::ELEM_KEY, |to| match key {
                Key::Address(IpAddr::V4(address)) => {
                    attribute(to, nfta::DATA_VALUE, &address.octets());
                }
                Key::Address(IpAddr::V6(address)) => {
                    attribute(to, nfta::DATA_VALUE, &address.octets());
                }
                Key::Interface(name) => attribute(to, nfta::DATA_VALUE, &interface_key(name)),
            });
            if let Some(timeout) = timeout {
                attribute(to, nfta::ELEM_TIMEOUT, &timeout.to_be_bytes());
            }
        });
    });
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
    /// The kind among those of nf_tables (`NFT_MSG_*`), and the family; `None`: it is no message of
    /// nf_tables.
    pub(super) fn of_nf_tables(&self) -> Option<(i32, u8)> {
        let kind = self.kind ^ SUBSYSTEM;
        (kind <= 0xff).then_some((kind.into(), *self.body.first()?))
    }

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
pub(super) fn as_u64(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// A number in network order.
pub(super) fn as_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// nft's `enum byteorder` (include/datatype.h) of a set's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyOrder {
    /// Several fields are concatenated.
    Mixed = 0,
    /// A number of the host, for which nft also takes a name of an interface.
    Host = 1,
    /// As in packets.
    Network = 2,
}

/// User data of a set or map, as nft writes and needs it: without the byte order of the keys it
/// shows names of interfaces as nothing. `None` if the comment is too long.
pub(super) fn user_data(
    order: KeyOrder,
    of_verdicts: bool,
    comment: Option<&str>,
) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let mut note = |kind, value: &[u8]| {
        data.extend([kind, u8::try_from(value.len()).ok()?]);
        data.extend_from_slice(value);
        Some(())
    };
    note(nfta::KEY_BYTE_ORDER, &(order as u32).to_ne_bytes())?;
    if of_verdicts {
        note(nfta::DATA_BYTE_ORDER, &[0; 4])?;
    }
    if order == KeyOrder::Mixed {
        note(nfta::KEY_EXPRESSION, &CONCATENATION)?;
    }
    if of_verdicts {
        note(nfta::DATA_INTERVAL, &[0; 4])?;
    }
    if let Some(comment) = comment {
        note(nfta::COMMENT, &[comment.as_bytes(), &[0]].concat())?;
    }
    Some(data)
}

/// What nft notes as the expression of keys that are concatenated: that it is one (EXPR_CONCAT,
/// a u32 of the host), and nothing about it.
const CONCATENATION: [u8; 8] = {
    let [a, b, c, d] = 13_u32.to_ne_bytes();
    [0, 4, a, b, c, d, 1, 0]
};

/// The comment among a set's user data: type, length, value (libnftnl, `src/udata.c`).
pub(super) fn comment(mut data: &[u8]) -> Option<&str> {
    while let [kind, length, rest @ ..] = data {
        let length = usize::from(*length);
        let value = rest.get(..length)?;
        if *kind == nfta::COMMENT {
            return as_text(value);
        }
        data = rest.get(length..)?;
    }
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut octets = Vec::new();
        let ask = Request {
            kind: libc::NFT_MSG_NEWSETELEM,
            flags: 0,
        };
        request(&mut octets, ask, 7, |to| {
            element(
                to,
                &["grant4_", "ssh"],
                Key::Address([192, 0, 2, 1].into()),
                Some(1500),
            );
        });
        octets
    }

    #[test]
    fn what_is_written_can_be_read() {
        let octets = sample();
        let message = Messages(&octets).next().unwrap();
        assert_eq!(message.kind, SUBSYSTEM | libc::NFT_MSG_NEWSETELEM as u16);
        assert_eq!(message.sequence, 7);
        let attributes = message.attributes();
        assert_eq!(
            attributes.find(nfta::LIST_SET).and_then(as_text),
            Some("grant4_ssh")
        );
        let element = attributes
            .inside(nfta::LIST_ELEMENTS)
            .and_then(|list| list.inside(nfta::LIST_ELEM))
            .unwrap();
        let key = element
            .inside(nfta::ELEM_KEY)
            .and_then(|key| key.find(nfta::DATA_VALUE));
        assert_eq!(key, Some([192, 0, 2, 1].as_slice()));
        assert_eq!(
            element.find(nfta::ELEM_TIMEOUT).and_then(as_u64),
            Some(1500)
        );
    }

    #[test]
    fn no_octets_are_too_odd() {
        let octets = sample();
        for end in 0..octets.len() {
            read_everything(&octets[..end]);
        }
        for at in 0..octets.len() {
            for value in [0, 1, 3, 4, 15, 16, 17, 0x7f, 0x80, 0xff] {
                let mut octets = octets.clone();
                octets[at] = value;
                read_everything(&octets);
            }
        }
    }

    fn read_everything(octets: &[u8]) {
        for message in Messages(octets) {
            let _ = message.outcome();
            for (_, value) in message.attributes() {
                let _ = (as_text(value), as_u64(value), comment(value));
                for (_, value) in Attributes(value) {
                    let _ = Attributes(value).count();
                }
            }
        }
    }

    #[test]
    fn comments_are_found_among_other_user_data() {
        assert_eq!(
            comment(&[0, 4, 1, 2, 3, 4, 7, 3, b'h', b'i', 0]),
            Some("hi")
        );
        for odd in [&[][..], &[7], &[7, 3, b'h'], &[0, 255], &[7, 1, 0xff]] {
            assert_eq!(comment(odd), None);
        }
    }
}
