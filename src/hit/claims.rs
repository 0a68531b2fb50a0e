//! Owns `Claims`: what a sender says of the visitor beside the event itself, and `Decoded`, an event with
//! the claims and the channel that its wire format gave.
//!
//! Promises: names, addresses and user agents sit in `Private`; none is stored: a name leaves as a keyed
//! hash, an address as a place, a user agent as a browser. Whether a claim is believed is not decided here.

use super::draft::Draft;
use super::field::{Channel, Country};
use super::private::Private;

/// What a sender says of the visitor.
#[derive(Debug, Default)]
pub struct Claims<'a> {
    /// The sender's own name of a browser or device (`anonymousId`, `duid`, `_id`, `visitor`).
    pub device: Private<Option<&'a str>>,
    /// The client's name of a person (`userId`, `uid`): used only where the contract takes personal information.
    pub user: Private<Option<&'a str>>,
    /// The number of a caller.
    pub caller: Private<Option<&'a str>>,
    pub user_agent: Private<Option<&'a str>>,
    /// Believed from the client's own servers alone.
    pub address: Private<Option<&'a str>>,
    /// Believed from the client's own servers alone, where there is no address.
    pub country: Option<Country>,
}

/// An event out of its wire format.
#[derive(Debug)]
pub struct Decoded<'a> {
    pub channel: Channel,
    pub draft: Draft<'a>,
    pub claims: Claims<'a>,
}

impl<'a> Decoded<'a> {
    pub fn on(channel: Channel) -> Self {
        Self { channel, draft: Draft::default(), claims: Claims::default() }
    }

    /// An event of a page or a picture, which claims nothing.
    pub fn of_page(draft: Draft<'a>) -> Self {
        Self { channel: Channel::Web, draft, claims: Claims::default() }
    }
}
