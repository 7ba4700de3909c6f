//! Python's search for garbage cycles.

use pyo3::prelude::*;

/// Python's search for garbage cycles, as it was before the application was imported.
#[derive(PartialEq)]
pub(crate) struct Collector {
    enabled: bool,
    thresholds: (u32, u32, u32),
}

impl Collector {
    pub(crate) fn of(py: Python<'_>) -> PyResult<Self> {
        let gc = py.import("gc")?;
        let enabled = gc.call_method0("isenabled")?.extract()?;
        Ok(Self { enabled, thresholds: gc.call_method0("get_threshold")?.extract()? })
    }

    /// Has it look less often, and not among what was imported, unless the application has had a say.
    pub(crate) fn relax(&self, py: Python<'_>, threshold: u32) -> PyResult<()> {
        if threshold == 0 || !self.enabled || *self != Self::of(py)? {
            return Ok(());
        }
        let gc = py.import("gc")?;
        gc.call_method0("collect")?;
        gc.call_method0("freeze")?;
        let (_, second, third) = self.thresholds;
        gc.call_method1("set_threshold", (threshold, second, third))?;
        Ok(())
    }
}
