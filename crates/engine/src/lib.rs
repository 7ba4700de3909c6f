//! Sockets, time, connections and exchanges behind one pollable reactor.
//!
//! A [`Reactor`] yields [`Exchange`]s; whoever holds one answers it, on whatever thread. This crate knows nothing of Python,
//! of WSGI or of where application code runs.

mod access_log;
mod admission;
mod background;
mod body;
mod body_clock;
mod carrier;
mod changes;
mod client;
mod clock;
mod compression;
mod connection;
mod counted;
mod cut;
mod departure;
mod drain;
mod exchange;
mod front_queue;
mod h2;
mod keeper;
mod lane;
mod leadership;
mod limit;
mod listener;
mod look;
mod output;
mod protocol;
mod random;
mod reactor;
mod record;
mod records;
mod redirect;
mod request_id;
mod scoreboard;
mod settings;
mod shared;
mod sleep;
mod socket;
mod static_files;
mod sys;
mod timer;
mod tls;
mod tracing;
mod trust;
mod turnstile;
mod websocket;

pub use tidegate_http as http;

pub use access_log::{
    AccessLog, AccessLogFilter, AccessLogFormat, AccessLogPlan, AccessLogTarget, Atom, Collector,
    CollectorAddress, Piece, Protocol, Shape, StatsdPlan, WorkersGauge,
};
pub use admission::{Admitted, HEALTH_CONCURRENCY_MAX, Permit, Shed};
pub use body::BodyFault;
pub use changes::Watch;
pub use compression::Compression;
pub use counted::counted;
pub use cut::Cut;
pub use departure::{Departure, Registration};
pub use drain::{Graces, Orders, SignalWatch};
pub use exchange::{Block, BodyRead, Exchange, LARGE_BLOCK_MIN, SendError, Sent};
pub use keeper::{Overdue, RequestKey, Verdict};
pub use lane::Codel;
pub use leadership::{CallNumber, Leadership};
pub use limit::{Limit, PathPattern, Priority};
pub use listener::{
    BindAddress, BindOptions, Entrance, Listener, LocalAddress, OTHER_DESCRIPTORS, Scheme, Speaks, bind_all,
    close_inherited, raise_descriptor_limit,
};
pub use reactor::Reactor;
pub use record::{
    BOUNDS_US, Class, Counter, Figures, Gauge, Histogram, InFlight, METHODS, Record, Records, Runs, Span,
    Stage, monotonic_us,
};
pub use scoreboard::{Scoreboard, Seat};
pub use settings::{Aside, Gathering, Http2Settings, Settings, WebSocketSettings};
pub use shared::{Handle, Lifecycle};
pub use socket::Peer;
pub use static_files::{Directory, Immutable, SendfileHeader, StaticFiles, StaticMount};
pub use sys::{SignalHandlers, is_scheduled_as_most, peer_user, wake_in_turn};
pub use tls::{
    CertificatePlan, ClientAuth, DevelopmentCertificate, Identity, TLS_SUITES, Tls, TlsFault, TlsPlan,
    TlsSession, development_certificate,
};
pub use tracing::{Tracer, TracingPlan};
pub use trust::TrustedProxies;
pub use websocket::{AcceptError, Closed, WebSocket, WebSocketRead};
