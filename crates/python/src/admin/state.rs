//! The state as JSON, for the page and for whoever asks over the control socket.

use serde_json::{Map, Value, json};
use tidegate_engine::{BOUNDS_US, Class, Counter, Gauge, InFlight, Span};

use super::sight::{Scope, SeenWorker, Sight, Threads};

/// Most requests that are told of: those that have been there for longest.
const REQUESTS_MAX: usize = 500;

/// All that is seen.
pub(crate) fn state(scope: &Scope, sight: &Sight) -> Value {
    let Sight { totals, .. } = sight;
    let counts = |names: &[(&str, Counter)]| -> Map<String, Value> {
        names.iter().map(|(name, counter)| ((*name).to_owned(), json!(totals.counter(*counter)))).collect()
    };
    let statuses: Map<_, _> =
        Class::ALL.iter().map(|class| (class.name().to_owned(), json!(totals.ended_as(*class)))).collect();
    let timeouts: u64 = TIMEOUTS.iter().map(|(_, counter)| totals.counter(*counter)).sum();
    let restarts: Map<_, _> =
        sight.restarts.iter().map(|(cause, count)| (cause.word().to_owned(), json!(count))).collect();
    let addresses: Vec<_> = scope.addresses.iter().map(ToString::to_string).collect();
    let applications: Vec<_> = scope.applications.iter().map(|application| &application.name).collect();
    let buckets = |span| totals.histogram(span).buckets;
    json!({
        "server": {
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "state": sight.phase,
            "uptime_s": sight.uptime_ms / 1_000,
            "applications": applications,
            "addresses": addresses,
            "workers_wanted": sight.workers_wanted,
        },
        "workers": sight.workers.iter().map(worker).collect::<Vec<_>>(),
        "restarts": restarts,
        "requests": requests(scope, sight),
        "totals": {
            "requests": totals.ended(),
            "statuses": statuses,
            "shed": counts(&SHED),
            "cut": counts(&CUT),
            "timeouts": timeouts,
            "bytes_in": totals.counter(Counter::BytesIn),
            "bytes_out": totals.counter(Counter::BytesOut),
        },
        "latency": {
            "bounds_s": BOUNDS_US.map(|bound_us| bound_us as f64 / 1e6),
            "total": buckets(Span::Total),
            "queue": buckets(Span::Queue),
            "application": buckets(Span::Application),
        },
        "saturation": sight.saturation(),
    })
}

/// Why requests are turned away.
pub(super) const SHED: [(&str, Counter); 4] = [
    ("queue_full", Counter::ShedQueueFull),
    ("queue_timeout", Counter::ShedQueueTimeout),
    ("limit", Counter::ShedLimit),
    ("codel", Counter::ShedCodel),
];

/// Why responses are cut after their head.
pub(super) const CUT: [(&str, Counter); 5] = [
    ("request_timeout", Counter::CutRequestTimeout),
    ("write_timeout", Counter::CutWriteTimeout),
    ("client", Counter::CutClient),
    ("application", Counter::CutApplication),
    ("stop", Counter::CutStop),
];

/// What did not come in time.
pub(super) const TIMEOUTS: [(&str, Counter); 4] = [
    ("head", Counter::TimeoutsHead),
    ("body", Counter::TimeoutsBody),
    ("request", Counter::TimeoutsRequest),
    ("write", Counter::TimeoutsWrite),
];

fn worker(worker: &SeenWorker) -> Value {
    let SeenWorker { view, memory, figures, threads, .. } = worker;
    let Threads { running, blocked, idle, lost } = threads;
    json!({
        "id": view.id,
        "pid": view.pid.as_raw_pid(),
        "generation": view.generation,
        "state": view.state,
        "age_s": view.age_ms / 1_000,
        "requests": figures.counter(Counter::Started),
        "connections": figures.gauge(Gauge::Connections),
        "memory_bytes": memory,
        "in_flight": figures.in_flight(),
        "running": figures.running(),
        "queued": figures.gauge(Gauge::Queued),
        "expired_running": figures.gauge(Gauge::ExpiredRunning),
        "threads": {"running": running, "blocked": blocked, "idle": idle, "lost": lost},
    })
}

fn requests(scope: &Scope, sight: &Sight) -> Vec<Value> {
    let all = sight
        .workers
        .iter()
        .flat_map(|worker| worker.requests.iter().map(move |request| (worker.view.id, request)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(_, request)| request.began_us);
    all.iter().take(REQUESTS_MAX).map(|(worker, seen)| request(scope, sight, *worker, seen)).collect()
}

fn request(scope: &Scope, sight: &Sight, worker: u32, request: &InFlight) -> Value {
    let since_ms = |began_us: u64| sight.now_us.saturating_sub(began_us) / 1_000;
    let application = request.application.and_then(|number| scope.applications.get(number));
    let id = String::from_utf8_lossy(&request.id);
    json!({
        "worker": worker,
        "number": request.number,
        "method": request.method(),
        "path": String::from_utf8_lossy(&request.path),
        "application": application.map(|application| &application.name),
        "stage": request.stage.name(),
        "age_ms": since_ms(request.began_us),
        "stage_ms": since_ms(request.stage_began_us),
        "peer": request.peer.to_string(),
        "id": if id.is_empty() { Value::Null } else { json!(id) },
        "status": request.status,
    })
}
