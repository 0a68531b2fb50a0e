//! Owns a worker's public door for tests.

use super::public::Public;
use crate::hit::clock::Clock;
use crate::hit::site::Sites;
use crate::journal::segment::{Directory, Register, Writer};
use crate::line::board::Board;
use crate::line::collect::{Collector, Rulebook};
use crate::line::guard::{Quotas, Repeats, Visits};
use crate::line::intake::{Intake, Journal};
use crate::line::ledger::Ledger;
use crate::line::salts::Salts;
use crate::rules::agent::Classifier;
use crate::rules::identity::SigningKey;
use crate::rules::place::Atlas;
use crate::rules::source::Sources;
use bumpalo::Bump;
use hashbrown::DefaultHashBuilder;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// A door that keeps what comes, in a journal that its own worker writes.
pub fn public(folder: &Path) -> Public {
    let book = Arc::new(Rulebook {
        quotas: Quotas::new(0),
        sites: Sites::new(Vec::new()),
        sources: Sources::new().unwrap(),
        classifier: Arc::new(Classifier::new().unwrap()),
        key: SigningKey::new([7; 32]),
        salts: Salts::Derived([7; 32]),
        repeats: Arc::new(Repeats::new(1 << 20)),
        visits: Visits::new(1 << 20),
        suppressions: watch::channel(Arc::default()).1,
        atlas: watch::channel(Arc::new(Atlas::built_in().unwrap())).1,
    });
    let register = Register::open(Arc::new(Directory::open(&folder.join("journal")).unwrap()), 1 << 30, 0).unwrap();
    let journal = Journal::Here(Arc::new(Mutex::new(Writer::new(Arc::new(register), false))));
    let intake = Intake::new(0, journal, book.repeats.clone(), Arc::new(Ledger::of(&[])), Arc::<Board>::default(), DefaultHashBuilder::default());
    let collector = Collector::new(book, Rc::new(intake));
    Public { collector, clock: Clock::default(), trusted_proxies: Arc::new([]), demo: None, arena: RefCell::new(Bump::new()) }
}
