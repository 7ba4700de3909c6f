//! The files in which the kernel tells of itself.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The machine, by the files of its kernel.
#[derive(Debug)]
pub struct Machine {
    /// Where they are: `/`, but for tests.
    root: PathBuf,
}

/// What control groups leave to this process, those above its own included (cgroups(7)). None: as much as there is.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Allowance {
    /// Bytes.
    pub(super) memory: Option<u64>,
    /// Such as 1.5.
    pub(super) processors: Option<f64>,
    /// Processes and threads.
    pub(super) processes: Option<u64>,
}

/// No limit, as the first version has it: the largest number of pages, in bytes.
const MEMORY_UNLIMITED: u64 = 1 << 62;

const GROUPS: &str = "sys/fs/cgroup";

impl Machine {
    /// The one whose root is there.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// What is in a file, without the end of its last line.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.root.join(path)).ok()?.trim_end().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The number behind a name, in a file of lines `Name:   number kB`; in bytes.
    pub(super) fn kilobytes(&self, path: &str, name: &str) -> Option<u64> {
        let text = self.text(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()? * 1024)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The names in a directory.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    pub(super) fn link(&self, path: &str) -> Option<PathBuf> {
        fs::read_link(self.root.join(path)).ok()
    }

    /// The path of this process's group, as the file of its groups has it, in the hierarchy that has this controller; in that of the second
    /// version where none is named.
    pub(super) fn group(&self, controller: Option<&str>) -> Option<String> {
        // A line is `number:controllers:path`; the second version's has no controllers.
        self.text("proc/self/cgroup")?.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let is_it = match controller {
                Some(controller) => controllers.split(',').any(|one| one == controller),
                None => controllers.is_empty(),
            };
            is_it.then(|| path.to_owned())
        })
    }

    pub(super) fn allowance(&self) -> Allowance {
        let mut all = Allowance::default();
        for level in self.levels(None) {
            let file = |name: &str| self.text(&format!("{level}/{name}"));
            let number = |name: &str| file(name)?.parse::<u64>().ok();
            let processors = || {
                let text = file("cpu.max")?;
                let (quota, period) = text.split_once(' ')?;
                Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
            };
            all.take(number("memory.max"), processors(), number("pids.max"));
        }
        for level in self.levels(Some("memory")) {
            let memory = self.number(&format!("{level}/memory.limit_in_bytes"));
            all.take(memory.filter(|limit| *limit < MEMORY_UNLIMITED), None, None);
        }
        for level in self.levels(Some("cpu")) {
            // -1 is no quota, and no number here.
            let number = |name: &str| self.number(&format!("{level}/cpu.cfs_{name}_us"));
            let processors =
                number("quota").zip(number("period")).map(|(quota, period)| quota as f64 / period as f64);
            all.take(None, processors, None);
        }
        for level in self.levels(Some("pids")) {
            all.take(None, None, self.number(&format!("{level}/pids.max")));
        }
        all
    }

    /// The directories of this process's group and of those above it.
    fn levels(&self, controller: Option<&str>) -> Vec<String> {
        let Some(path) = self.group(controller) else { return Vec::new() };
        let mount = controller.map_or_else(|| GROUPS.to_owned(), |name| format!("{GROUPS}/{name}"));
        // A group out of the namespace's sight, or a path as the host sees it: what is mounted is the best that is known.
        let steps = Path::new(&path).components().map(|step| match step {
            Component::Normal(name) => name.to_str().map(Some),
            Component::ParentDir => None,
            _ => Some(None),
        });
        let mut levels = vec![mount.clone()];
        for name in steps.collect::<Option<Vec<_>>>().into_iter().flatten().flatten() {
            levels.extend(levels.last().map(|above| format!("{above}/{name}")));
        }
        levels
    }
}

impl Allowance {
    /// Takes the lower of each.
    fn take(&mut self, memory: Option<u64>, processors: Option<f64>, processes: Option<u64>) {
        fn lower<N: PartialOrd>(limit: &mut Option<N>, other: Option<N>) {
            if let Some(other) = other
                && limit.as_ref().is_none_or(|limit| other < *limit)
            {
                *limit = Some(other);
            }
        }
        lower(&mut self.memory, memory);
        lower(&mut self.processors, processors);
        lower(&mut self.processes, processes);
    }
}
