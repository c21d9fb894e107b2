//! How many connections each user has, on all shards together.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    sync::{Arc, Weak},
};

/// One connection of a user: it is counted as long as this lives.
#[derive(Clone, Debug)]
pub struct Seat(Arc<()>);

impl Seat {
    /// Connections of the same user, this one among them.
    pub fn taken(&self) -> usize {
        Arc::strong_count(&self.0)
    }
}

/// The seats of all users who have some.
#[derive(Debug, Default)]
pub struct Seats {
    users: BTreeMap<Box<str>, Weak<()>>,
    /// So many entries are looked through for those that nobody needs any more.
    swept_at: usize,
}

/// Below this it is not worth looking.
const SWEPT_AT_MIN: usize = 1_024;

impl Seats {
    /// One more for `user`.
    pub fn take(&mut self, user: &str) -> Seat {
        if let Some(seat) = self.users.get(user).and_then(Weak::upgrade) {
            return Seat(seat);
        }
        if self.users.len() >= self.swept_at.max(SWEPT_AT_MIN) {
            self.users.retain(|_, seat| seat.strong_count() > 0);
            self.swept_at = 2 * self.users.len();
        }
        let seat = Arc::new(());
        self.users.insert(user.into(), Arc::downgrade(&seat));
        Seat(seat)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec::Vec};

    use super::*;

    #[test]
    fn a_seat_is_free_when_its_connection_is_gone() {
        let mut seats = Seats::default();
        let (one, two) = (seats.take("eve"), seats.take("eve"));
        assert_eq!((one.taken(), two.taken(), seats.take("adam").taken()), (2, 2, 1));
        drop(two);
        assert_eq!(one.taken(), 1);
        drop(one);
        assert_eq!(seats.take("eve").taken(), 1);
    }

    #[test]
    fn users_who_are_gone_are_forgotten() {
        let mut seats = Seats::default();
        let stay: Vec<Seat> = (0..10).map(|number| seats.take(&format!("stays {number}"))).collect();
        for number in 0..10_000 {
            seats.take(&format!("goes {number}"));
        }
        assert!(seats.users.len() <= SWEPT_AT_MIN);
        assert_eq!(seats.take("stays 3").taken(), 2);
        drop(stay);
    }
}
