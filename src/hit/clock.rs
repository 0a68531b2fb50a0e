//! Owns the time: the only reader of the system clock, and the words for a moment.
//!
//! Promises: every other file is given its moments; a test that sets the clock sets all of it.
//! Never sleeps and never measures a duration for a decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Reads the time, from the system or from a test's hand.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands where `hand` (microseconds since the epoch) points.
    pub const fn set(hand: Arc<AtomicI64>) -> Self {
        Self(Some(hand))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Some(hand) => Moment(hand.load(Ordering::Relaxed)),
            None => Moment(
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            ),
        }
    }
}

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// A moment in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub i64);

impl Moment {
    /// From milliseconds since the epoch; `None` where that does not fit (a client may send anything).
    pub const fn from_millis(millis: i64) -> Option<Self> {
        match millis.checked_mul(1_000) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    pub const fn minute(self) -> i64 {
        self.0.div_euclid(60 * SECOND)
    }

    pub const fn hour(self) -> Hour {
        Hour(self.0.div_euclid(HOUR))
    }

    pub const fn day(self) -> Day {
        Day(self.0.div_euclid(DAY))
    }

    /// The moment `seconds` later (or earlier, where negative), held within what fits.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(SECOND)))
    }

    /// How many microseconds `self` lies after `earlier`.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A UTC hour, counted from the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub i64);

impl Hour {
    pub const fn start(self) -> Moment {
        Moment(self.0 * HOUR)
    }

    pub const fn day(self) -> Day {
        self.start().day()
    }
}

/// A UTC day, counted from the epoch: what Parquet and Arrow call a `date32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    pub const fn start(self) -> Moment {
        Moment(self.0 * DAY)
    }

    /// As a `date32`. Days past its range (the year 5,881,580) are held at its end.
    pub fn number(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Day, Hour, Moment};
    use std::sync::Arc;
    use std::sync::atomic::AtomicI64;

    #[test]
    fn hours_and_days_also_before_the_epoch() {
        let moment = Moment(-1);
        assert_eq!((moment.hour(), moment.day()), (Hour(-1), Day(-1)));
        assert_eq!(Moment(90_000 * 1_000_000).hour(), Hour(25));
        assert_eq!(Hour(25).start(), Moment(90_000 * 1_000_000));
    }

    #[test]
    fn a_set_clock_stands_still() {
        let clock = Clock::set(Arc::new(AtomicI64::new(7)));
        assert_eq!(clock.now(), clock.now());
        assert_eq!(clock.now().micros(), 7);
    }

    #[test]
    fn absurd_client_times_do_not_overflow() {
        assert_eq!(Moment::from_millis(i64::MAX), None);
        assert_eq!(Moment(i64::MAX).plus_seconds(i64::MAX), Moment(i64::MAX));
    }
}
