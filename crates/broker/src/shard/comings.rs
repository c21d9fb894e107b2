//! Client identifiers that come again and again: those that take each other over, and those that only flap (docs/adr/0032).

use alloc::{boxed::Box, collections::BTreeMap};

use columba_proto::Time;

use super::Shard;
use crate::{
    event::Event,
    id::ConnectionId,
    limits::{COMINGS_MAX, COMINGS_WINDOW_MS, FIGHT_TAKEOVERS, Rate},
    seam::Cx,
};

/// Those that came often of late, by client identifier.
#[derive(Debug, Default)]
pub(super) struct Comings(BTreeMap<Box<str>, Coming>);

#[derive(Debug)]
struct Coming {
    /// Where the time begins in which the next two are counted.
    since: Time,
    connects: u32,
    takeovers: u32,
    /// The fight is told, as long as it goes on.
    is_told: bool,
    banned_until: Option<Time>,
}

impl Coming {
    fn new(since: Time) -> Self {
        Self { since, connects: 0, takeovers: 0, is_told: false, banned_until: None }
    }

    fn is_over(&self, now: Time) -> bool {
        self.since.plus_ms(COMINGS_WINDOW_MS) <= now && self.banned_until.is_none_or(|until| until <= now)
    }
}

impl Comings {
    /// The entry of a client identifier; `None` where there are too many.
    fn entry(&mut self, now: Time, client_id: &str) -> Option<&mut Coming> {
        if self.0.len() >= COMINGS_MAX && !self.0.contains_key(client_id) {
            self.0.retain(|_, coming| !coming.is_over(now));
            if self.0.len() >= COMINGS_MAX {
                return None;
            }
        }
        let coming = self.0.entry(client_id.into()).or_insert_with(|| Coming::new(now));
        if coming.is_over(now) {
            let goes_on = coming.takeovers >= FIGHT_TAKEOVERS;
            *coming = Coming { is_told: coming.is_told && goes_on, ..Coming::new(now) };
        }
        Some(coming)
    }

    fn is_banned(&self, now: Time, client_id: &str) -> bool {
        self.0.get(client_id).is_some_and(|coming| coming.banned_until.is_some_and(|until| until > now))
    }

    /// It was let in; whether it comes too often from now on.
    fn connected(&mut self, now: Time, client_id: &str, max: Rate, ban_ms: u64) -> bool {
        let Some(coming) = self.entry(now, client_id) else { return false };
        coming.connects += 1;
        let is_too_often = coming.connects > max.get();
        if is_too_often {
            coming.banned_until = Some(now.plus_ms(ban_ms));
        }
        is_too_often
    }

    /// It was taken over; whether that is a fight to be told.
    fn taken_over(&mut self, now: Time, client_id: &str) -> bool {
        let Some(coming) = self.entry(now, client_id) else { return false };
        coming.takeovers += 1;
        coming.takeovers >= FIGHT_TAKEOVERS && !core::mem::replace(&mut coming.is_told, true)
    }
}

impl Shard {
    /// Whether this client identifier has come too often, and has to stay away for a while.
    pub(super) fn is_banned(&self, cx: &Cx<'_>, client_id: &str) -> bool {
        self.comings.is_banned(cx.now, client_id)
    }

    /// A client is let in: nobody can do this in another's name where clients have to show who they are.
    pub(super) fn note_coming(&mut self, cx: &Cx<'_>, id: ConnectionId, client_id: &str) {
        let Some(peer) = self.connections.get(id).map(|connection| connection.origin.peer.clone()) else { return };
        let old = self.by_client.get(client_id).and_then(|&slot| self.sessions[slot as usize].connection());
        if let Some(old) = old.and_then(|old| self.connections.get(old)) {
            let old_peer = old.origin.peer.clone();
            if self.comings.taken_over(cx.now, client_id) {
                self.event(Event::Fight { client_id: client_id.into(), old_peer, new_peer: peer.clone() });
            }
        }
        if let Some(max) = self.config.flapping_connects
            && self.comings.connected(cx.now, client_id, max, self.config.ban_ms)
        {
            self.event(Event::Banned { client_id: client_id.into(), peer, for_ms: self.config.ban_ms });
        }
    }
}
