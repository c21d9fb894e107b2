//! The network between clients and broker: a pipe of small nodes for each direction of each connection.
//!
//! A node takes one segment and gives none, one or many back; it may cut it up, hold it, let it wait. A pipe keeps the order of bytes, as TCP does, whatever
//! its nodes do. What the connection loses when it breaks is the world's decision: it drops what is still inside.

use std::collections::VecDeque;

use super::rng::Rng;
use crate::model::Micros;

/// Bytes on their way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    /// When they arrive.
    pub(crate) due: Micros,
    /// What arrives.
    pub(crate) bytes: Vec<u8>,
}

/// One thing that can happen to a segment.
pub(crate) trait Node {
    /// Passes a segment on, changed, in pieces or later.
    fn pass(&mut self, segment: Segment, rng: &mut Rng, out: &mut Vec<Segment>);
}

/// Every segment needs a time of its own.
#[derive(Debug)]
pub(crate) struct Delay {
    /// At least.
    pub(crate) least: Micros,
    /// At most.
    pub(crate) most: Micros,
}

impl Node for Delay {
    fn pass(&mut self, mut segment: Segment, rng: &mut Rng, out: &mut Vec<Segment>) {
        segment.due += rng.between(self.least, self.most);
        out.push(segment);
    }
}

/// Cuts segments into random pieces, down to single bytes.
#[derive(Debug)]
pub(crate) struct Chop {
    /// One segment in so many is cut.
    pub(crate) one_in: u64,
}

impl Node for Chop {
    fn pass(&mut self, mut segment: Segment, rng: &mut Rng, out: &mut Vec<Segment>) {
        if rng.chance(1, self.one_in) {
            while segment.bytes.len() > 1 && !rng.chance(1, 4) {
                let at = 1 + rng.index(segment.bytes.len() - 1);
                let rest = segment.bytes.split_off(at);
                let next = Segment { due: segment.due + rng.below(300), bytes: rest };
                out.push(core::mem::replace(&mut segment, next));
            }
        }
        out.push(segment);
    }
}

/// Holds everything up now and then, as a lost packet or a sleeping reader does.
#[derive(Debug)]
pub(crate) struct Stall {
    /// One segment in so many is held up.
    pub(crate) one_in: u64,
    /// For so long at most.
    pub(crate) most: Micros,
}

impl Node for Stall {
    fn pass(&mut self, mut segment: Segment, rng: &mut Rng, out: &mut Vec<Segment>) {
        if rng.chance(1, self.one_in) {
            segment.due += rng.below(self.most);
        }
        out.push(segment);
    }
}

/// One direction of a connection.
#[derive(Default)]
pub(crate) struct Pipe {
    nodes: Vec<Box<dyn Node>>,
    inside: VecDeque<Segment>,
    held: usize,
}

impl Pipe {
    /// A pipe through these nodes, in this order.
    pub(crate) fn new(nodes: Vec<Box<dyn Node>>) -> Self {
        Self { nodes, inside: VecDeque::new(), held: 0 }
    }

    /// Puts bytes in; the answer is when the first of them arrive, where nothing was inside before.
    pub(crate) fn push(&mut self, now: Micros, bytes: Vec<u8>, rng: &mut Rng) -> Option<Micros> {
        let was_empty = self.inside.is_empty();
        self.held += bytes.len();
        let mut segments = vec![Segment { due: now, bytes }];
        for node in &mut self.nodes {
            let mut passed = Vec::with_capacity(segments.len());
            for segment in segments {
                node.pass(segment, rng, &mut passed);
            }
            segments = passed;
        }
        for mut segment in segments {
            // Bytes never overtake each other.
            segment.due = segment.due.max(self.inside.back().map_or(now, |last| last.due));
            self.inside.push_back(segment);
        }
        was_empty.then(|| self.next_due()).flatten()
    }

    /// When the next bytes arrive.
    pub(crate) fn next_due(&self) -> Option<Micros> {
        self.inside.front().map(|segment| segment.due)
    }

    /// When the last of them arrive.
    pub(crate) fn last_due(&self) -> Option<Micros> {
        self.inside.back().map(|segment| segment.due)
    }

    /// Takes the next bytes, where they have arrived.
    pub(crate) fn pop(&mut self, now: Micros) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        let segment = self.inside.pop_front()?;
        self.held -= segment.bytes.len();
        Some(segment.bytes)
    }

    /// From now on nothing bad happens in here.
    pub(crate) fn calm(&mut self) {
        self.nodes.clear();
    }

    /// Bytes inside.
    pub(crate) fn len(&self) -> usize {
        self.held
    }

    /// Whether nothing is inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.inside.is_empty()
    }

    /// Loses what is inside from a random place on.
    pub(crate) fn break_off(&mut self, rng: &mut Rng) {
        let kept = rng.index(self.inside.len() + 1);
        for lost in self.inside.drain(kept..) {
            self.held -= lost.bytes.len();
        }
    }

    /// Loses all that is inside.
    pub(crate) fn clear(&mut self) {
        self.inside.clear();
        self.held = 0;
    }
}

/// A pipe as bad as the draw makes it: most are quick and whole, some slow, some chop everything.
pub(crate) fn random_pipe(rng: &mut Rng) -> Pipe {
    let mut nodes: Vec<Box<dyn Node>> = vec![Box::new(Delay { least: 20, most: rng.pick(&[50, 200, 5_000]) })];
    if rng.chance(1, 2) {
        nodes.push(Box::new(Chop { one_in: rng.pick(&[2, 8, 30]) }));
    }
    if rng.chance(1, 3) {
        nodes.push(Box::new(Stall { one_in: rng.between(5, 40), most: rng.pick(&[2_000, 50_000, 3_000_000]) }));
    }
    Pipe::new(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_nodes_do_the_bytes_arrive_in_order() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let mut pipe = random_pipe(&mut rng);
            let sent: Vec<u8> = (0..200).collect();

            for (now, piece) in (0_u64..).zip(sent.chunks(7)) {
                let _ = pipe.push(now * 10, piece.to_vec(), &mut rng);
            }
            let mut arrived = Vec::new();
            while let Some(due) = pipe.next_due() {
                arrived.extend(pipe.pop(due).expect("due now"));
            }

            assert_eq!(arrived, sent, "seed {seed}");
            assert_eq!(pipe.len(), 0);
        }
    }
}
