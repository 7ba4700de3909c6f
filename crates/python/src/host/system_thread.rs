//! What the system knows of threads: their numbers, their names, and whether they wait.

use std::ffi::CStr;

/// The system's number of this thread.
pub(super) fn number() -> i32 {
    #[cfg(target_os = "linux")]
    return rustix::thread::gettid().as_raw_pid();
    #[cfg(not(target_os = "linux"))]
    0
}

/// Tells the system, for `top -H` and the like, as Python does from 3.14 on.
pub(super) fn set_name(name: &CStr) {
    #[cfg(target_os = "linux")]
    // A name that is not taken is missed by nobody.
    let _ = rustix::thread::set_name(name);
    #[cfg(not(target_os = "linux"))]
    let _ = name;
}

/// Whether a thread of this process waits for something, rather than runs or would like to (proc(5)). Where the system does not
/// tell, a call that takes long is taken for one that waits.
pub(super) fn sleeps(thread: i32) -> bool {
    waits(&format!("/proc/self/task/{thread}/stat"))
}

/// The same of a thread of another process.
pub(crate) fn sleeps_in(process: i32, thread: i32) -> bool {
    waits(&format!("/proc/{process}/task/{thread}/stat"))
}

fn waits(stat: &str) -> bool {
    if cfg!(not(target_os = "linux")) {
        return true;
    }
    let Ok(stat) = std::fs::read(stat) else { return true };
    // The name, in parentheses, may hold anything.
    let after_name = memchr::memrchr(b')', &stat).map_or(0, |end| end + 2);
    matches!(stat.get(after_name), Some(b'S' | b'D'))
}
