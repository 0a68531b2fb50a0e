//! Owns the settings: one table of names, units, defaults and meanings, from which the parser,
//! `clearpixel settings` and `docs/settings.md` all come.
//!
//! Promises: a faulty setting names file, line, what is wrong and what would be right, and all faults
//! are told at once; an unknown key is a fault; a default is written as a user would write it and goes
//! through the same parser. Never opens a port and never makes a file.
#![expect(clippy::disallowed_types, reason = "addresses to listen on and proxies to trust are the operator's, not a visitor's")]

use crate::hit::field::{ConsentMode, Durability, GpcMode, IdentityMode, ServerBasis, WithoutConsent};
use crate::hit::site::{Origins, Site, SiteKey};
use crate::lake::retain::INTERACTIONS_KEEP_MAX_SECONDS;
use crate::lake::store;
use ipnet::IpNet;
use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The settings in force.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// 0 = one for each core.
    pub workers: usize,
    pub trusted_proxies: Vec<IpNet>,
    pub admin_token_sha256: Option<[u8; 32]>,
    pub tls: Option<Tls>,
    /// What signs OpenDSR answers.
    pub opendsr: Option<Tls>,
    pub durability: Durability,
    pub journal_bytes_max: u64,
    pub repeats_bytes: u64,
    pub lake: PathBuf,
    pub flush_after: Duration,
    pub flush_rows: u64,
    pub maintain_every: Duration,
    pub readers_grace: Duration,
    pub geo_database: Option<PathBuf>,
    pub sites: Vec<Site>,
    /// Every setting's value as it would be written, by name.
    pub in_force: Vec<(String, String)>,
}

/// Where the certificate lies.
#[derive(Debug, Clone)]
pub struct Tls {
    pub certificate: PathBuf,
    pub private_key: PathBuf,
}

/// A setting as the table lists it.
pub struct Setting {
    /// `section.name`; `site.…` stands once in each `[[site]]`.
    pub name: &'static str,
    pub unit: &'static str,
    /// As it would be written in TOML; empty = absent.
    pub default: &'static str,
    pub meaning: &'static str,
}

const fn setting(name: &'static str, unit: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, unit, default, meaning }
}

/// The table of settings.
pub const SETTINGS: &[Setting] = &[
    setting("data_dir", "path", "\"./clearpixel-data\"", "where the journal, secrets and, by default, the lake lie"),
    setting("door.listen", "address:port", "\"127.0.0.1:8080\"", "the public port: pixel, events, choices"),
    setting("door.admin_listen", "address:port", "\"127.0.0.1:8081\"", "the admin port: dashboard, metrics, ledger"),
    setting("door.workers", "threads", "0", "workers that answer hits; 0 = one for each core"),
    setting("door.trusted_proxies", "CIDR list", "[]", "peers whose X-Forwarded-For or Forwarded is believed, read from the right"),
    setting("door.admin_token_sha256", "hex", "", "SHA-256 of the admin token; absent: the admin port answers on loopback addresses alone"),
    setting("door.tls.certificate", "path", "", "PEM certificate chain of the public port; absent = plain HTTP"),
    setting("door.tls.private_key", "path", "", "PEM private key that goes with it"),
    setting("opendsr.certificate", "path", "", "PEM certificate chain of the admin port's domain, RSA or ECDSA: OpenDSR answers are signed with its key; absent = with the audit log's Ed25519 key"),
    setting("opendsr.private_key", "path", "", "PEM private key that goes with it"),
    setting("journal.durability", "word", "\"disk\"", "\"disk\": a reply waits for fdatasync of its group; \"process\": for write()"),
    setting("journal.bytes_max", "bytes", "\"8 GiB\"", "journal that waits for the lake; past it new hits are answered 503"),
    setting("journal.repeats_memory", "bytes", "\"64 MiB\"", "memory of event ids, 8 bytes each: 64 MiB hold 8 million in 24 h"),
    setting("lake.url", "URL", "\"\"", "where the tables lie: `file:./folder`; empty = `lake` in data_dir"),
    setting("lake.flush_after", "time", "\"30s\"", "longest time until a hit is in the lake"),
    setting("lake.flush_rows", "rows", "500000", "rows after which the lake is written sooner"),
    setting("lake.maintain_every", "time", "\"10m\"", "how often `serve` maintains the lake: retention, compaction, log clean-up"),
    setting("lake.readers_grace", "time", "\"15m\"", "how long files that compaction replaced stay for readers still at them; retention and erasure do not wait"),
    setting("geo.database", "path", "", "MaxMind country database (.mmdb), read again when it changes; absent = the one inside the binary"),
    setting("site.key", "text", "", "public name of the site: 1 to 32 of a-z 0-9 - (required)"),
    setting("site.name", "text", "\"\"", "name for people; empty = the key"),
    setting("site.aliases", "list", "[]", "other names under which foreign trackers know the site"),
    setting("site.origins", "list", "[]", "origins whose pages may send, such as \"https://shop.example\"; empty = any"),
    setting("site.privacy_policy", "URL", "\"\"", "shown on /choices"),
    setting("site.contact", "text", "\"\"", "contact for requests and complaints, shown on /choices"),
    setting("site.secret_sha256", "hex", "", "SHA-256 of the site's secret for server-to-server and rights calls; absent = none allowed"),
    setting("site.consent", "word", "\"by-region\"", "\"by-region\": as the law of the place asks; \"opt-in\": consent everywhere"),
    setting("site.gb_statistics", "yes/no", "false", "GB: statistics without consent, with notice and opt-out"),
    setting("site.gpc", "word", "\"bar-sharing\"", "Global Privacy Control in opt-out places: \"bar-sharing\" or \"refuse\""),
    setting("site.share", "yes/no", "false", "opens /share"),
    setting("site.hits_per_second_max", "hits/s", "0", "quota; 0 = none"),
    setting("site.late_max", "time", "\"7d\"", "oldest occurred_at taken from live senders"),
    setting("site.server_basis", "word", "\"consent\"", "server and telephony events without a word on consent, in an opt-in place: \"consent\": as from a page; \"contract\": kept on the client's contract with the person, never shared"),
    setting("site.without_consent", "word", "\"nothing\"", "in an opt-in region before a choice: \"nothing\" or \"count\" (an anonymous count, no identifier)"),
    setting("site.identity", "word", "\"cookie\"", "most that may be used where allowed: \"cookie\", \"daily\" or \"none\""),
    setting("site.relayed_consent", "yes/no", "true", "believe the page's own `consent=` parameter"),
    setting("site.honour_dnt", "yes/no", "true", "DNT: 1 refuses (Sec-GPC is always honoured)"),
    setting("site.child_directed", "yes/no", "false", "a site for children: nothing is ever kept"),
    setting("site.tcf_vendor_id", "number", "0", "vendor on the Global Vendor List; 0 = TC strings can deny but never grant"),
    setting("site.personal_information", "yes/no", "false", "accept identify calls and traits; needs people_key"),
    setting("site.people_key", "path", "", "file of the key that people are encrypted with: 32 random bytes or 64 hex digits, its owner's alone, outside of data_dir and lake"),
    setting("site.people_keep", "time", "\"760d\"", "how long a person is kept after the last identify call (760 days at most)"),
    setting("site.interactions_keep", "time", "\"760d\"", "how long interactions are kept, by whole UTC days: never longer, at most a day less (760 days at most: the CNIL's 25 months)"),
    setting("site.trends_keep", "time", "\"5y\"", "how long trends are kept, by whole UTC days; their visitors' sketches go with the interactions"),
];

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {reason}")]
    Unreadable { path: String, reason: std::io::Error },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
}

/// One fault: where, what, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    pub line: usize,
    pub problem: String,
    pub cure: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}; {}", self.file, self.line, self.problem, self.cure)
    }
}

impl Config {
    /// Reads a settings file. Paths in it are seen from the working directory.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| ConfigError::Unreadable { path: path.display().to_string(), reason })?;
        let config = Self::parse(&text, &path.display().to_string())?;
        if config.sites.is_empty() {
            return Err(ConfigError::Faults(vec![Fault {
                file: path.display().to_string(),
                line: text.lines().count().max(1),
                problem: "there is no site, so every hit would be refused".to_owned(),
                cure: "add `[[site]]` and below it `key = \"acme\"`".to_owned(),
            }]));
        }
        Ok(config)
    }

    /// Reads settings from text; `file` is the name that faults give it.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            ConfigError::Faults(vec![Fault {
                file: file.to_owned(),
                line: Lines::of(text).line_of(at),
                problem: format!("this is no TOML: {}", error.message()),
                cure: "see https://toml.io, and `clearpixel settings` for every name".to_owned(),
            }])
        })?;
        let mut reader = Reader { lines: Lines::of(text), file, values: BTreeMap::new(), faults: Vec::new(), in_force: Vec::new() };
        let sites = reader.flatten(document.into_inner());
        let config = reader.config(sites);
        reader.faults.sort_by_key(|fault| fault.line);
        if reader.faults.is_empty() { Ok(config) } else { Err(ConfigError::Faults(reader.faults)) }
    }
}

/// A time as settings write it (`30s`, `7d`), in seconds.
pub fn parse_seconds(written: &str) -> Result<i64, String> {
    seconds(&DeValue::String(written.into()))
}

/// `docs/settings.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Settings\n\nGenerated from `src/config.rs`. TOML; an unknown key is an error. Times are written `30s`, `10m`, `24h`, `7d`, `5y`; \
         sizes `64 KiB`, `8 GiB`.\n\n| setting | unit | default | meaning |\n|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "absent".to_owned() } else { format!("`{}`", setting.default) };
        let _ = writeln!(text, "| `{}` | {} | {default} | {} |", setting.name, setting.unit, setting.meaning.replace('|', "\\|"));
    }
    text
}

type Values<'t> = BTreeMap<String, (usize, DeValue<'t>)>;

struct Reader<'t> {
    lines: Lines,
    file: &'t str,
    values: Values<'t>,
    faults: Vec<Fault>,
    in_force: Vec<(String, String)>,
}

/// What is right where a value is wrong.
type Parsed<T> = Result<T, String>;

impl<'t> Reader<'t> {
    /// Lays the document out by full names; the sites' tables apart, with their lines.
    fn flatten(&mut self, document: DeTable<'t>) -> Vec<(usize, Values<'t>)> {
        let mut sites = Vec::new();
        for (key, value) in document {
            let (line, name) = (self.lines.line_of(key.span().start), key.into_inner().into_owned());
            if name != "site" {
                let mut values = std::mem::take(&mut self.values);
                self.lay_out(name, line, value.into_inner(), &mut values);
                self.values = values;
                continue;
            }
            let DeValue::Array(tables) = value.into_inner() else {
                self.fault(line, "`site` is no list of tables".to_owned(), "write each site under its own `[[site]]`".to_owned());
                continue;
            };
            for table in tables {
                sites.push(self.site_table(table));
            }
        }
        sites
    }

    fn site_table(&mut self, table: Spanned<DeValue<'t>>) -> (usize, Values<'t>) {
        let line = self.lines.line_of(table.span().start);
        let mut values = Values::new();
        match table.into_inner() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    let at = self.lines.line_of(key.span().start);
                    self.lay_out(format!("site.{}", key.into_inner()), at, value.into_inner(), &mut values);
                }
            }
            _ => self.fault(line, "a site is no table".to_owned(), "write `[[site]]`, then its settings".to_owned()),
        }
        (line, values)
    }

    fn lay_out(&mut self, name: String, line: usize, value: DeValue<'t>, values: &mut Values<'t>) {
        if let DeValue::Table(table) = value {
            for (key, value) in table {
                let line = self.lines.line_of(key.span().start);
                self.lay_out(format!("{name}.{}", key.into_inner()), line, value.into_inner(), values);
            }
        } else if SETTINGS.iter().any(|setting| setting.name == name) {
            values.insert(name, (line, value));
        } else {
            let cure = nearest(&name).map_or_else(
                || "`clearpixel settings` lists every name".to_owned(),
                |nearest| format!("did you mean `{nearest}`?"),
            );
            self.fault(line, format!("there is no setting `{name}`"), cure);
        }
    }

    fn config(&mut self, sites: Vec<(usize, Values<'t>)>) -> Config {
        let data_dir = PathBuf::from(self.take("data_dir", text));
        let tls = self.take_pair("door.tls", ["door.tls.certificate", "door.tls.private_key"]);
        let opendsr = self.take_pair("opendsr", ["opendsr.certificate", "opendsr.private_key"]);
        let url = self.take("lake.url", lake_url);
        let lake = url.unwrap_or_else(|| data_dir.join("lake"));
        let mut config = Config {
            listen: self.take("door.listen", address).0,
            admin_listen: self.take("door.admin_listen", address).0,
            workers: self.take("door.workers", |value| whole(value, 256)) as usize,
            trusted_proxies: self.take("door.trusted_proxies", networks),
            admin_token_sha256: self.take_optional("door.admin_token_sha256", sha256),
            tls,
            opendsr,
            durability: self.take("journal.durability", |value| word(value, Durability::from_name, &names(Durability::ALL, |w| w.name()))),
            journal_bytes_max: self.take("journal.bytes_max", size),
            repeats_bytes: self.take("journal.repeats_memory", size),
            lake,
            flush_after: Duration::from_secs(self.take("lake.flush_after", seconds).unsigned_abs()),
            flush_rows: self.take("lake.flush_rows", |value| whole(value, 100_000_000)),
            maintain_every: Duration::from_secs(self.take("lake.maintain_every", seconds).unsigned_abs()),
            readers_grace: Duration::from_secs(self.take("lake.readers_grace", |value| at_most(value, READERS_GRACE_MAX)).unsigned_abs()),
            geo_database: self.take_optional("geo.database", path),
            sites: Vec::new(),
            in_force: Vec::new(),
            data_dir,
        };
        let mut names = HashSet::new();
        for (line, values) in sites {
            self.values = values;
            if let Some(site) = self.site(line) {
                for name in std::iter::once(site.key.as_str()).chain(site.aliases.iter().map(String::as_str)) {
                    if !names.insert(name.to_owned()) {
                        self.fault(line, format!("the site name `{name}` is used twice"), "give each site keys and aliases of its own".to_owned());
                    }
                }
                config.sites.push(site);
            }
        }
        config.in_force = std::mem::take(&mut self.in_force);
        config
    }

    fn site(&mut self, line: usize) -> Option<Site> {
        if !self.values.contains_key("site.key") {
            self.fault(line, "this site has no `key`".to_owned(), "add `key = \"acme\"`: 1 to 32 of a-z 0-9 -".to_owned());
            return None;
        }
        let key = self.take_optional("site.key", site_key);
        // Without a key the rest is read for its faults alone.
        let has_key = key.is_some();
        let key = key.or_else(|| SiteKey::parse("x"))?;
        let name = self.take("site.name", text);
        let personal_line = self.values.get("site.personal_information").map_or(line, |(line, _)| *line);
        let site = Site {
            name: if name.is_empty() { key.to_string() } else { name },
            key,
            aliases: self.take("site.aliases", texts),
            origins: self.take("site.origins", origins),
            privacy_policy: self.take("site.privacy_policy", page),
            contact: self.take("site.contact", text),
            secret_sha256: self.take_optional("site.secret_sha256", sha256),
            consent: self.take("site.consent", |value| word(value, ConsentMode::from_name, &names(ConsentMode::ALL, |w| w.name()))),
            gb_statistics: self.take("site.gb_statistics", truth),
            gpc: self.take("site.gpc", |value| word(value, GpcMode::from_name, &names(GpcMode::ALL, |w| w.name()))),
            share: self.take("site.share", truth),
            hits_per_second_max: u32::try_from(self.take("site.hits_per_second_max", |value| whole(value, u64::from(u32::MAX)))).unwrap_or(0),
            late_max_seconds: self.take("site.late_max", seconds),
            server_basis: self.take("site.server_basis", |value| word(value, ServerBasis::from_name, &names(ServerBasis::ALL, |w| w.name()))),
            without_consent: self.take("site.without_consent", |value| word(value, WithoutConsent::from_name, &names(WithoutConsent::ALL, |w| w.name()))),
            identity: self.take("site.identity", |value| word(value, IdentityMode::from_name, &names(IdentityMode::ALL, |w| w.name()))),
            relayed_consent: self.take("site.relayed_consent", truth),
            honour_dnt: self.take("site.honour_dnt", truth),
            child_directed: self.take("site.child_directed", truth),
            tcf_vendor_id: u16::try_from(self.take("site.tcf_vendor_id", |value| whole(value, 65_535))).unwrap_or(0),
            personal_information: self.take("site.personal_information", truth),
            people_key: self.take_optional("site.people_key", path),
            people_keep_seconds: self.take("site.people_keep", |value| at_most(value, INTERACTIONS_KEEP_MAX_SECONDS)),
            interactions_keep_seconds: self.take("site.interactions_keep", |value| at_most(value, INTERACTIONS_KEEP_MAX_SECONDS)),
            trends_keep_seconds: self.take("site.trends_keep", seconds),
        };
        if site.personal_information && site.people_key.is_none() {
            let problem = "`personal_information = true` has no `people_key`".to_owned();
            self.fault(personal_line, problem, "add `people_key = \"/etc/clearpixel/people.key\"`, a file of `openssl rand -hex 32` that its owner alone reads".to_owned());
        }
        has_key.then_some(site)
    }

    /// A certificate and its key.
    fn take_pair(&mut self, section: &str, names: [&'static str; 2]) -> Option<Tls> {
        let line = names.iter().filter_map(|name| self.values.get(*name)).map(|(line, _)| *line).min().unwrap_or(1);
        match names.map(|name| self.take_optional(name, path)) {
            [Some(certificate), Some(private_key)] => Some(Tls { certificate, private_key }),
            [None, None] => None,
            [Some(_), None] | [None, Some(_)] => {
                self.fault(line, format!("`{section}` has one of certificate and private_key"), "set both, or neither".to_owned());
                None
            }
        }
    }

    /// The value of a setting, its default where it is absent or faulty.
    fn take<T: Default>(&mut self, name: &'static str, parse: impl Fn(&DeValue<'_>) -> Parsed<T>) -> T {
        if let Some(value) = self.take_given(name, &parse) {
            return value;
        }
        let default = SETTINGS.iter().find(|setting| setting.name == name).map_or("", |setting| setting.default);
        self.in_force.push((name.to_owned(), default.to_owned()));
        // Defaults parse: a test reads an empty file and compares them all.
        DeValue::parse(default).ok().and_then(|value| parse(value.get_ref()).ok()).unwrap_or_default()
    }

    /// The value of a setting that may be absent.
    fn take_optional<T>(&mut self, name: &'static str, parse: impl Fn(&DeValue<'_>) -> Parsed<T>) -> Option<T> {
        let taken = self.take_given(name, &parse);
        if taken.is_none() {
            self.in_force.push((name.to_owned(), "absent".to_owned()));
        }
        taken
    }

    fn take_given<T>(&mut self, name: &str, parse: &impl Fn(&DeValue<'_>) -> Parsed<T>) -> Option<T> {
        let (line, value) = self.values.remove(name)?;
        match parse(&value) {
            Ok(parsed) => {
                self.in_force.push((name.to_owned(), shown(&value)));
                Some(parsed)
            }
            Err(cure) => {
                self.fault(line, format!("`{name} = {}` does not fit", shown(&value)), cure);
                None
            }
        }
    }

    fn fault(&mut self, line: usize, problem: String, cure: String) {
        self.faults.push(Fault { file: self.file.to_owned(), line, problem, cure });
    }
}

/// The log forgets when a file left after a day.
const READERS_GRACE_MAX: i64 = 86_400;

/// Where lines end: with ten thousand sites the text is not counted through again for each setting.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    fn line_of(&self, at: usize) -> usize {
        self.0.partition_point(|end| *end < at) + 1
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(moment) => moment.to_string(),
        DeValue::Array(items) => format!("[{}]", items.iter().map(|item| shown(item.get_ref())).collect::<Vec<_>>().join(", ")),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The known name that differs least, if it does not differ much.
fn nearest(name: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (distance(name, setting.name), setting.name))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, name)| name)
}

/// Levenshtein's distance, row by row.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, a) in left.chars().enumerate() {
        let mut diagonal = at;
        if let Some(first) = row.first_mut() {
            *first = at + 1;
        }
        for (to, b) in right.iter().enumerate() {
            let (above, before) = (row[to + 1], row[to]);
            row[to + 1] = (diagonal + usize::from(a != *b)).min(above + 1).min(before + 1);
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

fn text(value: &DeValue<'_>) -> Parsed<String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        _ => Err("write a text in quotes".to_owned()),
    }
}

fn path(value: &DeValue<'_>) -> Parsed<PathBuf> {
    text(value).map(PathBuf::from)
}

fn truth(value: &DeValue<'_>) -> Parsed<bool> {
    match value {
        DeValue::Boolean(truth) => Ok(*truth),
        _ => Err("write true or false, without quotes".to_owned()),
    }
}

fn whole(value: &DeValue<'_>, most: u64) -> Parsed<u64> {
    let number = match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    number.filter(|number| *number <= most).ok_or_else(|| format!("write a whole number from 0 to {most}, without quotes"))
}

fn texts(value: &DeValue<'_>) -> Parsed<Vec<String>> {
    match value {
        DeValue::Array(items) => items.iter().map(|item| text(item.get_ref())).collect(),
        _ => Err("write a list: [\"one\", \"two\"]".to_owned()),
    }
}

fn address(value: &DeValue<'_>) -> Parsed<Address> {
    text(value)?.parse().map(Address).map_err(|_| "write an address and a port, such as \"127.0.0.1:8080\" or \"[::]:80\"".to_owned())
}

fn networks(value: &DeValue<'_>) -> Parsed<Vec<IpNet>> {
    let cure = |item: &str| format!("write networks such as \"10.0.0.0/8\"; \"{item}\" is none");
    texts(value)?.iter().map(|item| item.parse().map_err(|_| cure(item))).collect()
}

fn sha256(value: &DeValue<'_>) -> Parsed<[u8; 32]> {
    let cure = || "write the 64 hex digits of `printf %s \"$TOKEN\" | sha256sum`".to_owned();
    let digits = text(value)?;
    if digits.len() != 64 || !digits.is_ascii() {
        return Err(cure());
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = digits.get(at * 2..at * 2 + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(cure)?;
    }
    Ok(bytes)
}

fn word<T>(value: &DeValue<'_>, from_name: fn(&str) -> Option<T>, names: &str) -> Parsed<T> {
    text(value).ok().and_then(|name| from_name(&name)).ok_or_else(|| format!("write one of {names}"))
}

fn names<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> String {
    all.iter().map(|word| format!("\"{}\"", name(*word))).collect::<Vec<_>>().join(", ")
}

fn size(value: &DeValue<'_>) -> Parsed<u64> {
    let cure = || "write a size such as \"64 MiB\" or \"8 GiB\"".to_owned();
    let written = text(value).map_err(|_| cure())?;
    let (digits, unit) = split_unit(&written);
    let factor: u64 = match unit {
        "B" | "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(cure()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).filter(|bytes| *bytes > 0).ok_or_else(cure)
}

fn seconds(value: &DeValue<'_>) -> Parsed<i64> {
    let cure = || "write a time such as \"30s\", \"10m\", \"24h\", \"7d\" or \"5y\"".to_owned();
    let written = text(value).map_err(|_| cure())?;
    let (digits, unit) = split_unit(&written);
    let factor: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "y" => 366 * 86_400,
        _ => return Err(cure()),
    };
    digits.parse::<i64>().ok().and_then(|number| number.checked_mul(factor)).filter(|seconds| (1..=3_200_000_000).contains(seconds)).ok_or_else(cure)
}

fn at_most(value: &DeValue<'_>, most: i64) -> Parsed<i64> {
    seconds(value).and_then(|given| if given <= most { Ok(given) } else { Err(format!("write at most \"{}d\"", most / 86_400)) })
}

fn split_unit(written: &str) -> (&str, &str) {
    let at = written.find(|c: char| !c.is_ascii_digit()).unwrap_or(written.len());
    let (digits, unit) = written.split_at(at);
    (digits, unit.trim())
}

fn site_key(value: &DeValue<'_>) -> Parsed<SiteKey> {
    let cure = || "write 1 to 32 of a-z 0-9 -, such as \"acme\" (and not only dashes)".to_owned();
    let key = text(value).map_err(|_| cure())?;
    SiteKey::parse(&key).filter(|_| key.bytes().any(|byte| byte != b'-')).ok_or_else(cure)
}

fn origins(value: &DeValue<'_>) -> Parsed<Origins> {
    let cure = |origin: &str| format!("write origins such as \"https://shop.example\", without a path; \"{origin}\" is none");
    let mut origins = texts(value)?;
    for origin in &mut origins {
        let url = url::Url::parse(origin).map_err(|_| cure(origin))?;
        let is_origin = matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none() && !origin.ends_with('/');
        if !is_origin {
            return Err(cure(origin));
        }
        *origin = url.origin().ascii_serialization();
    }
    Ok(Origins::new(&origins))
}

fn page(value: &DeValue<'_>) -> Parsed<String> {
    let page = text(value)?;
    let is_page = page.is_empty() || url::Url::parse(&page).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_page { Ok(page) } else { Err("write a page's URL, such as \"https://shop.example/privacy\"".to_owned()) }
}

fn lake_url(value: &DeValue<'_>) -> Parsed<Option<PathBuf>> {
    let url = text(value)?;
    if url.is_empty() { Ok(None) } else { store::folder_of(&url).map(Some).map_err(|error| error.to_string()) }
}

/// An address whose absence cannot happen: the default fills it.
struct Address(SocketAddr);

impl Default for Address {
    fn default() -> Self {
        Self(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, ConfigError, SETTINGS, distance};

    fn faults(text: &str) -> Vec<String> {
        match Config::parse(text, "clearpixel.toml") {
            Err(ConfigError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        let config = Config::parse("", "x").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((config.journal_bytes_max, config.flush_after.as_secs(), config.flush_rows), (8 << 30, 30, 500_000));
        assert_eq!(config.lake.to_str(), Some("./clearpixel-data/lake"));
        assert!(config.sites.is_empty());
    }

    #[test]
    fn every_default_parses_and_every_setting_is_read() {
        let config = Config::parse("[[site]]\nkey = \"acme\"", "x").unwrap();
        let mut read: Vec<_> = config.in_force.iter().map(|(name, _)| name.as_str()).collect();
        let mut listed: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        read.sort_unstable();
        listed.sort_unstable();
        assert_eq!(read, listed);
        let site = &config.sites[0];
        assert_eq!((site.late_max_seconds, site.interactions_keep_seconds), (604_800, 760 * 86_400));
        assert!(site.honour_dnt && site.relayed_consent && !site.share);
        assert_eq!(site.identity.name(), "cookie");
        assert_eq!(site.name, "acme");
    }

    #[test]
    fn the_contract_s_own_block_is_read() {
        let config = Config::parse(
            r#"
data_dir = "./clearpixel-data"
[door]
listen = "127.0.0.1:8080"
trusted_proxies = ["10.0.0.0/8"]
[door.tls]
certificate = "cert.pem"
private_key = "key.pem"
[journal]
durability = "process"
bytes_max = "8 GiB"
[lake]
url = "file:./clearpixel-data/lake"
flush_after = "30s"
flush_rows = 500000
[geo]
database = "country.mmdb"
[[site]]
key = "acme"
origins = ["https://Shop.example"]
privacy_policy = "https://shop.example/privacy"
consent = "by-region"
interactions_keep = "760d"
"#,
            "x",
        )
        .unwrap();
        assert!(config.sites[0].origins.iter().eq(["https://shop.example"]));
        assert_eq!(config.durability.name(), "process");
        assert!(config.tls.is_some() && config.geo_database.is_some());
    }

    #[test]
    fn faults_name_the_line_and_the_cure_and_come_all_at_once() {
        let text = "[door]\nlisten = \"nowhere\"\nworker = 2\n[[site]]\nkey = \"Acme\"\n[[site]]\nname = \"x\"\n[lake]\nurl = \"s3://b\"\n";
        let faults = faults(text);
        assert_eq!(faults.len(), 5, "{faults:#?}");
        for (line, part) in [
            (2, "write an address and a port"),
            (3, "did you mean `door.workers`?"),
            (5, "write 1 to 32 of a-z"),
            (6, "has no `key`"),
            (9, "not supported yet"),
        ] {
            let start = format!("clearpixel.toml:{line}: ");
            assert!(faults.iter().any(|fault| fault.starts_with(&start) && fault.contains(part)), "{line} {part}: {faults:#?}");
        }
    }

    #[test]
    fn wrong_values_and_no_toml_are_told() {
        for (text, part) in [
            ("[lake]\nflush_after = 30", "write a time"),
            ("[lake]\nflush_rows = -1", "write a whole number"),
            ("[journal]\nbytes_max = \"8 GB\"", "write a size"),
            ("[journal]\ndurability = \"none\"", "write one of \"disk\", \"process\""),
            ("[[site]]\nkey=\"a\"\norigins = [\"shop.example\"]", "write origins such as"),
            ("[[site]]\nkey=\"a\"\ninteractions_keep = \"800d\"", "write at most \"760d\""),
            ("[[site]]\nkey=\"a\"\n[[site]]\nkey=\"a\"", "used twice"),
            ("[[site]]\nkey=\"-\"", "not only dashes"),
            ("[[site]]\nkey=\"a\"\npersonal_information = true", "openssl rand -hex 32"),
            ("[[site]]\nkey=\"a\"\npeople_keep = \"800d\"", "write at most \"760d\""),
            ("[[site]]\nkey=\"a\"\nprivacy_policy = \"javascript:alert(1)\"", "write a page's URL"),
            ("[[site]]\nkey=\"a\"\nprivacy_policy = \"data:text/html,x\"", "write a page's URL"),
            ("a = ", "this is no TOML"),
            ("[door]\nadmin_token_sha256 = \"ff\"", "64 hex digits"),
        ] {
            assert!(faults(text).iter().any(|fault| fault.contains(part)), "{text}: {:?}", faults(text));
        }
    }

    #[test]
    fn distances() {
        assert_eq!((distance("", "ab"), distance("kitten", "sitting"), distance("a", "a")), (2, 3, 0));
    }
}
