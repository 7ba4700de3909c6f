//! What there is of descriptors, queues, memory, processors and processes, and what the settings ask for.

use std::time::Duration;

use rustix::process::{Resource, geteuid, getrlimit};
use rustix::thread::sched_getaffinity;
use rustix::time::{ClockId, clock_getres};

use super::{Finding, Machine};
use crate::counted::counted;
use crate::settings::{Address, RunsOn, Settings};

/// What is known once an application is loaded, or could not be.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// What requests run on.
    pub on: RunsOn,
    /// Bytes that a worker takes of its own when it has imported the application, if that is known.
    pub memory: Option<u64>,
}

/// Threads of a worker beside those that run the application: the server's own, those of event loops and of libraries.
const OTHER_THREADS: u64 = 16;

/// Threads without which a worker does not serve.
const FEWEST_THREADS: u64 = 4;

/// A thread's stack where nothing is set: glibc's by the usual limit.
const STACK_SIZE: u64 = 8 << 20;

/// Past this the coarse clock makes deadlines late by a noticeable part of a second: the tick of 100 Hz kernels.
const TICK_MAX: Duration = Duration::from_millis(10);

/// Clock sources that are read with a system call, and slowly (vdso(7)).
const SLOW_CLOCKS: [&str; 5] = ["hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"];

/// Looks at what the settings alone ask for. `beside` is how many descriptors the server wants beside connections; it has raised its
/// limit already, as it does when it serves.
pub fn capacity(settings: &Settings, machine: &Machine, beside: u64) -> Vec<Finding> {
    let mut findings = vec![descriptors(settings, beside)];
    findings.extend(listen_queue(settings, machine));
    findings.extend(handshakes(settings, machine));
    findings.push(processors(settings, machine));
    findings.push(clock(machine));
    findings
}

/// What this process has of memory that is no file's: bytes that a worker takes when it has come as far.
pub fn memory_of_its_own(machine: &Machine) -> Option<u64> {
    machine.kilobytes("proc/self/status", "RssAnon")
}

/// Looks at what depends on the application. To be called as the user that workers run as.
pub fn of_the_application(settings: &Settings, machine: &Machine, runs: Runs) -> Vec<Finding> {
    let mut findings = vec![memory(settings, machine, runs), processes(settings, machine, runs.on)];
    findings.extend(overcommit(settings, machine, runs));
    findings
}

fn descriptors(settings: &Settings, beside: u64) -> Finding {
    const NAME: &str = "descriptors";
    let wanted = settings.connections_max as u64 + beside;
    let connections = settings.connections_max;
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return Finding::ok(NAME, "as many descriptors as one likes may be open");
    };
    let found =
        format!("{limit} descriptors may be open in a worker, and --connections-max is {connections}");
    let remedy = format!(
        "raise the hard limit to {wanted} (LimitNOFILE= of systemd, --ulimit nofile= of Docker, limits.conf), or lower --connections-max"
    );
    match limit {
        _ if limit >= wanted => Finding::ok(NAME, found),
        _ if limit > connections as u64 => Finding::advice(
            NAME,
            format!(
                "{found}: {} are left for files, libraries and the application",
                limit - connections as u64
            ),
            remedy,
        ),
        _ => Finding::wrong(NAME, found, remedy),
    }
}

/// The sockets of others have the queue that others have given them.
fn binds_sockets(settings: &Settings) -> bool {
    settings.bind.iter().any(|bind| !matches!(bind.address, Address::Fd(_)))
}

fn listen_queue(settings: &Settings, machine: &Machine) -> Option<Finding> {
    const NAME: &str = "listen-queue";
    let most = machine.number("proc/sys/net/core/somaxconn").filter(|_| binds_sockets(settings))?;
    let wanted = settings.backlog;
    let found = format!("net.core.somaxconn is {most}, and --backlog is {wanted}");
    Some(match u64::try_from(wanted) {
        Ok(wanted) if most < wanted => Finding::advice(
            NAME,
            format!("{found}: the system queues {most}, and lets those wait who come in a burst"),
            format!(
                "sysctl -w net.core.somaxconn={wanted}, and in /etc/sysctl.d; or lower --backlog to {most}"
            ),
        ),
        _ => Finding::ok(NAME, found),
    })
}

/// Those that have begun to connect. With cookies the system takes them without a queue (tcp(7)).
fn handshakes(settings: &Settings, machine: &Machine) -> Option<Finding> {
    let has_tcp = settings.bind.iter().any(|bind| matches!(bind.address, Address::Tcp { .. }));
    if !has_tcp || machine.number("proc/sys/net/ipv4/tcp_syncookies")? != 0 {
        return None;
    }
    let most = machine.number("proc/sys/net/ipv4/tcp_max_syn_backlog")?;
    let wanted = u64::try_from(settings.backlog).unwrap_or_default();
    (most < wanted).then(|| {
        Finding::advice(
            "handshakes",
            format!("net.ipv4.tcp_max_syn_backlog is {most}, --backlog is {wanted}, and SYN cookies are off"),
            "sysctl -w net.ipv4.tcp_syncookies=1: who connects in a burst, or during a flood, is dropped without",
        )
    })
}

fn processors(settings: &Settings, machine: &Machine) -> Finding {
    const NAME: &str = "processors";
    let mine = sched_getaffinity(None).map_or(1.0, |set| f64::from(set.count().max(1)));
    let quota = machine.allowance().processors.filter(|quota| *quota < mine);
    let there = quota.unwrap_or(mine);
    let workers = settings.worker_count();
    let shown = (there * 100.0).round() / 100.0;
    let found = match quota {
        Some(_) => format!("{}, and the time of {shown} processors by a quota", workers_in(workers)),
        None => format!("{}, and {shown} processors", workers_in(workers)),
    };
    if quota.is_some_and(|quota| quota < 1.0) {
        return Finding::advice(
            NAME,
            format!(
                "{found}: in each tenth of a second everything stands still for a part of it once that is used up"
            ),
            "give it one processor at least, where answers are to come in time",
        );
    }
    let is_given = settings.workers.is_some();
    if workers as f64 > 2.0 * there && is_given {
        return Finding::advice(
            NAME,
            format!("{found}: they keep one another from running"),
            "--workers auto; more requests at once come from --threads or --concurrency, not from workers",
        );
    }
    if workers == 1 && there >= 2.0 && !settings.reload && !settings.no_supervisor {
        return Finding::advice(
            NAME,
            format!("{found}: Python code uses one of them"),
            "--workers auto, unless the others are somebody else's",
        );
    }
    Finding::ok(NAME, found)
}

fn clock(machine: &Machine) -> Finding {
    const NAME: &str = "clock";
    let resolution = clock_getres(ClockId::MonotonicCoarse);
    let tick = Duration::try_from(resolution).unwrap_or_default();
    let source = machine.text("sys/devices/system/clocksource/clocksource0/current_clocksource");
    if let Some(source) = source.filter(|source| SLOW_CLOCKS.contains(&source.as_str())) {
        return Finding::advice(
            NAME,
            format!("the system's clock is {source}, which takes a system call and a microsecond to read"),
            "see why the kernel does not trust tsc (dmesg), or choose the hypervisor's own clock",
        );
    }
    let found = format!("the coarse clock ticks every {} ms", tick.as_millis());
    match tick > TICK_MAX {
        true => Finding::advice(
            NAME,
            found,
            "deadlines are late by that much: choose a kernel with 100 Hz or more",
        ),
        false => Finding::ok(NAME, found),
    }
}

fn memory(settings: &Settings, machine: &Machine, runs: Runs) -> Finding {
    const NAME: &str = "memory";
    let total = machine.kilobytes("proc/meminfo", "MemTotal");
    let allowed = machine.allowance().memory.filter(|allowed| total.is_none_or(|total| *allowed < total));
    let Some(there) = allowed.or(total) else {
        return Finding::ok(NAME, "how much memory there is cannot be known");
    };
    let whose = if allowed.is_some() { "the control group" } else { "this machine" };
    let there_is = format!("{whose} has {}", mib(there));
    let workers = settings.worker_count() as u64;
    // What is imported before the fork is shared, or most of it.
    let copies = |workers| if settings.preload { 1 } else { workers };
    if let Some(each) = runs.memory {
        let needed = each.saturating_mul(copies(workers));
        let found = format!("the application takes {} when it is imported, and {there_is}", mib(each));
        if needed > there {
            return Finding::wrong(
                NAME,
                format!("{found}: too little for {workers} of it"),
                "give it more memory, or take fewer --workers, or --preload, which shares what is imported",
            );
        }
        let at_once = if settings.rolling_reload { workers + 1 } else { 2 * workers };
        if each.saturating_mul(copies(at_once)) > there {
            let fit = counted(workers, "fits", "fit");
            return Finding::advice(
                NAME,
                format!("{found}: {fit}, but not the {at_once} that there are in a reload"),
                "--rolling-reload has one more than there are workers; or give it more memory",
            );
        }
    }
    if let Some(each) = settings.max_rss
        && each.saturating_mul(workers) > there
    {
        return Finding::advice(
            NAME,
            format!(
                "{} of --max-rss {} may have more than there is: {there_is}",
                counted(workers, "worker", "workers"),
                mib(each)
            ),
            format!(
                "--max-rss {} at most, so that they are replaced before the kernel kills them",
                mib(there / workers)
            ),
        );
    }
    Finding::ok(
        NAME,
        match runs.memory {
            Some(each) => {
                format!("{workers} x {} once the application is imported, and {there_is}", mib(each))
            }
            None => there_is,
        },
    )
}

/// Where a thread's stack and a fork must be paid for in advance (proc_sys_vm(5), mode 2).
fn overcommit(settings: &Settings, machine: &Machine, runs: Runs) -> Option<Finding> {
    if machine.number("proc/sys/vm/overcommit_memory")? != 2 {
        return None;
    }
    let limit = machine.kilobytes("proc/meminfo", "CommitLimit")?;
    let left = limit.saturating_sub(machine.kilobytes("proc/meminfo", "Committed_AS")?);
    let threads = if runs.on == RunsOn::Threads { settings.threads as u64 } else { 1 };
    let stacks = threads.saturating_mul(settings.thread_stack_size.unwrap_or(STACK_SIZE));
    let needed = stacks.saturating_add(runs.memory.unwrap_or_default());
    let needed = needed.saturating_mul(settings.worker_count() as u64);
    let found = format!(
        "vm.overcommit_memory is 2: {} may still be asked for, and the workers may ask for {}",
        mib(left),
        mib(needed)
    );
    Some(match needed > left {
        true => Finding::advice(
            "overcommit",
            found,
            "lower --thread-stack-size (512KiB is enough for most), --threads or --workers, or raise vm.overcommit_ratio",
        ),
        false => Finding::ok("overcommit", found),
    })
}

fn processes(settings: &Settings, machine: &Machine, on: RunsOn) -> Finding {
    const NAME: &str = "processes";
    let grouped = machine.allowance().processes;
    // Nobody counts those of root (setrlimit(2)).
    let of_user = getrlimit(Resource::Nproc).current.filter(|_| !geteuid().is_root());
    let Some(most) = [grouped, of_user].into_iter().flatten().min() else {
        return Finding::ok(NAME, "as many processes and threads as one likes may run");
    };
    let workers = settings.worker_count() as u64;
    let threads = if on == RunsOn::Threads { settings.threads as u64 } else { 1 };
    let of_fleet = |threads: u64| (threads + OTHER_THREADS) * workers + 1;
    let needed = of_fleet(threads);
    let of_workers = workers_in(settings.worker_count());
    let found = format!("{most} processes and threads may run, and {of_workers} may come to {needed}");
    let raise =
        "raise it (pids.max of the control group, TasksMax= of systemd, --pids-limit of Docker, ulimit -u)";
    if most < FEWEST_THREADS * workers + 1 {
        return Finding::wrong(NAME, found, raise);
    }
    if most < needed {
        let remedy = match on {
            RunsOn::Threads => format!("{raise}, or lower --threads or --workers"),
            _ => raise.to_owned(),
        };
        return Finding::wrong(NAME, found, remedy);
    }
    if most < 2 * needed && !settings.rolling_reload {
        let remedy = format!("--rolling-reload, or {raise}");
        return Finding::advice(NAME, format!("{found}; in a reload to twice as many"), remedy);
    }
    Finding::ok(NAME, found)
}

fn workers_in(number: usize) -> String {
    counted(number as u64, "worker", "workers")
}

/// Bytes for people.
fn mib(bytes: u64) -> String {
    format!("{}MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cli::{Outcome, from_command_line};
    use crate::doctor::Verdict;

    /// A machine that says this in these files.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine::at(root.path());
        (root, machine)
    }

    fn settings(flags: &str) -> Settings {
        let arguments: Vec<_> = "doctor --config none".split(' ').chain(flags.split_whitespace()).collect();
        let arguments: Vec<_> = arguments.into_iter().map(Into::into).collect();
        match from_command_line(&arguments, &mut std::iter::empty(), Path::new("/")).unwrap() {
            Outcome::Examine(settings, _) => settings,
            _ => unreachable!(),
        }
    }

    const SECOND: [(&str, &str); 7] = [
        ("proc/self/cgroup", "0::/system.slice/site.service\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
        ("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/system.slice/pids.max", "4915\n"),
        ("sys/fs/cgroup/system.slice/site.service/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/site.service/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/system.slice/site.service/pids.max", "max\n"),
    ];

    #[test]
    fn the_lowest_limit_of_a_group_and_those_above_it_holds() {
        let (_root, machine) = machine(&SECOND);
        let allowed = machine.allowance();
        assert_eq!(
            (allowed.memory, allowed.processors, allowed.processes),
            (Some(1 << 30), Some(1.5), Some(4915))
        );
    }

    #[test]
    fn the_first_version_has_a_hierarchy_for_each_controller() {
        let (_root, machine) = machine(&[
            (
                "proc/self/cgroup",
                "12:pids:/\n11:memory:/docker/0123\n4:cpu,cpuacct:/docker/0123\n1:name=systemd:/x\n0::/\n",
            ),
            // A container sees its own group where the host's root is; the path is the host's.
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/pids/pids.max", "max\n"),
        ]);
        let allowed = machine.allowance();
        assert_eq!(
            (allowed.memory, allowed.processors, allowed.processes),
            (Some(512 << 20), Some(0.5), None)
        );
    }

    #[test]
    fn what_is_not_limited_is_not_taken_for_a_limit() {
        let (_root, machine) = machine(&[
            ("proc/self/cgroup", "11:memory:/\n4:cpu,cpuacct:/\n0::/../..\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(machine.allowance(), super::super::machine::Allowance::default());
        assert_eq!(Machine::at(Path::new("/nowhere")).allowance().memory, None);
    }

    #[test]
    fn a_part_of_a_processor_and_too_many_workers_are_told() {
        let quota = |quota| {
            let text = format!("{quota} 100000\n");
            let files = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", text.as_str())];
            machine(&files)
        };
        let (_root, half) = quota(50_000);
        let finding = processors(&settings(""), &half);
        assert!(finding.found.contains("the time of 0.5 processors"), "{finding:?}");
        assert_eq!(finding.verdict, Verdict::Advice);
        let (_root, one) = quota(100_000);
        let verdict = |workers| processors(&settings(&format!("--workers {workers}")), &one).verdict;
        assert_eq!([verdict(1), verdict(2), verdict(3)], [Verdict::Ok, Verdict::Ok, Verdict::Advice]);
    }

    #[test]
    fn memory_that_workers_do_not_fit_is_wrong_and_that_of_a_reload_is_advice() {
        let (_root, machine) = machine(&[
            ("proc/meminfo", "MemTotal:        8039384 kB\nMemFree:  1 kB\n"),
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "419430400\n"),
        ]);
        let with = |flags: &str, mib: u64| {
            let runs = Runs { on: RunsOn::Threads, memory: Some(mib << 20) };
            memory(&settings(&format!("--workers 4 {flags}")), &machine, runs)
        };
        assert_eq!(with("", 50).verdict, Verdict::Ok);
        let reload = with("", 60);
        assert_eq!(reload.verdict, Verdict::Advice);
        assert!(reload.found.ends_with("but not the 8 that there are in a reload"), "{reload:?}");
        assert_eq!(with("--rolling-reload", 60).verdict, Verdict::Ok);
        assert_eq!(with("", 101).verdict, Verdict::Wrong);
        assert_eq!(with("--preload", 101).verdict, Verdict::Ok);
        let stated = with("--max-rss 128MiB", 10);
        assert_eq!(stated.verdict, Verdict::Advice);
        assert!(stated.remedy.starts_with("--max-rss 100MiB at most"), "{stated:?}");
    }

    #[test]
    fn threads_that_a_group_does_not_let_start_are_told() {
        let verdict = |most: u64, threads: u32| {
            let text = format!("{most}\n");
            let files = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/pids.max", text.as_str())];
            let (_root, machine) = machine(&files);
            let settings = settings(&format!("--workers 2 --threads {threads}"));
            processes(&settings, &machine, RunsOn::Threads).verdict
        };
        assert_eq!(verdict(4096, 200), Verdict::Ok);
        assert_eq!(verdict(500, 200), Verdict::Advice);
        assert_eq!(verdict(100, 200), Verdict::Wrong);
        assert_eq!(verdict(100, 8), Verdict::Ok);
        assert_eq!(verdict(5, 1), Verdict::Wrong);
    }

    #[test]
    fn strict_accounting_of_memory_is_told_where_stacks_do_not_fit() {
        let (_root, machine) = machine(&[
            ("proc/sys/vm/overcommit_memory", "2\n"),
            (
                "proc/meminfo",
                "MemTotal: 2000000 kB\nCommitLimit:     1000000 kB\nCommitted_AS:     400000 kB\n",
            ),
        ]);
        let with = |flags: &str| {
            let runs = Runs { on: RunsOn::Threads, memory: None };
            overcommit(&settings(flags), &machine, runs).map(|finding| finding.verdict)
        };
        assert_eq!(with(""), Some(Verdict::Advice));
        assert_eq!(with("--thread-stack-size 512KiB"), Some(Verdict::Ok));
    }

    #[test]
    fn a_queue_of_handshakes_matters_only_without_cookies() {
        let with = |cookies| {
            let (_root, machine) = machine(&[
                ("proc/sys/net/ipv4/tcp_syncookies", cookies),
                ("proc/sys/net/ipv4/tcp_max_syn_backlog", "128\n"),
            ]);
            handshakes(&settings(""), &machine).map(|finding| finding.verdict)
        };
        assert_eq!(with("1\n"), None);
        assert_eq!(with("0\n"), Some(Verdict::Advice));
    }

    #[test]
    fn a_clock_that_is_slow_to_read_is_told() {
        let with = |source| {
            let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
            let (_root, machine) = machine(&[(path, source)]);
            clock(&machine).verdict
        };
        assert_eq!([with("tsc\n"), with("hpet\n")], [Verdict::Ok, Verdict::Advice]);
    }
}
