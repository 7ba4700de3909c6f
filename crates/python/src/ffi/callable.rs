//! Python callables that own a Rust value. Made and called once per request, so without what a full class costs: an argument
//! tuple for each call (PEP 590), an allocation that is cleared before it is filled, a look-up of the type.

use std::ffi::{CStr, c_int, c_uint, c_ulong};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::{Deref, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::{PySystemError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// What a callable object is.
pub(crate) trait Callable: Sized + Send + Sync + 'static {
    /// The dotted name of its type.
    const TYPE_NAME: &'static CStr;
    /// What it is called in errors about its arguments.
    const NAME: &'static str;
    /// How many arguments it takes, by position only.
    const ARGUMENT_COUNT: RangeInclusive<usize>;

    /// A call from Python. `object` is the value called, for results that keep it.
    fn call<'py>(object: &Object<Self>, arguments: &Arguments<'_, 'py>) -> PyResult<Bound<'py, PyAny>>;
}

/// The arguments of a call.
pub(crate) struct Arguments<'a, 'py> {
    pointers: &'a [*mut ffi::PyObject],
    py: Python<'py>,
}

impl<'py> Arguments<'_, 'py> {
    pub(crate) fn py(&self) -> Python<'py> {
        self.py
    }

    pub(crate) fn get(&self, index: usize) -> Option<Bound<'py, PyAny>> {
        // SAFETY: the caller of the vectorcall keeps its arguments alive during the call, and this thread is attached.
        self.pointers.get(index).map(|&pointer| unsafe { Bound::from_borrowed_ptr(self.py, pointer) })
    }

    /// An argument that [`Callable::ARGUMENT_COUNT`] makes sure of.
    pub(crate) fn require(&self, index: usize) -> PyResult<Bound<'py, PyAny>> {
        self.get(index).ok_or_else(|| PyTypeError::new_err("an argument is missing"))
    }
}

#[repr(C)]
struct Layout<T> {
    base: ffi::PyObject,
    vectorcall: Option<ffi::vectorcallfunc>,
    value: T,
}

/// A reference to a callable object.
pub(crate) struct Object<T> {
    /// An instance of the type that a [`Kind<T>`] has made, and so of [`Layout<T>`].
    any: Py<PyAny>,
    value: PhantomData<T>,
}

impl<T> Object<T> {
    /// Another reference to the object that Python has called.
    ///
    /// # Safety
    /// `object` is an instance of a [`Kind<T>`]'s type, and this thread is attached.
    pub(super) unsafe fn called(py: Python<'_>, object: *mut ffi::PyObject) -> Self {
        // SAFETY: as the caller promises.
        Self { any: unsafe { Bound::from_borrowed_ptr(py, object) }.unbind(), value: PhantomData }
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { any: self.any.clone_ref(py), value: PhantomData }
    }

    pub(crate) fn as_any<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        self.any.bind(py)
    }

    pub(crate) fn into_any(self, py: Python<'_>) -> Bound<'_, PyAny> {
        self.any.into_bound(py)
    }
}

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `any` is an instance of Layout<T>, whose value is there as long as the object and only ever shared.
        unsafe { &(*self.any.as_ptr().cast::<Layout<T>>()).value }
    }
}

/// The type of the objects over `T`.
pub(crate) struct Kind<T> {
    kind: Py<PyType>,
    /// What is called; none of objects that are no callables, whose type does not say that they have one.
    vectorcall: Option<ffi::vectorcallfunc>,
    value: PhantomData<fn() -> T>,
}

impl<T: Callable> Kind<T> {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let mut members = [
            ffi::PyMemberDef {
                name: c"__vectorcalloffset__".as_ptr(),
                type_code: ffi::Py_T_PYSSIZET,
                offset: offset_of!(Layout<T>, vectorcall) as ffi::Py_ssize_t,
                flags: ffi::Py_READONLY,
                doc: ptr::null(),
            },
            // SAFETY: the end of the table is a member of zeros.
            unsafe { std::mem::zeroed() },
        ];
        let slot = |slot: c_int, pfunc| ffi::PyType_Slot { slot, pfunc };
        let slots = [
            slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut _),
            slot(ffi::Py_tp_members, members.as_mut_ptr().cast()),
        ];
        // SAFETY: the slots are as the documentation of PyType_FromSpec wants them, which copies the members; a vectorcall goes with the
        // flag and the offset.
        unsafe {
            Self::of_slots(py, T::TYPE_NAME, ffi::Py_TPFLAGS_HAVE_VECTORCALL, &slots, Some(vectorcall::<T>))
        }
    }
}

impl<T: Send + Sync + 'static> Kind<T> {
    /// A type with these slots, beside that of its destructor.
    ///
    /// # Safety
    /// As PyType_FromSpec documents each slot; their functions take objects of this type and nothing else.
    pub(super) unsafe fn of_slots(
        py: Python<'_>,
        name: &'static CStr,
        flags: c_ulong,
        slots: &[ffi::PyType_Slot],
        vectorcall: Option<ffi::vectorcallfunc>,
    ) -> PyResult<Self> {
        const { assert!(align_of::<Layout<T>>() <= 16, "what Python's allocator gives") };
        let own =
            ffi::PyType_Slot { slot: ffi::Py_tp_dealloc, pfunc: dealloc::<T> as ffi::destructor as *mut _ };
        let end = ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() };
        let mut slots: Vec<_> = slots.iter().copied().chain([own, end]).collect();
        let flags = ffi::Py_TPFLAGS_DEFAULT
            | flags
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
            | ffi::Py_TPFLAGS_IMMUTABLETYPE;
        let mut spec = ffi::PyType_Spec {
            name: name.as_ptr(),
            basicsize: size_of::<Layout<T>>() as c_int,
            itemsize: 0,
            flags: flags as c_uint,
            slots: slots.as_mut_ptr(),
        };
        // SAFETY: as the caller promises; all but the name is copied, and the name is static. A new reference or null with an
        // exception set.
        let kind = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpec(&raw mut spec))? };
        Ok(Self { kind: kind.cast_into()?.unbind(), vectorcall, value: PhantomData })
    }

    /// An object around `value`.
    pub(crate) fn object(&self, py: Python<'_>, value: T) -> PyResult<Object<T>> {
        let kind = self.kind.as_ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: the memory is as large as the type says and aligned as asserted; PyObject_Init gives it type and reference count,
        // and the other fields are written before anybody sees it. The type has no tp_alloc or tp_free of its own, is not subclassed
        // and not collected, so memory of PyObject_Malloc is what `dealloc` may free.
        unsafe {
            let object = ffi::PyObject_Malloc(size_of::<Layout<T>>()).cast::<Layout<T>>();
            if object.is_null() {
                ffi::PyErr_NoMemory();
                return Err(PyErr::fetch(py));
            }
            ffi::PyObject_Init(object.cast(), kind);
            (&raw mut (*object).vectorcall).write(self.vectorcall);
            (&raw mut (*object).value).write(value);
            Ok(Object { any: Bound::from_owned_ptr(py, object.cast()).unbind(), value: PhantomData })
        }
    }
}

/// Tells PyO3 that this thread is attached, which a thread is that Python calls. Where Python was not entered through PyO3 it does
/// not know, and would put off what is dropped. Not the checked way, which refuses when the interpreter is on its way out:
/// applications' destructors may call what they have kept.
///
/// # Safety
/// For functions that Python calls, and so attached.
pub(super) unsafe fn as_called<T>(work: impl FnOnce(Python<'_>) -> T) -> T {
    // SAFETY: as the caller promises; attaching an attached thread again is a count.
    unsafe { Python::attach_unchecked(work) }
}

unsafe extern "C" fn dealloc<T>(object: *mut ffi::PyObject) {
    // SAFETY: Python calls this once, attached, when the last reference is gone; `object` is one of Kind::object's, which holds a
    // reference to its type since PyObject_Init.
    unsafe {
        let kind = ffi::Py_TYPE(object);
        let value = &raw mut (*object.cast::<Layout<T>>()).value;
        // Nothing may unwind into Python. What a drop leaves undone when it panics is told by the panic's own message.
        let _ = catch_unwind(AssertUnwindSafe(|| as_called(|_| ptr::drop_in_place(value))));
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

unsafe extern "C" fn vectorcall<T: Callable>(
    object: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let work = |py: Python<'_>| {
        // SAFETY: PEP 590: `count` without its flag is the length of `arguments`; `names` is null or a tuple. `object` is one of
        // Kind::object's, borrowed for the call.
        let (pointers, named, object) = unsafe {
            let count = ffi::PyVectorcall_NARGS(count) as usize;
            let pointers = if count == 0 { &[][..] } else { std::slice::from_raw_parts(arguments, count) };
            let named = !names.is_null() && ffi::PyTuple_Size(names) > 0;
            (pointers, named, Object::called(py, object))
        };
        let wanted = T::ARGUMENT_COUNT;
        if named {
            return Err(PyTypeError::new_err(format!("{}() takes no keyword arguments", T::NAME)));
        }
        if !wanted.contains(&pointers.len()) {
            let (least, most, given) = (wanted.start(), wanted.end(), pointers.len());
            let wanted = if least == most { format!("{least}") } else { format!("{least} to {most}") };
            return Err(PyTypeError::new_err(format!("{}() takes {wanted} arguments, not {given}", T::NAME)));
        }
        T::call(&object, &Arguments { pointers, py }).map(Bound::into_ptr)
    };
    let guarded = |py: Python<'_>| {
        // Nothing may unwind into Python.
        let answer = catch_unwind(AssertUnwindSafe(|| work(py))).unwrap_or_else(|_| {
            Err(PySystemError::new_err(format!("{}() failed within the server", T::NAME)))
        });
        answer.unwrap_or_else(|error| {
            error.restore(py);
            ptr::null_mut()
        })
    };
    // SAFETY: Python calls this.
    unsafe { as_called(guarded) }
}
