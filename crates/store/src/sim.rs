//! A simulated disk: deterministic, and as unkind as a real one may be.
//!
//! What was written is seen at once, as through a page cache. What survives [`SimDisk::crash`] is what was synced, and
//! of the rest any mixture that hardware and file systems allow: writes kept, dropped, reordered, torn at 512 bytes;
//! creations, renamings and removals lost unless the directory was synced.

mod rng;
mod world;

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use rng::Rng;
use world::World;

use crate::disk::{Disk, DiskFile};

/// A directory on a simulated disk. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<World>>);

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A write fails, with a part of it done.
    Write,
    /// A sync of a file fails. What was unsynced may or may not be on disk, and the disk thinks it is done with it: a
    /// later sync succeeds without writing it.
    Sync,
    /// A sync of the directory fails.
    SyncDir,
}

impl SimDisk {
    /// An empty disk. The seed decides about short reads, faults' remains and, with its own seed, crashes.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World::new(seed))))
    }

    /// Cuts the power: what was not synced is kept, dropped, reordered or torn as `seed` says. Files that were open
    /// are dead; the disk is on again.
    pub fn crash(&self, seed: u64) {
        self.world().crash(&mut Rng::new(seed));
    }

    /// Kills the process: all that was written stays, synced or not. Files that were open are dead.
    pub fn kill(&self) {
        self.world().kill();
    }

    /// Lets the power fail after `operations` more operations: from then on everything fails until
    /// [`SimDisk::crash`].
    pub fn cut_power_after(&self, operations: u64) {
        self.world().cut_power_after(operations);
    }

    /// Operations so far: writes, syncs and changes of names.
    pub fn operations(&self) -> u64 {
        self.world().operations()
    }

    /// Makes every sync do nothing and say that it did: a test that still passes proves nothing.
    pub fn ignore_syncs(&self, ignore: bool) {
        self.world().ignore_syncs(ignore);
    }

    /// Lets the operation of this kind fail that comes after `spare` successful ones of it.
    pub fn fail(&self, fault: Fault, spare: u64) {
        self.world().fail(fault, spare);
    }

    /// Takes back faults that have not happened yet and the limit on space.
    pub fn heal(&self) {
        self.world().heal();
    }

    /// Limits the sum of all files' lengths; what goes beyond fails with "no space left".
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.world().limit_space(bytes);
    }

    /// Damages a file on the medium and in the cache: the bits of `mask` flip in the byte at `offset`.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn damage(&self, name: &str, offset: u64, mask: u8) {
        self.world().damage(name, offset, mask);
    }

    /// Cuts a file short on the medium and in the cache.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn truncate(&self, name: &str, len: u64) {
        self.world().truncate(name, len);
    }

    /// A copy of everything as it is now, with open files dead: what another run may start from.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut world = self.world().clone();
        world.kill();
        Self(Arc::new(Mutex::new(world)))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    inode: usize,
    /// Crashes and kills so far: a handle from before one is dead.
    life: u64,
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut world = self.world();
        let inode = world.create(name)?;
        Ok(SimFile { disk: self.clone(), inode, life: world.life() })
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let world = self.world();
        let inode = world.open(name)?;
        Ok(SimFile { disk: self.clone(), inode, life: world.life() })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.world().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.world().remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.world().list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.world().sync_dir()
    }

    fn display(&self, name: &str) -> String {
        format!("sim/{name}")
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.world().len(self.inode, self.life)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            bytes.extend_from_slice(part);
        }
        self.disk.world().write(self.inode, self.life, bytes, offset)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.world().read(self.inode, self.life, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.world().sync(self.inode, self.life)
    }
}
