//! The connection scope of an HTTP request (ASGI, "HTTP Connection Scope").
//!
//! What is the same for every request stands in a template that is copied; what is the same for those of a connection is kept with
//! it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Mutex;

use foldhash::fast::RandomState;
use memchr::memchr;
use percent_encoding::percent_decode;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use tidegate_engine::http::ws::Handshake;
use tidegate_engine::http::{RequestHead, TargetForm, Version};
use tidegate_engine::{Exchange, LocalAddress, Peer};

use crate::ffi::reference_count;
use crate::gateway::fronted;
use crate::gateway::kept::Kept;
use crate::gateway::place::{Place, host_of_unnamed};
use crate::gateway::tls;
use crate::host::lock;

/// The version of the HTTP specification that is spoken.
const SPEC_VERSION: &str = "2.5";

/// Field names whose bytes are kept, and the longest of them; peers choose names.
const NAMES_MAX: usize = 1024;
const NAME_SIZE_MAX: usize = 64;

/// Makes scopes.
pub(crate) struct Scopes {
    root_path: Box<str>,
    template: Py<PyDict>,
    socket_template: Py<PyDict>,
    versions: Recycled,
    extensions: Recycled,
    socket_extensions: Recycled,
    /// Given to every request as a copy, where the application has a lifespan.
    state: Option<Py<PyDict>>,
    names: Mutex<HashMap<Box<[u8]>, Py<PyBytes>, RandomState>>,
    keys: Keys,
}

/// What is kept with a connection for its requests' scopes.
pub(super) struct Ends {
    client: Py<PyAny>,
    server: Py<PyAny>,
    tls: Option<Py<PyDict>>,
}

impl Ends {
    fn new(py: Python<'_>, exchange: &Exchange, peer: Peer) -> PyResult<Self> {
        let client = match peer {
            Peer::Inet(address) => (address.ip().to_string(), address.port()).into_pyobject(py)?.into_any(),
            Peer::Unix => py.None().into_bound(py),
        };
        let server = match &**exchange.local() {
            LocalAddress::Inet(address) => {
                (address.ip().to_string(), address.port()).into_pyobject(py)?.into_any()
            }
            LocalAddress::Unix(path) => (path.as_os_str(), py.None()).into_pyobject(py)?.into_any(),
        };
        let tls = exchange.tls().map(|session| tls::extension(py, session)).transpose()?;
        Ok(Self { client: client.unbind(), server: server.unbind(), tls })
    }
}

struct Keys {
    http_version: Py<PyString>,
    http10: Py<PyString>,
    http2: Py<PyString>,
    scheme: Py<PyString>,
    https: Py<PyString>,
    wss: Py<PyString>,
    method: Py<PyString>,
    post: Py<PyString>,
    root_path: Py<PyString>,
    path: Py<PyString>,
    raw_path: Py<PyString>,
    query_string: Py<PyString>,
    headers: Py<PyString>,
    client: Py<PyString>,
    server: Py<PyString>,
    state: Py<PyString>,
    extensions: Py<PyString>,
    tls: Py<PyString>,
    trailers: Py<PyString>,
    subprotocols: Py<PyString>,
    asgi: Py<PyString>,
    request: Py<PyString>,
    id: Py<PyString>,
    front_queue_us: Py<PyString>,
}

impl Keys {
    fn new(py: Python<'_>) -> Self {
        let key = |text| PyString::intern(py, text).unbind();
        Self {
            http_version: key("http_version"),
            http10: key("1.0"),
            http2: key("2"),
            scheme: key("scheme"),
            https: key("https"),
            wss: key("wss"),
            method: key("method"),
            post: key("POST"),
            root_path: key("root_path"),
            path: key("path"),
            raw_path: key("raw_path"),
            query_string: key("query_string"),
            headers: key("headers"),
            client: key("client"),
            server: key("server"),
            state: key("state"),
            extensions: key("extensions"),
            tls: key("tls"),
            trailers: key("http.response.trailers"),
            subprotocols: key("subprotocols"),
            asgi: key("asgi"),
            request: key("tidegate.request"),
            id: key("id"),
            front_queue_us: key("front_queue_us"),
        }
    }
}

impl Scopes {
    /// `root_path` is where the application is mounted: empty, or a path that begins and does not end with a slash.
    pub(crate) fn new(py: Python<'_>, root_path: &str, state: Option<Py<PyDict>>) -> PyResult<Self> {
        let keys = Keys::new(py);
        let template = PyDict::new(py);
        let set = |key: &str, value: Bound<'_, PyAny>| template.set_item(PyString::intern(py, key), value);
        let text = |text: &str| PyString::intern(py, text).into_any();
        let versions = [("version", "3.0"), ("spec_version", SPEC_VERSION)];
        let versions = versions.map(|(key, value)| {
            (PyString::intern(py, key).unbind(), Entry::Text(PyString::intern(py, value).unbind()))
        });
        set("type", text("http"))?;
        set("http_version", text("1.1"))?;
        set("scheme", text("http"))?;
        set("root_path", PyString::new(py, root_path).into_any())?;
        set("method", text("GET"))?;
        set("query_string", PyBytes::new(py, b"").into_any())?;
        // What every request sets: a copy has their places.
        let of_each = [
            &keys.asgi,
            &keys.path,
            &keys.raw_path,
            &keys.headers,
            &keys.client,
            &keys.server,
            &keys.extensions,
        ];
        for key in of_each {
            template.set_item(key, py.None())?;
        }
        if state.is_some() {
            template.set_item(&keys.state, py.None())?;
        }
        let socket_template = template.copy()?;
        socket_template.del_item(&keys.method)?;
        for (key, value) in [("type", "websocket"), ("scheme", "ws")] {
            socket_template.set_item(PyString::intern(py, key), PyString::intern(py, value))?;
        }
        socket_template.set_item(&keys.subprotocols, py.None())?;
        let extensions = |names: &[&str]| {
            let entries = names.iter().map(|name| (PyString::intern(py, name).unbind(), Entry::Empty));
            Recycled::new(entries.collect())
        };
        Ok(Self {
            root_path: root_path.into(),
            template: template.unbind(),
            socket_template: socket_template.unbind(),
            versions: Recycled::new(versions.into()),
            extensions: extensions(&[
                "http.response.early_hint",
                "http.response.pathsend",
                "http.response.zerocopysend",
            ]),
            socket_extensions: extensions(&["websocket.http.response"]),
            state,
            names: Mutex::default(),
            keys,
        })
    }

    /// The scope of one request.
    pub(crate) fn build<'py>(
        &self,
        py: Python<'py>,
        exchange: &Exchange,
        id: Option<&Bound<'py, PyString>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let keys = &self.keys;
        let head = exchange.head();
        let scope = self.template.bind(py).copy()?;
        match head.method() {
            "GET" => {}
            "POST" => scope.set_item(&keys.method, &keys.post)?,
            // Other methods keep the case they were sent in: they are case-sensitive (RFC 9110 section 9.1).
            method => scope.set_item(&keys.method, method)?,
        }
        match head.version() {
            Version::Http11 => {}
            Version::Http10 => scope.set_item(&keys.http_version, &keys.http10)?,
            Version::Http2 => scope.set_item(&keys.http_version, &keys.http2)?,
        }
        if exchange.is_secure() {
            scope.set_item(&keys.scheme, &keys.https)?;
        }
        let is_told_of = is_told_of(exchange);
        let extensions = self.extensions.take(py, is_told_of.then_some(&keys.request))?;
        if takes_trailers(head) {
            extensions.set_item(&keys.trailers, PyDict::new(py))?;
        }
        self.describe(py, &scope, exchange, &extensions, id)?;
        Ok(scope)
    }

    /// The scope of a request for a WebSocket.
    pub(crate) fn build_socket<'py>(
        &self,
        py: Python<'py>,
        exchange: &Exchange,
        handshake: &Handshake,
        id: Option<&Bound<'py, PyString>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.socket_template.bind(py).copy()?;
        if exchange.head().version() == Version::Http2 {
            scope.set_item(&self.keys.http_version, &self.keys.http2)?;
        }
        if exchange.is_secure() {
            scope.set_item(&self.keys.scheme, &self.keys.wss)?;
        }
        let extensions =
            self.socket_extensions.take(py, is_told_of(exchange).then_some(&self.keys.request))?;
        self.describe(py, &scope, exchange, &extensions, id)?;
        scope
            .set_item(&self.keys.subprotocols, PyList::new(py, handshake.protocols().collect::<Vec<_>>())?)?;
        Ok(scope)
    }

    /// Sets what is the same for both kinds.
    fn describe(
        &self,
        py: Python<'_>,
        scope: &Bound<'_, PyDict>,
        exchange: &Exchange,
        extensions: &Bound<'_, PyDict>,
        id: Option<&Bound<'_, PyString>>,
    ) -> PyResult<()> {
        let keys = &self.keys;
        let head = exchange.head();
        let raw_path = match head.target_form() {
            TargetForm::Asterisk => Cow::Borrowed(b"*".as_slice()),
            TargetForm::Origin | TargetForm::Absolute => fronted::whole_path(exchange, head.path()),
        };
        scope.set_item(&keys.raw_path, PyBytes::new(py, &raw_path))?;
        if !head.query().is_empty() {
            scope.set_item(&keys.query_string, PyBytes::new(py, head.query()))?;
        }
        scope.set_item(&keys.headers, self.headers(py, head)?)?;
        if head.is_handed_on() {
            self.describe_as_told(py, scope, exchange)?;
        } else {
            scope.set_item(&keys.path, self.path(py, &raw_path))?;
            let ends = ends(py, exchange)?;
            scope.set_item(&keys.client, &ends.client)?;
            scope.set_item(&keys.server, &ends.server)?;
            if let Some(tls) = &ends.tls {
                extensions.set_item(&keys.tls, tls.bind(py).copy()?)?;
            }
            if let Some(forwarded) = head.forwarded() {
                fronted::set_in_scope(scope, exchange, forwarded, &self.root_path)?;
            }
        }
        if let Some(state) = &self.state {
            scope.set_item(&keys.state, state.bind(py).copy()?)?;
        }
        if is_told_of(exchange) {
            let request = PyDict::new(py);
            if let Some(id) = id {
                request.set_item(&keys.id, id)?;
            }
            if let Some(waited_us) = exchange.front_queue_us() {
                request.set_item(&keys.front_queue_us, waited_us)?;
            }
            extensions.set_item(&keys.request, request)?;
        }
        if let Some(header) = exchange.proxy_header() {
            extensions
                .set_item(intern!(py, "tidegate.proxy_protocol"), fronted::proxy_protocol(py, header)?)?;
        }
        scope.set_item(&keys.asgi, self.versions.take(py, None)?)?;
        scope.set_item(&keys.extensions, extensions)
    }

    /// Sets what a front server says in CGI variables, and nobody could know otherwise.
    fn describe_as_told(
        &self,
        py: Python<'_>,
        scope: &Bound<'_, PyDict>,
        exchange: &Exchange,
    ) -> PyResult<()> {
        let (keys, head) = (&self.keys, exchange.head());
        let place = Place::told_in(head).within(self.root_path.as_bytes());
        scope.set_item(&keys.root_path, &*String::from_utf8_lossy(&place.script_name))?;
        scope.set_item(&keys.path, &*String::from_utf8_lossy(&place.whole()))?;
        if let Some(query) = head.variable("QUERY_STRING") {
            scope.set_item(&keys.query_string, PyBytes::new(py, query))?;
        }
        let ends = Ends::new(py, exchange, exchange.client())?;
        scope.set_item(&keys.client, &ends.client)?;
        let text = |value| std::str::from_utf8(value).ok();
        let name = host_of_unnamed(head).or(head.variable("SERVER_NAME")).filter(|name| !name.is_empty());
        let port = head.variable("SERVER_PORT").and_then(text).and_then(|port| port.parse::<u16>().ok());
        match (name.and_then(text), port) {
            (Some(name), Some(port)) => scope.set_item(&keys.server, (name, port)),
            _ => scope.set_item(&keys.server, &ends.server),
        }
    }

    /// Percent-decoded, as UTF-8. What is not is replaced, as other servers do; `raw_path` has what was sent.
    fn path<'py>(&self, py: Python<'py>, raw: &[u8]) -> Bound<'py, PyString> {
        let decoded: Cow<'_, [u8]> =
            if memchr(b'%', raw).is_some() { percent_decode(raw).into() } else { raw.into() };
        PyString::new(py, &String::from_utf8_lossy(&decoded))
    }

    fn headers<'py>(&self, py: Python<'py>, head: &RequestHead) -> PyResult<Bound<'py, PyList>> {
        let mut names = lock(&self.names);
        let authority = match head.target_form() {
            // RFC 9112 section 3.2.2: the target's authority replaces Host.
            TargetForm::Absolute => head.authority(),
            TargetForm::Origin | TargetForm::Asterisk => None,
        };
        let mut pairs = Vec::with_capacity(head.field_count());
        for (name, value) in head.fields() {
            let key = match names.get(name) {
                Some(key) => key.bind(py).clone(),
                None => {
                    let key = PyBytes::new(py, &name.to_ascii_lowercase());
                    if name.len() <= NAME_SIZE_MAX {
                        if names.len() == NAMES_MAX {
                            names.clear();
                        }
                        names.insert(name.into(), key.clone().unbind());
                    }
                    key
                }
            };
            let value = match authority {
                Some(authority) if name.eq_ignore_ascii_case(b"host") => authority,
                _ => value,
            };
            pairs.push(PyTuple::new(py, [key, PyBytes::new(py, value)])?);
        }
        PyList::new(py, pairs)
    }
}

/// A part of a scope that is the same for every request, but that applications may change or keep as all that a scope has. That of a
/// request serves the next one when nobody has.
struct Recycled {
    entries: Vec<(Py<PyString>, Entry)>,
    last: Mutex<Option<Py<PyDict>>>,
}

enum Entry {
    Text(Py<PyString>),
    /// A dict of its own.
    Empty,
}

impl Recycled {
    fn new(entries: Vec<(Py<PyString>, Entry)>) -> Self {
        Self { entries, last: Mutex::new(None) }
    }

    /// With an entry more in it, perhaps, where the caller will set that one.
    fn take<'py>(&self, py: Python<'py>, more: Option<&Py<PyString>>) -> PyResult<Bound<'py, PyDict>> {
        let mut last = lock(&self.last);
        if let Some(last) = &*last {
            let last = last.bind(py);
            if self.is_as_new(last, more) {
                return Ok(last.clone());
            }
        }
        let new = PyDict::new(py);
        for (key, entry) in &self.entries {
            match entry {
                Entry::Text(text) => new.set_item(key, text)?,
                Entry::Empty => new.set_item(key, PyDict::new(py))?,
            }
        }
        let old = last.replace(new.clone().unbind());
        // Not under the lock: applications may have put there what runs code when it is dropped.
        drop(last);
        drop(old);
        Ok(new)
    }

    fn is_as_new(&self, dict: &Bound<'_, PyDict>, more: Option<&Py<PyString>>) -> bool {
        let has_one_more = || {
            dict.len() == self.entries.len() + 1
                && more.is_some_and(|more| dict.contains(more).unwrap_or(false))
        };
        // Ours is the one reference to it, and its own is the one to what it holds, beside that of this look.
        reference_count(dict) == 1
            && (dict.len() == self.entries.len() || has_one_more())
            && dict.iter().zip(&self.entries).all(|((key, value), (wanted, entry))| {
                key.is(wanted)
                    && match entry {
                        Entry::Text(text) => value.is(text),
                        Entry::Empty => {
                            reference_count(&value) == 2
                                && value.cast_exact::<PyDict>().is_ok_and(|dict| dict.is_empty())
                        }
                    }
            })
    }
}

/// Whether there is something about the request itself that the application is told.
fn is_told_of(exchange: &Exchange) -> bool {
    exchange.request_id().is_some() || exchange.front_queue_us().is_some()
}

/// Whether the client has said that it takes trailers (RFC 9110 section 6.5.1).
pub(crate) fn takes_trailers(head: &RequestHead) -> bool {
    head.version() != Version::Http10
        && !head.is_handed_on()
        && head.field("te").is_some_and(|value| {
            value.split(|&byte| byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        })
}

/// Client and server of the connection, made for its first request.
fn ends<'a>(py: Python<'_>, exchange: &'a Exchange) -> PyResult<&'a Ends> {
    let kept = Kept::with(exchange)?;
    if let Some(ends) = kept.for_scopes.get() {
        return Ok(ends);
    }
    let new = Ends::new(py, exchange, exchange.peer())?;
    Ok(kept.for_scopes.get_or_init(|| new))
}
