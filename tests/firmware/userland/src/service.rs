//! What the doors guard: a TCP service that greets, and a UDP service that echoes.

use std::io::{self, Write as _};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::process::ExitCode;
use std::thread;

/// SSH's.
const TCP: u16 = 22;
/// WireGuard's.
const UDP: u16 = 51_820;

/// Serves both families until the power goes.
pub(crate) fn run() -> ExitCode {
    let greeter = thread::spawn(|| report("greets", greet()));
    report("echoes", echo());
    let _ = greeter.join();
    ExitCode::FAILURE
}

fn greet() -> io::Result<()> {
    // Dual-stack (ipv6(7), IPV6_V6ONLY off).
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, TCP))?;
    loop {
        let (mut stream, _) = listener.accept()?;
        // A probe hangs up without a word.
        let _ = stream.write_all(b"SSH-2.0-firmware\r\n");
    }
}

fn echo() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, UDP))?;
    let mut datagram = [0; 2048];
    loop {
        let (length, peer) = socket.recv_from(&mut datagram)?;
        let _ = socket.send_to(datagram.get(..length).unwrap_or_default(), peer);
    }
}

fn report(what: &str, ended: io::Result<()>) {
    if let Err(error) = ended {
        eprintln!("service: no longer {what}: {error}");
    }
}
