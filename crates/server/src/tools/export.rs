//! A data directory as one portable file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use columba_broker::durable::{self, Record};
use columba_store::{ColdRead, ExportWriter, Frame, Origin, StoreId, Surveyed};

use super::{Offline, ToolError};
use crate::cold::ColdKeys;

/// Bytes of records that are gathered into one commit of the file.
const COMMIT_BYTES: usize = 256 << 10;

/// What an export holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Exported {
    /// Records that stand for the cold store.
    pub records: u64,
    /// Commits of the journal behind it.
    pub commits: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes all that a directory holds into a new file.
pub fn export(dir: &Path, file: &Path) -> Result<Exported, ToolError> {
    let offline = Offline::open(dir)?;
    let survey = offline.whole_journal()?;
    let snapshot = offline.cold.snapshot()?;
    let mut target = NewFile::create(file)?;
    let mut exported = Exported::default();
    let mut writer = begin(BufWriter::new(&mut target.file), offline.dir.identity().id).map_err(ToolError::Output)?;
    exported.records = snapshot_records(&mut writer, &*snapshot)?;
    survey.replay(&mut |found| match found {
        Surveyed::Frame(frame) => {
            exported.commits += 1;
            commit(&mut writer, &frame).map_err(ToolError::Output)
        }
        Surveyed::Gap(_) => Ok(()),
    })?;
    writer.finish().map_err(ToolError::Output)?;
    exported.bytes = target.finish()?;
    Ok(exported)
}

/// Begins an export of a directory.
pub(crate) fn begin<W: Write>(out: W, id: StoreId) -> io::Result<ExportWriter<W>> {
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let made = u64::try_from(made.as_millis()).unwrap_or(u64::MAX);
    ExportWriter::new(out, &Origin { id, made, salt: crate::server::random() })
}

/// Writes what a cold store holds; the answer is how many records that took.
pub(crate) fn snapshot_records<W: Write>(writer: &mut ExportWriter<W>, cold: &dyn ColdRead) -> Result<u64, ToolError> {
    let mut bytes = Vec::new();
    let mut records = 0;
    durable::export(&ColdKeys(cold), &mut |record: &Record<'_>| {
        record.encode(&mut bytes);
        records += 1;
        if bytes.len() >= COMMIT_BYTES {
            writer.commit(&[(0, &bytes)]).map_err(ToolError::Output)?;
            bytes.clear();
        }
        Ok::<_, ToolError>(())
    })?;
    if !bytes.is_empty() {
        writer.commit(&[(0, &bytes)]).map_err(ToolError::Output)?;
    }
    Ok(records)
}

fn commit<W: Write>(writer: &mut ExportWriter<W>, frame: &Frame<'_>) -> io::Result<()> {
    let parts: Vec<_> = frame.parts().collect();
    writer.commit(&parts)
}

/// A file that gets its name when it is complete and on disk.
pub(super) struct NewFile {
    pub(super) file: File,
    path: PathBuf,
    unfinished: PathBuf,
}

impl NewFile {
    /// Refuses to replace a file.
    pub(super) fn create(path: &Path) -> Result<Self, ToolError> {
        if path.exists() {
            return Err(ToolError::file("create", path)(io::ErrorKind::AlreadyExists.into()));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".unfinished");
        let unfinished = path.with_file_name(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
        let file = file.map_err(ToolError::file("create", &unfinished))?;
        Ok(Self { file, path: path.to_owned(), unfinished })
    }

    /// Makes it durable under its name; the answer is its length.
    pub(super) fn finish(self) -> Result<u64, ToolError> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        self.file.sync_all().map_err(ToolError::file("sync", &self.unfinished))?;
        let len = self.file.metadata().map_err(ToolError::file("look at", &self.unfinished))?.len();
        fs::rename(&self.unfinished, &self.path).map_err(ToolError::file("rename", &self.unfinished))?;
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(ToolError::file("sync", parent))?;
        Ok(len)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // Renamed, it is gone; else it is of no use.
        fs::remove_file(&self.unfinished).unwrap_or_default();
    }
}
