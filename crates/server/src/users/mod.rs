//! The users file: who may log in, one line each, `NAME:SECRET`. mosquitto's password files are such files.
//!
//! Lines that begin with `#` and empty ones stay as they are when `columba user` changes others.

mod attempts;
mod judges;
mod known;
mod secret;

use std::{
    collections::HashSet,
    fmt::{self, Display},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{owners, server::random_bytes};

pub use self::secret::{Argon2id, Kind, Secret, SecretError};
pub(crate) use self::{
    attempts::{Attempts, Told},
    judges::{Ask, Court, Judges, Waiting},
    known::KnownUsers,
};

/// A users file as it stands, line by line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UsersFile {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Line {
    /// A comment, or nothing.
    Other(String),
    User {
        name: String,
        secret: Secret,
    },
}

/// Why a users file cannot be read or written.
#[derive(Debug, Error)]
pub enum UsersError {
    /// The system refuses it.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// A line is none.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// In which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineError,
    },
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum LineError {
    /// No colon.
    #[error("a line is NAME:SECRET, or begins with #")]
    NoColon,
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What stands behind the name is nothing that a password can be held against.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// More bytes than a line needs.
    #[error("a line of more than {LINE_LEN_MAX} bytes")]
    Long,
    /// The user stands there already.
    #[error("a user who stands further up")]
    Twice,
}

/// Bytes of a line: a name as long as MQTT can carry would not be typed by anybody.
const LINE_LEN_MAX: usize = 8 << 10;

/// A user name that cannot stand in the file.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a user name is not empty, has no colon and no control characters, and does not begin with #")]
pub struct NameError;

/// Whether a user is to be there before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// No.
    New,
    /// Yes.
    Known,
}

/// Why somebody cannot be given a password.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum SetError {
    /// The user is there already.
    #[error("user \"{0}\" is there already")]
    Known(String),
    /// There is no such user.
    #[error("there is no user \"{0}\"")]
    Nobody(String),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No password.
    #[error("an empty password keeps nobody out")]
    Empty,
    /// The password is none.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Whether this is a name for a user.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let is_bad = name.is_empty() || name.starts_with('#') || name.contains(':') || name.chars().any(char::is_control);
    if is_bad { Err(NameError) } else { Ok(()) }
}

impl UsersFile {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let text = fs::read_to_string(path).map_err(|error| UsersError::Io { what: "read", path: path.into(), error })?;
        Self::parse(&text).map_err(|(line, problem)| UsersError::Line { path: path.into(), line, problem })
    }

    /// Reads the file, or begins a new one where there is none.
    pub fn read_or_new(path: &Path) -> Result<Self, UsersError> {
        match Self::read(path) {
            Err(UsersError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            result => result,
        }
    }

    /// Reads what stands in such a file; an error comes with its line, from 1.
    pub fn parse(text: &str) -> Result<Self, (usize, LineError)> {
        let mut file = Self::default();
        let mut names = HashSet::new();
        for (index, text) in text.lines().enumerate() {
            let line = line(text).map_err(|problem| (index + 1, problem))?;
            if let Line::User { name, .. } = &line
                && !names.insert(name.clone())
            {
                return Err((index + 1, LineError::Twice));
            }
            file.lines.push(line);
        }
        Ok(file)
    }

    /// All users, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users().map(|(name, _)| name)
    }

    /// Whether there is such a user.
    pub fn has(&self, user: &str) -> bool {
        self.names().any(|name| name == user)
    }

    /// What is kept in place of a user's password.
    pub fn secret(&self, user: &str) -> Option<&Secret> {
        self.users().find(|(name, _)| *name == user).map(|(_, secret)| secret)
    }

    /// All users with what is kept in place of their passwords, in the order of the file.
    pub fn users(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.lines.iter().filter_map(|line| match line {
            Line::User { name, secret } => Some((name.as_str(), secret)),
            Line::Other(_) => None,
        })
    }

    /// Whether this user can be given a password, one who is new or one who is there.
    pub fn check(&self, user: &str, expected: Expected) -> Result<(), SetError> {
        check_name(user)?;
        match (expected, self.has(user)) {
            (Expected::New, true) => Err(SetError::Known(user.to_owned())),
            (Expected::Known, false) => Err(SetError::Nobody(user.to_owned())),
            (Expected::New, false) | (Expected::Known, true) => Ok(()),
        }
    }

    /// Gives a user a password: tens of milliseconds of work.
    pub fn set_password(&mut self, user: &str, expected: Expected, kind: Kind, password: &str) -> Result<(), SetError> {
        self.check(user, expected)?;
        Ok(self.set(user, new_secret(kind, password)?)?)
    }

    /// Gives a user what is kept in place of a password; the user may be new.
    pub fn set(&mut self, user: &str, new: Secret) -> Result<(), NameError> {
        check_name(user)?;
        for line in &mut self.lines {
            if let Line::User { name, secret } = line
                && name == user
            {
                *secret = new;
                return Ok(());
            }
        }
        self.lines.push(Line::User { name: user.to_owned(), secret: new });
        Ok(())
    }

    /// Takes a user out; says whether there was one.
    pub fn remove(&mut self, user: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| !matches!(line, Line::User { name, .. } if name == user));
        self.lines.len() < before
    }

    /// Puts it in the place of what is there, all or nothing. An old file keeps its permissions, owner and group. A new one is for its owner's eyes only, and
    /// for the group of its directory where that is another than the writer's: what root writes into a broker's directory, the broker can read.
    pub fn write(&self, path: &Path) -> Result<(), UsersError> {
        self.try_write(path).map_err(|error| UsersError::Io { what: "write", path: path.into(), error })
    }

    fn try_write(&self, path: &Path) -> io::Result<()> {
        Beside::claim(path)?.take_its_place(self)
    }

    /// Gives a user another secret in place of this one, in the file as it is now; says whether it had this one still. While somebody else writes the file it is an
    /// error, and nothing that somebody else has written is lost.
    pub(crate) fn exchange(path: &Path, user: &str, old: &Secret, new: Secret) -> Result<bool, UsersError> {
        let io = |what| move |error| UsersError::Io { what, path: path.into(), error };
        let beside = Beside::claim(path).map_err(io("write"))?;
        let mut file = Self::read(path)?;
        let is_same = file.secret(user) == Some(old);
        if is_same && file.set(user, new).is_ok() {
            beside.take_its_place(&file).map_err(io("write"))?;
        }
        Ok(is_same)
    }
}

/// What is kept in place of a password, with chance of its own.
pub fn new_secret(kind: Kind, password: &str) -> Result<Secret, SetError> {
    if password.is_empty() {
        return Err(SetError::Empty);
    }
    Ok(Secret::derive(kind, password, random_bytes())?)
}

/// The file that is to stand in the place of another one: who has it may write. Dropped, it goes.
struct Beside<'p> {
    path: &'p Path,
    at: PathBuf,
    file: File,
}

impl<'p> Beside<'p> {
    fn claim(path: &'p Path) -> io::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        Ok(Self { path, at: beside, file })
    }

    fn take_its_place(mut self, users: &UsersFile) -> io::Result<()> {
        owners::settle(&self.file, self.path)?;
        self.file.write_all(users.to_string().as_bytes())?;
        self.file.sync_all()?;
        fs::rename(&self.at, self.path)
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        // Where it has taken its place there is none of that name.
        fs::remove_file(&self.at).unwrap_or_default();
    }
}

fn line(text: &str) -> Result<Line, LineError> {
    if text.trim().is_empty() || text.starts_with('#') {
        return Ok(Line::Other(text.to_owned()));
    }
    if text.len() > LINE_LEN_MAX {
        return Err(LineError::Long);
    }
    let (name, secret) = text.split_once(':').ok_or(LineError::NoColon)?;
    check_name(name)?;
    Ok(Line::User { name: name.to_owned(), secret: secret.trim_end().parse()? })
}

impl Display for UsersFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Other(text) => writeln!(f, "{text}")?,
                Line::User { name, secret } => writeln!(f, "{name}:{secret}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, os::unix::fs::PermissionsExt};

    use super::*;

    fn keys(password: &str) -> Secret {
        Secret::derive(Kind::Scram(NonZeroU32::MIN), password, [0; 16]).unwrap()
    }

    #[test]
    fn a_file_keeps_what_is_not_changed() {
        let text = format!("# the gate\neve:{}\n\nbob:{}\n", keys("a"), keys("b"));
        let mut file = UsersFile::parse(&text).unwrap();
        assert_eq!(file.to_string(), text);

        file.set("eve", keys("c")).unwrap();
        file.set("new", keys("d")).unwrap();
        assert!(file.remove("bob"));
        assert!(!file.remove("bob"));

        assert_eq!(file.to_string(), format!("# the gate\neve:{}\n\nnew:{}\n", keys("c"), keys("d")));
        assert_eq!(file.names().collect::<Vec<_>>(), ["eve", "new"]);
    }

    #[test]
    fn a_line_that_is_none_is_named_with_its_number() {
        let good = format!("eve:{}", keys("a"));
        for (text, expected) in [
            ("eve".to_owned(), (1, LineError::NoColon)),
            (":x".to_owned(), (1, LineError::Name(NameError))),
            ("#\neve:pencil".to_owned(), (2, LineError::Secret(SecretError::Unknown))),
            (format!("{}:{}", "x".repeat(9_000), keys("a")), (1, LineError::Long)),
            (format!("{good}\n{good}"), (2, LineError::Twice)),
        ] {
            assert_eq!(UsersFile::parse(&text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_an_old_one_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let mut file = UsersFile::read_or_new(&path).unwrap();
        file.set("eve", keys("a")).unwrap();

        file.write(&path).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        file.write(&path).unwrap();

        assert_eq!(mode(), 0o640);
        assert_eq!(UsersFile::read(&path).unwrap(), file);
    }

    #[test]
    fn a_secret_is_exchanged_only_where_it_is_still_the_same_and_nobody_else_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        let mut file = UsersFile::default();
        file.set("eve", keys("a")).unwrap();
        file.set("bob", keys("b")).unwrap();
        file.write(&path).unwrap();

        assert!(UsersFile::exchange(&path, "eve", &keys("a"), keys("c")).unwrap());
        assert!(!UsersFile::exchange(&path, "eve", &keys("a"), keys("d")).unwrap(), "it has another one");
        assert!(!UsersFile::exchange(&path, "mallory", &keys("a"), keys("d")).unwrap());
        file.set("eve", keys("c")).unwrap();
        assert_eq!(UsersFile::read(&path).unwrap(), file);

        let claimed = Beside::claim(&path).unwrap();
        assert!(UsersFile::exchange(&path, "eve", &keys("c"), keys("d")).is_err());
        assert!(file.write(&path).is_err());
        drop(claimed);
        assert!(file.write(&path).is_ok());
        assert_eq!(UsersFile::read(&path).unwrap(), file);
    }

    #[test]
    fn a_name_that_would_not_come_back_is_refused() {
        for name in ["", "a:b", "#a", "a\nb"] {
            assert_eq!(UsersFile::default().set(name, keys("a")), Err(NameError), "{name:?}");
        }
    }
}
