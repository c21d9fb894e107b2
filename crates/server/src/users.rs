//! The users file: who may log in, one line each, `NAME:KEYS` with keys as RFC 5803 writes them.
//!
//! Read once, at the start. Lines that begin with `#` and empty ones stay as they are when `columba user` changes others.

use std::{
    collections::HashMap,
    fmt::{self, Display},
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use columba_broker::auth;
use columba_proto::scram::Keys;
use thiserror::Error;

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
        keys: Keys,
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
    #[error("a line is NAME:KEYS, or begins with #")]
    NoColon,
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Keys of a kind that is not known, or damaged ones.
    #[error("the keys are none that are known here: SCRAM-SHA-256$ROUNDS:SALT$STORED:SERVER, as `columba user add` writes them")]
    Keys,
    /// The user stands there already.
    #[error("a user who stands further up")]
    Twice,
}

/// A user name that cannot stand in the file.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a user name is not empty, has no colon and no control characters, and does not begin with #")]
pub struct NameError;

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

    fn parse(text: &str) -> Result<Self, (usize, LineError)> {
        let mut file = Self::default();
        for (index, text) in text.lines().enumerate() {
            let line = line(text).and_then(|line| match &line {
                Line::User { name, .. } if file.has(name) => Err(LineError::Twice),
                Line::User { .. } | Line::Other(_) => Ok(line),
            });
            file.lines.push(line.map_err(|problem| (index + 1, problem))?);
        }
        Ok(file)
    }

    /// All users, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            Line::User { name, .. } => Some(name.as_str()),
            Line::Other(_) => None,
        })
    }

    /// Whether there is such a user.
    pub fn has(&self, user: &str) -> bool {
        self.names().any(|name| name == user)
    }

    /// Gives a user keys, who may be new.
    pub fn set(&mut self, user: &str, new: Keys) -> Result<(), NameError> {
        check_name(user)?;
        for line in &mut self.lines {
            if let Line::User { name, keys } = line
                && name == user
            {
                *keys = new;
                return Ok(());
            }
        }
        self.lines.push(Line::User { name: user.to_owned(), keys: new });
        Ok(())
    }

    /// Takes a user out; says whether there was one.
    pub fn remove(&mut self, user: &str) -> bool {
        let before = self.lines.len();
        self.lines.retain(|line| !matches!(line, Line::User { name, .. } if name == user));
        self.lines.len() < before
    }

    /// Puts it in the place of what is there, all or nothing. A new file is for its owner's eyes only; an old one keeps its permissions.
    pub fn write(&self, path: &Path) -> Result<(), UsersError> {
        self.try_write(path).map_err(|error| UsersError::Io { what: "write", path: path.into(), error })
    }

    fn try_write(&self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let written = (|| {
            if let Ok(old) = fs::metadata(path) {
                file.set_permissions(old.permissions())?;
            }
            file.write_all(self.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        })();
        written.inspect_err(|_| fs::remove_file(&beside).unwrap_or_default())
    }
}

fn line(text: &str) -> Result<Line, LineError> {
    if text.trim().is_empty() || text.starts_with('#') {
        return Ok(Line::Other(text.to_owned()));
    }
    let (name, keys) = text.split_once(':').ok_or(LineError::NoColon)?;
    check_name(name)?;
    let keys = keys.trim_end().parse().map_err(|_| LineError::Keys)?;
    Ok(Line::User { name: name.to_owned(), keys })
}

impl Display for UsersFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Other(text) => writeln!(f, "{text}")?,
                Line::User { name, keys } => writeln!(f, "{name}:{keys}")?,
            }
        }
        Ok(())
    }
}

/// The users of a file, as shards ask for them.
#[derive(Debug)]
pub(crate) struct KnownUsers(HashMap<String, Keys>);

impl From<UsersFile> for KnownUsers {
    fn from(file: UsersFile) -> Self {
        let users = file.lines.into_iter().filter_map(|line| match line {
            Line::User { name, keys } => Some((name, keys)),
            Line::Other(_) => None,
        });
        Self(users.collect())
    }
}

impl auth::Users for KnownUsers {
    fn scram_keys(&self, user: &str) -> Option<Keys> {
        self.0.get(user).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, os::unix::fs::PermissionsExt};

    use super::*;

    fn keys(password: &str) -> Keys {
        Keys::derive(password, b"salt", NonZeroU32::MIN).unwrap()
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
            ("#\neve:$7$101$salt$hash".to_owned(), (2, LineError::Keys)),
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
    fn a_name_that_would_not_come_back_is_refused() {
        for name in ["", "a:b", "#a", "a\nb"] {
            assert_eq!(UsersFile::default().set(name, keys("a")), Err(NameError), "{name:?}");
        }
    }
}
