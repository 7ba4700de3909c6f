//! Courses of events in the life of a fleet, without processes.

use tidegate_supervisor::fleet::{
    Action, Change, Ending, Event, Fleet, Limits, Millis, Order, Plan, Usage, Verb,
};
use tidegate_supervisor::worker::{State, WorkerId};

const PLAN: Plan = Plan {
    workers: 2,
    start_timeout_ms: 60_000,
    grace_ms: 30_000,
    retire_ms: 0,
    workers_max: 8,
    rolling: false,
    patient: false,
    limits: LIMITS,
};

const LIMITS: Limits = Limits {
    requests: None,
    lifetime_ms: None,
    memory: None,
    lost_threads: None,
    jitter_percent: 0,
    seed: 7,
};

/// A fleet with a clock, and its last actions without what was said.
struct Course {
    fleet: Fleet,
    now: Millis,
    said: Vec<String>,
    /// Beginnings and ends of reloads.
    changes: Vec<Action>,
}

impl Course {
    fn new(plan: Plan) -> Self {
        Self { fleet: Fleet::new(plan), now: 1_000, said: Vec::new(), changes: Vec::new() }
    }

    /// One whose workers 1 and 2 serve.
    fn serving() -> Self {
        let mut course = Self::new(PLAN);
        assert_eq!(course.pass(0), [start(1)]);
        assert_eq!(
            course.on(Event::Ready(WorkerId(1))),
            [tell(1, Order::Serve), Action::Change(Change::Opened), start(2)]
        );
        assert_eq!(course.on(Event::Ready(WorkerId(2))), [tell(2, Order::Serve)]);
        course.pass(10_000);
        course
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.fleet.handle(event, self.now);
        actions.retain(|action| match action {
            Action::Say(saying) => {
                self.said.push(saying.text.clone());
                false
            }
            Action::Change(Change::Reloading | Change::Reloaded | Change::ReloadFailed(_)) => {
                self.changes.push(action.clone());
                false
            }
            _ => true,
        });
        actions
    }

    fn pass(&mut self, millis: Millis) -> Vec<Action> {
        self.now += millis;
        self.on(Event::Time)
    }

    /// To the next deadline.
    fn wait(&mut self) -> Vec<Action> {
        self.now = self.fleet.deadline().unwrap_or(self.now).max(self.now);
        self.on(Event::Time)
    }

    fn last_said(&self) -> &str {
        self.said.last().map_or("", |said| said)
    }
}

fn start(id: u32) -> Action {
    Action::Start(WorkerId(id))
}

fn tell(id: u32, order: Order) -> Action {
    Action::Tell(WorkerId(id), order)
}

fn ready(id: u32) -> Event {
    Event::Ready(WorkerId(id))
}

fn ended(id: u32, status: i32) -> Event {
    Event::Ended(WorkerId(id), Ending::Exited(status))
}

fn killed(id: u32) -> Event {
    Event::Ended(WorkerId(id), Ending::Signaled(9))
}

#[test]
fn an_application_that_cannot_start_ends_the_server_with_the_workers_status() {
    let mut course = Course::new(PLAN);
    course.pass(0);
    // One is tried before the others, so that it is told once.
    assert_eq!(course.on(ended(1, 3)), [Action::Change(Change::Stopping), Action::End(3)]);
    // The worker has said why.
    assert!(course.said.is_empty());
}

#[test]
fn an_application_that_is_worked_on_may_be_unable_to_start_until_it_is_mended() {
    let mut course = Course::new(Plan { patient: true, ..PLAN });
    assert_eq!(course.pass(0), [start(1)]);
    assert_eq!(course.on(ended(1, 1)), []);
    assert!(course.last_said().ends_with("it is started again when a file changes"));
    assert_eq!(course.fleet.deadline(), None);
    assert_eq!(course.on(Event::Asked(Verb::Reload)), [start(2)]);
    // What changes while it is started may have come too late for it.
    assert_eq!(course.on(Event::Asked(Verb::Reload)), []);
    assert_eq!(course.on(ended(2, 1)), [start(3)]);
    let opened = [tell(3, Order::Serve), Action::Change(Change::Opened), start(4)];
    assert_eq!(course.on(ready(3)), opened);
    assert_eq!(course.changes, []);
    assert_eq!(course.on(Event::Asked(Verb::Stop)).last(), Some(&tell(4, Order::Abandon)));
}

#[test]
fn settings_that_do_not_fit_the_application_end_the_server_in_any_case() {
    let mut course = Course::new(Plan { patient: true, ..PLAN });
    course.pass(0);
    assert_eq!(course.on(ended(1, 2)), [Action::Change(Change::Stopping), Action::End(2)]);
}

#[test]
fn an_application_that_is_worked_on_may_fail_ever_so_often() {
    let mut course = Course::new(Plan { patient: true, workers: 1, ..PLAN });
    course.pass(0);
    course.on(ready(1));
    course.on(killed(1));
    for id in 2..20 {
        assert_eq!(course.wait(), [start(id)]);
        assert_eq!(course.on(ended(id, 1)), []);
    }
    // New code does not wait for the next try with the old.
    assert_eq!(course.on(Event::Asked(Verb::Reload)), [start(20), start(21)]);
}

#[test]
fn a_worker_that_is_killed_as_it_starts_has_said_nothing() {
    let mut course = Course::new(PLAN);
    course.pass(0);
    assert_eq!(course.on(killed(1)), [Action::Change(Change::Stopping), Action::End(1)]);
    assert!(course.last_said().contains("worker 1 was ended by signal 9 before it could serve"));
}

#[test]
fn a_worker_that_takes_too_long_to_start_has_failed_to() {
    let mut course = Course::new(Plan { workers: 1, ..PLAN });
    course.pass(0);
    assert_eq!(course.pass(59_999), []);
    assert_eq!(course.wait()[0], tell(1, Order::Kill));
    let actions = course.on(killed(1));
    assert!(actions.contains(&Action::Change(Change::Stopping)), "{actions:?}");
}

#[test]
fn a_worker_that_dies_is_replaced_at_once() {
    let mut course = Course::serving();
    assert_eq!(course.on(killed(1)), [start(3)]);
    assert_eq!(course.on(ready(3)), [tell(3, Order::Serve)]);
}

#[test]
fn one_that_dies_as_soon_as_it_serves_is_replaced_ever_later() {
    let mut course = Course::serving();
    course.on(killed(1));
    course.on(ready(3));
    assert_eq!(course.on(killed(3)), []);
    assert_eq!(course.fleet.deadline(), Some(course.now + 100));
    assert_eq!(course.wait(), [start(4)]);
    assert_eq!(course.on(ended(4, 1)), []);
    assert_eq!(course.fleet.deadline(), Some(course.now + 200));
}

#[test]
fn when_nobody_serves_and_nobody_can_the_server_gives_up() {
    let mut course = Course::new(Plan { workers: 1, ..PLAN });
    course.pass(0);
    course.on(ready(1));
    course.pass(5_000);
    assert_eq!(course.on(killed(1)), [start(2)]);
    for id in 2..6 {
        assert_eq!(course.on(ended(id, 1)), []);
        assert_eq!(course.wait(), [start(id + 1)]);
    }
    assert_eq!(course.on(ended(6, 1)), [Action::Change(Change::Stopping), Action::End(1)]);
}

#[test]
fn a_stop_lets_all_finish_and_ends_with_status_0() {
    let mut course = Course::serving();
    let asked = course.on(Event::Asked(Verb::Stop));
    assert_eq!(asked, [Action::Change(Change::Stopping), tell(1, Order::Leave), tell(2, Order::Leave)]);
    assert_eq!(course.on(ended(1, 0)), []);
    assert_eq!(course.on(ended(2, 0)), [Action::End(0)]);
}

#[test]
fn a_second_stop_does_not_wait() {
    let mut course = Course::serving();
    course.on(Event::Asked(Verb::Stop));
    assert_eq!(course.on(Event::Asked(Verb::Stop)), [tell(1, Order::Quit), tell(2, Order::Quit)]);
}

#[test]
fn who_outstays_the_grace_is_killed() {
    let mut course = Course::serving();
    course.on(Event::Asked(Verb::Stop));
    course.on(ended(1, 0));
    assert_eq!(course.pass(34_999), []);
    assert_eq!(course.pass(1), [tell(2, Order::Kill)]);
    assert_eq!(course.on(killed(2)), [Action::End(0)]);
}

#[test]
fn a_reload_lets_new_workers_serve_once_all_of_them_are_ready_and_then_the_old_leave() {
    let mut course = Course::serving();
    assert_eq!(course.on(Event::Asked(Verb::Reload)), [start(3)]);
    assert_eq!(course.on(ready(3)), [start(4)]);
    let switched =
        [tell(3, Order::Serve), tell(4, Order::Serve), tell(1, Order::Leave), tell(2, Order::Leave)];
    assert_eq!(course.on(ready(4)), switched);
    assert_eq!(course.on(ended(1, 0)), []);
    assert_eq!(course.on(ended(2, 0)), []);
    assert_eq!(course.changes, [Action::Change(Change::Reloading), Action::Change(Change::Reloaded)]);
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let mut course = Course::serving();
    course.on(Event::Asked(Verb::Reload));
    course.on(ready(3));
    assert_eq!(course.on(ended(4, 1)), [tell(3, Order::Leave)]);
    assert!(course.last_said().contains("the reload has failed: worker 4 ended with status 1"));
    assert_eq!(course.on(ended(3, 0)), []);
    let left: Vec<_> = course.fleet.workers().map(|(id, _, state)| (id.0, state)).collect();
    let serving = State::Serving { since: 1_000 };
    assert_eq!(left, [(1, serving), (2, serving)]);
    let reason = "worker 4 ended with status 1 before it could serve; the former workers go on".to_owned();
    let changes = [Change::Reloading, Change::ReloadFailed(reason)].map(Action::Change);
    assert_eq!(course.changes, changes);
    // And it can be tried again.
    assert_eq!(course.on(Event::Asked(Verb::Reload)), [start(5)]);
}

#[test]
fn a_rolling_reload_replaces_one_after_the_other() {
    let mut course = Course::new(Plan { rolling: true, ..PLAN });
    course.pass(0);
    course.on(ready(1));
    course.on(ready(2));
    assert_eq!(course.on(Event::Asked(Verb::Reload)), [start(3)]);
    assert_eq!(course.on(ready(3)), [tell(3, Order::Serve), tell(1, Order::Leave), start(4)]);
    assert_eq!(course.on(ready(4)), [tell(4, Order::Serve), tell(2, Order::Leave)]);
    assert!(course.last_said().contains("reloaded"));
}

#[test]
fn a_reload_that_is_asked_for_during_a_reload_comes_after_it() {
    let mut course = Course::serving();
    course.on(Event::Asked(Verb::Reload));
    assert_eq!(course.on(Event::Asked(Verb::Reload)), []);
    course.on(ready(3));
    let actions = course.on(ready(4));
    assert!(actions.ends_with(&[start(5)]), "{actions:?}");
}

#[test]
fn a_stop_during_a_reload_sends_all_away() {
    let mut course = Course::serving();
    course.on(Event::Asked(Verb::Reload));
    course.on(ready(3));
    let asked = course.on(Event::Asked(Verb::Stop));
    let expected = [
        Action::Change(Change::Stopping),
        tell(1, Order::Leave),
        tell(2, Order::Leave),
        tell(3, Order::Leave),
        tell(4, Order::Abandon),
    ];
    assert_eq!(asked, expected);
}

/// A course whose workers 1 and 2 serve, with limits.
fn limited(limits: Limits) -> Course {
    let mut course = Course::new(Plan { limits, ..PLAN });
    course.pass(0);
    course.on(ready(1));
    course.on(ready(2));
    course
}

fn used(id: u32, requests: u64, memory: u64) -> Event {
    Event::Used(WorkerId(id), Usage { requests, memory, ..Usage::default() })
}

#[test]
fn workers_that_are_used_up_are_replaced_one_at_a_time_and_stay_until_then() {
    let mut course = limited(Limits { requests: Some(1_000), ..LIMITS });
    assert_eq!(course.on(used(1, 999, 0)), []);
    assert_eq!(course.on(used(1, 1_000, 0)), [start(3)]);
    assert!(course.last_said().contains("worker 1 is replaced: it has had 1000 requests"));
    assert_eq!(course.on(used(2, 1_001, 0)), []);
    assert_eq!(course.on(ready(3)), [tell(3, Order::Serve), tell(1, Order::Leave), start(4)]);
    assert_eq!(course.on(ready(4)), [tell(4, Order::Serve), tell(2, Order::Leave)]);
}

#[test]
fn memory_and_age_use_a_worker_up_too() {
    let mut course = limited(Limits { memory: Some(64 << 20), lifetime_ms: Some(60_000), ..LIMITS });
    assert_eq!(course.on(used(2, 0, 64 << 20)), [start(3)]);
    assert!(course.last_said().contains("it holds 64 MiB"));
    course.on(ready(3));
    course.pass(60_000);
    assert_eq!(course.on(used(1, 0, 0)), [start(4)]);
    assert!(course.last_said().contains("it has served for 60 s"));
}

#[test]
fn with_jitter_workers_come_to_their_limits_one_after_the_other() {
    let limits = Limits { requests: Some(1_000), jitter_percent: 50, ..LIMITS };
    let limit_of = |id| {
        let mut course = Course::new(Plan { workers: 8, limits, ..PLAN });
        course.pass(0);
        (1..=8).for_each(|id| drop(course.on(ready(id))));
        (1..=1_000).find(|&count| !course.on(used(id, count, 0)).is_empty())
    };
    let limits: std::collections::BTreeSet<_> = (1..=8).map(|id| limit_of(id).unwrap_or(0)).collect();
    assert_eq!(limits.len(), 8);
    assert!(limits.iter().all(|limit| (500..=1_000).contains(limit)));
}

#[test]
fn a_replacement_that_cannot_start_is_tried_again_later() {
    let mut course = limited(Limits { requests: Some(10), ..LIMITS });
    course.on(used(1, 10, 0));
    assert_eq!(course.on(ended(3, 1)), []);
    assert_eq!(course.wait(), [start(4)]);
}

#[test]
fn a_fleet_grows_and_shrinks() {
    let mut course = Course::serving();
    assert_eq!(course.on(Event::Asked(Verb::Grow)), [start(3)]);
    assert_eq!(course.on(ready(3)), [tell(3, Order::Serve)]);
    assert_eq!(course.on(Event::Asked(Verb::Shrink)), [tell(3, Order::Leave)]);
    assert_eq!(course.on(Event::Asked(Verb::Shrink)), [tell(2, Order::Leave)]);
    // The last one stays.
    assert_eq!(course.on(Event::Asked(Verb::Shrink)), []);
    assert_eq!(course.on(Event::Asked(Verb::Grow)), [start(4)]);
}

#[test]
fn nothing_is_waited_for_while_the_first_worker_starts() {
    let mut course = Course::new(PLAN);
    course.pass(0);
    // The next thing is that it takes too long, not that another one could be started.
    assert_eq!(course.fleet.deadline(), Some(course.now + PLAN.start_timeout_ms));
}

#[test]
fn a_worker_that_serves_no_more_is_replaced_and_then_killed() {
    let mut course = Course::serving();
    assert_eq!(course.on(Event::Silent(WorkerId(1))), [start(3)]);
    assert_eq!(course.on(ready(3)), [tell(3, Order::Serve)]);
    assert_eq!(course.wait(), [tell(1, Order::Kill)]);
    assert_eq!(course.on(killed(1)), []);
}

#[test]
fn a_rolling_reload_that_fails_keeps_those_that_serve() {
    let mut course = Course::new(Plan { rolling: true, ..PLAN });
    course.pass(0);
    course.on(ready(1));
    course.on(ready(2));
    course.on(Event::Asked(Verb::Reload));
    assert_eq!(course.on(ready(3)), [tell(3, Order::Serve), tell(1, Order::Leave), start(4)]);
    assert_eq!(course.on(ended(4, 1)), []);
    assert!(course.last_said().contains("those that serve go on, old and new"));
    course.on(ended(1, 0));
    let serving: Vec<_> = course.fleet.workers().map(|(id, ..)| id.0).collect();
    assert_eq!(serving, [2, 3]);
}

#[test]
fn workers_that_die_soon_after_they_serve_are_started_ever_later() {
    let mut course = Course::new(Plan { workers: 1, ..PLAN });
    course.pass(0);
    course.on(ready(1));
    let mut waits = Vec::new();
    for id in 1..5 {
        assert_eq!(course.on(killed(id)), []);
        waits.push(course.fleet.deadline().map(|at| at - course.now));
        assert_eq!(course.wait(), [start(id + 1)]);
        course.on(ready(id + 1));
    }
    assert_eq!(waits, [Some(100), Some(200), Some(400), Some(800)]);
    // Until one has served for a while.
    course.pass(1_000);
    assert_eq!(course.on(killed(5)), [start(6)]);
}

#[test]
fn who_dies_during_a_reload_is_replaced_without_waiting_for_it() {
    let mut course = Course::serving();
    course.on(Event::Asked(Verb::Reload));
    assert_eq!(course.on(killed(1)), [start(4)]);
    assert_eq!(course.on(ready(4)), [tell(4, Order::Serve)]);
    assert_eq!(course.on(ready(3)), [start(5)]);
    let switched = course.on(ready(5));
    assert!(switched.ends_with(&[tell(2, Order::Leave), tell(4, Order::Leave)]), "{switched:?}");
}

#[test]
fn one_that_is_too_late_is_succeeded_when_it_is_known_how_it_ended() {
    let mut course = Course::serving();
    assert_eq!(course.on(killed(1)), [start(3)]);
    assert_eq!(course.pass(60_000), [tell(3, Order::Kill)]);
    assert_eq!(course.on(killed(3)), []);
    assert_eq!(course.wait(), [start(4)]);
}

#[test]
fn a_worker_that_is_stuck_is_killed_and_replaced_at_once() {
    let mut course = Course::serving();
    assert_eq!(course.on(Event::Stuck(WorkerId(2))), [tell(2, Order::Kill), start(3)]);
    assert!(course.last_said().contains("worker 2 is stuck"));
    assert_eq!(course.on(killed(2)), []);
    assert_eq!(course.on(Event::Stuck(WorkerId(3))), []);
}

#[test]
fn a_server_that_is_to_stop_goes_on_for_a_while_as_one_that_is_not_ready() {
    let mut course = Course::new(Plan { retire_ms: 5_000, ..PLAN });
    course.pass(0);
    course.on(ready(1));
    course.on(ready(2));
    let retiring = [Action::Change(Change::Retiring), tell(1, Order::Retire), tell(2, Order::Retire)];
    assert_eq!(course.on(Event::Asked(Verb::Stop)), retiring);
    assert_eq!(course.on(Event::Asked(Verb::Reload)), []);
    assert_eq!(course.pass(4_999), []);
    let stopping = [Action::Change(Change::Stopping), tell(1, Order::Leave), tell(2, Order::Leave)];
    assert_eq!(course.wait(), stopping);
}

#[test]
fn a_second_stop_and_another_server_do_not_wait_for_that() {
    for (verb, order) in
        [(Verb::Stop, Order::Quit), (Verb::Quit, Order::Quit), (Verb::HandOver, Order::Leave)]
    {
        let mut course = Course::new(Plan { retire_ms: 5_000, workers: 1, ..PLAN });
        course.pass(0);
        course.on(ready(1));
        course.on(Event::Asked(Verb::Stop));
        assert_eq!(course.on(Event::Asked(verb)), [Action::Change(Change::Stopping), tell(1, order)]);
        // A server that is ending already is not hurried by another one.
        assert_eq!(course.on(Event::Asked(Verb::HandOver)), []);
    }
}

#[test]
fn so_many_workers_as_are_asked_for_but_no_more_than_there_may_be() {
    let mut course = Course::serving();
    assert_eq!(course.on(Event::Asked(Verb::Resize(100))).len(), 6);
    assert!(course.last_said().contains("8 workers at most"));
    assert_eq!(course.fleet.workers_wanted(), 8);
    course.on(Event::Asked(Verb::Resize(1)));
    assert_eq!(
        course.fleet.workers().filter(|(.., state)| matches!(state, State::Serving { .. })).count(),
        1
    );
}
