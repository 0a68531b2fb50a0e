//! Owns `Interaction`, what is kept of a hit, and is its only maker.
//!
//! Promises: every text in it went through `rules::scrub`, and what that removed is counted in it; it is made only with the grounds of a
//! `Ruling::Keep`; it holds a network and a country, never an address, never a user agent, never a
//! cookie. The journal and the lake accept nothing else, so nothing goes around the gate.

use super::agent::Agent;
use super::echo::Echo;
use super::memory::{Memory, trimmed};
use super::place::Place;
use super::ruling::Grounds;
use super::scrub::{self, CleanUrl};
use super::source::{Sources, Utm};
use crate::hit::clock::Moment;
use crate::hit::draft::Draft;
use crate::hit::field::{Channel, Id, Protocol};
use crate::hit::record::{Number, Record, Text};
use crate::hit::scrubbed::Scrubbed;
use crate::hit::site::Site;
use bumpalo::Bump;
use bumpalo::boxed::Box;
use std::borrow::Cow;

/// One interaction that may be kept. Private inside: what is in here passed the gate.
///
/// It stays where it was made: moved, each of its 600 bytes would be copied at every step.
pub struct Interaction<'a>(Box<'a, Record<'a>>);

/// All that the gate makes a row of.
pub struct Facts<'f, 'a> {
    pub site: &'a Site,
    pub grounds: Grounds,
    pub draft: &'f Draft<'a>,
    pub protocol: Protocol,
    pub channel: Channel,
    pub received_at: Moment,
    pub occurred_at: Moment,
    pub event_id: &'a str,
    pub place: &'a Place,
    pub agent: &'a Agent,
    pub sources: &'a Sources,
    pub visitor: Option<Id>,
    /// The visit, and whether this is its first interaction.
    pub visit: Option<(Id, bool)>,
    /// The page as the `Referer` header says it, for an image without `u`.
    pub referer: &'a [u8],
    pub accept_language: Option<&'a str>,
    pub echo: Echo<'a>,
    /// What the cleaning of texts came to lately.
    pub memory: &'a mut Memory,
    /// What was removed before: from an event id that was not kept.
    pub removed: Scrubbed,
}

/// Mints a row.
pub fn mint<'a>(facts: Facts<'_, 'a>, arena: &'a Bump) -> Interaction<'a> {
    let (draft, memory) = (facts.draft, facts.memory);
    let from_header = || std::str::from_utf8(facts.referer).ok().filter(|text| !text.is_empty());
    let raw_page = draft.page_url.or_else(from_header);
    let mut scrubbed = facts.removed;
    let removed = &mut scrubbed;
    let [page, referrer, target] = [raw_page, draft.referrer_url, draft.target_url]
        .map(|url| url.map_or_else(CleanUrl::default, |url| memory.url(url, facts.echo, removed, arena)));
    let query = raw_page.map_or("", scrub::query_of);
    let [utm_source, utm_medium, utm_campaign, utm_term, utm_content] = scrub::parameters(query, UTM_LENGTH_MAX, facts.echo, removed, arena);
    let [event, page_title, element] =
        [(draft.event, EVENT_LENGTH_MAX), (draft.page_title, TITLE_LENGTH_MAX), (draft.element, ELEMENT_LENGTH_MAX)]
            .map(|(text, length_max)| text.map_or("", |text| memory.text(text, length_max, facts.echo, removed, arena)));
    let properties =
        draft.properties.iter().map(|(key, value)| scrub::property(key, value, facts.echo, removed, arena)).collect();
    let source = facts.sources.attribute(
        given(page.host),
        given(referrer.host),
        given(referrer.path),
        Utm { source: given(utm_source), medium: given(utm_medium), campaign: given(utm_campaign) },
        |host| facts.site.owns_host(host),
    );

    let source_name = match source.name {
        Some(Cow::Borrowed(name)) => name,
        Some(Cow::Owned(name)) => arena.alloc_str(&name),
        None => "",
    };
    let mut texts = [""; Text::COUNT];
    texts[Text::Site as usize] = facts.site.key.as_str();
    texts[Text::EventId as usize] = facts.event_id;
    texts[Text::Event as usize] = given(event).unwrap_or("page_view");
    texts[Text::PageUrl as usize] = page.url;
    texts[Text::PageHost as usize] = page.host;
    texts[Text::PagePath as usize] = page.path;
    texts[Text::PageTitle as usize] = page_title;
    texts[Text::ReferrerUrl as usize] = referrer.url;
    texts[Text::ReferrerHost as usize] = referrer.host;
    texts[Text::SourceName as usize] = source_name;
    texts[Text::UtmSource as usize] = utm_source;
    texts[Text::UtmMedium as usize] = utm_medium;
    texts[Text::UtmCampaign as usize] = utm_campaign;
    texts[Text::UtmTerm as usize] = utm_term;
    texts[Text::UtmContent as usize] = utm_content;
    texts[Text::TargetUrl as usize] = target.url;
    texts[Text::TargetHost as usize] = target.host;
    texts[Text::Element as usize] = element;
    texts[Text::Network as usize] = facts.place.network.as_deref().unwrap_or("");
    texts[Text::Browser as usize] = facts.agent.browser.as_deref().unwrap_or("");
    texts[Text::BrowserVersion as usize] = facts.agent.browser_version.as_deref().unwrap_or("");
    texts[Text::Os as usize] = facts.agent.os.as_deref().unwrap_or("");
    texts[Text::OsVersion as usize] = facts.agent.os_version.as_deref().unwrap_or("");
    texts[Text::Language as usize] = language(draft.language.or(facts.accept_language));
    let mut numbers = [None; Number::COUNT];
    for (column, value, most) in [
        (Number::EngagedMs, draft.engaged_ms, 86_400_000),
        (Number::ScrollPercent, draft.scroll_percent, 100),
        (Number::ScreenWidth, draft.screen_width, 65_535),
        (Number::ScreenHeight, draft.screen_height, 65_535),
    ] {
        numbers[column as usize] = value.map(|value| value.clamp(0, most));
    }

    let record = Record {
        received_at: facts.received_at,
        occurred_at: facts.occurred_at,
        texts,
        numbers,
        visitor_id: facts.visitor,
        visit_id: facts.visit.map(|(visit, _)| visit),
        starts_visit: facts.visit.is_some_and(|(_, starts)| starts),
        country: facts.place.country,
        channel: facts.channel,
        medium: source.medium,
        device: facts.agent.device,
        is_bot: facts.agent.is_bot,
        regime: facts.grounds.regime,
        basis: facts.grounds.basis,
        consent_source: facts.grounds.source,
        may_share: facts.grounds.may_share,
        protocol: facts.protocol,
        properties,
        scrubbed,
    };
    Interaction(Box::new_in(record, arena))
}

impl<'a> Interaction<'a> {
    /// Looks at the row.
    pub fn record(&self) -> &Record<'a> {
        &self.0
    }
}

/// An event id as it may be kept: the sender's own, or `None` where it is none or tells of a person
/// (then a fresh one is made, and repeats of it cannot be known).
pub fn event_id<'a>(given: Option<&'a str>, echo: Echo<'_>, removed: &mut Scrubbed, arena: &'a Bump) -> Option<&'a str> {
    let given = given?;
    if scrub::text(given, usize::MAX, echo, removed, arena) != given {
        return None;
    }
    if given.len() <= EVENT_ID_LENGTH_MAX {
        return Some(given);
    }
    Some(arena.alloc_str(&super::identity::keyed_hash(b"event", &[given.as_bytes()]).to_string()))
}

const EVENT_ID_LENGTH_MAX: usize = 64;
const EVENT_LENGTH_MAX: usize = 64;
const TITLE_LENGTH_MAX: usize = 512;
const ELEMENT_LENGTH_MAX: usize = 256;
const UTM_LENGTH_MAX: usize = 128;

const fn given(text: &str) -> Option<&str> {
    if text.is_empty() { None } else { Some(text) }
}

/// The first language of `en-US,en;q=0.9`: language and region only (BCP 47), since longer tags and
/// the whole list tell people apart.
fn language(input: Option<&str>) -> &str {
    let input = input.unwrap_or("");
    let first = trimmed(input.get(..input.bytes().position(|byte| matches!(byte, b',' | b';')).unwrap_or(input.len())).unwrap_or(""));
    let mut end = 0;
    for (at, subtag) in first.as_bytes().split(|byte| *byte == b'-').enumerate() {
        let fits = match at {
            0 => (2..=3).contains(&subtag.len()) && subtag.iter().all(u8::is_ascii_alphabetic),
            1 | 2 => (2..=4).contains(&subtag.len()) && subtag.iter().all(u8::is_ascii_alphanumeric),
            _ => false,
        };
        if !fits {
            break;
        }
        end += subtag.len() + usize::from(at > 0);
    }
    first.get(..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::language;

    #[test]
    fn the_first_language_and_its_region() {
        for (input, expected) in [
            ("en-US,en;q=0.9", "en-US"), ("de", "de"), ("zh-Hant-TW", "zh-Hant-TW"), ("*", ""), ("", ""),
            ("\u{a0}en", "en"), ("en-x-private-jane", "en"), ("fr;q=0.1", "fr"), ("jane@example.org", ""),
        ] {
            assert_eq!(language(Some(input)), expected, "{input}");
        }
    }
}
