//! Owns the door of the journal: many hits, one write, one `fdatasync`, and only then the replies.
//!
//! Each worker fills a group while the group before it is being made durable; one group is in flight, the
//! next one fills meanwhile. Where a reply waits for the disk, a thread of its own does the waiting, and after a sync
//! in which many came the next waits for more of them, 2 ms at the most (docs/decisions/0054); where it waits for
//! `write()` alone, the worker writes, which takes less than waking another thread and being woken by it. Promises: a
//! ticket says "durable" only after the journal said so; a group that failed is failed for all its hits, and none of it
//! is in the lake; the ledger counts a group when it is durable, by counts made with its very frames; the board is told
//! within a second, of nothing that failed. An identify call's row waits until its person is on disk, and is then put
//! into the group being filled; where that fails, the hit does. Limits: a group of at most 8 MiB, beyond which hits fail
//! at once, since the disk is far behind.

use super::board::{Board, Portion};
use super::guard::{Noted, Repeats};
use super::ledger::{self, Entry, Ledger};
use super::persons::PersonsDoor;
use crate::hit::clock::Hour;
use crate::hit::outcome::{Item, Outcome};
use crate::hit::site::{SiteKey, SiteNumber};
use crate::journal::frame::{self, Framed};
use crate::journal::segment::Writer;
use crate::rules::gate::Interaction;
use crate::rules::person::Person;
use hashbrown::DefaultHashBuilder;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::sync::mpsc::{Receiver, SyncSender};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The worker's side: fills groups. Lives and dies on the worker's thread.
pub struct Intake {
    filling: RefCell<Group>,
    /// How hits ended that have no frame yet: those without a row of the last 100 ms, those of groups that failed.
    unwritten: RefCell<Vec<Entry>>,
    /// The room of a group that is done with, for the next.
    spare: RefCell<Group>,
    board: Arc<Board>,
    /// What the board is to be told.
    portion: RefCell<Portion>,
    wake: tokio::sync::Notify,
    /// How many connections the worker has: who lets them in counts them.
    connected: Rc<Cell<usize>>,
    linger: Duration,
    is_lingering: Cell<bool>,
    enough_came: tokio::sync::Notify,
    journal: Journal,
    repeats: Arc<Repeats>,
    ledger: Arc<Ledger>,
    worker: usize,
    is_failing: Cell<bool>,
    /// Absent where no site takes personal information.
    persons: Option<PersonsDoor>,
    /// Rows that wait for their persons, in the order in which those will be on disk.
    held: RefCell<VecDeque<Held>>,
    /// So many of them are not yet in a group, nor failed.
    holding: Cell<usize>,
    came: tokio::sync::Notify,
}

/// A row whose person is on the way to the disk.
struct Held {
    site: SiteNumber,
    written: tokio::sync::oneshot::Receiver<bool>,
    framed: Framed,
    noted: Option<Noted>,
    fate: Rc<Fate>,
}

/// A group of frames and those who wait for it.
#[derive(Default)]
struct Group {
    frames: Vec<u8>,
    hits: usize,
    noted: Vec<Noted>,
    fate: Rc<Fate>,
    /// Of rows that waited for their persons.
    fates: Vec<Rc<Fate>>,
    /// How hits of this group end that have no frame of their own, and those that do.
    tallies: Vec<Entry>,
    stored: Vec<Entry>,
}

/// How a group ended, and who waits to know.
#[derive(Default)]
struct Fate {
    is_durable: Cell<Option<bool>>,
    waiting: RefCell<Vec<Waker>>,
}

/// A hit's place in a group: resolves to whether it became durable.
pub struct Ticket(Rc<Fate>);

/// The way to a worker's journal.
#[derive(Clone)]
pub enum Journal {
    /// The worker writes; who wants a segment ended takes turns with it.
    Here(Arc<Mutex<Writer>>),
    /// A thread of its own writes and waits for the disk: `keep_journal`.
    There(SyncSender<Order>),
}

/// What the journal's thread is asked to do.
pub enum Order {
    /// `done` is told the segment, where it became durable.
    Append { frames: Vec<u8>, done: tokio::sync::oneshot::Sender<(Vec<u8>, Option<u64>)> },
    /// End the segment being written, so that the lake can have it.
    Seal { done: SyncSender<()> },
}

impl Journal {
    /// Asks for the segment being written to end; `done` is told when it has. `false` where the journal
    /// takes no orders.
    pub fn ask_to_seal(&self, done: &SyncSender<()>) -> bool {
        match self {
            Self::Here(writer) => {
                writer.lock().unwrap_or_else(PoisonError::into_inner).seal();
                done.try_send(()).is_ok()
            }
            Self::There(orders) => orders.try_send(Order::Seal { done: done.clone() }).is_ok(),
        }
    }
}

/// Of 24 bytes: 96 KiB, of 100 ms at 40,000 refusals a second.
const UNWRITTEN_MIN: usize = 4 << 10;
const GROUP_BYTES_MAX: usize = 8 << 20;
/// A worker's turn hears each connection that is ready once: some ten, 10 µs each. The bytes end it sooner, as a rule.
const ROUNDS_MAX: usize = 64;
/// Some 300 hits: what a sync takes is then less than half a microsecond of each.
const GATHERED_BYTES: usize = 96 << 10;
/// By tokio's timer, which counts milliseconds, between one and two. A sync takes 0.2 ms, of which 70 µs are the processor's.
const LINGER: Duration = Duration::from_millis(1);
/// In the 0.2 to 0.4 ms of a sync: 20,000 a second and more. Where fewer come the processor has time to spare.
const LINGERED_FOR: usize = 8;

impl Intake {
    pub fn new(worker: usize, journal: Journal, repeats: Arc<Repeats>, ledger: Arc<Ledger>, board: Arc<Board>, hasher: DefaultHashBuilder) -> Self {
        Self {
            filling: RefCell::default(),
            unwritten: RefCell::default(),
            spare: RefCell::default(),
            board,
            portion: RefCell::new(Portion::new(hasher)),
            wake: tokio::sync::Notify::new(),
            connected: Rc::default(),
            linger: LINGER,
            is_lingering: Cell::new(false),
            enough_came: tokio::sync::Notify::new(),
            journal,
            repeats,
            ledger,
            worker,
            is_failing: Cell::new(false),
            persons: None,
            held: RefCell::default(),
            holding: Cell::new(0),
            came: tokio::sync::Notify::new(),
        }
    }

    /// With the way to the disk of personal information.
    pub fn with_persons(self, persons: Option<PersonsDoor>) -> Self {
        Self { persons, ..self }
    }

    /// Where who lets connections in says how many there are.
    pub fn connected(&self) -> Rc<Cell<usize>> {
        self.connected.clone()
    }

    /// Sends a person off to the disk and holds the row until it is there. `None` where the hit fails at once.
    pub fn append_after(&self, (number, site): (SiteNumber, &SiteKey), person: Person, interaction: &Interaction<'_>, noted: Option<Noted>) -> Option<Ticket> {
        let written = self.persons.as_ref()?.send(*site, person)?;
        let fate = Rc::new(Fate::default());
        self.held.borrow_mut().push_back(Held { site: number, written, framed: Framed::of(interaction), noted, fate: fate.clone() });
        self.holding.set(self.holding.get() + 1);
        self.came.notify_one();
        Some(Ticket(fate))
    }

    /// Puts an interaction into the group being filled. `None` where the group is full: the disk is far
    /// behind, and the hit fails.
    pub fn append(&self, site: SiteNumber, interaction: &Interaction<'_>, noted: Option<Noted>) -> Option<Ticket> {
        let mut group = self.filling.borrow_mut();
        if group.frames.len() > GROUP_BYTES_MAX {
            return None;
        }
        if group.frames.is_empty() {
            self.wake.notify_one();
        }
        frame::write_interaction(interaction, &mut group.frames);
        self.count(&mut group);
        group.noted.extend(noted);
        let record = interaction.record();
        group.stored.extend(Entry::of_stored(site, record));
        self.portion.borrow_mut().count(record);
        Some(Ticket(group.fate.clone()))
    }

    /// Counts a hit that ended without a row; written to the journal within 100 ms.
    pub fn tally(&self, site: SiteNumber, hour: Hour, outcome: Outcome) {
        let mut unwritten = self.unwritten.borrow_mut();
        if unwritten.len() == unwritten.capacity() {
            // The room grows with those that are different, not with the hits.
            ledger::add_up(&mut unwritten);
            let different = unwritten.len();
            unwritten.reserve(different.max(UNWRITTEN_MIN));
        }
        unwritten.push(Entry::one(site, hour, Item::Ended(outcome)));
    }

    /// Sends groups to the journal, one at a time, for as long as it lives. To be polled on the worker.
    pub async fn pump(&self) {
        futures::future::join(self.pump_groups(), self.pump_held()).await;
    }

    /// Puts each held row into a group when its person is on disk.
    async fn pump_held(&self) {
        loop {
            let next = self.held.borrow_mut().pop_front();
            let Some(Held { site, written, framed, noted, fate }) = next else {
                self.came.notified().await;
                continue;
            };
            let is_written = written.await.unwrap_or(false);
            if !(is_written && self.let_in(site, &framed, noted, &fate)) {
                if let Some(noted) = noted {
                    self.repeats.settle(noted, false);
                }
                if let Some(record) = framed.record() {
                    self.tally(site, record.received_at.hour(), Outcome::Failed);
                }
                fate.settle(false);
            }
            self.holding.set(self.holding.get() - 1);
        }
    }

    /// Whether the group being filled took a row that was held.
    fn let_in(&self, site: SiteNumber, framed: &Framed, noted: Option<Noted>, fate: &Rc<Fate>) -> bool {
        let mut group = self.filling.borrow_mut();
        let Some(record) = framed.record().filter(|_| group.frames.len() <= GROUP_BYTES_MAX) else { return false };
        if group.frames.is_empty() {
            self.wake.notify_one();
        }
        group.frames.extend_from_slice(framed.bytes());
        self.count(&mut group);
        group.noted.extend(noted);
        group.fates.push(fate.clone());
        group.stored.extend(Entry::of_stored(site, &record));
        self.portion.borrow_mut().count(&record);
        true
    }

    async fn pump_groups(&self) {
        loop {
            self.wake.notified().await;
            self.gather().await;
            while self.send_group().await {
                self.linger().await;
                self.gather().await;
            }
        }
    }

    /// Counts a hit that was put into a group.
    fn count(&self, group: &mut Group) {
        group.hits += 1;
        if self.is_lingering.get() && self.has_enough(group) {
            self.enough_came.notify_one();
        }
    }

    /// Whether as many wait in a group as may still come. A connection waits for its answer, as a rule, before it asks
    /// for more.
    fn has_enough(&self, group: &Group) -> bool {
        group.hits >= self.connected.get().div_ceil(2)
    }

    /// After a sync of the disk in which many came: lets others come too before the next.
    async fn linger(&self) {
        let is_worth_it = {
            let came = self.filling.borrow();
            came.hits >= LINGERED_FOR && !self.has_enough(&came)
        };
        if !is_worth_it || matches!(self.journal, Journal::Here(_)) {
            return;
        }
        self.is_lingering.set(true);
        tokio::select! {
            // In this order, so that nothing of it is left for the next time.
            biased;
            () = self.enough_came.notified() => {}
            () = tokio::time::sleep(self.linger) => {}
        }
        self.is_lingering.set(false);
    }

    /// Waits while more hits come into the group: as long as the worker has others at hand, but for the limits.
    /// Whoever is ready shall be in the group; and a sync of the disk takes as much for one hit as for a
    /// hundred, some 70 µs of the processor's time. Where nobody is at hand it waits for nobody.
    async fn gather(&self) {
        let (rounds, bytes) = match self.journal {
            Journal::Here(_) => (1, usize::MAX),
            Journal::There(_) => (ROUNDS_MAX, GATHERED_BYTES),
        };
        let mut gathered = 0;
        for _ in 0..rounds {
            tokio::task::yield_now().await;
            let length = self.filling.borrow().frames.len();
            if length == gathered || length >= bytes {
                return;
            }
            gathered = length;
        }
    }

    /// Moves what was tallied into the group being filled; every 100 ms, and before the end.
    pub fn turn_in_tallies(&self) {
        self.portion.borrow_mut().hand_over(&self.board);
        let mut unwritten = self.unwritten.borrow_mut();
        if unwritten.is_empty() {
            return;
        }
        ledger::add_up(&mut unwritten);
        let mut group = self.filling.borrow_mut();
        for Entry { site, hour, item, count } in unwritten.iter() {
            match item {
                Item::Ended(outcome) => frame::write_tally(self.ledger.name(*site), *hour, *outcome, *count, &mut group.frames),
                // Only rows have something removed, and their frames say it.
                Item::Removed(_) => {}
            }
        }
        group.tallies.append(&mut unwritten);
        self.wake.notify_one();
    }

    /// Whether nothing waits to be made durable.
    pub fn is_idle(&self) -> bool {
        self.filling.borrow().frames.is_empty() && self.unwritten.borrow().is_empty() && self.holding.get() == 0
    }

    /// Has the group being filled written for those who wait for it together: at once where the worker writes itself,
    /// else when the ticket says so. None where that was done, or there is nothing in it.
    pub fn write(&self) -> Option<Ticket> {
        match self.journal {
            Journal::Here(_) => {
                self.write_now();
                None
            }
            Journal::There(_) => {
                let group = self.filling.borrow();
                (!group.frames.is_empty()).then(|| Ticket(group.fate.clone()))
            }
        }
    }

    /// Where the worker writes itself: writes the group being filled. Whether there was one.
    fn write_now(&self) -> bool {
        let Journal::Here(writer) = &self.journal else { return false };
        let Some(group) = self.take_group() else { return false };
        let segment = appended(&mut writer.lock().unwrap_or_else(PoisonError::into_inner), &group.frames);
        self.settle(group, segment);
        true
    }

    /// Sends the group being filled and waits for its fate; whether there was one.
    async fn send_group(&self) -> bool {
        let Journal::There(orders) = &self.journal else { return self.write_now() };
        let Some(mut group) = self.take_group() else { return false };
        let (done, said) = tokio::sync::oneshot::channel();
        let sent = orders.try_send(Order::Append { frames: std::mem::take(&mut group.frames), done });
        let (frames, segment) = if sent.is_ok() { said.await.unwrap_or_default() } else { Default::default() };
        group.frames = frames;
        self.settle(group, segment);
        true
    }

    /// The group being filled, where there is something in it; the next is filled from now on.
    fn take_group(&self) -> Option<Group> {
        if self.filling.borrow().frames.is_empty() {
            return None;
        }
        Some(self.filling.replace(self.spare.take()))
    }

    /// Tells all who wait for a group how it ended: in `segment`, or not at all.
    fn settle(&self, mut group: Group, segment: Option<u64>) {
        // The ledger before the reply: who asks after its answer finds itself counted.
        if let Some(segment) = segment {
            self.ledger.add(segment, group.stored.iter().chain(&group.tallies));
        }
        for noted in group.noted.drain(..) {
            self.repeats.settle(noted, segment.is_some());
        }
        std::mem::take(&mut group.fate).settle(segment.is_some());
        for fate in group.fates.drain(..) {
            fate.settle(segment.is_some());
        }
        self.note(segment.is_some(), &mut group);
        group.frames.clear();
        group.hits = 0;
        group.stored.clear();
        group.tallies.clear();
        self.spare.replace(group);
    }

    /// A durable group's hits are told to the board, where that is worth it. A failed group's hits are counted as
    /// `failed` once there is a journal to count them in; until then the ledger shows them as unwritten.
    fn note(&self, is_durable: bool, group: &mut Group) {
        if is_durable {
            self.portion.borrow_mut().hand_over_enough(&self.board);
            if self.is_failing.replace(false) {
                self.ledger.show_unwritten(self.worker, Vec::new());
                tracing::info!(worker = self.worker, "the journal takes hits again");
            }
            return;
        }
        if !self.is_failing.replace(true) {
            tracing::error!(worker = self.worker, "the journal takes no hits: they are answered 503 until it does");
        }
        // What failed must not show: with it goes what the board was not told yet, a second's at most.
        self.portion.borrow_mut().drop_all();
        let mut unwritten = self.unwritten.borrow_mut();
        unwritten.append(&mut group.tallies);
        let stored = group.stored.drain(..).filter(|entry| entry.item == Item::Ended(Outcome::Stored));
        unwritten.extend(stored.map(|entry| Entry { item: Item::Ended(Outcome::Failed), ..entry }));
        ledger::add_up(&mut unwritten);
        self.ledger.show_unwritten(self.worker, unwritten.clone());
    }
}

impl Fate {
    fn settle(&self, is_durable: bool) {
        self.is_durable.set(Some(is_durable));
        for waiting in self.waiting.take() {
            waiting.wake();
        }
    }
}

impl Ticket {
    /// Whether it became durable, where that is known already.
    pub fn known(&self) -> Option<bool> {
        self.0.is_durable.get()
    }
}

impl Future for Ticket {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        match self.0.is_durable.get() {
            Some(is_durable) => Poll::Ready(is_durable),
            None => {
                self.0.waiting.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The journal's thread of one worker, where a reply waits for the disk. Returns when nobody can give it an
/// order any more, with its segment sealed.
pub fn keep_journal(orders: &Receiver<Order>, mut writer: Writer) {
    while let Ok(order) = orders.recv() {
        match order {
            Order::Append { frames, done } => {
                let segment = appended(&mut writer, &frames);
                // A worker that is gone needs no answer.
                let _ = done.send((frames, segment));
                writer.make_ready();
            }
            Order::Seal { done } => {
                writer.seal();
                let _ = done.send(());
            }
        }
    }
    writer.seal();
}

/// The segment that a group is durable in.
fn appended(writer: &mut Writer, frames: &[u8]) -> Option<u64> {
    writer.append(frames).inspect_err(|error| tracing::warn!(%error, "a group of hits was not made durable")).ok()
}

#[cfg(test)]
mod tests {
    use super::{Fate, Held, Intake, Journal, Order, Ticket, UNWRITTEN_MIN};
    use crate::hit::clock::Hour;
    use crate::hit::outcome::{Outcome, Reason};
    use crate::journal::frame::Framed;
    use crate::journal::segment::{Directory, Register, Writer};
    use crate::hit::sample::page_view;
    use crate::hit::site::{Site, SiteNumber, Sites};
    use crate::line::guard::Repeats;
    use crate::line::ledger::Ledger;
    use hashbrown::DefaultHashBuilder;
    use std::path::Path;
    use std::rc::Rc;
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio::sync::oneshot;

    fn sites() -> (Arc<Ledger>, SiteNumber) {
        let sites = vec![Site::sample()];
        let ledger = Arc::new(Ledger::of(&sites));
        let acme = Sites::new(sites).find("acme").map(|(number, _)| number);
        (ledger, acme.unwrap())
    }

    /// A worker of forty connections, of which nobody waits yet, and what its journal is asked to do.
    fn of_forty(linger: Duration) -> (Intake, Receiver<Order>) {
        let (sender, orders) = sync_channel(4);
        let intake = Intake::new(0, Journal::There(sender), Arc::new(Repeats::new(1 << 20)), sites().0, Arc::default(), DefaultHashBuilder::default());
        intake.connected().set(40);
        (Intake { linger, ..intake }, orders)
    }

    fn hit(intake: &Intake) -> Ticket {
        let fate = Rc::new(Fate::default());
        assert!(intake.let_in(sites().1, &Framed::of_record(&page_view(1, 1, 1, "/")), None, &fate));
        Ticket(fate)
    }

    /// What the journal is asked once nothing else is at hand.
    async fn asked(orders: &Receiver<Order>) -> Option<Order> {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        orders.try_recv().ok()
    }

    fn make_durable(order: Option<Order>) {
        let Some(Order::Append { frames, done }) = order else { panic!("nothing was asked") };
        done.send((frames, Some(1))).unwrap();
    }

    async fn are_durable(tickets: Vec<Ticket>) -> bool {
        futures::future::join_all(tickets).await.into_iter().all(|is_durable| is_durable)
    }

    #[tokio::test]
    async fn where_many_came_in_a_sync_half_of_all_are_waited_for() {
        let (intake, orders) = of_forty(Duration::from_secs(3_600));
        let hits = |count| Vec::from_iter((0..count).map(|_| hit(&intake)));
        let test = async {
            let first = hits(1);
            let order = asked(&orders).await;
            let few = hits(7);
            make_durable(order);
            assert!(are_durable(first).await, "it waited for nobody");
            let order = asked(&orders).await;
            let mut many = hits(8);
            make_durable(order);
            assert!(are_durable(few).await, "nor did so few");
            many.extend(hits(11));
            assert!(asked(&orders).await.is_none(), "nineteen of forty");
            many.extend(hits(1));
            let order = asked(&orders).await;
            let mut others = hits(8);
            make_durable(order);
            assert!(are_durable(many).await);
            assert!(asked(&orders).await.is_none(), "eight of forty");
            // More were let go than stayed.
            intake.connected().set(18);
            others.extend(hits(1));
            make_durable(asked(&orders).await);
            assert!(are_durable(others).await);
        };
        tokio::select! { () = intake.pump() => panic!("it never ends"), () = test => {} }
    }

    #[tokio::test]
    async fn who_waits_for_others_does_not_wait_long() {
        let (intake, orders) = of_forty(Duration::from_millis(1));
        let test = async {
            let first = hit(&intake);
            let order = asked(&orders).await;
            let many = Vec::from_iter((0..8).map(|_| hit(&intake)));
            make_durable(order);
            assert!(first.await);
            let mut order = None;
            while order.is_none() {
                order = asked(&orders).await;
            }
            make_durable(order);
            assert!(are_durable(many).await);
        };
        tokio::select! { () = intake.pump() => panic!("it never ends"), () = test => {} }
    }

    /// A worker that writes its own journal.
    fn of_own_journal(folder: &Path) -> (Intake, Arc<Ledger>, SiteNumber) {
        let shelf = Arc::new(Directory::open(&folder.join("journal")).unwrap());
        let register = Arc::new(Register::open(shelf, 1 << 30, 0).unwrap());
        let (ledger, acme) = sites();
        let journal = Journal::Here(Arc::new(Mutex::new(Writer::new(register, true))));
        (Intake::new(0, journal, Arc::new(Repeats::new(1 << 20)), ledger.clone(), Arc::default(), DefaultHashBuilder::default()), ledger, acme)
    }

    #[test]
    fn any_number_of_refusals_takes_the_room_of_the_different_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (intake, ledger, acme) = of_own_journal(folder.path());
        let refused = |at: usize| Outcome::Refused(Reason::ALL[at % 3]);
        for at in 0..10 * UNWRITTEN_MIN {
            intake.tally([acme, SiteNumber::UNKNOWN][at % 2], Hour(1 + at as i64 % 5), refused(at));
        }
        assert!(intake.unwritten.borrow().capacity() <= 2 * UNWRITTEN_MIN);
        assert!(!intake.is_idle() && ledger.totals().is_empty());
        intake.turn_in_tallies();
        assert!(intake.write().is_none() && intake.is_idle());
        let totals = ledger.totals();
        let counted: Vec<u64> = ["acme", "-"].into_iter().flat_map(|site| (0..3).map(|at| totals[site].ends.of(refused(at))).collect::<Vec<_>>()).collect();
        assert_eq!((counted.iter().sum::<u64>(), ledger.above(acme, 0).len()), (10 * UNWRITTEN_MIN as u64, 5));
        assert!(counted.iter().all(|count| count.abs_diff(10 * UNWRITTEN_MIN as u64 / 6) <= 1), "{counted:?}");
    }

    #[tokio::test]
    async fn a_row_waits_for_its_person_and_fails_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (intake, ledger, acme) = of_own_journal(folder.path());
        let hold = |visitor: u8| {
            let ((done, written), fate) = (oneshot::channel(), Rc::new(Fate::default()));
            intake.held.borrow_mut().push_back(Held { site: acme, written, framed: Framed::of_record(&page_view(1, visitor, 1, "/")), noted: None, fate: fate.clone() });
            intake.holding.set(intake.holding.get() + 1);
            intake.came.notify_one();
            (done, Ticket(fate))
        };
        let ((first, is_first), (second, is_second), (gone, is_gone)) = (hold(1), hold(2), hold(3));
        let told = async {
            tokio::task::yield_now().await;
            assert!(!intake.is_idle() && intake.filling.borrow().frames.is_empty(), "the row waits");
            first.send(true).unwrap();
            second.send(false).unwrap();
            drop(gone);
            let ends = (is_first.await, is_second.await, is_gone.await);
            intake.turn_in_tallies();
            while !intake.is_idle() {
                tokio::task::yield_now().await;
            }
            ends
        };
        let ends = tokio::select! { () = intake.pump() => panic!("it never ends"), ends = told => ends };
        assert_eq!(ends, (true, false, false));
        let account = ledger.totals()["acme"];
        assert_eq!((account.ends.of(Outcome::Stored), account.ends.of(Outcome::Failed)), (1, 2));
    }
}
