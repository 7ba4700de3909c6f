//! uWSGI's options by the names of `uwsgi --help` (2.0).

use super::super::option::*;
use crate::settings::Value;

const APPLICATION: &str = "`app`: MODULE:ATTR, a file as the module that it is";
pub(super) const OTHER_PROTOCOL: &str = "it is not spoken: have the front server speak uwsgi or HTTP";
const TLS: &str =
    "bind = [\"https://:443\"] with certfile and keyfile (docs/tls.md), or TLS ended by a proxy in front";
const PROXY: &str = "there is no proxy beside the server: nginx or HAProxy in front";
const STATIC: &str = "max-age, immutable and precompressed of a table of static say what there is to say of its files: docs/static.md";
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

pub(in crate::migrate) static OPTIONS: &[Entry] = &[
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
    together(
        &["socket", "uwsgi-socket"],
        "`bind`, with `uwsgi://` before the address: the front server is left as it is",
    ),
    together(&["scgi-socket"], "`bind`, with `scgi://` before the address"),
    together(&["fastcgi-socket"], "`bind`, with `fastcgi://` before the address"),
    together(&["http", "httprouter", "http-socket", "http11-socket"], "`bind`"),
    together(
        &["protocol", "socket-protocol"],
        "what stands before the addresses of `socket` in `bind`: nothing, `uwsgi://`, `scgi://` or `fastcgi://`",
    ),
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
    instead(&["fastcgi-nph-socket", "scgi-nph-socket", "raw-socket", "puwsgi-socket", "udp"], OTHER_PROTOCOL),
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
        "bind = \"proxy+http://ADDRESS\", and trusted-proxies: docs/proxies.md",
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
    becomes(
        &["harakiri"],
        "request-timeout",
        seconds_or_off,
        "the client is answered with 504 and the request interrupted; there its worker is killed, with all that it serves",
    ),
    not_needed(&["harakiri-verbose"], "what a request is at whose time is over is always logged"),
    not_needed(
        &["harakiri-graceful-timeout", "harakiri-graceful-signal"],
        "the worker goes on: tidegate.RequestTimeout is raised in the request",
    ),
    instead(&["harakiri-queue-threshold"], "request-timeout holds always"),
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
        &[
            "honour-range",
            "file-serve-mode",
            "fileserve-mode",
            "disable-sendfile",
            "static-offload-to-thread",
        ],
        "ranges of files are answered, and the system sends them",
    ),
    together(
        &["static-map", "static-map2", "check-static"],
        "`static`, with fallthrough: what is no file is for the application",
    ),
    together(&["static-index"], "the `index` of `static`, which has one; without it none"),
    together(
        &["static-expires", "static-expires-uri", "static-expires-path-info"],
        "the `max-age` of `static`, where it is said of all files",
    ),
    not_needed(&["static-gzip*"], "a .br, .zst or .gz beside a file is sent to clients that take it"),
    not_needed(&["static-cache-paths", "static-cache-paths-name"], "paths are cheap to look up"),
    instead(&["static-safe"], "links lead nowhere outside: a table of static for the other directory"),
    instead(&["static-skip-ext"], "what is not to be served lies outside of the directories of static"),
    instead(&["check-static-docroot"], "a table of static that names the directory"),
    instead(
        &["mimefile", "mime-file"],
        "types are those of the names' endings; the proxy in front can say others",
    ),
    instead(&["static-*"], STATIC),
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
pub(super) fn bytes_from_4096(value: &Value) -> Reading {
    match number_of(value)? {
        0..=4_096 => Ok(Some(Value::Text("4KiB".into()))),
        _ => bytes(value),
    }
}
