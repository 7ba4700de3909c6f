//! `tidegate migrate`: what is made of other servers' settings. That the result serves is for tests/command/test_migrate.py.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_supervisor::migrate::{Migrated, Source, rewritten};
use tidegate_supervisor::{Outcome, SettingsError, Value, from_command_line};

/// A directory of its own for each test, with these files in it.
fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("migrate").join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    for (file, text) in files {
        fs::write(path.join(file), text).unwrap();
    }
    path
}

fn migrate_with(
    args: &[&str],
    cwd: &Path,
    variables: &[(&str, &str)],
    names: &[(&str, Value)],
) -> Result<Migrated, SettingsError> {
    let args: Vec<OsString> = ["migrate"].iter().chain(args).map(Into::into).collect();
    let mut variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    match from_command_line(&args, &mut variables, cwd)? {
        Outcome::Migrate(request) => request.run(&mut |_| {
            Ok(names.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
        }),
        other => panic!("{other:?}"),
    }
}

fn migrate(args: &[&str], cwd: &Path) -> Migrated {
    migrate_with(args, cwd, &[], &[]).unwrap()
}

fn line(args: &[&str], cwd: &Path) -> String {
    let line = migrate_with(args, cwd, &[], &[]).unwrap_err().to_string();
    assert!(!line.contains(char::is_control), "{line:?}");
    line
}

/// The settings that were written, without comments, after our own reader has taken them.
fn written(cwd: &Path) -> Vec<String> {
    let path = cwd.join("tidegate.toml");
    let args = ["config", "check", "--config"].map(OsString::from).into_iter().chain([path.clone().into()]);
    let checked = from_command_line(&args.collect::<Vec<_>>(), &mut std::iter::empty(), cwd);
    assert!(matches!(checked, Ok(Outcome::Check(..))), "{checked:?}");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
}

/// What an ini file with these lines becomes, without what its silence becomes.
fn of_uwsgi(name: &str, lines: &str) -> (Vec<String>, Migrated) {
    let text = format!("[uwsgi]\nmodule = site\nthreads = 2\ndisable-logging = true\n{lines}\n");
    let cwd = directory(name, &[("uwsgi.ini", &text)]);
    let migrated = migrate(&["uwsgi", "uwsgi.ini"], &cwd);
    let mut settings = written(&cwd);
    settings.retain(|line| line != "threads = 2" && line != "app = \"site\"");
    (settings, migrated)
}

/// What gunicorn's arguments become, without what their silence becomes.
fn of_gunicorn(name: &str, args: &[&str]) -> (Vec<String>, Migrated) {
    let cwd = directory(name, &[]);
    let args = [&["gunicorn", "--", "site:app", "--threads=2"], args].concat();
    let migrated = migrate(&args, &cwd);
    let mut settings = written(&cwd);
    settings.retain(|line| line != "threads = 2" && line != "app = \"site:app\"");
    (settings, migrated)
}

#[test]
fn options_of_uwsgis_become_settings_in_our_units() {
    for (index, (lines, expected)) in [
        ("processes = 4", &["workers = 4"] as &[&str]),
        ("processes = %k", &["workers = \"auto\""]),
        ("listen = 1024", &["backlog = 1024"]),
        ("http = :8080", &["bind = [\":8080\"]"]),
        ("http-socket = 127.0.0.1:80", &["bind = [\"127.0.0.1:80\"]"]),
        ("socket = /run/a.sock", &["bind = [\"uwsgi://unix:/run/a.sock\"]"]),
        ("socket = :3031\nprotocol = http", &["bind = [\":3031\"]"]),
        (
            "uwsgi-socket = :3031\nsocket = :1\nsocket-protocol = scgi",
            &["bind = [\"uwsgi://:3031\", \"scgi://:1\"]"],
        ),
        ("fastcgi-socket = 127.0.0.1:9000", &["bind = [\"fastcgi://127.0.0.1:9000\"]"]),
        ("http-socket = fd://3", &["bind = [\"fd://3\"]"]),
        ("shared-socket = :80\nhttp-socket = =0", &["bind = [\":80\"]"]),
        ("chmod-socket = 664", &["unix-socket-mode = \"664\""]),
        ("chmod-socket", &["unix-socket-mode = \"666\""]),
        ("chown-socket = www-data:www-data", &["unix-socket-owner = \"www-data:www-data\""]),
        ("gevent = 500", &["concurrency = \"greenlets\"", "max-concurrency = 500"]),
        ("thread-stacksize = 512", &["thread-stack-size = \"512KiB\""]),
        ("max-requests = 1000", &["max-requests = 1000"]),
        ("max-requests = 0", &[]),
        ("max-worker-lifetime = 3600", &["max-lifetime = \"1h\""]),
        ("reload-on-rss = 256", &["max-rss = \"256MiB\""]),
        ("worker-reload-mercy = 20", &["graceful-timeout = \"20s\""]),
        ("pidfile = /run/a.pid", &["pid-file = \"/run/a.pid\""]),
        ("uid = www\ngid = web", &["user = \"www\"", "group = \"web\""]),
        ("umask = 022", &["umask = \"022\""]),
        ("limit-post = 1048576", &["body-size-max = \"1MiB\""]),
        ("limit-post = 0", &["body-size-max = \"unlimited\""]),
        ("buffer-size = 8192", &[]),
        ("buffer-size = 32768", &["line-size-max = \"32KiB\""]),
        ("buffer-size = 131072", &["head-size-max = 131072", "line-size-max = \"128KiB\""]),
        ("post-buffering = 8192", &["request-buffering = \"on\"", "body-memory-max = \"8KiB\""]),
        ("socket-timeout = 30", &["body-timeout = \"30s\"", "write-timeout = \"30s\""]),
        ("http-keepalive = 90", &["keep-alive-timeout = \"90s\""]),
        ("http-keepalive = 1", &[]),
        ("mount = /api=api.py\ncallable = app", &["mount = [\"/api=api:app\"]"]),
        ("req-logger = file:/var/log/a.log", &["access-log = \"/var/log/a.log\""]),
        ("log-5xx = true", &["access-log = \"-\"", "access-log-status-min = 500"]),
        ("log-slow = 1500", &["access-log = \"-\"", "access-log-slower-than = \"1500ms\""]),
    ]
    .into_iter()
    .enumerate()
    {
        let (settings, migrated) = of_uwsgi(&format!("uwsgi-{index}"), lines);
        // The callable is the application's too.
        let settings: Vec<_> = settings.into_iter().filter(|line| !line.starts_with("app = ")).collect();
        assert_eq!(settings, expected, "{lines}");
        assert!(migrated.is_whole, "{lines}: {}", migrated.text);
    }
}

#[test]
fn directories_of_uwsgis_are_served_and_what_is_no_file_goes_to_the_application() {
    let table = |prefix, dir, more: &str| {
        format!("static = [{{ prefix = \"{prefix}\", dir = \"{dir}\"{more}, fallthrough = true }}]")
    };
    let off = ", index = \"off\"";
    for (index, (lines, expected)) in [
        ("static-map = /static=/srv/static", table("/static", "/srv/static", off)),
        ("static-map = /static/=assets/", table("/static", "assets/", off)),
        ("static-map2 = /a/b=/srv/", table("/a/b", "/srv/a/b", off)),
        ("check-static = /srv/public\nstatic-index = index.html", table("/", "/srv/public", "")),
        ("static-map = /a=/b\nstatic-index = start.htm", table("/a", "/b", ", index = \"start.htm\"")),
        (
            "static-map = /a=/b\nstatic-expires-uri = /* 3600",
            table("/a", "/b", &format!("{off}, max-age = \"1h\"")),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (settings, migrated) = of_uwsgi(&format!("uwsgi-files-{index}"), lines);
        assert_eq!(settings, [expected], "{lines}");
        assert!(migrated.is_whole, "{lines}: {}", migrated.text);
        assert!(migrated.text.contains("Names that begin with a dot"), "{}", migrated.text);
        assert_eq!(migrated.text.contains("60 seconds"), !lines.contains("expires"), "{}", migrated.text);
    }

    let cwd = directory("uwsgi-file", &[("robots.txt", "")]);
    let lines = [
        &format!("static-map = /robots.txt={}", cwd.join("robots.txt").display()),
        "static-map = /static",
        "check-static = /a",
        "check-static = /b",
        "static-expires = /img/.* 3600",
        "static-index = a.html",
        "static-index = b.html",
        "static-safe = /srv/other",
    ];
    let (settings, migrated) = of_uwsgi("uwsgi-files-not", &lines.join("\n"));
    assert_eq!(settings, [table("/", "/a", ", index = \"a.html\"")]);
    for (option, said) in [
        ("static-map = /robots.txt", "a single file"),
        ("static-map = /static", "not PREFIX=DIR"),
        ("check-static = /b", "have the same prefix"),
        ("static-expires", "where it is said of all files"),
        ("static-index = b.html", "one index"),
        ("static-safe", "links lead nowhere outside"),
    ] {
        let line = migrated.text.lines().find(|line| line.trim_start().starts_with(option));
        assert!(line.is_some_and(|line| line.contains(said)), "{option}: {}", migrated.text);
    }
    assert!(migrated.text.contains("Cannot be done (6)"), "{}", migrated.text);
}

#[test]
fn one_request_at_a_time_stays_one_request_at_a_time() {
    let cwd = directory("single", &[("uwsgi.ini", "[uwsgi]\nmodule = site:app\nharakiri = 30\n")]);
    let migrated = migrate(&["uwsgi", "uwsgi.ini"], &cwd);
    let expected = ["app = \"site:app\"", "threads = 1", "request-timeout = \"30s\"", "access-log = \"-\""];
    assert_eq!(written(&cwd), expected);
    assert!(migrated.is_whole, "{}", migrated.text);

    let cwd = directory("sync", &[]);
    let migrated = migrate(&["gunicorn", "--", "site:app", "-t", "30"], &cwd);
    assert_eq!(written(&cwd), ["app = \"site:app\"", "threads = 1", "stuck-timeout = \"30s\""]);
    assert!(migrated.is_whole, "{}", migrated.text);
}

#[test]
fn a_limit_that_ends_single_requests_comes_before_the_one_that_ends_workers() {
    let (settings, migrated) = of_uwsgi("harakiri", "harakiri = 30");
    assert_eq!(settings, ["request-timeout = \"30s\""]);
    assert!(migrated.is_whole, "{}", migrated.text);

    let cwd = directory("patient", &[("uwsgi.ini", "[uwsgi]\nmodule = shop\nharakiri = 90\n")]);
    migrate(&["uwsgi", "uwsgi.ini"], &cwd);
    let settings = written(&cwd);
    for expected in ["request-timeout = \"90s\"", "stuck-timeout = \"3m\""] {
        assert!(settings.iter().any(|line| line == expected), "{settings:?}");
    }
}

#[test]
fn a_file_is_the_module_that_it_is_below_the_directory_of_the_application() {
    for (index, (lines, app, start)) in [
        ("chdir = /srv/a\nwsgi-file = /srv/a/site/wsgi.py", "site.wsgi", "tidegate --chdir /srv/a --config"),
        ("wsgi-file = ./site/wsgi.py", "site.wsgi", "tidegate\n"),
        ("wsgi-file = /srv/a/wsgi.py\ncallable = app", "wsgi:app", "PYTHONPATH=/srv/a tidegate\n"),
        ("wsgi = site:make()", "site:make", "tidegate\n"),
        ("virtualenv = /srv/venv/\nmodule = site", "site", "/srv/venv/bin/tidegate\n"),
        ("env = A=b c\nmodule = site", "site", "A='b c' tidegate\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("[uwsgi]\nthreads = 2\n{lines}\n");
        let cwd = directory(&format!("file-{index}"), &[("uwsgi.ini", &text)]);
        let migrated = migrate(&["uwsgi", "uwsgi.ini"], &cwd);
        assert!(written(&cwd).contains(&format!("app = \"{app}\"")), "{lines}: {:?}", written(&cwd));
        assert!(migrated.text.contains(start), "{lines}: {}", migrated.text);
    }
}

#[test]
fn ini_files_are_evaluated_as_uwsgi_evaluates_them() {
    let text = "\
[other]
workers = 9
[uwsgi]
; a comment
# another
base = site
count = 2
module = %(base).%n:application
processes = %(count + 1)
threads = %(count)
user = $(OWNER)
uid = %(user)
disable-logging = true
for = 1 2
http-socket = :800%(_)
endfor =
if-env = PORT
http-socket = :%(_)
endif =
if-env = NOTHING
http-socket = :1
endif =
if-exists = uwsgi.ini
include = more.ini
endif =
ini = :third
[third]
listen = 99
";
    let cwd = directory("ini", &[("uwsgi.ini", text), ("more.ini", "[uwsgi]\nmax-requests = 5\n")]);
    let variables = [("PORT", "9000"), ("OWNER", "www")];
    let migrated = migrate_with(&["uwsgi", "uwsgi.ini"], &cwd, &variables, &[]).unwrap();
    let expected = [
        "app = \"site.uwsgi:application\"",
        "bind = [\":8001\", \":8002\", \":9000\"]",
        "backlog = 99",
        "threads = 2",
        "workers = 3",
        "max-requests = 5",
        "user = \"www\"",
    ];
    assert_eq!(written(&cwd), expected, "{}", migrated.text);
    assert!(migrated.is_whole, "{}", migrated.text);
    assert!(migrated.text.contains("max-requests = 5 (more.ini, line 2)"), "{}", migrated.text);

    let migrated = migrate(&["uwsgi", "uwsgi.ini:other", "--output", "-"], &cwd);
    assert!(migrated.text.contains("\nworkers = 9"), "{}", migrated.text);
}

#[test]
fn what_cannot_be_evaluated_is_reported_and_not_guessed() {
    let (settings, migrated) = of_uwsgi(
        "unresolved",
        "pidfile = /run/%(nothing).pid\nuid = $(NOBODY_SETS_THIS)\nif-reload =\nlisten = 5\nendif =\numask = @(file)",
    );
    assert_eq!(settings, [] as [&str; 0]);
    for said in [
        "pidfile = /run/%(nothing).pid (line 5)",
        "uid = $(NOBODY_SETS_THIS) (line 6)",
        "(line 8)",
        "(line 10)",
    ] {
        assert!(migrated.text.contains(said), "{said}: {}", migrated.text);
    }
    assert!(!migrated.is_whole);
}

#[test]
fn an_include_that_never_ends_is_one_line() {
    let cwd = directory("circle", &[("uwsgi.ini", "[uwsgi]\ninclude = uwsgi.ini\n")]);
    assert_eq!(line(&["uwsgi", "uwsgi.ini"], &cwd), "tidegate: uwsgi.ini: includes itself");
    let cwd = directory("circle-of-values", &[("uwsgi.ini", "[uwsgi]\nmodule = %(module)%(module)\n")]);
    assert!(!migrate(&["uwsgi", "uwsgi.ini"], &cwd).is_whole);
}

#[test]
fn settings_of_gunicorns_become_ours() {
    for (index, (args, expected)) in [
        (
            &["-b", "0.0.0.0:80", "--bind=unix:/run/a.sock"] as &[&str],
            &["bind = [\"0.0.0.0:80\", \"unix:/run/a.sock\"]"] as &[&str],
        ),
        (&["-b:9000"], &["bind = [\":9000\"]"]),
        (&["-w4"], &["workers = 4"]),
        (&["-w", "4", "--workers", "5", "--graceful", "9"], &["workers = 5", "graceful-timeout = \"9s\""]),
        (&["-t", "0"], &["stuck-timeout = \"off\""]),
        (
            &["--max-requests", "1000", "--max-requests-jitter", "250"],
            &["max-requests = 1250", "recycle-jitter = 20"],
        ),
        (&["--max-requests", "1000"], &["max-requests = 1000"]),
        (&["-k", "gthread"], &["concurrency = \"threads\""]),
        (&["--preload", "--pid", "/run/a"], &["preload = true", "pid-file = \"/run/a\""]),
        (&["-m", "022"], &["umask = \"022\""]),
        (&["-m", "18"], &["umask = \"022\""]),
        (&["--keep-alive", "5"], &["keep-alive-timeout = \"5s\""]),
        (&["--limit-request-line", "8190"], &[]),
        (&["--limit-request-field_size", "65536"], &["line-size-max = \"64KiB\""]),
        (&["--access-logfile", "-"], &["access-log = \"-\"", "access-log-format = \"combined\""]),
        (&["--log-level", "critical"], &["log-level = \"error\""]),
        (&["--header-map", "dangerous"], &["underscore-names = \"keep\""]),
        (&["--no-sendfile", "--no-control-socket"], &[]),
        (&["--backlog", "64", "--reuse-port"], &["reuse-port = true", "backlog = 64"]),
    ]
    .into_iter()
    .enumerate()
    {
        let (settings, migrated) = of_gunicorn(&format!("gunicorn-{index}"), args);
        assert_eq!(settings, expected, "{args:?}");
        assert!(migrated.is_whole, "{args:?}: {}", migrated.text);
    }
}

#[test]
fn classes_of_gunicorns_workers_become_what_requests_run_on() {
    for (index, (class, expected)) in [
        ("gevent", &["concurrency = \"greenlets\"", "max-concurrency = 70"] as &[&str]),
        ("eventlet", &["concurrency = \"greenlets\"", "max-concurrency = 70"]),
        (
            "uvicorn.workers.UvicornWorker",
            &["interface = \"asgi\"", "concurrency = \"asyncio\"", "max-concurrency = 70"],
        ),
        (
            "uvicorn.workers.UvicornH11Worker",
            &[
                "interface = \"asgi\"",
                "concurrency = \"asyncio\"",
                "loop = \"asyncio\"",
                "max-concurrency = 70",
            ],
        ),
        ("sync", &["connections-max = 70", "concurrency = \"threads\""]),
    ]
    .into_iter()
    .enumerate()
    {
        let args = ["--worker-class", class, "--worker-connections", "70"];
        let (settings, migrated) = of_gunicorn(&format!("class-{index}"), &args);
        assert_eq!(settings, expected, "{class}");
        assert!(migrated.is_whole, "{class}: {}", migrated.text);
    }
    assert!(!of_gunicorn("class-own", &["-k", "own.Worker"]).1.is_whole);
}

#[test]
fn arguments_win_over_gunicorns_file_and_each_place_is_named() {
    let text = "workers = 2\nbind = 'x:1'\n\ndef post_fork(server, worker):\n    pass\n\nhelper = 1\n";
    let cwd = directory("gunicorn-file", &[("gunicorn.conf.py", text)]);
    let names = [
        ("workers", Value::Int(2)),
        ("bind", Value::Text("x:1".into())),
        ("post_fork", Value::Text("a function".into())),
        ("helper", Value::Int(1)),
        ("pidfile", Value::Text(String::new())),
    ];
    let args = ["gunicorn", "--", "-w", "3", "-b", "y:2", "site"];
    let migrated = migrate_with(&args, &cwd, &[], &names).unwrap();
    assert_eq!(written(&cwd), ["app = \"site\"", "bind = [\"y:2\"]", "threads = 1", "workers = 3"]);
    for said in [
        "workers = 2 (line 1): workers is taken from elsewhere",
        "post_fork = a function (line 4): os.register",
        "helper = 1 (line 7): no option that is known",
    ] {
        assert!(migrated.text.contains(said), "{said}: {}", migrated.text);
    }
    assert!(!migrated.is_whole);
}

#[test]
fn granians_arguments_become_ours() {
    let cwd = directory("granian", &[]);
    let args = "granian -- site:app --interface wsgi --host :: --port 80 --workers 2 --blocking-threads 8 --backpressure 64 \
                --workers-lifetime 1h30m --workers-max-rss 300 --http1-header-read-timeout 5000 --uds-permissions 0660 --no-ws \
                --access-log --respawn-failed-workers --loop auto --http 1";
    let migrated = migrate(&args.split_whitespace().collect::<Vec<_>>(), &cwd);
    let expected = [
        "app = \"site:app\"",
        "interface = \"wsgi\"",
        "bind = [\"[::]:80\"]",
        "unix-socket-mode = \"0660\"",
        "threads = 8",
        "max-concurrency = 64",
        "workers = 2",
        "max-lifetime = \"90m\"",
        "max-rss = \"300MiB\"",
        "head-timeout = \"5s\"",
        "http = \"1\"",
        "access-log = \"-\"",
    ];
    assert_eq!(written(&cwd), expected);
    assert!(migrated.is_whole, "{}", migrated.text);

    let migrated = migrate(&["granian", "--force", "--", "site:app"], &cwd);
    assert!(migrated.text.contains("RSGI, Granian's default interface, is not spoken"), "{}", migrated.text);
}

#[test]
fn granians_routes_and_mounts_become_tables_in_pairs() {
    let cwd = directory("granian-files", &[]);
    let of_granian = |args: &str| {
        let args = format!("granian --force -- site:app --interface asgi {args}");
        let migrated = migrate(&args.split_whitespace().collect::<Vec<_>>(), &cwd);
        let found = written(&cwd).into_iter().find(|line| line.starts_with("static = "));
        (found.unwrap_or_default(), migrated)
    };
    let (settings, migrated) = of_granian("--static-path-mount assets");
    assert_eq!(
        settings,
        r#"static = [{ prefix = "/static", dir = "assets", index = "off", max-age = "24h" }]"#
    );
    assert!(migrated.is_whole, "{}", migrated.text);

    let (settings, migrated) = of_granian(
        "--static-path-route /a --static-path-mount /srv/a --static-path-route /b --static-path-mount b --working-dir /site \
         --static-path-expires 600 --static-path-dir-to-file index.html",
    );
    let b = cwd.join("b").display().to_string();
    assert_eq!(
        settings,
        format!(
            r#"static = [{{ prefix = "/a", dir = "/srv/a", max-age = "10m" }}, {{ prefix = "/b", dir = "{b}", max-age = "10m" }}]"#
        )
    );
    assert!(migrated.is_whole, "{}", migrated.text);

    let (settings, migrated) = of_granian(
        "--static-path-route /a --static-path-mount /a --static-path-mount /b --static-path-expires 0",
    );
    assert_eq!(settings, r#"static = [{ prefix = "/a", dir = "/a", index = "off", max-age = "off" }]"#);
    assert!(migrated.text.contains("no static-path-route goes with it"), "{}", migrated.text);
    let (settings, migrated) = of_granian("--static-path-route /a --static-path-expires 600");
    assert_eq!((settings.as_str(), migrated.is_whole), ("", true), "{}", migrated.text);
}

#[test]
fn mod_wsgis_arguments_become_ours() {
    let cwd = directory("mod_wsgi", &[]);
    let args = "mod_wsgi -- start-server --application-type module site.wsgi --processes 2 --port 80 --user www --limit-request-body 0 \
                --maximum-requests 100 --restart-interval 600 --header-timeout 15 --header-max-timeout 30 --mount-point /shop \
                --url-alias /static static --access-log --log-to-terminal --deadlock-timeout 20 --working-directory /srv \
                --document-root /srv/public --directory-index start.html";
    let migrated = migrate(&args.split_whitespace().collect::<Vec<_>>(), &cwd);
    let expected = [
        "app = \"site.wsgi\"",
        "script-name = \"/shop\"",
        "bind = [\":80\"]",
        "threads = 5",
        "workers = 2",
        "stuck-timeout = \"20s\"",
        "max-requests = 100",
        "max-lifetime = \"10m\"",
        "user = \"www\"",
        "head-timeout = \"30s\"",
        "body-size-max = \"unlimited\"",
        "access-log = \"-\"",
    ];
    let alias = format!(r#"{{ prefix = "/static", dir = "{}" }}"#, cwd.join("static").display());
    let root = r#"{ prefix = "/", dir = "/srv/public", index = "start.html", fallthrough = true }"#;
    let mut settings = written(&cwd);
    settings.retain(|line| *line != format!("static = [{alias}, {root}]"));
    assert_eq!(settings.len() + 1, written(&cwd).len(), "{settings:?}");
    assert_eq!(settings, expected);
    assert!(migrated.is_whole, "{}", migrated.text);
}

#[test]
fn log_formats_become_gunicorns_atoms() {
    let combined = r#"access-log-format = "%(h)s %(u)s %(t)s \"%(r)s\" %(s)s %(B)s \"%(f)s\"""#;
    let line = r#"log-format = %(addr) %(user) [%(ltime)] "%(method) %(uri) %(proto)" %(status) %(rsize) "%(referer)""#;
    assert_eq!(of_uwsgi("log-format", line).0, [combined]);
    assert!(!of_uwsgi("log-format-own", "log-format = %(tmsecs)").1.is_whole);

    let cwd = directory("granian-format", &[]);
    let args = ["granian", "--", "--interface", "asgi", "site", "--access-log", "--access-log-fmt"];
    let format = r#"[%(time)s] %(addr)s - "%(method)s %(path)s %(protocol)s" %(status)d %(dt_ms).3f"#;
    migrate(&[&args[..], &[format]].concat(), &cwd);
    let ours = r#"access-log-format = "%(t)s %(h)s - \"%(m)s %(U)s %(H)s\" %(s)s %(M)s""#;
    assert_eq!(written(&cwd).last().unwrap(), ours);
}

#[test]
fn what_is_unknown_is_reported_where_it_stands() {
    let (_, migrated) = of_uwsgi("unknown", "proceses = 3");
    assert!(
        migrated.text.contains("Unknown (1)\n  proceses = 3 (line 5): no option that is known here"),
        "{}",
        migrated.text
    );
    let (_, migrated) = of_gunicorn("unknown-flag", &["--wrkers", "3"]);
    assert!(
        migrated.text.contains("--wrkers (command line): no option that is known here"),
        "{}",
        migrated.text
    );
}

#[test]
fn a_file_that_is_there_is_left_alone() {
    let cwd = directory("overwrite", &[("tidegate.toml", "mine"), ("uwsgi.ini", "[uwsgi]\nmodule = site\n")]);
    let refused = line(&["uwsgi", "uwsgi.ini"], &cwd);
    assert!(
        refused.ends_with("tidegate.toml: is there already; --force writes over it, --output names another"),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(cwd.join("tidegate.toml")).unwrap(), "mine");
    let printed = migrate(&["uwsgi", "uwsgi.ini", "--output", "-"], &cwd).text;
    assert!(
        printed.lines().all(|line| line.is_empty() || line.starts_with('#') || line.contains(" = ")),
        "{printed}"
    );
    migrate(&["uwsgi", "uwsgi.ini", "--force"], &cwd);
    assert!(written(&cwd).contains(&"app = \"site\"".to_owned()));
}

#[test]
fn bad_input_is_one_line() {
    let cwd = directory("bad", &[("empty.ini", ""), ("uwsgi.xml", "<uwsgi/>")]);
    for (args, expected) in [
        (
            &["uwsgi", "empty.ini"] as &[&str],
            "empty.ini: no option in a section [uwsgi]; FILE:SECTION names another section",
        ),
        (
            &["uwsgi", "uwsgi.xml"],
            "uwsgi.xml: only ini files are read: write its options as lines KEY = VALUE below [uwsgi]",
        ),
        (&["granian"], "migrate granian: nothing to migrate; usage: tidegate migrate granian -- ARGUMENTS"),
        (&["gunicorn", "--", "-w"], "-w: a value is missing"),
    ] {
        assert_eq!(line(args, &cwd), format!("tidegate: {expected}"));
    }
    assert!(line(&["uwsgi", "none.ini"], &cwd).contains("none.ini: cannot be read: "));
    assert!(
        line(&["waitress"], &cwd)
            .contains("no such subcommand; accepted: uwsgi, gunicorn, granian, mod_wsgi")
    );
}

#[test]
fn the_pages_have_the_tables_as_they_are() {
    for source in Source::ALL {
        let path = format!("{}/../../docs/migrate-{}.md", env!("CARGO_MANIFEST_DIR"), source.name());
        let page = fs::read_to_string(&path).unwrap();
        assert!(page == rewritten(source, &page), "{path} is out of date: make docs");
    }
}
