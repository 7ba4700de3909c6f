//! What a supervisor knows of its server, for those who show it.

use rustix::process::Pid;

use super::{Host, LOOKS_STUCK, Supervisor};
use crate::fleet::{Cause, Millis};
use crate::worker::State;

/// A worker, as it is believed to be.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// Its number.
    pub id: u32,
    /// Its process.
    pub pid: Pid,
    /// Which code it serves.
    pub generation: u32,
    /// How far it is.
    pub state: &'static str,
    /// Whether it accepts connections.
    pub serves: bool,
    /// For how long its process has been there.
    pub age_ms: Millis,
    /// It has not moved for half of the time after which it is taken for stuck.
    pub is_slow: bool,
}

/// A server at a moment.
#[derive(Clone, Debug)]
pub struct View {
    /// What it is about.
    pub phase: &'static str,
    /// For how long it has been there.
    pub uptime_ms: Millis,
    /// Workers that are to serve.
    pub workers_wanted: usize,
    /// Those that there are.
    pub workers: Vec<WorkerView>,
    /// How many workers had others put in their place, and why.
    pub restarts: Vec<(Cause, u64)>,
}

impl View {
    /// Whether it is to be sent requests: somebody takes them, it is not to stop soon, and not all who would take them are stuck.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, "serving" | "reloading")
            && self.workers.iter().any(|worker| worker.serves && !worker.is_slow)
    }
}

impl<H: Host> Supervisor<'_, H> {
    pub(super) fn view(&self) -> View {
        let now = self.now();
        let workers = self.fleet.workers().filter_map(|(id, generation, state)| {
            let child = self.children.iter().find(|child| child.id == id)?;
            Some(WorkerView {
                id: id.0,
                pid: child.pid,
                generation: generation.0,
                state: state.word(),
                serves: matches!(state, State::Serving { .. }),
                age_ms: now.saturating_sub(child.since),
                is_slow: child.is_stuck || child.pulse.1 >= LOOKS_STUCK / 2,
            })
        });
        View {
            phase: self.fleet.phase(),
            uptime_ms: now,
            workers_wanted: self.fleet.workers_wanted(),
            workers: workers.collect(),
            restarts: self.fleet.restarts().collect(),
        }
    }
}
