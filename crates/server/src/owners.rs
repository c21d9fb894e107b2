//! Whose the files with secrets are that commands write, often as root, and the broker reads, mostly as somebody else.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::Path,
};

/// Gives a new file, made for its owner alone, the owner, group and permissions that what stands at `path` has. Where nothing does, it stays for its owner's
/// eyes only, and for the group of the directory where that is another than the writer's: what root writes into a broker's directory, the broker can read.
///
/// # Errors
///
/// Those of the system; who may not give files away keeps them, which is none.
pub(crate) fn settle(file: &File, path: &Path) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        Ok(old) => inherit(file, &old)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => admit_group(file, directory(path))?,
        Err(error) => return Err(error),
    };
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// As whom this process opens files: `user "columba" (uid 998)`.
pub(crate) fn effective_user() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    // Where it cannot be read there is the number.
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut users = known.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = users.find(|fields| fields.get(2) == Some(&&*uid)).and_then(|fields| fields.first().map(|&name| name.to_owned()));
    name.map_or_else(|| format!("uid {uid}"), |name| format!("user \"{name}\" (uid {uid})"))
}

/// Takes owner and group over; says with which permissions.
fn inherit(file: &File, old: &fs::Metadata) -> io::Result<u32> {
    let (now, mode) = (file.metadata()?, old.mode() & 0o777);
    if now.gid() != old.gid() && !give(file, None, Some(old.gid()))? {
        // Its group would be another one, which could not read it before.
        return Ok(mode & !0o070);
    }
    if now.uid() != old.uid() {
        give(file, Some(old.uid()), None)?;
    }
    Ok(mode)
}

/// Lets the group of the directory read, where that is not the writer's own; says with which permissions.
fn admit_group(file: &File, directory: &Path) -> io::Result<u32> {
    let (ours, group) = (file.metadata()?.gid(), fs::metadata(directory)?.gid());
    let is_admitted = rustix::process::getegid().as_raw() != group && (ours == group || give(file, None, Some(group))?);
    Ok(if is_admitted { 0o640 } else { 0o600 })
}

/// Gives the file away; says whether we may.
fn give(file: &File, owner: Option<u32>, group: Option<u32>) -> io::Result<bool> {
    match fchown(file, owner, group) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where a file of this path stands.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use rustix::process::{Gid, getegid, geteuid, getgroups};

    use super::*;
    use crate::{
        tokens::Tokens,
        users::{Kind, Secret, UsersFile},
    };

    /// A group that is not ours, and that we may give files to.
    fn other_group() -> Option<u32> {
        let own = getegid();
        if geteuid().is_root() {
            return Some(own.as_raw() + 12_345);
        }
        getgroups().unwrap_or_default().into_iter().find(|group| *group != own).map(Gid::as_raw)
    }

    /// Group and permissions.
    fn seen(path: &Path) -> (u32, u32) {
        let file = fs::metadata(path).unwrap();
        (file.gid(), file.mode() & 0o777)
    }

    fn who_could_read_can_read_what_takes_its_place(path: &Path, group: u32, write: impl Fn()) {
        let own = getegid().as_raw();
        chown(path.parent().unwrap(), None, Some(group)).unwrap();
        write();
        assert_eq!(seen(path), (group, 0o640), "a broker of that group reads what is written into its directory");

        fs::remove_file(path).unwrap();
        chown(path.parent().unwrap(), None, Some(own)).unwrap();
        write();
        assert_eq!(seen(path), (own, 0o600));

        chown(path, None, Some(group)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
        write();
        assert_eq!(seen(path), (group, 0o640));
        if geteuid().is_root() {
            chown(path, Some(23_456), None).unwrap();
            write();
            assert_eq!(fs::metadata(path).unwrap().uid(), 23_456);
        }
    }

    #[test]
    fn who_could_read_users_and_tokens_can_read_them_when_they_have_changed() {
        let test = "who_could_read_users_and_tokens_can_read_them_when_they_have_changed";
        let Some(group) = other_group() else { return columba_check::outside::skip(test, "this user is in one group alone") };
        let dir = tempfile::tempdir().unwrap();

        let mut users = UsersFile::default();
        users.set("eve", Secret::derive(Kind::Sha512, "pw", [0; 16]).unwrap()).unwrap();
        let path = dir.path().join("users");
        who_could_read_can_read_what_takes_its_place(&path, group, || users.write(&path).unwrap());

        let path = dir.path().join("tokens");
        who_could_read_can_read_what_takes_its_place(&path, group, || Tokens::default().write(&path).unwrap());
    }
}
