//! Networks: the addresses that begin alike, and the two families that there are.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ufmt::{Formatter, uDisplay, uWrite, uwrite};

/// The addresses that begin with the same bits; often a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The addresses whose first `prefix` bits are those of this one, which may be mapped
    /// into IPv6; a prefix that is too long means the address alone.
    pub fn of(address: IpAddr, prefix: u8) -> Self {
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

    /// Reads an address, or an address, a slash and a prefix behind which there are only zeros.
    ///
    /// ```
    /// use postern_core::network::Network;
    ///
    /// assert!(Network::parse("192.0.2.0/24").is_ok_and(|network| network.has([192, 0, 2, 77].into())));
    /// assert!(Network::parse("192.0.2.1/24").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match cut(text, b'/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address = address_in(address).ok_or(NetworkError::Address)?;
        // What is mapped counts its prefix from the start of IPv6, and is only ever meant as IPv4.
        if address != address.to_canonical() {
            return Err(NetworkError::Address);
        }
        let bits = family(address).bits();
        let prefix = match prefix {
            None => bits,
            Some(text) if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(NetworkError::Prefix);
            }
            Some(text) => {
                (text.parse().ok().filter(|prefix| *prefix <= bits)).ok_or(NetworkError::Prefix)?
            }
        };
        match Self::of(address, prefix) {
            network if network.address == address => Ok(network),
            _ => Err(NetworkError::HostBits),
        }
    }

    /// All addresses of a family.
    pub const fn everything(family: Family) -> Self {
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self { address, prefix: 0 }
    }

    /// Its family.
    pub const fn family(&self) -> Family {
        family(self.address)
    }

    /// How many bits its addresses have in common.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The networks of so many bits that it is made of, if they are no more than `most`; itself, where it is as narrow
    /// or narrower.
    pub fn parts(&self, prefix: u8, most: u32) -> Option<impl Iterator<Item = Self> + use<>> {
        let bits = self.family().bits();
        let count = 1_u32.checked_shl(prefix.saturating_sub(self.prefix).into());
        let count = count.filter(|count| *count <= most)?;
        let (first, step) = (self.address, u32::from(bits.saturating_sub(prefix)));
        let part = move |number: u32| {
            let offset = u128::from(number).checked_shl(step).unwrap_or_default();
            let address = match first {
                IpAddr::V4(address) => {
                    let offset = u32::try_from(offset).unwrap_or_default();
                    Ipv4Addr::from_bits(address.to_bits() | offset).into()
                }
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() | offset).into(),
            };
            Self::of(address, prefix)
        };
        Some((0..count).map(part))
    }

    /// Whether every address of the other is one of this.
    pub fn includes(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.has(other.address)
    }

    /// Whether an address is one of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.includes(other) || other.includes(self)
    }

    /// The address whose other bits are zero.
    pub const fn first(&self) -> IpAddr {
        self.address
    }

    /// Whether the address is one of them.
    pub fn has(&self, address: IpAddr) -> bool {
        Self::of(address, self.prefix) == *self
    }

    /// As many ones as this, then zeros.
    pub const fn mask4(prefix: u8) -> Ipv4Addr {
        let zeros = 32_u32.saturating_sub(prefix as u32);
        Ipv4Addr::from_bits(match u32::MAX.checked_shl(zeros) {
            Some(mask) => mask,
            None => 0,
        })
    }

    /// As many ones as this, then zeros.
    pub fn mask6(prefix: u8) -> Ipv6Addr {
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
impl uDisplay for Network {
    fn fmt<W>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error>
    where
        W: uWrite + ?Sized,
    {
        let Self { address, prefix } = self;
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                uwrite!(f, "{}.{}.{}.{}", a, b, c, d)?;
            }
            IpAddr::V6(address) => write_ipv6(*address, f)?,
        }
        match *prefix == family(*address).bits() {
            true => Ok(()),
            false => uwrite!(f, "/{}", *prefix),
        }
    }
}

/// RFC 5952, section 4: the longest run of zero groups is left out, the first of equally long ones.
fn write_ipv6<W>(address: Ipv6Addr, f: &mut Formatter<'_, W>) -> Result<(), W::Error>
where
    W: uWrite + ?Sized,
{
    let groups = address.segments();
    let run = |start: usize| {
        groups
            .iter()
            .skip(start)
            .take_while(|group| **group == 0)
            .count()
    };
    let (mut start, mut length) = (groups.len(), 1);
    for at in 0..groups.len() {
        if run(at) > length {
            (start, length) = (at, run(at));
        }
    }
    for (at, group) in groups.into_iter().enumerate() {
        match at {
            at if at == start => f.write_str("::")?,
            at if at > start && at < start + length => {}
            at => {
                let is_first = at == 0 || at == start + length;
                f.write_str(if is_first { "" } else { ":" })?;
                write_hex(group, f)?;
            }
        }
    }
    Ok(())
}

fn write_hex<W>(number: u16, f: &mut Formatter<'_, W>) -> Result<(), W::Error>
where
    W: uWrite + ?Sized,
{
    let mut shown = false;
    for shift in [12, 8, 4, 0] {
        let nibble = u32::from(number >> shift & 0xf);
        shown |= nibble > 0 || shift == 0;
        if shown {
            f.write_char(char::from_digit(nibble, 16).unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// What stands before the slash is no address.
    Address,
    /// What stands behind the slash is no prefix of that family.
    Prefix,
    /// The address has bits behind the prefix.
    HostBits,
}

/// Reads an address. The standard library's parser may panic, as far as a linker can tell.
pub(crate) fn address_in(text: &str) -> Option<IpAddr> {
    match text.bytes().any(|byte| byte == b':') {
        true => ipv6(text).map(IpAddr::V6),
        false => ipv4(text).map(IpAddr::V4),
    }
}

fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let (mut bits, mut rest) = (0_u32, text);
    for dot in [true, true, true, false] {
        let part = match dot {
            true => {
                let (part, behind) = cut(rest, b'.')?;
                rest = behind;
                part
            }
            false => rest,
        };
        // Some take what begins with a zero for octal.
        let is_canonical = part == "0" || !part.starts_with('0');
        let octet = number(part, 10, 3).filter(|octet| *octet <= 255 && is_canonical)?;
        bits = bits << 8 | octet;
    }
    Some(Ipv4Addr::from_bits(bits))
}

/// RFC 4291, section 2.2.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let mut rest = text;
    let (mut bits, mut count) = (0_u128, 0_u32);
    // How many groups stand before those that are left out.
    let mut left_out = None;
    if let Some(behind) = rest.strip_prefix("::") {
        (rest, left_out) = (behind, Some(0));
    }
    while !rest.is_empty() {
        let (part, behind) =
            cut(rest, b':').map_or((rest, None), |(part, behind)| (part, Some(behind)));
        let (value, width) = match behind {
            None if part.len() > 4 => (ipv4(part)?.to_bits(), 2),
            _ => (number(part, 16, 4)?, 1),
        };
        count += width;
        if count > 8 {
            return None;
        }
        bits = bits << (16 * width) | u128::from(value);
        rest = match behind {
            None => "",
            // It ends with a single colon.
            Some("") => return None,
            Some(behind) => match behind.strip_prefix(':') {
                Some(_) if left_out.is_some() => return None,
                Some(behind) => {
                    left_out = Some(count);
                    behind
                }
                None => behind,
            },
        };
    }
    let bits = match left_out {
        None => (count == 8).then_some(bits)?,
        Some(before) => {
            let zeros = 8_u32.checked_sub(count).filter(|zeros| *zeros > 0)?;
            // The shift is by all bits where nothing stands behind, or before.
            let behind = 16 * (count - before);
            let head = bits.checked_shr(behind).unwrap_or_default();
            let head = head.checked_shl(behind + 16 * zeros).unwrap_or_default();
            let tail = bits & !u128::MAX.checked_shl(behind).unwrap_or_default();
            head | tail
        }
    };
    Some(Ipv6Addr::from_bits(bits))
}

/// What stands before and behind the first such byte, which is ASCII.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = text.bytes().position(|byte| byte == at)?;
    let (before, behind) = text.split_at_checked(place)?;
    Some((before, behind.get(1..)?))
}

/// A number of so many digits at most.
fn number(text: &str, radix: u32, digits: usize) -> Option<u32> {
    if text.is_empty() || text.len() > digits {
        return None;
    }
    text.chars().try_fold(0_u32, |number, digit| {
        let digit = digit.to_digit(16).filter(|digit| *digit < radix)?;
        Some(number * radix + digit)
    })
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The digit that names of its sets have.
    pub const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    /// The length of an address, in bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// An address's family; one that is mapped into IPv6 counts as IPv6.
pub const fn family(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString as _};
    use std::vec::Vec;

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

    #[test]
    fn addresses_are_read_as_the_standard_library_reads_them() {
        let mut texts: Vec<String> = [
            "",
            ".",
            ":",
            "::",
            ":::",
            "1",
            "1.2.3",
            "1.2.3.4",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.256",
            "1.2.3.",
            ".1.2.3",
            "1.2.3.4 ",
            "+1.2.3.4",
            "::1",
            "1::",
            "1::2",
            "1::2::3",
            "1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7::",
            "::1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7:8:9",
            "1::2:3:4:5:6:7:8",
            "::ffff:1.2.3.4",
            "1:2:3:4:5:6:1.2.3.4",
            "1:2:3:4:5:6:7:1.2.3.4",
            "1.2.3.4::",
            "::1.2.3.4:5",
            "1:2:3:4:5:6:1.2.3.4:",
            "12345::",
            "g::",
            "::00001",
            "2001:DB8::a",
            "1:",
            ":1",
            "1:2:3:4:5:6:7:",
            "64:ff9b::192.0.2.33",
            "::%1",
            "1::1.2.3",
            "::1.02.3.4",
        ]
        .map(Into::into)
        .into();
        // Words of the same alphabet, of all lengths.
        let mut random = 0x5eed_u32;
        for _ in 0..200_000 {
            let mut text = String::new();
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            for _ in 0..random >> 27 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push(char::from(b"::::..0129afFg"[(random >> 16) as usize % 14]));
            }
            texts.push(text);
        }
        for text in texts {
            let address: Option<IpAddr> = text.parse().ok();
            assert_eq!(address_in(&text), address, "{text}");
            // What is mapped is another's, and IPv4 here.
            if let Some(address) = address.filter(|address| address.to_canonical() == *address) {
                assert_eq!(Network::of(address, 128).to_string(), address.to_string());
            }
        }
    }

    #[test]
    fn networks_are_read_as_they_are_written() {
        for text in [
            "192.0.2.1",
            "192.0.2.0/24",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::/32",
            "2001:db8::1",
        ] {
            assert_eq!(
                Network::parse(text)
                    .map(|network| network.to_string())
                    .as_deref(),
                Ok(text)
            );
        }
        for (text, error) in [
            ("", NetworkError::Address),
            ("/24", NetworkError::Address),
            ("192.0.2", NetworkError::Address),
            ("192.0.2.1:22", NetworkError::Address),
            ("::ffff:192.0.2.1", NetworkError::Address),
            ("fe80::1%eth0", NetworkError::Address),
            ("192.0.2.0/", NetworkError::Prefix),
            ("192.0.2.0/+4", NetworkError::Prefix),
            ("192.0.2.0/33", NetworkError::Prefix),
            ("192.0.2.0/256", NetworkError::Prefix),
            ("2001:db8::/129", NetworkError::Prefix),
            ("192.0.2.1/24", NetworkError::HostBits),
            ("2001:db8::1/64", NetworkError::HostBits),
        ] {
            assert_eq!(Network::parse(text), Err(error), "{text}");
        }
        let network = |text| Network::parse(text).unwrap();
        assert!(network("192.0.2.0/24").includes(&network("192.0.2.7")));
        assert!(!network("192.0.2.7").includes(&network("192.0.2.0/24")));
        assert!(!network("0.0.0.0/0").includes(&network("::1")));
    }

    #[test]
    fn networks_have_parts() {
        for (text, prefix, first, last, count) in [
            ("198.51.100.0/24", 32, "198.51.100.0", "198.51.100.255", 256),
            (
                "198.51.100.0/22",
                24,
                "198.51.100.0/24",
                "198.51.103.0/24",
                4,
            ),
            ("198.51.100.7", 32, "198.51.100.7", "198.51.100.7", 1),
            (
                "198.51.100.128/25",
                24,
                "198.51.100.0/24",
                "198.51.100.0/24",
                1,
            ),
            (
                "2001:db8::/56",
                64,
                "2001:db8::/64",
                "2001:db8:0:ff::/64",
                256,
            ),
            ("2001:db8::/120", 128, "2001:db8::", "2001:db8::ff", 256),
            ("0.0.0.0/0", 8, "0.0.0.0/8", "255.0.0.0/8", 256),
        ] {
            let network = Network::parse(text).unwrap();
            let parts: Vec<String> = (network.parts(prefix, 256).unwrap())
                .map(|part| part.to_string())
                .collect();
            assert_eq!((parts.len(), &*parts[0]), (count, first), "{text}");
            assert_eq!(parts[count - 1], last, "{text}");
        }
        for (text, prefix) in [
            ("198.51.100.0/23", 32),
            ("::/0", 128),
            ("2001:db8::/32", 64),
        ] {
            assert!(Network::parse(text).unwrap().parts(prefix, 256).is_none());
        }
    }
}
