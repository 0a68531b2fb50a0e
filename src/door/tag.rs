//! Owns the scripts for other people's pages: the tag, the address that its content gives it and its
//! integrity, and what pages written for Matomo load as `matomo.js`.
//!
//! Knows Subresource Integrity (W3C). Promises: types and remarks stay at home; `/tag.VERSION.js` with the version of this build may be kept
//! for ever; another build's version is answered with this build's tag, to be asked for again within the hour,
//! so that a page that was not changed does not fall silent.

use crate::hit::field::hex;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha384};
use std::sync::LazyLock;

/// The tag, as pages get it.
pub fn tag() -> &'static str {
    static SENT: LazyLock<String> = LazyLock::new(|| without_remarks(include_str!("../../assets/tag.js")));
    &SENT
}

/// What runs a page's calls of Matomo's script, as pages get it.
pub fn matomo() -> &'static str {
    static SENT: LazyLock<String> = LazyLock::new(|| without_remarks(include_str!("../../assets/matomo.js")));
    &SENT
}

/// A script without its `/* … */`, but for those that begin with `!`, and without its indentation. Neither of
/// our scripts has one within a text or a regular expression; the browser tests run what is left.
fn without_remarks(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, behind)) = rest.split_once("/*") {
        let (remark, behind) = behind.split_once("*/").unwrap_or((behind, ""));
        code.push_str(before);
        if remark.starts_with('!') {
            code.extend(["/*", remark, "*/"]);
        }
        rest = behind;
    }
    code.push_str(rest);
    code.lines().map(str::trim).filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect()
}

/// The address of this build's tag: `/tag.`, twelve hex digits of its SHA-384, `.js`.
pub fn path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| {
        let version: String = hex(&Sha384::digest(tag())).chars().take(VERSION_LENGTH).collect();
        format!("/tag.{version}.js")
    });
    &PATH
}

/// What stands in a script's `integrity`.
pub fn integrity() -> String {
    format!("sha384-{}", STANDARD.encode(Sha384::digest(tag())))
}

/// Whether `path` is that of some build's tag.
pub fn is_versioned(path: &str) -> bool {
    let version = path.strip_prefix("/tag.").and_then(|rest| rest.strip_suffix(".js"));
    version.is_some_and(|version| version.len() == VERSION_LENGTH && version.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

const VERSION_LENGTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::{is_versioned, matomo, path, tag, without_remarks};
    use std::io::Write;

    #[test]
    fn an_address_of_its_own() {
        assert!(is_versioned(path()));
        for other in ["/tag.js", "/tag..js", "/tag.0123456789a.js", "/tag.0123456789ax.js", "/tag.0123456789abc.js"] {
            assert!(!is_versioned(other), "{other}");
        }
    }

    #[test]
    fn at_most_four_kib_on_the_wire() {
        for script in [tag(), matomo()] {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            packed.write_all(script.as_bytes()).unwrap();
            let length = packed.finish().unwrap().len();
            assert!(length <= 4_096, "{length} bytes gzipped");
        }
    }

    #[test]
    fn remarks_stay_at_home() {
        assert_eq!(without_remarks("/*! licence */\n/** @type {x} */\n  a(/* b */ c); // d\n\n"), "/*! licence */\na( c); // d\n");
        assert!([tag(), matomo()].iter().all(|script| !script.contains("@type") && script.matches("/*").count() == 1));
    }
}
