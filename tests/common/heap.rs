//! An allocator that counts what the thread it is asked on does.

// An allocator cannot be written without; this one passes everything on.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static COUNTER: Counter = Counter;

struct Counter;

thread_local! {
    pub static CALLS: Cell<u64> = const { Cell::new(0) };
    pub static BYTES: Cell<i64> = const { Cell::new(0) };
}

impl Counter {
    fn count(bytes: i64) {
        CALLS.set(CALLS.get() + 1);
        BYTES.set(BYTES.get() + bytes);
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(held(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(held(layout.size()));
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        Self::count(held(len) - held(layout.size()));
        unsafe { System.realloc(old, layout, len) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get() - held(layout.size()));
        unsafe { System.dealloc(old, layout) }
    }
}

/// What a block takes of the heap of glibc: eight bytes more, in steps of 16, 32 at least.
fn held(len: usize) -> i64 {
    (len + 8).next_multiple_of(16).max(32) as i64
}
