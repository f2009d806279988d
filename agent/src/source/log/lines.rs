//! A stream of bytes, cut into lines.

/// The longest line that is read. nf_log writes less than 1,024 bytes (`S_SIZE` in
/// net/netfilter/nf_log.c), and a log daemon not much before them.
pub(super) const MAX_LINE_LEN: usize = 4096;

/// Lines of a stream that comes in pieces.
pub(super) struct Lines {
    /// What came of a line whose end has not come yet.
    begun: Vec<u8>,
    /// Whether what comes up to the next end of a line is of no use.
    skipping: bool,
    too_long: u64,
}

impl Lines {
    /// At the beginning of a line.
    pub(super) fn new() -> Self {
        Self {
            begun: Vec::with_capacity(MAX_LINE_LEN),
            skipping: false,
            too_long: 0,
        }
    }

    /// Hands on the lines that end in this piece. A zero ends a line too: where a log that was
    /// truncated is written to as if it was not, it begins with zeros.
    pub(super) fn feed(&mut self, piece: &[u8], mut visitor: impl FnMut(&[u8])) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | 0)) {
            let (line, after) = rest.split_at(end);
            self.end(line, &mut visitor);
            rest = after.get(1..).unwrap_or_default();
        }
        self.begin(rest);
    }

    /// Leaves out what comes up to the next end of a line: its beginning was not seen.
    pub(super) fn skip_to_end(&mut self) {
        self.begun.clear();
        self.skipping = true;
    }

    /// Begins anew: what was begun will not be continued.
    pub(super) fn start_over(&mut self) {
        self.begun.clear();
        self.skipping = false;
    }

    /// How many lines were longer than [`MAX_LINE_LEN`].
    pub(super) fn too_long(&self) -> u64 {
        self.too_long
    }

    fn end(&mut self, line: &[u8], visitor: &mut impl FnMut(&[u8])) {
        self.begin(line);
        if !self.skipping && !self.begun.is_empty() {
            visitor(&self.begun);
        }
        self.start_over();
    }

    fn begin(&mut self, part: &[u8]) {
        if self.skipping {
            return;
        }
        if self.begun.len() + part.len() > MAX_LINE_LEN {
            self.too_long += 1;
            return self.skip_to_end();
        }
        self.begun.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(lines: &mut Lines, piece: &[u8]) -> Vec<String> {
        let mut read = Vec::new();
        lines.feed(piece, |line| {
            read.push(String::from_utf8_lossy(line).into_owned())
        });
        read
    }

    #[test]
    fn pieces_make_the_same_lines_however_they_are_cut() {
        let text = b"one\ntwo\r\n\n\0\0three\nfour";
        for size in 1..=text.len() {
            let mut lines = Lines::new();
            let pieces = text.chunks(size);
            let read: Vec<String> = pieces.flat_map(|piece| fed(&mut lines, piece)).collect();
            assert_eq!(read, ["one", "two\r", "three"], "{size}");
            assert_eq!(fed(&mut lines, b"\n"), ["four"], "{size}");
        }
    }

    #[test]
    fn a_line_of_the_longest_kind_is_read_and_a_longer_one_left_out() {
        for size in [1, 100, MAX_LINE_LEN, 3 * MAX_LINE_LEN] {
            let mut lines = Lines::new();
            let longest = "x".repeat(MAX_LINE_LEN);
            let text = format!("{longest}\n{longest}x\n{longest}{longest}\nshort\n");
            let pieces = text.as_bytes().chunks(size);
            let read: Vec<String> = pieces.flat_map(|piece| fed(&mut lines, piece)).collect();
            assert_eq!(read, [longest.as_str(), "short"], "{size}");
            assert_eq!(lines.too_long(), 2);
            assert_eq!(lines.begun.capacity(), MAX_LINE_LEN);
        }
    }

    #[test]
    fn the_end_of_a_line_is_no_line() {
        let mut lines = Lines::new();
        lines.skip_to_end();
        assert_eq!(fed(&mut lines, b"end of a line\nline\nbeg"), ["line"]);
        lines.start_over();
        assert_eq!(fed(&mut lines, b"line\n"), ["line"]);
        assert_eq!(lines.too_long(), 0);
    }
}
