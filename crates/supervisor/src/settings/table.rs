//! The one definition of every setting: flags, variables, file keys, Python keywords, help and docs/settings.md come from
//! this table, and nothing else says what a setting is called, takes or defaults to.

use super::choice::Choice;
use super::kind::{Kind, NumberField, Range, assign, assign_or_none};
use super::texts::{self, Config};
use super::value::{Fault, Value, text};
use super::{
    Address, AppSpec, Bind, Certificate, ForwardedFact, Limit, Mount, Settings, TrustedProxy, access_log,
    address, compression, limit, mount, otlp, statsd, tls, trusted_proxy,
};
use super::{StaticDirectory, static_files};

/// One setting.
pub(crate) struct Setting {
    /// As in `tidegate.toml`; the other spellings follow from it.
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) category: Category,
    pub(crate) reach: Reach,
    /// Whether it can be given several times, or as a list.
    pub(crate) repeats: bool,
    /// One of the tables that files have it as, where they have it as `[[tables]]`.
    pub(crate) tables: Option<&'static str>,
    pub(crate) kind: Kind,
    /// As it would be typed.
    pub(crate) default: Option<&'static str>,
    /// One sentence.
    pub(crate) help: &'static str,
    /// What else there is to know: reasons, consequences, the rule behind it.
    pub(crate) doc: &'static str,
}

/// Where in help and documentation a setting stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Category {
    Application,
    Listening,
    Running,
    Workers,
    Development,
    Times,
    Sizes,
    Http,
    Files,
    Tls,
    WebSockets,
    Observation,
    Logging,
    Configuration,
}

/// Which sources may give a setting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Every source.
    Everywhere,
    /// Not a Python call, which brings the application itself.
    Process,
    /// Flags and variables: it decides which files are read.
    Start,
}

impl Category {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Application => "Application",
            Self::Listening => "Listening",
            Self::Running => "Running",
            Self::Workers => "Processes",
            Self::Development => "Development",
            Self::Times => "Time limits",
            Self::Sizes => "Size limits",
            Self::Http => "HTTP",
            Self::Files => "Files",
            Self::Tls => "TLS",
            Self::WebSockets => "WebSockets",
            Self::Observation => "Observation",
            Self::Logging => "Logging",
            Self::Configuration => "Settings files",
        }
    }
}

impl Setting {
    /// The application is what the command line is about, so it needs no flag.
    pub(crate) fn is_positional(&self) -> bool {
        self.name == "app"
    }

    /// What is wrong with a value, by itself.
    pub(crate) fn fault(&self, value: &Value) -> Option<String> {
        self.kind.put(&mut Settings::blank(), value).err()
    }

    pub(crate) fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    pub(crate) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    pub(crate) fn keyword(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// What every environment variable of ours begins with.
pub(crate) const VARIABLE_PREFIX: &str = "TIDEGATE_";

/// The entries' common ground.
const PLAIN: Setting = Setting {
    name: "",
    short: None,
    category: Category::Application,
    reach: Reach::Everywhere,
    repeats: false,
    tables: None,
    kind: Kind::Switch(|s| &mut s.factory),
    default: None,
    help: "",
    doc: "",
};

/// A field that always holds a number.
macro_rules! number {
    ($field:ident) => {
        NumberField { put: |s, number| assign(&mut s.$field, number), get: |s| u64::try_from(s.$field).ok() }
    };
}

/// A field that holds a number or no limit.
macro_rules! number_or_none {
    ($field:ident) => {
        NumberField {
            put: |s, number| assign_or_none(&mut s.$field, number),
            get: |s| s.$field.and_then(|number| u64::try_from(number).ok()),
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        name: "app",
        category: Category::Application,
        reach: Reach::Process,
        kind: Kind::Special {
            placeholder: "MODULE[:ATTR]",
            accepted: "MODULE[:ATTR], both dotted names",
            put: |s, value| put(&mut s.app, AppSpec::parse(text(value)?).map(Some)),
            get: |s| s.app.as_ref().map(shown),
        },
        help: "The application: a module, and the object in it that is called.",
        doc: "The module is imported from --chdir, or else from the working directory. The object may be an attribute of \
              another one (shop:apps.main). Without ATTR, `application` is looked for, then `app`.",
        ..PLAIN
    },
    Setting {
        name: "factory",
        category: Category::Application,
        reach: Reach::Process,
        kind: Kind::Switch(|s| &mut s.factory),
        default: Some("false"),
        help: "Call the object without arguments to get the application.",
        doc: "For modules that hold a function such as `create_app`. It is called once, when the worker starts. What --mount names is \
              never a factory.",
        ..PLAIN
    },
    Setting {
        name: "interface",
        short: Some('i'),
        category: Category::Application,
        kind: Kind::Choice(|s| &mut s.interface),
        default: Some("auto"),
        help: "How the application is called.",
        doc: "wsgi: by PEP 3333. asgi: by ASGI 3. auto: as its signature asks for: asgi for coroutine functions, for objects whose \
              `__call__` is one, and for what takes three arguments; wsgi for what takes two, or does not tell. It is not said of what \
              --mount names, which is always told by its signature.",
        ..PLAIN
    },
    Setting {
        name: "chdir",
        category: Category::Application,
        reach: Reach::Start,
        kind: Kind::Special {
            placeholder: "DIR",
            accepted: "a directory",
            put: |s, value| put(&mut s.chdir, texts::path(text(value)?).map(Some)),
            get: |s| s.chdir.as_deref().map(|path| shown(&path.display())),
        },
        help: "Change to this directory before anything else.",
        doc: "Settings files are looked for there, the application is imported from there, and relative paths in other \
              settings start there; only --config is relative to where the command was typed.",
        ..PLAIN
    },
    Setting {
        name: "script-name",
        category: Category::Application,
        kind: Kind::Special {
            placeholder: "PREFIX",
            accepted: "/PREFIX without a slash at its end, or \"\" for none",
            put: |s, value| put(&mut s.script_name, texts::script_name(value)),
            get: |s| Some(shown(&s.script_name)),
        },
        default: Some(""),
        help: "Path under which the application is mounted (SCRIPT_NAME).",
        doc: "It is taken from the front of request paths, at the boundary of a segment, and goes into SCRIPT_NAME; the rest \
              goes into PATH_INFO. Write it as it looks once percent-decoded.",
        ..PLAIN
    },
    Setting {
        name: "mount",
        category: Category::Application,
        reach: Reach::Process,
        repeats: true,
        kind: Kind::Special {
            placeholder: "/PREFIX=MODULE[:ATTR]",
            accepted: mount::ACCEPTED,
            put: put_mounts,
            get: |s| (!s.mounts.is_empty()).then(|| Value::List(s.mounts.iter().map(shown).collect())),
        },
        help: "Application for the paths below a prefix; can be given several times.",
        doc: "The longest prefix that matches whole segments of the percent-decoded path has the request; the application finds it \
              behind script-name, in SCRIPT_NAME or root_path. What is below none is for the main application, or a 404 without one. \
              WSGI and ASGI may be mixed: docs/mounts.md.",
        ..PLAIN
    },
    Setting {
        name: "lifespan",
        category: Category::Application,
        kind: Kind::Choice(|s| &mut s.lifespan),
        default: Some("auto"),
        help: "Whether an ASGI application is told of the server's start and end.",
        doc: "auto: it is asked, and one that raises instead of answering is served without. on: one that raises keeps the server from \
              starting, so that a mistake in start-up code is not taken for an application without any. off: it is not asked. An application \
              that answers lifespan.startup.failed is never served.",
        ..PLAIN
    },
    Setting {
        name: "bind",
        short: Some('b'),
        category: Category::Listening,
        repeats: true,
        kind: Kind::Special {
            placeholder: "ADDRESS",
            accepted: address::ACCEPTED,
            put: put_bind,
            get: |s| Some(Value::List(s.bind.iter().map(shown).collect())),
        },
        default: Some("127.0.0.1:8000"),
        help: "Address to listen on; can be given several times.",
        doc: "HOST:PORT, [V6]:PORT, unix:PATH, or fd://N for a listening socket inherited as descriptor N. https:// before it has TLS spoken there, \
              http:// has it not, and without either it is where there is a certificate; redirect:// answers with redirects to https; uwsgi://, scgi:// and fastcgi:// are \
              for a front server alone (docs/uwsgi.md). HOST alone means port 8000, :PORT every IPv4 address, and port 0 lets the system choose. In the variable, addresses are separated by \
              commas. What a higher source gives replaces the whole list of a lower one.",
        ..PLAIN
    },
    Setting {
        name: "unix-socket-mode",
        category: Category::Listening,
        kind: Kind::Special {
            placeholder: "MODE",
            accepted: "000 to 777 in octal digits",
            put: |s, value| put(&mut s.unix_socket_mode, texts::mode(value)),
            get: |s| Some(Value::Text(format!("{:04o}", s.unix_socket_mode))),
        },
        default: Some("0660"),
        help: "Permissions of unix sockets, in octal.",
        doc: "The owner and the group may connect: put the proxy in front into the group. Others may not, for whoever can connect \
              goes round the proxy and can forge what it vouches for. Written as text, so that nobody has to guess the base.",
        ..PLAIN
    },
    Setting {
        name: "unix-socket-owner",
        category: Category::Listening,
        kind: Kind::Special {
            placeholder: "USER[:GROUP]",
            accepted: "names or numbers, USER or USER:GROUP",
            put: |s, value| put(&mut s.unix_socket_owner, texts::owner(value).map(Some)),
            get: |s| s.unix_socket_owner.as_ref().map(shown),
        },
        help: "Whom unix sockets belong to.",
        doc: "For a proxy that runs as another user than the server. Without it they are --user's and --group's, and else \
              of whoever starts the server. Without GROUP, theirs stays. Only root may give them to another user.",
        ..PLAIN
    },
    Setting {
        name: "reuse-port",
        category: Category::Listening,
        kind: Kind::Switch(|s| &mut s.reuse_port),
        default: Some("false"),
        help: "Let other servers of this user listen on the same ports (SO_REUSEPORT).",
        doc: "The system then spreads connections over the servers. For several servers on one machine; the workers of one server \
              share its sockets anyway.",
        ..PLAIN
    },
    Setting {
        name: "backlog",
        category: Category::Listening,
        kind: Kind::Count {
            range: Range(1, 65_535),
            note: "the system may lower it, see net.core.somaxconn",
            field: number!(backlog),
        },
        default: Some("2048"),
        help: "Connections that the system queues before they are accepted.",
        doc: "",
        ..PLAIN
    },
    Setting {
        name: "connections-max",
        category: Category::Listening,
        kind: Kind::Count { range: Range(1, 1_000_000), note: "", field: number!(connections_max) },
        default: Some("16384"),
        help: "Connections open at once in a worker.",
        doc: "When it is reached, accepting pauses and the backlog holds the others; nobody is refused. Each connection takes one \
              descriptor: see the system's limit (ulimit -n).",
        ..PLAIN
    },
    Setting {
        name: "concurrency",
        short: Some('c'),
        category: Category::Running,
        kind: Kind::Choice(|s| &mut s.concurrency),
        default: Some("auto"),
        help: "What requests run on.",
        doc: "threads: threads of the system. greenlets: gevent's, thousands of which wait at once; gevent patches the standard library \
              before the application is imported (pip install 'tidegate[greenlets]'). asyncio: tasks of an event loop for ASGI, \
              greenlets on it for WSGI (pip install 'tidegate[bridge]'). auto: asyncio where an application is called by ASGI, threads where none is. See docs/concurrency.md.",
        ..PLAIN
    },
    Setting {
        name: "loop",
        category: Category::Running,
        kind: Kind::Choice(|s| &mut s.event_loop),
        default: Some("auto"),
        help: "Which event loop runs under --concurrency asyncio.",
        doc: "asyncio: the standard library's. uvloop: uvloop's (pip install 'tidegate[uvloop]'). auto: uvloop where it is installed.",
        ..PLAIN
    },
    Setting {
        name: "threads",
        category: Category::Running,
        kind: Kind::Count { range: Range(1, 10_000), note: "", field: number!(threads) },
        default: Some("200"),
        help: "Most threads that run the application in a worker.",
        doc: "Threads start when calls block, so that a service whose calls do not has one or two. What finds none free waits in order. \
              With 1 thread one request runs at a time, on the main thread (`wsgi.multithread` is False), which PEP 3333 asks servers to \
              offer. See docs/concurrency.md.",
        ..PLAIN
    },
    Setting {
        name: "thread-stack-size",
        category: Category::Running,
        kind: Kind::Size {
            range: Range(64 * KIB, GIB),
            none: Some("system"),
            field: number_or_none!(thread_stack_size),
        },
        default: Some("system"),
        help: "Size of the threads' stacks.",
        doc: "system: as `threading.stack_size` and the system have it (8 MiB of addresses on most; memory is taken as it is used). \
              Rounded up to whole pages.",
        ..PLAIN
    },
    Setting {
        name: "thread-idle-timeout",
        category: Category::Running,
        kind: Kind::Duration {
            range: Range(1, 24 * HOUR),
            can_be_off: false,
            field: number!(thread_idle_timeout_ms),
        },
        default: Some("30s"),
        help: "How long a thread stays without work.",
        doc: "Then it ends, and with it what it keeps (a database connection, say). Threads are used last in, first out, so that as few \
              as possible are at work and the others go. The last one stays.",
        ..PLAIN
    },
    Setting {
        name: "max-concurrency",
        category: Category::Running,
        kind: Kind::Count {
            range: Range(1, 1_000_000),
            note: "with threads no more than there are of them",
            field: number_or_none!(max_concurrency),
        },
        help: "Most requests that run at once in a worker.",
        doc: "Without it, as many as there are threads, or 10,000 greenlets or tasks. It counts requests: connections that rest count for \
              nothing.",
        ..PLAIN
    },
    Setting {
        name: "queue-size",
        category: Category::Running,
        kind: Kind::Count { range: Range(0, 1_000_000), note: "", field: number!(queue_size) },
        default: Some("2048"),
        help: "Most requests that wait for their turn when --max-concurrency run.",
        doc: "What comes on top is answered with 503 and Retry-After at once, and the application is not called. A request whose client \
              leaves gives up its place. With --threads 1 nobody looks while a call runs: requests then wait in the system's buffers.",
        ..PLAIN
    },
    Setting {
        name: "queue-timeout",
        category: Category::Running,
        kind: Kind::Duration { range: Range(1, HOUR), can_be_off: false, field: number!(queue_timeout_ms) },
        default: Some("10s"),
        help: "How long a request may wait for its turn.",
        doc: "Then it is answered with 503. An answer that comes later than its client waits for is work for nobody.",
        ..PLAIN
    },
    Setting {
        name: "request-timeout",
        category: Category::Running,
        kind: Kind::Duration {
            range: limit::TIMEOUT_RANGE,
            can_be_off: true,
            field: number_or_none!(request_timeout_ms),
        },
        default: Some("off"),
        help: "How long a request may take, from its head to the end of its response.",
        doc: "Then its client is answered at once: with 504 for an application that has it, or by a cut where a response has begun; with 503 \
              while it waits for its turn, and with 408 while its body is on its way. What the application is at is logged, \
              environ['tidegate.cancelled'] is set, and tidegate.RequestTimeout is raised in its thread, greenlet or task. WebSockets \
              have no such time, nor has what follows the response. See limits.md.",
        ..PLAIN
    },
    Setting {
        name: "slow-request",
        category: Category::Running,
        kind: Kind::Duration {
            range: Range(10, 24 * HOUR),
            can_be_off: true,
            field: number_or_none!(slow_request_ms),
        },
        default: Some("off"),
        help: "How long a request may take before what it is at is logged.",
        doc: "With the stack of its thread, greenlet or task, to the logger tidegate.error. Nothing else is done about it.",
        ..PLAIN
    },
    Setting {
        name: "max-lost-threads",
        category: Category::Running,
        kind: Kind::Count { range: Range(0, 10_000), note: "", field: number!(lost_threads_max) },
        default: Some("10"),
        help: "Most threads that are replaced because they do not come back.",
        doc: "A thread in code that is not Python's hears of --request-timeout when that returns. Until then it is counted as lost, and another one \
              may take its place. A worker that has lost more is replaced, as after --max-requests; a server without workers \
              goes on with fewer threads.",
        ..PLAIN
    },
    Setting {
        name: "shed",
        category: Category::Running,
        kind: Kind::Choice(|s| &mut s.shed),
        default: Some("off"),
        help: "Whether a queue that stays long is cut before it is full.",
        doc: "codel: when all requests have waited for longer than --queue-target for ten times as long, those that have waited for twice the \
              target are answered with 503, until one is in time again (RFC 8289). A burst is let be; under lasting overload the requests that are \
              served are served in time. off: requests wait until --queue-timeout. See docs/limits.md.",
        ..PLAIN
    },
    Setting {
        name: "queue-target",
        category: Category::Running,
        kind: Kind::Duration { range: Range(10, HOUR), can_be_off: false, field: number!(queue_target_ms) },
        default: Some("50ms"),
        help: "How long requests should wait for their turn at most.",
        doc: "For --shed codel. Some wait longer when many come at once; it is when all do that there are too many.",
        ..PLAIN
    },
    Setting {
        name: "limits",
        category: Category::Running,
        repeats: true,
        tables: Some("{ path = \"...\" }"),
        kind: Kind::Special {
            placeholder: "\"/PATH KEY=VALUE\"",
            accepted: limit::ACCEPTED,
            put: |s, value| put(&mut s.limits, limit::limits(value)),
            get: |s| (!s.limits.is_empty()).then(|| Value::List(s.limits.iter().map(Limit::shown).collect())),
        },
        help: "Limits for the requests of some paths; can be given several times.",
        doc: "The first whose path matches the percent-decoded path has the request: exactly, or with each * standing for any characters, slashes \
              too. It has its own timeout, runs so many at once (max-concurrency) and lets so many wait (queue-size, queue-timeout), takes bodies up to \
              its own max-body-size, or goes before others (priority = \"health\"): docs/limits.md.",
        ..PLAIN
    },
    Setting {
        name: "request-buffering",
        category: Category::Running,
        kind: Kind::Choice(|s| &mut s.request_buffering),
        default: Some("auto"),
        help: "Whether a request's body is in before the application is called.",
        doc: "on: to its end, in memory up to --body-memory-max and beyond it in an unlinked temporary file, so that a slow client holds no \
              thread. off: from --body-memory-max on, the application reads the body as it comes; a chunked one has no CONTENT_LENGTH. \
              auto: on with several threads; with greenlets, which cost little, and with one thread, for chunked bodies alone.",
        ..PLAIN
    },
    Setting {
        name: "cancel-on-disconnect",
        category: Category::Running,
        kind: Kind::Switch(|s| &mut s.cancel_on_disconnect),
        default: Some("false"),
        help: "Cancel requests whose clients have left.",
        doc: "In a greenlet tidegate.ClientLeft is raised at the next point where the request waits. A task of asyncio's is cancelled. \
              Threads cannot be cancelled. Without it, a WSGI application can look at environ['tidegate.cancelled'], and an ASGI application \
              receives http.disconnect.",
        ..PLAIN
    },
    Setting {
        name: "scheduling",
        category: Category::Running,
        reach: Reach::Process,
        kind: Kind::Choice(|s| &mut s.scheduling),
        default: Some("auto"),
        help: "How the system shares the processor with what wakes the server.",
        doc: "batch: a worker that wakes takes the processor from nobody (SCHED_BATCH of sched(7)): a front server or a database on the same \
              machine goes on until it waits itself, and the worker then finds more to do at once. normal: it often takes it at once. They differ \
              only where all processors are busy, by some milliseconds at most. auto: batch where a --bind speaks uwsgi, SCGI or FastCGI, as \
              a front server wakes the worker there before it has written the request, unless this process was given another policy. Programs that the application starts inherit it.",
        ..PLAIN
    },
    Setting {
        name: "gc-threshold",
        category: Category::Running,
        reach: Reach::Process,
        kind: Kind::Count {
            range: Range(0, 1_000_000_000),
            note: "0 leaves Python's garbage collector alone",
            field: number!(gc_threshold),
        },
        default: Some("10000"),
        help: "How many objects more there may be before Python looks for cycles.",
        doc: "`gc.set_threshold`, whose first number Python sets to 700 or 2,000: where thousands of requests wait at once, each with its objects, it \
              would look all the time and find nothing. What is there once the application is imported is left out of the search (`gc.freeze`). \
              An application that sets a threshold itself, or turns the collector off, is left alone.",
        ..PLAIN
    },
    Setting {
        name: "workers",
        short: Some('w'),
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Special {
            placeholder: "N",
            accepted: "1 to 1024, or auto",
            put: |s, value| put(&mut s.workers, texts::workers(value)),
            get: |s| Some(s.workers.map_or_else(|| shown("auto"), |workers| shown(&workers))),
        },
        default: Some("1"),
        help: "Number of worker processes.",
        doc: "auto: as many as there are processors for this process. One that ends is replaced: docs/workers.md, docs/restart.md.",
        ..PLAIN
    },
    Setting {
        name: "no-supervisor",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Switch(|s| &mut s.no_supervisor),
        default: Some("false"),
        help: "Serve in this process, with nobody to replace or reload it.",
        doc: "For one worker only: under another supervisor, in a debugger, in tests.",
        ..PLAIN
    },
    Setting {
        name: "preload",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Switch(|s| &mut s.preload),
        default: Some("false"),
        help: "Import the application once, before the workers are forked.",
        doc: "They share its memory and start at once. Threads, connections and event loops that it opens while it is imported do not \
              survive the fork: open them in os.register_at_fork(after_in_child=...) or on first use. A reload then forks the same code \
              again; new code needs a restart.",
        ..PLAIN
    },
    Setting {
        name: "rolling-reload",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Switch(|s| &mut s.rolling_reload),
        default: Some("false"),
        help: "Replace workers one after the other on a reload, not all at once.",
        doc: "It takes the memory of one worker more instead of twice the memory; for a while old and new code serve beside each other, and \
              a new worker that cannot start leaves it at that.",
        ..PLAIN
    },
    Setting {
        name: "start-timeout",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Duration {
            range: Range(SECOND, HOUR),
            can_be_off: false,
            field: number!(start_timeout_ms),
        },
        default: Some("60s"),
        help: "How long a worker may take to load the application.",
        doc: "Then it is killed, and counts as one that could not start.",
        ..PLAIN
    },
    Setting {
        name: "stuck-timeout",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Duration {
            range: Range(SECOND, HOUR),
            can_be_off: true,
            field: number_or_none!(stuck_timeout_ms),
        },
        default: Some("60s"),
        help: "How long a worker may handle no events before it is replaced.",
        doc: "It is stuck in a call that keeps the interpreter, or that blocks the one thread or loop it has. What its threads are at \
              is logged, and it is killed, with all that it has in flight. Requests that take longer are no reason as long as others are \
              served beside them; with --threads 1, greenlets and asyncio a single call that computes or blocks for so long is one.",
        ..PLAIN
    },
    Setting {
        name: "ready-path",
        category: Category::Workers,
        kind: Kind::Special {
            placeholder: "/PATH",
            accepted: "a path that begins with /, of visible ASCII characters, without ? and #",
            put: |s, value| put(&mut s.ready_path, texts::ready_path(value).map(Some)),
            get: |s| s.ready_path.as_deref().map(shown),
        },
        help: "Path that says whether the application is ready.",
        doc: "A new worker is asked for it (GET, Host: localhost) before it serves; if the answer is not 2xx or 3xx, it could not \
              start, and a reload fails. While the server retires (drain-delay), requests for it are answered with 503.",
        ..PLAIN
    },
    Setting {
        name: "ready-by",
        category: Category::Workers,
        kind: Kind::Choice(|s| &mut s.ready_by),
        default: Some("application"),
        help: "Who answers requests for --ready-path.",
        doc: "application: as above. server: the server itself, 200 as long as it serves, for applications that have no such path; new workers are \
              then ready when they are loaded.",
        ..PLAIN
    },
    Setting {
        name: "live-path",
        category: Category::Workers,
        kind: Kind::Special {
            placeholder: "/PATH",
            accepted: "a path that begins with /, of visible ASCII characters, without ? and #",
            put: |s, value| put(&mut s.live_path, texts::ready_path(value).map(Some)),
            get: |s| s.live_path.as_deref().map(shown),
        },
        help: "Path that the server itself answers with 200 as long as it lives.",
        doc: "Without the application, a thread or a place in the queue, so that a server with much to do is not taken for dead. A worker that does not \
              move does not answer; --stuck-timeout has it replaced. The admin listener has /livez and /readyz.",
        ..PLAIN
    },
    Setting {
        name: "max-requests",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Count {
            range: Range(1, 1_000_000_000_000),
            note: "",
            field: number_or_none!(max_requests),
        },
        help: "Requests after which a worker is replaced.",
        doc: "For applications that leak. It is looked at once a second. The successor serves before the worker leaves, and one worker is \
              replaced at a time.",
        ..PLAIN
    },
    Setting {
        name: "max-lifetime",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Duration {
            range: Range(SECOND, 8_760 * HOUR),
            can_be_off: true,
            field: number_or_none!(max_lifetime_ms),
        },
        default: Some("off"),
        help: "Time after which a worker is replaced.",
        doc: "",
        ..PLAIN
    },
    Setting {
        name: "max-rss",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Size {
            range: Range(MIB, 1_024 * GIB),
            none: Some("off"),
            field: number_or_none!(max_rss),
        },
        default: Some("off"),
        help: "Memory (RSS) at which a worker is replaced.",
        doc: "Looked at once a second. What it shares with others counts.",
        ..PLAIN
    },
    Setting {
        name: "control-socket",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Special {
            placeholder: "PATH",
            accepted: "a path",
            put: |s, value| put(&mut s.control_socket, texts::path(text(value)?).map(Some)),
            get: |s| s.control_socket.as_deref().map(|path| shown(&path.display())),
        },
        help: "Unix socket by which `tidegate ctl` reaches the server.",
        doc: "For root and the server's own user. `tidegate ctl` finds it where the server does: in the same variables and files.",
        ..PLAIN
    },
    Setting {
        name: "pid-file",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Special {
            placeholder: "PATH",
            accepted: "a path",
            put: |s, value| put(&mut s.pid_file, texts::path(text(value)?).map(Some)),
            get: |s| s.pid_file.as_deref().map(|path| shown(&path.display())),
        },
        help: "File for the number of the supervisor's process.",
        doc: "Removed at the end.",
        ..PLAIN
    },
    Setting {
        name: "user",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Special {
            placeholder: "USER",
            accepted: "a name or a number",
            put: |s, value| put(&mut s.user, texts::name(value).map(Some)),
            get: |s| s.user.as_deref().map(shown),
        },
        help: "User to run as, once the addresses are bound.",
        doc: "For servers that root starts. Also the groups are that user's, unless group names one. Unix sockets are given to the user. \
              Everything after the bind is done as this user: the application, the access log.",
        ..PLAIN
    },
    Setting {
        name: "group",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Special {
            placeholder: "GROUP",
            accepted: "a name or a number",
            put: |s, value| put(&mut s.group, texts::name(value).map(Some)),
            get: |s| s.group.as_deref().map(shown),
        },
        help: "Group to run as, once the addresses are bound.",
        doc: "",
        ..PLAIN
    },
    Setting {
        name: "umask",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Special {
            placeholder: "MODE",
            accepted: "000 to 777 in octal digits",
            put: |s, value| put(&mut s.umask, texts::mode(value).map(Some)),
            get: |s| s.umask.map(|mode| Value::Text(format!("{mode:03o}"))),
        },
        help: "Permissions that files made by the application do not get, in octal.",
        doc: "",
        ..PLAIN
    },
    Setting {
        name: "recycle-jitter",
        category: Category::Workers,
        reach: Reach::Process,
        kind: Kind::Count { range: Range(0, 100), note: "percent", field: number!(recycle_jitter) },
        default: Some("10"),
        help: "By how much a worker's share of these limits is lower, at random.",
        doc: "Each worker has limits of its own, so that those that were started together are not replaced together.",
        ..PLAIN
    },
    Setting {
        name: "reload",
        category: Category::Development,
        reach: Reach::Process,
        kind: Kind::Switch(|s| &mut s.reload),
        default: Some("false"),
        help: "Reload when files of the application change.",
        doc: "For development: docs/development.md. A reload is what HUP asks for; an application that cannot start is waited for, too.",
        ..PLAIN
    },
    Setting {
        name: "reload-dir",
        category: Category::Development,
        reach: Reach::Process,
        repeats: true,
        kind: Kind::Special {
            placeholder: "DIR",
            accepted: "a directory",
            put: |s, value| put(&mut s.reload_dir, several(value, texts::path)),
            get: |s| listed(s.reload_dir.iter().map(|path| path.display())),
        },
        help: "Directory whose files are watched; can be given several times.",
        doc: "With all that is below it. Without any it is the working directory, after --chdir.",
        ..PLAIN
    },
    Setting {
        name: "reload-include",
        category: Category::Development,
        reach: Reach::Process,
        repeats: true,
        kind: Kind::Special {
            placeholder: "GLOB",
            accepted: texts::GLOB,
            put: |s, value| put(&mut s.reload_include, several(value, texts::glob)),
            get: |s| listed(s.reload_include.iter()),
        },
        help: "Files to watch beside *.py; can be given several times.",
        doc: "A pattern without a slash is for names (*.html), one with a slash for paths from a watched directory on (site/**/*.toml).",
        ..PLAIN
    },
    Setting {
        name: "reload-exclude",
        category: Category::Development,
        reach: Reach::Process,
        repeats: true,
        kind: Kind::Special {
            placeholder: "GLOB",
            accepted: texts::GLOB,
            put: |s, value| put(&mut s.reload_exclude, several(value, texts::glob)),
            get: |s| listed(s.reload_exclude.iter()),
        },
        help: "Files and directories not to watch; can be given several times.",
        doc: "Patterns as for reload-include. What is hidden (.*), __pycache__, node_modules and virtual environments are not watched in \
              any case.",
        ..PLAIN
    },
    Setting {
        name: "reload-delay",
        category: Category::Development,
        reach: Reach::Process,
        kind: Kind::Duration {
            range: Range(0, 10 * SECOND),
            can_be_off: false,
            field: number!(reload_delay_ms),
        },
        default: Some("50ms"),
        help: "How long files must not change before a reload.",
        doc: "So that many changes are one. After ten times as long there is a reload though they go on.",
        ..PLAIN
    },
    Setting {
        name: "graceful-timeout",
        category: Category::Times,
        kind: Kind::Duration {
            range: Range(0, 24 * HOUR),
            can_be_off: false,
            field: number!(graceful_timeout_ms),
        },
        default: Some("30s"),
        help: "How long requests in flight may take to finish after SIGTERM or SIGINT.",
        doc: "What is left then is cut. 0 cuts at once, as a second signal does.",
        ..PLAIN
    },
    Setting {
        name: "drain-delay",
        category: Category::Times,
        kind: Kind::Duration { range: Range(0, HOUR), can_be_off: false, field: number!(drain_delay_ms) },
        default: Some("0s"),
        help: "How long to go on serving after SIGTERM, before the graceful stop.",
        doc: "For load balancers that need a while to see that this server is leaving: meanwhile ready-path gives 503, and answers say \
              `Connection: close`. Not at SIGINT and SIGQUIT.",
        ..PLAIN
    },
    Setting {
        name: "lifespan-timeout",
        category: Category::Times,
        kind: Kind::Duration {
            range: Range(1, 24 * HOUR),
            can_be_off: false,
            field: number!(lifespan_timeout_ms),
        },
        default: Some("60s"),
        help: "How long an ASGI application's start-up, and its shutdown, may take.",
        doc: "A start-up that takes longer keeps the server from starting, since whoever waits for it should learn that it hangs. A shutdown has \
              no more than what the requests have left of --graceful-timeout.",
        ..PLAIN
    },
    Setting {
        name: "head-timeout",
        category: Category::Times,
        kind: Kind::Duration { range: Range(1, HOUR), can_be_off: false, field: number!(head_timeout_ms) },
        default: Some("10s"),
        help: "How long a request's head may take to arrive.",
        doc: "One deadline from its first byte (or from accept, for the first request) to its blank line, however the bytes \
              dribble in. It cannot be turned off: a head without end would hold its connection for ever.",
        ..PLAIN
    },
    Setting {
        name: "keep-alive-timeout",
        category: Category::Times,
        kind: Kind::Duration {
            range: Range(1, 24 * HOUR),
            can_be_off: false,
            field: number!(keep_alive_timeout_ms),
        },
        default: Some("75s"),
        help: "How long a connection may rest between requests.",
        doc: "Longer than the 60 s after which the usual load balancers let go: when the server closes first, a request that is just \
              on its way meets a closed connection, and the client sees a 502.",
        ..PLAIN
    },
    Setting {
        name: "body-timeout",
        category: Category::Times,
        kind: Kind::Duration {
            range: Range(1, 24 * HOUR),
            can_be_off: true,
            field: number_or_none!(body_timeout_ms),
        },
        default: Some("20s"),
        help: "Time for a request's body to arrive, given back by its bytes.",
        doc: "Bytes give time back at --body-rate-min, up to this much: a large upload may take hours, a trickle or a stall may \
              not. Only time spent waiting for the client counts.",
        ..PLAIN
    },
    Setting {
        name: "body-rate-min",
        category: Category::Times,
        kind: Kind::Size { range: Range(0, GIB), none: None, field: number!(body_rate_min) },
        default: Some("500"),
        help: "Bytes per second that keep --body-timeout from running out.",
        doc: "0 makes --body-timeout the whole time that a body has.",
        ..PLAIN
    },
    Setting {
        name: "write-timeout",
        category: Category::Times,
        kind: Kind::Duration {
            range: Range(1, 24 * HOUR),
            can_be_off: false,
            field: number!(write_timeout_ms),
        },
        default: Some("30s"),
        help: "How long a client may take nothing of a response that waits for it.",
        doc: "A slow client is served for as long as it takes something. It cannot be turned off: a client that stopped reading \
              would hold its connection for ever.",
        ..PLAIN
    },
    Setting {
        name: "head-size-max",
        category: Category::Sizes,
        kind: Kind::Size { range: Range(256, 16 * MIB), none: None, field: number!(head_size_max) },
        default: Some("64KiB"),
        help: "Largest head of a request, in all.",
        doc: "More is answered with 431. Cookies and tokens of single sign-on reach tens of kilobytes, and a limit below that of the \
              proxy in front turns into puzzling 502s.",
        ..PLAIN
    },
    Setting {
        name: "line-size-max",
        category: Category::Sizes,
        kind: Kind::Size { range: Range(128, 16 * MIB), none: None, field: number!(line_size_max) },
        default: Some("16KiB"),
        help: "Longest line in a request's head.",
        doc: "More is answered with 414 for the request line and with 431 for a field. RFC 9112 section 3 asks servers to take \
              request lines of 8,000 octets.",
        ..PLAIN
    },
    Setting {
        name: "field-count-max",
        category: Category::Sizes,
        kind: Kind::Count { range: Range(1, 10_000), note: "", field: number!(field_count_max) },
        default: Some("100"),
        help: "Most fields in a request's head.",
        doc: "More is answered with 431. Browsers send 10 to 20, and a chain of proxies adds a dozen.",
        ..PLAIN
    },
    Setting {
        name: "body-size-max",
        category: Category::Sizes,
        kind: Kind::Size {
            range: Range(0, i64::MAX as u64),
            none: Some("unlimited"),
            field: number_or_none!(body_size_max),
        },
        default: Some("1GiB"),
        help: "Largest body of a request.",
        doc: "More is answered with 413, before the application runs where Content-Length tells. Bodies that are gathered take room in \
              the directory for temporary files, up to this much each.",
        ..PLAIN
    },
    Setting {
        name: "chunk-extension-size-max",
        category: Category::Sizes,
        kind: Kind::Size { range: Range(0, MIB), none: None, field: number!(chunk_extension_size_max) },
        default: Some("16KiB"),
        help: "Most bytes of chunk extensions in a body.",
        doc: "More is answered with 400. Nobody uses them, but each is work without data.",
        ..PLAIN
    },
    Setting {
        name: "trailer-size-max",
        category: Category::Sizes,
        kind: Kind::Size { range: Range(0, MIB), none: None, field: number!(trailer_size_max) },
        default: Some("8KiB"),
        help: "Largest trailer section of a chunked body.",
        doc: "More is answered with 400.",
        ..PLAIN
    },
    Setting {
        name: "trailer-count-max",
        category: Category::Sizes,
        kind: Kind::Count { range: Range(0, 1_000), note: "", field: number!(trailer_count_max) },
        default: Some("32"),
        help: "Most fields in a trailer section.",
        doc: "More is answered with 400.",
        ..PLAIN
    },
    Setting {
        name: "pipeline-size-max",
        category: Category::Sizes,
        kind: Kind::Size { range: Range(KIB, 16 * MIB), none: None, field: number!(pipeline_size_max) },
        default: Some("64KiB"),
        help: "Most bytes of further requests held while one is served.",
        doc: "A client that pipelines more waits until its requests have been answered; nothing is lost.",
        ..PLAIN
    },
    Setting {
        name: "body-memory-max",
        category: Category::Sizes,
        kind: Kind::Size { range: Range(4 * KIB, GIB), none: None, field: number!(body_memory_max) },
        default: Some("256KiB"),
        help: "Most bytes of a request's body held in memory.",
        doc: "A body up to this size is in before the application starts. Of a larger one, the rest goes to a temporary file or waits with the \
              client, as --request-buffering says. When the bodies of all clients together hold 64 MiB, each may hold 16 KiB.",
        ..PLAIN
    },
    Setting {
        name: "underscore-names",
        category: Category::Http,
        kind: Kind::Choice(|s| &mut s.underscore_names),
        default: Some("drop"),
        help: "What becomes of request fields with _ in their names.",
        doc: "CGI variables cannot tell X_Real_IP from X-Real-IP (RFC 3875 section 4.1.18), so a client could put its word in place of \
              a proxy's. drop: the field is left out. refuse: the request is answered with 400. keep: the field is passed on, for \
              peers whose every field is trusted.",
        ..PLAIN
    },
    Setting {
        name: "hop-by-hop",
        category: Category::Http,
        kind: Kind::Choice(|s| &mut s.hop_by_hop),
        default: Some("drop"),
        help: "What becomes of hop-by-hop fields that the application sets.",
        doc: "PEP 3333 forbids applications to set Connection, Transfer-Encoding and the like. drop: the field is left out, and the log \
              says so. raise: `start_response` raises, as the PEP has it; for development.",
        ..PLAIN
    },
    Setting {
        name: "server-header",
        category: Category::Http,
        kind: Kind::Special {
            placeholder: "TEXT",
            accepted: "on, off, or the text to send",
            put: |s, value| put(&mut s.server_header, texts::server_header(value)),
            get: |s| Some(Value::Text(s.server_header.clone().unwrap_or_else(|| "off".into()))),
        },
        default: Some("on"),
        help: "The Server field of responses.",
        doc: "on sends \"tidegate\", without a version, which would only help those who look for known faults. A Server field that the \
              application sets itself is left alone.",
        ..PLAIN
    },
    Setting {
        name: "compress",
        category: Category::Http,
        repeats: true,
        kind: Kind::Special {
            placeholder: "CODING",
            accepted: compression::CODINGS_ACCEPTED,
            put: |s, value| put(&mut s.compress, compression::codings(value)),
            get: |s| listed(s.compress.iter()),
        },
        help: "Compress responses: gzip, br, zstd, in order of preference.",
        doc: "For clients that accept one of them, by the type of the response: docs/compression.md. Off by default: a front server or the \
              application may do it already, and a response that holds a secret beside what a client has sent gives some of it away by its \
              size (BREACH).",
        ..PLAIN
    },
    Setting {
        name: "compress-types",
        category: Category::Http,
        repeats: true,
        kind: Kind::Special {
            placeholder: "TYPE",
            accepted: compression::TYPES_ACCEPTED,
            put: |s, value| put(&mut s.compress_types, compression::types(value)),
            get: |s| listed(s.compress_types.iter()),
        },
        default: Some(compression::TYPES_DEFAULT),
        help: "Types of responses that are compressed; can be given several times.",
        doc: "Given, they replace the default. A star stands for any text. text/event-stream is compressed only where it is named without a star: \
              the bytes of events are few, and each is a moment later.",
        ..PLAIN
    },
    Setting {
        name: "compress-size-min",
        category: Category::Http,
        kind: Kind::Size { range: Range(1, MIB), none: None, field: number!(compress_size_min) },
        default: Some("1KiB"),
        help: "Smallest response that is compressed.",
        doc: "Of one that fits into a packet or two there is nothing to gain. Responses whose length is not known when they begin are compressed.",
        ..PLAIN
    },
    Setting {
        name: "compress-size-max",
        category: Category::Http,
        kind: Kind::Size { range: Range(KIB, GIB), none: None, field: number!(compress_size_max) },
        default: Some("1MiB"),
        help: "Largest response that is compressed, where its length is known.",
        doc: "Compressing takes the application's thread, or the loop, 3 to 30 ms for each MiB. It bounds files too, and the first block of a \
              response whose length is not known; what comes in smaller blocks is compressed however much it becomes.",
        ..PLAIN
    },
    Setting {
        name: "trusted-proxies",
        category: Category::Http,
        repeats: true,
        kind: Kind::Special {
            placeholder: "ADDRESS",
            accepted: trusted_proxy::ACCEPTED,
            put: |s, value| put(&mut s.trusted_proxies, several(value, TrustedProxy::parse)),
            get: |s| listed(s.trusted_proxies.iter()),
        },
        help: "Front server whose word is taken; can be given several times.",
        doc: "An address, a network such as 10.0.0.0/8, or unix for whoever may connect to a unix socket. What they say of a request is \
              believed: whose it is (forwarded), its id (request-id), and when it came to them (X-Request-Start): docs/proxies.md, \
              docs/request-ids.md. They alone may connect where the PROXY protocol is spoken. Nobody is by default, because a client can say \
              the same.",
        ..PLAIN
    },
    Setting {
        name: "forwarded",
        category: Category::Http,
        kind: Kind::Choice(|s| &mut s.forwarded),
        default: Some("x-forwarded"),
        help: "Fields in which trusted proxies say whose a request is.",
        doc: "x-forwarded: X-Forwarded-For and its like, which nearly all send. forwarded: Forwarded (RFC 7239). off: none is believed. Never both: \
              a proxy that sets one passes the other on as a client has sent it.",
        ..PLAIN
    },
    Setting {
        name: "forwarded-facts",
        category: Category::Http,
        repeats: true,
        kind: Kind::Special {
            placeholder: "FACT,...",
            accepted: "for, proto, host, port, prefix",
            put: |s, value| {
                put(&mut s.forwarded_facts, several(value, forwarded_facts).map(|facts| facts.concat()))
            },
            get: |s| listed(s.forwarded_facts.iter().map(Choice::word)),
        },
        default: Some("for,proto"),
        help: "What trusted proxies say of a request and is believed.",
        doc: "for: the client's address. proto: its scheme. host: whom it has asked. port: the port of that. prefix: what was taken off the path, for \
              SCRIPT_NAME or root_path. Name only what the proxy sets itself in every request: what it does not, a client can send through it.",
        ..PLAIN
    },
    Setting {
        name: "untrusted-forwarded",
        category: Category::Http,
        kind: Kind::Choice(|s| &mut s.untrusted_forwarded),
        default: Some("auto"),
        help: "What becomes of X-Forwarded-*, Forwarded and X-Real-IP of others.",
        doc: "Applications and their middleware may take them for a proxy's. drop: they are left out of requests of peers that are not trusted. keep: \
              they are passed on. auto: drop where there are trusted proxies, and else keep, as the server does not know who stands in front.",
        ..PLAIN
    },
    Setting {
        name: "request-id",
        category: Category::Http,
        kind: Kind::Switch(|s| &mut s.request_id),
        default: Some("false"),
        help: "Give each request an id, for logs, the application and the client.",
        doc: "That of a trusted proxy, if it has sent a good one, or else a new UUID, which replaces what a client has sent: docs/request-ids.md. \
              Off by default, because an application or its middleware may have ids already, and every response has one field more.",
        ..PLAIN
    },
    Setting {
        name: "request-id-header",
        category: Category::Http,
        kind: Kind::Special {
            placeholder: "NAME",
            accepted: "a name of letters, digits and -, of no field that has a meaning of its own",
            put: |s, value| put(&mut s.request_id_header, texts::request_id_header(value)),
            get: |s| Some(shown(&s.request_id_header)),
        },
        default: Some("X-Request-ID"),
        help: "The field in which a request's id comes, and goes.",
        doc: "For front servers and clients that call it otherwise: X-Correlation-ID, X-Amzn-Trace-Id.",
        ..PLAIN
    },
    Setting {
        name: "http",
        category: Category::Http,
        kind: Kind::Choice(|s| &mut s.http),
        default: Some("auto"),
        help: "Versions of HTTP that are spoken.",
        doc: "auto: HTTP/1.1, and HTTP/2 over TLS with a client that asks for it (ALPN). 1: HTTP/1.1 alone. h2c: HTTP/2 in plain text too, with \
              a client that begins with it, as proxies do that are told to; others are spoken to in HTTP/1.1 as before: docs/http2.md.",
        ..PLAIN
    },
    Setting {
        name: "http2-streams-max",
        category: Category::Http,
        kind: Kind::Count { range: Range(1, 10_000), note: "", field: number!(http2_streams_max) },
        default: Some("128"),
        help: "Requests that one HTTP/2 connection has at once.",
        doc: "The client is told, and what it sends beyond is refused (REFUSED_STREAM), so that it may send it again. RFC 9113 section 6.5.2 asks \
              for no less than 100. It is --max-concurrency that says how many of them run.",
        ..PLAIN
    },
    Setting {
        name: "http2-window-size",
        category: Category::Http,
        kind: Kind::Size { range: Range(65_535, 16 * MIB), none: None, field: number!(http2_window_size) },
        default: Some("128KiB"),
        help: "What an HTTP/2 client may send of a body before some of it is taken.",
        doc: "A line brings this much for each of its round trips: more makes uploads over long lines faster, and lets each request whose application \
              does not read hold as much. A connection has room for all of its requests' windows, so that none holds up another.",
        ..PLAIN
    },
    Setting {
        name: "static",
        category: Category::Files,
        repeats: true,
        tables: Some("{ prefix = \"...\", dir = \"...\" }"),
        kind: Kind::Special {
            placeholder: "/PREFIX=DIR",
            accepted: static_files::ACCEPTED,
            put: |s, value| put(&mut s.static_files, static_files::directories(value)),
            get: |s| {
                let shown = s.static_files.iter().map(StaticDirectory::shown);
                (!s.static_files.is_empty()).then(|| Value::List(shown.collect()))
            },
        },
        help: "Directory that is served below a prefix; can be given several times.",
        doc: "By the server itself, before any application is asked: with types, validators, ranges, and what lies beside a file in .br, .zst or .gz. \
              The longest prefix that matches whole segments of the percent-decoded path has the request. What is not found is a 404, or with \
              fallthrough the application's. Names that begin with a dot are not served, nor what links lead to outside of the directory. \
              See docs/static.md.",
        ..PLAIN
    },
    Setting {
        name: "sendfile-header",
        category: Category::Files,
        kind: Kind::Choice(|s| &mut s.sendfile_header),
        default: Some("off"),
        help: "By which response field applications name files to be sent.",
        doc: "x-sendfile: X-Sendfile has a path below a --sendfile-root. x-accel-redirect: X-Accel-Redirect has a path below a prefix of --static that is \
              internal. The file takes the place of the body, with ranges and conditions; what else the application says stays. off: the fields \
              are sent on, for a front server that knows them.",
        ..PLAIN
    },
    Setting {
        name: "sendfile-root",
        category: Category::Files,
        repeats: true,
        kind: Kind::Special {
            placeholder: "DIR",
            accepted: "directories",
            put: |s, value| put(&mut s.sendfile_root, several(value, texts::path)),
            get: |s| listed(s.sendfile_root.iter().map(|path| path.display())),
        },
        help: "Directory whose files X-Sendfile may name; can be given several times.",
        doc: "What is outside of all of them is answered with 500, and told in the log.",
        ..PLAIN
    },
    Setting {
        name: "certfile",
        category: Category::Tls,
        kind: Kind::Special {
            placeholder: "FILE",
            accepted: "the path of a file",
            put: |s, value| put(&mut s.certfile, texts::path(text(value)?).map(Some)),
            get: |s| s.certfile.as_deref().map(|path| shown(&path.display())),
        },
        help: "File with the certificate to show, in PEM.",
        doc: "The chain: the server's own certificate first, then those that lead to an authority. With it, addresses to listen on that do not say what is \
              spoken there speak https. Read before privileges are dropped, and again when it changes or the server is reloaded: docs/tls.md.",
        ..PLAIN
    },
    Setting {
        name: "keyfile",
        category: Category::Tls,
        kind: Kind::Special {
            placeholder: "FILE",
            accepted: "the path of a file",
            put: |s, value| put(&mut s.keyfile, texts::path(text(value)?).map(Some)),
            get: |s| s.keyfile.as_deref().map(|path| shown(&path.display())),
        },
        help: "File with the key of --certfile, in PEM.",
        doc: "PKCS #8, SEC 1 or PKCS #1, not encrypted. Without it, the key is in the file of the certificate. It should be readable by its owner alone.",
        ..PLAIN
    },
    Setting {
        name: "ocsp-file",
        category: Category::Tls,
        kind: Kind::Special {
            placeholder: "FILE",
            accepted: "the path of a file",
            put: |s, value| put(&mut s.ocsp_file, texts::path(text(value)?).map(Some)),
            get: |s| s.ocsp_file.as_deref().map(|path| shown(&path.display())),
        },
        help: "File with an OCSP answer about --certfile, in DER, to be stapled.",
        doc: "Whoever fetches it (a timer that calls openssl ocsp, say) puts it there anew; it is read when it changes.",
        ..PLAIN
    },
    Setting {
        name: "certificates",
        category: Category::Tls,
        repeats: true,
        tables: Some("{ certfile = \"...\" }"),
        kind: Kind::Special {
            placeholder: "TABLE",
            accepted: tls::ACCEPTED,
            put: |s, value| put(&mut s.certificates, tls::certificates(value)),
            get: |s| {
                let shown = || Value::List(s.certificates.iter().map(Certificate::shown).collect());
                (!s.certificates.is_empty()).then(shown)
            },
        },
        help: "Certificate for other names (SNI); can be given several times.",
        doc: "Each is shown for its names, which are those in the certificate itself unless they are given; *.example.com stands for one label. \
              Clients that ask for a name that none has, or for none, are shown --certfile, or the first of these.",
        ..PLAIN
    },
    Setting {
        name: "dev-cert",
        category: Category::Tls,
        kind: Kind::Switch(|s| &mut s.dev_cert),
        default: Some("false"),
        help: "Speak https with a certificate that is made for this machine.",
        doc: "For development: it vouches for itself, for localhost, 127.0.0.1, ::1 and the name of the machine. It is kept for a year in \
              $XDG_CACHE_HOME/tidegate or ~/.cache/tidegate; the log says where.",
        ..PLAIN
    },
    Setting {
        name: "tls-min-version",
        category: Category::Tls,
        kind: Kind::Special {
            placeholder: "VERSION",
            accepted: "1.2, 1.3",
            put: |s, value| put(&mut s.only_tls13, tls::only_tls13(value)),
            get: |s| Some(shown(if s.only_tls13 { "1.3" } else { "1.2" })),
        },
        default: Some("1.2"),
        help: "The oldest version of TLS that is spoken.",
        doc: "Older ones than 1.2 are not known (RFC 8996).",
        ..PLAIN
    },
    Setting {
        name: "tls-ciphers",
        category: Category::Tls,
        repeats: true,
        kind: Kind::Special {
            placeholder: "SUITE",
            accepted: "names of cipher suites at IANA, such as TLS_AES_128_GCM_SHA256 and TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            put: |s, value| put(&mut s.tls_ciphers, several(value, tls::suite)),
            get: |s| listed(s.tls_ciphers.iter()),
        },
        help: "Cipher suites that are offered; can be given several times.",
        doc: "For those whom a rule binds; no suite is known that is not safe. Without it, all nine: docs/tls.md.",
        ..PLAIN
    },
    Setting {
        name: "client-ca",
        category: Category::Tls,
        kind: Kind::Special {
            placeholder: "FILE",
            accepted: "the path of a file",
            put: |s, value| put(&mut s.client_ca, texts::path(text(value)?).map(Some)),
            get: |s| s.client_ca.as_deref().map(|path| shown(&path.display())),
        },
        help: "File with the authorities that sign clients' certificates, in PEM.",
        doc: "Clients are then asked for a certificate, and what theirs says is in environ (SSL_CLIENT_S_DN and others) and in the ASGI TLS extension.",
        ..PLAIN
    },
    Setting {
        name: "client-auth",
        category: Category::Tls,
        kind: Kind::Special {
            placeholder: "CHOICE",
            accepted: "none, optional, required",
            put: |s, value| put(&mut s.client_auth, tls::client_auth(value).map(Some)),
            get: |s| s.client_auth.map(|choice| shown(choice.word())),
        },
        help: "Whether clients must have a certificate, where there is --client-ca.",
        doc: "required, which it is without this: the handshake fails without. optional: the application sees who has none (SSL_CLIENT_VERIFY is NONE); a bad one is refused all \
              the same. none: they are not asked.",
        ..PLAIN
    },
    Setting {
        name: "client-crl",
        category: Category::Tls,
        kind: Kind::Special {
            placeholder: "FILE",
            accepted: "the path of a file",
            put: |s, value| put(&mut s.client_crl, texts::path(text(value)?).map(Some)),
            get: |s| s.client_crl.as_deref().map(|path| shown(&path.display())),
        },
        help: "File with lists of revoked clients' certificates, in PEM.",
        doc: "As with nginx, each authority of a chain must have its list in it, and a list that is out of date refuses everybody. It is read when it changes, and \
              sessions from before are not resumed then.",
        ..PLAIN
    },
    Setting {
        name: "hsts",
        category: Category::Tls,
        kind: Kind::Special {
            placeholder: "SECONDS",
            accepted: "SECONDS, and behind it \"; includeSubDomains\" and \"; preload\" if need be",
            put: |s, value| put(&mut s.hsts, tls::hsts(value).map(Some)),
            get: |s| s.hsts.as_ref().map(tls::Hsts::shown),
        },
        help: "How long browsers are to come by https alone (HSTS).",
        doc: "Strict-Transport-Security is sent with responses to requests by https, unless the application sends the field itself (RFC 6797). Begin with minutes: it \
              cannot be taken back from a browser that has seen it.",
        ..PLAIN
    },
    Setting {
        name: "websocket-message-size-max",
        category: Category::WebSockets,
        kind: Kind::Size { range: Range(1, GIB), none: None, field: number!(websocket_message_size_max) },
        default: Some("16MiB"),
        help: "Largest message that is received, once decompressed.",
        doc: "A larger one closes the connection with 1009. A message is handed over whole, so it is held in memory until it is complete.",
        ..PLAIN
    },
    Setting {
        name: "websocket-frame-size-max",
        category: Category::WebSockets,
        kind: Kind::Size {
            range: Range(1, GIB),
            none: None,
            field: number_or_none!(websocket_frame_size_max),
        },
        help: "Largest frame that is received.",
        doc: "A larger one closes the connection with 1009. Without it, as large as a message: how a peer cuts its messages is its own business.",
        ..PLAIN
    },
    Setting {
        name: "websocket-queue-size",
        category: Category::WebSockets,
        kind: Kind::Size { range: Range(KIB, GIB), none: None, field: number!(websocket_queue_size) },
        default: Some("64KiB"),
        help: "Most bytes of messages that wait for the application.",
        doc: "Beyond it the connection is not read until the application has received some; the message that goes beyond it is taken whole. As \
              much as --pipeline-size-max lets a client send ahead: hundreds of short messages, so that reading seldom pauses, and under 1 GiB \
              for ten thousand connections whose applications have all stopped receiving.",
        ..PLAIN
    },
    Setting {
        name: "websocket-ping-interval",
        category: Category::WebSockets,
        kind: Kind::Duration {
            range: Range(1, 24 * HOUR),
            can_be_off: true,
            field: number_or_none!(websocket_ping_interval_ms),
        },
        default: Some("20s"),
        help: "How often a peer is asked whether it is there.",
        doc: "A ping also keeps connections open in proxies and address translators, the usual ones of which forget those that are silent for 60 s.",
        ..PLAIN
    },
    Setting {
        name: "websocket-ping-timeout",
        category: Category::WebSockets,
        kind: Kind::Duration {
            range: Range(1, HOUR),
            can_be_off: false,
            field: number!(websocket_ping_timeout_ms),
        },
        default: Some("20s"),
        help: "How long a peer has to answer a ping.",
        doc: "Then the connection is cut: a peer whose machine or network is gone says nothing.",
        ..PLAIN
    },
    Setting {
        name: "websocket-close-timeout",
        category: Category::WebSockets,
        kind: Kind::Duration {
            range: Range(1, HOUR),
            can_be_off: false,
            field: number!(websocket_close_timeout_ms),
        },
        default: Some("10s"),
        help: "How long a peer has to answer a close.",
        doc: "Then the connection is cut (RFC 6455 section 7.1.1).",
        ..PLAIN
    },
    Setting {
        name: "websocket-compression",
        category: Category::WebSockets,
        kind: Kind::Switch(|s| &mut s.websocket_compression),
        default: Some("true"),
        help: "Compress messages for peers that offer it (permessage-deflate).",
        doc: "RFC 7692, without context takeover: each message is compressed by itself, so that a connection at rest holds no compressor.",
        ..PLAIN
    },
    Setting {
        name: "admin",
        category: Category::Observation,
        repeats: true,
        kind: Kind::Special {
            placeholder: "ADDRESS",
            accepted: address::ACCEPTED,
            put: |s, value| put(&mut s.admin, plain_addresses(value)),
            get: |s| (!s.admin.is_empty()).then(|| Value::List(s.admin.iter().map(shown).collect())),
        },
        help: "Address of the admin listener; can be given several times.",
        doc: "Where the server shows what it does: a page, its metrics, and whether it is well (docs/observe.md). Whoever reaches it sees the \
              paths of requests and the code that they are at, so it belongs on an address of its own that only operators and their tools \
              reach, such as 127.0.0.1:9000 or unix:PATH.",
        ..PLAIN
    },
    Setting {
        name: "admin-allowed-hosts",
        category: Category::Observation,
        repeats: true,
        kind: Kind::Special {
            placeholder: "HOST",
            accepted: "the name of a host, without a port",
            put: |s, value| put(&mut s.admin_allowed_hosts, several(value, texts::host_name)),
            get: |s| {
                let hosts = &s.admin_allowed_hosts;
                (!hosts.is_empty()).then(|| Value::List(hosts.iter().map(shown).collect()))
            },
        },
        help: "Name for which the admin page answers; can be given several times.",
        doc: "localhost and addresses always may. Any other name could be one that a hostile page in an operator's browser has had pointed to \
              the server (DNS rebinding). Metrics and health are told under every name.",
        ..PLAIN
    },
    Setting {
        name: "observe",
        category: Category::Observation,
        kind: Kind::Choice(|s| &mut s.observe),
        default: Some("auto"),
        help: "Whether requests are counted, measured and shown.",
        doc: "auto: where somebody can ask for it, by --admin or --control-socket, or is told of it, by --otlp-endpoint. off saves a little time with each request of a server whose \
              control socket is only for commands.",
        ..PLAIN
    },
    Setting {
        name: "otlp-endpoint",
        category: Category::Observation,
        kind: Kind::Special {
            placeholder: "URL",
            accepted: otlp::ENDPOINT_ACCEPTED,
            put: |s, value| put(&mut s.otlp_endpoint, otlp::endpoint(value).map(Some)),
            get: |s| s.otlp_endpoint.as_ref().map(shown),
        },
        help: "Send a span of each request to this OpenTelemetry collector.",
        doc: "By OTLP/HTTP in JSON, to /v1/traces below the address, such as http://127.0.0.1:4318. The application's own spans become children \
              of the server's, by the traceparent that it finds: docs/tracing.md. A thread of its own sends them; requests do not wait.",
        ..PLAIN
    },
    Setting {
        name: "otlp-sample",
        category: Category::Observation,
        kind: Kind::Special {
            placeholder: "PART",
            accepted: otlp::SAMPLE_ACCEPTED,
            put: |s, value| put(&mut s.otlp_sample, otlp::sample(value)),
            get: |s| Some(Value::Float(s.otlp_sample)),
        },
        default: Some("1"),
        help: "The part, from 0 to 1, of the traces that begin here that is recorded.",
        doc: "Whether a trace is recorded that a trusted proxy has begun, that proxy has decided. All of them, as OpenTelemetry's SDKs have it: who turns this \
              on wants to see something.",
        ..PLAIN
    },
    Setting {
        name: "otlp-service-name",
        category: Category::Observation,
        kind: Kind::Special {
            placeholder: "NAME",
            accepted: otlp::SERVICE_NAME_ACCEPTED,
            put: |s, value| put(&mut s.otlp_service_name, otlp::service_name(value).map(Some)),
            get: |s| s.otlp_service_name.as_ref().map(shown),
        },
        help: "What the collector knows this server as (service.name).",
        doc: "Without it, what the variable OTEL_SERVICE_NAME says, which the application's SDK takes too; without either, tidegate.",
        ..PLAIN
    },
    Setting {
        name: "statsd-host",
        category: Category::Observation,
        kind: Kind::Special {
            placeholder: "ADDRESS",
            accepted: statsd::ACCEPTED,
            put: |s, value| put(&mut s.statsd_host, statsd::address(value).map(Some)),
            get: |s| s.statsd_host.as_ref().map(shown),
        },
        help: "Tell statsd of each request, and of workers.",
        doc: "Under gunicorn's names: gunicorn.requests, gunicorn.request.status.200, gunicorn.request.duration, and gunicorn.workers. By UDP, port 8125 unless another is \
              given, or by a unix socket. The thread that writes the access log does it; requests do not wait: docs/logging.md.",
        ..PLAIN
    },
    Setting {
        name: "statsd-prefix",
        category: Category::Observation,
        kind: Kind::Special {
            placeholder: "PREFIX",
            accepted: "a name, or \"\" for none",
            put: |s, value| put(&mut s.statsd_prefix, statsd::prefix(value)),
            get: |s| Some(shown(&s.statsd_prefix)),
        },
        default: Some(""),
        help: "What stands before each name that statsd is told.",
        doc: "With a dot at its end, which is added where it is missing.",
        ..PLAIN
    },
    Setting {
        name: "statsd-tags",
        category: Category::Observation,
        kind: Kind::Special {
            placeholder: "TAGS",
            accepted: "NAME:VALUE between commas, or \"\" for none",
            put: |s, value| put(&mut s.statsd_tags, statsd::tags(value)),
            get: |s| Some(shown(&s.statsd_tags)),
        },
        default: Some(""),
        help: "Tags of each figure that statsd is told, as Datadog takes them.",
        doc: "",
        ..PLAIN
    },
    Setting {
        name: "access-log",
        category: Category::Logging,
        kind: Kind::Special {
            placeholder: "TARGET",
            accepted: access_log::TARGET_ACCEPTED,
            put: |s, value| put(&mut s.access_log, access_log::target(value)),
            get: |s| Some(s.access_log.as_ref().map_or_else(|| Value::Text("off".into()), shown)),
        },
        default: Some("off"),
        help: "Where a line for each request goes.",
        doc: "off, - for standard output, stderr, the path of a file that is appended to, or a program that collects lines: syslog on this \
              machine (syslog:) or another (syslog://HOST), systemd's journal (journald:). Lines are written by a thread of their own; \
              when the target cannot keep up they are dropped and counted, and requests do not wait: docs/logging.md.",
        ..PLAIN
    },
    Setting {
        name: "access-log-format",
        category: Category::Logging,
        kind: Kind::Special {
            placeholder: "FORMAT",
            accepted: access_log::FORMAT_ACCEPTED,
            put: |s, value| put(&mut s.access_log_format, access_log::format(value)),
            get: |s| Some(shown(&s.access_log_format)),
        },
        default: Some("common"),
        help: "What a line of the access log holds.",
        doc: "common: the Common Log Format. combined: common, then the quoted Referer and User-Agent. json: an object. Anything else is a \
              format string with gunicorn's atoms: docs/logging.md.",
        ..PLAIN
    },
    Setting {
        name: "access-log-slower-than",
        category: Category::Logging,
        kind: Kind::Duration {
            range: Range(1, 24 * HOUR),
            can_be_off: true,
            field: number_or_none!(access_log_slower_than_ms),
        },
        default: Some("off"),
        help: "Log only requests that took at least so long.",
        doc: "From the whole head to the end of the response, as the application gives it. With access-log-status-min beside it, requests that \
              are either are logged.",
        ..PLAIN
    },
    Setting {
        name: "access-log-status-min",
        category: Category::Logging,
        kind: Kind::Count {
            range: Range(100, 599),
            note: "400: errors, 500: the server's",
            field: number_or_none!(access_log_status_min),
        },
        help: "Log only requests that are answered with this status or above.",
        doc: "A response that was cut is one of them too, unless its client has left after its head.",
        ..PLAIN
    },
    Setting {
        name: "access-log-exclude",
        category: Category::Logging,
        repeats: true,
        kind: Kind::Special {
            placeholder: "PATH",
            accepted: "a path as it is sent, exact or with *",
            put: |s, value| put(&mut s.access_log_exclude, several(value, access_log::excluded)),
            get: |s| {
                let paths = &s.access_log_exclude;
                (!paths.is_empty()).then(|| Value::List(paths.iter().map(shown).collect()))
            },
        },
        help: "Do not log these paths, but for errors; can be given several times.",
        doc: "For checks that come every second: /health is that path alone, /static/* all that begins so, /*.css all that ends so. What is answered with 400 or above is logged all the \
              same, and what is cut, unless its client has left after its head.",
        ..PLAIN
    },
    Setting {
        name: "log-level",
        category: Category::Logging,
        kind: Kind::Choice(|s| &mut s.log_level),
        default: Some("info"),
        help: "The least severe of the server's own messages that is written.",
        doc: "error: what has failed, such as a worker or a reload. warning: what works otherwise than it was meant to. info: what \
              happens to the server. debug: what happens to each connection. What the application does wrong goes through Python's logging.",
        ..PLAIN
    },
    Setting {
        name: "log-config",
        category: Category::Logging,
        reach: Reach::Process,
        kind: Kind::Special {
            placeholder: "FILE",
            accepted: "a file that ends in .json, .toml, .ini or .conf",
            put: |s, value| put(&mut s.log_config, access_log::log_config(text(value)?).map(Some)),
            get: |s| s.log_config.as_deref().map(|path| shown(&path.display())),
        },
        help: "Configure Python's logging by this file.",
        doc: "In each worker, before the application is imported: by logging.config.dictConfig what is in .json and .toml (from Python 3.11 on), \
              by fileConfig .ini and .conf.",
        ..PLAIN
    },
    Setting {
        name: "config",
        category: Category::Configuration,
        reach: Reach::Start,
        kind: Kind::Special {
            placeholder: "PATH",
            accepted: "a path, or none",
            put: |s, value| put(&mut s.config, texts::config(value)),
            get: |s| match &s.config {
                Config::Search => None,
                Config::None => Some(Value::Text("none".into())),
                Config::File(path) => Some(shown(&path.display())),
            },
        },
        help: "Read settings from this file alone; \"none\" reads no file.",
        doc: "Without it, tidegate.toml and the [tool.tidegate] table of pyproject.toml are read where they exist, in --chdir or else in \
              the working directory; the former wins. A file named pyproject.toml is read for its [tool.tidegate] table here too.",
        ..PLAIN
    },
    Setting {
        name: "env",
        category: Category::Configuration,
        reach: Reach::Start,
        kind: Kind::Special {
            placeholder: "NAME",
            accepted: "the NAME of an [env.NAME] table",
            put: |s, value| put(&mut s.env, texts::name(value).map(Some)),
            get: |s| s.env.as_deref().map(shown),
        },
        help: "Which [env.NAME] table of the settings files is used.",
        doc: "In tidegate.toml [env.NAME], in pyproject.toml [tool.tidegate.env.NAME]: its settings come before those that the file \
              has outside of such tables. See docs/configuration.md.",
        ..PLAIN
    },
];

fn put<T>(field: &mut T, value: Result<T, Fault>) -> Result<(), Fault> {
    *field = value?;
    Ok(())
}

fn shown(value: &(impl ToString + ?Sized)) -> Value {
    Value::Text(value.to_string())
}

/// One value or several, each read by `parse`; the fault of one among several names it.
fn several<T>(value: &Value, parse: fn(&str) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let typed = match value {
        Value::List(values) => values.as_slice(),
        single => std::slice::from_ref(single),
    };
    let read = |value: &Value| {
        parse(text(value)?).map_err(|fault| match typed {
            [_] => fault,
            _ => format!("{}: {fault}", value.excerpt()),
        })
    };
    typed.iter().map(read).collect()
}

/// Several values as they are read back; nothing where there are none.
fn listed<T: std::fmt::Display>(values: impl Iterator<Item = T>) -> Option<Value> {
    let values: Vec<_> = values.map(|value| shown(&value)).collect();
    (!values.is_empty()).then_some(Value::List(values))
}

/// Facts that are put together with commas.
fn forwarded_facts(text: &str) -> Result<Vec<ForwardedFact>, Fault> {
    let read = |word: &str| {
        let mut fact = ForwardedFact::For;
        if fact.choose(word.trim()) { Ok(fact) } else { Err(format!("there is no {word:?}")) }
    };
    text.split(',').map(read).collect()
}

/// Any number of mounts; no prefix twice, since the second would never be called.
fn put_mounts(settings: &mut Settings, value: &Value) -> Result<(), Fault> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in several(value, Mount::parse)? {
        if let Some(other) = mounts.iter().find(|other| other.prefix == mount.prefix) {
            return Err(format!("{other} and {mount} have the same prefix"));
        }
        mounts.push(mount);
    }
    settings.mounts = mounts;
    Ok(())
}

/// One address or several; at least one, and none twice, since the second would find the port taken.
fn put_bind(settings: &mut Settings, value: &Value) -> Result<(), Fault> {
    let addresses = addresses(value)?;
    if addresses.is_empty() {
        return Err("at least one address is needed".into());
    }
    settings.bind = addresses;
    Ok(())
}

/// Addresses, none of them twice.
fn addresses(value: &Value) -> Result<Vec<Bind>, Fault> {
    let mut addresses: Vec<Bind> = Vec::new();
    for address in several(value, Bind::parse)? {
        // Each port 0 is another port.
        let is_listed = addresses.iter().any(|other| other.address == address.address);
        if is_listed && !matches!(address.address, Address::Tcp { port: 0, .. }) {
            return Err(format!("{address} stands there twice"));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Addresses where nothing but HTTP is spoken.
fn plain_addresses(value: &Value) -> Result<Vec<Bind>, Fault> {
    let addresses = addresses(value)?;
    match addresses.iter().find(|bind| bind.scheme.is_some()) {
        Some(bind) => Err(format!("{bind}: an address alone is wanted")),
        None => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_words_and_digits_joined_by_hyphens_and_unique() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(setting.name.bytes().all(good), "{}", setting.name);
            for other in &SETTINGS[index + 1..] {
                assert_ne!(setting.name, other.name);
                assert!(setting.short.is_none() || setting.short != other.short, "{}", setting.name);
            }
        }
    }

    #[test]
    fn every_category_is_one_run_of_settings() {
        let mut seen = Vec::new();
        for setting in SETTINGS {
            if seen.last() != Some(&setting.category.title()) {
                assert!(!seen.contains(&setting.category.title()), "{}", setting.name);
                seen.push(setting.category.title());
            }
        }
    }

    #[test]
    fn help_is_one_sentence_that_fits_a_line() {
        for setting in SETTINGS {
            assert!(setting.help.ends_with('.'), "{}", setting.name);
            assert!(setting.help.len() <= 72, "{}: {}", setting.name, setting.help.len());
            assert!(setting.doc.is_empty() || setting.doc.ends_with('.'), "{}", setting.name);
        }
    }

    #[test]
    fn every_default_is_accepted_and_shown_as_it_is_typed() {
        for setting in SETTINGS {
            let mut settings = Settings::blank();
            let Some(default) = setting.default else {
                assert_eq!(setting.kind.show(&settings), None, "{}", setting.name);
                continue;
            };
            assert_eq!(
                setting.kind.put(&mut settings, &Value::Text(default.into())),
                Ok(()),
                "{}",
                setting.name
            );
            let shown = setting.kind.show(&settings).unwrap();
            assert_eq!(setting.kind.put(&mut settings, &shown), Ok(()), "{}", setting.name);
            assert_eq!(setting.kind.show(&settings).as_ref(), Some(&shown), "{}", setting.name);
        }
    }
}
