//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling").

use std::fs::File;
use std::os::fd::{BorrowedFd, RawFd};

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gateway::rest_of_file::RestOfFile;

/// A file as an iterable of blocks. Returned as it is from the application, a regular file is sent by the kernel from its
/// current position on.
#[pyclass(frozen, module = "tidegate", name = "FileWrapper")]
pub(crate) struct FileWrapper {
    file: Py<PyAny>,
    block_size: usize,
}

impl FileWrapper {
    /// The rest of the file, when it is one that the kernel can send; its descriptor is a duplicate.
    pub(crate) fn rest_of_file(&self, py: Python<'_>) -> Option<RestOfFile> {
        // Whatever fails here only means that the file is read and sent in blocks.
        let file = self.file.bind(py);
        if !reads_as_stored(file).ok()? {
            return None;
        }
        let number: RawFd = file.call_method0(intern!(py, "fileno")).ok()?.extract().ok()?;
        let offset: u64 = file.call_method0(intern!(py, "tell")).ok()?.extract().ok()?;
        let file = duplicate(number)?;
        let found = file.metadata().ok()?;
        // Files of the kernel's own, as in /proc, have no size and yet something to read.
        let length = found.len().checked_sub(offset).filter(|length| *length > 0)?;
        found.is_file().then_some(RestOfFile { file, offset, length })
    }
}

/// Whether what `read` gives is what the descriptor holds. Compressed and text files have descriptors too, and a subclass may
/// read as it likes.
fn reads_as_stored(file: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = file.py();
    let io = py.import(intern!(py, "io"))?;
    let is = |object: &Bound<'_, PyAny>, name: &str| io.getattr(name).map(|kind| object.get_type().is(&kind));
    if is(file, "BufferedReader")? || is(file, "BufferedRandom")? {
        return is(&file.getattr(intern!(py, "raw"))?, "FileIO");
    }
    is(file, "FileIO")
}

fn duplicate(number: RawFd) -> Option<File> {
    if number < 0 {
        return None;
    }
    let borrowed: BorrowedFd<'_> = crate::ffi::borrow_descriptor(number);
    borrowed.try_clone_to_owned().ok().map(File::from)
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (file, block_size = 8192, /))]
    fn new(file: Py<PyAny>, block_size: isize) -> PyResult<Self> {
        match usize::try_from(block_size) {
            Ok(block_size) if block_size > 0 => Ok(Self { file, block_size }),
            _ => Err(PyValueError::new_err("block_size must be at least 1")),
        }
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.file.bind(py).call_method1(intern!(py, "read"), (self.block_size,))?;
        let ended = block
            .cast::<PyBytes>()
            .map_or_else(|_| block.is_truthy().map(|some| !some), |b| Ok(b.as_bytes().is_empty()))?;
        Ok(if ended { None } else { Some(block) })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let file = self.file.bind(py);
        if file.hasattr(intern!(py, "close"))? {
            file.call_method0(intern!(py, "close"))?;
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.file)
    }
}
