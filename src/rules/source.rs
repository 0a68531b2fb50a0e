//! Where a visit came from: the medium and its name, out of page, referrer and `utm_` tags.
//!
//! Owns a table of search engines, social networks and mail services by host (Snowplow's
//! referer-parser data and a small supplement of our own, both compiled in). Knows nothing of HTTP
//! and URLs: it is given hosts and paths already taken apart. Promises an answer for every input,
//! and no allocation but for a referring host that is not in lower case. Never keeps a referrer:
//! of one it does not know it returns the host alone.

use std::borrow::Cow;

use hashbrown::HashMap;

use super::memory::trimmed;
use crate::hit::field::Medium;

/// How a visitor came to the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source<'a> {
    pub medium: Medium,
    /// `Google`, `Facebook`, the `utm_source` as it was written, or the referring host in lower
    /// case without `www.`; none where the visit is direct or internal.
    pub name: Option<Cow<'a, str>>,
}

/// The campaign tags of a page's URL, decoded; blank ones count as absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Utm<'a> {
    pub source: Option<&'a str>,
    pub medium: Option<&'a str>,
    pub campaign: Option<&'a str>,
}

/// The table of known places. Built once for the process, shared by the workers.
#[derive(Debug)]
pub struct Sources {
    hosts: HashMap<Box<str>, Place>,
}

/// The table compiled into this program is broken; only a faulty build has this.
#[derive(Debug, thiserror::Error)]
#[error("row {row} of the table of sources is not `medium TAB name TAB place`")]
pub struct SourceDataError {
    row: usize,
}

impl Sources {
    /// Reads the table: 1,900 rows, under a millisecond, about 300 KiB.
    ///
    /// # Errors
    /// Only where the embedded data is broken, which a test rules out.
    pub fn new() -> Result<Self, SourceDataError> {
        let mut sources = Self {
            hosts: HashMap::new(),
        };
        let rows = SNOWPLOW.lines().chain(SUPPLEMENT.lines()).enumerate();
        for (row, line) in rows.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (place, provider) = parse(line).ok_or(SourceDataError { row })?;
            sources.add(place, provider);
        }
        Ok(sources)
    }

    /// Says where a visit came from. Hosts are without port, in any case; `referrer_path` begins
    /// with `/`; `site_hosts` tells whether a host is one of the site's own.
    ///
    /// The first of these that holds:
    /// 1. A `utm_source` or `utm_campaign` is a campaign, even beside a referrer, for whoever
    ///    tagged the link said what it is. As in Google Analytics 4, `email` (also `e-mail`,
    ///    `e_mail`, `e mail`) as medium or source makes it email. The name is the `utm_source`,
    ///    or without one what the referrer says. A `utm_medium` alone is no campaign.
    /// 2. No referrer is direct.
    /// 3. The page's own host, give or take `www.`, or another of the site's is internal.
    /// 4. A known search engine, network, mail service or assistant is what the table says.
    /// 5. Everything else is a referral by its host.
    pub fn attribute<'a>(
        &'a self,
        page_host: Option<&str>,
        referrer_host: Option<&'a str>,
        referrer_path: Option<&str>,
        utm: Utm<'a>,
        site_hosts: impl Fn(&str) -> bool,
    ) -> Source<'a> {
        let [utm_source, utm_medium, utm_campaign] =
            [utm.source, utm.medium, utm.campaign].map(said);
        let referrer = self.refer(page_host, referrer_host, referrer_path, site_hosts);
        if utm_source.is_none() && utm_campaign.is_none() {
            return referrer;
        }
        let email = [utm_source, utm_medium].into_iter().flatten().any(is_email);
        Source {
            medium: if email {
                Medium::Email
            } else {
                Medium::Campaign
            },
            name: utm_source.map(Cow::Borrowed).or(referrer.name),
        }
    }

    /// Rules 2 to 5: what the referrer alone says.
    fn refer<'a>(
        &'a self,
        page_host: Option<&str>,
        referrer_host: Option<&'a str>,
        referrer_path: Option<&str>,
        site_hosts: impl Fn(&str) -> bool,
    ) -> Source<'a> {
        let Some(host) = said(referrer_host)
            .map(|host| host.trim_end_matches('.'))
            .filter(|host| !host.is_empty())
        else {
            return Source {
                medium: Medium::Direct,
                name: None,
            };
        };
        let own = said(page_host)
            .is_some_and(|page| bare(page.trim_end_matches('.')).eq_ignore_ascii_case(bare(host)));
        if own || site_hosts(host) {
            return Source {
                medium: Medium::Internal,
                name: None,
            };
        }
        match self.find(host, referrer_path.unwrap_or_default()) {
            Some(Provider {
                medium,
                name: Some(name),
            }) => Source {
                medium: *medium,
                name: Some(Cow::Borrowed(name)),
            },
            Some(Provider { medium, name: None }) => Source {
                medium: *medium,
                name: Some(lower(bare(host))),
            },
            None => Source {
                medium: Medium::Referral,
                name: Some(lower(bare(host))),
            },
        }
    }

    /// Looks a host up as Snowplow's referer-parser does: with the path, then with the first
    /// segment of the path, for the host and each of its parents; then the same without a path.
    /// One look-up for each label of the host at most.
    fn find(&self, host: &str, path: &str) -> Option<&Provider> {
        let mut space = [0; HOST_BYTES_MAX];
        let host = lower_into(&mut space, host)?;
        let whole = path.strip_prefix('/');
        let segment = whole.map_or("", |path| {
            path.get(..path.bytes().position(|byte| byte == b'/').unwrap_or(path.len()))
                .unwrap_or_default()
        });
        let mut without_path = None;
        for place in parents(host).filter_map(|host| self.hosts.get(host)) {
            let by_path = |wanted: &str| {
                place
                    .paths
                    .iter()
                    .find(|(path, _)| path.strip_prefix('/') == Some(wanted))
            };
            if let Some((_, provider)) =
                whole.and_then(|path| by_path(path).or_else(|| by_path(segment)))
            {
                return Some(provider);
            }
            without_path = without_path.or(place.host.as_ref());
        }
        without_path
    }

    fn add(&mut self, place: &'static str, provider: Provider) {
        let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let known = self
            .hosts
            .entry(host.to_ascii_lowercase().into())
            .or_default();
        if path.is_empty() {
            known.host = Some(provider);
        } else {
            known.paths.retain(|(other, _)| *other != path);
            known.paths.push((path, provider));
        }
    }
}

const SNOWPLOW: &str = include_str!("../../assets/sources/snowplow.tsv");
const SUPPLEMENT: &str = include_str!("../../assets/sources/supplement.tsv");

/// The longest host there can be; a longer one is none we know.
const HOST_BYTES_MAX: usize = 253;

/// What is known of one host: of itself, and of paths on it.
#[derive(Debug, Default)]
struct Place {
    host: Option<Provider>,
    /// Three at most, so a list is quicker than a table.
    paths: Vec<(&'static str, Provider)>,
}

#[derive(Debug)]
struct Provider {
    medium: Medium,
    /// None = the referring host itself.
    name: Option<&'static str>,
}

/// One row of the table: `medium TAB name TAB host[/path]`.
fn parse(row: &'static str) -> Option<(&'static str, Provider)> {
    let mut cells = row.split('\t');
    let medium = Medium::from_name(cells.next()?)?;
    let (name, place) = (cells.next()?, cells.next()?);
    let whole =
        cells.next().is_none() && !name.is_empty() && !place.is_empty() && !place.starts_with('/');
    whole.then_some((
        place,
        Provider {
            medium,
            name: Some(name).filter(|name| *name != "-"),
        },
    ))
}

/// A tag or host that says something.
fn said(text: Option<&str>) -> Option<&str> {
    text.map(trimmed).filter(|text| !text.is_empty())
}

fn is_email(tag: &str) -> bool {
    ["email", "e-mail", "e_mail", "e mail"]
        .iter()
        .any(|word| tag.eq_ignore_ascii_case(word))
}

/// A host without a leading `www.`
fn bare(host: &str) -> &str {
    match host.split_at_checked(4) {
        Some((www, rest)) if www.eq_ignore_ascii_case("www.") && !rest.is_empty() => rest,
        _ => host,
    }
}

fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// Lower case without an allocation; none if the host is too long to be one.
fn lower_into<'s>(space: &'s mut [u8; HOST_BYTES_MAX], host: &str) -> Option<&'s str> {
    let space = space.get_mut(..host.len())?;
    space.copy_from_slice(host.as_bytes());
    space.make_ascii_lowercase();
    str::from_utf8(space).ok()
}

/// `a.b.c`, `b.c`, `c`
fn parents(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |host| {
        host.get(host.bytes().position(|byte| byte == b'.')? + 1..)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use Medium::{Campaign, Direct, Email, Internal, Referral, Search, Social};
    use proptest::prelude::*;

    use super::*;

    static SOURCES: LazyLock<Sources> = LazyLock::new(|| Sources::new().unwrap());

    fn from_referrer(referrer: &str) -> (Medium, Option<String>) {
        let (host, path) = referrer.split_at(referrer.find('/').unwrap_or(referrer.len()));
        let own = |host: &str| host == "checkout.example";
        let source = SOURCES.attribute(
            Some("www.shop.example"),
            Some(host),
            Some(path),
            Utm::default(),
            own,
        );
        (source.medium, source.name.map(Cow::into_owned))
    }

    #[test]
    fn names_the_referrer() {
        #[rustfmt::skip]
        let cases = [
            ("", Direct, None),
            (" . ", Direct, None),
            ("shop.example/cart", Internal, None),
            ("WWW.SHOP.EXAMPLE.", Internal, None),
            ("checkout.example", Internal, None),
            ("other.shop.example", Referral, Some("other.shop.example")),
            ("www.google.com/", Search, Some("Google")),
            ("WWW.Google.co.uk/search", Search, Some("Google")),
            ("www.google.de/imgres", Search, Some("Google Images")),
            ("www.bing.com/images/search", Search, Some("Bing Images")),
            ("www.bing.com/search", Search, Some("Bing")),
            ("duckduckgo.com", Search, Some("DuckDuckGo")),
            ("search.brave.com", Search, Some("Brave Search")),
            ("www.ecosia.org", Search, Some("Ecosia")),
            ("m.baidu.com", Search, Some("Baidu")),
            ("com.google.android.googlequicksearchbox", Search, Some("Google")),
            ("www.amazon.com/dp/1", Referral, Some("Amazon")),
            ("login.live.com", Referral, Some("login.live.com")),
            ("docs.google.com/document/d/1", Referral, Some("docs.google.com")),
            ("support.google.com", Referral, Some("support.google.com")),
            ("t.co/abc", Social, Some("Twitter")),
            ("x.com", Social, Some("Twitter")),
            ("netflix.com", Referral, Some("netflix.com")),
            ("l.facebook.com/l.php", Social, Some("Facebook")),
            ("bsky.app", Social, Some("Bluesky")),
            ("www.threads.net", Social, Some("Threads")),
            ("mastodon.social/@someone", Social, Some("Mastodon")),
            ("old.reddit.com/r/rust", Social, Some("Reddit")),
            ("sozluk.com", Social, Some("Eksi Sozluk")),
            ("mail.google.com/mail/u/0", Email, Some("Gmail")),
            ("www.orange.fr/webmail", Email, Some("Orange Webmail")),
            ("outlook.live.com", Email, Some("Outlook.com")),
            ("www.icloud.com/mail/", Email, Some("iCloud Mail")),
            ("www.icloud.com/notes", Referral, Some("icloud.com")),
            ("chatgpt.com", Referral, Some("ChatGPT")),
            ("www.perplexity.ai/search", Referral, Some("Perplexity")),
            ("WWW.News.Example/a?b", Referral, Some("news.example")),
            ("www.", Referral, Some("www")),
            ("com", Referral, Some("com")),
        ];
        for (referrer, medium, name) in cases {
            assert_eq!(
                from_referrer(referrer),
                (medium, name.map(str::to_owned)),
                "{referrer}"
            );
        }
    }

    #[test]
    fn believes_the_tags_before_the_referrer() {
        #[rustfmt::skip]
        let cases = [
            // source, medium, campaign, referrer → medium, name
            (Some("newsletter"), Some("email"), Some("may"), None, Email, Some("newsletter")),
            (Some("klaviyo"), Some("E-Mail"), None, Some("mail.google.com"), Email, Some("klaviyo")),
            (Some("email"), None, None, None, Email, Some("email")),
            (Some(" Google "), Some("cpc"), None, Some("www.google.com"), Campaign, Some("Google")),
            (Some("facebook"), Some("social"), None, None, Campaign, Some("facebook")),
            (None, None, Some("spring"), Some("www.facebook.com"), Campaign, Some("Facebook")),
            (None, None, Some("spring"), None, Campaign, None),
            (Some(" "), None, Some(""), Some("bing.com"), Search, Some("Bing")),
            (None, Some("email"), None, None, Direct, None),
            (Some("partner"), None, None, Some("shop.example"), Campaign, Some("partner")),
        ];
        for (source, medium, campaign, referrer, expected, name) in cases {
            let utm = Utm {
                source,
                medium,
                campaign,
            };
            let found = SOURCES.attribute(Some("shop.example"), referrer, None, utm, |_| false);
            assert_eq!(
                (found.medium, found.name.as_deref()),
                (expected, name),
                "{utm:?} {referrer:?}"
            );
        }
    }

    /// Every row of the two files can be reached, unless the supplement outdoes it.
    #[test]
    fn finds_every_row() {
        for row in SNOWPLOW
            .lines()
            .filter(|row| !SUPPLEMENT.contains(row.rsplit('\t').next().unwrap()))
        {
            let (place, wanted) = parse(row).unwrap();
            let (medium, name) = from_referrer(place);
            assert_eq!(
                (medium, name.as_deref()),
                (wanted.medium, wanted.name.or(name.as_deref())),
                "{row}"
            );
        }
        assert!(SOURCES.hosts.values().all(|place| place.paths.len() <= 3));
    }

    proptest! {
        #[test]
        fn answers_every_input(page in ".{0,300}", host in ".{0,300}", path in ".{0,50}", tags in prop::array::uniform3(prop::option::of(".{0,20}"))) {
            let utm = Utm { source: tags[0].as_deref(), medium: tags[1].as_deref(), campaign: tags[2].as_deref() };
            let found = SOURCES.attribute(Some(&page), Some(&host), Some(&path), utm, |_| false);
            let nameless = matches!(found.medium, Direct | Internal | Campaign);
            prop_assert!(nameless || found.name.is_some_and(|name| !name.is_empty()));
        }
    }
}
