//! Owns reading a segment back.
//!
//! Promises: every whole frame up to the first torn one, in order; what is torn was never
//! acknowledged, and is counted, not guessed at. Never changes a segment.

use super::frame::{self, Frame, Next};

/// How a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    pub frames: u64,
    /// Bytes from the first torn frame to the end, 0 where the segment ended whole.
    pub torn_bytes: u64,
}

/// Calls `each` for every frame of `frames` (a segment's bytes behind its header).
pub fn replay<'a>(frames: &'a [u8], mut each: impl FnMut(Frame<'a>)) -> Replayed {
    let mut replayed = Replayed::default();
    let mut rest = frames;
    loop {
        match frame::read(rest) {
            Next::Frame(frame, after) => {
                each(frame);
                replayed.frames += 1;
                rest = after;
            }
            Next::End => return replayed,
            Next::Torn => {
                replayed.torn_bytes = rest.len() as u64;
                return replayed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Replayed, replay};
    use crate::hit::clock::Hour;
    use crate::hit::outcome::Outcome;
    use crate::journal::frame::write_tally;

    #[test]
    fn whole_frames_up_to_the_cut() {
        let mut group = Vec::new();
        for count in 0..3 {
            write_tally("acme", Hour(1), Outcome::Failed, count, &mut group);
        }
        for cut in 0..=group.len() {
            let mut seen = 0;
            let replayed = replay(&group[..cut], |_| seen += 1);
            assert_eq!(replayed.frames, seen);
            let each = group.len() / 3;
            let whole = (cut / each) as u64;
            assert_eq!(replayed, Replayed { frames: whole, torn_bytes: (cut % each) as u64 });
        }
    }
}
