//! Gives memory back that nobody uses any more: the compiler needs hundreds of
//! megabytes for seconds, a host runs for months.

/// Tells the allocator to return free memory to the system, which takes some tens
/// of milliseconds after a large component was compiled.
///
/// glibc keeps what threads have freed and may want again; other allocators
/// return it by themselves.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "no crate offers malloc_trim as a safe function")]
pub(super) fn give_back() {
    // SAFETY: it takes no pointer, locks the heaps it looks at, and leaves what is
    // allocated where it is (malloc_trim(3): MT-Safe).
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn give_back() {}
