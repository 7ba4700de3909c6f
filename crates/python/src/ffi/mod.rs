//! What PyO3 does not offer safely: latin-1 strings, contexts, light callables, memory for frames. The only `unsafe` of this crate.

mod callable;
mod chunks;
mod coroutine;

use std::borrow::Cow;
use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use callable::{Arguments, Callable, Kind, Object};
pub(crate) use chunks::keep_frame_chunks;
pub(crate) use coroutine::{Coroutine, Step, is_coroutine, send_none};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::string::PyStringData;
use pyo3::types::{PyBytes, PyString};

/// A `str` of the code points that are the bytes' values: PEP 3333's "bytes-as-unicode" strings.
pub(crate) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    // A slice is never longer than isize::MAX.
    let length = bytes.len() as ffi::Py_ssize_t;
    // SAFETY: `bytes` is valid for `length` bytes during the call, which copies them; a null `errors` means strict; `py` shows
    // that this thread is attached. The result is a new reference or null with an exception set, as the wrapper expects.
    let text = unsafe {
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null()),
        )?
    };
    // SAFETY: PyUnicode_DecodeLatin1 gives a str and nothing else.
    Ok(unsafe { text.cast_into_unchecked() })
}

/// The bytes that a `str` of code points below 256 stands for. The error is Python's UnicodeEncodeError.
pub(crate) fn latin1_bytes<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    // SAFETY: the layout of strings that PyO3 knows for each version, on the little-endian targets that this project has; its tests
    // run on every version and see strings of every width.
    if let PyStringData::Ucs1(bytes) = unsafe { text.data() }? {
        return Ok(Cow::Borrowed(bytes));
    }
    // SAFETY: `text` is a str and this thread is attached, as the Bound shows. The result is a new reference or null with an
    // exception set, and PyUnicode_AsLatin1String gives exact bytes.
    let bytes = unsafe {
        Bound::from_owned_ptr_or_err(text.py(), ffi::PyUnicode_AsLatin1String(text.as_ptr()))?
            .cast_into_unchecked::<PyBytes>()
    };
    Ok(Cow::Owned(bytes.as_bytes().to_vec()))
}

/// How many references there are to an object, this one among them.
pub(crate) fn reference_count(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: a look at a live object.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) as isize }
}

/// Runs `work` in a fresh copy of the current context (PEP 567), so that what one request sets no other sees.
pub(crate) fn in_fresh_context<T>(py: Python<'_>, work: impl FnOnce() -> T) -> PyResult<T> {
    // SAFETY: attached, as `py` shows; a new reference or null with an exception set.
    let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
    in_context(&context, work)
}

/// Leaves a context also when work in it unwinds: a thread must never stay in a finished request's context.
struct Entered<'py>(Bound<'py, PyAny>);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // SAFETY: the context is the one this thread entered last: the work in it has ended, and contexts nest.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } < 0 {
            PyErr::take(self.0.py());
        }
    }
}

/// Runs `work` within `context`, a `contextvars.Context` (PEP 567).
///
/// # Errors
/// When the context is entered already, by this thread or another.
pub(crate) fn in_context<T>(context: &Bound<'_, PyAny>, work: impl FnOnce() -> T) -> PyResult<T> {
    // SAFETY: attached, as the Bound shows; anything but a Context is refused with an exception.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } < 0 {
        return Err(PyErr::fetch(context.py()));
    }
    let _entered = Entered(context.clone());
    Ok(work())
}

/// Sets a `contextvars.ContextVar` in the present context.
pub(crate) fn set_in_context(variable: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: attached, as the Bound shows; anything but a ContextVar is refused with an exception. The result is a new reference or null
    // with an exception set.
    let token = unsafe { ffi::PyContextVar_Set(variable.as_ptr(), value.as_ptr()) };
    // SAFETY: as above.
    unsafe { Bound::from_owned_ptr_or_err(variable.py(), token) }.map(drop)
}

/// Makes the main thread raise KeyboardInterrupt where Python code next looks for signals.
pub(crate) fn interrupt_main_thread() {
    // SAFETY: documented as callable from any thread, attached or not, and from signal handlers; 2 is SIGINT.
    unsafe { ffi::PyErr_SetInterruptEx(2) };
    // Before Python 3.13 code that computes does not see it until somebody else wants the interpreter. On a thread of its own, as
    // it may wait for ever.
    std::thread::spawn(|| Python::attach(|_| ()));
}

/// What Python calls a thread by.
pub(crate) type ThreadIdent = std::ffi::c_ulong;

/// That of this thread.
pub(crate) fn thread_ident() -> ThreadIdent {
    // SAFETY: it only asks the system.
    unsafe { ffi::PyThread_get_thread_ident() }
}

/// Has an exception of this kind raised in a thread at its next step in Python, or the one that was to be raised forgotten. One that has
/// ended is not found.
pub(crate) fn raise_in_thread(_py: Python<'_>, thread: ThreadIdent, kind: Option<&Bound<'_, PyAny>>) {
    let kind = kind.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: attached; it takes a reference of its own to the kind, which is live, or null for none.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread as std::ffi::c_long, kind) };
}

type MainThreadWork = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send>;

extern "C" fn call_work(work: *mut c_void) -> c_int {
    // SAFETY: made by `call_on_main_thread`, which gives each to one call.
    let work = unsafe { Box::from_raw(work.cast::<MainThreadWork>()) };
    let attached = |py: Python<'_>| match catch_unwind(AssertUnwindSafe(|| work(py))) {
        Ok(Ok(())) | Err(_) => 0,
        Ok(Err(error)) => {
            error.restore(py);
            -1
        }
    };
    // SAFETY: Python calls this.
    unsafe { callable::as_called(attached) }
}

/// Has the main thread call `work` at its next step in Python, in the middle of whatever it runs, where an error is raised. `work` runs for moments. Not at
/// all if too much is to be called already.
pub(crate) fn call_on_main_thread(work: impl FnOnce(Python<'_>) -> PyResult<()> + Send + 'static) {
    let work: MainThreadWork = Box::new(work);
    let work = Box::into_raw(Box::new(work)).cast::<c_void>();
    // SAFETY: documented as callable from any thread. The function takes what it is given with it.
    if unsafe { ffi::Py_AddPendingCall(Some(call_work), work) } != 0 {
        // SAFETY: it was not taken, and so is still ours.
        drop(unsafe { Box::from_raw(work.cast::<MainThreadWork>()) });
    }
}

/// Raises a signal for this thread; its handler has run when this comes back.
pub(crate) fn raise_here(signal: i32) -> std::io::Result<()> {
    // SAFETY: raise takes any number, and answers one that is no signal with an error. What the handler does is its installer's promise:
    // this is for the one of faulthandler, which is made to run at any point of any thread.
    if unsafe { libc::raise(signal) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Borrows a descriptor that a Python file object has named, for the length of one duplication.
pub(crate) fn borrow_descriptor<'a>(number: std::os::fd::RawFd) -> std::os::fd::BorrowedFd<'a> {
    // SAFETY: `number` is not -1, which the caller has checked. If the file object lied and nothing is open under it, the only
    // use, fcntl(F_DUPFD_CLOEXEC), answers EBADF.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }
}
