//! Damage is set aside, never deleted: `DIR/damaged/N`, one directory for each time.

use std::fs::{self, DirBuilder};
use std::io::IoSlice;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::format::Identity;
use super::{COLD, DirError, FORMAT, JOURNAL, StoreDir, io, journal_disk, lock, make_path, write_format, write_synced};
use crate::disk::{Disk as _, DiskFile as _};
use crate::file::sync_dir;
use crate::log::format::{FRAMES_START, Header};
use crate::log::{Commit, LogError, LogOptions, Position, segment_file_name, valid_header};

const DAMAGED: &str = "damaged";
/// Where the cold store waits while another takes its place (docs/format.md).
const COLD_OLD: &str = "cold.old";
const REPORT: &str = "report.txt";

/// A place for what is damaged, in the directory itself: setting aside is renaming.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    dir: PathBuf,
}

impl StoreDir {
    /// Makes a place for what is damaged now.
    pub fn set_aside(&self) -> Result<Aside, DirError> {
        Aside::make(&self.path)
    }

    /// Begins segment `number` of the journal, so that the next commit is `first`. Segments before it are not read any more, as soon as the cold store's
    /// position is the one that this gives.
    pub fn begin_segment(&self, number: u64, first: Commit) -> Result<Position, LogError> {
        let disk = journal_disk(&self.path)?;
        let name = segment_file_name(number);
        let failed = |source| LogError::Io { action: "begin", file: disk.display(&name), source };
        let size = LogOptions::new(self.identity.id, self.identity.journal_salt).segment_bytes_min;
        let header = Header { id: self.identity.id, salt: self.identity.journal_salt, segment: number, first, size };
        // A name that is no segment's until the header is durable.
        let unfinished = name.replace(".seg", ".new");
        if disk.list().map_err(failed)?.contains(&unfinished) {
            disk.remove(&unfinished).map_err(failed)?;
        }
        let file = disk.create_zeroed(&unfinished, size).map_err(failed)?;
        file.write_at(&[IoSlice::new(&header.encode())], 0).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        disk.rename(&unfinished, &name).map_err(failed)?;
        disk.sync_dir().map_err(failed)?;
        Ok(Position { segment: number, offset: FRAMES_START })
    }

    /// Makes the `format` file anew from what a journal segment says, after setting the damaged one aside. Nothing is lost with it.
    ///
    /// # Errors
    /// Where no segment has a valid header there is nothing to make it from, and the directory stays as it is.
    pub fn rebuild_format(path: &Path, damage: &DirError) -> Result<Aside, DirError> {
        make_path(path)?;
        let _held = lock(path)?;
        let disk = journal_disk(path)?;
        let names = disk.list().map_err(io("list", &path.join(JOURNAL)))?;
        let header = names.iter().find_map(|name| disk.open(name).ok().and_then(|file| valid_header(&file)));
        let Some(header) = header else {
            let what = "and no journal segment tells what was in it";
            return Err(DirError::Damaged { path: path.join(FORMAT).display().to_string(), what });
        };
        let aside = Aside::make(path)?;
        aside.report(&format!("{damage}\nIt was made anew from the header of a journal segment. Nothing is lost.\n"))?;
        aside.rename(&path.join(FORMAT))?;
        let mut identity = Identity::from_random([0; 40]);
        (identity.id, identity.journal_salt) = (header.id, header.salt);
        // Where clients are placed changes with the key, and nothing depends on it.
        identity.hash_key = header.id.0;
        write_format(path, &identity)?;
        Ok(aside)
    }
}

impl Aside {
    fn make(dir: &Path) -> Result<Self, DirError> {
        let parent = dir.join(DAMAGED);
        make_path(&parent)?;
        for number in 1_u32.. {
            let path = parent.join(number.to_string());
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.map_err(io("create", &path))?;
                    sync_dir(&parent).map_err(io("sync", &parent))?;
                    return Ok(Self { path, dir: dir.to_owned() });
                }
            }
        }
        Err(io("create", &parent)(io::ErrorKind::AlreadyExists.into()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down what was damaged and what is lost with it.
    pub fn report(&self, text: &str) -> Result<PathBuf, DirError> {
        let path = self.path.join(REPORT);
        write_synced(&path, text.as_bytes())?;
        sync_dir(&self.path).map_err(io("sync", &self.path))?;
        Ok(path)
    }

    /// Keeps a copy of a journal segment here, which becomes a spare as soon as the cold store has what can be kept of it. One that is missing is no error.
    ///
    /// A copy, not the file: until then a crash must find it in its place.
    pub fn segment(&self, number: u64) -> Result<(), DirError> {
        let name = segment_file_name(number);
        let from = self.dir.join(JOURNAL).join(&name);
        let to = self.path.join(&name);
        match fs::copy(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            copied => copied.map(drop).map_err(io("copy", &from))?,
        }
        let synced = fs::File::open(&to).and_then(|file| file.sync_all()).and_then(|()| sync_dir(&self.path));
        synced.map_err(io("sync", &to))
    }

    /// Keeps a copy of the cold store here under a name.
    pub fn copy_cold(&self, name: &str) -> Result<PathBuf, DirError> {
        let to = self.path.join(name);
        copy_all(&self.dir.join(COLD), &to).map_err(io("copy the cold store to", &to))?;
        sync_dir(&self.path).map_err(io("sync", &self.path))?;
        Ok(to)
    }

    /// Removes a working copy.
    pub fn remove(&self, copy: &Path) -> Result<(), DirError> {
        fs::remove_dir_all(copy).map_err(io("remove", copy))
    }

    /// Where a new cold store is put together.
    pub fn rescued_path(&self) -> PathBuf {
        self.path.join("rescued")
    }

    /// Puts that one in the place of the old one. A crash leaves one of them there.
    pub fn take_rescued(&self) -> Result<(), DirError> {
        let (cold, old, rescued) = (self.dir.join(COLD), self.dir.join(COLD_OLD), self.rescued_path());
        let both = || sync_dir(&self.dir).and_then(|()| sync_dir(&self.path));
        fs::rename(&cold, &old).and_then(|()| both()).map_err(io("rename", &cold))?;
        // Where nothing could be read there is none: the first checkpoint makes it.
        match fs::rename(&rescued, &cold) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(io("rename", &rescued))?,
        }
        both().map_err(io("sync", &self.dir))?;
        fs::remove_dir_all(&old).map_err(io("remove", &old))
    }

    fn rename(&self, from: &Path) -> Result<(), DirError> {
        let name = from.file_name().unwrap_or_default();
        match fs::rename(from, self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(io("set aside", from))?,
        }
        let parent = from.parent().unwrap_or(&self.dir);
        sync_dir(&self.path).and_then(|()| sync_dir(parent)).map_err(io("sync", parent))
    }
}

/// Copies a directory; every file is synced.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
            fs::File::open(&to)?.sync_all()?;
        }
    }
    sync_dir(to)
}
