//! From the operator's settings to what the engine and the gateways take: two vocabularies that must not know each other.

use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;
use tidegate_engine::http::coding::{Coding, TypePattern};
use tidegate_engine::http::{
    ForwardedFact, ForwardedFields, ForwardedRules, Limits, RequestHead, UnderscoreNames, ws,
};
use tidegate_engine::{
    self as engine, AccessLogFilter, AccessLogFormat, AccessLogPlan, AccessLogTarget, Aside, Atom,
    BindAddress, Codel, CollectorAddress, Compression, Gathering, HEALTH_CONCURRENCY_MAX, Http2Settings,
    Limit, PathPattern, Piece, Priority, Protocol, Scheme, Shape, Speaks, StatsdPlan, TracingPlan,
    TrustedProxies, WebSocketSettings, WorkersGauge,
};
use tidegate_supervisor as supervisor;
use tidegate_supervisor::{
    Address, Bind, HttpVersions, LogAtom, LogLevel, LogPiece, LogShape, ReadyBy, RequestBuffering, RunsOn,
    Settings, Shedding, StatsdAddress, TrustedProxy, UntrustedForwarded,
};

use crate::files;
use crate::gateway::HopByHop;
use crate::host::ThreadsOptions;

/// An interval in targets: RFC 8289 has the target at a tenth to a twentieth.
const CODEL_INTERVAL: u64 = 10;

/// How long idle connections stay when a drain begins.
const LINGER_MS: u64 = 250;

/// Where https is where no address of this server says otherwise: something in front of it speaks it.
const HTTPS_PORT: u16 = 443;

pub(crate) fn log_level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}

pub(crate) fn access_log(settings: &Settings) -> Option<AccessLogPlan> {
    let target = match settings.access_log.as_ref()? {
        supervisor::AccessLogTarget::Stdout => AccessLogTarget::Stdout,
        supervisor::AccessLogTarget::Stderr => AccessLogTarget::Stderr,
        supervisor::AccessLogTarget::File(path) => AccessLogTarget::File(path.clone()),
        supervisor::AccessLogTarget::Collector(collector) => AccessLogTarget::Collector(to(collector)),
    };
    let format = match &settings.access_log_format {
        supervisor::AccessLogFormat::Common => AccessLogFormat::common(),
        supervisor::AccessLogFormat::Combined => AccessLogFormat::combined(),
        supervisor::AccessLogFormat::Json => AccessLogFormat::json(request_id_header(settings)),
        supervisor::AccessLogFormat::Custom(pieces, _) => {
            AccessLogFormat::custom(pieces.iter().map(|piece| to_piece(piece, settings)).collect())
        }
    };
    let filter = AccessLogFilter {
        slower_than: settings.access_log_slower_than_ms.map(Duration::from_millis),
        status_min: settings.access_log_status_min,
        excluded: settings.access_log_exclude.iter().map(|path| PathPattern::new(path)).collect(),
    };
    Some(AccessLogPlan { target, format, filter })
}

/// Whom to tell of requests beside the access log.
pub(crate) fn statsd(settings: &Settings) -> Option<StatsdPlan> {
    let address = match settings.statsd_host.clone()? {
        StatsdAddress::Udp(host, port) => CollectorAddress::Udp(host, port),
        StatsdAddress::Unix(path) => CollectorAddress::Unix(path),
    };
    let (prefix, tags) = (settings.statsd_prefix.clone(), settings.statsd_tags.clone());
    Some(StatsdPlan { address, prefix, tags })
}

pub(crate) fn tracing(settings: &Settings) -> Option<TracingPlan> {
    let endpoint = settings.otlp_endpoint.clone()?;
    // The variable that every SDK takes (OpenTelemetry, "Environment Variable Specification").
    let of_variable = || std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let service_name = settings.otlp_service_name.clone().or_else(of_variable);
    let service_name = service_name.unwrap_or_else(|| "tidegate".into());
    Some(TracingPlan { endpoint, sample: settings.otlp_sample, service_name })
}

/// What tells statsd how many workers there are.
pub(crate) fn workers_gauge(settings: &Settings) -> Option<WorkersGauge> {
    let gauge = WorkersGauge::connect(statsd(settings)?);
    gauge.inspect_err(|error| log::warn!("statsd is not told of workers: {error}")).ok()
}

fn to(collector: &supervisor::Collector) -> engine::Collector {
    let (protocol, address) = match &collector.address {
        supervisor::CollectorAddress::Syslog(path) => {
            (Protocol::Syslog, CollectorAddress::Unix(path.clone()))
        }
        supervisor::CollectorAddress::SyslogAt(host, port) => {
            (Protocol::Syslog, CollectorAddress::Udp(host.clone(), *port))
        }
        supervisor::CollectorAddress::Journal(path) => {
            (Protocol::Journal, CollectorAddress::Unix(path.clone()))
        }
    };
    engine::Collector { protocol, address, facility: collector.facility, tag: collector.tag.clone() }
}

/// The field that has a request's id, where requests have one.
pub(crate) fn request_id_header(settings: &Settings) -> Option<&str> {
    settings.request_id.then_some(&settings.request_id_header)
}

fn to_piece(piece: &LogPiece, settings: &Settings) -> Piece {
    let (atom, shape) = match piece {
        LogPiece::Text(text) => return Piece::Text(text.clone()),
        LogPiece::Atom(atom, shape) => (atom, shape),
    };
    let atom = match atom {
        LogAtom::Nothing => Atom::Nothing,
        LogAtom::Client => Atom::Client,
        LogAtom::User => Atom::User,
        LogAtom::Time => Atom::Time,
        LogAtom::RequestLine => Atom::RequestLine,
        LogAtom::Method => Atom::Method,
        LogAtom::Target => Atom::Target,
        LogAtom::DecodedPath => Atom::DecodedPath,
        LogAtom::Query => Atom::Query,
        LogAtom::Protocol => Atom::Protocol,
        LogAtom::Status => Atom::Status,
        LogAtom::Shed => Atom::Shed,
        LogAtom::Cut => Atom::Cut,
        LogAtom::BodySent => Atom::BodySent,
        LogAtom::RequestField(name) => Atom::RequestField(name.clone()),
        LogAtom::ResponseField(name) => Atom::ResponseField(name.clone()),
        LogAtom::Seconds => Atom::Seconds,
        LogAtom::Milliseconds => Atom::Milliseconds,
        LogAtom::Microseconds => Atom::Microseconds,
        LogAtom::DecimalSeconds => Atom::DecimalSeconds,
        LogAtom::Process => Atom::Process,
        LogAtom::RequestId => {
            request_id_header(settings).map_or(Atom::Nothing, |name| Atom::RequestField(name.to_owned()))
        }
        LogAtom::FrontQueue => Atom::FrontQueue,
        LogAtom::TraceId => Atom::TraceId,
        LogAtom::SpanId => Atom::SpanId,
    };
    let LogShape { width, precision, left, zeros } = *shape;
    Piece::Atom(atom, Shape { width, precision, left, zeros })
}

pub(crate) fn engine(settings: &Settings, runs_on: RunsOn) -> engine::Settings {
    engine::Settings {
        http: Arc::new(Limits {
            head_size_max: settings.head_size_max,
            line_size_max: settings.line_size_max,
            field_count_max: settings.field_count_max,
            body_size_max: settings.body_size_max,
            chunk_extension_size_max: settings.chunk_extension_size_max,
            trailer_size_max: settings.trailer_size_max,
            trailer_count_max: settings.trailer_count_max,
            underscore_names: match settings.underscore_names {
                supervisor::UnderscoreNames::Drop => UnderscoreNames::Drop,
                supervisor::UnderscoreNames::Refuse => UnderscoreNames::Refuse,
                supervisor::UnderscoreNames::Keep => UnderscoreNames::Keep,
            },
        }),
        head_timeout_ms: settings.head_timeout_ms,
        keep_alive_timeout_ms: settings.keep_alive_timeout_ms,
        // Who works on the code wants to see the new one: their client connects anew.
        linger_ms: if settings.reload { 0 } else { LINGER_MS },
        body_timeout_ms: settings.body_timeout_ms,
        body_rate_min: settings.body_rate_min,
        write_timeout_ms: settings.write_timeout_ms,
        seat: None,
        trusted_proxies: trusted_proxies(settings),
        forwarded: forwarded(settings),
        drops_forwarded: match settings.untrusted_forwarded {
            UntrustedForwarded::Auto => !settings.trusted_proxies.is_empty(),
            UntrustedForwarded::Drop => true,
            UntrustedForwarded::Keep => false,
        },
        request_id_header: request_id_header(settings).map(str::to_owned),
        record: None,
        tracer: None,
        ready_path: settings.ready_path.clone(),
        ready_by_server: settings.ready_by == ReadyBy::Server,
        live_path: settings.live_path.clone(),
        graceful_timeout_ms: settings.graceful_timeout_ms,
        body_memory_max: settings.body_memory_max,
        read_ahead_max: settings.pipeline_size_max,
        gathering: gathering(settings, runs_on),
        concurrency_max: settings.concurrency_max(runs_on),
        queue_size_max: settings.queue_size,
        queue_timeout_ms: settings.queue_timeout_ms,
        request_timeout_ms: settings.request_timeout_ms,
        slow_request_ms: settings.slow_request_ms,
        codel: match settings.shed {
            Shedding::Off => None,
            Shedding::Codel => Some(Codel {
                target_ms: settings.queue_target_ms,
                interval_ms: settings.queue_target_ms * CODEL_INTERVAL,
            }),
        },
        limits: settings.limits.iter().map(|limit| to_limit(limit, settings)).collect(),
        aside: None,
        static_files: files::static_files(settings),
        sendfile: files::sendfile(settings),
        connections_max: settings.connections_max,
        websocket: WebSocketSettings {
            limits: Arc::new(ws::Limits {
                message_size_max: settings.websocket_message_size_max,
                frame_size_max: settings.websocket_frame_size_max.unwrap_or(usize::MAX),
            }),
            queue_size_max: settings.websocket_queue_size,
            ping_interval_ms: settings.websocket_ping_interval_ms,
            ping_timeout_ms: settings.websocket_ping_timeout_ms,
            close_timeout_ms: settings.websocket_close_timeout_ms,
            compression: settings.websocket_compression,
        },
        compression: compression(settings).map(Arc::new),
        tls: None,
        hsts: settings.hsts.as_ref().map(|hsts| hsts.to_string().into_bytes()),
        https_port: HTTPS_PORT,
        http2: Http2Settings {
            in_plain_text: settings.http == HttpVersions::H2c,
            streams_max: u32::try_from(settings.http2_streams_max).unwrap_or(u32::MAX),
            window_size: u32::try_from(settings.http2_window_size).unwrap_or(u32::MAX),
            ..Http2Settings::default()
        },
        server: settings.server_header.as_ref().map(|text| text.clone().into_bytes()),
    }
}

fn compression(settings: &Settings) -> Option<Compression> {
    let coding = |coding: &supervisor::Coding| match coding {
        supervisor::Coding::Gzip => Coding::Gzip,
        supervisor::Coding::Brotli => Coding::Brotli,
        supervisor::Coding::Zstd => Coding::Zstd,
    };
    let codings: Vec<_> = settings.compress.iter().map(coding).collect();
    let types = settings.compress_types.iter().map(|pattern| TypePattern::new(pattern)).collect();
    let (size_min, size_max) = (settings.compress_size_min, settings.compress_size_max);
    (!codings.is_empty()).then(|| Compression::new(codings, types, size_min, size_max))
}

/// Whether requests are looked at that take long.
pub(crate) fn limits_time(settings: &Settings) -> bool {
    // The same whatever they run on.
    engine(settings, RunsOn::Threads).shortest_time_ms().is_some()
}

fn to_limit(limit: &supervisor::Limit, settings: &Settings) -> Limit {
    Limit {
        path: PathPattern::new(&limit.path),
        timeout_ms: limit.timeout_ms.or(settings.request_timeout_ms),
        concurrency_max: limit.max_concurrency,
        queue_size_max: limit.queue_size.unwrap_or(settings.queue_size),
        queue_timeout_ms: limit.queue_timeout_ms.unwrap_or(settings.queue_timeout_ms),
        body_size_max: limit.body_size_max.or(settings.body_size_max),
        priority: match limit.priority {
            supervisor::Priority::Normal => Priority::Normal,
            supervisor::Priority::Health => Priority::Health,
        },
    }
}

fn trusted_proxies(settings: &Settings) -> TrustedProxies {
    let proxies = &settings.trusted_proxies;
    let networks = proxies.iter().filter_map(|proxy| match proxy {
        TrustedProxy::Network(network) => Some(*network),
        TrustedProxy::Unix => None,
    });
    TrustedProxies { networks: networks.collect(), unix: proxies.contains(&TrustedProxy::Unix) }
}

fn forwarded(settings: &Settings) -> Option<ForwardedRules> {
    let fields = match settings.forwarded {
        supervisor::ForwardedFields::XForwarded => ForwardedFields::XForwarded,
        supervisor::ForwardedFields::Forwarded => ForwardedFields::Forwarded,
        supervisor::ForwardedFields::Off => return None,
    };
    let fact = |fact: &supervisor::ForwardedFact| match fact {
        supervisor::ForwardedFact::For => ForwardedFact::For,
        supervisor::ForwardedFact::Proto => ForwardedFact::Proto,
        supervisor::ForwardedFact::Host => ForwardedFact::Host,
        supervisor::ForwardedFact::Port => ForwardedFact::Port,
        supervisor::ForwardedFact::Prefix => ForwardedFact::Prefix,
    };
    Some(ForwardedRules { fields, facts: settings.forwarded_facts.iter().map(fact).collect() })
}

fn gathering(settings: &Settings, runs_on: RunsOn) -> Gathering {
    match (settings.request_buffering, runs_on) {
        (RequestBuffering::On, _) | (RequestBuffering::Auto, RunsOn::Threads) => Gathering::All,
        (RequestBuffering::Off, _) => Gathering::Nothing,
        // ASGI applications take a body as it comes.
        (RequestBuffering::Auto, RunsOn::Asyncio) => Gathering::WhatIsIn,
        (RequestBuffering::Auto, RunsOn::MainThread | RunsOn::Greenlets | RunsOn::Bridge) => {
            Gathering::Chunked
        }
    }
}

/// What holds for requests that run on threads beside a loop.
pub(crate) fn aside(settings: &Settings, takes: Arc<dyn Fn(&RequestHead) -> bool + Send + Sync>) -> Aside {
    Aside {
        takes,
        gathering: gathering(settings, RunsOn::Threads),
        concurrency_max: settings.concurrency_max(RunsOn::Threads),
    }
}

pub(crate) fn threads(settings: &Settings, tells_runs: bool) -> ThreadsOptions {
    let has_health = settings.limits.iter().any(|limit| limit.priority == supervisor::Priority::Health);
    ThreadsOptions {
        threads_max: settings.threads,
        reserve: if has_health { HEALTH_CONCURRENCY_MAX } else { 0 },
        stack_size: settings.thread_stack_size,
        idle: Duration::from_millis(settings.thread_idle_timeout_ms),
        tells_runs,
        lost_max: settings.lost_threads_max as usize,
    }
}

pub(crate) fn hop_by_hop(choice: supervisor::HopByHop) -> HopByHop {
    match choice {
        supervisor::HopByHop::Drop => HopByHop::Drop,
        supervisor::HopByHop::Raise => HopByHop::Raise,
    }
}

pub(crate) fn speaks(settings: &Settings, bind: &Bind) -> Speaks {
    let scheme = match settings.scheme(bind) {
        supervisor::Scheme::Http => Scheme::Http,
        supervisor::Scheme::Https => Scheme::Https,
        supervisor::Scheme::Redirect => Scheme::Redirect,
        supervisor::Scheme::Uwsgi => Scheme::Uwsgi,
        supervisor::Scheme::Scgi => Scheme::Scgi,
        supervisor::Scheme::FastCgi => Scheme::FastCgi,
    };
    Speaks { scheme, proxied: bind.proxied }
}

pub(crate) fn bind_addresses(settings: &Settings, binds: &[Bind]) -> Vec<BindAddress> {
    let address = |bind: &Bind| match &bind.address {
        Address::Tcp { host, port } => BindAddress::Tcp { host: host.clone(), port: *port },
        Address::Unix(path) => BindAddress::Unix { path: path.clone(), mode: settings.unix_socket_mode },
        Address::Fd(number) => BindAddress::Descriptor(*number),
    };
    binds.iter().map(address).collect()
}
