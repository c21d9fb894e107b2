//! What can be read of a damaged journal. Looks at everything, believes only checksums, changes nothing.
//!
//! [`Log::open`](super::Log::open) refuses a journal with damage. This goes around it: every segment is searched for whole frames, also where its header is
//! gone or frames before are unreadable, and the commits that are missing between them are the loss. A frame proves itself: its checksums start from a salt
//! that no peer knows and from its segment's number.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::io;

use super::error::{Damage, LogError};
use super::format::{ALIGN, FORMAT, FRAME_VERSION, FRAMES_START, HEAD_LEN, Head, Header, HeaderError, Parts};
use super::reader::Frame;
use super::segments::{Kind, kind_of, segment_name};
use super::window::{Found, Window, read_header};
use super::{Commit, Position, StoreId};
use crate::disk::{Disk, DiskFile};

/// How much of one unreadable place is shown: what a person wants to know stands near its beginning.
const SHOWN_MAX: u64 = 16 << 20;

/// All frames behind a position that can be read, and all places that cannot.
pub struct Survey<D: Disk> {
    disk: D,
    frames: Vec<Place>,
    wounds: Vec<Wound>,
    gaps: Vec<Gap>,
    newest: u64,
    last: Commit,
}

/// Where a whole frame stands.
#[derive(Clone, Copy)]
struct Place {
    commit: Commit,
    /// The file's number.
    file: u64,
    /// The number in its header, where that can be read: what a position means.
    segment: u64,
    offset: u64,
    seed: u32,
    size: u64,
    /// What was on disk before it was begun.
    synced: Commit,
}

/// A place that is not as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wound {
    /// The segment's number.
    pub segment: u64,
    /// Its file, as a person finds it.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// Where the next readable place begins, or the file ends.
    pub end: u64,
    /// What is wrong.
    pub what: Harm,
}

impl fmt::Display for Wound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, end, what, .. } = self;
        match what {
            Harm::Missing | Harm::Header(_) => write!(f, "{file}: {what}"),
            Harm::Frames => write!(f, "{file}, bytes {offset} to {end}: {what}"),
        }
    }
}

/// What is wrong with a place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Harm {
    /// The file is not there.
    Missing,
    /// The header, or what it says of the file.
    Header(Damage),
    /// No whole frame can be read here.
    Frames,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the file is missing"),
            Self::Header(damage) => damage.fmt(f),
            Self::Frames => f.write_str("no commit can be read here"),
        }
    }
}

/// Commits that are lost: all between two that are not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gap {
    /// The last one before; `None`: it is not known which that was.
    pub after: Option<Commit>,
    /// The first one behind, readable or at least begun; `None`: nothing readable is behind.
    pub before: Option<Commit>,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.after, self.before) {
            (Some(after), Some(before)) if before.0 == after.0 + 2 => write!(f, "commit {}", after.0 + 1),
            (Some(after), Some(before)) => write!(f, "commits {} to {}", after.0 + 1, before.0 - 1),
            (Some(after), None) => write!(f, "commit {} and all that may have followed it", after.0 + 1),
            (None, Some(before)) => write!(f, "all commits from the last checkpoint to {}", before.0 - 1),
            (None, None) => f.write_str("all commits behind the last checkpoint"),
        }
    }
}

/// What a survey shows, in the order of commits.
#[derive(Clone, Debug)]
pub enum Surveyed<'a> {
    /// A commit as it was written.
    Frame(Frame<'a>),
    /// Commits are lost here.
    Gap(Gap),
}

/// What is learned from file to file.
struct Search {
    id: StoreId,
    salt: u64,
    start: Position,
    /// The last commit before the position, as soon as that is known.
    known: Option<Commit>,
    /// Commits that were synced, whether they can be read or not.
    witnesses: Vec<Commit>,
    /// What the headers say of the first commit of each file.
    firsts: BTreeMap<u64, Commit>,
    /// Where the frames of each file end: its number, the place, its size.
    ends: Vec<(u64, u64, u64)>,
}

impl<D: Disk> Survey<D> {
    /// Searches the journal of the data directory `id` behind `from`, the cold store's position.
    ///
    /// # Errors
    /// What the operating system says, and [`LogError::NewerFormat`]: what a newer version wrote is not damage.
    pub fn run(disk: D, id: StoreId, salt: u64, from: Option<Position>) -> Result<Self, LogError> {
        let start = from.unwrap_or(Position::START);
        let mut numbers = Vec::new();
        for name in disk.list().map_err(LogError::io("list", disk.display("")))? {
            if let Some(Kind::Segment(number)) = kind_of(&name) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        let newest = numbers.last().copied().unwrap_or(0).max(start.segment);
        let mut survey = Self { disk, frames: Vec::new(), wounds: Vec::new(), gaps: Vec::new(), newest, last: Commit::NONE };
        let known = from.is_none().then_some(Commit::NONE);
        let mut search = Search { id, salt, start, known, witnesses: Vec::new(), firsts: BTreeMap::new(), ends: Vec::new() };
        for number in start.segment..=newest {
            if numbers.binary_search(&number).is_ok() {
                survey.segment(number, &mut search)?;
            } else {
                survey.wound(number, 0, 0, Harm::Missing);
            }
        }
        survey.count(&search);
        Ok(survey)
    }

    fn segment(&mut self, number: u64, search: &mut Search) -> Result<(), LogError> {
        let name = segment_name(number);
        let display = self.disk.display(&name);
        let file = self.disk.open(&name).map_err(LogError::io("open", display.clone()))?;
        let len = file.len().map_err(LogError::io("read the length of", display.clone()))?;
        let header = match read_header(&file).map_err(LogError::io("read", display.clone()))? {
            Ok(header) => header,
            Err(HeaderError::Newer(found)) => return Err(LogError::NewerFormat { file: display, found, known: FORMAT }),
            Err(HeaderError::Damaged(damage)) => {
                self.wound(number, 0, FRAMES_START.min(len), Harm::Header(damage));
                let assumed = Header { id: search.id, salt: search.salt, segment: number, first: Commit::NONE, size: len };
                return self.walk(number, &file, &assumed, search);
            }
        };
        if header.id != search.id {
            self.wound(number, 0, len, Harm::Header(Damage::WrongStore));
            return Ok(());
        }
        if header.segment != number {
            self.wound(number, 0, len, Harm::Header(Damage::WrongSegment { found: header.segment }));
        } else if header.size != len {
            self.wound(number, 0, len, Harm::Header(Damage::Length { found: len, expected: header.size }));
        }
        search.firsts.insert(number, header.first);
        let before = Commit(header.first.0.saturating_sub(1));
        match header.segment.cmp(&search.start.segment) {
            Ordering::Less => {}
            Ordering::Equal if search.start.offset > FRAMES_START => {}
            Ordering::Equal => search.known = Some(before),
            Ordering::Greater => search.witnesses.push(before),
        }
        self.walk(number, &file, &Header { size: len, ..header }, search)
    }

    /// Collects the frames of one file.
    fn walk(&mut self, number: u64, file: &D::File, header: &Header, search: &mut Search) -> Result<(), LogError> {
        let seed = header.seed();
        let display = self.disk.display(&segment_name(number));
        let mut window = Window::default();
        let mut at = FRAMES_START;
        loop {
            let here = Position { segment: header.segment, offset: at };
            let found = window.frame(file, seed, at, header.size).map_err(LogError::io("read", display.clone()))?;
            match found {
                Found::Frame(head) => {
                    if here < search.start {
                        search.known = Some(head.commit);
                    } else {
                        if here == search.start {
                            search.known = Some(Commit(head.commit.0.saturating_sub(1)));
                        }
                        let (commit, segment, size) = (head.commit, header.segment, header.size);
                        self.frames.push(Place {
                            commit,
                            file: number,
                            segment,
                            offset: at,
                            seed,
                            size,
                            synced: head.synced_before(),
                        });
                    }
                    at += head.stride();
                }
                Found::Strange(head) if head.version > FRAME_VERSION => {
                    let (found, known) = (u32::from(head.version), u32::from(FRAME_VERSION));
                    return Err(LogError::NewerFormat { file: display, found, known });
                }
                Found::HeadOnly(_) | Found::Strange(_) | Found::Nothing => {
                    let behind = next_frame(file, &mut window, seed, at + ALIGN as u64, header.size, &mut search.witnesses);
                    let Some(next) = behind.map_err(LogError::io("read", display.clone()))? else {
                        search.ends.push((number, at, header.size));
                        return Ok(());
                    };
                    // What was damaged before the position nobody needs.
                    if (Position { offset: next, ..here }) > search.start {
                        self.wound(number, at, next, Harm::Frames);
                    }
                    at = next;
                }
            }
        }
    }

    fn wound(&mut self, segment: u64, offset: u64, end: u64, what: Harm) {
        let file = self.disk.display(&segment_name(segment));
        self.wounds.push(Wound { segment, file, offset, end, what });
    }

    /// Finds the commits that are missing.
    fn count(&mut self, search: &Search) {
        self.frames.sort_by_key(|place| place.commit);
        self.frames.dedup_by_key(|place| place.commit);
        let known = search.known;
        if let Some(known) = known {
            self.frames.retain(|place| place.commit > known);
        }
        self.forget_torn(search);
        let mut after = known;
        for place in &self.frames {
            if after.is_none_or(|after| place.commit > after.next()) {
                self.gaps.push(Gap { after, before: Some(place.commit) });
            }
            after = Some(place.commit);
        }
        let witness = search.witnesses.iter().copied().max().filter(|&witness| after.is_none_or(|after| witness > after));
        match witness {
            Some(witness) => self.gaps.push(Gap { after, before: Some(witness.next()) }),
            None if after.is_none() || self.lost_its_end() => self.gaps.push(Gap { after, before: None }),
            None => {}
        }
        self.last = witness.max(after).unwrap_or(Commit::NONE);
        // Where the frames of a file end is a wound only if the next file or a later head proves that more stood there.
        for &(number, at, size) in &search.ends {
            let last = self.frames.iter().rfind(|place| place.file <= number).map(|place| place.commit).or(known);
            let first_of_next = search.firsts.get(&(number + 1)).copied();
            let proof = if number == self.newest { witness.map(Commit::next) } else { first_of_next };
            if proof.is_some_and(|proof| last.is_none_or(|last| proof > last.next())) {
                self.wound(number, at, size, Harm::Frames);
            }
        }
        self.wounds.sort_by_key(|wound| (wound.segment, wound.offset));
    }

    /// What was not synced when the machine stopped may be lost from the middle, and with it all that stands behind: that is no damage.
    fn forget_torn(&mut self, search: &Search) {
        let proven = self.frames.iter().map(|place| place.synced).chain(search.witnesses.iter().copied()).max().max(search.known);
        let mut last = search.known;
        let torn = self.frames.iter().position(|place| {
            let is_next = last.is_none_or(|last| place.commit == last.next());
            let is_torn = !is_next && place.file == self.newest && last.max(proven) == last;
            last = Some(place.commit);
            is_torn
        });
        if let Some(torn) = torn {
            let place = self.frames[torn];
            self.frames.truncate(torn);
            self.wounds.retain(|wound| wound.segment != place.file || wound.what != Harm::Frames || wound.end < place.offset);
        }
    }

    /// Whether the newest segment is gone, or nothing of it is left.
    fn lost_its_end(&self) -> bool {
        let unusable = |wound: &Wound| wound.segment == self.newest && wound.what != Harm::Frames;
        self.wounds.iter().any(unusable) && !self.frames.iter().any(|place| place.file == self.newest)
    }

    /// What is not as it was written, in the order of the files.
    pub fn wounds(&self) -> &[Wound] {
        &self.wounds
    }

    /// What is lost with it.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// How many commits can be read.
    pub fn readable(&self) -> usize {
        self.frames.len()
    }

    /// The highest number of a segment, there or missing.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// The last commit of which anything is known.
    pub fn last(&self) -> Commit {
        self.last
    }

    /// Shows all readable commits, and between them what is lost.
    ///
    /// # Errors
    /// What `show` says, and what the operating system says about a place that could be read before.
    pub fn replay<E: From<LogError>>(&self, show: &mut dyn FnMut(Surveyed<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut gaps = self.gaps.iter().peekable();
        let mut window = Window::default();
        let mut open: Option<(u64, D::File)> = None;
        for place in &self.frames {
            while let Some(gap) = gaps.next_if(|gap| gap.before.is_some_and(|before| before <= place.commit)) {
                show(Surveyed::Gap(*gap))?;
            }
            let name = segment_name(place.file);
            let failed = |source| LogError::Io { action: "read", file: self.disk.display(&name), source };
            let file = match open.take() {
                Some((number, file)) if number == place.file => file,
                _ => {
                    window.clear();
                    self.disk.open(&name).map_err(failed)?
                }
            };
            let found = window.frame(&file, place.seed, place.offset, place.size).map_err(failed)?;
            let Found::Frame(head) = found else {
                return Err(failed(io::Error::other("what could be read before cannot be read again")).into());
            };
            let parts = window.parts(&file, &head, place.offset, place.size).map_err(failed)?;
            if let Some(parts) = Parts::parse(parts) {
                let next = Position { segment: place.segment, offset: place.offset + head.stride() };
                show(Surveyed::Frame(Frame::new(head.commit, next, parts)))?;
            }
            open = Some((place.file, file));
        }
        gaps.try_for_each(|gap| show(Surveyed::Gap(*gap)))
    }

    /// The bytes of an unreadable place, up to 16 MiB of them. Nothing vouches for them.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn bytes(&self, wound: &Wound) -> Result<Vec<u8>, LogError> {
        if wound.what != Harm::Frames {
            return Ok(Vec::new());
        }
        let failed = |source| LogError::Io { action: "read", file: wound.file.clone(), source };
        let file = self.disk.open(&segment_name(wound.segment)).map_err(failed)?;
        let mut window = Window::default();
        let bytes = window.get(&file, wound.offset, SHOWN_MAX, wound.end).map_err(failed)?;
        Ok(bytes.to_vec())
    }
}

/// Where the next whole frame begins. Heads without their parts say that the commits before them were synced.
fn next_frame<F: DiskFile>(
    file: &F,
    window: &mut Window,
    seed: u32,
    from: u64,
    size: u64,
    witnesses: &mut Vec<Commit>,
) -> io::Result<Option<u64>> {
    const PIECE: u64 = 1 << 20;
    let mut piece_at = from;
    while piece_at < size {
        let piece = window.get(file, piece_at, PIECE + HEAD_LEN as u64, size)?;
        let mut heads = Vec::new();
        for offset in (0..piece.len().saturating_sub(HEAD_LEN - 1)).step_by(ALIGN) {
            if let Some(head) = Head::decode(&piece[offset..], seed) {
                heads.push((piece_at + offset as u64, head));
            }
        }
        for (at, head) in heads {
            if let Found::Frame(_) | Found::Strange(_) = window.frame(file, seed, at, size)? {
                return Ok(Some(at));
            }
            witnesses.push(head.synced_before());
        }
        piece_at += PIECE;
    }
    Ok(None)
}
