//! Addresses, by the old requests of netdevice(7): with a dozen lines each.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::sys;

/// Enables an interface.
pub(crate) fn bring_up(interface: &str) -> io::Result<()> {
    let mut request = Request::new(interface);
    sys::ask_interface(libc::AF_INET, libc::SIOCGIFFLAGS, &mut request)?;
    let [first, second, ..] = request.change;
    let flags = u16::from_ne_bytes([first, second]) | libc::IFF_UP as u16;
    request.change[0..2].copy_from_slice(&flags.to_ne_bytes());
    sys::ask_interface(libc::AF_INET, libc::SIOCSIFFLAGS, &mut request)
}

/// Gives an interface an IPv4 address.
pub(crate) fn add_v4(interface: &str, address: Ipv4Addr, prefix: u32) -> io::Result<()> {
    let mask = Ipv4Addr::from_bits(u32::MAX << (32 - prefix));
    for (request, address) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
        sys::ask_interface(libc::AF_INET, request, &mut Request::of(interface, address))?;
    }
    Ok(())
}

/// Gives an interface an IPv6 address.
pub(crate) fn add_v6(interface: &str, address: Ipv6Addr, prefix: u32) -> io::Result<()> {
    let index = fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
    let index = index.trim_end().parse().map_err(io::Error::other)?;
    let mut request = Request6 {
        address: address.octets(),
        prefix,
        index,
    };
    sys::ask_interface(libc::AF_INET6, libc::SIOCSIFADDR, &mut request)
}

/// `struct ifreq`, of which every request here writes or reads the first octets of the union.
#[repr(C, align(8))]
pub(crate) struct Request {
    name: [u8; libc::IFNAMSIZ],
    change: [u8; 24],
}

/// `struct in6_ifreq` (linux/ipv6.h).
#[repr(C)]
pub(crate) struct Request6 {
    address: [u8; 16],
    prefix: u32,
    index: i32,
}

impl Request {
    fn new(interface: &str) -> Self {
        let mut name = [0; libc::IFNAMSIZ];
        // The last octet stays zero.
        for (to, from) in name
            .iter_mut()
            .take(libc::IFNAMSIZ - 1)
            .zip(interface.bytes())
        {
            *to = from;
        }
        Self {
            name,
            change: [0; 24],
        }
    }

    /// With `struct sockaddr_in` in the union.
    fn of(interface: &str, address: Ipv4Addr) -> Self {
        let mut request = Self::new(interface);
        request.change[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        request.change[4..8].copy_from_slice(&address.octets());
        request
    }
}
