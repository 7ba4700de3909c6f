//! Holds: a header of the PROXY protocol is taken as soon as it is whole and no sooner, and is the same whatever follows it; what is
//! refused stays so; a cut of what is neither is neither.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::control;
use tidegate_http::proxy::{HEADER_SIZE_MAX, ProxyHeader};

fuzz_target!(|data: &[u8]| {
    let Some((mut choices, wire)) = control(data) else { return };
    let cut = &wire[..choices.below(wire.len() + 1)];
    match ProxyHeader::read(wire) {
        Ok(Some((header, size))) => {
            assert!(size <= wire.len() && size <= HEADER_SIZE_MAX);
            assert!(header.unique_id.as_ref().is_none_or(|id| id.len() <= 128));
            let of_cut = if cut.len() < size { None } else { Some((header, size)) };
            assert_eq!(ProxyHeader::read(cut), Ok(of_cut));
        }
        Ok(None) => {
            assert!(wire.len() < HEADER_SIZE_MAX);
            assert_eq!(ProxyHeader::read(cut), Ok(None));
        }
        Err(fault) => {
            assert_eq!(fault.status(), 400);
            assert!(!matches!(ProxyHeader::read(cut), Ok(Some(_))));
        }
    }
});
