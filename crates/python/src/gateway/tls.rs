//! What an application is told of TLS: the variables of mod_ssl, and ASGI's extension.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{IntoPyObjectExt, intern};
use tidegate_engine::{Identity, TlsSession};

/// Sets the variables by which mod_ssl tells CGI programs of a connection (its documentation, "Environment Variables").
pub(super) fn set_variables(
    py: Python<'_>,
    environ: &Bound<'_, PyDict>,
    session: &TlsSession,
) -> PyResult<()> {
    environ.set_item(intern!(py, "SSL_PROTOCOL"), session.version_name())?;
    environ.set_item(intern!(py, "SSL_CIPHER"), session.suite_name())?;
    if let Some(name) = &session.server_name {
        environ.set_item(intern!(py, "SSL_TLS_SNI"), name)?;
    }
    let resumed = if session.is_resumed { "Resumed" } else { "Initial" };
    environ.set_item(intern!(py, "SSL_SESSION_RESUMED"), resumed)?;
    let Some(certificate) = session.client_chain().next() else {
        return environ.set_item(intern!(py, "SSL_CLIENT_VERIFY"), intern!(py, "NONE"));
    };
    environ.set_item(intern!(py, "SSL_CLIENT_VERIFY"), intern!(py, "SUCCESS"))?;
    environ.set_item(intern!(py, "SSL_CLIENT_CERT"), certificate)?;
    for (index, certificate) in session.client_chain().skip(1).enumerate() {
        environ.set_item(format!("SSL_CLIENT_CERT_CHAIN_{index}"), certificate)?;
    }
    if let Some(Identity { subject, issuer, serial, starts, ends }) = session.client() {
        environ.set_item(intern!(py, "SSL_CLIENT_S_DN"), subject)?;
        environ.set_item(intern!(py, "SSL_CLIENT_I_DN"), issuer)?;
        environ.set_item(intern!(py, "SSL_CLIENT_M_SERIAL"), serial)?;
        environ.set_item(intern!(py, "SSL_CLIENT_V_START"), starts)?;
        environ.set_item(intern!(py, "SSL_CLIENT_V_END"), ends)?;
    }
    Ok(())
}

/// What `scope["extensions"]["tls"]` has (ASGI, "ASGI TLS Extension").
pub(super) fn extension(py: Python<'_>, session: &TlsSession) -> PyResult<Py<PyDict>> {
    let extension = PyDict::new(py);
    let set = |key: &str, value: Bound<'_, PyAny>| extension.set_item(PyString::intern(py, key), value);
    let chain: Vec<_> = session.client_chain().collect();
    set("server_cert", session.server_certificate().into_bound_py_any(py)?)?;
    // Nothing that the applications of several requests could change for one another.
    set("client_cert_chain", PyTuple::new(py, chain)?.into_any())?;
    set("client_cert_name", session.client().map(|client| &client.subject).into_bound_py_any(py)?)?;
    // A handshake with a certificate that is not good fails.
    set("client_cert_error", py.None().into_bound(py))?;
    set("tls_version", session.version.into_bound_py_any(py)?)?;
    set("cipher_suite", session.suite.into_bound_py_any(py)?)?;
    Ok(extension.unbind())
}
