//! The environ: the CGI variables of RFC 3875 section 4.1 and the `wsgi.*` keys of PEP 3333.
//!
//! What is the same for every request of an address stands in a template that is copied; keys are made once. A request adds
//! its own handful.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use foldhash::fast::RandomState;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{IntoPyObjectExt, intern};
use tidegate_engine::http::{BodyKind, RequestHead, TargetForm, Version};
use tidegate_engine::{Exchange, LocalAddress, Peer};

use crate::ffi::latin1;
use crate::gateway::fronted;
use crate::gateway::kept::Kept;
use crate::gateway::place::{self, Place, below, decoded, without_first};
use crate::gateway::tls;
use crate::gateway::told::Told;
use crate::gateway::{Cancelled, FileWrapper, RequestNumber, WsgiInput, WsgiOptions};
use crate::host::Host;
use crate::request_id;

/// Field names whose keys are kept. Peers choose names, so the cache must have an end; real clients share far fewer.
const KEYS_MAX: usize = 1024;

/// Longest of them: longer than any in common use.
const KEY_SIZE_MAX: usize = 64;

/// Templates that are kept: one for each address that a connection can have come in on.
const TEMPLATES_MAX: usize = 64;

/// The method of most requests.
const USUAL_METHOD: &str = "GET";

/// RFC 3875 section 4.1.8 wants an address; a peer on a unix socket is on this machine.
const UNIX_REMOTE_ADDR: &str = "127.0.0.1";

type Keys = HashMap<Box<[u8]>, Py<PyString>, RandomState>;

/// Makes environs.
pub(crate) struct Environs {
    script_name: Arc<str>,
    multithread: bool,
    multiprocess: bool,
    host: Arc<dyn Host>,
    errors: Py<PyAny>,
    empty_input: Py<WsgiInput>,
    templates: Mutex<Vec<(Arc<LocalAddress>, Py<PyDict>)>>,
    keys: Mutex<Keys>,
    told: Told,
    names: Names,
}

/// What is kept with a connection for its requests' environs.
pub(super) struct Recurring {
    address: Py<PyString>,
    port: Py<PyString>,
    cancelled: Py<Cancelled>,
    /// A request was seen: the next one shows that the connection is used again.
    reused: AtomicBool,
    /// Set by the second request: connections that bring one only are spared the memory.
    template: OnceLock<HostTemplate>,
}

/// A template with the peer's and the client's usual `Host` in it.
struct HostTemplate {
    script_name: Arc<str>,
    host: Box<[u8]>,
    environ: Py<PyDict>,
}

impl HostTemplate {
    /// Whether it says of this request what its `Host` field says, and comes from the gateway of this script name.
    fn suits(&self, script_name: &Arc<str>, head: &RequestHead) -> bool {
        head.target_form() == TargetForm::Origin
            && head.authority() == Some(&self.host)
            && Arc::ptr_eq(script_name, &self.script_name)
    }
}

impl Recurring {
    fn new(py: Python<'_>, exchange: &Exchange, names: &Names, host: &Arc<dyn Host>) -> PyResult<Self> {
        let text = |text: String| PyString::new(py, &text).unbind();
        let (address, port) = match exchange.peer() {
            Peer::Inet(address) => (text(address.ip().to_string()), text(address.port().to_string())),
            Peer::Unix => (names.local_address.clone_ref(py), names.no_port.clone_ref(py)),
        };
        Ok(Self {
            address,
            port,
            cancelled: Py::new(py, Cancelled::new(exchange, host))?,
            reused: AtomicBool::new(false),
            template: OnceLock::new(),
        })
    }
}

/// Keys and values that recur, made once.
struct Names {
    request_method: Py<PyString>,
    script_name: Py<PyString>,
    path_info: Py<PyString>,
    query_string: Py<PyString>,
    request_uri: Py<PyString>,
    raw_uri: Py<PyString>,
    server_protocol: Py<PyString>,
    remote_addr: Py<PyString>,
    remote_port: Py<PyString>,
    cancelled: Py<PyString>,
    request_id: Py<PyString>,
    front_queue_us: Py<PyString>,
    content_length: Py<PyString>,
    http_host: Py<PyString>,
    wsgi_input: Py<PyString>,
    http10: Py<PyString>,
    http2: Py<PyString>,
    url_scheme: Py<PyString>,
    https: Py<PyString>,
    on: Py<PyString>,
    secure: Py<PyString>,
    local_address: Py<PyString>,
    no_port: Py<PyString>,
    empty: Py<PyString>,
    root: Py<PyString>,
}

impl Names {
    fn new(py: Python<'_>) -> Self {
        let name = |text| PyString::intern(py, text).unbind();
        Self {
            request_method: name("REQUEST_METHOD"),
            script_name: name("SCRIPT_NAME"),
            path_info: name("PATH_INFO"),
            query_string: name("QUERY_STRING"),
            request_uri: name("REQUEST_URI"),
            raw_uri: name("RAW_URI"),
            server_protocol: name("SERVER_PROTOCOL"),
            remote_addr: name("REMOTE_ADDR"),
            remote_port: name("REMOTE_PORT"),
            cancelled: name("tidegate.cancelled"),
            request_id: name("tidegate.request_id"),
            front_queue_us: name("tidegate.front_queue_us"),
            content_length: name("CONTENT_LENGTH"),
            http_host: name("HTTP_HOST"),
            wsgi_input: name("wsgi.input"),
            http10: name("HTTP/1.0"),
            http2: name("HTTP/2"),
            url_scheme: name("wsgi.url_scheme"),
            https: name("HTTPS"),
            on: name("on"),
            secure: name("https"),
            local_address: name(UNIX_REMOTE_ADDR),
            no_port: name("0"),
            empty: name(""),
            root: name("/"),
        }
    }
}

impl Environs {
    pub(crate) fn new(py: Python<'_>, options: &WsgiOptions, host: Arc<dyn Host>) -> PyResult<Self> {
        let errors = py.import("sys")?.getattr("stderr")?;
        let errors = if errors.is_none() {
            // A process without standard error (pythonw, some daemons) still owes the application a stream.
            py.import("io")?.call_method1("open", ("/dev/null", "w"))?
        } else {
            errors
        };
        Ok(Self {
            script_name: options.script_name.as_str().into(),
            multithread: options.multithread,
            multiprocess: options.multiprocess,
            host,
            errors: errors.unbind(),
            empty_input: Py::new(py, WsgiInput::empty())?,
            templates: Mutex::new(Vec::new()),
            keys: Mutex::default(),
            told: Told::default(),
            names: Names::new(py),
        })
    }

    /// The environ of one request, its `wsgi.input` still the empty one, and the request's id if it has one.
    // Apart, so that its place on the stack is not kept while the application runs: a greenlet that waits keeps a copy of its stack.
    #[inline(never)]
    pub(crate) fn build<'py>(
        &self,
        py: Python<'py>,
        exchange: &Exchange,
    ) -> PyResult<(Bound<'py, PyDict>, RequestNumber, Option<Bound<'py, PyString>>)> {
        let names = &self.names;
        let head = exchange.head();
        let recurring = self.recurring(py, exchange)?;
        let number = recurring.cancelled.get().begin_request();
        let (environ, has_host) = match head.is_handed_on() {
            true => (self.begin_handed_on(py, exchange, recurring)?, false),
            false => self.begin(py, exchange, recurring)?,
        };
        if let Some(forwarded) = exchange.head().forwarded() {
            fronted::set_in_environ(&environ, exchange, forwarded, &self.script_name)?;
        }
        if let Some(header) = exchange.proxy_header() {
            environ.set_item(intern!(py, "tidegate.proxy_protocol"), fronted::proxy_protocol(py, header)?)?;
        }
        if !head.is_handed_on() {
            self.set_line(py, &environ, head)?;
        }
        let id = request_id::of(py, exchange)?;
        if let Some(id) = &id {
            environ.set_item(&names.request_id, id)?;
        }
        self.set_fields(py, &environ, exchange, id.as_ref(), has_host)?;
        if let Some(waited_us) = exchange.front_queue_us() {
            environ.set_item(&names.front_queue_us, waited_us)?;
        }
        Ok((environ, number, id))
    }

    /// Sets what the request line says. What most requests have stands in the template.
    fn set_line(&self, py: Python<'_>, environ: &Bound<'_, PyDict>, head: &RequestHead) -> PyResult<()> {
        let names = &self.names;
        if head.method() != USUAL_METHOD {
            environ.set_item(&names.request_method, head.method())?;
        }
        match head.version() {
            Version::Http11 => {}
            Version::Http10 => environ.set_item(&names.server_protocol, &names.http10)?,
            Version::Http2 => environ.set_item(&names.server_protocol, &names.http2)?,
        }
        if head.path() == b"/" && self.script_name.is_empty() {
            environ.set_item(&names.path_info, &names.root)?;
        } else {
            environ.set_item(&names.path_info, latin1(py, &self.path_info(head))?)?;
        }
        if !head.query().is_empty() {
            environ.set_item(&names.query_string, latin1(py, head.query())?)?;
        }
        let target = latin1(py, head.target())?;
        environ.set_item(&names.request_uri, &target)?;
        environ.set_item(&names.raw_uri, target)
    }

    /// An environ with what a front server says in CGI variables, and with what it leaves out.
    fn begin_handed_on<'py>(
        &self,
        py: Python<'py>,
        exchange: &Exchange,
        recurring: &Recurring,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (names, head) = (&self.names, exchange.head());
        let (environ, missing) = self.told.begin(py, exchange, || self.template(py, exchange.local()))?;
        environ.set_item(&names.cancelled, &recurring.cancelled)?;
        let place = Place::told_in(head).within(self.script_name.as_bytes());
        if *place.script_name != *self.script_name.as_bytes() {
            environ.set_item(&names.script_name, latin1(py, &place.script_name)?)?;
        }
        environ.set_item(&names.path_info, latin1(py, &place.path_info)?)?;
        let target = latin1(py, head.target())?;
        if missing.target {
            environ.set_item(&names.request_uri, &target)?;
        }
        if missing.raw_target {
            environ.set_item(&names.raw_uri, target)?;
        }
        if missing.query {
            environ.set_item(&names.query_string, latin1(py, head.query())?)?;
        }
        if missing.server_name
            && let Some(host) = place::host_of_unnamed(head)
        {
            environ.set_item(intern!(py, "SERVER_NAME"), latin1(py, host)?)?;
        }
        if missing.remote_addr {
            environ.set_item(&names.remote_addr, &recurring.address)?;
        }
        match (missing.remote_port, missing.remote_addr) {
            (false, _) => {}
            // That of whom was said is not known.
            (true, false) => environ.del_item(&names.remote_port)?,
            (true, true) => environ.set_item(&names.remote_port, &recurring.port)?,
        }
        Ok(environ)
    }

    /// What is kept with the connection, made for its first request.
    fn recurring<'a>(&self, py: Python<'_>, exchange: &'a Exchange) -> PyResult<&'a Recurring> {
        let kept = Kept::with(exchange)?;
        if let Some(recurring) = kept.for_environs.get() {
            return Ok(recurring);
        }
        let new = Recurring::new(py, exchange, &self.names, &self.host)?;
        Ok(kept.for_environs.get_or_init(|| new))
    }

    /// An environ with what is the same for all requests of the connection; says whether that has come to include HTTP_HOST.
    fn begin<'py>(
        &self,
        py: Python<'py>,
        exchange: &Exchange,
        recurring: &Recurring,
    ) -> PyResult<(Bound<'py, PyDict>, bool)> {
        let (names, head) = (&self.names, exchange.head());
        if let Some(template) =
            recurring.template.get().filter(|template| template.suits(&self.script_name, head))
        {
            return Ok((template.environ.bind(py).copy()?, true));
        }
        let environ = self.template(py, exchange.local())?;
        environ.set_item(&names.remote_addr, &recurring.address)?;
        environ.set_item(&names.remote_port, &recurring.port)?;
        environ.set_item(&names.cancelled, &recurring.cancelled)?;
        if exchange.is_encrypted() {
            environ.set_item(&names.url_scheme, &names.secure)?;
            environ.set_item(&names.https, &names.on)?;
        }
        if let Some(session) = exchange.tls() {
            tls::set_variables(py, &environ, session)?;
        }
        let reused = recurring.reused.swap(true, Ordering::Relaxed);
        if reused
            && recurring.template.get().is_none()
            && head.target_form() == TargetForm::Origin
            && let Some(host) = head.authority()
        {
            environ.set_item(&names.http_host, latin1(py, host)?)?;
            let template = HostTemplate {
                script_name: self.script_name.clone(),
                host: host.into(),
                environ: environ.copy()?.unbind(),
            };
            // One request at a time has the connection, so nobody else has set it.
            let _ = recurring.template.set(template);
            return Ok((environ, true));
        }
        Ok((environ, false))
    }

    /// The request is over. Gives what is to be dropped where no lock is held.
    pub(crate) fn end(&self, exchange: &Exchange, number: RequestNumber) -> Vec<Py<PyAny>> {
        let recurring = Kept::with(exchange).ok().and_then(|kept| kept.for_environs.get());
        recurring.map_or_else(Vec::new, |recurring| recurring.cancelled.get().end_request(number))
    }

    /// Puts a request's own body stream into its environ.
    pub(crate) fn set_input(
        &self,
        environ: &Bound<'_, PyDict>,
        input: &Bound<'_, WsgiInput>,
    ) -> PyResult<()> {
        environ.set_item(&self.names.wsgi_input, input)
    }

    /// PATH_INFO: what follows the mount point.
    fn path_info<'a>(&self, head: &'a RequestHead) -> Cow<'a, [u8]> {
        let path = decoded(head);
        match below(&path, self.script_name.as_bytes()) {
            Some(_) => without_first(path, self.script_name.len()),
            None => path,
        }
    }

    /// Sets the fields of the head, `Host` not if it is there already.
    fn set_fields<'py>(
        &self,
        py: Python<'py>,
        environ: &Bound<'py, PyDict>,
        exchange: &Exchange,
        id: Option<&Bound<'py, PyString>>,
        has_host: bool,
    ) -> PyResult<()> {
        let names = &self.names;
        let head = exchange.head();
        let id = id.and_then(|text| Some((exchange.request_id()?.as_ptr(), text)));
        let chunked = matches!(head.body(), BodyKind::Chunked);
        let before = environ.len();
        let mut count = 0;
        {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, value) in head.fields() {
                // It comes once: a head that repeats it is refused.
                if has_host && name.eq_ignore_ascii_case(b"host") {
                    continue;
                }
                count += 1;
                let value = match id {
                    Some((at, text)) if at == value.as_ptr() => text.clone(),
                    _ => latin1(py, value)?,
                };
                match keys.get(name) {
                    Some(key) => environ.set_item(key, value)?,
                    None => {
                        let key = make_key(py, name)?;
                        environ.set_item(&key, value)?;
                        keep(&mut keys, name, key);
                    }
                }
            }
        }
        if environ.len() - before < count {
            join_repeated(py, environ, exchange)?;
        }
        if chunked {
            // RFC 3875 section 4.1.2: the length after decoding, when it is known; and the coding is undone.
            if head.version() == Version::Http11 {
                environ.del_item(intern!(py, "HTTP_TRANSFER_ENCODING"))?;
            }
            if let Some(length) = exchange.gathered_length() {
                environ.set_item(&names.content_length, length.to_string())?;
            }
        }
        if head.target_form() == TargetForm::Absolute
            && let Some(authority) = head.authority()
        {
            // RFC 9112 section 3.2.2: the target's authority replaces Host.
            environ.set_item(&names.http_host, latin1(py, authority)?)?;
        }
        Ok(())
    }

    fn template<'py>(&self, py: Python<'py>, local: &Arc<LocalAddress>) -> PyResult<Bound<'py, PyDict>> {
        let known = {
            let templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
            templates
                .iter()
                .find(|(address, _)| Arc::ptr_eq(address, local) || address == local)
                .map(|(_, template)| template.clone_ref(py))
        };
        if let Some(template) = known {
            return template.bind(py).copy();
        }
        let template = self.make_template(py, local)?;
        let copy = template.copy()?;
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        if templates.len() == TEMPLATES_MAX {
            templates.clear();
        }
        templates.push((local.clone(), template.unbind()));
        Ok(copy)
    }

    fn make_template<'py>(&self, py: Python<'py>, local: &LocalAddress) -> PyResult<Bound<'py, PyDict>> {
        let (server_name, server_port) = match local {
            LocalAddress::Inet(address) => (address.ip().to_string(), address.port().to_string()),
            // PEP 3333: neither may be empty, and a path in the file system is neither.
            LocalAddress::Unix(_) => ("localhost".to_owned(), "80".to_owned()),
        };
        let template = PyDict::new(py);
        let set = |key: &str, value: Bound<'py, PyAny>| template.set_item(PyString::intern(py, key), value);
        set("GATEWAY_INTERFACE", "CGI/1.1".into_bound_py_any(py)?)?;
        set("SERVER_SOFTWARE", concat!("tidegate/", env!("CARGO_PKG_VERSION")).into_bound_py_any(py)?)?;
        set("SERVER_NAME", server_name.into_bound_py_any(py)?)?;
        set("SERVER_PORT", server_port.into_bound_py_any(py)?)?;
        // Bytes as Latin-1, like PATH_INFO.
        set("SCRIPT_NAME", latin1(py, self.script_name.as_bytes())?.into_any())?;
        set("wsgi.version", (1, 0).into_bound_py_any(py)?)?;
        set("wsgi.url_scheme", "http".into_bound_py_any(py)?)?;
        set("wsgi.errors", self.errors.bind(py).clone())?;
        set("wsgi.input", self.empty_input.bind(py).clone().into_any())?;
        set("wsgi.input_terminated", true.into_bound_py_any(py)?)?;
        set("wsgi.multithread", self.multithread.into_bound_py_any(py)?)?;
        set("wsgi.multiprocess", self.multiprocess.into_bound_py_any(py)?)?;
        set("wsgi.run_once", false.into_bound_py_any(py)?)?;
        set("wsgi.file_wrapper", py.get_type::<FileWrapper>().into_any())?;
        set("REQUEST_METHOD", USUAL_METHOD.into_bound_py_any(py)?)?;
        set("SERVER_PROTOCOL", "HTTP/1.1".into_bound_py_any(py)?)?;
        // What every request sets: a copy has their places, so that setting them does not make the dict grow.
        let names = &self.names;
        for name in [
            &names.path_info,
            &names.query_string,
            &names.request_uri,
            &names.raw_uri,
            &names.remote_addr,
            &names.remote_port,
            &names.cancelled,
        ] {
            template.set_item(name, &names.empty)?;
        }
        Ok(template)
    }
}

/// Keeps a key for other requests.
fn keep(keys: &mut Keys, name: &[u8], key: Bound<'_, PyString>) {
    if name.len() <= KEY_SIZE_MAX {
        if keys.len() == KEYS_MAX {
            keys.clear();
        }
        keys.insert(name.into(), key.unbind());
    }
}

/// `HTTP_` and the name in upper case with `-` as `_`; Content-Type and Content-Length without the prefix (RFC 3875
/// sections 4.1.2, 4.1.3 and 4.1.18).
fn make_key<'py>(py: Python<'py>, name: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let upper = |byte: &u8| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() };
    let bare = name.eq_ignore_ascii_case(b"content-type") || name.eq_ignore_ascii_case(b"content-length");
    let prefix: &[u8] = if bare { b"" } else { b"HTTP_" };
    let key: Vec<u8> = prefix.iter().copied().chain(name.iter().map(upper)).collect();
    // Not interned: peers choose names, and some versions of Python keep what is interned for ever.
    latin1(py, &key)
}

/// Values of a repeated field are one list (RFC 9110 section 5.3), but cookies have a separator of their own
/// (RFC 6265 section 5.4).
fn join_repeated(py: Python<'_>, environ: &Bound<'_, PyDict>, exchange: &Exchange) -> PyResult<()> {
    let mut joined: Vec<(Bound<'_, PyString>, Vec<u8>)> = Vec::new();
    let mut index: HashMap<Vec<u8>, usize, RandomState> = HashMap::default();
    for (name, value) in exchange.head().fields() {
        // Names that differ in case, or in `-` and `_` where those are let through, share a key.
        let folded = name.to_ascii_lowercase().iter().map(|&b| if b == b'_' { b'-' } else { b }).collect();
        if let Some(&at) = index.get(&folded) {
            let separator: &[u8] = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b"," };
            joined[at].1.extend_from_slice(separator);
            joined[at].1.extend_from_slice(value);
        } else {
            index.insert(folded, joined.len());
            joined.push((make_key(py, name)?, value.to_vec()));
        }
    }
    for (key, value) in joined {
        environ.set_item(key, latin1(py, &value)?)?;
    }
    Ok(())
}
