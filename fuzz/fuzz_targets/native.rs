//! Gives what the fuzzer makes to `targets::native`, and owns nothing else.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| clearpixel_fuzz::targets::native(bytes));
