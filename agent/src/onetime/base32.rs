//! Base 32, as authenticator apps print secrets (RFC 4648, section 6).

use zeroize::Zeroizing;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The text of these bytes, without padding: `otpauth://` URIs do without it.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let mut bits = [0; 8];
        bits.iter_mut()
            .skip(3)
            .zip(group)
            .for_each(|(to, from)| *to = *from);
        let bits = u64::from_be_bytes(bits);
        for symbol in 0..(group.len() * 8).div_ceil(5) {
            let value = bits >> (35 - 5 * symbol) & 31;
            text.extend(symbol_of(value));
        }
    }
    text.into()
}

/// The bytes of a text in either case, with or without padding.
///
/// Bits that are left over are dropped, as authenticator apps do.
pub(crate) fn decode(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let symbols = text.get(..text.len() - padding)?;
    let whole = match padding {
        0 => true,
        padding => padding < 8 && text.len().is_multiple_of(8),
    };
    // No number of bytes takes so many symbols.
    if !whole || matches!(symbols.len() % 8, 1 | 3 | 6) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(symbols.len() * 5 / 8));
    let (mut bits, mut count) = (0_u32, 0);
    for symbol in symbols {
        bits = bits << 5 | value_of(*symbol)?;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

fn symbol_of(value: u64) -> Option<char> {
    ALPHABET
        .get(value as usize)
        .map(|symbol| char::from(*symbol))
}

fn value_of(symbol: u8) -> Option<u32> {
    let symbol = symbol.to_ascii_uppercase();
    let position = ALPHABET.iter().position(|other| *other == symbol)?;
    u32::try_from(position).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    const EXAMPLES: [(&str, &str); 7] = [
        ("", ""),
        ("f", "MY======"),
        ("fo", "MZXQ===="),
        ("foo", "MZXW6==="),
        ("foob", "MZXW6YQ="),
        ("fooba", "MZXW6YTB"),
        ("foobar", "MZXW6YTBOI======"),
    ];

    #[test]
    fn the_examples_of_rfc_4648() {
        for (bytes, text) in EXAMPLES {
            let bare = text.trim_end_matches('=');
            assert_eq!(encode(bytes.as_bytes()).as_str(), bare);
            for text in [text, bare, &text.to_lowercase()] {
                assert_eq!(
                    decode(text.as_bytes()).unwrap().as_slice(),
                    bytes.as_bytes()
                );
            }
        }
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        for text in [
            "A", "ABC", "ABCDEF", "MY=", "MY=====", "========", "M0", "M1", "M8", "MY==MY==",
        ] {
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn all_bytes_survive() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        for length in 0..all.len() {
            let bytes = &all[length..];
            assert_eq!(decode(encode(bytes).as_bytes()).unwrap().as_slice(), bytes);
        }
    }
}
