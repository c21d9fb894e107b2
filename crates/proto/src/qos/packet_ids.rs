//! Handing out Packet Identifiers that are not in use (§2.2.1).

use crate::packet_id::PacketId;

/// The order in which identifiers are handed out: one after the other, around at 65,535, past those in use.
///
/// It does not know which are in use, and asks only when it must: it remembers how many identifiers ahead are known to be
/// free, which after a look at the open exchanges is usually tens of thousands.
#[derive(Debug)]
pub(super) struct PacketIds {
    next: PacketId,
    known_free: u16,
}

impl PacketIds {
    pub(super) const fn new() -> Self {
        Self { next: PacketId::FIRST, known_free: 0 }
    }

    /// An identifier comes from the store: goes on behind it. Its answers may still be on their way, and must not meet a new message under the same number.
    pub(super) const fn go_on_behind(&mut self, id: PacketId) {
        self.next = id.next();
        self.known_free = 0;
    }

    /// The next identifier that is not in use; `None` if all 65,535 are.
    pub(super) fn take(&mut self, in_use: impl Iterator<Item = PacketId>) -> Option<PacketId> {
        if self.known_free == 0 {
            self.find_free(in_use)?;
        }
        let taken = self.next;
        self.next = taken.next();
        self.known_free -= 1;
        Some(taken)
    }

    /// Moves on to a free identifier and counts how many follow before the next one in use.
    fn find_free(&mut self, in_use: impl Iterator<Item = PacketId>) -> Option<()> {
        let mut used = Bitmap::new();
        for id in in_use {
            used.set(id);
        }
        let mut skipped = 0;
        while used.has(self.next) {
            self.next = self.next.next();
            skipped += 1;
            if skipped == u16::MAX {
                return None;
            }
        }
        self.known_free = used.free_from(self.next);
        Some(())
    }
}

/// One bit per identifier, on the stack.
struct Bitmap([u64; 1_024]);

impl Bitmap {
    const fn new() -> Self {
        Self([0; 1_024])
    }

    fn set(&mut self, id: PacketId) {
        self.0[usize::from(id.get() / 64)] |= 1 << (id.get() % 64);
    }

    fn has(&self, id: PacketId) -> bool {
        self.0[usize::from(id.get() / 64)] & (1 << (id.get() % 64)) != 0
    }

    /// How many identifiers from this one on are free, around at 65,535; a word at a time, for nearly all are.
    fn free_from(&self, first: PacketId) -> u16 {
        let mut free: u16 = 0;
        let mut at = first.get();
        while free < u16::MAX {
            let left = 64 - at % 64;
            let run = (self.0[usize::from(at / 64)] >> (at % 64)).trailing_zeros().min(u32::from(left));
            free = free.saturating_add(u16::try_from(run).unwrap_or(left));
            if run < u32::from(left) {
                break;
            }
            // Zero is no identifier.
            at = at.wrapping_add(left).max(1);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    #[test]
    fn identifiers_go_up_around_and_past_those_in_use() {
        let in_use = [id(2), id(3), id(65_535)];
        let mut ids = PacketIds::new();

        let taken: Vec<u16> = (0..65_532).map(|_| ids.take(in_use.into_iter()).unwrap().get()).collect();

        assert_eq!(taken[..3], [1, 4, 5]);
        assert_eq!(taken.last(), Some(&65_534));
        assert_eq!(ids.take(in_use.into_iter()), Some(id(1)));
    }

    #[test]
    fn when_all_are_in_use_there_is_none() {
        let all = || (1..=u16::MAX).filter_map(PacketId::new);
        let mut ids = PacketIds::new();

        assert_eq!(ids.take(all().filter(|id| id.get() != 40_000)), Some(id(40_000)));
        assert_eq!(ids.take(all()), None);
    }
}
