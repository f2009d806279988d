//! Every option: what it is called, what it means, and how its value is read.

use core::ops::RangeInclusive;

use heapless::{String, Vec};

use super::{Config, Guard, Interface, MAX_INTERFACES, Problem, Source};
use crate::config::{DEFAULT_CONTROL, MAX_PATH};
use crate::door::{Cutoff, Door, MAX_GUARDS, MAX_STEPS, Method, Name, Sequence};
use crate::knock::{Port, Protocol};
use crate::method;
use crate::time::{Duration, DurationError};

/// The types of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `config postern 'global'`
    Postern,
    /// `config door 'NAME'`
    Door,
}

impl Section {
    /// The type as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postern => "postern",
            Self::Door => "door",
        }
    }
}

/// An option of a section: the parser reads it by this, and documentation is made of it.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The name as it is written.
    pub name: &'static str,
    /// The section it belongs to.
    pub section: Section,
    /// What happens where it is left out.
    pub presence: Presence,
    /// What kind of thing a value is.
    pub unit: &'static str,
    /// The values that are accepted.
    pub expected: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Whether its values are kept out of every message.
    pub secret: bool,
    pub(super) kind: Kind,
}

impl OptionSpec {
    /// The most values of a `list`; `None` where there is one value, an `option`.
    pub const fn limit(&self) -> Option<usize> {
        match self.kind {
            Kind::One(_) => None,
            Kind::Many { limit, .. } => Some(limit),
        }
    }
}

/// What happens where an option is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The configuration is refused.
    Required,
    /// It has no value.
    Optional,
    /// It has this value.
    Default(&'static str),
}

/// How values are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The value replaces the one before.
    One(Setter),
    /// The value is added to the list.
    Many {
        add: Setter,
        clear: fn(&mut Draft<'_>),
        limit: usize,
    },
}

pub(super) type Setter = fn(&mut Draft<'_>, &str) -> Result<(), Fault>;

/// The configuration so far, and the door that is being read.
pub(super) struct Draft<'c> {
    pub(super) config: &'c mut Config,
    pub(super) door: Door,
    /// What `door` is knocked on with; its method is made of this when all of it is read.
    pub(super) open: Sequence,
    pub(super) close: Sequence,
}

/// Why a value is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) problem: Problem,
    /// The door that the value is in conflict with.
    pub(super) other: Name,
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let other = Name::new();
        Self { problem, other }
    }
}

const LONGEST_WINDOW: Duration = Duration::from_secs(3_600);
const LONGEST_CUTOFF: Duration = Duration::from_secs(30 * 86_400);

/// Every option of every section.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "source",
        section: Section::Postern,
        presence: Presence::Default("nflog"),
        unit: "word",
        expected: "nflog",
        meaning: "where knocks are seen: nflog is a rule that copies packets to a netlink group",
        secret: false,
        kind: Kind::One(source),
    },
    OptionSpec {
        name: "guard",
        section: Section::Postern,
        presence: Presence::Default("gate"),
        unit: "word",
        expected: "gate or mark",
        meaning: "what keeps doors shut: gate drops new connections itself, mark lets an \
                  accepting rule of the firewall ask for a mark",
        secret: false,
        kind: Kind::One(guard),
    },
    OptionSpec {
        name: "interface",
        section: Section::Postern,
        presence: Presence::Required,
        unit: "interface",
        expected: "a network interface such as wan, 1 to 15 bytes of printable ASCII \
                   without spaces and / : * \" \\",
        meaning: "an interface that is guarded and on which knocks are heard",
        secret: false,
        kind: Kind::Many {
            add: interface,
            clear: |draft| draft.config.global.interfaces.clear(),
            limit: MAX_INTERFACES,
        },
    },
    OptionSpec {
        name: "mark",
        section: Section::Postern,
        presence: Presence::Default("0x10000000"),
        unit: "hexadecimal number",
        expected: "a hexadecimal number from 0x1 to 0xffffffff",
        meaning: "the bits that guard mark sets on packets of granted sources",
        secret: false,
        kind: Kind::One(mark),
    },
    OptionSpec {
        name: "nflog_group",
        section: Section::Postern,
        presence: Presence::Default("5"),
        unit: "number",
        expected: "a number from 1 to 65535",
        meaning: "the netlink group of source nflog; 0 is the kernel's own log",
        secret: false,
        kind: Kind::One(nflog_group),
    },
    OptionSpec {
        name: "control",
        section: Section::Postern,
        presence: Presence::Default(DEFAULT_CONTROL),
        unit: "path",
        expected: "an absolute path of at most 107 bytes",
        meaning: "where the control socket lies",
        secret: false,
        kind: Kind::One(control),
    },
    OptionSpec {
        name: "state_dir",
        section: Section::Postern,
        presence: Presence::Default("/etc/postern/state"),
        unit: "path",
        expected: "an absolute path of at most 107 bytes",
        meaning: "the folder of what one-time methods remember",
        secret: false,
        kind: Kind::One(state_dir),
    },
    OptionSpec {
        name: "guard",
        section: Section::Door,
        presence: Presence::Required,
        unit: "port",
        expected: PORT,
        meaning: "a port that stays shut unless a source was granted access",
        secret: false,
        kind: Kind::Many {
            add: guard_port,
            clear: |draft| draft.door.guards.clear(),
            limit: MAX_GUARDS,
        },
    },
    OptionSpec {
        name: "method",
        section: Section::Door,
        presence: Presence::Required,
        unit: "word",
        expected: "sequence-separate",
        meaning: "how the ports to knock are chosen: sequence-separate has one sequence that \
                  opens and another that closes",
        secret: false,
        kind: Kind::One(method),
    },
    OptionSpec {
        name: "open",
        section: Section::Door,
        presence: Presence::Required,
        unit: "port",
        expected: PORT,
        meaning: "a port to knock on to open the door, in the order of the file",
        secret: false,
        kind: Kind::Many {
            add: |draft, text| knock(draft, text, |draft| &mut draft.open),
            clear: |draft| draft.open.clear(),
            limit: MAX_STEPS,
        },
    },
    OptionSpec {
        name: "close",
        section: Section::Door,
        presence: Presence::Optional,
        unit: "port",
        expected: PORT,
        meaning: "a port to knock on to close the door, in the order of the file; without any, \
                  only time closes it",
        secret: false,
        kind: Kind::Many {
            add: |draft, text| knock(draft, text, |draft| &mut draft.close),
            clear: |draft| draft.close.clear(),
            limit: MAX_STEPS,
        },
    },
    OptionSpec {
        name: "window",
        section: Section::Door,
        presence: Presence::Default("10s"),
        unit: "time",
        expected: "a time above 0 and up to 1h, such as 10s",
        meaning: "the time from the first knock of an attempt to its last",
        secret: false,
        kind: Kind::One(window),
    },
    OptionSpec {
        name: "grant",
        section: Section::Door,
        presence: Presence::Default("30s"),
        unit: "time",
        expected: "a time above 0 and up to 365d, such as 30s",
        meaning: "how long a source may open new connections after its knocks",
        secret: false,
        kind: Kind::One(grant),
    },
    OptionSpec {
        name: "cutoff",
        section: Section::Door,
        presence: Presence::Optional,
        unit: "number per time",
        expected: "failures, 1 to 1000, per a time above 0 and up to 30d, such as 5 per 10m",
        meaning: "how many failed attempts within which time silence a source for as long",
        secret: false,
        kind: Kind::One(cutoff),
    },
];

const PORT: &str = "tcp or udp, a colon, and a port from 1 to 65535, such as tcp:22";

/// A door with nothing but a name.
const fn blank_door(name: Name) -> Door {
    Door {
        name,
        guards: Vec::new(),
        method: Method::Separate {
            open: Sequence::new(),
            close: Sequence::new(),
        },
        payload: None,
        window: Duration::from_millis(0),
        jitter: Duration::from_millis(0),
        grant_prefix4: 32,
        grant_prefix6: 128,
        grant: Duration::from_millis(0),
        decoys: 0,
        cutoff: None,
    }
}

impl<'c> Draft<'c> {
    pub(super) const fn new(config: &'c mut Config) -> Self {
        Self {
            config,
            door: blank_door(Name::new()),
            open: Sequence::new(),
            close: Sequence::new(),
        }
    }

    /// Begins another door.
    pub(super) fn begin(&mut self, name: Name) {
        self.door = blank_door(name);
        self.open.clear();
        self.close.clear();
    }

    /// Adds the door that was read to the others; there is room for it.
    pub(super) fn end(&mut self) {
        let mut door = core::mem::replace(&mut self.door, blank_door(Name::new()));
        door.method = Method::Separate {
            open: self.open.clone(),
            close: self.close.clone(),
        };
        _ = self.config.doors.push(door);
    }

    /// Whether a door, perhaps the one being read, is knocked on at this port.
    fn knocks_on(&self, door: &Door, port: Port) -> bool {
        let is_port = |step: &Port| *step == port;
        match door.name == self.door.name {
            true => self.open.iter().chain(&self.close).any(is_port),
            false => method::watches(door, port),
        }
    }

    /// A fault that names the first door, the one being read included, of which `holds`.
    fn conflict(&self, problem: Problem, holds: impl FnMut(&&Door) -> bool) -> Result<(), Fault> {
        let mut doors = self.config.doors.iter().chain([&self.door]);
        match doors.find(holds) {
            Some(door) => Err(Fault {
                problem,
                other: door.name.clone(),
            }),
            None => Ok(()),
        }
    }
}

fn source(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.config.global.source = match text {
        "nflog" => Source::Nflog,
        "packet" | "sockets" | "log" => return Err(Problem::NotYet.into()),
        _ => return Err(Problem::UnknownWord.into()),
    };
    Ok(())
}

fn guard(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.config.global.guard = match text {
        "gate" => Guard::Gate,
        "mark" => Guard::Mark,
        _ => return Err(Problem::UnknownWord.into()),
    };
    Ok(())
}

/// The kernel refuses `/`, `:`, white space, `.` and `..` (`dev_valid_name` in
/// net/core/dev.c). To nft, `*` is a wildcard, and `"` and `\` do not fit in its strings.
fn interface(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    let name = Interface::try_from(text).map_err(|_| Problem::BadValue)?;
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"/:*\"\\".contains(&byte);
    if text.is_empty() || text == "." || text == ".." || !text.bytes().all(allowed) {
        return Err(Problem::BadValue.into());
    }
    if text == "lo" {
        return Err(Problem::Loopback.into());
    }
    if draft.config.global.interfaces.contains(&name) {
        return Err(Problem::InterfaceTwice.into());
    }
    push(&mut draft.config.global.interfaces, name)
}

fn mark(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    let digits = text.strip_prefix("0x").ok_or(Problem::BadValue)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Problem::BadValue.into());
    }
    match u32::from_str_radix(digits, 16) {
        Err(_) | Ok(0) => Err(Problem::OutOfRange.into()),
        Ok(mark) => {
            draft.config.global.mark = mark;
            Ok(())
        }
    }
}

fn nflog_group(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.config.global.nflog_group = number(text, 1..=u16::MAX)?;
    Ok(())
}

fn control(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.config.global.control = path(text)?;
    Ok(())
}

fn state_dir(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.config.global.state_dir = path(text)?;
    Ok(())
}

fn path(text: &str) -> Result<String<MAX_PATH>, Problem> {
    if !text.starts_with('/') || text.ends_with('/') || text.chars().any(char::is_control) {
        return Err(Problem::BadValue);
    }
    String::try_from(text).map_err(|_| Problem::BadValue)
}

fn guard_port(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    let port = port(text)?;
    draft.conflict(Problem::GuardTwice, |door| door.guards.contains(&port))?;
    draft.conflict(Problem::GuardIsKnock, |door| draft.knocks_on(door, port))?;
    push(&mut draft.door.guards, port)
}

fn method(_: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    match text {
        "sequence-separate" => Ok(()),
        "single-same" | "single-separate" | "sequence-same" | "one-time-list"
        | "one-time-clock" | "one-time-seed" => Err(Problem::NotYet.into()),
        _ => Err(Problem::UnknownWord.into()),
    }
}

fn knock(
    draft: &mut Draft<'_>,
    text: &str,
    sequence: for<'d> fn(&'d mut Draft<'_>) -> &'d mut Sequence,
) -> Result<(), Fault> {
    let port = port(text)?;
    draft.conflict(Problem::KnockIsGuard, |door| door.guards.contains(&port))?;
    let sequence = sequence(draft);
    if sequence.contains(&port) {
        return Err(Problem::KnockTwice.into());
    }
    push(sequence, port)
}

fn window(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.door.window = time(text, LONGEST_WINDOW)?;
    Ok(())
}

fn grant(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    draft.door.grant = time(text, Duration::LONGEST)?;
    Ok(())
}

fn cutoff(draft: &mut Draft<'_>, text: &str) -> Result<(), Fault> {
    let mut words = text.split_ascii_whitespace();
    let (Some(failures), Some("per"), Some(within), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Problem::BadValue.into());
    };
    draft.door.cutoff = Some(Cutoff {
        failures: number(failures, 1..=1000)?,
        within: time(within, LONGEST_CUTOFF)?,
    });
    Ok(())
}

fn push<T, const N: usize>(list: &mut Vec<T, N>, value: T) -> Result<(), Fault> {
    list.push(value).map_err(|_| Problem::TooManyValues.into())
}

fn port(text: &str) -> Result<Port, Problem> {
    let (protocol, digits) = match text.split_once(':') {
        None => (Protocol::Tcp, text),
        Some(("tcp", digits)) => (Protocol::Tcp, digits),
        Some(("udp", digits)) => (Protocol::Udp, digits),
        Some(_) => return Err(Problem::BadValue),
    };
    let number = number(digits, 1..=u16::MAX)?;
    Ok(Port { protocol, number })
}

fn number(text: &str, range: RangeInclusive<u16>) -> Result<u16, Problem> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::BadValue);
    }
    let number = text.parse().map_err(|_| Problem::OutOfRange)?;
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(Problem::OutOfRange)
    }
}

fn time(text: &str, longest: Duration) -> Result<Duration, Problem> {
    match Duration::parse(text) {
        Err(DurationError::Number | DurationError::Unit) => Err(Problem::BadValue),
        Ok(time) if time > Duration::default() && time <= longest => Ok(time),
        Ok(_) | Err(DurationError::Range) => Err(Problem::OutOfRange),
    }
}
