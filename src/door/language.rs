//! Owns the languages of the collector's pages: which there are, which one a visitor gets, and the numbers
//! and values put into their phrases.
//!
//! Knows `Accept-Language` (RFC 9110 §12.5.4, weights §12.4.2). Promises: what
//! names no language of the list is English. Never guesses from a place.

use super::phrases::Phrases;
use super::words::{de, en, es, fr, it, nl, pl, pt};

/// A language that the pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    German,
    French,
    Spanish,
    Italian,
    Portuguese,
    Dutch,
    Polish,
}

impl Language {
    pub const ALL: [Self; 8] =
        [Self::English, Self::German, Self::French, Self::Spanish, Self::Italian, Self::Portuguese, Self::Dutch, Self::Polish];

    /// The language of a tag (BCP 47): `de`, `de-AT`, `DE`.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or("").trim();
        Self::ALL.into_iter().find(|language| language.code().eq_ignore_ascii_case(primary))
    }

    /// What `Accept-Language` asks for most: the first of the highest weight (0 means "not this one"), and
    /// English where it names no language of the list.
    pub fn accepted(header: Option<&str>) -> Self {
        let (mut best, mut highest) = (Self::English, 0.0);
        for range in header.unwrap_or("").split(',') {
            let mut parts = range.split(';');
            let Some(language) = parts.next().and_then(Self::from_tag) else { continue };
            let weight: f32 = match parts.find_map(|part| part.trim().strip_prefix("q=")) {
                None => 1.0,
                Some(written) => written.trim().parse().unwrap_or(0.0),
            };
            if weight > highest && weight <= 1.0 {
                (best, highest) = (language, weight);
            }
        }
        best
    }

    /// As in `lang` and `?lang=` (ISO 639-1).
    pub const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Italian => "it",
            Self::Portuguese => "pt",
            Self::Dutch => "nl",
            Self::Polish => "pl",
        }
    }

    /// What its speakers call it.
    pub const fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
            Self::French => "Français",
            Self::Spanish => "Español",
            Self::Italian => "Italiano",
            Self::Portuguese => "Português",
            Self::Dutch => "Nederlands",
            Self::Polish => "Polski",
        }
    }

    pub const fn phrases(self) -> &'static Phrases {
        match self {
            Self::English => &en::PHRASES,
            Self::German => &de::PHRASES,
            Self::French => &fr::PHRASES,
            Self::Spanish => &es::PHRASES,
            Self::Italian => &it::PHRASES,
            Self::Portuguese => &pt::PHRASES,
            Self::Dutch => &nl::PHRASES,
            Self::Polish => &pl::PHRASES,
        }
    }

    /// A term in days, or in years where it was written so (`config` takes a year as 366 days); a part of a
    /// day is told as a whole one, for nobody is to be promised less than what is kept.
    pub fn term(self, seconds: i64) -> String {
        const DAY: i64 = 86_400;
        const YEAR: i64 = 366 * DAY;
        let phrases = self.phrases();
        if seconds >= YEAR && seconds % YEAR == 0 {
            phrases.years.of(seconds / YEAR)
        } else {
            phrases.days.of(seconds / DAY + i64::from(seconds % DAY > 0))
        }
    }
}

/// A phrase with its placeholders filled in. Values are put in as they are, in one pass: what a value
/// holds is never taken for a placeholder.
pub fn fill(phrase: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(phrase.len() + 32);
    let mut rest = phrase;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, behind) = after.split_once('}').unwrap_or((after, ""));
        filled.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::{Language, fill};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_browser_s_wish_by_weight() {
        for (header, code) in [
            ("de", "de"),
            ("de-CH, fr;q=0.9", "de"),
            ("fr;q=0.3, pl;q=0.8, en;q=0.5", "pl"),
            ("nl;q=0.5, it;q=0.5", "nl"),
            ("sv, da;q=0.9, ES-mx ; q=0.1", "es"),
            ("de;q=0, fr;q=0.001", "fr"),
            ("de;q=0", "en"),
            ("de;q=nan, fr;q=inf, it;q=-1, pt;q=2", "en"),
            ("*", "en"),
            ("deutsch, ;;q=, ,", "en"),
        ] {
            assert_eq!(Language::accepted(Some(header)).code(), code, "{header}");
        }
        assert_eq!(Language::accepted(None), Language::English);
        assert_eq!(["pt-BR", "PT", "xx", ""].map(Language::from_tag), [Some(Language::Portuguese), Some(Language::Portuguese), None, None]);
    }

    #[test]
    fn terms_in_every_plural() {
        let terms = |language: Language, days: [i64; 5]| days.map(|days| language.term(days * 86_400));
        assert_eq!(terms(Language::English, [1, 2, 760, 366, 5 * 366]), ["1 day", "2 days", "760 days", "1 year", "5 years"]);
        assert_eq!(terms(Language::Polish, [1, 22, 366, 3 * 366, 5 * 366]), ["1 dzień", "22 dni", "1 rok", "3 lata", "5 lat"]);
        assert_eq!(terms(Language::Polish, [12 * 366, 13 * 366, 22 * 366, 21 * 366, 7]), ["12 lat", "13 lat", "22 lata", "21 lat", "7 dni"]);
        assert_eq!(Language::German.term(1), "1 Tag");
        assert_eq!(Language::German.term(86_401), "2 Tage");
    }

    #[test]
    fn every_language_says_the_same_things_with_the_same_values() {
        let places = |phrase: &str| -> BTreeSet<String> {
            phrase.split('{').skip(1).map(|part| part.split('}').next().unwrap().to_owned()).collect()
        };
        let english = Language::English.phrases().all();
        for language in Language::ALL {
            let phrases = language.phrases();
            for ((name, phrase), (_, in_english)) in phrases.all().into_iter().zip(&english) {
                assert_eq!(places(phrase), places(in_english), "{language:?} {name}");
                assert!(!phrase.is_empty() && !phrase.contains(['<', '>', '&', '"', '\'']), "{language:?} {name}");
                let is_copied = language != Language::English && phrase == *in_english;
                assert!(!is_copied, "{language:?} {name} is not translated");
                let ends_alike = phrase.chars().next_back().is_some_and(|end| end.is_ascii_punctuation())
                    == in_english.chars().next_back().is_some_and(|end| end.is_ascii_punctuation());
                assert!(ends_alike, "{language:?} {name}");
            }
            for forms in [&phrases.days, &phrases.years] {
                assert!([forms.one, forms.few, forms.many].iter().all(|form| form.contains("{n} ")));
            }
        }
    }

    proptest! {
        #[test]
        fn no_header_breaks_it(header in "\\PC{0,80}") {
            Language::accepted(Some(&header));
            Language::from_tag(&header);
        }

        #[test]
        fn values_are_not_read_again(value in "[a-z{}]{0,12}") {
            prop_assert_eq!(fill("a {name} b", &[("name", &value)]), format!("a {value} b"));
        }
    }
}
