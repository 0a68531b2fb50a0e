//! Owns JSON trees as foreign trackers send them: reading one, finding a value in it by a dotted path, and
//! laying it out flat as properties.
//!
//! Promises: a key given twice in one object loses its value (an empty list stands there, which is neither
//! text, number nor truth), so that no word on consent can be said twice; what is nested becomes
//! `outer.inner`, lists count from 0. Never judges.

use super::native::{self, PROPERTIES_MAX, add_property};
use crate::hit::draft::Draft;
use bumpalo::Bump;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::fmt;

/// A JSON value, keys given twice without a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree(pub Value);

/// The value at `path` (`context.page.url`).
pub fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, key| value.as_object()?.get(key)).filter(|value| !value.is_null())
}

/// A text that is not empty, or a number as text.
pub fn text<'a>(value: &'a Value, arena: &'a Bump) -> Option<&'a str> {
    match value {
        Value::String(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(arena.alloc_str(&number.to_string())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Adds all of `value` to the properties under `key`: what is nested behind a dot, each name that is no plain
/// word in brackets. A dot beside it would make an address or a card in a name a part of a longer row of numbers.
pub fn flatten<'a>(draft: &mut Draft<'a>, key: &str, value: &Value, arena: &'a Bump) {
    lay(draft, "", key, value, arena);
}

fn lay<'a>(draft: &mut Draft<'a>, above: &str, name: &str, value: &Value, arena: &'a Bump) {
    if draft.properties.len() >= PROPERTIES_MAX {
        return;
    }
    let is_nested = !above.is_empty() || matches!(value, Value::Array(_) | Value::Object(_));
    let name = if !is_nested || is_plain(name) { Cow::Borrowed(name) } else { Cow::Owned(format!("[{name}]")) };
    let path = if above.is_empty() { name } else { Cow::Owned(format!("{above}.{name}")) };
    let mut add = |text: &'a str| add_property(draft, arena.alloc_str(&path), text);
    match value {
        Value::Null => {}
        Value::Bool(truth) => add(if *truth { "true" } else { "false" }),
        Value::Number(number) => add(arena.alloc_str(&number.to_string())),
        Value::String(text) => add(arena.alloc_str(text)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| lay(draft, &path, &at.to_string(), item, arena)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| lay(draft, &path, key, value, arena)),
    }
}

/// A word with no more digits than a year and a month have: what singles a person out has more.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ' | b'$')) && name.bytes().filter(u8::is_ascii_digit).count() <= 6
}

/// Tells the draft every word on consent among the fields of `value`, by the IAB's names and ours.
pub fn say<'a>(draft: &mut Draft<'a>, value: &Value, arena: &'a Bump) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let said = match value {
            Value::Null => continue,
            Value::Bool(truth) => if *truth { "1" } else { "0" },
            Value::Number(number) => arena.alloc_str(&number.to_string()),
            Value::String(text) => arena.alloc_str(text),
            // No text: a word that nothing understands.
            Value::Array(_) | Value::Object(_) => "[]",
        };
        native::say(draft, name, said);
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Tree, E> {
        Ok(Tree(Value::Bool(truth)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree(Number::from_f64(number).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(Tree(item)) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Tree(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = Map::new();
        while let Some((key, Tree(value))) = map.next_entry::<String, Tree>()? {
            let value = if fields.contains_key(&key) { Value::Array(Vec::new()) } else { value };
            fields.insert(key, value);
        }
        Ok(Tree(Value::Object(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Tree, at, flatten};
    use crate::hit::draft::Draft;
    use bumpalo::Bump;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn tree(text: &str) -> Value {
        serde_json::from_str::<Tree>(text).unwrap().0
    }

    #[test]
    fn a_key_given_twice_has_no_value() {
        assert_eq!(tree(r#"{"a":true,"b":{"c":1,"c":2,"c":3},"a":false}"#), json!({"a": [], "b": {"c": []}}));
        assert_eq!(at(&tree(r#"{"a":{"b":{"c":"x"}}}"#), "a.b.c"), Some(&json!("x")));
        assert_eq!(at(&tree(r#"{"a":null}"#), "a"), None);
    }

    #[test]
    fn trees_are_laid_out_flat() {
        let arena = Bump::new();
        let mut draft = Draft::default();
        flatten(&mut draft, "", &json!({"plan": "gold", "n": 1.5, "yes": true, "no": null, "items": [{"sku": "a"}, {"sku": "b"}]}), &arena);
        let mut properties = draft.properties.clone();
        properties.sort_unstable();
        assert_eq!(properties, [("items.0.sku", "a"), ("items.1.sku", "b"), ("n", "1.5"), ("plan", "gold"), ("yes", "true")]);
    }

    #[test]
    fn a_number_in_a_name_is_no_part_of_a_longer_one() {
        let arena = Bump::new();
        let mut draft = Draft::default();
        flatten(&mut draft, "thing", &json!({"203.0.113.7": {"q4 2026": [1]}, "4111111111111111": ["x"]}), &arena);
        flatten(&mut draft, "203.0.113.7", &json!("alone"), &arena);
        let mut properties = draft.properties.clone();
        properties.sort_unstable();
        let keys: Vec<&str> = properties.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["203.0.113.7", "thing.[203.0.113.7].q4 2026.0", "thing.[4111111111111111].0"]);
    }

    proptest! {
        #[test]
        fn what_is_json_is_read_as_serde_json_reads_it(text in "[ \\[\\]{}\",:a-c0-9.e-]{0,40}") {
            let (ours, theirs) = (serde_json::from_str::<Tree>(&text), serde_json::from_str::<Value>(&text));
            prop_assert_eq!(ours.is_ok(), theirs.is_ok());
        }
    }
}
