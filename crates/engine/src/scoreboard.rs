//! What the workers of one server know of one another, in memory that they share: who has how many connections, and who waits.
//!
//! All of them accept from the same sockets, and the system wakes the one that came first, as long as it waits at all. It would have
//! nearly all connections. So a worker that has more than another one, which waits or will look soon, does not accept, but rings that one's bell.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::clock::Millis;
use crate::keeper::RequestKey;
use crate::record::InFlight;
use crate::sys::SharedMemory;

/// How many connections a worker may have more than another one: an eighth, and one at least, as passing on costs a wake-up.
const SHARE_DIVISOR: u32 = 8;

/// A worker that has looked for events this lately does so again soon, though it is at work.
const RECENT_MS: Millis = 20;

/// What a worker lets the others see.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Row {
    connections: AtomicU32,
    /// It waits for events, and would accept.
    waits: AtomicBool,
    /// When it has last looked for events, as one that accepts; 0 when it does not.
    looked_ms: AtomicU64,
    /// That it has begun.
    requests: AtomicU64,
    /// How often its reactor has heard the bell.
    heard: AtomicU64,
    /// Of its access log.
    lines_lost: AtomicU64,
    /// That do not come back from requests whose time is over.
    lost_threads: AtomicU32,
    /// The request whose stack is asked for, by its number and by its key.
    wanted: [AtomicU64; 3],
}

/// A row for each worker that there may be at once. Made before the first one is forked.
#[derive(Debug)]
pub struct Scoreboard {
    rows: SharedMemory<Row>,
    bells: Vec<OwnedFd>,
}

/// A worker's place on the board.
#[derive(Clone, Debug)]
pub struct Seat {
    board: Arc<Scoreboard>,
    index: usize,
}

impl Scoreboard {
    /// A board for so many workers.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(seats: usize) -> io::Result<Arc<Self>> {
        let bell = || Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let bells = (0..seats).map(|_| bell()).collect::<io::Result<_>>()?;
        Ok(Arc::new(Self { rows: SharedMemory::new(seats)?, bells }))
    }

    /// Workers that have a seat at once.
    pub fn seats(&self) -> usize {
        self.bells.len()
    }

    /// A seat as it is.
    pub fn look(self: &Arc<Self>, index: usize) -> Option<Seat> {
        Some(Seat { board: self.clone(), index: Some(index).filter(|&index| index < self.seats())? })
    }

    /// Takes a seat, which a former worker may have left as it was when it died.
    pub fn seat(self: &Arc<Self>, index: usize) -> Option<Seat> {
        let seat = self.look(index)?;
        seat.set_waits(false);
        seat.set_connections(0);
        seat.note_look(0);
        seat.row().requests.store(0, Ordering::Relaxed);
        seat.row().lines_lost.store(0, Ordering::Relaxed);
        seat.set_lost_threads(0);
        Some(seat)
    }
}

impl Seat {
    fn row(&self) -> &Row {
        &self.board.rows.as_slice()[self.index]
    }

    /// Requests that the worker which sits here has begun.
    pub fn requests(&self) -> u64 {
        self.row().requests.load(Ordering::Relaxed)
    }

    /// Connections that are open there.
    pub fn connections(&self) -> u32 {
        self.row().connections.load(Ordering::Relaxed)
    }

    /// How often its reactor has turned because somebody rang.
    pub fn heard(&self) -> u64 {
        self.row().heard.load(Ordering::Relaxed)
    }

    /// Lines of its access log that could not be written.
    pub fn lines_lost(&self) -> u64 {
        self.row().lines_lost.load(Ordering::Relaxed)
    }

    /// Threads that do not come back from requests whose time is over.
    pub fn lost_threads(&self) -> u32 {
        self.row().lost_threads.load(Ordering::Relaxed)
    }

    pub(crate) fn set_lost_threads(&self, count: usize) {
        self.row().lost_threads.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Says which request is asked for, to be told that it is.
    pub fn want(&self, request: &InFlight) {
        let words = [request.number, request.key.connection, request.key.number];
        self.row().wanted.iter().zip(words).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }

    /// Which one that is: its number and its key.
    pub fn wanted(&self) -> (u64, RequestKey) {
        let [number, connection, of_connection] =
            [0, 1, 2].map(|at: usize| self.row().wanted[at].load(Ordering::Relaxed));
        (number, RequestKey { connection, number: of_connection })
    }

    /// Has its reactor turn, if it can.
    pub fn ring(&self) {
        let _ = rustix::io::write(&self.board.bells[self.index], &1u64.to_ne_bytes());
    }

    pub(crate) fn count_request(&self) {
        self.row().requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_lines_lost(&self, count: u64) {
        self.row().lines_lost.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set_connections(&self, count: usize) {
        self.row().connections.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(crate) fn set_waits(&self, waits: bool) {
        self.row().waits.store(waits, Ordering::Release);
    }

    /// The time of a look for events; 0 when no more connections will be accepted.
    pub(crate) fn note_look(&self, now_ms: Millis) {
        self.row().looked_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Has another worker accept, if one will see it soon that has fewer connections than `most`. False when there is none.
    fn ring_one_below(&self, most: u32, now_ms: Millis) -> bool {
        let rows = self.board.rows.as_slice().iter().enumerate();
        let sees = |row: &Row| {
            row.waits.load(Ordering::Acquire) || row.looked_ms.load(Ordering::Relaxed) + RECENT_MS > now_ms
        };
        let others = rows.filter(|(index, row)| *index != self.index && sees(row));
        let fewest = others
            .map(|(index, row)| (row.connections.load(Ordering::Relaxed), index))
            .min()
            .filter(|(connections, _)| *connections < most);
        let bell = fewest.and_then(|(_, index)| self.board.bells.get(index));
        bell.is_some_and(|bell| rustix::io::write(bell, &1u64.to_ne_bytes()).is_ok())
    }

    /// Passes a connection on that waits to be accepted, if another worker is to have it. With no room here, it is for any that waits.
    pub(crate) fn passes_on(&self, connections: usize, has_room: bool, now_ms: Millis) -> bool {
        let own = u32::try_from(connections).unwrap_or(u32::MAX);
        let most = if has_room { own.saturating_sub((own / SHARE_DIVISOR).max(1)) } else { u32::MAX };
        most > 0 && self.ring_one_below(most, now_ms)
    }

    /// What another worker writes to.
    pub(crate) fn bell(&self) -> RawFd {
        self.board.bells[self.index].as_raw_fd()
    }

    /// Hears the bell.
    pub(crate) fn hear(&self) {
        self.row().heard.fetch_add(1, Ordering::Relaxed);
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.board.bells[self.index], &mut count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(connections: &[usize]) -> Vec<Seat> {
        let board = Scoreboard::new(connections.len()).expect("a board");
        let taken = connections.iter().enumerate().map(|(index, &count)| {
            let seat = board.seat(index).expect("a seat");
            seat.set_connections(count);
            seat.set_waits(true);
            seat
        });
        taken.collect()
    }

    const NOW_MS: Millis = 10_000;

    fn was_rung(seat: &Seat) -> bool {
        rustix::io::read(&seat.board.bells[seat.index], &mut [0; 8]).is_ok()
    }

    #[test]
    fn who_has_most_passes_on_to_who_has_least() {
        let seats = seats(&[20, 9, 3]);
        assert!(seats[0].passes_on(20, true, NOW_MS));
        assert!(was_rung(&seats[2]) && !was_rung(&seats[1]));
        assert!(!seats[2].passes_on(3, true, NOW_MS));
    }

    #[test]
    fn a_small_difference_is_nothing_to_wake_anybody_for() {
        let seats = seats(&[16, 14]);
        assert!(!seats[0].passes_on(16, true, NOW_MS));
        assert!(seats[0].passes_on(17, true, NOW_MS));
    }

    #[test]
    fn who_does_not_wait_is_not_asked() {
        let seats = seats(&[20, 0]);
        seats[1].set_waits(false);
        assert!(!seats[0].passes_on(20, true, NOW_MS));
    }

    #[test]
    fn who_is_at_work_but_looks_now_and_then_is_asked_too() {
        let seats = seats(&[20, 0]);
        seats[1].set_waits(false);
        seats[1].note_look(NOW_MS - 10);
        assert!(seats[0].passes_on(20, true, NOW_MS));
        assert!(!seats[0].passes_on(20, true, NOW_MS + 20));
        seats[1].note_look(0);
        assert!(!seats[0].passes_on(20, true, NOW_MS));
    }

    #[test]
    fn who_has_no_room_asks_anybody() {
        let seats = seats(&[10, 30]);
        assert!(!seats[0].passes_on(10, true, NOW_MS));
        assert!(seats[0].passes_on(10, false, NOW_MS));
    }

    #[test]
    fn a_seat_that_is_taken_anew_is_as_new() {
        let seats = seats(&[20, 0]);
        let board = &seats[1].board;
        assert!(!board.seat(1).expect("a seat").row().waits.load(Ordering::Relaxed));
        assert!(board.seat(2).is_none());
    }
}
