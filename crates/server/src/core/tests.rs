//! The shell over sockets with a disk that fails on command, and with neighbours that do not move.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    time::Duration,
};

use columba_broker::{
    Config, Shard,
    id::{Clock, ShardId},
    placement::Placement,
    retained::RetainedStore,
    route::Strategies,
};
use columba_store::{Journal, JournalOptions, Log, LogOptions, SimDisk, StoreId, sim::Fault};

use super::{
    Bounds, Door, DoorBounds, Doorkeeper, Ledger, Listening, Mail, Mesh, Progress, Shared, Shell, Worker,
    doorkeeper::Place,
    polls,
    shell::{JOURNAL_BYTES_MAX, Turn},
    stream::Stream,
};
use crate::{
    checkpoint, clock::ProcessClock, commons::Common, config::Listener, durability::Waits, entrance::Entrance, loader,
    reload::Askers, room::Space, server::Word,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// What stands around shards, and shards without sockets yet.
struct House {
    shared: Arc<Shared>,
    words: Receiver<Word>,
    polls: Vec<mio::Poll>,
}

fn house(shards: u16) -> House {
    let (polls, wakers) = polls(shards).unwrap();
    let (speaker, words) = mpsc::channel();
    let shared = Arc::new(Shared {
        clock: ProcessClock::start(),
        commons: Common::new(
            Clock::default(),
            Placement::new([7; 16], 64, shards),
            RetainedStore::default(),
            7,
            Strategies::default(),
        ),
        mesh: Mesh::new(wakers),
        doorkeeper: Doorkeeper::new(&Bounds::default()),
        listeners: std::sync::Mutex::default(),
        certificates: std::sync::Mutex::default(),
        loader: loader::channel().0,
        progress: Progress::new(usize::from(shards)),
        space: Space::default(),
        retained_cache: std::sync::atomic::AtomicUsize::new(0),
        checkpoints: checkpoint::channel().0,
        judges: crate::users::Court::default(),
        attempts: Arc::default(),
        reload: Askers::default(),
        words: speaker,
    });
    House { shared, words, polls }
}

fn door() -> Arc<Door> {
    Arc::new(Door::new(0, Entrance::new(&Listener::local()).unwrap(), DoorBounds::default()))
}

fn journal(disk: &SimDisk, shared: &Arc<Shared>) -> Journal<SimDisk> {
    // Only commits sync: a fault hits the next one.
    let options = LogOptions { spares: 0, ..LogOptions::new(StoreId([1; 16]), 1) };
    let (log, _) = Log::open(disk.clone(), options, None).unwrap();
    let shared = Arc::clone(shared);
    let wake: Box<dyn Fn() + Send> = Box::new(move || shared.mesh.wake(0));
    Journal::start(log, &JournalOptions::default(), vec![wake]).unwrap()
}

fn shell(shared: &Arc<Shared>, poll: mio::Poll, index: u16, ledger: Ledger) -> (Shell, SocketAddr) {
    let brain = Shard::new(ShardId(index), Arc::new(Config::default()), 1);
    let mut shell = Shell::new(Arc::clone(shared), poll, brain, usize::from(index), ledger);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    shell.listen(Listening::Tcp(mio::net::TcpListener::from_std(listener)), door()).unwrap();
    (shell, address)
}

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// MQTT 5; a session for an hour, or none.
fn connect(client_id: char, is_persistent: bool) -> Vec<u8> {
    let expiry = [0, 0, if is_persistent { 0x0E } else { 0 }, 0x10];
    let mut bytes = b"\x10\x13\0\x04MQTT\x05\0\0\x3C\x05\x11".to_vec();
    bytes.extend_from_slice(if is_persistent { &expiry } else { &[0; 4] });
    bytes.extend_from_slice(&[0, 1, client_id as u8]);
    bytes
}

fn subscribe(topic: char) -> Vec<u8> {
    vec![0x82, 7, 0, 1, 0, 0, 1, topic as u8, 1]
}

/// With a length of three bytes, so of 16 KiB at least.
fn publish(id: u16, topic: char, payload: &[u8]) -> Vec<u8> {
    let length = 6 + payload.len();
    let digit = |place: u32| u8::try_from(length >> (7 * place) & 0x7F).unwrap();
    let mut bytes = vec![0x32, digit(0) | 0x80, digit(1) | 0x80, digit(2), 0, 1, topic as u8];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.push(0);
    bytes.extend_from_slice(payload);
    bytes
}

/// The first byte and the body of the next frame.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert!(head[1] < 0x80, "a short frame");
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).unwrap();
    (head[0], body)
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(&[0xC0, 0]).unwrap();
    assert_eq!(frame(stream), (0xD0, vec![]));
}

#[test]
fn a_failed_journal_is_told_and_only_durable_sessions_are_sent_away() {
    let disk = SimDisk::new(1);
    let House { shared, words, mut polls } = house(1);
    let journal = journal(&disk, &shared);
    let (shell, address) = shell(&shared, polls.remove(0), 0, Ledger::Journal(journal.appender(0), Waits::Synced));
    let worker = Worker::start(0, vec![shell], shared.words.clone()).unwrap();
    let mut durable = client(address);
    durable.write_all(&connect('d', true)).unwrap();
    assert_eq!(frame(&mut durable).1[1], 0);
    let mut fleeting = client(address);
    fleeting.write_all(&connect('f', false)).unwrap();
    assert_eq!(frame(&mut fleeting).1[1], 0);

    disk.fail(Fault::Sync, 0);
    durable.write_all(&subscribe('t')).unwrap();

    let (first, body) = frame(&mut durable);
    assert_eq!((first, body[0]), (0xE0, 0x89), "DISCONNECT: server busy; and never a SUBACK");
    assert_eq!(words.recv_timeout(PATIENCE), Ok(Word::JournalFailed));
    ping(&mut fleeting);
    shared.mesh.post_one(0, Mail::Shutdown);
    worker.join();
}

#[test]
fn while_the_disk_is_full_only_those_who_wait_for_it_are_not_read() {
    let payload = vec![b'x'; 60_000];
    let disk = SimDisk::new(2);
    let House { shared, polls: mut all, .. } = house(1);
    let journal = journal(&disk, &shared);
    let (shell, address) = shell(&shared, all.remove(0), 0, Ledger::Journal(journal.appender(0), Waits::Synced));
    let worker = Worker::start(0, vec![shell], shared.words.clone()).unwrap();
    let mut reader = client(address);
    reader.write_all(&connect('r', true)).unwrap();
    frame(&mut reader);
    reader.write_all(&subscribe('t')).unwrap();
    assert_eq!(frame(&mut reader).0, 0x90);
    // Whoever wants messages while the disk is full is somebody else.
    drop(reader);
    let mut calm = client(address);
    calm.write_all(&connect('c', false)).unwrap();
    frame(&mut calm);
    let mut writer = client(address);
    writer.write_all(&connect('w', false)).unwrap();
    frame(&mut writer);

    disk.limit_space(Some(0));
    writer.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let (mut id, mut sent) = (0, 0);
    let stopped = loop {
        id += 1;
        let bytes = publish(id, 't', &payload);
        match writer.write_all(&bytes) {
            Ok(()) if id < 1000 => sent += bytes.len() as u64,
            Ok(()) => break None,
            Err(error) => break Some(error.kind()),
        }
    };

    assert!(matches!(stopped, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{stopped:?} after {sent} bytes");
    assert!(sent > JOURNAL_BYTES_MAX, "{sent}");
    assert!(journal.pending_bytes() < 2 * JOURNAL_BYTES_MAX, "{}", journal.pending_bytes());
    ping(&mut calm);
    disk.limit_space(None);
    for expected in 1..=100_u16 {
        let (first, body) = frame(&mut writer);
        assert_eq!((first, &body[..2]), (0x40, &expected.to_be_bytes()[..]));
    }
    shared.mesh.post_one(0, Mail::Shutdown);
    worker.join();
}

#[test]
fn one_whose_neighbour_is_drowning_in_mail_stops_reading_until_it_is_not() {
    let House { shared, polls: mut all, .. } = house(2);
    let (mut neighbour, _) = shell(&shared, all.remove(1), 1, Ledger::Ephemeral);
    let (mut shell, address) = shell(&shared, all.remove(0), 0, Ledger::Ephemeral);
    let turn = |shell: &mut Shell| assert_eq!(shell.turn(Some(Duration::ZERO)).unwrap(), Turn::Over);
    let mut stranger = client(address);
    // No protocol: the answer to it is that the connection closes.
    stranger.write_all(&[0; 16]).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let is_open = |stream: &mut TcpStream| stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);

    // Fills the mailbox: connections on their way weigh what they carry.
    let other = TcpStream::connect(address).unwrap();
    other.set_nonblocking(true).unwrap();
    let bytes = vec![0xC0; 9 << 20];
    let place = Place::uncounted(door());
    let arrival = super::mail::Arrival { stream: Stream::Tcp(mio::net::TcpStream::from_std(other)), wire: None, place, bytes };
    shared.mesh.post_one(1, Mail::Connection(arrival));
    for _ in 0..20 {
        turn(&mut shell);
        assert!(is_open(&mut stranger), "it was read");
    }

    turn(&mut neighbour);
    for _ in 0..1000 {
        turn(&mut shell);
        if !is_open(&mut stranger) {
            return;
        }
    }
    panic!("it was never read again");
}
