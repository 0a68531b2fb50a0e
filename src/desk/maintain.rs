//! Owns a turn of maintenance: takes the lease, and then, table by table, sweeps, retains, compacts and
//! tidies the log.
//!
//! Promises: one maintainer at a time for a lake, whoever starts how many; a turn that was cut short is
//! finished by the next; what retention, erasure or rectification replaced is deleted in the same turn,
//! what compaction replaced stays for `grace`, for readers that are still at it. Spawns nothing.

use super::share::Shelf;
use crate::hit::clock::{Clock, Day};
use crate::hit::site::Site;
use crate::lake::columns::TableName;
use crate::lake::compact::compact;
use crate::lake::file::day_text;
use crate::lake::lease::{Lease, LeaseError};
use crate::lake::order::Limits;
use crate::lake::retain::{Terms, retain};
use crate::lake::rewrite::{Report, RewriteError, Rewriter};
use crate::lake::sketches::{self, SketchError, Touched};
use crate::lake::sql::Session;
use crate::lake::store::Layer;
use crate::lake::subjects::{self, Fields, Subjects};
use crate::lake::sweep::{sweep, tidy_log};
use crate::lake::table::{Table, TableError};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Maintains one lake.
pub struct Maintenance<'m> {
    pub lake: &'m Path,
    /// A folder for sorting, emptied at the start of a turn.
    pub spill: PathBuf,
    pub sites: &'m [Site],
    /// Who maintains, for people.
    pub holder: &'m str,
    pub clock: &'m Clock,
    /// How long files that compaction replaced stay for readers.
    pub grace: Duration,
    /// Laid over the stores: tests put failures there.
    pub layer: Layer<'m>,
}

/// How much a turn does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Retention as well, and today is compacted as if it were over.
    All,
    /// Retention as well: needed once a UTC day, for it looks into every file that is past some site's term.
    Day,
    /// What is needed all the day: compaction and log clean-up.
    Often,
}

/// Why a turn was not finished. The next one goes on with it.
#[derive(Debug, thiserror::Error)]
pub enum MaintainError {
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error(transparent)]
    Sketches(#[from] SketchError),
    #[error("the spill folder {path} cannot be emptied: {reason}")]
    Spill { path: String, reason: std::io::Error },
    #[error("the published weeks cannot be let go of: {0}")]
    Shared(std::io::Error),
}

/// What a turn did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Turn {
    pub retention: Report,
    pub compaction: Report,
    /// Data files and log entries that were deleted because no version needs them.
    pub swept: usize,
    /// Replaced files that stay for readers.
    pub waiting: usize,
    pub log_entries_removed: usize,
    /// Weeks published for third parties that are past their term.
    pub shared_weeks_removed: usize,
}

impl Maintenance<'_> {
    /// One turn. `tell` hears what is being done.
    pub async fn turn(&self, extent: Extent, tell: &mut (dyn FnMut(&str) + Send)) -> Result<Turn, MaintainError> {
        let lease = self.take().await?;
        let mut turn = Turn::default();
        let now = self.clock.now();
        let over = match extent {
            Extent::All => day_text(Day(now.day().0 + 1)),
            Extent::Day | Extent::Often => day_text(now.day()),
        };
        let terms = Terms::of_sites(self.sites, now);
        let limits = self.limits()?;
        for name in TableName::ALL {
            let Some(mut rewriter) = self.open(name, &lease, &limits).await? else { continue };
            tell(&format!("{}: what a crash left", name.as_str()));
            turn.swept += sweep(&mut rewriter, self.grace_ms()).await?.deleted;
            let retained = turn.retention.versions.len();
            if extent != Extent::Often {
                tell(&format!("{}: retention", name.as_str()));
                retain(&mut rewriter, &terms, &mut turn.retention).await?;
            }
            let has_let_go = turn.retention.versions.len() > retained;
            tell(&format!("{}: compaction", name.as_str()));
            compact(&mut rewriter, &over, &mut turn.compaction).await?;
            tell(&format!("{}: replaced files and old log", name.as_str()));
            let grace_ms = if has_let_go { 0 } else { self.grace_ms() };
            let swept = sweep(&mut rewriter, grace_ms).await?;
            turn.swept += swept.deleted;
            turn.waiting += swept.waiting;
            turn.log_entries_removed += tidy_log(&mut rewriter, grace_ms, has_let_go).await?;
        }
        if extent != Extent::Often {
            turn.shared_weeks_removed = Shelf::of(self.lake).retain(self.sites, now).map_err(MaintainError::Shared)?;
        }
        lease.give_back().await?;
        Ok(turn)
    }

    /// Removes every row of `subjects` for good: rows, the files that held them, what compaction had kept of
    /// such files for readers, and the log of the versions that named them.
    pub async fn erase(&self, subjects: &Subjects) -> Result<Report, MaintainError> {
        let lease = self.take().await?;
        let limits = self.limits()?;
        let mut report = Report::default();
        if let Some(mut rewriter) = self.open(TableName::Interactions, &lease, &limits).await? {
            subjects::erase(&mut rewriter, subjects, &mut report).await?;
            self.leave_nothing(&mut rewriter, &mut report).await?;
        }
        lease.give_back().await?;
        Ok(report)
    }

    /// Gives the rows of `subjects` the values of `fields`, and removes the files that held the old ones.
    pub async fn rectify(&self, subjects: &Subjects, fields: &Fields) -> Result<Report, MaintainError> {
        let lease = self.take().await?;
        let limits = self.limits()?;
        let mut report = Report::default();
        if let Some(mut rewriter) = self.open(TableName::Interactions, &lease, &limits).await? {
            subjects::rectify(&mut rewriter, subjects, fields, &mut report).await?;
            self.leave_nothing(&mut rewriter, &mut report).await?;
        }
        lease.give_back().await?;
        Ok(report)
    }

    /// Makes the sketches of `touched` hours anew from what `rest` sees, and removes the files that held the
    /// old ones.
    pub async fn renew_sketches(&self, rest: &Session, touched: &Touched) -> Result<Report, MaintainError> {
        let lease = self.take().await?;
        let limits = self.limits()?;
        let mut report = Report::default();
        if let Some(mut rewriter) = self.open(TableName::Trends, &lease, &limits).await? {
            sketches::renew(&mut rewriter, rest, touched, &mut report).await?;
            self.leave_nothing(&mut rewriter, &mut report).await?;
        }
        lease.give_back().await?;
        Ok(report)
    }

    /// No version but the newest is left.
    async fn leave_nothing(&self, rewriter: &mut Rewriter<'_>, report: &mut Report) -> Result<(), MaintainError> {
        report.deleted += sweep(rewriter, 0).await?.deleted;
        tidy_log(rewriter, 0, true).await?;
        Ok(())
    }

    async fn take(&self) -> Result<Lease, MaintainError> {
        Ok(Lease::take_on(self.lake, self.holder, self.clock, self.layer).await?)
    }

    async fn open<'l>(&'l self, name: TableName, lease: &'l Lease, limits: &'l Limits) -> Result<Option<Rewriter<'l>>, MaintainError> {
        match Table::open_on(self.lake, name, self.layer).await {
            Ok(table) => Ok(Some(Rewriter { table, lease, limits, clock: self.clock })),
            Err(TableError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn limits(&self) -> Result<Limits, MaintainError> {
        // Whoever holds the lease is alone here: what lies there was left by a maintainer that was killed.
        match std::fs::remove_dir_all(&self.spill) {
            Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => Err(MaintainError::Spill { path: self.spill.display().to_string(), reason }),
            Ok(()) | Err(_) => Ok(Limits::new(self.spill.clone())),
        }
    }

    fn grace_ms(&self) -> i64 {
        i64::try_from(self.grace.as_millis()).unwrap_or(i64::MAX)
    }
}
