//! Where the host is, and over which family to knock there.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io;
use std::net::{ToSocketAddrs, UdpSocket};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    const fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    /// The option that ssh, curl and this program choose it with.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    pub(super) const fn any_address(self) -> SocketAddr {
        match self {
            Self::V4 => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            Self::V6 => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        }
    }
}

/// An address of the host that there is a way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Its port means nothing; an IPv6 address may have a scope.
    pub(super) target: SocketAddr,
    /// The address that packets to it come from.
    pub(super) source: IpAddr,
}

impl Route {
    pub(super) const fn family(&self) -> Family {
        Family::of(self.target)
    }

    /// The host's socket address with this port.
    pub(super) const fn port(&self, number: u16) -> SocketAddr {
        let mut target = self.target;
        target.set_port(number);
        target
    }
}

/// Why there is no way to the host.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoWay {
    /// Its name means nothing.
    Name(String),
    /// It has no address of the family.
    Family(Family),
    /// It has addresses, and the kernel knows no way to any of them.
    Route(String),
}

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(why) => write!(f, "its name is not resolved: {why}"),
            Self::Family(family) => {
                let option = family.option();
                write!(f, "it has no address of the family that {option} asks for")
            }
            Self::Route(why) => write!(f, "there is no route to it: {why}"),
        }
    }
}

/// The ways to the host, at most one for each family, in the resolver's order of preference
/// (RFC 6724), which is the order in which other programs try.
pub(super) fn find(host: &str, family: Option<Family>) -> Result<Vec<Route>, NoWay> {
    let addresses = (host, 0).to_socket_addrs();
    let addresses = addresses.map_err(|error| NoWay::Name(error.to_string()))?;
    choose(addresses, family, source)
}

fn choose(
    addresses: impl Iterator<Item = SocketAddr>,
    family: Option<Family>,
    source: impl Fn(SocketAddr) -> io::Result<IpAddr>,
) -> Result<Vec<Route>, NoWay> {
    let mut routes: Vec<Route> = Vec::new();
    let mut failed = None;
    for target in addresses.map(canonical) {
        let other = family.is_some_and(|family| family != Family::of(target));
        let has_one = routes
            .iter()
            .any(|route| route.family() == Family::of(target));
        if other || has_one {
            continue;
        }
        match source(target) {
            Ok(source) => routes.push(Route { target, source }),
            Err(error) => failed = Some(format!("{}: {error}", target.ip())),
        }
    }
    match (routes.is_empty(), failed, family) {
        (false, ..) => Ok(routes),
        (_, Some(why), _) => Err(NoWay::Route(why)),
        (_, None, Some(family)) => Err(NoWay::Family(family)),
        (_, None, None) => Err(NoWay::Name("it has no addresses".into())),
    }
}

/// Packets to an IPv4-mapped address are IPv4 (RFC 4291, section 2.5.5.2).
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), 0),
        IpAddr::V6(_) => address,
    }
}

/// Which of our addresses the kernel would use; connecting a UDP socket sends nothing.
fn source(target: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(Family::of(target).any_address())?;
    let mut target = target;
    // Any port but 0 will do (RFC 863's is for discarding).
    target.set_port(9);
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(host: &[&str], family: Option<Family>) -> Result<Vec<String>, NoWay> {
        let addresses = host
            .iter()
            .map(|text| SocketAddr::new(text.parse().unwrap(), 0));
        let source = |target: SocketAddr| match target.ip().to_string().starts_with("2001:db8:dead")
        {
            true => Err(io::ErrorKind::NetworkUnreachable.into()),
            false => Ok(target.ip()),
        };
        let routes = choose(addresses, family, source)?;
        Ok(routes
            .iter()
            .map(|route| route.target.ip().to_string())
            .collect())
    }

    #[test]
    fn the_first_routable_address_of_each_family_is_taken() {
        let host = [
            "2001:db8:dead::1",
            "192.0.2.1",
            "2001:db8::1",
            "192.0.2.2",
            "2001:db8::2",
        ];
        let both = ["192.0.2.1".to_string(), "2001:db8::1".to_string()];
        assert_eq!(targets(&host, None).unwrap(), both);
        assert_eq!(targets(&host, Some(Family::V6)).unwrap(), both[1..]);
        assert_eq!(
            targets(&["::ffff:192.0.2.1"], Some(Family::V4)).unwrap(),
            both[..1]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            targets(&["192.0.2.1"], Some(Family::V6)),
            Err(NoWay::Family(Family::V6))
        );
        assert!(matches!(
            targets(&["2001:db8:dead::1"], None),
            Err(NoWay::Route(_))
        ));
        assert!(matches!(targets(&[], None), Err(NoWay::Name(_))));
        assert!(matches!(
            find("no.such.host.invalid", None),
            Err(NoWay::Name(_))
        ));
    }

    #[test]
    fn the_way_to_ourselves_begins_with_us() {
        let [route] = find("127.0.0.1", None).unwrap().try_into().unwrap();
        assert_eq!(route.source, IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}
