//! Statements in, a configuration and its diagnostics out.

use heapless::Vec;

use super::diagnostic::Details;
use super::options::{Draft, Kind, OptionSpec, Setter};
use super::{
    Config, Diagnostic, MAX_KNOCK_PORTS, MAX_SECTIONS, OPTIONS, Presence, Problem, Section,
    Severity,
};
use crate::door::{MAX_DOORS, MAX_NAME, Name, Sequence};
use crate::knock::Port;
use crate::method;
use crate::time::Duration;
use crate::uci::{
    self, Cursor, Keyword, MAX_FILE, MAX_WORD, Position, Statement, Statements, SyntaxError, Word,
};

type Report<'r> = &'r mut dyn FnMut(&Diagnostic<'_>);

/// Reads `text` into an empty `config`; whether there was no error.
pub(super) fn read(text: &[u8], config: &mut Config, report: Report<'_>) -> bool {
    let reader = Reader {
        file: Statements::new(text),
        draft: Draft::new(config),
        section: None,
        section_at: Position::START,
        global_at: Position::START,
        given: [None; OPTIONS.len()],
        sections: Vec::new(),
        knock_ports: 0,
        any_door: false,
        lost: Found::default(),
        failed: Found::default(),
        report,
    };
    reader.read()
}

struct Reader<'t, 'c, 'r> {
    file: Statements<'t>,
    draft: Draft<'c>,
    /// The section that options belong to; `None` while they are ignored.
    section: Option<Section>,
    section_at: Position,
    global_at: Position,
    /// Where each option was first given: in the door being read, or in the global section.
    given: [Option<Position>; OPTIONS.len()],
    /// Where each named section was first opened.
    sections: Vec<Cursor, MAX_SECTIONS>,
    knock_ports: usize,
    any_door: bool,
    /// Whether a statement could not be read.
    lost: Found,
    /// Whether there was an error.
    failed: Found,
    report: Report<'r>,
}

#[derive(Clone, Copy, Default)]
struct Found {
    in_section: bool,
    in_file: bool,
}

impl Found {
    const BOTH: Self = Self {
        in_section: true,
        in_file: true,
    };
}

impl Reader<'_, '_, '_> {
    fn read(mut self) -> bool {
        self.set_defaults(Section::Postern);
        loop {
            let cursor = self.file.cursor();
            let Some(item) = self.file.next() else { break };
            match item {
                Ok(Statement::Package { name }) => self.package(&name),
                Ok(Statement::Config { section, name }) => self.open(cursor, &section, &name),
                Ok(Statement::Option { name, value }) => self.assign(false, &name, &value),
                Ok(Statement::List { name, value }) => self.assign(true, &name, &value),
                Err(error) => self.syntax(error),
            }
        }
        self.end_section();
        self.end_file();
        !self.failed.in_file
    }

    fn syntax(&mut self, error: SyntaxError) {
        if error.keyword == Some(Keyword::Config) {
            self.end_section();
        }
        self.lost = Found::BOTH;
        let number = match error.problem {
            uci::Problem::FileTooLarge => MAX_FILE,
            _ => MAX_WORD,
        };
        let problem = Problem::Syntax(error.problem);
        self.tell(error.position, problem, limit(number));
    }

    fn package(&mut self, name: &Word) {
        if name.text != "postern" {
            self.tell(name.position, Problem::ForeignPackage, word(name));
        }
    }

    fn open(&mut self, cursor: Cursor, section: &Word, name: &Word) {
        self.end_section();
        (self.lost.in_section, self.failed.in_section) = (false, false);
        if !name.text.is_empty() && !self.register(cursor, section, name) {
            return;
        }
        self.section_at = section.position;
        match section.text.as_str() {
            "postern" => self.open_global(name),
            "door" => self.open_door(name),
            _ => self.tell(section.position, Problem::UnknownSection, word(section)),
        }
    }

    /// Notes the name of a section; whether the section is to be read.
    ///
    /// Sections of one name are one section to libuci. A door's options would then come
    /// from two places, most likely because a copy was not renamed: that is refused.
    fn register(&mut self, cursor: Cursor, section: &Word, name: &Word) -> bool {
        let Some((kind, line)) = self.namesake(name) else {
            let fits = self.sections.push(cursor).is_ok();
            if !fits {
                let details = limit(MAX_SECTIONS);
                self.tell(section.position, Problem::TooManySections, details);
            }
            return fits;
        };
        let problem = if kind.text != section.text {
            Problem::OtherType
        } else if kind.text == "door" {
            Problem::DoorTwice
        } else {
            return true;
        };
        let number = line;
        self.tell(
            name.position,
            problem,
            Details {
                number,
                ..word(name)
            },
        );
        false
    }

    /// The type and the line of an earlier section of this name.
    fn namesake(&self, wanted: &Word) -> Option<(Word, u32)> {
        let mut statements = self.sections.iter().map(|at| self.file.resume(*at).next());
        statements.find_map(|statement| match statement {
            Some(Ok(Statement::Config { section, name })) if name.text == wanted.text => {
                let line = section.position.line;
                Some((section, line))
            }
            _ => None,
        })
    }

    fn open_global(&mut self, name: &Word) {
        if name.text != "global" {
            self.tell(name.position, Problem::NotGlobal, word(name));
        }
        self.global_at = self.section_at;
        self.section = Some(Section::Postern);
    }

    fn open_door(&mut self, name: &Word) {
        self.any_door = true;
        if self.draft.config.doors.is_full() {
            let details = limit(MAX_DOORS);
            return self.tell(self.section_at, Problem::TooManyDoors, details);
        }
        let door = self.door_name(name).unwrap_or_default();
        self.draft.begin(door);
        for (given, _) in self
            .given
            .iter_mut()
            .zip(OPTIONS)
            .filter(|(_, spec)| spec.section == Section::Door)
        {
            *given = None;
        }
        self.set_defaults(Section::Door);
        self.section = Some(Section::Door);
    }

    fn door_name(&mut self, name: &Word) -> Option<Name> {
        if name.text.is_empty() {
            self.tell(name.position, Problem::Anonymous, Details::default());
            return None;
        }
        let letter_first = name
            .text
            .starts_with(|first: char| first.is_ascii_alphabetic());
        let door = Name::try_from(name.text.as_str())
            .ok()
            .filter(|_| letter_first);
        if door.is_none() {
            let number = MAX_NAME as u32 - 1;
            self.tell(
                name.position,
                Problem::DoorName,
                Details {
                    number,
                    ..word(name)
                },
            );
        }
        door
    }

    fn set_defaults(&mut self, section: Section) {
        for spec in OPTIONS.iter().filter(|spec| spec.section == section) {
            if let (Presence::Default(text), Kind::One(set)) = (spec.presence, spec.kind) {
                // A test reads every default.
                _ = set(&mut self.draft, text);
            }
        }
    }

    fn assign(&mut self, list: bool, name: &Word, value: &Word) {
        let Some(section) = self.section else { return };
        let Some((index, spec)) = find(section, &name.text) else {
            return self.tell(name.position, Problem::UnknownOption, word(name));
        };
        if !list && value.text.trim_ascii().is_empty() {
            return self.tell_of(spec, name.position, Problem::EmptyOption);
        }
        match spec.kind {
            Kind::One(_) if list => {
                self.given(index, name.position);
                self.tell_of(spec, name.position, Problem::NotAList);
            }
            Kind::One(set) => {
                self.note(index, spec, name);
                self.set(spec, set, &value.text, value.position);
            }
            Kind::Many { add, .. } if list => {
                self.given(index, name.position);
                self.set(spec, add, &value.text, value.position);
            }
            Kind::Many { add, clear, .. } => {
                if self.note(index, spec, name) {
                    clear(&mut self.draft);
                }
                for text in value.text.split_ascii_whitespace() {
                    self.set(spec, add, text, value.position);
                }
            }
        }
    }

    /// Remembers where an option stands; whether it replaces an earlier one.
    fn note(&mut self, index: usize, spec: &'static OptionSpec, name: &Word) -> bool {
        let earlier = self.given(index, name.position);
        self.given
            .get_mut(index)
            .map(|given| given.replace(name.position));
        let Some(earlier) = earlier else { return false };
        let details = Details {
            spec: Some(spec),
            number: earlier.line,
            ..Details::default()
        };
        self.tell(name.position, Problem::OptionTwice, details);
        true
    }

    /// Remembers where an option was first given, and says where it was before.
    fn given(&mut self, index: usize, position: Position) -> Option<Position> {
        let given = self.given.get_mut(index)?;
        let earlier = *given;
        given.get_or_insert(position);
        earlier
    }

    fn set(&mut self, spec: &'static OptionSpec, set: Setter, value: &str, position: Position) {
        let Err(fault) = set(&mut self.draft, value) else {
            return;
        };
        let details = Details {
            spec: Some(spec),
            value: if spec.secret { "(hidden)" } else { value },
            other: &fault.other,
            number: spec.limit().unwrap_or_default() as u32,
            within: None,
        };
        self.tell(position, fault.problem, details);
    }

    /// Ends the section that is being read, if any: what follows belongs to none.
    fn end_section(&mut self) {
        if self.section == Some(Section::Door) {
            if !self.lost.in_section {
                self.require(Section::Door, self.section_at);
            }
            if !self.failed.in_section {
                self.judge();
            }
            self.count_knock_ports();
            // `open_door` made sure that there is room.
            self.draft.end();
        }
        self.section = None;
    }

    fn end_file(&mut self) {
        if self.lost.in_file {
            return;
        }
        self.section = Some(Section::Postern);
        self.require(Section::Postern, self.global_at);
        self.section = None;
        if !self.any_door {
            self.tell(Position::START, Problem::NoDoors, Details::default());
        }
    }

    fn require(&mut self, section: Section, position: Position) {
        for (index, spec) in OPTIONS.iter().enumerate() {
            let given = self.given.get(index).is_some_and(Option::is_some);
            if spec.section == section && spec.presence == Presence::Required && !given {
                self.tell_of(spec, position, Problem::Missing);
            }
        }
    }

    /// Looks at a door that is right so far as a whole.
    fn judge(&mut self) {
        let Draft { open, close, .. } = &self.draft;
        let clash = !open.is_empty() && !close.is_empty();
        let clash = clash && (open.starts_with(close) || close.starts_with(open));
        let (single, ascending) = (open.len() == 1, is_ascending(open));
        if clash {
            self.tell_at_option("close", Problem::SequencesClash);
        }
        if single {
            self.tell_at_option("open", Problem::SingleKnock);
        }
        if ascending {
            self.tell_at_option("open", Problem::Ascending);
        }
        if self.draft.door.grant < Duration::from_secs(1) {
            self.tell_at_option("grant", Problem::ShortGrant);
        }
    }

    /// Counts the ports that this door is the first to knock on.
    fn count_knock_ports(&mut self) {
        let Draft {
            config,
            open,
            close,
            ..
        } = &self.draft;
        let is_new = |port: &&Port| {
            !config
                .doors
                .iter()
                .any(|door| method::watches(door, **port))
        };
        let only_closing = close.iter().filter(|port| !open.contains(port));
        let before = self.knock_ports;
        self.knock_ports += open.iter().chain(only_closing).filter(is_new).count();
        if before <= MAX_KNOCK_PORTS && self.knock_ports > MAX_KNOCK_PORTS {
            let position = self.given_at("open");
            self.tell(position, Problem::TooManyKnockPorts, limit(MAX_KNOCK_PORTS));
        }
    }

    /// Where the door being read first gives an option; where it does not, the door.
    fn given_at(&self, name: &str) -> Position {
        let index = find(Section::Door, name).map(|(index, _)| index);
        let given = index.and_then(|index| *self.given.get(index)?);
        given.unwrap_or(self.section_at)
    }

    fn tell_at_option(&mut self, name: &str, problem: Problem) {
        if let Some((_, spec)) = find(Section::Door, name) {
            self.tell_of(spec, self.given_at(name), problem);
        }
    }

    fn tell_of(&mut self, spec: &'static OptionSpec, position: Position, problem: Problem) {
        let details = Details {
            spec: Some(spec),
            ..Details::default()
        };
        self.tell(position, problem, details);
    }

    fn tell(&mut self, position: Position, problem: Problem, details: Details<'_>) {
        let within = match (problem, self.section) {
            (Problem::Syntax(_) | Problem::ForeignPackage, _) | (_, None) => None,
            (_, Some(Section::Postern)) => Some((Section::Postern, "global")),
            (_, Some(Section::Door)) => Some((Section::Door, self.draft.door.name.as_str())),
        };
        let severity = problem.severity();
        if severity == Severity::Error {
            self.failed = Found::BOTH;
        }
        (self.report)(&Diagnostic {
            line: position.line,
            column: position.column,
            severity,
            problem,
            details: Details { within, ..details },
        });
    }
}

fn find(section: Section, name: &str) -> Option<(usize, &'static OptionSpec)> {
    let mut options = OPTIONS.iter().enumerate();
    options.find(|(_, spec)| spec.section == section && spec.name == name)
}

fn word(word: &Word) -> Details<'_> {
    Details {
        value: &word.text,
        ..Details::default()
    }
}

fn limit(number: usize) -> Details<'static> {
    Details {
        number: number as u32,
        ..Details::default()
    }
}

/// Whether a scan of one protocol's ports in their order knocks in the order of `ports`.
fn is_ascending(ports: &Sequence) -> bool {
    ports.len() > 1
        && ports.windows(2).all(|pair| match pair {
            [first, second] => first.protocol == second.protocol && first.number < second.number,
            _ => false,
        })
}
