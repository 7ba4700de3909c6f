//! One call of a WSGI application: `start_response`, `write`, and the state that they share with the gateway.
//!
//! The call's state *is* the `start_response` object: one object less for each request than a method bound to it.

use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pyo3::exceptions::{PyAssertionError, PyConnectionResetError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use tidegate_engine::http::{BodyLength, FieldOutcome, ResponseHead};
use tidegate_engine::{Block, BodyFault, BodyRead, Exchange, LARGE_BLOCK_MIN, SendError, Sent};

use crate::ffi::{Arguments, Callable, Kind, Object, latin1_bytes};
use crate::gateway::HopByHop;
use crate::host::Host;

/// What all calls of an application have in common.
pub(crate) struct Calls {
    host: Arc<dyn Host>,
    hop_by_hop: HopByHop,
    call: Kind<Call>,
    write: Kind<Write>,
}

impl Calls {
    pub(crate) fn new(py: Python<'_>, host: Arc<dyn Host>, hop_by_hop: HopByHop) -> PyResult<Arc<Self>> {
        Ok(Arc::new(Self { host, hop_by_hop, call: Kind::new(py)?, write: Kind::new(py)? }))
    }

    /// Begins the call that answers `exchange`.
    #[inline(never)]
    pub(crate) fn begin(self: &Arc<Self>, py: Python<'_>, exchange: Exchange) -> PyResult<Object<Call>> {
        let state = State { exchange: Some(exchange), head: None, started: false, head_given: false };
        self.call.object(py, Call { state: Mutex::new(state), calls: self.clone() })
    }
}

/// How far the call is.
struct State {
    /// Gone when the call is over: `write` and `wsgi.input` may be kept longer than the request.
    exchange: Option<Exchange>,
    /// The head as last given; kept after it is sent, for the log.
    head: Option<ResponseHead>,
    /// `start_response` was called, whether or not it succeeded.
    started: bool,
    /// The exchange has the head, and has sent it unless a file is to be sent in place of what the application gives.
    head_given: bool,
}

/// One call, and its `start_response`. Its lock is held for moments, never while Python code runs or this thread waits.
pub(crate) struct Call {
    state: Mutex<State>,
    calls: Arc<Calls>,
}

/// What a block led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emitted {
    /// The response goes on, or has ended well.
    Fine,
    /// The announced Content-Length is reached: more would be dropped.
    Overrun,
    /// It ended short by so many bytes.
    Short(u64),
}

fn over() -> PyErr {
    PyRuntimeError::new_err("the request is over: its response can no longer be written, nor its body read")
}

fn client_gone() -> PyErr {
    PyConnectionResetError::new_err("the client has left before the response was complete")
}

impl Call {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with_exchange<T>(&self, work: impl FnOnce(&mut Exchange) -> T) -> PyResult<T> {
        self.state().exchange.as_mut().map(work).ok_or_else(over)
    }

    /// Ends the call's use of the exchange.
    pub(crate) fn take_exchange(&self) -> Option<Exchange> {
        self.state().exchange.take()
    }

    /// The Content-Length that the application has announced.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.state().head.as_ref().and_then(ResponseHead::content_length)
    }

    /// Sends a block of the response, before the first one its head, and waits until the application may go on.
    ///
    /// `length` is what the gateway knows of the whole body, for a head that does not say it.
    pub(crate) fn emit(
        &self,
        py: Python<'_>,
        block: Block<'_>,
        length: BodyLength,
        last: bool,
    ) -> PyResult<Emitted> {
        let sent = {
            let mut state = self.state();
            let State { exchange, head, head_given, .. } = &mut *state;
            let exchange = exchange.as_mut().ok_or_else(over)?;
            let head = match (&*head, *head_given) {
                (_, true) => None,
                (Some(head), false) => Some((head, length)),
                (None, false) => {
                    return Err(PyAssertionError::new_err(
                        "the application must call start_response before its first block [PEP 3333]",
                    ));
                }
            };
            *head_given = true;
            exchange.send(head, block, last)
        };
        let Sent { overrun, missing } = sent.map_err(|error| match error {
            SendError::Gone => client_gone(),
            SendError::Refused(fault) => PyValueError::new_err(fault.to_string()),
        })?;
        if !last {
            self.wait_for_room(py)?;
        }
        if overrun {
            return Ok(Emitted::Overrun);
        }
        Ok(if missing > 0 { Emitted::Short(missing) } else { Emitted::Fine })
    }

    fn wait_for_room(&self, py: Python<'_>) -> PyResult<()> {
        let most = self.calls.host.unsent_max();
        let full = || self.with_exchange(|exchange| exchange.unsent() > most);
        while full()? {
            let watch = self.with_exchange(|exchange| exchange.watch())?;
            if full()? {
                self.calls.host.wait(py, &watch, None)?;
            }
        }
        Ok(())
    }

    /// Takes body bytes, waiting for some; empty at the end.
    pub(crate) fn read_body(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        let mut watch = None;
        loop {
            match self.with_exchange(Exchange::read_body)? {
                BodyRead::Data(bytes) => return Ok(bytes),
                BodyRead::End => return Ok(Vec::new()),
                BodyRead::Fault(fault) => return Err(body_error(&fault)),
                BodyRead::Wait => match watch.take() {
                    Some(watch) => self.calls.host.wait(py, &watch, None)?,
                    // Looked for once more with the watch set.
                    None => watch = Some(self.with_exchange(|exchange| exchange.watch())?),
                },
            }
        }
    }

    fn parse_head(&self, status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<ResponseHead> {
        let status = status
            .cast::<PyString>()
            .map_err(|_| PyTypeError::new_err("status must be a str such as '200 OK' [PEP 3333]"))?;
        let mut head = ResponseHead::from_status_line(&latin1_bytes(status)?)
            .map_err(|fault| PyValueError::new_err(format!("status: {fault} [PEP 3333]")))?;
        let headers = headers
            .cast::<PyList>()
            .map_err(|_| PyTypeError::new_err("headers must be a list of (name, value) tuples [PEP 3333]"))?;
        for item in headers.iter() {
            let pair = item.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
            let (name, value) = match pair {
                Some(pair) => (pair.get_borrowed_item(0)?, pair.get_borrowed_item(1)?),
                None => {
                    return Err(PyTypeError::new_err("each header must be a (name, value) tuple [PEP 3333]"));
                }
            };
            let (Ok(name), Ok(value)) = (name.cast::<PyString>(), value.cast::<PyString>()) else {
                return Err(PyTypeError::new_err("names and values of headers must be str [PEP 3333]"));
            };
            let outcome = head
                .field(&latin1_bytes(&name)?, &latin1_bytes(&value)?)
                .map_err(|fault| PyValueError::new_err(format!("header {name:?}: {fault}")))?;
            if outcome == FieldOutcome::DroppedHopByHop {
                match self.calls.hop_by_hop {
                    HopByHop::Raise => {
                        return Err(PyAssertionError::new_err(format!(
                            "header {name:?}: hop-by-hop headers are the server's to set [PEP 3333]"
                        )));
                    }
                    HopByHop::Drop => {
                        log::warn!("the application set the hop-by-hop header {name:?}: dropped")
                    }
                }
            }
        }
        Ok(head)
    }
}

/// A body that will never be complete is an error and not an end (see also PEP 3333 on `read`).
fn body_error(fault: &BodyFault) -> PyErr {
    use pyo3::exceptions::{PyOSError, PyTimeoutError};
    match fault {
        BodyFault::TooSlow => PyTimeoutError::new_err(fault.to_string()),
        BodyFault::Lost | BodyFault::Stopped | BodyFault::Expired => {
            PyConnectionResetError::new_err(fault.to_string())
        }
        BodyFault::Request(_) | BodyFault::Storage(_) => PyOSError::new_err(fault.to_string()),
    }
}

/// `start_response(status, headers, exc_info=None)`
impl Callable for Call {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.StartResponse";
    const NAME: &'static str = "start_response";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 2..=3;

    fn call<'py>(call: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let exc_info = arguments.get(2).filter(|exc_info| !exc_info.is_none());
        let (already, head_sent) = {
            let mut state = call.state();
            let head_sent = state.exchange.as_ref().is_none_or(Exchange::head_sent);
            (std::mem::replace(&mut state.started, true), head_sent)
        };
        match exc_info {
            Some(exc_info) if head_sent => {
                let (_, value, traceback): (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>) =
                    exc_info.extract()?;
                return Err(PyErr::from_value(value.call_method1("with_traceback", (traceback,))?));
            }
            None if already => {
                return Err(PyAssertionError::new_err(
                    "start_response was called again without exc_info [PEP 3333]",
                ));
            }
            _ => {}
        }
        // Without the lock, as it may run code: a subclass of str has a representation of its own.
        let head = call.parse_head(&arguments.require(0)?, &arguments.require(1)?)?;
        {
            let mut state = call.state();
            state.head = Some(head);
            state.head_given = false;
        }
        Ok(call.calls.write.object(py, Write { call: call.clone_ref(py) })?.into_any(py))
    }
}

/// What `start_response` gives: `write(data)`, for applications that cannot give their body as an iterable.
struct Write {
    call: Object<Call>,
}

impl Callable for Write {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Write";
    const NAME: &'static str = "write";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 1..=1;

    fn call<'py>(write: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let data = arguments.require(0)?;
        let data =
            data.cast::<PyBytes>().map_err(|_| PyTypeError::new_err("write() takes bytes [PEP 3333]"))?;
        // Like an empty block, an empty write does not yet send the head.
        if data.as_bytes().is_empty() {
            return Ok(py.None().into_bound(py));
        }
        match write.call.emit(py, block_of(data)?, BodyLength::Unknown, false)? {
            Emitted::Overrun => Err(PyAssertionError::new_err(
                "write(): more bytes than the Content-Length that start_response was given [PEP 3333]",
            )),
            Emitted::Fine | Emitted::Short(_) => Ok(py.None().into_bound(py)),
        }
    }
}

/// The bytes as a block: large ones by reference, when nothing but memory hangs on their end.
pub(crate) fn block_of<'a>(data: &'a Bound<'_, PyBytes>) -> PyResult<Block<'a>> {
    // A subclass may have a destructor of its own, which must not run inside the engine.
    if data.as_bytes().len() >= LARGE_BLOCK_MIN && data.is_exact_instance_of::<PyBytes>() {
        let owner = PyBackedBytes::from(data.clone());
        return Ok(Block::Shared(Bytes::from_owner(owner)));
    }
    Ok(Block::Borrowed(data.as_bytes()))
}
