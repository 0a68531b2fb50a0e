//! Owns plain text for people: times, and for a terminal widths, cutting, thousands and bars.
//!
//! Knows Unicode's widths. Promises: what came from outside cannot steer the terminal (control and
//! direction marks are shown as �), and a field is exactly as wide as it is asked to be. Never colours.

use crate::hit::clock::Moment;
use chrono::{DateTime, SecondsFormat};
use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `text` without anything that a terminal would obey.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(steers) {
        Cow::Owned(text.chars().map(|char| if steers(char) { '\u{fffd}' } else { char }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Escape codes begin with a control character; direction marks turn the rest of a line around.
fn steers(char: char) -> bool {
    char.is_control() || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A moment as RFC 3339, to the second.
pub fn rfc3339(moment: Moment) -> String {
    DateTime::from_timestamp_micros(moment.micros()).map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// A moment as RFC 3339, to the microsecond.
pub fn rfc3339_micros(moment: Moment) -> String {
    DateTime::from_timestamp_micros(moment.micros()).map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// The moment of an RFC 3339 text.
pub fn moment(text: &str) -> Option<Moment> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| Moment(time.timestamp_micros()))
}

/// How many columns `text` takes.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// `text` in exactly `columns`: filled with spaces on the right, or cut with `…`.
pub fn left(text: &str, columns: usize) -> String {
    let mut text = cut(text, columns).into_owned();
    text.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&text))));
    text
}

/// `text` in exactly `columns`: filled with spaces on the left, or cut with `…`.
pub fn right(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let mut field = " ".repeat(columns.saturating_sub(width(&text)));
    field.push_str(&text);
    field
}

/// `text` in at most `columns`.
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut used) = (String::new(), 0);
    for char in text.chars() {
        used += char.width().unwrap_or(0);
        if used >= columns {
            break;
        }
        kept.push(char);
    }
    if columns > 0 {
        kept.push('…');
    }
    Cow::Owned(kept)
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A bar of `part` in `whole`, `columns` long at most; something is always shown of what is not zero.
pub fn bar(part: i64, whole: i64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = eighths(part, whole, columns);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// How many eighths of `cells` the `part` of `whole` fills: at least one, where it is not zero.
pub fn eighths(part: i64, whole: i64, cells: usize) -> usize {
    if part <= 0 || whole <= 0 {
        return 0;
    }
    let all = cells.saturating_mul(8);
    let filled = i128::from(part) * all as i128 / i128::from(whole);
    usize::try_from(filled).unwrap_or(all).clamp(1, all.max(1))
}

#[cfg(test)]
mod tests {
    use super::{bar, cut, grouped, left, plain, right};

    #[test]
    fn nothing_from_outside_steers_the_terminal() {
        assert_eq!(plain("\u{1b}[31mred\u{7}"), "\u{fffd}[31mred\u{fffd}");
        assert_eq!(plain("a\u{202e}b\u{9b}c\nd"), "a\u{fffd}b\u{fffd}c\u{fffd}d");
        assert_eq!(plain("/naïve/日本"), "/naïve/日本");
    }

    #[test]
    fn fields_are_as_wide_as_asked() {
        assert_eq!(left("ab", 4), "ab  ");
        assert_eq!(right("ab", 4), "  ab");
        assert_eq!(left("日本語", 4), "日… ");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn thousands_and_bars() {
        assert_eq!([0, 999, 1_000, -1_234_567].map(grouped), ["0", "999", "1,000", "-1,234,567"]);
        assert_eq!(bar(1, 2, 4), "██");
        assert_eq!(bar(1, 1_000_000, 4), "▏");
        assert_eq!(bar(3, 16, 4), "▊");
        assert_eq!((bar(0, 5, 4), bar(9, 5, 4), bar(1, 0, 4)), (String::new(), "████".to_owned(), String::new()));
    }
}
