//! What one client has seen of an exchange, as a line of arrows.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use columba_client::{Direction, Packet, PacketEvent, PacketType, Verdict};

use crate::trace::carries_messages;

/// The packets of a connection that carry messages, in order, up to the PUBCOMP that ends the first exchange. Clones
/// share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story(Arc<Mutex<Vec<Step>>>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Step {
    direction: Direction,
    packet: PacketType,
    is_repeated: bool,
    is_lost: bool,
}

impl Story {
    /// Writes the story of a connection.
    pub(crate) fn teller(&self) -> impl FnMut(&PacketEvent<'_>) -> Verdict + Send + 'static {
        let story = self.clone();
        move |event| {
            story.add(event, Verdict::Keep);
            Verdict::Keep
        }
    }

    /// The same, and the connection is cut as the first packet of this kind passes, which is lost.
    pub(crate) fn teller_that_loses(&self, lost: PacketType) -> impl FnMut(&PacketEvent<'_>) -> Verdict + Send + 'static {
        let story = self.clone();
        let mut is_done = false;
        move |event| {
            let verdict = if !is_done && event.packet_type() == lost { Verdict::CutBefore } else { Verdict::Keep };
            is_done |= verdict == Verdict::CutBefore;
            story.add(event, verdict);
            verdict
        }
    }

    fn add(&self, event: &PacketEvent<'_>, verdict: Verdict) {
        if !carries_messages(event.packet_type()) {
            return;
        }
        let mut steps = self.steps();
        if steps.last().is_some_and(|last| last.packet == PacketType::Pubcomp && !last.is_lost) {
            return;
        }
        steps.push(Step {
            direction: event.direction,
            packet: event.packet_type(),
            is_repeated: matches!(event.packet, Packet::Publish(publish) if publish.dup),
            is_lost: verdict != Verdict::Keep,
        });
    }

    /// The lines of `--trace`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.steps().iter().map(|step| step.line()).collect()
    }

    /// One step in the words of `--trace`, more as arrows: `publish → pubrec ←`.
    pub(crate) fn text(&self) -> String {
        if let [only] = self.steps().as_slice() {
            return only.line();
        }
        let mut text = String::new();
        for step in self.steps().iter() {
            let repeated = if step.is_repeated { "(dup)" } else { "" };
            let arrow = match (step.direction, step.is_lost) {
                (Direction::Send, false) => "→",
                (Direction::Receive, false) => "←",
                (_, true) => "✗",
            };
            // Writing to a String cannot fail.
            write!(text, "{}{repeated} {arrow} ", step.packet.name()).unwrap_or_default();
        }
        text.trim_end().to_owned()
    }

    /// Whether something was lost on purpose.
    pub(crate) fn has_loss(&self) -> bool {
        self.steps().iter().any(|step| step.is_lost)
    }

    fn steps(&self) -> std::sync::MutexGuard<'_, Vec<Step>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    fn line(self) -> String {
        let direction = match self.direction {
            Direction::Send => "send",
            Direction::Receive => "receive",
        };
        format!("{direction}: {}", self.packet.name())
    }
}
