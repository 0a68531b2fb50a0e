//! Owns `Dimension`: what a row of `trends` counts by, and which value of it an interaction has.
//!
//! Promises: a value by text and a value by numbers are the same value, unless a number is `BEYOND`. Never counts.

use super::vocabulary::{Ids, NONE, Word};
use crate::hit::outcome::Item;
use crate::hit::record::{Record, Text};

/// What a row of `trends` counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    All,
    Event,
    Page,
    EntryPage,
    Referrer,
    Source,
    Campaign,
    Country,
    Browser,
    Os,
    Device,
    Language,
    Target,
    Element,
    Outcome,
    Scrubbed,
}

impl Dimension {
    pub const ALL: [Self; 16] = [
        Self::All,
        Self::Event,
        Self::Page,
        Self::EntryPage,
        Self::Referrer,
        Self::Source,
        Self::Campaign,
        Self::Country,
        Self::Browser,
        Self::Os,
        Self::Device,
        Self::Language,
        Self::Target,
        Self::Element,
        Self::Outcome,
        Self::Scrubbed,
    ];

    /// Those of the values that interactions have; the two behind them are the ledger's.
    pub const OF_INTERACTIONS: [Self; Self::Outcome as usize] = {
        let mut first = [Self::All; Self::Outcome as usize];
        let mut at = 0;
        while at < first.len() {
            first[at] = Self::ALL[at];
            at += 1;
        }
        first
    };

    /// Where an item of the ledger stands, and its value there.
    pub const fn of_item(item: Item) -> (Self, &'static str) {
        match item {
            Item::Ended(outcome) => (Self::Outcome, outcome.name()),
            Item::Removed(kind) => (Self::Scrubbed, kind.name()),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Event => "event",
            Self::Page => "page",
            Self::EntryPage => "entry_page",
            Self::Referrer => "referrer",
            Self::Source => "source",
            Self::Campaign => "campaign",
            Self::Country => "country",
            Self::Browser => "browser",
            Self::Os => "os",
            Self::Device => "device",
            Self::Language => "language",
            Self::Target => "target",
            Self::Element => "element",
            Self::Outcome => "outcome",
            Self::Scrubbed => "scrubbed",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.name() == name)
    }

    /// The value of `record` in this dimension as one or two joined parts; empty = none.
    pub fn value<'a>(self, record: &'a Record<'_>) -> [&'a str; 2] {
        let one = |text| [record.text(text), ""];
        match self {
            Self::All | Self::Outcome | Self::Scrubbed => ["", ""],
            Self::Event => one(Text::Event),
            Self::Page => [record.text(Text::PageHost), record.text(Text::PagePath)],
            Self::EntryPage if record.starts_visit => [record.text(Text::PageHost), record.text(Text::PagePath)],
            Self::EntryPage => ["", ""],
            Self::Referrer => one(Text::ReferrerHost),
            Self::Source if record.text(Text::SourceName).is_empty() => [record.medium.name(), ""],
            Self::Source => one(Text::SourceName),
            Self::Campaign => one(Text::UtmCampaign),
            Self::Country => [record.country.as_ref().map_or("", |country| country.code()), ""],
            Self::Browser => one(Text::Browser),
            Self::Os => one(Text::Os),
            Self::Device => [record.device.name(), ""],
            Self::Language => one(Text::Language),
            Self::Target => one(Text::TargetHost),
            Self::Element => one(Text::Element),
        }
    }

    /// The numbers of the value of a row, `None` where it has none. `BEYOND` among them says that they do not
    /// tell values apart.
    pub const fn numbers(self, record: &Record<'_>, ids: &Ids) -> Option<[u16; 2]> {
        let numbers = match self {
            Self::All => [0, 0],
            Self::Outcome | Self::Scrubbed => [NONE, 0],
            Self::Event => [ids.text(Text::Event), 0],
            Self::Page => [ids.text(Text::PageHost), ids.text(Text::PagePath)],
            Self::EntryPage if record.starts_visit => [ids.text(Text::PageHost), ids.text(Text::PagePath)],
            Self::EntryPage => [NONE, 0],
            Self::Referrer => [ids.text(Text::ReferrerHost), 0],
            // Names and media have numbers of their own.
            Self::Source if ids.text(Text::SourceName) == NONE => [ids.word(Word::Medium), 1],
            Self::Source => [ids.text(Text::SourceName), 0],
            Self::Campaign => [ids.text(Text::UtmCampaign), 0],
            Self::Country => [ids.country, 0],
            Self::Browser => [ids.text(Text::Browser), 0],
            Self::Os => [ids.text(Text::Os), 0],
            Self::Device => [ids.word(Word::Device), 0],
            Self::Language => [ids.text(Text::Language), 0],
            Self::Target => [ids.text(Text::TargetHost), 0],
            Self::Element => [ids.text(Text::Element), 0],
        };
        if numbers[0] == NONE { None } else { Some(numbers) }
    }
}
