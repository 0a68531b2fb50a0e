//! Holds the house to its floor plan: a file names only files declared below it in `src/lib.rs`, says at
//! its top what it owns, stays short, breaks down nowhere, and the documents made from it are up to date.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "UPDATE_DOCS is read here alone")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file, tests included: what one person reads in one sitting.
const LINES_MAX: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file that the floor plan declares.
struct Room {
    /// `door::route`.
    name: String,
    path: PathBuf,
    source: String,
    is_for_tests: bool,
}

/// The files of `src/lib.rs`, from the street to the cellar.
fn plan() -> Vec<Room> {
    let source = bare(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let mut rooms = Vec::new();
    let mut floors: Vec<String> = Vec::new();
    let mut is_for_tests = false;
    for line in source.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let declared = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "));
        match (line, declared) {
            ("#[cfg(test)]", _) => is_for_tests = true,
            ("}", _) => {
                floors.pop().expect("a floor that was opened");
            }
            (_, Some(declared)) if declared.ends_with('{') => floors.push(declared.trim_end_matches('{').trim().to_owned()),
            (_, Some(declared)) => {
                let name = [&floors[..], &[declared.trim_end_matches(';').to_owned()]].concat().join("::");
                let path = root().join("src").join(format!("{}.rs", name.replace("::", "/")));
                let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("src/lib.rs declares {name}: {}: {error}", path.display()));
                rooms.push(Room { name, path, source, is_for_tests });
                is_for_tests = false;
            }
            (other, None) => panic!("src/lib.rs holds more than a plan: {other}"),
        }
    }
    rooms
}

/// The source with comments, texts and characters blanked out, line for line.
fn bare(source: &str) -> String {
    let bytes: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    let blank = |out: &mut String, from: usize, to: usize| out.extend(bytes[from..to].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
    while at < bytes.len() {
        let rest = &bytes[at..];
        let raw = raw_text_length(&bytes, at);
        let length = if rest.starts_with(&['/', '/']) {
            rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
        } else if raw > 0 {
            raw
        } else if rest[0] == '"' {
            let mut end = 1;
            while end < rest.len() && rest[end] != '"' {
                end += if rest[end] == '\\' { 2 } else { 1 };
            }
            (end + 1).min(rest.len())
        } else if rest[0] == '\'' && rest.get(1) == Some(&'\\') {
            3 + rest[3..].iter().position(|c| *c == '\'').unwrap_or(0)
        } else if rest[0] == '\'' && rest.get(2) == Some(&'\'') {
            2
        } else {
            0
        };
        if length == 0 {
            out.push(rest[0]);
            at += 1;
        } else {
            let end = (at + length + usize::from(rest[0] == '\'')).min(bytes.len());
            blank(&mut out, at, end);
            at = end;
        }
    }
    out
}

/// How long the raw text (`r"…"`, `br#"…"#`) is that begins at `at`; 0 where none does.
fn raw_text_length(source: &[char], at: usize) -> usize {
    let starts_word = at == 0 || !(source[at - 1].is_alphanumeric() || source[at - 1] == '_');
    let rest = &source[at..];
    let prefix = if rest.starts_with(&['r']) { 1 } else if rest.starts_with(&['b', 'r']) { 2 } else { return 0 };
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    if !starts_word || rest.get(prefix + hashes) != Some(&'"') {
        return 0;
    }
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = prefix + hashes + 1;
    rest[body..].windows(closing.len()).position(|window| window == closing).map_or(rest.len(), |end| body + end + closing.len())
}

/// Every path of the program's own that a source names: its line, and its parts from the crate's root.
fn named(room: &Room) -> Vec<(usize, Vec<String>)> {
    let source = bare(&room.source);
    let own: Vec<String> = room.name.split("::").map(str::to_owned).collect();
    let tests_at = source.find("\n#[cfg(test)]\nmod ").unwrap_or(source.len());
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in source.match_indices(start) {
            let before = source[..at].chars().next_back().unwrap_or(' ');
            let is_inner = before == ':' || before.is_alphanumeric() || before == '_' || before == '$';
            if is_inner {
                continue;
            }
            let line = source[..at].matches('\n').count() + 1;
            let mut rest = &source[at + start.len()..];
            let mut parts = Vec::new();
            if start == "super::" {
                // Within a file's own tests the first step leads back into the file.
                parts = own[..own.len() - usize::from(at < tests_at)].to_vec();
                while let Some(after) = rest.strip_prefix(start) {
                    parts.pop();
                    rest = after;
                }
            }
            spread(&mut rest, &parts, &mut |path| found.push((line, path)));
        }
    }
    found
}

/// Gives each path of a use tree (`a::{b, c::{d, self}}`) to `each`.
fn spread(rest: &mut &str, parts: &[String], each: &mut impl FnMut(Vec<String>)) {
    let mut parts = parts.to_vec();
    loop {
        *rest = rest.trim_start();
        if let Some(inside) = rest.strip_prefix('{') {
            *rest = inside;
            loop {
                *rest = rest.trim_start();
                if let Some(after) = rest.strip_prefix('}') {
                    *rest = after;
                    return;
                }
                if let Some(after) = rest.strip_prefix(',') {
                    *rest = after;
                    continue;
                }
                spread(rest, &parts, each);
                // ` as name`.
                *rest = rest.trim_start_matches(|c: char| c != ',' && c != '}' && c != '{');
            }
        }
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        if !word.is_empty() && word != "self" {
            parts.push(word.to_owned());
        }
        *rest = after.strip_prefix('*').unwrap_or(after);
        match after.strip_prefix("::") {
            // `::<` begins a type, not a name.
            Some(more) if !word.is_empty() && !more.starts_with('<') => *rest = more,
            _ => return each(parts),
        }
    }
}

/// The file that a path leads to: the longest part of it that is declared.
fn room_of(rooms: &[Room], path: &[String]) -> Option<usize> {
    (1..=path.len()).rev().find_map(|length| {
        let name = path[..length].join("::");
        rooms.iter().position(|room| room.name == name)
    })
}

#[test]
fn a_file_names_only_files_declared_below_it() {
    let rooms = plan();
    let mut faults = Vec::new();
    for (at, room) in rooms.iter().enumerate() {
        for (line, path) in named(room) {
            let place = format!("{}:{line}", room.path.strip_prefix(root()).unwrap().display());
            match room_of(&rooms, &path) {
                None => faults.push(format!("{place}: `{}` leads to no file of src/lib.rs", path.join("::"))),
                Some(named) if named < at => faults.push(format!("{place}: {} names {}, which is declared above it", room.name, rooms[named].name)),
                Some(_) => {}
            }
        }
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_reader_of_paths_reads_them() {
    let source = "//! crate::door::listen\nuse crate::{app, lake::{self, table::{Table as T, TableError}}, hit::clock::*};\n\
        fn f() -> super::b::C { crate::rules::gate::mint::<u8>(\"crate::cli\", 'c', r#\"crate::cli\"#) }\n\
        pub(super) fn g() {}\n#[cfg(test)]\nmod tests {\n    use super::x;\n    use super::super::y::z;\n}\n";
    let room = Room { name: "floor::a".to_owned(), path: PathBuf::new(), source: source.to_owned(), is_for_tests: false };
    let mut seen: Vec<String> = named(&room).into_iter().map(|(line, path)| format!("{line} {}", path.join("::"))).collect();
    seen.sort();
    assert_eq!(
        seen,
        ["2 app", "2 hit::clock", "2 lake", "2 lake::table::Table", "2 lake::table::TableError", "3 floor::b::C", "3 rules::gate::mint", "7 floor::a::x", "8 floor::y::z"]
    );
}

fn sources_below(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.insert(path);
        }
    }
}

#[test]
fn every_file_is_on_the_plan_and_says_what_it_owns() {
    let mut there = BTreeSet::new();
    sources_below(&root().join("src"), &mut there);
    let mut planned: BTreeSet<PathBuf> = plan().into_iter().map(|room| room.path).collect();
    planned.extend(["src/lib.rs", "src/main.rs"].map(|path| root().join(path)));
    assert_eq!(there, planned, "files of src/ and of src/lib.rs");
    for folder in ["tests", "fuzz/src", "fuzz/fuzz_targets"] {
        sources_below(&root().join(folder), &mut there);
    }
    for path in there {
        let source = fs::read_to_string(&path).unwrap();
        assert!(source.starts_with("//! "), "{} does not say what it owns", path.display());
        let lines = source.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines: it owns more than one thing", path.display());
    }
}

#[test]
fn nothing_breaks_down_on_purpose() {
    let mut faults = Vec::new();
    for room in plan().into_iter().filter(|room| !room.is_for_tests) {
        let source = bare(&room.source);
        let program = source.split("\n#[cfg(test)]\nmod ").next().unwrap();
        for (at, line) in program.lines().enumerate() {
            for call in [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("] {
                if line.contains(call) {
                    faults.push(format!("{}:{}: {call}", room.path.strip_prefix(root()).unwrap().display(), at + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "outside of tests an error is told, not broken down on\n{}", faults.join("\n"));
}

#[test]
fn documents_made_from_the_source_are_up_to_date() {
    let client = "[[site]]\nkey = \"key\"\nname = \"CLIENT\"\ncontact = \"CONTACT\"";
    let client = clearpixel::config::Config::parse(client, "client").unwrap();
    for (name, text) in [
        ("settings.md", clearpixel::config::document()),
        ("columns.md", clearpixel::lake::columns::document()),
        ("commands.md", clearpixel::cli::document()),
        ("outcomes.md", clearpixel::hit::outcome::document()),
        ("privacy-policy-snippet.md", clearpixel::door::notice::document(&client.sites[0])),
    ] {
        let path = root().join("docs").join(name);
        if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
            fs::write(&path, &text).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "docs/{name} is not what the source says: UPDATE_DOCS=1 cargo test --test house writes it anew");
    }
}
