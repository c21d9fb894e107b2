//! `columba store dump`.

use std::io::{self, BufWriter, Write as _};

use columba_server::tools::{Filter, Found, ToolError, dump};

use super::{DumpArgs, Format, failure, record};
use crate::exit::{Exit, Failure};

/// Prints line by line: there can be more than fits into memory.
pub(super) fn run(args: &DumpArgs) -> Result<(), Failure> {
    let filter = Filter { client: args.session.clone(), topic: args.topic.clone() };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut show = |found: &Found<'_>| {
        let line = record::describe(found, args.payload);
        let line = match args.format {
            Format::Text => line.text(),
            Format::Json => line.json(),
        };
        writeln!(out, "{line}").map_err(ToolError::Output)
    };
    let dumped = dump(&args.path, &filter, &mut show);
    match dumped.and_then(|()| out.flush().map_err(ToolError::Output)) {
        // `columba store dump DIR | head` has what it wants.
        Err(ToolError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(failure(Exit::Other, &error, &args.path)),
        Ok(()) => Ok(()),
    }
}
