//! Who comes next: the packets of one connection are work, and when that is as much as one may cause in one go, the rest waits until others had their turn
//! (docs/adr/0033).

use alloc::{collections::VecDeque, vec::Vec};

use super::Shard;
use crate::{
    connection::Turn,
    id::{ConnectionId, SessionNo},
    limits::LEAVE_AT_ONCE_MAX,
    route::Unfinished,
    seam::Cx,
    session::Subscription,
};

/// Connections whose packets wait.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Those that have spent what one may spend in a turn.
    spent: VecDeque<ConnectionId>,
    /// Those whose next PUBLISH has a topic with so many possible filters that looking at them takes more than a turn. The first one's search is under way.
    searching: VecDeque<ConnectionId>,
    /// The first of those has its turn.
    is_searching: bool,
    /// Subscriptions of sessions that have ended.
    leaving: VecDeque<Leaving>,
}

/// What is left in the index of a session that has ended.
#[derive(Debug)]
struct Leaving {
    no: SessionNo,
    subscriptions: Vec<Subscription>,
}

/// Why no more packets of a connection are handled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// There is no whole one any more, or something else than work is waited for.
    NeedsMore,
    /// They were as much work as may be in one go.
    WorkIsSpent,
    /// It has to be found out where the next one goes, and that takes longer.
    Searches,
}

impl Turns {
    pub(super) fn is_empty(&self) -> bool {
        self.spent.is_empty() && self.searching.is_empty() && self.leaving.is_empty()
    }

    /// Whether a search that is not over is gone on with: one at a time, for what it has found takes memory.
    pub(super) fn unfinished(&self) -> Unfinished {
        if self.is_searching || self.searching.is_empty() { Unfinished::Kept } else { Unfinished::Dropped }
    }
}

impl Shard {
    /// Work was done for the connection whose turn it is.
    pub(super) fn spend(&mut self, work: u32) {
        self.work = self.work.saturating_sub(work);
    }

    /// A connection whose packets wait is given a place behind the others.
    pub(super) fn line_up(&mut self, id: ConnectionId, stop: Stop) {
        let line = match stop {
            Stop::NeedsMore => return,
            Stop::WorkIsSpent => &mut self.turns.spent,
            Stop::Searches => &mut self.turns.searching,
        };
        let Some(connection) = self.connections.get_mut(id).filter(|connection| !connection.is_closing()) else { return };
        line.push_back(id);
        if connection.turn == Turn::Done {
            connection.turn = Turn::Waits;
        }
    }

    /// What was subscribed to by a session that ends with very many subscriptions leaves the index by turns: nobody is there for what it still matches.
    pub(super) fn leave_by_turns(&mut self, no: SessionNo, subscriptions: Vec<Subscription>) {
        self.turns.leaving.push_back(Leaving { no, subscriptions });
    }

    fn take_leave(&mut self, cx: &Cx<'_>) {
        let Some(leaving) = self.turns.leaving.front_mut() else { return };
        let no = leaving.no;
        let rest = leaving.subscriptions.len().saturating_sub(LEAVE_AT_ONCE_MAX);
        let now = leaving.subscriptions.split_off(rest);
        if rest == 0 {
            self.turns.leaving.pop_front();
        }
        for subscription in now {
            Self::leave_index(cx, &subscription.filter, no);
        }
    }

    /// One turn of those that have spent theirs, one of those that search, and one of those that leave.
    pub(super) fn take_turns(&mut self, cx: &Cx<'_>) {
        self.take_leave(cx);
        if let Some(id) = self.turns.spent.pop_front()
            && let Some(stop) = self.work_on(cx, id)
        {
            self.line_up(id, stop);
            self.is_through(cx, id, stop);
        }
        let Some(id) = self.turns.searching.pop_front() else { return };
        self.turns.is_searching = true;
        let stop = self.work_on(cx, id);
        self.turns.is_searching = false;
        match stop {
            Some(Stop::Searches) if self.cache.is_searching() => self.turns.searching.push_front(id),
            Some(Stop::NeedsMore | Stop::WorkIsSpent | Stop::Searches) | None => {
                // It may have been found by others meanwhile, or nobody asks any more.
                self.cache.forget_search();
                if let Some(stop) = stop {
                    self.line_up(id, stop);
                    self.is_through(cx, id, stop);
                }
            }
        }
    }

    /// Handles the packets of a connection that have waited; `None`: it is gone.
    fn work_on(&mut self, cx: &Cx<'_>, id: ConnectionId) -> Option<Stop> {
        self.connections.get(id).filter(|connection| !connection.is_closing())?;
        self.work = self.config.work_max;
        self.go_on_with_half(cx, id);
        Some(self.handle_partial(cx, id))
    }

    /// Where nothing waits any more, the world is read from again, or its end is taken note of.
    fn is_through(&mut self, cx: &Cx<'_>, id: ConnectionId, stop: Stop) {
        let Some(connection) = self.connections.get_mut(id).filter(|_| stop == Stop::NeedsMore) else { return };
        match core::mem::replace(&mut connection.turn, Turn::Done) {
            Turn::Done | Turn::Waits => self.check_reading(cx, id),
            Turn::WaitsBefore(gone) => self.closed(cx, id, gone),
        }
    }
}
