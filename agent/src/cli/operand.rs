//! The words that stand after a verb.

use super::options::Options;

/// A word that some verbs need.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operand {
    Door,
    /// It, or --all.
    DoorOrSayAll,
    /// All doors, unless it is named.
    DoorOrAll,
    Host,
    /// It, or --all.
    SourceOrSayAll,
    /// All verbs, unless it is named.
    VerbOrAll,
}

impl Operand {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Door => "DOOR",
            Self::DoorOrSayAll => "(DOOR | --all)",
            Self::DoorOrAll => "[DOOR]",
            Self::Host => "HOST",
            Self::SourceOrSayAll => "(ADDRESS | --all)",
            Self::VerbOrAll => "[VERB]",
        }
    }

    pub(super) const fn meaning(self) -> &'static str {
        match self {
            Self::Door | Self::DoorOrAll => "the name of a door",
            Self::DoorOrSayAll => "the name of a door, or --all",
            Self::Host => "the name or the address of a router",
            Self::SourceOrSayAll => "an address, or --all",
            Self::VerbOrAll => "a verb",
        }
    }

    /// Where it is kept; empty until the command line says it.
    pub(super) const fn place(self, options: &mut Options) -> &mut String {
        match self {
            Self::Door | Self::DoorOrSayAll | Self::DoorOrAll => &mut options.door,
            Self::Host => &mut options.host,
            Self::SourceOrSayAll => &mut options.source,
            Self::VerbOrAll => &mut options.verb,
        }
    }

    /// Whether it has to be there and is not.
    pub(super) fn is_missing(self, options: &mut Options) -> bool {
        let is_needed = match self {
            Self::DoorOrSayAll | Self::SourceOrSayAll => !options.all,
            Self::DoorOrAll | Self::VerbOrAll => false,
            Self::Door | Self::Host => true,
        };
        is_needed && self.place(options).is_empty()
    }
}
