//! Owns the row that tests begin with.

use super::clock::Moment;
use super::field::{Channel, ConsentSource, Country, Device, Id, LegalBasis, Medium, Protocol, Regime};
use super::record::{Number, Record, Text};
use super::scrubbed::Scrubbed;

/// 2026-11-20T00:00:00Z.
pub const START: Moment = Moment(1_795_132_800 * 1_000_000);

/// A page view of site `acme` from France, `seconds` after `START`.
pub fn page_view<'a>(seconds: i64, visitor: u8, visit: u8, path: &'a str) -> Record<'a> {
    let at = START.plus_seconds(seconds);
    let mut record = Record {
        received_at: at,
        occurred_at: at,
        texts: [""; Text::COUNT],
        numbers: [None; Number::COUNT],
        visitor_id: Some(Id([visitor; 16])),
        visit_id: Some(Id([visit; 16])),
        starts_visit: false,
        country: Country::parse("FR"),
        channel: Channel::Web,
        medium: Medium::Direct,
        device: Device::Desktop,
        is_bot: false,
        regime: Regime::OptIn,
        basis: LegalBasis::Consent,
        consent_source: ConsentSource::Cookie,
        may_share: true,
        protocol: Protocol::Native,
        properties: Vec::new(),
        scrubbed: Scrubbed::default(),
    };
    let texts = [(Text::Site, "acme"), (Text::EventId, "e"), (Text::Event, "page_view"), (Text::PageHost, "shop.example"), (Text::PagePath, path)];
    for (text, value) in texts {
        record.texts[text as usize] = value;
    }
    record
}
