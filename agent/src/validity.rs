//! Doors that hold for a time only: `option not_before` and `option not_after`, by a clock that is trusted.

use postern_core::door::Door;
use postern_core::rfc3339;
use postern_core::time::Duration;

use crate::onetime::wall_clock::{WallClock, utc};

/// Whether a door lets anybody in, as far as time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// For so long, or without an end.
    Valid(Option<Duration>),
    /// In so long.
    NotYet(Duration),
    Over,
    /// Nobody knows what time it is, for this reason.
    Unknown(&'static str),
}

/// Whether time matters to the door at all.
pub(crate) const fn is_limited(door: &Door) -> bool {
    door.not_before.is_some() || door.not_after.is_some()
}

impl Phase {
    /// Asks for the time only where it matters.
    pub(crate) fn now(door: &Door) -> Self {
        match is_limited(door) {
            true => Self::at(door, &WallClock::now()),
            false => Self::Valid(None),
        }
    }

    pub(crate) fn at(door: &Door, clock: &WallClock) -> Self {
        let until = |second: u64| {
            let left = (second.saturating_mul(1_000)).checked_sub(clock.millis);
            left.filter(|left| *left > 0).map(Duration::from_millis)
        };
        match (clock.distrust, door.not_before, door.not_after) {
            (_, None, None) => Self::Valid(None),
            (Some(why), _, _) => Self::Unknown(why),
            (None, _, Some(end)) if until(end).is_none() => Self::Over,
            (None, start, end) => match start.and_then(until) {
                Some(wait) => Self::NotYet(wait),
                None => Self::Valid(end.and_then(until)),
            },
        }
    }

    /// The name for programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::NotYet(_) => "not_yet",
            Self::Over => "over",
            Self::Unknown(_) => "unknown",
        }
    }

    /// How long a grant of the door can last that is to last so long, or why there is none.
    pub(crate) fn grant(self, door: &Door, lasting: Duration) -> Result<Duration, String> {
        match self {
            Self::Valid(left) => Ok(left.map_or(lasting, |left| lasting.min(left))),
            _ => Err(in_words(door, self)),
        }
    }
}

/// When the door holds, and what that means at this time.
pub(crate) fn in_words(door: &Door, phase: Phase) -> String {
    let moment = |second: u64| utc(second.saturating_mul(1_000)).to_string();
    let start = door.not_before.map(moment).unwrap_or_default();
    let end = door.not_after.map(moment).unwrap_or_default();
    match phase {
        Phase::Valid(_) if start.is_empty() => format!("until {end}"),
        Phase::Valid(_) if end.is_empty() => format!("from {start}"),
        Phase::Valid(_) => format!("from {start}, until {end}"),
        Phase::NotYet(_) => format!("not yet: from {start} (option not_before)"),
        Phase::Over => format!("over: until {end} (option not_after)"),
        Phase::Unknown(why) => format!("it holds for a time only, and {why}"),
    }
}

/// A second since 1970 as configurations have it.
pub(crate) fn written(second: u64) -> String {
    let mut text = Words(String::new());
    let Ok(()) = rfc3339::write(second, &mut text);
    text.0
}

struct Words(String);

impl ufmt::uWrite for Words {
    type Error = core::convert::Infallible;

    fn write_str(&mut self, text: &str) -> Result<(), Self::Error> {
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onetime::examples::seed_door;

    fn clock(second: u64) -> WallClock {
        WallClock {
            millis: second * 1_000,
            distrust: None,
        }
    }

    #[test]
    fn a_door_holds_from_its_first_second_and_ends_with_its_last() {
        let mut door = seed_door("guest");
        let phase = |door: &Door, second| Phase::at(door, &clock(second));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let deaf = WallClock {
            distrust: Some("the clock is not set"),
            ..clock(150)
        };
        assert_eq!(Phase::at(&door, &deaf), Phase::Valid(None));
        door.not_before = Some(100);
        assert_eq!(phase(&door, 99), Phase::NotYet(Duration::from_secs(1)));
        assert_eq!(phase(&door, 100), Phase::Valid(None));
        assert_eq!(Phase::at(&door, &deaf).name(), "unknown");
        door.not_after = Some(200);
        assert_eq!(phase(&door, 0), Phase::NotYet(Duration::from_secs(100)));
        assert_eq!(phase(&door, 150), Phase::Valid(seconds(50)));
        for (second, expected) in [(150, 30), (180, 20)] {
            let lasting = phase(&door, second).grant(&door, Duration::from_secs(30));
            assert_eq!(lasting, Ok(Duration::from_secs(expected)));
        }
        for second in [200, 201, u64::MAX / 1_000] {
            assert_eq!(phase(&door, second), Phase::Over);
        }
        let refused = Phase::Over.grant(&door, Duration::from_secs(30));
        let expected = "over: until 1970-01-01 00:03:20 UTC (option not_after)";
        assert_eq!(refused, Err(expected.into()));
        door.not_before = None;
        assert_eq!(phase(&door, 0), Phase::Valid(seconds(200)));
    }
}
