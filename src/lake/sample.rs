//! Owns a small lake for tests: rows in words, written as the collector would, in as many commits as asked.

use super::batch::InteractionFile;
use super::chunk::Press;
use super::columns::TableName;
use super::file::{FileToAdd, FileWriter};
use super::table::Table;
use super::trends::Trends;
use crate::hit::outcome::Outcome;
use crate::hit::record::Record;
use crate::hit::sample::START;
use std::collections::BTreeMap;
use std::path::Path;

/// Commits `records` and `outcomes` (counted at `START`) to both tables as portion `number`.
pub async fn commit(lake: &Path, number: i64, records: &[Record<'_>], outcomes: &[(&str, Outcome, u64)]) {
    let (mut days, mut trends, mut press) = (BTreeMap::new(), Trends::default(), Press::new().unwrap());
    for record in records {
        let file = days.entry(record.day()).or_insert_with(|| InteractionFile::new(record.day()).unwrap());
        file.push(record, &mut press, Some(&mut trends)).unwrap();
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
