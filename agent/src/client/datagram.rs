//! The datagram that opens a door of method `spa`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use postern_core::door::Door;
use postern_core::knock::udp;
use postern_core::spa::{Allow, Terms};

use super::Settings;
use super::packet::Packet;
use super::route::{Family, Route};
use crate::output::{self, Failure};
use crate::spa::keys::Keys;
use crate::spa::request::{self, Random, Request};
use crate::sys::{clock, process};

/// Who asks, where the door does not say who must.
const USER: &str = "postern";

/// Makes datagrams for a door, each like no other.
pub(super) struct Datagrams<'d> {
    terms: &'d Terms,
    keys: Keys,
    /// What stands behind the address: a port that the door guards.
    port: String,
    /// Whom to let in; `None`: whoever the router sees, or this machine as it sees itself.
    whom: Option<IpAddr>,
    seconds: Option<u16>,
}

impl<'d> Datagrams<'d> {
    pub(super) fn new(
        door: &'d Door,
        terms: &'d Terms,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let keys = Keys::read(Path::new(terms.key_file.as_str()), terms.hmac);
        let port = request::port_of(door);
        let seconds = settings.lasting.map(|time| time.as_millis().div_ceil(1000));
        Ok(Self {
            terms,
            keys: keys.map_err(|unfit| Failure::Failed(unfit.to_string()))?,
            port: port.ok_or_else(|| {
                Failure::Failed(format!(
                    "door {} needs a list guard of TCP or UDP in the client's file: a datagram names a port",
                    door.name
                ))
            })?,
            whom: settings.whom,
            seconds: seconds.map(u16::try_from).transpose().map_err(|_| {
                Failure::Misused("--for: a datagram can ask for 65535s at most".into())
            })?,
        })
    }

    pub(super) fn next(&self, route: &Route) -> Result<Packet, Failure> {
        let whom = self.whom.unwrap_or_else(|| match self.terms.allow {
            Allow::Any => unspecified(route.family()),
            Allow::Named | Allow::Sender => route.source,
        });
        if self.whom.is_none() && is_private(whom) && !is_private(route.target.ip()) {
            output::warn(&format!(
                "warning: the datagram names {whom}, this machine's address, and the router may see another: \
                 say which with --as ADDRESS"
            ));
        }
        let mut octets = [0; 16];
        process::random(&mut octets)
            .map_err(|error| Failure::Failed(format!("no random bytes: {error}")))?;
        let [number, salt] = [octets.first_chunk(), octets.last_chunk()]
            .map(|half| half.copied().unwrap_or_default());
        let request = Request {
            user: match self.terms.user.as_str() {
                "" => USER,
                user => user,
            },
            time: clock::unix_millis() / 1000,
            access: &format!("{whom},{}", self.port),
            timeout: self.seconds,
        };
        let random = Random {
            number: u64::from_be_bytes(number),
            salt,
        };
        let datagram = request.seal(&self.keys, random);
        let payload = datagram.ok_or_else(|| Failure::Failed("the datagram is too long".into()))?;
        Ok(Packet {
            port: udp(self.terms.port),
            payload: payload.into(),
        })
    }
}

const fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Whether nobody far away can see the address.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}
