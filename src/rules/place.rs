//! Owns the visitor's place: the network their address is cut to, the country of that network, and the
//! law that asks most of all the countries it has to do with.
//!
//! Knows `maxminddb` files, MaxMind's own and DB-IP's. Promises: the true address is found first
//! (IPv4 inside IPv6, 6to4, Teredo), then cut to /24 or /48, and only the cut network is looked up;
//! what cannot be looked up is an unknown place. Never gives the full address onward.
#![expect(clippy::disallowed_types, reason = "this is where an address is cut")]

use super::recent::{Rate, Recent};
use super::regime::{self, Law};
use crate::hit::field::Country;
use crate::hit::private::Private;
use crate::hit::raw::Address;
use maxminddb::Reader;
use serde::Deserialize;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// Where a hit came from, as far as may be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    pub network: Option<Cidr>,
    pub country: Option<Country>,
    /// The strictest of the country's law and of those where the network is registered or which it
    /// represents (an army's base abroad); an unknown place is the strictest.
    pub law: Law,
}

impl Place {
    /// The place that a client's own server tells of a visitor it knows.
    pub fn told(country: Country) -> Self {
        Self { network: None, country: Some(country), law: regime::law_of(Some(country)) }
    }
}

/// A cut network as CIDR: `203.0.113.0/24`, `2001:db8:1::/48`. Its text stands in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// `ffff:ffff:ffff::/48` is the longest.
    text: [u8; 19],
    length: u8,
}

impl Cidr {
    fn of(network: Network) -> Self {
        let mut cidr = Self { text: [0; 19], length: 0 };
        let mut room = &mut cidr.text[..];
        let written = match network.0 {
            IpAddr::V4(v4) => write!(room, "{v4}/24"),
            IpAddr::V6(v6) => write!(room, "{v6}/48"),
        };
        let left = room.len();
        // There is room for each; a network without its text would be an unknown one.
        cidr.length = if written.is_ok() { (cidr.text.len() - left) as u8 } else { 0 };
        cidr
    }
}

impl Deref for Cidr {
    type Target = str;

    fn deref(&self) -> &str {
        self.text.get(..usize::from(self.length)).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or("")
    }
}

/// Finds places for one worker. Remembers 16,384 networks of 48 bytes, key and place: 768 KiB. A
/// network is no person: /24 is 256 addresses at least.
pub struct Places {
    atlas: Arc<Atlas>,
    known: Recent<Place>,
    nowhere: Place,
}

const KNOWN_MAX: usize = 16_384;

impl Places {
    pub fn new(atlas: Arc<Atlas>) -> Self {
        Self { atlas, known: Recent::new(KNOWN_MAX, RandomState::new().hash_one(0)), nowhere: Place::default() }
    }

    /// Looks in another atlas from now on.
    pub fn renew(&mut self, atlas: Arc<Atlas>) {
        self.atlas = atlas;
        self.known.clear();
    }

    /// Has what is known of an address's network brought near, for `locate` a little later.
    pub fn fetch(&self, address: &Private<Address>) {
        if let Some(address) = *address.reveal() {
            self.known.fetch(Network::of(address).number());
        }
    }

    /// The place of an address, which is given up for it.
    #[expect(clippy::needless_pass_by_value, reason = "the address ends here")]
    pub fn locate(&mut self, address: Private<Address>) -> &Place {
        let Self { atlas, known, nowhere } = self;
        let Some(address) = *address.reveal() else {
            return nowhere;
        };
        let network = Network::of(address);
        known.get_or(network.number(), || {
            let (country, law) = atlas.look_up(network);
            Place { network: Some(Cidr::of(network)), country, law }
        })
    }

    /// How often a network was known.
    pub const fn rate(&self) -> Rate {
        self.known.rate
    }
}

/// An address cut to /24 (IPv4) or /48 (IPv6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        match true_address(address) {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self(IpAddr::V4(Ipv4Addr::new(a, b, c, 0)))
            }
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)))
            }
        }
    }

    /// The 24 or 48 bits of it, and which of both it is: no two networks have one number.
    const fn number(self) -> NonZeroU64 {
        let (bits, kind) = match self.0 {
            IpAddr::V4(v4) => (v4.to_bits() as u64, 1),
            IpAddr::V6(v6) => ((v6.to_bits() >> 80) as u64, 2),
        };
        NonZeroU64::MIN.saturating_add((kind << 48) | bits)
    }
}

/// The IPv4 address that an IPv6 address merely carries: mapped (RFC 4291 §2.5.5.2), 6to4 (RFC 3056),
/// Teredo (RFC 4380 §4, the client's address inverted), NAT64 (RFC 6052).
fn true_address(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match (a, b) {
        (0x2002, _) => v4(b, c),
        (0x2001, 0) => v4(!g, !h),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => v4(g, h),
        (0, 0) if (c, d, e, f) == (0, 0, 0, 0xffff) => v4(g, h),
        _ => address,
    }
}

/// A country database.
pub struct Atlas {
    reader: Reader<AtlasBytes>,
}

/// The database inside the binary: DB-IP Lite country, CC BY 4.0 (`assets/country/LICENSE`).
static BUILT_IN: &[u8] = include_bytes!("../../assets/country/dbip-country.mmdb");

enum AtlasBytes {
    BuiltIn,
    File(Vec<u8>),
}

impl AsRef<[u8]> for AtlasBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::BuiltIn => BUILT_IN,
            Self::File(bytes) => bytes,
        }
    }
}

/// Why a country database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum AtlasError {
    #[error("cannot read the country database {path}: {reason}")]
    Unreadable { path: String, reason: std::io::Error },
    #[error("{path} is no MaxMind database (.mmdb) with countries: {reason}")]
    Malformed { path: String, reason: maxminddb::MaxMindDbError },
}

impl Atlas {
    /// The database inside the binary.
    pub fn built_in() -> Result<Self, AtlasError> {
        Self::read(AtlasBytes::BuiltIn, "(built in)")
    }

    /// A user's own file: MaxMind's or another's with `country.iso_code` or `country_code`.
    pub fn open(path: &Path) -> Result<Self, AtlasError> {
        let bytes = std::fs::read(path)
            .map_err(|reason| AtlasError::Unreadable { path: path.display().to_string(), reason })?;
        Self::read(AtlasBytes::File(bytes), &path.display().to_string())
    }

    fn read(bytes: AtlasBytes, path: &str) -> Result<Self, AtlasError> {
        let reader = Reader::from_source(bytes).map_err(|reason| AtlasError::Malformed { path: path.to_owned(), reason })?;
        Ok(Self { reader })
    }

    /// The country of a network, and the strictest law of all that the database names with it.
    fn look_up(&self, network: Network) -> (Option<Country>, Law) {
        let entry: Option<Entry<'_>> = self.reader.lookup(network.0).ok().and_then(|found| found.decode().ok().flatten());
        // Who hides behind a proxy, or sits under a satellite, is nowhere in particular: an unknown place.
        let Some(entry) = entry.filter(|entry| !entry.is_anonymous && !entry.traits.hides()) else {
            return (None, Law::default());
        };
        let country = entry.country_code.or(entry.country.iso_code).and_then(Country::parse);
        let others = [entry.registered_country, entry.represented_country].into_iter().filter_map(|place| place.iso_code);
        let law = others.map(|code| regime::law_of(Country::parse(code))).fold(regime::law_of(country), Law::max);
        (country, law)
    }
}

/// What is read of an entry: DB-IP's flat form, or MaxMind's nested one (GeoIP2 Country, with
/// `is_anonymous` as its Anonymous IP and Enterprise databases have it).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry<'a> {
    #[serde(borrow)]
    country_code: Option<&'a str>,
    #[serde(borrow)]
    country: Iso<'a>,
    #[serde(borrow)]
    registered_country: Iso<'a>,
    #[serde(borrow)]
    represented_country: Iso<'a>,
    traits: Traits,
    is_anonymous: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Iso<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the database's own fields")]
struct Traits {
    is_anonymous: bool,
    is_anonymous_proxy: bool,
    is_anonymous_vpn: bool,
    is_public_proxy: bool,
    is_residential_proxy: bool,
    is_satellite_provider: bool,
    is_tor_exit_node: bool,
}

impl Traits {
    const fn hides(&self) -> bool {
        self.is_anonymous
            || self.is_anonymous_proxy
            || self.is_anonymous_vpn
            || self.is_public_proxy
            || self.is_residential_proxy
            || self.is_satellite_provider
            || self.is_tor_exit_node
    }
}

#[cfg(test)]
mod tests {
    use super::{Atlas, Cidr, Network, Place, Places};
    use crate::hit::private::Private;
    use crate::rules::regime::Law;
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn addresses_are_reduced_before_they_are_cut() {
        for (address, cidr) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2002:cb00:714d::1", "203.0.113.0/24"),
            ("2001:0:4136:e378:8000:63bf:34ff:8eb2", "203.0.113.0/24"),
            ("64:ff9b::cb00:714d", "203.0.113.0/24"),
            ("2001:db8:1:2::3", "2001:db8:1::/48"),
            ("fe80:ffff:ffff:2::3", "fe80:ffff:ffff::/48"),
            ("255.255.255.255", "255.255.255.0/24"),
            ("::1", "::/48"),
        ] {
            assert_eq!(&*Cidr::of(Network::of(address.parse().unwrap())), cidr, "{address}");
        }
    }

    #[test]
    fn countries_of_well_known_networks() {
        let mut places = Places::new(Arc::new(Atlas::built_in().unwrap()));
        for (address, country) in [
            ("8.8.8.8", Some("US")), ("193.0.6.139", Some("NL")), ("2001:200::1", Some("JP")),
            ("127.0.0.1", None), ("10.1.2.3", None), ("::1", None), ("203.0.113.5", None),
        ] {
            for _ in 0..2 {
                let place = places.locate(Private::new(Some(address.parse().unwrap())));
                assert_eq!(place.country.as_ref().map(|country| country.code()), country, "{address}");
            }
        }
        assert_eq!(places.locate(Private::new(None)), &Place::default());
    }

    #[test]
    fn the_strictest_law_of_all_countries_named_and_none_for_who_hides() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/country/nested.mmdb");
        let mut places = Places::new(Arc::new(Atlas::open(&file).unwrap()));
        for (address, country, law) in [
            ("192.0.2.9", Some("US"), Law::OptOut),
            ("198.51.100.9", Some("US"), Law::OptIn),
            ("203.0.113.9", Some("JP"), Law::OptInButStatistics),
            ("192.0.0.9", Some("FR"), Law::OptIn),
            ("198.18.0.9", None, Law::OptIn),
            ("198.18.1.9", None, Law::OptIn),
            ("198.18.2.9", None, Law::OptIn),
            ("198.18.3.9", None, Law::OptIn),
            ("198.18.4.9", None, Law::OptIn),
            ("198.18.5.9", None, Law::OptIn),
            ("198.18.6.9", Some("US"), Law::OptIn),
            ("2001:db8:1:2::3", Some("US"), Law::OptOut),
            ("2001:db8:2::1", None, Law::OptIn),
        ] {
            let Place { country: found, law: asked, .. } = *places.locate(Private::new(Some(address.parse().unwrap())));
            assert_eq!((found.as_ref().map(|country| country.code()), asked), (country, law), "{address}");
        }
    }
}
