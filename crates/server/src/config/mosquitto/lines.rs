//! The lines of a mosquitto.conf and of the files that it includes, in the order in which mosquitto reads them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::super::{ConfigError, Place, Problem};

/// How deep files may include others.
const DEPTH_MAX: usize = 10;

/// The option that stands for the lines of other files.
pub(super) const INCLUDE: &str = "include_dir";

/// A line that sets something.
#[derive(Debug)]
pub(super) struct Line {
    /// Where the option stands.
    pub(super) place: Place,
    /// Where its value stands.
    pub(super) value_place: Place,
    pub(super) option: String,
    /// The rest of the line; may be empty.
    pub(super) value: String,
}

impl Line {
    /// `None` for an empty one and a comment.
    fn of(path: &Path, number: usize, text: &str) -> Option<Self> {
        let written = text.trim();
        if written.is_empty() || written.starts_with('#') {
            return None;
        }
        let (option, value) = written.split_once([' ', '\t']).unwrap_or((written, ""));
        let value = value.trim();
        let before_value = text.trim_end().len() - value.len();
        let before_option = text.len() - text.trim_start().len();
        let at = |offset: usize| Place::Line { path: path.to_owned(), line: number, column: text[..offset].chars().count() + 1 };
        Some(Self { place: at(before_option), value_place: at(before_value), option: option.to_owned(), value: value.to_owned() })
    }
}

/// All lines of a file, behind each `include_dir` those of the files in there.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, ConfigError> {
    let mut lines = Vec::new();
    read_into(path, DEPTH_MAX, &mut lines)?;
    Ok(lines)
}

fn read_into(path: &Path, depth: usize, lines: &mut Vec<Line>) -> Result<(), ConfigError> {
    let unreadable =
        |path: &Path, error| ConfigError { place: Place::File(path.to_owned()), problem: Problem::Unreadable(error) };
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
    for line in (1..).zip(text.lines()).filter_map(|(number, text)| Line::of(path, number, text)) {
        let directory = (line.option == INCLUDE).then(|| PathBuf::from(&line.value));
        let place = line.place.clone();
        lines.push(line);
        let Some(directory) = directory else { continue };
        if depth == 0 {
            let problem = Problem::Syntax("files include each other too deeply".into());
            return Err(ConfigError { place, problem });
        }
        for file in included(&directory).map_err(|error| unreadable(&directory, error))? {
            read_into(&file, depth - 1, lines)?;
        }
    }
    Ok(())
}

/// The files of a directory that end in `.conf`, by name and without regard to case; of two that differ in nothing else the one in capitals is first.
fn included(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort_by_cached_key(|path| (path.to_string_lossy().to_lowercase(), path.clone()));
    Ok(files)
}
