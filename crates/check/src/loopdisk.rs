//! A disk of a test's own: a file with an ext4 file system in it, mounted through a loop device. It can be full, and its power can be cut.
//!
//! Mounting takes root. Whatever happens in the test, dropping the disk unmounts it and gives the loop device free.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use tempfile::TempDir;

use crate::outside;

/// What [`outside::may_skip`] calls tests that need such a disk.
const NAME: &str = "loop-mounts";

/// `EXT4_IOC_SHUTDOWN` of the kernel: no write of the file system reaches its device from now on.
const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: also what stands in the file system's own journal in memory is lost.
const NO_LOG_FLUSH: u32 = 2;

/// A mounted ext4 file system.
#[derive(Debug)]
pub struct LoopDisk {
    dir: TempDir,
    is_mounted: bool,
}

impl LoopDisk {
    /// A new file system of `mib` MiB, or nothing, said loudly, where it cannot be mounted.
    ///
    /// # Panics
    ///
    /// Where skipping is forbidden, and where root cannot make or mount it.
    pub fn or_skip(test: &str, mib: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            outside::skip_named(NAME, test, "mounting a file system takes root");
            return None;
        }
        if outside::program("mkfs.ext4").is_none() || !Path::new("/dev/loop-control").exists() {
            outside::skip_named(NAME, test, "mkfs.ext4 or /dev/loop-control is missing");
            return None;
        }
        match Self::new(mib) {
            Ok(disk) => Some(disk),
            Err(why) if outside::may_skip(NAME) => {
                outside::skip_named(NAME, test, &why);
                None
            }
            Err(why) => panic!("{test}: {why}"),
        }
    }

    fn new(mib: u64) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut disk = Self { dir, is_mounted: false };
        let made = File::create(disk.image()).and_then(|file| file.set_len(mib << 20));
        made.and_then(|()| std::fs::create_dir(disk.path())).map_err(|error| error.to_string())?;
        // All of it for us (root would otherwise have blocks that nobody else sees), and nothing initialised late.
        let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run(Command::new("mkfs.ext4").args(options).arg(disk.image()))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// Bytes that are free.
    ///
    /// # Panics
    ///
    /// When the kernel does not say.
    pub fn free(&self) -> u64 {
        let space = rustix::fs::statvfs(self.path()).expect("it is mounted");
        space.f_bavail * space.f_frsize
    }

    /// Someone else takes all room but `left` bytes, or what is there if that is less.
    ///
    /// # Panics
    ///
    /// When it does not work.
    pub fn fill(&self, left: u64) {
        let mut file = File::options().create(true).append(true).open(self.filler()).expect("a name is free");
        let piece = vec![1; 64 << 10];
        while self.free() > left {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => panic!("cannot fill the disk: {error}"),
            }
        }
        // What is only in memory takes no room yet.
        file.sync_all().expect("a full disk can be synced");
    }

    /// What [`LoopDisk::fill`] took is free again.
    ///
    /// # Panics
    ///
    /// When nothing was taken.
    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// From this moment nothing reaches the device: what was not synced is lost.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn cut_power(&self) {
        if let Err(error) = shut_down(&self.path()) {
            panic!("cannot shut down {}: {error}", self.path().display());
        }
    }

    /// The power is back: the file system recovers from its own journal. Nobody may have a file of it open.
    ///
    /// # Panics
    ///
    /// When it cannot be mounted again.
    pub fn remount(&mut self) {
        if let Err(why) = self.unmount().and_then(|()| self.mount()) {
            panic!("{why}");
        }
    }

    fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).args([self.image(), self.path()]))?;
        self.is_mounted = true;
        Ok(())
    }

    /// The loop device goes with the mount.
    fn unmount(&mut self) -> Result<(), String> {
        if self.is_mounted {
            run(Command::new("umount").arg(self.path()))?;
            self.is_mounted = false;
        }
        Ok(())
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if let Err(why) = self.unmount() {
            outside::say(&format!("{why}\n"));
            // At least nobody sees it any more, and it goes with the last file that is open.
            if let Err(why) = run(Command::new("umount").arg("--lazy").arg(self.path())) {
                outside::say(&format!("left behind: {why}\n"));
            }
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

#[expect(unsafe_code, reason = "nobody offers this ioctl; see docs/adr/0016-power-cut-by-ioctl.md")]
fn shut_down(mount_point: &Path) -> io::Result<()> {
    let root = File::open(mount_point)?;
    // SAFETY: the opcode is ext4's, and the kernel reads one u32 for it.
    let order = unsafe { Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH) };
    // SAFETY: the kernel keeps no pointer to the argument and changes no memory of ours.
    unsafe { ioctl(&root, order) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Were it otherwise, every test on such a disk would prove nothing.
    #[test]
    fn a_power_cut_loses_what_was_not_synced_and_nothing_else() {
        let test = "a_power_cut_loses_what_was_not_synced_and_nothing_else";
        let Some(mut disk) = LoopDisk::or_skip(test, 64) else { return };
        let synced = disk.path().join("synced");
        let mut file = File::create(&synced).unwrap();
        file.write_all(b"kept").unwrap();
        file.sync_all().unwrap();
        File::open(disk.path()).unwrap().sync_all().unwrap();
        fs::write(disk.path().join("unsynced"), b"lost").unwrap();
        drop(file);

        disk.cut_power();
        assert!(fs::write(disk.path().join("late"), b"refused").is_err());
        disk.remount();

        assert_eq!(fs::read(&synced).unwrap(), b"kept");
        assert!(!disk.path().join("unsynced").exists());
        assert!(!disk.path().join("late").exists());
    }
}
