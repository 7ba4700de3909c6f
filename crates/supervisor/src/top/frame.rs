//! From what is known to lines of text.

use super::line::{Glyphs, Line, Tone, age, duration, memory, rate};
use super::state::{History, Request, State, Worker};
use super::view::{Stack, Told, View};

/// What there is to draw in. Without rows there is no end to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) columns: usize,
    pub(super) rows: Option<usize>,
}

/// Rows that are neither of workers nor of requests.
const ROWS_BESIDE: usize = 12;

/// The server, its workers and what it is at.
pub(super) fn frame(history: &History, view: &View, room: Room, glyphs: Glyphs) -> Vec<Line> {
    let state = history.latest();
    let mut lines = vec![title(state, room, glyphs), Line::default()];
    lines.extend(figures(history, room, glyphs));
    lines.push(Line::default());

    let (workers, requests) = shares(state, room);
    lines.push(worker_columns(room, glyphs));
    lines.extend(state.workers.iter().take(workers).map(|worker| worker_line(worker, room, glyphs)));
    if workers < state.workers.len() {
        lines.push(Line::default().add(Tone::Soft, format!("  and {} more", state.workers.len() - workers)));
    }
    lines.push(restarts(state, glyphs));

    let ordered = view.ordered(state);
    let chosen = view.chosen(&ordered);
    lines.push(request_columns(ordered.len(), room, glyphs));
    // The one that is chosen is always in sight.
    let first = chosen.map_or(0, |place| (place + 1).saturating_sub(requests));
    let slowest = ordered.iter().map(|request| request.age_ms).max().unwrap_or_default().max(1_000);
    for (place, request) in ordered.iter().enumerate().skip(first).take(requests) {
        let mut line = request_line(request, slowest, chosen == Some(place), room, glyphs);
        line.chosen = chosen == Some(place);
        lines.push(line);
    }
    if ordered.is_empty() {
        lines.push(Line::default().add(Tone::Soft, "  Calm water. No request is in flight."));
    }
    if let Some(rows) = room.rows {
        lines.resize(rows.saturating_sub(1).max(1), Line::default());
        lines.push(footer(view, glyphs));
    }
    lines
}

/// How many workers are shown, and how many requests.
fn shares(state: &State, room: Room) -> (usize, usize) {
    let Some(rows) = room.rows else { return (usize::MAX, usize::MAX) };
    let rows = rows.saturating_sub(ROWS_BESIDE);
    let all = state.workers.len();
    // Where there are too many workers, a line says so.
    let workers = if all <= rows / 2 { all } else { (rows / 2).saturating_sub(1) };
    let taken = if workers < all { workers + 1 } else { workers };
    (workers, rows.saturating_sub(taken).max(1))
}

fn title(state: &State, room: Room, glyphs: Glyphs) -> Line {
    let tone = if state.word == "serving" { Tone::Good } else { Tone::Busy };
    let line = Line::default()
        .add(Tone::Strong, format!("tidegate {}", state.version))
        .add(Tone::Soft, glyphs.dot())
        .add(tone, state.word.clone())
        .add(Tone::Plain, format!(" for {}", age(state.uptime_s)))
        .add(Tone::Soft, glyphs.dot());
    let left = room.columns.saturating_sub(line.width());
    let serves = glyphs.within(&state.serves.join(glyphs.dot()), left);
    line.add(Tone::Soft, serves)
}

fn figures(history: &History, room: Room, glyphs: Glyphs) -> [Line; 4] {
    let state = history.latest();
    let figures = history.figures();
    let per = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{}/s", rate(value)));
    let bad = |value: Option<f64>| if value.unwrap_or_default() > 0.0 { Tone::Bad } else { Tone::Plain };
    let within = |times: Option<[f64; 3]>, index: usize| {
        times.map_or("-".to_owned(), |times| duration(1e3 * times[index]))
    };
    let now = figures.as_ref();
    let (total, queue) = (now.and_then(|now| now.total), now.and_then(|now| now.queue));
    let (running, queued) = (sum(state, |worker| worker.running), sum(state, |worker| worker.queued));
    let pair = |line: Line, name: &str, tone, value: &str, width| {
        line.left(Tone::Soft, name, 10, glyphs).left(tone, value, width, glyphs)
    };
    let share = |line: Line, index: usize, name: &str| {
        let queue = within(queue, index);
        line.left(Tone::Soft, name, 3, glyphs).right(Tone::Strong, &within(total, index), 7, glyphs).left(
            Tone::Soft,
            &format!("queue {queue}"),
            13,
            glyphs,
        )
    };

    let requests = now.map(|now| now.requests);
    let first = pair(Line::default(), "Requests", Tone::Strong, &per(requests), 15);
    let first = share(first, 0, "p50");
    let errors = now.map(|now| now.errors);
    let first = pair(first, "Errors", bad(errors), &per(errors), 10);

    let (full, empty) = glyphs.bar(state.saturation, 8);
    let tone = if state.saturation >= 0.85 { Tone::Bad } else { Tone::Calm };
    let percent = format!(" {:>3.0} %   ", state.saturation * 100.0);
    let second = Line::default().left(Tone::Soft, "Saturation", 10, glyphs);
    let second = second.add(tone, full).add(Tone::Soft, empty).add(Tone::Plain, percent);
    let second = share(second, 1, "p95");
    let shed = now.map(|now| now.shed);
    let second = pair(second, "Shed", bad(shed), &per(shed), 10);

    let in_flight = sum(state, |worker| worker.in_flight).max(running + queued);
    let third = pair(Line::default(), "In flight", Tone::Strong, &in_flight.to_string(), 15);
    let third = share(third, 2, "p99");
    let timeouts = now.map(|now| now.timeouts);
    let third = pair(third, "Timeouts", bad(timeouts), &per(timeouts), 10);

    let counts = format!("{running} run, {queued} wait");
    let fourth = Line::default().left(Tone::Soft, "", 10, glyphs).left(Tone::Soft, &counts, 15, glyphs);
    let expired = sum(state, |worker| worker.expired_running);
    let fourth = if expired > 0 { fourth.add(Tone::Bad, format!("{expired} expired  ")) } else { fourth };
    let peak = history.rates().fold(0.0, f64::max);
    let words = format!(" most {}/s", rate(peak));
    let width = room.columns.saturating_sub(fourth.width() + words.len()).min(60);
    let fourth = fourth.add(Tone::Calm, glyphs.heights_of(history.rates(), width)).add(Tone::Soft, words);
    [first, second, third, fourth]
}

fn sum(state: &State, count: fn(&Worker) -> u64) -> u64 {
    state.workers.iter().map(count).sum()
}

fn worker_columns(room: Room, glyphs: Glyphs) -> Line {
    let line = Line::default();
    let columns = ["AGE", "MEMORY", "REQUESTS", "CONNS", "RUN", "WAIT"];
    let mut line = line.left(Tone::Soft, "WORKER", 7, glyphs).left(Tone::Soft, "STATE", 8, glyphs);
    for (name, width) in columns.into_iter().zip(WORKER_WIDTHS) {
        line = line.right(Tone::Soft, name, width, glyphs);
    }
    if room.columns >= THREADS_FROM {
        line = line.left(Tone::Soft, "THREADS: running, blocked, idle, lost", 38, glyphs);
        return line.left(Tone::Soft, "PID", 8, glyphs);
    }
    line.add(Tone::Soft, "LOST")
}

/// Of the columns from age to waiting.
const WORKER_WIDTHS: [usize; 6] = [11, 8, 8, 6, 5, 5];

/// From so many columns on, there is room for what threads do.
const THREADS_FROM: usize = 120;

fn worker_line(worker: &Worker, room: Room, glyphs: Glyphs) -> Line {
    let tone = if worker.state == "serving" { Tone::Good } else { Tone::Busy };
    let cells = [
        age(worker.age_s),
        memory(worker.memory_bytes),
        worker.requests.to_string(),
        worker.connections.to_string(),
        worker.running.to_string(),
        worker.queued.to_string(),
    ];
    let line = Line::default().left(Tone::Strong, &format!("#{}", worker.id), 7, glyphs);
    let mut line = line.left(tone, &worker.state, 8, glyphs);
    for (text, width) in cells.iter().zip(WORKER_WIDTHS) {
        line = line.right(Tone::Plain, text, width, glyphs);
    }
    let [running, blocked, idle, lost] = worker.threads;
    let tone = if lost > 0 { Tone::Bad } else { Tone::Soft };
    if room.columns < THREADS_FROM {
        return line.right(tone, &lost.to_string(), 4, glyphs);
    }
    let all = (running + blocked + idle + lost).max(1);
    let bar = |count: u64| (count * 16).div_ceil(all).min(16) as usize;
    let drawn = [(running, Tone::Calm), (blocked, Tone::Busy), (idle, Tone::Soft), (lost, Tone::Bad)];
    let mut left = 16;
    for ((count, tone), glyph) in drawn.into_iter().zip(["#", glyphs.faint(), glyphs.empty(), "!"]) {
        let width = bar(count).min(left);
        left -= width;
        line = line.add(tone, if glyph == "#" { glyphs.full() } else { glyph }.repeat(width));
    }
    let words = format!(" {running}, {blocked}, {idle}, {lost}");
    line.add(Tone::Plain, " ".repeat(left)).left(Tone::Plain, &words, 22, glyphs).left(
        Tone::Soft,
        &worker.pid.to_string(),
        8,
        glyphs,
    )
}

fn restarts(state: &State, glyphs: Glyphs) -> Line {
    let causes = state.restarts.iter().filter(|(_, count)| *count > 0);
    let causes: Vec<_> = causes.map(|(cause, count)| format!("{cause} {count}")).collect();
    let wanted = state.workers_wanted;
    let mut line = Line::default();
    if wanted > 0 && wanted != state.workers.len() as u64 {
        line = line.add(Tone::Busy, format!("  {wanted} wanted "));
    }
    if causes.is_empty() {
        return line;
    }
    line.add(Tone::Soft, format!("  replaced: {}", causes.join(glyphs.dot())))
}

/// Widths of a request's columns: path, stage, age, bar, worker, peer. What there is more goes to the path.
fn request_widths(room: Room) -> [usize; 6] {
    let (bar, peer) = match room.columns {
        ..72 => (0, 0),
        72..100 => (10, 0),
        _ => (24, 22),
    };
    let (stage, age, worker) = (11, 8, 6);
    // Two cells for the mark, and a gap of two behind each column.
    let taken = 2 + stage + age + worker + bar + peer + 2 * 6;
    [room.columns.saturating_sub(taken).max(8), stage, age, bar, worker, peer]
}

fn request_columns(count: usize, room: Room, glyphs: Glyphs) -> Line {
    let [path, stage, age, bar, worker, peer] = request_widths(room);
    let line = Line::default().left(Tone::Soft, &format!("IN FLIGHT ({count})"), path + 2, glyphs);
    let line = line.left(Tone::Soft, "STAGE", stage, glyphs).right(Tone::Soft, "AGE", age, glyphs);
    let line = if bar > 0 { line.left(Tone::Soft, "", bar, glyphs) } else { line };
    let line = line.left(Tone::Soft, "WORKER", worker, glyphs);
    if peer > 0 { line.left(Tone::Soft, "PEER", peer, glyphs) } else { line }
}

fn request_line(request: &Request, slowest: u64, chosen: bool, room: Room, glyphs: Glyphs) -> Line {
    let [path, stage, age, bar, worker, peer] = request_widths(room);
    let mark = if chosen { glyphs.chosen() } else { " " };
    let what = format!("{} {}", request.method, request.path);
    let tone = Tone::of_stage(&request.stage);
    let mut line = Line::default().add(Tone::Strong, format!("{mark} "));
    line = line.left(Tone::Plain, &what, path, glyphs).left(tone, &request.stage, stage, glyphs);
    line = line.right(Tone::Plain, &duration(request.age_ms as f64), age, glyphs);
    if bar > 0 {
        line = stages(line, request, slowest, bar, glyphs).add(Tone::Plain, "  ");
    }
    line = line.left(Tone::Plain, &format!("#{}", request.worker), worker, glyphs);
    if peer > 0 { line.left(Tone::Soft, &request.peer, peer, glyphs) } else { line }
}

/// The age of a request as a bar: what went before, the stage it is in, and what the slowest has before it.
fn stages(line: Line, request: &Request, slowest: u64, width: usize, glyphs: Glyphs) -> Line {
    let part = |ms: u64| ((ms.min(slowest) * width as u64) as f64 / slowest as f64).round() as usize;
    let all = part(request.age_ms);
    let before = part(request.age_ms.saturating_sub(request.stage_ms)).min(all);
    line.add(Tone::Soft, glyphs.faint().repeat(before))
        .add(Tone::of_stage(&request.stage), glyphs.full().repeat(all - before))
        .add(Tone::Soft, glyphs.empty().repeat(width - all))
}

fn footer(view: &View, glyphs: Glyphs) -> Line {
    if let Some(trouble) = &view.trouble {
        return Line::default().add(Tone::Bad, trouble.clone());
    }
    let keys =
        format!("{} choose   Enter stack   s sort (by {})   q quit", glyphs.arrows(), view.order.word());
    Line::default().add(Tone::Soft, keys)
}

/// Rows that the calls of a stack take.
pub(super) fn stack_rows(stack: &Stack) -> usize {
    match &stack.told {
        Told::Calls(calls) => calls.len(),
        _ => 0,
    }
}

/// One request and its stack, the newest call last.
pub(super) fn stack_frame(stack: &Stack, state: &State, room: Room, glyphs: Glyphs) -> Vec<Line> {
    let Stack { request, .. } = stack;
    let rows = room.rows.unwrap_or(usize::MAX);
    let what = format!("{} {}", request.method, request.path);
    let stage = if stack.is_over {
        (Tone::Busy, "over".to_owned())
    } else {
        let words = format!("{} for {}", request.stage, duration(request.stage_ms as f64));
        (Tone::of_stage(&request.stage), words)
    };
    let facts = Line::default()
        .add(stage.0, stage.1)
        .add(Tone::Plain, format!(", {} old", duration(request.age_ms as f64)))
        .add(Tone::Soft, format!("{}worker #{}", glyphs.dot(), request.worker))
        .add(Tone::Soft, format!("{}{}", glyphs.dot(), request.peer))
        .add(
            Tone::Soft,
            if request.id.is_empty() { String::new() } else { glyphs.dot().to_owned() + &request.id },
        );
    let title = Line::default().add(Tone::Strong, glyphs.within(&what, room.columns));
    let mut lines = vec![title, facts, Line::default()];
    match &stack.told {
        Told::Nothing => lines.push(Line::default().add(Tone::Soft, "The server is asked ...")),
        Told::Error(error) => lines.push(Line::default().add(Tone::Busy, error.clone())),
        Told::Calls(calls) if calls.is_empty() => {
            lines.push(Line::default().add(Tone::Soft, "No Python code runs for this request now."));
        }
        Told::Calls(calls) => {
            let page = rows.saturating_sub(5).max(1);
            let first = calls.len().saturating_sub(page + stack.back);
            for (index, call) in calls.iter().enumerate().skip(first).take(page) {
                let newest = index + 1 == calls.len();
                let mark = if newest { glyphs.chosen() } else { " " };
                let tone = if newest { Tone::Strong } else { Tone::Plain };
                // What tells calls apart is at their end.
                let (place, name) = call.rsplit_once(" in ").unwrap_or((call, ""));
                let line = Line::default().add(Tone::Strong, format!("{mark} "));
                lines.push(line.add(tone, format!("{name}  ")).add(Tone::Soft, place));
            }
        }
    }
    lines.resize(rows.saturating_sub(1).max(lines.len().min(rows)), Line::default());
    let keys = format!("Esc back   r again   {} scroll   q quit", glyphs.arrows());
    let state =
        if state.word == "serving" { String::new() } else { format!("   the server is {}", state.word) };
    lines.push(Line::default().add(Tone::Soft, keys + &state));
    lines
}
