//! The lines of a mosquitto.conf and of the files that it includes, in the order in which mosquitto reads them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::super::{ConfigError, Place, Problem};

/// How deep files may include others.
const DEPTH_MAX: usize = 10;

/// A line that sets something.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) option: String,
    /// The rest of the line; may be empty.
    pub(super) value: String,
}

/// All lines of a file, each `include_dir` replaced by what stands in there.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, ConfigError> {
    let mut lines = Vec::new();
    read_into(path, DEPTH_MAX, &mut lines)?;
    Ok(lines)
}

fn read_into(path: &Path, depth: usize, lines: &mut Vec<Line>) -> Result<(), ConfigError> {
    let unreadable =
        |path: &Path, error| ConfigError { place: Place::File(path.to_owned()), problem: Problem::Unreadable(error) };
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
    for (number, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (option, value) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let place = Place::Line { path: path.to_owned(), line: number, column: 1 };
        let line = Line { place, option: option.to_owned(), value: value.trim().to_owned() };
        if line.option != "include_dir" {
            lines.push(line);
            continue;
        }
        if depth == 0 {
            let problem = Problem::Syntax("files include each other too deeply".into());
            return Err(ConfigError { place: line.place, problem });
        }
        let directory = Path::new(&line.value);
        for file in included(directory).map_err(|error| unreadable(directory, error))? {
            read_into(&file, depth - 1, lines)?;
        }
    }
    Ok(())
}

/// The files of a directory that end in `.conf`, by name and without regard to case.
fn included(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort_by_key(|path| path.to_string_lossy().to_lowercase());
    Ok(files)
}
