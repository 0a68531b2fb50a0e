//! Gives what the fuzzer makes to `targets::log_line`, and owns nothing else.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| clearpixel_fuzz::targets::log_line(bytes));
