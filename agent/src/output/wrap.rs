//! Lines that are broken between words, for pages of help.

/// How wide a page is.
pub(crate) const WIDTH: usize = 100;

/// Appends words to the last line of a text; lines that begin here are indented.
pub(crate) fn push_words(text: &mut String, words: &str, indent: usize) {
    for word in words.split(' ') {
        push_word(text, word, indent);
    }
}

/// Appends a word that is not broken.
pub(crate) fn push_word(text: &mut String, word: &str, indent: usize) {
    let line = text.rsplit('\n').next().unwrap_or_default();
    if line.len() + 1 + word.len() > WIDTH {
        text.push('\n');
        text.extend(core::iter::repeat_n(' ', indent));
    } else if line.trim_start() != "" {
        text.push(' ');
    }
    text.push_str(word);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_before_they_are_too_long() {
        let mut text = String::from("  --json");
        push_words(&mut text, &"four ".repeat(60), 4);
        for line in text.lines() {
            assert!(line.len() <= WIDTH, "{line}");
        }
        assert!(text.starts_with("  --json four four "), "{text}");
        assert!(text.contains("four\n    four"), "{text}");
    }
}
