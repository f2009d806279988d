//! The packets of a knock.

use core::fmt::Write as _;
use std::io;

use postern_core::knock::{Port, Protocol};
use postern_core::payload::{Payload, RANDOM};

use crate::sys::process;

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// Where to.
    pub(super) port: Port,
    /// What a UDP packet carries; a TCP packet is a bare SYN.
    pub(super) payload: Vec<u8>,
}

/// What a UDP knock carries when nothing is required of it: so does the client of knockd.
const PLAIN_PAYLOAD: &[u8] = &[0];

impl Packet {
    /// One packet for each port. What a payload leaves to chance differs from packet to packet.
    pub(super) fn dress(ports: &[Port], payload: Option<&Payload>) -> io::Result<Vec<Self>> {
        let dress = |port: &Port| {
            let payload = match (port.protocol, payload) {
                (Protocol::Tcp | Protocol::Icmp, _) => Vec::new(),
                (Protocol::Udp, None) => PLAIN_PAYLOAD.to_vec(),
                (Protocol::Udp, Some(payload)) => payload.write(&random()?).to_vec(),
            };
            Ok(Self {
                port: *port,
                payload,
            })
        };
        ports.iter().map(dress).collect()
    }

    /// The payload in hexadecimal.
    pub(super) fn hex(&self) -> String {
        let mut hex = String::with_capacity(2 * self.payload.len());
        for byte in &self.payload {
            _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

fn random() -> io::Result<[u8; RANDOM]> {
    let mut random = [0; RANDOM];
    process::random(&mut random)?;
    Ok(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_is_dressed_and_each_time_anew() {
        let port = |protocol| Port {
            protocol,
            number: 7,
        };
        let ports = [Protocol::Tcp, Protocol::Udp, Protocol::Udp].map(port);
        let [tcp, one, other] = Packet::dress(&ports, Some(&Payload::Dns))
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(tcp.payload, []);
        assert!(
            [&one, &other]
                .iter()
                .all(|knock| Payload::Dns.matches(&knock.payload))
        );
        assert_ne!(one, other);
        let plain = Packet::dress(&ports, None).unwrap();
        assert_eq!(
            plain.iter().map(Packet::hex).collect::<Vec<_>>(),
            ["", "00", "00"]
        );
    }
}
