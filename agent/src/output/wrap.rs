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
    if column(text) + 1 + word.len() > WIDTH {
        text.push('\n');
        indent_by(text, indent);
    } else if !matches!(text.as_bytes().last(), Some(b' ' | b'\n')) {
        text.push(' ');
    }
    text.push_str(word);
}

/// Goes on at a column: of the last line, or of the next where that one is longer.
pub(crate) fn go_to(text: &mut String, to: usize) {
    if column(text) >= to {
        text.push('\n');
    }
    indent_by(text, to);
}

fn indent_by(text: &mut String, to: usize) {
    while column(text) < to {
        text.push(' ');
    }
}

fn column(text: &str) -> usize {
    text.len() - text.rfind('\n').map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_before_they_are_too_long() {
        for indent in [0, 4] {
            let mut text = String::from("  --json");
            push_words(&mut text, &"four ".repeat(60), indent);
            for line in text.lines() {
                assert!(line.len() <= WIDTH, "{line}");
            }
            assert!(text.starts_with("  --json four four "), "{text}");
            let next = format!("four\n{}four", " ".repeat(indent));
            assert!(text.contains(&next), "{text}");
        }
    }

    #[test]
    fn columns_are_reached_on_this_line_or_the_next() {
        let mut text = String::from("\n-4");
        go_to(&mut text, 4);
        assert_eq!(text, "\n-4  ");
        text.push_str("IPv4\n--json");
        go_to(&mut text, 4);
        assert_eq!(text, "\n-4  IPv4\n--json\n    ");
    }
}
