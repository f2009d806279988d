//! Services behind the doors.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use crate::namespace::Namespace;
use crate::probe;
use crate::process::{Process, run};
use crate::scratch::Scratch;
use crate::wait::{SOON, poll_until};

/// How soon a server thread notices that it is to stop.
const TURN: Duration = Duration::from_millis(20);

/// A server that a thread of ours plays, on both families; it stops on drop.
#[derive(Debug)]
pub struct Service {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// An HTTP server that answers every request with this text.
    pub fn http_saying(namespace: &Namespace, port: u16, text: &str) -> Self {
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{text}"
        );
        Self::listen(namespace, port, move |mut stream| {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request)?;
            stream.write_all(answer.as_bytes())
        })
    }

    /// An HTTP API that answers every request with `{"door":"open"}`.
    pub fn http(namespace: &Namespace, port: u16) -> Self {
        Self::listen(namespace, port, |mut stream| {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request)?;
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\
                  Connection: close\r\n\r\n{\"door\":\"open\"}",
            )
        })
    }

    /// A TCP service that greets and hangs up.
    pub fn tcp(namespace: &Namespace, port: u16) -> Self {
        Self::listen(namespace, port, |mut stream| stream.write_all(b"welcome\n"))
    }

    /// A TCP service that sends everything back, on each connection for a minute at most.
    pub fn tcp_echo(namespace: &Namespace, port: u16) -> Self {
        Self::listen(namespace, port, |stream| {
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            Ok(())
        })
    }

    /// A UDP service that sends every datagram back.
    pub fn udp_echo(namespace: &Namespace, port: u16) -> Self {
        let socket = namespace
            .enter(|| UdpSocket::bind(any(port)))
            .expect("bind a UDP port");
        socket.set_read_timeout(Some(TURN)).expect("set a timeout");
        Self::start(move || {
            let mut datagram = [0; 2048];
            if let Ok((length, peer)) = socket.recv_from(&mut datagram) {
                let _ = socket.send_to(&datagram[..length], peer);
            }
        })
    }

    fn listen(
        namespace: &Namespace,
        port: u16,
        serve: impl Fn(std::net::TcpStream) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let listener = namespace
            .enter(|| TcpListener::bind(any(port)))
            .expect("bind a TCP port");
        listener.set_nonblocking(true).expect("do not block");
        Self::start(move || match listener.accept() {
            Ok((stream, _)) => {
                let _ = stream.set_nonblocking(false);
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                // A probe hangs up without a word.
                let _ = serve(stream);
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        })
    }

    fn start(mut turn: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                turn();
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A TCP service that takes connections and says nothing; it needs no thread.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on both families.
    pub fn new(namespace: &Namespace, port: u16) -> Self {
        let bound = namespace.enter(|| TcpListener::bind(any(port)));
        let listener = bound.expect("bind a TCP port");
        listener.set_nonblocking(true).expect("do not block");
        Self(listener)
    }

    /// Takes the connections that were made, and hangs up: a full queue would look like a shut
    /// port.
    pub fn hang_up(&self) {
        while self.0.accept().is_ok() {}
    }
}

/// A dual-stack wildcard address (ipv6(7), IPV6_V6ONLY off).
fn any(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)
}

/// OpenSSH's server, with a host key and an authorized key of its own.
#[derive(Debug)]
pub struct Sshd {
    /// Its TCP port.
    pub port: u16,
    scratch: Scratch,
    _process: Process,
}

impl Sshd {
    /// Starts the server inside the namespace; when this returns, it listens.
    pub fn start(namespace: &Namespace, port: u16) -> Self {
        Self::start_with(namespace, port, false)
    }

    /// Starts the server as [`Sshd::start`] does, and says whether it takes passwords.
    pub fn start_with(namespace: &Namespace, port: u16, passwords: bool) -> Self {
        let scratch = Scratch::new();
        for name in ["host_key", "client_key"] {
            let path = scratch.join(name);
            let mut keygen = Command::new("ssh-keygen");
            run(
                keygen
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(path),
                "",
            )
            .ok();
        }
        let config = scratch.write("sshd_config", &configuration(&scratch, port, passwords));
        // Its privilege separation wants this directory, which Debian's unit makes (sshd(8)).
        fs::create_dir_all("/run/sshd").expect("make /run/sshd");
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"])
            .arg(config)
            .stdin(Stdio::null());
        let log = fs::File::create(scratch.join("log")).expect("make a log");
        let process = namespace.spawn(sshd.stderr(log));
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        poll_until(SOON, "sshd listens", || {
            probe::tcp(namespace, here) == probe::Answer::Open
        });
        Self {
            port,
            scratch,
            _process: process,
        }
    }

    /// The file that it is configured by.
    pub fn config(&self) -> PathBuf {
        self.scratch.join("sshd_config")
    }

    /// The private key that it lets in.
    pub fn key(&self) -> PathBuf {
        self.scratch.join("client_key")
    }
}

fn configuration(scratch: &Scratch, port: u16, passwords: bool) -> String {
    let passwords = if passwords { "yes" } else { "no" };
    let path = scratch.path().display();
    format!(
        "Port {port}\nHostKey {path}/host_key\nAuthorizedKeysFile {path}/client_key.pub\n\
         PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
         PasswordAuthentication {passwords}\nPrintMotd no\n"
    )
}
