//! Owns `Site`: a client's property and its contract, as the rules see it.
//!
//! Promises: a `SiteKey` is 1 to 32 of `a-z 0-9 -` wherever it appears; a `Site` holds only what
//! was checked. Never reads settings itself (`config` does) and never loosens what the law asks
//! (`rules::ruling` sees to that).

use super::field::{ConsentMode, GpcMode, IdentityMode, ServerBasis, WithoutConsent};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;

/// The public name of a site. Its text lies in it: whoever has a site at hand has its key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteKey {
    /// Zeros behind the text, so that keys are in the order of their texts.
    bytes: [u8; Self::LENGTH_MAX],
    length: u8,
}

impl SiteKey {
    pub const LENGTH_MAX: usize = 32;

    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !text.is_empty() && is_plain { Self::padded(text) } else { None }
    }

    /// A text as it would lie in a site, were it a key; `None` for one that is too long.
    fn padded(text: &str) -> Option<Self> {
        let mut bytes = [0; Self::LENGTH_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    /// The text. Looked through each time: who has no need of a text asks for its bytes.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SiteKey").field(&self.as_str()).finish()
    }
}

impl fmt::Display for SiteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A site by its place among those of the settings, from 1 on: the same for as long as the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SiteNumber(u32);

impl SiteNumber {
    /// Of hits that name no known site.
    pub const UNKNOWN: Self = Self(0);

    /// A place in a list that has one for hits of no known site first, then one for each site.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Under this key the ledger counts hits for no known site. It is no `SiteKey` anyone can choose
/// alone: settings refuse it.
pub const UNKNOWN_SITE: &str = "-";

/// The origins of a site: `scheme://host[:port]`, lower case, with blanks between: in no origin is one (RFC 6454 §6.1).
/// One, or two short ones, lie in the site itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Origins {
    Near { length: u8, bytes: [u8; Self::NEAR_MAX] },
    Far(Box<str>),
}

impl Origins {
    /// With their length, and with what tells near from far, 64 bytes.
    const NEAR_MAX: usize = 62;

    pub fn new(all: &[String]) -> Self {
        let text = all.join(" ");
        let mut bytes = [0; Self::NEAR_MAX];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(near), Ok(length)) => {
                near.copy_from_slice(text.as_bytes());
                Self::Near { length, bytes }
            }
            (None, _) | (_, Err(_)) => Self::Far(text.into()),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.each().filter_map(|origin| str::from_utf8(origin).ok())
    }

    pub fn is_empty(&self) -> bool {
        self.whole().is_empty()
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.whole().split(|byte| *byte == b' ').filter(|origin| !origin.is_empty())
    }

    fn whole(&self) -> &[u8] {
        match self {
            Self::Near { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Far(text) => text.as_bytes(),
        }
    }
}

impl Default for Origins {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// A site and what its client agreed to. Meanings and defaults stand in the table of settings.
// What a hit asks for comes first and side by side, in two lines of the processor's cache. One of thousands of sites lies
// in none, and longer than the lines takes to be told where in memory a page is: once here, three times where key and
// origins lay by themselves.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Site {
    pub key: SiteKey,
    pub consent: ConsentMode,
    pub gb_statistics: bool,
    pub gpc: GpcMode,
    pub share: bool,
    pub server_basis: ServerBasis,
    pub without_consent: WithoutConsent,
    pub identity: IdentityMode,
    pub relayed_consent: bool,
    pub honour_dnt: bool,
    pub child_directed: bool,
    pub personal_information: bool,
    /// 0 = the site's vendor is not on the Global Vendor List.
    pub tcf_vendor_id: u16,
    /// 0 = no quota.
    pub hits_per_second_max: u32,
    pub late_max_seconds: i64,
    /// None = any page may send.
    pub origins: Origins,
    pub name: String,
    pub aliases: Vec<String>,
    pub privacy_policy: String,
    pub contact: String,
    pub secret_sha256: Option<[u8; 32]>,
    /// The file of the key that people are encrypted with; there wherever personal information is taken.
    pub people_key: Option<PathBuf>,
    pub people_keep_seconds: i64,
    pub interactions_keep_seconds: i64,
    pub trends_keep_seconds: i64,
}

impl Site {
    /// Whether `origin` (`scheme://host[:port]`) is one of the site's own; a site that names none takes all.
    pub fn owns_origin(&self, origin: &str) -> bool {
        self.origins.is_empty() || self.origins.each().any(|own| own.eq_ignore_ascii_case(origin.as_bytes()))
    }

    /// Whether `host` is the host of one of the site's origins.
    pub fn owns_host(&self, host: &str) -> bool {
        let host = host.as_bytes();
        self.origins.each().any(|origin| {
            // `scheme://host[:port]`
            let authority = origin.iter().position(|byte| *byte == b':').and_then(|at| origin.get(at + 3..)).unwrap_or_default();
            let (own, port) = authority.split_at_checked(host.len()).unwrap_or_default();
            !host.is_empty() && own.eq_ignore_ascii_case(host) && (port.is_empty() || port.starts_with(b":"))
        })
    }
}

/// All sites of the collector, by key.
#[derive(Debug, Default)]
pub struct Sites {
    all: Vec<Site>,
    by_key: Table,
    by_alias: HashMap<Box<str>, SiteNumber>,
}

impl Sites {
    pub fn new(all: Vec<Site>) -> Self {
        let aliases = numbered(&all).flat_map(|(number, site)| site.aliases.iter().map(move |alias| (alias.as_str().into(), number)));
        Self { by_alias: aliases.collect(), by_key: Table::of(&all), all }
    }

    pub fn find(&self, key: &str) -> Option<(SiteNumber, &Site)> {
        self.by_key.find(key, &self.all)
    }

    /// The site of a key, or of one of the names under which foreign trackers know it.
    pub fn find_by_any_name(&self, name: &str) -> Option<(SiteNumber, &Site)> {
        self.find(name).or_else(|| {
            let number = *self.by_alias.get(name)?;
            Some((number, of_number(&self.all, number)?))
        })
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Site> {
        self.all.iter()
    }

    pub const fn count(&self) -> usize {
        self.all.len()
    }
}

fn numbered(sites: &[Site]) -> impl Iterator<Item = (SiteNumber, &Site)> {
    (1..).map(SiteNumber).zip(sites)
}

/// `None` for `UNKNOWN`.
fn of_number(sites: &[Site], number: SiteNumber) -> Option<&Site> {
    sites.get(number.index().checked_sub(1)?)
}

/// Where sites are by their keys. Holds no key: of thousands of sites it is small enough to stay near, and one place in
/// memory is waited for, the site's.
#[derive(Debug, Default)]
struct Table {
    hasher: RandomState,
    /// The bits of a place that say a site's number.
    number_bits: u32,
    /// A site's number, 0 where there is none, and in the other bits some of its key's hash. It stands in the first
    /// place, from that of its hash on, that was free. A quarter is free at the least: 10,000 sites take 64 KiB.
    places: Vec<u32>,
}

impl Table {
    fn of(sites: &[Site]) -> Self {
        let count = (sites.len() + sites.len() / 3 + 1).next_power_of_two();
        let number_bits = u32::try_from(count - 1).unwrap_or(u32::MAX);
        let mut table = Self { hasher: RandomState::new(), number_bits, places: vec![0; count] };
        for (SiteNumber(number), site) in numbered(sites) {
            let hash = table.hasher.hash_one(site.key.as_str());
            let free = table.places_from(hash).find(|at| table.places[*at] == 0);
            if let Some(free) = free {
                table.places[free] = number | table.mark(hash);
            }
        }
        table
    }

    fn find<'s>(&self, key: &str, sites: &'s [Site]) -> Option<(SiteNumber, &'s Site)> {
        let (hash, key) = (self.hasher.hash_one(key), SiteKey::padded(key)?);
        for at in self.places_from(hash) {
            let place = self.places[at];
            let number = SiteNumber(place & self.number_bits);
            let site = of_number(sites, number)?;
            if place & !self.number_bits == self.mark(hash) && site.key == key {
                return Some((number, site));
            }
        }
        None
    }

    /// What a place has of a hash.
    const fn mark(&self, hash: u64) -> u32 {
        (hash >> 32) as u32 & !self.number_bits
    }

    /// All places, from that of a hash on.
    fn places_from(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        // A power of two, but where there is no site at all.
        let places = self.places.len();
        (0..places).map(move |step| (hash as usize).wrapping_add(step) & (places - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Origins, Site, SiteKey, Sites};
    use crate::hit::field::{ConsentMode, GpcMode, IdentityMode, ServerBasis, WithoutConsent};

    impl Site {
        /// `acme`, with a contract's defaults.
        pub fn sample() -> Self {
            Self {
                key: SiteKey::parse("acme").unwrap(),
                name: String::new(),
                aliases: vec![],
                origins: Origins::default(),
                privacy_policy: String::new(),
                contact: String::new(),
                secret_sha256: None,
                consent: ConsentMode::ByRegion,
                gb_statistics: false,
                gpc: GpcMode::BarSharing,
                share: false,
                hits_per_second_max: 0,
                late_max_seconds: 7 * 86_400,
                server_basis: ServerBasis::Consent,
                without_consent: WithoutConsent::Nothing,
                identity: IdentityMode::Cookie,
                relayed_consent: true,
                honour_dnt: true,
                child_directed: false,
                tcf_vendor_id: 0,
                personal_information: false,
                people_key: None,
                people_keep_seconds: 760 * 86_400,
                interactions_keep_seconds: 760 * 86_400,
                trends_keep_seconds: 5 * 366 * 86_400,
            }
        }
    }

    #[test]
    fn a_site_is_found_by_its_key_or_an_alias() {
        let longest = "x".repeat(32);
        let site = |key: &str, alias: &str| Site { key: SiteKey::parse(key).unwrap(), aliases: vec![alias.to_owned()], ..Site::sample() };
        let sites = Sites::new(vec![site("a", "7"), site("ab", "a name of another tracker, longer than any key"), site(&longest, "ab")]);
        let number_of = |name: &str| sites.find_by_any_name(name).map(|(number, site)| (number.index(), site.key.as_str()));
        let (first, second) = (Some((1, "a")), Some((2, "ab")));
        assert_eq!(["a", "ab", &longest, "7", "a name of another tracker, longer than any key"].map(number_of), [first, second, Some((3, &*longest)), first, second]);
        assert_eq!(["", "b", "a\0", &format!("{longest}x")].map(number_of), [None; 4]);
        assert!(Sites::new(vec![]).find("a").is_none() && Sites::default().find_by_any_name("a").is_none());
        assert!(sites.find("7").is_none() && sites.find(&longest).is_some());
    }

    #[test]
    fn origins_are_those_that_were_named() {
        let named = ["https://shop.example".to_owned(), "http://localhost:8080".to_owned()];
        let site = Site { origins: Origins::new(&named), ..Site::sample() };
        assert!(site.origins.iter().eq(&named));
        assert!(site.owns_origin("https://SHOP.example") && site.owns_origin("http://localhost:8080") && !site.owns_origin("https://shop.example http://localhost:8080"));
        assert!(site.owns_host("localhost") && !site.owns_host("example") && !site.owns_host(""));
        assert!(Origins::new(&[]).is_empty() && Site::sample().owns_origin("https://any.example"));
        for length in [1, Origins::NEAR_MAX - 1, Origins::NEAR_MAX, Origins::NEAR_MAX + 1, 300] {
            let named = [format!("https://{}", "x".repeat(length))];
            let origins = Origins::new(&named);
            assert!(origins.iter().eq(&named) && !origins.is_empty(), "{length}");
            assert_eq!(matches!(origins, Origins::Near { .. }), named[0].len() <= Origins::NEAR_MAX, "{length}");
        }
    }

    #[test]
    fn each_of_many_sites_is_found_and_no_other() {
        for count in [1, 2, 3, 4, 1_000, 3_071, 3_072, 3_073] {
            let keys: Vec<String> = (0..count).map(|number| format!("{:x}", number * 7_919)).collect();
            let sites = Sites::new(keys.iter().map(|key| Site { key: SiteKey::parse(key).unwrap(), ..Site::sample() }).collect());
            for (at, key) in keys.iter().enumerate() {
                let (number, site) = sites.find(key).unwrap();
                assert_eq!((number.index(), site.key.as_str()), (at + 1, &**key));
                assert!(sites.find(&format!("{key}-")).is_none() && sites.find(&format!("-{key}")).is_none());
            }
            assert_eq!((sites.count(), sites.iter().map(|site| site.key.as_str()).collect::<Vec<_>>()), (count, keys.iter().map(String::as_str).collect()));
        }
    }

    #[test]
    fn keys_are_in_the_order_of_their_texts() {
        let mut texts = ["b", "ab", "a-", "a", "aa", "b0", &"a".repeat(32), &"a".repeat(31)].map(str::to_owned);
        let mut keys = texts.clone().map(|text| SiteKey::parse(&text).unwrap());
        texts.sort();
        keys.sort();
        assert_eq!(keys.map(|key| key.to_string()), texts);
    }

    #[test]
    fn what_a_hit_asks_of_a_site_lies_in_one_place() {
        assert!(std::mem::align_of::<Site>() == 64 && std::mem::offset_of!(Site, origins) == 64 && size_of::<Origins>() == 64);
    }

    #[test]
    fn site_keys_are_plain() {
        for good in ["a", "acme", "shop-2", &"x".repeat(32)] {
            assert!(SiteKey::parse(good).is_some(), "{good}");
        }
        for bad in ["", "Acme", "../b", "b/..", "a b", "ä", &"x".repeat(33)] {
            assert!(SiteKey::parse(bad).is_none(), "{bad}");
        }
    }
}
