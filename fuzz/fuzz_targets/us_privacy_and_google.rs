//! Gives what the fuzzer makes to `targets::us_privacy_and_google`, and owns nothing else.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| clearpixel_fuzz::targets::us_privacy_and_google(bytes));
