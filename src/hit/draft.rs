//! Owns `Draft`: what a hit says, decoded from whichever wire format, still unjudged and uncleaned.
//!
//! Knows every field that any sender may fill. Promises that a decoder can only fill it, not
//! decide: nothing here is consent yet, nothing here is kept. Never outlives the hit it borrows from.

/// A field that may be given once: given twice, it is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Once<T> {
    #[default]
    Absent,
    Given(T),
    /// Given twice, or not in the form its standard asks for: never consent (IAB TCF and GPP ask
    /// the maker of a URL to put each parameter once).
    Malformed,
}

impl<T: Copy> Once<T> {
    pub fn give(&mut self, value: T) {
        *self = match self {
            Self::Absent => Self::Given(value),
            Self::Given(_) | Self::Malformed => Self::Malformed,
        };
    }

    pub const fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Malformed => None,
        }
    }

    pub const fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed)
    }
}

/// The page's own word about consent (`consent=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed {
    Granted,
    Denied,
}

impl Once<Relayed> {
    /// Takes the page's word, or `None` for one that is no word: a denial stands, whatever else is said
    /// before or after it.
    pub fn say(&mut self, word: Option<Relayed>) {
        *self = match (*self, word) {
            (Self::Given(Relayed::Denied), _) | (_, Some(Relayed::Denied)) => Self::Given(Relayed::Denied),
            (Self::Absent, Some(Relayed::Granted)) => Self::Given(Relayed::Granted),
            (Self::Absent | Self::Malformed, None) | (Self::Malformed | Self::Given(Relayed::Granted), _) => Self::Malformed,
        };
    }
}

/// The IAB's consent parameters, as they came.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConsentStrings<'a> {
    /// `gdpr`: whether the sender says that the GDPR applies.
    pub gdpr: Once<bool>,
    pub gdpr_consent: Once<&'a str>,
    pub gpp: Once<&'a str>,
    pub gpp_sid: Once<&'a str>,
    pub us_privacy: Once<&'a str>,
    pub addtl_consent: Once<&'a str>,
}

/// What a hit says.
#[derive(Debug, Clone, Default)]
pub struct Draft<'a> {
    pub site: Option<&'a str>,
    pub event: Option<&'a str>,
    pub event_id: Option<&'a str>,
    pub page_url: Option<&'a str>,
    pub referrer_url: Option<&'a str>,
    pub page_title: Option<&'a str>,
    pub language: Option<&'a str>,
    pub screen_width: Option<i32>,
    pub screen_height: Option<i32>,
    pub engaged_ms: Option<i32>,
    pub scroll_percent: Option<i32>,
    pub element: Option<&'a str>,
    pub target_url: Option<&'a str>,
    /// Milliseconds since the epoch, by the sender's clock.
    pub occurred_at: Option<i64>,
    /// When the sender sent it, by the same clock: what `occurred_at` is corrected with.
    pub sent_at: Option<i64>,
    pub properties: Vec<(&'a str, &'a str)>,
    pub anonymous: bool,
    pub child: bool,
    /// The page's script found Global Privacy Control on; the header says it too, where nothing took it off.
    pub gpc: bool,
    pub consent: Once<Relayed>,
    pub strings: ConsentStrings<'a>,
    /// A field could not be read: the hit is refused as `bad_request`.
    pub unreadable: bool,
}

#[cfg(test)]
mod tests {
    use super::{Once, Relayed};

    #[test]
    fn given_twice_is_worth_nothing() {
        let mut field = Once::Absent;
        field.give(1);
        assert_eq!(field.given(), Some(1));
        field.give(1);
        assert!(field.is_malformed());
        field.give(1);
        assert_eq!(field.given(), None);
    }

    #[test]
    fn a_denial_stands() {
        let (yes, no) = (Some(Relayed::Granted), Some(Relayed::Denied));
        for (words, expected) in [
            (&[yes][..], Once::Given(Relayed::Granted)),
            (&[no], Once::Given(Relayed::Denied)),
            (&[no, yes], Once::Given(Relayed::Denied)),
            (&[yes, no], Once::Given(Relayed::Denied)),
            (&[None, no, yes, None], Once::Given(Relayed::Denied)),
            (&[yes, yes], Once::Malformed),
            (&[yes, None], Once::Malformed),
            (&[None, yes], Once::Malformed),
        ] {
            let mut said = Once::Absent;
            words.iter().for_each(|word| said.say(*word));
            assert_eq!(said, expected, "{words:?}");
        }
    }
}
