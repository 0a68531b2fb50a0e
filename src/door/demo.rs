//! Owns the demonstration shop: four pages and a script inside the binary, served by `demo` alone.
//!
//! Promises: loads nothing from elsewhere; its banner works without a script. Never served by `serve`.

use super::choices;
use super::respond::{self, Reply};
use crate::hit::clock::Moment;
use crate::line::collect::Rulebook;
use hyper::StatusCode;
use hyper::header::HeaderMap;

/// The demonstration, and where its dashboard is.
#[derive(Clone)]
pub struct Demo {
    pub dashboard: String,
}

/// The key of its one site.
pub const SITE: &str = "demo";

impl Demo {
    /// The page at `path`, if there is one.
    pub fn page(&self, book: &Rulebook, now: Moment, path: &str, headers: &HeaderMap) -> Option<Reply> {
        if path == "/demo/shop.js" {
            return Some(respond::script(include_str!("../../assets/demo/shop.js"), respond::Lasts::AnHour));
        }
        let page = match path {
            "/" => include_str!("../../assets/demo/index.html"),
            "/demo/products" => include_str!("../../assets/demo/products.html"),
            "/demo/journal" => include_str!("../../assets/demo/journal.html"),
            "/demo/about" => include_str!("../../assets/demo/about.html"),
            _ => return None,
        };
        let html = page
            .replace("{{token}}", &choices::form_token(book, now, SITE))
            .replace("{{choice}}", choices::choice_word(now, SITE, headers))
            .replace("{{dashboard}}", &self.dashboard);
        Some(respond::page(StatusCode::OK, html))
    }
}
