//! The supervisor's process, and how what it forks becomes a worker.

use std::io;

use pyo3::prelude::*;
use tidegate_engine::{Listener, SignalHandlers};
use tidegate_supervisor::Settings;
use tidegate_supervisor::fleet::{Plan, Saying};
use tidegate_supervisor::supervisor::{self, Forked, Host, Role, Tether};

use crate::applications::Applications;
use crate::refusal::Refusal;
use crate::run::{Post, bind, run};
use crate::serve::{load, say, what_runs};

/// Runs workers until all is over, and gives the exit status; in a worker, serves.
pub(crate) fn supervise(py: Python<'_>, settings: &Settings) -> Result<i32, Refusal> {
    let plan = Plan {
        workers: settings.worker_count(),
        start_timeout_ms: settings.start_timeout_ms,
        grace_ms: settings.graceful_timeout_ms,
        rolling: settings.rolling_reload,
    };
    let preloaded = if settings.preload { Some(load(py, settings)?) } else { None };
    let mut forks = Forks { listeners: bind(settings)?, workers: plan.workers };
    let (handlers, signals) = SignalHandlers::install(&supervisor::signals()).map_err(PyErr::from)?;
    let role = py.detach(|| supervisor::supervise(plan, signals, &mut forks)).map_err(PyErr::from)?;
    // In a worker, signals mean what they mean in any process until it serves.
    drop(handlers);
    match role {
        Role::Supervisor(status) => Ok(status),
        Role::Worker(tether) => {
            let applications = match preloaded {
                Some(applications) => applications,
                None => load(py, settings)?,
            };
            serve(py, &applications, settings, tether, forks.listeners)?;
            Ok(0)
        }
    }
}

fn serve(
    py: Python<'_>,
    applications: &Applications<'_>,
    settings: &Settings,
    tether: Tether,
    listeners: Vec<Listener>,
) -> Result<(), Refusal> {
    let what = what_runs(applications, settings);
    run(py, applications, settings, Post::Worker { tether, listeners }, |_, _| {
        log::info!("a worker serves ({what}, pid {})", std::process::id());
        Ok(())
    })
}

/// The supervisor's process, which workers are forked from.
struct Forks {
    listeners: Vec<Listener>,
    workers: usize,
}

impl Host for Forks {
    fn fork(&mut self) -> io::Result<Forked> {
        Python::attach(|py| {
            // What is buffered would be written twice.
            for stream in ["stdout", "stderr"] {
                let _ = py.import("sys")?.getattr(stream)?.call_method0("flush");
            }
            let pid: i32 = py.import("os")?.call_method0("fork")?.extract()?;
            Ok(rustix::process::Pid::from_raw(pid).map_or(Forked::Child, Forked::Parent))
        })
        .map_err(|error: PyErr| io::Error::other(error.to_string()))
    }

    fn opened(&mut self) {
        let workers =
            if self.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", self.workers) };
        for address in self.listeners.iter().map(Listener::address) {
            let pid = std::process::id();
            let version = env!("CARGO_PKG_VERSION");
            say(&format!("tidegate {version} listening on {address} ({workers}, pid {pid})"));
        }
    }

    fn close_listeners(&mut self) {
        self.listeners.clear();
    }

    fn say(&mut self, saying: &Saying) {
        if saying.is_trouble {
            log::warn!("{}", saying.text);
        } else {
            log::info!("{}", saying.text);
        }
    }
}
