//! See `properties::patterns`.
#![no_main]
#![allow(dead_code)] // each target uses its part of the properties

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::patterns(data));
