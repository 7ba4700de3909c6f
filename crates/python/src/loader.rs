//! From `MODULE:ATTR` to an application, and how it is called.

use std::fmt;

use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::prelude::*;
use pyo3::types::PyFunction;
use tidegate_supervisor::{AppSpec, Interface, Mount, Settings, SettingsError, Value};

/// Why there is no application to serve: a line for the operator, and the traceback when the application's own code failed.
pub(crate) struct LoadError {
    pub(crate) line: String,
    pub(crate) cause: Option<PyErr>,
}

impl LoadError {
    /// The same, with the setting that names what is not there. A traceback says enough.
    fn named(self, refusal: impl Fn(&str) -> SettingsError) -> Self {
        match self.cause {
            None => error(refusal(&self.line).message().to_owned()),
            Some(_) => self,
        }
    }
}

impl From<PyErr> for LoadError {
    fn from(cause: PyErr) -> Self {
        Self { line: "the application cannot be loaded".into(), cause: Some(cause) }
    }
}

fn error(line: String) -> LoadError {
    LoadError { line, cause: None }
}

/// How an application is called, once that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By PEP 3333.
    Wsgi,
    /// By ASGI 3.
    Asgi,
}

/// As the banner has it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wsgi => "wsgi",
            Self::Asgi => "asgi",
        })
    }
}

/// An application that can be served.
pub(crate) struct Loaded<'py> {
    /// What lines about it call it.
    pub(crate) name: String,
    pub(crate) application: Bound<'py, PyAny>,
    pub(crate) interface: Kind,
}

/// Names looked for when the operator gives only a module.
const USUAL_NAMES: [&str; 2] = ["application", "app"];

/// The application that the command names: imported, made if a factory makes it, and told.
pub(crate) fn load<'py>(
    py: Python<'py>,
    spec: &AppSpec,
    settings: &Settings,
) -> Result<Loaded<'py>, LoadError> {
    let found = find(py, spec).map_err(|error| error.named(|line| settings.refusal("app", line)))?;
    if settings.factory {
        tell(make(&found, spec)?, format!("what the factory made of {spec}"), settings.interface)
    } else {
        tell(found, spec.to_string(), settings.interface)
    }
}

/// An application that is mounted: what is said of the main one's interface and factory is not said of this one.
pub(crate) fn load_mounted<'py>(
    py: Python<'py>,
    mount: &Mount,
    settings: &Settings,
) -> Result<Loaded<'py>, LoadError> {
    let value = || Some(Value::Text(mount.to_string()));
    let found = find(py, &mount.app)
        .map_err(|error| error.named(|line| settings.refusal_of("mount", value(), line)))?;
    tell(found, mount.app.to_string(), Interface::Auto)
}

/// Sees how the application is called, unless the operator says it. What does not tell is taken for WSGI's: so much of that is
/// wrapped by functions that take anything.
pub(crate) fn tell<'py>(
    application: Bound<'py, PyAny>,
    name: String,
    interface: Interface,
) -> Result<Loaded<'py>, LoadError> {
    callable(&application, &name)?;
    let interface = match interface {
        // It would be called, never awaited, and answer nothing.
        Interface::Wsgi if is_coroutine_function(&application)? => {
            return Err(error(format!("{name} is a coroutine function, and no WSGI application")));
        }
        Interface::Wsgi => Kind::Wsgi,
        Interface::Asgi => Kind::Asgi,
        Interface::Auto => verdict(&application, &name)?.unwrap_or(Kind::Wsgi),
    };
    Ok(Loaded { name, application, interface })
}

/// What a plain function says by its code, which spares small applications the import of `inspect`.
fn at_a_glance(application: &Bound<'_, PyAny>) -> PyResult<Option<Kind>> {
    // From CPython's code.h: more may be passed than there are names for, or what is returned is to be awaited or iterated.
    const VARARGS: u32 = 0x04;
    const COROUTINE: u32 = 0x80;
    const ITERABLE_COROUTINE: u32 = 0x100;
    const ASYNC_GENERATOR: u32 = 0x200;
    let Ok(function) = application.cast_exact::<PyFunction>() else { return Ok(None) };
    // Attributes may say that it is something else; arguments that need not be passed leave it open.
    let is_marked = function.getattr("__dict__")?.is_truthy()?;
    if is_marked || !function.getattr("__defaults__")?.is_none() {
        return Ok(None);
    }
    let code = function.getattr("__code__")?;
    let flags: u32 = code.getattr("co_flags")?.extract()?;
    let count: u32 = code.getattr("co_argcount")?.extract()?;
    Ok(match (flags & (VARARGS | COROUTINE | ITERABLE_COROUTINE | ASYNC_GENERATOR), count) {
        (0, 2) => Some(Kind::Wsgi),
        (COROUTINE, 3) => Some(Kind::Asgi),
        _ => None,
    })
}

/// What the signature says, if it does.
fn verdict(application: &Bound<'_, PyAny>, name: &str) -> Result<Option<Kind>, LoadError> {
    if let Some(kind) = at_a_glance(application)? {
        return Ok(Some(kind));
    }
    let verdict = interfaces(application.py())?.call_method1("tell", (application,))?;
    match verdict.extract::<(Option<String>, Option<String>)>()? {
        (_, Some(fault)) => Err(error(format!("{name} {fault}"))),
        (Some(interface), None) if interface == "asgi" => Ok(Some(Kind::Asgi)),
        (Some(_), None) => Ok(Some(Kind::Wsgi)),
        (None, None) => Ok(None),
    }
}

fn is_coroutine_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Some(kind) = at_a_glance(function)? {
        return Ok(kind == Kind::Asgi);
    }
    interfaces(function.py())?.call_method1("is_coroutine_function", (function,))?.extract()
}

fn interfaces(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("tidegate._interface")
}

fn find<'py>(py: Python<'py>, spec: &AppSpec) -> Result<Bound<'py, PyAny>, LoadError> {
    let module = import(py, spec)?;
    let Some(path) = &spec.attribute else {
        for name in USUAL_NAMES {
            if let Some(found) = module.getattr_opt(name)? {
                return Ok(found);
            }
        }
        return Err(error(format!(
            "module {:?} has neither \"application\" nor \"app\": name the attribute, as in {}:ATTR",
            spec.module, spec.module
        )));
    };
    let mut found = module;
    for name in path.split('.') {
        found = attribute(&found, name, spec)?;
    }
    Ok(found)
}

/// Calls a factory. No loop runs yet that could await what an asynchronous one gives.
fn make<'py>(factory: &Bound<'py, PyAny>, spec: &AppSpec) -> Result<Bound<'py, PyAny>, LoadError> {
    callable(factory, &format!("--factory: {spec}"))?;
    let asynchronous =
        || error(format!("--factory: {spec} is asynchronous; a factory must return the application"));
    if is_coroutine_function(factory)? {
        return Err(asynchronous());
    }
    let made = factory
        .call0()
        .map_err(|cause| LoadError { line: format!("the factory {spec} failed"), cause: Some(cause) })?;
    if made.py().import("inspect")?.call_method1("iscoroutine", (&made,))?.extract()? {
        // Or Python would warn that it was never awaited.
        made.call_method0("close")?;
        return Err(asynchronous());
    }
    Ok(made)
}

fn import<'py>(py: Python<'py>, spec: &AppSpec) -> Result<Bound<'py, PyAny>, LoadError> {
    match py.import(spec.module.as_str()) {
        Ok(module) => Ok(module.into_any()),
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

fn callable(object: &Bound<'_, PyAny>, name: &str) -> Result<(), LoadError> {
    if object.is_callable() {
        return Ok(());
    }
    let kind = object.get_type().name()?;
    Err(error(format!("{name} is not callable: it is of type {kind}")))
}
