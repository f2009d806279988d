//! The grammar of OpenWrt's configuration files, as libuci's `file.c` reads it.
//!
//! A file is a stream of statements, each a keyword (`package`, `config`, `option`, `list`,
//! or its first letter) and words. Words end at white space; pieces in quotes that touch
//! make one word. In single quotes everything stands for itself, a newline too; elsewhere
//! `\` makes the next byte ordinary and vanishes together with a newline. `#` starts a
//! comment, even inside an unquoted word. A newline or `;` ends a statement.
//!
//! What libuci reads is read alike, and what it refuses is refused, its oddities included,
//! because two programs that read one file in two ways are a trap: a word that was left out
//! takes the `;` with it, nothing but a statement or a comment may follow a `;`, and a `;`
//! that touches a word without quotes hides the rest of the line. The last is told as
//! [`Problem::Hidden`], which is no mistake to libuci. `tests/openwrt/uci.rs` compares both.
//!
//! Refused beyond that: a byte of value zero, which hides the rest of its line from libuci;
//! text that is not UTF-8; a word or a file that is too long. One thing is accepted beyond
//! that: options in a section that is opened for the third time, which libuci has lost.
//!
//! After a mistake, reading goes on at the next statement, so that every mistake is found. It
//! ends where another program's grammar begins, whose lines would all be mistakes of one kind.

use heapless::{String, Vec};

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 64 * 1024;
/// The longest word in bytes, without quotes: 32 ports with their protocols fit.
pub const MAX_WORD: usize = 512;
/// How often a file is read again from a quote that was probably left open. Each time can
/// run to the end of the file, so this keeps the work in proportion to the file's size.
const MAX_RETRIES: u8 = 16;

/// The statements of a file, in order, with the mistakes between them.
///
/// ```
/// use postern_core::uci::{Problem, Statement, Statements};
///
/// let text = b"config interface 'wan'\n\toption proto dhcp\n\toption ip-addr 192.0.2.1\n";
/// let mut statements = Statements::new(text);
/// let Some(Ok(Statement::Config { section, name })) = statements.next() else {
///     panic!("a section");
/// };
/// assert_eq!((section.text.as_str(), name.text.as_str()), ("interface", "wan"));
/// let Some(Ok(Statement::Option { name, value })) = statements.next() else {
///     panic!("an option");
/// };
/// assert_eq!((name.text.as_str(), value.text.as_str()), ("proto", "dhcp"));
/// let mistake = statements.next().and_then(Result::err).expect("a mistake");
/// assert_eq!((mistake.position.line, mistake.problem), (3, Problem::HyphenInName));
/// ```
#[derive(Clone, Debug)]
pub struct Statements<'t> {
    text: &'t [u8],
    cursor: Cursor,
    /// The end of the line that is read, or of the part of it that is not hidden.
    limit: u32,
    /// Where the next line begins.
    next_line: u32,
    mistake: Option<(Position, Problem)>,
    /// Where the rest of a line is hidden, not told yet.
    hidden: Option<Position>,
    /// The first quote of the statement that ends on a later line.
    long_quote: Option<Cursor>,
    long_quotes: u32,
    retries: u8,
    in_section: bool,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `package NAME`
    Package {
        /// `[A-Za-z0-9_-]`
        name: Word,
    },
    /// `config TYPE [NAME]`
    Config {
        /// Bytes from 0x21 to 0x7e.
        section: Word,
        /// `[A-Za-z0-9_]`; empty for an anonymous section.
        name: Word,
    },
    /// `option NAME [VALUE]`
    Option {
        /// `[A-Za-z0-9_]`
        name: Word,
        /// Empty also where it was left out; libuci then stores nothing.
        value: Word,
    },
    /// `list NAME [VALUE]`
    List {
        /// `[A-Za-z0-9_]`
        name: Word,
        /// Empty also where it was left out.
        value: Word,
    },
}

/// A word with its quotes and escapes resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What it says.
    pub text: String<MAX_WORD>,
    /// Where its first byte is; of a word that was left out, that of the word before.
    pub position: Position,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: u32,
    /// From 1, counted in bytes.
    pub column: u32,
}

impl Position {
    /// Where a file begins.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// What a statement begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// `package`, `p`
    Package,
    /// `config`, `c`
    Config,
    /// `option`, `o`
    Option,
    /// `list`, `l`
    List,
}

/// A mistake in the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where it was made.
    pub position: Position,
    /// The statement that was lost to it; `None` if it was none of the four.
    pub keyword: Option<Keyword>,
    /// What was wrong.
    pub problem: Problem,
}

/// What can be wrong with the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The file is larger than [`MAX_FILE`]; none of it is read.
    FileTooLarge,
    /// A byte of value zero.
    Nul,
    /// A quote that does not end, or most likely was to end on its line.
    Unterminated,
    /// A word longer than [`MAX_WORD`].
    WordTooLong,
    /// A word that is not UTF-8.
    NotUtf8,
    /// A statement that does not begin with a keyword.
    UnknownStatement,
    /// A byte order mark before a statement.
    ByteOrderMark,
    /// The byte order mark of UTF-16, where a file begins; none of it is read.
    Utf16,
    /// `[NAME]` or `KEY = VALUE`, as in knockd.conf; nothing after it is read.
    OtherGrammar,
    /// A `;` with nothing but white space, or another one, after it.
    EmptyStatement,
    /// `package` without a name.
    PackageWithoutName,
    /// `config` without a type.
    ConfigWithoutType,
    /// `option` or `list` without a name.
    OptionWithoutName,
    /// A word more than the statement takes.
    TooManyWords,
    /// A character that a name cannot have.
    InvalidName,
    /// A hyphen, which the names of sections and options cannot have.
    HyphenInName,
    /// A character that a section type cannot have.
    InvalidType,
    /// `option` or `list` before the first `config`.
    OutsideSection,
    /// A `;` that touches a word without quotes: libuci ignores what follows it. Nothing was
    /// lost but that.
    Hidden,
}

/// Where reading stands, to read from there once more.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    offset: u32,
    line: u32,
    line_start: u32,
}

impl Cursor {
    const fn position(self) -> Position {
        Position {
            line: self.line,
            column: self.offset.saturating_sub(self.line_start) + 1,
        }
    }
}

impl<'t> Statements<'t> {
    /// The statements of a file with this text.
    pub const fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            cursor: Cursor {
                offset: 0,
                line: 1,
                line_start: 0,
            },
            limit: 0,
            next_line: 0,
            mistake: None,
            hidden: None,
            long_quote: None,
            long_quotes: 0,
            retries: MAX_RETRIES,
            in_section: false,
        }
    }

    /// The statements of the same file from `cursor` on.
    #[must_use]
    pub fn resume(&self, cursor: Cursor) -> Self {
        let mut rest = Self {
            text: self.text,
            cursor,
            next_line: cursor.offset,
            in_section: true,
            ..Statements::new(self.text)
        };
        rest.read_line();
        rest
    }

    /// Where the next statement begins.
    pub fn cursor(&mut self) -> Cursor {
        self.skip_between();
        self.cursor
    }

    const fn here(&self) -> Position {
        self.cursor.position()
    }

    /// The next byte of the line.
    fn peek(&self) -> Option<u8> {
        self.text
            .get(self.cursor.offset as usize)
            .copied()
            .filter(|_| self.cursor.offset < self.limit)
    }

    /// Takes one byte of the line.
    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.pass(byte);
        Some(byte)
    }

    /// Steps over a byte. [`MAX_FILE`] keeps the numbers from wrapping.
    fn pass(&mut self, byte: u8) {
        if byte == 0 {
            self.blame(self.here(), Problem::Nul);
        }
        self.cursor.offset += 1;
        if byte == b'\n' {
            self.cursor.line += 1;
            self.cursor.line_start = self.cursor.offset;
        }
    }

    /// Adds a line to what is read; `false` at the end of the file.
    fn read_line(&mut self) -> bool {
        let rest = self.text.get(self.next_line as usize..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\n');
        let length = length.map_or(rest.len(), |newline| newline + 1);
        self.next_line += length as u32;
        self.limit = self.next_line;
        length > 0
    }

    /// Remembers a mistake of the current statement; the first one counts.
    fn blame(&mut self, position: Position, problem: Problem) {
        self.mistake.get_or_insert((position, problem));
    }

    /// Nothing more of the line is read.
    const fn hide_rest(&mut self) {
        self.limit = self.cursor.offset;
    }

    /// Steps over what of the line was not read.
    fn leave_line(&mut self) {
        while let Some(byte) = self.text.get(self.cursor.offset as usize).copied()
            && self.cursor.offset < self.next_line
        {
            self.pass(byte);
        }
        self.hide_rest();
    }

    fn skip_while(&mut self, skipped: fn(u8) -> bool) {
        while self.peek().is_some_and(skipped) {
            self.bump();
        }
    }

    /// Skips what may stand before a statement; at the end of the file nothing is left.
    ///
    /// libuci forgives any white space where a line begins, and blanks after a `;`.
    fn skip_between(&mut self) {
        loop {
            self.skip_while(is_blank);
            match self.peek() {
                Some(b'#') => self.hide_rest(),
                Some(_) => return,
                None => {}
            }
            if self.peek().is_none() {
                self.leave_line();
                if !self.read_line() {
                    return;
                }
                self.skip_while(is_space);
            }
        }
    }

    fn keyword(&mut self) -> Option<Keyword> {
        let start = self.cursor.offset as usize;
        self.skip_while(|byte| !is_space(byte) && byte != b';' && byte != b'#');
        let word = self.text.get(start..self.cursor.offset as usize)?;
        let end = self.cursor.offset as usize;
        let rest = self.text.get(end..self.limit as usize).unwrap_or_default();
        // To libuci, only blanks end a keyword.
        if matches!(rest, [b'\x0b'..=b'\r', more @ ..] if more != b"\n") {
            return None;
        }
        match word {
            b"package" | b"p" => Some(Keyword::Package),
            b"config" | b"c" => Some(Keyword::Config),
            b"option" | b"o" => Some(Keyword::Option),
            b"list" | b"l" => Some(Keyword::List),
            _ => None,
        }
    }

    /// The word after the keyword, which cannot be empty.
    fn first_word(&mut self) -> Option<Word> {
        self.skip_while(is_space);
        let word = match self.peek() {
            Some(b';') => None,
            _ => self.word().filter(|word| !word.text.is_empty()),
        };
        if word.is_none() {
            self.skip_words();
        }
        word
    }

    /// The next word of the statement; `None` where it was left out, with the `;` there.
    fn word(&mut self) -> Option<Word> {
        self.skip_while(is_space);
        let position = self.here();
        match self.peek()? {
            b';' => {
                self.bump();
                return None;
            }
            b'#' => {
                self.hide_rest();
                return None;
            }
            _ => {}
        }
        let mut bytes = Vec::new();
        if !self.string(&mut bytes) {
            self.blame(position, Problem::WordTooLong);
        }
        let text = String::from_utf8(bytes).unwrap_or_else(|_| {
            self.blame(position, Problem::NotUtf8);
            String::new()
        });
        Some(Word { text, position })
    }

    /// Reads pieces until white space, `;` or `#`; `false` if there was no room for them.
    fn string(&mut self, word: &mut Vec<u8, MAX_WORD>) -> bool {
        let (mut fits, mut plain) = (true, true);
        loop {
            match self.peek() {
                Some(quote @ (b'\'' | b'"')) => {
                    plain = false;
                    fits &= self.quoted(quote, word);
                }
                Some(b'\\') => {
                    plain = false;
                    fits &= self.escaped(word);
                }
                Some(b'#') => self.hide_rest(),
                Some(b';') if plain => return self.hide_statements() && fits,
                None | Some(b';') => return fits,
                Some(byte) => {
                    self.bump();
                    fits &= word.push(byte).is_ok();
                }
            }
            if self.peek().is_none_or(is_space) {
                // So that white space which ended a word does not end the next as well.
                self.bump();
                return fits;
            }
        }
    }

    /// libuci ends a word where it stands, and if nothing of it vanished, that is on the `;`.
    fn hide_statements(&mut self) -> bool {
        let position = self.here();
        self.bump();
        self.skip_while(is_space);
        if self.peek().is_some_and(|byte| byte != b'#') {
            self.hidden = Some(position);
        }
        self.hide_rest();
        true
    }

    fn quoted(&mut self, quote: u8, word: &mut Vec<u8, MAX_WORD>) -> bool {
        let (start, position) = (self.cursor, self.here());
        self.bump();
        let mut fits = true;
        loop {
            match self.peek() {
                Some(byte) if byte == quote => break,
                Some(b'\\') if quote == b'"' => fits &= self.escaped(word),
                Some(byte) => {
                    self.bump();
                    fits &= word.push(byte).is_ok();
                }
                None if self.read_line() => {}
                None => {
                    // What follows was hardly meant to be inside the quotes: go on at the
                    // next line.
                    self.blame(position, Problem::Unterminated);
                    self.go_on_after_line_of(start);
                    return true;
                }
            }
        }
        self.bump();
        if self.cursor.line != start.line {
            self.long_quote.get_or_insert(start);
            self.long_quotes += 1;
        }
        fits
    }

    /// A backslash and the byte that it makes ordinary; at the end of a line, neither.
    fn escaped(&mut self, word: &mut Vec<u8, MAX_WORD>) -> bool {
        self.bump();
        let rest = self
            .text
            .get(self.cursor.offset as usize..self.limit as usize);
        if let b"" | b"\n" | b"\r\n" = rest.unwrap_or_default() {
            self.leave_line();
            self.read_line();
            return true;
        }
        self.bump().is_none_or(|byte| word.push(byte).is_ok())
    }

    /// Leaves the line in which `start` is, and whatever was read after it.
    fn go_on_after_line_of(&mut self, start: Cursor) {
        self.cursor = start;
        self.next_line = start.offset;
        self.read_line();
        self.leave_line();
    }

    fn statement(&mut self) -> Result<Statement, SyntaxError> {
        let position = self.here();
        if self.peek().is_some_and(is_gap) {
            self.skip_while(is_gap);
            return Err(SyntaxError {
                position,
                keyword: None,
                problem: Problem::EmptyStatement,
            });
        }
        let start = self.cursor.offset as usize;
        let rest = self.text.get(start..).unwrap_or_default();
        let keyword = self.keyword();
        if keyword.is_none()
            && let Some(problem) = self.foreign(start, rest)
        {
            return Err(SyntaxError {
                position,
                keyword,
                problem,
            });
        }
        (self.long_quote, self.long_quotes) = (None, 0);
        let statement = self.assemble(position, keyword);
        self.in_section |= keyword == Some(Keyword::Config);
        let mistake = match (self.mistake.take(), statement) {
            (Some(nul @ (_, Problem::Nul)), _) => nul,
            (Some(earlier), Err(mistake)) if earlier.0 <= mistake.0 => earlier,
            (_, Err(mistake)) | (Some(mistake), _) => mistake,
            (None, Ok(statement)) => return Ok(statement),
        };
        let (position, problem) = self.left_open(mistake);
        Err(SyntaxError {
            position,
            keyword,
            problem,
        })
    }

    /// What other programs write, or for themselves; but for a byte order mark, nothing after it
    /// is read.
    fn foreign(&mut self, start: usize, rest: &[u8]) -> Option<Problem> {
        let problem = match rest {
            [0xef, 0xbb, 0xbf, ..] => {
                self.cursor.offset = start as u32 + 3;
                self.mistake = None;
                return Some(Problem::ByteOrderMark);
            }
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if start == 0 => Problem::Utf16,
            _ if is_other_grammar(rest) => Problem::OtherGrammar,
            _ => return None,
        };
        self.text = &[];
        self.mistake = None;
        Some(problem)
    }

    /// Reads the words of a statement and puts it together.
    fn assemble(
        &mut self,
        position: Position,
        keyword: Option<Keyword>,
    ) -> Result<Statement, (Position, Problem)> {
        let keyword = match keyword {
            Some(Keyword::Option | Keyword::List) if !self.in_section => {
                Err(Problem::OutsideSection)
            }
            keyword => keyword.ok_or(Problem::UnknownStatement),
        };
        let keyword = keyword.map_err(|problem| {
            self.skip_words();
            (position, problem)
        })?;
        let first = self.first_word();
        let first = first.ok_or((position, keyword.without_name()))?;
        let second = match keyword {
            Keyword::Package => None,
            _ => self.word(),
        };
        // libuci does not count an empty word.
        let surplus = self.word().filter(|word| !word.text.is_empty());
        keyword.check(&first)?;
        if let Some(surplus) = surplus {
            self.skip_words();
            return Err((surplus.position, Problem::TooManyWords));
        }
        let second = second.unwrap_or(Word {
            text: String::new(),
            position: first.position,
        });
        match keyword {
            Keyword::Package => Ok(Statement::Package { name: first }),
            Keyword::Config => {
                check(&second, is_name, Problem::InvalidName)?;
                Ok(Statement::Config {
                    section: first,
                    name: second,
                })
            }
            Keyword::Option => Ok(Statement::Option {
                name: first,
                value: second,
            }),
            Keyword::List => Ok(Statement::List {
                name: first,
                value: second,
            }),
        }
    }

    /// Skips the rest of a statement that is wrong.
    fn skip_words(&mut self) {
        loop {
            self.skip_while(is_space);
            match self.peek() {
                None | Some(b'#') => return,
                Some(b';') => {
                    self.bump();
                    return;
                }
                Some(_) => _ = self.string(&mut Vec::new()),
            }
        }
    }

    /// Lays a mistake to the quote that was probably left open, and goes on after its line.
    ///
    /// Where an end is missing, the next quote ends it and what was quoted is not, and so
    /// on: the mistake that comes of it may be many lines away.
    fn left_open(&mut self, mistake: (Position, Problem)) -> (Position, Problem) {
        let Some(start) = self.long_quote else {
            return mistake;
        };
        let likely = match mistake.1 {
            Problem::WordTooLong => self.long_quotes > 1,
            _ => mistake.0 >= start.position(),
        };
        if !likely || self.retries == 0 {
            return mistake;
        }
        self.retries -= 1;
        self.go_on_after_line_of(start);
        (start.position(), Problem::Unterminated)
    }
}

impl Keyword {
    const fn without_name(self) -> Problem {
        match self {
            Self::Package => Problem::PackageWithoutName,
            Self::Config => Problem::ConfigWithoutType,
            Self::Option | Self::List => Problem::OptionWithoutName,
        }
    }

    /// Looks at the characters of the first word.
    fn check(self, first: &Word) -> Result<(), (Position, Problem)> {
        match self {
            Self::Package => check(first, is_package, Problem::InvalidName),
            Self::Config => check(first, is_type, Problem::InvalidType),
            Self::Option | Self::List => check(first, is_name, Problem::InvalidName),
        }
    }
}

impl Iterator for Statements<'_> {
    type Item = Result<Statement, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.text.len() > MAX_FILE {
            self.text = &[];
            self.blame(Position::START, Problem::FileTooLarge);
        }
        self.skip_between();
        let hidden = self
            .hidden
            .take()
            .map(|position| (position, Problem::Hidden));
        if let Some((position, problem)) = hidden.or_else(|| self.mistake.take()) {
            return Some(Err(SyntaxError {
                position,
                keyword: None,
                problem,
            }));
        }
        self.peek().is_some().then(|| self.statement())
    }
}

fn check(
    word: &Word,
    allowed: fn(u8) -> bool,
    problem: Problem,
) -> Result<(), (Position, Problem)> {
    let wrong = word.text.bytes().find(|byte| !allowed(*byte));
    match wrong {
        None => Ok(()),
        Some(b'-') => Err((word.position, Problem::HyphenInName)),
        Some(_) => Err((word.position, problem)),
    }
}

/// Whether this begins with `[`, or a word and `=`.
fn is_other_grammar(text: &[u8]) -> bool {
    let mut rest = text.iter().skip_while(|byte| is_name(**byte));
    let next = rest.find(|byte| !is_blank(**byte));
    next == Some(&b'=') || text.starts_with(b"[")
}

/// isspace(3) in the C locale, as libuci uses it.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// What ends a keyword.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// What no statement begins with.
const fn is_gap(byte: u8) -> bool {
    is_space(byte) || byte == b';'
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

const fn is_package(byte: u8) -> bool {
    is_name(byte) || byte == b'-'
}

const fn is_type(byte: u8) -> bool {
    byte.is_ascii_graphic()
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;
    use std::{format, string};

    use super::*;

    /// One line for each statement or mistake: `c type name`, `o name=value`, `! 1:2 Problem`.
    fn read(text: &[u8]) -> Vec<string::String> {
        Statements::new(text)
            .map(|item| match item {
                Ok(Statement::Package { name }) => format!("p {}", name.text),
                Ok(Statement::Config { section, name }) => {
                    format!("c {} {}", section.text, name.text)
                }
                Ok(Statement::Option { name, value }) => format!("o {}={}", name.text, value.text),
                Ok(Statement::List { name, value }) => format!("l {}={}", name.text, value.text),
                Err(SyntaxError {
                    position: Position { line, column },
                    problem,
                    ..
                }) => format!("! {line}:{column} {problem:?}"),
            })
            .collect()
    }

    #[test]
    fn statements_that_are_read() {
        for (text, expected) in [
            ("", &[][..]),
            (" \t\r\n\x0b\x0c\n", &[]),
            ("# only a comment", &[]),
            ("package postern\n", &["p postern"]),
            ("package a-b_9", &["p a-b_9"]),
            ("config door", &["c door "]),
            ("config door ''", &["c door "]),
            ("config door ssh", &["c door ssh"]),
            ("config 'door' \"ssh\"", &["c door ssh"]),
            ("config !#x", &["c ! "]),
            ("config '!#x'", &["c !#x "]),
            ("c d\no a b\nl a b\np q", &["c d ", "o a=b", "l a=b", "p q"]),
            ("\tconfig\td\n\n  option\t a\t\tb  ", &["c d ", "o a=b"]),
            ("c d n ;o a b ; o c d", &["c d n", "o a=b", "o c=d"]),
            (
                "c d '';\to a 'b;c';# x\no e f ;",
                &["c d ", "o a=b;c", "o e=f"],
            ),
            ("c d n\no a b\\c;o d e", &["c d n", "o a=bc", "o d=e"]),
            ("c d\r\no a b\r\no c 'd'\r\n", &["c d ", "o a=b", "o c=d"]),
            ("c d # x\no a b#c 'd\no e #f", &["c d ", "o a=b", "o e="]),
            ("c d\no a '#'\"#\"\\#b", &["c d ", "o a=###b"]),
            ("c d\no a 'b'\"c\"d\\e", &["c d ", "o a=bcde"]),
            ("c d\no a b'c d'e", &["c d ", "o a=bc de"]),
            ("c d\no a ''\"\"", &["c d ", "o a="]),
            ("c d\no a", &["c d ", "o a="]),
            ("c d\nl a", &["c d ", "l a="]),
            ("c d\no a 'b\\c'", &["c d ", "o a=b\\c"]),
            ("c d\no a 'b\\'c", &["c d ", "o a=b\\c"]),
            ("c d\no a 'b\nc'", &["c d ", "o a=b\nc"]),
            ("c d\no a \"b\nc\"", &["c d ", "o a=b\nc"]),
            ("c d\no a 'b\\\nc'", &["c d ", "o a=b\\\nc"]),
            ("c d\no a \"b\\\nc\"", &["c d ", "o a=bc"]),
            ("c d\no a \"b\\\r\nc\"", &["c d ", "o a=bc"]),
            ("c d\no a \"b\\\"\\\\\\n\\'c\"", &["c d ", "o a=b\"\\n'c"]),
            ("c d\no a b\\ c\\;\\'", &["c d ", "o a=b c;'"]),
            ("c d\no a b\\\nc", &["c d ", "o a=bc"]),
            ("c d\no a \\\nb", &["c d ", "o a=b"]),
            ("c d\no a \\\r\nb", &["c d ", "o a=b"]),
            ("c d\no a b\\", &["c d ", "o a=b"]),
            ("c d\no a 'it'\\''s'", &["c d ", "o a=it's"]),
            ("c d\no a é", &["c d ", "o a=é"]),
            ("c d\no a \x1b", &["c d ", "o a=\x1b"]),
        ] {
            assert_eq!(read(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn mistakes_that_are_found() {
        for (text, expected) in [
            ("foo", &["! 1:1 UnknownStatement"][..]),
            ("c\x0bd", &["! 1:1 UnknownStatement"]),
            (";", &["! 1:1 EmptyStatement"]),
            (
                "c d '';; \no a b",
                &["c d ", "! 1:8 EmptyStatement", "o a=b"],
            ),
            ("c d n ; \n", &["c d n", "! 1:9 EmptyStatement"]),
            ("c d ;o a b", &["! 1:6 TooManyWords"]),
            ("c d\no a \\\n\tb", &["c d ", "! 3:2 TooManyWords"]),
            ("  options a b", &["! 1:3 UnknownStatement"]),
            ("'config' a", &["! 1:1 UnknownStatement"]),
            (
                "\u{feff}config a\no b c\n\u{feff}# d",
                &[
                    "! 1:1 ByteOrderMark",
                    "c a ",
                    "o b=c",
                    "! 3:1 ByteOrderMark",
                ],
            ),
            ("[options]\n\tUseSyslog\n[a]", &["! 1:1 OtherGrammar"]),
            ("c d\nsequence = 7000\nfoo", &["c d ", "! 2:1 OtherGrammar"]),
            ("c =\nx=1\no a b", &["c = ", "! 2:1 OtherGrammar"]),
            ("a\n=", &["! 1:1 UnknownStatement", "! 2:1 OtherGrammar"]),
            ("c\rd", &["! 1:1 UnknownStatement"]),
            (
                "c d\no\ra b\no\r\n",
                &["c d ", "! 2:1 UnknownStatement", "! 3:1 OptionWithoutName"],
            ),
            ("package", &["! 1:1 PackageWithoutName"]),
            ("package ''", &["! 1:1 PackageWithoutName"]),
            ("package a.b", &["! 1:9 InvalidName"]),
            ("package a b", &["! 1:11 TooManyWords"]),
            ("config", &["! 1:1 ConfigWithoutType"]),
            ("config;", &["! 1:1 ConfigWithoutType"]),
            ("config # x", &["! 1:1 ConfigWithoutType"]),
            ("config '' x", &["! 1:1 ConfigWithoutType"]),
            ("config 'a b'", &["! 1:8 InvalidType"]),
            ("config \u{e9}", &["! 1:8 InvalidType"]),
            ("config a b-c", &["! 1:10 HyphenInName"]),
            ("config a b.-c", &["! 1:10 InvalidName"]),
            ("config a b c", &["! 1:12 TooManyWords"]),
            ("option a b", &["! 1:1 OutsideSection"]),
            ("list a b", &["! 1:1 OutsideSection"]),
            ("c d '';option", &["c d ", "! 1:8 OptionWithoutName"]),
            ("c d '';list '' b", &["c d ", "! 1:8 OptionWithoutName"]),
            ("c d '';option a-b c", &["c d ", "! 1:15 HyphenInName"]),
            ("c d '';option a b c", &["c d ", "! 1:19 TooManyWords"]),
            ("c d '';option a b c d e", &["c d ", "! 1:19 TooManyWords"]),
            (
                "c d '';option a b '' c",
                &["c d ", "o a=b", "! 1:22 ConfigWithoutType"],
            ),
            (
                "c d '';o a 'b\no c d",
                &["c d ", "! 1:12 Unterminated", "o c=d"],
            ),
            (
                "c d '';o a x\"b\no c d",
                &["c d ", "! 1:13 Unterminated", "o c=d"],
            ),
            ("c d '';o a \"b\\\"", &["c d ", "! 1:12 Unterminated"]),
            ("c d '';o a \"\\", &["c d ", "! 1:12 Unterminated"]),
            ("c 'd\no a b", &["! 1:3 Unterminated", "o a=b"]),
            (
                "c d\no a 'b\no c 'd'\no e 'f'",
                &["c d ", "! 2:5 Unterminated", "o c=d", "o e=f"],
            ),
            (
                "c d\no a \"b\no c \"d e\"\no f g",
                &["c d ", "! 2:5 Unterminated", "o c=d e", "o f=g"],
            ),
            (
                "c d\no a 'b\nc' 'd\ne' f\no g h",
                &[
                    "c d ",
                    "! 2:5 Unterminated",
                    "! 3:1 UnknownStatement",
                    "o g=h",
                ],
            ),
            ("c d\0\no a b", &["! 1:4 Nul", "o a=b"]),
            ("c d\no a '\0\0'\no a b", &["c d ", "! 2:6 Nul", "o a=b"]),
            ("# \0\n\0", &["! 1:3 Nul", "! 2:1 Nul"]),
            (
                "foo 'a\nb' c\nbar",
                &["! 1:1 UnknownStatement", "! 3:1 UnknownStatement"],
            ),
            (
                "o a 'b';c d\no a b",
                &["! 1:1 OutsideSection", "c d ", "o a=b"],
            ),
        ] {
            assert_eq!(read(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(read(b"c d '';o a \xff\xfe"), ["c d ", "! 1:12 NotUtf8"]);
        assert_eq!(read(b"\xff\xfec\0 \0d\0\n\0"), ["! 1:1 Utf16"]);
        assert_eq!(read(b"\xfe\xff\0c\0 \0d\0\n"), ["! 1:1 Utf16"]);
    }

    #[test]
    fn what_libuci_hides_is_told() {
        for (text, expected) in [
            ("c d;o a b\no c d", &["c d ", "! 1:4 Hidden", "o c=d"][..]),
            ("c d n;foo '", &["c d n", "! 1:6 Hidden"]),
            ("c d;\0", &["c d ", "! 1:4 Hidden", "! 1:5 Nul"]),
            (
                "c d\no a;b\no c;d;",
                &["c d ", "o a=", "! 2:4 Hidden", "o c=", "! 3:4 Hidden"],
            ),
            ("c d;  # x\no a b; \t\r\n", &["c d ", "o a=b"]),
            ("c d e f;o a b", &["! 1:7 TooManyWords", "! 1:8 Hidden"]),
        ] {
            assert_eq!(read(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_lost_statement_is_named() {
        let lost = |text: &str| match Statements::new(text.as_bytes()).next() {
            Some(Err(error)) => error.keyword,
            item => panic!("{item:?}"),
        };
        assert_eq!(lost("config a b c"), Some(Keyword::Config));
        assert_eq!(lost("p 'a b'"), Some(Keyword::Package));
        assert_eq!(lost("option a"), Some(Keyword::Option));
        assert_eq!(lost("l a"), Some(Keyword::List));
        assert_eq!(lost("x"), None);
    }

    #[test]
    fn positions_count_bytes_from_one() {
        let statement = Statements::new("# é\n\t config 'é'\\\nx\n".as_bytes()).next();
        assert_eq!(
            statement.unwrap().unwrap_err().position,
            Position {
                line: 2,
                column: 10
            }
        );
        let mut statements = Statements::new("c d\n o a 'é' x\n\to  b 'c\nd';l e f".as_bytes());
        let mut places = Vec::new();
        for item in statements.by_ref().skip(1) {
            let (first, second) = match item {
                Ok(Statement::Option { name, value } | Statement::List { name, value }) => {
                    (name.position, value.position)
                }
                Ok(statement) => panic!("{statement:?}"),
                Err(error) => (error.position, error.position),
            };
            places.push([first.line, first.column, second.line, second.column]);
        }
        assert_eq!(places, [[2, 11, 2, 11], [3, 5, 3, 7], [4, 6, 4, 8]]);
    }

    #[test]
    fn words_have_a_limit() {
        for (quote, length, fits) in [
            ("", MAX_WORD, true),
            ("", MAX_WORD + 1, false),
            ("'", MAX_WORD, true),
            ("'", MAX_WORD + 1, false),
            ("\"", MAX_WORD + 1, false),
        ] {
            let word = "x".repeat(length);
            let items = read(format!("c d\no a {quote}{word}{quote}\no b c").as_bytes());
            let expected = if fits {
                format!("o a={word}")
            } else {
                "! 2:5 WordTooLong".to_string()
            };
            assert_eq!(items, ["c d ", &expected, "o b=c"]);
        }
    }

    #[test]
    fn the_rest_of_a_long_word_is_not_read_as_statements() {
        let lines = "foo\n".repeat(MAX_WORD);
        let items = read(format!("c d\no a '{lines}'\no b c").as_bytes());
        assert_eq!(items, ["c d ", "! 2:5 WordTooLong", "o b=c"]);
    }

    #[test]
    fn files_have_a_limit() {
        let mut text = "c d\n".repeat(MAX_FILE / 4);
        assert_eq!(read(text.as_bytes()).len(), MAX_FILE / 4);
        text.push('\n');
        assert_eq!(read(text.as_bytes()), ["! 1:1 FileTooLarge"]);
    }

    #[test]
    fn a_cursor_reads_the_same_statement_again() {
        let mut statements = Statements::new(b"c d\n# x\no a 'b';o c 'd\ne'\no f g");
        loop {
            let cursor = statements.cursor();
            let again = statements.resume(cursor).next();
            let item = statements.next();
            assert_eq!(item, again);
            if item.is_none() {
                return;
            }
        }
    }

    #[test]
    fn reading_again_has_a_limit() {
        let count = usize::from(MAX_RETRIES) + 9;
        let items = read(format!("c d\n{}", "o a \\''\n".repeat(count)).as_bytes());
        assert_eq!(items.len(), 1 + usize::from(MAX_RETRIES) + 1, "{items:?}");
    }

    #[test]
    fn unterminated_quotes_take_linear_time() {
        for line in [
            "'\n",
            "\"\n",
            "'\"\n",
            "\"'\n",
            "\"\\\"\n",
            "\\\"\n",
            "'\\'\\\"\n",
            "o \\''\n",
            "\\''\n",
            "#'\"\n",
        ] {
            let text = line.repeat(MAX_FILE / line.len());
            let started = std::time::Instant::now();
            let _ = read(text.as_bytes());
            assert!(started.elapsed().as_secs() < 5, "{line:?}");
        }
    }

    /// Whether it may be told when the line was left already.
    const fn is_told_late(problem: Problem) -> bool {
        matches!(problem, Problem::Hidden | Problem::Nul)
    }

    #[test]
    fn every_short_text_of_special_bytes_ends_and_moves_on() {
        let bytes = b"c '\"\\\n;#\0\r";
        for mut number in 0..bytes.len().pow(5) {
            let text: [u8; 5] = core::array::from_fn(|_| {
                let byte = bytes[number % bytes.len()];
                number /= bytes.len();
                byte
            });
            let mut statements = Statements::new(&text);
            let mut offset = 0;
            while let Some(item) = statements.next() {
                let told = matches!(item, Err(error) if is_told_late(error.problem));
                assert!(told || statements.cursor.offset > offset, "{text:?}");
                offset = statements.cursor.offset;
            }
            assert_eq!(statements.cursor.offset, 5, "{text:?}");
        }
    }
}
