//! Memory for the frames of greenlets, used again.
//!
//! From CPython 3.11 on, a greenlet that runs Python code has a chunk of 16 KiB for its frames, which comes straight from the
//! system and goes straight back: two system calls and a few page faults for each greenlet, more than all else together. A free list
//! in front of the system keeps one fresh greenlet for each request affordable.

use std::ffi::c_void;
use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::ffi;
use pyo3::prelude::*;

/// What CPython asks for (DATA_STACK_CHUNK_SIZE); its other arenas are far larger.
const CHUNK_SIZE: usize = 16 * 1024;

/// Chunks that are kept: of each a page or two was used, so that they hold some 8 MiB; what a larger crowd has used goes back to the system.
const CHUNKS_MAX: usize = 2048;

/// Addresses of chunks that nobody uses.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// What was there before.
static SYSTEM: OnceLock<System> = OnceLock::new();

struct System(ffi::PyObjectArenaAllocator);

// SAFETY: two functions and a context that CPython itself calls from any thread that is attached.
unsafe impl Send for System {}
// SAFETY: as above; it is never changed once it is set.
unsafe impl Sync for System {}

fn free_list() -> std::sync::MutexGuard<'static, Vec<usize>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn allocate(_context: *mut c_void, size: usize) -> *mut c_void {
    if size == CHUNK_SIZE
        && let Some(chunk) = free_list().pop()
    {
        return chunk as *mut c_void;
    }
    match SYSTEM.get() {
        Some(System(system)) => system.alloc.map_or(std::ptr::null_mut(), |alloc| alloc(system.ctx, size)),
        None => std::ptr::null_mut(),
    }
}

extern "C" fn release(_context: *mut c_void, memory: *mut c_void, size: usize) {
    if size == CHUNK_SIZE {
        let mut free = free_list();
        if free.len() < CHUNKS_MAX {
            free.push(memory as usize);
            return;
        }
    }
    if let Some(System(system)) = SYSTEM.get()
        && let Some(release) = system.free
    {
        release(system.ctx, memory, size);
    }
}

/// Has chunks kept from here on, until the process ends: what this has given out comes back through it.
pub(crate) fn keep_frame_chunks(_py: Python<'_>) {
    SYSTEM.get_or_init(|| {
        let mut system = ffi::PyObjectArenaAllocator { ctx: std::ptr::null_mut(), alloc: None, free: None };
        // SAFETY: attached, as the argument shows; fills in a live struct.
        unsafe { ffi::PyObject_GetArenaAllocator(&raw mut system) };
        System(system)
    });
    let mut ours =
        ffi::PyObjectArenaAllocator { ctx: std::ptr::null_mut(), alloc: Some(allocate), free: Some(release) };
    // SAFETY: attached, as the argument shows; the struct is copied. Memory passes between this allocator and the one before unchanged, so
    // either may free what the other has given. The functions are in this library, which is never unloaded.
    unsafe { ffi::PyObject_SetArenaAllocator(&raw mut ours) };
}
