//! The messages of NFNETLINK_LOG (linux/netfilter/nfnetlink_log.h).

use crate::netlink::codec::{self, Attributes, Messages, as_u32};

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_ULOG as u16) << 8;
const CONFIG: u16 = SUBSYSTEM | libc::NFULNL_MSG_CONFIG as u16;
const PACKET: u16 = SUBSYSTEM | libc::NFULNL_MSG_PACKET as u16;

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<'b> {
    /// A logged packet, from its IP header on.
    Packet {
        sequence: Option<u32>,
        payload: &'b [u8],
    },
    /// The answer to the request with this sequence number: zero, or a number of errno.
    Answer { sequence: u32, error: i32 },
    /// Anything else.
    Other,
}

/// What the messages of one datagram say, up to the first whose length makes no sense.
pub(crate) fn read(datagram: &[u8]) -> impl Iterator<Item = Said<'_>> {
    Messages(datagram).map(|message| match message.kind {
        PACKET => packet(message.attributes()),
        kind if i32::from(kind) == libc::NLMSG_ERROR => match message.outcome() {
            Some((error, _)) => Said::Answer {
                sequence: message.sequence,
                error,
            },
            None => Said::Other,
        },
        _ => Said::Other,
    })
}

/// What a request sets.
#[derive(Clone, Copy)]
pub(super) enum Attribute {
    /// Take the group.
    Bind,
    /// Copy this many bytes of each packet.
    CopyPacket(u32),
    /// Number the packets.
    NumberPackets,
    /// Bytes that are set aside for a datagram, unless a packet needs more.
    BufferSize(u32),
    /// Packets that make a datagram full.
    Threshold(u32),
    /// Hundredths of a second after which a datagram is sent although it is not full.
    Timeout(u32),
}

/// A configuration request; it is acknowledged if it has a sequence number.
pub(super) fn request(group: u16, sequence: Option<u32>, attributes: &[Attribute]) -> Vec<u8> {
    let flags = match sequence {
        Some(_) => libc::NLM_F_ACK,
        None => 0,
    };
    let about = (libc::AF_UNSPEC as u8, group);
    let mut message = Vec::new();
    codec::message(
        &mut message,
        CONFIG,
        flags,
        sequence.unwrap_or_default(),
        about,
        |body| {
            for attribute in attributes {
                attribute.write(body);
            }
        },
    );
    message
}

impl Attribute {
    fn write(self, body: &mut Vec<u8>) {
        let (kind, value): (_, &[u8]) = match self {
            Self::Bind => (libc::NFULA_CFG_CMD, &[libc::NFULNL_CFG_CMD_BIND as u8]),
            Self::CopyPacket(bytes) => {
                let [a, b, c, d] = bytes.to_be_bytes();
                (
                    libc::NFULA_CFG_MODE,
                    &[a, b, c, d, libc::NFULNL_COPY_PACKET as u8, 0],
                )
            }
            Self::NumberPackets => (
                libc::NFULA_CFG_FLAGS,
                &(libc::NFULNL_CFG_F_SEQ as u16).to_be_bytes(),
            ),
            Self::BufferSize(bytes) => (libc::NFULA_CFG_NLBUFSIZ, &bytes.to_be_bytes()),
            Self::Threshold(packets) => (libc::NFULA_CFG_QTHRESH, &packets.to_be_bytes()),
            Self::Timeout(hundredths) => (libc::NFULA_CFG_TIMEOUT, &hundredths.to_be_bytes()),
        };
        codec::attribute(body, kind as u16, value);
    }
}

/// A message without a payload is no packet: the group's mode asks for it.
fn packet(attributes: Attributes<'_>) -> Said<'_> {
    let (mut sequence, mut payload) = (None, None);
    for (kind, value) in attributes {
        match libc::c_int::from(kind) {
            libc::NFULA_PAYLOAD => payload = Some(value),
            libc::NFULA_SEQ => sequence = as_u32(value),
            _ => {}
        }
    }
    payload.map_or(Said::Other, |payload| Said::Packet { sequence, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }

    fn attribute(kind: libc::c_int, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend((kind as u16).to_ne_bytes());
        bytes.extend(value);
        bytes
    }

    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn logged(sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 5];
        body.extend(padded(attribute(libc::NFULA_PREFIX, b"\0")));
        body.extend(attribute(libc::NFULA_SEQ, &sequence.to_be_bytes()));
        body.extend(padded(attribute(0x1234, b"unknown")));
        body.extend(attribute(libc::NFULA_PAYLOAD, payload));
        message(PACKET, 0, &body)
    }

    fn all(bytes: &[u8]) -> Vec<Said<'_>> {
        read(bytes).collect()
    }

    #[test]
    fn several_messages_in_one_datagram() {
        let error = (-libc::EPERM).to_ne_bytes();
        let mut datagram = padded(logged(7, b"first"));
        datagram.extend(message(libc::NLMSG_ERROR as u16, 9, &error));
        datagram.extend(padded(logged(8, b"second")));
        datagram.extend(message(libc::NLMSG_DONE as u16, 0, &[0; 4]));
        datagram.extend(logged(9, b"unpadded last"));
        assert_eq!(
            all(&datagram),
            [
                Said::Packet {
                    sequence: Some(7),
                    payload: b"first"
                },
                Said::Answer {
                    sequence: 9,
                    error: libc::EPERM
                },
                Said::Packet {
                    sequence: Some(8),
                    payload: b"second"
                },
                Said::Other,
                Said::Packet {
                    sequence: Some(9),
                    payload: b"unpadded last"
                },
            ]
        );
    }

    #[test]
    fn lengths_that_make_no_sense_end_the_datagram() {
        for length in [0_u32, 1, 15, 21, 1 << 31, u32::MAX] {
            let mut datagram = message(PACKET, 0, &[0; 4]);
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(all(&datagram), [], "{length}");
        }
        for length in [0_u16, 3, 0xffff] {
            let mut body = vec![2, 0, 0, 5];
            body.extend(attribute(libc::NFULA_PAYLOAD, b"whatever"));
            body[4..6].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(all(&message(PACKET, 0, &body)), [Said::Other], "{length}");
        }
    }

    #[test]
    fn odd_values() {
        let other = |kind, body: &[u8]| assert_eq!(all(&message(kind, 0, body)), [Said::Other]);
        other(PACKET, &[]);
        other(PACKET, &[2, 0, 0, 5]);
        other(CONFIG, &[2, 0, 0, 5]);
        other(libc::NLMSG_ERROR as u16, &[1, 2, 3]);
        let mut body = vec![2, 0, 0, 5];
        body.extend(padded(attribute(libc::NFULA_SEQ, &[1, 2, 3])));
        body.extend(attribute(libc::NFULA_PAYLOAD, &[]));
        let expected = Said::Packet {
            sequence: None,
            payload: b"",
        };
        assert_eq!(all(&message(PACKET, 0, &body)), [expected]);
        let answer = Said::Answer {
            sequence: 3,
            error: i32::MIN,
        };
        assert_eq!(all(&message(2, 3, &i32::MIN.to_ne_bytes())), [answer]);
    }

    #[test]
    fn every_prefix_and_every_changed_byte_is_survived() {
        let mut datagram = padded(logged(7, b"first"));
        datagram.extend(logged(8, b"second"));
        for length in 0..datagram.len() {
            assert!(all(&datagram[..length]).len() <= 2);
        }
        for at in 0..datagram.len() {
            for value in 0..=u8::MAX {
                let mut changed = datagram.clone();
                changed[at] = value;
                all(&changed).iter().for_each(drop);
            }
        }
    }
}
