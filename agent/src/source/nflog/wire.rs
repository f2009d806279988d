//! The messages of NFNETLINK_LOG as bytes (linux/netlink.h, linux/netfilter/nfnetlink_log.h).
//!
//! Netlink's own numbers are in host order, netfilter's in network order.

const HEADER: usize = 16;
/// `nfgenmsg`: family, version, group.
const GENERIC_HEADER: usize = 4;
const ATTRIBUTE_HEADER: usize = 4;
const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_ULOG as u16) << 8;
const CONFIG: u16 = SUBSYSTEM | libc::NFULNL_MSG_CONFIG as u16;
const PACKET: u16 = SUBSYSTEM | libc::NFULNL_MSG_PACKET as u16;

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'b> {
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

/// The messages of one datagram, up to the first whose length makes no sense.
pub(super) struct Messages<'b> {
    rest: &'b [u8],
}

impl<'b> Messages<'b> {
    pub(super) fn new(datagram: &'b [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'b> Iterator for Messages<'b> {
    type Item = Message<'b>;

    fn next(&mut self) -> Option<Message<'b>> {
        let header: &[u8; HEADER] = self.rest.first_chunk()?;
        let &[l0, l1, l2, l3, t0, t1, _, _, s0, s1, s2, s3, ..] = header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let body = self.rest.get(HEADER..length)?;
        self.rest = after_padding(self.rest, length);
        Some(match u16::from_ne_bytes([t0, t1]) {
            PACKET => packet(body),
            kind if i32::from(kind) == libc::NLMSG_ERROR => {
                answer(u32::from_ne_bytes([s0, s1, s2, s3]), body)
            }
            _ => Message::Other,
        })
    }
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
    let mut body = vec![libc::AF_UNSPEC as u8, 0];
    body.extend(group.to_be_bytes());
    attributes
        .iter()
        .for_each(|attribute| attribute.write(&mut body));

    let acknowledge = if sequence.is_some() {
        libc::NLM_F_ACK
    } else {
        0
    };
    let flags = (libc::NLM_F_REQUEST | acknowledge) as u16;
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(CONFIG.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.unwrap_or_default().to_ne_bytes());
    message.extend([0; 4]); // our port: the kernel knows it
    message.extend(body);
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
        body.extend(((ATTRIBUTE_HEADER + value.len()) as u16).to_ne_bytes());
        body.extend((kind as u16).to_ne_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
}

/// A message without a payload is no packet: the group's mode asks for it.
fn packet(body: &[u8]) -> Message<'_> {
    let (mut sequence, mut payload) = (None, None);
    let mut rest = body.get(GENERIC_HEADER..).unwrap_or_default();
    while let Some((kind, value)) = take_attribute(&mut rest) {
        match kind {
            libc::NFULA_PAYLOAD => payload = Some(value),
            libc::NFULA_SEQ => {
                sequence = value.try_into().map(u32::from_be_bytes).ok();
            }
            _ => {}
        }
    }
    payload.map_or(Message::Other, |payload| Message::Packet {
        sequence,
        payload,
    })
}

/// `None` at the end, and at an attribute whose length makes no sense.
fn take_attribute<'b>(rest: &mut &'b [u8]) -> Option<(libc::c_int, &'b [u8])> {
    let &[l0, l1, k0, k1] = rest.first_chunk()?;
    let length = usize::from(u16::from_ne_bytes([l0, l1]));
    let value = rest.get(ATTRIBUTE_HEADER..length)?;
    *rest = after_padding(rest, length);
    let kind = libc::c_int::from(u16::from_ne_bytes([k0, k1])) & libc::NLA_TYPE_MASK;
    Some((kind, value))
}

/// `nlmsgerr` begins with a negative errno.
fn answer(sequence: u32, body: &[u8]) -> Message<'_> {
    match body.first_chunk() {
        Some(error) => {
            let error = i32::from_ne_bytes(*error).saturating_neg();
            Message::Answer { sequence, error }
        }
        None => Message::Other,
    }
}

/// What follows something of this length: both kinds are padded to four bytes, the last perhaps not.
fn after_padding(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes
    }

    fn attribute(kind: libc::c_int, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((ATTRIBUTE_HEADER + value.len()) as u16)
            .to_ne_bytes()
            .to_vec();
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

    fn read(bytes: &[u8]) -> Vec<Message<'_>> {
        Messages::new(bytes).collect()
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
            read(&datagram),
            [
                Message::Packet {
                    sequence: Some(7),
                    payload: b"first"
                },
                Message::Answer {
                    sequence: 9,
                    error: libc::EPERM
                },
                Message::Packet {
                    sequence: Some(8),
                    payload: b"second"
                },
                Message::Other,
                Message::Packet {
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
            assert_eq!(read(&datagram), [], "{length}");
        }
        for length in [0_u16, 3, 0xffff] {
            let mut body = vec![2, 0, 0, 5];
            body.extend(attribute(libc::NFULA_PAYLOAD, b"whatever"));
            body[4..6].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(
                read(&message(PACKET, 0, &body)),
                [Message::Other],
                "{length}"
            );
        }
    }

    #[test]
    fn odd_values() {
        let other = |kind, body: &[u8]| assert_eq!(read(&message(kind, 0, body)), [Message::Other]);
        other(PACKET, &[]);
        other(PACKET, &[2, 0, 0, 5]);
        other(CONFIG, &[2, 0, 0, 5]);
        other(libc::NLMSG_ERROR as u16, &[1, 2, 3]);
        let mut body = vec![2, 0, 0, 5];
        body.extend(padded(attribute(libc::NFULA_SEQ, &[1, 2, 3])));
        body.extend(attribute(libc::NFULA_PAYLOAD, &[]));
        let expected = Message::Packet {
            sequence: None,
            payload: b"",
        };
        assert_eq!(read(&message(PACKET, 0, &body)), [expected]);
        let answer = Message::Answer {
            sequence: 3,
            error: i32::MAX,
        };
        assert_eq!(read(&message(2, 3, &i32::MIN.to_ne_bytes())), [answer]);
    }

    #[test]
    fn every_prefix_and_every_changed_byte_is_survived() {
        let mut datagram = padded(logged(7, b"first"));
        datagram.extend(logged(8, b"second"));
        for length in 0..datagram.len() {
            assert!(read(&datagram[..length]).len() <= 2);
        }
        for at in 0..datagram.len() {
            for value in 0..=u8::MAX {
                let mut changed = datagram.clone();
                changed[at] = value;
                read(&changed).iter().for_each(drop);
            }
        }
    }
}
