//! The WSGI gateway (PEP 3333): one exchange, one call of the application.

use std::sync::Arc;

use pyo3::exceptions::{PyConnectionResetError, PyException, PyOSError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use tidegate_engine::http::ws::HandshakeFault;
use tidegate_engine::http::{BodyKind, BodyLength};
use tidegate_engine::{Block, Exchange};

use crate::error_log::ErrorLog;
use crate::ffi::{Object, in_fresh_context, latin1};
use crate::gateway::call::{Emitted, block_of};
use crate::gateway::environ::Environs;
use crate::gateway::error_response::{answer_error, status_of};
use crate::gateway::rest_of_file::RestOfFile;
use crate::gateway::{Call, Calls, ClientLeft, FileWrapper, WsgiInput};
use crate::host::Host;
use crate::request_id;

/// Blocks of a list are put together up to this size, so that a list costs no more than one block.
const JOIN_MAX: usize = 64 * 1024;

/// What happens to hop-by-hop headers (RFC 9110 section 7.6.1) that an application sets, which PEP 3333 forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HopByHop {
    /// Left out, with a warning.
    Drop,
    /// An error in the application, as PEP 3333 has it.
    Raise,
}

/// What the operator decides about the gateway.
pub(crate) struct WsgiOptions {
    /// The number by which the engine knows the application.
    pub(crate) number: usize,
    /// Where the application is mounted: empty, or a path that begins and does not end with a slash.
    pub(crate) script_name: String,
    /// Calls of the application may overlap.
    pub(crate) multithread: bool,
    /// Other processes serve the application too.
    pub(crate) multiprocess: bool,
    pub(crate) hop_by_hop: HopByHop,
}

/// An application, and all that its calls share.
pub(crate) struct Wsgi {
    number: usize,
    application: Py<PyAny>,
    environs: Environs,
    calls: Arc<Calls>,
    error_log: ErrorLog,
}

impl Wsgi {
    pub(crate) fn new(
        py: Python<'_>,
        application: Py<PyAny>,
        host: Arc<dyn Host>,
        options: WsgiOptions,
    ) -> PyResult<Self> {
        let environs = Environs::new(py, &options, host.clone())?;
        let calls = Calls::new(py, host, options.hop_by_hop)?;
        Ok(Self { number: options.number, application, environs, calls, error_log: ErrorLog::new() })
    }

    /// Answers one exchange; whatever the application does, this thread goes on.
    pub(crate) fn serve(&self, py: Python<'_>, exchange: Exchange) {
        exchange.begin(self.number);
        if exchange.head().asks_for_websocket() {
            return exchange.refuse_upgrade(HandshakeFault::NotSpoken);
        }
        let environ = self.environs.build(py, &exchange);
        let has_body = !matches!(exchange.head().body(), BodyKind::Empty | BodyKind::Length(0));
        let call = match self.calls.begin(py, exchange) {
            Ok(call) => call,
            // Only for want of memory; the exchange is dropped with the failed call, which cuts the connection.
            Err(error) => return self.error_log.say(py, "a request could not be begun", Some(&error)),
        };
        let mut number = 0;
        let outcome = environ.and_then(|(environ, request, id)| {
            number = request;
            if has_body {
                let input = Bound::new(py, WsgiInput::new(call.clone_ref(py)))?;
                self.environs.set_input(&environ, &input)?;
            }
            in_fresh_context(py, || {
                if let Some(id) = id {
                    request_id::set(&id)?;
                }
                self.call_application(py, &call, &environ)
            })?
        });
        // What is to be called when the client leaves is not, from here on.
        drop(call.with_exchange(|exchange| self.environs.end(exchange, number)));
        if let Err(error) = outcome {
            self.fail(py, &call, &error);
        }
        // Whoever kept write() or wsgi.input finds the request over; an unfinished exchange is cut.
        drop(call.take_exchange());
    }

    fn call_application(
        &self,
        py: Python<'_>,
        call: &Object<Call>,
        environ: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let body = self.application.bind(py).call1((environ, call.as_any(py)))?;
        let sent = self.send_body(py, call, &body);
        let closed = close(&body);
        match (sent, closed) {
            (Err(error), Err(second)) => {
                self.say(py, call, "close() of the application's iterable failed", Some(&second));
                Err(error)
            }
            (Ok(()), Err(error)) => {
                self.say(py, call, "close() of the application's iterable failed", Some(&error));
                Ok(())
            }
            (sent, Ok(())) => sent,
        }
    }

    #[inline(never)]
    fn send_body(&self, py: Python<'_>, call: &Call, body: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(list) = body.cast_exact::<PyList>() {
            return self.send_blocks(py, call, list.iter());
        }
        if let Ok(tuple) = body.cast_exact::<PyTuple>() {
            return self.send_blocks(py, call, tuple.iter());
        }
        if let Ok(wrapper) = body.cast_exact::<FileWrapper>()
            && let Some(rest) = wrapper.get().rest_of_file(py)
        {
            return self.send_file(py, call, rest);
        }
        if body.is_instance_of::<PyBytes>() || body.is_instance_of::<PyString>() {
            let kind = body.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "the application must return an iterable of bytes blocks, not {kind} [PEP 3333]"
            )));
        }
        let blocks = body.try_iter().map_err(|_| {
            PyTypeError::new_err("the application must return an iterable of bytes blocks [PEP 3333]")
        })?;
        for block in blocks {
            let block = block?;
            let block = as_block(&block)?;
            if block.as_bytes().is_empty() {
                continue;
            }
            if call.emit(py, block_of(block)?, BodyLength::Unknown, false)? == Emitted::Overrun {
                self.say_overrun(py, call);
                break;
            }
        }
        self.finish(py, call, Block::EMPTY, BodyLength::Known(0))
    }

    /// A body whose blocks are all there: its length is known, and nothing runs between one block and the next.
    fn send_blocks<'py>(
        &self,
        py: Python<'py>,
        call: &Call,
        mut blocks: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        if blocks.len() == 1
            && let Some(block) = blocks.next()
        {
            let block = as_block(&block)?;
            let length = known_length(block.as_bytes().len());
            return self.finish(py, call, block_of(block)?, length);
        }
        let blocks = blocks
            .map(|block| block.cast_into::<PyBytes>().map_err(|error| wrong_block(&error.into_inner())))
            .collect::<PyResult<Vec<_>>>()?;
        let total = blocks.iter().map(|block| block.as_bytes().len()).sum();
        if total <= JOIN_MAX {
            let mut joined = Vec::with_capacity(total);
            blocks.iter().for_each(|block| joined.extend_from_slice(block.as_bytes()));
            return self.finish(py, call, Block::Borrowed(&joined), known_length(total));
        }
        for block in blocks.iter().filter(|block| !block.as_bytes().is_empty()) {
            if call.emit(py, block_of(block)?, known_length(total), false)? == Emitted::Overrun {
                self.say_overrun(py, call);
                break;
            }
        }
        self.finish(py, call, Block::EMPTY, BodyLength::Known(0))
    }

    fn send_file(&self, py: Python<'_>, call: &Call, rest: RestOfFile) -> PyResult<()> {
        let length = call.content_length().map_or(rest.length, |announced| announced.min(rest.length));
        let mut rest = RestOfFile { length, ..rest };
        loop {
            let (block, left) = rest.split(call.with_exchange(|exchange| exchange.is_compressing())?)?;
            let Some(left) = left else {
                return self.finish(py, call, block, BodyLength::Known(length));
            };
            rest = left;
            if call.emit(py, block, BodyLength::Unknown, false)? == Emitted::Overrun {
                self.say_overrun(py, call);
                return self.finish(py, call, Block::EMPTY, BodyLength::Known(0));
            }
        }
    }

    fn finish(&self, py: Python<'_>, call: &Call, block: Block<'_>, length: BodyLength) -> PyResult<()> {
        match call.emit(py, block, length, true)? {
            Emitted::Fine => {}
            Emitted::Overrun => self.say_overrun(py, call),
            Emitted::Short(missing) => {
                let text = format!(
                    "the response ended {missing} bytes short of its Content-Length: the connection is closed [PEP 3333]"
                );
                self.say(py, call, &text, None);
            }
        }
        Ok(())
    }

    fn say_overrun(&self, py: Python<'_>, call: &Call) {
        let text = "the response has more bytes than its Content-Length: the rest is dropped [PEP 3333]";
        self.say(py, call, text, None);
    }

    #[cold]
    fn say(&self, py: Python<'_>, call: &Call, text: &str, error: Option<&PyErr>) {
        let id = call.with_exchange(|exchange| exchange.request_id().map(<[u8]>::to_vec)).ok().flatten();
        let id = id.and_then(|id| latin1(py, &id).ok());
        self.error_log.say_of(py, id.as_ref(), text, error);
    }

    /// Answers for an application that did not, as far as the client can still be told.
    #[cold]
    #[inline(never)]
    fn fail(&self, py: Python<'_>, call: &Call, error: &PyErr) {
        let Some(mut exchange) = call.take_exchange() else { return };
        let fault = exchange.body_fault();
        let (method, target) = (exchange.head().method(), String::from_utf8_lossy(exchange.head().target()));
        // An exception that is not an application's, and ends a call that nobody waits for: gevent's GreenletExit.
        let killed = !error.is_instance_of::<PyException>(py) && exchange.is_lost();
        let gone = killed
            || error.is_instance_of::<ClientLeft>(py)
            || error.is_instance_of::<PyConnectionResetError>(py) && exchange.is_lost();
        let status = match &fault {
            _ if gone => {
                log::debug!("{method} {target}: the client left before the response was complete");
                None
            }
            // The application only passes on what the client did.
            Some(fault) if error.is_instance_of::<PyOSError>(py) => {
                log::debug!("{method} {target}: {fault}");
                status_of(fault)
            }
            _ => {
                let id = request_id::of(py, &exchange).ok().flatten();
                self.error_log.say_of(
                    py,
                    id.as_ref(),
                    &format!("the application failed on {method} {target:?}"),
                    Some(error),
                );
                Some((500, "Internal Server Error"))
            }
        };
        match status {
            Some((status, reason)) if !exchange.head_sent() => answer_error(&mut exchange, status, reason),
            _ => exchange.abort(),
        }
    }
}

/// What the gateway knows of a body. An empty one may be the answer to HEAD, where nothing is known of the real length.
fn known_length(total: usize) -> BodyLength {
    BodyLength::Known(total as u64)
}

fn as_block<'a, 'py>(block: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    block.cast::<PyBytes>().map_err(|_| wrong_block(block))
}

fn wrong_block(block: &Bound<'_, PyAny>) -> PyErr {
    match block.get_type().name() {
        Ok(kind) => {
            PyTypeError::new_err(format!("the application must yield bytes blocks, not {kind} [PEP 3333]"))
        }
        Err(error) => error,
    }
}

/// Calls `close()` if the iterable has one: once, however the request went (PEP 3333).
fn close(body: &Bound<'_, PyAny>) -> PyResult<()> {
    if body.is_exact_instance_of::<PyList>() || body.is_exact_instance_of::<PyTuple>() {
        return Ok(());
    }
    match body.getattr_opt(intern!(body.py(), "close"))? {
        Some(close) => close.call0().map(|_| ()),
        None => Ok(()),
    }
}
