//! What a broker asks of its process: many descriptors, small pages, and to be somebody who may not do everything.

use rustix::{
    process::{Resource, geteuid, getrlimit, setrlimit},
    thread::disable_transparent_huge_pages,
};

/// Raises the soft limit of descriptors to the hard one: a connection takes one, and the soft limit of a shell is 1,024.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Says so where the process may do everything, and whoever wrote its configuration thought that it would not. It does not change that by itself, as mosquitto does: files are read again and again, and what root could read
/// at the start another user may not.
pub(crate) fn warn_of_root() {
    if geteuid().is_root() {
        tracing::warn!("runs as root: whoever breaks in has the whole machine; start it as a user of its own");
    }
}

/// Keeps the kernel from backing the heap with pages of 2 MiB, which the allocator asks for: the small things of idle connections lie scattered,
/// and each would hold a whole one. Measured with 10,000 of them: about 800 bytes each instead of up to 1,860.
pub(crate) fn use_small_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "cannot turn huge pages off");
    }
}
