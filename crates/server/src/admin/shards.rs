//! Questions to shards, by their mailboxes.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use columba_broker::{
    Shard,
    id::{ChangeSeq, Lane},
    seam::{Commons, Cx},
    stats::{Census, Counters},
};
use columba_proto::Time;
use thiserror::Error;
use tokio::{sync::oneshot, time::timeout};

use super::status::Status;
use crate::{
    certificates::Certificates,
    core::{Mail, Shared},
    listeners,
    reload::Outcome,
    server::Word,
};

/// How long a shard may take to answer; one that takes longer is not well.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Sessions that are looked at in one turn of a shard: a fraction of a millisecond.
const CENSUS_PAGE: usize = 1024;

/// Something to do for a brain, between two packets. It must be short, for everyone on the shard waits for it.
pub(crate) struct Question(Box<Put>);

type Put = dyn FnOnce(&mut Shard, &Cx<'_>) -> Option<Promise> + Send;

impl Question {
    /// Does it; the answer is what has to be kept before whoever asks hears of it.
    pub(crate) fn put(self, brain: &mut Shard, cx: &Cx<'_>) -> Option<Promise> {
        (self.0)(brain, cx)
    }
}

/// An answer that waits for the disk.
pub(crate) struct Promise {
    /// The batch of records that it speaks of.
    pub(crate) until: ChangeSeq,
    tell: Box<dyn FnOnce(Kept) + Send>,
}

/// What became of a promise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kept {
    /// It is on disk.
    Yes,
    /// It will not be: the journal has failed.
    Never,
}

impl Promise {
    /// Lets the answer go.
    pub(crate) fn tell(self, kept: Kept) {
        (self.tell)(kept);
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("until", &self.until).finish_non_exhaustive()
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question")
    }
}

/// A shard does not answer: it is stuck, or gone.
#[derive(Clone, Copy, Debug, Error, Eq, PartialEq)]
#[error("shard {0} does not answer")]
pub(crate) struct NoAnswer(usize);

/// All shards, for the control plane.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    shared: Arc<Shared>,
}

impl Shards {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What each listener is called that there has been, by its number.
    pub(crate) fn listeners(&self) -> Vec<String> {
        listeners::names(&self.shared).clone()
    }

    /// What the listener of this number is called, or was.
    pub(crate) fn listener(&self, number: u16) -> Option<String> {
        listeners::names(&self.shared).get(usize::from(number)).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.shared.mesh.len()
    }

    /// The shard that a client's session lives on.
    pub(crate) fn owner(&self, client_id: &str) -> usize {
        let placement = self.shared.commons.placement();
        usize::from(placement.shard(placement.lane(client_id)).0)
    }

    /// The one that publishes in nobody's name.
    pub(crate) fn speaker(&self) -> usize {
        usize::from(self.shared.commons.placement().shard(Lane(0)).0)
    }

    pub(crate) fn commons(&self) -> &impl Commons {
        &self.shared.commons
    }

    pub(crate) fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// Asks for a reload of the configuration and waits for what came of it; blocks. `None`: the broker stops.
    pub(crate) fn reload(&self) -> Option<Outcome> {
        self.shared.reload.wait(|| self.shared.words.send(Word::Reload).unwrap_or_default())
    }

    /// Whether the last reload of the configuration was refused.
    pub(crate) fn has_refused_reload(&self) -> bool {
        self.shared.reload.is_refused()
    }

    /// When the certificate of each listener with TLS ends, in seconds since 1970.
    pub(crate) fn certificates_expire_s(&self) -> BTreeMap<String, u64> {
        // Of those at one address the latest is shown, for new clients come through that one.
        let ends =
            |(name, certificates): &(String, Weak<Certificates>)| Some((name.clone(), certificates.upgrade()?.expires_s()));
        listeners::certificates(&self.shared).iter().filter_map(ends).collect()
    }

    pub(crate) async fn ask<A: Send + 'static>(
        &self,
        shard: usize,
        question: impl FnOnce(&mut Shard, &Cx<'_>) -> A + Send + 'static,
    ) -> Result<A, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        let question = Question(Box::new(move |brain, cx| {
            let answer = question(brain, cx);
            // Whoever asked has given up.
            drop(sender.send(answer));
            None
        }));
        self.hear(shard, question, receiver).await
    }

    /// The same for what promises something: the answer comes when the records up to the batch that it names are on disk, as far as acknowledgements have to be.
    /// `None`: they will not be, the journal has failed.
    pub(crate) async fn ask_kept<A: Send + 'static>(
        &self,
        shard: usize,
        question: impl FnOnce(&mut Shard, &Cx<'_>) -> (A, ChangeSeq) + Send + 'static,
    ) -> Result<Option<A>, NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        let question = Question(Box::new(move |brain, cx| {
            let (answer, until) = question(brain, cx);
            // Whoever asked has given up.
            Some(Promise { until, tell: Box::new(move |kept| drop(sender.send((kept == Kept::Yes).then_some(answer)))) })
        }));
        self.hear(shard, question, receiver).await
    }

    async fn hear<A>(&self, shard: usize, question: Question, answer: oneshot::Receiver<A>) -> Result<A, NoAnswer> {
        self.shared.mesh.post_one(shard, Mail::Question(question));
        match timeout(ANSWER_MAX, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(NoAnswer(shard)),
        }
    }

    /// What all shards have counted, and what they have.
    pub(crate) async fn status(&self) -> Result<Status, NoAnswer> {
        let (mut counters, mut census, mut connections) = (Counters::default(), Census::default(), 0);
        for shard in 0..self.len() {
            let (counted, open) = self.ask(shard, |brain, _| (brain.counters().clone(), brain.connections())).await?;
            counters.add(&counted);
            connections += open;
            let mut from = Some(0);
            while let Some(slot) = from {
                let (page, next) = self.ask(shard, move |brain, _| brain.census(slot, CENSUS_PAGE)).await?;
                census.add(&page);
                from = next;
            }
        }
        let mut subscriptions = 0;
        self.shared.commons.read_index(&mut |index| subscriptions = index.len());
        let mut retained = (0, 0);
        self.shared.commons.read_retained(&mut |store| retained = (store.len(), store.bytes()));
        Ok(Status {
            counters,
            census,
            connections,
            refused: self.shared.doorkeeper.refused(),
            subscriptions,
            retained_messages: retained.0,
            retained_bytes: retained.1,
        })
    }
}
