//! The agents one worker has lately seen, so that a user agent is read once and not at every hit.
//!
//! Owns a bounded table from a keyed hash of the header to what it says. Knows [`super::agent`].
//! Promises the same answer as the classifier, for bytes of any kind. Never keeps the header: it
//! cannot be read back from here, and nothing here prints it.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
    sync::Arc,
};

use crate::rules::agent::{Agent, Classifier, USER_AGENT_BYTES_MAX};
use crate::rules::recent::{Rate, Recent};

/// The agents lately seen by one worker, without the strings they came from.
///
/// Keyed by SipHash-1-3 under a random key of this cache: the header cannot be read back from it,
/// and a sender who does not know the key cannot aim at another's entry. Two of n different user
/// agents share a hash with a chance of n² / 2⁶⁵: for ten million, 3 in a million, and then one of
/// them is counted as the other.
///
/// Memory at worst: an entry is 80 bytes (hash 8, agent 72) and its two versions 2 × 32 (the names are
/// shared): with 4,096 entries 0.6 MiB a worker.
pub struct AgentCache {
    classifier: Arc<Classifier>,
    key: RandomState,
    seen: Recent<Agent>,
    /// Holds the one answer that is not cached, so that every answer can be lent.
    uncached: Agent,
}

/// A user agent that is looked for.
#[derive(Clone, Copy)]
pub struct Sought<'a> {
    user_agent: &'a [u8],
    /// `None` where it is too long to be remembered.
    hash: Option<NonZeroU64>,
}

/// How many user agents a worker remembers. Among 10,000 sightings of real visitors there were
/// 952 different ones.
const ENTRIES_MAX: usize = 4_096;

impl AgentCache {
    pub fn new(classifier: Arc<Classifier>) -> Self {
        let key = RandomState::new();
        let secret = key.hash_one(0);
        Self {
            classifier,
            key,
            seen: Recent::new(ENTRIES_MAX, secret),
            uncached: Agent::UNKNOWN,
        }
    }

    /// Begins to look for a user agent as it stands in the header.
    pub fn seek<'a>(&self, user_agent: &'a [u8]) -> Sought<'a> {
        let is_remembered = user_agent.len() <= USER_AGENT_BYTES_MAX;
        let hash = is_remembered.then(|| NonZeroU64::new(self.key.hash_one(user_agent)).unwrap_or(NonZeroU64::MIN));
        Sought { user_agent, hash }
    }

    /// Has what is known of it brought near, for [`Self::classify`] a little later.
    pub fn fetch(&self, sought: &Sought<'_>) {
        if let Some(hash) = sought.hash {
            self.seen.fetch(hash);
        }
    }

    /// Reads a user agent. One that is empty or no UTF-8 says nothing;
    /// one longer than [`USER_AGENT_BYTES_MAX`] is cut and not remembered.
    pub fn classify(&mut self, Sought { user_agent, hash }: Sought<'_>) -> &Agent {
        let Self {
            classifier,
            seen,
            uncached,
            ..
        } = self;
        if let Some(hash) = hash {
            return seen.get_or(hash, || classify_bytes(classifier, user_agent));
        }
        seen.rate.looked += 1;
        *uncached = classify_bytes(classifier, user_agent);
        uncached
    }

    /// How often an answer was given from memory.
    pub const fn rate(&self) -> Rate {
        self.seen.rate
    }
}

impl fmt::Debug for AgentCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentCache").finish_non_exhaustive()
    }
}

fn classify_bytes(classifier: &Classifier, user_agent: &[u8]) -> Agent {
    str::from_utf8(user_agent).map_or(Agent::UNKNOWN, |text| classifier.classify(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn classified<'c>(cache: &'c mut AgentCache, user_agent: &[u8]) -> &'c Agent {
        cache.classify(cache.seek(user_agent))
    }

    #[test]
    fn remembers_user_agents_and_not_their_text() {
        let mut cache = AgentCache::new(Arc::new(Classifier::new().unwrap()));
        let long = "curl/8.5.0 ".repeat(USER_AGENT_BYTES_MAX);
        for user_agent in [
            &b"curl/8.5.0"[..],
            b"curl/8.5.0",
            long.as_bytes(),
            long.as_bytes(),
        ] {
            assert!(classified(&mut cache, user_agent).is_bot);
        }
        assert_eq!(classified(&mut cache, b"curl/8.5.0 \xff"), &Agent::UNKNOWN);
        assert_eq!(cache.rate(), Rate { looked: 5, found: 1 });
        assert!(!format!("{cache:?}").contains("curl"));
    }

    #[test]
    fn takes_any_bytes() {
        let classifier = Arc::new(Classifier::new().unwrap());
        proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..2000), text in ".{0,600}")| {
            let mut cache = AgentCache::new(Arc::clone(&classifier));
            classified(&mut cache, &bytes);
            prop_assert_eq!(classified(&mut cache, text.as_bytes()), &classifier.classify(&text));
            prop_assert_eq!(classified(&mut cache, text.as_bytes()), &classifier.classify(&text));
        });
    }
}
