//! Settings and the command line of Tidegate.
//!
//! What was typed anywhere (flags, variables, files, a Python call) becomes one immutable, validated [`Settings`] value
//! once, here, and remembers where each value came from. Processes that serve by such settings are looked after here too. This
//! crate knows nothing of Python, and nothing of the engine: it binds no socket, and what forks a worker is told to it.
//!
//! - [`cli`]: from an argument vector to settings or to a text to print.
//! - [`settings`]: the table of settings, their values, and the places they are read from.
//! - [`doctor`]: what a server would find where it is to run.
//! - [`settings_page`]: docs/settings.md, made from the table.
//! - [`migrate`]: settings made from those of other servers.
//! - [`control`]: what operators ask over a socket.
//! - [`worker`]: what is believed about a worker.
//! - [`fleet`]: what is done about the workers.
//! - [`tether`]: what a worker and its supervisor say to one another.
//! - [`reload`]: files that are watched for changes.
//! - [`supervisor`]: the loop that does it.
//! - [`top`]: what a server is at, in a terminal.
#![forbid(unsafe_code)]

pub mod cli;
pub mod control;
mod counted;
pub mod doctor;
pub mod fleet;
pub mod migrate;
pub mod reload;
pub mod settings;
pub mod settings_page;
pub mod supervisor;
pub mod tether;
pub mod top;
pub mod worker;

pub use cli::{Outcome, Show, from_command_line};
pub use settings::{
    AccessLogFormat, AccessLogTarget, Address, AppSpec, Bind, Certificate, ClientAuth, Coding, Collector,
    CollectorAddress, Concurrency, Config, EventLoop, ForwardedFact, ForwardedFields, HopByHop, Hsts,
    HttpVersions, Interface, Lifespan, Limit, LogAtom, LogLevel, LogPiece, LogShape, Mount, Observe, Origin,
    Own, Owner, Priority, ReadyBy, RequestBuffering, RunsOn, Scheduling, Scheme, Settings, SettingsError,
    Shedding, StatsdAddress, TrustedProxy, UnderscoreNames, UntrustedForwarded, Value, from_python,
};
pub use settings::{Immutable, SendfileHeader, StaticDirectory};
