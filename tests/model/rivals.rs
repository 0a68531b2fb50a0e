//! Owns maintainers that work against each other: one was paused, its lease ran out, and it wakes up.

use crate::upkeep::{NOON, Upkeep, portions};
use crate::world::RUNTIME;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use clearpixel::desk::maintain::MaintainError;
use clearpixel::hit::clock::Clock;
use clearpixel::lake::columns::TableName;
use clearpixel::lake::file::MAINTAIN;
use clearpixel::lake::lease::{Lease, LeaseError, TERM, token_of};
use clearpixel::lake::order::Limits;
use clearpixel::lake::rewrite::{Change, Order, Purpose, Report, RewriteError, Rewriter, Task};
use clearpixel::lake::table::{LiveFile, Swap, Table};
use deltalake::protocol::DeltaOperation;

/// Leaves every row as it is.
struct Keep;

impl Change for Keep {
    fn looks_at(&self) -> &'static [&'static str] {
        &["site"]
    }

    fn means(&mut self, _: &str, _: &RecordBatch) -> Result<bool, ArrowError> {
        Ok(true)
    }

    fn apply(&mut self, _: &str, rows: RecordBatch) -> Result<RecordBatch, ArrowError> {
        Ok(rows)
    }
}

/// Nothing of it is past its term, so that files which are replaced stay for a while.
fn loaded() -> Upkeep {
    let mut upkeep = Upkeep::new();
    for mut portion in portions() {
        portion.retain(|row| row.days_ago < 30);
        upkeep.load(&portion).unwrap();
    }
    upkeep
}

/// A maintainer that has taken the lease and seen which files there are, and does no more for now.
struct Paused {
    lease: Lease,
    limits: Limits,
    clock: Clock,
    table: Option<Table>,
    task: Task,
}

impl Paused {
    fn of(upkeep: &Upkeep) -> Self {
        RUNTIME.block_on(async {
            let clock = upkeep.clock();
            let lease = Lease::take(&upkeep.lake(), "paused", &clock).await.unwrap();
            let table = Table::open(&upkeep.lake(), TableName::Interactions).await.unwrap();
            let all = table.live_files().unwrap();
            let day = all[0].day.clone();
            let files: Vec<LiveFile> = all.into_iter().filter(|file| file.day == day).collect();
            let task = Task { purpose: Purpose::Compaction, day, files, order: Order::Settled };
            let limits = Limits::new(upkeep.folder.path().join("paused-spill"));
            Self { lease, limits, clock, table: Some(table), task }
        })
    }

    fn wakes(&mut self) -> RewriteError {
        let table = self.table.take().unwrap();
        let mut rewriter = Rewriter { table, lease: &self.lease, limits: &self.limits, clock: &self.clock };
        RUNTIME.block_on(rewriter.rewrite(&self.task, &mut Keep, &mut Report::default())).unwrap_err()
    }
}

#[test]
fn who_lost_the_lease_commits_nothing() {
    let upkeep = loaded();
    let mut paused = Paused::of(&upkeep);
    let refused = upkeep.turn(&|store| store).unwrap_err();
    assert!(matches!(refused, MaintainError::Lease(LeaseError::Held { .. })), "{refused:?}");
    upkeep.pass(TERM);
    upkeep.turn(&|store| store).unwrap();
    let woken = paused.wakes();
    assert!(matches!(woken, RewriteError::Lease(LeaseError::Lost)), "{woken:?}");
    assert_eq!(upkeep.rows(), upkeep.expected(&[]));
    upkeep.assert_verified();
}

/// The look at the lease was right when it was made, and the machine then stood still.
#[test]
fn who_does_not_know_that_it_lost_the_lease_is_stopped_by_the_log() {
    let upkeep = loaded();
    let mut paused = Paused::of(&upkeep);
    let note = std::fs::read_dir(upkeep.lake().join("_maintain")).unwrap().next().unwrap().unwrap().path();
    let seen = std::fs::read(&note).unwrap();
    upkeep.pass(TERM);
    upkeep.turn(&|store| store).unwrap();
    std::fs::remove_dir_all(upkeep.lake().join("_maintain")).unwrap();
    std::fs::create_dir(upkeep.lake().join("_maintain")).unwrap();
    std::fs::write(&note, seen).unwrap();
    upkeep.hand.store(NOON + 86_400_000_000 / 4, std::sync::atomic::Ordering::Relaxed);
    let woken = paused.wakes();
    assert!(matches!(woken, RewriteError::Fenced { .. }), "{woken:?}");
    assert_eq!(upkeep.rows(), upkeep.expected(&[]));
}

/// What a maintainer wrote and did not commit is swept only once the log would stop it.
#[test]
fn whoever_sweeps_anothers_files_leaves_its_own_token_in_the_log() {
    let upkeep = loaded();
    upkeep.turn(&|store| store).unwrap();
    let lake = upkeep.lake();
    let committed = || RUNTIME.block_on(async { Table::open(&lake, TableName::Interactions).await.unwrap().committed(MAINTAIN).await.unwrap().unwrap() });
    let first = token_of(committed());
    let nothing_to_do = upkeep.turn(&|store| store).unwrap();
    assert_eq!((nothing_to_do.swept, token_of(committed())), (0, first), "an idle turn leaves no commit");
    let written = lake.join(format!("interactions/day=2026-11-20/part-maintain-{:016}-0000.parquet", ((first + 1) << 20) | 1));
    std::fs::write(&written, "some rows").unwrap();
    let swept = upkeep.turn(&|store| store).unwrap();
    assert!(swept.swept == 1 && !written.exists());
    assert_eq!(token_of(committed()), first + 2);
}

#[test]
fn a_rival_without_a_lease_is_noticed() {
    let upkeep = loaded();
    let mut paused = Paused::of(&upkeep);
    RUNTIME.block_on(async {
        let mut table = Table::open(&upkeep.lake(), TableName::Interactions).await.unwrap();
        let swap = Swap { go: &paused.task.files[..1], come: &[], numbers: Vec::new(), operation: DeltaOperation::Delete { predicate: None }, now_ms: 0 };
        table.swap(&swap).await.unwrap().unwrap();
    });
    let before = upkeep.rows();
    let woken = paused.wakes();
    assert!(matches!(woken, RewriteError::Rival { .. }), "{woken:?}");
    assert_eq!(upkeep.rows(), before);
}
