//! What libuci keeps of a file, by core's reading of it.

use std::fmt::Write as _;

use postern_core::uci::{Problem, Statement, Statements};

/// A file as libuci keeps it: sections, each with its type, its name and its options.
#[derive(Debug, Default)]
pub struct Model {
    sections: Vec<Section>,
    current: Option<usize>,
}

#[derive(Debug)]
struct Section {
    kind: String,
    name: String,
    /// How often it was opened.
    openings: u32,
    options: Vec<(String, Value)>,
}

#[derive(Debug)]
enum Value {
    One(String),
    Many(Vec<String>),
}

/// Why there is nothing to compare.
#[derive(Debug)]
pub enum Unlike {
    /// Core finds a mistake, first in this line.
    Refused(u32),
    /// Core refuses what libuci does not.
    Beyond,
    /// libuci loses a section that is opened for the third time (`uci_set` leaves `last` unset).
    OpenedThrice,
}

impl Model {
    /// What core reads.
    ///
    /// # Errors
    /// Where it refuses the file, or libuci's reading is no measure.
    pub fn read(text: &[u8]) -> Result<Self, Unlike> {
        let mut model = Self::default();
        for item in Statements::new(text) {
            match item {
                Ok(Statement::Package { .. }) => {}
                Ok(Statement::Config { section, name }) => {
                    if !model.open(&section.text, &name.text) {
                        return Err(Unlike::Refused(section.position.line));
                    }
                    if model.section().openings > 2 {
                        return Err(Unlike::OpenedThrice);
                    }
                }
                Ok(Statement::Option { name, value }) => model.set(&name.text, &value.text),
                Ok(Statement::List { name, value }) => model.add(&name.text, &value.text),
                Err(error) => match error.problem {
                    Problem::Hidden => {}
                    Problem::Nul | Problem::NotUtf8 | Problem::WordTooLong => {
                        return Err(Unlike::Beyond);
                    }
                    _ => return Err(Unlike::Refused(error.position.line)),
                },
            }
        }
        Ok(model)
    }

    fn section(&mut self) -> &mut Section {
        let current = self.current.expect("an option is in a section");
        &mut self.sections[current]
    }

    /// Opens a section, or the one of that name once more; not if its type is another.
    fn open(&mut self, kind: &str, name: &str) -> bool {
        let namesake = |section: &Section| !name.is_empty() && section.name == name;
        let found = self.sections.iter().position(namesake);
        self.current = found.or(Some(self.sections.len()));
        if found.is_none() {
            self.sections.push(Section {
                kind: kind.into(),
                name: name.into(),
                openings: 0,
                options: Vec::new(),
            });
        }
        self.section().openings += 1;
        self.section().kind == kind
    }

    /// The last value counts, an empty one does not; what changes moves to the end.
    fn set(&mut self, name: &str, value: &str) {
        let options = &mut self.section().options;
        let earlier = options.iter().position(|(other, _)| other == name);
        match earlier.map(|index| &options[index].1) {
            _ if value.is_empty() => return,
            Some(Value::One(same)) if same == value => return,
            _ => {}
        }
        if let Some(earlier) = earlier {
            options.remove(earlier);
        }
        options.push((name.into(), Value::One(value.into())));
    }

    /// A list stays where it is; a single value becomes the first one of a list at the end.
    fn add(&mut self, name: &str, value: &str) {
        let options = &mut self.section().options;
        let earlier = options.iter().position(|(other, _)| other == name);
        if let Some((_, Value::Many(values))) = earlier.map(|index| &mut options[index]) {
            return values.push(value.into());
        }
        let mut values = Vec::new();
        if let Some((_, Value::One(value))) = earlier.map(|index| options.remove(index)) {
            values.push(value);
        }
        values.push(value.into());
        options.push((name.into(), Value::Many(values)));
    }

    /// What `uci export` prints.
    pub fn export(&self, package: &str) -> String {
        let mut text = format!("package {package}\n");
        let escaped = |value: &str| value.replace('\'', "'\\''");
        let quoted = |value: &str| format!("'{}'", escaped(value));
        for section in &self.sections {
            _ = write!(text, "\nconfig {}", escaped(&section.kind));
            if !section.name.is_empty() {
                _ = write!(text, " '{}'", section.name);
            }
            text.push('\n');
            for (name, value) in &section.options {
                _ = match value {
                    Value::One(value) => writeln!(text, "\toption {name} {}", quoted(value)),
                    Value::Many(values) => values
                        .iter()
                        .try_for_each(|value| writeln!(text, "\tlist {name} {}", quoted(value))),
                };
            }
        }
        text.push('\n');
        text
    }
}
