//! What a user agent says: browser, operating system, kind of device, robot or not.
//!
//! Owns the rules of uap-core, a list of crawlers and a table of device marks, all compiled in.
//! Knows nothing of HTTP, sites or persons. Promises that every name it returns stands in a list
//! made beforehand and every version is six characters at most, so that nothing a sender writes into the
//! header can travel on through these columns; that no input panics; and that it looks at half
//! a KiB at most. Never keeps, prints or returns the header itself.
//!
//! How well it does (uap-core as the crate ua-parser 0.2.2 carries it; a test recomputes every
//! count and fails below it): browser and major version in 1,458 of uap-core's 1,459 cases (the
//! last has a date for a version), system and version in 464 of 464; 1,697 of 1,712 user agents of
//! crawlers found (the rest are apps of persons, left out on purpose) and none of 952 real
//! visitors' called a robot; the device class in 952 of those, and in 905 of 984 old and rare ones.

use std::{
    collections::HashMap,
    panic,
    sync::Arc,
    thread::{self, ScopedJoinHandle},
};

use aho_corasick::AhoCorasick;
use serde::Deserialize;
use ua_parser::{os, user_agent};

use crate::hit::field::Device;

/// What a user agent string says of the browser, its system and its device.
///
/// Versions are coarse on purpose: together with a truncated address a full build number can
/// single a person out, and no report needs it. The browser's is the major number; the system's
/// is the major number too, but for the three whose releases are named by both (`10.15`, `8.1`,
/// `22.04`). Chromium says `Windows 10` and `Mac OS X 10.15` of everything later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// As uap-core names it: `Chrome`, `Chrome Mobile`, `Mobile Safari`, `Googlebot`.
    pub browser: Option<Arc<str>>,
    /// `126`
    pub browser_version: Option<Arc<str>>,
    /// As uap-core names it: `Windows`, `Mac OS X`, `iOS`, `Android`.
    pub os: Option<Arc<str>>,
    /// `10`, `17`, `10.15`, `XP`
    pub os_version: Option<Arc<str>>,
    /// [`Device::Bot`] exactly where `is_bot`; [`Device::Other`] for consoles, watches, headsets,
    /// cars and whatever does not say.
    pub device: Device,
    /// Crawlers, monitors, previews, HTTP libraries and driven browsers that say what they are.
    pub is_bot: bool,
}

/// The compiled rules. Built once for the process, shared by the workers.
pub struct Classifier {
    /// In their order: the first that finds one says it.
    browsers: [user_agent::Extractor<'static>; 2],
    systems: os::Extractor<'static>,
    browser_names: Names,
    os_names: Names,
    finder: AhoCorasick,
    /// For each pattern of `finder`: what it marks.
    marks: Vec<Placed>,
}

/// The rules compiled into this program are broken; only a faulty build has this.
#[derive(Debug, thiserror::Error)]
pub enum AgentDataError {
    #[error("the user agent rules are no JSON of the expected shape")]
    Json(#[from] serde_json::Error),
    #[error("the user agent rules cannot be compiled")]
    Rules(#[from] ua_parser::Error),
    #[error("the device marks cannot be joined")]
    Marks(#[from] aho_corasick::BuildError),
    #[error("a row of the device marks is not `kind TAB text`")]
    Mark,
}

/// The longest user agent looked at, in bytes; the rest of a longer one is ignored. Of 952 real
/// ones the longest has 268; at this length the worst we could compose takes 0.25 ms
/// (0.7 ms when it comes first, for the expressions fill their tables as they are used).
pub const USER_AGENT_BYTES_MAX: usize = 512;

impl Classifier {
    /// Compiles the rules: 40 to 80 ms of CPU and 12 MiB (in use 1 MiB more for each thread), so once for
    /// the process; threads of its own do it while the rest starts.
    ///
    /// # Errors
    /// Only where the embedded data is broken, which a test rules out.
    pub fn new() -> Result<Self, AgentDataError> {
        let rules: Rules = serde_json::from_str(include_str!("../../assets/agents/rules.json"))?;
        let (browsers, systems) = compile(rules.user_agent_parsers, rules.os_parsers)?;
        let (patterns, marks): (Vec<&str>, _) = marks()?.into_iter().unzip();
        Ok(Self {
            browsers,
            systems,
            browser_names: Names::new(rules.browser_names),
            os_names: Names::new(rules.os_names),
            finder: AhoCorasick::new(patterns)?,
            marks,
        })
    }

    /// Reads the first [`USER_AGENT_BYTES_MAX`] bytes of a user agent. An empty one says nothing:
    /// no names, [`Device::Other`], no bot.
    pub fn classify(&self, user_agent: &str) -> Agent {
        let user_agent = cut(user_agent);
        let mut agent = Agent::UNKNOWN;
        if let Some(found) = self.browsers.iter().find_map(|browsers| browsers.extract(user_agent)) {
            agent.browser = self.browser_names.get(&found.family);
            if agent.browser.is_some() {
                agent.browser_version = version(found.major, None);
            }
        }
        if let Some(found) = self.systems.extract(user_agent) {
            agent.os = self.os_names.get(&found.os);
            if let Some(os) = &agent.os {
                let minor = found
                    .minor
                    .filter(|_| minor_names_release(os, found.major.as_deref()));
                agent.os_version = version(found.major.as_deref(), minor.as_deref());
            }
        }
        agent.device = match self.mark(user_agent) {
            Some(Mark::Bot) => Device::Bot,
            Some(Mark::Other) => Device::Other,
            Some(Mark::Tv) => Device::Tv,
            // "Tablet PC" is a component of Windows and says nothing of the device.
            Some(Mark::Tablet) if agent.os.as_deref() != Some("Windows") => Device::Tablet,
            // Browsers on Android say `Mobile` on telephones alone; apps do not keep to that.
            Some(Mark::Android) if user_agent.starts_with("Mozilla/") => Device::Tablet,
            Some(Mark::Mobile | Mark::Android) => Device::Mobile,
            Some(Mark::Tablet | Mark::Desktop) => Device::Desktop,
            None => agent.os.as_deref().map_or(Device::Other, device_of_os),
        };
        agent.is_bot = agent.device == Device::Bot;
        agent
    }

    /// The strongest mark in the user agent.
    fn mark(&self, user_agent: &str) -> Option<Mark> {
        self.finder
            .find_overlapping_iter(user_agent)
            .filter_map(|found| {
                let &(mark, only_at_start) = self.marks.get(found.pattern().as_usize())?;
                (!only_at_start || found.start() == 0).then_some(mark)
            })
            .min()
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl Agent {
    /// What an absent, empty or unreadable user agent says.
    pub const UNKNOWN: Self = Self {
        browser: None,
        browser_version: None,
        os: None,
        os_version: None,
        device: Device::Other,
        is_bot: false,
    };
}

/// The file made by `assets/agents/make.py`.
#[derive(Deserialize)]
struct Rules {
    browser_names: Vec<String>,
    os_names: Vec<String>,
    user_agent_parsers: Vec<user_agent::Parser<'static>>,
    os_parsers: Vec<os::Parser<'static>>,
}

/// What `compile` makes.
type Compiled = ([user_agent::Extractor<'static>; 2], os::Extractor<'static>);

/// In three parts of about the same size, side by side: it is the longest part of a start, two thirds of it the
/// browsers'.
#[expect(clippy::disallowed_methods, reason = "the threads end before this returns")]
fn compile(mut browsers: Vec<user_agent::Parser<'static>>, systems: Vec<os::Parser<'static>>) -> Result<Compiled, ua_parser::Error> {
    let later = browsers.split_off(browsers.len() / 2);
    let compiled = |browsers| Ok::<_, ua_parser::Error>(user_agent::Builder::new().push_all(browsers)?.build()?);
    thread::scope(|scope| {
        let later = scope.spawn(move || compiled(later));
        let systems = scope.spawn(|| Ok::<_, ua_parser::Error>(os::Builder::new().push_all(systems)?.build()?));
        Ok(([compiled(browsers)?, joined(later)?], joined(systems)?))
    })
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}

/// The closed list of names. Some rules of uap-core capture a name from the user agent as it is
/// (any app's, any `…bot`'s); without this list a sender could write into the column, and each
/// unheard-of app would be a new value in the trends.
struct Names(HashMap<Box<str>, Arc<str>>);

impl Names {
    fn new(names: Vec<String>) -> Self {
        Self(
            names
                .into_iter()
                .map(|name| (name.to_ascii_lowercase().into(), name.into()))
                .collect(),
        )
    }

    /// The name in its one spelling, whatever the case it was found in.
    fn get(&self, found: &str) -> Option<Arc<str>> {
        self.0.get(found.to_ascii_lowercase().as_str()).cloned()
    }
}

/// Joins a version of at most six ASCII letters, digits, points and spaces; anything else is none.
fn version(major: Option<&str>, minor: Option<&str>) -> Option<Arc<str>> {
    let major = major.filter(|m| !m.is_empty())?;
    let text = minor.map_or_else(|| major.into(), |minor| format!("{major}.{minor}"));
    let fits = text.len() <= 6
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b". ".contains(&b));
    fits.then(|| text.into())
}

/// Whether a release of the system is known by its minor number as well.
fn minor_names_release(os: &str, major: Option<&str>) -> bool {
    match os {
        "Mac OS X" => major == Some("10"),
        "Windows" => major == Some("8"),
        "Ubuntu" => true,
        _ => false,
    }
}

fn cut(user_agent: &str) -> &str {
    &user_agent[..user_agent.floor_char_boundary(USER_AGENT_BYTES_MAX)]
}

/// What a text inside a user agent tells of its device; the first in this order wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Bot,
    Other,
    Tv,
    Tablet,
    Mobile,
    /// Android and nothing more.
    Android,
    Desktop,
}

/// A mark, and whether it counts only at the start.
type Placed = (Mark, bool);

impl Mark {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "bot" => Self::Bot,
            "other" => Self::Other,
            "tv" => Self::Tv,
            "tablet" => Self::Tablet,
            "mobile" => Self::Mobile,
            "android" => Self::Android,
            "desktop" => Self::Desktop,
            _ => return None,
        })
    }
}

/// Every mark with its text (without the `^`).
fn marks() -> Result<Vec<(&'static str, Placed)>, AgentDataError> {
    let crawlers = include_str!("../../assets/agents/bots.txt").lines();
    let own = include_str!("../../assets/agents/marks.tsv").lines();
    let own = own.filter(|row| !row.is_empty() && !row.starts_with('#'));
    let rows = crawlers
        .map(|text| Some((Mark::Bot, text)))
        .chain(own.map(|row| {
            let (kind, text) = row.split_once('\t')?;
            Some((Mark::from_name(kind)?, text))
        }));
    rows.map(|row| match row {
        // An empty text would be found everywhere.
        None | Some((_, "" | "^")) => Err(AgentDataError::Mark),
        Some((mark, text)) => Ok((text.trim_start_matches('^'), (mark, text.starts_with('^')))),
    })
    .collect()
}

/// The device where nothing but the system's name tells it, as with apps on Apple's network library.
fn device_of_os(os: &str) -> Device {
    match os {
        "Android" | "iOS" | "KaiOS" | "Firefox OS" | "Windows Phone" | "Windows Mobile"
        | "Symbian OS" => Device::Mobile,
        "Mac OS X" | "Mac OS" | "Windows" | "Linux" | "Ubuntu" | "Chrome OS" | "FreeBSD"
        | "OpenBSD" => Device::Desktop,
        "tvOS" | "ATV OS X" | "Web0S" | "Roku" | "WebTV" | "GoogleTV" | "FireHbbTV" => Device::Tv,
        _ => Device::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(|| Classifier::new().unwrap());

    /// `browser version | system version | device` of a user agent; `-` = not said.
    fn read(user_agent: &str) -> String {
        let agent = CLASSIFIER.classify(user_agent);
        let join = |name: &Option<Arc<str>>, version: &Option<Arc<str>>| match (name, version) {
            (None, _) => "-".to_owned(),
            (Some(name), None) => name.to_string(),
            (Some(name), Some(version)) => format!("{name} {version}"),
        };
        assert_eq!(agent.is_bot, agent.device == Device::Bot);
        let (browser, os) = (
            join(&agent.browser, &agent.browser_version),
            join(&agent.os, &agent.os_version),
        );
        format!("{browser} | {os} | {}", agent.device).to_lowercase()
    }

    fn device(user_agent: &str) -> &'static str {
        CLASSIFIER.classify(user_agent).device.name()
    }

    #[test]
    fn reads_what_a_user_agent_says() {
        #[rustfmt::skip]
        let cases = [
            ("", "- | - | other"),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.6478.127 Safari/537.36", "chrome 126 | windows 10 | desktop"),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", "edge 126 | windows 10 | desktop"),
            ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; Tablet PC 2.0)", "ie 8 | windows 7 | desktop"),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15", "safari 17 | mac os x 10.15 | desktop"),
            ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", "firefox 127 | ubuntu | desktop"),
            ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", "chrome 126 | chrome os 14541 | desktop"),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1", "mobile safari 17 | ios 17 | mobile"),
            ("Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Mobile/15E148 Safari/604.1", "mobile safari 12 | ios 12 | tablet"),
            ("Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36", "chrome mobile 126 | android 10 | mobile"),
            ("Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", "chrome 126 | android 10 | tablet"),
            ("Mozilla/5.0 (Linux; Android 9; CUBOT_X18) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/80.0.1.2 Mobile Safari/537.36", "chrome mobile 80 | android 9 | mobile"),
            ("Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) AppleWebKit/538.1 (KHTML, like Gecko) Version/5.0 TV Safari/538.1", "safari 5 | tizen 5 | tv"),
            ("Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Safari/605.1.15", "safari 13 | - | other"),
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36", "headlesschrome 126 | linux | bot"),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "googlebot 2 | - | bot"),
            ("curl/8.5.0", "curl 8 | - | bot"),
            ("python-requests/2.31.0", "python requests 2 | - | bot"),
            ("Go-http-client/2.0", "go-http-client 2 | - | bot"),
            ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "facebookbot 1 | - | bot"),
            // What a sender makes up does not pass.
            ("my-name-is-Jane-Doe/7.1 CFNetwork/978.0.7 Darwin/18.5.0", "- | ios 12 | mobile"),
            ("JaneDoeBot/7.1", "- | - | bot"),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/49151234567.0", "firefox | linux | desktop"),
        ];
        for (user_agent, expected) in cases {
            assert_eq!(read(user_agent), expected, "{user_agent}");
        }
    }

    /// The counts of the head comment: a floor, so that an upgrade of the rules cannot lose any.
    #[test]
    fn does_as_well_as_the_head_comment_says() {
        let rows = |text: &'static str| text.lines().map(|row| row.split('\t').collect::<Vec<_>>());
        let same = |name: &Option<Arc<str>>, wanted: &str| {
            name.as_deref()
                .unwrap_or("Other")
                .eq_ignore_ascii_case(wanted)
        };
        let starts = |version: &Option<Arc<str>>, major: &str| {
            let version = version.as_deref().unwrap_or_default();
            version
                .strip_prefix(major)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let browsers = rows(include_str!("../../tests/data/agents/ua.tsv")).filter(|row| {
            let agent = CLASSIFIER.classify(row[2]);
            same(&agent.browser, row[0]) && starts(&agent.browser_version, row[1])
        });
        let systems = rows(include_str!("../../tests/data/agents/os.tsv")).filter(|row| {
            let agent = CLASSIFIER.classify(row[2]);
            same(&agent.os, row[0]) && starts(&agent.os_version, row[1])
        });
        let bots = rows(include_str!("../../tests/data/agents/bots.tsv"))
            .filter(|row| device(row[0]) == "bot");
        let devices = rows(include_str!("../../tests/data/agents/devices.tsv"))
            .filter(|row| device(row[1]) == row[0]);
        let kinds = rows(include_str!("../../tests/data/agents/kinds.tsv"))
            .filter(|row| device(row[1]) == row[0]);
        assert!(browsers.count() >= 1458);
        assert!(systems.count() >= 464);
        assert!(bots.count() >= 1697);
        assert!(devices.count() >= 952);
        assert!(kinds.count() >= 905);
    }

    proptest! {
        /// No input panics, and nothing comes out that is not on a list or a short version.
        #[test]
        fn lets_nothing_through(bytes in prop::collection::vec(any::<u8>(), 0..2000), text in ".{0,600}", made_up in "[A-Za-z]{1,40}(bot|-iPad|)/[0-9]{1,20} CFNetwork") {
            for input in [&String::from_utf8_lossy(&bytes), text.as_str(), made_up.as_str()] {
                let agent = CLASSIFIER.classify(input);
                for (name, names) in [(&agent.browser, &CLASSIFIER.browser_names), (&agent.os, &CLASSIFIER.os_names)] {
                    prop_assert!(name.as_ref().is_none_or(|name| names.0.values().any(|known| Arc::ptr_eq(known, name))));
                }
                for version in [&agent.browser_version, &agent.os_version] {
                    prop_assert!(version.as_ref().is_none_or(|version| version.len() <= 6));
                }
            }
        }
    }
}
