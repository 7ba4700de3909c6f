//! Settings from every source: precedence, origins, and the one line for each mistake.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use tidegate_supervisor::{
    AccessLogTarget, Address, AppSpec, Bind, Concurrency, Config, EventLoop, Interface, Lifespan, Mount,
    Origin, Outcome, RunsOn, Settings, SettingsError, Value, from_command_line, from_python,
};

/// A directory of its own for each test, with these files in it.
fn directory(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    for (file, text) in files {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    path
}

fn run(args: &[&str], variables: &[(&str, &str)], cwd: &Path) -> Result<Outcome, SettingsError> {
    let args: Vec<OsString> = args.iter().map(Into::into).collect();
    let mut variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    from_command_line(&args, &mut variables, cwd)
}

fn settings(args: &[&str], variables: &[(&str, &str)], cwd: &Path) -> Settings {
    match run(args, variables, cwd) {
        Ok(Outcome::Run(settings)) => settings,
        other => panic!("{other:?}"),
    }
}

fn printed(args: &[&str], variables: &[(&str, &str)], cwd: &Path) -> String {
    match run(args, variables, cwd) {
        Ok(Outcome::Print(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn line(args: &[&str], variables: &[(&str, &str)], cwd: &Path) -> String {
    let line = run(args, variables, cwd).unwrap_err().to_string();
    assert!(!line.contains(char::is_control), "{line:?}");
    line
}

fn mount(prefix: &str, module: &str, attribute: Option<&str>) -> Mount {
    let app = AppSpec { module: module.into(), attribute: attribute.map(Into::into) };
    Mount { prefix: prefix.into(), app }
}

fn plain(address: Address) -> Bind {
    Bind { scheme: None, proxied: false, address }
}

fn tcp(host: &str, port: u16) -> Bind {
    plain(Address::Tcp { host: host.into(), port })
}

#[test]
fn without_anything_else_the_defaults_are_in_force() {
    let cwd = directory("defaults", &[]);
    let settings = settings(&["site:app"], &[], &cwd);
    assert_eq!(settings.app, Some(AppSpec { module: "site".into(), attribute: Some("app".into()) }));
    assert_eq!(settings.bind, [tcp("127.0.0.1", 8000)]);
    assert_eq!(settings.unix_socket_mode, 0o660);
    assert_eq!(settings.backlog, 2_048);
    assert_eq!(settings.connections_max, 16_384);
    assert_eq!((settings.workers, settings.threads), (Some(1), 200));
    assert_eq!((settings.interface, settings.concurrency), (Interface::Auto, Concurrency::Auto));
    assert_eq!((settings.event_loop, settings.lifespan), (EventLoop::Auto, Lifespan::Auto));
    assert_eq!(settings.mounts, []);
    assert_eq!(settings.graceful_timeout_ms, 30_000);
    assert_eq!(settings.lifespan_timeout_ms, 60_000);
    assert_eq!(settings.head_timeout_ms, 10_000);
    assert_eq!(settings.keep_alive_timeout_ms, 75_000);
    assert_eq!(settings.body_timeout_ms, Some(20_000));
    assert_eq!(settings.body_rate_min, 500);
    assert_eq!(settings.write_timeout_ms, 30_000);
    assert_eq!(settings.head_size_max, 64 * 1024);
    assert_eq!(settings.line_size_max, 16 * 1024);
    assert_eq!(settings.field_count_max, 100);
    assert_eq!(settings.body_size_max, Some(1 << 30));
    assert_eq!(settings.body_memory_max, 256 * 1024);
    assert_eq!(settings.server_header.as_deref(), Some("tidegate"));
    assert_eq!(settings.websocket_message_size_max, 16 << 20);
    assert_eq!(settings.websocket_frame_size_max, None);
    assert_eq!(settings.websocket_queue_size, 64 * 1024);
    assert_eq!(settings.websocket_ping_interval_ms, Some(20_000));
    assert_eq!(settings.websocket_ping_timeout_ms, 20_000);
    assert_eq!(settings.websocket_close_timeout_ms, 10_000);
    assert!(settings.websocket_compression);
    assert_eq!(settings.access_log, None);
    assert_eq!(settings.script_name, "");
    assert_eq!((settings.chdir.as_ref(), &settings.config), (None, &Config::Search));
    assert_eq!(settings.origin("bind"), Origin::Default);
    assert_eq!(settings.origin("app"), Origin::CommandLine);
}

#[test]
fn a_flag_wins_over_a_variable_over_tidegate_toml_over_pyproject_toml_over_the_default() {
    let cwd = directory(
        "precedence",
        &[
            ("tidegate.toml", "head-timeout = 3\nwrite-timeout = 3\nkeep-alive-timeout = 3"),
            (
                "pyproject.toml",
                "[tool.tidegate]\nhead-timeout = 4\nwrite-timeout = 4\nkeep-alive-timeout = 4\nbody-timeout = 4",
            ),
        ],
    );
    let variables = [("TIDEGATE_HEAD_TIMEOUT", "2"), ("TIDEGATE_WRITE_TIMEOUT", "2"), ("HEAD_TIMEOUT", "9")];
    let settings = settings(&["a", "--head-timeout", "1"], &variables, &cwd);
    let toml = Origin::File { path: cwd.join("tidegate.toml"), env: None };
    let pyproject = Origin::File { path: cwd.join("pyproject.toml"), env: None };
    for (name, value, expected, origin) in [
        ("head-timeout", Some(settings.head_timeout_ms), 1_000, Origin::CommandLine),
        (
            "write-timeout",
            Some(settings.write_timeout_ms),
            2_000,
            Origin::Variable("TIDEGATE_WRITE_TIMEOUT".into()),
        ),
        ("keep-alive-timeout", Some(settings.keep_alive_timeout_ms), 3_000, toml),
        ("body-timeout", settings.body_timeout_ms, 4_000, pyproject),
        ("graceful-timeout", Some(settings.graceful_timeout_ms), 30_000, Origin::Default),
    ] {
        assert_eq!((value, settings.origin(name)), (Some(expected), origin), "{name}");
    }
}

#[test]
fn every_spelling_of_a_value_means_the_same() {
    let cwd = directory("spellings", &[]);
    let check = |args: &[&str]| settings(&[&["a"], args].concat(), &[], &cwd);
    assert_eq!(
        check(&["-b", ":1", "--bind=unix:x", "-b", "[::1]:2"]).bind,
        [tcp("0.0.0.0", 1), plain(Address::Unix("x".into())), tcp("::1", 2)]
    );
    assert!(check(&["--factory"]).factory);
    assert!(!check(&["--factory=false"]).factory);
    assert_eq!(check(&["-i", "wsgi"]).interface, Interface::Wsgi);
    assert_eq!(check(&["-i", "asgi"]).interface, Interface::Asgi);
    assert_eq!(check(&["-c", "asyncio"]).concurrency, Concurrency::Asyncio);
    assert_eq!(check(&["--loop", "uvloop"]).event_loop, EventLoop::Uvloop);
    assert_eq!(check(&["--lifespan=off"]).lifespan, Lifespan::Off);
    assert_eq!(check(&["-w1", "--threads", "1", "-c", "threads"]).workers, Some(1));
    assert_eq!(
        check(&["--mount", "/live=chat:app", "--mount=/live/old=pkg.wsgi"]).mounts,
        [mount("/live", "chat", Some("app")), mount("/live/old", "pkg.wsgi", None)]
    );
    for off in ["0", "off"] {
        assert_eq!(check(&["--websocket-ping-interval", off]).websocket_ping_interval_ms, None, "{off}");
    }
    assert_eq!(check(&["--websocket-frame-size-max", "64KiB"]).websocket_frame_size_max, Some(65_536));
    assert!(!check(&["--websocket-compression=off"]).websocket_compression);
    for off in ["0", "off", "0s"] {
        assert_eq!(check(&["--body-timeout", off]).body_timeout_ms, None, "{off}");
    }
    assert_eq!(check(&["--body-size-max", "1MiB"]).body_size_max, Some(1 << 20));
    assert_eq!(check(&["--body-size-max", "0"]).body_size_max, Some(0));
    assert_eq!(check(&["--graceful-timeout", "0"]).graceful_timeout_ms, 0);
    assert_eq!(check(&["--access-log", "-"]).access_log, Some(AccessLogTarget::Stdout));
    assert_eq!(check(&["--server-header", "off"]).server_header, None);
    assert_eq!(check(&["--head-timeout", "1", "--head-timeout", "2"]).head_timeout_ms, 2_000);
    let variables = [
        ("TIDEGATE_APP", "b:c"),
        ("TIDEGATE_BIND", ":1, fd://3"),
        ("TIDEGATE_FACTORY", "1"),
        ("TIDEGATE_MOUNT", "/a=x, /b=y:z"),
    ];
    let from_variables = settings(&[], &variables, &cwd);
    assert_eq!(from_variables.app.unwrap().to_string(), "b:c");
    assert_eq!(from_variables.bind, [tcp("0.0.0.0", 1), plain(Address::Fd(3))]);
    assert!(from_variables.factory);
    assert_eq!(from_variables.mounts, [mount("/a", "x", None), mount("/b", "y", Some("z"))]);
}

#[test]
fn what_requests_run_on_and_how_many_follows_from_concurrency_threads_and_interface() {
    let cwd = directory("running", &[]);
    for (args, asgi, runs_on, most) in [
        (&[][..], false, RunsOn::Threads, 200),
        (&[], true, RunsOn::Asyncio, 10_000),
        (&["--threads", "1"], false, RunsOn::MainThread, 1),
        (&["--threads", "1"], true, RunsOn::Asyncio, 10_000),
        (&["-c", "threads", "--threads", "3"], false, RunsOn::Threads, 3),
        (&["--max-concurrency", "7"], false, RunsOn::Threads, 7),
        (&["--max-concurrency", "7", "--threads", "3"], false, RunsOn::Threads, 3),
        (&["-c", "greenlets"], false, RunsOn::Greenlets, 10_000),
        (&["-c", "greenlets", "--max-concurrency", "7"], false, RunsOn::Greenlets, 7),
        (&["-c", "asyncio"], false, RunsOn::Bridge, 10_000),
        (&["-c", "asyncio"], true, RunsOn::Asyncio, 10_000),
        (&["--max-concurrency", "20000"], true, RunsOn::Asyncio, 20_000),
    ] {
        let settings = settings(&[&["a"], args].concat(), &[], &cwd);
        assert_eq!(settings.runs_on(asgi), runs_on, "{args:?}");
        assert_eq!(settings.concurrency_max(runs_on), most, "{args:?}");
    }
}

#[test]
fn files_are_looked_for_where_chdir_says_and_config_where_it_was_typed() {
    let cwd = directory(
        "places",
        &[
            ("tidegate.toml", "backlog = 1"),
            ("sub/tidegate.toml", "backlog = 2"),
            ("other.toml", "backlog = 3"),
            ("old/pyproject.toml", "[tool.tidegate]\nbacklog = 4"),
            ("foreign/pyproject.toml", "[project]\nname = \"x\""),
        ],
    );
    for (args, backlog) in [
        (&["a"][..], 1),
        (&["a", "--chdir", "sub"], 2),
        (&["a", "--config", "other.toml"], 3),
        (&["a", "--config", "other.toml", "--chdir", "sub"], 3),
        (&["a", "--config", "old/pyproject.toml"], 4),
        (&["a", "--config", "none"], 2_048),
        (&["a", "--chdir", "foreign"], 2_048),
    ] {
        assert_eq!(settings(args, &[], &cwd).backlog, backlog, "{args:?}");
    }
    assert_eq!(settings(&["a"], &[("TIDEGATE_CHDIR", "sub")], &cwd).backlog, 2);
    assert_eq!(settings(&["a"], &[("TIDEGATE_CONFIG", "none")], &cwd).backlog, 2_048);
}

#[test]
fn a_mistake_on_the_command_line_or_in_a_variable_is_one_line() {
    let cwd = directory("typed_mistakes", &[]);
    for (args, expected) in [
        (
            &["a", "--bind", "127.0.0.1:99999"][..],
            "tidegate: --bind \"127.0.0.1:99999\" (from the command line): port must be 0 to 65535; \
             accepted: HOST:PORT, [V6]:PORT, unix:PATH, fd://N, or one of them after http://, https://, redirect://, uwsgi://, scgi:// or fastcgi://",
        ),
        (
            &["a", "-b", ":1", "-b", "8000"],
            "tidegate: --bind [\":1\", \"8000\"] (from the command line): \"8000\": a port alone is written with a colon: \
             \":8000\"; accepted: HOST:PORT, [V6]:PORT, unix:PATH, fd://N, or one of them after http://, https://, redirect://, uwsgi://, scgi:// or fastcgi://",
        ),
        (
            &["a", "-b", ":1", "-b", "0.0.0.0:1"],
            "tidegate: --bind [\":1\", \"0.0.0.0:1\"] (from the command line): 0.0.0.0:1 stands there twice; \
             accepted: HOST:PORT, [V6]:PORT, unix:PATH, fd://N, or one of them after http://, https://, redirect://, uwsgi://, scgi:// or fastcgi://",
        ),
        (
            &["a", "-w", "2000"],
            "tidegate: --workers \"2000\" (from the command line): out of range; accepted: 1 to 1024, or auto",
        ),
        (
            &["a", "-i", "rsgi"],
            "tidegate: --interface \"rsgi\" (from the command line): no such choice; accepted: auto, wsgi, asgi",
        ),
        (
            &["a", "--mount", "/a/=x"],
            "tidegate: --mount \"/a/=x\" (from the command line): the prefix must not end with a slash; \
             accepted: /PREFIX=MODULE[:ATTR], /PREFIX without a slash at its end",
        ),
        (
            &["a", "--mount", "/a=x", "--mount", "/b=y.py"],
            "tidegate: --mount [\"/a=x\", \"/b=y.py\"] (from the command line): \"/b=y.py\": \
             a module is named as in an import, not as a file: y; \
             accepted: /PREFIX=MODULE[:ATTR], /PREFIX without a slash at its end",
        ),
        (
            &["a", "--mount", "/a=x", "--mount", "/a=y:z"],
            "tidegate: --mount [\"/a=x\", \"/a=y:z\"] (from the command line): /a=x and /a=y:z have the same prefix; \
             accepted: /PREFIX=MODULE[:ATTR], /PREFIX without a slash at its end",
        ),
        (
            &["a", "--head-timeout", "0"],
            "tidegate: --head-timeout \"0\" (from the command line): must be at least 1ms; \
             accepted: 1ms to 1h (seconds, or with ms, s, m, h)",
        ),
        (
            &["a", "--body-size-max", "-1"],
            "tidegate: --body-size-max \"-1\" (from the command line): not a size; \
             accepted: 0 to 9223372036854775807 (bytes, or with KiB, MiB, GiB), or \"unlimited\"",
        ),
        (
            &["app.py"],
            "tidegate: app \"app.py\" (from the command line): a module is named as in an import, not as a file: app; \
             accepted: MODULE[:ATTR], both dotted names",
        ),
        (
            &["--bnid", ":1"],
            "tidegate: \"--bnid\" (from the command line): no such option; did you mean --bind?",
        ),
        (
            &["--head_timeout=1"],
            "tidegate: \"--head_timeout\" (from the command line): no such option; did you mean --head-timeout?",
        ),
        (
            &["--access"],
            "tidegate: \"--access\" (from the command line): no such option; did you mean --access-log?",
        ),
        (
            &["--vresion"],
            "tidegate: \"--vresion\" (from the command line): no such option; did you mean --version?",
        ),
        (&["-x"], "tidegate: \"-x\" (from the command line): no such option; \"tidegate --help\" lists all"),
        (
            &["--timeout", "3"],
            "tidegate: \"--timeout\" (from the command line): no such option; \"tidegate --help\" lists all",
        ),
        (
            &["a", "--interface"],
            "tidegate: --interface (from the command line): a value is missing; accepted: auto, wsgi, asgi",
        ),
        (
            &["a", "b"],
            "tidegate: \"b\" (from the command line): an application is named already; \
             usage: tidegate [OPTIONS] MODULE[:ATTR]",
        ),
        (
            &["a", "--version=3"],
            "tidegate: unexpected value '3' for '--version' found; no more were expected (from the command line); \
             usage: tidegate [OPTIONS] MODULE[:ATTR]",
        ),
        (
            &["a", "--chdir", "nowhere"],
            "tidegate: --chdir \"nowhere\" (from the command line): no such directory; accepted: a directory",
        ),
        (
            &["a", "--config", "nowhere"],
            "tidegate: --config \"nowhere\" (from the command line): cannot be read: No such file or directory \
             (os error 2); accepted: a path, or none",
        ),
        (
            &[],
            "tidegate: no application is named; usage: tidegate [OPTIONS] MODULE[:ATTR]; \
             \"tidegate --help\" lists all options",
        ),
    ] {
        assert_eq!(line(args, &[], &cwd), expected, "{args:?}");
    }
    for (variable, expected) in [
        (
            ("TIDEGATE_HED_TIMEOUT", "1"),
            "tidegate: \"TIDEGATE_HED_TIMEOUT\" (from the environment): no such setting; \
             did you mean TIDEGATE_HEAD_TIMEOUT?",
        ),
        (
            ("TIDEGATE_PORT", "80"),
            "tidegate: \"TIDEGATE_PORT\" (from the environment): no such setting; \"tidegate --help\" lists all",
        ),
        (
            ("TIDEGATE_LOG_LEVEL", "loud\n"),
            "tidegate: log-level \"loud\\n\" (from the variable TIDEGATE_LOG_LEVEL): no such choice; \
             accepted: error, warning, info, debug",
        ),
        (
            ("TIDEGATE_BIND", ""),
            "tidegate: bind \"\" (from the variable TIDEGATE_BIND): the address is empty; \
             accepted: HOST:PORT, [V6]:PORT, unix:PATH, fd://N, or one of them after http://, https://, redirect://, uwsgi://, scgi:// or fastcgi://",
        ),
    ] {
        assert_eq!(line(&["a"], &[variable], &cwd), expected);
    }
}

#[test]
fn a_mistake_in_a_file_is_one_line_that_names_the_file() {
    for (index, (file, text, expected)) in [
        ("tidegate.toml", "hed-timeout = 1", "\"hed-timeout\" (from FILE): no such setting; did you mean head-timeout?"),
        ("tidegate.toml", "head_timeout = 1", "\"head_timeout\" (from FILE): no such setting; did you mean head-timeout?"),
        (
            "tidegate.toml",
            "head-timeout = \"soon\"",
            "head-timeout \"soon\" (from FILE): not a duration; accepted: 1ms to 1h (seconds, or with ms, s, m, h)",
        ),
        (
            "tidegate.toml",
            "unix-socket-mode = 660",
            "unix-socket-mode 660 (from FILE): must be text in quotes, \"0660\"; accepted: 000 to 777 in octal digits",
        ),
        ("tidegate.toml", "factory = 1", "factory 1 (from FILE): not a truth value; accepted: true, false"),
        (
            "tidegate.toml",
            "bind = []",
            "bind [] (from FILE): at least one address is needed; accepted: HOST:PORT, [V6]:PORT, unix:PATH, fd://N, or one of them after http://, https://, redirect://, uwsgi://, scgi:// or fastcgi://",
        ),
        ("tidegate.toml", "[factory]\nx = 1", "factory (from FILE): must not be a table; accepted: true, false"),
        (
            "tidegate.toml",
            "[[limits]]\npath = \"/a\"\n[[limits]]\npath = \"/b\"\ntimeout = \"soon\"",
            "limits [{ path = \"/a\" }, { path = \"/b\", timeout = \"soon\" }] (from FILE): table 2, timeout \"soon\": not a duration; \
             accepted: [[limits]] tables with path (exact, or with *) and any of timeout, max-concurrency, queue-size, queue-timeout, \
             max-body-size, priority; on a line \"/PATH KEY=VALUE ...\"",
        ),
        ("tidegate.toml", "factory = 2026-01-01", "factory (from FILE): must not be a date or a time; accepted: true, false"),
        (
            "tidegate.toml",
            "chdir = \"x\"",
            "chdir (from FILE): decides what is read of files; accepted: --chdir, TIDEGATE_CHDIR",
        ),
        (
            "pyproject.toml",
            "[tool.tidegate]\nbackloc = 1",
            "\"backloc\" (from [tool.tidegate] in FILE): no such setting; did you mean backlog?",
        ),
        ("pyproject.toml", "[tool]\ntidegate = 1", "[tool.tidegate] in FILE: no such table"),
    ]
    .into_iter()
    .enumerate()
    {
        let cwd = directory(&format!("file_mistakes_{index}"), &[(file, text)]);
        let expected = expected.replace("FILE", &cwd.join(file).display().to_string());
        assert_eq!(line(&["a"], &[], &cwd), format!("tidegate: {expected}"));
    }
}

#[test]
fn a_file_that_is_no_toml_is_reported_with_its_line() {
    let cwd = directory("no_toml", &[("tidegate.toml", "backlog = 1\nhead-timeout = = 3\n")]);
    let line = line(&["a"], &[], &cwd);
    let place = cwd.join("tidegate.toml");
    assert!(line.starts_with(&format!("tidegate: {}, line 2: ", place.display())), "{line}");
}

#[test]
fn a_file_that_is_huge_or_binary_or_a_directory_is_reported() {
    let cwd = directory("odd_files", &[("dir/x", "")]);
    fs::write(cwd.join("huge.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    fs::write(cwd.join("binary.toml"), [0xff, 0xfe]).unwrap();
    for file in ["huge.toml", "binary.toml", "dir"] {
        let line = line(&["a", "--config", file], &[], &cwd);
        assert!(
            line.starts_with(&format!(
                "tidegate: --config \"{file}\" (from the command line): cannot be read: "
            )),
            "{line}"
        );
    }
}

#[test]
fn a_named_pyproject_without_our_table_is_a_mistake() {
    let cwd = directory("named_pyproject", &[("pyproject.toml", "[project]\nname = \"x\"")]);
    let expected =
        format!("tidegate: [tool.tidegate] in {}: no such table", cwd.join("pyproject.toml").display());
    assert_eq!(line(&["a", "--config", "pyproject.toml"], &[], &cwd), expected);
}

#[test]
fn a_wrong_value_is_a_mistake_even_where_another_one_wins() {
    let cwd = directory("overridden", &[("tidegate.toml", "backlog = \"nonsense\"")]);
    assert!(line(&["a", "--backlog", "7"], &[], &cwd).contains("not a whole number"));
    let cwd = directory("overridden_variable", &[]);
    for variable in [("TIDEGATE_BACKLOG", "nonsense"), ("TIDEGATE_BACKLOC", "1")] {
        assert!(line(&["a", "--backlog", "7"], &[variable], &cwd).contains(variable.0), "{variable:?}");
    }
}

/// Two environments in tidegate.toml, one of which pyproject.toml has too.
fn environments(name: &str) -> PathBuf {
    let toml = "app = \"site\"\nbacklog = 1\nthreads = 1\nworkers = 1\n\
                [env.production]\nworkers = 2\nbacklog = 2\nthreads = 2\n\
                [env.\"a b\"]\napp = \"other\"\n";
    let pyproject = "[tool.tidegate]\nworkers = 3\nqueue-size = 3\nfield-count-max = 3\n\
                     [tool.tidegate.env.production]\nqueue-size = 4\n";
    directory(name, &[("tidegate.toml", toml), ("pyproject.toml", pyproject)])
}

#[test]
fn the_chosen_environment_comes_before_the_rest_of_its_file() {
    let cwd = environments("environments");
    let plain = settings(&[], &[], &cwd);
    assert_eq!((plain.backlog, plain.threads, plain.workers, plain.queue_size), (1, 1, Some(1), 3));
    for (args, variables) in [
        (&["--env", "production", "--threads", "9"][..], &[("TIDEGATE_BACKLOG", "8")][..]),
        (&["--threads", "9"], &[("TIDEGATE_BACKLOG", "8"), ("TIDEGATE_ENV", "production")]),
        (&["--env=production", "--threads", "9"], &[("TIDEGATE_BACKLOG", "8"), ("TIDEGATE_ENV", "a b")]),
    ] {
        let production = settings(args, variables, &cwd);
        assert_eq!(production.env.as_deref(), Some("production"));
        assert_eq!((production.threads, production.backlog), (9, 8));
        assert_eq!((production.workers, production.queue_size), (Some(2), 4));
        assert_eq!(production.field_count_max, 3);
        let of = |file: &str| Origin::File { path: cwd.join(file), env: Some("production".into()) };
        assert_eq!(production.origin("workers"), of("tidegate.toml"));
        assert_eq!(production.origin("queue-size"), of("pyproject.toml"));
    }
    assert_eq!(settings(&["--env", "a b"], &[], &cwd).app.unwrap().module, "other");
    let shown = printed(&["config", "show", "--env", "production"], &[], &cwd);
    let (toml, pyproject) = (cwd.join("tidegate.toml"), cwd.join("pyproject.toml"));
    for expected in [
        format!("backlog = 2  # from [env.production] in {}\n", toml.display()),
        format!("queue-size = 4  # from [tool.tidegate.env.production] in {}\n", pyproject.display()),
        "# env = \"production\"  # from the command line\n".to_owned(),
    ] {
        assert!(shown.contains(&expected), "{expected}\n{shown}");
    }
}

#[test]
fn an_environment_that_is_nowhere_is_a_mistake_that_lists_those_there_are() {
    let accepted = "accepted: the NAME of an [env.NAME] table";
    let cwd = environments("environments_unknown");
    assert_eq!(
        line(&["--env", "staging"], &[], &cwd),
        format!(
            "tidegate: --env \"staging\" (from the command line): no settings file has such a table; \
             there are [\"a b\", \"production\"]; {accepted}"
        )
    );
    let cwd = directory("environments_none", &[]);
    assert_eq!(
        line(&["a"], &[("TIDEGATE_ENV", "staging")], &cwd),
        format!(
            "tidegate: env \"staging\" (from the variable TIDEGATE_ENV): no settings file has such a table; \
             no file has any; {accepted}"
        )
    );
}

#[test]
fn every_environment_is_checked_whichever_is_chosen() {
    let chosen = "must be tables, [env.NAME]; --env or TIDEGATE_ENV chooses one";
    for (index, (file, text, expected)) in [
        (
            "tidegate.toml",
            "[env.a]\n[env.b]\nbackloc = 1",
            "\"backloc\" (from [env.b] in FILE): no such setting; did you mean backlog?".to_owned(),
        ),
        (
            "pyproject.toml",
            "[tool.tidegate.env.\"b c\"]\nworkers = 0",
            "workers 0 (from [tool.tidegate.env.\"b c\"] in FILE): out of range; accepted: 1 to 1024, or auto".into(),
        ),
        (
            "tidegate.toml",
            "[env.b]\nenv = \"a\"",
            "env (from [env.b] in FILE): decides what is read of files; accepted: --env, TIDEGATE_ENV".into(),
        ),
        ("tidegate.toml", "env = \"a\"", format!("env (from FILE): {chosen}")),
        ("tidegate.toml", "[env]\nworkers = 3", format!("env (from [env.workers] in FILE): {chosen}")),
        ("tidegate.toml", "[evn.a]\n", "\"evn\" (from FILE): no such setting; did you mean env?".into()),
    ]
    .into_iter()
    .enumerate()
    {
        let cwd = directory(&format!("environment_mistakes_{index}"), &[(file, text)]);
        let expected = expected.replace("FILE", &cwd.join(file).display().to_string());
        assert_eq!(line(&["a"], &[], &cwd), format!("tidegate: {expected}"));
    }
}

#[test]
fn a_check_says_what_was_read() {
    let cwd = environments("checked");
    let args = ["config", "check", "-w", "2", "--env", "production"];
    let Ok(Outcome::Check(checked, report)) = run(&args, &[("TIDEGATE_THREADS", "3")], &cwd) else {
        panic!("not checked");
    };
    assert_eq!((checked.workers, checked.threads), (Some(2), 3));
    let (toml, pyproject) = (cwd.join("tidegate.toml"), cwd.join("pyproject.toml"));
    let (toml, pyproject) = (toml.display(), pyproject.display());
    assert_eq!(
        report,
        format!(
            "ok\n  from the command line\n  from the variable TIDEGATE_THREADS\n  from [env.production] in {toml}\n  \
             from {toml}\n  from [tool.tidegate.env.production] in {pyproject}\n  \
             from [tool.tidegate] in {pyproject}\n"
        )
    );
    let cwd = directory("checked_in_vain", &[]);
    assert!(line(&["config", "check"], &[], &cwd).starts_with("tidegate: no application is named; usage: "));
    assert_eq!(
        line(&["config", "check", "a", "--no-supervisor", "--workers", "2"], &[], &cwd),
        "tidegate: --workers \"2\" (from the command line): not with no-supervisor"
    );
}

#[test]
fn settings_are_shown_as_json_too() {
    let cwd = directory("json", &[("tidegate.toml", "backlog = 7")]);
    let text = printed(&["config", "show", "--json", "-b", ":1", "--preload"], &[], &cwd);
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let origin = format!("from {}", cwd.join("tidegate.toml").display());
    assert_eq!(shown["backlog"], serde_json::json!({"value": 7, "origin": origin}));
    assert_eq!(shown["bind"], serde_json::json!({"value": ["0.0.0.0:1"], "origin": "from the command line"}));
    assert_eq!(shown["preload"], serde_json::json!({"value": true, "origin": "from the command line"}));
    assert_eq!(shown["app"], serde_json::json!({"value": null, "origin": "by default"}));
    assert_eq!(shown["head-timeout"]["value"], "10s");
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_of_our_name_are_left_alone() {
    let cwd = directory("kubernetes", &[]);
    let variables = [
        ("TIDEGATE_SERVICE_HOST", "10.0.0.1"),
        ("TIDEGATE_SERVICE_PORT", "80"),
        ("TIDEGATE_SERVICE_PORT_HTTP", "80"),
        ("TIDEGATE_PORT", "tcp://10.0.0.1:80"),
        ("TIDEGATE_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("TIDEGATE_WEB_PORT_80_TCP", "tcp://10.0.0.1:80"),
    ];
    assert_eq!(settings(&["a"], &variables, &cwd).bind, [tcp("127.0.0.1", 8000)]);
}

#[test]
fn what_is_not_utf_8_is_refused() {
    let cwd = directory("utf8", &[]);
    let bad = || OsString::from_vec(vec![0xff]);
    let line =
        from_command_line(&["--chdir".into(), bad()], &mut std::iter::empty(), &cwd).unwrap_err().to_string();
    assert_eq!(line, "tidegate: --chdir (from the command line): not UTF-8");
    let mut variables = [("TIDEGATE_CHDIR".into(), bad()), (bad(), bad())].into_iter();
    let line = from_command_line(&["a".into()], &mut variables, &cwd).unwrap_err().to_string();
    assert_eq!(line, "tidegate: chdir (from the variable TIDEGATE_CHDIR): not UTF-8");
}

#[test]
fn printed_settings_can_be_used_as_a_file_and_name_their_origins() {
    let cwd = directory(
        "printed",
        &[("pyproject.toml", "[tool.tidegate]\nbacklog = 7\nserver-header = 'a \"b\" \\ c'")],
    );
    let args = [
        "site:app",
        "--factory",
        "--mount",
        "/live=chat:app",
        "-b",
        "unix:x.sock",
        "-b",
        "[::1]:0",
        "--body-timeout",
        "off",
        "--access-log=-",
    ];
    let given = settings(&args, &[("TIDEGATE_BODY_SIZE_MAX", "3MiB")], &cwd);
    let text =
        printed(&[&["config", "show"], &args[..]].concat(), &[("TIDEGATE_BODY_SIZE_MAX", "3MiB")], &cwd);
    let pyproject = cwd.join("pyproject.toml");
    for expected in [
        "app = \"site:app\"  # from the command line\n".to_owned(),
        "mount = [\"/live=chat:app\"]  # from the command line\n".to_owned(),
        "bind = [\"unix:x.sock\", \"[::1]:0\"]  # from the command line\n".to_owned(),
        "body-size-max = \"3MiB\"  # from the variable TIDEGATE_BODY_SIZE_MAX\n".to_owned(),
        format!("backlog = 7  # from [tool.tidegate] in {}\n", pyproject.display()),
        "head-timeout = \"10s\"  # by default\n".to_owned(),
        "# chdir is not set\n".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected}\n{text}");
    }
    fs::write(cwd.join("again.toml"), &text).unwrap();
    let again = settings(&["--config", "again.toml"], &[], &cwd);
    let values = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split("  # ").next().unwrap().into())
            .collect()
    };
    assert_eq!(values(&again.to_toml()), values(&given.to_toml()));
}

#[test]
fn settings_are_printed_without_an_application() {
    let cwd = directory("printed_bare", &[]);
    assert!(printed(&["config", "show"], &[], &cwd).contains("# app is not set\n"));
}

#[test]
fn the_first_argument_alone_chooses_a_subcommand() {
    let cwd = directory("subcommands", &[]);
    assert!(matches!(run(&["config", "check", "site:app"], &[], &cwd), Ok(Outcome::Check(..))));
    for args in [&["config:app"][..], &["--backlog", "7", "config"]] {
        assert_eq!(settings(args, &[], &cwd).app.unwrap().module, "config", "{args:?}");
    }
    let help = printed(&["--help"], &[], &cwd);
    for expected in ["  config ", "  completions "] {
        assert!(help.contains(expected), "{help}");
    }
}

#[test]
fn a_mistake_in_a_subcommand_is_one_line_with_its_usage() {
    let cwd = directory("subcommand_mistakes", &[]);
    let config = "usage: tidegate config check|show [OPTIONS] [MODULE[:ATTR]]";
    let completions = "usage: tidegate completions bash|zsh|fish";
    for (args, expected) in [
        (&["config"][..], format!("an argument is missing; {config}")),
        (
            &["config", "chekc"],
            format!("\"chekc\" (from the command line): no such subcommand; accepted: check, show; {config}"),
        ),
        (
            &["config", "show", "a", "b"],
            format!("\"b\" (from the command line): not expected here; {config}"),
        ),
        (
            &["config", "check", "--bnid", ":1"],
            "\"--bnid\" (from the command line): no such option; did you mean --bind?".to_owned(),
        ),
        (
            &["config", "--xyz"],
            "\"--xyz\" (from the command line): no such option; \"tidegate config --help\" lists all"
                .to_owned(),
        ),
        (
            &["config", "check", "--backlog", "many", "a"],
            "--backlog \"many\" (from the command line): not a whole number; \
             accepted: 1 to 65535 (the system may lower it, see net.core.somaxconn)"
                .to_owned(),
        ),
        (&["completions"], format!("an argument is missing; {completions}")),
        (
            &["completions", "tcsh"],
            format!(
                "<SHELL> (from the command line): \"tcsh\": no such choice; accepted: bash, zsh, fish; {completions}"
            ),
        ),
    ] {
        assert_eq!(line(args, &[], &cwd), format!("tidegate: {expected}"), "{args:?}");
    }
}

#[test]
fn help_and_version_are_printed_whatever_else_is_wrong() {
    let cwd = directory("help", &[("tidegate.toml", "nonsense")]);
    let version = concat!("tidegate ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(printed(&["--version"], &[("TIDEGATE_NONSENSE", "1")], &cwd), version);
    assert_eq!(printed(&["-V"], &[], &cwd), version);
    let short = printed(&["-h"], &[], &cwd);
    let long = printed(&["--help"], &[], &cwd);
    for text in [&short, &long] {
        assert!(text.contains("Usage: tidegate [OPTIONS] MODULE[:ATTR]"), "{text}");
        assert!(text.contains("\nTime limits:\n") && text.contains("--head-timeout <TIME>"), "{text}");
    }
    assert!(long.contains("TIDEGATE_HEAD_TIMEOUT") && long.lines().count() > 2 * short.lines().count());
    assert!(long.lines().all(|line| line.chars().count() <= 80 && line.trim_end() == line), "{long}");
    assert!(short.lines().all(|line| line.chars().count() <= 124), "{short}");
}

#[test]
fn a_python_call_takes_keyword_arguments_and_nothing_else() {
    let text = |text: &str| Value::Text(text.into());
    let values = [
        ("bind".into(), Value::List(vec![text("127.0.0.1:0"), text("[::1]:0")])),
        ("head_timeout".into(), Value::Float(0.5)),
        ("keep_alive_timeout".into(), Value::Int(5)),
        ("body_size_max".into(), Value::Int(10)),
        ("body_timeout".into(), Value::Bool(false)),
        ("server_header".into(), Value::Bool(false)),
        ("loop".into(), text("asyncio")),
    ];
    let settings = from_python(&values).unwrap();
    assert_eq!(settings.bind, [tcp("127.0.0.1", 0), tcp("::1", 0)]);
    assert_eq!(settings.event_loop, EventLoop::Asyncio);
    assert_eq!((settings.head_timeout_ms, settings.keep_alive_timeout_ms), (500, 5_000));
    assert_eq!(
        (settings.body_size_max, settings.body_timeout_ms, settings.server_header.clone()),
        (Some(10), None, None)
    );
    assert_eq!((settings.origin("bind"), settings.origin("backlog")), (Origin::Python, Origin::Default));
    for (keyword, value, expected) in [
        ("bnid", text(":1"), "\"bnid\" (from tidegate.serve()): no such setting; did you mean bind?"),
        (
            "head_timeout",
            text("x"),
            "head_timeout \"x\" (from tidegate.serve()): not a duration; accepted: 1ms to 1h (seconds, or with ms, s, m, h)",
        ),
        (
            "head_timeout",
            Value::Float(f64::NAN),
            "head_timeout NaN (from tidegate.serve()): not a duration; \
             accepted: 1ms to 1h (seconds, or with ms, s, m, h)",
        ),
        (
            "chdir",
            text("x"),
            "chdir (from tidegate.serve()): only for the command, since a call brings its application and its directory",
        ),
        (
            "head-timeout",
            Value::Int(1),
            "\"head-timeout\" (from tidegate.serve()): no such setting; did you mean head_timeout?",
        ),
    ] {
        let error = from_python(&[(keyword.into(), value)]).unwrap_err();
        assert_eq!(error.message(), expected);
        assert_eq!(error.to_string(), format!("tidegate: {expected}"));
    }
}

#[test]
fn what_settings_ask_of_one_another_is_asked_of_a_call_too() {
    let text = |text: &str| Value::Text(text.into());
    let values = [("bind".to_owned(), text("127.0.0.1:9")), ("admin".to_owned(), text("127.0.0.1:9"))];
    assert_eq!(
        from_python(&values).unwrap_err().message(),
        r#"admin "127.0.0.1:9" (from tidegate.serve()): bind has it, as "127.0.0.1:9" (from tidegate.serve())"#
    );
}
