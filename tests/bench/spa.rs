//! Packets of single packet authorization, made by Debian's client `fwknop`.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use postern_tests::process::run;
use postern_tests::scratch::Scratch;

/// Where fwknopd listens unless it is told otherwise (UDP).
pub(crate) const PORT: u16 = 62_201;

/// A pair of keys, for encryption and for the HMAC.
pub(crate) struct Stanza {
    keys: [String; 2],
    home: Scratch,
}

impl Stanza {
    /// Keys that consist of these bytes: nothing secret is behind the door.
    pub(crate) fn new(bytes: [u8; 2]) -> Self {
        // Four characters of base 64 are three bytes.
        let keys = bytes.map(|byte| {
            let letter = char::from(b'A' + byte);
            format!("{letter}AAA").repeat(10)
        });
        Self {
            keys,
            home: Scratch::new(),
        }
    }

    /// As access.conf has them.
    pub(crate) fn keys(&self) -> String {
        let [key, hmac] = &self.keys;
        format!("KEY_BASE64 {key}\nHMAC_KEY_BASE64 {hmac}\n")
    }

    /// What the client sends to open a port to this address.
    pub(crate) fn packet(&self, from: IpAddr, to: SocketAddr) -> Vec<u8> {
        let saved = self.home.join("packet");
        let _ = fs::remove_file(&saved);
        let [key, hmac] = &self.keys;
        let mut fwknop = Command::new("fwknop");
        fwknop
            .env("HOME", self.home.path())
            .args(["--no-save-args", "--no-rc-file", "--use-hmac", "--test"])
            .arg("--save-packet")
            .arg(&saved)
            .args(["--access", &format!("tcp/{}", to.port())])
            .args(["--allow-ip", &from.to_string()])
            .args(["--destination", &to.ip().to_string()])
            .args(["--key-base64-rijndael", key, "--key-base64-hmac", hmac]);
        run(&mut fwknop, "").ok();
        let packet = fs::read_to_string(saved).expect("a packet");
        packet.trim_end().into()
    }
}
