//! Why a datagram opens nothing.

use ufmt::{Formatter, uDisplay, uWrite};

use crate::reasons::{Counts, Reason};

/// Why a datagram opens nothing, in the order in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// No client makes one so long for the doors at the port.
    Length,
    /// Something in it is not base 64 as clients write it, or it does not begin as theirs do.
    Form,
    /// It was used before.
    Replayed,
    /// So many came that it was not looked at.
    Budget,
    /// No door at the port has the keys it was made with.
    Unauthentic,
    /// It is authentic, and what was encrypted is no client's message.
    Garbled,
    /// It asks for something else than access: a command, or a port that is forwarded.
    Type,
    /// It is of another user than the door's.
    User,
    /// This machine does not know what time it is.
    Clock,
    /// It is older than the door allows, or younger.
    Age,
    /// It is no newer than one that was used before this machine's memory of them begins.
    Used,
    /// It names no address that it can let in.
    Address,
    /// It asks for a port that the door does not guard.
    Ports,
}

impl Refusal {
    /// Every reason, in the order of [`Refusal`].
    pub const ALL: [Self; 13] = [
        Self::Length,
        Self::Form,
        Self::Replayed,
        Self::Budget,
        Self::Unauthentic,
        Self::Garbled,
        Self::Type,
        Self::User,
        Self::Clock,
        Self::Age,
        Self::Used,
        Self::Address,
        Self::Ports,
    ];

    /// The reason as programs read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Form => "form",
            Self::Replayed => "replayed",
            Self::Budget => "budget",
            Self::Unauthentic => "unauthentic",
            Self::Garbled => "garbled",
            Self::Type => "type",
            Self::User => "user",
            Self::Clock => "clock",
            Self::Age => "age",
            Self::Used => "used",
            Self::Address => "address",
            Self::Ports => "ports",
        }
    }

    /// The reason as people read it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Length => "a length that no client sends",
            Self::Form => "not base 64 as clients write it",
            Self::Replayed => "sent again",
            Self::Budget => "too many at a time",
            Self::Unauthentic => "made with other keys",
            Self::Garbled => "authentic, but no client's message",
            Self::Type => "asks for something else than access",
            Self::User => "of another user",
            Self::Clock => "this machine's clock is not set",
            Self::Age => "made too long ago, or its sender's clock is wrong",
            Self::Used => "no newer than what was used before",
            Self::Address => "names no address that it can let in",
            Self::Ports => "asks for ports that the door does not guard",
        }
    }

    /// Whether only who has the keys can cause it.
    pub fn is_authentic(self) -> bool {
        self > Self::Unauthentic
    }
}

impl uDisplay for Refusal {
    fn fmt<W: uWrite + ?Sized>(&self, f: &mut Formatter<'_, W>) -> Result<(), W::Error> {
        f.write_str(self.reason())
    }
}

/// How often datagrams were refused, by reason.
pub type Refusals = Counts<Refusal, { Refusal::ALL.len() }>;

impl Reason for Refusal {
    fn all() -> &'static [Self] {
        &Self::ALL
    }

    fn number(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_as_itself() {
        let mut refusals = Refusals::NONE;
        for (number, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, number);
            (0..=number).for_each(|_| refusals.count(refusal));
        }
        assert!(refusals.iter().eq(Refusal::ALL.into_iter().zip(1..)));
        assert_eq!(refusals.total(), (1..=13).sum());
    }
}
