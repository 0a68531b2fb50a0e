//! Owns the door of the journal: many hits, one write, one `fdatasync`, and only then the replies.
//!
//! Each worker fills a group while the group before it is being made durable by a thread of its own;
//! one group is in flight, the next one fills meanwhile. Promises: a ticket says "durable" only after
//! the journal said so; a group that failed is failed for all its hits, and none of it is in the lake;
//! what the ledger and the board count are the very bytes that became durable. Limits: a group of at
//! most 8 MiB, beyond which hits fail at once, since the disk is far behind.

use super::board::{Board, Portion};
use super::guard::{Noted, Repeats};
use super::ledger::{self, Counts, Ledger};
use crate::hit::clock::Hour;
use crate::hit::outcome::Outcome;
use crate::journal::frame;
use crate::journal::replay::replay;
use crate::journal::segment::{Register, Writer};
use crate::rules::gate::Interaction;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::hash::RandomState;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The worker's side: fills groups. Lives and dies on the worker's thread.
pub struct Intake {
    filling: RefCell<Group>,
    unwritten: RefCell<Counts>,
    tallies: RefCell<Counts>,
    wake: tokio::sync::Notify,
    orders: SyncSender<Order>,
    repeats: Arc<Repeats>,
    ledger: Arc<Ledger>,
    worker: usize,
    is_failing: Cell<bool>,
}

/// A group of frames and those who wait for it.
#[derive(Default)]
struct Group {
    frames: Vec<u8>,
    noted: Vec<Noted>,
    fate: Rc<Fate>,
    /// How hits of this group end that have no frame of their own, and those that do.
    tallies: Counts,
    stored: Counts,
}

/// How a group ended, and who waits to know.
#[derive(Default)]
struct Fate {
    is_durable: Cell<Option<bool>>,
    waiting: RefCell<Vec<Waker>>,
}

/// A hit's place in a group: resolves to whether it became durable.
pub struct Ticket(Rc<Fate>);

/// What the journal's thread is asked to do.
pub enum Order {
    Append { frames: Vec<u8>, done: tokio::sync::oneshot::Sender<(Vec<u8>, bool)> },
    /// End the segment being written, so that the lake can have it.
    Seal { done: SyncSender<()> },
}

const GROUP_BYTES_MAX: usize = 8 << 20;

impl Intake {
    pub fn new(worker: usize, orders: SyncSender<Order>, repeats: Arc<Repeats>, ledger: Arc<Ledger>) -> Self {
        Self {
            filling: RefCell::default(),
            unwritten: RefCell::default(),
            tallies: RefCell::default(),
            wake: tokio::sync::Notify::new(),
            orders,
            repeats,
            ledger,
            worker,
            is_failing: Cell::new(false),
        }
    }

    /// Puts an interaction into the group being filled. `None` where the group is full: the disk is far
    /// behind, and the hit fails.
    pub fn append(&self, interaction: &Interaction<'_>, noted: Option<Noted>) -> Option<Ticket> {
        let mut group = self.filling.borrow_mut();
        if group.frames.len() > GROUP_BYTES_MAX {
            return None;
        }
        frame::write_interaction(interaction, &mut group.frames);
        group.noted.extend(noted);
        let record = interaction.record();
        ledger::add_to(&mut group.stored, record.text(crate::hit::record::Text::Site), record.received_at.hour(), Outcome::Stored, 1);
        self.wake.notify_one();
        Some(Ticket(group.fate.clone()))
    }

    /// Counts a hit that ended without a row; written to the journal within 100 ms.
    pub fn tally(&self, site: &str, hour: Hour, outcome: Outcome) {
        ledger::add_to(&mut self.tallies.borrow_mut(), site, hour, outcome, 1);
    }

    /// Sends groups to the journal, one at a time, for as long as it lives. To be polled on the worker.
    pub async fn pump(&self) {
        loop {
            self.wake.notified().await;
            // Whoever is ready now shall be in the group.
            tokio::task::yield_now().await;
            while self.send_group().await {}
        }
    }

    /// Moves what was tallied into the group being filled; every 100 ms, and before the end.
    pub fn turn_in_tallies(&self) {
        let counts = std::mem::take(&mut *self.tallies.borrow_mut());
        let mut unwritten = self.unwritten.borrow_mut();
        ledger::merge(&mut unwritten, counts);
        if unwritten.is_empty() {
            return;
        }
        let mut group = self.filling.borrow_mut();
        for ((site, hour), outcomes) in unwritten.iter() {
            for (outcome, count) in Outcome::ALL.into_iter().zip(outcomes.0).filter(|(_, count)| *count > 0) {
                frame::write_tally(site, *hour, outcome, count, &mut group.frames);
            }
        }
        ledger::merge(&mut group.tallies, std::mem::take(&mut unwritten));
        self.wake.notify_one();
    }

    /// Whether nothing waits to be made durable.
    pub fn is_idle(&self) -> bool {
        self.filling.borrow().frames.is_empty() && self.tallies.borrow().is_empty()
    }

    /// Sends the group being filled and waits for its fate; whether there was one.
    async fn send_group(&self) -> bool {
        let group = self.filling.take();
        if group.frames.is_empty() {
            return false;
        }
        let (done, fate) = tokio::sync::oneshot::channel();
        let sent = self.orders.try_send(Order::Append { frames: group.frames, done });
        let is_durable = match sent {
            Ok(()) => fate.await.is_ok_and(|(mut frames, is_durable)| {
                let mut filling = self.filling.borrow_mut();
                if filling.frames.is_empty() {
                    frames.clear();
                    filling.frames = frames;
                }
                is_durable
            }),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        for noted in group.noted {
            self.repeats.settle(noted, is_durable);
        }
        group.fate.is_durable.set(Some(is_durable));
        for waiting in group.fate.waiting.take() {
            waiting.wake();
        }
        self.note(is_durable, group.tallies, group.stored);
        true
    }

    /// A failed group's hits are counted as `failed` once there is a journal to count them in; until
    /// then the ledger shows them as unwritten.
    fn note(&self, is_durable: bool, tallies: Counts, stored: Counts) {
        if is_durable {
            if self.is_failing.replace(false) {
                self.ledger.show_unwritten(self.worker, Counts::new());
                tracing::info!(worker = self.worker, "the journal takes hits again");
            }
            return;
        }
        if !self.is_failing.replace(true) {
            tracing::error!(worker = self.worker, "the journal takes no hits: they are answered 503 until it does");
        }
        let mut unwritten = self.unwritten.borrow_mut();
        ledger::merge(&mut unwritten, tallies);
        for ((site, hour), outcomes) in stored {
            ledger::add_to(&mut unwritten, &site, hour, Outcome::Failed, outcomes.of(Outcome::Stored));
        }
        self.ledger.show_unwritten(self.worker, unwritten.clone());
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

/// The journal's thread of one worker: appends groups and counts what became durable. Returns when
/// nobody can give it an order any more, with its segment sealed.
pub fn keep_journal(orders: &Receiver<Order>, register: Arc<Register>, sync: bool, ledger: &Ledger, board: &Board, hasher: RandomState) {
    let mut writer = Writer::new(register, sync);
    let mut portion = Portion::new(hasher);
    let mut groups = 0;
    loop {
        match orders.recv_timeout(HAND_OVER_EVERY) {
            Ok(Order::Append { frames, done }) => {
                groups += 1;
                let appended = writer.append(&frames);
                if let Err(error) = &appended {
                    tracing::warn!(%error, "a group of hits was not made durable");
                }
                let segment = appended.ok();
                if let Some(segment) = segment {
                    // The ledger before the reply: who asks after its answer finds itself counted.
                    let mut counts = Counts::new();
                    replay(&frames, |frame| {
                        ledger::count(&frame, &mut counts);
                        if let frame::Frame::Interaction(record) = &frame {
                            portion.count(record);
                        }
                    });
                    ledger.add(segment, counts);
                }
                // A worker that is gone needs no answer.
                let _ = done.send((frames, segment.is_some()));
            }
            Ok(Order::Seal { done }) => {
                writer.seal();
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => groups = GROUPS_A_PORTION,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if groups >= GROUPS_A_PORTION {
            groups = 0;
            if !portion.is_empty() {
                board.add(portion.take());
            }
        }
    }
    writer.seal();
}

/// The board is told after 100 ms of silence, or after so many groups: some tens of milliseconds under load.
const HAND_OVER_EVERY: Duration = Duration::from_millis(100);
const GROUPS_A_PORTION: u32 = 64;
