//! One line at the start about the disk: what it is, how long a sync takes, and what cannot be relied on.

use std::{
    path::PathBuf,
    thread::{self, JoinHandle},
    time::Duration,
};

use columba_store::place::{FileSystem, SUSPICIOUS, sync_latency};

/// Measures in a thread of its own, for nobody waits for the answer. Until it ends there is a file more in the directory.
pub(crate) fn probe(path: PathBuf) -> Option<JoinHandle<()>> {
    let thread = thread::Builder::new().name("disk-probe".into()).spawn(move || match FileSystem::of(&path) {
        Ok(disk) => tell(disk, sync_latency(&path)),
        Err(error) => tracing::warn!(%error, "cannot look at the file system of the data directory"),
    });
    thread.inspect_err(|error| tracing::debug!(%error, "the disk is not measured")).ok()
}

fn tell(disk: FileSystem, latency: std::io::Result<Duration>) {
    let (fs, free_mib) = (disk.kind.name(), disk.free >> 20);
    let latency = match latency {
        Ok(latency) => latency,
        // A full disk; the quota says more about it.
        Err(error) => {
            tracing::warn!(fs, free_mib, %error, "cannot measure how long a sync takes");
            return;
        }
    };
    let sync_us = latency.as_micros();
    match judge(disk, latency) {
        None => tracing::info!(fs, free_mib, sync_us, "disk"),
        Some(warning) => tracing::warn!(fs, free_mib, sync_us, warning, "the disk is doubtful"),
    }
}

fn judge(disk: FileSystem, latency: Duration) -> Option<&'static str> {
    let too_fast = "a sync is faster than a disk can be: its cache outlives a power failure, or it says so and does not";
    disk.kind.warning().or_else(|| (latency < SUSPICIOUS).then_some(too_fast))
}

#[cfg(test)]
mod tests {
    use columba_store::place::Kind;

    use super::*;

    #[test]
    fn what_cannot_be_relied_on_is_said() {
        let on = |kind| FileSystem { kind, total: 1, free: 1 };
        let (fast, slow) = (Duration::from_micros(3), Duration::from_micros(80));

        assert_eq!(judge(on(Kind::Local("ext4")), slow), None);
        assert!(judge(on(Kind::Local("ext4")), fast).is_some_and(|warning| warning.contains("faster")));
        assert!(judge(on(Kind::Memory("tmpfs")), fast).is_some_and(|warning| warning.contains("in memory")));
        assert!(judge(on(Kind::Remote("nfs")), slow).is_some_and(|warning| warning.contains("somebody else")));
    }
}
