//! mod_wsgi-express: its options by their names (4.x to 6.1), and what is decided by several of them together.

use super::application::{Application, module_of, object};
use super::arguments::POSITIONAL;
use super::files::{Files, KEPT, from_start};
use super::option::*;
use super::plan::Plan;
use crate::settings::Value;

const TLS: &str =
    "bind = [\"https://:443\"] with certfile and keyfile (docs/tls.md), or TLS ended by a proxy in front";
const OF_TLS: &str = "it is said of TLS: keyfile, client-ca, client-auth and hsts are its settings here";
const APACHE: &str = "there is no Apache: nginx, HAProxy or Apache's mod_proxy_http in front has what it did";
const FILES: &str = "an application, and static for the files, or nginx alone";
const HOSTS: &str = "the proxy in front chooses by the host (nginx: server_name)";
const ERRORS: &str = "error_page of the proxy in front, or the application";
const AUTH: &str = "auth_request of nginx, or middleware in the application";
const PROXIED: &str = "trusted-proxies: of those, X-Forwarded-For and -Proto are believed; docs/proxies.md";
const SERVICE: &str = "a systemd unit of its own";
const DEBUG: &str = "a tool for the application: coverage, cProfile or pdb with --no-supervisor --threads 1";
const DAEMON: &str = "workers read requests themselves, without a process between";
const METRICS: &str = "\"tidegate ctl status\" prints what the server knows, as JSON";
const LOG_FILES: &str =
    "the server's own lines go to standard error: to the journal under systemd, or to a file by 2>>";
const GENERATED: &str = "nothing is generated";

pub(super) static OPTIONS: &[Entry] = &[
    together(&[POSITIONAL, "entry-point"], "`app`: MODULE:ATTR, a file as the module that it is"),
    together(&["application-type"], "how the entry point is read: script or module"),
    together(&["callable-object"], "the ATTR of `app`"),
    together(&["mount-point"], "`script-name`"),
    start(&["working-directory"], chdir, "--chdir"),
    start(&["python-path"], python_path, "PYTHONPATH"),
    instead(&["setenv"], "a variable of the process (Environment= of the systemd unit) is in os.environ; middleware puts into environ what must be there").takes(Takes::Two),
    not_needed(&["passenv"], "the environment that the server is started in is there"),
    start(&["locale", "lang"], locale, "LC_ALL"),
    start(&["python-warnings"], warnings, "PYTHONWARNINGS"),
    instead(&["envvars-script"], "EnvironmentFile= of the systemd unit"),
    not_needed(&["application-group", "process-group", "python-eggs", "socket-prefix"], "there always is one interpreter in a worker"),
    not_needed(&["orphan-interpreter", "embedded-mode"], "there always is one interpreter in a worker").switch(),
    instead(&["switch-interval"], "sys.setswitchinterval() in the application's module"),
    not_needed(&["free-threading"], "a free-threaded Python is asked for by installing tidegate in one").switch(),
    // Listening.
    together(&["host", "port"], "`bind`; without a host all addresses, and port 8000"),
    instead(&["https-port", "ssl-port", "ssl-certificate-file", "ssl-certificate"], TLS),
    not_needed(&["ssl-certificate-key-file", "ssl-ca-certificate-file", "ssl-verify-client", "ssl-certificate-chain-file", "hsts-policy"], OF_TLS),
    not_needed(&["ssl-environment", "https-only"], OF_TLS).switch(),
    not_needed(&["http2"], "HTTP/2 is spoken over TLS with clients that ask for it").switch(),
    instead(&["server-name", "server-alias"], HOSTS),
    not_needed(&["allow-localhost"], "it is said of server-name").switch(),
    becomes(&["server-backlog"], "backlog", number, ""),
    becomes(&["max-clients"], "connections-max", number_or_none, "in each worker"),
    becomes(&["keep-alive-timeout"], "keep-alive-timeout", seconds_or_none, "longer than the proxy keeps its connections is better"),
    // Processes.
    becomes(&["processes"], "workers", number, ""),
    together(&["threads"], "`threads`; without it 5, as there"),
    becomes(&["maximum-requests"], "max-requests", number_or_none, "workers differ by recycle-jitter, 10%"),
    becomes(&["restart-interval"], "max-lifetime", seconds_or_none, ""),
    instead(&["cpu-time-limit"], "max-lifetime, max-requests and max-rss replace workers"),
    becomes(&["startup-timeout"], "start-timeout", seconds_or_none, ""),
    becomes(&["graceful-timeout", "shutdown-timeout"], "graceful-timeout", seconds, ""),
    not_needed(&["eviction-timeout"], "graceful-timeout holds for every worker that leaves"),
    becomes(&["deadlock-timeout"], "stuck-timeout", seconds_or_off, "for a worker whose interpreter cannot be entered, or that handles no events"),
    instead(&["inactivity-timeout"], "a systemd socket unit starts the server at the first connection; idle threads end by thread-idle-timeout"),
    not_needed(&["ignore-activity"], "it is said of inactivity-timeout"),
    becomes(&["request-timeout"], "request-timeout", seconds_or_off, "of each request, which is answered with 504 and interrupted; there all of a process on average, which is restarted"),
    not_needed(&["interrupt-timeout"], "tidegate.RequestTimeout is raised in a request when request-timeout passes"),
    becomes(&["user"], "user", text, ""),
    becomes(&["group"], "group", text, ""),
    becomes(&["pid-file"], "pid-file", text, ""),
    instead(&["process-name"], "processes keep their names; the pid file and \"tidegate ctl status\" tell whose they are"),
    not_needed(&["minimum-spare-workers", "maximum-spare-workers", "initial-workers", "server-mpm"], DAEMON),
    not_needed(&["disable-reloading"], "files are watched only with reload").switch(),
    becomes(&["reload-on-changes"], "reload", on, "for development").switch(),
    // Times and sizes.
    becomes(&["limit-request-body"], "body-size-max", bytes_or_unlimited, ""),
    together(&["header-timeout", "header-max-timeout"], "`head-timeout`: one deadline, the later of the two"),
    not_needed(&["header-min-rate"], "a head has one deadline"),
    becomes(&["body-timeout"], "body-timeout", seconds_or_off, ""),
    becomes(&["body-min-rate"], "body-rate-min", bytes, ""),
    not_needed(&["body-max-timeout"], "body-timeout is given back by what arrives, and 0 for body-rate-min makes it the whole time"),
    becomes(&["socket-timeout", "response-socket-timeout"], "write-timeout", seconds_or_none, ""),
    becomes(&["queue-timeout"], "queue-timeout", seconds_or_none, ""),
    not_needed(&["connect-timeout", "proxy-timeout", "daemon-backlog", "send-buffer-size", "receive-buffer-size", "header-buffer-size", "response-buffer-size", "response-flush-delay"], DAEMON),
    // HTTP.
    not_needed(&["enable-sendfile"], "wsgi.file_wrapper sends files by sendfile where the system can").switch(),
    not_needed(&["chunked-request"], "chunked requests are taken").switch(),
    not_needed(&["map-head-to-get"], "HEAD reaches the application as it is, and no body goes out"),
    instead(&["compress-responses"], "the proxy in front (nginx: gzip), or the framework's middleware").switch(),
    instead(&["trust-proxy-header", "trust-proxy"], PROXIED),
    together(&["document-root"], "`static` for `/`, with fallthrough: what is no file is for the application"),
    together(&["directory-index"], "the `index` of that; without it none"),
    instead(&["allow-override"], "there are no .htaccess files: what they say, the proxy in front can"),
    instead(&["directory-listing"], "there are no listings: the proxy in front (nginx: autoindex)").switch(),
    together(&["url-alias"], "`static`").takes(Takes::Two),
    instead(&["error-document"], ERRORS).takes(Takes::Two),
    instead(&["error-override"], ERRORS).switch(),
    instead(&["proxy-mount-point", "proxy-url-alias", "proxy-virtual-host"], APACHE).takes(Takes::Two),
    instead(&["host-access-script", "auth-user-script", "auth-group-script"], AUTH),
    not_needed(&["auth-type", "auth-group"], "it is said of auth-user-script"),
    instead(&["include-file", "rewrite-rules"], APACHE),
    instead(&["add-handler"], APACHE).takes(Takes::Two),
    instead(&["with-php5", "with-cgi"], APACHE).switch(),
    // Logs.
    together(&["access-log"], "`access-log`").switch(),
    together(&["log-directory", "access-log-name"], "the path of `access-log`"),
    becomes(&["access-log-format"], "access-log-format", access_log_format, ""),
    becomes(&["log-level"], "log-level", level, ""),
    together(&["log-to-terminal"], "`access-log = \"-\"`, with access-log").switch(),
    instead(&["error-log-format", "error-log-name"], LOG_FILES),
    not_needed(&["startup-log"], "what goes wrong at the start stands on standard error").switch(),
    not_needed(&["startup-log-name"], "what goes wrong at the start stands on standard error"),
    instead(&["rotate-logs"], "logrotate, with USR1 to the supervisor in postrotate").switch(),
    not_needed(&["max-log-size", "rotatelogs-executable"], "it is said of rotate-logs"),
    instead(&["verbose-debugging"], "log-level = \"debug\"").switch(),
    // What else mod_wsgi-express is.
    instead(&["service-script"], SERVICE).takes(Takes::Two),
    not_needed(&["service-user", "service-group", "service-log-file"], "it is said of service-script").takes(Takes::Two),
    instead(&["server-metrics", "server-status", "enable-telemetry"], METRICS).switch(),
    instead(&["telemetry-service", "slow-requests"], METRICS),
    not_needed(&["telemetry-interval", "telemetry-ui-port", "telemetry-options"], "it is said of telemetry"),
    instead(&["with-newrelic", "with-newrelic-agent", "with-newrelic-platform"], "newrelic-admin run-program tidegate").switch(),
    not_needed(&["newrelic-config-file", "newrelic-environment"], "it is said of New Relic: NEW_RELIC_CONFIG_FILE"),
    not_needed(&["server-root", "shell-executable", "httpd-executable", "modules-directory", "mime-types"], GENERATED),
    not_needed(&["setup-only"], GENERATED).switch(),
    not_needed(&["enable-docs"], "the documentation is in docs/").switch(),
    instead(&["debug-mode", "enable-debugger", "debugger-startup", "enable-coverage", "enable-profiler", "enable-recorder", "enable-gdb"], DEBUG).switch(),
    not_needed(&["coverage-directory", "profiler-directory", "recorder-directory", "gdb-executable"], "it is said of debugging"),
    not_needed(&["version", "help"], "a question, no setting").switch(),
];

pub(super) fn decide(plan: &mut Plan) {
    if let Some((index, value)) = plan.last(&["working-directory"]) {
        plan.start.chdir = Some(plain(&value));
        plan.is_part(index, "how it is started, see below (--chdir)");
    }
    application(plan);
    listening(plan);
    match plan.last(&["threads"]) {
        Some((index, value)) => plan.becomes_read(index, "threads", number(&value), ""),
        None => plan.adds("threads", Value::Int(5), "mod_wsgi-express's default"),
    }
    if let Some((index, value)) = plan.last(&["mount-point"]) {
        match plain(&value).trim_end_matches('/') {
            "" => plan.not_needed(index, "it is so anyway"),
            prefix => plan.becomes(index, "script-name", Value::Text(prefix.to_owned()), ""),
        }
    }
    files(plan);
    head_timeout(plan);
    access_log(plan);
}

fn application(plan: &mut Plan) {
    let kind = plan.last(&["application-type"]);
    let kind_name = kind.as_ref().map_or_else(|| "script".to_owned(), |(_, value)| plain(value));
    let callable = plan.last(&["callable-object"]);
    let attribute = callable.as_ref().map(|(_, value)| plain(value));
    for (index, _) in callable.into_iter().chain(kind) {
        plan.is_part(index, "how the entry point is read");
    }
    // "start-server" and its like are the commands of mod_wsgi-express.
    let mut found = None;
    for (index, value) in plan.all(&[POSITIONAL]) {
        match plain(&value).as_str() {
            "mod_wsgi-express" | "start-server" | "setup-server" => {
                plan.not_needed(index, "a command, no setting")
            }
            _ if found.is_none() => found = Some((index, value)),
            _ => plan.not_needed(index, "an entry point is named already"),
        }
    }
    if let Some(named) = plan.last(&["entry-point"])
        && let Some((index, _)) = found.replace(named)
    {
        plan.not_needed(index, "entry-point takes precedence");
    }
    let Some((index, value)) = found else {
        plan.lacks("no application is named: give app = \"MODULE:ATTR\"");
        return;
    };
    let text = plain(&value);
    let module = match kind_name.as_str() {
        "module" => Ok(text),
        "script" => module_of(&text, &mut plan.start),
        "static" => Err(FILES.to_owned()),
        _ => Err("a module with the line \"application = paste.deploy.loadapp('config:/PATH')\", and its name as app".to_owned()),
    };
    match module.and_then(|module| object(&module, attribute.as_deref())) {
        Ok(Application { spec, .. }) => plan.becomes(index, "app", Value::Text(spec), ""),
        Err(instead) => plan.impossible(index, &instead),
    }
}

fn listening(plan: &mut Plan) {
    let (host, port) = (plan.last(&["host"]), plan.last(&["port"]));
    let text = |given: &Option<(usize, Value)>, default: &str| {
        given.as_ref().map_or_else(|| default.to_owned(), |(_, value)| plain(value))
    };
    let (name, number) = (text(&host, ""), text(&port, "8000"));
    let address = if name.contains(':') { format!("[{name}]:{number}") } else { format!("{name}:{number}") };
    let given: Vec<_> = [host, port].into_iter().flatten().collect();
    if given.is_empty() {
        plan.adds("bind", Value::List(vec![Value::Text(address)]), "mod_wsgi-express's default");
        return;
    }
    for (index, _) in given {
        plan.joins(index, "bind", address.clone(), "");
    }
}

fn files(plan: &mut Plan) {
    for (given, value) in plan.all(&["url-alias"]) {
        let texts = texts(&value);
        let [prefix, directory] = &texts[..] else { continue };
        let files = Files {
            prefix: prefix.clone(),
            directory: from_start(plan, directory),
            index: Some("index.html".to_owned()),
            max_age: None,
            falls_through: false,
        };
        files.serve(plan, given, "");
    }
    let index = plan.last(&["directory-index"]);
    match plan.last(&["document-root"]) {
        Some((given, value)) => {
            if let Some((index, _)) = &index {
                plan.is_part(*index, "the index of static");
            }
            let files = Files {
                prefix: "/".to_owned(),
                directory: from_start(plan, &plain(&value)),
                index: index.map(|(_, value)| plain(&value)),
                max_age: None,
                falls_through: true,
            };
            files.serve(plan, given, "");
        }
        None => {
            index.into_iter().for_each(|(index, _)| plan.not_needed(index, "it is said of document-root"))
        }
    }
    if plan.has("static") {
        plan.remark(KEPT);
    }
}

fn head_timeout(plan: &mut Plan) {
    let given: Vec<_> =
        ["header-timeout", "header-max-timeout"].iter().filter_map(|name| plan.last(&[name])).collect();
    let latest = given.iter().filter_map(|(_, value)| number_of(value).ok()).max().unwrap_or(0);
    for (index, _) in given {
        plan.becomes_read(
            index,
            "head-timeout",
            seconds_or_none(&Value::Text(latest.to_string())),
            "the later of the two",
        );
    }
}

fn access_log(plan: &mut Plan) {
    let directory = plan.last(&["log-directory"]);
    let name = plan.last(&["access-log-name"]);
    let terminal = plan.last(&["log-to-terminal"]);
    let Some((index, _)) = plan.last(&["access-log"]) else {
        for (index, _) in directory.into_iter().chain(name).chain(terminal) {
            plan.not_needed(
                index,
                "the server's own lines go to standard error, and requests are not logged without access-log",
            );
        }
        return;
    };
    let target = match &directory {
        Some((_, directory)) if terminal.is_none() => {
            let name = name.as_ref().map_or_else(|| "access_log".to_owned(), |(_, value)| plain(value));
            format!("{}/{name}", plain(directory).trim_end_matches('/'))
        }
        _ => "-".to_owned(),
    };
    plan.becomes(index, "access-log", Value::Text(target), "");
    for (index, _) in directory.into_iter().chain(name).chain(terminal) {
        plan.is_part(index, "where access-log goes");
    }
}

/// Apache's names for the usual formats; its percent signs are others than ours.
fn access_log_format(value: &Value) -> Reading {
    match plain(value).as_str() {
        name @ ("common" | "combined") => Ok(Some(Value::Text(name.to_owned()))),
        _ => Err(
            "access-log-format takes common, combined, json, or a format with the atoms of docs/logging.md"
                .to_owned(),
        ),
    }
}

fn python_path(start: &mut Start, value: &Value) -> Result<(), String> {
    start.python_path.extend(texts(value));
    Ok(())
}

fn locale(start: &mut Start, value: &Value) -> Result<(), String> {
    start.variables.push(("LC_ALL".to_owned(), plain(value)));
    Ok(())
}

fn warnings(start: &mut Start, value: &Value) -> Result<(), String> {
    start.variables.push(("PYTHONWARNINGS".to_owned(), plain(value)));
    Ok(())
}
