//! What the machine, or the container that is taken for one, has.

use std::{fs, path::Path};

/// Bytes of memory that this process may have at most: those of the machine, or what its control group, or one above it, may have. `None`: nobody says.
pub(crate) fn memory() -> Option<u64> {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    [total, bound(Path::new("/sys/fs/cgroup"), &groups)].into_iter().flatten().min()
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least bound on the way from the process's groups to the root; `root` is where they are mounted, and in a container its own group.
fn bound(root: &Path, groups: &str) -> Option<u64> {
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        // Version 2 has one tree for all, version 1 one for each controller.
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let own = root.join(path.trim_start_matches('/'));
        let above = own.ancestors().take_while(|group| group.starts_with(&root));
        // Without a bound it is `max`, and a number close to 2^63 in version 1.
        let bound = |group: &Path| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
        above.filter_map(bound).min()
    };
    groups.lines().filter_map(of_line).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_as_the_system_writes_it() {
        assert_eq!(total("MemTotal:       24612345 kB\nMemFree:  1 kB\n"), Some(24_612_345 << 10));
        assert_eq!(total("MemFree:  1 kB\n"), None);
        assert!(memory().is_some_and(|bytes| bytes > 64 << 20), "this machine says it");
    }

    #[test]
    fn the_least_bound_on_the_way_up_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("system.slice/memory.max", "1000\n");
        write("system.slice/columba.service/memory.max", "max\n");
        write("memory/docker/memory.limit_in_bytes", "3000\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");

        let of = |groups: &str| bound(dir.path(), groups);
        assert_eq!(of("0::/system.slice/columba.service\n"), Some(1000));
        assert_eq!(of("4:memory:/docker\n0::/\n"), Some(3000));
        assert_eq!(of("5:cpu,memory:/elsewhere\n"), Some(9_223_372_036_854_771_712), "as the tree above it");
        assert_eq!(of("0::/\n"), None);
        write("memory.max", "2000\n");
        assert_eq!(of("0::/\n"), Some(2000), "a container sees its own group as the root");
    }
}
