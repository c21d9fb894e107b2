//! Opening a journal: what is there, what a crash tore, and what is damage.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::error::{Damage, LogError, MissingBecause};
use super::format::{ALIGN, FORMAT, FRAME_VERSION, FRAMES_START, HEAD_LEN, Head, Header, HeaderError};
use super::segments::{Kind, Live, Segments, Spare, State, kind_of, segment_name};
use super::window::{Found, Window, read_header};
use super::writer::Resume;
use super::{Commit, Log, LogOptions, Position, WhenEmpty};
use crate::disk::{Disk, DiskFile, zero};

/// What recovery found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recovered {
    /// Where a replay begins.
    pub from: Position,
    /// Where the frames end.
    pub end: Position,
    /// The last commit, [`Commit::NONE`] in a new journal.
    pub last: Commit,
    /// Frames from `from` on.
    pub frames: u64,
    /// What a crash had left of a frame that was never synced.
    pub torn: Option<Torn>,
}

/// A frame that was being written when the machine stopped; it has been removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Torn {
    /// The segment's file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
}

pub(super) fn open<D: Disk>(disk: D, options: LogOptions, from: Option<Position>) -> Result<(Log<D>, Recovered), LogError> {
    let mut options = options;
    // At least one page for the header and one for frames.
    options.segment_bytes_min = options.segment_bytes_min.max(2 * FRAMES_START);
    options.segment_bytes_max = options.segment_bytes_max.max(options.segment_bytes_min);
    let found = Listing::read(&disk)?;
    let start = from.unwrap_or(Position::START);
    if found.segments.is_empty() && from.is_none() && options.when_empty == WhenEmpty::Create {
        return create(disk, options, found);
    }
    let Some(&newest) = found.segments.last().filter(|&&newest| newest >= start.segment) else {
        let why = if from.is_some() { MissingBecause::Checkpoint } else { MissingBecause::NotNew };
        return Err(LogError::Missing { file: disk.display(&segment_name(start.segment)), why });
    };
    let scan = Scan::run(&disk, &options, &found, from, newest)?;
    settle(disk, options, found, start, scan)
}

/// The directory's names, by kind.
#[derive(Default)]
struct Listing {
    segments: Vec<u64>,
    spares: Vec<String>,
    unfinished: Vec<String>,
    /// No new spare may have a name that exists.
    highest_spare: u64,
}

impl Listing {
    fn read<D: Disk>(disk: &D) -> Result<Self, LogError> {
        let mut found = Self::default();
        for name in disk.list().map_err(LogError::io("list", disk.display("")))? {
            match kind_of(&name) {
                Some(Kind::Segment(number)) => found.segments.push(number),
                Some(Kind::Spare(number)) => {
                    found.highest_spare = found.highest_spare.max(number);
                    found.spares.push(name);
                }
                Some(Kind::Unfinished(number)) => {
                    found.highest_spare = found.highest_spare.max(number);
                    found.unfinished.push(name);
                }
                // Not ours: left alone.
                None => {}
            }
        }
        found.segments.sort_unstable();
        Ok(found)
    }
}

fn create<D: Disk>(disk: D, options: LogOptions, found: Listing) -> Result<(Log<D>, Recovered), LogError> {
    let salt = options.salt;
    let state = state_of(&disk, &options, BTreeMap::new(), found, options.segment_bytes_min, Commit::NONE)?;
    let segments = Arc::new(Segments::new(disk, options, salt, state));
    segments.drop_surplus()?;
    let first = Commit::NONE.next();
    let live = segments.begin(Position::START.segment, first, 0)?;
    let recovered = Recovered { from: Position::START, end: Position::START, last: Commit::NONE, frames: 0, torn: None };
    Ok((Log::resume(segments, Position::START.segment, live, Resume { next: first, last_is_witnessed: true }), recovered))
}

/// What reading all needed segments has shown.
struct Scan<F> {
    live: BTreeMap<u64, Live<F>>,
    /// The commit that will be written next.
    next: Commit,
    frames: u64,
    /// The last frame, if it stands in the newest segment.
    last_frame: Option<(u64, Head)>,
    /// The frames at the end of which nothing proves that they were synced, with their offsets.
    unproven: VecDeque<(Commit, u64)>,
    /// How far the newest segment holds anything but zeros.
    dirty_end: u64,
    /// Whether a frame was begun there.
    torn: bool,
}

impl<F: DiskFile> Scan<F> {
    fn run<D: Disk<File = F>>(
        disk: &D,
        options: &LogOptions,
        found: &Listing,
        from: Option<Position>,
        newest: u64,
    ) -> Result<Self, LogError> {
        let start = from.unwrap_or(Position::START);
        let mut scan = Self {
            live: BTreeMap::new(),
            next: Commit::NONE,
            frames: 0,
            last_frame: None,
            unproven: VecDeque::new(),
            dirty_end: 0,
            torn: false,
        };
        let mut previous_end: Option<Position> = None;
        for number in start.segment..=newest {
            let name = segment_name(number);
            if found.segments.binary_search(&number).is_err() {
                let is_start = number == start.segment && from.is_some();
                let why = if is_start { MissingBecause::Checkpoint } else { MissingBecause::Gap };
                return Err(LogError::Missing { file: disk.display(&name), why });
            }
            let file = disk.open(&name).map_err(LogError::io("open", disk.display(&name)))?;
            let header = check_header(disk, options, number, &file)?;
            match previous_end {
                None => scan.next = header.first,
                // The segment before must end exactly where this one begins.
                Some(end) if header.first != scan.next => {
                    return Err(LogError::Corrupt {
                        file: disk.display(&segment_name(end.segment)),
                        offset: end.offset,
                        damage: Damage::Frame { expected: scan.next, found: header.first },
                    });
                }
                Some(_) => {}
            }
            let begin = if number == start.segment { start.offset } else { FRAMES_START };
            let end = scan.segment(disk, &name, &file, header, begin, number == newest)?;
            scan.live.insert(number, Live { file: Arc::new(file), header, end });
            previous_end = Some(Position { segment: number, offset: end });
        }
        Ok(scan)
    }

    /// Reads the frames of one segment, counting those from `begin` on, and returns where they end.
    fn segment<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        name: &str,
        file: &F,
        header: Header,
        begin: u64,
        is_newest: bool,
    ) -> Result<u64, LogError> {
        let corrupt = |offset, damage| LogError::Corrupt { file: disk.display(name), offset, damage };
        let seed = header.seed();
        let mut window = Window::default();
        let mut at = FRAMES_START;
        let mut begin_seen = false;
        self.last_frame = None;
        // A segment is begun only when the one before is synced.
        self.unproven.clear();
        loop {
            begin_seen |= at == begin;
            let found = window.frame(file, seed, at, header.size);
            match found.map_err(LogError::io("read", disk.display(name)))? {
                Found::Frame(head) if head.commit == self.next => {
                    self.last_frame = Some((at, head));
                    while self.unproven.front().is_some_and(|&(commit, _)| commit <= head.synced_before()) {
                        self.unproven.pop_front();
                    }
                    self.unproven.push_back((head.commit, at));
                    self.frames += u64::from(at >= begin);
                    self.next = head.commit.next();
                    at += head.stride();
                }
                Found::Strange(head) if head.version > FRAME_VERSION => {
                    let (found, known) = (u32::from(head.version), u32::from(FRAME_VERSION));
                    return Err(LogError::NewerFormat { file: disk.display(name), found, known });
                }
                Found::Strange(_) => return Err(corrupt(at, Damage::Parts)),
                // Where the frames end. In all but the newest segment the next header says whether that is right.
                bad @ (Found::Frame(_) | Found::HeadOnly(_) | Found::Nothing) => {
                    if is_newest {
                        let found = self.end_of_journal(file, &header, at, bad);
                        let found = found.map_err(LogError::io("read", disk.display(name)))?;
                        if let Some(found) = found {
                            return Err(corrupt(at, Damage::Frame { expected: self.next, found }));
                        }
                    }
                    break;
                }
            }
        }
        if !begin_seen {
            return Err(corrupt(begin, Damage::Position));
        }
        Ok(at)
    }

    /// Judges the first bad place of the newest segment: a later commit behind it, which makes it damage, or nothing,
    /// which makes it the end.
    fn end_of_journal(&mut self, file: &F, header: &Header, at: u64, bad: Found) -> io::Result<Option<Commit>> {
        let skip = match bad {
            Found::Frame(head) | Found::HeadOnly(head) if head.commit > self.next && head.proves(self.next) => {
                return Ok(Some(head.commit));
            }
            Found::HeadOnly(head) if head.commit == self.next => {
                self.torn = true;
                head.stride()
            }
            // Zeros, or what the file held before it was recycled.
            Found::Frame(_) | Found::HeadOnly(_) | Found::Strange(_) | Found::Nothing => ALIGN as u64,
        };
        let behind = look_behind(file, header, at, at + skip, self.next)?;
        self.dirty_end = behind.dirty_end;
        Ok(behind.later)
    }
}

fn check_header<D: Disk>(disk: &D, options: &LogOptions, number: u64, file: &D::File) -> Result<Header, LogError> {
    let display = || disk.display(&segment_name(number));
    let corrupt = |damage| LogError::Corrupt { file: display(), offset: 0, damage };
    let header = match read_header(file).map_err(LogError::io("read", display()))? {
        Ok(header) => header,
        Err(HeaderError::Damaged(damage)) => return Err(corrupt(damage)),
        Err(HeaderError::Newer(found)) => {
            return Err(LogError::NewerFormat { file: display(), found, known: FORMAT });
        }
    };
    let len = file.len().map_err(LogError::io("read the length of", display()))?;
    if header.id != options.id {
        return Err(corrupt(Damage::WrongStore));
    }
    if header.segment != number {
        return Err(corrupt(Damage::WrongSegment { found: header.segment }));
    }
    if header.size != len {
        return Err(corrupt(Damage::Length { found: len, expected: header.size }));
    }
    Ok(header)
}

/// What stands behind the last good frame of the newest segment.
#[derive(Default)]
struct Behind {
    /// A commit that was begun after the bad frame had been synced.
    later: Option<Commit>,
    /// How far anything but zeros stands there.
    dirty_end: u64,
}

/// Searches `from..` for the head of a later frame, and `bad..` for anything but zeros.
///
/// A head is enough: it says which frames were synced when it was begun. A head cannot come from a payload or from
/// what the file held before, for its checksum starts from this segment's seed.
fn look_behind<F: DiskFile>(file: &F, header: &Header, bad: u64, from: u64, expected: Commit) -> io::Result<Behind> {
    const PIECE: u64 = 1 << 20;
    let seed = header.seed();
    let mut behind = Behind { dirty_end: bad, ..Behind::default() };
    let mut window = Window::default();
    let mut at = bad;
    while at < header.size {
        // Each piece overlaps the next by a head, so that none is cut in two.
        let piece = window.get(file, at, PIECE + HEAD_LEN as u64, header.size)?;
        if let Some(last) = piece.iter().rposition(|&byte| byte != 0) {
            behind.dirty_end = behind.dirty_end.max(at + last as u64 + 1);
            for offset in (0..piece.len().saturating_sub(HEAD_LEN - 1)).step_by(ALIGN) {
                let head = Head::decode(&piece[offset..], seed).filter(|_| at + offset as u64 >= from);
                if let Some(head) = head.filter(|head| head.proves(expected)) {
                    behind.later = Some(head.commit);
                    return Ok(behind);
                }
            }
        }
        at += PIECE;
    }
    Ok(behind)
}

/// Makes what was found durable, removes what was torn and frees what is not needed; then the log may be used.
fn settle<D: Disk>(
    disk: D,
    options: LogOptions,
    found: Listing,
    start: Position,
    scan: Scan<D::File>,
) -> Result<(Log<D>, Recovered), LogError> {
    let Some((&number, active)) = scan.live.last_key_value() else {
        return Err(LogError::Missing { file: disk.display(&segment_name(start.segment)), why: MissingBecause::NotNew });
    };
    let active = active.clone();
    let display = disk.display(&segment_name(number));
    // What was read may be in the page cache only, and after a failed sync the kernel may even call it clean. So what
    // can be unsynced, the last frames and the header, is written once more and then synced.
    let unproven = scan.unproven.front().map_or(active.end, |&(_, offset)| offset);
    rewrite(&*active.file, &active.header, unproven, active.end)
        .and_then(|()| zero(&*active.file, active.end, scan.dirty_end))
        .and_then(|()| active.file.sync_data())
        .map_err(LogError::io("recover", display.clone()))?;

    let last = Commit(scan.next.0 - 1);
    // Without a frame in the newest segment its header is the witness of the one before.
    let last_is_witnessed = scan.last_frame.is_none_or(|(_, head)| head.len == 0);
    let resume = Resume { next: scan.next, last_is_witnessed };
    let recovered = Recovered {
        from: start,
        end: Position { segment: number, offset: active.end },
        last,
        frames: scan.frames,
        torn: scan.torn.then_some(Torn { file: display, offset: active.end }),
    };
    let unneeded: Vec<u64> = found.segments.iter().copied().filter(|&number| number < start.segment).collect();
    let wanted = active.header.size.clamp(options.segment_bytes_min, options.segment_bytes_max);
    let state = state_of(&disk, &options, scan.live, found, wanted, last)?;
    let segments = Arc::new(Segments::new(disk, options, active.header.salt, state));
    for number in unneeded {
        let name = segment_name(number);
        let file = segments.disk.open(&name).map_err(LogError::io("open", segments.disk.display(&name)))?;
        let size = file.len().map_err(LogError::io("read the length of", segments.disk.display(&name)))?;
        let spare = segments.free(&name, Arc::new(file), size)?;
        segments.lock().spares.extend(spare);
    }
    segments.drop_surplus()?;
    // The last process may have been killed between giving a segment its name and syncing it.
    segments.disk.sync_dir().map_err(LogError::io("sync the directory of", segments.disk.display("")))?;
    Ok((Log::resume(segments, number, active, resume), recovered))
}

/// Writes the header and what stands in `from..end` once more.
fn rewrite<F: DiskFile>(file: &F, header: &Header, from: u64, end: u64) -> io::Result<()> {
    const PIECE: u64 = 1 << 20;
    file.write_at(&[IoSlice::new(&header.encode())], 0)?;
    let mut window = Window::default();
    for offset in (from..end).step_by(1 << 20) {
        let bytes = window.get(file, offset, PIECE, end)?;
        file.write_at(&[IoSlice::new(bytes)], offset)?;
    }
    Ok(())
}

/// The state around recovered segments: half-made files are removed, spares are taken over.
fn state_of<D: Disk>(
    disk: &D,
    options: &LogOptions,
    live: BTreeMap<u64, Live<D::File>>,
    found: Listing,
    wanted: u64,
    durable: Commit,
) -> Result<State<D::File>, LogError> {
    for name in found.unfinished {
        disk.remove(&name).map_err(LogError::io("remove", disk.display(&name)))?;
    }
    let mut spares = Vec::new();
    for name in found.spares {
        let display = disk.display(&name);
        let file = disk.open(&name).map_err(LogError::io("open", display.clone()))?;
        let size = file.len().map_err(LogError::io("read the length of", display.clone()))?;
        if size >= options.segment_bytes_min {
            spares.push(Spare { name, file: Arc::new(file), size });
        } else {
            disk.remove(&name).map_err(LogError::io("remove", display))?;
        }
    }
    Ok(State { live, spares, next_spare: found.highest_spare, wanted, caught_up: true, durable })
}
