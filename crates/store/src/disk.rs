//! What the journal asks of a disk: files by name in one directory.
//!
//! The trait is as small as the journal's needs, so that a simulated disk can be exact about what a crash leaves.

use std::io::{self, IoSlice};

/// One directory of files, real or simulated. Clones are handles to the same directory.
///
/// Nothing here is durable until it is synced: the bytes and the length of a file by [`DiskFile::sync_data`], the
/// names (creation, renaming, removal) by [`Disk::sync_dir`].
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file; it stays the same file when its name changes.
    type File: DiskFile;

    /// Creates an empty file; an existing one is an error.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Renames a file, replacing one that has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// All names, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes creations, renamings and removals durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// How a message to a person names the file.
    fn display(&self, name: &str) -> String;

    /// Creates a file of `len` zeros, written and synced; its name is not synced.
    ///
    /// Written, not just allocated: overwriting written blocks needs no metadata commit in the file system, which
    /// halves the time of a sync.
    fn create_zeroed(&self, name: &str, len: u64) -> io::Result<Self::File> {
        let file = self.create(name)?;
        zero(&file, 0, len)?;
        file.sync_data()?;
        Ok(file)
    }
}

/// An open file.
pub trait DiskFile: Send + Sync + 'static {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Writes all `parts`, one behind the other, from `offset` on.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Reads up to `buf.len()` bytes; fewer are no error, zero is the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes the bytes and the length durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// Fills `buf` from `offset` as far as the file reaches and returns how much that was.
pub(crate) fn read_full<F: DiskFile>(file: &F, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// Writes zeros over `from..to`, in pieces.
pub(crate) fn zero<F: DiskFile>(file: &F, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];
    let mut at = from;
    while at < to {
        let piece = (to - at).min(ZEROS.len() as u64);
        let len = usize::try_from(piece).unwrap_or(ZEROS.len());
        file.write_at(&[IoSlice::new(&ZEROS[..len])], at)?;
        at += piece;
    }
    Ok(())
}
