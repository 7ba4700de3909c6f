//! Spans as a collector reads them: OTLP 1.x in its JSON encoding, where ids are hexadecimal digits and whole numbers of 64 bits are text.
//! Names are those of OpenTelemetry's semantic conventions for HTTP servers.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

use serde_core::ser::{Serialize, SerializeMap, Serializer};
use tidegate_http::Version;

use super::context::Hex;
use super::span::{Span, Stages};
use crate::cut::Cut;
use crate::listener::LocalAddress;

/// `SPAN_KIND_SERVER` and `STATUS_CODE_ERROR` of trace.proto.
const KIND_SERVER: u8 = 2;
const STATUS_ERROR: u8 = 2;

/// The lowest eight bits of a span's flags are the trace's, of which the lowest is "sampled"; the next says that the one after it is known,
/// which says that the parent is another process's (`SpanFlags` of trace.proto).
const SAMPLED: u32 = 0x001;
const IS_REMOTE_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// From which status on a span is an error: a client's error is none of the server's.
const ERROR_MIN: u16 = 500;

/// Bytes that an ordinary span has in a document.
const SPAN_SIZE: usize = 1200;

/// What stands around the spans of each document.
#[derive(Debug)]
pub(super) struct Frame {
    before: String,
}

impl Frame {
    const AFTER: &str = "}]}]}";

    pub(super) fn new(service_name: &str) -> Self {
        let process = u64::from(std::process::id());
        let resource = [text("service.name", service_name), number("process.pid", process)];
        // Text and numbers always have an encoding.
        let resource = serde_json::to_string(&resource).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        let before = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":{resource}}},"scopeSpans":[{{"scope":{{"name":"tidegate","version":"{version}"}},"spans":"#
        );
        Self { before }
    }

    /// A document of these.
    pub(super) fn around(&self, spans: &[Span]) -> Result<Vec<u8>, serde_json::Error> {
        let mut document = Vec::with_capacity(self.before.len() + spans.len() * SPAN_SIZE);
        document.extend_from_slice(self.before.as_bytes());
        serde_json::to_writer(&mut document, spans)?;
        document.extend_from_slice(Self::AFTER.as_bytes());
        Ok(document)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { context, method, .. } = self;
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let remote = if context.parent_id.is_some() { IS_REMOTE } else { 0 };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("traceId", &Shown(Hex(&context.trace_id)))?;
        map.serialize_entry("spanId", &Shown(Hex(&context.span_id)))?;
        if let Some(parent_id) = &context.parent_id {
            map.serialize_entry("parentSpanId", &Shown(Hex(parent_id)))?;
        }
        map.serialize_entry("flags", &(SAMPLED | IS_REMOTE_KNOWN | remote))?;
        map.serialize_entry("name", method.unwrap_or("HTTP"))?;
        map.serialize_entry("kind", &KIND_SERVER)?;
        map.serialize_entry("startTimeUnixNano", &Shown(began.as_nanos()))?;
        map.serialize_entry("endTimeUnixNano", &Shown((began + self.took).as_nanos()))?;
        map.serialize_entry("attributes", &attributes(self))?;
        if self.error().is_some() {
            map.serialize_entry("status", &Status)?;
        }
        map.end()
    }
}

/// That of an error.
struct Status;

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("code", &STATUS_ERROR)?;
        map.end()
    }
}

/// What is written as the text that it is shown as.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A name, and what has it.
struct Attribute<'a>(&'static str, AnyValue<'a>);

enum AnyValue<'a> {
    Text(Cow<'a, str>),
    Number(u64),
}

fn text<'a>(name: &'static str, value: impl Into<Cow<'a, str>>) -> Attribute<'a> {
    Attribute(name, AnyValue::Text(value.into()))
}

fn number<'a>(name: &'static str, value: u64) -> Attribute<'a> {
    Attribute(name, AnyValue::Number(value))
}

impl Serialize for Attribute<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("key", self.0)?;
        map.serialize_entry("value", &self.1)?;
        map.end()
    }
}

impl Serialize for AnyValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Text(value) => map.serialize_entry("stringValue", value.as_ref())?,
            Self::Number(value) => map.serialize_entry("intValue", &Shown(value))?,
        }
        map.end()
    }
}

fn attributes(span: &Span) -> Vec<Attribute<'_>> {
    let version = match span.version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    };
    let mut attributes = Vec::with_capacity(14);
    attributes.extend([
        text("http.request.method", span.method.unwrap_or("_OTHER")),
        text("url.scheme", if span.is_secure { "https" } else { "http" }),
        text("url.path", &*span.path),
        text("network.protocol.version", version),
    ]);
    let Stages { queue_us, application_us } = span.stages;
    let status = Some(u64::from(span.status)).filter(|&status| status > 0);
    let (address, port) = span.server();
    attributes.extend(span.sent_method.as_deref().map(|sent| text("http.request.method_original", sent)));
    attributes.extend(status.map(|status| number("http.response.status_code", status)));
    attributes.extend(span.error().map(|kind| text("error.type", kind)));
    attributes.extend(span.client.map(|client| text("client.address", client.ip().to_string())));
    attributes.extend(address.map(|address| text("server.address", address)));
    attributes.extend(port.map(|port| number("server.port", port.into())));
    attributes.extend(span.user_agent.as_deref().map(|agent| text("user_agent.original", agent)));
    attributes.extend(queue_us.map(|time_us| number("tidegate.queue_us", time_us)));
    attributes.extend(application_us.map(|time_us| number("tidegate.application_us", time_us)));
    attributes
}

impl Span {
    /// What kind of error it was, if it was one. A client that leaves a response is none: of streams that is the usual end.
    fn error(&self) -> Option<Cow<'static, str>> {
        match (self.status, self.cut) {
            (ERROR_MIN.., _) => Some(self.status.to_string().into()),
            (1.., Some(Cut::Client)) => None,
            (_, cut) => Some(cut?.name().into()),
        }
    }

    /// Who was asked: as the client calls it, or else by the address that it came to.
    fn server(&self) -> (Option<Cow<'_, str>>, Option<u16>) {
        if let Some(authority) = &self.authority {
            let (host, rest) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some(parts) => parts,
                None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
            };
            let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
            return (Some(host.into()), port);
        }
        match &*self.local {
            LocalAddress::Inet(address) => (Some(address.ip().to_string().into()), Some(address.port())),
            LocalAddress::Unix(path) if path.as_os_str().is_empty() => (None, None),
            LocalAddress::Unix(path) => (Some(path.to_string_lossy()), None),
        }
    }
}
