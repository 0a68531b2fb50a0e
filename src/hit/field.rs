//! Owns the small closed words of a row (channel, medium, device, …) and the ids.
//!
//! Promises: each word has one spelling, the contract's, in one place; a word read back from a
//! number or a text is one of the list or nothing. Never holds free text.

use std::fmt;

/// Declares a closed list of words: an enum, its spelling, and its dense number for frames.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$case_doc])* $case),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$case),+];

            /// The spelling in columns, settings and wire formats.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$case => $text),+ }
            }

            pub fn from_name(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$case),)+ _ => None }
            }

            pub const fn index(self) -> u8 {
                self as u8
            }

            pub fn from_index(index: u8) -> Option<Self> {
                Self::ALL.get(usize::from(index)).copied()
            }
        }

        /// The first of the list.
        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.name())
            }
        }
    };
}

words! {
    /// Where an interaction took place.
    Channel { Web = "web", Mobile = "mobile", Telephony = "telephony", Server = "server", Log = "log" }
}

words! {
    /// What brought the visitor here.
    Medium {
        Direct = "direct", Search = "search", Social = "social", Email = "email",
        Campaign = "campaign", Referral = "referral", Internal = "internal",
    }
}

words! {
    /// The kind of machine the browser runs on.
    Device { Desktop = "desktop", Mobile = "mobile", Tablet = "tablet", Tv = "tv", Bot = "bot", Other = "other" }
}

words! {
    /// What the law of the visitor's place asks before an interaction may be kept.
    Regime { OptIn = "opt-in", OptOut = "opt-out" }
}

words! {
    /// On what ground a row is kept.
    LegalBasis { Consent = "consent", OptOutRegime = "opt-out-regime", Contract = "contract", Count = "count" }
}

words! {
    /// Which signal gave the consent, where one did.
    ConsentSource {
        Cookie = "cookie", Relayed = "relayed", Tcf = "tcf", Gpp = "gpp",
        UsPrivacy = "us_privacy", None = "none",
    }
}

words! {
    /// The language in which a hit was sent.
    Protocol {
        Native = "native", Snowplow = "snowplow", Segment = "segment", Matomo = "matomo",
        Import = "import", Server = "server",
    }
}

words! {
    /// `consent` of a site: where consent is asked.
    ConsentMode { ByRegion = "by-region", OptIn = "opt-in" }
}

words! {
    /// `gpc` of a site: what Global Privacy Control does in opt-out places.
    GpcMode { BarSharing = "bar-sharing", Refuse = "refuse" }
}

words! {
    /// `without_consent` of a site: what may be kept in an opt-in place before a choice.
    WithoutConsent { Nothing = "nothing", Count = "count" }
}

words! {
    /// `server_basis` of a site: on what a server's event is kept where the place asks for consent and
    /// the event says nothing of it.
    ServerBasis { Consent = "consent", Contract = "contract" }
}

words! {
    /// `identity` of a site: the most by which visitors may be told apart, weakest first.
    IdentityMode { None = "none", Daily = "daily", Cookie = "cookie" }
}

words! {
    /// `durability` of the journal: what a reply waits for.
    Durability { Disk = "disk", Process = "process" }
}

words! {
    /// What was decided about a subject, in the list of suppressions. An erasure is never taken back.
    Suppression {
        /// To be forgotten: rows are out of every answer until they are gone, hits are refused for good.
        Erased = "erased",
        /// Kept and not used: rows are out of every answer, hits are refused.
        Restricted = "restricted",
        /// Opted out of under this id: hits are refused, rows stay.
        Objected = "objected",
        /// Held to be wrong: rows are out of every answer until they are put right.
        Contested = "contested",
        /// Ends a restriction and an objection.
        Released = "released",
        /// Ends a contest: what was wrong is put right.
        Settled = "settled",
    }
}

words! {
    /// The right that a request exercises (GDPR Art. 15 to 18 and 21; `release` ends a restriction or an objection).
    RequestKind {
        Access = "access", Erasure = "erasure", Rectification = "rectification",
        Restriction = "restriction", Release = "release", Objection = "objection",
    }
}

words! {
    /// Who handed a request in.
    Asker { Operator = "admin token", Client = "site's secret", CommandLine = "command line" }
}

words! {
    /// How far a request is.
    RequestState { Received = "received", Running = "running", Done = "done", Held = "held", Failed = "failed" }
}

/// Sixteen random or hashed bytes that tell visitors, visits or events apart; 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// Exactly 32 lower-case hex digits, or nothing.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != 32 {
            return None;
        }
        // Eight digits at a time, and without a way out in between: which digits are letters cannot be foreseen.
        let (mut bytes, mut wrong) = ([0; 16], 0);
        for (four, digits) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(text.as_chunks::<8>().0) {
            let digits = u64::from_le_bytes(*digits);
            let values = (digits & (15 * EACH)) + ((digits >> 6) & EACH) * 9;
            // Right is what these values are written as: 48 more, and another 39 for letters.
            let written = values + 48 * EACH + (((values + 6 * EACH) >> 4) & EACH) * 39;
            wrong |= (digits ^ written) | (values & (240 * EACH));
            // Every second byte is a pair of digits; then the four are moved together.
            let pairs = ((values << 4) | (values >> 8)) & 0x00ff_00ff_00ff_00ff;
            let twos = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
            let [a, b, _, _, c, d, _, _] = twos.to_le_bytes();
            *four = [a, b, c, d];
        }
        (wrong == 0).then_some(Self(bytes))
    }

    /// The 32 digits as ASCII.
    pub fn digits(&self) -> [u8; 32] {
        let mut text = [0; 32];
        let ((eights, _), (fours, _)) = (text.as_chunks_mut::<8>(), self.0.as_chunks::<4>());
        for (eight, four) in eights.iter_mut().zip(fours) {
            *eight = digits_of(u32::from_be_bytes(*four)).to_be_bytes();
        }
        text
    }
}

/// The eight digits of four bytes, at once.
const fn digits_of(bytes: u32) -> u64 {
    // Half of it moves up, then half of each half, until every byte has a digit's four bits.
    let mut spread = bytes as u64;
    spread = (spread | (spread << 16)) & 0x0000_ffff_0000_ffff;
    spread = (spread | (spread << 8)) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | (spread << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    // From ten on, six more would carry into the next four bits: those are letters.
    let letters = ((spread + 6 * EACH) >> 4) & EACH;
    spread + b'0' as u64 * EACH + letters * (b'a' - b'0' - 10) as u64
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// An id singles a person out: it is not for logs, so `{:?}` says only that there is one.
impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[id]")
    }
}

/// Bytes as lower-case hex digits, two a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One in each byte.
const EACH: u64 = 0x0101_0101_0101_0101;

/// A country as two capital letters (ISO 3166-1 alpha-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Country([u8; 2]);

impl Country {
    pub const fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [first @ b'A'..=b'Z', second @ b'A'..=b'Z'] => Some(Self([*first, *second])),
            _ => None,
        }
    }

    pub fn code(&self) -> &str {
        // Both bytes are capital ASCII letters by construction.
        std::str::from_utf8(&self.0).unwrap_or("")
    }

    pub const fn bytes(self) -> [u8; 2] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Country, Device, Id, Medium};

    #[test]
    fn ids_are_32_lower_case_hex_digits() {
        let text = b"00ff10a9b8c7d6e5f4030201deadbeef";
        let id = Id::parse(text).unwrap();
        assert_eq!(&id.digits(), text);
        assert_eq!(id.to_string().as_bytes(), text);
        assert_eq!(format!("{id:?}"), "[id]");
        for wrong in [&text[1..], b"00FF10a9b8c7d6e5f4030201deadbeef", b"", b"zzff10a9b8c7d6e5f4030201deadbeef"] {
            assert!(Id::parse(wrong).is_none());
        }
        for (at, byte) in (0..32).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut text = *text;
            text[at] = byte;
            let is_right = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            assert_eq!(Id::parse(&text).map(|id| id.digits()), is_right.then_some(text), "{byte} at {at}");
        }
    }

    #[test]
    fn words_come_back_from_names_and_numbers() {
        for medium in Medium::ALL.iter().copied() {
            assert_eq!(Medium::from_name(medium.name()), Some(medium));
            assert_eq!(Medium::from_index(medium.index()), Some(medium));
        }
        assert_eq!(Device::from_name("Desktop"), None);
        assert_eq!(Device::from_index(6), None);
    }

    #[test]
    fn countries_are_two_capitals() {
        assert_eq!(Country::parse("FR").unwrap().code(), "FR");
        for wrong in ["", "fr", "FRA", "F1", "É"] {
            assert!(Country::parse(wrong).is_none());
        }
    }
}
