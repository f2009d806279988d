//! JSON (RFC 8259) as our verbs print it.

use core::fmt::Write as _;

/// An array.
pub(crate) fn list(items: impl Iterator<Item = String>) -> String {
    let mut json = String::from("[");
    for item in items {
        if json.len() > 1 {
            json.push(',');
        }
        json += &item;
    }
    json.push(']');
    json
}

/// A string (section 7).
pub(crate) fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                json.push('\\');
                json.push(character);
            }
            control if u32::from(control) < 0x20 => {
                _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
    json.push('"');
    json
}
