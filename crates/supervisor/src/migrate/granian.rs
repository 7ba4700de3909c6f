//! Granian: its options by their names (to 2.8), and what is decided by several of them together.

use super::application::{Application, object};
use super::arguments::POSITIONAL;
use super::files::{Files, from_start};
use super::option::*;
use super::plan::Plan;
use crate::settings::{Value, shown_duration};

const OF_HTTP2: &str = "HTTP/2 has the limits of all HTTP, and few of its own";
const RUNTIME: &str = "there is no runtime beside Python's threads: the thread that reads a request runs it";
const STATIC_EXPIRES_S: u64 = 86_400;
const METRICS: &str = "\"tidegate ctl status\" prints what the server knows, as JSON";
const RELOAD: &str = "reload-include and reload-exclude take patterns of files";

pub(super) static OPTIONS: &[Entry] = &[
    together(&[POSITIONAL], "`app`"),
    together(
        &["interface"],
        "`interface`; asginl is `asgi` with `lifespan = \"off\"`. RSGI is not spoken, which is Granian's default",
    ),
    becomes(&["factory"], "factory", on, "").switch(),
    start(&["working-dir"], chdir, "--chdir"),
    instead(&["env-files"], "EnvironmentFile= of the systemd unit"),
    becomes(&["url-path-prefix"], "script-name", prefix, ""),
    // Listening.
    together(&["host", "port"], "`bind`"),
    together(&["uds"], "`bind`: unix:PATH"),
    becomes(&["uds-permissions"], "unix-socket-mode", permissions, ""),
    becomes(&["backlog"], "backlog", number, ""),
    becomes(
        &["http"],
        "http",
        http_versions,
        "HTTP/2 in plain text is `h2c`, and `auto` speaks it over TLS alone",
    ),
    not_needed(&["ws"], "ASGI applications have WebSockets; one that wants none refuses them").switch(),
    // Processes.
    becomes(&["workers"], "workers", number, ""),
    together(&["blocking-threads"], "`threads`"),
    becomes(&["blocking-threads-idle-timeout"], "thread-idle-timeout", duration, ""),
    not_needed(&["runtime-threads", "runtime-blocking-threads", "runtime-mode", "task-impl"], RUNTIME),
    becomes(&["loop"], "loop", event_loop, ""),
    together(
        &["backpressure"],
        "`max-concurrency`; what is over waits in a queue of queue-size, or has a 503",
    ),
    not_needed(
        &["respawn-failed-workers"],
        "a worker that dies is replaced, and never all others stopped for it",
    )
    .switch(),
    not_needed(
        &["respawn-interval"],
        "one that dies is replaced at once, one that keeps dying ever more slowly",
    ),
    becomes(&["workers-lifetime"], "max-lifetime", duration, ""),
    becomes(&["workers-max-rss"], "max-rss", mebibytes, ""),
    not_needed(&["rss-sample-interval", "rss-samples"], "memory is looked at once a second"),
    becomes(&["workers-kill-timeout"], "graceful-timeout", duration, ""),
    instead(
        &["process-name"],
        "processes keep their names; the pid file and \"tidegate ctl status\" tell whose they are",
    ),
    becomes(&["pid-file"], "pid-file", text, ""),
    becomes(&["reload"], "reload", on, "for development").switch(),
    becomes(&["reload-paths"], "reload-dir", text, ""),
    instead(&["reload-ignore-dirs", "reload-ignore-patterns", "reload-ignore-paths"], RELOAD),
    not_needed(&["reload-tick"], "the system tells of changes"),
    not_needed(&["reload-ignore-worker-failure"], "what serves goes on when new code fails").switch(),
    // HTTP.
    becomes(&["http1-header-read-timeout"], "head-timeout", milliseconds, ""),
    together(&["http1-buffer-size"], "`head-size-max`, where it is less than 64 KiB"),
    not_needed(&["http1-keep-alive"], "connections are always kept, for keep-alive-timeout").switch(),
    not_needed(&["http1-pipeline-flush"], "answers to pipelined requests go out as they come").switch(),
    becomes(&["http2-max-concurrent-streams"], "http2-streams-max", number, ""),
    becomes(&["http2-initial-stream-window-size"], "http2-window-size", bytes, ""),
    not_needed(&["http2-adaptive-window"], OF_HTTP2).switch(),
    not_needed(&["http2-*"], OF_HTTP2),
    becomes(&["ssl-certificate"], "certfile", text, ""),
    becomes(&["ssl-keyfile"], "keyfile", text, ""),
    instead(
        &["ssl-keyfile-password"],
        "keys are not encrypted: \"openssl pkey -in KEY -out NEW\" makes one that is not",
    ),
    becomes(&["ssl-protocol-min"], "tls-min-version", tls_version, ""),
    becomes(&["ssl-ca"], "client-ca", text, ""),
    becomes(&["ssl-crl"], "client-crl", text, ""),
    together(&["ssl-client-verify"], "`client-auth`, with ssl-ca").switch(),
    together(&["static-path-mount", "static-path-route"], "`static`"),
    together(&["static-path-dir-to-file"], "the `index` of `static`; without it none"),
    together(&["static-path-expires"], "the `max-age` of `static`; without it a day, as there"),
    // Logs.
    together(&["log"], "`log-level`").switch(),
    becomes(&["log-level"], "log-level", level, ""),
    becomes(&["log-config"], "log-config", text, "the loggers are tidegate.error and the application's"),
    becomes(&["access-log"], "access-log", standard_output, "").switch(),
    together(&["access-log-fmt"], "`access-log-format`, with gunicorn's atoms"),
    instead(&["metrics"], METRICS).switch(),
    not_needed(&["metrics-scrape-interval", "metrics-address", "metrics-port"], "there is no exporter"),
    not_needed(&["version", "help"], "a question, no setting").switch(),
];

fn http_versions(value: &Value) -> Reading {
    Ok(match plain(value).as_str() {
        "1" => Some(Value::Text("1".to_owned())),
        "2" => Some(Value::Text("h2c".to_owned())),
        _ => None,
    })
}

pub(super) fn decide(plan: &mut Plan) {
    if let Some((index, value)) = plan.last(&["working-dir"]) {
        plan.start.chdir = Some(plain(&value));
        plan.starts(index, "--chdir");
    }
    let positional = plan.all(&[POSITIONAL]);
    for (index, _) in positional.iter().skip(1) {
        plan.not_needed(*index, "an application is named already");
    }
    match positional.into_iter().next() {
        // Granian reads `MODULE` alone as `MODULE:app` or, for WSGI, `MODULE:application`; so is it here.
        Some((index, value)) => match object(&plain(&value), None) {
            Ok(Application { spec, .. }) => plan.becomes(index, "app", Value::Text(spec), ""),
            Err(instead) => plan.impossible(index, &instead),
        },
        None => plan.lacks("no application is named: give app = \"MODULE:ATTR\""),
    }
    let interface = interface(plan);
    listening(plan);
    let backpressure = plan.last(&["backpressure"]);
    if let Some((index, value)) = plan.last(&["blocking-threads"]) {
        match interface.as_str() {
            "wsgi" => plan.becomes_read(index, "threads", number(&value), ""),
            _ => plan.not_needed(index, "tasks of an event loop take no threads"),
        }
    }
    if let Some((index, value)) = backpressure {
        plan.becomes_read(index, "max-concurrency", number(&value), "");
    }
    if let Some((index, value)) = plan.last(&["http1-buffer-size"]) {
        match number_of(&value) {
            Ok(size) if size < 65_536 => {
                plan.becomes_read(index, "head-size-max", bytes(&value), "");
            }
            Ok(_) => plan.not_needed(
                index,
                "a head may have 64 KiB (head-size-max), and what comes behind it has bounds of its own",
            ),
            Err(fault) => plan.impossible(index, &fault),
        }
    }
    client_auth(plan);
    files(plan);
    if let Some((index, value)) = plan.last(&["log"]) {
        match is_off(&value) {
            true => plan.becomes(index, "log-level", Value::Text("error".into()), "errors are always told"),
            false => plan.not_needed(index, "it is so anyway"),
        }
    }
    if let Some((index, value)) = plan.last(&["access-log-fmt"]) {
        match access_log_format(&plain(&value)) {
            Ok(format) => plan.becomes(index, "access-log-format", Value::Text(format), ""),
            Err(instead) => plan.impossible(index, &instead),
        }
    }
}

fn interface(plan: &mut Plan) -> String {
    let Some((index, value)) = plan.last(&["interface"]) else {
        plan.lacks("RSGI, Granian's default interface, is not spoken: serve the application by WSGI or ASGI");
        return "rsgi".to_owned();
    };
    let name = plain(&value).to_ascii_lowercase();
    match name.as_str() {
        "wsgi" | "asgi" => plan.becomes(index, "interface", Value::Text(name.clone()), ""),
        "asginl" => {
            plan.becomes(index, "interface", Value::Text("asgi".into()), "and lifespan");
            plan.adds("lifespan", Value::Text("off".into()), "asginl");
        }
        _ => plan.impossible(index, "RSGI is not spoken: serve the application by WSGI or ASGI"),
    }
    name
}

fn listening(plan: &mut Plan) {
    let (host, port, path) = (plan.last(&["host"]), plan.last(&["port"]), plan.last(&["uds"]));
    if let Some((index, path)) = path {
        plan.joins(index, "bind", format!("unix:{}", plain(&path)), "");
        for (index, _) in [host, port].into_iter().flatten() {
            plan.not_needed(index, "with uds nothing else is bound");
        }
        return;
    }
    let text = |given: &Option<(usize, Value)>, default: &str| {
        given.as_ref().map_or(default.to_owned(), |(_, value)| plain(value))
    };
    let (name, number) = (text(&host, "127.0.0.1"), text(&port, "8000"));
    let address = if name.contains(':') { format!("[{name}]:{number}") } else { format!("{name}:{number}") };
    for (index, _) in [host, port].into_iter().flatten() {
        plan.joins(index, "bind", address.clone(), "");
    }
}

/// Without it Granian asks clients for nothing.
fn client_auth(plan: &mut Plan) {
    let verifies = plan.last(&["ssl-client-verify"]);
    let asks = verifies.as_ref().is_some_and(|(_, value)| !is_off(value));
    let has_authority = plan.last(&["ssl-ca"]).is_some();
    match verifies {
        Some((index, _)) if has_authority && asks => {
            plan.becomes(index, "client-auth", Value::Text("required".into()), "");
        }
        Some((index, _)) => plan.not_needed(index, "clients are not asked then"),
        None => {}
    }
    if has_authority && !asks {
        plan.adds("client-auth", Value::Text("none".into()), "without ssl-client-verify");
    }
}

fn tls_version(value: &Value) -> Reading {
    match plain(value).to_ascii_lowercase().as_str() {
        "tls1.2" => Ok(Some(Value::Text("1.2".into()))),
        "tls1.3" => Ok(Some(Value::Text("1.3".into()))),
        _ => Err("tls-min-version is one of 1.2, 1.3".into()),
    }
}

/// Routes and mounts are pairs, in their order.
fn files(plan: &mut Plan) {
    let (routes, mounts) = (plan.all(&["static-path-route"]), plan.all(&["static-path-mount"]));
    let (index, expires) = (plan.last(&["static-path-dir-to-file"]), plan.last(&["static-path-expires"]));
    let max_age = expires.as_ref().map_or(Ok(STATIC_EXPIRES_S), |(_, value)| number_of(value));
    let max_age = max_age.map(|seconds| match seconds {
        0 => "off".to_owned(),
        seconds => shown_duration(seconds.saturating_mul(1_000)),
    });
    for (place, (mount, value)) in mounts.iter().enumerate() {
        let prefix = match routes.get(place) {
            Some((route, value)) => {
                plan.is_part(*route, "a prefix of static");
                plain(value)
            }
            None if routes.is_empty() && place == 0 => "/static".to_owned(),
            None => {
                plan.impossible(*mount, "no static-path-route goes with it");
                continue;
            }
        };
        let files = Files {
            prefix,
            directory: from_start(plan, &plain(value)),
            index: index.as_ref().map(|(_, value)| plain(value)),
            max_age: max_age.as_ref().ok().map(|time| Value::Text(time.clone())),
            falls_through: false,
        };
        files.serve(plan, *mount, "");
    }
    for (route, _) in plan.all(&["static-path-route"]) {
        plan.not_needed(route, "no static-path-mount goes with it");
    }
    for (given, _) in index.into_iter().chain(expires) {
        match (mounts.is_empty(), &max_age) {
            (true, _) => plan.not_needed(given, "without static-path-mount it means nothing"),
            (false, Err(fault)) if plan.name(given) == "static-path-expires" => plan.impossible(given, fault),
            (false, _) => plan.is_part(given, "static"),
        }
    }
}

/// Seconds, or days, hours, minutes and seconds.
fn duration(value: &Value) -> Reading {
    let mut total: u64 = 0;
    let mut digits = String::new();
    for character in plain(value).chars() {
        let unit = match character {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            digit => {
                digits.push(digit);
                continue;
            }
        };
        let number: u64 = digits.parse().map_err(|_| format!("{value} is not a duration"))?;
        total = total.saturating_add(number.saturating_mul(unit));
        digits.clear();
    }
    if !digits.is_empty() {
        let number: u64 = digits.parse().map_err(|_| format!("{value} is not a duration"))?;
        total = total.saturating_add(number);
    }
    seconds(&Value::Text(total.to_string()))
}

/// Octal digits where a zero is in front, else a decimal number.
fn permissions(value: &Value) -> Reading {
    match plain(value) {
        text if text.starts_with('0') => octal(&Value::Text(text)),
        text => octal(&Value::Int(text.parse().map_err(|_| format!("{value} is not a number"))?)),
    }
}

fn event_loop(value: &Value) -> Reading {
    match plain(value).as_str() {
        "auto" => Ok(None),
        "asyncio" | "uvloop" => text(value),
        _ => Err("loop is asyncio or uvloop".to_owned()),
    }
}

fn standard_output(value: &Value) -> Reading {
    Ok((!is_off(value)).then(|| Value::Text("-".into())))
}

fn prefix(value: &Value) -> Reading {
    Ok(Some(Value::Text(plain(value).trim_end_matches('/').to_owned())))
}

/// Granian's atoms, and gunicorn's for the same.
const ATOMS: &[(&str, &str)] = &[
    ("%(addr)s", "%(h)s"),
    ("%(time)s", "%(t)s"),
    ("%(dt_ms).3f", "%(M)s"),
    ("%(dt_ms)d", "%(M)s"),
    ("%(status)d", "%(s)s"),
    ("%(status)s", "%(s)s"),
    ("%(path)s", "%(U)s"),
    ("%(query_string)s", "%(q)s"),
    ("%(method)s", "%(m)s"),
    ("%(scheme)s", "http"),
    ("%(protocol)s", "%(H)s"),
];

fn access_log_format(format: &str) -> Result<String, String> {
    // A time has its brackets.
    let format = format.replace("[%(time)s]", "%(time)s");
    let marked = ATOMS
        .iter()
        .enumerate()
        .fold(format, |text, (number, (own, _))| text.replace(own, &format!("\0{number}\0")));
    if let Some((_, rest)) = marked.split_once("%(") {
        let name = rest.split(')').next().unwrap_or_default();
        return Err(format!("access-log-format has no %({name}); its atoms are in docs/logging.md"));
    }
    Ok(ATOMS
        .iter()
        .enumerate()
        .fold(marked, |text, (number, (_, atom))| text.replace(&format!("\0{number}\0"), atom)))
}
