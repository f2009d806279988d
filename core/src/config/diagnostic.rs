//! What is wrong with a configuration, in words.

use ufmt::{Formatter, uDisplay, uWrite, uwrite};

use super::methods::Methods;
use super::options::{OPTIONS, OptionSpec, Section};
use crate::knock::PortRange;
use crate::uci;

/// The most characters of a value that a diagnostic quotes.
const MAX_QUOTED: usize = 64;

/// One thing that is wrong with a configuration file.
///
/// It displays as what is wrong, and what was expected, on one line of printable ASCII
/// whatever the file holds.
#[derive(Clone, Copy, Debug)]
pub struct Diagnostic<'a> {
    /// From 1.
    pub line: u32,
    /// From 1, counted in bytes.
    pub column: u32,
    /// Whether the configuration is refused for it.
    pub severity: Severity,
    /// What is wrong.
    pub problem: Problem,
    pub(super) details: Details<'a>,
}

/// Whether a configuration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// There is no configuration.
    Error,
    /// It is used as it is.
    Warning,
}

/// What a sentence about a problem can name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Details<'a> {
    /// The section that the problem is in, and its name.
    pub(super) within: Option<(Section, &'a str)>,
    /// The option that the problem is about, where it is a known one.
    pub(super) spec: Option<&'static OptionSpec>,
    /// The word that is wrong. Never that of an option that may be a secret.
    pub(super) value: &'a str,
    /// The name of another section.
    pub(super) other: &'a str,
    /// A limit, or a line.
    pub(super) number: u32,
    /// A word of the grammar.
    pub(super) word: &'static str,
    /// What is guarded.
    pub(super) ports: Option<PortRange>,
}

/// What can be wrong with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not UCI.
    Syntax(uci::Problem),
    /// More named sections than [`super::MAX_SECTIONS`].
    TooManySections,
    /// A section has the name of an earlier one, but another type.
    OtherType,
    /// The section `postern` or `client` is not called `global`.
    NotGlobal,
    /// A section of a router's configuration in a client's file.
    RouterSection,
    /// A section of a client's file in a router's configuration.
    ClientSection,
    /// A door without a name.
    Anonymous,
    /// A door's name is too long or does not begin with a letter.
    DoorName,
    /// A second door, or button, of the same name.
    DoorTwice,
    /// More doors than [`crate::door::MAX_DOORS`].
    TooManyDoors,
    /// A required option is not there.
    Missing,
    /// `list` where one value is expected.
    NotAList,
    /// More values than the list can hold.
    TooManyValues,
    /// A value that cannot be read.
    BadValue,
    /// A word that is none of those expected.
    UnknownWord,
    /// A number or a time outside of its limits.
    OutOfRange,
    /// The loopback interface.
    Loopback,
    /// More than the name of an interface, as other programs show it.
    MoreThanName,
    /// What stands for several interfaces to other programs.
    Wildcard,
    /// An interface that was named before.
    InterfaceTwice,
    /// An interface that is not among those that are guarded.
    NotGuarded,
    /// An address with bits behind its prefix.
    HostBits,
    /// A network that overlaps one that was named before.
    NetworkTwice,
    /// A port that was guarded before by this door.
    GuardTwice,
    /// Another end of connections than a door has that guards one of the ports too.
    ExpiryDiffers,
    /// A guarded port that some door knocks on.
    GuardIsKnock,
    /// A port to knock on that some door guards.
    KnockIsGuard,
    /// An option that the door's method does not have.
    NotOfMethod,
    /// An option in place of that which says where the method's knocks come from.
    OtherOption,
    /// A one-time method with an engine inside the kernel.
    MethodNeedsDaemon,
    /// An option that engines inside the kernel do not have.
    NeedsDaemon,
    /// More knocks for the kernel to count than [`super::MAX_KERNEL_KNOCKS`].
    TooManyKernelKnocks,
    /// More knocks than the one of a method that begins with `single`.
    NotSingle,
    /// One knock with a method that begins with `sequence`.
    NoSequence,
    /// A base so high that some codes ask for ports beyond 65535.
    BaseTooHigh,
    /// A guarded port among those that codes ask for.
    CodeIsGuard,
    /// A closing knock among those that codes ask for.
    CloseIsCode,
    /// Addresses of this machine for a door of others.
    ToWithBehind,
    /// The end of a door's time is not after its beginning.
    NeverOpen,
    /// Echo requests or passive knocks where there are only sockets.
    NoSockets,
    /// A cut-off of those who use a service.
    PassiveCutoff,
    /// Passive knocks at ports that a file names.
    PassiveList,
    /// A port at which knocks of one door pass on and those of another do not.
    PassiveDiffers,
    /// Echo requests that rules of the kernel would have to tell from each other.
    EchoInKernel,
    /// A ping that everybody makes.
    UsualEcho,
    /// Everybody who uses a service knocks.
    PassiveCosts,
    /// Exempt sources where nothing is dropped.
    ExemptFromMark,
    /// A payload for knocks that carry none.
    PayloadWithoutUdp,
    /// A payload where knocks are lines of a log.
    PayloadInLog,
    /// A datagram where knocks are lines of a log.
    SpaInLog,
    /// A port for datagrams that some door guards.
    SpaPortIsGuard,
    /// A port for datagrams that another door knocks on.
    SpaPortIsKnock,
    /// The closing sequence is the opening one, or one is the beginning of the other.
    SequencesClash,
    /// More knock ports than [`super::MAX_KNOCK_PORTS`].
    TooManyKnockPorts,
    /// Another file's `package`.
    ForeignPackage,
    /// A file with no section of ours.
    ForeignFile,
    /// A section of no known type.
    UnknownSection,
    /// A section whose type is nearly a known one.
    NearSection,
    /// A section of no known type with an option of a door.
    StrayDoor,
    /// An option that its section does not know.
    UnknownOption,
    /// An option whose name is nearly a known one.
    NearOption,
    /// An option of another section.
    OptionElsewhere,
    /// A second `option` where there is one for all values: it replaces them.
    ListTwice,
    /// An option without a value.
    EmptyOption,
    /// An option that was given before.
    OptionTwice,
    /// Nothing is guarded, and nobody said that this is meant.
    NoDoors,
    /// There is no door, and need not be.
    Doorless,
    /// A port before its protocol.
    PortFirst,
    /// Another door opens by the same knocks, or by the first of them.
    SameSequence,
    /// One knock opens the door.
    SingleKnock,
    /// The opening sequence is in the order of a port scan.
    Ascending,
    /// The opening sequence has one port only.
    OnePort,
    /// The grant is too short to connect.
    ShortGrant,
    /// The grant is for many addresses.
    WidePrefix,
    /// Codes can be tried one after the other.
    NoCutoff,
    /// One guess at a code is worth too much.
    Guessable,
    /// Scans on end open the door.
    Scannable,
    /// Scans on end open the door, and there can be no cut-off.
    ScannableInKernel,
    /// Two doors take their knocks from one file.
    FileShared,
    /// A folder that a reboot empties.
    Volatile,
    /// A log that does not say who wrote a line.
    Forgeable,
    /// More knock ports than [`super::MAX_SOCKETS`], each of which takes a socket.
    TooManySockets,
    /// Everybody can see which ports are knocked on.
    SocketsShow,
}

impl Problem {
    /// Whether a configuration is refused for it.
    pub const fn severity(self) -> Severity {
        match self {
            Self::UnknownSection
            | Self::UnknownOption
            | Self::EmptyOption
            | Self::OptionTwice
            | Self::Doorless
            | Self::SameSequence
            | Self::SingleKnock
            | Self::Ascending
            | Self::OnePort
            | Self::PassiveCosts
            | Self::UsualEcho
            | Self::ShortGrant
            | Self::WidePrefix
            | Self::NoCutoff
            | Self::Guessable
            | Self::Scannable
            | Self::ScannableInKernel
            | Self::FileShared
            | Self::Volatile
            | Self::Forgeable
            | Self::SocketsShow => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// The sentence, with the [`Details`] it names in braces.
    const fn template(self) -> &'static str {
        match self {
            Self::Syntax(problem) => syntax_template(problem),
            Self::TooManySections => "too many named sections, expected at most {number}",
            Self::OtherType => {
                "section {value} has another type at line {number}, expected one type for each name"
            }
            Self::NotGlobal => "unknown name {value} of section {word}, expected 'global'",
            Self::RouterSection => {
                "section postern belongs to a router's configuration, \
                 expected client in a client's file"
            }
            Self::ClientSection => {
                "section client belongs to a client's file, \
                 expected postern in a router's configuration"
            }
            Self::Anonymous => "a door without a name, expected config door 'NAME'",
            Self::DoorName => {
                "bad name {value}, expected a letter and up to {number} more letters, digits and _"
            }
            Self::DoorTwice => {
                "{word} {value} is already there at line {number}, expected another name"
            }
            Self::TooManyDoors => "too many doors, expected at most {number}",
            Self::Missing => "{option} is missing, expected {expected}",
            Self::NotAList => "list {option} where there is one value, expected option {option}",
            Self::TooManyValues => "too many values of {option}, expected at most {number}",
            Self::BadValue => "bad {option} {value}, expected {expected}",
            Self::UnknownWord => "unknown {option} {value}, expected {expected}",
            Self::OutOfRange => "{option} {value} is out of range, expected {expected}",
            Self::Loopback => "{option} {value} is never guarded, expected another one",
            Self::MoreThanName => {
                "bad {option} {value}, expected the name alone: without @ or : and what follows"
            }
            Self::Wildcard => {
                "{option} {value} stands for none, expected the name of each, one by one"
            }
            Self::InterfaceTwice => "{option} {value} is there twice, expected each once",
            Self::NotGuarded => {
                "{option} {value} is none of the guarded interfaces, expected one that section postern lists"
            }
            Self::HostBits => {
                "{option} {value} has bits behind its prefix, expected zeros there: the first address of the network"
            }
            Self::NetworkTwice => {
                "{option} {value} has addresses of another one, expected each address once"
            }
            Self::GuardTwice => {
                "{option} {value} is guarded by this door already, expected each port once"
            }
            Self::ExpiryDiffers => {
                "{option} is not what door {other} has, which guards {ports} too, expected the same: \
                 a connection does not say whose grant let it in"
            }
            Self::GuardIsKnock => {
                "{option} {value} is a port that door {other} knocks on, \
                 expected a port that no door knocks on: who knocks there would need what the knock is to open"
            }
            Self::KnockIsGuard => {
                "{option} {value} is guarded by door {other}, expected a port that no door guards: \
                 who knocks there would need what the knock is to open"
            }
            Self::NotOfMethod => {
                "{option} belongs to method {methods}, expected none with method {value}"
            }
            Self::OtherOption => {
                "{option} belongs to method {methods}, expected {word} with method {value}"
            }
            Self::MethodNeedsDaemon => {
                "{option} {value} needs engine daemon, \
                 expected one that begins with single or sequence with engine {word}"
            }
            Self::NeedsDaemon => "{option} needs engine daemon, expected none with engine {word}",
            Self::TooManyKernelKnocks => {
                "too many knocks in all doors of engines chain and track together, \
                 expected at most {number}"
            }
            Self::NotSingle => {
                "more than one port to {option}, expected one, or a method that begins with sequence"
            }
            Self::NoSequence => {
                "one port to open is no sequence, \
                 expected two or more, or a method that begins with single"
            }
            Self::BaseTooHigh => {
                "{option} is so high that codes ask for ports beyond 65535, \
                 expected at most {number}"
            }
            Self::CodeIsGuard => {
                "a code can ask for a port that door {other} guards, expected another {option}"
            }
            Self::CloseIsCode => {
                "a code can ask for a port of {option}, \
                 expected ports other than the {number} from base on"
            }
            Self::ToWithBehind => {
                "{option} is an address of this machine, and the door guards hosts behind it, \
                 expected one of to and behind"
            }
            Self::NeverOpen => {
                "{option} is not after not_before, so that the door would never open, expected a later moment"
            }
            Self::NoSockets => {
                "{option} asks for knocks that source sockets cannot hear, expected source nflog, packet or log"
            }
            Self::PassiveCutoff => {
                "{option} would silence those who use the service that knocks pass on to, expected none with passive"
            }
            Self::PassiveList => {
                "{option} is not for the ports of a list, expected another method: a file can change which ports those are"
            }
            Self::PassiveDiffers => {
                "{option} is not the same at door {other}, which knocks at the same port, expected the same for both: \
                 a packet passes on or is taken from the service"
            }
            Self::EchoInKernel => {
                "{option} has an echo request that rules of the kernel cannot tell from the same one sent again, \
                 expected engine daemon, or another knock in its place"
            }
            Self::UsualEcho => {
                "an echo request of {number} octets is what ping sends unless it is told otherwise, expected another length"
            }
            Self::PassiveCosts => {
                "{option} takes every connection to the service, and every UDP packet, for a knock, expected ports that \
                 few use: each is looked at, and nobody who guesses knocks is cut off"
            }
            Self::ExemptFromMark => {
                "{option} is for guard gate: behind guard mark the firewall decides, expected a rule of its own that \
                 accepts them"
            }
            Self::PayloadWithoutUdp => {
                "no knock is UDP, expected at least one, or no {option}: a TCP SYN carries nothing"
            }
            Self::PayloadInLog => {
                "source log does not see what a packet carries, expected no {option}"
            }
            Self::SpaInLog => {
                "source log does not see what a datagram carries, expected source nflog, packet or sockets"
            }
            Self::SpaPortIsGuard => {
                "the port for datagrams is guarded by door {other}, expected another {option}"
            }
            Self::SpaPortIsKnock => {
                "one of its ports is one of door {other} too, whose method is another, expected another port for datagrams"
            }
            Self::SequencesClash => {
                "one of open and close begins with all of the other, \
                 expected sequences that cannot be mistaken"
            }
            Self::TooManyKnockPorts => {
                "too many ports to knock on in all doors together, expected at most {number}"
            }
            Self::ForeignPackage => "package {value}, expected postern or no package at all",
            Self::ForeignFile => {
                "there is no section of Postern's here, \
                 expected config postern 'global' and a config door 'NAME'"
            }
            Self::UnknownSection => {
                "unknown section type {value}, expected {word} or door; its options are ignored"
            }
            Self::NearSection => "unknown section type {value}, did you mean {word}?",
            Self::StrayDoor => {
                "unknown section type {value} with option {other} of a door, did you mean door?"
            }
            Self::NearOption => "unknown option {value}, did you mean {option}?",
            Self::OptionElsewhere => "option {value} belongs to section {word}, expected it there",
            Self::ListTwice => {
                "{option} is already there at line {number}, expected list {option} for each value"
            }
            Self::UnknownOption => "unknown option {value}, expected {options}; it is ignored",
            Self::EmptyOption => "{option} has no value, expected {expected}; it is ignored",
            Self::OptionTwice => {
                "{option} is already there at line {number}, expected it once; the last one counts"
            }
            Self::NoDoors => {
                "there is no door, expected at least one config door 'NAME', \
                 or option enabled '0' to guard nothing"
            }
            Self::Doorless => "there is no door, expected at least one config door 'NAME'",
            Self::PortFirst => {
                "{option} {value} has the port first, \
                 expected the protocol first, as in {option} '{swapped}'"
            }
            Self::SameSequence => {
                "door {other} opens by the same ports, or by the first of them, \
                 expected other ports, or one door with a list guard for each port"
            }
            Self::SingleKnock => {
                "a single knock opens and any port scan makes it, \
                 expected a method that begins with sequence, or UDP and a payload of your own bytes"
            }
            Self::Ascending => {
                "the ports to open ascend, expected another order, such as the last one first: \
                 a port scan would open the door"
            }
            Self::OnePort => {
                "all knocks to open are at one port, expected another one between them: \
                 whoever tries to connect there a few times opens the door"
            }
            Self::ShortGrant => "{option} is hardly long enough to connect, expected 1s or more",
            Self::WidePrefix => {
                "{option} lets in many neighbours of whoever knocks, expected {number} or more"
            }
            Self::NoCutoff => {
                "a code of {number} digits can be guessed by trying, \
                 expected option cutoff, such as 5 per 10m"
            }
            Self::Guessable => {
                "codes are guessed so easily that it asks for two in a row, expected option digits 8, \
                 or a smaller look_ahead or skew"
            }
            Self::Scannable => {
                "port scans on end can open it by chance, \
                 expected option cutoff, such as 5 per 10m"
            }
            Self::ScannableInKernel => {
                "port scans on end can open it by chance, \
                 expected three ports to open, or engine daemon and option cutoff"
            }
            Self::FileShared => {
                "{option} {value} is that of door {other} too, \
                 expected a file for each door: what one has used may open the other"
            }
            Self::Volatile => {
                "a reboot empties the folder of {option} {value}, expected one that lasts"
            }
            Self::Forgeable => {
                "{option} {value} cannot tell the kernel's lines from those that users forge, \
                 expected /dev/kmsg"
            }
            Self::TooManySockets => {
                "{option} sockets takes one for each of {number} ports, expected at most 4000, \
                 or nflog or packet: a code of 8 digits has 10000 ports, and to listen at the \
                 current code's alone would show it to a port scan"
            }
            Self::SocketsShow => {
                "{option} sockets answers at every knock port, which a port scan sees, \
                 expected nflog or packet where the kernel has them"
            }
        }
    }
}

const fn syntax_template(problem: uci::Problem) -> &'static str {
    match problem {
        uci::Problem::FileTooLarge => "the file is too large, expected at most {number} bytes",
        uci::Problem::Nul => "a byte of value zero, expected text",
        uci::Problem::Unterminated => {
            "a quote that ends in the wrong place or nowhere, expected the same quote after the value"
        }
        uci::Problem::WordTooLong => "a word is too long, expected at most {number} bytes",
        uci::Problem::NotUtf8 => "a word is not UTF-8, expected text",
        uci::Problem::UnknownStatement => {
            "unknown statement, expected package, config, option or list"
        }
        uci::Problem::ByteOrderMark => {
            "a byte order mark, expected none: save the file as UTF-8 without BOM"
        }
        uci::Problem::Utf16 => "the file is UTF-16, expected UTF-8 without BOM",
        uci::Problem::OtherGrammar => {
            "this is the grammar of knockd.conf or the like, expected config door 'NAME', \
             list guard 'tcp:22', option method 'sequence-separate' and a list open 'tcp:PORT' for \
             each knock; nothing is read from here on"
        }
        uci::Problem::EmptyStatement => "a ; with nothing after it, expected a statement",
        uci::Problem::PackageWithoutName => "package without a name, expected package postern",
        uci::Problem::ConfigWithoutType => "config without a type, expected config TYPE 'NAME'",
        uci::Problem::OptionWithoutName => "nothing is named, expected a name and a 'VALUE'",
        uci::Problem::TooManyWords => {
            "a word too many, expected the end of the line, or quotes around the whole value"
        }
        uci::Problem::InvalidName => {
            "a character that names do not have, expected letters, digits and _ only"
        }
        uci::Problem::HyphenInName => {
            "a name with -, expected _ in its place, as in my_door: letters, digits and _ only"
        }
        uci::Problem::InvalidType => {
            "a character that section types do not have, expected printable ASCII without spaces"
        }
        uci::Problem::OutsideSection => "an option outside of a section, expected config first",
        uci::Problem::Hidden => {
            "what follows a ; that touches a word is ignored, expected a line of its own"
        }
    }
}

impl uDisplay for Diagnostic<'_> {
    fn fmt<W>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error>
    where
        W: uWrite + ?Sized,
    {
        if let Some((section, name)) = self.details.within {
            f.write_str(section.name())?;
            f.write_str(" ")?;
            quote(f, name)?;
            f.write_str(": ")?;
        }
        // Every second piece was between braces.
        for (index, piece) in self.problem.template().split(['{', '}']).enumerate() {
            match index % 2 {
                0 => f.write_str(piece)?,
                _ => self.details.field(f, piece)?,
            }
        }
        Ok(())
    }
}

impl Details<'_> {
    fn field<W>(&self, f: &mut Formatter<'_, W>, field: &str) -> Result<(), W::Error>
    where
        W: uWrite + ?Sized,
    {
        match field {
            "value" => quote(f, self.value),
            "other" => quote(f, self.other),
            "number" => uwrite!(f, "{}", self.number),
            "ports" => self.ports.map_or(Ok(()), |ports| uwrite!(f, "{}", ports)),
            "word" => f.write_str(self.word),
            "swapped" => {
                let tcp = self.value.strip_suffix(":tcp");
                let udp = self.value.strip_suffix(":udp");
                f.write_str(if tcp.is_some() { "tcp:" } else { "udp:" })?;
                f.write_str(tcp.or(udp).unwrap_or_default())
            }
            "options" => self.options(f),
            "methods" => self.methods(f),
            "option" => f.write_str(self.spec.map_or("option", |spec| spec.name)),
            _ => f.write_str(self.spec.map_or("a value", |spec| spec.expected)),
        }
    }

    /// The methods that the option belongs to.
    fn methods<W>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error>
    where
        W: uWrite + ?Sized,
    {
        let methods = self.spec.map_or(Methods::ALL, |spec| spec.methods);
        let last = methods.names().count().saturating_sub(1);
        for (index, name) in methods.names().enumerate() {
            f.write_str(match index {
                0 => "",
                _ if index == last => " or ",
                _ => ", ",
            })?;
            f.write_str(name)?;
        }
        Ok(())
    }

    /// All options of the section.
    fn options<W>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error>
    where
        W: uWrite + ?Sized,
    {
        let section = self.within.map(|(section, _)| section);
        let known = OPTIONS.iter().filter(|spec| Some(spec.section) == section);
        for (index, spec) in known.enumerate() {
            f.write_str(if index == 0 { "one of " } else { ", " })?;
            f.write_str(spec.name)?;
        }
        Ok(())
    }
}

/// Writes a text between quotes, all but printable ASCII escaped: a file must not drive
/// the terminal that its mistakes are printed on.
///
/// It stops at the end of a line. Where a quote was left open, the next line is part of the
/// value, and may be a secret.
fn quote<W>(f: &mut Formatter<'_, W>, text: &str) -> Result<(), W::Error>
where
    W: uWrite + ?Sized,
{
    let mut characters = text.chars();
    f.write_str("'")?;
    for character in characters.by_ref().take(MAX_QUOTED) {
        if character == '\n' {
            return f.write_str("...'");
        }
        for escaped in character.escape_default() {
            f.write_char(escaped)?;
        }
    }
    let more = characters.next().is_some();
    f.write_str(if more { "...'" } else { "'" })
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[test]
    fn nothing_but_printable_ascii_is_quoted() {
        struct Text(String);
        impl uWrite for Text {
            type Error = core::convert::Infallible;
            fn write_str(&mut self, text: &str) -> Result<(), Self::Error> {
                self.0.push_str(text);
                Ok(())
            }
        }
        for (text, quoted) in [
            ("ssh", "'ssh'"),
            ("it's", "'it\\'s'"),
            ("\x1b[2J\x07\r", "'\\u{1b}[2J\\u{7}\\r'"),
            ("mark\n\toption seed JBSW", "'mark...'"),
            ("\u{9b}\u{202e}é", "'\\u{9b}\\u{202e}\\u{e9}'"),
        ] {
            let mut written = Text(String::new());
            let Ok(()) = quote(&mut Formatter::new(&mut written), text);
            assert_eq!(written.0, quoted);
        }
        let mut written = Text(String::new());
        let Ok(()) = quote(
            &mut Formatter::new(&mut written),
            &"x".repeat(MAX_QUOTED + 1),
        );
        assert_eq!(written.0.len(), MAX_QUOTED + 5);
    }
}
