//! Owns asking memory ahead: a table larger than the processor's caches answers after a tenth of a microsecond or
//! two, and who asks before the answer is needed does other work meanwhile.
//!
//! Promises: nothing is read, so nothing is waited for and nothing can go wrong. On processors other than x86-64 it
//! does nothing.

/// Has the 64 bytes in which `place` begins brought near.
#[inline(always)]
pub fn fetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    safe_arch::prefetch_t0(place);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
