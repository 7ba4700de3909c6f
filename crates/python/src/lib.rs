//! The extension module `tidegate._tidegate`: gateways (what an application is told) and hosts (where it runs).
//!
//! Everything below knows Python; nothing below parses HTTP, touches a socket or reads a clock: that is the engine's.

mod admin;
mod applications;
mod check;
mod collector;
mod doctor;
mod error_log;
mod event_loop;
mod ffi;
mod files;
mod gateway;
mod host;
mod loader;
mod log_to_stderr;
mod overdue;
mod privileges;
mod readiness;
mod refusal;
mod request_id;
mod run;
mod serve;
mod stacks;
mod tls;
mod translate;
mod upgrade;
mod workers;

use pyo3::prelude::*;

#[pymodule]
mod _tidegate {
    #[pymodule_export]
    use crate::gateway::{Cancelled, ClientDisconnected, ClientLeft, FileWrapper};
    #[pymodule_export]
    use crate::host::await_;
    #[pymodule_export]
    use crate::overdue::RequestTimeout;
    #[pymodule_export]
    use crate::request_id::set_request_ids_in;
    #[pymodule_export]
    use crate::serve::{main, serve, threads_are_at_work};

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name that Python packages use")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
