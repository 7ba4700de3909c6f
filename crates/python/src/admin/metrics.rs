//! The metrics as OpenMetrics text, which Prometheus and most others read. docs/observe.md has the table of them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tidegate_engine::{BOUNDS_US, Class, Counter, Gauge, METHODS, Runs, Span};

use super::sight::{Application, Scope, Sight, Threads};
use super::state::{CUT, SHED, TIMEOUTS};

/// What the text is (OpenMetrics 1.0, "Overall Structure").
pub(super) const CONTENT_TYPE: &[u8] = b"application/openmetrics-text; version=1.0.0; charset=utf-8";

/// States of a worker, all of which are always told of: what is sometimes not there cannot be added up.
const WORKER_STATES: [&str; 5] = ["starting", "waiting", "serving", "leaving", "killed"];

/// The text.
///
/// # Errors
/// None, as long as there is memory.
pub(super) fn metrics(scope: &Scope, sight: Sight) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Seen { applications: scope.applications.clone(), sight }));
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &registry)?;
    Ok(text)
}

struct Seen {
    applications: Vec<Application>,
    sight: Sight,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen")
    }
}

/// Names and values of labels.
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

/// Families, one after the other.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        count(&mut self.family(name, help, None, MetricType::Counter)?, value)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.family(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    /// One with a value for each value of a label.
    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, None, MetricType::Counter)?;
        values
            .into_iter()
            .try_for_each(|(of, value)| count(&mut family.encode_family(&Labels(&[(label, of)]))?, value))
    }

    /// See `counters`.
    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, None, MetricType::Gauge)?;
        values
            .into_iter()
            .try_for_each(|(of, value)| family.encode_family(&Labels(&[(label, of)]))?.encode_gauge(&value))
    }
}

fn count(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

impl Collector for Seen {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let families = &mut Families(encoder);
        self.server(families)?;
        self.requests(families)?;
        self.times(families)?;
        self.connections(families)?;
        self.running(families)?;
        self.spans(families)?;
        self.handshakes(families)?;
        self.workers(families)
    }
}

impl Seen {
    fn server(&self, families: &mut Families<'_>) -> fmt::Result {
        let sight = &self.sight;
        let version = Labels(&[("version", env!("CARGO_PKG_VERSION"))]);
        families
            .family("tidegate_build", "The server's version.", None, MetricType::Info)?
            .encode_info(&version)?;
        families
            .family(
                "tidegate_start_time",
                "When the server was started.",
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?
            .encode_gauge(&sight.started_s())?;
        families.gauge(
            "tidegate_ready",
            "Whether the server is to be sent requests: 1 if so.",
            sight.is_ready.into(),
        )?;
        families
            .family(
                "tidegate_saturation_ratio",
                "The part that is used of what may run at once, or of the queue: whichever is more.",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&sight.saturation())
    }

    fn requests(&self, families: &mut Families<'_>) -> fmt::Result {
        let Sight { totals, .. } = &self.sight;
        let mut family =
            families.family("tidegate_requests", "Requests that are over.", None, MetricType::Counter)?;
        let known = self.applications.iter().enumerate().map(|(number, application)| {
            (Some(number), application.name.as_str(), application.mount.as_str())
        });
        for (number, application, mount) in known.chain([(None, "", "")]) {
            for (method, name) in METHODS.iter().enumerate() {
                for class in Class::ALL {
                    let value = totals.requests_of(number, method, class);
                    // Most of these never happen; rates are to be had from the first on of those that do.
                    if value > 0 || method == 0 {
                        let labels = [
                            ("application", application),
                            ("mount", mount),
                            ("method", name),
                            ("status", class.name()),
                        ];
                        count(&mut family.encode_family(&Labels(&labels))?, value)?;
                    }
                }
            }
        }
        families.gauge(
            "tidegate_requests_in_flight",
            "Requests that are not over.",
            self.sight.in_flight(),
        )?;
        families.gauge(
            "tidegate_requests_queued",
            "Requests that wait for their turn.",
            totals.gauge(Gauge::Queued),
        )?;
        families.gauge("tidegate_requests_queued_max", "Most that may.", totals.gauge(Gauge::QueuedMax))?;
        families.gauge(
            "tidegate_requests_running",
            "Requests that an application has.",
            self.sight.running(),
        )?;
        families.gauge("tidegate_requests_running_max", "Most that may.", totals.gauge(Gauge::RunningMax))?;
        families.gauge(
            "tidegate_requests_expired_running",
            "Requests that are over, as their time was, while their applications go on.",
            totals.gauge(Gauge::ExpiredRunning),
        )?;
        let shed = SHED.map(|(reason, counter)| (reason, totals.counter(counter)));
        families.counters("tidegate_requests_shed", "Requests that were turned away.", "reason", shed)?;
        let cut = CUT.map(|(reason, counter)| (reason, totals.counter(counter)));
        families.counters(
            "tidegate_responses_cut",
            "Responses that were cut after their head.",
            "reason",
            cut,
        )?;
        let timeouts = TIMEOUTS.map(|(what, counter)| (what, totals.counter(counter)));
        families.counters(
            "tidegate_timeouts",
            "What did not come, or was not taken, in time.",
            "of",
            timeouts,
        )
    }

    fn times(&self, families: &mut Families<'_>) -> fmt::Result {
        let spans = [
            (
                "tidegate_request_duration",
                "From the arrival of a request's head until the system had all of its response.",
                Span::Total,
            ),
            (
                "tidegate_request_front_queue",
                "From when a trusted proxy had a request until its head arrived here, by X-Request-Start.",
                Span::Front,
            ),
            (
                "tidegate_request_queue",
                "From when a request could run until its application began.",
                Span::Queue,
            ),
            (
                "tidegate_request_application",
                "From when its application began until its response was complete.",
                Span::Application,
            ),
        ];
        for (name, help, span) in spans {
            let histogram = self.sight.totals.histogram(span);
            let bounds = BOUNDS_US.iter().map(|bound_us| *bound_us as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(histogram.buckets.iter().copied()).collect();
            families
                .family(name, help, Some(&Unit::Seconds), MetricType::Histogram)?
                .encode_histogram::<NoLabelSet>(
                    histogram.sum_us as f64 / 1e6,
                    histogram.count(),
                    &buckets,
                    None,
                )?;
        }
        Ok(())
    }

    fn connections(&self, families: &mut Families<'_>) -> fmt::Result {
        let Sight { totals, .. } = &self.sight;
        let all = totals.gauge(Gauge::Connections);
        let websockets = totals.gauge(Gauge::WebSockets).min(all);
        // A request outlives its connection where its application does not let go of it.
        let active = self.sight.in_flight().min(all - websockets);
        let states = [("idle", all - websockets - active), ("active", active), ("websocket", websockets)];
        families.gauges("tidegate_connections", "Connections that are open.", "state", states)?;
        families.gauge("tidegate_http2_connections", "Of those, by HTTP/2.", totals.gauge(Gauge::Http2))?;
        families.counter(
            "tidegate_http2_streams",
            "Requests that came by HTTP/2.",
            totals.counter(Counter::Http2Streams),
        )?;
        families.counter(
            "tidegate_http2_calmed",
            "HTTP/2 connections that were ended, as their clients sent too much that led nowhere.",
            totals.counter(Counter::Http2Calmed),
        )?;
        let bytes = |families: &mut Families<'_>, name: &str, help: &str, counter| {
            let mut family = families.family(name, help, Some(&Unit::Bytes), MetricType::Counter)?;
            count(&mut family, totals.counter(counter))
        };
        bytes(families, "tidegate_received", "Bytes that clients have sent.", Counter::BytesIn)?;
        bytes(families, "tidegate_sent", "Bytes that were sent to clients.", Counter::BytesOut)
    }

    fn running(&self, families: &mut Families<'_>) -> fmt::Result {
        let Sight { totals, workers, .. } = &self.sight;
        let sum = |of: fn(&Threads) -> u64| workers.iter().map(|worker| of(&worker.threads)).sum();
        let threads = [
            ("running", sum(|threads| threads.running)),
            ("blocked", sum(|threads| threads.blocked)),
            ("idle", sum(|threads| threads.idle)),
            ("lost", sum(|threads| threads.lost)),
        ];
        families.gauges("tidegate_threads", "Threads for requests.", "state", threads)?;
        let light = |runs| {
            let such = workers.iter().filter(|worker| worker.figures.runs() == Some(runs));
            such.map(super::sight::SeenWorker::running_light).sum()
        };
        families.gauge("tidegate_greenlets", "Greenlets that run requests.", light(Runs::Greenlets))?;
        families.gauge("tidegate_tasks", "Tasks that run requests.", light(Runs::Tasks))?;
        families.counter(
            "tidegate_leadership_moves",
            "How often another thread became the leader, as a call blocked.",
            totals.counter(Counter::LeadershipMoves),
        )?;
        families.counter(
            "tidegate_interpreter_waits",
            "How often a thread with work in hand took the interpreter.",
            totals.counter(Counter::InterpreterWaits),
        )?;
        families
            .family(
                "tidegate_interpreter_wait",
                "For how long such threads have waited for it.",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(
                &(totals.counter(Counter::InterpreterWaitUs) as f64 / 1e6),
                None,
            )
    }

    fn spans(&self, families: &mut Families<'_>) -> fmt::Result {
        let Sight { totals, .. } = &self.sight;
        families.counter(
            "tidegate_spans_sent",
            "Spans that the collector of --otlp-endpoint has taken.",
            totals.counter(Counter::SpansSent),
        )?;
        families.counter(
            "tidegate_spans_dropped",
            "Spans that it has not taken, or that too many waited for it to be told of.",
            totals.counter(Counter::SpansDropped),
        )
    }

    fn handshakes(&self, families: &mut Families<'_>) -> fmt::Result {
        let of = |counter| self.sight.totals.counter(counter);
        families.counters(
            "tidegate_tls_handshakes",
            "Handshakes of TLS: whole ones, ones that went on from an earlier session, and ones that failed.",
            "result",
            [
                ("full", of(Counter::HandshakesFull)),
                ("resumed", of(Counter::HandshakesResumed)),
                ("failed", of(Counter::HandshakesFailed)),
            ],
        )
    }

    fn workers(&self, families: &mut Families<'_>) -> fmt::Result {
        let Sight { workers, .. } = &self.sight;
        families.gauge(
            "tidegate_workers_wanted",
            "Workers that are to serve.",
            self.sight.workers_wanted as u64,
        )?;
        let states = WORKER_STATES
            .map(|state| (state, workers.iter().filter(|worker| worker.view.state == state).count() as u64));
        families.gauges("tidegate_workers", "Workers that there are.", "state", states)?;
        let mut family = families.family(
            "tidegate_worker_memory",
            "Memory of a worker (RSS).",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        for worker in workers {
            let id = worker.view.id.to_string();
            family.encode_family(&Labels(&[("worker", &id)]))?.encode_gauge(&worker.memory)?;
        }
        let restarts = self.sight.restarts.iter().map(|(cause, count)| (cause.word(), *count));
        families.counters(
            "tidegate_worker_restarts",
            "Workers that had others put in their place.",
            "cause",
            restarts,
        )
    }
}
