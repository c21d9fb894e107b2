//! Mailboxes between shards: one each, emptied once a turn, with a bound that stops readers and blocks nobody.

use std::{
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
    },
};

use mio::Waker;

/// From so many bytes on, those who send to a mailbox stop reading their sockets until it is down to the half.
const MAILBOX_BYTES_MAX: usize = 8 << 20;

/// Something that can lie in a mailbox.
pub(crate) trait Weighed {
    /// Bytes of memory that it stands for, about.
    fn weight(&self) -> usize;
}

/// The mailboxes of all shards.
#[derive(Debug)]
pub(crate) struct Mesh<M> {
    boxes: Vec<Mailbox<M>>,
}

#[derive(Debug)]
struct Mailbox<M> {
    mail: Mutex<Vec<M>>,
    /// Bytes that are posted and not yet handled, in the mailbox and with its owner.
    weight: AtomicUsize,
    /// The owner blocks, or is about to and will look once more.
    sleeping: AtomicBool,
    /// The shards, as bits, that wait until there is room again.
    waiting: AtomicU64,
    waker: Waker,
}

impl<M: Weighed> Mesh<M> {
    pub(crate) fn new(wakers: Vec<Waker>) -> Self {
        let open = |waker| Mailbox {
            mail: Mutex::default(),
            weight: AtomicUsize::new(0),
            sleeping: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            waker,
        };
        Self { boxes: wakers.into_iter().map(open).collect() }
    }

    /// Posts all of `mail`, in order, and leaves it empty.
    pub(crate) fn post(&self, to: usize, mail: &mut Vec<M>) {
        if mail.is_empty() {
            return;
        }
        let mailbox = &self.boxes[to];
        mailbox.weight.fetch_add(mail.iter().map(Weighed::weight).sum(), Ordering::SeqCst);
        mailbox.lock().append(mail);
        self.wake(to);
    }

    pub(crate) fn post_one(&self, to: usize, mail: M) {
        let mailbox = &self.boxes[to];
        mailbox.weight.fetch_add(mail.weight(), Ordering::SeqCst);
        mailbox.lock().push(mail);
        self.wake(to);
    }

    /// Takes all mail; `into` must be empty and its memory stays behind for the next.
    pub(crate) fn take(&self, me: usize, into: &mut Vec<M>) {
        debug_assert!(into.is_empty(), "mail would be lost");
        std::mem::swap(&mut *self.boxes[me].lock(), into);
    }

    /// So many bytes of mail are handled.
    pub(crate) fn handled(&self, me: usize, weight: usize) {
        let mailbox = &self.boxes[me];
        let before = mailbox.weight.fetch_sub(weight, Ordering::SeqCst);
        if before - weight <= MAILBOX_BYTES_MAX / 2 {
            let waiting = mailbox.waiting.swap(0, Ordering::SeqCst);
            for shard in (0..self.boxes.len()).filter(|shard| waiting & (1 << shard) != 0) {
                self.wake(shard);
            }
        }
    }

    /// Whether `me` must stop reading because of `to`; then it is woken when there is room.
    pub(crate) fn is_full(&self, to: usize, me: usize) -> bool {
        let mailbox = &self.boxes[to];
        let full = || mailbox.weight.load(Ordering::SeqCst) > MAILBOX_BYTES_MAX;
        if !full() {
            return false;
        }
        mailbox.waiting.fetch_or(1 << me, Ordering::SeqCst);
        full()
    }

    /// Says that the owner is about to block. It must look at everything that could wake it once more before it does.
    pub(crate) fn falls_asleep(&self, me: usize) {
        self.boxes[me].sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn is_awake(&self, me: usize) {
        self.boxes[me].sleeping.store(false, Ordering::Relaxed);
    }

    pub(crate) fn has_mail(&self, me: usize) -> bool {
        !self.boxes[me].lock().is_empty()
    }

    /// Wakes a shard if it sleeps.
    pub(crate) fn wake(&self, shard: usize) {
        fence(Ordering::SeqCst);
        let mailbox = &self.boxes[shard];
        if mailbox.sleeping.load(Ordering::Relaxed)
            && mailbox.sleeping.swap(false, Ordering::SeqCst)
            && let Err(error) = mailbox.waker.wake()
            && error.kind() != io::ErrorKind::WouldBlock
        {
            tracing::error!(shard, %error, "cannot wake a shard");
        }
    }

    /// How many shards there are.
    pub(crate) fn len(&self) -> usize {
        self.boxes.len()
    }
}

impl<M> Mailbox<M> {
    /// Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Vec<M>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use mio::{Events, Poll, Token};

    use super::*;

    impl Weighed for u64 {
        fn weight(&self) -> usize {
            1
        }
    }

    /// So heavy that one fills the mailbox.
    struct Heavy;

    impl Weighed for Heavy {
        fn weight(&self) -> usize {
            MAILBOX_BYTES_MAX + 1
        }
    }

    fn waker() -> (Poll, Waker) {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        (poll, waker)
    }

    #[test]
    fn no_letter_is_missed_by_one_who_falls_asleep() {
        const LETTERS: u64 = 100_000;
        let (mut poll, waker) = waker();
        let mesh = Mesh::new(vec![waker]);

        let read = thread::scope(|scope| {
            scope.spawn(|| (0..LETTERS).for_each(|letter| mesh.post_one(0, letter)));
            let (mut read, mut inbox, mut events) = (Vec::new(), Vec::new(), Events::with_capacity(8));
            while read.len() as u64 != LETTERS {
                mesh.falls_asleep(0);
                let wait = if mesh.has_mail(0) { Duration::ZERO } else { Duration::from_secs(20) };
                let started = std::time::Instant::now();
                poll.poll(&mut events, Some(wait)).unwrap();
                assert!(started.elapsed() < Duration::from_secs(15), "slept through a letter");
                mesh.is_awake(0);
                mesh.take(0, &mut inbox);
                read.append(&mut inbox);
            }
            read
        });

        assert!(read.into_iter().eq(0..LETTERS));
    }

    #[test]
    fn one_who_stopped_for_a_full_mailbox_is_woken_when_there_is_room() {
        let ((_first, first_waker), (mut poll, second_waker)) = (waker(), waker());
        let mesh = Mesh::new(vec![first_waker, second_waker]);
        let mut events = Events::with_capacity(8);

        mesh.post_one(0, Heavy);
        assert!(mesh.is_full(0, 1));
        mesh.falls_asleep(1);
        mesh.handled(0, Heavy.weight());

        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert!(!events.is_empty());
        assert!(!mesh.is_full(0, 1));
    }
}
