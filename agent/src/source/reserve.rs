//! What takes privileges to open, opened before the agent gives them up: a reload may name
//! another source than the agent began with.

use std::fs::File;
use std::rc::Rc;

use super::log::kmsg;
use super::packet::Pair;
use crate::sys::process::{Capability, has};

/// Things that sources share, of which none hears anything by itself.
pub(crate) struct Reserve {
    /// One pair hears while another gets ready to take its place.
    packet: Result<[Rc<Pair>; 2], String>,
    kmsg: Result<Rc<File>, String>,
}

impl Reserve {
    /// Opens all that can be opened; what cannot is an error only where it is needed.
    pub(crate) fn open() -> Self {
        let pair = || Pair::open().map(Rc::new).map_err(|error| explain(&error));
        let pairs = pair().and_then(|first| Ok([first, pair()?]));
        let kmsg = kmsg::open().map(Rc::new);
        Self {
            packet: pairs,
            kmsg: kmsg.map_err(|error| kmsg::explain(&error)),
        }
    }

    /// A pair that nobody uses.
    pub(super) fn pair(&self) -> Result<Rc<Pair>, String> {
        let pairs = self.packet.as_ref().map_err(Clone::clone)?;
        let free = pairs.iter().find(|pair| Rc::strong_count(pair) == 1);
        free.cloned()
            .ok_or_else(|| "source packet is already in use".to_owned())
    }

    /// The kernel's log.
    pub(super) fn kmsg(&self) -> Result<Rc<File>, String> {
        self.kmsg.clone()
    }
}

/// Says in words what the kernel says in numbers.
fn explain(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) if !has(Capability::NetRaw) => {
            "source packet takes the capability CAP_NET_RAW".to_owned()
        }
        Some(libc::EAFNOSUPPORT) => "the kernel has no packet sockets: module af_packet is \
                                     missing (CONFIG_PACKET)"
            .to_owned(),
        _ => format!("source packet: {error}"),
    }
}
