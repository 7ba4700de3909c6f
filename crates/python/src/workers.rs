//! The supervisor's process, and how what it forks becomes a worker.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use rustix::process::{Pid, geteuid};
use sd_notify::NotifyState;
use serde_json::{Value, json};
use tidegate_engine::{
    BindAddress, BindOptions, Listener, Record, Records, Scoreboard, Seat, SignalHandlers, Tls, WorkersGauge,
    counted, peer_user,
};
use tidegate_supervisor::Settings;
use tidegate_supervisor::fleet::{Change, Limits, Plan, Saying, Usage};
use tidegate_supervisor::reload::Watcher;
use tidegate_supervisor::supervisor::{self, Forked, Host, Role, Senses, StackWanted, View};

use crate::admin::{Admin, Application, Scope, Sight, memory_of, state};
use crate::privileges::{PidFile, give_up_privileges};
use crate::refusal::Refusal;
use crate::run::{Post, bind, bind_admin, run};
use crate::serve::{load, say, schedule};
use crate::stacks::show_unless_in_time;
use crate::tls;
use crate::translate;
use crate::upgrade;

/// After which part of the time that a worker may take to start it is shown what holds it up.
const PATIENCE: f64 = 0.9;

/// Runs workers until all is over, and gives the exit status; in a worker, serves.
pub(crate) fn supervise(py: Python<'_>, settings: &Settings, started_in: PathBuf) -> Result<i32, Refusal> {
    let plan = Plan {
        workers: settings.worker_count(),
        start_timeout_ms: settings.start_timeout_ms,
        grace_ms: settings.graceful_timeout_ms,
        retire_ms: settings.drain_delay_ms,
        workers_max: workers_max(settings.worker_count()),
        rolling: settings.rolling_reload,
        patient: settings.reload,
        limits: Limits {
            requests: settings.max_requests,
            lost_threads: translate::limits_time(settings).then_some(settings.lost_threads_max),
            lifetime_ms: settings.max_lifetime_ms,
            memory: settings.max_rss,
            jitter_percent: settings.recycle_jitter,
            seed: u64::from(std::process::id()),
        },
    };
    let watcher = settings.reload.then(|| Watcher::start(settings)).transpose()?;
    let tls = tls::load(settings)?;
    let listeners = bind(py, settings)?;
    let admin_listeners = bind_admin(py, settings)?;
    let control = bind_control(settings)?;
    let mut pid_file = PidFile::write(settings)?;
    if let Some(file) = pid_file.as_mut().filter(|_| !upgrade::succeeds()) {
        file.put().map_err(|error| settings.refusal("pid-file", &error.to_string()))?;
    }
    give_up_privileges(py, settings)?;
    ignore_the_supervisors_signals(py)?;
    // As whom the workers run.
    if let Some(access_log) = translate::access_log(settings) {
        let looked = access_log.target.look();
        looked.map_err(|error| Refusal::of_system(settings.refusal("access-log", &error.to_string())))?;
    }
    let preloaded = if settings.preload { Some(load(py, settings)?) } else { None };
    let board = Scoreboard::new(seats_for(plan.workers_max)).map_err(PyErr::from)?;
    let scope = settings.observes().then(|| scope(settings, &board, &listeners)).transpose()?;
    let admin = match &scope {
        Some(scope) if !admin_listeners.is_empty() => {
            let admin = Admin::new(admin_listeners, scope.clone(), &settings.admin_allowed_hosts);
            Some(admin.map_err(PyErr::from)?)
        }
        _ => None,
    };
    if let Some(admin) = admin.as_ref().filter(|_| !upgrade::succeeds()) {
        admin.open();
    }
    let seated = vec![None; board.seats()];
    let (handlers, signals) = SignalHandlers::install(&supervisor::signals()).map_err(PyErr::from)?;
    let senses = Senses {
        signals,
        control: control.as_ref().map(Listener::try_clone_fd).transpose().map_err(PyErr::from)?,
        stuck_ms: settings.stuck_timeout_ms,
        watcher,
    };
    let mut forks = Forks {
        listeners,
        control,
        pid_file,
        control_path: settings.control_socket.clone(),
        workers: plan.workers,
        started_in,
        successor: None,
        board,
        scope,
        admin,
        seated,
        gauge: translate::workers_gauge(settings),
        seat: None,
        record: None,
        tls,
    };
    let role = py.detach(|| supervisor::supervise(plan, senses, &mut forks)).map_err(PyErr::from)?;
    // In a worker, signals mean what they meant before, until it serves.
    drop(handlers);
    match role {
        Role::Supervisor(status) => Ok(status),
        Role::Worker(tether) => {
            let Forks { listeners, seat, record, tls, control, admin, .. } = forks;
            drop((control, admin));
            mask_the_supervisors_signals(py, "SIG_UNBLOCK")?;
            schedule(settings);
            show_unless_in_time(py, Duration::from_millis(settings.start_timeout_ms).mul_f64(PATIENCE))?;
            if settings.reload {
                py.import("tidegate._bytecode")?.call_method0("keep_none_of_young_sources")?;
            }
            let report = tether.clone();
            let work = || {
                let applications = match preloaded {
                    Some(applications) => applications,
                    None => load(py, settings)?,
                };
                let post = Post::Worker { tether, listeners, seat, record, tls };
                run(py, &applications, settings, post, |_, _| Ok(()))
            };
            work().inspect_err(|refusal| {
                // The supervisor may be gone; it is on standard error in any case.
                let _ = report.failed(&refusal.report(py));
            })?;
            Ok(0)
        }
    }
}

/// Signals that mean something to a supervisor, and nothing to a worker.
const SUPERVISORS_SIGNALS: [&str; 5] = ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU"];

/// A signal to the whole group is for the supervisor, and means nothing to a worker from the first moment on. By handlers that do nothing, as
/// programs that the application starts would inherit that it is ignored.
fn ignore_the_supervisors_signals(py: Python<'_>) -> PyResult<()> {
    let signal = py.import("_signal")?;
    let nothing = py.eval(c"lambda *_: None", None, None)?;
    for name in SUPERVISORS_SIGNALS {
        signal.call_method1("signal", (signal.getattr(name)?, &nothing))?;
    }
    Ok(())
}

/// Holds the same signals back, or lets those come that were held back.
fn mask_the_supervisors_signals(py: Python<'_>, how: &str) -> PyResult<()> {
    let signal = py.import("_signal")?;
    let numbers = SUPERVISORS_SIGNALS.iter().map(|&name| signal.getattr(name));
    let numbers = numbers.collect::<PyResult<Vec<_>>>()?;
    signal.call_method1("pthread_sigmask", (signal.getattr(how)?, numbers))?;
    Ok(())
}

/// Most workers that operators may ask for: each seat is a descriptor in every process.
fn workers_max(workers: usize) -> usize {
    (4 * workers).clamp(32, 1_024).max(workers)
}

/// What is counted, and of what.
fn scope(settings: &Settings, board: &Scoreboard, listeners: &[Listener]) -> PyResult<Scope> {
    let applications = Application::of_settings(settings);
    let addresses = listeners.iter().map(Listener::entrance).collect();
    Ok(Scope { records: Records::new(board.seats(), applications.len())?, applications, addresses })
}

/// Seats for a fleet of which a reload makes two, with some whose end is not known yet. Who finds none serves all the same.
fn seats_for(workers_max: usize) -> usize {
    2 * workers_max + 16
}

/// The control socket, if there is to be one. That of a former server has its name until this one serves.
fn bind_control(settings: &Settings) -> Result<Option<Listener>, Refusal> {
    let Some(path) = &settings.control_socket else { return Ok(None) };
    let path = match upgrade::succeeds() {
        false => path.clone(),
        true => PathBuf::from(format!("{}.{}", path.display(), std::process::id())),
    };
    let address = BindAddress::Unix { path, mode: 0o600 };
    let bound = Listener::bind(&address, BindOptions { backlog: 16, reuse_port: false }, false);
    bound.map(Some).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => "another server uses it".to_owned(),
            _ => error.to_string(),
        };
        settings.refusal("control-socket", &reason).into()
    })
}

/// The supervisor's process, which workers are forked from.
struct Forks {
    listeners: Vec<Listener>,
    control: Option<Listener>,
    pid_file: Option<PidFile>,
    /// Where the control socket is to be found.
    control_path: Option<PathBuf>,
    workers: usize,
    /// The working directory before any --chdir.
    started_in: PathBuf,
    /// Another server that has the sockets, too.
    successor: Option<Pid>,
    board: Arc<Scoreboard>,
    /// What workers count, if they do: each at the index of its seat.
    scope: Option<Scope>,
    admin: Option<Admin>,
    /// Whose seat it is.
    seated: Vec<Option<Pid>>,
    gauge: Option<WorkersGauge>,
    /// The seat of the process that was forked last: in a worker, its own.
    seat: Option<Seat>,
    record: Option<Record>,
    tls: Option<Arc<Tls>>,
}

/// Tells systemd, if it started this and wants to know (sd_notify(3)).
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd is not told: {error}");
    }
}

impl Forks {
    fn say_where(&self) {
        let workers = counted(self.workers as u64, "worker", "workers");
        for entrance in self.listeners.iter().map(Listener::entrance) {
            let pid = std::process::id();
            let version = env!("CARGO_PKG_VERSION");
            say(&format!("tidegate {version} listening on {entrance} ({workers}, pid {pid})"));
        }
    }

    fn tell_statsd(&self) {
        // Another server that has the sockets counts its own.
        if let Some(gauge) = self.gauge.as_ref().filter(|_| self.successor.is_none()) {
            gauge.tell(self.seated.iter().flatten().count());
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
            self.tls.iter().for_each(|tls| tls.follow());
            let index = self.seated.iter().position(Option::is_none);
            self.seat = index.and_then(|index| self.board.seat(index));
            self.record = index.and_then(|index| self.scope.as_ref()?.records.record(index));
            // In the child they would end it, as long as the handlers are those of the supervisor.
            mask_the_supervisors_signals(py, "SIG_BLOCK")?;
            let forked = py.import("os")?.call_method0("fork").and_then(|pid| pid.extract::<i32>());
            if !matches!(forked, Ok(0)) {
                mask_the_supervisors_signals(py, "SIG_UNBLOCK")?;
            }
            let Some(pid) = Pid::from_raw(forked?) else { return Ok(Forked::Child) };
            if let Some(index) = index {
                self.seated[index] = Some(pid);
                self.tell_statsd();
            }
            Ok(Forked::Parent(pid))
        })
        .map_err(|error: PyErr| io::Error::other(error.to_string()))
    }

    fn usage(&mut self, pid: Pid) -> Usage {
        let seat = self.seat_of(pid).and_then(|index| self.board.look(index));
        Usage {
            requests: seat.as_ref().map_or(0, Seat::requests),
            connections: seat.as_ref().map_or(0, Seat::connections),
            log_lines_lost: seat.as_ref().map_or(0, Seat::lines_lost),
            lost_threads: seat.as_ref().map_or(0, Seat::lost_threads),
            memory: memory_of(pid),
        }
    }

    fn pulse(&mut self, pid: Pid) -> Option<u64> {
        let seat = self.seat_of(pid).and_then(|index| self.board.look(index))?;
        let heard = seat.heard();
        seat.ring();
        Some(heard)
    }

    fn may_ask(&self, client: BorrowedFd<'_>) -> bool {
        peer_user(client).is_ok_and(|user| user == 0 || user == geteuid().as_raw())
    }

    fn about(&self) -> Value {
        let addresses: Vec<_> =
            self.listeners.iter().map(|listener| listener.entrance().to_string()).collect();
        json!({"version": env!("CARGO_PKG_VERSION"), "addresses": addresses})
    }

    fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.admin.as_ref().map(Admin::descriptor)
    }

    fn attend(&mut self, view: &View) -> Vec<StackWanted> {
        let seated = &self.seated;
        let seat_of = |pid| seated.iter().position(|seated| *seated == Some(pid));
        let turned = self.admin.as_mut().map(|admin| admin.turn(|scope| Sight::new(scope, view, seat_of)));
        turned.unwrap_or_else(|| Ok(Vec::new())).unwrap_or_else(|error| {
            log::error!("the admin listener has ended: {error}");
            self.admin = None;
            Vec::new()
        })
    }

    fn want_stack(&mut self, pid: Pid, request: u64) -> Result<(), String> {
        let scope = self.scope.as_ref().ok_or("nothing is counted: observe is off")?;
        let index = self.seat_of(pid);
        let requests = index.and_then(|index| Some(scope.records.record(index)?.requests()));
        let wanted = requests.into_iter().flatten().find(|found| found.number == request);
        match (wanted, index.and_then(|index| self.board.look(index))) {
            (Some(wanted), Some(seat)) => {
                seat.want(&wanted);
                Ok(())
            }
            _ => Err(format!("request {request} is over")),
        }
    }

    fn stack_told(&mut self, asker: u64, answer: &Value) {
        if let Some(admin) = &mut self.admin {
            admin.tell_stack(asker, answer);
        }
    }

    fn state(&mut self, view: &View) -> Result<Value, String> {
        let scope = self.scope.as_ref().ok_or("nothing is counted: observe is off")?;
        Ok(state(scope, &Sight::new(scope, view, |pid| self.seat_of(pid))))
    }

    fn ended(&mut self, pid: Pid) {
        if let Some(index) = self.seat_of(pid) {
            self.seated[index] = None;
            self.tell_statsd();
            // Nobody is to be left a connection who will not come for it.
            self.board.seat(index);
            if let Some(scope) = &self.scope {
                scope.records.keep(index);
            }
        }
    }

    fn upgrade(&mut self) -> io::Result<Pid> {
        if std::process::id() == 1 {
            return Err(io::Error::other("it is process 1, and its end is that of its container"));
        }
        let admin = self.admin.as_mut().map_or(&[][..], |admin| admin.listeners());
        let pid = Python::attach(|py| upgrade::start(py, &self.listeners, admin, &self.started_in))
            .map_err(|error| io::Error::other(error.to_string()))?;
        self.successor = Some(pid);
        Ok(pid)
    }

    fn upgrade_has_failed(&mut self) {
        self.successor = None;
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Opened => {
                self.say_where();
                if let Some(admin) = &self.admin {
                    admin.open();
                }
                if let (Some(control), Some(path)) = (&mut self.control, &self.control_path)
                    && let Err(error) = control.rename_file(path.clone())
                {
                    log::warn!("the control socket cannot be found under {}: {error}", path.display());
                }
                if let Some(Err(error)) = self.pid_file.as_mut().map(PidFile::put) {
                    log::warn!("the pid file is not up to date: {error}");
                }
                notify(&[NotifyState::Ready]);
                upgrade::take_over();
            }
            Change::Reloading => {
                self.tls.iter().for_each(|tls| tls.renew());
                match NotifyState::monotonic_usec_now() {
                    Ok(now) => notify(&[NotifyState::Reloading, now]),
                    Err(error) => log::debug!("systemd is not told of a reload: {error}"),
                }
            }
            Change::Reloaded | Change::ReloadFailed(_) => notify(&[NotifyState::Ready]),
            Change::Retiring => notify(&[NotifyState::Stopping]),
            Change::Stopping => {
                match self.successor {
                    Some(pid) => {
                        self.listeners.iter_mut().for_each(Listener::leave_file);
                        if let Some(admin) = &mut self.admin {
                            admin.leave();
                        }
                        // The service goes on in another process; only its former one may say so.
                        notify(&[NotifyState::MainPid(pid.as_raw_nonzero().get().unsigned_abs())]);
                    }
                    None => notify(&[NotifyState::Stopping]),
                }
                self.listeners.clear();
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
            log::error!("{}", saying.text);
        } else {
            log::info!("{}", saying.text);
        }
    }
}
