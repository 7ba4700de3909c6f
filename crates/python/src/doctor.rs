//! `tidegate doctor`: the checks, put together. What needs the application is done in a process of its own, which becomes what a worker
//! would be.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};
use tidegate_engine::{OTHER_DESCRIPTORS, raise_descriptor_limit};
use tidegate_supervisor::doctor::{self, Finding, Machine, Runs, Verdict};
use tidegate_supervisor::{AccessLogTarget, Concurrency, EventLoop, Interface, RunsOn, Settings, Show};

use crate::applications::Applications;
use crate::host::GEVENT_NEEDED;
use crate::loader::Kind;
use crate::privileges;
use crate::refusal::Refusal;
use crate::run;
use crate::serve::{STATUS_FAILED, STATUS_OK, enter, import_from_here, load, print, say};
use crate::stacks::{is_in_time, show_unless_in_time};
use crate::translate;

/// After which part of its time what holds up an import is shown.
const PATIENCE: f64 = 0.9;

const APPLICATION: &str = "application";

/// Looks at what a server with these settings would find, prints it, and gives the exit status.
pub(crate) fn examine(py: Python<'_>, settings: &Settings, show: Show) -> Result<i32, Refusal> {
    enter(settings)?;
    import_from_here(py)?;
    // What is refused is found in the limit.
    let _ = raise_descriptor_limit(settings.connections_max);
    let machine = Machine::at(Path::new("/"));
    let mut findings = doctor::capacity(settings, &machine, OTHER_DESCRIPTORS);
    findings.extend(doctor::surroundings(settings, &machine));
    findings.extend(doctor::places(settings, &machine));
    findings.extend(as_a_worker(py, settings, &machine)?);
    let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    print(&doctor::report(&findings, show, coloured));
    Ok(if doctor::worst(&findings) == Verdict::Wrong { STATUS_FAILED } else { STATUS_OK })
}

/// What a process finds that becomes what a worker would be.
fn as_a_worker(py: Python<'_>, settings: &Settings, machine: &Machine) -> PyResult<Vec<Finding>> {
    for stream in ["stdout", "stderr"] {
        // What is buffered would be written twice.
        let _ = py.import("sys")?.getattr(stream)?.call_method0("flush");
    }
    let (heard, mut told) = UnixStream::pair()?;
    let os = py.import("os")?;
    let pid: i32 = os.call_method0("fork")?.extract()?;
    let Some(pid) = Pid::from_raw(pid) else {
        drop(heard);
        let mut tell = |finding: Finding| {
            // Whoever asked may be gone.
            let _ = writeln!(told, "{}", finding.to_json());
        };
        if let Err(error) = look(py, settings, machine, &mut tell) {
            error.print(py);
            tell(Finding::wrong("doctor", "the look at it failed", "see the traceback on standard error"));
        }
        let _ = writeln!(told, "{}", json!({"done": true}));
        // Nothing that the application has left for the end is run.
        os.call_method1("_exit", (0,))?;
        return Ok(Vec::new());
    };
    drop(told);
    py.detach(|| hear(settings, pid, heard))
}

/// Takes what the other process finds until it is done, ends, or has had its time.
fn hear(settings: &Settings, pid: Pid, heard: UnixStream) -> PyResult<Vec<Finding>> {
    let most = Duration::from_millis(settings.start_timeout_ms);
    let until = Instant::now() + most;
    let mut lines = BufReader::new(heard);
    let (mut findings, mut text) = (Vec::new(), String::new());
    let is_done = loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break false;
        }
        lines.get_ref().set_read_timeout(Some(left))?;
        match lines.read_line(&mut text) {
            Ok(0) => break false,
            Ok(_) => {
                let told = serde_json::from_str::<Value>(&text).unwrap_or_default();
                if told["done"].as_bool() == Some(true) {
                    break true;
                }
                findings.extend(Finding::from_json(&told));
                text.clear();
            }
            // The line goes on when there is more of it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break false,
        }
    };
    let is_late = !is_done && until <= Instant::now();
    let _ = kill_process(pid, Signal::KILL);
    let status = waitpid(Some(pid), WaitOptions::empty()).ok().flatten();
    if is_late {
        let found = format!("it is not imported within --start-timeout ({} s)", most.as_secs_f64());
        let remedy = "see on standard error what it is at; what takes long belongs to the first request";
        findings.push(Finding::wrong(APPLICATION, found, remedy));
    } else if !is_done {
        let how = match status.and_then(|(_, status)| status.terminating_signal()) {
            Some(signal) => format!("by signal {signal}"),
            None => "by itself".to_owned(),
        };
        let found = format!("the process that imported it was ended {how}");
        findings.push(Finding::wrong(APPLICATION, found, "import it in Python alone, with -X faulthandler"));
    }
    Ok(findings)
}

/// In a process of its own.
fn look(
    py: Python<'_>,
    settings: &Settings,
    machine: &Machine,
    tell: &mut dyn FnMut(Finding),
) -> PyResult<()> {
    // What the application prints is not what was asked for.
    py.import("os")?.call_method1("dup2", (2, 1))?;
    let names = [&settings.user, &settings.group];
    let became = privileges::look_up(py, settings).and_then(|()| privileges::become_worker(py, settings));
    match became {
        Err(refusal) => tell(Finding::wrong(
            "user",
            refusal.line,
            "make that user or group, or name one that there is; only root may run as another one",
        )),
        Ok(()) if names.iter().any(|name| name.is_some()) || settings.unix_socket_owner.is_some() => {
            tell(Finding::ok("user", "there are the users and groups that are named"));
        }
        Ok(()) => {}
    }
    doctor::places_of_workers(settings).into_iter().for_each(&mut *tell);
    if matches!(&settings.access_log, Some(AccessLogTarget::Collector(_)))
        && let Some(Err(error)) = translate::access_log(settings).map(|plan| plan.target.look())
    {
        let found = settings.refusal("access-log", &error.to_string());
        let remedy = "start the program that collects lines first, or name another target";
        tell(Finding::wrong("access-log", found.message(), remedy));
    }
    let runs = match py.import("tidegate._doctor") {
        Ok(module) => look_at_applications(py, settings, machine, &module, tell)?,
        // Python's own library is in the way of a user who may not read it.
        Err(error) if settings.user.is_some() => {
            let remedy = "have Python, its packages and the application where that user may read them";
            tell(Finding::wrong("user", format!("as that user nothing can be imported: {error}"), remedy));
            None
        }
        Err(error) => return Err(error),
    };
    let runs = runs.unwrap_or(Runs { on: settings.runs_on(false), memory: None });
    doctor::of_the_application(settings, machine, runs).into_iter().for_each(tell);
    Ok(())
}

/// Loads them. None if they are not to be loaded.
fn look_at_applications(
    py: Python<'_>,
    settings: &Settings,
    machine: &Machine,
    module: &Bound<'_, PyModule>,
    tell: &mut dyn FnMut(Finding),
) -> PyResult<Option<Runs>> {
    module.call_method0("watch")?;
    let greenlets = settings.concurrency == Concurrency::Greenlets;
    if greenlets && py.import("gevent").is_err() {
        tell(Finding::wrong("gevent", GEVENT_NEEDED, "pip install it where the server's Python is"));
        return Ok(None);
    }
    show_unless_in_time(py, Duration::from_millis(settings.start_timeout_ms).mul_f64(PATIENCE))?;
    let loaded = load(py, settings);
    is_in_time(py)?;
    let asgi = |applications: &Applications<'_>| applications.first(Kind::Asgi).is_some();
    let runs_on = settings.runs_on(loaded.as_ref().is_ok_and(asgi));
    let loaded = loaded
        .and_then(|applications| run::check(py, settings, &applications, runs_on).map(|()| applications));
    let facts = facts(py, settings, runs_on)?;
    let (applications, failure) = match &loaded {
        Ok(applications) => {
            let all = applications.all();
            let all = all.map(|one| (one.name.clone(), one.application.clone(), one.interface.to_string()));
            (all.collect(), None)
        }
        Err(refusal) => {
            if refusal.cause.is_some() {
                say(&refusal.report(py));
            }
            let cause = refusal.cause.as_ref().map(|cause| cause.value(py).clone());
            (Vec::new(), Some((refusal.line.clone(), cause)))
        }
    };
    let found = module.call_method1("look", (facts, applications, failure))?;
    for (name, verdict, found, remedy) in found.extract::<Vec<(String, String, String, String)>>()? {
        let verdict = verdict.parse().unwrap_or(Verdict::Wrong);
        tell(Finding { name, verdict, found, remedy });
    }
    let is_loaded = loaded.is_ok_and(|applications| applications.all().next().is_some());
    let memory = is_loaded.then(|| doctor::memory_of_its_own(machine)).flatten();
    Ok(Some(Runs { on: runs_on, memory }))
}

/// What the settings say, for the part in Python.
fn facts<'py>(py: Python<'py>, settings: &Settings, runs_on: RunsOn) -> PyResult<Bound<'py, PyDict>> {
    let facts = PyDict::new(py);
    facts.set_item(
        "runs_on",
        match runs_on {
            RunsOn::MainThread => "main-thread",
            RunsOn::Threads => "threads",
            RunsOn::Greenlets => "greenlets",
            RunsOn::Asyncio => "asyncio",
            RunsOn::Bridge => "bridge",
        },
    )?;
    facts.set_item(
        "interface",
        match settings.interface {
            Interface::Auto => "auto",
            Interface::Wsgi => "wsgi",
            Interface::Asgi => "asgi",
        },
    )?;
    facts.set_item(
        "loop",
        match settings.event_loop {
            EventLoop::Auto => "auto",
            EventLoop::Asyncio => "asyncio",
            EventLoop::Uvloop => "uvloop",
        },
    )?;
    facts.set_item("module", settings.app.as_ref().map(|spec| &spec.module))?;
    facts.set_item("workers", settings.worker_count())?;
    facts.set_item("running", settings.concurrency_max(runs_on))?;
    facts.set_item("preload", settings.preload)?;
    facts.set_item("reload", settings.reload)?;
    facts.set_item("public", doctor::is_public(settings))?;
    Ok(facts)
}
