//! Reading durable frames, beside the writer or after recovery.

use std::sync::Arc;

use super::error::{Damage, LogError};
use super::format::{Head, Parts};
use super::segments::{Live, Segments, segment_name};
use super::window::{Found, Window};
use super::{Commit, Position};
use crate::disk::Disk;

/// Walks over the durable frames of a journal; at its end it can be asked again later.
pub struct Reader<D: Disk> {
    segments: Arc<Segments<D>>,
    at: Position,
    /// The commit that comes next, as soon as one has been seen.
    expected: Option<Commit>,
    window: Window,
}

/// One commit, as it was written.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Its number.
    pub commit: Commit,
    /// Where the next frame begins: what a checkpoint stores that has taken this one in.
    pub next: Position,
    parts: Parts<'a>,
}

impl<'a> Frame<'a> {
    pub(super) fn new(commit: Commit, next: Position, parts: Parts<'a>) -> Self {
        Self { commit, next, parts }
    }

    /// The labelled parts in the order in which they were written.
    pub fn parts(&self) -> Parts<'a> {
        self.parts.clone()
    }
}

impl<D: Disk> Reader<D> {
    pub(super) fn new(segments: Arc<Segments<D>>, from: Position) -> Self {
        Self { segments, at: from, expected: None, window: Window::default() }
    }

    /// Where the reader stands: behind the last frame it returned.
    pub fn position(&self) -> Position {
        self.at
    }

    /// The next durable frame, `None` if there is none yet.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, LogError> {
        let Some(live) = self.locate()? else {
            // Idle readers hold no memory of busy times.
            self.window.trim();
            return Ok(None);
        };
        let head = self.check(&live)?;
        let offset = self.at.offset;
        self.at.offset += head.stride();
        self.expected = Some(head.commit.next());
        let parts = (self.window.parts(&*live.file, &head, offset, live.end))
            .map_err(LogError::io("read", self.segments.disk.display(&segment_name(self.at.segment))))?;
        let parts = Parts::parse(parts).ok_or_else(|| LogError::Corrupt {
            file: self.segments.disk.display(&segment_name(self.at.segment)),
            offset,
            damage: Damage::Parts,
        })?;
        Ok(Some(Frame { commit: head.commit, next: self.at, parts }))
    }

    /// The segment that has a frame at the reader's position, after stepping over the end of finished ones.
    fn locate(&mut self) -> Result<Option<Live<D::File>>, LogError> {
        let state = self.segments.lock();
        loop {
            let Some(live) = state.live.get(&self.at.segment) else {
                return Err(LogError::Recycled { at: self.at });
            };
            if self.at.offset < live.end {
                return Ok(Some(live.clone()));
            }
            let next = self.at.segment + 1;
            let Some(following) = state.live.get(&next) else {
                return Ok(None);
            };
            self.expected = Some(following.header.first);
            self.at = Position { segment: next, offset: super::format::FRAMES_START };
            self.window.clear();
        }
    }

    fn check(&mut self, live: &Live<D::File>) -> Result<Head, LogError> {
        let seed = live.header.seed();
        let found = self.window.frame(&*live.file, seed, self.at.offset, live.end);
        let file = || self.segments.disk.display(&segment_name(self.at.segment));
        match found.map_err(LogError::io("read", file()))? {
            Found::Frame(head) if self.expected.is_none_or(|expected| expected == head.commit) => Ok(head),
            Found::Frame(_) | Found::HeadOnly(_) | Found::Strange(_) | Found::Nothing => {
                let state = self.segments.lock();
                if !state.live.contains_key(&self.at.segment) {
                    return Err(LogError::Recycled { at: self.at });
                }
                let damage = match self.expected {
                    Some(expected) => Damage::Frame { expected, found: state.durable },
                    None => Damage::Position,
                };
                Err(LogError::Corrupt { file: file(), offset: self.at.offset, damage })
            }
        }
    }
}
