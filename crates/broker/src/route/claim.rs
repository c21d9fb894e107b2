//! Whose a message is that a member of a shared subscription is sent (§4.8.2).

use core::num::NonZeroU64;

use crate::id::{GroupKey, SessionNo};

/// The shared subscription whose message a delivery is until a member acknowledges it; none for a delivery that is its session's own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Claim(Option<NonZeroU64>);

/// The two highest bits of a group's place are always set, so one can say something else here.
const RECORDED: u64 = 1 << 63;

/// What is nobody's but its session's.
pub(crate) static UNCLAIMED: Claim = Claim(None);

impl Claim {
    /// Of a group. `is_recorded`: a member of it outlives its connection, so what it is promised is in the journal.
    pub(super) fn of(key: GroupKey, is_recorded: bool) -> Self {
        Self::at(key.place(), is_recorded)
    }

    /// Of what stands in the journal at this place.
    pub(crate) fn recorded(place: SessionNo) -> Self {
        if place.is_group() { Self::at(place, true) } else { Self(None) }
    }

    fn at(place: SessionNo, is_recorded: bool) -> Self {
        Self(NonZeroU64::new(if is_recorded { place.0 | RECORDED } else { place.0 & !RECORDED }))
    }

    /// Whether the delivery is its session's own.
    pub fn is_none(self) -> bool {
        self.0.is_none()
    }

    /// Whether a group has it in the journal.
    pub fn is_recorded(self) -> bool {
        self.0.is_some_and(|it| it.get() & RECORDED != 0)
    }

    /// Where the group has it.
    pub fn place(self) -> Option<SessionNo> {
        self.0.map(|it| SessionNo(it.get() | RECORDED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_names_its_group_and_whether_the_journal_has_it() {
        let key = GroupKey::of("$share/g/t");

        let (live, recorded) = (Claim::of(key, false), Claim::of(key, true));
        assert_eq!((live.place(), live.is_recorded()), (Some(key.place()), false));
        assert_eq!((recorded.place(), recorded.is_recorded()), (Some(key.place()), true));
        assert_eq!(Claim::recorded(key.place()), recorded);
        assert!(Claim::recorded(SessionNo(7)).is_none() && UNCLAIMED.place().is_none());
    }
}
