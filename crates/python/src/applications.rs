//! The applications that a process serves.

use pyo3::prelude::*;
use tidegate_supervisor::Settings;

use crate::gateway::Mounts;
use crate::loader::{self, Kind, LoadError, Loaded};

/// Where an application has its place among those of a process.
pub(crate) struct Mounted {
    /// Its number, by which it is known to the engine.
    pub(crate) number: usize,
    /// The path it is mounted at: empty, or one that begins and does not end with a slash.
    pub(crate) prefix: String,
}

pub(crate) struct Applications<'py> {
    /// Has what is below no mount; there may be none, if there are mounts.
    main: Option<Loaded<'py>>,
    /// By their prefixes.
    mounted: Vec<(String, Loaded<'py>)>,
}

impl<'py> Applications<'py> {
    /// `main`, and what the settings mount beside it.
    pub(crate) fn new(
        py: Python<'py>,
        main: Option<Loaded<'py>>,
        settings: &Settings,
    ) -> Result<Self, LoadError> {
        let mut mounted = Vec::with_capacity(settings.mounts.len());
        for mount in &settings.mounts {
            mounted.push((mount.prefix.clone(), loader::load_mounted(py, mount, settings)?));
        }
        Ok(Self { main, mounted })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Loaded<'py>> {
        self.main.iter().chain(self.mounted.iter().map(|(_, loaded)| loaded))
    }

    /// The first that is called this way.
    pub(crate) fn first(&self, kind: Kind) -> Option<&Loaded<'py>> {
        self.all().find(|loaded| loaded.interface == kind)
    }

    /// A gateway for each, which `make` makes of an application and its place. `script_name` is where all of them are.
    pub(crate) fn mounts<G>(
        &self,
        script_name: &str,
        mut make: impl FnMut(&Loaded<'py>, Mounted) -> PyResult<G>,
    ) -> PyResult<Mounts<G>> {
        let mut number = 0;
        let mut make = |loaded: &Loaded<'py>, prefix: String| {
            number += 1;
            make(loaded, Mounted { number: number - 1, prefix })
        };
        let main = self.main.as_ref().map(|loaded| make(loaded, script_name.to_owned())).transpose()?;
        let mut mounted = Vec::with_capacity(self.mounted.len());
        for (prefix, loaded) in &self.mounted {
            let prefix = format!("{script_name}{prefix}");
            mounted.push((prefix.clone(), make(loaded, prefix)?));
        }
        Ok(Mounts::new(main, mounted))
    }
}
