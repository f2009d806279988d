//! Base 64 (RFC 4648, section 4) as fwknop writes it: without padding.

/// How many symbols so many bytes take.
pub const fn symbols(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// Decodes a text, given in two pieces. `None` where a byte is no symbol, bits are left over that are not zero, no
/// number of bytes takes so many symbols, or there is too little room.
pub fn decode<'b>(text: [&[u8]; 2], into: &'b mut [u8]) -> Option<&'b [u8]> {
    let (mut bits, mut count, mut length) = (0_u32, 0, 0);
    for symbol in text.into_iter().flatten() {
        bits = bits << 6 | value(*symbol)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            *into.get_mut(length)? = (bits >> count) as u8;
            length += 1;
            bits &= (1 << count) - 1;
        }
    }
    // Six bits over would be a symbol of nothing.
    match count < 6 && bits == 0 {
        true => into.get(..length),
        false => None,
    }
}

/// Whether a byte is one of the alphabet.
pub fn is_symbol(byte: u8) -> bool {
    value(byte).is_some()
}

/// The symbols of these bytes.
pub fn encode(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.chunks(3).flat_map(|group| {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or_default())
        });
        (0..symbols(group.len())).map(move |number| symbol(bits >> (18 - 6 * number) & 63))
    })
}

fn value(symbol: u8) -> Option<u32> {
    let value = match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

fn symbol(value: u32) -> u8 {
    let value = value as u8;
    match value {
        0..26 => b'A' + value,
        26..52 => b'a' + (value - 26),
        52..62 => b'0' + (value - 52),
        62 => b'+',
        _ => b'/',
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        decode([text, &[]], &mut [0; 300]).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_examples_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert!(encode(bytes.as_bytes()).eq(text.bytes()), "{text}");
            assert_eq!(decoded(text.as_bytes()).unwrap(), bytes.as_bytes());
            assert_eq!(text.len(), symbols(bytes.len()));
        }
    }

    #[test]
    fn all_bytes_survive_in_any_pieces() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        for start in 0..all.len() {
            let text: Vec<u8> = encode(&all[start..]).collect();
            for cut in [0, 1, 7, text.len() / 2, text.len()] {
                let (before, behind) = text.split_at(cut.min(text.len()));
                let mut room = [0; 256];
                assert_eq!(decode([before, behind], &mut room).unwrap(), &all[start..]);
            }
        }
    }

    /// Whatever is decoded is what an encoder writes of it: no two texts mean the same.
    #[test]
    fn every_text_of_up_to_three_bytes() {
        let near = (0..=u8::MAX).filter(|byte| !byte.is_ascii_alphanumeric() || byte % 5 == 0);
        let bytes: Vec<u8> = near.collect();
        let check = |text: &[u8]| {
            if let Some(bytes) = decoded(text) {
                assert!(encode(&bytes).eq(text.iter().copied()), "{text:?}");
            }
        };
        for first in 0..=u8::MAX {
            check(&[first]);
            for second in 0..=u8::MAX {
                check(&[first, second]);
                bytes
                    .iter()
                    .for_each(|third| check(&[first, second, *third]));
            }
        }
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        for text in [
            "A", "AAAAA", "Zh", "Zm9", "Zg==", "Zm8=", "Zm 8", "Zm9v\n", "Zm-_", "Zm9\u{0}",
        ] {
            assert_eq!(decoded(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn room_is_never_exceeded() {
        assert_eq!(decode([b"Zm9v", b""], &mut [0; 2]), None);
        assert_eq!(decode([b"Zm9v", b""], &mut [0; 3]), Some(&b"foo"[..]));
    }
}
