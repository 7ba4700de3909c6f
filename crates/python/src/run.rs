//! Applications and settings made into a server, from the first bind to the end.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pyo3::prelude::*;
use rustix::io::Errno;
use tidegate_engine::http::RequestHead;
use tidegate_engine::{
    AccessLog, BindAddress, BindOptions, Entrance, Gauge, Graces, Handle, Listener, LocalAddress, Orders,
    Reactor, Record, Records, Runs, Scheme, Scoreboard, Seat, SignalWatch, Tls, Tracer, bind_all,
    close_inherited,
};
use tidegate_supervisor::tether::{Tether, order};
use tidegate_supervisor::{Bind, Origin, ReadyBy, RunsOn, Settings, Value};

use crate::admin::{Admin, Application as Counted, Pulse, Scope};
use crate::applications::{Applications, Mounted};
use crate::event_loop::EventLoop;
use crate::ffi;
use crate::gateway::{Asgi, Wsgi, WsgiOptions};
use crate::host::{
    Application, AsyncioHost, AsyncioHub, GEVENT_NEEDED, GeventHub, GreenletsHost, InlineHost, Pool,
    ThreadsHost, standard_library_is_patched,
};
use crate::loader::{Kind, Loaded};
use crate::overdue::{Attendant, Runner, RunnerIfAny, TimeoutSettings};
use crate::privileges;
use crate::readiness;
use crate::refusal::{Culprit, Refusal};
use crate::serve::{say, what_runs};
use crate::stacks::{self, Stacks, is_in_time};
use crate::translate;
use crate::upgrade;

/// Whom this process serves for.
pub(crate) enum Post {
    /// Itself.
    Alone { tls: Option<Arc<Tls>> },
    /// A supervisor, that has bound these.
    Worker {
        tether: Tether,
        listeners: Vec<Listener>,
        seat: Option<Seat>,
        record: Option<Record>,
        tls: Option<Arc<Tls>>,
    },
}

/// Serves the applications in this process until it is stopped.
pub(crate) fn run(
    py: Python<'_>,
    applications: &Applications<'_>,
    settings: &Settings,
    post: Post,
    on_ready: impl FnOnce(Python<'_>, &[Entrance]) -> PyResult<()>,
) -> Result<(), Refusal> {
    let runs_on = settings.runs_on(applications.first(Kind::Asgi).is_some());
    for loaded in applications.all() {
        let article = if loaded.interface == Kind::Wsgi { "a WSGI" } else { "an ASGI" };
        log::debug!(
            "{} is {article} application ({})",
            loaded.name,
            host_name(applications, settings, loaded.interface)
        );
    }
    check(py, settings, applications, runs_on)?;
    if !matches!(runs_on, RunsOn::Asyncio | RunsOn::Bridge) {
        return run_on(py, applications, settings, runs_on, None, post, on_ready);
    }
    // Before anything is bound, as it may fail.
    let event_loop = EventLoop::start(py, applications, settings)?;
    let outcome = run_on(py, applications, settings, runs_on, Some(&event_loop), post, on_ready);
    let closed = event_loop.close(py, Duration::from_millis(settings.graceful_timeout_ms));
    outcome.and(closed)
}

/// What requests of the applications of a kind run on.
pub(crate) fn host_name(applications: &Applications<'_>, settings: &Settings, kind: Kind) -> String {
    let runs_on = settings.runs_on(applications.first(Kind::Asgi).is_some());
    let most = settings.concurrency_max(runs_on);
    match (runs_on, kind) {
        (RunsOn::MainThread | RunsOn::Threads, _) | (RunsOn::Asyncio, Kind::Wsgi) => {
            format!("threads {}", settings.threads)
        }
        (RunsOn::Greenlets, _) => format!("greenlets {most}"),
        (RunsOn::Asyncio, Kind::Asgi) | (RunsOn::Bridge, _) => format!("asyncio {most}"),
    }
}

fn run_on<'py>(
    py: Python<'py>,
    applications: &Applications<'py>,
    settings: &Settings,
    runs_on: RunsOn,
    event_loop: Option<&EventLoop<'py>>,
    post: Post,
    on_ready: impl FnOnce(Python<'_>, &[Entrance]) -> PyResult<()>,
) -> Result<(), Refusal> {
    // Bound before the log is opened: what is wrong with an address leaves no file behind.
    let mut admin = None;
    let (listeners, tether, seat, record, tls) = match post {
        Post::Alone { tls } => {
            let listeners = bind(py, settings)?;
            let counted = Counted::loaded(applications, settings);
            let records = settings.observes().then(|| Records::new(1, counted.len()));
            let records = records.transpose().map_err(PyErr::from)?;
            let record = records.as_ref().and_then(|records| records.record(0));
            if let Some(records) = records.filter(|_| !settings.admin.is_empty()) {
                let addresses = listeners.iter().map(Listener::entrance).collect();
                let scope = Scope { records, applications: counted, addresses };
                let made = Admin::new(bind_admin(py, settings)?, scope, &settings.admin_allowed_hosts);
                let made = made.map_err(PyErr::from)?;
                let seat = Scoreboard::new(1).map_err(PyErr::from)?.seat(0);
                admin = seat.map(|seat| (made, Pulse::new(seat, settings.stuck_timeout_ms)));
            }
            if let Some(gauge) = translate::workers_gauge(settings) {
                gauge.tell(1);
            }
            (listeners, None, admin.as_ref().map(|(_, pulse)| pulse.seat()), record, tls)
        }
        Post::Worker { tether, listeners, seat, record, tls } => (listeners, Some(tether), seat, record, tls),
    };
    let access_log = match (translate::access_log(settings), translate::statsd(settings)) {
        (None, None) => None,
        (plan, statsd) => {
            let refused =
                |error: io::Error| Refusal::of_system(settings.refusal("access-log", &error.to_string()));
            // For workers it is looked for once: one that takes the place of another starts without it.
            if let Some(plan) = plan.as_ref().filter(|_| tether.is_none()) {
                plan.target.look().map_err(refused)?;
            }
            Some(AccessLog::start(plan, statsd, seat.clone()).map_err(refused)?)
        }
    };
    let mut engine = translate::engine(settings, runs_on);
    engine.seat = seat;
    engine.tls = tls;
    engine.https_port = https_port(&listeners).unwrap_or(engine.https_port);
    if let Some(record) = &record {
        let runs = match runs_on {
            RunsOn::MainThread | RunsOn::Threads => Runs::Threads,
            RunsOn::Greenlets | RunsOn::Bridge => Runs::Greenlets,
            RunsOn::Asyncio => Runs::Tasks,
        };
        record.set(Gauge::Runs, runs as u64);
        record.set(Gauge::Threads, u64::from(runs_on == RunsOn::MainThread));
    }
    let tracer = translate::tracing(settings).map(|plan| Tracer::start(&plan, record.clone()));
    let tracer = tracer.transpose().map_err(PyErr::from)?.map(Arc::new);
    engine.tracer = tracer.clone();
    engine.record = record;
    if runs_on == RunsOn::Asyncio && applications.first(Kind::Wsgi).is_some() {
        let kinds = applications.mounts(&settings.script_name, |loaded, _| Ok(loaded.interface))?;
        let takes = Arc::new(move |head: &RequestHead| kinds.find(head) == Some(&Kind::Wsgi));
        engine.aside = Some(translate::aside(settings, takes));
    }
    let graces = Graces {
        retire: Duration::from_millis(settings.drain_delay_ms),
        drain: Duration::from_millis(engine.graceful_timeout_ms),
    };
    let mut reactor = Reactor::new(listeners, engine, access_log).map_err(PyErr::from)?;
    let entrances = reactor.entrances();
    let handle = reactor.handle();
    let runner = RunnerIfAny::default();
    let start = |(admin, pulse): (Admin, Pulse)| admin.start(handle.clone(), pulse, runner.clone());
    let admin = admin.map(start).transpose().map_err(PyErr::from)?;
    let question = match (&tether, &settings.ready_path) {
        (Some(_), Some(path)) if settings.ready_by == ReadyBy::Application => {
            let (ours, theirs) = UnixStream::pair().map_err(PyErr::from)?;
            reactor.welcome_peer(theirs.into()).map_err(PyErr::from)?;
            Some((ours, path.clone()))
        }
        _ => None,
    };
    let limits_time = translate::limits_time(settings);
    let attendant = match limits_time {
        true => {
            let timeouts = TimeoutSettings::new(settings);
            Some(Attendant::start(&reactor, timeouts, runner.clone()).map_err(PyErr::from)?)
        }
        false => None,
    };
    let tells_runs = limits_time || handle.record().is_some();
    let set_runner = |host: Arc<dyn Runner>| drop(runner.set(Arc::downgrade(&host)));
    let wsgi = |loaded: &Loaded<'_>, at: Mounted, host| {
        let options = WsgiOptions {
            number: at.number,
            script_name: at.prefix,
            multithread: settings.threads > 1 || matches!(runs_on, RunsOn::Greenlets | RunsOn::Bridge),
            multiprocess: settings.worker_count() > 1,
            hop_by_hop: translate::hop_by_hop(settings.hop_by_hop),
        };
        Wsgi::new(py, loaded.application.clone().unbind(), host, options)
    };
    let script_name = &settings.script_name;
    let mut interrupt: fn() = ffi::interrupt_main_thread;
    let serve: Box<dyn FnOnce(Python<'_>) -> PyResult<()>> = match (runs_on, event_loop) {
        (RunsOn::MainThread, _) => {
            let host = InlineHost::new(reactor, tells_runs);
            set_runner(host.clone());
            let mounts = applications.mounts(script_name, |loaded, at| wsgi(loaded, at, host.clone()))?;
            Box::new(move |py| host.run(py, &mounts))
        }
        (RunsOn::Greenlets, _) => {
            let host = GreenletsHost::new(py, reactor, GeventHub::start(py)?, settings.cancel_on_disconnect)?;
            set_runner(host.clone());
            let mounts = applications.mounts(script_name, |loaded, at| wsgi(loaded, at, host.clone()))?;
            Box::new(move |py| host.run(py, Arc::new(mounts)))
        }
        (RunsOn::Bridge, Some(event_loop)) => {
            let hub = AsyncioHub::new(py, event_loop.bound().clone())?;
            let host = GreenletsHost::new(py, reactor, hub, settings.cancel_on_disconnect)?;
            set_runner(host.clone());
            let mounts = applications.mounts(script_name, |loaded, at| wsgi(loaded, at, host.clone()))?;
            Box::new(move |py| host.run(py, Arc::new(mounts)))
        }
        (RunsOn::Threads, _) | (RunsOn::Asyncio | RunsOn::Bridge, None) => {
            // Where the main thread runs no calls, interrupting it ends none.
            interrupt = || {};
            let host = ThreadsHost::new(reactor, translate::threads(settings, tells_runs));
            set_runner(host.clone());
            let mounts = applications.mounts(script_name, |loaded, at| wsgi(loaded, at, host.clone()))?;
            Box::new(move |py| host.run(py, Arc::new(mounts)))
        }
        (RunsOn::Asyncio, Some(event_loop)) => {
            let pool = Pool::new(handle.clone(), translate::threads(settings, tells_runs));
            let mounts = applications.mounts(script_name, |loaded, at| match loaded.interface {
                Kind::Wsgi => Ok(Application::Wsgi(Arc::new(wsgi(loaded, at, pool.clone())?))),
                Kind::Asgi => {
                    let state = event_loop.state(&loaded.application)?;
                    let application = loaded.application.clone().unbind();
                    Ok(Application::Asgi(Arc::new(Asgi::new(py, application, &at, state)?)))
                }
            })?;
            let cancels = settings.cancel_on_disconnect;
            let host = AsyncioHost::new(py, reactor, event_loop.bound().clone(), cancels, tells_runs, pool)?;
            set_runner(host.clone());
            Box::new(move |py| host.run(py, Arc::new(mounts)))
        }
    };
    let orders = match &tether {
        Some(tether) => Some(orders(py, tether, &handle, runner.clone(), what_runs(applications, settings))?),
        None => None,
    };
    let watch = SignalWatch::start(&handle, graces, orders, interrupt, || {
        say("tidegate: the application does not let go; the process ends");
    })
    .map_err(PyErr::from)?;
    let unready = Arc::new(OnceLock::new());
    let ready = || -> PyResult<()> {
        let Some(tether) = tether else {
            handle.open();
            return on_ready(py, &entrances);
        };
        match question {
            Some((stream, path)) => {
                let timeout = Duration::from_millis(settings.start_timeout_ms);
                let (unready, handle) = (unready.clone(), handle.clone());
                std::thread::Builder::new().name("tidegate-ready".into()).spawn(
                    move || match readiness::ask(stream, &path, timeout) {
                        Ok(()) => {
                            let _ = Python::attach(is_in_time);
                            let _ = tether.ready();
                        }
                        Err(reason) => {
                            let _ = unready.set(reason);
                            handle.stop();
                        }
                    },
                )?;
            }
            None => {
                is_in_time(py)?;
                tether.ready()?;
            }
        }
        Ok(())
    };
    let served = ready().and_then(|()| serve(py));
    py.detach(|| {
        // As long as the watch ends a process that does not end: handlers of the application's own log what is late, and may be stuck.
        handle.end_timeouts();
        attendant.into_iter().for_each(Attendant::join);
        // Its threads are joined, and may be in the middle of a message.
        drop(watch);
        // Not left to the last owner: an application may keep a finished request's objects, and with them all of this.
        handle.finish_access_log();
        tracer.iter().for_each(|tracer| tracer.finish());
        drop(admin);
    });
    served?;
    match unready.get() {
        Some(reason) => {
            let culprit = Culprit::Application;
            Err(Refusal { line: format!("--ready-path: {reason}"), cause: None, culprit })
        }
        None => Ok(()),
    }
}

/// Where clients are sent that have come by plain text.
fn https_port(listeners: &[Listener]) -> Option<u16> {
    let entrances = listeners.iter().map(Listener::entrance);
    let mut https = entrances.filter(|entrance| entrance.speaks.scheme == Scheme::Https);
    https.find_map(|entrance| match entrance.address {
        LocalAddress::Inet(address) => Some(address.port()),
        LocalAddress::Unix(_) => None,
    })
}

/// What a worker does that its supervisor says.
fn orders(
    py: Python<'_>,
    tether: &Tether,
    handle: &Handle,
    runner: RunnerIfAny,
    what: String,
) -> PyResult<Orders> {
    let mut threads = Stacks::prepare(py)?;
    let stream = tether.orders()?;
    let (tether, handle) = (tether.clone(), handle.clone());
    let others = move |byte| match byte {
        order::SERVE => {
            handle.open();
            log::info!("a worker serves ({what}, pid {})", std::process::id());
        }
        order::RETIRE => handle.retire(),
        order::STACKS => {
            let text = match threads.take() {
                Ok((text, true)) => text + &stacks::of_requests(&runner, handle.record()),
                Ok((text, false)) => text,
                Err(error) => format!("the stacks cannot be had: {error}"),
            };
            let _ = tether.stacks(&text);
        }
        order::STACK => {
            if let Some((number, key)) = handle.wanted() {
                let _ = tether.stack(&stacks::of_request(&runner, number, key));
            }
        }
        _ => {}
    };
    Ok(Orders { stream, others: Box::new(others) })
}

/// What settings ask of one another, of the applications, and of the process.
pub(crate) fn check(
    py: Python<'_>,
    settings: &Settings,
    applications: &Applications<'_>,
    runs_on: RunsOn,
) -> Result<(), Refusal> {
    let refuse = |name, reason: &str| Err(settings.refusal(name, reason).into());
    match (runs_on, applications.first(Kind::Asgi)) {
        (RunsOn::Asyncio, _) => Ok(()),
        (RunsOn::Bridge, _) if py.import("greenlet").is_err() => refuse(
            "concurrency",
            "a WSGI application on the loop needs greenlet: pip install 'tidegate[bridge]'",
        ),
        (RunsOn::Bridge, _) => Ok(()),
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

pub(crate) fn bind(py: Python<'_>, settings: &Settings) -> Result<Vec<Listener>, Refusal> {
    let mut passed = upgrade::handed_over().main;
    if passed.is_empty() && settings.origin("bind") == Origin::Default {
        // Sockets that systemd has bound (sd_listen_fds(3)) come before the default, and what an operator names before both.
        passed = sd_notify::listen_fds().map(|numbers| numbers.collect()).unwrap_or_default();
    }
    for bind in settings.bind.iter().filter(|bind| bind.believes_all()) {
        log::warn!(
            "{bind} believes whoever connects in all that it says, the client's address too: let nobody but the front server reach it"
        );
    }
    bind_or_adopt(py, settings, ("bind", &settings.bind), passed)
}

/// What the admin listener listens on. Handed over or not, there is none where there is to be none any more.
pub(crate) fn bind_admin(py: Python<'_>, settings: &Settings) -> Result<Vec<Listener>, Refusal> {
    let passed = upgrade::handed_over().admin;
    if settings.admin.is_empty() {
        passed.into_iter().for_each(close_inherited);
        return Ok(Vec::new());
    }
    bind_or_adopt(py, settings, ("admin", &settings.admin), passed)
}

/// Binds what a setting says, or takes what was passed to this process instead.
fn bind_or_adopt(
    py: Python<'_>,
    settings: &Settings,
    (setting, binds): (&str, &[Bind]),
    passed: Vec<RawFd>,
) -> Result<Vec<Listener>, Refusal> {
    let addresses = match passed.is_empty() {
        true => translate::bind_addresses(settings, binds),
        false => passed.iter().copied().map(BindAddress::Descriptor).collect(),
    };
    let options = BindOptions { backlog: settings.backlog, reuse_port: settings.reuse_port };
    let mut bound = bind_all(&addresses, options).map_err(|(address, error)| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
            _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::BADF) => "no such descriptor is open".to_owned(),
                Some(Errno::NOTSOCK) => "the descriptor is not a socket".to_owned(),
                _ => error.to_string(),
            },
        };
        let address = Value::Text(address.to_string());
        Refusal::of_system(settings.refusal_of(setting, Some(address), &reason))
    })?;
    if setting == "bind" {
        // Sockets that were passed on are in the order of the setting. Where it is the default, which is one, there may be more of them.
        for (index, listener) in bound.iter_mut().enumerate() {
            if let Some(bind) = binds.get(index).or(binds.last()) {
                listener.speak(translate::speaks(settings, bind));
            }
        }
    }
    if passed.is_empty() {
        privileges::give_sockets_away(py, settings, binds)?;
    }
    passed.into_iter().for_each(close_inherited);
    Ok(bound)
}
