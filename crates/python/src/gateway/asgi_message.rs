//! Reading the messages that an ASGI application sends. What is wrong with one is said by its type, its key and the rule.

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyInt, PyList, PyMemoryView, PyString, PyTuple};

/// A message, its type and where its rules stand.
pub(crate) struct Message<'a, 'py> {
    pub(crate) fields: &'a Bound<'py, PyDict>,
    pub(crate) kind: &'a str,
    pub(crate) rule: &'static str,
}

/// The message as a dict.
pub(crate) fn as_dict<'a, 'py>(message: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyDict>> {
    message.cast::<PyDict>().map_err(|_| match message.get_type().name() {
        Ok(kind) => PyTypeError::new_err(format!("send() takes a dict, not {kind} [ASGI, Applications]")),
        Err(error) => error,
    })
}

/// The `type` of a message.
pub(crate) fn kind_of<'py>(
    message: &Bound<'py, PyDict>,
    key: &Py<PyString>,
) -> PyResult<Bound<'py, PyString>> {
    match message.get_item(key)? {
        Some(kind) => kind
            .cast_into()
            .map_err(|_| PyTypeError::new_err("a message's \"type\" must be a str [ASGI, Events]")),
        None => Err(PyValueError::new_err("a message must have a \"type\" [ASGI, Events]")),
    }
}

impl<'py> Message<'_, 'py> {
    pub(crate) fn wrong_type(&self, key: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
        match value.get_type().name() {
            Ok(kind) => PyTypeError::new_err(format!(
                "{}: \"{key}\" must be {wanted}, not {kind} [{}]",
                self.kind, self.rule
            )),
            Err(error) => error,
        }
    }

    pub(crate) fn wrong_value(&self, key: &str, fault: impl std::fmt::Display) -> PyErr {
        PyValueError::new_err(format!("{}: \"{key}\": {fault} [{}]", self.kind, self.rule))
    }

    /// The system refuses what a key names: the exception is the one that Python has for it (FileNotFoundError and its like).
    pub(crate) fn failed(&self, key: &str, named: impl std::fmt::Display, error: &std::io::Error) -> PyErr {
        let text = format!("{}: \"{key}\": {error}: {named} [{}]", self.kind, self.rule);
        PyErr::from(std::io::Error::new(error.kind(), text))
    }

    /// The message as a whole is not valid.
    pub(crate) fn invalid(&self, fault: impl std::fmt::Display) -> PyErr {
        PyValueError::new_err(format!("{}: {fault} [{}]", self.kind, self.rule))
    }

    /// The message comes when it may not.
    pub(crate) fn out_of_order(&self, fault: impl std::fmt::Display) -> PyErr {
        PyRuntimeError::new_err(format!("{}: {fault} [{}]", self.kind, self.rule))
    }

    /// The value of a key, unless it is missing or None.
    pub(crate) fn given(&self, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.fields.get_item(key)?.filter(|value| !value.is_none()))
    }

    /// A str that can be sent: UTF-8 has no lone surrogates (RFC 3629 section 3).
    pub(crate) fn text<'a>(&self, key: &str, value: &'a Bound<'py, PyAny>) -> PyResult<&'a str> {
        let text = value.cast::<PyString>().map_err(|_| self.wrong_type(key, "a str", value))?;
        text.to_str().map_err(|error| self.wrong_value(key, error.value(value.py())))
    }

    /// The status of a response, a final one.
    pub(crate) fn status(&self, key: &Py<PyString>) -> PyResult<u16> {
        u16::try_from(self.number("status", &self.require(key)?)?)
            .ok()
            .filter(|status| (200..=599).contains(status))
            .ok_or_else(|| self.wrong_value("status", "a final status is 200 to 599"))
    }

    pub(crate) fn require(&self, key: &Py<PyString>) -> PyResult<Bound<'py, PyAny>> {
        match self.fields.get_item(key)? {
            Some(value) => Ok(value),
            None => {
                let key = key.bind(self.fields.py());
                Err(PyValueError::new_err(format!("{}: \"{key}\" is missing [{}]", self.kind, self.rule)))
            }
        }
    }

    /// A number that is no bool, within 64 bits.
    pub(crate) fn number(&self, key: &str, value: &Bound<'py, PyAny>) -> PyResult<i64> {
        if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
            return Err(self.wrong_type(key, "an int", value));
        }
        value.extract().map_err(|_| self.wrong_value(key, "too large a number"))
    }

    /// A bool that is false when it is missing. What Python takes for one is taken.
    pub(crate) fn flag(&self, key: &Py<PyString>) -> PyResult<bool> {
        match self.fields.get_item(key)? {
            Some(value) => value.is_truthy(),
            None => Ok(false),
        }
    }

    /// Bytes; none when they are missing. A bytearray or memoryview is copied.
    pub(crate) fn bytes(&self, key: &Py<PyString>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(value) = self.fields.get_item(key)? else { return Ok(None) };
        let value = match value.cast_into::<PyBytes>() {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) => error.into_inner(),
        };
        let py = value.py();
        if !value.is_instance_of::<PyMemoryView>() && !value.is_instance_of::<PyByteArray>() {
            return Err(self.wrong_type(&key.bind(py).to_string(), "bytes", &value));
        }
        let bytes = py.get_type::<PyBytes>().call1((value,))?;
        Ok(Some(bytes.cast_into().map_err(PyErr::from)?))
    }

    /// Calls `take` with each name and value of a list of headers; none when the key is missing.
    pub(crate) fn headers(
        &self,
        key: &Py<PyString>,
        mut take: impl FnMut(&Self, &[u8], &[u8]) -> PyResult<()>,
    ) -> PyResult<()> {
        let Some(headers) = self.fields.get_item(key)? else { return Ok(()) };
        let wanted = "an iterable of [name, value] pairs of bytes";
        let mut take = |pair: Bound<'py, PyAny>| {
            let (name, value) = match pair.cast::<PyTuple>() {
                Ok(tuple) if tuple.len() == 2 => (tuple.get_item(0)?, tuple.get_item(1)?),
                _ => {
                    if pair.len().ok() != Some(2) {
                        return Err(self.wrong_type("headers", wanted, &pair));
                    }
                    (pair.get_item(0)?, pair.get_item(1)?)
                }
            };
            let name =
                name.cast::<PyBytes>().map_err(|_| self.wrong_type("headers", "pairs of bytes", &name))?;
            let value =
                value.cast::<PyBytes>().map_err(|_| self.wrong_type("headers", "pairs of bytes", &value))?;
            take(self, name.as_bytes(), value.as_bytes())
        };
        // As nearly everybody has them, without an iterator.
        if let Ok(list) = headers.cast_exact::<PyList>() {
            return list.iter().try_for_each(take);
        }
        let pairs = headers.try_iter().map_err(|_| self.wrong_type("headers", wanted, &headers))?;
        for pair in pairs {
            take(pair?)?;
        }
        Ok(())
    }
}
