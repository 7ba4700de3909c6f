//! Environs of requests that front servers hand on as CGI variables.
//!
//! A site's requests come with the same variables, and most of them with the same values: those stand in a template that is copied, and
//! a request sets what is different in it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use tidegate_engine::http::RequestHead;
use tidegate_engine::{Exchange, LocalAddress};

use crate::ffi::latin1;

/// Templates that are kept: front servers have a list of variables for each of a few places.
const TEMPLATES_MAX: usize = 8;

/// Names and values of a template together. What is larger is not usual.
const TEMPLATE_SIZE_MAX: usize = 16 * 1024;

/// Makes them.
#[derive(Default)]
pub(super) struct Told {
    templates: Mutex<Vec<Arc<Template>>>,
}

/// What a request was told, and an environ with that.
struct Template {
    scheme: Scheme,
    local: Arc<LocalAddress>,
    said: Vec<Said>,
    missing: Missing,
    environ: Py<PyDict>,
}

struct Said {
    name: Box<[u8]>,
    value: Box<[u8]>,
    key: Py<PyString>,
    role: Role,
}

/// Which variables a front server leaves out, or empty, that environs are to have.
#[derive(Clone, Copy)]
pub(super) struct Missing {
    pub(super) target: bool,
    pub(super) raw_target: bool,
    pub(super) query: bool,
    pub(super) server_name: bool,
    pub(super) remote_addr: bool,
    pub(super) remote_port: bool,
}

impl Missing {
    fn of(head: &RequestHead) -> Self {
        let is_missing = |name| head.variable(name).is_none();
        Self {
            target: is_missing("REQUEST_URI"),
            raw_target: is_missing("RAW_URI"),
            query: is_missing("QUERY_STRING"),
            server_name: head.variable("SERVER_NAME").is_some_and(<[u8]>::is_empty),
            remote_addr: is_missing("REMOTE_ADDR"),
            remote_port: is_missing("REMOTE_PORT"),
        }
    }
}

/// What environs say of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Scheme {
    is_told_secure: bool,
    is_encrypted: bool,
}

/// What becomes of a variable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    PassedOn,
    /// Brought into accord with where the application is, which is done elsewhere.
    Place,
    /// PEP 3333: it may not be empty. nginx has no name for a server that was given none.
    NeverEmpty,
}

impl Role {
    fn of(name: &[u8]) -> Self {
        match name {
            b"SCRIPT_NAME" | b"PATH_INFO" => Self::Place,
            b"SERVER_NAME" | b"SERVER_PORT" => Self::NeverEmpty,
            _ => Self::PassedOn,
        }
    }

    fn sets(self, value: &[u8]) -> bool {
        match self {
            Self::PassedOn => true,
            Self::Place => false,
            Self::NeverEmpty => !value.is_empty(),
        }
    }
}

impl Template {
    /// Whether it has the same variables, and sets the same ones of them.
    fn suits(&self, exchange: &Exchange, scheme: Scheme) -> bool {
        let variables = exchange.head().variables();
        let is_same = |(said, (name, value)): (&Said, (&[u8], &[u8]))| {
            &*said.name == name && said.role.sets(&said.value) == said.role.sets(value)
        };
        self.scheme == scheme
            && self.said.len() == variables.len()
            && (Arc::ptr_eq(&self.local, exchange.local()) || self.local == *exchange.local())
            && self.said.iter().zip(variables).all(is_same)
    }
}

impl Told {
    /// An environ with what this request was told, and what it was not. `make` makes one with what is the same for all requests.
    pub(super) fn begin<'py>(
        &self,
        py: Python<'py>,
        exchange: &Exchange,
        make: impl FnOnce() -> PyResult<Bound<'py, PyDict>>,
    ) -> PyResult<(Bound<'py, PyDict>, Missing)> {
        let head = exchange.head();
        let scheme = Scheme { is_told_secure: head.is_told_secure(), is_encrypted: exchange.is_encrypted() };
        let known = {
            let templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
            templates.iter().find(|template| template.suits(exchange, scheme)).cloned()
        };
        let Some(template) = known else { return self.begin_anew(py, exchange, scheme, make()?) };
        let environ = template.environ.bind(py).copy()?;
        for (said, (_, value)) in template.said.iter().zip(head.variables()) {
            if *said.value != *value && said.role.sets(value) {
                environ.set_item(&said.key, latin1(py, value)?)?;
            }
        }
        Ok((environ, template.missing))
    }

    /// Sets all of it in an environ, and keeps a copy as a template.
    #[cold]
    #[inline(never)]
    fn begin_anew<'py>(
        &self,
        py: Python<'py>,
        exchange: &Exchange,
        scheme: Scheme,
        environ: Bound<'py, PyDict>,
    ) -> PyResult<(Bound<'py, PyDict>, Missing)> {
        if scheme.is_told_secure || scheme.is_encrypted {
            environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
            environ.set_item(intern!(py, "HTTPS"), intern!(py, "on"))?;
        }
        let missing = Missing::of(exchange.head());
        let mut said = Vec::new();
        let (mut names, mut size) = (HashSet::new(), 0);
        for (name, value) in exchange.head().variables() {
            let (key, role) = (latin1(py, name)?, Role::of(name));
            if role.sets(value) {
                environ.set_item(&key, latin1(py, value)?)?;
            }
            names.insert(name);
            size += name.len() + value.len();
            said.push(Said { name: name.into(), value: value.into(), key: key.unbind(), role });
        }
        // Of what is said twice the last counts, which is not found out one by one.
        if names.len() == said.len() && size <= TEMPLATE_SIZE_MAX {
            let local = exchange.local().clone();
            let template = Template { scheme, local, said, missing, environ: environ.copy()?.unbind() };
            let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
            if templates.len() == TEMPLATES_MAX {
                templates.clear();
            }
            templates.push(Arc::new(template));
        }
        Ok((environ, missing))
    }
}
