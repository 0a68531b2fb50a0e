//! Owns the closed list of what scrubbing removes, and the count of it.
//!
//! Promises: names and order are the ledger's; a new kind cannot be added without every match in the
//! program being looked at again. Never holds anything of what was removed.

/// What was removed from a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Card,
    Email,
    Iban,
    Ip,
    Phone,
    Ssn,
    Token,
    User,
    Echo,
    Encoded,
    Key,
    Query,
    Fragment,
}

impl Kind {
    pub const COUNT: usize = Self::Fragment as usize + 1;

    pub const ALL: [Self; Self::COUNT] = [
        Self::Card,
        Self::Email,
        Self::Iban,
        Self::Ip,
        Self::Phone,
        Self::Ssn,
        Self::Token,
        Self::User,
        Self::Echo,
        Self::Encoded,
        Self::Key,
        Self::Query,
        Self::Fragment,
    ];

    /// The name in the ledger, in metrics and in `trends`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::Ip => "ip",
            Self::Phone => "phone",
            Self::Ssn => "ssn",
            Self::Token => "token",
            Self::User => "user",
            Self::Echo => "echo",
            Self::Encoded => "encoded",
            Self::Key => "key",
            Self::Query => "query",
            Self::Fragment => "fragment",
        }
    }

    /// What stands in its place.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Card => "[redacted:card]",
            Self::Email => "[redacted:email]",
            Self::Iban => "[redacted:iban]",
            Self::Ip => "[redacted:ip]",
            Self::Phone => "[redacted:phone]",
            Self::Ssn => "[redacted:ssn]",
            Self::Token => "[redacted:token]",
            Self::User => "[redacted:user]",
            Self::Echo => "[redacted:echo]",
            Self::Encoded => "[redacted:encoded]",
            Self::Key => "[redacted:key]",
            // A URL keeps its form: nothing stands where its query and fragment stood.
            Self::Query | Self::Fragment => "",
        }
    }

    /// What it means, for the operator.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Card => "a payment card's number",
            Self::Email => "an e-mail address",
            Self::Iban => "a bank account's number (IBAN)",
            Self::Ip => "an IP address",
            Self::Phone => "a telephone number",
            Self::Ssn => "a US social security number",
            Self::Token => "a key, a token, or a path segment that reads like one",
            Self::User => "a person's name or id: before the `@` of a URL, in a path, in a home folder",
            Self::Echo => "the request's own user agent or a cookie's value, come back in a field",
            Self::Encoded => "a text that is one of these once it is percent-decoded",
            Self::Key => "the value of a name that asks for a person or a secret",
            Self::Query => "a parameter of a URL's query, or of a path segment, that is not kept",
            Self::Fragment => "the part of a URL behind `#`",
        }
    }

    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Removed values by kind, in the order of `Kind::ALL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scrubbed(pub [u64; Kind::COUNT]);

impl Scrubbed {
    pub const fn count(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Self) {
        // As for `Ends`: few of them are any.
        for (sum, count) in self.0.iter_mut().zip(other.0).filter(|(_, count)| *count > 0) {
            *sum += count;
        }
    }

    pub const fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// The kinds of which there is any, and how many.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, u64)> + use<> {
        Kind::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn every_kind_has_its_own_number_name_and_mark() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!((Kind::from_index(index), Kind::from_name(kind.name())), (Some(kind), Some(kind)));
            assert!(kind.mark().is_empty() || kind.mark() == format!("[redacted:{}]", kind.name()));
        }
        assert_eq!(Kind::from_index(Kind::COUNT), None);
    }
}
