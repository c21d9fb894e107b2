//! The data directory: who may use it, what wrote it, and what it was made with.
//!
//! ```text
//! DIR/LOCK      locked while a broker runs; holds its process id
//! DIR/format    what this directory is; written last, so that a half-made directory is told from a damaged one
//! DIR/journal/  segments
//! DIR/cold/     the cold store
//! DIR/damaged/  what was found damaged and set aside
//! ```

mod aside;
mod format;
mod import;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use crate::cold::{ColdError, FjallCold};
use crate::file::{RealDisk, sync_dir};
use crate::log::{Log, LogError, LogOptions, Position, Recovered, Survey, WhenEmpty};
pub use aside::Aside;
pub use format::Identity;
use format::ParseError;
pub use import::ImportError;

const LOCK: &str = "LOCK";
const FORMAT: &str = "format";
const FORMAT_UNFINISHED: &str = "format.new";
const JOURNAL: &str = "journal";
const COLD: &str = "cold";
/// All that can be there before `format` is.
const OURS: [&str; 6] = [LOCK, FORMAT_UNFINISHED, JOURNAL, COLD, "cold.new", "cold.old"];

/// An open data directory; no other process can open it while this lives.
#[derive(Debug)]
pub struct StoreDir {
    path: PathBuf,
    identity: Identity,
    /// The lock goes with the file.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DirError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// What the operating system said.
        source: io::Error,
    },

    /// Another process has it.
    #[error("the data directory {path} is in use{}. Stop that process or choose another --data-dir", by(*.pid))]
    InUse {
        /// The directory.
        path: String,
        /// Who has it, as far as it said so.
        pid: Option<u32>,
    },

    /// There are files, but not ours.
    #[error("{path} is not a data directory: it holds {found} and no format file. Choose an empty or new directory")]
    NotOurs {
        /// The directory.
        path: String,
        /// One of the files.
        found: String,
    },

    /// The directory was written by a newer version.
    #[error(
        "the data directory {path} has format {found}, this version reads up to {known}: use the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The directory.
        path: String,
        /// Its format.
        found: u32,
        /// What we know.
        known: u32,
    },

    /// The format file cannot be understood.
    #[error("{path} is damaged ({what}): restore it from a backup of this data directory")]
    Damaged {
        /// The format file.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },

    /// There is nothing, where there should be a data directory.
    #[error("{path} is no data directory: it has no format file")]
    NotThere {
        /// The directory.
        path: String,
    },

    /// There is a data directory already, or files of others.
    #[error("{path} is not empty: {found} is there. Choose a new or empty directory")]
    NotEmpty {
        /// The directory.
        path: String,
        /// One of the files.
        found: String,
    },

    /// An import did not come to its end.
    #[error("an import into {path} was interrupted: do it again, or remove the directory")]
    HalfImported {
        /// The directory.
        path: String,
    },

    /// The first journal segment cannot be made.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The end of "is in use".
fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

impl StoreDir {
    /// Opens the directory, or makes it with a new identity if it is not there or empty.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DirError> {
        Self::open_with(path, || {
            let mut random = [0; 40];
            File::open("/dev/urandom")?.read_exact(&mut random)?;
            Ok(Identity::from_random(random))
        })
    }

    /// Opens the directory, or makes it with this identity.
    pub fn open_with(path: impl Into<PathBuf>, identity: impl FnOnce() -> io::Result<Identity>) -> Result<Self, DirError> {
        let path = path.into();
        make_path(&path)?;
        import::refuse_half(&path)?;
        // A stranger's directory gets no lock file from us.
        let known = read_identity(&path)?;
        if known.is_none() {
            refuse_others(&path)?;
        }
        let lock = lock(&path)?;
        // Again: while we had no lock another process may have made it.
        let identity = if let Some(identity) = read_identity(&path)? {
            identity
        } else {
            let identity = identity().map_err(io("read random bytes for", &path))?;
            make(&path, &identity)?;
            identity
        };
        Ok(Self { path, identity, _lock: lock })
    }

    /// Opens a directory that must be there.
    pub fn open_existing(path: impl Into<PathBuf>) -> Result<Self, DirError> {
        let path = path.into();
        import::refuse_half(&path)?;
        if read_identity(&path)?.is_none() {
            return Err(DirError::NotThere { path: path.display().to_string() });
        }
        Self::open(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was made with.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Opens the cold store.
    pub fn open_cold(&self) -> Result<FjallCold, ColdError> {
        FjallCold::open(&self.path.join(COLD))
    }

    /// Opens and recovers the journal; `from` is the cold store's position.
    pub fn open_journal(&self, from: Option<Position>) -> Result<(Log<RealDisk>, Recovered), LogError> {
        let options = LogOptions { when_empty: WhenEmpty::Refuse, ..log_options(&self.identity) };
        Log::open(journal_disk(&self.path)?, options, from)
    }
}

impl StoreDir {
    /// Looks at what can be read of the journal, whatever is wrong with it; `from` is the cold store's position.
    pub fn survey_journal(&self, from: Option<Position>) -> Result<Survey<RealDisk>, LogError> {
        Survey::run(journal_disk(&self.path)?, self.identity.id, self.identity.journal_salt, from)
    }
}

fn log_options(identity: &Identity) -> LogOptions {
    LogOptions::new(identity.id, identity.journal_salt)
}

fn journal_disk(path: &Path) -> Result<RealDisk, LogError> {
    let path = path.join(JOURNAL);
    RealDisk::open(&path).map_err(|source| LogError::Io { action: "open", file: path.display().to_string(), source })
}

/// Bytes that the file system of `path` has free for everyone.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(path)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Bytes of the blocks of a file, or of a directory and everything in it. What goes meanwhile is not counted.
pub fn disk_usage(path: &Path) -> io::Result<u64> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        meta => meta?,
    };
    let own = meta.blocks() * 512;
    if !meta.is_dir() {
        return Ok(own);
    }
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        entries => entries?.try_fold(own, |sum, entry| Ok(sum + disk_usage(&entry?.path())?)),
    }
}

/// Makes the directory and what is missing above it, and makes their names durable.
fn make_path(path: &Path) -> Result<(), DirError> {
    let missing: Vec<_> = path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(io("create", path))?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        sync_dir(parent).map_err(io("sync", parent))?;
    }
    Ok(())
}

fn refuse_others(path: &Path) -> Result<(), DirError> {
    for entry in fs::read_dir(path).map_err(io("list", path))? {
        let name = entry.map_err(io("list", path))?.file_name();
        // What a file system itself puts into the root of a volume.
        if name == "lost+found" || OURS.iter().any(|ours| name == *ours) {
            continue;
        }
        return Err(DirError::NotOurs { path: path.display().to_string(), found: name.to_string_lossy().into_owned() });
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, DirError> {
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(DirError::InUse { path: dir.display().to_string(), pid });
        }
        Err(error) => return Err(io("lock", &path)(error.into())),
    }
    // Only for the message above: no harm if it is not written.
    let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::debug!(%error, "cannot note the process id in the lock file");
    }
    Ok(file)
}

/// Makes what belongs into a new directory; `format` last. What an interrupted attempt has left is removed first.
fn make(path: &Path, identity: &Identity) -> Result<(), DirError> {
    make_content(path, identity)?;
    write_format(path, identity)
}

/// All but `format`.
fn make_content(path: &Path, identity: &Identity) -> Result<(), DirError> {
    for name in [JOURNAL, COLD, "cold.new", "cold.old"] {
        let old = path.join(name);
        match fs::remove_dir_all(&old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io("remove", &old)(error));
            }
            _ => {}
        }
    }
    let journal = path.join(JOURNAL);
    DirBuilder::new().mode(0o700).create(&journal).map_err(io("create", &journal))?;
    // From now on an empty journal directory means that the journal was lost.
    drop(Log::open(journal_disk(path)?, log_options(identity), None)?);
    Ok(())
}

fn write_format(path: &Path, identity: &Identity) -> Result<(), DirError> {
    let unfinished = path.join(FORMAT_UNFINISHED);
    write_synced(&unfinished, identity.to_text().as_bytes())?;
    sync_dir(path).map_err(io("sync", path))?;
    fs::rename(&unfinished, path.join(FORMAT)).map_err(io("rename", &unfinished))?;
    sync_dir(path).map_err(io("sync", path))
}

/// Writes a whole file; its name is not synced.
fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), DirError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(io("write", path))
}

fn read_identity(dir: &Path) -> Result<Option<Identity>, DirError> {
    let path = dir.join(FORMAT);
    let text = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", &path)(error)),
    };
    match Identity::from_text(&text) {
        Ok(identity) => Ok(Some(identity)),
        Err(ParseError::Newer(found)) => {
            Err(DirError::NewerFormat { path: dir.display().to_string(), found, known: format::VERSION })
        }
        Err(ParseError::Damaged(what)) => Err(DirError::Damaged { path: path.display().to_string(), what }),
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirError {
    move |source| DirError::Io { action, path: path.display().to_string(), source }
}
