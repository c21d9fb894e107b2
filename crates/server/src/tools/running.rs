//! What a broker is asked while it runs: an export, and to read its configuration again.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use columba_store::{DirError, ExportReader};

use super::{Exported, ToolError, export::NewFile};
use crate::control::{BACKUP, LINE_MAX, RELOAD, SOCKET};

/// Asks the broker that runs on `dir` for all that it holds, and writes it into a new file. Everything that was acknowledged before is in it.
pub fn backup(dir: &Path, file: &Path) -> Result<Exported, ToolError> {
    let stream = connect(dir)?;
    let mut target = NewFile::create(file)?;
    let input = ask(dir, stream, BACKUP)?;
    let damaged = |error| ToolError::Export { file: "what the broker sent".to_owned(), error };
    let mut reader = ExportReader::new(Tee { input, out: &mut target.file }).map_err(damaged)?;
    let mut exported = Exported::default();
    while reader.next_commit().map_err(damaged)?.is_some() {
        exported.commits += 1;
    }
    exported.bytes = target.finish()?;
    Ok(exported)
}

/// Asks the broker that runs on `dir` to read its configuration again; the answer names the keys that wait for its next start, with spaces between them.
pub fn reload(dir: &Path) -> Result<String, ToolError> {
    let mut input = ask(dir, connect(dir)?, RELOAD)?;
    line(dir, &mut input)
}

fn connect(dir: &Path) -> Result<UnixStream, ToolError> {
    if !dir.join("format").exists() {
        return Err(DirError::NotThere { path: dir.display().to_string() }.into());
    }
    UnixStream::connect(dir.join(SOCKET)).map_err(|error| ToolError::NoBroker { dir: dir.display().to_string(), error })
}

/// What stands behind the `ok` of the answer.
fn ask(dir: &Path, mut stream: UnixStream, what: &str) -> Result<BufReader<UnixStream>, ToolError> {
    writeln!(stream, "{what}").map_err(|error| ToolError::NoBroker { dir: dir.display().to_string(), error })?;
    let mut input = BufReader::new(stream);
    match &*line(dir, &mut input)? {
        "ok" => Ok(input),
        refusal => {
            let why = refusal.strip_prefix("error: ").unwrap_or("nothing; it has ended");
            Err(ToolError::Refused(why.to_owned()))
        }
    }
}

fn line(dir: &Path, input: &mut BufReader<UnixStream>) -> Result<String, ToolError> {
    let mut line = String::new();
    let read = input.take(LINE_MAX).read_line(&mut line);
    read.map_err(|error| ToolError::NoBroker { dir: dir.display().to_string(), error })?;
    Ok(line.trim_end().to_owned())
}

/// Keeps what it reads.
struct Tee<'a, R> {
    input: R,
    out: &'a mut File,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buf)?;
        self.out.write_all(&buf[..read])?;
        Ok(read)
    }
}
