//! Owns the way of identify calls to the disk: from all workers to the one thread that writes people.
//!
//! Promises: a call is answered "written" only after it was synced; calls that came together are synced
//! together; whoever was erased meanwhile is not written, whatever was decided before. Limits: 1,024 calls
//! wait, of 16 KiB of traits and 4 KiB of ids at most, 20 MiB; past it a call fails at once, and its hit with it.

use crate::hit::field::Id;
use crate::hit::site::SiteKey;
use crate::people::write::PeopleWriter;
use crate::rules::person::Person;
use crate::rules::suppression::Suppressions;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::{oneshot, watch};

/// Writes what comes, until nobody can send any more.
pub fn keep_people(notes: &Receiver<Note>, writer: &PeopleWriter, suppressions: &watch::Receiver<Arc<Suppressions>>) {
    while let Ok(first) = notes.recv() {
        let mut by_site: BTreeMap<SiteKey, Vec<Note>> = BTreeMap::new();
        for note in std::iter::once(first).chain(notes.try_iter().take(TOGETHER_MAX)) {
            by_site.entry(note.site.clone()).or_default().push(note);
        }
        for (site, notes) in by_site {
            let (calls, waiting): (Vec<Person>, Vec<oneshot::Sender<bool>>) = notes.into_iter().map(|note| (note.person, note.done)).unzip();
            let admit = |mut person: Person| {
                let in_force = suppressions.borrow().clone();
                let is_erased = |id: &Id| in_force.standing(site.as_str(), *id).erased;
                person.linked.retain(|id| !is_erased(id));
                (!is_erased(&person.visitor)).then_some(person)
            };
            let written = writer.append(&site, calls, &admit).unwrap_or_else(|error| {
                tracing::error!(%error, "identify calls were not written: their hits fail");
                Vec::new()
            });
            let fates = written.into_iter().chain(std::iter::repeat(false));
            for (done, is_written) in waiting.into_iter().zip(fates) {
                // A worker that is gone needs no answer.
                let _ = done.send(is_written);
            }
        }
    }
}

const WAITING_MAX: usize = 1_024;
const TOGETHER_MAX: usize = 64;

/// An identify call on its way.
pub struct Note {
    site: SiteKey,
    person: Person,
    done: oneshot::Sender<bool>,
}

/// A worker's way to the thread.
#[derive(Clone)]
pub struct PersonsDoor(SyncSender<Note>);

/// The two ends of the way.
pub fn door() -> (PersonsDoor, Receiver<Note>) {
    let (sender, notes) = sync_channel(WAITING_MAX);
    (PersonsDoor(sender), notes)
}

impl PersonsDoor {
    /// Sends a call off; its fate is to be awaited. `None` where the disk is far behind.
    pub fn send(&self, site: SiteKey, person: Person) -> Option<oneshot::Receiver<bool>> {
        let (done, fate) = oneshot::channel();
        self.0.try_send(Note { site, person, done }).ok().map(|()| fate)
    }
}
