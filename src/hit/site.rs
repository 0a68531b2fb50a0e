//! Owns `Site`: a client's property and its contract, as the rules see it.
//!
//! Promises: a `SiteKey` is 1 to 32 of `a-z 0-9 -` wherever it appears; a `Site` holds only what
//! was checked. Never reads settings itself (`config` does) and never loosens what the law asks
//! (`rules::ruling` sees to that).

use super::field::{ConsentMode, GpcMode, IdentityMode, ServerBasis, WithoutConsent};
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

/// The public name of a site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteKey(Arc<str>);

impl SiteKey {
    pub const LENGTH_MAX: usize = 32;

    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::LENGTH_MAX).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        fits.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself, which all that count by site share.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for SiteKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Under this key the ledger counts hits for no known site. It is no `SiteKey` anyone can choose
/// alone: settings refuse it.
pub const UNKNOWN_SITE: &str = "-";

/// The origins of a site: `scheme://host[:port]`, lower case. They lie side by side, so that a hit for one of
/// thousands of sites waits for one place in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Box<str>);

impl Origins {
    /// In no origin is a blank (RFC 6454 §6.1).
    pub fn new(all: &[String]) -> Self {
        Self(all.join(" ").into())
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|origin| !origin.is_empty())
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, with blanks between.
    pub const fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A site and what its client agreed to. Meanings and defaults stand in the table of settings.
// What a hit asks for comes first, up to `personal_information` 57 bytes: of one of thousands of sites, which lies in no
// cache, one place in memory is waited for.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Site {
    pub key: SiteKey,
    /// None = any page may send.
    pub origins: Origins,
    pub late_max_seconds: i64,
    /// 0 = no quota.
    pub hits_per_second_max: u32,
    /// 0 = the site's vendor is not on the Global Vendor List.
    pub tcf_vendor_id: u16,
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
        self.origins.is_empty() || self.origins.iter().any(|own| own.eq_ignore_ascii_case(origin))
    }

    /// Whether `host` is the host of one of the site's origins.
    pub fn owns_host(&self, host: &str) -> bool {
        self.origins.iter().any(|origin| {
            // `scheme://host[:port]`
            let authority = origin.bytes().position(|byte| byte == b':').and_then(|at| origin.get(at + 3..)).unwrap_or("");
            let (own, port) = authority.split_at_checked(host.len()).unwrap_or_default();
            !host.is_empty() && own.eq_ignore_ascii_case(host) && (port.is_empty() || port.starts_with(':'))
        })
    }
}

/// All sites of the collector, by key.
#[derive(Debug, Default)]
pub struct Sites {
    all: Vec<Arc<Site>>,
    by_key: HashMap<Name, (usize, Arc<Site>)>,
    by_alias: HashMap<Arc<str>, usize>,
}

impl Sites {
    pub fn new(all: Vec<Site>) -> Self {
        let all: Vec<Arc<Site>> = all.into_iter().map(Arc::new).collect();
        let by_key = all.iter().enumerate().filter_map(|(at, site)| Some((Name::of(site.key.as_str())?, (at, site.clone())))).collect();
        let aliases = |(at, site): (usize, &Arc<Site>)| site.aliases.iter().map(|alias| (alias.as_str().into(), at)).collect::<Vec<_>>();
        let by_alias = all.iter().enumerate().flat_map(aliases).collect();
        Self { all, by_key, by_alias }
    }

    pub fn find(&self, key: &str) -> Option<(usize, &Arc<Site>)> {
        self.by_key.get(&Name::of(key)?).map(|(at, site)| (*at, site))
    }

    /// The site of a key, or of one of the names under which foreign trackers know it.
    pub fn find_by_any_name(&self, name: &str) -> Option<(usize, &Arc<Site>)> {
        self.find(name).or_else(|| {
            let at = *self.by_alias.get(name)?;
            self.all.get(at).map(|site| (at, site))
        })
    }

    pub fn at(&self, index: usize) -> Option<&Arc<Site>> {
        self.all.get(index)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Site>> {
        self.all.iter()
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }
}

/// A key as it lies in the table: of thousands each look-up waits for one place in memory.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    bytes: [u8; SiteKey::LENGTH_MAX],
    length: usize,
}

impl Name {
    /// `None` for what is too long to be a key.
    fn of(text: &str) -> Option<Self> {
        let mut bytes = [0; SiteKey::LENGTH_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: text.len() })
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.bytes.get(..self.length).unwrap_or_default());
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
        let index_of = |name: &str| sites.find_by_any_name(name).map(|(at, _)| at);
        assert_eq!(["a", "ab", &longest, "7", "a name of another tracker, longer than any key"].map(index_of), [Some(0), Some(1), Some(2), Some(0), Some(1)]);
        assert_eq!(["", "b", "a\0", &format!("{longest}x")].map(index_of), [None; 4]);
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
    }

    #[test]
    fn what_a_hit_asks_of_a_site_lies_in_one_place() {
        assert!(std::mem::align_of::<Site>() == 64 && std::mem::offset_of!(Site, personal_information) < 64);
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
