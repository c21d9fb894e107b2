//! The segments of a journal: which exist, how far they are durable, and the spares kept ready for the next ones.
//!
//! The writer, readers and whoever checkpoints share this; files are never touched under the lock.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{LogError, is_no_space};
use super::format::{FRAMES_START, Header};
use super::reader::Reader;
use super::{Commit, LogOptions, Position};
use crate::disk::{Disk, DiskFile as _};

/// A segment that holds frames.
pub(crate) struct Live<F> {
    pub(crate) file: Arc<F>,
    pub(crate) header: Header,
    /// Where its durable frames end.
    pub(crate) end: u64,
}

impl<F> Clone for Live<F> {
    fn clone(&self) -> Self {
        Self { file: Arc::clone(&self.file), header: self.header, end: self.end }
    }
}

/// A written file that waits to become a segment; what it holds does not matter.
pub(crate) struct Spare<F> {
    pub(crate) name: String,
    pub(crate) file: Arc<F>,
    pub(crate) size: u64,
}

pub(crate) struct State<F> {
    /// By number, without gaps; the last one is written to.
    pub(crate) live: BTreeMap<u64, Live<F>>,
    pub(crate) spares: Vec<Spare<F>>,
    /// The number in the name of the next spare.
    pub(crate) next_spare: u64,
    /// How long the next spare should be.
    pub(crate) wanted: u64,
    /// Whether a checkpoint has reached the active segment since it was begun.
    pub(crate) caught_up: bool,
    pub(crate) durable: Commit,
}

/// What the journal takes on the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Segments that hold frames not yet recycled.
    pub segments: usize,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Segments kept ready.
    pub spares: usize,
    /// Their bytes.
    pub spare_bytes: u64,
}

/// The journal as seen by everyone but its writer: read it, recycle it, keep spares ready.
pub struct LogHandle<D: Disk>(pub(crate) Arc<Segments<D>>);

impl<D: Disk> Clone for LogHandle<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Disk> LogHandle<D> {
    /// Reads durable frames from `from` on, beside the writer.
    pub fn reader(&self, from: Position) -> Reader<D> {
        Reader::new(Arc::clone(&self.0), from)
    }

    /// Frees the segments before the one that `below` is in. What they hold must be durable elsewhere.
    pub fn recycle(&self, below: Position) -> Result<(), LogError> {
        self.0.recycle(below)
    }

    /// Gives one spare back to the disk, so that the cold store has room for what makes it smaller. From now on one spare less is kept, and
    /// [`LogHandle::lacks_room`] says so, until [`LogHandle::take_back_spare`]. The last spare stays: acknowledgements need it. Returns the bytes given back.
    pub fn give_up_spare(&self) -> Result<u64, LogError> {
        self.0.give_up_spare()
    }

    /// Keeps as many spares as before; [`LogHandle::prepare`] makes what is missing.
    pub fn take_back_spare(&self) {
        self.0.given_up.store(false, Relaxed);
    }

    /// Makes spare segments until there are enough. Call it off the commit path: it writes whole segments of zeros.
    pub fn prepare(&self) -> Result<(), LogError> {
        self.0.prepare()
    }

    /// Whether [`LogHandle::prepare`] has something to do.
    pub fn wants_spares(&self) -> bool {
        self.0.lock().spares.len() < self.0.spares_kept()
    }

    /// Whether segments or spares are longer than those of a new journal.
    pub fn is_grown(&self) -> bool {
        let state = self.0.lock();
        let min = self.0.options.segment_bytes_min;
        state.live.values().any(|live| live.header.size > min) || state.spares.iter().any(|spare| spare.size > min)
    }

    /// Goes back to the length of the first segments: the next ones are short, and longer spares are removed. The one being written stays, until
    /// [`Log::shrink`](super::Log::shrink) begins another.
    pub fn forget_growth(&self) -> Result<(), LogError> {
        self.0.forget_growth()
    }

    /// The last commit that is on disk.
    pub fn durable(&self) -> Commit {
        self.0.lock().durable
    }

    /// Whether the writer has failed: nothing becomes durable any more until a restart.
    pub fn has_failed(&self) -> bool {
        self.0.poisoned.load(Relaxed)
    }

    /// Whether there was no room for the last spare that [`LogHandle::prepare`] wanted to make, however short, or one was given up.
    pub fn lacks_room(&self) -> bool {
        self.0.lacks_room.load(Relaxed) || self.0.given_up.load(Relaxed)
    }

    /// What the journal takes on the disk.
    pub fn usage(&self) -> Usage {
        let state = self.0.lock();
        Usage {
            segments: state.live.len(),
            segment_bytes: state.live.values().map(|live| live.header.size).sum(),
            spares: state.spares.len(),
            spare_bytes: state.spares.iter().map(|spare| spare.size).sum(),
        }
    }
}

pub(crate) struct Segments<D: Disk> {
    pub(crate) disk: D,
    pub(crate) options: LogOptions,
    salt: u64,
    state: Mutex<State<D::File>>,
    /// Set by the writer when it fails.
    pub(crate) poisoned: AtomicBool,
    lacks_room: AtomicBool,
    /// One spare less is kept.
    given_up: AtomicBool,
    /// Held while spares are made, so that two callers do not make twice as many.
    preparing: Mutex<()>,
}

impl<D: Disk> Segments<D> {
    pub(crate) fn new(disk: D, options: LogOptions, salt: u64, state: State<D::File>) -> Self {
        Self {
            disk,
            options,
            salt,
            state: Mutex::new(state),
            poisoned: AtomicBool::new(false),
            lacks_room: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            preparing: Mutex::new(()),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<D::File>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins segment `number` with room for a frame of `stride` bytes; it is durable on return.
    ///
    /// The header is synced before the file gets a segment's name: a name that says "segment" never stands on a file
    /// without a valid header.
    pub(crate) fn begin(&self, number: u64, first: Commit, stride: u64) -> Result<Live<D::File>, LogError> {
        let needed = FRAMES_START.saturating_add(stride).next_multiple_of(FRAMES_START);
        let spare = match self.take_spare(needed) {
            Some(spare) => spare,
            None => self.make_spare(needed.max(self.options.segment_bytes_min))?,
        };
        let name = segment_name(number);
        let header = Header { id: self.options.id, salt: self.salt, segment: number, first, size: spare.size };
        let named = (spare.file.write_at(&[IoSlice::new(&header.encode())], 0))
            .and_then(|()| spare.file.sync_data())
            .and_then(|()| self.disk.rename(&spare.name, &name));
        match named {
            Ok(()) => {}
            Err(source) if is_no_space(&source) => {
                self.lock().spares.push(spare);
                return Err(LogError::NoSpace { file: self.disk.display(&name), source });
            }
            Err(source) => return Err(LogError::io("begin", self.disk.display(&name))(source)),
        }
        self.disk.sync_dir().map_err(LogError::io("sync the directory of", self.disk.display(&name)))?;

        let live = Live { file: spare.file, header, end: FRAMES_START };
        let mut state = self.lock();
        state.live.insert(number, live.clone());
        if !state.caught_up {
            state.wanted = (state.wanted * 2).min(self.options.segment_bytes_max);
        }
        state.caught_up = false;
        Ok(live)
    }

    /// The longest spare, if it is long enough.
    fn take_spare(&self, needed: u64) -> Option<Spare<D::File>> {
        let mut state = self.lock();
        let longest = (0..state.spares.len()).max_by_key(|&at| state.spares[at].size)?;
        (state.spares[longest].size >= needed).then(|| state.spares.swap_remove(longest))
    }

    fn make_spare(&self, size: u64) -> Result<Spare<D::File>, LogError> {
        let (unfinished, name) = {
            let mut state = self.lock();
            state.next_spare += 1;
            (unfinished_name(state.next_spare), spare_name(state.next_spare))
        };
        let made = self.disk.create_zeroed(&unfinished, size);
        match made.and_then(|file| self.disk.rename(&unfinished, &name).map(|()| file)) {
            Ok(file) => Ok(Spare { name, file: Arc::new(file), size }),
            Err(source) => {
                // The first error is the one to report; recovery removes what this leaves.
                drop(self.disk.remove(&unfinished));
                let file = self.disk.display(&unfinished);
                Err(if is_no_space(&source) {
                    LogError::NoSpace { file, source }
                } else {
                    LogError::Io { action: "create", file, source }
                })
            }
        }
    }

    /// How many spares there should be.
    fn spares_kept(&self) -> usize {
        self.options.spares.saturating_sub(usize::from(self.given_up.load(Relaxed)))
    }

    fn give_up_spare(&self) -> Result<u64, LogError> {
        let _no_spare_is_being_made = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        self.given_up.store(true, Relaxed);
        let longest = {
            let mut state = self.lock();
            // Short ones are made where there is little room.
            state.wanted = self.options.segment_bytes_min;
            let longest = (0..state.spares.len()).max_by_key(|&at| state.spares[at].size);
            longest.filter(|_| state.spares.len() > 1).map(|at| state.spares.swap_remove(at))
        };
        let Some(Spare { name, size, .. }) = longest else { return Ok(0) };
        self.disk.remove(&name).map_err(LogError::io("remove", self.disk.display(&name)))?;
        Ok(size)
    }

    fn prepare(&self) -> Result<(), LogError> {
        let _one_at_a_time = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let size = {
                let state = self.lock();
                if state.spares.len() >= self.spares_kept() {
                    self.lacks_room.store(false, Relaxed);
                    return Ok(());
                }
                state.wanted
            };
            match self.make_spare(size) {
                Ok(spare) => self.lock().spares.push(spare),
                // A small disk has no room for what a busy journal would like.
                Err(LogError::NoSpace { .. }) if size > self.options.segment_bytes_min => {
                    self.lock().wanted = (size / 2).max(self.options.segment_bytes_min);
                }
                Err(no_space @ LogError::NoSpace { .. }) => {
                    self.lacks_room.store(true, Relaxed);
                    return Err(no_space);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn forget_growth(&self) -> Result<(), LogError> {
        let _no_spare_is_being_made = self.preparing.lock().unwrap_or_else(PoisonError::into_inner);
        let min = self.options.segment_bytes_min;
        let (kept, long) = {
            let mut state = self.lock();
            state.wanted = min;
            std::mem::take(&mut state.spares).into_iter().partition::<Vec<_>, _>(|spare| spare.size <= min)
        };
        self.lock().spares.extend(kept);
        long.iter()
            .try_for_each(|spare| self.disk.remove(&spare.name).map_err(LogError::io("remove", self.disk.display(&spare.name))))
    }

    fn recycle(&self, below: Position) -> Result<(), LogError> {
        let freed: Vec<_> = {
            let mut state = self.lock();
            let active = state.live.last_key_value().map_or(0, |(&number, _)| number);
            let kept = state.live.split_off(&below.segment.min(active));
            let freed = std::mem::replace(&mut state.live, kept);
            state.caught_up |= below.segment >= active;
            freed.into_iter().map(|(number, live)| (segment_name(number), live.file, live.header.size)).collect()
        };
        if freed.is_empty() {
            return Ok(());
        }
        // A spare is offered only after its new name is durable.
        let mut spares = Vec::new();
        for (name, file, size) in freed {
            spares.extend(self.free(&name, file, size)?);
        }
        self.disk.sync_dir().map_err(LogError::io("sync the directory of", self.disk.display("")))?;
        self.lock().spares.append(&mut spares);
        self.drop_surplus()
    }

    /// Turns a segment that nobody needs into a spare, or removes it when it is too short or too long for one.
    pub(crate) fn free(&self, name: &str, file: Arc<D::File>, size: u64) -> Result<Option<Spare<D::File>>, LogError> {
        let new_name = {
            let mut state = self.lock();
            state.next_spare += 1;
            // Longer ones are from busier times.
            let longest = (2 * state.wanted).min(self.options.segment_bytes_max).max(state.wanted);
            let useful = (state.wanted..=longest).contains(&size);
            useful.then(|| spare_name(state.next_spare))
        };
        let done = match &new_name {
            Some(new_name) => self.disk.rename(name, new_name),
            None => self.disk.remove(name),
        };
        done.map_err(LogError::io("recycle", self.disk.display(name)))?;
        Ok(new_name.map(|name| Spare { name, file, size }))
    }

    /// Removes the shortest spares while there are too many.
    pub(crate) fn drop_surplus(&self) -> Result<(), LogError> {
        loop {
            let surplus = {
                let mut state = self.lock();
                if state.spares.len() <= self.spares_kept() {
                    return Ok(());
                }
                let shortest = (0..state.spares.len()).min_by_key(|&at| state.spares[at].size);
                shortest.map(|at| state.spares.swap_remove(at))
            };
            if let Some(spare) = surplus {
                self.disk.remove(&spare.name).map_err(LogError::io("remove", self.disk.display(&spare.name)))?;
            }
        }
    }
}

const SEGMENT: &str = ".seg";
const SPARE: &str = ".spare";
const UNFINISHED: &str = ".new";

/// What a file in the journal directory is, by its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Segment(u64),
    Spare(u64),
    Unfinished(u64),
}

pub(crate) fn kind_of(name: &str) -> Option<Kind> {
    let parse = |suffix: &str| {
        let digits = name.strip_suffix(suffix)?;
        u64::from_str_radix(digits, 16).ok().filter(|&number| format!("{number:016x}") == digits)
    };
    (parse(SEGMENT).map(Kind::Segment))
        .or_else(|| parse(SPARE).map(Kind::Spare))
        .or_else(|| parse(UNFINISHED).map(Kind::Unfinished))
}

pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}{SEGMENT}")
}

fn spare_name(number: u64) -> String {
    format!("{number:016x}{SPARE}")
}

fn unfinished_name(number: u64) -> String {
    format!("{number:016x}{UNFINISHED}")
}
