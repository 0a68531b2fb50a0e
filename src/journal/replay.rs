//! Owns reading a segment back.
//!
//! Promises: every whole frame up to the first torn one, in order; what is torn was never
//! acknowledged, and is counted, not guessed at. Never changes a segment. Holds a window of it, which grows only where
//! a frame is longer: read whole, a segment would take 64 MiB, and leave the processor's caches before it is decoded.

use super::frame::{self, Frame, Next};
use super::segment::{HEADER_LENGTH, is_header};
use std::io::{self, BufReader, Read};

/// How a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    pub frames: u64,
    /// Bytes from the first torn frame to the end, 0 where the segment ended whole.
    pub torn_bytes: u64,
}

/// Calls `each` for every frame of the segment of this sequence number. What is no segment is torn, but for zeros.
///
/// # Errors
/// Those of reading; `each` was called for what came before.
pub fn replay_segment(mut segment: impl Read, sequence: u64, each: impl FnMut(&Frame<'_>)) -> io::Result<Replayed> {
    let mut header = Vec::with_capacity(HEADER_LENGTH);
    segment.by_ref().take(HEADER_LENGTH as u64).read_to_end(&mut header)?;
    if is_header(&header, sequence) {
        return replay_from(segment, WINDOW_BYTES, each);
    }
    let mut bytes = BufReader::new(header.chain(segment)).bytes();
    let torn_bytes = bytes.try_fold(0, |count, byte| byte.map(|byte| count + u64::from(byte != 0)))?;
    Ok(Replayed { frames: 0, torn_bytes })
}

/// Some 600 frames: half of a processor's own cache, and long enough that asking for it is little beside reading it.
const WINDOW_BYTES: usize = 256 << 10;

fn replay_from(mut source: impl Read, window_bytes: usize, mut each: impl FnMut(&Frame<'_>)) -> io::Result<Replayed> {
    let (mut frames, mut window, mut is_over) = (0, Vec::with_capacity(window_bytes), false);
    loop {
        let passed = pass(&window, &mut each);
        frames += passed.frames;
        let left = passed.rest.len();
        if is_over || !frame::is_cut_short(passed.rest) {
            let torn_bytes = if passed.is_torn { left as u64 + io::copy(&mut source, &mut io::sink())? } else { 0 };
            return Ok(Replayed { frames, torn_bytes });
        }
        window.drain(..window.len() - left);
        // Where a frame is longer than the window, twice as much.
        let room = if left < window_bytes { window_bytes - left } else { left };
        is_over = source.by_ref().take(room as u64).read_to_end(&mut window)? == 0;
    }
}

/// Calls `each` for every one of the frames that lie in memory, without a header.
pub fn replay(frames: &[u8], mut each: impl FnMut(&Frame<'_>)) -> Replayed {
    let passed = pass(frames, &mut each);
    Replayed { frames: passed.frames, torn_bytes: if passed.is_torn { passed.rest.len() as u64 } else { 0 } }
}

/// What a pass over bytes came to.
struct Passed<'a> {
    frames: u64,
    /// What is behind the last whole frame, and whether it is torn: else it is the end.
    rest: &'a [u8],
    is_torn: bool,
}

/// Calls `each` for the whole frames at the start of `bytes`.
fn pass<'a>(bytes: &'a [u8], each: &mut impl FnMut(&Frame<'a>)) -> Passed<'a> {
    let (mut frames, mut rest) = (0, bytes);
    loop {
        // Lent, where it lies: a frame is half a KiB.
        match &frame::read(rest) {
            Next::Frame(frame, after) => {
                each(frame);
                frames += 1;
                rest = after;
            }
            Next::End => return Passed { frames, rest, is_torn: false },
            Next::Torn => return Passed { frames, rest, is_torn: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Replayed, replay, replay_from, replay_segment};
    use crate::hit::clock::Hour;
    use crate::hit::outcome::Outcome;
    use crate::journal::frame::{Frame, write_tally};
    use proptest::prelude::*;
    use std::io::Read;

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

    #[test]
    fn what_is_no_segment_is_torn_but_for_zeros() {
        for (bytes, torn) in [(&b""[..], 0), (b"CPJOURN1", 8), (&[0; 40], 0), (&[b'x'; 40], 40)] {
            let replayed = replay_segment(bytes, 7, |_| panic!("a frame of {bytes:?}")).unwrap();
            assert_eq!(replayed, Replayed { frames: 0, torn_bytes: torn });
        }
        let unread = std::io::Error::other("a broken disk").to_string();
        let broken = (&b"CPJOURN1\x07\0\0\0\0\0\0\0"[..]).chain(&[0; 16][..]).chain(Broken);
        assert_eq!(replay_segment(broken, 7, |_| ()).unwrap_err().to_string(), unread);
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("a broken disk"))
        }
    }

    /// Gives a few bytes at a time, and is interrupted between them.
    struct Halting<'b>(&'b [u8], usize, bool);

    impl Read for Halting<'_> {
        fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let length = room.len().min(self.1);
            self.0.read(&mut room[..length])
        }
    }

    fn told(frame: &Frame<'_>) -> String {
        format!("{frame:?}")
    }

    proptest! {
        /// Frames of many lengths, cut, spoilt or with room set aside behind them, in windows of any size.
        #[test]
        fn a_window_shows_what_the_whole_does(
            names in prop::collection::vec("[a-z]{0,90}", 0..12),
            behind in prop_oneof![Just(0_usize), 1..40_usize],
            spoilt in prop::option::of(any::<prop::sample::Index>()),
            cut in any::<prop::sample::Index>(),
            window in 1..200_usize,
            at_once in 1..80_usize,
        ) {
            let mut bytes = Vec::new();
            for (count, name) in (0_u64..).zip(&names) {
                write_tally(name, Hour(1), Outcome::Failed, count, &mut bytes);
            }
            bytes.resize(bytes.len() + behind, 0);
            if let Some(at) = spoilt.filter(|_| !bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] ^= 0x55;
            }
            bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
            let (mut whole, mut windows) = (Vec::new(), Vec::new());
            let expected = replay(&bytes, |frame| whole.push(told(frame)));
            let replayed = replay_from(Halting(&bytes, at_once, false), window, |frame| windows.push(told(frame))).unwrap();
            prop_assert_eq!((replayed, windows), (expected, whole));
        }
    }
}
