//! From what other servers call an application to a module and an attribute.

use std::path::{Component, Path};

use super::option::Start;

/// What is imported, and whether it is called to get the application.
#[derive(Debug, PartialEq)]
pub(super) struct Application {
    /// MODULE:ATTR.
    pub(super) spec: String,
    pub(super) is_factory: bool,
}

/// Reads `MODULE`, `MODULE:ATTR` and `MODULE:FACTORY()`; `attribute` is taken where none is named.
pub(super) fn object(text: &str, attribute: Option<&str>) -> Result<Application, String> {
    let (module, named) = match text.split_once(':') {
        Some((module, named)) => (module, Some(named)),
        None => (text, attribute),
    };
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        return Ok(Application { spec: module.to_owned(), is_factory: false });
    };
    if let Some(function) = named.trim().strip_suffix("()") {
        return Ok(Application { spec: format!("{module}:{function}"), is_factory: true });
    }
    if named.contains('(') {
        return Err(format!(
            "a call with arguments cannot be given: write a module with the line \"application = {named}\", and name that"
        ));
    }
    Ok(Application { spec: format!("{module}:{named}"), is_factory: false })
}

/// The module that a file is when it is imported. Its directory is put on Python's path where it does not lie below the one
/// that modules are found in.
pub(super) fn module_of(file: &str, start: &mut Start) -> Result<String, String> {
    let path = Path::new(file);
    if path.extension().is_none_or(|extension| extension != "py") {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().replace(['-', '.'], "_");
        return Err(format!(
            "{file} cannot be imported as a module: make it {name}.py, and give app = \"{name}\""
        ));
    }
    let below = match start.chdir.as_deref().and_then(|directory| path.strip_prefix(directory).ok()) {
        Some(below) => Some(below),
        None => path.is_relative().then_some(path),
    };
    let module = |path: &Path| {
        let mut parts = Vec::new();
        for component in path.with_extension("").components() {
            match component {
                Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
                Component::CurDir => {}
                _ => return None,
            }
        }
        Some(parts.join("."))
    };
    if let Some(module) = below.and_then(module) {
        return Ok(module);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_stem()) else {
        return Err(format!("{file} is no file's name"));
    };
    start.python_path.push(directory.display().to_string());
    Ok(name.to_string_lossy().into_owned())
}
