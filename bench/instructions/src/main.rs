//! The protocol crate alone: one request from memory, parsed and answered again and again.
//!
//! `instructions parse|exchange COUNT FILE`: `FILE` holds one request without a body. `exchange` keeps one connection and
//! for each request parses, answers 13 bytes and goes on to the next; `parse` takes a new connection each time and
//! stops when the request is wholly read. Run under callgrind with two counts, the difference is what the requests
//! cost; run alone, it prints the nanoseconds of each.

use std::error::Error;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs};

use tidegate_http::{BodyLength, Connection, Event, Limits, RequestHead, ResponseHead, SendContext};

const BODY: &[u8] = b"Hello, World!";

const DATE: &[u8; 29] = b"Thu, 01 Jan 1970 00:00:00 GMT";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let run = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["parse", count, file] => measure(count, file, parse),
        ["exchange", count, file] => measure(count, file, exchange),
        _ => Err("usage: instructions parse|exchange COUNT FILE".into()),
    };
    match run {
        Ok(ns) => {
            println!("{ns:.1}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One of the loops: that many times this request.
type Work = fn(usize, &[u8]) -> Result<(), Box<dyn Error>>;

/// Runs one of the loops; returns nanoseconds per request.
fn measure(count: &str, file: &str, work: Work) -> Result<f64, Box<dyn Error>> {
    let count: usize = count.parse()?;
    let request = fs::read(file)?;
    let start = Instant::now();
    work(count, &request)?;
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}

fn parse(count: usize, request: &[u8]) -> Result<(), Box<dyn Error>> {
    let limits = Arc::new(Limits::default());
    for _ in 0..count {
        let mut connection = Connection::new(Arc::clone(&limits));
        connection.receive(black_box(request));
        black_box(read(&mut connection)?);
    }
    Ok(())
}

fn exchange(count: usize, request: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut connection = Connection::new(Arc::new(Limits::default()));
    let mut out = Vec::new();
    for _ in 0..count {
        connection.receive(black_box(request));
        black_box(read(&mut connection)?);
        out.clear();
        let mut response = ResponseHead::from_status_line(b"200 OK")?;
        response.field(b"Content-Type", b"text/plain")?;
        response.field(b"Content-Length", b"13")?;
        let context = SendContext { date: DATE, server: Some(b"tidegate"), extra: None, close: false };
        connection.send_head(&response, BodyLength::Known(BODY.len() as u64), &context, &mut out)?;
        let framed = connection.frame_data(BODY.len(), &mut out)?;
        out.extend_from_slice(&BODY[..framed.take]);
        out.extend_from_slice(framed.suffix);
        connection.send_end(&tidegate_http::ResponseTrailers::NONE, &mut out)?;
        black_box(&out);
        if !connection.start_next() {
            return Err("the connection does not stay open after this request".into());
        }
    }
    Ok(())
}

/// Reads one whole request and returns its head.
fn read(connection: &mut Connection) -> Result<RequestHead, Box<dyn Error>> {
    let mut head = None;
    loop {
        match connection.next_event()? {
            Event::Request(request) => head = Some(request),
            Event::Data(_) | Event::End(_) => {}
            Event::Paused => return head.ok_or_else(|| "no head".into()),
            Event::NeedData | Event::Closed => return Err("the file does not hold one whole request".into()),
        }
    }
}
