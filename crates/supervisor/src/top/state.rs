//! What a server tells of itself, and what follows from two such looks.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use super::line::shown;

/// Rates and percentiles are of so long.
const WINDOW: Duration = Duration::from_secs(10);

/// Most rates that are remembered, one for each look: no terminal is wider.
const RATES_MAX: usize = 512;

/// Texts in here can be shown: what they do not say about the terminal is in [`shown`].
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) version: String,
    pub(super) word: String,
    pid: u64,
    pub(super) uptime_s: u64,
    /// Applications and addresses.
    pub(super) serves: Vec<String>,
    pub(super) workers_wanted: u64,
    pub(super) workers: Vec<Worker>,
    pub(super) restarts: Vec<(String, u64)>,
    /// The oldest first.
    pub(super) requests: Vec<Request>,
    pub(super) saturation: f64,
    counters: Counters,
    bounds_s: Vec<f64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Worker {
    pub(super) id: u64,
    pub(super) pid: u64,
    pub(super) state: String,
    pub(super) age_s: u64,
    pub(super) memory_bytes: u64,
    pub(super) requests: u64,
    pub(super) connections: u64,
    pub(super) running: u64,
    pub(super) queued: u64,
    pub(super) expired_running: u64,
    pub(super) in_flight: u64,
    /// Running, blocked, idle, lost.
    pub(super) threads: [u64; 4],
}

#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) worker: u64,
    pub(super) number: u64,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) stage: String,
    pub(super) age_ms: u64,
    pub(super) stage_ms: u64,
    pub(super) peer: String,
    pub(super) id: String,
}

/// What only grows while a server lives.
#[derive(Clone, Debug, Default)]
struct Counters {
    requests: u64,
    errors: u64,
    shed: u64,
    timeouts: u64,
    /// Requests by how long they took.
    total: Vec<u64>,
    queue: Vec<u64>,
}

impl State {
    /// What is missing or of another kind counts as nothing.
    pub(super) fn read(answer: &Value) -> Self {
        let (server, totals, latency) = (&answer["server"], &answer["totals"], &answer["latency"]);
        let shed = totals["shed"].as_object().into_iter().flatten();
        let restarts = answer["restarts"].as_object().into_iter().flatten();
        Self {
            version: text(&server["version"]),
            word: text(&server["state"]),
            pid: number(&server["pid"]),
            uptime_s: number(&server["uptime_s"]),
            serves: items(&server["applications"]).chain(items(&server["addresses"])).map(text).collect(),
            workers_wanted: number(&server["workers_wanted"]),
            workers: items(&answer["workers"]).map(Worker::read).collect(),
            restarts: restarts.map(|(cause, count)| (shown(cause), number(count))).collect(),
            requests: items(&answer["requests"]).map(Request::read).collect(),
            saturation: answer["saturation"].as_f64().unwrap_or_default().clamp(0.0, 1.0),
            counters: Counters {
                requests: number(&totals["requests"]),
                errors: number(&totals["statuses"]["5xx"]) + number(&totals["statuses"]["cut"]),
                shed: shed.map(|(_, count)| number(count)).sum(),
                timeouts: number(&totals["timeouts"]),
                total: items(&latency["total"]).map(number).collect(),
                queue: items(&latency["queue"]).map(number).collect(),
            },
            bounds_s: items(&latency["bounds_s"]).filter_map(Value::as_f64).collect(),
        }
    }
}

impl Worker {
    fn read(worker: &Value) -> Self {
        let threads = &worker["threads"];
        Self {
            id: number(&worker["id"]),
            pid: number(&worker["pid"]),
            state: text(&worker["state"]),
            age_s: number(&worker["age_s"]),
            memory_bytes: number(&worker["memory_bytes"]),
            requests: number(&worker["requests"]),
            connections: number(&worker["connections"]),
            running: number(&worker["running"]),
            queued: number(&worker["queued"]),
            expired_running: number(&worker["expired_running"]),
            in_flight: number(&worker["in_flight"]),
            threads: ["running", "blocked", "idle", "lost"].map(|state| number(&threads[state])),
        }
    }
}

impl Request {
    fn read(request: &Value) -> Self {
        Self {
            worker: number(&request["worker"]),
            number: number(&request["number"]),
            method: text(&request["method"]),
            path: text(&request["path"]),
            stage: text(&request["stage"]),
            age_ms: number(&request["age_ms"]),
            stage_ms: number(&request["stage_ms"]),
            peer: text(&request["peer"]),
            id: text(&request["id"]),
        }
    }

    pub(super) fn key(&self) -> (u64, u64) {
        (self.worker, self.number)
    }
}

/// What happened between two looks.
#[derive(Debug, PartialEq)]
pub(super) struct Figures {
    /// A second.
    pub(super) requests: f64,
    pub(super) errors: f64,
    pub(super) shed: f64,
    pub(super) timeouts: f64,
    /// Of 50, 95 and 99 percent, in seconds; none without requests.
    pub(super) total: Option<[f64; 3]>,
    pub(super) queue: Option<[f64; 3]>,
}

impl Figures {
    fn between(earlier: &State, later: &State, seconds: f64) -> Self {
        let (before, after) = (&earlier.counters, &later.counters);
        let rate = |count: fn(&Counters) -> u64| count(after).saturating_sub(count(before)) as f64 / seconds;
        let percentiles = |counts: fn(&Counters) -> &[u64]| {
            let shares = [0.50, 0.95, 0.99];
            let found = shares.map(|share| percentile(&later.bounds_s, counts(before), counts(after), share));
            Some([found[0]?, found[1]?, found[2]?])
        };
        Self {
            requests: rate(|counters| counters.requests),
            errors: rate(|counters| counters.errors),
            shed: rate(|counters| counters.shed),
            timeouts: rate(|counters| counters.timeouts),
            total: percentiles(|counters| &counters.total),
            queue: percentiles(|counters| &counters.queue),
        }
    }
}

/// In seconds, straight within a bucket. What is beyond the last bound is infinite.
fn percentile(bounds_s: &[f64], before: &[u64], after: &[u64], share: f64) -> Option<f64> {
    let earlier = before.iter().copied().chain(std::iter::repeat(0));
    let counts: Vec<u64> = after.iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect();
    let mut wanted = counts.iter().sum::<u64>() as f64 * share;
    if wanted == 0.0 {
        return None;
    }
    let mut low = 0.0;
    for (index, &count) in counts.iter().enumerate() {
        let Some(&high) = bounds_s.get(index) else { break };
        if count > 0 && wanted <= count as f64 {
            return Some(low + (high - low) * wanted / count as f64);
        }
        wanted -= count as f64;
        low = high;
    }
    Some(f64::INFINITY)
}

/// The looks of the last moments, the latest of which is shown.
#[derive(Debug, Default)]
pub(super) struct History {
    looks: VecDeque<(Duration, State)>,
    rates: VecDeque<f64>,
}

impl History {
    /// `at` is since any moment, and grows.
    pub(super) fn add(&mut self, state: State, at: Duration) {
        if let Some((then, last)) = self.looks.back() {
            if last.pid != state.pid || last.uptime_s > state.uptime_s {
                *self = Self::default();
            } else if at > *then {
                let between = Figures::between(last, &state, (at - *then).as_secs_f64());
                self.rates.push_back(between.requests);
            }
        }
        self.looks.push_back((at, state));
        while self.looks.get(1).is_some_and(|(then, _)| at.saturating_sub(*then) >= WINDOW) {
            self.looks.pop_front();
        }
        while self.rates.len() > RATES_MAX {
            self.rates.pop_front();
        }
    }

    pub(super) fn latest(&self) -> &State {
        static NOTHING: std::sync::LazyLock<State> = std::sync::LazyLock::new(State::default);
        self.looks.back().map_or(&NOTHING, |(_, state)| state)
    }

    pub(super) fn figures(&self) -> Option<Figures> {
        let ((then, earlier), (now, later)) = (self.looks.front()?, self.looks.back()?);
        (now > then).then(|| Figures::between(earlier, later, (*now - *then).as_secs_f64()))
    }

    /// Requests a second between one look and the next, the oldest first.
    pub(super) fn rates(&self) -> impl DoubleEndedIterator<Item = f64> + Clone {
        self.rates.iter().copied()
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn text(value: &Value) -> String {
    shown(value.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(requests: u64, total: [u64; 4]) -> State {
        State::read(&json!({
            "server": {"pid": 1, "uptime_s": requests},
            "totals": {"requests": requests, "statuses": {"5xx": requests / 2, "cut": 1}, "shed": {"limit": 3, "codel": 4}},
            "latency": {"bounds_s": [0.01, 0.1, 1.0], "total": total},
        }))
    }

    #[test]
    fn figures_are_of_what_was_between_two_looks() {
        let mut history = History::default();
        history.add(state(100, [100, 0, 0, 0]), Duration::from_secs(5));
        assert_eq!(history.figures(), None);
        history.add(state(120, [110, 10, 0, 0]), Duration::from_secs(7));
        let figures = history.figures().expect("two looks");
        assert_eq!((figures.requests, figures.errors, figures.shed), (10.0, 5.0, 0.0));
        let [p50, p95, p99] = figures.total.expect("there were requests");
        assert!((p50 - 0.01).abs() < 1e-9 && p95 > 0.09 && p95 < p99 && p99 < 0.1, "{p50} {p95} {p99}");
        assert_eq!(figures.queue, None);
        assert_eq!(history.rates().collect::<Vec<_>>(), [10.0]);
    }

    #[test]
    fn what_took_longer_than_the_last_bound_has_no_end() {
        assert_eq!(percentile(&[0.1], &[], &[1, 9], 0.5), Some(f64::INFINITY));
        assert_eq!(percentile(&[0.1], &[1, 9], &[1, 9], 0.5), None);
    }

    #[test]
    fn looks_of_another_server_are_not_compared() {
        let mut history = History::default();
        history.add(state(100, [100, 0, 0, 0]), Duration::from_secs(1));
        history.add(state(3, [3, 0, 0, 0]), Duration::from_secs(2));
        assert_eq!(history.figures(), None);
        assert_eq!(history.latest().counters.requests, 3);
    }

    #[test]
    fn an_answer_of_any_shape_is_read() {
        for answer in [
            json!(null),
            json!([]),
            json!({"server": 1, "workers": {"a": 1}, "requests": [null, 3], "latency": []}),
        ] {
            State::read(&answer);
        }
    }
}
