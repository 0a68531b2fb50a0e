//! Owns when an interaction occurred: the sender's clock, corrected by how wrong it goes.
//!
//! Promises: an interaction never occurs after it was received; one that occurred longer ago than
//! is taken is said to be too old. Never trusts a sender's clock further than the difference of two
//! of its own readings.

use crate::hit::clock::Moment;

/// When it occurred, or `None` where that is longer ago than `late_max_seconds`.
///
/// `occurred_ms` and `sent_ms` are readings of the sender's clock in milliseconds since the epoch.
/// With both, only their difference counts (how long the event waited), which is right however wrong
/// that clock is; with `occurred_ms` alone it is believed, but for the future.
pub fn occurred_at(received_at: Moment, occurred_ms: Option<i64>, sent_ms: Option<i64>, late_max_seconds: i64) -> Option<Moment> {
    let occurred = match (occurred_ms, sent_ms) {
        (None, _) => received_at,
        (Some(occurred), Some(sent)) => {
            let waited = sent.saturating_sub(occurred).max(0).saturating_mul(1_000);
            Moment(received_at.micros().saturating_sub(waited))
        }
        (Some(occurred), None) => Moment::from_millis(occurred).map_or(received_at, |moment| moment.min(received_at)),
    };
    (received_at.since(occurred) <= late_max_seconds.saturating_mul(1_000_000)).then_some(occurred)
}

#[cfg(test)]
mod tests {
    use super::occurred_at;
    use crate::hit::clock::Moment;

    #[test]
    fn skew_is_taken_out_and_age_is_bounded() {
        let received = Moment(1_700_000_000_000_000);
        let ms = 1_700_000_000_000;
        let hour = 3_600_000;
        for (occurred, sent, late_max, expected) in [
            (None, None, 60, Some(received)),
            (Some(ms - 5_000), None, 60, Some(Moment(received.0 - 5_000_000))),
            // A clock an hour ahead, and one an hour behind: the event waited two seconds.
            (Some(ms + hour - 2_000), Some(ms + hour), 60, Some(Moment(received.0 - 2_000_000))),
            (Some(ms - hour - 2_000), Some(ms - hour), 60, Some(Moment(received.0 - 2_000_000))),
            // The future, and a sender that contradicts itself: now.
            (Some(ms + hour), None, 60, Some(received)),
            (Some(ms + hour), Some(ms), 60, Some(received)),
            (Some(ms - 61_000), None, 60, None),
            (Some(i64::MIN), Some(i64::MAX), 60, None),
            (Some(i64::MIN), None, 60, Some(received)),
        ] {
            assert_eq!(occurred_at(received, occurred, sent, late_max), expected, "{occurred:?} {sent:?}");
        }
    }
}
