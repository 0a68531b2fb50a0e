//! Owns `clearpixel site add`: a new site's block in the settings, its secret, and what its pages need.
//!
//! Promises: the file is changed whole or not at all, and only if the settings are without fault afterwards;
//! nothing in it but what is added changes; the secret is told once and kept nowhere.

use crate::hit::field::hex;
use crate::config::{Config, ConfigError, Fault};
use crate::door::tag;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// What is asked for.
pub struct NewSite<'a> {
    pub key: &'a str,
    pub name: Option<&'a str>,
    pub origins: &'a [String],
    /// Where browsers reach the collector; `None`: where the settings let it listen.
    pub collector: Option<&'a str>,
}

/// Why there is no new site.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{path}: {reason}")]
    File { path: String, reason: io::Error },
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Adds a site to the settings in `file`, made where there is none; the text for the one who added it.
pub fn add(site: &NewSite<'_>, file: &Path) -> Result<String, AddError> {
    let failed = |reason| AddError::File { path: file.display().to_string(), reason };
    let old = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(AddError::Random)?;
    let secret = hex(&bytes);
    let new = format!("{old}{}{}", if old.is_empty() || old.ends_with('\n') { "" } else { "\n" }, block(site, &hex(&Sha256::digest(secret.as_bytes()))));
    let config = Config::parse(&new, &file.display().to_string()).map_err(|error| lines_of(error, old.lines().count(), site.key))?;
    let unfinished = file.with_extension("unfinished");
    std::fs::write(&unfinished, new).and_then(|()| std::fs::rename(&unfinished, file)).map_err(failed)?;
    let address = site.collector.map_or_else(|| format!("{}://{}", if config.tls.is_some() { "https" } else { "http" }, config.listen), |given| given.trim_end_matches('/').to_owned());
    Ok(told(site.key, &secret, &address))
}

/// A fault within the added block stands in no line of the user's file.
fn lines_of(error: ConfigError, lines: usize, key: &str) -> ConfigError {
    match error {
        ConfigError::Unreadable { .. } => error,
        ConfigError::Faults(faults) => ConfigError::Faults(
            faults.into_iter().map(|fault| if fault.line > lines { Fault { file: format!("site add {key}"), line: fault.line - lines, ..fault } } else { fault }).collect(),
        ),
    }
}

fn block(site: &NewSite<'_>, secret_sha256: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let origins: Vec<String> = site.origins.iter().map(|origin| quoted(origin)).collect();
    let mut text = format!("\n[[site]]\nkey = {}\n", quoted(site.key));
    if let Some(name) = site.name {
        let _ = writeln!(text, "name = {}", quoted(name));
    }
    let _ = writeln!(text, "origins = [{}]", origins.join(", "));
    let _ = writeln!(text, "privacy_policy = \"\"   # the page shown on /choices");
    let _ = writeln!(text, "contact = \"\"          # for requests and complaints");
    let _ = writeln!(text, "secret_sha256 = \"{secret_sha256}\"");
    text
}

fn told(key: &str, secret: &str, address: &str) -> String {
    let (path, integrity) = (tag::path(), tag::integrity());
    format!(
        "The site `{key}` is in the settings; a running collector takes it with its next start.\n\n\
        Secret, for its servers and for rights (kept nowhere: note it now):\n  {secret}\n\n\
        On each page:\n  <script async src=\"{address}/tag.js\" data-site=\"{key}\"></script>\n\
        The same, of this build alone, under subresource integrity:\n  <script async src=\"{address}{path}\" integrity=\"{integrity}\" crossorigin=\"anonymous\" data-site=\"{key}\"></script>\n\
        Without scripts:\n  <img src=\"{address}/p.gif?s={key}\" alt=\"\" width=\"1\" height=\"1\" referrerpolicy=\"no-referrer-when-downgrade\">\n\n\
        From a server:\n  curl -H \"Authorization: Bearer $SECRET\" -d '{{\"event\":\"call\",\"channel\":\"telephony\",\"consent\":\"granted\"}}' {address}/v1/interactions\n\n\
        Choices of visitors:\n  {address}/choices?s={key}\n"
    )
}
