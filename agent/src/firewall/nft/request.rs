//! Requests to nf_tables as octets: written for the few that must be quick or are simple.

use core::net::IpAddr;

use super::nfta;
use crate::firewall::table::names::{TABLE, interface_key};
use crate::netlink::codec::{GENERAL, HEADER, Message, as_text, attribute, message, nest, text};

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
pub(crate) const INET: u8 = libc::NFPROTO_INET as u8;

/// NFT_MSG_DESTROYSETELEM of nf_tables.h, which libc lacks.
pub(crate) const DESTROY_ELEMENTS: i32 = 30;

/// The kind of message that tells about a deleted element, for those who asked for an echo. It
/// bears no sequence number (`nf_tables_setelem_notify`).
pub(crate) const ELEMENT_DELETED: u16 = SUBSYSTEM | libc::NFT_MSG_DELSETELEM as u16;

/// A request to nf_tables.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// `NFT_MSG_*`.
    pub(crate) kind: i32,
    /// `NLM_F_*` beside NLM_F_REQUEST.
    pub(crate) flags: i32,
}

/// What an element's key is.
#[derive(Clone, Copy)]
pub(crate) enum ElementKey<'n> {
    /// A source address.
    Address(IpAddr),
    /// An interface.
    Interface(&'n str),
}

/// Appends a request about our table; `fill` writes its attributes.
pub(crate) fn request(
    to: &mut Vec<u8>,
    request: Request,
    sequence: u32,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    request_of(INET, to, request, sequence, fill);
}

/// Appends a request about tables of a family.
pub(crate) fn request_of(
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
pub(crate) fn begin(to: &mut Vec<u8>, sequence: u32, generation: Option<u32>) {
    bracket(to, libc::NFNL_MSG_BATCH_BEGIN, sequence, |to| {
        if let Some(generation) = generation {
            attribute(to, libc::NFNL_BATCH_GENID as u16, &generation.to_be_bytes());
        }
    });
}

/// The length of the message that ends a transaction.
pub(crate) const END: usize = HEADER + GENERAL;

/// Appends the message that ends a transaction.
pub(crate) fn end(to: &mut Vec<u8>, sequence: u32) {
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

/// Writes the attributes that name a set; `set` is given in parts.
pub(crate) fn set_of_elements(to: &mut Vec<u8>, set: &[&str]) {
    text(to, nfta::LIST_TABLE, &[TABLE]);
    text(to, nfta::LIST_SET, set);
}

/// Writes the attributes that name a set and no element of it.
pub(crate) fn no_elements(to: &mut Vec<u8>, set: &[&str]) {
    set_of_elements(to, set);
    nest(to, nfta::LIST_ELEMENTS, |_| {});
}

/// Writes the attributes that name one element of a set, with how long it lasts, in milliseconds.
pub(crate) fn element(to: &mut Vec<u8>, set: &[&str], key: ElementKey<'_>, timeout: Option<u64>) {
    set_of_elements(to, set);
    nest(to, nfta::LIST_ELEMENTS, |to| {
        nest(to, nfta::LIST_ELEM, |to| {
            nest(to, nfta::ELEM_KEY, |to| match key {
                ElementKey::Address(IpAddr::V4(address)) => {
                    attribute(to, nfta::DATA_VALUE, &address.octets());
                }
                ElementKey::Address(IpAddr::V6(address)) => {
                    attribute(to, nfta::DATA_VALUE, &address.octets());
                }
                ElementKey::Interface(name) => {
                    attribute(to, nfta::DATA_VALUE, &interface_key(name))
                }
            });
            if let Some(timeout) = timeout {
                attribute(to, nfta::ELEM_TIMEOUT, &timeout.to_be_bytes());
            }
        });
    });
}

impl Message<'_> {
    /// The kind among those of nf_tables (`NFT_MSG_*`), and the family; `None`: it is no message of
    /// nf_tables.
    pub(crate) fn of_nf_tables(&self) -> Option<(i32, u8)> {
        let kind = self.kind ^ SUBSYSTEM;
        (kind <= 0xff).then_some((kind.into(), *self.body.first()?))
    }
}

/// nft's `enum byteorder` (include/datatype.h) of a set's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyOrder {
    /// Several fields are concatenated.
    Mixed = 0,
    /// A number of the host, for which nft also takes a name of an interface.
    Host = 1,
    /// As in packets.
    Network = 2,
}

/// User data of a set or map, as nft writes and needs it: without the byte order of the keys it
/// shows names of interfaces as nothing. `None` if the comment is too long.
pub(crate) fn user_data(
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
pub(crate) fn comment(mut data: &[u8]) -> Option<&str> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::codec::{Attributes, Messages, as_u64};

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
                ElementKey::Address([192, 0, 2, 1].into()),
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
