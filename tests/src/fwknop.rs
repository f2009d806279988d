//! Debian's client `fwknop`, as its users have it.

use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;

use crate::namespace::Namespace;
use crate::process::Said;
use crate::scratch::Scratch;
use crate::sender::Random;

/// Where fwknopd listens unless it is told otherwise (UDP).
pub const PORT: u16 = 62_201;

/// How far the client's clock is ahead of the router's, in seconds.
const AHEAD: &str = "30";

/// What client and router share.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Bytes in base64, as `fwknop --key-gen` makes them: for encryption, and for the HMAC.
    Base64([String; 2]),
    /// What somebody typed.
    Passphrases([String; 2]),
}

impl Keys {
    /// Keys that consist of these bytes: nothing secret is behind the door.
    pub fn base64(bytes: [u8; 2]) -> Self {
        // Four characters of base 64 are three bytes.
        Self::Base64(bytes.map(|byte| {
            let letter = char::from(b'A' + byte % 26);
            format!("{letter}AAA").repeat(10)
        }))
    }

    /// Keys such as people make them up.
    pub fn passphrases(key: &str, hmac: &str) -> Self {
        Self::Passphrases([key.into(), hmac.into()])
    }

    /// As access.conf and a door's key file have them.
    pub fn file(&self) -> String {
        let ([key, hmac], suffix) = match self {
            Self::Base64(keys) => (keys, "_BASE64"),
            Self::Passphrases(keys) => (keys, ""),
        };
        format!("KEY{suffix} {key}\nHMAC_KEY{suffix} {hmac}\n")
    }

    fn arguments(&self) -> [&str; 4] {
        match self {
            Self::Base64([key, hmac]) => ["--key-base64-rijndael", key, "--key-base64-hmac", hmac],
            Self::Passphrases([key, hmac]) => ["--key-rijndael", key, "--key-hmac", hmac],
        }
    }
}

/// The client with its keys, and a home that is nobody's.
#[derive(Debug)]
pub struct Fwknop {
    keys: Keys,
    home: Scratch,
}

impl Fwknop {
    /// A client that was told these keys.
    pub fn new(keys: Keys) -> Self {
        let home = Scratch::new();
        Self { keys, home }
    }

    /// A client whose user wrote this `~/.fwknoprc`.
    pub fn by_rc_file(text: &str) -> Self {
        let client = Self::new(Keys::base64([0, 0]));
        let path = client.home.write(".fwknoprc", text);
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("make a file private");
        client
    }

    /// Asks for what a stanza of `~/.fwknoprc` says.
    pub fn send_named(&self, from: &Namespace, stanza: &str) -> Said {
        let home = format!("HOME={}", self.home.path().display());
        let words = [home.as_str(), "fwknop", "-n", stanza];
        from.run(
            "env",
            &[&words[..], &["--time-offset-plus", AHEAD]].concat(),
        )
    }

    /// Asks the router for TCP port 22, with these arguments beside keys, HMAC and destination.
    pub fn send(&self, from: &Namespace, router: IpAddr, arguments: &[&str]) -> Said {
        self.run(from, router, arguments)
    }

    /// What the client would send.
    ///
    /// # Panics
    /// When it would send nothing.
    #[track_caller]
    pub fn packet(&self, from: &Namespace, router: IpAddr, arguments: &[&str]) -> Vec<u8> {
        let saved = self.home.join("packet");
        let _ = fs::remove_file(&saved);
        let file = saved.display().to_string();
        let test = ["--test", "--save-packet", file.as_str()];
        self.run(from, router, &[&test, arguments].concat()).ok();
        let packet = fs::read_to_string(saved).expect("a packet");
        packet.trim_end().into()
    }

    fn run(&self, from: &Namespace, router: IpAddr, arguments: &[&str]) -> Said {
        let home = format!("HOME={}", self.home.path().display());
        let router = router.to_string();
        let mut words = vec![home.as_str(), "fwknop", "--no-save-args", "--no-rc-file"];
        words.extend(["--use-hmac", "--destination", router.as_str()]);
        words.extend(self.keys.arguments());
        if !(arguments.iter()).any(|word| word.starts_with("--access") || *word == "-A") {
            words.extend(["--access", "tcp/22"]);
        }
        // Without a memory, what was made up to an agent's start counts as used.
        if !arguments
            .iter()
            .any(|word| word.starts_with("--time-offset"))
        {
            words.extend(["--time-offset-plus", AHEAD]);
        }
        words.extend(arguments);
        from.run("env", &words)
    }
}

/// Gives a datagram other letters, as somebody does who knows what one looks like.
pub fn forge(datagram: &mut [u8], random: &mut Random) {
    // All but the first, of which there are four, and the last, which has bits that must be zero.
    let end = datagram.len().saturating_sub(1);
    for letter in datagram[..end].iter_mut().skip(1).step_by(7) {
        *letter = b'A' + (random.number() % 26) as u8;
    }
}

/// Sends a datagram as it is.
///
/// # Panics
/// When there is no way.
pub fn send(from: &Namespace, payload: &[u8], to: SocketAddr) {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = from.enter(|| UdpSocket::bind(any)).expect("a socket");
    socket.send_to(payload, to).expect("send");
}
