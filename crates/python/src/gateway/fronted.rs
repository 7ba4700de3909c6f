//! What servers in front have said of a request and is believed, as applications are told it.

use std::borrow::Cow;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use tidegate_engine::Exchange;
use tidegate_engine::http::Forwarded;
use tidegate_engine::http::proxy::{ProxiedTls, ProxyHeader};

use crate::ffi::latin1;

/// Puts it in place of what an environ says of the connection.
#[cold]
#[inline(never)]
pub(super) fn set_in_environ(
    environ: &Bound<'_, PyDict>,
    exchange: &Exchange,
    forwarded: &Forwarded,
    script_name: &str,
) -> PyResult<()> {
    let py = environ.py();
    if let Some(client) = forwarded.client() {
        environ.set_item(intern!(py, "REMOTE_ADDR"), client.ip().to_string())?;
        environ.set_item(intern!(py, "REMOTE_PORT"), client.port().to_string())?;
    }
    let is_secure = exchange.is_secure();
    if is_secure != exchange.is_encrypted() {
        let (url_scheme, https) = (intern!(py, "wsgi.url_scheme"), intern!(py, "HTTPS"));
        if is_secure {
            environ.set_item(url_scheme, intern!(py, "https"))?;
            environ.set_item(https, intern!(py, "on"))?;
        } else {
            environ.set_item(url_scheme, intern!(py, "http"))?;
            environ.del_item(https)?;
        }
    }
    if let Some((host, port)) = forwarded.server() {
        environ.set_item(intern!(py, "SERVER_NAME"), latin1(py, host)?)?;
        let port = port.unwrap_or_else(|| default_port(is_secure));
        environ.set_item(intern!(py, "SERVER_PORT"), port.to_string())?;
    }
    if let Some(prefix) = forwarded.prefix() {
        let whole = [prefix.as_bytes(), script_name.as_bytes()].concat();
        environ.set_item(intern!(py, "SCRIPT_NAME"), latin1(py, &whole)?)?;
    }
    Ok(())
}

/// Puts it in place of what a scope says of the connection, but for its scheme.
#[cold]
#[inline(never)]
pub(super) fn set_in_scope(
    scope: &Bound<'_, PyDict>,
    exchange: &Exchange,
    forwarded: &Forwarded,
    root_path: &str,
) -> PyResult<()> {
    let py = scope.py();
    if let Some(client) = forwarded.client() {
        scope.set_item(intern!(py, "client"), (client.ip().to_string(), client.port()))?;
    }
    if let Some((host, port)) = forwarded.server() {
        let port = port.unwrap_or_else(|| default_port(exchange.is_secure()));
        scope.set_item(intern!(py, "server"), (String::from_utf8_lossy(host), port))?;
    }
    if let Some(prefix) = forwarded.prefix() {
        scope.set_item(intern!(py, "root_path"), [prefix, root_path].concat())?;
    }
    Ok(())
}

/// A path from its beginning, where something was taken off that.
pub(super) fn whole_path<'a>(exchange: &Exchange, path: &'a [u8]) -> Cow<'a, [u8]> {
    match exchange.head().forwarded().and_then(Forwarded::prefix) {
        None => path.into(),
        Some(prefix) => [prefix.as_bytes(), path].concat().into(),
    }
}

fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

/// What a header of the PROXY protocol says: an entry for each thing that it does.
#[cold]
#[inline(never)]
pub(super) fn proxy_protocol<'py>(py: Python<'py>, header: &ProxyHeader) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    let set = |name: &str, text: &Option<String>| match text {
        Some(text) => told.set_item(name, text),
        None => Ok(()),
    };
    set("alpn", &header.alpn)?;
    set("authority", &header.authority)?;
    if let Some(id) = &header.unique_id {
        told.set_item("unique_id", PyBytes::new(py, id))?;
    }
    if let Some(ProxiedTls { version, cipher, client_name, client_is_verified }) = &header.tls {
        set("tls_version", version)?;
        set("tls_cipher", cipher)?;
        set("client_name", client_name)?;
        told.set_item("client_verified", *client_is_verified)?;
    }
    Ok(told)
}
