//! QR codes for terminals.

use qrcodegen_no_heap::{QrCode, QrCodeEcc, Version};
use zeroize::Zeroizing;

/// Holds 367 bytes, more than any address has; 65 modules a side, which 80 columns show.
const LARGEST: Version = Version::new(12);
const ROOM: usize = LARGEST.buffer_len();
/// Light modules around it (ISO/IEC 18004 asks for 4; 2 do on a dark screen).
const MARGIN: i32 = 2;
/// Black and bright white, whatever the terminal's colours: scanners want dark on light.
const COLOURS: &str = "\x1b[30;107m";
const NO_COLOURS: &str = "\x1b[0m\n";

/// The text as a picture of half blocks, two modules a character; `None` if it is too long.
pub(crate) fn render(text: &str) -> Option<Zeroizing<String>> {
    let (mut working, mut modules) = (Zeroizing::new([0; ROOM]), Zeroizing::new([0; ROOM]));
    let code = QrCode::encode_text(
        text,
        &mut *working,
        &mut *modules,
        QrCodeEcc::Low,
        Version::MIN,
        LARGEST,
        None,
        true,
    )
    .ok()?;
    let span = -MARGIN..code.size() + MARGIN;
    let side = span.len();
    let mut picture = Zeroizing::new(String::with_capacity(side * side * 2 + side * 16));
    for y in span.clone().step_by(2) {
        *picture += COLOURS;
        for x in span.clone() {
            // Outside there are light modules.
            picture.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (true, true) => '\u{2588}',
                (true, false) => '\u{2580}',
                (false, true) => '\u{2584}',
                (false, false) => ' ',
            });
        }
        *picture += NO_COLOURS;
    }
    Some(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_finders_and_a_light_margin() {
        let picture = render("otpauth://totp/Postern:ssh@gate?secret=GEZDGNBVGY3TQOJQ").unwrap();
        let rows: Vec<&str> = picture
            .lines()
            .map(|line| {
                line.strip_prefix(COLOURS)
                    .unwrap()
                    .strip_suffix("\x1b[0m")
                    .unwrap()
            })
            .collect();
        assert!(rows[0].chars().all(|module| module == ' '));
        assert!(rows[1].starts_with("  \u{2588}\u{2580}\u{2580}\u{2580}\u{2580}\u{2580}\u{2588} "));
        assert!(
            rows.iter()
                .all(|row| row.chars().count() == rows[0].chars().count())
        );
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(render(&"x".repeat(367)).is_some());
        assert!(render(&"x".repeat(368)).is_none());
    }
}
