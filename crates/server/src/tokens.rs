//! The tokens file: who may use the API, one line each, `ID ROLE END SHA-256 NAME`. A token itself is shown once and kept nowhere.
//!
//! Written by `columba token`, read anew by the broker whenever it has changed.

use std::{
    fmt::{self, Display},
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::owners;

/// The name of the file in a data directory.
pub const FILE: &str = "tokens";

/// How a token begins, so that people and scanners know one when they see it.
const PREFIX: &str = "columba_";

/// In place of the end of a token that has none.
const ENDLESS: &str = "-";

/// What a token allows.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// To look, but not into payloads.
    Viewer,
    /// Everything.
    Admin,
}

impl Role {
    /// As it stands in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Viewer, Self::Admin].into_iter().find(|role| role.name() == text).ok_or(())
    }
}

/// The tokens of a file, in its order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tokens(Vec<Token>);

/// One line of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// By which it is deleted.
    pub id: String,
    /// What it allows.
    pub role: Role,
    /// From when on it allows nothing, in seconds since 1970; `None`: it has no end.
    pub ends_s: Option<u64>,
    /// Whose it is, for people.
    pub name: String,
    hash: [u8; 32],
}

/// Why a tokens file cannot be read or written.
#[derive(Debug, Error)]
pub enum TokensError {
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
    #[error("{}:{line}: a line is ID ROLE END SHA-256 NAME, as `columba token create` writes it", path.display())]
    Line {
        /// In which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
    },
}

impl Tokens {
    /// Reads a file; none is one without tokens.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(TokensError::Io { what: "read", path: path.into(), error }),
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let tokens: Result<Vec<Token>, TokensError> = lines
            .map(|(index, line)| token(line).ok_or_else(|| TokensError::Line { path: path.into(), line: index + 1 }))
            .collect();
        Ok(Self(tokens?))
    }

    /// Writes a file that only its owner reads, and the group of a directory that is another's; whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), TokensError> {
        let written = || {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".new");
            let beside = PathBuf::from(beside);
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            owners::settle(&file, path)?;
            file.write_all(self.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)
        };
        written().map_err(|error| TokensError::Io { what: "write", path: path.into(), error })
    }

    /// Makes a token and gives its text, which is nowhere else. It allows nothing from `ends_s` on, in seconds since 1970.
    pub fn create(&mut self, role: Role, ends_s: Option<u64>, name: &str) -> io::Result<String> {
        let mut bytes = [0; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        let text = format!("{PREFIX}{}", hex(&bytes));
        let hash = hash(&text);
        // Control characters would break the line.
        let name = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned();
        self.0.push(Token { id: hex(&hash[..4]), role, ends_s, name, hash });
        Ok(text)
    }

    /// Takes a token away; `false`: there is none with this number.
    pub fn remove(&mut self, id: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|token| token.id != id);
        self.0.len() < before
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a token allows at `now_s`, in seconds since 1970; the time that this takes says nothing about those that there are.
    pub fn role_of(&self, text: &str, now_s: u64) -> Option<Role> {
        let given = hash(text);
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.hash.ct_eq(&given)) {
                found = token.ends_s.is_none_or(|end| now_s < end).then_some(token.role);
            }
        }
        found
    }
}

impl Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Token { id, role, ends_s, name, hash }| {
            let end = ends_s.map_or_else(|| ENDLESS.into(), |end| end.to_string());
            writeln!(f, "{id} {} {end} {} {name}", role.name(), hex(hash))
        })
    }
}

fn token(line: &str) -> Option<Token> {
    let mut words = line.splitn(5, ' ');
    let (id, role, end, text) = (words.next()?, words.next()?.parse().ok()?, words.next()?, words.next()?);
    let ends_s = if end == ENDLESS { None } else { Some(end.parse().ok()?) };
    let mut hash = [0; 32];
    if text.len() != 2 * hash.len() || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(Token { id: id.to_owned(), role, ends_s, name: words.next().unwrap_or_default().to_owned(), hash })
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)]).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_allows_what_it_was_made_for_and_is_in_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let mut tokens = Tokens::read(&path).unwrap();
        let viewer = tokens.create(Role::Viewer, None, "grafana board").unwrap();
        let admin = tokens.create(Role::Admin, Some(1_000), "").unwrap();
        tokens.write(&path).unwrap();

        let read = Tokens::read(&path).unwrap();

        assert_eq!(read, tokens);
        assert_eq!((read.role_of(&viewer, 999), read.role_of(&admin, 999)), (Some(Role::Viewer), Some(Role::Admin)));
        assert_eq!((read.role_of(&viewer, 1_000), read.role_of(&admin, 1_000)), (Some(Role::Viewer), None), "its time is over");
        assert_eq!(read.role_of("columba_", 0), None);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&viewer[PREFIX.len()..]) && text.contains("grafana board"), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_token_that_was_deleted_allows_nothing() {
        let mut tokens = Tokens::default();
        let text = tokens.create(Role::Admin, None, "x").unwrap();
        let id = tokens.iter().next().unwrap().id.clone();

        assert!(tokens.remove(&id));
        assert!(!tokens.remove(&id));
        assert_eq!(tokens.role_of(&text, 0), None);
    }

    #[test]
    fn a_line_that_is_none_is_an_error_with_its_number() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = |end: &str, byte: &str| format!("1 admin {end} {}", byte.repeat(32));
        for wrong in ["x", "1 root - 00", &line("-", "zz"), &line("-", "é"), &line("soon", "00"), &line("-1", "00")] {
            fs::write(&file, format!("# tokens\n{wrong}\n")).unwrap();
            let error = Tokens::read(file.path()).unwrap_err().to_string();
            assert!(error.contains(":2: a line is"), "{error}");
        }
    }
}
