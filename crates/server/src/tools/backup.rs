//! An export of a broker that runs.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use columba_store::{DirError, ExportReader};

use super::{Exported, ToolError, export::NewFile};
use crate::control::{BACKUP, LINE_MAX, SOCKET};

/// Asks the broker that runs on `dir` for all that it holds, and writes it into a new file. Everything that was acknowledged before is in it.
pub fn backup(dir: &Path, file: &Path) -> Result<Exported, ToolError> {
    if !dir.join("format").exists() {
        return Err(DirError::NotThere { path: dir.display().to_string() }.into());
    }
    let broken = |error| ToolError::NoBroker { dir: dir.display().to_string(), error };
    let mut stream = UnixStream::connect(dir.join(SOCKET)).map_err(broken)?;
    let mut target = NewFile::create(file)?;
    writeln!(stream, "{BACKUP}").map_err(broken)?;
    let mut input = BufReader::new(stream);
    let mut answer = String::new();
    (&mut input).take(LINE_MAX).read_line(&mut answer).map_err(broken)?;
    match answer.trim_end() {
        "ok" => {}
        refusal => {
            let why = refusal.strip_prefix("error: ").unwrap_or("nothing; it has ended");
            return Err(ToolError::Refused(why.to_owned()));
        }
    }
    let damaged = |error| ToolError::Export { file: "what the broker sent".to_owned(), error };
    let mut reader = ExportReader::new(Tee { input, out: &mut target.file }).map_err(damaged)?;
    let mut exported = Exported::default();
    while reader.next_commit().map_err(damaged)?.is_some() {
        exported.commits += 1;
    }
    exported.bytes = target.finish()?;
    Ok(exported)
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
