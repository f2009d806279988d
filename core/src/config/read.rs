//! Statements in, a configuration and its diagnostics out.

use heapless::Vec;

use super::checks::{self, Check};
use super::diagnostic::Details;
use super::draft::Draft;
use super::methods::Methods;
use super::options::{
    Kind, OptionSpec, Setter, find, knocks_from, known_source, meant, section as section_of,
};
use super::{
    Diagnostic, Guard, Interface, MAX_INTERFACES, MAX_KERNEL_KNOCKS, MAX_KNOCK_PORTS, MAX_SECTIONS,
    MAX_SOCKETS, OPTIONS, Presence, Problem, Section, Severity, Source,
};
use crate::door::{Door, EngineName, MAX_DOORS, MAX_NAME, Name};
use crate::method::{self, MAX_WATCHED, Ports};
use crate::uci::{
    self, Cursor, Keyword, MAX_FILE, MAX_WORD, Position, Statement, Statements, SyntaxError, Word,
};

type Report<'r> = &'r mut dyn FnMut(&Diagnostic<'_>);

/// Reads `text`, whose global section is of this type, into an empty draft; whether there
/// was no error.
pub(super) fn read(
    text: &[u8],
    global: Section,
    mut draft: Draft<'_>,
    needs_door: bool,
    report: Report<'_>,
) -> bool {
    draft.source =
        foretold(text, global, "source", |text| known_source(text).ok()).unwrap_or(draft.source);
    draft.engine = foretold(text, global, "engine", EngineName::parse).unwrap_or(draft.engine);
    if global == Section::Postern {
        draft.interfaces = guarded_interfaces(text);
    }
    let reader = Reader {
        file: Statements::new(text),
        draft,
        global,
        section: None,
        section_at: Position::START,
        global_at: Position::START,
        given: [None; OPTIONS.len()],
        sections: Vec::new(),
        knock_ports: 0,
        kernel_knocks: 0,
        any_door: false,
        needs_door,
        is_stray: false,
        title: heapless::String::new(),
        lost: Found::default(),
        failed: Found::default(),
        report,
    };
    match foreign(text).filter(|_| global == Section::Postern) {
        None => reader.read(),
        Some(position) => {
            let mut reader = reader;
            reader.tell(position, Problem::ForeignFile, Details::default());
            false
        }
    }
}

/// Where a file begins that is another program's: no section of it is ours, or nearly so.
fn foreign(text: &[u8]) -> Option<Position> {
    let mut first = None;
    for statement in Statements::new(text) {
        if let Statement::Config { section, .. } = statement.ok()? {
            if section_of(&section.text).is_some() {
                return None;
            }
            first.get_or_insert(section.position);
        }
    }
    first.or(Some(Position::START))
}

/// A global option, which doors depend on that can stand before it.
pub(super) fn foretold<T>(
    text: &[u8],
    global: Section,
    option: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let (mut within, mut found) = (false, None);
    for statement in Statements::new(text) {
        match statement {
            Ok(Statement::Config { section, .. }) => within = section.text == global.name(),
            Ok(Statement::Option { name, value }) if within && name.text == option => {
                found = read(&value.text).or(found);
            }
            _ => {}
        }
    }
    found
}

/// The interfaces that are guarded, as far as there is room for them; doors can stand before their list.
fn guarded_interfaces(text: &[u8]) -> Vec<Interface, MAX_INTERFACES> {
    let (mut within, mut interfaces) = (false, Vec::new());
    for statement in Statements::new(text) {
        match statement {
            Ok(Statement::Config { section, .. }) => {
                within = section.text == Section::Postern.name()
            }
            Ok(Statement::Option { name, value } | Statement::List { name, value })
                if within && name.text == "interface" =>
            {
                // The same order as the list, to which what is wrong does not belong.
                for name in value.text.split_ascii_whitespace() {
                    _ = Interface::try_from(name).map(|name| interfaces.push(name));
                }
            }
            _ => {}
        }
    }
    interfaces
}

struct Reader<'t, 'c, 'r> {
    file: Statements<'t>,
    draft: Draft<'c>,
    /// The type of the global section: the router's, or a client's.
    global: Section,
    /// The section that options belong to; `None` while they are ignored.
    section: Option<Section>,
    section_at: Position,
    global_at: Position,
    /// Where each option was first given: in the door being read, or in the global section.
    given: [Option<Position>; OPTIONS.len()],
    /// Where each named section was first opened.
    sections: Vec<Cursor, MAX_SECTIONS>,
    knock_ports: usize,
    kernel_knocks: usize,
    any_door: bool,
    needs_door: bool,
    /// Whether the section being read is of an unknown type, and that was not said yet.
    is_stray: bool,
    /// The name of the button being read, or the unknown type.
    title: heapless::String<MAX_WORD>,
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
        if error.problem != uci::Problem::Hidden {
            self.lost = Found::BOTH;
        }
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
        let is_router = self.global == Section::Postern;
        match section_of(&section.text) {
            Some((Section::Postern, _)) if !is_router => {
                self.tell_at(Problem::RouterSection, Details::default());
            }
            Some((Section::Client, _)) if is_router => {
                self.tell_at(Problem::ClientSection, Details::default());
            }
            Some((Section::Door, true)) => self.open_door(name),
            Some((Section::Button, true)) if is_router => self.open_button(name),
            Some((Section::Postern | Section::Client, true)) => self.open_global(name),
            Some((meant, false)) => {
                self.lost.in_file |= meant == self.global;
                self.any_door |= meant == Section::Door;
                let details = Details {
                    word: meant.name(),
                    ..word(section)
                };
                self.tell_at(Problem::NearSection, details);
            }
            _ => {
                self.is_stray = true;
                self.entitle(section);
            }
        }
    }

    fn entitle(&mut self, title: &Word) {
        self.title.clear();
        _ = self.title.push_str(&title.text);
    }

    /// A word, beside what the global section is called in this file.
    fn global_word<'w>(&self, wrong: &'w Word) -> Details<'w> {
        Details {
            word: self.global.name(),
            ..word(wrong)
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
        } else if matches!(kind.text.as_str(), "door" | "button") {
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
                word: match kind.text.as_str() {
                    "button" => "button",
                    _ => "door",
                },
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
            self.tell(name.position, Problem::NotGlobal, self.global_word(name));
        }
        self.global_at = self.section_at;
        self.section = Some(self.global);
    }

    fn open_door(&mut self, name: &Word) {
        self.any_door = true;
        if self.draft.doors.is_full() {
            return self.tell_at(Problem::TooManyDoors, limit(MAX_DOORS));
        }
        let door = self.door_name(name).unwrap_or_default();
        self.draft.begin(door);
        self.begin(Section::Door);
    }

    /// A button concerns a script of OpenWrt's: its options are looked at, and not kept.
    fn open_button(&mut self, name: &Word) {
        self.entitle(name);
        self.begin(Section::Button);
    }

    /// Begins a section of a type that there may be several of.
    fn begin(&mut self, section: Section) {
        let given = self.given.iter_mut().zip(OPTIONS);
        for (given, _) in given.filter(|(_, spec)| spec.section == section) {
            *given = None;
        }
        self.section = Some(section);
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

    fn assign(&mut self, list: bool, name: &Word, value: &Word) {
        let Some(section) = self.section else {
            return self.pass_over(name);
        };
        let Some((index, spec)) = find(section, &name.text) else {
            return self.unknown(section, name);
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

    /// An option in no section that is read: one that makes a door of a section of an unknown
    /// type must not be ignored with it.
    fn pass_over(&mut self, name: &Word) {
        let is_doors = find(Section::Door, &name.text).is_some();
        if is_doors && core::mem::take(&mut self.is_stray) {
            self.any_door = true;
            self.tell_stray(Problem::StrayDoor, &name.text);
        }
    }

    fn tell_stray(&mut self, problem: Problem, option: &str) {
        let title = core::mem::take(&mut self.title);
        let details = Details {
            value: &title,
            other: option,
            word: self.global.name(),
            ..Details::default()
        };
        self.tell_at(problem, details);
    }

    /// An option that its section does not have.
    fn unknown(&mut self, section: Section, name: &Word) {
        if let Some(spec) = meant(section, &name.text) {
            // It is not missing, but written wrong.
            self.lost.in_section = true;
            self.lost.in_file |= section == self.global;
            let details = Details {
                spec: Some(spec),
                ..word(name)
            };
            return self.tell(name.position, Problem::NearOption, details);
        }
        let is_other = |spec: &&OptionSpec| {
            let is_here = spec.section == Section::Door || spec.section == self.global;
            is_here && spec.name == name.text
        };
        let problem = match OPTIONS.iter().find(is_other) {
            Some(spec) => (Problem::OptionElsewhere, spec.section.name()),
            None => (Problem::UnknownOption, ""),
        };
        let details = Details {
            word: problem.1,
            ..word(name)
        };
        self.tell(name.position, problem.0, details);
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
        let problem = match spec.kind {
            Kind::One(_) => Problem::OptionTwice,
            Kind::Many { .. } => Problem::ListTwice,
        };
        self.tell(name.position, problem, details);
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
        let hidden = spec.secret && fault.problem == Problem::BadValue;
        let details = Details {
            spec: Some(spec),
            value: if hidden { "(hidden)" } else { value },
            other: &fault.other,
            number: spec.limit().unwrap_or_default() as u32,
            ..Details::default()
        };
        self.tell(position, fault.problem, details);
    }

    /// Ends the section that is being read, if any: what follows belongs to none.
    fn end_section(&mut self) {
        if self.section == Some(Section::Door) {
            self.check_options(Section::Door, self.section_at);
            let door = self.draft.door.finish();
            if !self.failed.in_section {
                self.check(checks::ERRORS, &door);
            }
            if !self.failed.in_section && self.global == Section::Postern {
                self.check(checks::WARNINGS, &door);
            }
            self.count_knock_ports(&door);
            self.count_kernel_knocks(&door);
            // `open_door` made sure that there is room.
            _ = self.draft.doors.push(door);
        } else if self.section == Some(Section::Button) {
            self.check_options(Section::Button, self.section_at);
        } else if core::mem::take(&mut self.is_stray) {
            self.tell_stray(Problem::UnknownSection, "");
        }
        self.section = None;
    }

    fn end_file(&mut self) {
        if self.lost.in_file {
            return;
        }
        self.lost.in_section = false;
        self.section = Some(self.global);
        self.check_options(self.global, self.global_at);
        self.check_sockets();
        self.check_exempt();
        self.section = None;
        if !self.any_door && self.draft.global.enabled {
            let problem = match self.needs_door {
                true => Problem::NoDoors,
                false => Problem::Doorless,
            };
            self.tell(Position::START, problem, Details::default());
        }
    }

    /// Looks for options that are missing from the section, and those of other methods.
    fn check_options(&mut self, section: Section, position: Position) {
        for (index, spec) in OPTIONS.iter().enumerate() {
            if spec.section != section {
                continue;
            }
            let given = self.given.get(index).copied().flatten();
            match given {
                Some(given) => {
                    self.check_method(spec, given);
                    self.check_engine(spec, given);
                }
                None if !self.lost.in_section && self.requires(spec) => {
                    self.tell_of(spec, position, Problem::Missing);
                }
                None => {}
            }
        }
    }

    /// Whether the section must have the option; with an unknown method, only if any must.
    fn requires(&self, spec: &OptionSpec) -> bool {
        let method = self.draft.door.method;
        let belongs = spec.methods == Methods::ALL
            || method.is_some_and(|method| spec.methods.contains(method));
        // A client need not know what is behind the door.
        let clients_need = self.global == Section::Postern || spec.name != "guard";
        spec.presence == Presence::Required && belongs && clients_need
    }

    /// Refuses an option that the door's method does not have.
    fn check_method(&mut self, spec: &'static OptionSpec, position: Position) {
        let method = self.draft.door.method;
        let Some(method) = method.filter(|method| !spec.methods.contains(*method)) else {
            return;
        };
        let meant = knocks_from(method).filter(|_| spec.presence == Presence::Required);
        let details = Details {
            spec: Some(spec),
            value: method.name(),
            word: meant.map_or("", |meant| meant.name),
            ..Details::default()
        };
        let problem = match meant {
            Some(_) => Problem::OtherOption,
            None => Problem::NotOfMethod,
        };
        self.tell(position, problem, details);
    }

    /// Refuses an option that the door's engine does not have.
    fn check_engine(&mut self, spec: &'static OptionSpec, position: Position) {
        let engine = self.draft.door.engine;
        if engine.is_in_kernel() && spec.needs_daemon() {
            let details = Details {
                spec: Some(spec),
                word: engine.name(),
                ..Details::default()
            };
            self.tell(position, Problem::NeedsDaemon, details);
        }
    }

    /// Looks at a door that is right so far as a whole.
    fn check(&mut self, checks: &[Check], door: &Door) {
        for check in checks {
            let Some(finding) = check(&self.draft, door) else {
                continue;
            };
            let details = Details {
                spec: find(Section::Door, finding.option).map(|(_, spec)| spec),
                other: &finding.other,
                number: finding.number,
                value: finding.value,
                ports: finding.ports,
                word: door.engine.name(),
                ..Details::default()
            };
            self.tell(self.given_at(finding.option), finding.problem, details);
        }
    }

    /// Counts the ports and ranges of ports that this door is the first to knock on.
    fn count_knock_ports(&mut self, door: &Door) {
        if self.knock_ports > MAX_KNOCK_PORTS {
            return;
        }
        self.knock_ports += knocked_first(door, self.draft.doors.iter()).len();
        if self.knock_ports > MAX_KNOCK_PORTS {
            let position = self.given_at("open");
            self.tell(position, Problem::TooManyKnockPorts, limit(MAX_KNOCK_PORTS));
        }
    }

    /// Counts the knocks that the kernel has to count.
    fn count_kernel_knocks(&mut self, door: &Door) {
        if !door.engine.is_in_kernel() || self.kernel_knocks > MAX_KERNEL_KNOCKS {
            return;
        }
        self.kernel_knocks += method::watched(door).len();
        if self.kernel_knocks > MAX_KERNEL_KNOCKS {
            let position = self.given_at("open");
            let details = limit(MAX_KERNEL_KNOCKS);
            self.tell(position, Problem::TooManyKernelKnocks, details);
        }
    }

    /// Looks at what it takes to listen at every knock port, and at what that shows.
    fn check_sockets(&mut self) {
        if self.global != Section::Postern || self.draft.global.source != Source::Sockets {
            return;
        }
        let doors = self.draft.doors.iter();
        let heard = doors.filter(|door| !door.engine.is_in_kernel());
        let mut ports = 0;
        for (index, door) in heard.clone().enumerate() {
            let firsts = knocked_first(door, heard.clone().take(index));
            ports += firsts.iter().map(|(_, ports)| ports.len()).sum::<usize>();
        }
        match ports {
            0 => {}
            1..=MAX_SOCKETS => self.tell_of_global("source", Problem::SocketsShow, ports),
            _ => self.tell_of_global("source", Problem::TooManySockets, ports),
        }
    }

    fn check_exempt(&mut self) {
        let global = &self.draft.global;
        if global.guard == Guard::Mark && !global.exempt.is_empty() {
            self.tell_of_global("exempt", Problem::ExemptFromMark, 0);
        }
    }

    /// Says something of a global option where it was given, or where the section begins.
    fn tell_of_global(&mut self, name: &str, problem: Problem, number: usize) {
        let option = find(self.global, name);
        let given = option.and_then(|(index, _)| *self.given.get(index)?);
        let details = Details {
            spec: option.map(|(_, spec)| spec),
            ..limit(number)
        };
        self.tell(given.unwrap_or(self.global_at), problem, details);
    }

    /// Where the door being read first gives an option; where it does not, the door.
    fn given_at(&self, name: &str) -> Position {
        let index = find(Section::Door, name).map(|(index, _)| index);
        let given = index.and_then(|index| *self.given.get(index)?);
        given.unwrap_or(self.section_at)
    }

    fn tell_at(&mut self, problem: Problem, details: Details<'_>) {
        self.tell(self.section_at, problem, details);
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
            (_, Some(Section::Door)) => Some((Section::Door, self.draft.door.name.as_str())),
            (_, Some(Section::Button)) => Some((Section::Button, self.title.as_str())),
            (_, Some(global)) => Some((global, "global")),
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

/// The ports, and ranges of ports, that a door is the first to knock on after these doors.
fn knocked_first<'d>(
    door: &Door,
    before: impl Iterator<Item = &'d Door> + Clone,
) -> Vec<Ports, MAX_WATCHED> {
    let mut firsts = Vec::new();
    for ports in &method::watched(door) {
        let mut before = before.clone();
        let is_known = firsts.contains(ports)
            || before.any(|earlier| method::watched(earlier).contains(ports));
        if !is_known {
            _ = firsts.push(ports.clone());
        }
    }
    firsts
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
