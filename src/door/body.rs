//! Owns the reading of a call's body: whole, within its limits, unpacked.
//!
//! Limits: 1 MiB before and after it is unpacked, 30 s to arrive, 500 events. A worker's requests in
//! flight hold at most (connections × 1 MiB); see `listen::CONNECTIONS_MAX`.

use super::request;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::StatusCode;
use std::io::Read;

/// Reads a body to its end and unpacks it.
pub async fn read(body: Incoming, headers: &HeaderMap) -> Result<Bytes, Unread> {
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
    let collected = tokio::time::timeout(request::BODY_DEADLINE, Limited::new(body, BODY_MAX).collect()).await.map_err(|_| Unread::TooSlow)?;
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Unread::TooLarge),
        // The sender went away: whatever is said here, nobody hears it.
        Err(_) => return Err(Unread::NotPacked),
    };
    match encoding.to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(bytes),
        b"gzip" | b"x-gzip" => unpack(flate2::read::MultiGzDecoder::new(&*bytes)),
        b"br" => unpack(brotli_decompressor::Decompressor::new(&*bytes, 4_096)),
        b"zstd" => zstd::stream::read::Decoder::new(&*bytes).map_err(|_| Unread::NotPacked).and_then(unpack),
        _ => Err(Unread::UnknownEncoding),
    }
}

fn unpack(packed: impl Read) -> Result<Bytes, Unread> {
    let mut bytes = Vec::new();
    packed.take(BODY_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|_| Unread::NotPacked)?;
    if bytes.len() > BODY_MAX { Err(Unread::TooLarge) } else { Ok(bytes.into()) }
}

pub const EVENTS_MAX: usize = 500;
const BODY_MAX: usize = 1 << 20;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    TooLarge,
    TooMany,
    TooSlow,
    UnknownEncoding,
    NotPacked,
    NoJson,
}

impl Unread {
    /// The status and the words that a client of our own wire forms is told.
    pub const fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 1 MiB, as sent or unpacked: send fewer events.\n"),
            Self::TooMany => (StatusCode::PAYLOAD_TOO_LARGE, "More than 500 events: send fewer at once.\n"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "The body did not arrive within 30 s.\n"),
            Self::UnknownEncoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is none of gzip, br, zstd, identity.\n"),
            Self::NotPacked => (StatusCode::BAD_REQUEST, "The body is not what its Content-Encoding says.\n"),
            Self::NoJson => (StatusCode::BAD_REQUEST, "The body is neither a JSON object nor an array of them.\n"),
        }
    }
}
