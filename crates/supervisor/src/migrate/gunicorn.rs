//! gunicorn: its settings by their names (to 27.0), and what is decided by several of them together.

use std::path::Path;

use super::application::{Application, object};
use super::arguments::POSITIONAL;
use super::option::*;
use super::plan::Plan;
use crate::settings::Value;

const HOOK: &str = "there are no hooks: what each worker needs is done where the application's module is imported, or in ASGI's lifespan";
const FORK_HOOK: &str = "os.register_at_fork() in the application's module with preload; without it, the module is imported in each worker";
const END_HOOK: &str = "atexit in the application's module, or ASGI's lifespan";
const MASTER_HOOK: &str = "ExecStartPre=, ExecStartPost=, ExecReload= and ExecStopPost= of the systemd unit";
const REQUEST_HOOK: &str = "middleware in the application";
const STATSD: &str =
    "\"tidegate ctl status\" prints what the server knows, as JSON, and the access log what it did";
const DIRTY: &str = "a task queue (Celery, RQ, Huey) or a service of its own";
const PROXY_TRUST: &str =
    "trusted-proxies: of those, X-Forwarded-For and -Proto are believed; docs/proxies.md";
const STRICT: &str = "HTTP is read strictly, and that cannot be loosened: docs/http.md";
const SYSLOG: &str = "access-log = \"syslog:\" for requests; the server's own lines go to standard error, and to the journal under systemd";
const LOG_LINES: &str =
    "the server's own lines go to standard error: to the journal under systemd, or to a file by 2>>";
const HEARTBEAT: &str = "workers tell by a pair of sockets that they live; there is no file";

pub(super) static OPTIONS: &[Entry] = &[
    together(&[POSITIONAL, "wsgi_app"], "`app`, and `factory` where it is a call"),
    together(&["config"], "the file that is read").flags(&["-c"]),
    // Listening.
    together(&["bind"], "`bind`").flags(&["-b"]),
    becomes(&["backlog"], "backlog", number, ""),
    becomes(&["reuse_port"], "reuse-port", on, "").switch(),
    instead_unless(&["protocol"], &["http"], "only HTTP is spoken: nginx's proxy_pass in place of uwsgi_pass"),
    not_needed(&["uwsgi_allow_ips"], "the uwsgi protocol is not spoken").flags(&["--uwsgi-allow-from"]),
    // Processes.
    becomes(&["workers"], "workers", number, "").flags(&["-w"]),
    together(&["worker_class"], "`concurrency` and `interface`: sync and gthread are threads, gevent and eventlet greenlets, uvicorn's and asgi asyncio").flags(&["-k"]),
    together(&["threads"], "`threads`; with sync workers `threads = 1`, as an application that was never run on threads may not be fit for them"),
    together(&["worker_connections"], "with greenlets and asyncio `max-concurrency`, with threads `connections-max`"),
    together(&["max_requests"], "`max-requests`"),
    together(&["max_requests_jitter"], "`recycle-jitter`, in percent of the sum, which is then `max-requests`"),
    becomes(&["timeout"], "stuck-timeout", seconds_or_off, "for workers that handle no events, as there; what limits a request's time is request-timeout").flags(&["-t"]),
    becomes(&["graceful_timeout"], "graceful-timeout", seconds, ""),
    together(&["keepalive"], "`keep-alive-timeout`").flags(&["--keep-alive"]),
    becomes(&["preload_app"], "preload", on, "").switch().flags(&["--preload"]),
    start(&["chdir"], chdir, "--chdir"),
    start(&["raw_env"], variable, "environment variables").flags(&["-e", "--env"]),
    start(&["pythonpath"], python_path, "PYTHONPATH"),
    becomes(&["pidfile"], "pid-file", text, "").flags(&["-p", "--pid"]),
    becomes(&["user"], "user", text, "").flags(&["-u"]),
    becomes(&["group"], "group", text, "").flags(&["-g"]),
    not_needed(&["initgroups"], "the user's groups are taken, unless group names one").switch(),
    becomes(&["umask"], "umask", umask, "").flags(&["-m"]),
    instead(&["daemon"], "the server stays in the foreground, where systemd wants it").switch().flags(&["-D"]),
    instead(&["proc_name"], "processes keep their names; the pid file and \"tidegate ctl status\" tell whose they are").flags(&["-n", "--name"]),
    not_needed(&["default_proc_name"], "it is gunicorn's own"),
    not_needed(&["worker_tmp_dir"], HEARTBEAT),
    start(&["tmp_upload_dir"], temporary_directory, "TMPDIR, for bodies that are larger than body-memory-max"),
    becomes(&["reload"], "reload", on, "for development").switch(),
    not_needed(&["reload_engine"], "the system tells of changes"),
    becomes(&["reload_extra_files"], "reload-include", text, "").flags(&["--reload-extra-file"]),
    instead(&["spew"], "sys.settrace() in the application").switch(),
    not_needed(&["check_config"], "\"tidegate config check\" looks at the settings").switch(),
    not_needed(&["print_config"], "\"tidegate config show\" prints the settings").switch(),
    together(&["control_socket"], "`control-socket`, for \"tidegate ctl\""),
    not_needed(&["control_socket_mode"], "it is for root and the server's own user"),
    not_needed(&["control_socket_disable"], "there is none unless control-socket names one").switch().flags(&["--no-control-socket"]),
    // Limits and HTTP.
    together(&["limit_request_line", "limit_request_field_size"], "`line-size-max`, where it is more than 16 KiB").flags(&["--limit-request-field_size"]),
    becomes(&["limit_request_fields"], "field-count-max", number, ""),
    becomes(&["header_map"], "underscore-names", header_map, ""),
    instead_unless(&["forwarder_headers"], &["SCRIPT_NAME,PATH_INFO"], "no field of a request changes SCRIPT_NAME: script-name"),
    instead_unless(&["forwarded_allow_ips"], &["127.0.0.1,::1"], PROXY_TRUST),
    instead(&["secure_scheme_headers"], PROXY_TRUST),
    instead(&["proxy_protocol"], "bind = \"proxy+http://ADDRESS\", and trusted-proxies: docs/proxies.md").takes(Takes::AtMostOne),
    instead(&["proxy_allow_ips"], "trusted-proxies: they alone may connect where the PROXY protocol is spoken").flags(&["--proxy-allow-from"]),
    not_needed(&["http_parser"], "there is one"),
    not_needed(&["sendfile"], "wsgi.file_wrapper sends files by sendfile where the system can").switch(),
    instead(&["permit_obsolete_folding", "permit_unconventional_http_method", "permit_unconventional_http_version", "casefold_http_method", "strip_header_spaces"], STRICT).switch(),
    not_needed(&["http_protocols"], "HTTP/2 is spoken over TLS with clients that ask for it, unless `http = \"1\"`"),
    becomes(&["http2_cleartext"], "http", cleartext, ""),
    becomes(&["http2_initial_window_size"], "http2-window-size", bytes, ""),
    becomes(&["http2_max_concurrent_streams"], "http2-streams-max", number, ""),
    not_needed(&["http2_max_frame_size"], "frames are of the usual size"),
    not_needed(&["http2_max_header_list_size"], "head-size-max is for HTTP/2 too"),
    becomes(&["keyfile"], "keyfile", file, ""),
    becomes(&["certfile"], "certfile", file, ""),
    instead(&["ssl_context"], "certfile, certificates, tls-min-version and client-ca say all that there is to say"),
    not_needed(&["ssl_version", "ciphers"], "TLS 1.2 and 1.3 are spoken, and suites that are safe: tls-min-version, tls-ciphers"),
    together(&["cert_reqs", "ca_certs"], "`client-ca` and `client-auth`"),
    not_needed(&["suppress_ragged_eofs", "do_handshake_on_connect"], "handshakes wait for nobody, and ends without close_notify are told from others").switch(),
    // ASGI.
    together(&["asgi_loop"], "`loop`"),
    becomes(&["asgi_lifespan"], "lifespan", text, ""),
    not_needed(&["asgi_disconnect_grace_period"], "a task whose client has left goes on, unless cancel-on-disconnect says otherwise"),
    becomes(&["root_path"], "script-name", prefix, ""),
    becomes(&["websocket_max_message_size"], "websocket-message-size-max", bytes, ""),
    // Logs.
    becomes(&["accesslog"], "access-log", log_target, "").flags(&["--access-logfile"]),
    together(&["access_log_format"], "`access-log-format`").flags(&["--access-logformat"]),
    instead_unless(&["errorlog"], &["-"], LOG_LINES).flags(&["--error-logfile", "--log-file"]),
    becomes(&["loglevel"], "log-level", level, "").flags(&["--log-level"]),
    not_needed(&["capture_output"], "standard output and standard error are left alone").switch(),
    not_needed(&["enable_stdio_inheritance"], "standard output and standard error are left alone").switch().flags(&["-R"]),
    becomes(&["logconfig"], "log-config", text, "the loggers are tidegate.error and the application's").flags(&["--log-config"]),
    becomes(&["logconfig_json"], "log-config", text, "the file's name must end in .json").flags(&["--log-config-json"]),
    instead(&["logconfig_dict"], "logging.config.dictConfig() in the application's module, or log-config with the same as a .json file"),
    instead_unless(&["logger_class"], &["gunicorn.glogging.Logger"], "log-config, and logging.config in the application's module"),
    instead(&["syslog"], SYSLOG).switch().flags(&["--log-syslog"]),
    not_needed(&["syslog_addr"], "it is said of syslog; see access-log").flags(&["--log-syslog-to"]),
    not_needed(&["syslog_facility"], "it is said of syslog; see access-log").flags(&["--log-syslog-facility"]),
    not_needed(&["syslog_prefix"], "it is said of syslog; see access-log").flags(&["--log-syslog-prefix"]),
    not_needed(&["disable_redirect_access_to_syslog"], "access-log has one target").switch(),
    becomes(&["statsd_host"], "statsd-host", text, "the names are the same; of gunicorn's own there are those of requests and of workers"),
    becomes(&["statsd_prefix"], "statsd-prefix", text, ""),
    becomes(&["dogstatsd_tags"], "statsd-tags", text, ""),
    instead(&["enable_backlog_metric"], STATSD).switch(),
    // Hooks.
    instead(&["on_starting", "when_ready", "on_reload", "on_exit", "pre_exec", "nworkers_changed", "child_exit"], MASTER_HOOK),
    instead(&["pre_fork", "post_fork"], FORK_HOOK),
    instead(&["post_worker_init"], HOOK),
    instead(&["worker_int", "worker_abort", "worker_exit"], END_HOOK),
    instead(&["pre_request", "post_request"], REQUEST_HOOK),
    // What else gunicorn is.
    instead(&["paste"], "a module with the line \"application = paste.deploy.loadapp('config:/PATH')\", and its name as app").flags(&["--paster"]),
    not_needed(&["raw_paste_global_conf"], "it is said of paste").flags(&["--paste-global"]),
    instead(&["dirty_apps", "dirty_workers"], DIRTY).flags(&["--dirty-app"]),
    not_needed(&["dirty_graceful_timeout", "dirty_timeout", "dirty_threads", "dirty_post_fork", "dirty_worker_init", "dirty_worker_exit", "on_dirty_starting"], "it is said of dirty_apps"),
];

/// The file that gunicorn reads when none is named to us.
pub(super) fn config_file(given: &[Given], cwd: &Path) -> Option<String> {
    let named = given.iter().rev().find(|given| given.name == "config").map(|given| plain(&given.value));
    let usual = "gunicorn.conf.py";
    named.or_else(|| cwd.join(usual).exists().then(|| usual.to_owned()))
}

/// What a file's names say. `text` is the file, for the lines that they stand in.
pub(super) fn settings_of(file: &str, text: &str, names: Vec<(String, Value)>) -> Vec<Given> {
    let line_of = |name: &str| {
        let binds = |line: &str| {
            let rest = line.strip_prefix("def ").unwrap_or(line).strip_prefix(name);
            rest.is_some_and(|rest| rest.trim_start().starts_with(['=', ':', '(']))
        };
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().rposition(|line| binds(line))
    };
    let given = names.into_iter().map(|(name, value)| {
        let line = line_of(&name);
        let place = line.map_or_else(|| file.to_owned(), |line| format!("line {}", line + 1));
        (line, Given { name, value, place })
    });
    let mut given: Vec<_> = given.collect();
    given.sort_by_key(|(line, _)| line.unwrap_or(usize::MAX));
    given.into_iter().map(|(_, given)| given).collect()
}

fn cleartext(value: &Value) -> Reading {
    Ok((!is_off(value)).then(|| Value::Text("h2c".to_owned())))
}

pub(super) fn decide(plan: &mut Plan) {
    // None in the file.
    for (index, _, _) in plan.given().into_iter().filter(|(_, _, value)| *value == Value::Text(String::new()))
    {
        plan.not_needed(index, "it is not set");
    }
    if let Some((index, _)) = plan.last(&["config"]) {
        plan.is_part(index, "the file that is read");
    }
    application(plan);
    listening(plan);
    clients(plan);
    running(plan);
    limits(plan);
    if let Some((index, value)) = plan.last(&["access_log_format"]) {
        plan.becomes(index, "access-log-format", Value::Text(plain(&value)), "");
    } else if plan.all(&["accesslog"]).iter().any(|(_, value)| !is_off(value)) {
        plan.adds("access-log-format", Value::Text("combined".into()), "gunicorn's default");
    }
    let is_on = |plan: &Plan, name| plan.all(&[name]).into_iter().rfind(|(_, value)| !is_off(value));
    if let (Some((index, _)), Some(_)) = (is_on(plan, "reload"), is_on(plan, "preload_app")) {
        plan.impossible(index, "what is preloaded is not reloaded: leave one of them out");
    }
    plan.remark(
        "gunicorn takes the scheme from X-Forwarded-Proto of proxies at 127.0.0.1 (forwarded_allow_ips); here the application does: \
         werkzeug's ProxyFix, Django's SECURE_PROXY_SSL_HEADER.",
    );
}

fn application(plan: &mut Plan) {
    // What is typed wins over the file, and the first word is the application.
    let positional = plan.all(&[POSITIONAL]);
    for (index, _) in positional.iter().skip(1) {
        plan.not_needed(*index, "an application is named already");
    }
    let named = plan.last(&["wsgi_app"]);
    let found = match (positional.into_iter().next(), named) {
        (Some(typed), named) => {
            if let Some((index, _)) = named {
                plan.not_needed(index, "an application is typed");
            }
            Some(typed)
        }
        (None, named) => named.filter(|(_, value)| !is_off(value)),
    };
    let Some((index, value)) = found else {
        if plan.all(&["paste"]).is_empty() {
            plan.lacks(
                "no application is named: give it behind --, as gunicorn has it, or app = \"MODULE:ATTR\"",
            );
        }
        return;
    };
    match object(&plain(&value), None) {
        Ok(Application { spec, is_factory }) => {
            plan.becomes(index, "app", Value::Text(spec), "");
            if is_factory {
                plan.adds("factory", Value::Bool(true), "the function is called to get the application");
            }
        }
        Err(instead) => plan.impossible(index, &instead),
    }
}

/// Of the places that give addresses, the last one counts, with all that it gives.
fn listening(plan: &mut Plan) {
    let all = plan.all(&["bind"]);
    let Some(place) = all.last().map(|(index, _)| plan.place(*index).to_owned()) else {
        return;
    };
    for (index, value) in all {
        if plan.place(index) != place {
            plan.not_needed(index, "it is given again, and the last one counts");
            continue;
        }
        for text in texts(&value) {
            for address in text.split(',') {
                plan.joins(index, "bind", bind(address.trim()), "");
            }
        }
    }
}

/// Whom clients' certificates are to be signed by, and whether they must have one.
fn clients(plan: &mut Plan) {
    let (asks, authority) = (plan.last(&["cert_reqs"]), plan.last(&["ca_certs"]));
    // As Python's ssl module counts: none, optional, required.
    let word = asks.as_ref().map_or("none", |(_, value)| match number_of(value) {
        Ok(1) => "optional",
        Ok(2) => "required",
        _ => "none",
    });
    let authority = authority.filter(|(_, value)| matches!(file(value), Ok(Some(_))));
    match (asks, authority) {
        (Some((index, _)), Some((of_authority, path))) if word != "none" => {
            plan.becomes(of_authority, "client-ca", Value::Text(plain(&path)), "");
            plan.becomes(index, "client-auth", Value::Text(word.into()), "");
        }
        (asks, authority) => {
            for (index, _) in asks.into_iter().chain(authority) {
                plan.not_needed(index, "clients are asked for nothing, without both cert_reqs and ca_certs");
            }
        }
    }
}

/// A path, or nothing.
fn file(value: &Value) -> Reading {
    match plain(value).as_str() {
        "" | "None" => Ok(None),
        path => Ok(Some(Value::Text(path.to_owned()))),
    }
}

fn bind(text: &str) -> String {
    match text.strip_prefix("unix:") {
        Some(path) => format!("unix:{}", path.strip_prefix("//").unwrap_or(path)),
        None => text.strip_prefix("tcp://").unwrap_or(text).to_owned(),
    }
}

fn running(plan: &mut Plan) {
    let class = plan.last(&["worker_class"]);
    let threads = plan.last(&["threads"]);
    let connections = plan.last(&["worker_connections"]);
    let name = class.as_ref().map_or_else(|| "sync".to_owned(), |(_, value)| plain(value));
    let mut limit = "connections-max";
    let concurrency = match name.rsplit(['.', ':']).next().unwrap_or_default() {
        "sync" | "SyncWorker" | "gthread" | "ThreadWorker" => "threads",
        "gevent" | "gevent_wsgi" | "gevent_pywsgi" | "eventlet" | "GeventWorker" | "GGeventWorker"
        | "EventletWorker" => "greenlets",
        "asgi" | "ASGIWorker" | "UvicornWorker" | "UvicornH11Worker" => "asyncio",
        _ => {
            if let Some((index, _)) = class {
                plan.impossible(index, "workers run threads, greenlets or asyncio: concurrency");
            }
            return;
        }
    };
    if let Some((index, _)) = class {
        plan.becomes(index, "concurrency", Value::Text(concurrency.into()), "");
    }
    if concurrency != "threads" {
        limit = "max-concurrency";
    }
    if concurrency == "asyncio" {
        plan.adds("interface", Value::Text("asgi".into()), &name);
        if name.ends_with("UvicornH11Worker") {
            plan.adds("loop", Value::Text("asyncio".into()), &name);
        }
    }
    match (concurrency, threads) {
        ("threads", Some((index, value))) => plan.becomes_read(index, "threads", number(&value), ""),
        ("threads", None) => {
            plan.adds(
                "threads",
                Value::Int(1),
                "one request at a time in each worker, as without the setting threads",
            );
        }
        (_, Some((index, _))) => plan.not_needed(index, "these workers have no pool of threads"),
        (_, None) => {}
    }
    if plan.is("threads", &Value::Int(1)) {
        plan.remark(
            "If the application is fit for threads, remove threads = 1: then calls that wait hold up nobody.",
        );
    }
    if let Some((index, value)) = connections {
        plan.becomes_read(index, limit, number_or_none(&value), "");
    }
    if let Some((index, value)) = plan.last(&["asgi_loop"]) {
        plan.becomes_read(index, "loop", text(&value), "");
    }
}

fn limits(plan: &mut Plan) {
    let most = plan.last(&["max_requests"]);
    let jitter = plan.last(&["max_requests_jitter"]);
    if let Some((index, value)) = most {
        let number = number_of(&value).unwrap_or(0);
        let extra = jitter.as_ref().and_then(|(_, value)| number_of(value).ok()).unwrap_or(0);
        let sum = number.saturating_add(extra);
        match (number, &jitter) {
            (0, _) => plan.becomes_read(index, "max-requests", number_or_none(&value), ""),
            (_, Some((jitter, _))) if extra > 0 => {
                plan.becomes_read(
                    index,
                    "max-requests",
                    number_or_none(&Value::Int(sum as i64)),
                    "with its jitter",
                );
                // Each worker's limit is lower by up to so much, where gunicorn's is higher.
                let percent = (extra.saturating_mul(100)).div_ceil(sum);
                plan.becomes(*jitter, "recycle-jitter", Value::Int(percent as i64), "percent, downwards");
            }
            _ => plan.becomes_read(
                index,
                "max-requests",
                number_or_none(&value),
                "workers differ by recycle-jitter, 10%",
            ),
        }
    }
    if let Some((index, _)) = jitter.filter(|(index, _)| !plan.is_decided(*index)) {
        plan.not_needed(index, "without max_requests it means nothing");
    }
    if let Some((index, value)) = plan.last(&["keepalive"]) {
        match is_off(&value) {
            true => plan.impossible(index, "connections are always kept: a short keep-alive-timeout, or Connection: close from the proxy"),
            false => plan.becomes_read(index, "keep-alive-timeout", seconds(&value), "longer than the proxy keeps its connections is better"),
        }
    }
    for name in ["limit_request_line", "limit_request_field_size"] {
        if let Some((index, value)) = plan.last(&[name]) {
            match number_of(&value) {
                // 0 is no limit there.
                Ok(0) => plan.becomes(
                    index,
                    "line-size-max",
                    Value::Text("64KiB".into()),
                    "a head's size has a limit too",
                ),
                Ok(..=16_384) => plan.not_needed(index, "lines of a head may have 16 KiB (line-size-max)"),
                Ok(_) => plan.becomes_read(index, "line-size-max", bytes(&value), ""),
                Err(fault) => plan.impossible(index, &fault),
            }
        }
    }
    if let Some((index, value)) = plan.last(&["control_socket"]) {
        plan.becomes(index, "control-socket", Value::Text(plain(&value)), "");
    }
}

/// Directories with commas between them.
fn python_path(start: &mut Start, value: &Value) -> Result<(), String> {
    start.python_path.extend(plain(value).split(',').map(|path| path.trim().to_owned()));
    Ok(())
}

fn temporary_directory(start: &mut Start, value: &Value) -> Result<(), String> {
    start.variables.push(("TMPDIR".to_owned(), plain(value)));
    Ok(())
}

/// On the command line, 022 is octal and 18 is decimal.
fn umask(value: &Value) -> Reading {
    match value {
        Value::Text(text) if !text.starts_with('0') => {
            octal(&Value::Int(text.parse().map_err(|_| "not a mode".to_owned())?))
        }
        value => octal(value),
    }
}

fn log_target(value: &Value) -> Reading {
    if is_off(value) { Ok(None) } else { text(value) }
}

fn prefix(value: &Value) -> Reading {
    Ok((!is_off(value)).then(|| Value::Text(plain(value).trim_end_matches('/').to_owned())))
}

fn header_map(value: &Value) -> Reading {
    match plain(value).as_str() {
        "drop" => Ok(None),
        "refuse" => Ok(Some(Value::Text("refuse".into()))),
        _ => Ok(Some(Value::Text("keep".into()))),
    }
}
