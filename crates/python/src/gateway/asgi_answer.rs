//! What `send` and `receive` give to be awaited: complete at once when it can be.

use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use pyo3::create_exception;
use pyo3::exceptions::{PyConnectionResetError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidegate_engine::Watch;

use crate::ffi::{Arguments, Callable, Coroutine, Kind, Object, Step};
use crate::host::{Awaited, Pauses, lock};

create_exception!(
    tidegate,
    ClientDisconnected,
    PyConnectionResetError,
    "Raised by an ASGI application's send() when the client has left."
);

/// Bytes that may be on their way to the client when `send` completes at once.
pub(crate) const UNSENT_MAX: u64 = 64 * 1024;

/// Messages that one request sends before the others have their turn, if it never has to wait: a client that reads as fast as they are
/// made is no reason to hold up the loop. 64 take 250 us, and a turn costs a tenth of that.
const SENT_AT_ONCE_MAX: u32 = 64;

/// Rounds of the loop before `send` raises that the client has left: a task that was told by `receive` can end the one that sends in its
/// own way until then. From `receive` to the cancellation Django needs three.
const DEPARTURE_ROUNDS: u32 = 16;

pub(crate) fn gone() -> PyErr {
    ClientDisconnected::new_err("the client has left [ASGI, Disconnect - send exception]")
}

/// One HTTP request or WebSocket, as its awaitables see it.
pub(crate) trait Conversation: Send + Sync + Sized + 'static {
    /// The client is behind: `send` is to wait.
    fn is_full(&self) -> bool;
    /// `send` is to wait for that reason, or as something of its message is left for when there is room.
    fn must_wait(&self) -> bool {
        self.is_full()
    }
    /// Sends some of what is left. False where nothing is.
    fn send_rest(&self, _py: Python<'_>) -> PyResult<bool> {
        Ok(false)
    }
    /// The next message, if there is one.
    fn poll_receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>>;
    /// Whether there is one, as far as that can be told without taking it.
    fn is_readable(&self) -> bool;
    /// A place to wait for the reactor; none when that has nothing to tell any more.
    fn watch(&self) -> Option<Watch>;
    /// Messages that were sent since it last had to wait.
    fn sent_at_once(&self) -> &AtomicU32;
    /// What its tasks wait with.
    fn pauses(&self, py: Python<'_>) -> &Pauses;
    /// The client has left.
    fn is_gone(&self) -> bool;
    /// A `send` that has waited until the client left is to return all the same: another task has just been told.
    fn others_are_told(&self) -> bool {
        false
    }
    /// What makes its awaitables.
    fn receive_of(call: &Object<Self>) -> &Answers<Self>;
}

/// Makes awaitables.
pub(crate) struct Answers<T: Conversation> {
    receive: Kind<Receive<T>>,
    answer: Kind<Answer<T>>,
    /// An awaitable that is over, for all that need not wait.
    done: Py<PyAny>,
}

impl<T: Conversation> Answers<T> {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let done = Kind::coroutine(py)?.object(py, Done)?.into_any(py).unbind();
        Ok(Self { receive: Kind::new(py)?, answer: Kind::coroutine(py)?, done })
    }

    /// The `receive` of a call.
    pub(crate) fn receive<'py>(&self, py: Python<'py>, call: &Object<T>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.receive.object(py, Receive(call.clone_ref(py)))?.into_any(py))
    }

    /// What `send` gives when nobody is left to send to.
    pub(crate) fn gone<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.answer.object(py, Answer(Mutex::new(What::Gone { rounds: 0 })))?.into_any(py))
    }

    /// What `send` gives when its message is on its way.
    pub(crate) fn sent<'py>(&self, py: Python<'py>, call: &Object<T>) -> PyResult<Bound<'py, PyAny>> {
        let long = call.sent_at_once().fetch_add(1, Ordering::Relaxed) >= SENT_AT_ONCE_MAX;
        if long || call.must_wait() {
            let answer = Answer(Mutex::new(What::Room { call: call.clone_ref(py), others_first: long }));
            return Ok(self.answer.object(py, answer)?.into_any(py));
        }
        Ok(self.done.bind(py).clone())
    }
}

/// `receive()`
struct Receive<T>(Object<T>);

impl<T: Conversation> Callable for Receive<T> {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Receive";
    const NAME: &'static str = "receive";
    const ARGUMENT_COUNT: RangeInclusive<usize> = 0..=0;

    fn call<'py>(receive: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let answer = Answer(Mutex::new(What::Message(receive.0.clone_ref(py))));
        Ok(T::receive_of(&receive.0).answer.object(py, answer)?.into_any(py))
    }
}

/// What is awaited.
struct Answer<T>(Mutex<What<T>>);

enum What<T> {
    /// Room for more.
    Room {
        call: Object<T>,
        others_first: bool,
    },
    Message(Object<T>),
    /// That the client has left.
    Gone {
        rounds: u32,
    },
    /// Awaited to its end.
    Over,
}

impl<T> Answer<T> {
    fn what(&self) -> MutexGuard<'_, What<T>> {
        lock(&self.0)
    }

    /// What was waited for, if anything was.
    fn end(&self) -> Option<Object<T>> {
        self.go_on_as(What::Over)
    }

    /// What was waited for. It may be the last reference to it, so that it is not dropped under the lock.
    fn go_on_as(&self, next: What<T>) -> Option<Object<T>> {
        match std::mem::replace(&mut *self.what(), next) {
            What::Room { call, .. } | What::Message(call) => Some(call),
            What::Gone { .. } | What::Over => None,
        }
    }
}

/// What the client is to do: send something, or take some of what waits for it.
struct ClientsPart<T> {
    call: Object<T>,
    receives: bool,
}

impl<T: Conversation> Awaited for ClientsPart<T> {
    fn is_there(&self) -> bool {
        if self.receives { self.call.is_readable() } else { !self.call.is_full() }
    }

    fn watch(&self) -> Option<Watch> {
        self.call.watch()
    }

    fn ends_first(&self) -> bool {
        self.receives
    }
}

/// What is over before it is awaited, as often as that is.
struct Done;

impl Coroutine for Done {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Answer";
    const NEVER_WAITS: bool = true;

    fn step<'py>(_done: &Object<Self>, _py: Python<'py>) -> PyResult<Step<'py>> {
        Ok(Step::Return(None))
    }

    fn throw<'py>(_done: &Object<Self>, _py: Python<'py>, error: PyErr) -> PyResult<Step<'py>> {
        Err(error)
    }

    fn close(_done: &Object<Self>, _py: Python<'_>) -> PyResult<()> {
        Ok(())
    }
}

impl<T: Conversation> Coroutine for Answer<T> {
    const TYPE_NAME: &'static CStr = c"tidegate._tidegate.Answer";

    fn step<'py>(this: &Object<Self>, py: Python<'py>) -> PyResult<Step<'py>> {
        let (call, receives) = match &mut *this.what() {
            What::Over => {
                return Err(PyRuntimeError::new_err("what send() or receive() gave is awaited once"));
            }
            What::Gone { rounds: rounds @ ..DEPARTURE_ROUNDS } => {
                *rounds += 1;
                // What a bare `yield` gives: asyncio calls the task in the loop's next round.
                return Ok(Step::Yield(py.None().into_bound(py)));
            }
            over @ What::Gone { .. } => {
                *over = What::Over;
                return Err(gone());
            }
            What::Room { call, others_first: others_first @ true } => {
                *others_first = false;
                call.sent_at_once().store(0, Ordering::Relaxed);
                return Ok(Step::Yield(py.None().into_bound(py)));
            }
            What::Room { call, .. } => (call.clone_ref(py), false),
            What::Message(call) => (call.clone_ref(py), true),
        };
        if receives {
            match call.poll_receive(py) {
                Ok(None) => {}
                Ok(Some(message)) => {
                    this.end();
                    return Ok(Step::Return(Some(message.into_any())));
                }
                Err(error) => {
                    this.end();
                    return Err(error);
                }
            }
        } else if !call.is_full() {
            match call.send_rest(py) {
                // Others have their turn.
                Ok(true) => return Ok(Step::Yield(py.None().into_bound(py))),
                Ok(false) => {}
                Err(error) if error.is_instance_of::<ClientDisconnected>(py) => {
                    this.go_on_as(What::Gone { rounds: 0 });
                    return Self::step(this, py);
                }
                Err(error) => {
                    this.end();
                    return Err(error);
                }
            }
            if call.is_gone() && !call.others_are_told() {
                this.go_on_as(What::Gone { rounds: 0 });
                return Self::step(this, py);
            }
            this.end();
            return Ok(Step::Return(None));
        }
        call.sent_at_once().store(0, Ordering::Relaxed);
        let part = ClientsPart { call: call.clone_ref(py), receives };
        Ok(Step::Yield(call.pauses(py).pause(py, Box::new(part))?))
    }

    fn throw<'py>(this: &Object<Self>, py: Python<'py>, error: PyErr) -> PyResult<Step<'py>> {
        if let Some(call) = this.end() {
            call.pauses(py).forget_those_over();
        }
        Err(error)
    }

    fn close(this: &Object<Self>, _py: Python<'_>) -> PyResult<()> {
        this.end();
        Ok(())
    }
}
