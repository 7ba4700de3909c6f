//! Settings and the command line of Tidegate.
//!
//! What was typed anywhere (flags, variables, files, a Python call) becomes one immutable, validated [`Settings`] value
//! once, here, and remembers where each value came from. This crate knows nothing of Python, and nothing of the engine:
//! it binds no socket and reads no file but the operator's settings.
//!
//! - [`cli`]: from an argument vector to settings or to a text to print.
//! - [`settings`]: the table of settings, their values, and the places they are read from.
//! - [`settings_page`]: docs/settings.md, made from the table.
#![forbid(unsafe_code)]

pub mod cli;
pub mod settings;
pub mod settings_page;

pub use cli::{Outcome, from_command_line};
pub use settings::{
    AccessLogFormat, AccessLogTarget, AppSpec, Bind, Concurrency, Config, EventLoop, HopByHop, Interface,
    Lifespan, LogLevel, Mount, Origin, RequestBuffering, RunsOn, Settings, SettingsError, UnderscoreNames,
    Value, from_python,
};
