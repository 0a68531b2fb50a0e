//! Owns `Private`, the wrapper of everything that must be forgotten within a hit.
//!
//! Promises: what is inside cannot be printed, cloned, compared or serialised, and leaves only
//! through `reveal`, one word to grep for. Never gives a reference that outlives the hit.

use std::fmt;

/// A value of a visitor that may be used within a hit and must not leave it.
#[derive(Default)]
pub struct Private<T>(T);

impl<T> Private<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Looks at the value. Every call is a place where something of a visitor is seen in clear.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[private]")
    }
}

#[cfg(test)]
mod tests {
    use super::Private;

    #[test]
    fn what_is_private_is_never_printed() {
        assert_eq!(format!("{:?}", Private::new("203.0.113.77")), "[private]");
    }
}
