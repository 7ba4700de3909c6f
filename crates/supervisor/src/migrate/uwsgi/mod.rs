//! uWSGI: its options, and what is decided by several of them together.

mod options;

pub(super) use options::OPTIONS;

use super::application::{Application, module_of, object};
use super::files::{Files, KEPT};
use super::ini::unresolved;
use super::option::*;
use super::plan::Plan;
use crate::settings::{Value, shown_duration};
use options::{OTHER_PROTOCOL, bytes_from_4096};

pub(super) fn is_option(name: &str) -> bool {
    OPTIONS.iter().any(|entry| entry.is_named(name))
}

/// Decides what takes more than one option to decide.
pub(super) fn decide(plan: &mut Plan) {
    skip_the_unresolved(plan);
    // Where modules are found says what module a file is.
    if let Some((index, value)) = plan.last(&["chdir", "force-cwd"]) {
        plan.start.chdir = Some(plain(&value));
        plan.starts(index, "--chdir");
    }
    application(plan);
    listening(plan);
    running(plan);
    limits(plan);
    files(plan);
    logs(plan);
    plan.remark(
        "The application is loaded by each worker, as with lazy-apps; preload = true shares its memory, but then a reload does not \
         load new code.",
    );
}

/// What holds something that only uWSGI can put in place.
fn skip_the_unresolved(plan: &mut Plan) {
    for (index, name, value) in plan.given() {
        let is_format = matches!(name.as_str(), "log-format" | "logformat");
        if !is_format && texts(&value).iter().any(|text| unresolved(text)) {
            plan.impossible(index, "a placeholder or variable in it has no value here: write the value");
        }
    }
}

fn application(plan: &mut Plan) {
    let callable = plan.last(&["callable"]);
    let attribute = callable.as_ref().map(|(_, value)| plain(value));
    let mut is_used = false;
    let mut named = |plan: &mut Plan, text: &str| -> Result<Application, String> {
        let is_file = text.contains('/') || text.ends_with(".py") || text.ends_with(".wsgi");
        let text = if is_file { module_of(text, &mut plan.start)? } else { text.to_owned() };
        is_used |= !text.contains(':');
        object(&text, attribute.as_deref())
    };
    if let Some((index, value)) = plan.last(&["module", "wsgi", "wsgi-file", "file"]) {
        match named(plan, &plain(&value)) {
            Ok(Application { spec, is_factory }) => {
                plan.becomes(index, "app", Value::Text(spec), "");
                if is_factory {
                    plan.adds("factory", Value::Bool(true), "the callable is called to get the application");
                }
            }
            Err(instead) => plan.impossible(index, &instead),
        }
    }
    for (index, value) in plan.all(&["mount", "worker-mount"]) {
        let text = plain(&value);
        let (prefix, app) = text.split_once('=').unwrap_or(("", &text));
        let prefix = prefix.trim_end_matches('/');
        match named(plan, app) {
            Ok(_) if !prefix.is_empty() && !prefix.starts_with('/') => {
                plan.impossible(index, "mounts are told by paths alone: one server for each host");
            }
            Ok(Application { is_factory: true, .. }) => {
                plan.impossible(
                    index,
                    "a mount is never called to get the application: name the application",
                );
            }
            Ok(Application { spec, .. }) if prefix.is_empty() => {
                plan.becomes(index, "app", Value::Text(spec), "")
            }
            Ok(Application { spec, .. }) => {
                plan.joins(index, "mount", format!("{prefix}={spec}"), "the prefix goes into SCRIPT_NAME");
            }
            Err(instead) => plan.impossible(index, &instead),
        }
    }
    if let Some((index, _)) = callable {
        match is_used {
            true => plan.is_part(index, "the ATTR of the application"),
            false => plan.not_needed(index, "the application is named with its callable"),
        }
    }
    if !plan.has("app") && !plan.has("mount") {
        plan.lacks("no application is named that can be imported: give app = \"MODULE:ATTR\"");
    }
}

fn listening(plan: &mut Plan) {
    let spoken = match plan.last(&["protocol", "socket-protocol"]) {
        Some((index, value)) => match scheme_of(&plain(&value)) {
            Some(scheme) => {
                plan.is_part(index, "what is spoken stands before the address");
                scheme
            }
            None => {
                plan.impossible(index, OTHER_PROTOCOL);
                "uwsgi://"
            }
        },
        None => "uwsgi://",
    };
    let shared: Vec<_> = plan.all(&["shared-socket", "undeferred-shared-socket"]);
    for (index, _) in &shared {
        plan.not_needed(*index, "bind names the address where another option had the number");
    }
    let names = [
        "socket",
        "uwsgi-socket",
        "http",
        "httprouter",
        "http-socket",
        "http11-socket",
        "scgi-socket",
        "fastcgi-socket",
    ];
    for (index, value) in plan.all(&names) {
        for text in texts(&value) {
            let by_number = text.strip_prefix('=').and_then(|number| number.parse::<usize>().ok());
            let text = match by_number.and_then(|number| shared.get(number)) {
                Some((_, value)) => plain(value),
                None => text,
            };
            // A router of uWSGI's may take its address and a backend's.
            let text = text.split(',').next().unwrap_or_default();
            let address = match text {
                text if text.starts_with("fd://") || text.contains(':') => text.to_owned(),
                text if text.starts_with('@') => {
                    plan.impossible(index, "a unix socket with a file, instead of an abstract one");
                    continue;
                }
                path => format!("unix:{path}"),
            };
            let scheme = match plan.name(index) {
                "socket" => spoken,
                "uwsgi-socket" => "uwsgi://",
                "scgi-socket" => "scgi://",
                "fastcgi-socket" => "fastcgi://",
                _ => "",
            };
            plan.joins(index, "bind", format!("{scheme}{address}"), "");
        }
    }
    if plan.start.chdir.is_some() {
        plan.remark("Relative paths, of sockets too, start at --chdir.");
    }
}

/// What stands before an address where this protocol is spoken.
fn scheme_of(protocol: &str) -> Option<&'static str> {
    match protocol {
        "http" => Some(""),
        "uwsgi" => Some("uwsgi://"),
        "scgi" => Some("scgi://"),
        "fastcgi" => Some("fastcgi://"),
        _ => None,
    }
}

/// The usual stuck-timeout.
const STUCK_TIMEOUT_S: u64 = 60;

fn running(plan: &mut Plan) {
    let mut threads = 1;
    if let Some((index, value)) = plan.last(&["gevent"]) {
        plan.becomes_read(index, "max-concurrency", number_or_none(&value), "");
        plan.adds("concurrency", Value::Text("greenlets".into()), "gevent");
        threads = 0;
        for (index, _) in plan.all(&["threads"]) {
            plan.not_needed(index, "with gevent there are greenlets instead");
        }
    } else if let Some((index, value)) = plan.last(&["threads"]) {
        threads = number_of(&value).unwrap_or(2);
        plan.becomes_read(index, "threads", number(&value), "");
    } else if plan.all(&["async"]).is_empty() {
        plan.adds(
            "threads",
            Value::Int(1),
            "one request at a time in each worker, as without the option threads",
        );
        plan.remark(
            "If the application is fit for threads, remove threads = 1: then calls that wait hold up nobody.",
        );
    }
    if let (1, Some((_, value))) = (threads, plan.last(&["harakiri"]))
        && let Ok(seconds @ STUCK_TIMEOUT_S..) = number_of(&value)
    {
        // A single thread that runs a call is stuck as well: first the call's own time is to be over.
        let stuck = Value::Text(shown_duration(seconds.saturating_mul(2_000)));
        plan.adds("stuck-timeout", stuck, "longer than harakiri");
    }
}

fn limits(plan: &mut Plan) {
    if let Some((index, value)) = plan.last(&["socket-timeout", "http-timeout"]) {
        plan.becomes_read(index, "body-timeout", seconds_or_off(&value), "and write-timeout");
        if let Ok(Some(value)) = seconds_or_none(&value) {
            plan.adds("write-timeout", value, "socket-timeout or http-timeout");
        }
    }
    if let Some((index, value)) = plan.last(&["http-keepalive"]) {
        match number_of(&value) {
            Ok(number) if number > 1 => plan.becomes_read(index, "keep-alive-timeout", seconds(&value), ""),
            _ => plan.not_needed(index, "connections are kept"),
        }
    }
    if let Some((index, value)) = plan.last(&["buffer-size"]) {
        match number_of(&value) {
            Ok(size) if size <= 16_384 => {
                plan.not_needed(index, "a line of a head may have 16 KiB, a head 64 KiB")
            }
            Ok(size) => {
                plan.becomes_read(index, "line-size-max", bytes(&value), "");
                if size > 65_536 {
                    plan.adds("head-size-max", Value::Int(size as i64), "buffer-size");
                }
            }
            Err(fault) => plan.impossible(index, &fault),
        }
    }
    if let Some((index, value)) = plan.last(&["post-buffering"]) {
        plan.becomes_read(index, "body-memory-max", bytes_from_4096(&value), "");
        plan.adds("request-buffering", Value::Text("on".into()), "post-buffering");
    }
}

/// Patterns of all paths.
const ALL_PATHS: [&str; 5] = ["/*", ".*", "/.*", "^/.*", "^.*"];

fn files(plan: &mut Plan) {
    let indexes = plan.all(&["static-index"]);
    let expires = plan.all(&["static-expires", "static-expires-uri", "static-expires-path-info"]);
    let max_age = expires.into_iter().find_map(|(given, value)| {
        let text = plain(&value);
        let (pattern, seconds) = text.split_once([' ', '='])?;
        let seconds = number_of(&Value::Text(seconds.to_owned())).ok()?;
        ALL_PATHS.contains(&pattern).then_some((given, seconds))
    });
    for (given, value) in plan.all(&["static-map", "static-map2", "check-static"]) {
        let text = plain(&value);
        let (prefix, directory) = match (plan.name(given), text.split_once('=')) {
            ("check-static", _) => ("/".to_owned(), text),
            ("static-map", Some((prefix, directory))) => (prefix.to_owned(), directory.to_owned()),
            // The prefix is a part of the path on the disk.
            ("static-map2", Some((prefix, directory))) => (
                prefix.to_owned(),
                format!("{}/{}", directory.trim_end_matches('/'), prefix.trim_matches('/')),
            ),
            _ => {
                plan.impossible(given, "not PREFIX=DIR");
                continue;
            }
        };
        let files = Files {
            prefix,
            directory,
            index: indexes.first().map(|(_, value)| plain(value)),
            max_age: max_age.map(|(_, seconds)| Value::Text(shown_duration(seconds.saturating_mul(1_000)))),
            falls_through: true,
        };
        files.serve(plan, given, "");
    }
    if !plan.has("static") {
        indexes.into_iter().for_each(|(given, _)| plan.not_needed(given, "it is said of static-map"));
        return;
    }
    plan.remark("Of the prefixes of static the longest that matches whole segments has the request, and not the first one.");
    match max_age {
        Some((given, _)) => plan.is_part(given, "the max-age of static"),
        None => plan.remark(KEPT),
    }
    for (place, (given, _)) in indexes.into_iter().enumerate() {
        match place {
            0 => plan.is_part(given, "the index of static"),
            _ => plan.impossible(given, "one index for each table of static"),
        }
    }
}

fn logs(plan: &mut Plan) {
    let disabled = plan.last(&["disable-logging"]);
    let is_disabled = disabled.as_ref().is_some_and(|(_, value)| !is_off(value));
    if let Some((index, _)) = disabled {
        plan.not_needed(index, "requests are logged where access-log says so, and only there");
    }
    let logger = plan.last(&["req-logger", "logger-req"]);
    let slow = plan.last(&["log-slow"]);
    let errors: Vec<_> = plan.all(&["log-4xx", "log-5xx"]);
    if let Some((index, value)) = &logger {
        let text = plain(value);
        // A logger may have a name in front of it.
        let text = text.split_once(' ').map_or(text.as_str(), |(_, logger)| logger);
        let target = match text.split_once(':').unwrap_or((text, "")) {
            ("file", path) => Some(path.to_owned()),
            ("stdio", _) => Some("-".to_owned()),
            ("syslog", _) => Some("syslog:".to_owned()),
            ("rsyslog", rest) => rest.split(',').next().map(|host| format!("syslog://{host}")),
            ("systemd", _) => Some("journald:".to_owned()),
            _ => None,
        };
        match target {
            Some(target) => plan.becomes(*index, "access-log", Value::Text(target), ""),
            None => plan.impossible(*index, "access-log goes to a file, standard output, syslog or the journal: a program there passes it on"),
        }
    } else if slow.is_some() || !errors.is_empty() || !is_disabled {
        plan.adds(
            "access-log",
            Value::Text("-".into()),
            "uWSGI logs requests unless disable-logging is given",
        );
    }
    if let Some((index, value)) = slow {
        plan.becomes_read(index, "access-log-slower-than", milliseconds(&value), "");
    }
    for (index, _) in errors.into_iter().filter(|(_, value)| !is_off(value)) {
        let least = if plan.name(index) == "log-4xx" { 400 } else { 500 };
        match plan.has("access-log-status-min") {
            true => plan.not_needed(index, "access-log-status-min is taken from elsewhere"),
            false => plan.becomes(index, "access-log-status-min", Value::Int(least), "and above"),
        }
    }
    if let Some((index, value)) = plan.last(&["log-format", "logformat"]) {
        match access_log_format(&plain(&value)) {
            Ok(format) => plan.becomes(index, "access-log-format", Value::Text(format), ""),
            Err(instead) => plan.impossible(index, &instead),
        }
    }
}

/// uWSGI's variables for lines of the log, and gunicorn's atoms for the same.
const ATOMS: &[(&str, &str)] = &[
    ("addr", "%(h)s"),
    ("user", "%(u)s"),
    ("ltime", "%(t)s"),
    ("method", "%(m)s"),
    ("uri", "%({REQUEST_URI}e)s"),
    ("proto", "%(H)s"),
    ("status", "%(s)s"),
    ("size", "%(B)s"),
    ("rsize", "%(B)s"),
    ("referer", "%(f)s"),
    ("uagent", "%(a)s"),
    ("host", "%({host}i)s"),
    ("msecs", "%(M)s"),
    ("micros", "%(D)s"),
    ("pid", "%(p)s"),
];

fn access_log_format(format: &str) -> Result<String, String> {
    // The request line is an atom of its own, and a time has its brackets.
    let format = format.replace("%(method) %(uri) %(proto)", "%(r)s").replace("[%(ltime)]", "%(ltime)");
    let mut made = String::new();
    let mut rest = format.as_str();
    while let Some((before, after)) = rest.split_once("%(") {
        let (name, behind) = after.split_once(')').ok_or("access-log-format: a parenthesis is not closed")?;
        made.push_str(before);
        if name == "r" && behind.starts_with('s') {
            made.push_str("%(r)");
        } else if let Some((_, atom)) = ATOMS.iter().find(|(variable, _)| *variable == name) {
            made.push_str(atom);
        } else {
            return Err(format!("access-log-format has no %({name}); its atoms are in docs/logging.md"));
        }
        rest = behind;
    }
    Ok(made + rest)
}
