//! The sequences of `one-time-list`: a text file, a sequence a line, used from top to bottom.
//!
//! `tcp:7000 udp:8001 tcp:9002`, or as knockd writes it, `7000:tcp,8001:udp,9002`. Without a
//! protocol it is TCP. What follows a `#` is a comment, and empty lines count for nothing. At
//! most [`MAX_FILE`] bytes, [`MAX_STEPS`] knocks in a sequence and [`MAX_KNOCK_PORTS`] different
//! ports in all.

use core::fmt;
use std::path::{Path, PathBuf};

use postern_core::door::{MAX_STEPS, Sequence};
use postern_core::knock::{Port, PortRange, Protocol};
use postern_core::ports::MAX_KNOCK_PORTS;

use super::Immaterial;
use crate::files::private_file::{self, Forbidden, Unfit};

/// The longest list, in bytes.
pub(crate) const MAX_FILE: usize = 64 << 10;
/// Mistakes that are reported; a file of another kind has thousands.
const MAX_MISTAKES: usize = 20;

/// Sequences to be used in turn; at least one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct List {
    /// One behind the other.
    knocks: Vec<Port>,
    /// Where each ends.
    ends: Vec<usize>,
    /// Every port that one of them names, once, sorted.
    ports: Vec<Port>,
}

/// Why a list is not used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// The file cannot be read.
    File(Unfit),
    /// It was read; these are its mistakes, one or more.
    Mistakes(Vec<Mistake>),
}

/// `FILE:LINE:COLUMN: what is wrong`, as editors know it from compilers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    file: PathBuf,
    line: usize,
    column: usize,
    what: String,
}

impl From<Unusable> for Immaterial {
    fn from(why: Unusable) -> Self {
        Self {
            is_unread: matches!(why, Unusable::File(Unfit::Unread(_))),
            why: why.to_string(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line, column, what, ..
        } = self;
        write!(f, "{}:{line}:{column}: {what}", self.file.display())
    }
}

impl fmt::Display for Unusable {
    /// The first mistake, and how many more there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(unfit) => unfit.fmt(f),
            Self::Mistakes(mistakes) => match mistakes.as_slice() {
                [] => f.write_str("it has mistakes"),
                [only] => only.fmt(f),
                [first, rest @ ..] => write!(f, "{first} (and {} more mistakes)", rest.len()),
            },
        }
    }
}

impl List {
    /// Reads a list that only its owner can read. `guarded` are the ports of doors: no knock.
    pub(crate) fn read(path: &Path, guarded: &[PortRange]) -> Result<Self, Unusable> {
        let text = private_file::read(path, MAX_FILE, Forbidden::Any).map_err(Unusable::File)?;
        Self::parse(path, &text, guarded)
    }

    /// How many sequences there are.
    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// A sequence by its number, from 0.
    pub(crate) fn sequence(&self, number: usize) -> Option<Sequence> {
        let end = *self.ends.get(number)?;
        let start = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        Sequence::from_slice(self.knocks.get(start..end)?).ok()
    }

    /// Hands all of its knocks to the visitor, and where a sequence ends, one that is none.
    pub(crate) fn show(&self, visitor: &mut dyn FnMut(Port)) {
        let mut ends = self.ends.iter().peekable();
        for (at, knock) in self.knocks.iter().enumerate() {
            if ends.next_if(|end| **end == at).is_some() {
                visitor(Port {
                    number: 0,
                    ..*knock
                });
            }
            visitor(*knock);
        }
    }

    /// Every port that a sequence names, once.
    pub(crate) fn ports(&self) -> &[Port] {
        &self.ports
    }

    pub(crate) fn parse(path: &Path, text: &[u8], guarded: &[PortRange]) -> Result<Self, Unusable> {
        let mut reader = Reader {
            path,
            guarded,
            list: Self {
                knocks: Vec::new(),
                ends: Vec::new(),
                ports: Vec::new(),
            },
            mistakes: Vec::new(),
        };
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            reader.line(number, line);
        }
        if reader.list.ends.is_empty() && reader.mistakes.is_empty() {
            reader.complain(
                1,
                0,
                "the list is empty; expected a sequence a line, such as tcp:7000 udp:8001 tcp:9002",
            );
        }
        match reader.mistakes.is_empty() {
            true => Ok(reader.list),
            false => Err(Unusable::Mistakes(reader.mistakes)),
        }
    }
}

struct Reader<'p> {
    path: &'p Path,
    guarded: &'p [PortRange],
    list: List,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, line: &[u8]) {
        let content = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let start = self.list.knocks.len();
        let is_gap = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
        let mut column = 0;
        for word in content.split(is_gap) {
            if !word.is_empty() {
                let knock = self.knock(start, word);
                match knock {
                    Ok(port) => self.list.knocks.push(port),
                    Err(what) => self.complain(number, column, &what),
                }
            }
            column += word.len() + 1;
        }
        if self.list.knocks.len() > start {
            self.list.ends.push(self.list.knocks.len());
        }
    }

    /// Reads the next knock of the sequence that began at `start`.
    fn knock(&mut self, start: usize, word: &[u8]) -> Result<Port, String> {
        let port = port(word).ok_or_else(|| {
            let word = String::from_utf8_lossy(word);
            let word: String = word.chars().take(40).collect();
            let word = word.escape_default();
            format!(
                "'{word}' is no port; expected a port from 1 to 65535, such as tcp:7000 or 7000:tcp"
            )
        })?;
        let sequence = self.list.knocks.get(start..).unwrap_or_default();
        let name = format!("{}:{}", port.protocol.name(), port.number);
        if sequence.len() >= MAX_STEPS {
            return Err(format!("the sequence has more than {MAX_STEPS} knocks"));
        }
        if self.guarded.contains(&port.into()) {
            return Err(format!(
                "{name} is guarded by a door, so it cannot be knocked on"
            ));
        }
        if let Err(place) = self.list.ports.binary_search(&port) {
            if self.list.ports.len() >= MAX_KNOCK_PORTS {
                return Err(format!(
                    "the list has more than {MAX_KNOCK_PORTS} different ports"
                ));
            }
            self.list.ports.insert(place, port);
        }
        Ok(port)
    }

    fn complain(&mut self, line: usize, offset: usize, what: &str) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(Mistake {
                file: self.path.into(),
                line,
                column: offset + 1,
                what: what.into(),
            });
        }
    }
}

fn port(word: &[u8]) -> Option<Port> {
    let word = str::from_utf8(word).ok()?;
    let (protocol, digits) = match word.split_once(':') {
        None => ("tcp", word),
        Some((protocol @ ("tcp" | "udp"), digits)) | Some((digits, protocol)) => (protocol, digits),
    };
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    // `parse` alone would take a plus sign.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits
        .parse()
        .ok()
        .filter(|number| *number > 0 && is_number)?;
    Some(Port { protocol, number })
}

#[cfg(test)]
mod tests {
    use postern_core::knock::tcp;

    use super::*;
    use crate::testing::scratch::Scratch;

    fn parse(text: impl AsRef<[u8]>) -> Result<List, Vec<String>> {
        let guarded = [tcp(22).into()];
        match List::parse(Path::new("/l"), text.as_ref(), &guarded) {
            Ok(list) => Ok(list),
            Err(Unusable::Mistakes(mistakes)) => {
                Err(mistakes.iter().map(ToString::to_string).collect())
            }
            Err(Unusable::File(unfit)) => panic!("{unfit}"),
        }
    }

    fn words(list: &List, number: usize) -> String {
        let sequence = list.sequence(number).unwrap();
        let word = |port: &Port| format!("{}:{}", port.protocol.name(), port.number);
        sequence.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn both_ways_to_write_a_sequence() {
        let text =
            "# used: 1,2,3\ntcp:7000 udp:8001\t9002 # three\r\n\n  \n7000:tcp,8001:udp, 9002\n1";
        let list = parse(text).ok().unwrap();
        assert_eq!(list.len(), 3);
        assert_eq!(words(&list, 0), "tcp:7000 udp:8001 tcp:9002");
        assert_eq!(words(&list, 1), words(&list, 0));
        assert_eq!(words(&list, 2), "tcp:1");
        assert!(list.sequence(3).is_none());
        assert_eq!(list.ports().len(), 4);
    }

    #[test]
    fn each_mistake_is_named_with_its_place() {
        let text = "tcp:7000 tcp:0\n1,2,1\n\n 22 udp:22\n7000:icmp +5 65536 tcp: : 1:2:tcp\n\u{1b}";
        let mistakes = parse(text).err().unwrap();
        let places: Vec<&str> = mistakes
            .iter()
            .map(|m| m.split(": ").next().unwrap())
            .collect();
        let expected = [
            "/l:1:10", "/l:4:2", "/l:5:1", "/l:5:11", "/l:5:14", "/l:5:20", "/l:5:25", "/l:5:27",
            "/l:6:1",
        ];
        assert_eq!(places, expected);
        assert!(mistakes[1].contains("guarded by a door"));
        assert!(mistakes[8].contains("'\\u{1b}' is no port"));
        assert!(parse(b"\xff\xfe").err().unwrap()[0].contains("/l:1:1: "));
    }

    #[test]
    fn an_empty_list_is_a_mistake() {
        for text in ["", "\n\n", "# nothing"] {
            assert!(parse(text).err().unwrap()[0].contains("the list is empty"));
        }
    }

    #[test]
    fn bounds_hold_and_one_more_is_too_many() {
        let sequence = |length: usize| {
            (1..=length)
                .map(|n| format!("{} ", 100 + n))
                .collect::<String>()
        };
        assert!(parse(sequence(MAX_STEPS)).is_ok());
        assert!(parse(sequence(MAX_STEPS + 1)).err().unwrap()[0].contains("more than 32 knocks"));
        let ports = |count: usize| {
            (1..=count)
                .map(|n| format!("udp:{n}\n"))
                .collect::<String>()
        };
        assert_eq!(
            parse(ports(MAX_KNOCK_PORTS)).ok().unwrap().ports().len(),
            MAX_KNOCK_PORTS
        );
        let mistakes = parse(ports(MAX_KNOCK_PORTS + 1)).err().unwrap();
        assert!(mistakes[0].contains("/l:1025:1: the list has more than 1024"));
        assert_eq!(parse("x\n".repeat(1000)).err().unwrap().len(), MAX_MISTAKES);
    }

    #[test]
    fn a_list_that_is_no_file_of_its_owner_is_refused() {
        let scratch = Scratch::new();
        let read = |path: &Path| List::read(path, &[]).err().map(|why| why.to_string());
        assert_eq!(read(&scratch.file("list", "1 2 3\n")), None);
        let long = scratch.file("long", "# ".repeat(MAX_FILE));
        assert!(read(&long).unwrap().contains("longer than 65536"));
        assert!(
            read(&scratch.path("none"))
                .unwrap()
                .contains("no such file")
        );
        let wrong = scratch.file("wrong", "x y");
        assert!(read(&wrong).unwrap().contains("wrong:1:1: 'x' is no port"));
        assert!(read(&wrong).unwrap().ends_with("(and 1 more mistakes)"));
    }
}
