//! Networks: the addresses that begin alike, and the two families that there are.

use core::fmt::{self, Display, Formatter};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that begin with the same bits; often a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The addresses whose first `prefix` bits are those of this one, which may be mapped
    /// into IPv6; a prefix that is too long means the address alone.
    pub(crate) fn of(address: IpAddr, prefix: u8) -> Self {
        let address = address.to_canonical();
        let address = match address {
            IpAddr::V4(address) => (address & Self::mask4(prefix)).into(),
            IpAddr::V6(address) => (address & Self::mask6(prefix)).into(),
        };
        Self {
            address,
            prefix: prefix.min(family(address).bits()),
        }
    }

    /// The address whose other bits are zero.
    pub(crate) const fn first(&self) -> IpAddr {
        self.address
    }

    /// Whether the address is one of them.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        Self::of(address, self.prefix) == *self
    }

    /// As many ones as this, then zeros.
    pub(crate) const fn mask4(prefix: u8) -> Ipv4Addr {
        let zeros = 32_u32.saturating_sub(prefix as u32);
        Ipv4Addr::from_bits(match u32::MAX.checked_shl(zeros) {
            Some(mask) => mask,
            None => 0,
        })
    }

    /// As many ones as this, then zeros.
    pub(crate) fn mask6(prefix: u8) -> Ipv6Addr {
        let whole = usize::from(prefix / 8);
        let mut octets = [0_u8; 16];
        octets
            .iter_mut()
            .take(whole)
            .for_each(|octet| *octet = 0xff);
        if let Some(octet) = octets.get_mut(whole) {
            *octet = !(0xff >> (prefix % 8));
        }
        octets.into()
    }
}

/// `192.0.2.1`, or `192.0.2.0/24`.
impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { address, prefix } = self;
        if *prefix == family(*address).bits() {
            write!(f, "{address}")
        } else {
            write!(f, "{address}/{prefix}")
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The digit that names of its sets have.
    pub(crate) const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    /// The length of an address, in bits.
    pub(crate) const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// An address's family; one that is mapped into IPv6 counts as IPv6.
pub(crate) const fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_named_by_their_first_address() {
        for (address, prefix, text) in [
            ("192.0.2.77", 32, "192.0.2.77"),
            ("192.0.2.77", 24, "192.0.2.0/24"),
            ("192.0.2.77", 25, "192.0.2.0/25"),
            ("192.0.2.177", 25, "192.0.2.128/25"),
            ("192.0.2.77", 1, "128.0.0.0/1"),
            ("192.0.2.77", 0, "0.0.0.0/0"),
            ("192.0.2.77", 255, "192.0.2.77"),
            ("::ffff:192.0.2.77", 24, "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"),
            ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::/64"),
            ("2001:db8:1:2:3:4:5:6", 63, "2001:db8:1:2::/63"),
            ("2001:db8:1:2:3:4:5:6", 47, "2001:db8::/47"),
            ("2001:db8:1:2:3:4:5:6", 0, "::/0"),
        ] {
            let network = Network::of(address.parse().unwrap(), prefix);
            assert_eq!(network.to_string(), text);
        }
    }
}
