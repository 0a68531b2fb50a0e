//! Owns the closed list of ends: every hit ends in exactly one of these, and is counted there.
//!
//! Promises: names and order are the contract's; a new end cannot be added without every match
//! in the program being looked at again. Never holds anything of a visitor.

use super::scrubbed::{Kind, Scrubbed};

/// How a hit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Durable in the journal (or, for an import, in the lake).
    Stored,
    /// Its event id was seen within the last 24 hours.
    Duplicate,
    /// Should have been stored and could not be: the sender was told to come again.
    Failed,
    /// Decided against, for the first reason that applied.
    Refused(Reason),
}

/// Why a hit was refused, in the order in which reasons are looked for: the first that applies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    UnknownSite,
    BadRequest,
    Prefetch,
    Child,
    OptedOut,
    ErasedSubject,
    RestrictedSubject,
    WrongOrigin,
    OverQuota,
    TooOld,
    Dnt,
    Gpc,
    ConsentString,
    NoConsent,
}

impl Reason {
    pub const ALL: [Self; 14] = [
        Self::UnknownSite,
        Self::BadRequest,
        Self::Prefetch,
        Self::Child,
        Self::OptedOut,
        Self::ErasedSubject,
        Self::RestrictedSubject,
        Self::WrongOrigin,
        Self::OverQuota,
        Self::TooOld,
        Self::Dnt,
        Self::Gpc,
        Self::ConsentString,
        Self::NoConsent,
    ];

    /// The name in the ledger, in metrics and in `trends`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownSite => "unknown_site",
            Self::BadRequest => "bad_request",
            Self::Prefetch => "prefetch",
            Self::Child => "child",
            Self::OptedOut => "opted_out",
            Self::ErasedSubject => "erased_subject",
            Self::RestrictedSubject => "restricted_subject",
            Self::WrongOrigin => "wrong_origin",
            Self::OverQuota => "over_quota",
            Self::TooOld => "too_old",
            Self::Dnt => "dnt",
            Self::Gpc => "gpc",
            Self::ConsentString => "consent_string",
            Self::NoConsent => "no_consent",
        }
    }

    /// What it means, for the operator.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::UnknownSite => "no site of the settings has this key",
            Self::BadRequest => "the hit could not be read: a field of the wrong type or none at all",
            Self::Prefetch => "the browser fetched or prerendered the page ahead of a visit",
            Self::Child => "the sender knows of a child, or the site is for children",
            Self::OptedOut => "the visitor carries an opt-out cookie",
            Self::ErasedSubject => "the visitor was erased and may not come back under this id",
            Self::RestrictedSubject => "the visitor's data is under restriction",
            Self::WrongOrigin => "sent from a page that is not among the site's origins",
            Self::OverQuota => "the site's hits_per_second_max was reached",
            Self::TooOld => "occurred longer ago than late_max, or than the site keeps",
            Self::Dnt => "the browser sent DNT: 1 and the site honours it",
            Self::Gpc => "the browser sent Sec-GPC: 1 and the site refuses on it",
            Self::ConsentString => "a consent string objects, or cannot be read",
            Self::NoConsent => "consent is needed in this place and was not given",
        }
    }
}

impl Outcome {
    pub const COUNT: usize = 3 + Reason::ALL.len();

    pub const ALL: [Self; Self::COUNT] = {
        let mut all = [Self::Stored; Self::COUNT];
        all[1] = Self::Duplicate;
        all[2] = Self::Failed;
        let mut at = 0;
        while at < Reason::ALL.len() {
            all[3 + at] = Self::Refused(Reason::ALL[at]);
            at += 1;
        }
        all
    };

    /// Its place in `ALL`: a dense number for counters and frames.
    pub const fn index(self) -> usize {
        match self {
            Self::Stored => 0,
            Self::Duplicate => 1,
            Self::Failed => 2,
            Self::Refused(reason) => 3 + reason as usize,
        }
    }

    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Failed => "failed",
            Self::Refused(reason) => reason.name(),
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// `docs/outcomes.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Outcomes\n\nGenerated from `src/hit/outcome.rs`. Every hit ends in exactly one of these, for each site and hour: \
         `received = stored + duplicate + failed + refused`. Where several reasons apply, the first of the list counts.\n\n\
         | outcome | meaning |\n|---|---|\n",
    );
    for outcome in Outcome::ALL {
        let name = outcome.name();
        let row = match outcome {
            Outcome::Stored => format!("| `{name}` | durable in the journal (an import: in the lake) |\n"),
            Outcome::Duplicate => format!("| `{name}` | its event id was seen within the last 24 hours |\n"),
            Outcome::Failed => format!("| `{name}` | should have been stored and could not be: answered 503, to be sent again |\n"),
            Outcome::Refused(reason) => format!("| `{name}` | refused: {} |\n", reason.meaning()),
        };
        text.push_str(&row);
    }
    text.push_str(
        "\n## What was removed\n\nGenerated from `src/hit/scrubbed.rs`. What must not be kept is taken out of the texts of a row before it is stored, \
         marked there as `[redacted:kind]`, and counted here, by site and hour, for the rows that were stored: in the ledger under `scrubbed`, in \
         `trends` as the dimension `scrubbed`, in `clearpixel_scrubbed_values_total`. Queries and fragments leave no mark: a URL keeps its form.\n\n\
         | kind | what |\n|---|---|\n",
    );
    for kind in Kind::ALL {
        text.push_str(&format!("| `{}` | {} |\n", kind.name(), kind.meaning()));
    }
    text
}

/// Hits by how they ended, in the order of `Outcome::ALL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends(pub [u64; Outcome::COUNT]);

impl Ends {
    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        // Few of them are any: what is not touched need not come from memory.
        for (sum, count) in self.0.iter_mut().zip(other.0).filter(|(_, count)| *count > 0) {
            *sum += count;
        }
    }

    pub const fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome.index()]
    }
}

/// What the ledger counts of hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    Ended(Outcome),
    /// From a hit that was stored.
    Removed(Kind),
}

impl Item {
    pub const COUNT: usize = Outcome::COUNT + Kind::COUNT;

    /// A dense number for counters.
    pub const fn index(self) -> usize {
        match self {
            Self::Ended(outcome) => outcome.index(),
            Self::Removed(kind) => Outcome::COUNT + kind as usize,
        }
    }

    pub fn from_index(index: usize) -> Option<Self> {
        match index.checked_sub(Outcome::COUNT) {
            None => Outcome::from_index(index).map(Self::Ended),
            Some(kind) => Kind::from_index(kind).map(Self::Removed),
        }
    }
}

/// The ledger's line of a site and an hour: how hits ended, and what was removed from those stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    pub ends: Ends,
    pub scrubbed: Scrubbed,
}

impl Account {
    /// Adds to the count of an item.
    pub const fn count(&mut self, item: Item, count: u64) {
        match item {
            Item::Ended(outcome) => self.ends.0[outcome.index()] += count,
            Item::Removed(kind) => self.scrubbed.0[kind as usize] += count,
        }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        self.ends.add(other.ends);
        self.scrubbed.add(other.scrubbed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Item, Outcome};

    #[test]
    fn every_item_has_its_own_number_and_count() {
        for index in 0..Item::COUNT {
            let item = Item::from_index(index).unwrap();
            let mut account = Account::default();
            account.count(item, 7);
            let counts: Vec<u64> = account.ends.0.into_iter().chain(account.scrubbed.0).collect();
            assert_eq!((item.index(), counts.iter().sum::<u64>(), counts[index]), (index, 7, 7));
        }
        assert_eq!(Item::from_index(Item::COUNT), None);
    }

    #[test]
    fn every_end_has_its_own_number_and_name() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), index);
            assert_eq!(Outcome::from_index(index), Some(outcome));
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
        }
        assert_eq!(Outcome::from_index(Outcome::COUNT), None);
    }
}
