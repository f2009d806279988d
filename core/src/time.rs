//! Time as an argument: whoever calls core says what time it is.

use core::ops::{Add, Sub};

/// A point on the caller's monotonic clock, in milliseconds since an origin of its choosing.
///
/// The agent passes `CLOCK_BOOTTIME`, which goes on during suspend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// The point `millis` after the clock's origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the clock's origin.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero where it lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.0))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.0))
    }
}

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

impl Duration {
    /// A span of `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A span of `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// The span in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Reads a whole number and a unit (`ms`, `s`, `m`, `h` or `d`); without a unit, seconds.
    ///
    /// The largest span is 365 days, which every nftables timeout can hold.
    ///
    /// ```
    /// use postern_core::time::{Duration, DurationError};
    ///
    /// assert_eq!(Duration::parse("2m"), Ok(Duration::from_secs(120)));
    /// assert_eq!(Duration::parse("50ms"), Ok(Duration::from_millis(50)));
    /// assert_eq!(Duration::parse("2 minutes"), Err(DurationError::Unit));
    /// ```
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(DurationError::Unit)?;
        let scale = match unit {
            "ms" => 1,
            "s" | "" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(DurationError::Unit),
        };
        if number.is_empty() {
            return Err(DurationError::Number);
        }
        let number: u64 = number.parse().map_err(|_| DurationError::Range)?;
        match number.checked_mul(scale) {
            Some(millis) if millis <= Self::LONGEST.0 => Ok(Self(millis)),
            _ => Err(DurationError::Range),
        }
    }

    /// The longest span a configuration may name: 365 days.
    pub const LONGEST: Self = Self(365 * 86_400_000);
}

/// Why a text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DurationError {
    /// It does not begin with a digit.
    Number,
    /// What follows the number is none of `ms`, `s`, `m`, `h`, `d`.
    Unit,
    /// It is longer than [`Duration::LONGEST`].
    Range,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, millis) in [
            ("0", 0),
            ("7", 7_000),
            ("50ms", 50),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(
                Duration::parse(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn mistakes() {
        for (text, error) in [
            ("", DurationError::Number),
            ("s", DurationError::Number),
            ("-1s", DurationError::Unit),
            ("10 s", DurationError::Unit),
            ("1w", DurationError::Unit),
            ("366d", DurationError::Range),
            ("99999999999999999999s", DurationError::Range),
            ("18446744073709551615d", DurationError::Range),
        ] {
            assert_eq!(Duration::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn never_wraps() {
        let end = Instant::from_millis(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(
            Instant::default() - Duration::from_secs(1),
            Instant::default()
        );
        assert_eq!(Instant::default().since(end), Duration::default());
    }
}
