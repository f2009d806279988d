//! Telling the service manager how the agent is doing: sd_notify(3), without its library.

use std::env;
use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What the agent is doing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// It guards and hears knocks.
    Ready,
    /// It reads its configuration again.
    Reloading,
    /// It ends.
    Stopping,
}

impl State {
    const fn message(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1",
            Self::Reloading => b"RELOADING=1",
            Self::Stopping => b"STOPPING=1",
        }
    }
}

/// The way to the service manager; none where nobody asked to be told.
pub(crate) struct Manager(Option<(UnixDatagram, SocketAddr)>);

impl Manager {
    /// The one that the environment names.
    pub(crate) fn from_environment() -> Self {
        Self(env::var_os("NOTIFY_SOCKET").and_then(|name| reach(&name)))
    }

    /// Tells it. Nothing can be done about a manager that does not listen.
    pub(crate) fn tell(&self, state: State) {
        if let Some((socket, manager)) = &self.0 {
            _ = socket.send_to_addr(state.message(), manager);
        }
    }
}

fn reach(name: &OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, address.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch::Scratch;

    fn heard(manager: &UnixDatagram) -> String {
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_is_told_by_path_and_by_abstract_name() {
        let scratch = Scratch::new();
        let path = scratch.path("notify");
        let name = format!("postern-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (listener, name) in [
            (UnixDatagram::bind(&path), path.as_os_str()),
            (
                UnixDatagram::bind_addr(&abstract_name),
                OsStr::new(&format!("@{name}")),
            ),
        ] {
            let listener = listener.unwrap();
            let manager = Manager(reach(name));
            for (state, message) in [
                (State::Ready, "READY=1"),
                (State::Reloading, "RELOADING=1"),
                (State::Stopping, "STOPPING=1"),
            ] {
                manager.tell(state);
                assert_eq!(heard(&listener), message);
            }
        }
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        for name in ["", "relative", "/no/such/socket"] {
            Manager(reach(OsStr::new(name))).tell(State::Ready);
        }
    }
}
