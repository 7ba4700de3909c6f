//! From the record of every request to what is printed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::plan::{Pace, Plan};

/// The width of the windows in which goodput is followed over time.
const WINDOW: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Status(u16),
    /// The connection failed or ended, or what came was no response.
    Failed,
    /// Nothing had come when we stopped waiting.
    None,
}

/// One request.
pub struct Record {
    pub path: usize,
    pub answer: Answer,
    pub arrived: Duration,
    pub waited: Duration,
}

#[derive(Clone, Default)]
struct Window {
    arrived: usize,
    /// Answers of 200 that came within the window.
    served: usize,
    /// Of the requests that arrived in it: those answered 503, and those not answered or with another status.
    refused: usize,
    failed: usize,
    /// Of the requests that arrived in it and were served: the longest wait.
    slowest: Duration,
}

/// Returns all as one line. `requests` are all that were answered, from the start; `in_time` those answered between
/// the beginning of the time and its end, which is what a rate is made of; `paths` has the waits of those that arrived
/// after the beginning; `starved` are connections that had had no answer when it came.
pub fn json(plan: &Plan, begin: Duration, records: &[Record], unsent: usize, starved: usize) -> String {
    let end = begin + plan.length();
    let finished = |record: &Record| record.arrived + record.waited;
    let answered =
        || records.iter().filter(|record| matches!(record.answer, Answer::Status(_))).map(finished);
    let requests = answered().count();
    let in_time = answered().filter(|at| (begin..=end).contains(at)).count();
    let last = records.iter().map(finished).max().unwrap_or_default();
    let mut text = format!(
        "{{\"begin_s\": {:.6}, \"seconds\": {:.6}, \"last_answer_s\": {:.6}, \"requests\": {requests}, \
         \"in_time\": {in_time}, \"unsent\": {unsent}, \"starved\": {starved}",
        begin.as_secs_f64(),
        plan.length().as_secs_f64(),
        last.as_secs_f64(),
    );
    text.push_str(", \"paths\": {");
    for (index, path) in plan.paths.iter().enumerate() {
        comma(&mut text, index);
        let _ = write!(text, "\"{}\": ", path.name);
        answers(&mut text, records.iter().filter(|record| record.path == index && record.arrived >= begin));
    }
    text.push_str("}, \"phases\": [");
    if let Pace::Open { phases } = &plan.pace {
        let mut start = Duration::ZERO;
        for (index, phase) in phases.iter().enumerate() {
            comma(&mut text, index);
            let end = start + phase.time;
            let _ = write!(
                text,
                "{{\"rate\": {}, \"from_s\": {:.6}, \"to_s\": {:.6}, \"answers\": ",
                phase.rate,
                start.as_secs_f64(),
                end.as_secs_f64()
            );
            answers(
                &mut text,
                records.iter().filter(|record| record.arrived >= start && record.arrived < end),
            );
            text.push('}');
            start = end;
        }
    }
    let _ = write!(text, "], \"window_s\": {}, \"windows\": [", WINDOW.as_secs_f64());
    for (index, window) in windows(records).iter().enumerate() {
        comma(&mut text, index);
        let _ = write!(
            text,
            "{{\"arrived\": {}, \"served\": {}, \"refused\": {}, \"failed\": {}, \"slowest_us\": {}}}",
            window.arrived,
            window.served,
            window.refused,
            window.failed,
            window.slowest.as_micros()
        );
    }
    text.push_str("]}");
    text
}

fn comma(text: &mut String, index: usize) {
    if index > 0 {
        text.push_str(", ");
    }
}

/// Writes the counts and percentiles of requests by how they were answered.
fn answers<'a>(text: &mut String, records: impl Iterator<Item = &'a Record>) {
    let mut waits: BTreeMap<Answer, Vec<Duration>> = BTreeMap::new();
    for record in records {
        waits.entry(record.answer).or_default().push(record.waited);
    }
    text.push('{');
    for (index, (answer, waits)) in waits.iter_mut().enumerate() {
        comma(text, index);
        waits.sort_unstable();
        let name = match answer {
            Answer::Status(status) => status.to_string(),
            Answer::Failed => "failed".to_owned(),
            Answer::None => "none".to_owned(),
        };
        // Nearest rank from above: of few requests, the 99th percentile is the slowest.
        let at = |percent: usize| waits[(waits.len() * percent).div_ceil(100).saturating_sub(1)].as_micros();
        let _ = write!(
            text,
            "\"{name}\": {{\"count\": {}, \"p50_us\": {}, \"p90_us\": {}, \"p99_us\": {}, \"max_us\": {}}}",
            waits.len(),
            at(50),
            at(90),
            at(99),
            at(100)
        );
    }
    text.push('}');
}

fn windows(records: &[Record]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for record in records {
        let finished = record.arrived + record.waited;
        let window = at(&mut windows, record.arrived);
        window.arrived += 1;
        match record.answer {
            Answer::Status(200) => {
                window.slowest = window.slowest.max(record.waited);
                at(&mut windows, finished).served += 1;
            }
            Answer::Status(503) => window.refused += 1,
            Answer::Status(_) | Answer::Failed | Answer::None => window.failed += 1,
        }
    }
    windows
}

fn at(windows: &mut Vec<Window>, time: Duration) -> &mut Window {
    let index = usize::try_from(time.as_nanos() / WINDOW.as_nanos()).unwrap_or_default();
    if windows.len() <= index {
        windows.resize(index + 1, Window::default());
    }
    &mut windows[index]
}
