//! Owns `RawHit`: all that arrived, before anything was decided. It is taken by value by
//! `line::collect` and dies there.
//!
//! Promises: the visitor's address, user agent and cookies sit in `Private`. Never stored, never
//! printed, never cloned; borrows from the request and cannot outlive it.

use super::claims::Claims;
use super::clock::Moment;
use super::draft::Draft;
use super::field::{Channel, Protocol};
use super::private::Private;

/// The visitor's address, as far as it is known.
#[expect(clippy::disallowed_types, reason = "the one word for a full address: it exists only inside a RawHit")]
pub type Address = Option<std::net::IpAddr>;

/// What the HTTP headers (or the lack of them) say besides the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderSignals {
    /// `Sec-GPC: 1` (W3C Global Privacy Control).
    pub gpc: bool,
    /// `DNT: 1`.
    pub dnt: bool,
    /// `Sec-Purpose` or its forerunners: fetched ahead of a visit that may never come.
    pub prefetch: bool,
}

/// A hit as it arrived.
pub struct RawHit<'a> {
    pub protocol: Protocol,
    pub channel: Channel,
    pub received_at: Moment,
    pub address: Private<Address>,
    pub user_agent: Private<&'a [u8]>,
    /// Each `Cookie` header as bytes.
    pub cookies: Private<&'a [&'a [u8]]>,
    pub referer: Private<&'a [u8]>,
    /// The sending page's origin (`Origin`, or that of `Referer`), where the browser said it.
    pub origin: Option<&'a str>,
    pub accept_language: Option<&'a str>,
    pub signals: HeaderSignals,
    pub draft: Draft<'a>,
    pub claims: Claims<'a>,
}
