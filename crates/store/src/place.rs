//! What a data directory stands on: the file system, its room, and how long it takes to say that something is on disk.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// A file system, and how much room it has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileSystem {
    /// What it is.
    pub kind: Kind,
    /// Bytes that it can hold.
    pub total: u64,
    /// Bytes that we may still write.
    pub free: u64,
}

/// A kind of file system, by what it means for what is synced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// On a disk of this machine, as far as anyone can tell; its name.
    Local(&'static str),
    /// In memory: nothing outlives the machine.
    Memory(&'static str),
    /// The layers of a container: what is written goes with it.
    Overlay,
    /// Somebody else's promise, over a network or another program.
    Remote(&'static str),
    /// Not known to us.
    Unknown,
}

impl FileSystem {
    /// Looks at the file system that `path` is on.
    pub fn of(path: &Path) -> io::Result<Self> {
        let space = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Ok(Self { kind: kind_of(path)?, total: bytes(space.f_blocks), free: bytes(space.f_bavail) })
    }
}

impl Kind {
    /// What `mount` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local(name) | Self::Memory(name) | Self::Remote(name) => name,
            Self::Overlay => "overlay",
            Self::Unknown => "unknown file system",
        }
    }

    /// Why nobody should rely on it, if that is so.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Local(_) | Self::Unknown => None,
            Self::Memory(_) => Some("it is in memory: nothing outlives a restart of the machine"),
            Self::Overlay => Some("it belongs to a container: what is stored goes when that is removed; mount a volume"),
            Self::Remote(_) => Some("it is not a disk of this machine: what \"synced\" means there is somebody else's promise"),
        }
    }
}

#[cfg(target_os = "linux")]
fn kind_of(path: &Path) -> io::Result<Kind> {
    let magic = rustix::fs::statfs(path)?.f_type;
    // Signed or not, of 32 bits or 64: its lower 32 count.
    let magic = magic.to_le_bytes();
    let magic = u32::from_le_bytes([magic[0], magic[1], magic[2], magic[3]]);
    Ok(kind_by_magic(magic))
}

#[cfg(not(target_os = "linux"))]
fn kind_of(_: &Path) -> io::Result<Kind> {
    Ok(Kind::Unknown)
}

/// The numbers of `statfs(2)`.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux has these numbers"))]
fn kind_by_magic(magic: u32) -> Kind {
    match magic {
        0xef53 => Kind::Local("ext4"),
        0x5846_5342 => Kind::Local("xfs"),
        0x9123_683e => Kind::Local("btrfs"),
        0x2fc1_2fc1 => Kind::Local("zfs"),
        0xf2f5_2010 => Kind::Local("f2fs"),
        0xca45_1a4e => Kind::Local("bcachefs"),
        0x0102_1994 => Kind::Memory("tmpfs"),
        0x8584_58f6 => Kind::Memory("ramfs"),
        0x794c_7630 => Kind::Overlay,
        0x6969 => Kind::Remote("nfs"),
        0x517b | 0xfe53_4d42 => Kind::Remote("smb"),
        0xff53_4d42 => Kind::Remote("cifs"),
        0x6573_5546 => Kind::Remote("fuse"),
        0x0102_1997 => Kind::Remote("9p"),
        0x00c3_6400 => Kind::Remote("ceph"),
        0x5346_414f => Kind::Remote("afs"),
        _ => Kind::Unknown,
    }
}

/// The name of the file that is written to measure; nothing else uses it.
const PROBE: &str = "probe.new";
const PROBE_BYTES: usize = 4096;
const ROUNDS: usize = 9;
/// A slow disk is measured less often.
const TIME_MAX: Duration = Duration::from_millis(100);

/// A sync that is faster than this has not reached a disk, or one whose cache outlives a power failure.
pub const SUSPICIOUS: Duration = Duration::from_micros(15);

/// How long a sync of one written page takes in `dir`: the median of a few.
pub fn sync_latency(dir: &Path) -> io::Result<Duration> {
    let path = dir.join(PROBE);
    let measured = measure(&path);
    let removed = match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let measured = measured?;
    removed?;
    Ok(measured)
}

fn measure(path: &Path) -> io::Result<Duration> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&[0; PROBE_BYTES])?;
    file.sync_all()?;
    let begun = Instant::now();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 1..=ROUNDS {
        let content = [u8::try_from(round).unwrap_or(0); PROBE_BYTES];
        file.write_all_at(&content, 0)?;
        let at = Instant::now();
        file.sync_data()?;
        rounds.push(at.elapsed());
        if begun.elapsed() > TIME_MAX {
            break;
        }
    }
    rounds.sort_unstable();
    Ok(rounds[rounds.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_on_a_file_system_with_room() {
        let dir = tempfile::tempdir().unwrap();

        let found = FileSystem::of(dir.path()).unwrap();

        assert!(found.total > 0 && found.free <= found.total, "{found:?}");
        assert!(FileSystem::of(&dir.path().join("nothing")).is_err());
    }

    #[test]
    fn what_does_not_outlive_the_machine_is_named() {
        assert_eq!(kind_by_magic(0xef53), Kind::Local("ext4"));
        assert!(kind_by_magic(0x0102_1994).warning().is_some_and(|warning| warning.contains("memory")));
        assert!(kind_by_magic(0x6969).warning().is_some() && kind_by_magic(0x794c_7630).warning().is_some());
        assert_eq!((kind_by_magic(7).name(), kind_by_magic(7).warning()), ("unknown file system", None));
    }

    #[test]
    fn a_measurement_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();

        let latency = sync_latency(dir.path()).unwrap();

        assert!(latency > Duration::ZERO);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
