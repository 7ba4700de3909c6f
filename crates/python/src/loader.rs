//! From `MODULE:ATTR` to an application.

use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::prelude::*;
use tidegate_supervisor::AppSpec;

/// Why there is no application to serve: a line for the operator, and the traceback when the application's own code failed.
pub(crate) struct LoadError {
    pub(crate) line: String,
    pub(crate) cause: Option<PyErr>,
}

impl From<PyErr> for LoadError {
    fn from(cause: PyErr) -> Self {
        Self { line: "the application cannot be loaded".into(), cause: Some(cause) }
    }
}

fn error(line: String) -> LoadError {
    LoadError { line, cause: None }
}

/// Names looked for when the operator gives only a module.
const USUAL_NAMES: [&str; 2] = ["application", "app"];

/// How an application is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Wsgi,
    Asgi,
}

/// Imports the module, finds the attribute, calls it first if it is a factory, and checks that it can be called.
pub(crate) fn load<'py>(
    py: Python<'py>,
    spec: &AppSpec,
    factory: bool,
) -> Result<Bound<'py, PyAny>, LoadError> {
    let module = import(py, spec)?;
    let found = match &spec.attribute {
        Some(path) => {
            let mut found = module;
            for name in path.split('.') {
                found = attribute(&found, name, spec)?;
            }
            found
        }
        None => {
            let mut found = None;
            for name in USUAL_NAMES {
                if found.is_none() {
                    found = module.getattr_opt(name)?;
                }
            }
            found.ok_or_else(|| {
                error(format!(
                    "module {:?} has neither \"application\" nor \"app\": name the attribute, as in {}:ATTR",
                    spec.module, spec.module
                ))
            })?
        }
    };
    let application = if factory {
        callable(&found, spec, "--factory: ")?;
        found
            .call0()
            .map_err(|cause| LoadError { line: format!("the factory {spec} failed"), cause: Some(cause) })?
    } else {
        found
    };
    callable(&application, spec, if factory { "what the factory made of " } else { "" })?;
    Ok(application)
}

fn import<'py>(py: Python<'py>, spec: &AppSpec) -> Result<Bound<'py, PyAny>, LoadError> {
    match py.import("importlib")?.call_method1("import_module", (&spec.module,)) {
        Ok(module) => Ok(module),
        Err(cause) if is_about(py, &cause, &spec.module) => {
            let path: Vec<String> = py.import("sys")?.getattr("path")?.extract()?;
            Err(error(format!("no module named {:?}; searched {}", spec.module, path.join(", "))))
        }
        Err(cause) => {
            Err(LoadError { line: format!("importing {:?} failed", spec.module), cause: Some(cause) })
        }
    }
}

/// Whether the module that was not found is the one asked for, or a package that it is in, and not one that it imports.
fn is_about(py: Python<'_>, cause: &PyErr, module: &str) -> bool {
    if !cause.is_instance_of::<PyModuleNotFoundError>(py) {
        return false;
    }
    let missing: Option<String> = cause.value(py).getattr("name").and_then(|name| name.extract()).ok();
    missing.is_some_and(|missing| module == missing || module.starts_with(&format!("{missing}.")))
}

fn attribute<'py>(
    owner: &Bound<'py, PyAny>,
    name: &str,
    spec: &AppSpec,
) -> Result<Bound<'py, PyAny>, LoadError> {
    if let Some(found) = owner.getattr_opt(name)? {
        return Ok(found);
    }
    let near: Vec<String> =
        owner.py().import("difflib")?.call_method1("get_close_matches", (name, owner.dir()?))?.extract()?;
    let hint = if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) };
    Err(error(format!("module {:?} has no attribute {name:?}{hint}", spec.module)))
}

fn callable(application: &Bound<'_, PyAny>, spec: &AppSpec, what: &str) -> Result<(), LoadError> {
    if application.is_callable() {
        return Ok(());
    }
    let kind = application.get_type().name()?;
    Err(error(format!("{what}{spec} is not callable: it is of type {kind}")))
}

/// How the application is called, by what it is: coroutine functions, and objects whose `__call__` is one, are ASGI's.
pub(crate) fn kind_of(application: &Bound<'_, PyAny>) -> PyResult<Kind> {
    let py = application.py();
    let inspect = py.import("inspect")?;
    let is_coroutine = |object: &Bound<'_, PyAny>| -> PyResult<bool> {
        inspect.call_method1("iscoroutinefunction", (object,))?.is_truthy()
    };
    let partial = py.import("functools")?.getattr("partial")?;
    let mut application = application.clone();
    // Of partials within partials the innermost function counts; it has an end, as each is made of one that was there.
    let whole = application.clone();
    while application.is_instance(&partial)? {
        application = application.getattr("func")?;
    }
    let unwrapped = inspect.call_method1("unwrap", (&application,)).unwrap_or_else(|_| application.clone());
    let is_class = application.is_instance_of::<pyo3::types::PyType>();
    let by_call = application.getattr_opt("__call__")?.filter(|_| !is_class);
    let by_call = by_call.map(|call| inspect.call_method1("unwrap", (call,))).transpose()?;
    let asgi = is_coroutine(&application)?
        || is_coroutine(&unwrapped)?
        || by_call.map(|call| is_coroutine(&call)).transpose()? == Some(true)
        // A class that is called with scope, receive and send, and whose instances are awaited.
        || is_class && application.hasattr("__await__")?;
    let asgi = asgi || takes_three(&inspect, &whole).unwrap_or(false);
    Ok(if asgi { Kind::Asgi } else { Kind::Wsgi })
}

/// Whether it must be called with three arguments, as scope, receive and send are.
fn takes_three(inspect: &Bound<'_, PyModule>, application: &Bound<'_, PyAny>) -> PyResult<bool> {
    let signature = inspect.call_method1("signature", (application,))?;
    let parameter = inspect.getattr("Parameter")?;
    let (empty, positional) = (
        parameter.getattr("empty")?,
        [parameter.getattr("POSITIONAL_ONLY")?, parameter.getattr("POSITIONAL_OR_KEYWORD")?],
    );
    let mut required = 0;
    for parameter in signature.getattr("parameters")?.call_method0("values")?.try_iter()? {
        let parameter = parameter?;
        let kind = parameter.getattr("kind")?;
        let counts = kind.eq(&positional[0])? || kind.eq(&positional[1])?;
        if counts && parameter.getattr("default")?.is(&empty) {
            required += 1;
        }
    }
    Ok(required == 3)
}
