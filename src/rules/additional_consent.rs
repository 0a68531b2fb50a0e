//! Owns Google's additional consent string: which companies that are on no list of the IAB's were consented to,
//! and which were shown.
//!
//! Source: Google, "Additional Consent technical specification", versions 1 (`1~1.35.41`) and 2
//! (`2~1.35~dv.9.21`). Promises: any text is read without a panic and without memory. Never grants: it means
//! something beside a TC string alone, and this collector is none of those companies; what cannot be read
//! makes the strings beside it unreadable.

/// The lists of a string that could be read: ids with dots between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdditionalConsent<'a> {
    consented: &'a str,
    /// Shown and not consented to; version 1 does not say.
    disclosed: &'a str,
}

/// Reads a string of version 1 or 2; `None` where it is malformed or of another version.
pub fn parse(text: &str) -> Option<AdditionalConsent<'_>> {
    let mut parts = text.split('~');
    let (version, consented) = (parts.next()?, parts.next()?);
    let disclosed = match version {
        "1" => "",
        "2" => parts.next()?.strip_prefix("dv.")?,
        _ => return None,
    };
    let is_whole = parts.next().is_none() && is_list(consented) && is_list(disclosed);
    is_whole.then_some(AdditionalConsent { consented, disclosed })
}

impl AdditionalConsent<'_> {
    pub fn consents(&self, id: u32) -> bool {
        ids(self.consented).any(|known| known == Some(id))
    }

    /// Whether the company was shown, consented to or not.
    pub fn discloses(&self, id: u32) -> bool {
        self.consents(id) || ids(self.disclosed).any(|known| known == Some(id))
    }
}

fn is_list(text: &str) -> bool {
    text.is_empty() || ids(text).all(|id| id.is_some())
}

fn ids(text: &str) -> impl Iterator<Item = Option<u32>> {
    text.split('.').map(|id| if id.bytes().all(|digit| digit.is_ascii_digit()) { id.parse().ok() } else { None })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use proptest::prelude::*;

    #[test]
    fn both_versions() {
        for (text, consented, disclosed) in [
            ("1~1.35.41", &[1, 35, 41][..], &[1, 35, 41][..]),
            ("1~", &[], &[]),
            ("2~1.35~dv.9.21", &[1, 35], &[1, 9, 21, 35]),
            ("2~~dv.9.21", &[], &[9, 21]),
            ("2~1.35~dv.", &[1, 35], &[1, 35]),
            ("2~~dv.", &[], &[]),
        ] {
            let string = parse(text).unwrap();
            for id in 0..100 {
                assert_eq!(string.consents(id), consented.contains(&id), "{text} {id}");
                assert_eq!(string.discloses(id), disclosed.contains(&id), "{text} {id}");
            }
        }
    }

    #[test]
    fn what_is_malformed() {
        for text in [
            "", "1", "2", "~", "1.35", "3~1", "0~1", "1~1~dv.2", "1~1.~", "1~1..2", "1~.1", "1~1.", "1~a", "1~-1", "1~+1", "1~1,2", "1~ 1",
            "2~1", "2~1~", "2~1~9.21", "2~1~dv", "2~1~dv.9~", "2~1~dv.9~dv.10", "2~1~dv.x", "1~99999999999", "${ADDTL_CONSENT}", "%24%7BADDTL_CONSENT%7D",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[0-9~.dv-]{0,60}", id: u32) {
            if let Some(string) = parse(&text) {
                prop_assert!(!string.consents(id) || string.discloses(id));
            }
        }
    }
}
