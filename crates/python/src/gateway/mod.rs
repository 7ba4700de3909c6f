//! What an application is told, and what is made of its answer.

mod asgi;
mod asgi_answer;
mod asgi_http;
mod asgi_message;
mod asgi_scope;
mod asgi_socket;
mod call;
mod cancelled;
mod environ;
mod error_response;
mod file_wrapper;
mod fronted;
mod kept;
mod mounts;
mod place;
mod rest_of_file;
mod tls;
mod told;
mod wsgi;
mod wsgi_input;

pub(crate) use asgi::{Asgi, Run};
pub(crate) use asgi_answer::ClientDisconnected;
pub(crate) use call::{Call, Calls};
pub(crate) use cancelled::{Cancelled, ClientLeft, RequestNumber};
pub(crate) use file_wrapper::FileWrapper;
pub(crate) use mounts::{Mounts, not_found};
pub(crate) use wsgi::{HopByHop, Wsgi, WsgiOptions};
pub(crate) use wsgi_input::WsgiInput;
