//! What is seen of a server at a moment: what its supervisor believes, what its workers have counted, and what the system tells of them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Pid;
use tidegate_engine::{Entrance, Figures, Gauge, InFlight, Record, Records, Runs, Stage, monotonic_us};
use tidegate_supervisor::supervisor::{View, WorkerView};
use tidegate_supervisor::{Settings, fleet::Cause};

use crate::applications::Applications;
use crate::host::sleeps_in;

/// Threads of a worker of which the system is asked whether they wait, which takes some ten microseconds for each; of more, the rest is taken
/// to be as these are.
const THREADS_ASKED_MAX: u64 = 32;

/// An application that requests are counted of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Application {
    /// What the settings call it.
    pub(crate) name: String,
    /// Where it is mounted; `/` for what has all other paths.
    pub(crate) mount: String,
}

impl Application {
    fn new(name: String, prefix: &str) -> Self {
        Self { name, mount: if prefix.is_empty() { "/".to_owned() } else { prefix.to_owned() } }
    }

    /// Those that the settings name, in the order of their numbers.
    pub(crate) fn of_settings(settings: &Settings) -> Vec<Self> {
        let script_name = &settings.script_name;
        let main = settings.app.iter().map(|app| Self::new(app.to_string(), script_name));
        let mounted = settings
            .mounts
            .iter()
            .map(|mount| Self::new(mount.app.to_string(), &format!("{script_name}{}", mount.prefix)));
        main.chain(mounted).collect()
    }

    /// Those that are loaded, likewise.
    pub(crate) fn loaded(applications: &Applications<'_>, settings: &Settings) -> Vec<Self> {
        let mut found = Vec::new();
        // To make nothing of them cannot fail.
        let _ = applications.mounts(&settings.script_name, |loaded, at| {
            found.push(Self::new(loaded.name.clone(), &at.prefix));
            Ok(())
        });
        found
    }
}

/// What is looked at.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) records: Arc<Records>,
    pub(crate) applications: Vec<Application>,
    pub(crate) addresses: Vec<Entrance>,
}

/// A worker.
pub(crate) struct SeenWorker {
    pub(crate) view: WorkerView,
    pub(crate) memory: u64,
    pub(crate) figures: Figures,
    pub(crate) requests: Vec<InFlight>,
    pub(crate) threads: Threads,
}

/// What its threads are at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Threads {
    /// In an application's call, and at work.
    pub(crate) running: u64,
    /// In one, and waiting: for a service, for a lock, for the interpreter.
    pub(crate) blocked: u64,
    pub(crate) idle: u64,
    pub(crate) lost: u64,
}

/// A server.
pub(crate) struct Sight {
    pub(crate) is_ready: bool,
    pub(crate) phase: &'static str,
    pub(crate) uptime_ms: u64,
    pub(crate) workers_wanted: usize,
    pub(crate) restarts: Vec<(Cause, u64)>,
    pub(crate) workers: Vec<SeenWorker>,
    /// Of all workers that there are and have been; what goes up and down, of those that there are.
    pub(crate) totals: Figures,
    pub(crate) now_us: u64,
}

impl Sight {
    /// `record_of` gives the index of a process's record.
    pub(crate) fn new(scope: &Scope, view: &View, record_of: impl Fn(Pid) -> Option<usize>) -> Self {
        let now_us = monotonic_us();
        let mut totals = scope.records.gone();
        let seen = view.workers.iter().filter_map(|worker| {
            let record = scope.records.record(record_of(worker.pid)?)?;
            Some(SeenWorker::new(worker, &record))
        });
        let workers: Vec<_> = seen.collect();
        workers.iter().for_each(|worker| totals += &worker.figures);
        Self {
            is_ready: view.is_ready(),
            phase: view.phase,
            uptime_ms: view.uptime_ms,
            workers_wanted: view.workers_wanted,
            restarts: view.restarts.clone(),
            workers,
            totals,
            now_us,
        }
    }

    /// Requests that are not over. Of each worker, as a worker that was killed has left none.
    pub(crate) fn in_flight(&self) -> u64 {
        self.workers.iter().map(|worker| worker.figures.in_flight()).sum()
    }

    /// Those that an application has.
    pub(crate) fn running(&self) -> u64 {
        self.workers.iter().map(|worker| worker.figures.running()).sum()
    }

    /// How much of what it may do it does, from 0 to 1: of the requests that may run or of those that may wait, whichever is more.
    pub(crate) fn saturation(&self) -> f64 {
        let serving = || self.workers.iter().filter(|worker| worker.view.serves);
        let share = |part: u64, most: Gauge| {
            let most: u64 = serving().map(|worker| worker.figures.gauge(most)).sum();
            if most == 0 { 0.0 } else { (part as f64 / most as f64).min(1.0) }
        };
        let running = serving().map(SeenWorker::places_taken).sum();
        let queued = serving().map(|worker| worker.figures.gauge(Gauge::Queued)).sum();
        share(running, Gauge::RunningMax).max(share(queued, Gauge::QueuedMax))
    }

    /// When it began, in seconds since 1970.
    pub(crate) fn started_s(&self) -> f64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (now.as_secs_f64() - self.uptime_ms as f64 / 1e3).max(0.0)
    }
}

impl SeenWorker {
    fn new(view: &WorkerView, record: &Record) -> Self {
        let figures = record.figures();
        let requests = record.requests();
        let threads = Threads::new(view.pid, &figures, &requests);
        Self { view: view.clone(), memory: memory_of(view.pid), figures, requests, threads }
    }

    /// Requests that run in greenlets or tasks, and not on threads; those that have expired too.
    pub(crate) fn running_light(&self) -> u64 {
        match self.figures.runs() {
            Some(Runs::Threads) | None => 0,
            Some(_) => {
                let Threads { running, blocked, .. } = self.threads;
                self.places_taken().saturating_sub(running + blocked)
            }
        }
    }

    /// Of the requests that may run at once, how many do. In place of one that has lost its thread another one may.
    fn places_taken(&self) -> u64 {
        let expired = self.figures.gauge(Gauge::ExpiredRunning).saturating_sub(self.threads.lost);
        self.figures.running() + expired
    }
}

impl Threads {
    fn new(pid: Pid, figures: &Figures, requests: &[InFlight]) -> Self {
        let total = figures.gauge(Gauge::Threads);
        if total == 0 {
            return Self::default();
        }
        // Tasks run on the main thread, whose number is the process's.
        let main = pid.as_raw_pid();
        let on_threads = figures.runs() == Some(Runs::Threads);
        let lost = figures.gauge(Gauge::ThreadsLost);
        let running = requests.iter().filter(|request| request.stage == Stage::Application);
        let mut expired: Vec<_> = requests.iter().filter(|request| request.stage == Stage::Expired).collect();
        // Those that have been so for longest have lost their threads.
        expired.sort_by_key(|request| request.stage_began_us);
        let of_thread =
            |request: &&InFlight| request.thread.is_some_and(|thread| on_threads || thread != main);
        let expired = expired.into_iter().filter(of_thread).skip(usize::try_from(lost).unwrap_or(usize::MAX));
        let threads = running.filter(of_thread).chain(expired).filter_map(|request| request.thread);
        let (mut busy, mut blocked) = (0, 0);
        for thread in threads {
            busy += 1;
            blocked += u64::from(busy <= THREADS_ASKED_MAX && sleeps_in(main, thread));
        }
        if busy > THREADS_ASKED_MAX {
            blocked = blocked * busy / THREADS_ASKED_MAX;
        }
        Self { running: busy - blocked, blocked, idle: total.saturating_sub(busy + lost), lost }
    }
}

/// Bytes of a process that are in memory (RSS, proc_pid_statm(5)); 0 for one that is gone.
pub(crate) fn memory_of(pid: Pid) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_pid())).ok();
    let pages = line.and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}
