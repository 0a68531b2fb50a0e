//! Owns the encrypted form of a person on disk: the file's head, and its frames.
//!
//! Head: `CPPEOPL1`, 32 random bytes, a nonce and a tag that prove the key. Frame: `[number u32][first u32]
//! [length u32][crc32c u32]`, integers little-endian, then a nonce of 12 bytes and `length` bytes of
//! ChaCha20-Poly1305 (RFC 8439), by `ring`. `first` is the number of the first frame of the group that was
//! written and synced together. Each file has a key of its own: HKDF-SHA-256 (RFC 5869) of the operator's
//! key, the head's random bytes and the site. Promises: a frame opens only in its file, under its site's
//! key, at its number; nothing that was changed opens. Limits: nonces are random, so two of the 2^32 frames
//! that a file may have are alike once in 2^33 files; a frame is 1 MiB at most.

use super::key::PeopleKey;
use crate::hit::site::SiteKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use std::io;

/// Seals and opens the frames of one file.
pub struct Cipher {
    key: LessSafeKey,
    head: Vec<u8>,
}

pub const HEAD_LENGTH: usize = MAGIC.len() + SALT_LENGTH + NONCE_LEN + TAG_LENGTH;
/// What stands in clear before a frame's sealed bytes.
pub const PREFIX_LENGTH: usize = 16 + NONCE_LEN;
pub const FRAME_MAX: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"CPPEOPL1";
const SALT_LENGTH: usize = 32;
const TAG_LENGTH: usize = 16;

/// The clear part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    pub number: u32,
    /// The number of the first frame of its group.
    pub first: u32,
    /// Of the sealed bytes behind the prefix.
    pub length: usize,
    nonce: [u8; NONCE_LEN],
}

impl Cipher {
    /// For a new file.
    pub fn fresh(key: &PeopleKey, site: &SiteKey) -> io::Result<Self> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&random::<SALT_LENGTH>()?);
        let key = derive(key, site, &head)?;
        let nonce = random()?;
        let mut proof = Vec::new();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&head), &mut proof).map_err(|_| broken())?;
        head.extend_from_slice(&nonce);
        head.extend_from_slice(&proof);
        Ok(Self { key, head })
    }

    /// For a file that has this head; `None` where it is none of this key and site.
    pub fn of_head(key: &PeopleKey, site: &SiteKey, head: &[u8]) -> Option<Self> {
        let (said, proof) = head.split_at_checked(MAGIC.len() + SALT_LENGTH).filter(|(said, _)| said.starts_with(MAGIC))?;
        let (nonce, tag) = proof.split_first_chunk::<NONCE_LEN>()?;
        let key = derive(key, site, said).ok()?;
        let mut tag = tag.to_vec();
        key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(said), &mut tag).ok().filter(|rest| rest.is_empty())?;
        Some(Self { key, head: head.to_vec() })
    }

    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Appends a frame that holds `payload`.
    pub fn seal(&self, number: u32, first: u32, mut payload: Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        let nonce = random()?;
        let length = payload.len() + TAG_LENGTH;
        if length > FRAME_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a person takes more than 1 MiB"));
        }
        let clear = clear(number, first, length);
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(clear), &mut payload).map_err(|_| broken())?;
        out.extend_from_slice(&clear);
        out.extend_from_slice(&crc32c::crc32c(&clear).to_le_bytes());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&payload);
        Ok(())
    }

    /// What a frame holds; `None` where it is not what was sealed.
    pub fn open(&self, prefix: Prefix, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let aad = Aad::from(clear(prefix.number, prefix.first, prefix.length));
        let length = self.key.open_in_place(Nonce::assume_unique_for_key(prefix.nonce), aad, &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

impl Prefix {
    /// `None` where these bytes begin no frame.
    pub fn parse(bytes: &[u8; PREFIX_LENGTH]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
        let (number, first, length) = (word(0)?, word(4)?, usize::try_from(word(8)?).ok()?);
        let is_whole = word(12)? == crc32c::crc32c(bytes.get(..12)?) && (TAG_LENGTH..=FRAME_MAX).contains(&length) && first <= number;
        is_whole.then_some(Self { number, first, length, nonce: bytes.get(16..)?.try_into().ok()? })
    }
}

fn clear(number: u32, first: u32, length: usize) -> [u8; 12] {
    let mut clear = [0; 12];
    clear[..4].copy_from_slice(&number.to_le_bytes());
    clear[4..8].copy_from_slice(&first.to_le_bytes());
    clear[8..].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    clear
}

fn derive(key: &PeopleKey, site: &SiteKey, said: &[u8]) -> io::Result<LessSafeKey> {
    let secret = Salt::new(HKDF_SHA256, said).extract(&key.0);
    let info = [b"clearpixel people ".as_slice(), site.as_bytes()];
    let expanded = secret.expand(&info, &CHACHA20_POLY1305).map_err(|_| broken())?;
    Ok(LessSafeKey::new(UnboundKey::from(expanded)))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

/// `ring` says no more than that it did not work.
fn broken() -> io::Error {
    io::Error::other("the cipher does not work")
}

#[cfg(test)]
mod tests {
    use super::{Cipher, HEAD_LENGTH, PREFIX_LENGTH, Prefix};
    use crate::hit::site::SiteKey;
    use crate::people::key::PeopleKey;
    use proptest::prelude::*;

    fn acme() -> SiteKey {
        SiteKey::parse("acme").unwrap()
    }

    fn opened(cipher: &Cipher, frame: &[u8]) -> Option<Vec<u8>> {
        let prefix = Prefix::parse(frame.first_chunk::<PREFIX_LENGTH>()?)?;
        cipher.open(prefix, frame.get(PREFIX_LENGTH..PREFIX_LENGTH + prefix.length)?.to_vec())
    }

    #[test]
    fn a_head_proves_key_and_site() {
        let cipher = Cipher::fresh(&PeopleKey::sample(1), &acme()).unwrap();
        let head = cipher.head().to_vec();
        assert_eq!(head.len(), HEAD_LENGTH);
        assert!(Cipher::of_head(&PeopleKey::sample(1), &acme(), &head).is_some());
        assert!(Cipher::of_head(&PeopleKey::sample(2), &acme(), &head).is_none(), "another key");
        assert!(Cipher::of_head(&PeopleKey::sample(1), &SiteKey::parse("other").unwrap(), &head).is_none(), "another site");
        for at in 0..head.len() {
            let mut flipped = head.clone();
            flipped[at] ^= 1;
            assert!(Cipher::of_head(&PeopleKey::sample(1), &acme(), &flipped).is_none(), "byte {at}");
            assert!(Cipher::of_head(&PeopleKey::sample(1), &acme(), &head[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn a_frame_cut_flipped_or_moved_does_not_open() {
        let cipher = Cipher::fresh(&PeopleKey::sample(1), &acme()).unwrap();
        let mut frame = Vec::new();
        cipher.seal(3, 2, b"jane@example.org".to_vec(), &mut frame).unwrap();
        assert_eq!(opened(&cipher, &frame).unwrap(), b"jane@example.org");
        assert!(!frame.windows(4).any(|window| window == b"jane"));
        for at in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(opened(&cipher, &flipped), None, "bit {at}");
        }
        for at in 0..frame.len() {
            assert_eq!(opened(&cipher, &frame[..at]), None, "cut at {at}");
        }
        // The same bytes under another number: the checksum is right, the seal is not.
        let mut moved = frame.clone();
        moved[0] = 4;
        let sum = crc32c::crc32c(&moved[..12]).to_le_bytes();
        moved[12..16].copy_from_slice(&sum);
        assert!(Prefix::parse(moved.first_chunk().unwrap()).is_some_and(|prefix| prefix.number == 4));
        assert_eq!(opened(&cipher, &moved), None);
        let other = Cipher::fresh(&PeopleKey::sample(1), &acme()).unwrap();
        assert_eq!(opened(&other, &frame), None, "another file of the same key");
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(payload in proptest::collection::vec(any::<u8>(), 0..400), number: u32) {
            let cipher = Cipher::fresh(&PeopleKey::sample(1), &acme()).unwrap();
            let mut frame = Vec::new();
            cipher.seal(number, number, payload.clone(), &mut frame).unwrap();
            prop_assert_eq!(opened(&cipher, &frame), Some(payload));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let cipher = Cipher::fresh(&PeopleKey::sample(1), &acme()).unwrap();
            prop_assert_eq!(opened(&cipher, &bytes), None);
        }
    }
}
