//! Directories of authorities as OpenSSL has them: each certificate under the name by which it is looked for.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

/// More certificates than anybody trusts: those of all public authorities are 150.
const FILES_MAX: usize = 4096;

/// The certificates of a directory, by name. What has another name than `openssl rehash` gives is not trusted there, and not here: whoever takes an authority
/// back may have taken away its link alone.
///
/// # Errors
///
/// A directory that cannot be read, or has more than 4,096 of them.
pub(crate) fn certificates(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // A link to what is gone: nobody has called rehash since.
        let is_gone = matches!(entry.path().try_exists(), Ok(false));
        if is_gone || !is_hash(&entry.file_name()) {
            continue;
        }
        if files.len() == FILES_MAX {
            return Err(io::Error::other("more than 4,096 certificates"));
        }
        files.push(entry.path());
    }
    files.sort();
    Ok(files)
}

/// `HHHHHHHH.N`: the first four bytes of a hash of the subject, and a number that tells those apart that have the same. (`HHHHHHHH.rN` are lists of what is
/// revoked.)
fn is_hash(name: &OsStr) -> bool {
    let Some((hash, number)) = name.to_str().and_then(|name| name.split_once('.')) else { return false };
    let is_hash = hash.len() == 8 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hash && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_has_the_name_of_a_hash_and_is_there_counts() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = dir.path().join("ca.pem");
        fs::write(&certificate, "a certificate").unwrap();
        for name in ["4a5b6c7d.0", "00000000.10", "4A5B6C7D.0", "4a5b6c7d.r0", "4a5b6c7.0", "4a5b6c7d.", "4a5b6c7d", "x.crt"] {
            symlink(&certificate, dir.path().join(name)).unwrap();
        }
        symlink("nowhere.pem", dir.path().join("11111111.0")).unwrap();

        let found = certificates(dir.path()).unwrap();

        assert_eq!(found, ["00000000.10", "4a5b6c7d.0"].map(|name| dir.path().join(name)));
        assert!(certificates(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn a_directory_of_far_too_many_is_none_of_authorities() {
        let dir = tempfile::tempdir().unwrap();
        let write = |number| fs::write(dir.path().join(format!("4a5b6c7d.{number}")), "").unwrap();
        (0..FILES_MAX).for_each(write);
        assert_eq!(certificates(dir.path()).unwrap().len(), FILES_MAX);

        write(FILES_MAX);

        assert!(certificates(dir.path()).unwrap_err().to_string().contains("4,096"));
    }
}
