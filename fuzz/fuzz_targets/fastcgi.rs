//! Holds: see [`holds_of_variables`].

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::holds_of_variables;
use tidegate_http::Dialect;

fuzz_target!(|data: &[u8]| holds_of_variables(Dialect::FastCgi, data));
