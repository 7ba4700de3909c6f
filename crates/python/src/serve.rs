//! From settings to a running server: load, bind, serve, end.

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::{PyModuleNotFoundError, PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use tidegate_engine::{
    AccessLog, Listener, LocalAddress, Reactor, SignalWatch, bind_all, raise_descriptor_limit,
};
use tidegate_supervisor::{
    self as supervisor, AppSpec, Concurrency, EventLoop, Outcome, RunsOn, Settings, SettingsError, Value,
};

use crate::ffi;
use crate::gateway::{Wsgi, WsgiOptions};
use crate::host::{
    GEVENT_NEEDED, GreenletsHost, InlineHost, ThreadsHost, ThreadsOptions, patch_standard_library,
    standard_library_is_patched,
};
use crate::loader::{self, Kind, LoadError, Loaded};
use crate::log_to_stderr;
use crate::translate;

/// Exit statuses of the command.
const STATUS_OK: i32 = 0;
const STATUS_FAILED: i32 = 1;
const STATUS_BAD_SETTINGS: i32 = 2;

/// What keeps a server from running: one line for the operator.
struct Refusal {
    line: String,
    cause: Option<PyErr>,
    /// It is the settings that are at fault, and not the system.
    by_settings: bool,
}

impl Refusal {
    fn new(line: String) -> Self {
        Self { line, cause: None, by_settings: false }
    }
}

impl From<SettingsError> for Refusal {
    fn from(error: SettingsError) -> Self {
        Self { line: error.message().to_owned(), cause: None, by_settings: true }
    }
}

impl From<PyErr> for Refusal {
    fn from(cause: PyErr) -> Self {
        Self { line: "the server failed".into(), cause: Some(cause), by_settings: false }
    }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        Self { line: error.line, cause: error.cause, by_settings: false }
    }
}

/// What is served: one application, and by their prefixes those that are mounted beside it.
struct Applications<'py> {
    main: Loaded<'py>,
    mounted: Vec<(String, Loaded<'py>)>,
}

impl<'py> Applications<'py> {
    fn all(&self) -> impl Iterator<Item = &Loaded<'py>> {
        std::iter::once(&self.main).chain(self.mounted.iter().map(|(_, loaded)| loaded))
    }

    /// The first that is called by ASGI.
    fn asgi(&self) -> Option<&Loaded<'py>> {
        self.all().find(|loaded| loaded.interface == Kind::Asgi)
    }
}

/// The command `tidegate`: `arguments` are those after the program's name. Gives the exit status.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<i32> {
    let cwd = std::env::current_dir()?;
    let settings = match supervisor::from_command_line(&arguments, &mut std::env::vars_os(), &cwd) {
        Ok(Outcome::Run(settings)) => settings,
        Ok(Outcome::Print(text)) => {
            // A reader that has seen enough (`| head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return Ok(STATUS_OK);
        }
        Err(error) => {
            say(&error.to_string());
            return Ok(STATUS_BAD_SETTINGS);
        }
    };
    match run_command(py, &settings) {
        Ok(()) => Ok(STATUS_OK),
        Err(refusal) => {
            say(&format!("tidegate: {}", refusal.line));
            match refusal.cause {
                Some(cause) => {
                    cause.print(py);
                    Ok(STATUS_FAILED)
                }
                None => Ok(STATUS_BAD_SETTINGS),
            }
        }
    }
}

fn run_command(py: Python<'_>, settings: &Settings) -> Result<(), Refusal> {
    let Some(spec) = &settings.app else {
        return Err(Refusal::new("no application given: tidegate MODULE:ATTR".into()));
    };
    if let Some(directory) = &settings.chdir {
        std::env::set_current_dir(directory)
            .map_err(|error| Refusal::new(format!("--chdir {:?}: {error}", directory.display())))?;
    }
    // As `python -m` does: modules in the working directory are found first.
    let directory = std::env::current_dir().map_err(PyErr::from)?;
    py.import("sys")?.getattr("path")?.call_method1("insert", (0, directory.as_os_str()))?;
    log_to_stderr::set_level(translate::log_level(settings.log_level));
    if let Err(error) = raise_descriptor_limit(settings.connections_max) {
        log::warn!("the limit of open descriptors stays as it is: {error}");
    }
    if settings.concurrency == Concurrency::Greenlets {
        patch(py, spec, settings)?;
    }
    // Loaded before anything is bound, so that nobody connects to a server that will not be.
    let collector = Collector::of(py)?;
    let applications = load(py, spec, settings)?;
    collector.relax(py, settings.gc_threshold)?;
    let interface = applications.main.interface;
    run(py, applications, settings, |_, addresses, runs_on| {
        for address in addresses {
            say(&format!(
                "tidegate {} listening on {address} ({interface}, {}, pid {})",
                env!("CARGO_PKG_VERSION"),
                host_name(settings, runs_on),
                std::process::id()
            ));
        }
        Ok(())
    })
}

fn load<'py>(py: Python<'py>, spec: &AppSpec, settings: &Settings) -> Result<Applications<'py>, LoadError> {
    let main = loader::load(py, spec, settings)?;
    let mut mounted = Vec::with_capacity(settings.mounts.len());
    for mount in &settings.mounts {
        let loaded = loader::load_mounted(py, &mount.app, settings.concurrency)?;
        mounted.push((mount.prefix.clone(), loaded));
    }
    Ok(Applications { main, mounted })
}

/// Python's search for garbage cycles, as it was before the application was imported.
#[derive(PartialEq)]
struct Collector {
    enabled: bool,
    thresholds: (u32, u32, u32),
}

impl Collector {
    fn of(py: Python<'_>) -> PyResult<Self> {
        let gc = py.import("gc")?;
        let enabled = gc.call_method0("isenabled")?.extract()?;
        Ok(Self { enabled, thresholds: gc.call_method0("get_threshold")?.extract()? })
    }

    /// Has it look less often, and not among what was imported, unless the application has had a say.
    fn relax(&self, py: Python<'_>, threshold: u32) -> PyResult<()> {
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

/// What requests run on, as the banner says it.
fn host_name(settings: &Settings, runs_on: RunsOn) -> String {
    match runs_on {
        RunsOn::MainThread | RunsOn::Threads => format!("threads {}", settings.threads),
        RunsOn::Greenlets => format!("greenlets {}", settings.concurrency_max(runs_on)),
        RunsOn::Asyncio => "asyncio".into(),
    }
}

/// Has gevent patch the standard library before the application is imported.
fn patch(py: Python<'_>, spec: &AppSpec, settings: &Settings) -> Result<(), Refusal> {
    let modules = py.import("sys")?.getattr("modules")?;
    if modules.contains(spec.module.as_str())? {
        let reason =
            format!("{} was imported before gevent could patch the standard library", spec.module.as_str());
        return Err(settings.refusal("concurrency", &reason).into());
    }
    patch_standard_library(py).map_err(|(reason, cause)| {
        let refusal = Refusal::from(settings.refusal("concurrency", reason));
        Refusal { cause, ..refusal }
    })
}

/// Runs `application` in this process until it is stopped.
#[pyfunction]
#[pyo3(signature = (application, /, *, on_ready = None, **settings))]
pub(crate) fn serve(
    py: Python<'_>,
    application: Bound<'_, PyAny>,
    on_ready: Option<Bound<'_, PyAny>>,
    settings: Option<Bound<'_, PyDict>>,
) -> PyResult<()> {
    let mut values = Vec::new();
    for (name, value) in settings.iter().flatten() {
        // None stands for the default, as in signatures.
        if value.is_none() {
            continue;
        }
        let name: String = name.extract()?;
        let value = value_of(&value)
            .ok_or_else(|| PyTypeError::new_err(format!("{name}: not a value that a setting can have")))?;
        values.push((name, value));
    }
    let settings = supervisor::from_python(&values)
        .map_err(|error| PyValueError::new_err(error.message().to_owned()))?;
    log_to_stderr::set_level(translate::log_level(settings.log_level));
    let advice = "interface=\"wsgi\" or interface=\"asgi\" says it";
    let name = "the application".to_owned();
    let main = loader::tell(application, name, settings.interface, settings.concurrency, advice)
        .map_err(|error| error.cause.unwrap_or_else(|| PyTypeError::new_err(error.line)))?;
    let applications = Applications { main, mounted: Vec::new() };
    let outcome = run(py, applications, &settings, |py, addresses, _| match &on_ready {
        None => Ok(()),
        Some(on_ready) => {
            let list = PyList::empty(py);
            for address in addresses {
                match address {
                    LocalAddress::Inet(address) => list.append((address.ip().to_string(), address.port()))?,
                    LocalAddress::Unix(path) => list.append(path.as_os_str())?,
                }
            }
            on_ready.call1((list,)).map(|_| ())
        }
    });
    outcome.map_err(|refusal| match refusal.cause {
        Some(cause) => cause,
        None if refusal.by_settings => PyValueError::new_err(refusal.line),
        None => PyOSError::new_err(refusal.line),
    })
}

/// What `socket.getsockname` and people's scripts give: text, numbers, paths, and lists of them.
fn value_of(value: &Bound<'_, PyAny>) -> Option<Value> {
    if let Ok(value) = value.extract::<bool>() {
        return Some(Value::Bool(value));
    }
    if let Ok(value) = value.extract::<i64>() {
        return Some(Value::Int(value));
    }
    if let Ok(value) = value.extract::<f64>() {
        return Some(Value::Float(value));
    }
    if let Ok(value) = value.extract::<String>() {
        return Some(Value::Text(value));
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let items = value.try_iter().ok()?.map(|item| value_of(&item.ok()?));
        return Some(Value::List(items.collect::<Option<Vec<_>>>()?));
    }
    let path: std::path::PathBuf = value.extract().ok()?;
    Some(Value::Text(path.to_str()?.to_owned()))
}

fn run(
    py: Python<'_>,
    applications: Applications<'_>,
    settings: &Settings,
    on_ready: impl FnOnce(Python<'_>, &[LocalAddress], RunsOn) -> PyResult<()>,
) -> Result<(), Refusal> {
    let runs_on = settings.runs_on(applications.asgi().is_some());
    for Loaded { name, interface, .. } in applications.all() {
        let article = if *interface == Kind::Wsgi { "a WSGI" } else { "an ASGI" };
        log::debug!("{name} is {article} application ({})", host_name(settings, runs_on));
    }
    check_host(py, settings, &applications, runs_on)?;
    let listeners = bind(settings)?;
    let access_log = match translate::access_log(settings) {
        None => None,
        Some((target, format)) => Some(
            AccessLog::start(&target, format)
                .map_err(|error| Refusal::new(format!("the access log cannot be opened: {error}")))?,
        ),
    };
    let engine = translate::engine(settings, runs_on);
    let graceful = Duration::from_millis(engine.graceful_timeout_ms);
    let reactor = Reactor::new(listeners, engine, access_log).map_err(PyErr::from)?;
    let addresses = reactor.addresses();
    let handle = reactor.handle();
    let options = WsgiOptions {
        script_name: settings.script_name.clone(),
        multithread: runs_on != RunsOn::MainThread,
        hop_by_hop: translate::hop_by_hop(settings.hop_by_hop),
    };
    if let Some((prefix, _)) = applications.mounted.first() {
        return Err(settings.refusal("mount", &format!("this version mounts nothing at {prefix}")).into());
    }
    let application = applications.main.application.unbind();
    let mut interrupt: fn() = ffi::interrupt_main_thread;
    let serve: Box<dyn FnOnce(Python<'_>) -> PyResult<()>> = match runs_on {
        RunsOn::MainThread => {
            let host = InlineHost::new(reactor);
            let gateway = Wsgi::new(py, application, host.clone(), options)?;
            Box::new(move |py| host.run(py, &gateway))
        }
        RunsOn::Greenlets => {
            let host = GreenletsHost::new(py, reactor, settings.cancel_on_disconnect)?;
            let gateway = Arc::new(Wsgi::new(py, application, host.clone(), options)?);
            Box::new(move |py| host.run(py, gateway))
        }
        RunsOn::Threads => {
            // Where the main thread runs no calls, interrupting it ends none.
            interrupt = || {};
            let host = ThreadsHost::new(
                reactor,
                ThreadsOptions {
                    threads_max: settings.threads,
                    stack_size: settings.thread_stack_size,
                    idle: Duration::from_millis(settings.thread_idle_timeout_ms),
                },
            );
            let gateway = Arc::new(Wsgi::new(py, application, host.clone(), options)?);
            Box::new(move |py| host.run(py, gateway))
        }
        RunsOn::Asyncio => {
            return Err(settings.refusal("concurrency", "this version does not run on asyncio").into());
        }
    };
    let watch = SignalWatch::start(&handle, graceful, interrupt, || {
        say("tidegate: the application does not let go; the process ends");
    })
    .map_err(PyErr::from)?;
    let served = on_ready(py, &addresses, runs_on).and_then(|()| serve(py));
    py.detach(|| {
        // Its threads are joined, and may be in the middle of a message.
        drop(watch);
        // Not left to the last owner: an application may keep a finished request's objects, and with them all of this.
        handle.finish_access_log();
    });
    served.map_err(Refusal::from)
}

/// What settings ask of one another, of the applications, and of the process.
fn check_host(
    py: Python<'_>,
    settings: &Settings,
    applications: &Applications<'_>,
    runs_on: RunsOn,
) -> Result<(), Refusal> {
    let refuse = |name, reason: &str| Err(settings.refusal(name, reason).into());
    match (runs_on, applications.asgi()) {
        (RunsOn::Asyncio, _) if settings.event_loop == EventLoop::Uvloop => match py.import("uvloop") {
            Ok(_) => Ok(()),
            Err(error) if error.is_instance_of::<PyModuleNotFoundError>(py) => {
                refuse("loop", "needs uvloop: pip install 'tidegate[uvloop]'")
            }
            Err(error) => Err(error.into()),
        },
        (RunsOn::Asyncio, _) => Ok(()),
        (_, Some(asgi)) => {
            refuse("concurrency", &format!("{} is an ASGI application; accepted: auto, asyncio", asgi.name))
        }
        (RunsOn::MainThread | RunsOn::Threads, None) if settings.cancel_on_disconnect => refuse(
            "cancel-on-disconnect",
            "only with concurrency greenlets or asyncio; threads look at environ['tidegate.cancelled']",
        ),
        (RunsOn::MainThread | RunsOn::Threads, None) => Ok(()),
        (RunsOn::Greenlets, None) => match standard_library_is_patched(py) {
            Ok(true) => Ok(()),
            Ok(false) => refuse(
                "concurrency",
                "gevent.monkey.patch_all() must be called before the application is imported",
            ),
            Err(_) => refuse("concurrency", GEVENT_NEEDED),
        },
    }
}

fn bind(settings: &Settings) -> Result<Vec<Listener>, Refusal> {
    let addresses = translate::bind_addresses(settings);
    bind_all(&addresses, settings.backlog).map_err(|(address, error)| {
        let reason = match error.kind() {
            std::io::ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            _ => error.to_string(),
        };
        Refusal::new(format!("--bind {address}: {reason}"))
    })
}

fn say(line: &str) {
    // Standard error may be closed; then there is nobody to tell.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
