//! What the simulated disk holds, twice: as programs see it, and as a crash would leave it.

use std::collections::BTreeMap;
use std::io;

use super::Fault;
use super::rng::Rng;

/// What a device writes whole or not at all.
const SECTOR: u64 = 512;

#[derive(Clone, Debug)]
pub(super) struct World {
    inodes: Vec<Inode>,
    /// The directory as it is seen.
    names: BTreeMap<String, usize>,
    /// The directory as the last sync left it.
    durable_names: BTreeMap<String, usize>,
    /// What has happened to names since, in order.
    name_changes: Vec<NameChange>,
    rng: Rng,
    life: u64,
    operations: u64,
    power_fails_at: Option<u64>,
    syncs_ignored: bool,
    faults: Vec<(Fault, u64)>,
    space: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(u64, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, inode: usize },
    Rename { from: String, to: String, inode: usize },
    Remove { name: String, inode: usize },
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove { name, .. } => {
                names.remove(name);
            }
        }
    }

    fn inode(&self) -> usize {
        match self {
            Self::Create { inode, .. } | Self::Rename { inode, .. } | Self::Remove { inode, .. } => *inode,
        }
    }

    fn names(&self) -> [&str; 2] {
        match self {
            Self::Create { name, .. } | Self::Remove { name, .. } => [name, name],
            Self::Rename { from, to, .. } => [from, to],
        }
    }
}

impl Inode {
    fn put(bytes: &mut Vec<u8>, offset: u64, piece: &[u8]) {
        let start = to_usize(offset);
        let end = start + piece.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(piece);
    }

    fn sync(&mut self) {
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            Self::put(&mut self.durable, offset, &bytes);
        }
    }

    /// Lets the device have written each sector back at some time since the last sync, or never.
    fn settle(&mut self, rng: &mut Rng) {
        let writes = std::mem::take(&mut self.unsynced);
        if writes.is_empty() {
            return;
        }
        let count = writes.len() as u64;
        let whole_until = rng.below(count + 1);
        let style = rng.below(4);
        let mut written_back: BTreeMap<u64, u64> = BTreeMap::new();
        for (number, (offset, bytes)) in (0_u64..).zip(&writes) {
            let mut at = *offset;
            let end = offset + bytes.len() as u64;
            while at < end {
                let sector = at / SECTOR;
                let upto = end.min((sector + 1) * SECTOR);
                // How many of the writes this sector has seen when it was last written back.
                let seen = *written_back.entry(sector).or_insert_with(|| match style {
                    0 => 0,
                    1 => whole_until,
                    2 => whole_until + rng.below(2),
                    _ => rng.below(count + 1),
                });
                if number < seen {
                    let piece = &bytes[to_usize(at - offset)..to_usize(upto - offset)];
                    Self::put(&mut self.durable, at, piece);
                }
                at = upto;
            }
        }
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            rng: Rng::new(seed),
            life: 0,
            operations: 0,
            power_fails_at: None,
            syncs_ignored: false,
            faults: Vec::new(),
            space: None,
        }
    }

    pub(super) fn life(&self) -> u64 {
        self.life
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn cut_power_after(&mut self, operations: u64) {
        self.power_fails_at = Some(self.operations + operations);
    }

    pub(super) fn ignore_syncs(&mut self, ignore: bool) {
        self.syncs_ignored = ignore;
    }

    pub(super) fn fail(&mut self, fault: Fault, spare: u64) {
        self.faults.push((fault, spare));
    }

    pub(super) fn heal(&mut self) {
        self.faults.clear();
        self.space = None;
    }

    pub(super) fn limit_space(&mut self, bytes: Option<u64>) {
        self.space = bytes;
    }

    pub(super) fn damage(&mut self, name: &str, offset: u64, mask: u8) {
        let inode = &mut self.inodes[self.names[name]];
        inode.seen[to_usize(offset)] ^= mask;
        inode.durable[to_usize(offset)] ^= mask;
    }

    pub(super) fn truncate(&mut self, name: &str, len: u64) {
        let inode = &mut self.inodes[self.names[name]];
        inode.seen.truncate(to_usize(len));
        inode.durable.truncate(to_usize(len));
    }

    pub(super) fn kill(&mut self) {
        self.life += 1;
        self.power_fails_at = None;
    }

    pub(super) fn crash(&mut self, rng: &mut Rng) {
        self.kill();
        for inode in &mut self.inodes {
            inode.settle(rng);
            inode.seen.clone_from(&inode.durable);
        }
        self.settle_names(rng);
        self.forget_unnamed();
    }

    /// Keeps or drops changes of names. What depends on a dropped one (same name, same file) is dropped too.
    fn settle_names(&mut self, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.name_changes);
        let kept_until = rng.below(changes.len() as u64 + 1);
        let style = rng.below(4);
        let mut dropped: Vec<&NameChange> = Vec::new();
        for (number, change) in (0_u64..).zip(&changes) {
            let keep = match style {
                0 => false,
                1 => true,
                2 => number < kept_until,
                _ => rng.one_in(2),
            };
            let depends = dropped
                .iter()
                .any(|lost| lost.inode() == change.inode() || lost.names().iter().any(|name| change.names().contains(name)));
            if keep && !depends {
                change.apply(&mut self.durable_names);
            } else {
                dropped.push(change);
            }
        }
        self.names.clone_from(&self.durable_names);
    }

    /// Frees the bytes of files that no name leads to.
    fn forget_unnamed(&mut self) {
        for at in 0..self.inodes.len() {
            let named = self.names.values().chain(self.durable_names.values()).any(|&inode| inode == at);
            if !named {
                self.inodes[at] = Inode::default();
            }
        }
    }

    /// Counts an operation; with the power off none succeeds.
    fn operate(&mut self) -> io::Result<()> {
        self.has_power()?;
        self.operations += 1;
        Ok(())
    }

    fn has_power(&self) -> io::Result<()> {
        if self.power_fails_at.is_some_and(|at| self.operations >= at) {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }

    fn alive(&self, life: u64) -> io::Result<()> {
        if life == self.life { self.has_power() } else { Err(io::Error::other("the file was open before a crash")) }
    }

    /// Whether this operation is the one that was to fail.
    fn faulty(&mut self, fault: Fault) -> bool {
        let mut hit = false;
        self.faults.retain_mut(|(kind, spare)| {
            let due = *kind == fault && *spare == 0;
            hit |= due;
            if *kind == fault {
                *spare = spare.saturating_sub(1);
            }
            !due
        });
        hit
    }

    pub(super) fn create(&mut self, name: &str) -> io::Result<usize> {
        self.operate()?;
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = self.inodes.len();
        self.inodes.push(Inode::default());
        self.change(NameChange::Create { name: name.to_owned(), inode });
        Ok(inode)
    }

    pub(super) fn open(&self, name: &str) -> io::Result<usize> {
        self.has_power()?;
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.operate()?;
        let inode = self.open(from)?;
        self.change(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.operate()?;
        let inode = self.open(name)?;
        self.change(NameChange::Remove { name: name.to_owned(), inode });
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    pub(super) fn list(&self) -> io::Result<Vec<String>> {
        self.has_power()?;
        Ok(self.names.keys().cloned().collect())
    }

    pub(super) fn sync_dir(&mut self) -> io::Result<()> {
        self.operate()?;
        if self.faulty(Fault::SyncDir) {
            return Err(io::Error::other("injected directory sync error"));
        }
        if !self.syncs_ignored {
            self.name_changes.clear();
            self.durable_names.clone_from(&self.names);
        }
        Ok(())
    }

    pub(super) fn len(&self, inode: usize, life: u64) -> io::Result<u64> {
        self.alive(life)?;
        Ok(self.inodes[inode].seen.len() as u64)
    }

    pub(super) fn read(&mut self, inode: usize, life: u64, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.alive(life)?;
        let bytes = &self.inodes[inode].seen;
        let rest = bytes.get(to_usize(offset)..).unwrap_or_default();
        let mut len = rest.len().min(buf.len());
        if len > 1 && self.rng.one_in(16) {
            len = 1 + self.rng.index(len - 1);
        }
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    pub(super) fn write(&mut self, inode: usize, life: u64, mut bytes: Vec<u8>, offset: u64) -> io::Result<()> {
        self.alive(life)?;
        // Power that fails during a write leaves a part of it in the cache; the crash decides about that part.
        let interrupted = self.power_fails_at == Some(self.operations + 1);
        self.operate()?;
        let failed = self.faulty(Fault::Write);
        if failed {
            bytes.truncate(self.rng.index(bytes.len() + 1));
        }
        let end = offset + bytes.len() as u64;
        let used: u64 = self.names.values().map(|&named| self.inodes[named].seen.len() as u64).sum();
        let grows = end.saturating_sub(self.inodes[inode].seen.len() as u64);
        if grows > 0 && self.space.is_some_and(|space| used + grows > space) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = &mut self.inodes[inode];
        Inode::put(&mut file.seen, offset, &bytes);
        file.unsynced.push((offset, bytes));
        if failed {
            return Err(io::Error::other("injected write error"));
        }
        if interrupted {
            return Err(io::Error::other("the power failed during a write"));
        }
        Ok(())
    }

    pub(super) fn sync(&mut self, inode: usize, life: u64) -> io::Result<()> {
        self.alive(life)?;
        self.operate()?;
        if self.faulty(Fault::Sync) {
            let mut rng = Rng::new(self.rng.next_u64());
            self.inodes[inode].settle(&mut rng);
            return Err(io::Error::other("injected sync error"));
        }
        if !self.syncs_ignored {
            self.inodes[inode].sync();
        }
        Ok(())
    }
}

/// Simulated files are small.
fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
