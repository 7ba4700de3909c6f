//! What the safe wrappers do not offer: signal handlers, the coarse clock, descriptors that come in by number. The only `unsafe` of
//! this crate.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};

/// A slice that processes share which are forked after it was made. It lives as long as the process.
#[derive(Debug)]
pub(crate) struct SharedMemory<T: 'static>(&'static [T]);

impl<T: Sync + Default> SharedMemory<T> {
    /// So many values, each as zeros make it, which for the atomics that this is for is their default.
    pub(crate) fn new(count: usize) -> io::Result<Self> {
        const { assert!(!std::mem::needs_drop::<T>()) };
        let start = Self::map(count * size_of::<T>())?.cast::<T>();
        for index in 0..count {
            // SAFETY: within the new mapping, which is aligned to a page and nobody else knows of.
            unsafe { start.add(index).write(T::default()) };
        }
        // SAFETY: all of it was written, it is never unmapped, and other processes change it through atomics alone, as T is Sync.
        Ok(Self(unsafe { std::slice::from_raw_parts(start, count) }))
    }
}

impl<T> SharedMemory<T> {
    fn map(size: usize) -> io::Result<*mut libc::c_void> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: no address is asked for, so nothing that is mapped is replaced.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size.max(1), protection, flags, -1, 0) };
        if start == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(start) }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        self.0
    }
}

impl SharedMemory<AtomicU64> {
    /// So many zeros, of which those take memory that are used.
    pub(crate) fn zeros(count: usize) -> io::Result<Self> {
        let start = Self::map(count * size_of::<AtomicU64>())?.cast::<AtomicU64>();
        // SAFETY: new pages are zeros, which an AtomicU64 may be; they are never unmapped, and other processes change them through atomics.
        Ok(Self(unsafe { std::slice::from_raw_parts(start, count) }))
    }
}

/// Registers a socket that several processes wait for, so that one of them is woken for each connection (EPOLLEXCLUSIVE).
#[cfg(target_os = "linux")]
pub(crate) fn watch_shared(epoll: &impl AsRawFd, socket: RawFd, token: usize) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLET | libc::EPOLLEXCLUSIVE) as u32,
        u64: token as u64,
    };
    // SAFETY: epoll_ctl checks both descriptors, and reads the event, which is alive, during the call.
    if unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket, &raw mut event) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The user at the other end of a unix socket (SO_PEERCRED of unix(7)). Its process may be one of another namespace, which has no number here.
#[cfg(target_os = "linux")]
pub fn peer_user(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: getsockopt writes at most `size` bytes to `peer`, which is as large and may hold any; both are alive during the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut size,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(peer.uid) }
}

/// The same of getpeereid(3).
#[cfg(not(target_os = "linux"))]
pub fn peer_user(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let (mut user, mut group) = (u32::MAX, u32::MAX);
    // SAFETY: getpeereid writes both numbers, which are alive during the call.
    let result = unsafe { libc::getpeereid(socket.as_raw_fd(), &raw mut user, &raw mut group) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(user) }
}

/// Receives at most `most` bytes onto the end of `buffer`, whose new part need not be set to zero for it.
pub(crate) fn receive_onto(socket: &OwnedFd, buffer: &mut Vec<u8>, most: usize) -> rustix::io::Result<usize> {
    buffer.reserve(most);
    let spare = &mut buffer.spare_capacity_mut()[..most];
    let received = rustix::net::recv(socket, spare, rustix::net::RecvFlags::empty())?.0.0.len();
    // SAFETY: recv has set the first `received` bytes behind the old length, and `reserve` has made room for them.
    unsafe { buffer.set_len(buffer.len() + received) };
    Ok(received)
}

/// The kernel's monotonic time as of its last tick: a memory read instead of a question to the processor's counter. Through libc,
/// whose way to it debuggers of memory know.
pub(crate) fn coarse_ms() -> u64 {
    #[cfg(target_os = "linux")]
    const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC;
    milliseconds_of(COARSE)
}

/// The time since 1970 as of the kernel's last tick.
pub(crate) fn coarse_wall_ms() -> u64 {
    #[cfg(target_os = "linux")]
    const COARSE: libc::clockid_t = libc::CLOCK_REALTIME_COARSE;
    #[cfg(not(target_os = "linux"))]
    const COARSE: libc::clockid_t = libc::CLOCK_REALTIME;
    milliseconds_of(COARSE)
}

fn milliseconds_of(clock: libc::clockid_t) -> u64 {
    let now = read_clock(clock);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// The kernel's monotonic time, to the microsecond.
pub(crate) fn precise_us() -> u64 {
    let now = read_clock(libc::CLOCK_MONOTONIC);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

fn read_clock(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec; every system has the clocks that are asked for here, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now
}

/// Where the handler writes the numbers of signals; -1 when nobody listens.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

/// The process that the handlers were installed for.
static SIGNAL_OWNER: AtomicI32 = AtomicI32::new(0);

/// Takes over a descriptor that the parent process handed down (`fd://N`), as a duplicate.
pub(crate) fn adopt_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes any number and answers EBADF for one that is not open; it touches no memory.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made `copy` for us, so nobody else owns or closes it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Closes a descriptor that the parent process handed down and that was adopted as a duplicate.
pub(crate) fn close_descriptor(number: RawFd) {
    // SAFETY: close(2) takes any number; that this one is nobody else's is what its being handed down to this server by number means.
    unsafe { libc::close(number) };
}

/// Whether the system shares the processor out to this thread as it does to most (SCHED_OTHER of sched(7)).
pub fn is_scheduled_as_most() -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: 0 is the calling thread; the call touches no memory.
    return unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) }
        == libc::c_long::from(libc::SCHED_OTHER);
    #[cfg(not(target_os = "linux"))]
    true
}

/// Has this thread, and those that it starts from now on, wait for their turn when they wake: they take the processor from nobody who
/// is at work (SCHED_BATCH of sched(7)).
///
/// # Errors
/// The system's, and that it has nothing of the kind.
pub fn wake_in_turn() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let no_priority: libc::c_int = 0;
        // By its number, as musl's function is an empty one. SAFETY: 0 is the calling thread; what the pointer is to is read during the call.
        let result = unsafe {
            libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_BATCH, &raw const no_priority)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
    #[cfg(not(target_os = "linux"))]
    Err(io::ErrorKind::Unsupported.into())
}

/// Ends the process without running exit handlers: the last resort when application code does not let go.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes any status, touches no memory and does not return.
    unsafe { libc::_exit(status) }
}

extern "C" fn on_signal(number: libc::c_int) {
    let fd = SIGNAL_PIPE.load(Ordering::Relaxed);
    if fd < 0 {
        return;
    }
    // SAFETY: getpid is async-signal-safe and cannot fail.
    if unsafe { libc::getpid() } != SIGNAL_OWNER.load(Ordering::Relaxed) {
        // A child that application code has forked has inherited the handler and the pipe. The signal is meant for the child.
        // SAFETY: signal and raise are async-signal-safe; the signal is blocked until this handler returns, and then ends the
        // child, as it would have without us.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
            libc::raise(number);
        }
        return;
    }
    // SAFETY: errno's address is valid for this thread, and a handler must leave errno as it found it.
    let errno = unsafe { *libc::__errno_location() };
    let byte = number as u8;
    // SAFETY: write is async-signal-safe (signal-safety(7)); the buffer is one live byte; `fd` is the pipe's write end, which
    // is closed after the handlers are gone, and non-blocking: a full pipe loses a byte nobody would miss.
    unsafe { libc::write(fd, (&raw const byte).cast(), 1) };
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Signal handlers that write to a pipe, for as long as this lives; then the former handlers are back.
#[derive(Debug)]
pub struct SignalHandlers {
    former: Vec<(i32, libc::sigaction)>,
    _pipe: OwnedFd,
}

impl SignalHandlers {
    /// Has the number of each of `signals`, a byte, written to the pipe whose other end is given. One at a time in a process.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::AlreadyExists`] when there are handlers already.
    pub fn install(signals: &[i32]) -> io::Result<(Self, OwnedFd)> {
        let (read_end, pipe) = pipe_with(PipeFlags::CLOEXEC)?;
        // A handler must not wait.
        rustix::io::ioctl_fionbio(&pipe, true)?;
        if SIGNAL_PIPE.compare_exchange(-1, pipe.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "signals are already being watched"));
        }
        SIGNAL_OWNER.store(rustix::process::getpid().as_raw_nonzero().get(), Ordering::SeqCst);
        let mut handlers = Self { former: Vec::with_capacity(signals.len()), _pipe: pipe };
        for &signal in signals {
            // SAFETY: all zeros is a valid sigaction: default handler, empty mask, no flags.
            let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            // SAFETY: as above; the kernel overwrites it.
            let mut former: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            // SAFETY: both point to live sigactions, and `on_signal` does only what a handler may do.
            if unsafe { libc::sigaction(signal, &raw const action, &raw mut former) } < 0 {
                return Err(io::Error::last_os_error());
            }
            handlers.former.push((signal, former));
        }
        Ok((handlers, read_end))
    }
}

impl Drop for SignalHandlers {
    fn drop(&mut self) {
        for (signal, former) in &self.former {
            // SAFETY: `former` is what the kernel gave for this very signal; the old value is not asked for.
            unsafe { libc::sigaction(*signal, former, std::ptr::null_mut()) };
        }
        SIGNAL_PIPE.store(-1, Ordering::SeqCst);
    }
}

/// The descriptor of an owner that gives it by number only, for as long as the owner is borrowed.
pub(crate) fn borrow(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: `owner` keeps its descriptor open while it lives, and the result lives no longer than the borrow of it.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}
