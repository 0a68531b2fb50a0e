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
            by_site.entry(note.site).or_default().push(note);
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

#[cfg(test)]
mod tests {
    use super::{door, keep_people};
    use crate::hit::clock::Moment;
    use crate::hit::field::{Id, Suppression};
    use crate::hit::site::SiteKey;
    use crate::people::read::People;
    use crate::people::write::PeopleWriter;
    use crate::rules::person::Person;
    use crate::rules::suppression::{Entry, SuppressionKey, Suppressions};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn person(visitor: u8, linked: &[Id]) -> Person {
        Person { visitor: Id([visitor; 16]), user_id: None, linked: linked.to_vec(), linked_more: false, traits: BTreeMap::new(), first_seen: Moment(1), last_seen: Moment(1) }
    }

    #[test]
    fn what_is_written_is_told_and_nobody_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let people = Arc::new(People::sample(folder.path(), 1));
        let writer = PeopleWriter::open(people.clone()).unwrap();
        let (acme, other) = (SiteKey::parse("acme").unwrap(), SiteKey::parse("other").unwrap());
        let key = SuppressionKey::new(&[7; 32]).unwrap();
        let line = Entry { kind: Suppression::Erased, subject: key.subject("acme", Id([2; 16])), at: Moment(1), request: Id([9; 16]) }.line(&key);
        let suppressions = Suppressions::of_lines(Some(key), [line.as_bytes()].into_iter());
        let (door, notes) = door();
        let calls = [(&acme, person(1, &[Id([2; 16]), Id([3; 16])])), (&acme, person(2, &[])), (&other, person(1, &[])), (&acme, person(4, &[]))];
        let mut fates: Vec<_> = calls.into_iter().map(|(site, person)| door.send(*site, person).unwrap()).collect();
        drop(door);
        keep_people(&notes, &writer, &tokio::sync::watch::channel(Arc::new(suppressions)).1);
        let told: Vec<bool> = fates.iter_mut().map(|fate| fate.try_recv().unwrap()).collect();
        assert_eq!(told, [true, false, false, true], "the erased, and a site without people, fail");
        let kept = people.of(&acme, &[1, 2, 4].map(|id| Id([id; 16]))).unwrap();
        assert_eq!(kept.iter().map(|person| (person.visitor.0[0], person.linked.as_slice())).collect::<Vec<_>>(), [(1, &[Id([3; 16])][..]), (4, &[])]);
    }
}
