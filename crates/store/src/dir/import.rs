//! A data directory that is made from what another one held.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::format::Identity;
use super::{COLD, DirError, OURS, StoreDir, io, lock, make_content, make_path, write_format, write_synced};
use crate::cold::{ColdError, FjallCold};
use crate::file::sync_dir;

/// Stands in the directory for as long as the import is not complete.
const UNFINISHED: &str = "importing";

/// Why an import does not succeed. The directory cannot be used until one does.
#[derive(Debug, Error)]
pub enum ImportError<E> {
    /// The directory cannot be made.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The cold store cannot be made.
    #[error(transparent)]
    Cold(#[from] ColdError),
    /// What is imported cannot be.
    #[error(transparent)]
    Fill(E),
}

/// A broker must not start on half of the data.
pub(super) fn refuse_half(path: &Path) -> Result<(), DirError> {
    let there = path.join(UNFINISHED).try_exists().map_err(io("look into", path))?;
    if there { Err(DirError::HalfImported { path: path.display().to_string() }) } else { Ok(()) }
}

impl StoreDir {
    /// Makes a new directory whose cold store `fill` writes. An interrupted attempt is begun anew.
    ///
    /// # Errors
    /// [`DirError::NotEmpty`] where anything is that an import has not left.
    pub fn import<E>(
        path: impl Into<PathBuf>,
        fill: impl FnOnce(&mut FjallCold) -> Result<(), E>,
    ) -> Result<Self, ImportError<E>> {
        let path = path.into();
        make_path(&path)?;
        let unfinished = path.join(UNFINISHED);
        let again = unfinished.try_exists().map_err(io("look into", &path))?;
        refuse_content(&path, again)?;
        let held = lock(&path)?;
        write_synced(&unfinished, b"an import is not complete\n")?;
        sync_dir(&path).map_err(io("sync", &path))?;

        let mut random = [0; 40];
        let urandom = Path::new("/dev/urandom");
        File::open(urandom).and_then(|mut file| file.read_exact(&mut random)).map_err(io("read", urandom))?;
        let identity = Identity::from_random(random);
        make_content(&path, &identity)?;
        let mut cold = FjallCold::open(&path.join(COLD))?;
        fill(&mut cold).map_err(ImportError::Fill)?;
        drop(cold);
        write_format(&path, &identity)?;
        fs::remove_file(&unfinished).map_err(io("remove", &unfinished))?;
        sync_dir(&path).map_err(io("sync", &path))?;
        Ok(Self { path, identity, _lock: held })
    }
}

fn refuse_content(path: &Path, again: bool) -> Result<(), DirError> {
    for entry in fs::read_dir(path).map_err(io("list", path))? {
        let name = entry.map_err(io("list", path))?.file_name();
        let ours = again && (name == UNFINISHED || name == super::FORMAT || OURS.iter().any(|ours| name == *ours));
        if name != "lost+found" && name != super::LOCK && !ours {
            return Err(DirError::NotEmpty { path: path.display().to_string(), found: name.to_string_lossy().into_owned() });
        }
    }
    Ok(())
}
