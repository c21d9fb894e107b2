//! Who holds a port, as far as `/proc` tells.

use std::{fmt, fs, path::Path};

/// The state of a listening socket in `/proc/self/net/tcp`, which a service sees that is shown processes only (`ProcSubset=pid`).
const LISTENING: &str = "0A";

/// A process that listens on a port.
#[derive(Debug)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: Box<str>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, {}", self.pid, self.name)
    }
}

/// The process that listens on `port`, where it can be seen.
pub(crate) fn of(port: u16) -> Option<Holder> {
    let inodes: Vec<u64> = ["/proc/self/net/tcp", "/proc/self/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.filter_map(|process| Some((process.file_name().to_str()?.parse::<u32>().ok()?, process.path()))).find_map(
        |(pid, path)| {
            holds(&path, &links)
                .then(|| Holder { pid, name: fs::read_to_string(path.join("comm")).unwrap_or_default().trim().into() })
        },
    )
}

/// Inodes of the sockets that listen on `port`: the columns are `sl local_address rem_address st ... uid timeout inode`.
fn listening(table: &str, port: u16) -> Vec<u64> {
    let port = format!(":{port:04X}");
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let ours = columns.get(1)?.ends_with(&port) && *columns.get(3)? == LISTENING;
        ours.then(|| columns.get(9)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn holds(process: &Path, links: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    let targets = descriptors.filter_map(Result::ok).filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    targets.into_iter().any(|target| links.iter().any(|link| target.as_os_str() == link.as_str()))
}
