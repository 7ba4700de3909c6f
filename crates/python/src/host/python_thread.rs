//! Threads of Python's own, so that whatever an application uses knows them.

use std::ffi::CString;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use crate::host::system_thread;

/// Stacks are so many bytes, or a multiple: what every system takes.
const STACK_PAGE: u64 = 64 * 1024;

/// Threads in whose bodies something still goes on.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

struct Inside;

impl Inside {
    fn enter() -> Self {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a thread that was started here is still at work. Before Python 3.14, finalisation has such a thread exit where it next wants
/// the interpreter, which unwinds its stack; as that cannot pass through Rust's frames, the process aborts.
pub(crate) fn any_at_work() -> bool {
    INSIDE.load(Ordering::SeqCst) > 0
}

/// Starts a thread that runs `body` once. `stack_size` is in bytes; none for what `threading` has.
///
/// # Errors
/// `RuntimeError` ("can't start new thread") and `MemoryError` when the system gives none. A signal handler may raise although the
/// thread has begun.
pub(super) fn start(
    py: Python<'_>,
    name: &str,
    stack_size: Option<u64>,
    body: impl Fn(Python<'_>) + Send + Sync + 'static,
) -> PyResult<()> {
    let system_name = CString::new(name)?;
    let body = PyCFunction::new_closure(py, None, None, move |arguments, _| {
        let _inside = Inside::enter();
        system_thread::set_name(&system_name);
        body(arguments.py());
    })?;
    let options = PyDict::new(py);
    options.set_item("target", body)?;
    options.set_item("name", name)?;
    // The server ends them itself; the interpreter is not to wait for one that hangs.
    options.set_item("daemon", true)?;
    let threading = py.import("threading")?;
    let thread = threading.getattr("Thread")?.call((), Some(&options))?;
    let Some(size) = stack_size else {
        return thread.call_method0("start").map(|_| ());
    };
    // It is the process's setting; what the application starts in this very moment gets it too.
    let former = threading.call_method1("stack_size", (size.next_multiple_of(STACK_PAGE),))?;
    let started = thread.call_method0("start");
    threading.call_method1("stack_size", (former,))?;
    started.map(|_| ())
}
