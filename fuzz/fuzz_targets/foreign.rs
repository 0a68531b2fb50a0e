//! Gives what the fuzzer makes to `targets::foreign`, and owns nothing else.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| clearpixel_fuzz::targets::foreign(bytes));
