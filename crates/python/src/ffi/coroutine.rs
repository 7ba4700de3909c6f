//! Python awaitables that are Rust values: what `await` and tasks drive (PEP 492), without a frame.
//!
//! They have the methods of `collections.abc.Coroutine`, so that `asyncio.create_task` and its like take them.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::{PySystemError, PyTypeError};
use pyo3::ffi::{self, PySendResult};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::callable::{Kind, Object, as_called};

/// How far a step has come.
pub(crate) enum Step<'py> {
    /// It waits for this, as asyncio's tasks understand it.
    Yield(Bound<'py, PyAny>),
    /// It is over; without a value, with None.
    Return(Option<Bound<'py, PyAny>>),
}

/// What an awaitable object does.
pub(crate) trait Coroutine: Sized + Send + Sync + 'static {
    /// The dotted name of its type.
    const TYPE_NAME: &'static CStr;
    /// Every step is over at once, with None: none needs to be called.
    const NEVER_WAITS: bool = false;

    /// Goes on until it waits or is over.
    fn step<'py>(this: &Object<Self>, py: Python<'py>) -> PyResult<Step<'py>>;

    /// Goes on with an exception where it waits.
    fn throw<'py>(this: &Object<Self>, py: Python<'py>, error: PyErr) -> PyResult<Step<'py>>;

    /// It will not go on.
    fn close(this: &Object<Self>, py: Python<'_>) -> PyResult<()>;
}

impl<T: Coroutine> Kind<T> {
    /// The type of awaitable objects over `T`.
    pub(crate) fn coroutine(py: Python<'_>) -> PyResult<Self> {
        let method = |name: &'static CStr, call, flags| ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: call,
            ml_flags: flags,
            ml_doc: ptr::null(),
        };
        // A type refers to its methods for as long as it lives, and one of ours lives as long as the process.
        let methods = Box::leak(Box::new([
            method(c"send", ffi::PyMethodDefPointer { PyCFunction: send::<T> }, ffi::METH_O),
            method(c"throw", ffi::PyMethodDefPointer { PyCFunctionFast: throw::<T> }, ffi::METH_FASTCALL),
            method(c"close", ffi::PyMethodDefPointer { PyCFunction: close::<T> }, ffi::METH_NOARGS),
            ffi::PyMethodDef::zeroed(),
        ]));
        let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
        let next: ffi::iternextfunc = if T::NEVER_WAITS { over } else { next::<T> };
        let slots = [
            slot(ffi::Py_am_await, itself as ffi::unaryfunc as *mut _),
            slot(ffi::Py_tp_iter, itself as ffi::unaryfunc as *mut _),
            slot(ffi::Py_tp_iternext, next as *mut _),
            slot(ffi::Py_am_send, am_send::<T> as SendFunction as *mut _),
            slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        ];
        // SAFETY: the functions have the types that the documentation gives their slots, and objects of this type only.
        unsafe { Self::of_slots(py, T::TYPE_NAME, 0, &slots, None) }
    }
}

type SendFunction =
    unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject, *mut *mut ffi::PyObject) -> PySendResult;

/// Whether it is what a call of an `async def` function gives, which is driven as it is.
pub(crate) fn is_coroutine(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a look at the type of a live object.
    unsafe { ffi::PyCoro_CheckExact(object.as_ptr()) != 0 }
}

/// Takes one step of an iterator that an `await` has given, as `iterator.send(None)` does.
pub(crate) fn send_none<'py>(iterator: &Bound<'py, PyAny>) -> PyResult<Step<'py>> {
    let py = iterator.py();
    let mut result = ptr::null_mut();
    // SAFETY: attached; the result is a new reference unless an error is reported, with an exception set.
    unsafe {
        match ffi::PyIter_Send(iterator.as_ptr(), ffi::Py_None(), &raw mut result) {
            PySendResult::PYGEN_NEXT => Ok(Step::Yield(Bound::from_owned_ptr(py, result))),
            PySendResult::PYGEN_RETURN => Ok(Step::Return(Some(Bound::from_owned_ptr(py, result)))),
            PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
        }
    }
}

/// Runs `work` on the object that Python has called, so that nothing unwinds into Python.
///
/// # Safety
/// For functions that Python calls with an object of a [`Kind<T>`].
unsafe fn guarded<T: Coroutine, R>(
    object: *mut ffi::PyObject,
    failed: R,
    work: impl FnOnce(Python<'_>, &Object<T>) -> PyResult<R>,
) -> R {
    let attached = |py: Python<'_>| {
        // SAFETY: as the caller promises.
        let object = unsafe { Object::<T>::called(py, object) };
        let outcome = catch_unwind(AssertUnwindSafe(|| work(py, &object)))
            .unwrap_or_else(|_| Err(PySystemError::new_err("an awaitable failed within the server")));
        outcome.unwrap_or_else(|error| {
            error.restore(py);
            failed
        })
    };
    // SAFETY: Python calls this.
    unsafe { as_called(attached) }
}

/// The end of an iteration: StopIteration with the value, or without an exception for None, which is quicker.
fn stop(py: Python<'_>, value: Option<Bound<'_, PyAny>>) -> *mut ffi::PyObject {
    if let Some(value) = value.filter(|value| !value.is_none()) {
        // SAFETY: attached, as `py` shows; the exception takes references of its own.
        unsafe {
            if ffi::PyTuple_Check(value.as_ptr()) != 0 || ffi::PyExceptionInstance_Check(value.as_ptr()) != 0
            {
                // Taken for the exception's arguments, or for the exception, if they are not wrapped.
                pyo3::exceptions::PyStopIteration::new_err((value.unbind(),)).restore(py);
            } else {
                ffi::PyErr_SetObject(ffi::PyExc_StopIteration, value.as_ptr());
            }
        }
    }
    ptr::null_mut()
}

/// As of a method, where the end is an exception in any case.
fn step_of_method(py: Python<'_>, step: Step<'_>) -> *mut ffi::PyObject {
    match step {
        Step::Yield(value) => value.into_ptr(),
        Step::Return(value) => {
            let none = || py.None().into_bound(py);
            pyo3::exceptions::PyStopIteration::new_err((value.unwrap_or_else(none).unbind(),)).restore(py);
            ptr::null_mut()
        }
    }
}

unsafe extern "C" fn itself(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: Python calls this with a live object, and takes the new reference.
    unsafe { ffi::Py_NewRef(object) }
}

/// The end of an iteration, with None: no exception is needed.
unsafe extern "C" fn over(_object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    ptr::null_mut()
}

unsafe extern "C" fn next<T: Coroutine>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a slot of Kind::coroutine.
    unsafe {
        guarded::<T, _>(object, ptr::null_mut(), |py, this| {
            Ok(match T::step(this, py)? {
                Step::Yield(value) => value.into_ptr(),
                Step::Return(value) => stop(py, value),
            })
        })
    }
}

unsafe extern "C" fn am_send<T: Coroutine>(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> PySendResult {
    let work = |py: Python<'_>, this: &Object<T>| {
        let (value, status) = match T::step(this, py)? {
            Step::Yield(value) => (value, PySendResult::PYGEN_NEXT),
            Step::Return(value) => {
                (value.unwrap_or_else(|| py.None().into_bound(py)), PySendResult::PYGEN_RETURN)
            }
        };
        // SAFETY: Python gives a place for the result.
        unsafe { result.write(value.into_ptr()) };
        Ok(status)
    };
    // SAFETY: a slot of Kind::coroutine. Without a result, the place is null, as the documentation wants it.
    unsafe {
        result.write(ptr::null_mut());
        guarded::<T, _>(object, PySendResult::PYGEN_ERROR, work)
    }
}

unsafe extern "C" fn send<T: Coroutine>(
    object: *mut ffi::PyObject,
    _value: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: a method of Kind::coroutine.
    unsafe { guarded::<T, _>(object, ptr::null_mut(), |py, this| Ok(step_of_method(py, T::step(this, py)?))) }
}

unsafe extern "C" fn close<T: Coroutine>(
    object: *mut ffi::PyObject,
    _nothing: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: a method of Kind::coroutine.
    unsafe {
        guarded::<T, _>(object, ptr::null_mut(), |py, this| {
            T::close(this, py)?;
            Ok(py.None().into_ptr())
        })
    }
}

/// `throw(exception)`, and the older `throw(type, value=None, traceback=None)`.
unsafe extern "C" fn throw<T: Coroutine>(
    object: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    let work = |py: Python<'_>, this: &Object<T>| {
        let argument = |index: usize| {
            // SAFETY: Python gives so many arguments, alive during the call.
            (index < count as usize).then(|| unsafe { Bound::from_borrowed_ptr(py, *arguments.add(index)) })
        };
        let Some(first) = argument(0) else {
            return Err(PyTypeError::new_err("throw() takes an exception"));
        };
        let error = match argument(1).filter(|value| !value.is_none()) {
            // SAFETY: a look at the object's type.
            Some(value) if unsafe { ffi::PyExceptionInstance_Check(value.as_ptr()) } != 0 => value,
            Some(value) => first.call1((value,))?,
            None if first.is_instance_of::<PyType>() => first.call0()?,
            None => first,
        };
        Ok(step_of_method(py, T::throw(this, py, PyErr::from_value(error))?))
    };
    // SAFETY: a method of Kind::coroutine.
    unsafe { guarded::<T, _>(object, ptr::null_mut(), work) }
}
