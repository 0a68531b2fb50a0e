//! Owns a small lake for tests: rows in words, written as the collector would, in as many commits as asked.

use super::batch::InteractionFile;
use super::chunk::Press;
use super::columns::TableName;
use super::file::{FileToAdd, FileWriter};
use super::table::Table;
use super::trends::Trends;
use crate::hit::clock::Moment;
use crate::hit::field::{Channel, ConsentSource, Country, Device, Id, LegalBasis, Medium, Protocol, Regime};
use crate::hit::outcome::Outcome;
use crate::hit::record::{Number, Record, Text};
use crate::hit::scrubbed::Scrubbed;
use std::collections::BTreeMap;
use std::path::Path;

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

/// Commits `records` and `outcomes` (counted at `START`) to both tables as portion `number`.
pub async fn commit(lake: &Path, number: i64, records: &[Record<'_>], outcomes: &[(&str, Outcome, u64)]) {
    let (mut days, mut trends, mut press) = (BTreeMap::new(), Trends::default(), Press::new().unwrap());
    for record in records {
        let file = days.entry(record.day()).or_insert_with(|| InteractionFile::new(record.day()).unwrap());
        let ids = file.push(record, &mut press).unwrap();
        trends.count_numbered(record, &ids);
    }
    for (site, outcome, count) in outcomes {
        trends.count_outcome(site, START.hour(), *outcome, *count);
    }
    let rows = days.into_values().map(|file| file.finish("test", number, START, &mut press).unwrap()).collect();
    let trends = trends.take().unwrap().into_iter().map(|(day, batch)| {
        let mut writer = FileWriter::new(TableName::Trends, day).unwrap();
        writer.write(&batch).unwrap();
        writer.finish("test", number, START).unwrap()
    });
    for (name, files) in [(TableName::Interactions, rows), (TableName::Trends, trends.collect())] {
        let files: Vec<FileToAdd> = files;
        Table::open_or_create(lake, name).await.unwrap().commit("test", number, files).await.unwrap();
    }
}
