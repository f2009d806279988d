//! Connections that were made while a door was open.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::namespace::Namespace;
use crate::probe::{self, Answer, UdpFlow};
use crate::wait::{SOON, poll_until};

/// A connection and a flow.
#[derive(Debug)]
pub struct Session {
    tcp: TcpStream,
    udp: UdpFlow,
}

impl Session {
    /// Begins one of each to services that send everything back.
    ///
    /// # Panics
    /// When one of them does not.
    #[track_caller]
    pub fn begin(from: &Namespace, [tcp, udp]: [SocketAddr; 2]) -> Self {
        let udp = UdpFlow::new(from, udp);
        let tcp = probe::tcp_connect(from, None, tcp).expect("a connection");
        let patience = Some(Duration::from_millis(300));
        tcp.set_read_timeout(patience).expect("a timeout");
        let session = Self { tcp, udp };
        assert!(session.tcp_lives() && session.udp_lives());
        session
    }

    /// Whether the connection still carries octets.
    ///
    /// # Panics
    /// When it is neither alive nor silent.
    pub fn tcp_lives(&self) -> bool {
        let mut tcp = &self.tcp;
        if tcp.write_all(b"x").is_err() {
            return false;
        }
        match tcp.read(&mut [0; 64]) {
            Ok(length) => length > 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            // A read with a time limit does not begin again when the machine has stopped us for a while (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => self.tcp_lives(),
            Err(error) => panic!("neither alive nor silent: {error}"),
        }
    }

    /// Whether the flow still carries datagrams.
    pub fn udp_lives(&self) -> bool {
        self.udp.echo() == Answer::Open
    }

    /// Waits until neither does.
    #[track_caller]
    pub fn wait_until_cut(&self, what: &str) {
        poll_until(SOON, &format!("TCP is cut: {what}"), || !self.tcp_lives());
        poll_until(SOON, &format!("UDP is cut: {what}"), || !self.udp_lives());
        // A segment that was sent again would have come by now.
        assert!(!self.tcp_lives() && !self.udp_lives(), "{what}");
    }

    /// # Panics
    /// When one of them does not.
    #[track_caller]
    pub fn expect_alive(&self, what: &str) {
        assert!(self.tcp_lives() && self.udp_lives(), "{what}");
    }
}
