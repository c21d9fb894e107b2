//! The receiving half of QoS 2 (§4.3.3). QoS 0 and 1 need no memory here: each PUBLISH is a message (§4.3.2).

use alloc::collections::VecDeque;

use crate::packet_id::PacketId;

/// The Packet Identifiers that wait for PUBREL, with what is stored for them. Part of the Session (§4.1).
///
/// Methods say what has happened and never send: the caller answers PUBREC and PUBCOMP.
#[derive(Debug)]
pub struct Receiver<M> {
    /// Sorted by identifier. Peers count upwards, so it grows at the back and shrinks at the front.
    open: VecDeque<(PacketId, M)>,
}

/// What a QoS 2 PUBLISH is to its receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Seen {
    /// A new message: keep it with [`Receiver::store`], then answer PUBREC [MQTT-4.3.3-8].
    New,
    /// The same message again: discard it and answer PUBREC again [MQTT-4.3.3-10].
    Repeated,
}

impl<M> Default for Receiver<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Receiver<M> {
    /// Nothing open; owns no memory.
    pub const fn new() -> Self {
        Self { open: VecDeque::new() }
    }

    /// Gives back the memory that many open exchanges needed.
    pub fn shrink_to_fit(&mut self) {
        self.open.shrink_to_fit();
    }

    /// A QoS 2 PUBLISH has come. DUP says nothing certain and is not asked.
    #[inline]
    pub fn on_publish(&self, id: PacketId) -> Seen {
        match self.find(id) {
            Ok(_) => Seen::Repeated,
            Err(_) => Seen::New,
        }
    }

    /// Keeps what belongs to an identifier until PUBREL. Gives back what was kept for it before, which is nothing for a
    /// message that was [`Seen::New`].
    #[inline]
    pub fn store(&mut self, id: PacketId, message: M) -> Option<M> {
        match self.find(id) {
            Ok(at) => self.open.get_mut(at).map(|(_, kept)| core::mem::replace(kept, message)),
            Err(at) => {
                self.open.insert(at, (id, message));
                None
            }
        }
    }

    /// PUBREL has come: what was kept is handed on now, and the identifier is free. `None` for an unknown identifier.
    /// PUBCOMP is the answer in either case [MQTT-4.3.3-11], for an unknown one with reason 0x92 where the version has it.
    #[inline]
    pub fn on_pubrel(&mut self, id: PacketId) -> Option<M> {
        let at = self.find(id).ok()?;
        self.open.remove(at).map(|(_, message)| message)
    }

    /// What is kept for an identifier.
    pub fn get(&self, id: PacketId) -> Option<&M> {
        let at = self.find(id).ok()?;
        self.open.get(at).map(|(_, message)| message)
    }

    /// How many wait for PUBREL.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Is none waiting?
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// All that wait, by identifier.
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, &M)> {
        self.open.iter().map(|(id, message)| (*id, message))
    }

    /// Ends the session's receiving half and hands out what was kept, by identifier.
    pub fn drain(&mut self) -> impl Iterator<Item = (PacketId, M)> {
        core::mem::take(&mut self.open).into_iter()
    }

    fn find(&self, id: PacketId) -> Result<usize, usize> {
        // Usually the one at the front is released, and a new one is above all others.
        match (self.open.front(), self.open.back()) {
            (Some((first, _)), _) if *first == id => Ok(0),
            (_, Some((last, _))) if *last < id => Err(self.open.len()),
            (None, None) => Err(0),
            _ => self.open.binary_search_by_key(&id, |(open, _)| *open),
        }
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
    fn pubrel_is_the_border_between_a_repetition_and_a_new_message() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.on_publish(id(7)), Seen::New);
        assert_eq!(receiver.store(id(7), "first"), None);

        assert_eq!(receiver.on_publish(id(7)), Seen::Repeated);
        assert_eq!(receiver.on_pubrel(id(7)), Some("first"));

        assert_eq!(receiver.on_publish(id(7)), Seen::New);
    }

    #[test]
    fn a_repeated_pubrel_finds_nothing() {
        let mut receiver = Receiver::new();
        receiver.store(id(7), ());

        assert_eq!(receiver.on_pubrel(id(7)), Some(()));
        assert_eq!(receiver.on_pubrel(id(7)), None);
    }

    #[test]
    fn identifiers_may_come_in_any_order_and_go_in_any_other() {
        let mut receiver = Receiver::new();
        for number in [65_535, 3, 1, 40_000, 2] {
            assert_eq!(receiver.on_publish(id(number)), Seen::New);
            receiver.store(id(number), number);
        }

        let kept: Vec<u16> = receiver.iter().map(|(_, number)| *number).collect();
        assert_eq!(kept, [1, 2, 3, 40_000, 65_535]);

        for number in [2, 65_535, 40_000, 1, 3] {
            assert_eq!(receiver.on_pubrel(id(number)), Some(number));
        }
        assert!(receiver.is_empty());
    }

    #[test]
    fn an_idle_receiver_is_small() {
        assert!(size_of::<Receiver<u64>>() <= 64);
    }
}
