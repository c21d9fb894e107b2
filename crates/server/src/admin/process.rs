//! What the system says about this process.

use std::fs;

/// Bytes of memory, as far as the system tells.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Memory {
    /// In use now.
    pub(crate) resident: u64,
    /// The most that ever was.
    pub(crate) peak: u64,
}

impl Memory {
    /// `None` where there is no `/proc`.
    pub(crate) fn read() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Bytes in use now, read at little cost.
    pub(crate) fn resident_now() -> Option<u64> {
        let pages = fs::read_to_string("/proc/self/statm").ok()?;
        let pages = pages.split_whitespace().nth(1)?.parse::<u64>().ok()?;
        pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
    }

    fn of(status: &str) -> Option<Self> {
        let field = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_system_writes_it() {
        let status = "Name:\tcolumba\nVmPeak:\t  999 kB\nVmHWM:\t    20 kB\nVmRSS:\t    12 kB\n";

        assert_eq!(Memory::of(status), Some(Memory { resident: 12 << 10, peak: 20 << 10 }));
        assert_eq!(Memory::of("Name:\tcolumba\n"), None);
    }
}
