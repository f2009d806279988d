//! The grammar of OpenWrt's configuration files, as libuci's `file.c` reads it.
//!
//! A file is a stream of statements, each a keyword (`package`, `config`, `option`, `list`,
//! or its first letter) and words. Words end at white space; pieces in quotes that touch
//! make one word. In single quotes everything stands for itself, a newline too; elsewhere
//! `\` makes the next byte ordinary and vanishes together with a newline. `#` starts a
//! comment, even inside an unquoted word. A newline or `;` ends a statement.
//!
//! Three things differ from libuci, each of them an oversight there: what follows a `;`
//! that touches an unquoted word is read rather than dropped, an empty statement is
//! allowed, and a byte of value zero is refused rather than hiding the rest of its line.
//!
//! After a mistake, reading goes on at the next statement, so that every mistake is found.

use heapless::{String, Vec};

/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 64 * 1024;
/// The longest word in bytes, without quotes: 32 ports with their protocols fit.
pub const MAX_WORD: usize = 512;
/// How often a file is read again from a quote that was probably left open. Each time can
/// run to the end of the file, so this keeps the work in proportion to the file's size.
const MAX_RETRIES: u8 = 16;

/// The statements of a file, in order, with the mistakes between them.
#[derive(Clone, Debug)]
pub struct Statements<'t> {
    text: &'t [u8],
    cursor: Cursor,
    mistake: Option<(Position, Problem)>,
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
    /// A character that a section type cannot have.
    InvalidType,
    /// `option` or `list` before the first `config`.
    OutsideSection,
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
            mistake: None,
            long_quote: None,
            long_quotes: 0,
            retries: MAX_RETRIES,
            in_section: false,
        }
    }

    /// The statements of the same file from `cursor` on.
    #[must_use]
    pub fn resume(&self, cursor: Cursor) -> Self {
        Self {
            text: self.text,
            cursor,
            in_section: true,
            ..Statements::new(self.text)
        }
    }

    /// Where the next statement begins.
    pub fn cursor(&mut self) -> Cursor {
        self.skip_between();
        self.cursor
    }

    const fn here(&self) -> Position {
        self.cursor.position()
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.cursor.offset as usize).copied()
    }

    /// Takes one byte. [`MAX_FILE`] keeps the numbers from wrapping.
    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        if byte == 0 {
            self.blame(self.here(), Problem::Nul);
        }
        self.cursor.offset += 1;
        if byte == b'\n' {
            self.cursor.line += 1;
            self.cursor.line_start = self.cursor.offset;
        }
        Some(byte)
    }

    /// Remembers a mistake of the current statement; the first one counts.
    fn blame(&mut self, position: Position, problem: Problem) {
        self.mistake.get_or_insert((position, problem));
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.bump();
        }
    }

    /// Skips what may stand between two statements.
    fn skip_between(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => self.skip_line(),
                b';' => _ = self.bump(),
                _ if is_space(byte) => _ = self.bump(),
                _ if self.skip_joint() => {}
                _ => return,
            }
        }
    }

    /// Skips what may stand between two words of one statement.
    fn skip_blanks(&mut self) {
        while let Some(byte) = self.peek() {
            if byte != b'\n' && is_space(byte) {
                self.bump();
            } else if !self.skip_joint() {
                return;
            }
        }
    }

    /// Skips a backslash at the end of a line, and with it the end of the line.
    fn skip_joint(&mut self) -> bool {
        let rest = self.text.get(self.cursor.offset as usize..);
        let length = match rest.unwrap_or_default() {
            [b'\\', b'\n', ..] => 2,
            [b'\\', b'\r', b'\n', ..] => 3,
            _ => return false,
        };
        for _ in 0..length {
            self.bump();
        }
        true
    }

    fn keyword(&mut self) -> Option<Keyword> {
        let start = self.cursor.offset as usize;
        while self
            .peek()
            .is_some_and(|byte| !is_space(byte) && byte != b';' && byte != b'#')
        {
            self.bump();
        }
        match self.text.get(start..self.cursor.offset as usize)? {
            b"package" | b"p" => Some(Keyword::Package),
            b"config" | b"c" => Some(Keyword::Config),
            b"option" | b"o" => Some(Keyword::Option),
            b"list" | b"l" => Some(Keyword::List),
            _ => None,
        }
    }

    /// The next word of the statement, `None` at its end.
    fn word(&mut self) -> Option<Word> {
        self.skip_blanks();
        let position = self.here();
        let mut bytes = Vec::new();
        if self.at_end() {
            return None;
        }
        let mut fits = true;
        while !self.at_end() && !self.peek().is_some_and(is_space) {
            fits &= self.piece(&mut bytes);
        }
        if !fits {
            self.blame(position, Problem::WordTooLong);
        }
        let text = String::from_utf8(bytes).unwrap_or_else(|_| {
            self.blame(position, Problem::NotUtf8);
            String::new()
        });
        Some(Word { text, position })
    }

    fn at_end(&self) -> bool {
        matches!(self.peek(), None | Some(b'\n' | b';' | b'#'))
    }

    /// Reads a quoted piece or one unquoted byte; `false` if there was no room for it.
    fn piece(&mut self, word: &mut Vec<u8, MAX_WORD>) -> bool {
        match self.peek() {
            Some(quote @ (b'\'' | b'"')) => self.quoted(quote, word),
            _ => self.byte(true, word),
        }
    }

    fn quoted(&mut self, quote: u8, word: &mut Vec<u8, MAX_WORD>) -> bool {
        let (start, position) = (self.cursor, self.here());
        self.bump();
        let mut fits = true;
        while let Some(byte) = self.peek() {
            if byte == quote {
                self.bump();
                if self.cursor.line != start.line {
                    self.long_quote.get_or_insert(start);
                    self.long_quotes += 1;
                }
                return fits;
            }
            fits &= self.byte(quote == b'"', word);
        }
        // What follows was hardly meant to be inside the quotes: go on at the next line.
        self.blame(position, Problem::Unterminated);
        self.cursor = start;
        self.skip_line();
        true
    }

    fn byte(&mut self, escapes: bool, word: &mut Vec<u8, MAX_WORD>) -> bool {
        if escapes && self.skip_joint() {
            return true;
        }
        if escapes && self.peek() == Some(b'\\') {
            self.bump();
        }
        self.bump().is_none_or(|byte| word.push(byte).is_ok())
    }

    fn statement(&mut self) -> Result<Statement, SyntaxError> {
        let position = self.here();
        let keyword = self.keyword();
        (self.long_quote, self.long_quotes) = (None, 0);
        let (first, second, third) = (self.word(), self.word(), self.word());
        while self.word().is_some() {}
        let statement = self.assemble(position, keyword, first, second, third);
        self.in_section |= keyword == Some(Keyword::Config);
        let (position, problem) = match (self.mistake.take(), statement) {
            (Some(mistake), _) | (None, Err(mistake)) => self.left_open(mistake),
            (None, Ok(statement)) => return Ok(statement),
        };
        Err(SyntaxError {
            position,
            keyword,
            problem,
        })
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
        self.cursor = start;
        let position = self.here();
        self.skip_line();
        (position, Problem::Unterminated)
    }

    fn assemble(
        &self,
        position: Position,
        keyword: Option<Keyword>,
        first: Option<Word>,
        second: Option<Word>,
        third: Option<Word>,
    ) -> Result<Statement, (Position, Problem)> {
        use Problem::{ConfigWithoutType, OptionWithoutName, PackageWithoutName};
        let keyword = keyword.ok_or((position, Problem::UnknownStatement))?;
        let (allowed, missing, invalid): (fn(u8) -> bool, _, _) = match keyword {
            Keyword::Package => (is_package, PackageWithoutName, Problem::InvalidName),
            Keyword::Config => (is_type, ConfigWithoutType, Problem::InvalidType),
            Keyword::Option | Keyword::List => (is_name, OptionWithoutName, Problem::InvalidName),
        };
        let first = first.filter(|word| !word.text.is_empty());
        let first = first.ok_or((position, missing))?;
        check(&first, allowed, invalid)?;
        let surplus = match keyword {
            Keyword::Package => second.as_ref(),
            _ => third.as_ref(),
        };
        if let Some(word) = surplus {
            return Err((word.position, Problem::TooManyWords));
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
            _ if !self.in_section => Err((position, Problem::OutsideSection)),
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
}

impl Iterator for Statements<'_> {
    type Item = Result<Statement, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.text.len() > MAX_FILE {
            self.text = &[];
            self.blame(Position::START, Problem::FileTooLarge);
        }
        self.skip_between();
        if let Some((position, problem)) = self.mistake.take() {
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
    if word.text.bytes().all(allowed) {
        Ok(())
    } else {
        Err((word.position, problem))
    }
}

/// isspace(3) in the C locale, as libuci uses it.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
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
            (" \t\r\n\x0b\x0c\n;;\n", &[]),
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
            ("c d n;o a b;o c d", &["c d n", "o a=b", "o c=d"]),
            ("c d ; ; o a 'b;c' ; o e f ;", &["c d ", "o a=b;c", "o e=f"]),
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
            ("c d\no a \\\n\tb", &["c d ", "o a=b"]),
            ("c d\no a \\\r\n\tb", &["c d ", "o a=b"]),
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
            ("  options a b", &["! 1:3 UnknownStatement"]),
            ("'config' a", &["! 1:1 UnknownStatement"]),
            ("\u{feff}config a", &["! 1:1 UnknownStatement"]),
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
            ("config a b-c", &["! 1:10 InvalidName"]),
            ("config a b c", &["! 1:12 TooManyWords"]),
            ("option a b", &["! 1:1 OutsideSection"]),
            ("list a b", &["! 1:1 OutsideSection"]),
            ("c d;option", &["c d ", "! 1:5 OptionWithoutName"]),
            ("c d;list '' b", &["c d ", "! 1:5 OptionWithoutName"]),
            ("c d;option a-b c", &["c d ", "! 1:12 InvalidName"]),
            ("c d;option a b c", &["c d ", "! 1:16 TooManyWords"]),
            ("c d;option a b c d e", &["c d ", "! 1:16 TooManyWords"]),
            ("c d;option a b ''", &["c d ", "! 1:16 TooManyWords"]),
            (
                "c d;o a 'b\no c d",
                &["c d ", "! 1:9 Unterminated", "o c=d"],
            ),
            (
                "c d;o a x\"b\no c d",
                &["c d ", "! 1:10 Unterminated", "o c=d"],
            ),
            ("c d;o a \"b\\\"", &["c d ", "! 1:9 Unterminated"]),
            ("c d;o a \"\\", &["c d ", "! 1:9 Unterminated"]),
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
                "o a b;c d;o a b",
                &["! 1:1 OutsideSection", "c d ", "o a=b"],
            ),
        ] {
            assert_eq!(read(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(read(b"c d;o a \xff\xfe"), ["c d ", "! 1:9 NotUtf8"]);
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
        let text = "# é\n\t config \\\n 'é'x 'a\nb' ; option\n";
        let statement = Statements::new(text.replace("'é'x", "dé").as_bytes()).next();
        assert_eq!(
            statement.unwrap().unwrap_err().position,
            Position { line: 3, column: 2 }
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
        let mut statements = Statements::new(b"c d\n# x\no a b;o c 'd\ne'\no f g");
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
            while statements.next().is_some() {
                assert!(statements.cursor.offset > offset, "{text:?}");
                offset = statements.cursor.offset;
            }
            assert_eq!(statements.cursor.offset, 5, "{text:?}");
        }
    }
}
