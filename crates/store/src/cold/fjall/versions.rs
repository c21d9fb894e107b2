//! Which tables a keyspace has stands in its version file, whose checksum stands in the file `current`. fjall writes that checksum and never looks at it: one flipped
//! bit there can move a table in the order of time, and old values stand over new ones.
//!
//! `current` is the number of the version (u64), the XXH3-128 of its file (u128) and a zero, all little-endian.

use std::fs;
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use crate::cold::ColdError;

const KEYSPACES: &str = "keyspaces";
const CURRENT: &str = "current";
const CURRENT_LEN: usize = 25;

/// Refuses a store in which a version file is not what was written.
pub(super) fn check(path: &Path) -> Result<(), ColdError> {
    let keyspaces = path.join(KEYSPACES);
    let failed = |source| ColdError::Io { action: "read", path: keyspaces.display().to_string(), source };
    let entries = match fs::read_dir(&keyspaces) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged(&keyspaces)),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let keyspace = entry.map_err(failed)?.path();
        let current = match fs::read(keyspace.join(CURRENT)) {
            // A keyspace that a crash has left half-made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(failed)?,
        };
        if !is_whole(&keyspace, &current).map_err(failed)? {
            return Err(damaged(&keyspace));
        }
    }
    Ok(())
}

fn is_whole(keyspace: &Path, current: &[u8]) -> io::Result<bool> {
    let Ok(current) = <&[u8; CURRENT_LEN]>::try_from(current) else {
        return Ok(false);
    };
    let (number, rest) = current.split_at(8);
    let number = number.iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    let version = match fs::read(keyspace.join(format!("v{number}"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        read => read?,
    };
    Ok(rest[..16] == xxh3_128(&version).to_le_bytes() && rest[16] == 0)
}

fn damaged(path: &Path) -> ColdError {
    ColdError::Damaged { path: path.display().to_string() }
}
