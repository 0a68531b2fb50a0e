//! Owns `Record`: one row in words, between the gate and the columns.
//!
//! Knows every column of `interactions`. Promises that texts are reached by name (`Text`) and that
//! an empty text is "nothing". A `Record` is only a shape: what may be kept is an `Interaction`,
//! and `rules::gate` is its only maker.

use super::clock::{Day, Hour, Moment};
use super::field::{
    Channel, ConsentSource, Country, Device, Id, LegalBasis, Medium, Protocol, Regime,
};
use super::scrubbed::Scrubbed;

/// The free-text columns, in the order in which frames carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    Site,
    EventId,
    Event,
    PageUrl,
    PageHost,
    PagePath,
    PageTitle,
    ReferrerUrl,
    ReferrerHost,
    SourceName,
    UtmSource,
    UtmMedium,
    UtmCampaign,
    UtmTerm,
    UtmContent,
    TargetUrl,
    TargetHost,
    Element,
    Network,
    Browser,
    BrowserVersion,
    Os,
    OsVersion,
    Language,
}

impl Text {
    pub const COUNT: usize = Self::Language as usize + 1;
}

/// The whole-number columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    EngagedMs,
    ScrollPercent,
    ScreenWidth,
    ScreenHeight,
}

impl Number {
    pub const COUNT: usize = Self::ScreenHeight as usize + 1;
}

/// One row. Borrows its texts from the hit on the way in, and from the segment on the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    pub received_at: Moment,
    pub occurred_at: Moment,
    pub texts: [&'a str; Text::COUNT],
    pub numbers: [Option<i32>; Number::COUNT],
    pub visitor_id: Option<Id>,
    pub visit_id: Option<Id>,
    /// The first interaction of its visit.
    pub starts_visit: bool,
    pub country: Option<Country>,
    pub channel: Channel,
    pub medium: Medium,
    pub device: Device,
    pub is_bot: bool,
    pub regime: Regime,
    pub basis: LegalBasis,
    pub consent_source: ConsentSource,
    pub may_share: bool,
    pub protocol: Protocol,
    pub properties: Vec<(&'a str, &'a str)>,
    /// What was removed from the texts, for the ledger: no column.
    pub scrubbed: Scrubbed,
}

impl<'a> Record<'a> {
    pub const fn text(&self, text: Text) -> &'a str {
        self.texts[text as usize]
    }

    pub const fn number(&self, number: Number) -> Option<i32> {
        self.numbers[number as usize]
    }

    /// The moment that files it: when it came, or, for what is brought in from the past, when it was.
    pub const fn filed_at(&self) -> Moment {
        match self.protocol {
            Protocol::Import => self.occurred_at,
            Protocol::Native
            | Protocol::Snowplow
            | Protocol::Segment
            | Protocol::Matomo
            | Protocol::Server => self.received_at,
        }
    }

    /// The partition it lies in.
    pub const fn day(&self) -> Day {
        self.filed_at().day()
    }

    /// The hour of `trends` it counts in.
    pub const fn hour(&self) -> Hour {
        self.filed_at().hour()
    }
}

/// A row for tests.
#[cfg(test)]
pub mod sample {
    use crate::hit::clock::Moment;
    use crate::hit::field::{Channel, ConsentSource, Country, Device, Id, LegalBasis, Medium, Protocol, Regime};
    use crate::hit::record::{Number, Record, Text};
    use crate::hit::scrubbed::Scrubbed;

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
}
