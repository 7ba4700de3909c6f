//! What the threads of this process are at.
//!
//! `faulthandler` writes it. With the interpreter in hand that is safe, as nobody else runs Python code meanwhile. Where it cannot be had
//! in time, somebody is stuck with it in code that is not Python's, and the frames stand still just as well: then it is written from within a
//! signal handler, without the interpreter. The signal is raised by the thread that wants to know, so that all is written when that goes on.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Value, json};
use tidegate_engine::{Record, RequestKey, monotonic_us};

use crate::ffi;
use crate::overdue::{Runner, RunnerIfAny, Stack};

/// Most bytes of it.
const SIZE_MAX: u64 = 256 * 1024;

/// How long the interpreter is waited for. Code in Python hands it on within milliseconds.
pub(crate) const INTERPRETER_WAIT: Duration = Duration::from_secs(1);

/// How long writing may take for one who has it.
const WRITE_WAIT: Duration = Duration::from_millis(500);

/// A file that stacks are written to when they are wanted.
pub(crate) struct Stacks {
    file: File,
    signal: i32,
}

impl Stacks {
    /// Prepares for it.
    pub(crate) fn prepare(py: Python<'_>) -> PyResult<Self> {
        let file = tempfile::tempfile()?;
        // One that nothing else is likely to use.
        let signal: i32 = py.import("_signal")?.getattr("SIGRTMAX")?.extract()?;
        let signal = signal - 1;
        let options = PyDict::new(py);
        options.set_item("file", file.as_raw_fd())?;
        options.set_item("all_threads", true)?;
        py.import("faulthandler")?.call_method("register", (signal,), Some(&options))?;
        Ok(Self { file, signal })
    }

    /// The threads of this process, the newest call first; and whether the interpreter could be had for it.
    pub(crate) fn take(&mut self) -> io::Result<(String, bool)> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        let attached = write_attached(self.file.as_raw_fd());
        if !attached {
            ffi::raise_here(self.signal)?;
        }
        self.file.rewind()?;
        let mut text = Vec::new();
        (&self.file).take(SIZE_MAX).read_to_end(&mut text)?;
        Ok((String::from_utf8_lossy(&text).into_owned(), attached))
    }
}

/// Writes the stacks to a file by a thread that has the interpreter. False if it cannot be had.
fn write_attached(file: RawFd) -> bool {
    let (tell, hear) = channel();
    // Whether somebody writes: the thread, or whoever does not wait for it any more.
    let taken = Arc::new(AtomicBool::new(false));
    let of_thread = taken.clone();
    let write = move |py: Python<'_>| {
        if !of_thread.swap(true, Ordering::SeqCst) {
            let written =
                py.import("faulthandler").and_then(|module| module.call_method1("dump_traceback", (file,)));
            let _ = tell.send(written.is_ok());
        }
    };
    let started = std::thread::Builder::new().spawn(move || Python::try_attach(write));
    if started.is_err() {
        return false;
    }
    match hear.recv_timeout(INTERPRETER_WAIT) {
        Ok(written) => written,
        Err(_) if taken.swap(true, Ordering::SeqCst) => hear.recv_timeout(WRITE_WAIT).unwrap_or(true),
        Err(_) => false,
    }
}

/// Most requests whose stacks are told beside those of the threads.
const REQUESTS_MAX: usize = 50;

/// What one request is at, as JSON: its calls and the same as a traceback, or why they cannot be told.
pub(crate) fn of_request(runner: &RunnerIfAny, number: u64, key: RequestKey) -> Value {
    let stack = with_interpreter(runner, move |py, runner| runner.stack(py, key));
    stack.map_or_else(|| no_interpreter(number), |stack| shown(number, stack))
}

/// The same, told when it is known, on another thread. False when the interpreter cannot be had.
pub(crate) fn tell_of_request(
    runner: &RunnerIfAny,
    number: u64,
    key: RequestKey,
    tell: impl FnOnce(Value) + Send + 'static,
) -> bool {
    ask(runner, move |py, runner| runner.stack(py, key), move |stack| tell(shown(number, stack)))
}

fn shown(number: u64, stack: Option<Stack>) -> Value {
    match stack {
        Some((calls, text)) => json!({"request": number, "stack": calls, "text": text}),
        None => {
            json!({"request": number, "error": "the application does not have that request, or not any more"})
        }
    }
}

/// What is told of a request when that cannot be known.
pub(crate) fn no_interpreter(number: u64) -> Value {
    json!({"request": number, "error": "the interpreter cannot be had: code that is not Python's keeps it"})
}

/// What the oldest requests are at, as text.
pub(crate) fn of_requests(runner: &RunnerIfAny, record: Option<&Record>) -> String {
    let mut requests = record.map_or_else(Vec::new, Record::requests);
    requests.sort_by_key(|request| request.began_us);
    requests.truncate(REQUESTS_MAX);
    let now_us = monotonic_us();
    let told = with_interpreter(runner, move |py, runner| {
        let told = requests.iter().filter_map(|request| {
            let (_, text) = runner.stack(py, request.key)?;
            let age_s = now_us.saturating_sub(request.began_us) as f64 / 1e6;
            let path = String::from_utf8_lossy(&request.path);
            Some(format!(
                "\nRequest {}, {} {path:?}, for {age_s:.1} s:\n{text}",
                request.number,
                request.method()
            ))
        });
        told.collect::<String>()
    });
    told.unwrap_or_default()
}

/// Asks what runs requests, if the interpreter can be had in time.
fn with_interpreter<T: Send + 'static>(
    runner: &RunnerIfAny,
    question: impl FnOnce(Python<'_>, &dyn Runner) -> T + Send + 'static,
) -> Option<T> {
    let (tell, hear) = channel();
    let asked = ask(runner, question, move |told| drop(tell.send(told)));
    if asked { hear.recv_timeout(INTERPRETER_WAIT).ok() } else { None }
}

/// Asks what runs requests, on a thread that waits for the interpreter for as long as it takes. False when there is nobody to ask, or
/// somebody waits already.
fn ask<T>(
    runner: &RunnerIfAny,
    question: impl FnOnce(Python<'_>, &dyn Runner) -> T + Send + 'static,
    tell: impl FnOnce(T) + Send + 'static,
) -> bool {
    /// Somebody waits for the interpreter: where it cannot be had, that is one thread, however often it is asked.
    static WAITS: AtomicBool = AtomicBool::new(false);

    let Some(runner) = runner.get().and_then(Weak::upgrade) else { return false };
    if WAITS.swap(true, Ordering::AcqRel) {
        return false;
    }
    let attached = move || {
        let attached = Python::try_attach(|py| {
            let told = question(py, &*runner);
            // Who hears this may ask again at once.
            WAITS.store(false, Ordering::Release);
            tell(told);
        });
        if attached.is_none() {
            WAITS.store(false, Ordering::Release);
        }
    };
    let started = std::thread::Builder::new().spawn(attached).is_ok();
    if !started {
        WAITS.store(false, Ordering::Release);
    }
    started
}

/// Has the stacks written to standard error, if there is one, unless this is called off (by `cancel_dump_traceback_later`) within `most`.
pub(crate) fn show_unless_in_time(py: Python<'_>, most: Duration) -> PyResult<()> {
    // The process's own: what an application that was preloaded has put in its place may be no file.
    let file = py.import("sys")?.getattr("__stderr__")?;
    if !file.is_none() {
        let arguments = (most.as_secs_f64(), false, file);
        py.import("faulthandler")?.call_method1("dump_traceback_later", arguments)?;
    }
    Ok(())
}

/// Calls that off.
pub(crate) fn is_in_time(py: Python<'_>) -> PyResult<()> {
    py.import("faulthandler")?.call_method0("cancel_dump_traceback_later")?;
    Ok(())
}
