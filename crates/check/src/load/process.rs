//! What a broker's process uses, read from `/proc`.

use std::fs;
use std::time::Duration;

use super::LoadError;

/// A running process to look at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// Any process of this machine, by its id.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Its number.
    pub fn id(self) -> u32 {
        self.pid
    }

    /// Processor time used so far, user and system, all threads.
    pub fn cpu(self) -> Result<Duration, LoadError> {
        let stat = self.read("stat")?;
        // The name, in parentheses, may hold spaces; user and system time are fields 14 and 15 of the whole line.
        let ticks = stat.rsplit_once(')').and_then(|(_, rest)| {
            let mut fields = rest.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
            Some(fields.next()?.ok()? + fields.next()?.ok()?)
        });
        let ticks = ticks.ok_or(LoadError::NoProcess { pid: self.pid })?;
        Ok(Duration::from_nanos(ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second()))
    }

    /// Bytes of memory that only this process holds: what it allocated and touched.
    pub fn private_memory(self) -> Result<u64, LoadError> {
        let rollup = self.read("smaps_rollup")?;
        Ok(sum_of_kib(&rollup, &["Private_Clean:", "Private_Dirty:", "Private_Hugetlb:"]))
    }

    /// Bytes resident in memory, shared pages included.
    pub fn resident_memory(self) -> Result<u64, LoadError> {
        Ok(sum_of_kib(&self.read("smaps_rollup")?, &["Rss:"]))
    }

    /// The most bytes that were ever resident in memory.
    pub fn peak_memory(self) -> Result<u64, LoadError> {
        Ok(sum_of_kib(&self.read("status")?, &["VmHWM:"]))
    }

    fn read(self, file: &str) -> Result<String, LoadError> {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).map_err(|_| LoadError::NoProcess { pid: self.pid })
    }
}

fn sum_of_kib(rollup: &str, names: &[&str]) -> u64 {
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        names.contains(&name).then(|| words.next()?.parse::<u64>().ok()).flatten()
    };
    rollup.lines().filter_map(of_line).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_adds_clean_and_dirty_pages_only() {
        let rollup = "00400000-7fff [rollup]\nRss:   900 kB\nShared_Clean: 500 kB\nPrivate_Clean:  3 kB\nPrivate_Dirty:  40 kB\n";

        assert_eq!(sum_of_kib(rollup, &["Private_Clean:", "Private_Dirty:"]), 43 * 1024);
    }

    #[test]
    fn this_process_uses_processor_and_memory() {
        let me = Process::new(std::process::id());

        assert!(me.cpu().is_ok());
        assert!(me.private_memory().unwrap() > 0);
        assert!(me.resident_memory().unwrap() >= me.private_memory().unwrap());
        assert!(me.peak_memory().unwrap() >= me.private_memory().unwrap());
    }
}
