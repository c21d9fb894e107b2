//! What can be read of a damaged store: everything but the blocks whose checksums do not hold.

use std::ops::ControlFlow;

use super::{ColdError, ColdRead, Space};

/// Keys of a space that cannot be read: all between two that can.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// The space.
    pub space: Space,
    /// The last key before; `None`: there is none.
    pub after: Option<Vec<u8>>,
    /// From here on keys can be read again; `None`: to the end none can.
    pub before: Option<Vec<u8>>,
}

/// Where what can be read goes.
pub type Give<'a, E> = dyn FnMut(&[u8], &[u8]) -> Result<(), E> + 'a;

/// Keys are told apart by so many bytes when the end of an unreadable place is searched: what lies closer to it is lost with it, and so can be what lies between
/// two such places.
const DIGITS: usize = 64;

/// Gives every key and value of a space that can be read, and says where that is not so.
///
/// # Errors
/// What `give` says.
pub fn salvage<E>(cold: &dyn ColdRead, space: Space, give: &mut Give<'_, E>) -> Result<Vec<Unreadable>, E> {
    let mut holes = Vec::new();
    let mut from = Vec::new();
    loop {
        let (mut last, mut given) = (None, Ok(()));
        let read = cold.visit(space, &from, None, &mut |key, value| {
            given = give(key, value);
            last = Some(key.to_vec());
            if given.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        given?;
        if read.is_ok() {
            return Ok(holes);
        }
        let begin = last.as_deref().unwrap_or(&from);
        let next = next_readable(cold, space, begin);
        holes.push(Unreadable { space, after: last.clone(), before: next.clone() });
        match next {
            Some(next) => from = next,
            None => return Ok(holes),
        }
    }
}

/// The first place behind `key` from which something can be read, by doubling steps and then halving the last one.
fn next_readable(cold: &dyn ColdRead, space: Space, key: &[u8]) -> Option<Vec<u8>> {
    let start = Number::of(key);
    let mut unreadable = start;
    let mut readable = None;
    for bit in 0..8 * DIGITS {
        // The last step ends behind all keys.
        let candidate = start.plus_bit(bit).unwrap_or(Number([u8::MAX; DIGITS]));
        if is_readable(cold, space, &candidate.key()) {
            readable = Some(candidate);
            break;
        }
        unreadable = candidate;
    }
    let mut readable = readable?;
    for _ in 0..8 * DIGITS {
        let middle = unreadable.middle(readable);
        if middle == unreadable {
            break;
        }
        if is_readable(cold, space, &middle.key()) {
            readable = middle;
        } else {
            unreadable = middle;
        }
    }
    let found = readable.key();
    (found.as_slice() > key).then_some(found)
}

fn is_readable(cold: &dyn ColdRead, space: Space, from: &[u8]) -> bool {
    let read: Result<(), ColdError> = cold.visit(space, from, None, &mut |_, _| ControlFlow::Break(()));
    read.is_ok()
}

/// The first bytes of a key as a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Number([u8; DIGITS]);

impl Number {
    fn of(key: &[u8]) -> Self {
        let mut digits = [0; DIGITS];
        let len = key.len().min(DIGITS);
        digits[..len].copy_from_slice(&key[..len]);
        Self(digits)
    }

    /// The shortest key that begins so.
    fn key(self) -> Vec<u8> {
        let len = self.0.iter().rposition(|&digit| digit != 0).map_or(0, |last| last + 1);
        self.0[..len].to_vec()
    }

    /// `None`: there is no greater number of this length.
    fn plus_bit(mut self, bit: usize) -> Option<Self> {
        let mut at = DIGITS - 1 - bit / 8;
        let mut carry = 1_u8 << (bit % 8);
        loop {
            let (digit, overflowed) = self.0[at].overflowing_add(carry);
            self.0[at] = digit;
            if !overflowed {
                return Some(self);
            }
            carry = 1;
            at = at.checked_sub(1)?;
        }
    }

    /// Half-way between both, rounded down.
    fn middle(self, other: Self) -> Self {
        let mut sum = [0_u16; DIGITS];
        let mut carry = 0;
        for at in (0..DIGITS).rev() {
            let both = u16::from(self.0[at]) + u16::from(other.0[at]) + carry;
            sum[at] = both & 0xFF;
            carry = both >> 8;
        }
        let mut half = [0; DIGITS];
        for (digit, sum) in half.iter_mut().zip(sum) {
            let whole = carry << 8 | sum;
            *digit = u8::try_from(whole >> 1).unwrap_or(u8::MAX);
            carry = whole & 1;
        }
        Self(half)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, Cold as _, MemCold};
    use super::*;
    use crate::log::Position;
    use crate::sim::Rng;

    /// A store with unreadable ranges of keys: whoever begins in one or comes to one gets an error.
    struct Holed {
        cold: MemCold,
        holes: Vec<(Vec<u8>, Vec<u8>)>,
    }

    impl ColdRead for Holed {
        fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
            self.cold.get(space, key)
        }

        fn visit(
            &self,
            space: Space,
            from: &[u8],
            to: Option<&[u8]>,
            visit: &mut super::super::Visit<'_>,
        ) -> Result<(), ColdError> {
            let mut result = Ok(());
            self.cold.visit(space, from, to, &mut |key, value| {
                if self.holes.iter().any(|(first, last)| (&**first..=&**last).contains(&key)) {
                    result = Err(ColdError::Injected);
                    return ControlFlow::Break(());
                }
                visit(key, value)
            })?;
            result
        }

        fn snapshot(&self) -> Result<Box<dyn ColdRead>, ColdError> {
            self.cold.snapshot()
        }
    }

    #[test]
    fn everything_outside_the_holes_is_found() {
        let mut rng = Rng::new(8);
        for round in 0..200 {
            let mut cold = MemCold::new();
            let mut keys: Vec<Vec<u8>> = (0..200)
                .map(|_| {
                    let len = 1 + rng.index(20);
                    (0..len).map(|_| rng.next_u64().to_le_bytes()[0]).collect()
                })
                .collect();
            keys.sort();
            keys.dedup();
            let mut batch = Batch::new();
            for key in &keys {
                batch.put(Space(1), key.clone(), key.clone());
            }
            cold.write(batch, Position::START).unwrap();
            let holes: Vec<(usize, usize)> = (0..rng.below(4))
                .map(|_| {
                    let first = rng.index(keys.len());
                    (first, (first + rng.index(20)).min(keys.len() - 1))
                })
                .collect();
            let damaged =
                Holed { cold, holes: holes.iter().map(|&(first, last)| (keys[first].clone(), keys[last].clone())).collect() };

            let mut found = Vec::new();
            let unreadable = salvage(&damaged, Space(1), &mut |key, _| {
                found.push(key.to_vec());
                Ok::<_, ()>(())
            })
            .unwrap();

            let readable = |at: usize| !holes.iter().any(|&(first, last)| (first..=last).contains(&at));
            let expected: Vec<_> = (0..keys.len()).filter(|at| readable(*at)).map(|at| keys[at].clone()).collect();
            // What lies between two places that are close to each other can be taken for a part of them.
            assert!(found == expected || holes.len() > 1 && found.iter().all(|key| expected.contains(key)), "round {round}");
            assert_eq!(unreadable.is_empty(), holes.is_empty(), "round {round}");
            for key in keys.iter().filter(|key| !found.contains(key)) {
                let named = unreadable.iter().any(|hole| {
                    hole.after.as_ref().is_none_or(|after| after < key) && hole.before.as_ref().is_none_or(|before| key < before)
                });
                assert!(named, "round {round}: {key:?}");
            }
        }
    }
}
