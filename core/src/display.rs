//! `core::fmt` for those who format with it. Postern's own program formats with ufmt, which is smaller; what it does not
//! call is not in it.

use core::error::Error;
use core::fmt::{Display, Formatter, Result};

use ufmt::{uWrite, uwrite};

use crate::config::Diagnostic;
use crate::knock::PortRange;
use crate::network::Network;
use crate::packet::Refusal;
use crate::ports::TooManyPorts;
use crate::time::DurationError;

/// Takes from ufmt what `core::fmt` writes.
struct Bridge<'b, 'f>(&'b mut Formatter<'f>);

impl uWrite for Bridge<'_, '_> {
    type Error = core::fmt::Error;

    fn write_str(&mut self, text: &str) -> Result {
        self.0.write_str(text)
    }
}

impl Display for Diagnostic<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        uwrite!(Bridge(f), "{}", self)
    }
}

impl Display for PortRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        uwrite!(Bridge(f), "{}", self)
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        uwrite!(Bridge(f), "{}", self)
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.pad(self.reason())
    }
}

impl Display for TooManyPorts {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.pad("more knock ports than there is room for")
    }
}

impl Display for DurationError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.pad(match self {
            Self::Number => "a span of time begins with a number",
            Self::Unit => "the unit of a span of time is ms, s, m, h or d",
            Self::Range => "a span of time of more than 365 days",
        })
    }
}

impl Error for Refusal {}
impl Error for TooManyPorts {}
impl Error for DurationError {}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString as _};
    use std::vec::Vec;

    use super::*;
    use crate::config::Config;

    struct Text(String);

    impl uWrite for Text {
        type Error = core::convert::Infallible;

        fn write_str(&mut self, text: &str) -> core::result::Result<(), Self::Error> {
            self.0.push_str(text);
            Ok(())
        }
    }

    #[test]
    fn both_ways_of_formatting_say_the_same() {
        let mut said = Vec::new();
        let config = Config::parse(b"config door ssh\nlist guard tcp:0\n", |diagnostic| {
            let mut text = Text(String::new());
            let Ok(()) = uwrite!(text, "{}", diagnostic);
            said.push((diagnostic.to_string(), text.0));
        });
        assert!(config.is_none() && said.len() > 2, "{said:?}");
        for (one, other) in said {
            assert_eq!(one, other);
        }
    }
}
