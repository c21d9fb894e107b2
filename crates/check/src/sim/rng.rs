//! The one source of chance in a simulated world: what happens is a function of the seed.

/// A small generator (xoshiro256++, seeded through splitmix64). Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The stream that belongs to `seed`; near seeds give unrelated streams.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let mut state = [0; 4];
        for word in &mut state {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *word = splitmix(mixed);
        }
        Self { state }
    }

    /// A generator of its own for one part of the world, so that what other parts draw does not disturb it.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [mut a, mut b, mut c, mut d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        self.state = [a, b, c, d.rotate_left(45)];
        result
    }

    /// Evenly from `0..bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index into something of this length.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or_default()
    }

    /// Evenly from `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `parts` of `of` cases.
    pub fn chance(&mut self, parts: u64, of: u64) -> bool {
        self.below(of) < parts
    }

    /// One of these.
    ///
    /// # Panics
    /// Where there is nothing to choose from.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }
}

/// The finaliser of splitmix64: spreads one word over all bits.
pub(crate) fn splitmix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let (mut one, mut two) = (Rng::new(7), Rng::new(7));

        assert!((0..100).all(|_| one.next_u64() == two.next_u64()));
    }

    #[test]
    fn a_die_shows_all_its_faces_about_evenly() {
        let mut rng = Rng::new(1);
        let mut faces = [0_u32; 6];

        for _ in 0..6_000 {
            faces[rng.index(6)] += 1;
        }

        assert!(faces.iter().all(|&seen| (850..1_150).contains(&seen)), "{faces:?}");
    }
}
