//! Owns the way from rows in words to Arrow: one builder a column, in the order of the table of columns.
//!
//! Promises: an empty text is null where the column may be, and the order here is the order there (a
//! test holds them together). Never decides what is kept.

use super::columns::{INTERACTIONS, MAP_PARTS, TableName, arrow_schema};
use crate::hit::field::Id;
use crate::hit::record::{Number, Record, Text};
use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Int32Builder, MapBuilder, MapFieldNames, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// Rows of `interactions` being gathered.
pub struct InteractionRows {
    texts: Vec<StringBuilder>,
    received_at: TimestampMicrosecondBuilder,
    occurred_at: TimestampMicrosecondBuilder,
    numbers: [Int32Builder; Number::COUNT],
    is_bot: BooleanBuilder,
    may_share: BooleanBuilder,
    properties: MapBuilder<StringBuilder, StringBuilder>,
    rows: usize,
}

/// Where a text column's value comes from.
#[derive(Clone, Copy)]
enum From {
    Text(Text),
    Word(fn(&Record<'_>) -> &'static str),
    Id(fn(&Record<'_>) -> Option<Id>),
    Country,
}

/// A column's place in the builders.
#[derive(Clone, Copy)]
enum Slot {
    Text(From),
    ReceivedAt,
    OccurredAt,
    Number(Number),
    IsBot,
    MayShare,
    Properties,
}

/// One entry a column of `INTERACTIONS`, in its order.
const SLOTS: &[(&str, Slot)] = &[
    ("event_id", Slot::Text(From::Text(Text::EventId))),
    ("site", Slot::Text(From::Text(Text::Site))),
    ("received_at", Slot::ReceivedAt),
    ("occurred_at", Slot::OccurredAt),
    ("channel", Slot::Text(From::Word(|record| record.channel.name()))),
    ("event", Slot::Text(From::Text(Text::Event))),
    ("page_url", Slot::Text(From::Text(Text::PageUrl))),
    ("page_host", Slot::Text(From::Text(Text::PageHost))),
    ("page_path", Slot::Text(From::Text(Text::PagePath))),
    ("page_title", Slot::Text(From::Text(Text::PageTitle))),
    ("referrer_url", Slot::Text(From::Text(Text::ReferrerUrl))),
    ("referrer_host", Slot::Text(From::Text(Text::ReferrerHost))),
    ("source_medium", Slot::Text(From::Word(|record| record.medium.name()))),
    ("source_name", Slot::Text(From::Text(Text::SourceName))),
    ("utm_source", Slot::Text(From::Text(Text::UtmSource))),
    ("utm_medium", Slot::Text(From::Text(Text::UtmMedium))),
    ("utm_campaign", Slot::Text(From::Text(Text::UtmCampaign))),
    ("utm_term", Slot::Text(From::Text(Text::UtmTerm))),
    ("utm_content", Slot::Text(From::Text(Text::UtmContent))),
    ("target_url", Slot::Text(From::Text(Text::TargetUrl))),
    ("target_host", Slot::Text(From::Text(Text::TargetHost))),
    ("element", Slot::Text(From::Text(Text::Element))),
    ("visitor_id", Slot::Text(From::Id(|record| record.visitor_id))),
    ("visit_id", Slot::Text(From::Id(|record| record.visit_id))),
    ("engaged_ms", Slot::Number(Number::EngagedMs)),
    ("scroll_percent", Slot::Number(Number::ScrollPercent)),
    ("network", Slot::Text(From::Text(Text::Network))),
    ("country", Slot::Text(From::Country)),
    ("browser", Slot::Text(From::Text(Text::Browser))),
    ("browser_version", Slot::Text(From::Text(Text::BrowserVersion))),
    ("os", Slot::Text(From::Text(Text::Os))),
    ("os_version", Slot::Text(From::Text(Text::OsVersion))),
    ("device", Slot::Text(From::Word(|record| record.device.name()))),
    ("is_bot", Slot::IsBot),
    ("language", Slot::Text(From::Text(Text::Language))),
    ("screen_width", Slot::Number(Number::ScreenWidth)),
    ("screen_height", Slot::Number(Number::ScreenHeight)),
    ("regime", Slot::Text(From::Word(|record| record.regime.name()))),
    ("legal_basis", Slot::Text(From::Word(|record| record.basis.name()))),
    ("consent_source", Slot::Text(From::Word(|record| record.consent_source.name()))),
    ("may_share", Slot::MayShare),
    ("protocol", Slot::Text(From::Word(|record| record.protocol.name()))),
    ("properties", Slot::Properties),
];

impl InteractionRows {
    pub fn push(&mut self, record: &Record<'_>) {
        let mut at = 0;
        for ((_, slot), column) in SLOTS.iter().zip(INTERACTIONS) {
            let Slot::Text(from) = slot else { continue };
            if let Some(builder) = self.texts.get_mut(at) {
                append(builder, *from, record, column.required);
            }
            at += 1;
        }
        self.received_at.append_value(record.received_at.micros());
        self.occurred_at.append_value(record.occurred_at.micros());
        for (builder, number) in self.numbers.iter_mut().zip(record.numbers) {
            builder.append_option(number);
        }
        self.is_bot.append_value(record.is_bot);
        self.may_share.append_value(record.may_share);
        for (key, value) in &record.properties {
            self.properties.keys().append_value(key);
            self.properties.values().append_value(value);
        }
        // Keys and values grow together above: there is no other error.
        let _ = self.properties.append(!record.properties.is_empty());
        self.rows += 1;
    }

    pub const fn len(&self) -> usize {
        self.rows
    }

    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The rows gathered so far as a batch; the builders are empty again.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let mut texts = self.texts.iter_mut();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(SLOTS.len());
        for (_, slot) in SLOTS {
            arrays.push(match slot {
                Slot::Text(_) => match texts.next() {
                    Some(builder) => Arc::new(builder.finish()),
                    None => return Err(ArrowError::SchemaError("a text column has no builder".to_owned())),
                },
                Slot::ReceivedAt => Arc::new(self.received_at.finish().with_timezone("UTC")),
                Slot::OccurredAt => Arc::new(self.occurred_at.finish().with_timezone("UTC")),
                Slot::Number(number) => ArrayBuilder::finish(&mut self.numbers[*number as usize]),
                Slot::IsBot => Arc::new(self.is_bot.finish()),
                Slot::MayShare => Arc::new(self.may_share.finish()),
                Slot::Properties => Arc::new(self.properties.finish()),
            });
        }
        RecordBatch::try_new(arrow_schema(TableName::Interactions), arrays)
    }
}

impl Default for InteractionRows {
    fn default() -> Self {
        let [entry, key, value] = MAP_PARTS.map(str::to_owned);
        let texts = SLOTS.iter().filter(|(_, slot)| matches!(slot, Slot::Text(_))).count();
        Self {
            texts: (0..texts).map(|_| StringBuilder::new()).collect(),
            received_at: TimestampMicrosecondBuilder::new(),
            occurred_at: TimestampMicrosecondBuilder::new(),
            numbers: std::array::from_fn(|_| Int32Builder::new()),
            is_bot: BooleanBuilder::new(),
            may_share: BooleanBuilder::new(),
            properties: MapBuilder::new(Some(MapFieldNames { entry, key, value }), StringBuilder::new(), StringBuilder::new()),
            rows: 0,
        }
    }
}

fn append(builder: &mut StringBuilder, from: From, record: &Record<'_>, required: bool) {
    match from {
        From::Text(text) => {
            let value = record.text(text);
            if value.is_empty() && !required {
                builder.append_null();
            } else {
                builder.append_value(value);
            }
        }
        From::Word(word) => builder.append_value(word(record)),
        From::Id(id) => match id(record) {
            Some(id) => builder.append_value(std::str::from_utf8(&id.digits()).unwrap_or("")),
            None => builder.append_null(),
        },
        From::Country => match &record.country {
            Some(country) => builder.append_value(country.code()),
            None => builder.append_null(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{InteractionRows, SLOTS};
    use crate::lake::columns::INTERACTIONS;

    #[test]
    fn every_column_has_its_slot_in_order() {
        let slots: Vec<_> = SLOTS.iter().map(|(name, _)| *name).collect();
        let columns: Vec<_> = INTERACTIONS.iter().map(|column| column.name).collect();
        assert_eq!(slots, columns);
        assert_eq!(InteractionRows::default().finish().unwrap().num_rows(), 0);
    }
}
