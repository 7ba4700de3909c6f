//! What the admin listener answers. It is for operators; their browsers may be led here by a hostile page, and their networks may let
//! others come here, who are to learn no more than they could see anyway.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use tidegate_engine::http::{BodyLength, HeadFault, RequestHead, ResponseHead};
use tidegate_engine::{Block, Exchange};

use super::metrics::{CONTENT_TYPE, metrics};
use super::page::{PAGE, POLICY};
use super::sight::{Scope, Sight};
use super::state::state;

const TEXT: &[u8] = b"text/plain; charset=utf-8";
const JSON: &[u8] = b"application/json";
const HTML: &[u8] = b"text/html; charset=utf-8";

const STACK: &[u8] = b"/stack.json";

/// What a browser may do with an answer that is no page: nothing.
const NO_PAGE: &[u8] = b"default-src 'none'; frame-ancestors 'none'";

/// Answers what was asked.
pub(super) struct Answers {
    scope: Scope,
    allowed_hosts: Vec<String>,
}

/// An answer.
struct Answer {
    status: u16,
    reason: &'static [u8],
    content_type: &'static [u8],
    policy: &'static [u8],
    body: Cow<'static, [u8]>,
}

impl Answer {
    fn ok(content_type: &'static [u8], body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, reason: b"OK", content_type, policy: NO_PAGE, body: Cow::Owned(body.into()) }
    }

    fn refusal(status: u16, reason: &'static str, text: &str) -> Self {
        let body = Cow::Owned(format!("{text}\n").into());
        Self { status, reason: reason.as_bytes(), content_type: TEXT, policy: NO_PAGE, body }
    }

    fn page() -> Self {
        Self { content_type: HTML, policy: POLICY, body: Cow::Borrowed(PAGE), status: 200, reason: b"OK" }
    }

    fn head(&self) -> Result<ResponseHead, HeadFault> {
        let mut head = ResponseHead::new(self.status, self.reason)?;
        head.field(b"Content-Type", self.content_type)?;
        head.field(b"Cache-Control", b"no-store")?;
        head.field(b"X-Content-Type-Options", b"nosniff")?;
        head.field(b"Content-Security-Policy", self.policy)?;
        head.field(b"Cross-Origin-Resource-Policy", b"same-origin")?;
        if self.status == 405 {
            head.field(b"Allow", b"GET, HEAD")?;
        }
        Ok(head)
    }
}

/// Who has left is not told.
fn send(mut exchange: Exchange, answer: &Answer) {
    match answer.head() {
        Ok(head) => {
            let length = BodyLength::Known(answer.body.len() as u64);
            let _ = exchange.send(Some((&head, length)), Block::Borrowed(&answer.body), true);
        }
        Err(fault) => log::error!("the admin listener cannot answer: {fault}"),
    }
}

/// Answers with what a request is at.
pub(super) fn tell_stack(exchange: Exchange, told: &Value) {
    send(exchange, &Answer::ok(JSON, format!("{told}\n")));
}

impl Answers {
    pub(super) fn new(scope: Scope, allowed_hosts: &[String]) -> Self {
        Self { scope, allowed_hosts: allowed_hosts.to_vec() }
    }

    pub(super) fn answer(&self, exchange: Exchange, sight: impl Fn(&Scope) -> Sight) {
        let answer = self.consider(exchange.head(), sight);
        send(exchange, &answer);
    }

    /// The worker and the request that are asked for, if what they are at is and may be.
    pub(super) fn stack_asked(&self, head: &RequestHead) -> Option<(u32, u64)> {
        let is_asked =
            matches!(head.method(), "GET" | "HEAD") && head.path() == STACK && self.is_asked_for_here(head);
        if !is_asked {
            return None;
        }
        let query = std::str::from_utf8(head.query()).ok()?;
        let number = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
        };
        Some((u32::try_from(number("worker")?).ok()?, number("request")?))
    }

    fn consider(&self, head: &RequestHead, sight: impl Fn(&Scope) -> Sight) -> Answer {
        if !matches!(head.method(), "GET" | "HEAD") {
            return Answer::refusal(405, "Method Not Allowed", "only GET and HEAD");
        }
        match head.path() {
            b"/livez" => Answer::ok(TEXT, "ok\n"),
            b"/readyz" => match sight(&self.scope).is_ready {
                true => Answer::ok(TEXT, "ok\n"),
                false => Answer::refusal(503, "Service Unavailable", "not ready"),
            },
            b"/metrics" => match metrics(&self.scope, sight(&self.scope)) {
                Ok(text) => Answer::ok(CONTENT_TYPE, text),
                Err(_) => Answer::refusal(500, "Internal Server Error", "the metrics cannot be written"),
            },
            // What follows can be read by scripts, and so is told to those of pages that were asked for from here alone.
            path if !self.is_asked_for_here(head) => {
                let path = String::from_utf8_lossy(path);
                let text =
                    format!("{path} is not told under this name: admin-allowed-hosts has those that it is");
                Answer::refusal(403, "Forbidden", &text)
            }
            b"/" => Answer::page(),
            b"/state.json" => {
                let state = state(&self.scope, &sight(&self.scope));
                Answer::ok(JSON, format!("{state}\n"))
            }
            STACK => Answer::refusal(400, "Bad Request", "worker and request are missing, which are numbers"),
            _ => Answer::refusal(404, "Not Found", "there is nothing here"),
        }
    }

    /// Whether the name under which it is asked for is one that no stranger can have pointed here (DNS rebinding).
    fn is_asked_for_here(&self, head: &RequestHead) -> bool {
        let host = head.field("host").and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default();
        if let Some(rest) = host.strip_prefix('[') {
            return rest.split_once(']').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
        }
        let name = host.split_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
        name == "localhost" || name.parse::<Ipv4Addr>().is_ok() || self.allowed_hosts.contains(&name)
    }
}
