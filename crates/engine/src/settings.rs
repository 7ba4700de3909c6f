//! What the operator decides about connections, as plain numbers. Parsing and defaults for people live elsewhere.

use std::fmt;
use std::sync::Arc;

use tidegate_http::{ForwardedRules, Limits, RequestHead, ws};

use crate::compression::Compression;
use crate::lane::Codel;
use crate::limit::Limit;
use crate::record::Record;
use crate::scoreboard::Seat;
use crate::static_files::{SendfileHeader, StaticFiles};
use crate::tls::Tls;
use crate::tracing::Tracer;
use crate::trust::TrustedProxies;

/// Which bodies are in, to their end, before an application is started. Others are streamed from `body_memory_max` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathering {
    /// All of them.
    All,
    /// Those in chunks: a chunked body has no length until it is whole, and applications that know CGI's CONTENT_LENGTH alone take
    /// one without for no body at all.
    Chunked,
    /// None.
    Nothing,
    /// Only what came with the head: the application is started at once, and takes the rest as it comes.
    WhatIsIn,
}

/// Requests that are counted, and gathered, apart from the others: those that run elsewhere.
#[derive(Clone)]
pub struct Aside {
    /// Whether a request is one of them.
    pub takes: Arc<dyn Fn(&RequestHead) -> bool + Send + Sync>,
    /// Whether their bodies are gathered to their end before an application is started.
    pub gathering: Gathering,
    /// How many of them run at once.
    pub concurrency_max: usize,
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside")
            .field("gathering", &self.gathering)
            .field("concurrency_max", &self.concurrency_max)
            .finish_non_exhaustive()
    }
}

/// Every knob of the engine. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits of the HTTP/1.1 parser.
    pub http: Arc<Limits>,
    /// From the first byte of a head (or from accept, for the first one) to its blank line.
    pub head_timeout_ms: u64,
    /// How long a connection may rest between two requests.
    pub keep_alive_timeout_ms: u64,
    /// How long a connection may rest between two requests in a server that drains: the next one may be on its way.
    pub linger_ms: u64,
    /// The time a body has; bytes give some back at `body_rate_min`, up to this much. `None`: no deadline.
    pub body_timeout_ms: Option<u64>,
    /// Bytes per second that a body must bring to keep its time from running out; 0: the time is for the whole of it.
    pub body_rate_min: u64,
    /// How long a peer may take nothing while output waits for it.
    pub write_timeout_ms: u64,
    /// Where this worker sits among those who accept from the same sockets; none for one that is alone.
    pub seat: Option<Seat>,
    /// Whose word about requests is taken.
    pub trusted_proxies: TrustedProxies,
    /// What they say of requests and is believed, beside ids and when a request began.
    pub forwarded: Option<ForwardedRules>,
    /// Whether fields that say such things are left out of requests of all others.
    pub drops_forwarded: bool,
    /// The field that has each request's id, in the request and in the response; a request without a good one is given one.
    pub request_id_header: Option<String>,
    /// What it counts, and shows of its requests; nothing without.
    pub record: Option<Record>,
    /// Whom it tells of each request. Only with a record, as it is told what is measured for that.
    pub tracer: Option<Arc<Tracer>>,
    /// Asks whether this server is to be sent requests: answered with 503 by itself when it is not any more.
    pub ready_path: Option<String>,
    /// Whether the server answers that by itself when it is, too.
    pub ready_by_server: bool,
    /// Asks whether the server lives, which it answers by itself.
    pub live_path: Option<String>,
    /// How long a drain may last before what is left is cut.
    pub graceful_timeout_ms: u64,
    /// Bytes of a request body held for the application: what is gathered before it starts, and what is read ahead of it.
    pub body_memory_max: usize,
    /// Most bytes taken from a socket in one read, and so most bytes of pipelined requests held while one is served.
    pub read_ahead_max: usize,
    /// Whether bodies are gathered to their end before an application is started.
    pub gathering: Gathering,
    /// Requests that run at once.
    pub concurrency_max: usize,
    /// Requests that wait for their turn; what is over is turned away.
    pub queue_size_max: usize,
    /// How long one waits before it is turned away.
    pub queue_timeout_ms: u64,
    /// How long a request may take from its head to its answer. `None`: as long as it does.
    pub request_timeout_ms: Option<u64>,
    /// How long it may take before it is told of.
    pub slow_request_ms: Option<u64>,
    /// When a queue is too long though it is not full; `None`: never.
    pub codel: Option<Codel>,
    /// What holds for the requests of some paths; the first that matches has a request.
    pub limits: Vec<Limit>,
    /// Requests for which other numbers hold, if there are such. They wait in a queue of their own, of the same size.
    pub aside: Option<Aside>,
    /// What is answered with files, before any of that.
    pub static_files: StaticFiles,
    /// By which field applications name files that are sent in their stead; `None`: by none.
    pub sendfile: Option<SendfileHeader>,
    /// Connections open at once; at the limit the backlog holds the others.
    pub connections_max: usize,
    /// Value of the `Server` field, when one is sent.
    pub server: Option<Vec<u8>>,
    /// Which responses are compressed; `None`: none.
    pub compression: Option<Arc<Compression>>,
    /// What is shown and asked for where TLS is spoken.
    pub tls: Option<Arc<Tls>>,
    /// The value of `Strict-Transport-Security`, which responses by https have, if it is sent.
    pub hsts: Option<Vec<u8>>,
    /// The port that listeners of redirects send to.
    pub https_port: u16,
    /// What concerns WebSockets alone.
    pub websocket: WebSocketSettings,
    /// What concerns HTTP/2 alone.
    pub http2: Http2Settings,
}

/// Knobs of HTTP/2. Sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Http2Settings {
    /// Whether it is spoken in plain text too, with a peer that begins with it. Over TLS that is agreed on.
    pub in_plain_text: bool,
    /// Streams of one connection that are open at once.
    pub streams_max: u32,
    /// What a client may send on a stream before some of it is taken.
    pub window_size: u32,
    /// What waits of one response, at most, between the application and the socket.
    pub send_buffer_size: usize,
}
impl Default for Http2Settings {
    fn default() -> Self {
        Self { in_plain_text: false, streams_max: 128, window_size: 128 * 1024, send_buffer_size: 64 * 1024 }
    }
}

/// Knobs of WebSockets. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Debug)]
pub struct WebSocketSettings {
    /// Limits of messages and frames.
    pub limits: Arc<ws::Limits>,
    /// Messages that wait for the application; from here on the socket is not read.
    pub queue_size_max: usize,
    /// How long a silent peer is let be before it is sent a Ping. `None`: for ever.
    pub ping_interval_ms: Option<u64>,
    /// How long it may be silent after that.
    pub ping_timeout_ms: u64,
    /// How long it has to answer a Close.
    pub close_timeout_ms: u64,
    /// Whether compression is agreed to.
    pub compression: bool,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self {
            limits: Arc::new(ws::Limits::default()),
            queue_size_max: 64 * 1024,
            ping_interval_ms: Some(20_000),
            ping_timeout_ms: 20_000,
            close_timeout_ms: 10_000,
            compression: true,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http: Arc::new(Limits::default()),
            head_timeout_ms: 10_000,
            // Longer than the 60 s after which the usual load balancers let go, so that they close first.
            keep_alive_timeout_ms: 75_000,
            linger_ms: 250,
            body_timeout_ms: Some(20_000),
            body_rate_min: 500,
            write_timeout_ms: 30_000,
            seat: None,
            trusted_proxies: TrustedProxies::default(),
            forwarded: None,
            drops_forwarded: false,
            request_id_header: None,
            record: None,
            tracer: None,
            ready_path: None,
            ready_by_server: false,
            live_path: None,
            graceful_timeout_ms: 30_000,
            body_memory_max: 256 * 1024,
            read_ahead_max: 64 * 1024,
            gathering: Gathering::Chunked,
            concurrency_max: 10_000,
            queue_size_max: 2048,
            queue_timeout_ms: 10_000,
            request_timeout_ms: None,
            slow_request_ms: None,
            codel: None,
            limits: Vec::new(),
            aside: None,
            static_files: StaticFiles::default(),
            sendfile: None,
            connections_max: 16_384,
            server: Some(b"tidegate".to_vec()),
            compression: None,
            tls: None,
            hsts: None,
            https_port: 443,
            websocket: WebSocketSettings::default(),
            http2: Http2Settings::default(),
        }
    }
}

impl Settings {
    /// How long a request that has this limit may take.
    pub(crate) fn request_timeout_ms_of(&self, limit: Option<usize>) -> Option<u64> {
        limit
            .and_then(|limit| self.limits.get(limit))
            .map_or(self.request_timeout_ms, |limit| limit.timeout_ms)
    }

    /// The least time after which a request may have taken too long; none where all may take as long as they do.
    pub fn shortest_time_ms(&self) -> Option<u64> {
        let own = self.limits.iter().filter_map(|limit| limit.timeout_ms);
        own.chain(self.request_timeout_ms).chain(self.slow_request_ms).min()
    }

    /// Most bytes of a body of any request.
    pub(crate) fn body_size_ceiling(&self) -> Option<u64> {
        let own = self.limits.iter().map(|limit| limit.body_size_max);
        // None is no limit, and so the highest.
        own.fold(self.http.body_size_max, |most, own| Some(most?.max(own?)))
    }

    /// Most bytes of the body of a request that has this limit, where it is less.
    pub(crate) fn body_size_max_of(&self, limit: Option<usize>) -> Option<u64> {
        if self.limits.is_empty() {
            return None;
        }
        limit
            .and_then(|limit| self.limits.get(limit))
            .map_or(self.http.body_size_max, |limit| limit.body_size_max)
    }

    /// Which of the limits has this request.
    pub(crate) fn limit_of(&self, head: &RequestHead) -> Option<usize> {
        if self.limits.is_empty() { None } else { Limit::find(&self.limits, head.path()) }
    }

    /// How bodies of requests are gathered.
    pub(crate) fn gathering_of(&self, aside: bool) -> Gathering {
        self.aside.as_ref().filter(|_| aside).map_or(self.gathering, |aside| aside.gathering)
    }
}
