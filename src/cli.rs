//! Owns the command line: names, options, exit codes.
//!
//! Promises: exit 0 done, 1 failed while running, 2 wrong usage, 64 bad settings, 70 stopped with hits
//! still in flight; messages for people go to standard error, results to standard output.
#![expect(clippy::disallowed_types, reason = "addresses to listen on are options")]

use crate::app::{self, AppError};
use crate::config::{self, Config, ConfigError};
use crate::desk::audit;
use crate::desk::book::Book;
use crate::desk::erasure::LookedThrough;
use crate::desk::import::{self, Import};
use crate::desk::maintain::{Extent, MaintainError, Maintenance};
use crate::desk::people_table;
use crate::desk::query::{self, Format, QueryError};
use crate::desk::report;
use crate::desk::share::Shelf;
use crate::desk::verify;
use crate::hit::clock::Clock;
use crate::journal::folder;
use crate::lake::audience::Audience;
use crate::lake::lease::LeaseError;
use crate::lake::sql::{Session, SessionOptions};
use crate::lake::suppressions;
use crate::people::file::PeopleError;
use crate::people::read::People;
use crate::site_add::{self, AddError, NewSite};
use crate::subject::{self, SubjectOptions};
use clap::{Args, CommandFactory, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// A tracking pixel and interaction-data collector that decides before it keeps.
#[derive(Parser)]
#[command(name = "clearpixel", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the collector with one site and a demonstration shop; needs no settings.
    Demo {
        /// Where data is kept.
        #[arg(long, value_name = "DIR", default_value = "./clearpixel-data")]
        data: PathBuf,
        /// The public port.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// The admin port.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
        admin_listen: SocketAddr,
    },
    /// Start the collector.
    Serve {
        /// The settings (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read the settings and say what is wrong with them.
    Check {
        /// The settings (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// List every setting: name, unit, default, meaning, value in force.
    Settings {
        /// Show the values in force with these settings.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Add a site to the settings.
    Site {
        #[command(subcommand)]
        command: SiteCommand,
    },
    /// Bring in past interactions from web-server logs or NDJSON, through the same gate as live hits.
    Import {
        /// The site they belong to.
        #[arg(long, value_name = "KEY")]
        site: String,
        /// `combined` (Apache, nginx) or `ndjson` (the native event form, one a line).
        #[arg(long, value_enum)]
        format: import::Format,
        /// Write the lines that could not be read to this file.
        #[arg(long, value_name = "FILE")]
        rejects: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
        /// The files; a second run of the same file adds nothing.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Ask the lake in SQL, with no server running or beside one.
    Query {
        /// A SELECT over `interactions`, `trends` and `visits`; `visitors(sketch)` merges and estimates.
        sql: String,
        #[arg(long, default_value = "table", value_name = "FORMAT", value_parser = ["table", "csv", "ndjson", "parquet"])]
        format: String,
        /// Write to this file instead of standard output.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Let the question see the table `people`: personal information, by the key that the settings name.
        #[arg(long, requires = "config")]
        personal: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Exercise a person's rights: find, copy, erase, correct, restrict.
    Subject {
        #[command(flatten)]
        subject: SubjectOptions,
        #[command(flatten)]
        place: Place,
    },
    /// Maintain the lake: retention, compaction, log clean-up. Beside a server they take turns.
    Maintain {
        /// One turn, today's files included, and then the end; otherwise a turn every `lake.maintain_every`.
        #[arg(long)]
        once: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Read the whole lake, journal and audit log and prove that counts, checksums, ledger, chain and what was shared agree.
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// Show the trends in a terminal, with charts.
    Report {
        /// One site; all where absent.
        #[arg(long, value_name = "KEY")]
        site: Option<String>,
        /// How far to look back: `24h`, `7d`.
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = config::parse_seconds)]
        last: i64,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Subcommand)]
enum SiteCommand {
    /// Write the block of a new site, make its secret, print what its pages need.
    Add {
        /// The site's key: 1 to 32 of a-z 0-9 -.
        key: String,
        /// The settings (TOML); made where there are none.
        #[arg(long, value_name = "FILE", default_value = "clearpixel.toml")]
        config: PathBuf,
        /// Its name for people.
        #[arg(long)]
        name: Option<String>,
        /// An origin whose pages may send, such as https://shop.example; may be given again.
        #[arg(long = "origin", value_name = "ORIGIN")]
        origins: Vec<String>,
        /// Where browsers reach the collector, such as https://data.shop.example.
        #[arg(long, value_name = "URL")]
        collector: Option<String>,
    },
}

/// Which data: by settings, or by folder.
#[derive(Args)]
struct Place {
    /// The settings (TOML).
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "./clearpixel-data")]
    data: PathBuf,
}

/// Runs the program.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    start_log(matches!(cli.command, Command::Serve { .. }));
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut out = io::stderr().lock();
            let _ = writeln!(out, "{error}");
            ExitCode::from(code_of(&*error))
        }
    }
}

/// The whole of `--help`, for the documentation.
pub fn document() -> String {
    let mut text = String::from("# Commands\n\nGenerated from `src/cli.rs`. Exit codes: 0 done, 1 failed while running, 2 wrong usage, 64 bad settings, 70 stopped with hits still in flight.\n");
    let mut command = Cli::command();
    command.build();
    describe(&mut command, "clearpixel", &mut text);
    text
}

fn describe(command: &mut clap::Command, path: &str, text: &mut String) {
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name());
        if sub.has_subcommands() {
            describe(sub, &path, text);
            continue;
        }
        let help = sub.render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        text.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", help.join("\n")));
    }
}

type Failure = Box<dyn std::error::Error>;

fn code_of(error: &(dyn std::error::Error + 'static)) -> u8 {
    if error.is::<ConfigError>() || matches!(error.downcast_ref(), Some(AddError::Config(_))) {
        return 64;
    }
    match error.downcast_ref::<AppError>() {
        Some(AppError::Config(_) | AppError::Tls(_) | AppError::Seal(_) | AppError::Atlas(_) | AppError::PeopleKey(_) | AppError::People(PeopleError::WrongKey { .. })) => 64,
        Some(AppError::InFlight(_)) => 70,
        Some(_) | None => 1,
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo { data, listen, admin_listen } => {
            let config = Config { listen, admin_listen, ..demo_config(&data)? };
            Ok(app::run(&config, true)?)
        }
        Command::Serve { config } => Ok(app::run(&Config::read(&config)?, false)?),
        Command::Check { config } => {
            let read = Config::read(&config)?;
            app::check(&read)?;
            let sites = read.sites.len();
            Ok(writeln!(io::stdout().lock(), "{}: no faults; {sites} {}", config.display(), if sites == 1 { "site" } else { "sites" })?)
        }
        Command::Settings { config } => settings(config.as_deref()),
        Command::Site { command: SiteCommand::Add { key, config, name, origins, collector } } => {
            let site = NewSite { key: &key, name: name.as_deref(), origins: &origins, collector: collector.as_deref() };
            Ok(io::stdout().lock().write_all(site_add::add(&site, &config)?.as_bytes())?)
        }
        Command::Import { site, format, rejects, place, files } => {
            let config = place.config()?;
            Ok(import::import(&Import { sites: &config.sites, lake: &config.lake, data_dir: &config.data_dir, geo_database: config.geo_database.as_deref(), site: &site, format, rejects: rejects.as_deref() }, &files, &Clock::system())?)
        }
        Command::Query { sql, format, output, personal, place } => query(&sql, &format, output.as_deref(), personal, &place.config()?),
        Command::Subject { subject, place } => Ok(async_runtime()?.block_on(subject::run(&subject, &place.config()?, &Clock::system()))?),
        Command::Maintain { once, place } => maintain(&place.config()?, once),
        Command::Verify { place } => verify(&place.config()?),
        Command::Report { site, last, place } => {
            let config = place.config()?;
            let text = async_runtime()?.block_on(async {
                let session = open_session(&config)?;
                Ok::<_, Failure>(report::report(&session, site.as_deref(), last, Clock::system().now(), 80).await?)
            })?;
            Ok(io::stdout().lock().write_all(text.as_bytes())?)
        }
    }
}

/// The settings of `demo`: one site, and a lake that shows what came within two seconds.
fn demo_config(data: &Path) -> Result<Config, ConfigError> {
    let data = data.display().to_string();
    let text = format!(
        "data_dir = {}\n[lake]\nflush_after = \"2s\"\n[[site]]\nkey = \"demo\"\nname = \"Demonstration shop\"\n",
        toml::Value::String(data)
    );
    Config::parse(&text, "demo")
}

impl Place {
    fn config(&self) -> Result<Config, ConfigError> {
        match &self.config {
            Some(file) => Config::read(file),
            None => demo_config(&self.data),
        }
    }
}

fn settings(file: Option<&Path>) -> Result<(), Failure> {
    let config = match file {
        Some(file) => Config::read(file)?,
        None => Config::parse("[[site]]\nkey = \"acme\"\n", "defaults")?,
    };
    let mut out = io::stdout().lock();
    for setting in config::SETTINGS {
        let default = if setting.default.is_empty() { "absent" } else { setting.default };
        let in_force: Vec<&str> = config.in_force.iter().filter(|(name, _)| name == setting.name).map(|(_, value)| value.as_str()).collect();
        let (unit, meaning, in_force) = (setting.unit, setting.meaning, in_force.join(" | "));
        writeln!(out, "{}\n    {meaning}\n    unit {unit} · default {default} · in force {in_force}\n", setting.name)?;
    }
    Ok(())
}

fn query(sql: &str, format: &str, output: Option<&Path>, personal: bool, config: &Config) -> Result<(), Failure> {
    let format = Format::from_name(format).unwrap_or(Format::Table);
    if format == Format::Parquet && output.is_none() && io::stdout().is_terminal() {
        return Err("Parquet is not for terminals: add --output FILE".into());
    }
    // A file appears whole or not at all.
    let unfinished = output.map(|path| path.with_extension("unfinished"));
    let answered = async_runtime()?.block_on(async {
        let session = open_session(config)?;
        if personal {
            let people = People::of_settings(&config.sites, &config.data_dir, &config.lake)?;
            people_table::add(&session, &people, &suppressions::in_force(&config.data_dir, &config.lake)?)?;
        }
        let out: Box<dyn Write + Send> = match &unfinished {
            Some(path) if personal => Box::new(io::BufWriter::new(folder::private_file(path)?)),
            Some(path) => Box::new(io::BufWriter::new(std::fs::File::create(path).map_err(|error| format!("{}: {error}", output.unwrap_or(path).display()))?)),
            None => Box::new(io::BufWriter::new(io::stdout())),
        };
        Ok::<_, Failure>(query::query(&session, sql, format, out).await)
    })?;
    let answered = match answered {
        // Whoever reads the output has seen enough (`| head`).
        Err(QueryError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        answered => answered?,
    };
    if let (Some(from), Some(to)) = (unfinished, output) {
        std::fs::rename(from, to)?;
    }
    if answered.cut {
        writeln!(io::stderr().lock(), "… and more rows: this is the first {}; --format csv or ndjson gives all", answered.rows)?;
    }
    Ok(())
}

/// Turns of maintenance. What a turn did goes to standard output, as JSON, a line a turn.
fn maintain(config: &Config, once: bool) -> Result<(), Failure> {
    if !config.lake.is_dir() {
        return Err(no_lake(config));
    }
    let clock = Clock::system();
    let spill = config.data_dir.join("spill").join("maintain");
    let maintenance = Maintenance { lake: &config.lake, spill, sites: &config.sites, holder: "the command `maintain`", clock: &clock, grace: config.readers_grace, layer: &|store| store };
    let mut looked = LookedThrough::default();
    let extent = if once { Extent::All } else { Extent::Day };
    let progress = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}")?);
    progress.enable_steady_tick(Duration::from_millis(200));
    app::maintenance_runtime()?.block_on(async {
        loop {
            let turn = match maintenance.turn(extent, &mut |doing| progress.set_message(doing.to_owned())).await {
                // Whoever has the lease gives it back, or it runs out: within a minute of the last sign of life.
                Err(MaintainError::Lease(LeaseError::Held { holder, .. })) => {
                    progress.set_message(format!("waits for its turn: {holder} has it"));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
                turn => turn?,
            };
            writeln!(io::stdout().lock(), "{}", serde_json::to_string(&turn)?)?;
            if app::carry_out_rights(config, &maintenance, &mut looked).await?.is_none() {
                progress.println("requests of persons are carried out by the collector that runs on this data folder");
            }
            if once {
                progress.finish_and_clear();
                return Ok(());
            }
            progress.set_message("waits for the next turn");
            tokio::time::sleep(config.maintain_every).await;
        }
    })
}

fn verify(config: &Config) -> Result<(), Failure> {
    if !config.lake.is_dir() {
        return Err(no_lake(config));
    }
    let progress = ProgressBar::new(0).with_style(ProgressStyle::with_template("{bar:30} {pos} of {len} files {elapsed}")?);
    let mut tell = |done: usize, of: usize| {
        progress.set_length(of as u64);
        progress.set_position(done as u64);
    };
    let now = Clock::system().now();
    let verified = async_runtime()?.block_on(verify::verify(&config.lake, &config.data_dir.join("journal"), (&config.sites, now), &mut tell))?;
    progress.finish_and_clear();
    let mut out = io::stdout().lock();
    for fact in &verified.facts {
        writeln!(out, "{fact}")?;
    }
    let mut faults = verified.faults;
    match People::of_settings(&config.sites, &config.data_dir, &config.lake) {
        Ok(people) => {
            let (facts, more) = people.survey(app::is_in_use(&config.data_dir));
            facts.iter().try_for_each(|fact| writeln!(out, "{fact}"))?;
            faults.extend(more);
        }
        Err(error) => faults.push(error.to_string()),
    }
    let mut book = Book::default();
    match audit::verify_folder(&config.data_dir, &mut |entry| book.note(entry)) {
        Ok(Some(audit)) => writeln!(out, "audit log: {} entries, head {}", audit.entries, audit.head)?,
        Ok(None) => writeln!(out, "audit log: there is none here")?,
        Err(error) => faults.push(error.to_string()),
    }
    let (weeks, more) = Shelf::of(&config.lake).verify(&book.shared, &config.sites, now)?;
    writeln!(out, "shared weeks: {weeks}; {} were given out by this collector", book.shared.len())?;
    faults.extend(more);
    match suppressions::in_force(&config.data_dir, &config.lake)?.unreadable() {
        0 => {}
        lines => faults.push(format!("{lines} lines of the suppressions were changed, or written under another secret")),
    }
    if faults.is_empty() {
        return Ok(writeln!(out, "all agrees")?);
    }
    Err(faults.join("\n").into())
}

fn no_lake(config: &Config) -> Failure {
    format!("there is no lake at {}: nothing was collected there, or this is another folder", config.lake.display()).into()
}

/// For sorting and grouping of a process of its own: a million visits told apart by source are 130 MB on each of two
/// threads, and half of the pool is kept for the parts of a plan that hold less.
const QUESTION_BYTES: usize = 1 << 30;

fn open_session(config: &Config) -> Result<Session, Failure> {
    if !config.lake.is_dir() {
        return Err(no_lake(config));
    }
    let suppressions = suppressions::in_force(&config.data_dir, &config.lake)?;
    let options = SessionOptions { memory_bytes: QUESTION_BYTES, ..SessionOptions::new(config.data_dir.join("spill"), Audience::Anyone(Arc::new(suppressions))) };
    Ok(Session::open(&config.lake, options)?)
}

fn async_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// The log: JSON lines for a service, plain lines for people; `CLEARPIXEL_LOG` sets the level.
#[expect(clippy::disallowed_methods, reason = "the one environment variable, read once at the start")]
fn start_log(as_json: bool) {
    let usual = if as_json { LevelFilter::INFO } else { LevelFilter::WARN };
    let asked = std::env::var("CLEARPIXEL_LOG").ok().filter(|level| !level.is_empty());
    let level = asked.as_deref().map_or(Ok(usual), str::parse);
    let registry = tracing_subscriber::registry().with(targets(*level.as_ref().unwrap_or(&usual)));
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    if as_json {
        registry.with(lines.json()).init();
    } else {
        registry.with(lines).init();
    }
    if let (Err(_), Some(asked)) = (level, asked) {
        tracing::warn!("CLEARPIXEL_LOG can be off, error, warn, info, debug or trace; it is {asked:?}, and {usual} is used");
    }
}

/// Libraries say only what is wrong: their lower levels tell of paths and tables at length. Of commits that another
/// was first with, the lake's own code tells what came of them.
fn targets(level: LevelFilter) -> Targets {
    Targets::new().with_default(LevelFilter::WARN).with_target("deltalake_core::kernel::transaction", LevelFilter::OFF).with_target("clearpixel", level)
}
