//! What an application is told, and what is made of its answer.

mod call;
mod cancelled;
mod environ;
mod file_wrapper;
mod wsgi;
mod wsgi_input;

pub(crate) use call::{Call, Calls};
pub(crate) use cancelled::{Cancelled, ClientLeft, RequestNumber};
pub(crate) use file_wrapper::FileWrapper;
pub(crate) use wsgi::{HopByHop, Wsgi, WsgiOptions};
pub(crate) use wsgi_input::WsgiInput;
