//! Owns the US Privacy string: four characters that say whether someone opted out of sale.
//!
//! Source: IAB US Privacy String, version 1 (deprecated, still sent). Promises: anything malformed
//! counts as an opt-out. Never grants.

/// Whether `text` opts out of sale and sharing.
pub fn opts_out(text: &str) -> bool {
    match text.as_bytes() {
        // `1---`: the CCPA does not apply.
        [b'1', b'-', b'-', b'-'] => false,
        [b'1', notice, sale, agreement] if [notice, sale, agreement].into_iter().all(is_letter) => !matches!(sale, b'N' | b'n'),
        _ => true,
    }
}

fn is_letter(letter: &u8) -> bool {
    matches!(letter, b'Y' | b'N' | b'y' | b'n' | b'-')
}

#[cfg(test)]
mod tests {
    use super::opts_out;

    #[test]
    fn the_third_letter_decides() {
        for (text, out) in [
            ("1YNN", false), ("1---", false), ("1ynn", false), ("1YYN", true), ("1YYY", true), ("1Y-N", true),
            ("", true), ("1Y", true), ("2YNN", true), ("1YNNN", true), ("1YXN", true), ("${US_PRIVACY}", true),
        ] {
            assert_eq!(opts_out(text), out, "{text}");
        }
    }
}
