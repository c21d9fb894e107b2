//! The real disk: a directory of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, zero};

/// What a new file must leave free on the disk.
const SPACE_LEFT_MIN: u64 = 4 << 20;

/// A directory on a real disk.
#[derive(Clone, Debug)]
pub struct RealDisk {
    path: Arc<Path>,
}

impl RealDisk {
    /// Uses an existing directory.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if fs::metadata(&path)?.is_dir() { Ok(Self { path: path.into() }) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A file of a [`RealDisk`].
#[derive(Debug)]
pub struct RealFile(File);

impl RealFile {
    /// Where the last bytes end that were ever written; behind it is a hole. Where that cannot be told it is the end of the file.
    pub(crate) fn written_end(&self) -> io::Result<u64> {
        let len = self.0.metadata()?.len();
        #[cfg(target_os = "linux")]
        {
            let (mut at, mut end) = (0, 0);
            while at < len {
                let Ok(data) = rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Data(at)) else {
                    return Ok(end);
                };
                end = rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Hole(data))?;
                at = end;
            }
        }
        Ok(len)
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(self.path.join(name)).map(RealFile)
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        options.open(self.path.join(name)).map(RealFile)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is not ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        sync_dir(&self.path)
    }

    fn create_zeroed(&self, name: &str, len: u64) -> io::Result<RealFile> {
        // Without room we would fill the disk to the last byte before we noticed, and hurt everyone else on it.
        let space = rustix::fs::statvfs(&*self.path)?;
        if space.f_bavail.saturating_mul(space.f_frsize) < len.saturating_add(SPACE_LEFT_MIN) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.create(name)?;
        zero(&file, 0, len)?;
        file.sync_data()?;
        Ok(file)
    }

    fn display(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|meta| meta.len())
    }

    fn write_at(&self, parts: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // What one `pwritev` takes at most (IOV_MAX).
        const SLICES_MAX: usize = 1024;
        for parts in parts.chunks(SLICES_MAX) {
            let whole: usize = parts.iter().map(|part| part.len()).sum();
            let written = rustix::io::retry_on_intr(|| rustix::io::pwritev(&self.0, parts, offset))?;
            if written < whole {
                write_rest(&self.0, parts, written, offset)?;
            }
            offset += whole as u64;
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buf, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Finishes a `pwritev` that took only `written` bytes, part by part.
fn write_rest(file: &File, parts: &[IoSlice<'_>], written: usize, offset: u64) -> io::Result<()> {
    let mut start = 0;
    for part in parts {
        let end = start + part.len();
        if end > written {
            let skip = written.saturating_sub(start);
            file.write_all_at(&part[skip..], offset + (start + skip) as u64)?;
        }
        start = end;
    }
    Ok(())
}
