//! What the server is started by: root, a container, systemd.

use std::env;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::{Finding, Machine};
use crate::settings::{Address, Bind, Settings};

/// What a stop may take beyond --drain-delay and --graceful-timeout (docs/stopping.md).
const STOP_MARGIN_MS: u64 = 10_000;

/// Looks at how the server would be started here.
pub fn surroundings(settings: &Settings, machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![privileges(settings)];
    let is_first = std::process::id() == 1;
    if is_first || is_container(machine) {
        findings.push(container(settings, is_first));
    }
    if let Some(group) = service(machine) {
        let unit = group.rsplit('/').next().unwrap_or_default();
        let told = told_of(unit, group.contains("/user@"));
        findings.extend(told.map(|told| systemd(settings, unit, &told)));
    }
    findings
}

fn privileges(settings: &Settings) -> Finding {
    const NAME: &str = "privileges";
    match (geteuid().is_root(), &settings.user) {
        (true, None) => Finding::advice(
            NAME,
            "the application would run as root",
            "--user NAME: the addresses are bound first; or start it as another user (User= of systemd, USER of a Dockerfile)",
        ),
        (_, Some(user)) => Finding::ok(NAME, format!("the application runs as {user}")),
        (false, None) => Finding::ok(NAME, "the application does not run as root"),
    }
}

fn is_container(machine: &Machine) -> bool {
    machine.has(".dockerenv")
        || machine.has("run/.containerenv")
        || ["container", "KUBERNETES_SERVICE_HOST"].iter().any(|name| env::var_os(name).is_some())
}

fn container(settings: &Settings, is_first: bool) -> Finding {
    const NAME: &str = "container";
    if is_first && settings.no_supervisor {
        return Finding::advice(
            NAME,
            "it is process 1 without a supervisor: nobody reaps processes that the application leaves behind",
            "leave --no-supervisor out: with one worker that is a process more; or start it under an init (docker run --init)",
        );
    }
    if !settings.bind.is_empty() && settings.bind.iter().all(is_loopback) {
        return Finding::advice(
            NAME,
            "it is in a container and listens on its loopback alone: nobody outside reaches that",
            "--bind 0.0.0.0:8000, unless the container has the network of the host or of what connects",
        );
    }
    Finding::ok(NAME, "it is in a container")
}

/// Whether other machines can connect without a proxy on this one.
pub fn is_public(settings: &Settings) -> bool {
    settings.bind.iter().any(|bind| matches!(bind.address, Address::Tcp { .. }) && !is_loopback(bind))
}

/// Whether only this machine can connect; unknown for names and for sockets of others.
pub(super) fn is_loopback(bind: &Bind) -> bool {
    match &bind.address {
        Address::Tcp { host, .. } => {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Address::Unix(_) | Address::Fd(_) => false,
    }
}

/// The group of this process, if systemd has started it as a service.
fn service(machine: &Machine) -> Option<String> {
    let is_started = ["NOTIFY_SOCKET", "INVOCATION_ID"].iter().any(|name| env::var_os(name).is_some());
    let second = machine.group(None).filter(|path| path != "/");
    let group = second.or_else(|| machine.group(Some("name=systemd")))?;
    // Not one above it: a terminal's session is below the service of its user.
    (is_started && group.ends_with(".service")).then_some(group)
}

/// What systemd says of a unit, if it can be asked: lines of `name=value`.
fn told_of(unit: &str, is_of_user: bool) -> Option<String> {
    let mut ask = Command::new("systemctl");
    ask.args(is_of_user.then_some("--user"));
    ask.args(["show", "--property=Type,KillMode,TimeoutStopUSec", "--", unit]);
    let answer = ask.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(answer.stdout).ok().filter(|told| answer.status.success() && told.contains('='))
}

fn systemd(settings: &Settings, unit: &str, told: &str) -> Finding {
    const NAME: &str = "systemd";
    let value = |name: &str| {
        told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let needed_ms = settings.graceful_timeout_ms + settings.drain_delay_ms + STOP_MARGIN_MS;
    let given_ms = span_ms(value("TimeoutStopUSec"));
    if let Some(given_ms) = given_ms.filter(|given_ms| *given_ms < needed_ms) {
        return Finding::wrong(
            NAME,
            format!(
                "{unit} is killed {} s after it was told to stop, with requests in flight",
                given_ms / 1000
            ),
            format!(
                "TimeoutStopSec={}: --graceful-timeout, --drain-delay and ten seconds",
                needed_ms.div_ceil(1000)
            ),
        );
    }
    if value("KillMode") == "control-group" {
        return Finding::advice(
            NAME,
            format!(
                "{unit} has KillMode=control-group: a stop tells the workers too, and each process that they have started"
            ),
            "KillMode=mixed leaves the workers to the supervisor",
        );
    }
    if !value("Type").starts_with("notify") {
        return Finding::advice(
            NAME,
            format!(
                "{unit} has Type={}: it counts as started before it serves, or even if it never does",
                value("Type")
            ),
            "Type=notify",
        );
    }
    Finding::ok(NAME, format!("{unit} waits for the server's start and for its end"))
}

/// A span as systemd writes it: `1min 30s`, or `infinity`, which is none.
fn span_ms(text: &str) -> Option<u64> {
    let mut total = 0;
    for part in text.split_whitespace() {
        let (number, unit) = part.split_at(part.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let factor = match unit {
            "us" => 0.001,
            "ms" => 1.0,
            "s" => 1_000.0,
            "min" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        total += (number.parse::<f64>().ok()? * factor) as u64;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::settings::from_python;

    #[test]
    fn a_unit_that_is_killed_before_its_requests_are_over_is_wrong() {
        let settings = from_python(&[]).unwrap();
        // As `systemctl show` has it.
        let with = |kind: &str, mode: &str, stop: &str| {
            let told = format!("Type={kind}\nTimeoutStopUSec={stop}\nKillMode={mode}\n");
            systemd(&settings, "site.service", &told)
        };
        assert_eq!(with("notify", "mixed", "1min 30s").verdict, Verdict::Ok);
        assert_eq!(with("notify-reload", "mixed", "infinity").verdict, Verdict::Ok);
        assert_eq!(with("notify", "mixed", "10s").verdict, Verdict::Wrong);
        assert!(with("notify", "mixed", "10s").remedy.starts_with("TimeoutStopSec=40"));
        assert_eq!(with("notify", "control-group", "1min 30s").verdict, Verdict::Advice);
        assert_eq!(with("simple", "mixed", "1min 30s").verdict, Verdict::Advice);
    }

    #[test]
    fn spans_are_read_as_systemd_writes_them() {
        let read = ["1min 30s", "500ms", "1h 2min", "infinity", ""].map(span_ms);
        assert_eq!(read, [Some(90_000), Some(500), Some(3_720_000), None, None]);
    }
}
