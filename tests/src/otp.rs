//! One-time codes of somebody else's making: oathtool's, which is what a phone would show.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::knocker::Knock;
use crate::process::run;

/// What an authenticator app knows of a door.
#[derive(Clone, Debug)]
pub struct App {
    secret: String,
    algorithm: String,
    digits: usize,
    /// Seconds; 0 for codes of a counter.
    pub period: u64,
}

impl App {
    /// Takes the address that `postern keygen` prints
    /// (github.com/google/google-authenticator/wiki/Key-Uri-Format).
    ///
    /// # Panics
    /// When it is no such address.
    #[track_caller]
    pub fn scan(address: &str) -> Self {
        let address = address.trim_end();
        let (label, query) = address.split_once('?').expect("an otpauth address");
        let field = |name: &str| {
            let mut fields = query.split('&').filter_map(|field| field.split_once('='));
            let found = fields.find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_string())
        };
        let number = |name| field(name).and_then(|text| text.parse().ok());
        let is_clock = label.starts_with("otpauth://totp/");
        assert!(is_clock || label.starts_with("otpauth://hotp/"), "{label}");
        Self {
            secret: field("secret").expect("a secret"),
            algorithm: field("algorithm").expect("an algorithm").to_lowercase(),
            digits: number("digits").expect("digits"),
            period: if is_clock {
                number("period").expect("a period") as u64
            } else {
                0
            },
        }
    }

    /// The secret in base 32, as apps take it when there is no camera.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The time step of this moment.
    pub fn step(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.expect("a time after 1970").as_secs() / self.period
    }

    /// The code of a counter or of a time step.
    pub fn code(&self, counter: u64) -> String {
        self.codes(counter, 1).remove(0)
    }

    /// As many codes, from that of `first` on.
    ///
    /// HOTP of another hash function than SHA-1 is TOTP of a clock that counts in seconds
    /// (RFC 6238, section 4): oathtool's `--hotp` knows SHA-1 only.
    pub fn codes(&self, first: u64, count: usize) -> Vec<String> {
        let (algorithm, digits) = (&self.algorithm, self.digits);
        let arguments = [
            format!("--totp={algorithm}"),
            format!("--now=@{first}"),
            "--time-step-size=1s".into(),
            format!("--digits={digits}"),
            format!("--window={}", count - 1),
            "--base32".into(),
            self.secret.clone(),
        ];
        let printed = run(Command::new("oathtool").args(arguments), "").ok();
        let codes: Vec<String> = printed.lines().map(ToString::to_string).collect();
        assert_eq!(codes.len(), count, "{printed}");
        codes
    }
}

/// The knocks of a code: half of it above `base` by the first protocol, half by the second.
///
/// # Panics
/// When it is no code of 6 or 8 digits.
pub fn knocks(code: &str, base: u16, protocols: [fn(u16) -> Knock; 2]) -> [Knock; 2] {
    let (first, second) = code.split_at(code.len() / 2);
    let port = |half: &str| base + half.parse::<u16>().expect("digits");
    [protocols[0](port(first)), protocols[1](port(second))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_door_is_understood() {
        let app = App::scan(
            "otpauth://totp/Postern:ssh@gate?secret=GEZDGNBV&issuer=Postern&algorithm=SHA256&digits=8&period=30\n",
        );
        assert_eq!(
            (app.secret(), &*app.algorithm, app.digits, app.period),
            ("GEZDGNBV", "sha256", 8, 30)
        );
    }

    #[test]
    fn a_code_is_two_knocks() {
        assert_eq!(
            knocks("482013", 10_000, [Knock::Tcp, Knock::Udp]),
            [Knock::Tcp(10_482), Knock::Udp(10_013)]
        );
    }
}
