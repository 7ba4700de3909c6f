//! The thread that sends spans: a POST of each batch to the collector (OTLP 1.x, "OTLP/HTTP").

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;
use ureq::http::header::RETRY_AFTER;
use ureq::http::{HeaderMap, StatusCode};

use super::document::Frame;
use super::span::Span;
use super::{Queue, TracingPlan};
use crate::clock;
use crate::record::{Counter, Record};

/// Most spans of one document: what OpenTelemetry's own exporters send at once.
pub(super) const BATCH_MAX: usize = 512;

/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);

/// How long one attempt may take.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

/// How long after a failure that may pass it is tried again, unless the collector says.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long failures may last until each batch has but one attempt.
const TROUBLE_MAX: Duration = Duration::from_secs(10);

/// How often at most it is said that there are failures, and what was lost, when they come and go.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Most bytes of an answer that are read: an empty object, or what was not taken and why.
const ANSWER_MAX: u64 = 64 * 1024;

/// Why spans were not taken.
#[derive(Debug)]
enum Failure {
    /// The same may be taken later.
    Passing { reason: String, again_after: Duration },
    /// So many of them never will be.
    Final { reason: String, rejected: u64 },
}

#[derive(Debug)]
pub(super) struct Sender {
    agent: Agent,
    url: String,
    frame: Frame,
    queue: Arc<Queue>,
    record: Option<Record>,
    trouble: Trouble,
}

/// What is to be said of failures.
#[derive(Debug, Default)]
struct Trouble {
    /// When the first attempt failed of those that may pass, since the collector last answered otherwise.
    since: Option<Instant>,
    /// The last attempt failed.
    fails: bool,
    failure_told: Option<Instant>,
    loss_told: Option<Instant>,
    /// Spans that were dropped, and that nobody was told of.
    dropped: u64,
}

impl Sender {
    pub(super) fn new(plan: &TracingPlan, queue: Arc<Queue>, record: Option<Record>) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(ATTEMPT_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // Proxies are for what is far away.
            .proxy(None)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        Self {
            agent: config.build().new_agent(),
            url: format!("{}/v1/traces", plan.endpoint),
            frame: Frame::new(&plan.service_name),
            queue,
            record,
            trouble: Trouble::default(),
        }
    }

    /// Sends until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some((spans, dropped)) = self.next() {
            self.trouble.dropped += dropped;
            let count = spans.len() as u64;
            let rejected = match self.frame.around(&spans) {
                Ok(document) => self.deliver(&document, count),
                Err(error) => {
                    self.trouble.fail(&self.url, &error.to_string());
                    count
                }
            };
            self.trouble.dropped += rejected;
            if let Some(record) = &self.record {
                record.add(Counter::SpansSent, count - rejected);
                record.add(Counter::SpansDropped, rejected);
            }
            self.trouble.tell_loss(false);
        }
        self.trouble.tell_loss(true);
    }

    /// The next batch, and how many were dropped before it. None at the end.
    fn next(&self) -> Option<(Vec<Span>, u64)> {
        let waiting = self.queue.lock();
        let changed = &self.queue.changed;
        let waiting = changed
            .wait_while(waiting, |waiting| waiting.spans.is_empty() && !waiting.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut waiting, _) = changed
            .wait_timeout_while(waiting, GATHER, |waiting| waiting.spans.len() < BATCH_MAX && !waiting.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let count = waiting.spans.len().min(BATCH_MAX);
        let spans: Vec<_> = waiting.spans.drain(..count).collect();
        (count > 0).then(|| (spans, std::mem::take(&mut waiting.dropped)))
    }

    /// Sends a document of so many spans, more than once while that may help. How many of them are lost.
    fn deliver(&mut self, document: &[u8], count: u64) -> u64 {
        loop {
            match self.post(document) {
                Ok(()) => {
                    (self.trouble.since, self.trouble.fails) = (None, false);
                    return 0;
                }
                Err(Failure::Final { reason, rejected }) => {
                    self.trouble.fail(&self.url, &reason);
                    self.trouble.since = None;
                    return rejected.min(count);
                }
                Err(Failure::Passing { reason, again_after }) => {
                    self.trouble.fail(&self.url, &reason);
                    let since = *self.trouble.since.get_or_insert_with(clock::instant);
                    let left = TROUBLE_MAX.saturating_sub(since.elapsed());
                    if again_after > left || self.closes_within(again_after) {
                        return count;
                    }
                }
            }
        }
    }

    fn closes_within(&self, time: Duration) -> bool {
        let waited = self.queue.changed.wait_timeout_while(self.queue.lock(), time, |queue| !queue.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// One attempt.
    fn post(&self, document: &[u8]) -> Result<(), Failure> {
        let passing = |error: ureq::Error| Failure::Passing {
            reason: match error {
                ureq::Error::Io(error) => error.to_string(),
                error => error.to_string(),
            },
            again_after: AGAIN_AFTER,
        };
        let request = self.agent.post(&self.url).header("Content-Type", "application/json");
        let mut response = request.send(document).map_err(passing)?;
        let status = response.status();
        if status.is_success() {
            let answer = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
            return partial_success(&answer.unwrap_or_default());
        }
        let reason = format!("it answers {status}");
        match status {
            // Those that may be asked again (OTLP 1.x, "Retryable Response Codes").
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Err(Failure::Passing { reason, again_after: retry_after(response.headers()) })
            }
            _ => Err(Failure::Final { reason, rejected: u64::MAX }),
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(AGAIN_AFTER, |seconds| Duration::from_secs(seconds).max(AGAIN_AFTER))
}

/// An answer that says that not all were taken. What cannot be understood says nothing.
fn partial_success(answer: &[u8]) -> Result<(), Failure> {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    let rejected = match &partial["rejectedSpans"] {
        Value::String(digits) => digits.parse().unwrap_or_default(),
        number => number.as_u64().unwrap_or_default(),
    };
    if rejected == 0 {
        return Ok(());
    }
    // It may be anything.
    let message: String = partial["errorMessage"].as_str().unwrap_or_default().chars().take(200).collect();
    Err(Failure::Final { reason: format!("it takes not all of them: {message:?}"), rejected })
}

impl Trouble {
    /// One more.
    fn fail(&mut self, url: &str, reason: &str) {
        if !std::mem::replace(&mut self.fails, true) && is_due(&mut self.failure_told, clock::instant()) {
            log::warn!("spans cannot be sent to {url}: {reason}");
        }
    }

    /// While there are failures there is no end to it.
    fn tell_loss(&mut self, is_last: bool) {
        let is_over = is_last || !self.fails;
        if self.dropped > 0 && is_over && (is_due(&mut self.loss_told, clock::instant()) || is_last) {
            log::warn!("spans that were dropped: {}", self.dropped);
            self.dropped = 0;
        }
    }
}

fn is_due(told: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = told.is_none_or(|told| now - told >= TELL_EVERY);
    if is_due {
        *told = Some(now);
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_many_were_not_taken_as_text_or_as_a_number() {
        for (answer, expected) in [
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#, Some(3)),
            (r#"{"partialSuccess":{"rejectedSpans":2}}"#, Some(2)),
            (r#"{"partialSuccess":{"errorMessage":"a warning"}}"#, None),
            (r#"{"partialSuccess":{"rejectedSpans":-1}}"#, None),
            (r#"{"partialSuccess":null}"#, None),
            ("{}", None),
            ("[]", None),
            ("", None),
            ("taken", None),
        ] {
            let rejected = match partial_success(answer.as_bytes()) {
                Err(Failure::Final { rejected, .. }) => Some(rejected),
                _ => None,
            };
            assert_eq!(rejected, expected, "{answer}");
        }
    }

    #[test]
    fn trouble_that_comes_and_goes_is_told_once_in_a_while() {
        let (now, mut told) = (clock::instant(), None);
        assert!(is_due(&mut told, now));
        assert!(!is_due(&mut told, now + TELL_EVERY / 2));
        assert!(is_due(&mut told, now + TELL_EVERY));
        assert!(!is_due(&mut told, now + TELL_EVERY + TELL_EVERY / 2));
    }
}
