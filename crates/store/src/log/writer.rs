//! Writing: one frame, one sync, and a new segment when the frame does not fit.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::error::LogError;
use super::format::{Encoded, UNSYNCED_MAX, parts_len, stride};
use super::recover::{self, Recovered};
use super::segments::{Live, LogHandle, Segments};
use super::{Commit, LogOptions, Position, Reader};
use crate::disk::{Disk, DiskFile as _};

/// The writer of a journal. There is one; [`Log::handle`] gives the others what they may do.
pub struct Log<D: Disk> {
    segments: Arc<Segments<D>>,
    number: u64,
    active: Live<D::File>,
    /// Where the next frame goes.
    offset: u64,
    next: Commit,
    condition: Condition,
    /// Whether the last frame with content has something behind it that proves it was synced.
    last_is_witnessed: bool,
}

/// What the writer may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Condition {
    /// All that was written is synced.
    Clean,
    /// So many frames are written and not synced.
    Unsynced(u32),
    /// A write or sync failed: what the disk holds is unknown until a restart reads it.
    Poisoned,
}

/// Where a writer goes on.
#[derive(Clone, Copy)]
pub(super) struct Resume {
    pub(super) next: Commit,
    pub(super) last_is_witnessed: bool,
}

impl<D: Disk> Log<D> {
    /// Opens the journal in `disk` and recovers it; `from` is the checkpoint's position, `None` if there never was one.
    ///
    /// On return everything that [`Log::reader`] will show is synced, and what a crash had torn is gone.
    pub fn open(disk: D, options: LogOptions, from: Option<Position>) -> Result<(Self, Recovered), LogError> {
        recover::open(disk, options, from)
    }

    pub(super) fn resume(segments: Arc<Segments<D>>, number: u64, active: Live<D::File>, at: Resume) -> Self {
        let offset = active.end;
        let Resume { next, last_is_witnessed } = at;
        Self { segments, number, active, offset, next, condition: Condition::Clean, last_is_witnessed }
    }

    /// Writes one commit: labelled parts, in this order. It counts only after [`Log::sync`].
    ///
    /// A frame that is not yet synced is synced first: two frames in the air could land in the wrong order. After
    /// [`LogError::NoSpace`] nothing has happened and the same write may be tried again; any other error poisons.
    pub fn write(&mut self, parts: &[(u16, &[u8])]) -> Result<Commit, LogError> {
        self.sync()?;
        self.write_behind(parts)
    }

    /// The same without the sync before. Each frame says how many before it were in the air, so that recovery can tell a crash from damage: what is not
    /// synced may be lost, also from the middle, and with it all that stands behind. Before a new segment everything is synced.
    pub fn write_behind(&mut self, parts: &[(u16, &[u8])]) -> Result<Commit, LogError> {
        if self.condition == Condition::Poisoned {
            return Err(LogError::Poisoned);
        }
        let stride = match u32::try_from(parts_len(parts)) {
            Ok(len) => stride(u64::from(len)),
            Err(_) => return Err(self.poisoned_by(LogError::FrameTooLarge { bytes: parts_len(parts) })),
        };
        if self.offset + stride > self.active.header.size {
            self.sync()?;
            self.begin_segment(stride)?;
        }
        if self.unsynced() == UNSYNCED_MAX {
            self.sync()?;
        }

        let commit = self.next;
        self.write_frame(commit, parts).map_err(|source| {
            let file = self.file_name();
            self.poisoned_by(LogError::Io { action: "write", file, source })
        })?;
        self.offset += stride;
        self.next = commit.next();
        self.condition = Condition::Unsynced(self.unsynced() + 1);
        self.last_is_witnessed = parts.is_empty();
        Ok(commit)
    }

    fn write_frame(&self, commit: Commit, parts: &[(u16, &[u8])]) -> std::io::Result<()> {
        // The sum of all parts fits a u32.
        let encoded = Encoded::new(commit, self.unsynced(), parts, self.active.header.seed());
        let encoded = encoded.ok_or(std::io::ErrorKind::FileTooLarge)?;
        self.active.file.write_at(&encoded.slices(parts), self.offset)
    }

    /// Makes what was written durable and shows it to readers. Without anything new it does nothing.
    pub fn sync(&mut self) -> Result<(), LogError> {
        match self.condition {
            Condition::Clean => return Ok(()),
            Condition::Poisoned => return Err(LogError::Poisoned),
            Condition::Unsynced(_) => {}
        }
        if let Err(source) = self.active.file.sync_data() {
            let file = self.file_name();
            return Err(self.poisoned_by(LogError::Io { action: "sync", file, source }));
        }
        self.show();
        Ok(())
    }

    /// Shows what was written to readers without making it durable: a power failure loses it, also from the middle.
    pub fn skip_sync(&mut self) -> Result<(), LogError> {
        match self.condition {
            Condition::Clean => Ok(()),
            Condition::Poisoned => Err(LogError::Poisoned),
            Condition::Unsynced(_) => {
                self.show();
                Ok(())
            }
        }
    }

    /// Frames that are written and not synced.
    pub fn unsynced(&self) -> u32 {
        match self.condition {
            Condition::Clean | Condition::Poisoned => 0,
            Condition::Unsynced(frames) => frames,
        }
    }

    fn show(&mut self) {
        self.condition = Condition::Clean;
        self.active.end = self.offset;
        let mut state = self.segments.lock();
        if let Some(live) = state.live.get_mut(&self.number) {
            live.end = self.offset;
        }
        state.durable = Commit(self.next.0 - 1);
    }

    fn begin_segment(&mut self, stride: u64) -> Result<(), LogError> {
        match self.segments.begin(self.number + 1, self.next, stride) {
            Ok(live) => {
                self.number += 1;
                self.offset = live.end;
                self.active = live;
                Ok(())
            }
            Err(no_space @ LogError::NoSpace { .. }) => Err(no_space),
            Err(error) => Err(self.poisoned_by(error)),
        }
    }

    /// Goes on in a segment as short as the first one, if this one is longer: then a checkpoint can free it. For a journal that was busy and is not any more.
    pub fn shrink(&mut self) -> Result<(), LogError> {
        self.sync()?;
        if self.active.header.size > self.segments.options.segment_bytes_min {
            self.begin_segment(0)?;
        }
        Ok(())
    }

    fn poisoned_by(&mut self, error: LogError) -> LogError {
        self.condition = Condition::Poisoned;
        self.segments.poisoned.store(true, Relaxed);
        error
    }

    fn file_name(&self) -> String {
        self.segments.disk.display(&super::segments::segment_name(self.number))
    }

    /// Ends the journal with a frame of nothing, so that damage to the last real frame is told from a torn one. Does
    /// nothing where that is so already.
    pub fn seal(&mut self) -> Result<(), LogError> {
        if self.last_is_witnessed {
            return self.sync();
        }
        self.write(&[])?;
        self.sync()
    }

    /// The last commit that is on disk.
    pub fn durable(&self) -> Commit {
        self.segments.lock().durable
    }

    /// The number that the next write will have.
    pub fn next(&self) -> Commit {
        self.next
    }

    /// Where the frames end, synced or not.
    pub fn end(&self) -> Position {
        Position { segment: self.number, offset: self.offset }
    }

    /// Reads durable frames from `from` on.
    pub fn reader(&self, from: Position) -> Reader<D> {
        self.handle().reader(from)
    }

    /// Frees segments; see [`LogHandle::recycle`].
    pub fn recycle(&self, below: Position) -> Result<(), LogError> {
        self.handle().recycle(below)
    }

    /// What readers, checkpoints and the maker of spares need.
    pub fn handle(&self) -> LogHandle<D> {
        LogHandle(Arc::clone(&self.segments))
    }
}
