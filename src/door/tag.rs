//! Owns the tag: its source, the address that its content gives it, and its integrity.
//!
//! Knows Subresource Integrity (W3C). Promises: `/tag.VERSION.js` with the version of this build may be kept
//! for ever; another build's version is answered with this build's tag, to be asked for again within the hour,
//! so that a page that was not changed does not fall silent.

use crate::hit::field::hex;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha384};
use std::sync::LazyLock;

pub const SOURCE: &str = include_str!("../../assets/tag.js");

/// The address of this build's tag: `/tag.`, twelve hex digits of its SHA-384, `.js`.
pub fn path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| {
        let version: String = hex(&Sha384::digest(SOURCE)).chars().take(VERSION_LENGTH).collect();
        format!("/tag.{version}.js")
    });
    &PATH
}

/// What stands in a script's `integrity`.
pub fn integrity() -> String {
    format!("sha384-{}", STANDARD.encode(Sha384::digest(SOURCE)))
}

/// Whether `path` is that of some build's tag.
pub fn is_versioned(path: &str) -> bool {
    let version = path.strip_prefix("/tag.").and_then(|rest| rest.strip_suffix(".js"));
    version.is_some_and(|version| version.len() == VERSION_LENGTH && version.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

const VERSION_LENGTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::{SOURCE, is_versioned, path};
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
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(SOURCE.as_bytes()).unwrap();
        let length = packed.finish().unwrap().len();
        assert!(length <= 4_096, "{length} bytes gzipped");
    }
}
