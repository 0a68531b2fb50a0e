//! Owns flat fields, names and texts, as Snowplow and Matomo send them, and the tables by which they are
//! laid into a draft.
//!
//! Promises: of a field given twice the first counts, but for words on consent, which are all told to the
//! draft; an empty field is absent; a number that cannot be read makes the hit unreadable.

use super::native::{self, Event};
use crate::hit::claims::{Claims, Decoded};
use crate::hit::draft::Draft;
use crate::hit::private::Private;
use crate::rules::percent;
use bumpalo::Bump;
use serde_json::Value;

/// The fields of one event in their order.
#[derive(Debug, Default)]
pub struct Fields<'a>(Vec<(&'a str, &'a str)>);

type TextSlot = for<'d, 'a> fn(&'d mut Draft<'a>) -> &'d mut Option<&'a str>;
type ClaimSlot = for<'d, 'a> fn(&'d mut Claims<'a>) -> &'d mut Private<Option<&'a str>>;

/// Where a field goes.
#[derive(Clone, Copy)]
pub enum Into {
    Text(TextSlot),
    /// The first of several fields for one claim counts.
    Claim(ClaimSlot),
    /// `1920x1080`
    Screen,
    Property(&'static str),
}

impl<'a> Fields<'a> {
    /// Reads a query, or a form's body. A leading `?` is none of it.
    pub fn of_query(query: &'a str, arena: &'a Bump) -> Self {
        let parameters = percent::parameters(query.trim_start_matches('?'), arena);
        Self(parameters.map(|(name, value)| (percent::decode_component(name, arena), value)).collect())
    }

    /// Puts a word of the wire format's own into ours, where a field of the same name means the same.
    pub fn reworded(mut self, name: &str, theirs: &str, ours: &'static str) -> Self {
        for (_, value) in self.0.iter_mut().filter(|(known, value)| *known == name && *value == theirs) {
            *value = ours;
        }
        self
    }

    /// Adds the fields of a JSON object behind those that are there. Lists and objects are no fields.
    pub fn and(mut self, event: &'a Event, arena: &'a Bump) -> Self {
        for (name, value) in event.fields() {
            match value {
                Value::String(text) => self.0.push((name, text)),
                Value::Number(number) => self.0.push((name, arena.alloc_str(&number.to_string()))),
                Value::Bool(truth) => self.0.push((name, if *truth { "1" } else { "0" })),
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
        self
    }

    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, value)| *known == name && !value.is_empty()).map(|(_, value)| *value)
    }

    pub fn all(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }

    /// Milliseconds since the epoch.
    pub fn millis(&self, name: &str, unreadable: &mut bool) -> Option<i64> {
        let text = self.get(name)?;
        let read = text.parse().ok();
        *unreadable |= read.is_none();
        read
    }

    /// Lays the fields out by a table, and tells the draft every word on consent.
    pub fn lay_out(&self, table: &[(&str, Into)], decoded: &mut Decoded<'a>) {
        let Decoded { draft, claims, .. } = decoded;
        for (name, into) in table {
            let Some(value) = self.get(name) else { continue };
            match into {
                Into::Text(slot) => *slot(draft) = Some(value),
                Into::Claim(slot) => {
                    let claim = slot(claims);
                    if claim.reveal().is_none() {
                        *claim = Private::new(Some(value));
                    }
                }
                Into::Screen => (draft.screen_width, draft.screen_height) = sizes(value).map_or((None, None), |(width, height)| (Some(width), Some(height))),
                Into::Property(key) => native::add_property(draft, key, value),
            }
        }
        for (name, value) in self.all() {
            native::say(draft, name, value);
        }
    }
}

/// `1920x1080`
pub fn sizes(text: &str) -> Option<(i32, i32)> {
    let (width, height) = text.split_once('x')?;
    let whole = |text: &str| text.parse::<i32>().ok().filter(|size| *size >= 0);
    Some((whole(width)?, whole(height)?))
}

#[cfg(test)]
mod tests {
    use super::{Fields, sizes};
    use bumpalo::Bump;

    #[test]
    fn the_first_of_a_field_counts_and_an_empty_one_is_absent() {
        let arena = Bump::new();
        let fields = Fields::of_query("?a=&a=1%20b&a=2&b&c=+", &arena);
        assert_eq!((fields.get("a"), fields.get("b"), fields.get("c")), (Some("1 b"), None, Some(" ")));
        assert_eq!((sizes("1920x1080"), sizes("1920"), sizes("-1x2")), (Some((1920, 1080)), None, None));
    }
}
