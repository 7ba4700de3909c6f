//! Python's search for garbage cycles.

use pyo3::prelude::*;

/// Python's search for garbage cycles, as it was before the application was imported.
pub(crate) struct Collector {
    /// None: it is left alone.
    threshold: Option<u32>,
    settings: Settings,
    /// Objects that are not looked at because they were there before.
    spared: usize,
}

#[derive(PartialEq)]
struct Settings {
    enabled: bool,
    thresholds: (u32, u32, u32),
}

impl Settings {
    fn of(gc: &Bound<'_, PyModule>) -> PyResult<Self> {
        let enabled = gc.call_method0("isenabled")?.extract()?;
        Ok(Self { enabled, thresholds: gc.call_method0("get_threshold")?.extract()? })
    }
}

impl Collector {
    /// Has it leave alone what there is: to look at an object is to write to it, and a worker shares these with its supervisor.
    pub(crate) fn spare(py: Python<'_>, threshold: u32) -> PyResult<Self> {
        let gc = py.import("gc")?;
        let settings = Settings::of(&gc)?;
        let threshold = Some(threshold).filter(|threshold| *threshold > 0 && settings.enabled);
        if threshold.is_some() {
            gc.call_method0("freeze")?;
        }
        let spared = gc.call_method0("get_freeze_count")?.extract()?;
        Ok(Self { threshold, settings, spared })
    }

    /// Has it look less often, and not among what was imported, unless the application has had a say.
    pub(crate) fn relax(&self, py: Python<'_>) -> PyResult<()> {
        let Some(threshold) = self.threshold else { return Ok(()) };
        let gc = py.import("gc")?;
        let frozen: usize = gc.call_method0("get_freeze_count")?.extract()?;
        if self.settings != Settings::of(&gc)? {
            // What it has frozen itself stays so.
            if frozen <= self.spared {
                gc.call_method0("unfreeze")?;
            }
            return Ok(());
        }
        gc.call_method0("collect")?;
        gc.call_method0("freeze")?;
        let (_, second, third) = self.settings.thresholds;
        gc.call_method1("set_threshold", (threshold, second, third))?;
        Ok(())
    }
}
