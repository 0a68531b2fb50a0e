//! Owns the "combined" log line of Apache and nginx: `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`.
//!
//! Promises: a line is read whole or told malformed with the part that is; only successful GETs of
//! pages count as page views; the user name (`%u`) and the size are never looked at. Never judges.

use crate::hit::draft::Draft;
use bumpalo::Bump;
use bumpalo::collections::String as ArenaString;
use chrono::{DateTime, NaiveDate};

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Page(PageLine<'a>),
    /// A request that is no visit of a page: another method, an error, an image.
    NoPage,
    /// No line of this format; which part could not be read.
    Malformed(&'static str),
}

/// A successful GET of a page.
#[derive(Debug, PartialEq, Eq)]
pub struct PageLine<'a> {
    pub address: &'a str,
    pub user_agent: &'a str,
    /// Milliseconds since the epoch.
    pub occurred_at: i64,
    pub target: &'a str,
    pub referrer: Option<&'a str>,
}

/// Reads a line.
pub fn parse(line: &str) -> Line<'_> {
    match read(line) {
        Ok(Some(page)) => Line::Page(page),
        Ok(None) => Line::NoPage,
        Err(part) => Line::Malformed(part),
    }
}

/// The hit that a page's line stands for; `origin` is the site's own (`https://shop.example`), which a
/// log does not name.
pub fn draft<'a>(page: &PageLine<'a>, site: &'a str, origin: Option<&str>, arena: &'a Bump) -> Draft<'a> {
    let mut url = ArenaString::with_capacity_in(64 + page.target.len(), arena);
    if page.target.starts_with('/') {
        url.push_str(origin.unwrap_or(""));
    }
    url.push_str(page.target);
    Draft {
        site: Some(site),
        page_url: Some(url.into_bump_str()),
        referrer_url: page.referrer,
        occurred_at: Some(page.occurred_at),
        ..Draft::default()
    }
}

fn read(line: &str) -> Result<Option<PageLine<'_>>, &'static str> {
    let (address, rest) = line.split_once(' ').ok_or("the address")?;
    if address.is_empty() {
        return Err("the address");
    }
    // User names may hold spaces: the time's bracket is what ends them.
    let (_, rest) = rest.split_once(" [").ok_or("the time")?;
    let (time, rest) = rest.split_once("] ").ok_or("the time")?;
    let occurred_at = parse_time(time).ok_or("the time")?;
    let (request, rest) = quoted(rest).ok_or("the request")?;
    let mut numbers = rest.trim_start().splitn(3, ' ');
    let status: u16 = numbers.next().and_then(|status| status.parse().ok()).ok_or("the status")?;
    let bytes = numbers.next().ok_or("the size")?;
    if bytes != "-" && bytes.parse::<u64>().is_err() {
        return Err("the size");
    }
    let (referrer, rest) = numbers.next().and_then(quoted).ok_or("the referrer")?;
    let (user_agent, _) = quoted(rest.trim_start()).ok_or("the user agent")?;
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let is_page = method == "GET" && (status == 200 || status == 304) && is_page(target);
    let given = |text: &'_ str| !matches!(text, "" | "-");
    Ok(is_page.then_some(PageLine {
        address,
        user_agent: if given(user_agent) { user_agent } else { "" },
        occurred_at,
        target,
        referrer: Some(referrer).filter(|text| given(text)),
    }))
}

/// The text between quotes, in which a quote is written `\"`, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut is_escaped = false;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'\\' => is_escaped = !is_escaped,
            b'"' if !is_escaped => return Some((inner.get(..at)?, inner.get(at + 1..)?)),
            _ => is_escaped = false,
        }
    }
    None
}

/// `23/Nov/2026:10:00:00 +0100` in milliseconds since the epoch.
fn parse_time(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let number = |from: usize, to: usize| text.get(from..to).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse::<u32>().ok();
    let shape = text.as_bytes();
    if text.len() != 26 || [shape.get(2), shape.get(6)] != [Some(&b'/'); 2] || shape.get(11) != Some(&b':') || shape.get(20) != Some(&b' ') {
        return None;
    }
    let month = MONTHS.iter().position(|month| Some(*month) == text.get(3..6))?;
    let day = NaiveDate::from_ymd_opt(i32::try_from(number(7, 11)?).ok()?, u32::try_from(month).ok()? + 1, number(0, 2)?)?;
    let local: DateTime<chrono::Utc> = day.and_hms_opt(number(12, 14)?, number(15, 17)?, number(18, 20)?)?.and_utc();
    let offset = i64::from(number(22, 24)?) * 3_600 + i64::from(number(24, 26)?) * 60;
    let offset = match shape.get(21)? {
        b'+' => offset,
        b'-' => -offset,
        _ => return None,
    };
    Some((local.timestamp() - offset) * 1_000)
}

/// What browsers fetch for a page rather than as one. A path without a dot in its last segment is a page.
const ASSETS: &[&str] = &[
    "avif", "bmp", "css", "csv", "doc", "docx", "eot", "exe", "gif", "gz", "ico", "jpeg", "jpg", "js", "json", "jsonp",
    "m3u8", "m4a", "map", "mjs", "mov", "mp3", "mp4", "oga", "ogg", "ogv", "otf", "pdf", "png", "ppt", "pptx", "rar",
    "rss", "svg", "svgz", "swf", "tar", "tgz", "tif", "tiff", "ts", "ttf", "txt", "wasm", "wav", "webm", "webmanifest",
    "webp", "woff", "woff2", "xls", "xlsx", "xml", "zip",
];

fn is_page(target: &str) -> bool {
    let is_path = target.starts_with('/') || target.starts_with("http://") || target.starts_with("https://");
    let path = target.split(['?', '#']).next().unwrap_or("");
    let name = path.rsplit('/').next().unwrap_or("");
    let is_asset = name.rsplit_once('.').is_some_and(|(_, ending)| ASSETS.contains(&ending.to_ascii_lowercase().as_str()));
    is_path && !is_asset
}

#[cfg(test)]
mod tests {
    use super::{Line, PageLine, parse};
    use proptest::prelude::*;

    const LINE: &str = r#"203.0.113.77 - jane doe [23/Nov/2026:11:00:00 +0100] "GET /a?utm_source=x HTTP/1.1" 200 5120 "https://www.google.com/" "Mozilla/5.0 (X11; \"odd\")""#;

    #[test]
    fn a_page() {
        let expected = PageLine {
            address: "203.0.113.77",
            user_agent: r#"Mozilla/5.0 (X11; \"odd\")"#,
            occurred_at: 1_795_428_000_000,
            target: "/a?utm_source=x",
            referrer: Some("https://www.google.com/"),
        };
        assert_eq!(parse(LINE), Line::Page(expected));
    }

    #[test]
    fn no_pages_and_malformed_lines() {
        for (from, to, expected) in [
            ("GET /a", "POST /a", Line::NoPage),
            (" 200 ", " 404 ", Line::NoPage),
            (" 200 ", " 302 ", Line::NoPage),
            ("/a?", "/a.css?", Line::NoPage),
            ("/a?", "/logo.PNG?", Line::NoPage),
            ("23/Nov", "32/Nov", Line::Malformed("the time")),
            ("/Nov/", "/Nox/", Line::Malformed("the time")),
            (" 200 ", " OK ", Line::Malformed("the status")),
            (" 5120 ", " many ", Line::Malformed("the size")),
            ("\"GET", "GET", Line::Malformed("the request")),
            ("\"https://www.google.com/\"", "-", Line::Malformed("the referrer")),
        ] {
            assert_eq!(parse(&LINE.replacen(from, to, 1)), expected, "{from} -> {to}");
        }
        assert_eq!(parse(""), Line::Malformed("the address"));
        assert!(matches!(parse(&LINE.replace("/a?", "/a.html?")), Line::Page(_)));
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_a_panic(line in "\\PC{0,200}") {
            parse(&line);
        }

        #[test]
        fn a_line_cut_anywhere_is_told_malformed(at in 0..LINE.len() - 1) {
            prop_assert!(matches!(parse(&LINE[..at]), Line::Malformed(_)));
        }
    }
}
