//! The supervisor's process, and how what it forks becomes a worker.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use rustix::process::Pid;
use sd_notify::NotifyState;
use tidegate_engine::{Listener, Scoreboard, Seat, SignalHandlers};
use tidegate_supervisor::Settings;
use tidegate_supervisor::fleet::{Change, Limits, Plan, Saying, Usage};
use tidegate_supervisor::supervisor::{self, Forked, Host, Role};

use crate::applications::Applications;
use crate::privileges::{PidFile, give_up_privileges};
use crate::refusal::Refusal;
use crate::run::{Post, bind, run};
use crate::serve::{load, say, what_runs};
use crate::upgrade;

/// Runs workers until all is over, and gives the exit status; in a worker, serves.
pub(crate) fn supervise(py: Python<'_>, settings: &Settings, started_in: PathBuf) -> Result<i32, Refusal> {
    let plan = Plan {
        workers: settings.worker_count(),
        start_timeout_ms: settings.start_timeout_ms,
        grace_ms: settings.graceful_timeout_ms,
        rolling: settings.rolling_reload,
        limits: Limits {
            requests: settings.max_requests,
            lifetime_ms: settings.max_lifetime_ms,
            memory: settings.max_rss,
            jitter_percent: settings.recycle_jitter,
            seed: u64::from(std::process::id()),
        },
    };
    let listeners = bind(settings)?;
    let _pid_file = PidFile::write(settings)?;
    give_up_privileges(py, settings)?;
    // As whom the workers run.
    let preloaded = if settings.preload { Some(load(py, settings)?) } else { None };
    let board = Scoreboard::new(seats_for(plan.workers)).map_err(PyErr::from)?;
    let seated = vec![None; board.seats()];
    let workers = plan.workers;
    let mut forks = Forks { listeners, workers, started_in, is_succeeded: false, board, seated, seat: None };
    let (handlers, signals) = SignalHandlers::install(&supervisor::signals()).map_err(PyErr::from)?;
    let role = py.detach(|| supervisor::supervise(plan, signals, &mut forks)).map_err(PyErr::from)?;
    // In a worker, signals mean what they mean in any process until it serves.
    drop(handlers);
    match role {
        Role::Supervisor(status) => Ok(status),
        Role::Worker(tether) => {
            ignore_the_supervisors_signals(py)?;
            let applications = match preloaded {
                Some(applications) => applications,
                None => load(py, settings)?,
            };
            let post = Post::Worker { tether, listeners: forks.listeners, seat: forks.seat };
            serve(py, &applications, settings, post)?;
            Ok(0)
        }
    }
}

/// A signal to the whole group is for the supervisor. By handlers that do nothing, as programs that the application starts would inherit
/// that it is ignored.
fn ignore_the_supervisors_signals(py: Python<'_>) -> PyResult<()> {
    let signal = py.import("signal")?;
    let nothing = py.eval(c"lambda *_: None", None, None)?;
    for name in ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU"] {
        signal.call_method1("signal", (signal.getattr(name)?, &nothing))?;
    }
    Ok(())
}

fn serve(
    py: Python<'_>,
    applications: &Applications<'_>,
    settings: &Settings,
    post: Post,
) -> Result<(), Refusal> {
    let what = what_runs(applications, settings);
    run(py, applications, settings, post, |_, _| {
        log::info!("a worker serves ({what}, pid {})", std::process::id());
        Ok(())
    })
}

/// Seats for a fleet of which a reload makes two, and that may be made larger. Who finds none serves all the same.
fn seats_for(workers: usize) -> usize {
    2 * workers + 16
}

/// The supervisor's process, which workers are forked from.
struct Forks {
    listeners: Vec<Listener>,
    workers: usize,
    /// The working directory before any --chdir.
    started_in: PathBuf,
    /// Another server has the sockets, too.
    is_succeeded: bool,
    board: Arc<Scoreboard>,
    /// Whose seat it is.
    seated: Vec<Option<Pid>>,
    /// The seat of the process that was forked last: in a worker, its own.
    seat: Option<Seat>,
}

/// Tells systemd, if it started this and wants to know (sd_notify(3)).
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd is not told: {error}");
    }
}

impl Forks {
    fn say_where(&self) {
        let workers =
            if self.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", self.workers) };
        for address in self.listeners.iter().map(Listener::address) {
            let pid = std::process::id();
            let version = env!("CARGO_PKG_VERSION");
            say(&format!("tidegate {version} listening on {address} ({workers}, pid {pid})"));
        }
    }

    fn seat_of(&self, pid: Pid) -> Option<usize> {
        self.seated.iter().position(|seated| *seated == Some(pid))
    }
}

impl Host for Forks {
    fn fork(&mut self) -> io::Result<Forked> {
        Python::attach(|py| {
            // What is buffered would be written twice.
            for stream in ["stdout", "stderr"] {
                let _ = py.import("sys")?.getattr(stream)?.call_method0("flush");
            }
            let index = self.seated.iter().position(Option::is_none);
            self.seat = index.and_then(|index| self.board.seat(index));
            let pid: i32 = py.import("os")?.call_method0("fork")?.extract()?;
            let Some(pid) = Pid::from_raw(pid) else { return Ok(Forked::Child) };
            if let Some(index) = index {
                self.seated[index] = Some(pid);
            }
            Ok(Forked::Parent(pid))
        })
        .map_err(|error: PyErr| io::Error::other(error.to_string()))
    }

    fn usage(&mut self, pid: Pid) -> Usage {
        let seat = self.seat_of(pid).and_then(|index| self.board.look(index));
        let memory = std::fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_nonzero())).ok();
        let pages = memory.and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
        Usage {
            requests: seat.map_or(0, |seat| seat.requests()),
            memory: pages.unwrap_or(0) * rustix::param::page_size() as u64,
        }
    }

    fn ended(&mut self, pid: Pid) {
        if let Some(index) = self.seat_of(pid) {
            self.seated[index] = None;
            // Nobody is to be left a connection who will not come for it.
            self.board.seat(index);
        }
    }

    fn upgrade(&mut self) -> io::Result<Pid> {
        let pid = Python::attach(|py| upgrade::start(py, &self.listeners, &self.started_in))
            .map_err(|error| io::Error::other(error.to_string()))?;
        self.is_succeeded = true;
        Ok(pid)
    }

    fn upgrade_has_failed(&mut self) {
        self.is_succeeded = false;
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Opened => {
                self.say_where();
                upgrade::take_over();
                notify(&[NotifyState::Ready]);
            }
            Change::Reloading => match NotifyState::monotonic_usec_now() {
                Ok(now) => notify(&[NotifyState::Reloading, now]),
                Err(error) => log::debug!("systemd is not told of a reload: {error}"),
            },
            Change::Reloaded => notify(&[NotifyState::Ready]),
            Change::Stopping => {
                if self.is_succeeded {
                    self.listeners.iter_mut().for_each(Listener::leave_file);
                }
                self.listeners.clear();
                notify(&[NotifyState::Stopping]);
            }
        }
    }

    fn well_every(&self) -> Option<Duration> {
        // sd_watchdog_enabled(3): at half the time after which it takes a service for dead.
        sd_notify::watchdog_enabled().map(|most| most / 2)
    }

    fn well(&mut self) {
        notify(&[NotifyState::Watchdog]);
    }

    fn say(&mut self, saying: &Saying) {
        if saying.is_trouble {
            log::warn!("{}", saying.text);
        } else {
            log::info!("{}", saying.text);
        }
    }
}
