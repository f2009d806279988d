//! The digests behind one-time codes: HMAC of a counter (RFC 4226, section 5; RFC 6238,
//! section 4). Core makes ports of them.

use hmac::digest::{FixedOutput, Output, Update};
use hmac::{Hmac, KeyInit};
use postern_core::code::Algorithm;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// The longest digest, SHA-512's, in bytes.
const MAX_DIGEST_LEN: usize = 64;

/// HMAC of a counter. Wiped from memory when dropped: it is the code of a door.
pub(crate) struct Digest {
    octets: Zeroizing<[u8; MAX_DIGEST_LEN]>,
    length: usize,
}

impl Digest {
    /// The counter is taken as eight bytes, big-endian.
    pub(crate) fn new(algorithm: Algorithm, secret: &[u8], counter: u64) -> Self {
        let counter = counter.to_be_bytes();
        match algorithm {
            Algorithm::Sha1 => Self::of(&mut mac::<Hmac<Sha1>>(secret, counter)),
            Algorithm::Sha256 => Self::of(&mut mac::<Hmac<Sha256>>(secret, counter)),
            Algorithm::Sha512 => Self::of(&mut mac::<Hmac<Sha512>>(secret, counter)),
        }
    }

    /// 20, 32 or 64 bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    /// Leaves nothing of it where it comes from.
    fn of(output: &mut [u8]) -> Self {
        let mut octets = Zeroizing::new([0; MAX_DIGEST_LEN]);
        octets
            .iter_mut()
            .zip(&*output)
            .for_each(|(to, from)| *to = *from);
        output.zeroize();
        let length = output.len().min(MAX_DIGEST_LEN);
        Self { octets, length }
    }
}

fn mac<M: KeyInit + Update + FixedOutput>(secret: &[u8], message: [u8; 8]) -> Output<M> {
    // HMAC takes keys of any length (RFC 2104, section 2), so this is never the default,
    // which would be a code that nobody can compute.
    M::new_from_slice(secret).map_or_else(
        |_| Output::<M>::default(),
        |mut mac| {
            mac.update(&message);
            mac.finalize_fixed()
        },
    )
}

/// The time step of a moment (RFC 6238, section 4.2, with T0 = 0).
pub(crate) fn step(unix_millis: u64, period: u32) -> u64 {
    unix_millis / 1000 / u64::from(period.max(1))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use postern_core::code::{Code, Digits};
    use postern_core::door::Order;
    use postern_core::knock::Protocol;

    use super::*;
    use crate::sys::process;
    use crate::testing::skipping::skip;

    const SECRET: &[u8] = b"12345678901234567890";

    fn code(algorithm: Algorithm, digits: Digits) -> Code {
        Code {
            secret_file: "/secret".try_into().unwrap(),
            algorithm,
            digits,
            base: 10_000,
            protocols: [Protocol::Tcp, Protocol::Udp],
            order: Order::Any,
        }
    }

    /// The decimal digits that the knocks stand for.
    fn digits(algorithm: Algorithm, digits: Digits, secret: &[u8], counter: u64) -> String {
        let code = code(algorithm, digits);
        let digest = Digest::new(algorithm, secret, counter);
        let knocks = code.knocks(digest.as_bytes()).unwrap();
        let width = digits.count() as usize / 2;
        knocks
            .map(|port| format!("{:0width$}", port.number - code.base))
            .concat()
    }

    #[test]
    fn it_is_wiped_when_dropped_and_where_it_came_from() {
        const fn wiped_when_dropped(_: &impl zeroize::ZeroizeOnDrop) {}
        let mut output = [7; 20];
        let digest = Digest::of(&mut output);
        assert_eq!((digest.as_bytes(), output), (&[7; 20][..], [0; 20]));
        wiped_when_dropped(&digest.octets);
    }

    #[test]
    fn appendix_d_of_rfc_4226() {
        let digest = Digest::new(Algorithm::Sha1, SECRET, 0);
        assert_eq!(digest.as_bytes()[..4], [0xcc, 0x93, 0xcf, 0x18]);
        let expected = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ];
        for (counter, expected) in (0..).zip(expected) {
            assert_eq!(
                digits(Algorithm::Sha1, Digits::Six, SECRET, counter),
                expected
            );
        }
    }

    #[test]
    fn appendix_b_of_rfc_6238() {
        let times = [
            59,
            1_111_111_109,
            1_111_111_111,
            1_234_567_890,
            2_000_000_000,
            20_000_000_000,
        ];
        let tables = [
            (
                Algorithm::Sha1,
                20,
                [
                    "94287082", "07081804", "14050471", "89005924", "69279037", "65353130",
                ],
            ),
            (
                Algorithm::Sha256,
                32,
                [
                    "46119246", "68084774", "67062674", "91819424", "90698825", "77737706",
                ],
            ),
            (
                Algorithm::Sha512,
                64,
                [
                    "90693936", "25091201", "99943326", "93441116", "38618901", "47863826",
                ],
            ),
        ];
        for (algorithm, length, codes) in tables {
            let secret: Vec<u8> = SECRET.iter().copied().cycle().take(length).collect();
            for (time, expected) in times.into_iter().zip(codes) {
                let step = step(time * 1000, 30);
                assert_eq!(digits(algorithm, Digits::Eight, &secret, step), expected);
            }
        }
    }

    /// A thousand random codes of each kind, as the OATH Toolkit has them.
    #[test]
    fn oathtool_agrees() {
        let missing = Command::new("oathtool").arg("--version").output().is_err();
        if missing {
            return skip("there is no oathtool (Debian's package oathtool)");
        }
        for round in 0..10 {
            hotp_agrees(if round % 2 == 0 {
                Digits::Six
            } else {
                Digits::Eight
            });
            for (algorithm, name) in [
                (Algorithm::Sha1, "sha1"),
                (Algorithm::Sha256, "sha256"),
                (Algorithm::Sha512, "sha512"),
            ] {
                totp_agrees(algorithm, name);
            }
        }
    }

    fn hotp_agrees(length: Digits) {
        let (secret, counter) = (random_secret(), random_number() >> 1);
        let printed = oathtool(&[
            "--hotp",
            &format!("--counter={counter}"),
            &format!("--digits={}", length.count()),
            "--window=99",
            &hex(&secret),
        ]);
        let ours = (counter..)
            .take(100)
            .map(|counter| digits(Algorithm::Sha1, length, &secret, counter));
        assert!(ours.eq(printed), "{} {counter}", hex(&secret));
    }

    fn totp_agrees(algorithm: Algorithm, name: &str) {
        let (secret, time) = (random_secret(), random_number() % 16_000_000_000);
        let printed = oathtool(&[
            &format!("--totp={name}"),
            &format!("--now=@{time}"),
            "--digits=6",
            "--time-step-size=30s",
            "--window=99",
            &hex(&secret),
        ]);
        let first = step(time * 1000, 30);
        let ours = (first..)
            .take(100)
            .map(|step| digits(algorithm, Digits::Six, &secret, step));
        assert!(ours.eq(printed), "{} {time}", hex(&secret));
    }

    fn oathtool(arguments: &[&str]) -> Vec<String> {
        let ran = Command::new("oathtool").args(arguments).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let text = String::from_utf8(ran.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// 16 to 100 bytes: shorter and longer than the blocks of all hash functions.
    fn random_secret() -> Vec<u8> {
        let mut secret = vec![0; 16 + random_number() as usize % 130];
        process::random(&mut secret).unwrap();
        secret
    }

    fn random_number() -> u64 {
        let mut bytes = [0; 8];
        process::random(&mut bytes).unwrap();
        u64::from_be_bytes(bytes)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
