//! The methods by name, and sets of them: which method an option belongs to.

/// A method by its name, before anything of it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MethodName {
    /// One knock toggles.
    SingleSame,
    /// One knock opens, another closes.
    SingleSeparate,
    /// One sequence toggles.
    SequenceSame,
    /// One sequence opens, another closes.
    SequenceSeparate,
    /// Sequences in a file, each used once.
    OneTimeList,
    /// RFC 6238 (TOTP).
    OneTimeClock,
    /// RFC 4226 (HOTP).
    OneTimeSeed,
    /// One datagram of fwknop's protocol.
    Spa,
}

/// Every method, in the order of [`MethodName`].
const NAMES: [(&str, MethodName); 8] = [
    ("single-same", MethodName::SingleSame),
    ("single-separate", MethodName::SingleSeparate),
    ("sequence-same", MethodName::SequenceSame),
    ("sequence-separate", MethodName::SequenceSeparate),
    ("one-time-list", MethodName::OneTimeList),
    ("one-time-clock", MethodName::OneTimeClock),
    ("one-time-seed", MethodName::OneTimeSeed),
    ("spa", MethodName::Spa),
];

impl MethodName {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        let mut all = NAMES.iter();
        all.find(|(name, _)| *name == text)
            .map(|(_, method)| *method)
    }

    /// The name as it is written.
    pub fn name(self) -> &'static str {
        NAMES.get(self as usize).map_or("", |(name, _)| name)
    }

    /// Whether the method is one of a single knock.
    pub const fn is_single(self) -> bool {
        matches!(self, Self::SingleSame | Self::SingleSeparate)
    }
}

/// A set of methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods(u8);

impl Methods {
    /// All of them.
    pub const ALL: Self = Self(0xff);
    /// Those that ports are knocked on for.
    pub const KNOCKED: Self = Self(0x7f);
    /// Those whose ports are always the same.
    pub const STATIC: Self = Self(0x0f);
    /// Those whose knocks open only once.
    pub const ONE_TIME: Self = Self(0x70);
    /// Those that have knocks of their own to close.
    pub const CLOSING: Self = Self(0x7a);
    /// Those that derive their ports from a secret.
    pub const CODE: Self = Self(0x60);
    /// `one-time-list`
    pub const LIST: Self = Self::only(MethodName::OneTimeList);
    /// `one-time-clock`
    pub const CLOCK: Self = Self::only(MethodName::OneTimeClock);
    /// `one-time-seed`
    pub const SEED: Self = Self::only(MethodName::OneTimeSeed);
    /// `spa`
    pub const SPA: Self = Self::only(MethodName::Spa);

    const fn only(method: MethodName) -> Self {
        Self(1 << method as u8)
    }

    /// Whether the method is one of them.
    pub const fn contains(self, method: MethodName) -> bool {
        self.0 & Self::only(method).0 != 0
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let members = NAMES
            .iter()
            .filter(move |(_, method)| self.contains(*method));
        members.map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_name_is_read_as_what_it_is_written_from() {
        for (index, (name, method)) in NAMES.into_iter().enumerate() {
            assert_eq!(method as usize, index);
            assert_eq!(method.name(), name);
            assert_eq!(MethodName::parse(name), Some(method));
        }
        assert_eq!(MethodName::parse("single"), None);
    }

    #[test]
    fn sets_hold_what_they_are_called() {
        for (set, word) in [
            (Methods::ALL, ""),
            (Methods::KNOCKED, "e"),
            (Methods::SPA, "spa"),
            (Methods::ONE_TIME, "one-time"),
            (Methods::LIST, "one-time-list"),
            (Methods::CLOCK, "one-time-clock"),
            (Methods::SEED, "one-time-seed"),
        ] {
            let expected = NAMES.iter().map(|(name, _)| *name);
            let expected = expected.filter(|name| name.contains(word));
            assert!(set.names().eq(expected), "{word}");
        }
        let without = |set: Methods, other: Methods| {
            let names = set.names();
            names
                .filter(|name| !other.names().any(|other| other == *name))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            without(Methods::KNOCKED, Methods::STATIC),
            Methods::ONE_TIME.names().collect::<Vec<_>>()
        );
        assert_eq!(
            without(Methods::KNOCKED, Methods::CLOSING),
            ["single-same", "sequence-same"]
        );
        assert_eq!(without(Methods::ONE_TIME, Methods::CODE), ["one-time-list"]);
    }
}
