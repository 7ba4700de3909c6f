//! uWSGI: its options by the names of `uwsgi --help` (2.0), and what is decided by several of them together.

use super::application::{Application, module_of, object};
use super::ini::unresolved;
use super::option::*;
use super::plan::Plan;
use crate::settings::Value;

const APPLICATION: &str = "`app`: MODULE:ATTR, a file as the module that it is";
const SOCKET: &str = "`bind`, where HTTP is spoken then: change the proxy's `uwsgi_pass` to `proxy_pass`";
const OTHER_PROTOCOL: &str =
    "only HTTP is spoken: have the proxy speak it (proxy_pass), and give the address as bind";
const TLS: &str = "TLS is not spoken: end it in the proxy in front";
const PROXY: &str = "there is no proxy beside the server: nginx or HAProxy in front";
const STATIC: &str =
    "files are served by the proxy in front (nginx: location and alias), or in the application by WhiteNoise";
const CHEAPER: &str = "the number of workers changes by TTIN, TTOU and \"tidegate ctl workers N\" only; threads and greenlets start as calls wait";
const EMPEROR: &str =
    "one systemd unit for each application: a template unit, tidegate@.service, does what vassals are for";
const UWSGI_API: &str =
    "the module uwsgi does not exist here: a task queue (Celery, RQ, Huey) or a service of its own";
const CACHE: &str = "the module uwsgi does not exist here: Redis, memcached, or the framework's cache";
const CRON: &str = "a systemd timer or cron";
const DAEMON: &str = "a systemd unit of its own";
const HOOK: &str = "ExecStartPre=, ExecStartPost= and ExecStopPost= of the systemd unit, or code in the application's module";
const JAIL: &str = "systemd's sandbox (RootDirectory=, PrivateTmp=, ProtectSystem=), or a container";
const LEGION: &str =
    "replicas behind a load balancer, and what decides about one leader: the orchestrator, or keepalived";
const METRICS: &str = "\"tidegate ctl status\" prints what the server knows, as JSON";
const ROUTING: &str = "the proxy in front rewrites and routes; or middleware in the application";
const OTHER_LANGUAGE: &str = "only Python applications are served";
const LOG_FILE: &str =
    "the server's own lines go to standard error: to the journal under systemd, or to a file by 2>>";
const LOG_FORM: &str = "the journal and access-log-format have their own";
const TOUCH: &str = "\"systemctl reload\", HUP to the supervisor, or \"tidegate ctl reload\"; a path unit of systemd's where it must be a file";
const AFTER_REQUEST: &str = "middleware in the application";
const INSPECTION: &str = "a command for the shell, no setting of a server";
const RELOADS_LESS: &str = "max-rss and max-requests replace workers before they hurt";
const HEADERS: &str =
    "the proxy in front (nginx: add_header, proxy_hide_header), or middleware in the application";
const WEBSOCKETS: &str = "uwsgi.websocket_handshake() does not exist here: WebSockets are for ASGI applications, see docs/websockets.md";
const ONE_INTERPRETER: &str = "there always is one interpreter in a worker, with threads";
const ALWAYS: &str = "it is always so";
const PROCESS_NAME: &str =
    "processes keep their names; the pid file and \"tidegate ctl status\" tell whose they are";
const ASYNC: &str = "concurrency = \"greenlets\" (gevent) or \"asyncio\": see docs/concurrency.md";

/// What goes with proxy_pass; docs/deploy.md says why.
const NGINX: &str = "
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;";

pub(super) static OPTIONS: &[Entry] = &[
    // The application.
    together(&["module", "wsgi", "wsgi-file", "file"], APPLICATION),
    together(&["callable"], "the ATTR of `app` and `mount`; without it `application`"),
    together(
        &["mount", "worker-mount"],
        "`mount`: the prefix goes into SCRIPT_NAME, as with manage-script-name",
    ),
    not_needed(
        &["manage-script-name"],
        "a mount's prefix always goes into SCRIPT_NAME; without mounts see script-name",
    ),
    not_needed(&["no-default-app"], "what is below no mount is a 404 where no app is named"),
    not_needed(&["need-app"], "without an application the server never starts"),
    not_needed(&["single-interpreter"], ONE_INTERPRETER),
    not_needed(&["enable-threads"], ONE_INTERPRETER),
    not_needed(&["lazy", "lazy-apps"], "each worker loads the application, unless preload says otherwise"),
    start(&["chdir", "force-cwd"], chdir, "--chdir"),
    instead(&["chdir2"], "os.chdir() in the application's module"),
    start(
        &["virtualenv", "venv", "home", "pyhome"],
        virtualenv,
        "install tidegate there: its python is what runs",
    ),
    start(&["pythonpath", "python-path", "pp"], python_path, "PYTHONPATH"),
    start(&["env"], variable, "an environment variable"),
    instead(&["unenv"], "UnsetEnvironment= of the systemd unit"),
    instead(&["envdir", "early-envdir"], "EnvironmentFile= of the systemd unit"),
    instead(&["eval"], "write the code to a module, and name it as app"),
    instead(
        &["pyargv"],
        "sys.argv is the server's own: a variable (env) tells the application what it needs",
    ),
    instead(
        &["paste", "ini-paste", "ini-paste-logged", "paste-logger", "pecan"],
        "a module with the line \"application = paste.deploy.loadapp('config:/PATH')\", and its name as app",
    ),
    instead(&["web3", "pump", "wsgi-lite"], "only WSGI and ASGI are spoken"),
    instead(
        &[
            "import",
            "pyimport",
            "py-import",
            "python-import",
            "shared-import",
            "shared-pyimport",
            "shared-py-import",
            "shared-python-import",
        ],
        "import it in the application's module",
    ),
    instead(&["pymodule-alias", "post-pymodule-alias"], "sys.modules in the application's module"),
    instead(&["optimize"], "PYTHONOPTIMIZE in the environment of the server"),
    instead(
        &["no-site", "py-programname", "py-program-name", "py-executable", "py-sys-executable"],
        "the server runs in the python that it is installed in",
    ),
    instead(
        &["python-raw", "python-worker-override", "worker-exec", "worker-exec2", "loop"],
        "workers serve WSGI and ASGI applications and nothing else",
    ),
    instead(&["python", "py", "pyrun", "pyshell", "pyshell-oneshot", "test"], INSPECTION),
    not_needed(
        &[
            "reload-os-env",
            "wsgi-env-behaviour",
            "wsgi-env-behavior",
            "py-call-osafterfork",
            "py-call-uwsgi-fork-hooks",
            "python-version",
        ],
        "what it works around does not occur here",
    ),
    not_needed(&["wsgi-strict"], "the whole of PEP 3333 is kept to"),
    not_needed(
        &["wsgi-accept-buffer", "wsgi-accept-buffers"],
        "WSGI applications give bytes; what is no bytes is an error in the log",
    ),
    instead(
        &["wsgi-disable-file-wrapper"],
        "wsgi.file_wrapper is always offered; an application need not use it",
    ),
    not_needed(&["start_response-nodelay"], "the head goes out with the first block, as PEP 3333 has it"),
    instead(&["py-tracebacker"], "\"tidegate ctl stacks\" prints what all threads are at"),
    becomes(
        &["py-auto-reload", "py-autoreload", "python-auto-reload", "python-autoreload"],
        "reload",
        on,
        "for development",
    ),
    instead(&["py-auto-reload-ignore"], "reload-exclude takes patterns of files"),
    instead(&["py-sharedarea", "sharedarea"], "multiprocessing.shared_memory"),
    // Listening.
    together(&["socket", "uwsgi-socket"], SOCKET),
    together(&["http", "httprouter", "http-socket", "http11-socket"], "`bind`"),
    together(&["protocol", "socket-protocol"], "with `http`, the sockets spoke HTTP before"),
    together(
        &["shared-socket", "undeferred-shared-socket"],
        "`bind`, where another option names the socket by its number",
    ),
    instead(
        &[
            "suwsgi-socket",
            "ssl-socket",
            "https-socket",
            "https",
            "https2",
            "http-to-https",
            "https-*",
            "ssl-*",
            "sni",
            "sni-*",
        ],
        TLS,
    ),
    instead(
        &[
            "fastcgi-socket",
            "fastcgi-nph-socket",
            "scgi-socket",
            "scgi-nph-socket",
            "raw-socket",
            "puwsgi-socket",
            "udp",
        ],
        OTHER_PROTOCOL,
    ),
    instead(
        &[
            "http-socket-modifier1",
            "http-socket-modifier2",
            "https-socket-modifier1",
            "https-socket-modifier2",
            "fastcgi-modifier1",
            "fastcgi-modifier2",
            "scgi-modifier1",
            "scgi-modifier2",
            "raw-modifier1",
            "raw-modifier2",
            "http-modifier1",
            "http-modifier2",
            "allowed-modifiers",
            "remap-modifier",
        ],
        OTHER_LANGUAGE,
    ),
    instead(&["map-socket"], "all workers accept from all addresses: a server of its own for each address"),
    instead(&["abstract-socket"], "a unix socket with a file"),
    becomes(&["listen"], "backlog", number, ""),
    becomes(&["chmod-socket", "chmod"], "unix-socket-mode", socket_mode, ""),
    becomes(&["chown-socket"], "unix-socket-owner", text, ""),
    becomes(&["reuse-port"], "reuse-port", on, ""),
    instead(&["freebind"], "net.ipv4.ip_nonlocal_bind, or FreeBind= of a systemd socket unit"),
    instead(
        &["enable-proxy-protocol", "http-enable-proxy-protocol", "http-stud-prefix"],
        "the PROXY protocol is not spoken: have the balancer send X-Forwarded-For",
    ),
    instead(
        &[
            "tcp-fast-open",
            "tcp-fastopen",
            "tcp-fast-open-client",
            "tcp-fastopen-client",
            "socket-sndbuf",
            "socket-rcvbuf",
        ],
        "a systemd socket unit sets what sockets have",
    ),
    not_needed(
        &[
            "tcp-nodelay",
            "no-defer-accept",
            "so-keepalive",
            "close-on-exec",
            "close-on-exec2",
            "shutdown-sockets",
        ],
        ALWAYS,
    ),
    not_needed(&["vacuum"], "socket files and the pid file are removed at the end"),
    not_needed(&["thunder-lock"], "the system wakes one worker for a connection (EPOLLEXCLUSIVE)"),
    // Processes.
    becomes(&["processes", "workers"], "workers", number_or_auto, ""),
    not_needed(&["master"], "there always is a supervisor"),
    not_needed(&["no-orphans"], "workers whose supervisor is gone finish what they have and end"),
    not_needed(&["reaper"], "as PID 1 the supervisor reaps what is left to it"),
    not_needed(&["die-on-term"], "TERM always stops, after what is in flight"),
    not_needed(&["exit-on-reload"], "HUP reloads; TERM stops"),
    not_needed(
        &["skip-atexit", "skip-atexit-teardown", "no-threads-wait", "no-fd-passing"],
        "what it works around does not occur here",
    ),
    becomes(&["max-requests"], "max-requests", number_or_none, "workers differ by recycle-jitter, 10%"),
    not_needed(
        &["max-requests-delta", "max-worker-lifetime-delta"],
        "recycle-jitter makes workers differ, and one is replaced at a time",
    ),
    becomes(&["max-worker-lifetime"], "max-lifetime", seconds_or_none, ""),
    not_needed(&["min-worker-lifetime"], "workers that die at once are started again ever more slowly"),
    becomes(&["reload-on-rss", "evil-reload-on-rss"], "max-rss", mebibytes, "the successor serves first"),
    instead(&["reload-on-as", "evil-reload-on-as"], "max-rss: addresses that are not used cost nothing"),
    not_needed(&["mem-collector-freq"], "memory is looked at once a second"),
    becomes(&["reload-mercy", "worker-reload-mercy"], "graceful-timeout", seconds, ""),
    together(
        &["harakiri"],
        "`stuck-timeout`: with one thread the same; with several, or greenlets, a request that waits while others are served is not ended",
    ),
    not_needed(&["harakiri-verbose"], "the stacks of a stuck worker's threads are always logged"),
    instead(
        &["harakiri-graceful-timeout", "harakiri-graceful-signal", "harakiri-queue-threshold"],
        "a stuck worker is killed; nothing it does can be waited for",
    ),
    not_needed(
        &["harakiri-no-arh", "no-harakiri-arh", "no-harakiri-after-req-hook"],
        "there are no hooks after requests",
    ),
    instead(
        &["backtrace-depth", "use-abort", "alarm-segfault", "segfault-alarm"],
        "PYTHONFAULTHANDLER=1 in the environment, and the core dumps of systemd-coredump",
    ),
    instead(&["reload-on-exception", "reload-on-exception-*"], RELOADS_LESS),
    becomes(&["pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2"], "pid-file", text, ""),
    becomes(&["uid", "immediate-uid"], "user", text, ""),
    becomes(&["gid", "immediate-gid"], "group", text, ""),
    instead(&["add-gid", "no-initgroups"], "SupplementaryGroups= of the systemd unit"),
    not_needed(
        &["drop-after-init", "drop-after-apps"],
        "the addresses are bound as root, the application is imported as the user",
    ),
    instead(
        &["master-as-root"],
        "the supervisor becomes the user too: it needs root for nothing after the bind",
    ),
    becomes(&["umask"], "umask", octal, ""),
    instead(
        &["daemonize", "daemonize2"],
        "the server stays in the foreground, where systemd wants it; its lines go to standard error",
    ),
    becomes(&["master-fifo"], "control-socket", socket_beside, "\"tidegate ctl reload\" instead of echo r"),
    instead(&["stats", "stats-server", "stats-*"], METRICS),
    instead(
        &[
            "memory-report",
            "profiler",
            "enable-metrics",
            "metric",
            "metric-*",
            "metrics-*",
            "alarm-metric",
            "snmp",
            "snmp-community",
            "carbon",
            "carbon-*",
            "rrdtool",
            "rrdtool-*",
            "nagios",
        ],
        METRICS,
    ),
    instead(
        &["cheap", "idle", "die-on-idle"],
        "a systemd socket unit starts the server at the first connection",
    ),
    instead(&["cheaper", "cheaper-*"], CHEAPER),
    instead(&["cpu-affinity"], "CPUAffinity= of the systemd unit"),
    instead(&["prio"], "Nice= of the systemd unit"),
    instead(
        &["limit-as", "limit-nproc", "never-swap", "ksm", "cgroup", "cgroup-*"],
        "MemoryMax=, TasksMax= and their like in the systemd unit",
    ),
    not_needed(
        &["max-fd"],
        "the limit is raised as far as connections-max needs it and the system allows; LimitNOFILE= of the systemd unit",
    ),
    instead(&["procname", "procname-*", "auto-procname"], PROCESS_NAME),
    instead(
        &[
            "touch-reload",
            "touch-workers-reload",
            "touch-*",
            "fs-reload",
            "fs-brutal-reload",
            "fs-signal",
            "propagate-touch",
            "reload-on-fd",
            "brutal-reload-on-fd",
        ],
        TOUCH,
    ),
    not_needed(
        &[
            "check-interval",
            "forkbomb-delay",
            "lock-engine",
            "locks",
            "ftok",
            "persistent-ipcsem",
            "max-apps",
            "clock",
            "safe-fd",
            "fd-safe",
            "skip-zero",
            "honour-stdin",
            "weight",
            "auto-weight",
            "mode",
            "rpc-max",
        ],
        "nothing here is governed by it",
    ),
    instead(
        &["check-mountpoint", "mountpoint-check", "check-mount", "mount-check", "wait-*"],
        "RequiresMountsFor=, After= and BindsTo= of the systemd unit",
    ),
    instead(
        &[
            "chroot",
            "pivot-root",
            "pivot_root",
            "unshare",
            "unshare2",
            "setns",
            "setns-*",
            "jailed",
            "refork*",
            "re-fork*",
            "namespace",
            "namespace-*",
            "ns",
            "ns-net",
            "mount-asap",
            "mount-pre-jail",
            "mount-post-jail",
            "mount-in-jail",
            "mount-as-*",
            "umount-*",
        ],
        JAIL,
    ),
    instead(
        &["flock", "flock-wait", "flock2", "flock-wait2"],
        "the address can be bound once; flock(1) in ExecStart= for more",
    ),
    instead(
        &[
            "binary-path",
            "privileged-binary-patch*",
            "unprivileged-binary-patch*",
            "fallback-config",
            "force-gateway",
            "no-server",
            "command-mode",
        ],
        "the systemd unit says what is run",
    ),
    // What requests run on.
    together(
        &["threads"],
        "`threads`; without it `threads = 1`, as an application that was never run on threads may not be fit for them",
    ),
    becomes(
        &["thread-stacksize", "threads-stacksize", "thread-stack-size", "threads-stack-size"],
        "thread-stack-size",
        kibibytes,
        "",
    ),
    together(&["gevent"], "`concurrency = \"greenlets\"`, and `max-concurrency`"),
    not_needed(
        &["gevent-monkey-patch", "gevent-early-monkey-patch", "gevent-wait-for-hub"],
        "gevent always patches before the application is imported",
    ),
    instead(
        &["async", "ugreen", "ugreen-stacksize", "greenlet", "asyncio", "tornado", "coroae", "fiber"],
        ASYNC,
    ),
    not_needed(
        &["offload-threads", "offload-thread"],
        "responses are flushed by the reactor, and hold no thread",
    ),
    // Times and sizes.
    together(
        &["socket-timeout", "http-timeout"],
        "`write-timeout` and `body-timeout`; how long an application computes is not limited",
    ),
    becomes(&["http-headers-timeout"], "head-timeout", seconds_or_none, ""),
    becomes(
        &["so-send-timeout", "socket-send-timeout", "so-write-timeout", "socket-write-timeout"],
        "write-timeout",
        seconds_or_none,
        "",
    ),
    becomes(&["chunked-input-timeout"], "body-timeout", seconds_or_off, ""),
    together(
        &["http-keepalive"],
        "`keep-alive-timeout`, where it is more than a switch: connections are always kept",
    ),
    together(&["buffer-size"], "`head-size-max` and `line-size-max` where it is more than they are"),
    not_needed(
        &[
            "http-buffer-size",
            "max-vars",
            "signal-bufsize",
            "signals-bufsize",
            "response-headers-limit",
            "post-buffering-bufsize",
            "chunked-input-limit",
            "body-read-warning",
            "log-master-bufsize",
        ],
        "buffers here have bounds of their own, see docs/settings.md",
    ),
    becomes(&["limit-post"], "body-size-max", bytes_or_unlimited, ""),
    together(&["post-buffering"], "`request-buffering = \"on\"` and `body-memory-max`"),
    instead(
        &["upload-progress"],
        "the proxy in front, or JavaScript in the page, which knows what it has sent",
    ),
    // HTTP.
    not_needed(
        &["http-auto-chunked", "http-chunked-input", "http-manage-expect", "http-raw-body"],
        "HTTP/1.1 is spoken in full",
    ),
    not_needed(&["http-websockets"], "ASGI applications have WebSockets"),
    instead(&["http-auto-gzip"], "the proxy in front (nginx: gzip), or the framework's middleware"),
    instead(&["http-var", "http-server-name-as-http-host"], "middleware in the application"),
    not_needed(
        &[
            "http-processes",
            "http-workers",
            "http-events",
            "http-quiet",
            "http-cheap",
            "http-harakiri",
            "http-gracetime",
            "http-connect-timeout",
            "http-uid",
            "http-gid",
        ],
        "workers speak HTTP themselves, without a router between",
    ),
    instead(&["http-stats", "http-stats-server", "http-ss"], METRICS),
    instead(
        &[
            "http-*",
            "fastrouter",
            "fastrouter-*",
            "rawrouter",
            "rawrouter-*",
            "sslrouter",
            "sslrouter-*",
            "sslrouter2",
            "tuntap*",
        ],
        PROXY,
    ),
    instead(
        &[
            "add-header",
            "rem-header",
            "del-header",
            "collect-header",
            "response-header-collect",
            "pull-header",
        ],
        HEADERS,
    ),
    instead(
        &["error-page-403", "error-page-404", "error-page-500"],
        "error_page of nginx, or the application",
    ),
    instead(&["websockets-*", "websocket-*"], WEBSOCKETS),
    not_needed(&["ignore-script-name"], "SCRIPT_NAME comes from script-name and mount alone"),
    instead(
        &["vhost", "vhost-host"],
        "one server for each host, each with an address, and the proxy in front",
    ),
    not_needed(
        &[
            "ignore-sigpipe",
            "ignore-write-errors",
            "write-errors-tolerance",
            "write-errors-exception-only",
            "disable-write-exception",
        ],
        "a client that has left is no error: the application's iterable is closed",
    ),
    instead(&["catch-exceptions"], "tracebacks go to the log; the framework's debug mode shows them"),
    instead(&["exception-handler", "after-request-hook", "after-request-call"], AFTER_REQUEST),
    not_needed(
        &["honour-range", "file-serve-mode", "fileserve-mode", "disable-sendfile"],
        "for files that the server would serve",
    ),
    instead(&["static-*", "check-static", "check-static-docroot", "mimefile", "mime-file"], STATIC),
    instead(&["route", "route-*", "final-route*", "error-route*", "response-route*"], ROUTING),
    instead(
        &[
            "cgi",
            "cgi-*",
            "php*",
            "psgi*",
            "rack*",
            "ruby*",
            "rails*",
            "lua*",
            "jvm*",
            "v8*",
            "gccgo*",
            "mono*",
            "symcall*",
            "dlopen",
            "rbtimer-*",
            "libffi*",
        ],
        OTHER_LANGUAGE,
    ),
    // Logs.
    together(&["disable-logging"], "`access-log = \"off\"`"),
    together(&["req-logger", "logger-req"], "`access-log`: file:PATH, syslog, stdio"),
    together(
        &["log-format", "logformat"],
        "`access-log-format`, with gunicorn's atoms in place of uWSGI's variables",
    ),
    together(&["log-slow"], "`access-log-slower-than`"),
    together(&["log-5xx", "log-4xx"], "`access-log-status-min`"),
    instead(&["logto", "logto2", "logger", "log-socket", "log-syslog", "rsyslog*"], LOG_FILE),
    not_needed(
        &[
            "log-master",
            "log-master-stream",
            "log-master-req-stream",
            "threaded-logger",
            "log-reopen",
            "log-micros",
        ],
        "lines are written by a thread of their own; USR1 opens files anew",
    ),
    instead(
        &["log-truncate", "log-maxsize", "log-backupname", "logfile-chown", "logfile-chmod"],
        "logrotate, with USR1 to the supervisor in postrotate",
    ),
    not_needed(
        &[
            "logdate",
            "log-date",
            "log-prefix",
            "logformat-strftime",
            "log-format-strftime",
            "log-encoder",
            "log-req-encoder",
        ],
        LOG_FORM,
    ),
    not_needed(
        &["log-zero", "log-big", "log-sendfile", "log-ioerror"],
        "with access-log every request has a line",
    ),
    instead(&["log-x-forwarded-for"], "access-log-format with %({x-forwarded-for}i)s"),
    instead(
        &["alarm", "alarm-*", "backlog-alarm", "lq-alarm", "listen-queue-alarm"],
        "the monitoring, by the log and \"tidegate ctl status\"",
    ),
    // What else uWSGI is.
    instead(
        &[
            "spooler",
            "spooler-*",
            "mule",
            "mules",
            "mule-*",
            "farm",
            "signal",
            "signal-*",
            "rbtimer",
            "timer",
            "queue",
            "queue-*",
        ],
        UWSGI_API,
    ),
    instead(&["cache", "cache2", "cache-*", "add-cache-item", "load-file-in-cache*", "check-cache"], CACHE),
    instead(
        &[
            "cron",
            "cron2",
            "unique-cron",
            "cron-*",
            "legion-cron",
            "unique-cron-legion",
            "unique-legion-cron",
        ],
        CRON,
    ),
    instead(
        &[
            "attach-daemon",
            "attach-daemon2",
            "attach-control-daemon",
            "smart-attach-daemon*",
            "daemons-honour-stdin",
        ],
        DAEMON,
    ),
    instead(&["legion", "legion-*", "multicast", "multicast-*"], LEGION),
    instead(
        &["emperor", "emperor-*", "early-emperor", "vassal-*", "vassals-*", "imperial-*", "heartbeat"],
        EMPEROR,
    ),
    instead(
        &["zerg", "zerg-*", "zergpool"],
        "USR2 and HUP: new code and a new server take the sockets over without a lost request",
    ),
    instead(
        &[
            "subscribe-to",
            "st",
            "subscribe",
            "subscribe2",
            "subscribe-*",
            "subscription*",
            "unsubscribe-*",
            "start-unsubscribed",
        ],
        "the load balancer's own list of servers, by DNS, Consul or Kubernetes",
    ),
    not_needed(&["notify-socket"], "systemd's NOTIFY_SOCKET is served"),
    instead(&["hook-*", "exec-*", "call-*", "file-write", "binsh"], HOOK),
    not_needed(
        &["plugin", "plugins", "need-plugin", "need-plugins", "plugins-dir", "plugin-dir", "autoload"],
        "there are no plugins",
    ),
    not_needed(&["strict"], "an unknown setting is always an error"),
    not_needed(
        &["blacklist", "whitelist", "end-blacklist", "end-whitelist", "declare-option", "declare-option2"],
        "the settings are those of docs/settings.md",
    ),
    instead(
        &[
            "resolve",
            "inject-before",
            "inject-after",
            "xml",
            "xmlconfig",
            "yaml",
            "yml",
            "config",
            "json",
            "js",
        ],
        "only ini files are read: write its options as lines KEY = VALUE below [uwsgi]",
    ),
    instead(
        &["stop", "reload", "pause", "suspend", "resume"],
        "\"tidegate ctl stop\" and \"tidegate ctl reload\"",
    ),
    instead(
        &[
            "get",
            "print",
            "iprint",
            "exit",
            "help",
            "usage",
            "version",
            "cflags",
            "dot-h",
            "config-py",
            "build-plugin",
            "print-sym",
            "print-symbol",
            "dump-options",
            "show-config",
            "connect-and-read",
            "extract",
            "plugin-list",
            "plugins-list",
            "logger-list",
            "loggers-list",
            "alarm-list",
            "alarms-list",
            "clock-list",
            "clocks-list",
            "loop-list",
            "loops-list",
            "binary-append-data",
            "ping",
            "ping-timeout",
        ],
        INSPECTION,
    ),
];

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
    let speaks_http = match plan.last(&["protocol", "socket-protocol"]) {
        Some((index, value)) if plain(&value) == "http" => {
            plan.not_needed(index, "HTTP is what is spoken");
            true
        }
        Some((index, _)) => {
            plan.impossible(index, OTHER_PROTOCOL);
            false
        }
        None => false,
    };
    let shared: Vec<_> = plan.all(&["shared-socket", "undeferred-shared-socket"]);
    for (index, _) in &shared {
        plan.not_needed(*index, "bind names the address where another option had the number");
    }
    let names = ["socket", "uwsgi-socket", "http", "httprouter", "http-socket", "http11-socket"];
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
            let spoke_uwsgi =
                plan.name(index).ends_with("socket") && !plan.name(index).starts_with("http") && !speaks_http;
            if spoke_uwsgi {
                let to = match address.strip_prefix("unix:") {
                    Some(path) => format!("http://unix:{path}"),
                    None => format!("http://{address}"),
                };
                plan.remark(format!(
                    "{address} spoke the uwsgi protocol and speaks HTTP now. In nginx, in place of uwsgi_pass and include uwsgi_params:\n    \
                     proxy_pass {to};{NGINX}"
                ));
                plan.remark(
                    "REMOTE_ADDR and wsgi.url_scheme, which uwsgi_params brought, are those of nginx's connection then. The application takes \
                     the client's from X-Forwarded-For and -Proto: werkzeug's ProxyFix, Django's SECURE_PROXY_SSL_HEADER.",
                );
            }
            let note = if spoke_uwsgi { "HTTP is spoken there" } else { "" };
            plan.joins(index, "bind", address, note);
        }
    }
    if plan.start.chdir.is_some() {
        plan.remark("Relative paths, of sockets too, start at --chdir.");
    }
}

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
    if let Some((index, value)) = plan.last(&["harakiri"]) {
        plan.becomes_read(index, "stuck-timeout", seconds_or_off(&value), "");
        if threads != 1 && !is_off(&value) {
            plan.lacks(
                "harakiri: stuck-timeout replaces a worker that serves nobody any more; a request that takes long while others are \
                 served is not ended: have the database (statement_timeout) and HTTP clients give up, and the proxy (proxy_read_timeout)",
            );
        }
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

fn python_path(start: &mut Start, value: &Value) -> Result<(), String> {
    for text in texts(value) {
        if text.contains(['*', '?', '[']) {
            return Err(format!("{text}: PYTHONPATH takes no patterns: name the directories"));
        }
        start.python_path.push(text);
    }
    Ok(())
}

/// Without a value, all may connect.
fn socket_mode(value: &Value) -> Reading {
    match value {
        Value::Bool(true) => Ok(Some(Value::Text("666".into()))),
        value => octal(value),
    }
}

fn number_or_auto(value: &Value) -> Reading {
    match value {
        Value::Text(text) if text == "auto" => Ok(Some(value.clone())),
        value => number(value),
    }
}

/// A FIFO and a socket cannot have the same name.
fn socket_beside(value: &Value) -> Reading {
    let path = plain(value);
    Ok(Some(Value::Text(format!("{}.socket", path.trim_end_matches(".fifo")))))
}

/// The least that is held in memory.
fn bytes_from_4096(value: &Value) -> Reading {
    match number_of(value)? {
        0..=4_096 => Ok(Some(Value::Text("4KiB".into()))),
        _ => bytes(value),
    }
}
