//! Spans of time in words.

use core::fmt::{self, Display};

use postern_core::time::Duration;

const UNITS: [(u64, &str); 4] = [
    (86_400_000, "d"),
    (3_600_000, "h"),
    (60_000, "m"),
    (1_000, "s"),
];

/// A time span as people say it: the two largest units, or milliseconds below a second.
pub(crate) fn span(duration: Duration) -> impl Display {
    let millis = duration.as_millis();
    fmt::from_fn(move |f| {
        let Some(largest) = UNITS.iter().position(|(unit, _)| millis >= *unit) else {
            return write!(f, "{millis}ms");
        };
        let mut rest = millis;
        for (index, (unit, name)) in UNITS.iter().enumerate().skip(largest).take(2) {
            let count = rest / unit;
            rest %= unit;
            if count > 0 {
                let gap = if index > largest { " " } else { "" };
                write!(f, "{gap}{count}{name}")?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (30_400, "30s"),
            (90_000, "1m 30s"),
            (3_600_000, "1h"),
            (3_661_000, "1h 1m"),
            (90_061_000, "1d 1h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)).to_string(), text);
        }
    }
}
