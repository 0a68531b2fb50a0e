//! Owns the frame, the unit of the journal: `[length u32][crc32c u32][kind u8][payload]`, integers
//! little-endian, the checksum (Castagnoli) over kind and payload, the length over both as well.
//!
//! Knows two kinds: an interaction that passed the gate, and a tally of how other hits ended. Of an interaction's
//! texts those that are not empty are there, side by side behind a map of them and their lengths; what was
//! removed from them stands at its end, and nothing where nothing was. Reads the interactions of before as well:
//! every text behind its length, empty or not.
//! Promises: what does not decode to the last byte is an error, never half a row. Only an
//! `Interaction` can be written; reading gives back a `Record` that borrows from the bytes.

use crate::hit::clock::{Hour, Moment};
use crate::hit::field::{
    Channel, ConsentSource, Country, Device, Id, LegalBasis, Medium, Protocol, Regime,
};
use crate::hit::outcome::Outcome;
use crate::hit::record::{Number, Record, Text};
use crate::hit::scrubbed::{Kind, Scrubbed};
use crate::rules::gate::Interaction;

/// What a frame holds.
#[expect(clippy::large_enum_variant, reason = "read in place, one at a time: nearly all are interactions")]
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Interaction(Record<'a>),
    /// `count` hits of `site` that came in `hour` ended so.
    Tally { site: &'a str, hour: Hour, outcome: Outcome, count: u64 },
}

/// Appends an interaction to a group of frames.
pub fn write_interaction(interaction: &Interaction<'_>, group: &mut Vec<u8>) {
    write_frame(group, KIND_INTERACTION, |payload| encode(interaction.record(), payload));
}

/// An interaction in its frame, that waits for something else to be on disk before it.
pub struct Framed(Vec<u8>);

impl Framed {
    pub fn of(interaction: &Interaction<'_>) -> Self {
        let mut frame = Vec::new();
        write_interaction(interaction, &mut frame);
        Self(frame)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub fn of_record(record: &Record<'_>) -> Self {
        let mut frame = Vec::new();
        write_frame(&mut frame, KIND_INTERACTION, |payload| encode(record, payload));
        Self(frame)
    }

    pub fn record(&self) -> Option<Record<'_>> {
        match read(&self.0) {
            Next::Frame(Frame::Interaction(record), _) => Some(record),
            Next::Frame(Frame::Tally { .. }, _) | Next::End | Next::Torn => None,
        }
    }
}

/// Appends a tally to a group of frames.
pub fn write_tally(site: &str, hour: Hour, outcome: Outcome, count: u64, group: &mut Vec<u8>) {
    write_frame(group, KIND_TALLY, |payload| {
        put_text(payload, site);
        payload.extend_from_slice(&hour.0.to_le_bytes());
        payload.push(u8::try_from(outcome.index()).unwrap_or(u8::MAX));
        put_varint(payload, count);
    });
}

/// What the bytes at the start of `bytes` are.
#[expect(clippy::large_enum_variant, reason = "read in place, one at a time: nearly all are interactions")]
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole frame, and what follows it.
    Frame(Frame<'a>, &'a [u8]),
    /// Nothing was written here: the end, or space set aside and not yet used.
    End,
    /// Bytes that are no whole frame: a write that was cut short.
    Torn,
}

/// Reads the frame at the start of `bytes`.
#[inline]
pub fn read(bytes: &[u8]) -> Next<'_> {
    let Some((head, rest)) = bytes.split_at_checked(8) else {
        return if bytes.iter().all(|byte| *byte == 0) { Next::End } else { Next::Torn };
    };
    let (length, checksum) = head.split_at(4);
    let (Some(length), Some(checksum)) = (u32_of(length), u32_of(checksum)) else {
        return Next::Torn;
    };
    if length == 0 && checksum == 0 {
        return Next::End;
    }
    let Some((body, after)) = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length)) else {
        return Next::Torn;
    };
    if crc32c::crc32c(body) != checksum {
        return Next::Torn;
    }
    let frame = match body.split_first() {
        Some((&KIND_INTERACTION, payload)) => decode(payload, Bytes::texts),
        Some((&KIND_INTERACTION_BEFORE, payload)) => decode(payload, Bytes::texts_one_by_one),
        Some((&KIND_TALLY, payload)) => decode_tally(payload),
        Some(_) | None => None,
    };
    frame.map_or(Next::Torn, |frame| Next::Frame(frame, after))
}

/// Whether the frame at the start of `bytes` may go on behind them.
pub fn is_cut_short(bytes: &[u8]) -> bool {
    match bytes.split_at_checked(8) {
        Some((head, rest)) => u32_of(&head[..4]).is_some_and(|length| usize::try_from(length).is_ok_and(|length| length > rest.len())),
        None => true,
    }
}

const KIND_INTERACTION_BEFORE: u8 = 1;
const KIND_TALLY: u8 = 2;
const KIND_INTERACTION: u8 = 3;

fn write_frame(group: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = group.len();
    group.extend_from_slice(&[0; 8]);
    group.push(kind);
    payload(group);
    let Some((head, body)) = group.get_mut(start..).and_then(|frame| frame.split_at_mut_checked(8)) else {
        return;
    };
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
}

const HAS_VISITOR: u8 = 1;
const HAS_VISIT: u8 = 2;
const STARTS_VISIT: u8 = 4;
const HAS_COUNTRY: u8 = 8;
const IS_BOT: u8 = 16;
const MAY_SHARE: u8 = 32;

fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut flags = 0;
    for (flag, is_set) in [
        (HAS_VISITOR, record.visitor_id.is_some()),
        (HAS_VISIT, record.visit_id.is_some()),
        (STARTS_VISIT, record.starts_visit),
        (HAS_COUNTRY, record.country.is_some()),
        (IS_BOT, record.is_bot),
        (MAY_SHARE, record.may_share),
    ] {
        flags |= if is_set { flag } else { 0 };
    }
    let [received_at, occurred_at] = [record.received_at, record.occurred_at].map(|moment| moment.micros().to_le_bytes());
    let words = [
        flags,
        record.channel.index(),
        record.medium.index(),
        record.device.index(),
        record.regime.index(),
        record.basis.index(),
        record.consent_source.index(),
        record.protocol.index(),
    ];
    out.extend_from_slice([received_at, occurred_at, words].as_flattened());
    for id in [record.visitor_id, record.visit_id].into_iter().flatten() {
        out.extend_from_slice(&id.0);
    }
    if let Some(country) = record.country {
        out.extend_from_slice(&country.bytes());
    }
    put_texts(out, &record.texts);
    for number in record.numbers {
        // 0 is "none", n + 1 is n: the gate lets no negative number pass.
        put_varint(out, number.map_or(0, |number| u64::from(number.unsigned_abs()) + 1));
    }
    put_varint(out, record.properties.len() as u64);
    for (key, value) in &record.properties {
        put_text(out, key);
        put_text(out, value);
    }
    // Up to the end of the frame: nothing where nothing was removed, as in most.
    for (kind, count) in record.scrubbed.kinds() {
        out.push(kind as u8);
        put_varint(out, count);
    }
}

// Else the row is moved on its way out: 600 bytes, twice.
#[inline(always)]
fn decode<'a>(payload: &'a [u8], texts: impl Fn(&mut Bytes<'a>) -> Option<[&'a str; Text::COUNT]>) -> Option<Frame<'a>> {
    let mut bytes = Bytes(payload);
    let received_at = Moment(bytes.i64()?);
    let occurred_at = Moment(bytes.i64()?);
    let flags = bytes.byte()?;
    let channel = Channel::from_index(bytes.byte()?)?;
    let medium = Medium::from_index(bytes.byte()?)?;
    let device = Device::from_index(bytes.byte()?)?;
    let regime = Regime::from_index(bytes.byte()?)?;
    let basis = LegalBasis::from_index(bytes.byte()?)?;
    let consent_source = ConsentSource::from_index(bytes.byte()?)?;
    let protocol = Protocol::from_index(bytes.byte()?)?;
    let visitor_id = if flags & HAS_VISITOR == 0 { None } else { Some(Id(bytes.array()?)) };
    let visit_id = if flags & HAS_VISIT == 0 { None } else { Some(Id(bytes.array()?)) };
    let country = if flags & HAS_COUNTRY == 0 {
        None
    } else {
        Some(Country::parse(std::str::from_utf8(&bytes.array::<2>()?).ok()?)?)
    };
    let texts = texts(&mut bytes)?;
    let mut numbers = [None; Number::COUNT];
    for number in &mut numbers {
        *number = match bytes.varint()? {
            0 => None,
            above => Some(i32::try_from(above - 1).ok()?),
        };
    }
    let mut properties = Vec::new();
    for _ in 0..bytes.varint()? {
        properties.push((bytes.text()?, bytes.text()?));
    }
    let mut scrubbed = Scrubbed::default();
    while !bytes.0.is_empty() {
        let kind = Kind::from_index(usize::from(bytes.byte()?))?;
        scrubbed.0[kind as usize] = bytes.varint()?;
    }
    Some(Frame::Interaction(Record {
        received_at,
        occurred_at,
        texts,
        numbers,
        visitor_id,
        visit_id,
        starts_visit: flags & STARTS_VISIT != 0,
        country,
        channel,
        medium,
        device,
        is_bot: flags & IS_BOT != 0,
        regime,
        basis,
        consent_source,
        may_share: flags & MAY_SHARE != 0,
        protocol,
        properties,
        scrubbed,
    }))
}

fn decode_tally(payload: &[u8]) -> Option<Frame<'_>> {
    let mut bytes = Bytes(payload);
    let site = bytes.text()?;
    let hour = Hour(bytes.i64()?);
    let outcome = Outcome::from_index(usize::from(bytes.byte()?))?;
    let count = bytes.varint()?;
    bytes.0.is_empty().then_some(Frame::Tally { site, hour, outcome, count })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A row's texts: a map of those that are there, their lengths, and then they themselves, side by side.
fn put_texts(out: &mut Vec<u8>, texts: &[&str; Text::COUNT]) {
    let map = texts.iter().enumerate().fold(0, |map, (at, text)| map | u32::from(!text.is_empty()) << at);
    out.extend_from_slice(&map.to_le_bytes());
    for at in Places(map) {
        put_varint(out, texts[at].len() as u64);
    }
    for at in Places(map) {
        out.extend_from_slice(texts[at].as_bytes());
    }
}

/// The texts that are there, by a map of them.
struct Places(u32);

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let at = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (at < u32::BITS).then_some(at as usize)
    }
}

/// LEB128: seven bits a byte, least first.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_le_bytes)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        if let Some((first @ ..0x80, rest)) = self.0.split_first() {
            self.0 = rest;
            return Some(u64::from(*first));
        }
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// As `put_texts` puts them.
    fn texts(&mut self) -> Option<[&'a str; Text::COUNT]> {
        let map = u32::from_le_bytes(self.array()?);
        if map >> Text::COUNT != 0 {
            return None;
        }
        let (mut lengths, mut whole) = ([0; Text::COUNT], 0_usize);
        for at in Places(map) {
            lengths[at] = usize::try_from(self.varint()?).ok()?;
            whole = whole.checked_add(lengths[at])?;
        }
        // Checked in one pass, and then only cut apart.
        let (mut texts, mut rest) = ([""; Text::COUNT], std::str::from_utf8(self.take(whole)?).ok()?);
        for at in Places(map) {
            (texts[at], rest) = rest.split_at_checked(lengths[at])?;
        }
        Some(texts)
    }

    /// As they were put before: all of them, each behind its length.
    fn texts_one_by_one(&mut self) -> Option<[&'a str; Text::COUNT]> {
        let mut texts = [""; Text::COUNT];
        for text in &mut texts {
            *text = self.text()?;
        }
        Some(texts)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.varint()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Next, encode, read, write_frame, write_tally};
    use crate::hit::clock::{Hour, Moment};
    use crate::hit::field::{
        Channel, ConsentSource, Country, Device, Id, LegalBasis, Medium, Protocol, Regime,
    };
    use crate::hit::outcome::{Outcome, Reason};
    use crate::hit::record::{Number, Record, Text};
    use crate::hit::scrubbed::Scrubbed;
    use proptest::prelude::*;

    fn record<'a>(texts: [&'a str; Text::COUNT], properties: Vec<(&'a str, &'a str)>) -> Record<'a> {
        let mut numbers = [None; Number::COUNT];
        numbers[0] = Some(0);
        numbers[1] = Some(i32::MAX);
        Record {
            received_at: Moment(1_700_000_000_000_000),
            occurred_at: Moment(-1),
            texts,
            numbers,
            visitor_id: Some(Id([1; 16])),
            visit_id: None,
            starts_visit: true,
            country: Country::parse("FR"),
            channel: Channel::Telephony,
            medium: Medium::Internal,
            device: Device::Other,
            is_bot: true,
            regime: Regime::OptOut,
            basis: LegalBasis::Count,
            consent_source: ConsentSource::None,
            may_share: false,
            protocol: Protocol::Server,
            properties,
            scrubbed: Scrubbed::default(),
        }
    }

    /// The same frame as it was written before: the record has one id and a country.
    fn as_before(frame: &[u8], texts: &[String]) -> Vec<u8> {
        let payload = &frame[9..];
        let (head, rest) = payload.split_at(8 + 8 + 8 + 16 + 2);
        let mut lengths = Vec::new();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            super::put_varint(&mut lengths, text.len() as u64);
        }
        let behind = &rest[4 + lengths.len() + texts.iter().map(String::len).sum::<usize>()..];
        let mut group = Vec::new();
        write_frame(&mut group, super::KIND_INTERACTION_BEFORE, |out| {
            out.extend_from_slice(head);
            for text in texts {
                super::put_text(out, text);
            }
            out.extend_from_slice(behind);
        });
        group
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            texts in proptest::array::uniform24("\\PC{0,40}"),
            properties in proptest::collection::vec(("\\PC{0,9}", "\\PC{0,300}"), 0..5),
            removed in proptest::array::uniform13(0_u64..300),
        ) {
            let borrowed = std::array::from_fn(|at| texts[at].as_str());
            let mut record = record(borrowed, properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect());
            record.scrubbed = Scrubbed(removed);
            let mut group = Vec::new();
            write_frame(&mut group, super::KIND_INTERACTION, |out| encode(&record, out));
            let length = group.len();
            write_tally("acme", Hour(5), Outcome::Refused(Reason::NoConsent), 300, &mut group);
            group.extend_from_slice(&[0; 20]);
            let before = as_before(&group[..length], &texts);
            let Next::Frame(first, rest) = read(&group) else { panic!() };
            prop_assert_eq!(rest.len(), group.len() - length);
            prop_assert_eq!(read(&before), Next::Frame(Frame::Interaction(record.clone()), &[]));
            prop_assert_eq!(first, Frame::Interaction(record));
            let Next::Frame(second, rest) = read(rest) else { panic!() };
            prop_assert_eq!(second, Frame::Tally { site: "acme", hour: Hour(5), outcome: Outcome::Refused(Reason::NoConsent), count: 300 });
            prop_assert_eq!(read(rest), Next::End);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes);
            super::decode(&bytes, super::Bytes::texts);
            super::decode(&bytes, super::Bytes::texts_one_by_one);
            super::decode_tally(&bytes);
        }
    }

    #[test]
    fn a_frame_cut_or_flipped_anywhere_is_torn() {
        let mut group = Vec::new();
        write_frame(&mut group, super::KIND_INTERACTION, |out| encode(&record(["x"; Text::COUNT], vec![("k", "v")]), out));
        for at in 1..group.len() {
            assert_eq!(read(&group[..at]), Next::Torn, "cut at {at}");
        }
        for at in 0..group.len() * 8 {
            let mut flipped = group.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(read(&flipped), Next::Torn, "bit {at}");
        }
    }
}
