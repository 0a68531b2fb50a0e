//! Owns what the segments of a path say about the segment behind them, and which of them tell of a person.
//!
//! Knows the words that pages are made of, in the languages of the shops around: what names a person
//! (`/user/12345`), what is followed by a secret (`/reset/…`), what names a thing (`/product/…`, whose
//! ids stay whatever they look like). Nothing tells the id of a person from the id of a thing but the word
//! before it; an id that reads like a random token and has no such word before it goes, since it may open a
//! door (see `docs/decisions/0018-property-names.md`). Never looks at a query.

use crate::hit::scrubbed::Kind;

/// What a segment means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// What follows is a person.
    Person,
    /// What follows is a person where it has a digit: `/customers/10023`, but `/customers/success-stories`.
    Persons,
    /// What follows is a secret where it reads like one.
    Secret,
    /// What follows is the id of a thing.
    Thing,
    /// A page of its own.
    Page,
    /// Between a word and what it speaks of: `/users/id/12345`.
    Between,
    Unknown,
}

/// What the segment is, in either case and without an ending such as `.html`.
pub fn word_of(segment: &str) -> Word {
    let mut buffer = [0_u8; WORD_LENGTH_MAX];
    let mut length = 0;
    for (slot, byte) in buffer.iter_mut().zip(segment.bytes().take_while(|byte| *byte != b'.')) {
        *slot = if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
        length += 1;
    }
    let is_whole = segment.as_bytes().get(length).is_none_or(|byte| *byte == b'.');
    let Some(small) = buffer.get(..length).filter(|_| is_whole) else { return Word::Unknown };
    let Some(letter @ b'a'..=b'z') = small.first() else { return Word::Unknown };
    let bucket = bucket(*letter, small.len());
    let (order, starts) = &BY_BUCKET;
    let known = order.get(usize::from(starts[bucket])..usize::from(starts[bucket + 1])).unwrap_or(&[]);
    let same = known.iter().filter_map(|at| WORDS.get(usize::from(*at))).find(|(word, _)| word.as_bytes() == small);
    same.map_or(Word::Unknown, |(_, word)| *word)
}

/// Words of one first letter and one length: of three hundred one or two are compared.
const fn bucket(letter: u8, length: usize) -> usize {
    (letter - b'a') as usize * (WORD_LENGTH_MAX + 1) + length
}

const BUCKETS: usize = 26 * (WORD_LENGTH_MAX + 1);

/// The numbers of `WORDS` by bucket, and where each bucket begins.
static BY_BUCKET: ([u16; WORDS.len()], [u16; BUCKETS + 1]) = {
    // Counted, added up, and laid out from the last to the first: each word lowers where its bucket begins.
    let (mut order, mut starts) = ([0; WORDS.len()], [0; BUCKETS + 1]);
    let mut at = 0;
    while at < WORDS.len() {
        let word = WORDS[at].0.as_bytes();
        starts[bucket(word[0], word.len())] += 1;
        at += 1;
    }
    let mut next = 0;
    while next < BUCKETS {
        starts[next + 1] += starts[next];
        next += 1;
    }
    while at > 0 {
        at -= 1;
        let word = WORDS[at].0.as_bytes();
        let bucket = bucket(word[0], word.len());
        starts[bucket] -= 1;
        order[starts[bucket] as usize] = at as u16;
    }
    (order, starts)
};

/// What a host means for the first segment: `wa.me` is followed by a telephone number.
pub fn word_of_host(host: &str) -> Word {
    if host == "wa.me" { Word::Person } else { Word::Unknown }
}

/// What a segment tells, given what stands before it; and what it means for the next.
pub fn judge(segment: &str, before: Word) -> (Option<Kind>, Word) {
    let word = word_of(segment);
    let next = if matches!(word, Word::Between | Word::Page) && matches!(before, Word::Secret) || word == Word::Between { before } else { word };
    // Before the first `/` there is nothing.
    if segment.is_empty() {
        return (None, before);
    }
    if segment.starts_with("[redacted:") {
        return (None, Word::Unknown);
    }
    if segment.starts_with("(S(") {
        return (Some(Kind::Token), next);
    }
    if before != Word::Thing && segment.len() > 1 && segment.starts_with(['@', '~']) {
        return (Some(Kind::User), next);
    }
    let is_unknown = word == Word::Unknown;
    let found = match before {
        // Mail services count accounts from 0.
        Word::Person if is_unknown && (segment.len() > 1 || !segment.bytes().all(|byte| byte.is_ascii_digit())) => Some(Kind::User),
        Word::Persons if is_unknown && is_id(segment) => Some(Kind::User),
        Word::Secret if is_unknown && is_secret(segment) => Some(Kind::Token),
        Word::Thing => None,
        Word::Person | Word::Persons | Word::Secret | Word::Page | Word::Between | Word::Unknown => is_random(segment).then_some(Kind::Token),
    };
    (found, next)
}

/// Few words, with a digit: a number or a name of an account, not a headline.
fn is_id(segment: &str) -> bool {
    segment.bytes().any(|byte| byte.is_ascii_digit()) && segment.split('-').count() <= 2
}

/// What stands behind `/reset/`: short codes too, but no words.
fn is_secret(segment: &str) -> bool {
    let changes_case = segment.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    let is_code = |run: &str| run.len() >= 20 || (run.len() >= 6 && run.bytes().any(|byte| byte.is_ascii_digit()));
    (segment.len() >= 6 && changes_case) || segment.split(|c: char| !c.is_ascii_alphanumeric()).any(is_code)
}

/// What nobody writes by hand: 20 letters and digits or more that change between small letters, capitals
/// and digits at least every fourth time. Random base62 changes at every second, hex a little less; words
/// with capitals at one in six, slugs with numbers in them seldom.
pub fn is_random(segment: &str) -> bool {
    if segment.len() < 20 || is_file(segment) {
        return false;
    }
    let (mut length, mut digits, mut changes, mut capitals) = (0_usize, 0, 0, 0);
    let mut before = b'-';
    for byte in segment.bytes() {
        let is_change = match byte {
            b'0'..=b'9' => before.is_ascii_alphabetic(),
            b'a'..=b'z' => before.is_ascii_digit() || (before.is_ascii_uppercase() && capitals > 1),
            b'A'..=b'Z' => before.is_ascii_digit() || before.is_ascii_lowercase(),
            _ => false,
        };
        capitals = if byte.is_ascii_uppercase() { capitals + 1 } else { 0 };
        length += usize::from(byte.is_ascii_alphanumeric());
        digits += usize::from(byte.is_ascii_digit());
        changes += usize::from(is_change);
        before = byte;
    }
    length >= 20 && (if digits > 0 { changes * 4 >= length } else { changes * 3 >= length })
        || has_long_run(segment)
}

/// 32 or more letters and digits in one breath, at least 4 of them digits.
fn has_long_run(segment: &str) -> bool {
    segment.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        run.len() >= 32 && run.bytes().filter(u8::is_ascii_digit).count() >= 4 && run.bytes().any(|byte| byte.is_ascii_alphabetic())
    })
}

/// A file of a page, named for its content.
fn is_file(segment: &str) -> bool {
    segment.rsplit_once('.').is_some_and(|(_, ending)| FILES.contains(&ending))
}

const FILES: [&str; 19] = [
    "avif", "css", "gif", "ico", "jpeg", "jpg", "js", "map", "mjs", "mp4", "otf", "png", "svg", "ttf", "wasm", "webm", "webp", "woff", "woff2",
];

const WORD_LENGTH_MAX: usize = 24;

const WORDS: [(&str, Word); 298] = [
    ("about", Word::Page), ("about-us", Word::Page), ("access", Word::Secret), ("account", Word::Person), ("accounts", Word::Person),
    ("activate", Word::Secret), ("activation", Word::Secret), ("activity", Word::Page), ("address", Word::Page), ("addresses", Word::Page),
    ("admin", Word::Page), ("all", Word::Page), ("api", Word::Page), ("article", Word::Thing), ("articles", Word::Thing),
    ("artikel", Word::Thing), ("asset", Word::Thing), ("assets", Word::Thing), ("auth", Word::Secret), ("balance", Word::Page),
    ("benefits", Word::Page), ("benutzer", Word::Person), ("billing", Word::Page), ("blob", Word::Thing), ("blog", Word::Thing),
    ("book", Word::Thing), ("books", Word::Thing), ("build", Word::Thing), ("builds", Word::Thing), ("by-id", Word::Between),
    ("callback", Word::Secret), ("candidate", Word::Persons), ("candidates", Word::Persons), ("careers", Word::Page), ("cart", Word::Page),
    ("case-studies", Word::Page), ("catalog", Word::Thing), ("catalogue", Word::Thing), ("categories", Word::Thing),
    ("category", Word::Thing), ("change-password", Word::Page), ("checkout", Word::Page), ("claim", Word::Secret),
    ("client", Word::Persons), ("cliente", Word::Person), ("clientes", Word::Persons), ("clienti", Word::Persons),
    ("clients", Word::Persons), ("collection", Word::Thing), ("collections", Word::Thing), ("commit", Word::Thing),
    ("commits", Word::Thing), ("confirm", Word::Secret), ("confirm-email", Word::Secret), ("confirmation", Word::Secret),
    ("contact", Word::Persons), ("contacts", Word::Persons), ("course", Word::Thing), ("courses", Word::Thing), ("create", Word::Page),
    ("customer", Word::Person), ("customers", Word::Persons), ("dashboard", Word::Page), ("de", Word::Page), ("deals", Word::Page),
    ("decor", Word::Page), ("delete", Word::Page), ("detail", Word::Between), ("details", Word::Between), ("devices", Word::Page),
    ("doc", Word::Thing), ("docs", Word::Thing), ("documentation", Word::Thing), ("download", Word::Page), ("downloads", Word::Page),
    ("edit", Word::Between), ("email", Word::Between), ("email-verification", Word::Secret), ("employee", Word::Person),
    ("employees", Word::Persons), ("en", Word::Page), ("es", Word::Page), ("event", Word::Thing), ("events", Word::Thing),
    ("export", Word::Page), ("faq", Word::Page), ("favorites", Word::Page), ("favourites", Word::Page), ("features", Word::Page),
    ("followers", Word::Page), ("following", Word::Page), ("forgot", Word::Page), ("forgot-password", Word::Page), ("form", Word::Page),
    ("fr", Word::Page), ("friends", Word::Page), ("garden", Word::Page), ("garten", Word::Page), ("gebruiker", Word::Person),
    ("group", Word::Page), ("groups", Word::Page), ("guest", Word::Persons), ("guests", Word::Persons), ("guide", Word::Page),
    ("help", Word::Page), ("history", Word::Page), ("home", Word::Page), ("id", Word::Between), ("image", Word::Thing),
    ("images", Word::Thing), ("img", Word::Thing), ("import", Word::Page), ("impressum", Word::Page), ("imprint", Word::Page),
    ("inbox", Word::Page), ("index", Word::Page), ("invitation", Word::Secret), ("invitations", Word::Secret), ("invite", Word::Secret),
    ("invites", Word::Secret), ("invoice", Word::Page), ("invoices", Word::Page), ("it", Word::Page), ("item", Word::Thing),
    ("items", Word::Thing), ("jobs", Word::Page), ("key", Word::Secret), ("keys", Word::Secret), ("kitchen", Word::Page),
    ("klant", Word::Person), ("kunde", Word::Person), ("kunden", Word::Persons), ("lead", Word::Persons), ("leads", Word::Persons),
    ("legal", Word::Page), ("link", Word::Between), ("list", Word::Page), ("listing", Word::Thing), ("listings", Word::Thing),
    ("living", Word::Page), ("login", Word::Page), ("logout", Word::Page), ("magic", Word::Secret), ("magic-link", Word::Secret),
    ("magiclink", Word::Secret), ("main", Word::Page), ("manual", Word::Page), ("media", Word::Thing), ("member", Word::Person),
    ("members", Word::Person), ("messages", Word::Page), ("mitglied", Word::Person), ("mitglieder", Word::Persons), ("movie", Word::Thing),
    ("movies", Word::Thing), ("my", Word::Page), ("name", Word::Between), ("new", Word::Page), ("news", Word::Thing),
    ("newsletter", Word::Page), ("nl", Word::Page), ("notifications", Word::Page), ("nutzer", Word::Person), ("oauth", Word::Secret),
    ("offers", Word::Page), ("office", Word::Page), ("opt-out", Word::Secret), ("optout", Word::Secret), ("order", Word::Page),
    ("orders", Word::Page), ("otp", Word::Secret), ("overview", Word::Page), ("p", Word::Thing), ("package", Word::Thing),
    ("packages", Word::Thing), ("password", Word::Page), ("password-reset", Word::Secret), ("patient", Word::Person),
    ("patients", Word::Person), ("payment", Word::Page), ("payments", Word::Page), ("people", Word::Persons), ("person", Word::Person),
    ("persons", Word::Persons), ("phone", Word::Between), ("photo", Word::Page), ("photos", Word::Page), ("pl", Word::Page),
    ("plan", Word::Page), ("plans", Word::Page), ("points", Word::Page), ("post", Word::Thing), ("posts", Word::Thing),
    ("preferences", Word::Page), ("pricing", Word::Page), ("privacy", Word::Page), ("prodotti", Word::Thing), ("prodotto", Word::Thing),
    ("product", Word::Thing), ("producto", Word::Thing), ("productos", Word::Thing), ("products", Word::Thing), ("produit", Word::Thing),
    ("produits", Word::Thing), ("produkt", Word::Thing), ("produkte", Word::Thing), ("profile", Word::Person), ("profiles", Word::Person),
    ("properties", Word::Thing), ("property", Word::Thing), ("pt", Word::Page), ("raw", Word::Thing), ("recover", Word::Secret),
    ("recovery", Word::Secret), ("redeem", Word::Secret), ("register", Word::Page), ("registration", Word::Page), ("release", Word::Thing),
    ("releases", Word::Thing), ("reset", Word::Secret), ("reset-password", Word::Secret), ("resetpassword", Word::Secret),
    ("returns", Word::Page), ("reviews", Word::Page), ("rewards", Word::Page), ("sale", Word::Page), ("saved", Word::Page),
    ("search", Word::Page), ("secret", Word::Secret), ("security", Word::Page), ("session", Word::Secret), ("sessions", Word::Secret),
    ("settings", Word::Page), ("share", Word::Secret), ("shared", Word::Secret), ("shop", Word::Page), ("show", Word::Between),
    ("sign-in", Word::Page), ("sign-up", Word::Page), ("signed-out", Word::Page), ("signin", Word::Page), ("signup", Word::Page),
    ("sku", Word::Thing), ("song", Word::Thing), ("songs", Word::Thing), ("sso", Word::Secret), ("staff", Word::Persons),
    ("start", Word::Page), ("static", Word::Thing), ("store", Word::Page), ("student", Word::Person), ("students", Word::Persons),
    ("subscriber", Word::Person), ("subscribers", Word::Persons), ("subscription", Word::Page), ("subscriptions", Word::Page),
    ("success", Word::Page), ("success-stories", Word::Page), ("support", Word::Page), ("tag", Word::Thing), ("tags", Word::Thing),
    ("team", Word::Persons), ("terms", Word::Page), ("thank-you", Word::Page), ("token", Word::Secret), ("tokens", Word::Secret),
    ("top", Word::Page), ("tree", Word::Thing), ("u", Word::Person), ("uid", Word::Person), ("unsubscribe", Word::Secret),
    ("update", Word::Between), ("user", Word::Person), ("userid", Word::Person), ("username", Word::Person), ("users", Word::Person),
    ("usr", Word::Person), ("usuario", Word::Person), ("usuarios", Word::Person), ("utente", Word::Person), ("utenti", Word::Person),
    ("utilisateur", Word::Person), ("utilisateurs", Word::Person), ("uzytkownik", Word::Person), ("v1", Word::Between),
    ("v2", Word::Between), ("verification", Word::Secret), ("verify", Word::Secret), ("verify-email", Word::Secret),
    ("verify-phone", Word::Page), ("version", Word::Thing), ("versions", Word::Thing), ("video", Word::Thing), ("videos", Word::Thing),
    ("view", Word::Between), ("welcome", Word::Page), ("wiki", Word::Thing), ("wishlist", Word::Page),
];

#[cfg(test)]
mod tests {
    use super::{WORDS, Word, is_random, judge, word_of};
    use crate::hit::scrubbed::Kind;

    #[test]
    fn words_are_sorted() {
        assert!(WORDS.is_sorted_by(|left, right| left.0 < right.0));
        for (word, meaning) in WORDS {
            assert_eq!(word_of(word), meaning, "{word}");
        }
        assert_eq!((word_of("User"), word_of("login.php"), word_of("winter-ink")), (Word::Person, Word::Page, Word::Unknown));
    }

    #[test]
    fn a_segment_is_judged_by_what_stands_before_it() {
        for (path, found) in [
            ("user/12345", Some(Kind::User)),
            ("users/id/12345", Some(Kind::User)),
            ("user/settings", None),
            ("customers/10023", Some(Kind::User)),
            ("customers/success-stories", None),
            ("reset/a8Kd92", Some(Kind::Token)),
            ("reset/password", None),
            ("sessions/keynote-2026", None),
            ("x/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", Some(Kind::Token)),
            ("product/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", None),
            ("@jane", Some(Kind::User)),
        ] {
            let mut before = Word::Unknown;
            let mut last = None;
            for segment in path.split('/') {
                (last, before) = judge(segment, before);
            }
            assert_eq!(last, found, "{path}");
        }
    }

    #[test]
    fn what_nobody_writes_by_hand() {
        for random in ["dGhpcyBpcyBhIHJlc2V0IHRva2Vu", "507f1f77bcf86cd799439011", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "9f86d081884c7d659a2feaa0c55ad015"] {
            assert!(is_random(random), "{random}");
        }
        for written in [
            "10-tips-for-2026-that-will-help-you-save", "The_Big_Old_Red_Fox_Ran_2024_Far_And_Out", "HowToConfigureTheThingInProduction",
            "iphone-15-pro-max-256gb-titan-blau-a2849-dual-sim", "1234567890123456789012", "app.9f86d081884c7d659a2feaa0c55ad015.js",
        ] {
            assert!(!is_random(written), "{written}");
        }
    }
}
