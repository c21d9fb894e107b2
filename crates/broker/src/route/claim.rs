//! Which shared subscriptions a delivery serves, so that they can pass it on when the member's session ends (§4.8.2).

use alloc::sync::Arc;

use smallvec::SmallVec;

use crate::id::GroupKey;

/// The shared subscriptions that a delivery serves; none for an ordinary delivery. Cheap to copy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claim(Option<Arc<Groups>>);

/// One allocation for all deliveries by which a group is served alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Groups {
    /// In order.
    keys: SmallVec<[GroupKey; 1]>,
    /// A member of one of them outlives its connection: what goes to any member is recorded, also where that one does not.
    is_recorded: bool,
    /// How often another group's delivery of the same message has come behind the first: each has an entry of its own in the journal, to be ended with it.
    joined: u16,
}

/// What serves no group.
pub(crate) static UNCLAIMED: Claim = Claim(None);

impl Claim {
    /// Of one group.
    pub(super) fn of(key: GroupKey, is_recorded: bool) -> Self {
        Self(Some(Arc::new(Groups { keys: SmallVec::from_buf([key]), is_recorded, joined: 0 })))
    }

    /// As it stands in the journal.
    pub(crate) fn recorded(keys: &[GroupKey]) -> Self {
        if keys.is_empty() {
            return Self(None);
        }
        Self(Some(Arc::new(Groups { keys: SmallVec::from_slice(keys), is_recorded: true, joined: 0 })))
    }

    /// Whether no group has a claim.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the delivery is in the journal even where its session is not.
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|groups| groups.is_recorded)
    }

    /// The groups, in order.
    pub fn keys(&self) -> &[GroupKey] {
        self.0.as_ref().map_or(&[], |groups| &groups.keys)
    }

    /// Adds the groups of another choice of the same publication for the same session.
    pub(crate) fn add(&mut self, other: &Self) {
        let Some(theirs) = &other.0 else { return };
        let Some(ours) = &mut self.0 else {
            *self = other.clone();
            return;
        };
        let ours = Arc::make_mut(ours);
        ours.keys.extend_from_slice(&theirs.keys);
        ours.keys.sort_unstable();
        ours.keys.dedup();
        ours.is_recorded |= theirs.is_recorded;
        ours.joined = ours.joined.saturating_add(theirs.joined);
    }

    /// A second delivery of the same message has come, with a record of its own.
    pub(crate) fn count_joined(&mut self) {
        if let Some(ours) = &mut self.0 {
            let ours = Arc::make_mut(ours);
            ours.joined = ours.joined.saturating_add(1);
        }
    }

    /// How many records brought the delivery beside the first; each is ended by itself.
    pub(crate) fn joined(&self) -> u16 {
        self.0.as_ref().map_or(0, |groups| groups.joined)
    }
}
